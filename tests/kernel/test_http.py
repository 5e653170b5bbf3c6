"""Idempotency: one effect a key, whatever is repeated."""

from __future__ import annotations

import pytest
from sqlalchemy import func, select

from kernel import api_keys
from kernel.audit import AuditEntry


def written(db):
    return db.session.scalar(select(func.count()).where(AuditEntry.action == "probe.written"))


def test_the_same_key_and_body_give_the_same_answer_and_one_effect(db, api):
    first = api("/api/v1/probe", json={"number": 5}, key="k1")
    again = api("/api/v1/probe", json={"number": 5}, key="k1")
    assert first.json == again.json == {"number": 5, "word": "茶"}
    assert (first.status_code, again.status_code) == (200, 200)
    assert ("Idempotent-Replay" in first.headers, again.headers["Idempotent-Replay"]) == (False, "true")
    assert written(db) == 1


def test_the_same_key_and_another_body_are_refused(db, api):
    api("/api/v1/probe", json={"number": 5}, key="k1")
    answer = api("/api/v1/probe", json={"number": 6}, key="k1")
    assert (answer.status_code, answer.json["code"]) == (422, "idempotency_key_reused")
    assert answer.content_type == "application/problem+json"
    assert written(db) == 1


def test_another_key_is_another_request(db, api):
    for key in ("k1", "k2", None, None):
        assert api("/api/v1/probe", json={"number": 5}, key=key).status_code == 200
    assert written(db) == 4


def test_a_key_belongs_to_its_address(db, api):
    assert api("/api/v1/probe/strict", json={}, key="k1").status_code == 201
    assert api("/api/v1/probe", json={"number": 1}, key="k1").status_code == 200
    replay = api("/api/v1/probe/strict", json={}, key="k1")
    assert (replay.status_code, replay.json) == (201, {"done": True})
    assert written(db) == 2


def test_a_key_belongs_to_its_sender(db, api):
    _row, other = api_keys.create("other", ["probe:write"])
    api("/api/v1/probe", json={"number": 5}, key="k1")
    assert api("/api/v1/probe", json={"number": 6}, key="k1", token=other).json["number"] == 6
    assert written(db) == 2


def test_a_refused_request_is_judged_anew(db, api):
    first = api("/api/v1/probe", json={"refuse": True}, key="k1")
    assert (first.status_code, written(db)) == (409, 0)
    assert api("/api/v1/probe", json={"number": 5}, key="k1").status_code == 200
    assert written(db) == 1


@pytest.mark.parametrize("key", ["", "x" * 256, "a\tb", "\x7f"])
def test_an_unusable_key_is_refused(db, api, key):
    answer = api("/api/v1/probe", json={"number": 5}, key=key)
    assert (answer.status_code, answer.json["code"]) == (422, "idempotency_key_invalid")
    assert written(db) == 0


def test_where_a_key_is_needed_it_is_asked_for(db, api):
    assert api("/api/v1/probe/strict", json={}).status_code == 422
    assert written(db) == 0


def test_the_longest_key_is_taken(api):
    assert api("/api/v1/probe", json={"number": 5}, key="x" * 255).status_code == 200
