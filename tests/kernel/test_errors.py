"""What a refusal and a fault look like: a page of the console or the portal, a fragment, or a problem document."""

from __future__ import annotations

import errno

import psycopg
import pytest
from sqlalchemy import func, select
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from kernel import api_keys, errors
from kernel import db as kernel_db
from kernel.audit import AuditEntry
from kernel.auth import Role
from kernel.staff import services as staff_services


@pytest.fixture
def browser(probe_app, db):
    return probe_app.test_client()


def recorded(db):
    return db.session.scalar(select(func.count()).where(AuditEntry.action.like("probe.%")))


@pytest.mark.parametrize(
    ("face", "body"), [("/console/probe", 'data-face="console"'), ("/probe", 'data-face="portal"')]
)
def test_a_refusal_is_a_page_of_its_face_and_changes_nothing(db, browser, face, body):
    answer = browser.get(f"{face}/refuse", headers={"Accept-Language": "en"})
    assert answer.status_code == 409
    assert body in answer.text
    assert "7 in all" in answer.text
    assert 'href="/console/"' in answer.text
    assert recorded(db) == 0


def test_a_refusal_speaks_the_readers_language(browser):
    assert "共 7 条" in browser.get("/probe/refuse", headers={"Accept-Language": "zh-CN"}).text


@pytest.mark.parametrize("face", ["/console/probe", "/probe"])
def test_a_fragment_gets_a_fragment(browser, face):
    answer = browser.get(f"{face}/refuse", headers={"HX-Request": "true"})
    assert "<html" not in answer.text
    assert answer.status_code in (200, 409)


@pytest.mark.parametrize("path", ["/console/probe/fault", "/probe/fault"])
def test_a_fault_is_a_page_without_its_insides_and_changes_nothing(db, browser, path):
    answer = browser.get(path)
    assert answer.status_code == 500
    assert "data-face=" in answer.text
    assert "secret" not in answer.text
    assert "Traceback" not in answer.text
    assert recorded(db) == 0


@pytest.mark.parametrize(("name", "status", "wait"), [("busy", 503, "30"), ("too-many", 429, "9")])
def test_who_shall_wait_is_told_how_long(browser, name, status, wait):
    answer = browser.get(f"/probe/{name}")
    assert (answer.status_code, answer.headers["Retry-After"]) == (status, wait)


@pytest.mark.parametrize(
    ("path", "method", "status", "body"),
    [
        ("/console/nothing", "GET", 404, 'data-face="console"'),
        ("/nothing", "GET", 404, 'data-face="portal"'),
        ("/probe/refuse", "POST", 405, 'data-face="portal"'),
        ("/console/sign-in", "DELETE", 405, 'data-face="console"'),
    ],
)
def test_what_is_not_there_is_a_page(browser, path, method, status, body):
    answer = browser.open(path, method=method)
    assert (answer.status_code, body in answer.text) == (status, True)


@pytest.mark.parametrize(
    ("path", "method", "status", "code"),
    [
        ("/api/v1/nothing", "GET", 404, "not_found"),
        ("/api/v1/probe", "GET", 405, "method_not_allowed"),
        ("/api/v1/probe/fault", "GET", 500, "fault"),
        ("/api/v1/probe/invalid", "GET", 422, "input_invalid"),
    ],
)
def test_programs_get_a_problem_document(api, path, method, status, code):
    answer = api(path, method=method)
    assert (answer.status_code, answer.content_type) == (status, "application/problem+json")
    assert (answer.json["status"], answer.json["code"]) == (status, code)
    assert answer.json["detail"]
    assert "secret" not in answer.text


def test_mistakes_of_input_are_listed(api):
    assert api("/api/v1/probe/invalid", method="GET").json["errors"] == [{"param": "amount", "detail": "too much"}]


