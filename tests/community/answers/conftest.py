"""A shop that knows three questions."""

from __future__ import annotations

import pytest

from community.answers import services
from community.answers.jobs import learn_answers
from kernel import shop
from tests.community.answers.test_rules import KNOWN

QUESTIONS = {
    7: ("什么时候发货？", "四点前当天发。"),
    8: ("怎么退款？", "在订单里点退款。"),
    9: ("能开发票吗？", "能开。"),
}


@pytest.fixture
def known(db):
    """Three intents with ten phrasings each: {7: sending, 8: refund, 9: invoice}."""
    found = {}
    for number, (question, answer) in QUESTIONS.items():
        draft = services.Draft(
            question=question,
            answer=answer,
            question_en=f"Question {number}",
            answer_en=f"Answer {number}",
            topic="售后",
            phrasings=tuple(text for owner, text in KNOWN if owner == number),
        )
        found[number] = services.add(draft)
    return found


@pytest.fixture
def learn(db):
    """Learn as a worker does, and read the shop's settings anew."""

    def run():
        learn_answers()
        shop.forget_read()
        db.session.expire_all()

    return run
