"""The page for staff: what checking in is worth, how many do, and whose streak is longest."""

from __future__ import annotations

from typing import Any

from apiflask import APIBlueprint
from flask import flash, redirect, render_template, request, url_for

from kernel import audit, editions
from kernel.auth import staff
from kernel.errors import Refusal
from kernel.i18n import gettext as _
from kernel.pages import capped_count, csv_response, keyset, search_chip, searched

from . import queries, rules, services
from .forms import ProgramForm

bp = APIBlueprint(
    "checkins_console", __name__, url_prefix="/console", template_folder="templates", enable_openapi=False
)


def _page(form: ProgramForm, status: int = 200) -> Any:
    words = searched()
    found, everybody = queries.alive(words), capped_count(queries.alive())
    page = keyset(found, queries.ALIVE_ORDER, request.args.get("cursor"))
    days = queries.by_day()
    return render_template(
        "checkins/index.html",
        form=form,
        program=queries.program(),
        page=page,
        rows=[row[:2] for row in page.rows],
        count=capped_count(found) if words else everybody,
        everybody=everybody,
        chips_on=search_chip(words),
        today=days[-1][1],
        days=[{"label": f"{day:%m-%d}", "value": number, "text": str(number)} for day, number in days],
        rules=rules,
    ), status


@bp.get("/check-ins")
@staff("posts.view")
def index() -> Any:
    form, program = ProgramForm(formdata=None), queries.program()
    form.enabled.data, form.points.data = program.enabled, program.points
    form.bonuses.data = "\n".join(f"{days} {points}" for days, points in sorted(program.bonuses.items()))
    editions.show(form, program.dump())
    return _page(form)


@bp.post("/check-ins")
@staff("groups.edit")
def save() -> Any:
    form = ProgramForm()
    if not form.validate():
        return _page(form, 422)
    if editions.overtaken(form, lambda: queries.program().dump(), by=("checkins.saved",)):
        return _page(form, 409)
    try:
        services.save_program(bool(form.enabled.data), form.points.data or 0, form.bonuses.data or "")
    except Refusal as refusal:
        form.refuse(getattr(refusal, "field", "points"), refusal)
        return _page(form, 422)
    flash(_("Saved. It holds for check-ins from now on."), "positive")
    return redirect(url_for(".index"))


@bp.post("/check-ins/export")
@staff("members.export")
def export() -> Any:
    rows = queries.export(searched())
    audit.record("checkins.exported", "member", None, after={"number": len(rows)})
    header = [_("Member"), _("Days in a row"), _("Last check-in"), _("Points of that day")]
    return csv_response(
        "check-ins.csv",
        header,
        [(member.shown_name, row.streak, row.on.isoformat(), row.points) for row, member in rows],
    )
