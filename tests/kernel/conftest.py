"""An application with a few routes of its own, to see what the kernel makes of refusals, faults and repeated requests."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask, request
from sqlalchemy import select
from werkzeug.exceptions import ServiceUnavailable, TooManyRequests

from kernel import api_keys, audit, config, http
from kernel.app import create_app
from kernel.auth import api_scope, public, staff
from kernel.errors import InputInvalid, Refusal
from kernel.i18n import lazy_gettext as _l


class ProbeRefused(Refusal):
    """A refusal with a sentence that is filled in."""

    label = _l("%(count)s in all")
    title = "Refused on purpose"


class ProbeIn(http.Strict):
    word: http.Name
    at: http.Instant | None = None


class ProbeQuery(http.PageQuery):
    new: bool = False
    tag: list[str] = []


class ProbeOut(http.Strict):
    number: int
    word: str
    limit: int
    tags: list[str]
    at: http.Instant | None


class ProbeEntry(http.Strict):
    id: int


def _probe_routes(app: Flask) -> None:
    def fault() -> Any:
        audit.record("probe.faulted", "probe", 1)
        raise ZeroDivisionError("a secret in the fault")

    def refuse() -> Any:
        audit.record("probe.refused", "probe", 1)
        raise ProbeRefused(count=7, next_step=("/console/", "On"))

    def busy() -> Any:
        raise ServiceUnavailable(retry_after=30)

    def too_many() -> Any:
        raise TooManyRequests(retry_after=9)

    for face in ("/console/probe", "/probe"):
        for name, view in (("fault", fault), ("refuse", refuse), ("busy", busy), ("too-many", too_many)):
            app.add_url_rule(
                f"{face}/{name}", f"{face}-{name}", public("a test")(lambda view=view: view()), methods=["GET"]
            )

    bp = http.api_blueprint("probe_api", __name__)

    @bp.post("/probe")
    @api_scope("probe:write")
    @http.idempotent()
    def write() -> Any:
        body = request.get_json()
        audit.record("probe.written", "probe", body.get("number"))
        if body.get("refuse"):
            raise ProbeRefused(count=1)
        return {"number": body.get("number"), "word": "茶"}

    @bp.post("/probe/strict")
    @api_scope("probe:write")
    @http.idempotent(required=True)
    def strict() -> Any:
        audit.record("probe.written", "probe", 1)
        return {"done": True}, 201

    @bp.get("/probe/fault")
    @api_scope("probe:write")
    def api_fault() -> Any:
        raise ZeroDivisionError("a secret in the fault")

    @bp.get("/probe/invalid")
    @api_scope("probe:write")
    def invalid() -> Any:
        raise InputInvalid([("amount", "too much")])

    @bp.post("/probe/operations/<int:number>")
    @api_scope("probe:write")
    @http.idempotent()
    @http.operation("Probe", tag="Probe", takes=ProbeIn, query=ProbeQuery, answers={201: ProbeOut, 200: ProbeOut})
    def operate(number: int, body: ProbeIn, query: ProbeQuery) -> Any:
        audit.record("probe.written", "probe", number)
        answer = {"number": number, "word": body.word, "limit": query.limit, "tags": query.tag, "at": body.at}
        return (answer, 201) if query.new else answer

    @bp.get("/probe/entries")
    @api_scope("probe:write")
    @http.operation("List", tag="Probe", query=http.PageQuery, answers=http.Listed[ProbeEntry])
    def entries(query: http.PageQuery) -> Any:
        statement = select(audit.AuditEntry).where(audit.AuditEntry.action == "probe.listed")
        order = [audit.AuditEntry.id.desc()]
        return http.cursor_page(statement, order, query, lambda row: ProbeEntry(id=row.id))

    @bp.post("/probe/leak")
    @api_scope("probe:write")
    @http.operation("Leak", tag="Probe", answers=ProbeEntry)
    def leak() -> Any:
        return {"id": 1, "secret": "s"}

    app.register_blueprint(bp)
    app.extensions["csrf_protect"].exempt(bp)
    app.add_url_rule("/console/probe/staff", "probe-staff", staff("today.view")(lambda: "for staff"), methods=["GET"])


@pytest.fixture(scope="session")
def probe_app(app: Flask, settings: config.Settings) -> Iterator[Flask]:
    """The application with the routes above. Its database is the same; it is made after the usual one."""
    scopes = set(api_keys.SCOPES)
    made = create_app(
        settings, TESTING=True, WTF_CSRF_ENABLED=False, GROUP_COMMIT_INLINE=True, PROPAGATE_EXCEPTIONS=False
    )
    _probe_routes(made)
    made.test_client_class = app.test_client_class
    yield made
    api_keys.SCOPES.intersection_update(scopes)


@pytest.fixture
def api(probe_app: Flask, db: Any) -> Any:
    """`api("/api/v1/probe", json=…, key=…)` posts with an API key that may write probes; returns the answer."""
    _row, token = api_keys.create("probe", ["probe:write"])
    db.session.commit()
    client = probe_app.test_client()

    def post(path: str, *, key: str | None = None, token: str = token, method: str = "POST", **values: Any) -> Any:
        headers = {"Authorization": f"Bearer {token}", **({"Idempotency-Key": key} if key is not None else {})}
        return client.open(path, method=method, headers=headers, **values)

    return post
