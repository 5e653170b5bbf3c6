"""Check C6: one effect a key, under fifty calls at once and through a server that dies around its commit."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from contextvars import Context
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import event, func, select

from kernel import api_keys, idempotency
from kernel.audit import AuditEntry
from kernel.db import db, transaction
from tests.committed import clear

FORK = multiprocessing.get_context("fork")
CROWD = 50


@pytest.fixture
def committed(probe_app: Flask) -> Iterator[tuple[Flask, str, str]]:
    """The application on rows that are really committed, all removed afterwards, and the keys of two programs."""
    with probe_app.app_context(), transaction():
        tokens = [api_keys.create(name, ["probe:write"], per_minute=10_000)[1] for name in ("one", "other")]
    yield probe_app, *tokens
    clear(probe_app)


def post(app: Flask, token: str, key: str, number: int) -> tuple[int, str, str]:
    """Status, body, and whether it is the first answer again."""
    headers = {"Authorization": f"Bearer {token}", "Idempotency-Key": key}

    def call() -> tuple[int, str, str]:
        answer = FlaskClient(app, app.response_class).post("/api/v1/probe", json={"number": number}, headers=headers)
        return answer.status_code, answer.get_data(as_text=True), answer.headers.get("Idempotent-Replay", "")

    return Context().run(call)


def effects(app: Flask) -> int:
    with app.app_context():
        found = db.session.scalar(select(func.count()).where(AuditEntry.action == "probe.written")) or 0
        db.session.remove()
        return found


def at_once(app: Flask, calls: list[tuple[str, str, int]]) -> list[tuple[int, str, str]]:
    barrier, answers = threading.Barrier(len(calls)), []

    def one(token: str, key: str, number: int) -> None:
        barrier.wait()
        answers.append(post(app, token, key, number))

    threads = [threading.Thread(target=one, args=call) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


@pytest.mark.race
def test_check_c6_one_key_fifty_times_at_once_has_one_effect(committed: Any) -> None:
    app, token, other = committed
    answers = at_once(app, [(token, "k1", 5)] * CROWD)
    assert {(status, body) for status, body, _replay in answers} == {(200, answers[0][1])}
    assert [replay for _status, _body, replay in answers].count("true") == CROWD - 1
    assert effects(app) == 1
    assert post(app, token, "k1", 6)[0] == 422
    assert post(app, other, "k1", 6)[0] == 200, "another program's key is its own"
    assert effects(app) == 2


@pytest.mark.race
def test_check_c6_one_key_with_two_bodies_at_once_has_the_effect_of_one(committed: Any) -> None:
    app, token, _other = committed
    answers = at_once(app, [(token, "k1", n % 2) for n in range(20)])
    statuses = [status for status, _body, _replay in answers]
    assert (statuses.count(200), statuses.count(422), effects(app)) == (10, 10, 1)


@pytest.mark.race
def test_check_c6_has_teeth(committed: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Were the key looked up first and written after, as is often done, several calls would act."""
    app, token, _other = committed

    def careless(statement: Any) -> Any:
        return statement.on_conflict_do_update(
            index_elements=["api_key_id", "route", "key"], set_={"request_hash": statement.excluded.request_hash}
        )

    plain = idempotency.insert

    class Careless:
        def __init__(self, table: Any) -> None:
            self.statement = plain(table)

        def values(self, **values: Any) -> Careless:
            self.statement = self.statement.values(**values)
            return self

        def on_conflict_do_nothing(self) -> Any:
            return careless(self.statement)

    monkeypatch.setattr(idempotency, "insert", Careless)
    at_once(app, [(token, "k1", 5)] * CROWD)
    assert effects(app) > 1


def die(app: Flask, token: str, moment: str) -> None:
    """Send one request in this process, which is killed at a moment of it."""
    with app.app_context():
        # The parent's connections are not ours.
        db.engine.dispose(close=False)

        def kill(*_: object) -> None:
            os.kill(os.getpid(), signal.SIGKILL)

        if moment == "before the commit":
            event.listen(db.engine, "commit", kill)
        elif moment == "before the effect":
            event.listen(
                db.engine, "before_cursor_execute", lambda _c, _u, sql, *_: kill() if "audit_entry" in sql else None
            )
    post(app, token, "k1", 5)
    # The commit is done and nobody has read the answer.
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.fault
@pytest.mark.parametrize(
    ("moment", "kept"), [("before the effect", 0), ("before the commit", 0), ("before the reply", 1)]
)
def test_check_c6_a_server_that_dies_is_asked_again_and_there_is_one_effect(
    committed: Any, moment: str, kept: int
) -> None:
    app, token, _other = committed
    process = FORK.Process(target=die, args=(app, token, moment))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    assert effects(app) == kept
    first, again = post(app, token, "k1", 5), post(app, token, "k1", 5)
    assert (first[0], first[2]) == (200, "true" if kept else "")
    assert (first[1], again[2]) == (again[1], "true")
    assert effects(app) == 1
