"""The conventions of the REST interface: one effect a key, strict bodies and queries, paged lists, pace and age of keys."""

from __future__ import annotations

from datetime import timedelta

import pytest
from redis import Redis
from sqlalchemy import func, select

from kernel import api_keys, audit
from kernel.audit import AuditEntry
from kernel.idempotency import sweep_idempotency_records


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


@pytest.mark.parametrize("key", ["", "x" * 256, "a\tb", "\x7f", "é", "\xa0"])
def test_an_unusable_key_is_refused(db, api, key):
    answer = api("/api/v1/probe", json={"number": 5}, key=key)
    assert (answer.status_code, answer.json["code"]) == (422, "idempotency_key_invalid")
    assert written(db) == 0


def test_where_a_key_is_needed_it_is_asked_for(db, api):
    assert api("/api/v1/probe/strict", json={}).status_code == 422
    assert written(db) == 0


def test_the_longest_key_is_taken(api):
    assert api("/api/v1/probe", json={"number": 5}, key="x" * 255).status_code == 200


# ── Operations ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_operation_reads_body_and_query_and_writes_its_model(api):
    body = {"word": "茶", "at": "2026-03-03T12:00:00+08:00"}
    answer = api("/api/v1/probe/operations/7?limit=5&tag=a&tag=b&new=true", json=body)
    assert answer.status_code == 201
    assert answer.json == {"number": 7, "word": "茶", "limit": 5, "tags": ["a", "b"], "at": "2026-03-03T12:00:00+08:00"}
    assert api("/api/v1/probe/operations/7", json=body).status_code == 200


@pytest.mark.parametrize(
    ("query", "body", "param"),
    [
        ("", {}, "word"),
        ("", {"word": 5}, "word"),
        ("", {"word": ""}, "word"),
        ("", {"word": "  "}, "word"),
        ("", {"word": "a\u0000b"}, "word"),
        ("", {"word": "茶", "more": 1}, "more"),
        ("", {"word": "茶", "at": "1767225600"}, "at"),
        ("", {"word": "茶", "at": "2026-03-03T12:00:00"}, "at"),
        ("", [], "body"),
        ("limit=0", {"word": "茶"}, "limit"),
        ("limit=101", {"word": "茶"}, "limit"),
        ("limit=5.0", {"word": "茶"}, "limit"),
        ("limit=٥", {"word": "茶"}, "limit"),
        ("limit=1&limit=2", {"word": "茶"}, "limit"),
        ("new=yes", {"word": "茶"}, "new"),
        ("unknown=1", {"word": "茶"}, "unknown"),
    ],
)
def test_an_operation_refuses_what_its_models_do_not_say(db, api, query, body, param):
    answer = api(f"/api/v1/probe/operations/7?{query}", json=body)
    assert (answer.status_code, answer.json["code"]) == (422, "input_invalid")
    assert answer.json["errors"][0]["param"] == param
    assert written(db) == 0


@pytest.mark.parametrize("text", [b"", b"{", b'{"word": "\xff"}', b"[" * 100_000, b'{"word": "\\ud800"}'])
def test_what_is_no_json_is_refused(api, text):
    answer = api("/api/v1/probe/operations/7", data=text, content_type="application/json")
    assert (answer.status_code, answer.json["code"]) == (422, "input_invalid")


def test_only_json_is_taken(api):
    answer = api("/api/v1/probe/operations/7", data="word=1", content_type="text/plain")
    assert (answer.status_code, answer.json["code"]) == (415, "media_type_unsupported")


def test_a_number_beyond_every_row_is_not_found(api):
    assert api(f"/api/v1/probe/operations/{2**63}", json={"word": "茶"}).status_code == 404


def test_the_same_key_with_another_query_is_refused(db, api):
    assert api("/api/v1/probe/operations/7?new=true", json={"word": "茶"}, key="k").status_code == 201
    assert api("/api/v1/probe/operations/7", json={"word": "茶"}, key="k").json["code"] == "idempotency_key_reused"
    assert written(db) == 1