@pytest.mark.parametrize(("token", "code"), [("x", "api_key_refused"), ("", "api_key_missing")])
def test_a_program_without_a_key_gets_a_problem_document(api, token, code):
    answer = api("/api/v1/probe", json={}, token=token)
    assert (answer.status_code, answer.json["code"]) == (401, code)


def test_a_refusal_knows_its_name_and_its_sentence():
    class OutOfTea(errors.Refusal):
        label = "%(left)s left"

    class Plain(errors.Refusal):
        label = "100% sure"

    assert (OutOfTea().code, str(OutOfTea(left=3))) == ("out_of_tea", "3 left")
    assert str(Plain()) == "100% sure"


def test_json_without_end_is_the_senders_mistake(client, db):
    """Check H3: JSON nested a hundred thousand deep is refused and not a fault."""
    from kernel import api_keys

    _, token = api_keys.create("till", ["coupons:redeem"])
    deep = b"[" * 100_000 + b"]" * 100_000
    answer = client.post(
        "/api/v1/coupons/redeem",
        data=deep,
        content_type="application/json",
        headers={"Authorization": f"Bearer {token}"},
    )
    assert 400 <= answer.status_code < 500
    assert answer.content_type == "application/problem+json"


def away(kind: type[psycopg.Error] = psycopg.OperationalError) -> OperationalError:
    return OperationalError("SELECT 1", {}, kind("connection refused by 10.0.0.7"))


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        (psycopg.OperationalError, 503),
        (psycopg.errors.TooManyConnections, 503),
        (psycopg.errors.CannotConnectNow, 503),
        (psycopg.errors.AdminShutdown, 503),
        (psycopg.errors.DiskFull, 507),
        # A statement that took too long is a fault of ours, not of the server's.
        (psycopg.errors.QueryCanceled, 500),
    ],
)
def test_check_g4_who_is_signed_in_is_told_when_the_database_is_away(staff_client, monkeypatch, kind, status):
    browser = staff_client(Role.MANAGER)

    def asks(_token: str) -> None:
        raise away(kind)

    monkeypatch.setattr(staff_services, "staff_of_session", asks)
    answer = browser.get("/console/members", headers={"Accept-Language": "en"})
    assert answer.status_code == status
    assert "Nothing was changed" in answer.text or "try again in a moment" in answer.text
    assert "10.0.0.7" not in answer.text
    assert ("Retry-After" in answer.headers) is (status != 500)


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        (away(), 503, "unavailable"),
        (away(psycopg.errors.DiskFull), 507, "no_room"),
        (PoolTimeout("no connection within 10 s"), 503, "unavailable"),
        (OSError(errno.ENOSPC, "No space left on device"), 507, "no_room"),
        (OSError(errno.EIO, "a broken disk"), 500, "fault"),
    ],
)
def test_programs_are_told_what_passes_by_itself(probe_app, db, fault, status, code):
    with probe_app.test_request_context("/api/v1/probe"):
        answer = probe_app.make_response(probe_app.handle_user_exception(fault))
    assert (answer.status_code, answer.json["code"]) == (status, code)
    assert answer.headers.get("Retry-After") == ("5" if status != 500 else None)


@pytest.mark.parametrize(
    ("kind", "status"),
    [(psycopg.OperationalError, 503), (psycopg.errors.DiskFull, 507), (psycopg.errors.QueryCanceled, 500)],
)
def test_who_asked_is_told_when_the_commit_of_the_request_fails(probe_app, db, monkeypatch, kind, status):
    def commit() -> None:
        raise away(kind)

    _key, token = api_keys.create("till", ["probe:write"])
    browser = probe_app.test_client()
    monkeypatch.setattr(kernel_db, "commit", commit)
    for path, kept in (("/me/sign-in", "text/html"), ("/api/v1/probe/entries", "application/problem+json")):
        answer = browser.get(path, headers={"Authorization": f"Bearer {token}"} if "api" in path else {})
        assert (answer.status_code, answer.mimetype) == (status, kept)
        assert answer.headers.get("Retry-After") == ("5" if status != 500 else None)
