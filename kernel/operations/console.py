"""Settings › Operations: what runs, what waits, and what was given up, with a button to try it again."""

from __future__ import annotations

from typing import Any

from apiflask import APIBlueprint
from flask import Flask, current_app, flash, redirect, render_template, request, url_for

from .. import events, navigation
from ..auth import Role, grant, staff
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
    )


@bp.get("/now")
@staff("operations.view")
def now() -> Any:
    return render_template("operations/_now.html", **_now())


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
    flash(ngettext("%(num)d is being tried again.", "%(num)d are being tried again.", count), "positive")
    return redirect(url_for(".index"))


def init_app(app: Flask) -> None:
    grant("operations.view", Role.MANAGER)
    grant("operations.edit", Role.MANAGER)
    app.register_blueprint(bp)
    navigation.add("settings", _l("Operations"), "operations_console.index", "operations.view", order=70)