def test_a_list_is_paged_to_its_end_by_cursor(db, api):
    for number in range(7):
        audit.record("probe.listed", "probe", number)
    seen, address = [], "/api/v1/probe/entries?limit=3"
    while address:
        page = api(address, method="GET").json
        seen.append([one["id"] for one in page["items"]])
        address = page["next_cursor"] and f"/api/v1/probe/entries?limit=3&cursor={page['next_cursor']}"
    assert [len(page) for page in seen] == [3, 3, 1]
    flat = [number for page in seen for number in page]
    assert flat == sorted(set(flat), reverse=True)


@pytest.mark.parametrize("cursor", ["x", "WyJwIiw1XQ", "W10", "5", "%00"])
def test_a_cursor_of_nobody_is_refused_instead_of_starting_over(api, cursor):
    answer = api(f"/api/v1/probe/entries?cursor={cursor}", method="GET")
    assert (answer.status_code, answer.json["errors"][0]["param"]) == (422, "cursor")


def test_nothing_goes_out_that_the_model_does_not_declare(api):
    answer = api("/api/v1/probe/leak")
    assert answer.status_code == 500
    assert "secret" not in answer.get_data(as_text=True)


def test_a_body_beyond_the_limit_is_refused(api):
    answer = api("/api/v1/probe/operations/7", data=b" " * (8 * 2**20 + 1), content_type="application/json")
    assert (answer.status_code, answer.content_type) == (413, "application/problem+json")


# ── Pace and age of keys ────────────────────────────────────────────────────────────────────────────────────────────


def test_a_key_that_asks_too_often_is_told_to_wait(db, api, clock):
    _row, slow = api_keys.create("slow", ["probe:write"], per_minute=3)
    clock.at(clock.now().replace(second=20))
    assert [api("/api/v1/probe", json={}, token=slow).status_code for _ in range(3)] == [200] * 3
    refused = api("/api/v1/probe", json={}, token=slow)
    assert (refused.status_code, refused.json["code"], refused.headers["Retry-After"]) == (
        429,
        "too_many_requests",
        "40",
    )
    assert api("/api/v1/probe", json={}).status_code == 200, "another key has a pace of its own"
    clock.move(seconds=40)
    assert api("/api/v1/probe", json={}, token=slow).status_code == 200


def test_calls_pass_while_the_counter_is_out_of_reach(monkeypatch, db, api):
    _row, slow = api_keys.create("slow", ["probe:write"], per_minute=1)
    monkeypatch.setattr(api_keys, "_counter", lambda _url: Redis(port=1, socket_connect_timeout=0.1))
    assert [api("/api/v1/probe", json={}, token=slow).status_code for _ in range(3)] == [200] * 3
    monkeypatch.setattr(api_keys, "_away_until", 0.0)


def test_a_key_ends_when_it_was_to_end(db, api, clock):
    _row, brief = api_keys.create("brief", ["probe:write"], expires_at=clock.now() + timedelta(days=1))
    assert api("/api/v1/probe", json={}, token=brief).status_code == 200
    clock.move(days=1)
    assert (api("/api/v1/probe", json={}, token=brief).status_code) == 401


# ── How long answers are kept ───────────────────────────────────────────────────────────────────────────────────────


def test_answers_are_kept_for_a_day_and_swept_after_two(db, api, clock):
    first = api("/api/v1/probe", json={"number": 5}, key="k1")
    clock.move(hours=24)
    sweep_idempotency_records()
    assert api("/api/v1/probe", json={"number": 5}, key="k1").headers["Idempotent-Replay"] == "true"
    clock.move(hours=25)
    sweep_idempotency_records()
    again = api("/api/v1/probe", json={"number": 5}, key="k1")
    assert (again.json, "Idempotent-Replay" in again.headers, written(db)) == (first.json, False, 2)
