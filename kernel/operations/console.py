"""Settings › Operations: what runs, what waits, and what was given up, with a button to try it again."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from apiflask import APIBlueprint
from flask import Flask, current_app, flash, redirect, render_template, request, url_for

from .. import events, journal, navigation, restoring
from ..auth import Role, grant, staff
from ..errors import NotFound
from ..i18n import gettext as _
from ..i18n import lazy_gettext as _l
from ..i18n import ngettext
from ..webhooks import queries as webhooks
from . import doubts, halted, labels, queries, sendings, services

bp = APIBlueprint("operations_console", __name__, url_prefix="/console/operations", enable_openapi=False)


def _now() -> dict[str, Any]:
    """What moves: the parts, the queues and what is being sent."""
    return {
        "parts": queries.parts(current_app.extensions["settings"]),
        "queues": labels.QUEUES,
        "leader": queries.leader(),
        "backlog": events.backlog(),
        "sendings": [one for answer in sendings.call() for one in answer],
    }


@bp.get("")
@staff("operations.view")
def index() -> Any:
    return render_template(
        "operations/index.html",
        **_now(),
        doubts=[one for answer in doubts.call() for one in answer],
        halted=[one for answer in halted.call() for one in answer],
        webhooks=webhooks.failing(),
        failed=queries.failed_jobs(),
        dead=queries.dead_deliveries(request.args.get("cursor")),
        backup=queries.last_backup(),
        journal_waits=journal.waiting(),
        journal_late=journal.late(),
        restored=restoring.state(),
    )


@bp.get("/now")
@staff("operations.view")
def now() -> Any:
    return render_template("operations/_now.html", **_now())


@bp.get("/restored")
@staff("operations.view")
def restored() -> Any:
    state = restoring.state()
    if state is None:
        raise NotFound
    return render_template(
        "operations/restored.html",
        state=state,
        at=datetime.fromisoformat(state["at"]),
        backup_at=datetime.fromisoformat(state["backup_at"]),
        released_at=datetime.fromisoformat(state["released_at"]) if state["released_at"] else None,
        taken=[(name, state["taken"][what]) for what, name in restoring.words.items() if state["taken"].get(what)],
        replays=_replays(state["journal"]),
    )


def _replays(stored: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The replays that did something, the latest first; the latest one is there in any case, for it tells what is missing."""
    shown = [one for one in stored[:-1] if one["carried_out"]] + stored[-1:]
    return [_replay(one) for one in reversed(shown)]


def _replay(stored: dict[str, Any]) -> dict[str, Any]:
    """A replay of the journal as the page shows it."""
    report = journal.Report(**{name: value for name, value in stored.items() if name != "at"})
    return {
        "at": datetime.fromisoformat(stored["at"]),
        "until": datetime.fromisoformat(report.until) if report.until else None,
        "report": report,
        "came": [(name, report.came[what]) for what, name in journal.outcomes.items() if report.came.get(what)],
    }


@bp.post("/restored/release")
@staff("operations.edit")
def release() -> Any:
    restoring.release()
    flash(_("The shop writes again. What stands still has to be looked at one by one."), "positive")
    return redirect(url_for(".restored"))


@bp.post("/jobs/<int:failed_id>/redrive")
@staff("operations.edit")
def redrive(failed_id: int) -> Any:
    services.redrive(failed_id)
    flash(_("It is being tried again. If it fails, it comes back here."), "positive")
    return redirect(url_for(".index"))


@bp.post("/jobs/<int:failed_id>/drop")
@staff("operations.edit")
def drop(failed_id: int) -> Any:
    services.drop(failed_id)
    flash(_("Dropped. The audit trail keeps what it was."), "positive")
    return redirect(url_for(".index"))


@bp.post("/events/<int:event_id>/<subscriber>/redrive")
@staff("operations.edit")
def redrive_delivery(event_id: int, subscriber: str) -> Any:
    services.redrive_delivery(event_id, subscriber)
    flash(_("It is being tried again. If it fails, it comes back here."), "positive")
    return redirect(url_for(".index"))


@bp.post("/events/<int:event_id>/<subscriber>/drop")
@staff("operations.edit")
def drop_delivery(event_id: int, subscriber: str) -> Any:
    services.drop_delivery(event_id, subscriber)
    flash(_("Dropped. The audit trail keeps what it was."), "positive")
    return redirect(url_for(".index"))


@bp.post("/events/redrive")
@staff("operations.edit")
def redrive_deliveries() -> Any:
    count = services.redrive_all_deliveries()
    flash(ngettext("%(num)s is being tried again.", "%(num)s are being tried again.", count), "positive")
    return redirect(url_for(".index"))


def init_app(app: Flask) -> None:
    grant("operations.view", Role.MANAGER)
    grant("operations.edit", Role.MANAGER)
    app.register_blueprint(bp)
    navigation.add("settings", _l("Operations"), "operations_console.index", "operations.view", order=70)
