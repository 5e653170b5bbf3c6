"""A word that is being written while silent conversations are ended: it is not lost, and nobody waits for the other."""

from __future__ import annotations

from datetime import timedelta
from functools import partial

import pytest
from flask import Flask
from sqlalchemy import select, update

from community.conversations import services
from community.conversations.models import Conversation, TalkState
from kernel import clock
from kernel.db import db, transaction
from membership.members.models import Member
from tests.committed import at_once

pytestmark = pytest.mark.race


def furnish(app: Flask) -> list[int]:
    """Two customers whose conversations were answered and have been silent for longer than they last."""
    with app.app_context(), transaction():
        now = clock.now()
        people = [Member(nickname=f"Guest {n}", stage_since=now, created_at=now) for n in range(2)]
        db.session.add_all(people)
        db.session.flush()
        for person in people:
            services.ask(person.id, "x")
        db.session.execute(update(Conversation).values(waits_since=None, last_at=now - timedelta(hours=25)))
        return [person.id for person in people]


def close_silent(closed: list[int]) -> None:
    with transaction():
        closed.append(services.close_silent())


def test_a_conversation_in_which_somebody_writes_is_not_ended(committed: Flask) -> None:
    silent, writes = furnish(committed)
    closed: list[int] = []
    with committed.app_context():
        with transaction():
            services.ask(writes, "还有一句")
            # Not committed yet: whoever ends what is silent neither sees the word nor waits for it.
            assert at_once(committed, [partial(close_silent, closed)]) == []
        assert at_once(committed, [partial(close_silent, closed)]) == []
        states = dict(db.session.execute(select(Conversation.member_id, Conversation.state)).all())
    assert closed == [1, 0]
    assert states == {silent: TalkState.CLOSED, writes: TalkState.QUEUED}
