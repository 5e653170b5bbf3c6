"""Check E4: however many guess at one account at once, no more than the limit are judged; and the proof of the teeth."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask

from kernel.auth import Role
from kernel.db import transaction
from kernel.staff import guessing, services
from tests.committed import at_once, clear

pytestmark = pytest.mark.race
EMAIL = "race@shop.example"
AT_ONCE = 24
MOST = guessing.MOST[0][1]


@pytest.fixture
def account(app: Flask) -> Iterator[str]:
    clear(app)
    with app.app_context(), transaction():
        services.add("Race", EMAIL, Role.VIEWER, "a long enough one")
    yield EMAIL
    clear(app)


def guess(app: Flask, times: int) -> tuple[list[int], list[BaseException]]:
    """The statuses of so many wrong guesses at once, each from a browser of its own."""
    answers: list[int] = []

    def work() -> None:
        answer = app.test_client().post("/console/sign-in", data={"email": EMAIL, "password": "wrong"})
        answers.append(answer.status_code)

    raised = at_once(app, [work] * times)
    return answers, raised


def test_check_e4_of_a_crowd_no_more_are_judged_than_of_as_many_in_a_row(app: Flask, account: str) -> None:
    answers: list[int] = []
    for _round in range(6):
        more, raised = guess(app, AT_ONCE)
        assert raised == []
        answers += more
    assert set(answers) == {422, 429}
    assert answers.count(422) == MOST


def test_check_e4_has_teeth(app: Flask, account: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the lock all of them count the same failures before any of them has failed."""
    together = threading.Barrier(MOST + 2)
    right: Any = services._hasher.verify

    def verify(*words: str) -> bool:
        together.wait(60)
        return bool(right(*words))

    monkeypatch.setattr(services, "_hashing", threading.BoundedSemaphore(MOST + 2))
    monkeypatch.setattr(services, "_hasher", type("Hasher", (), {"verify": staticmethod(verify)}))
    monkeypatch.setattr(guessing, "_alone", lambda counted: True)
    answers, raised = guess(app, MOST + 2)
    assert raised == []
    assert answers.count(422) > MOST
