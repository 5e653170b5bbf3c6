"""Touchpoints: the list, one with its trend and its funnel, the matrix, and who stands behind a number."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime, timedelta
from typing import Any

from apiflask import APIBlueprint
from flask import flash, redirect, render_template, request, url_for

from campaigns.results import funnel as funnels
from campaigns.results import labels as result_labels
from kernel import clock, editions, once
from kernel.auth import staff
from kernel.errors import NotFound, Refusal
from kernel.i18n import gettext as _
from kernel.i18n import ngettext
from kernel.pages import (
    TooSlow,
    capped_count,
    chosen,
    csv_response,
    instants,
    keyset,
    patience,
    period,
    search_chip,
    searched,
)
from kernel.staff import services as colleagues

from . import labels, queries, rules, services
from .forms import TouchpointForm
from .models import Stage, TouchKind

bp = APIBlueprint(
    "touchpoints_console",
    __name__,
    url_prefix="/console/touchpoints",
    template_folder="templates",
    enable_openapi=False,
)
# Whoever waits longer for a page asks for less.
PATIENCE = 20.0


def _tabs(here: str) -> list[tuple[Any, str, bool]]:
    places = [("index", _("List")), ("matrix", _("Importance and performance"))]
    return [(label, url_for(f".{endpoint}"), endpoint == here) for endpoint, label in places]


def _quick() -> list[tuple[int, date]]:
    return [(days, clock.today() - timedelta(days=days - 1)) for days in (30, 90, 180)]


# ── The list ────────────────────────────────────────────────────────────────────────────────────────────────────────


def _wanted() -> tuple[list[queries.Listed], list[tuple[str, str, Any]]]:
    """The touchpoints that the filters leave, and the filters' words."""
    found, chips = queries.everything(), []
    q = searched()
    stage, kind, state = chosen(Stage, "stage"), chosen(TouchKind, "kind"), request.args.get("state", "")
    if q:
        found = [one for one in found if q.casefold() in f"{one.name} {one.notes}".casefold()]
        chips += search_chip(q)
    if stage is not None:
        found = [one for one in found if one.stage is stage]
        chips.append(("stage", stage.value, labels.STAGES[stage]))
    if kind is not None:
        found = [one for one in found if one.kind is kind]
        chips.append(("kind", kind.value, labels.KINDS[kind]))
    if state in ("on", "off"):
        found = [one for one in found if one.active is (state == "on")]
        chips.append(("state", state, _("In use") if state == "on" else _("Not in use")))
    return found, chips


def _sums(first: date, last: date) -> dict[str, rules.Tally]:
    with patience(PATIENCE):
        found = queries.tallies(*instants(first, last))
    return {ref: sum(weeks, rules.Tally()) for ref, weeks in found.items()}


def _sorted(found: list[queries.Listed], sums: dict[str, rules.Tally]) -> list[queries.Listed]:
    sort = request.args.get("sort", "")
    keys: dict[str, Any] = {
        "name": lambda one: one.name,
        "met": lambda one: sums.get(one.ref, rules.Tally()).met,
        "importance": lambda one: one.importance or 0,
    }
    key = keys.get(sort.removeprefix("-"))
    return sorted(found, key=key, reverse=sort.startswith("-")) if key else found


@bp.get("")
@staff("touchpoints.view")
def index() -> Any:
    first, last = period()
    found, chips = _wanted()
    sums = _sums(first, last)
    return render_template(
        "touchpoints/index.html",
        tabs_on=_tabs("index"),
        rows=_sorted(found, sums),
        chips_on=chips,
        sums=sums,
        counted_at=queries.counted_at(*instants(first, last)),
        names=colleagues.names(),
        first=first,
        last=last,
        quick=_quick(),
        today=clock.today(),
        labels=labels,
    )


@bp.get("/export")
@staff("touchpoints.view")
def export() -> Any:
    first, last = period()
    found, _chips = _wanted()
    sums, names = _sums(first, last), colleagues.names()
    header = [
        _("Touchpoint"), _("Stage"), _("Kind"), _("In use"), _("Responsible"), _("Importance"), _("Meetings"),
        _("Responded"), _("Stars given"), _("Mean of the stars"), _("Names of its links"), _("Notes"),
    ]  # fmt: skip
    return csv_response(f"touchpoints-{first}-{last}.csv", header, _lines(_sorted(found, sums), sums, names))


def _lines(found: list[queries.Listed], sums: dict[str, rules.Tally], names: dict[int, str]) -> Iterator[list[Any]]:
    for one in found:
        tally = sums.get(one.ref, rules.Tally())
        yield [
            one.name, labels.STAGES[one.stage], labels.KINDS[one.kind], _("Yes") if one.active else _("No"),
            names.get(one.owner_id or 0, ""), one.importance or "", tally.met if one.recorded else "",
            tally.answered if one.answer else "", tally.rated or "",
            f"{tally.mean_stars:.2f}" if tally.mean_stars is not None else "", ", ".join(one.sources), one.notes,
        ]  # fmt: skip


@bp.post("/switch")
@staff("touchpoints.edit")
def switch() -> Any:
    active = request.form.get("to") == "on"
    changed = services.set_active(request.form.getlist("ids")[:200], active)
    flash(
        ngettext("One touchpoint is switched on.", "%(num)s touchpoints are switched on.", changed)
        if active
        else ngettext("One touchpoint is switched off.", "%(num)s touchpoints are switched off.", changed),
        "positive",
    )
    return redirect(url_for(".index"), 303)


# ── Entering and changing ───────────────────────────────────────────────────────────────────────────────────────────


def _form(one: queries.Listed | None, filled: bool) -> TouchpointForm:
    """The form of a touchpoint, filled with what is stored; what cannot be changed is not in it."""
    if one is None:
        form = TouchpointForm()
    else:
        values = {
            "name": one.name, "kind": one.kind.value, "stage": one.stage.value, "active": one.active,
            "owner_id": str(one.owner_id or ""), "importance": str(one.importance or ""), "notes": one.notes,
            "sources": "\n".join(one.sources),
        }  # fmt: skip
        form = TouchpointForm(present_owner=one.owner_id, **(values if filled else {}))
    if one is not None and not one.own:
        del form.kind
        if not one.takes_links:
            del form.sources
    return form


def _form_page(form: TouchpointForm, one: queries.Listed | None, status: int = 200) -> Any:
    return render_template("touchpoints/edit.html", form=form, one=one, labels=labels), status


_FIELDS = {
    services.NameTaken: "name",
    services.SourceTaken: "sources",
    services.TooManySources: "sources",
    services.OwnerUnknown: "owner_id",
}


def _refused(form: TouchpointForm, refusal: Refusal) -> bool:
    """Put a refusal beside the field that it concerns; whether it concerns one."""
    field = _FIELDS.get(type(refusal), "")
    if field not in form:
        return False
    form.refuse(field, refusal.message)
    return True


@bp.get("/new")
@staff("touchpoints.edit")
def new() -> Any:
    return _form_page(once.show(_form(None, True)), None)


@bp.post("/new")
@staff("touchpoints.edit")
def add() -> Any:
    form = _form(None, False)
    if not form.validate():
        return _form_page(form, None, 422)
    if once.done_before():
        return redirect(url_for(".index"), 303)
    try:
        ref = services.add(form.draft_of())
    except Refusal as refusal:
        if not _refused(form, refusal):
            raise
        return _form_page(form, None, 422)
    flash(_("The touchpoint is in the list."), "positive")
    return redirect(url_for(".show", ref=ref), 303)


@bp.get("/<ref>/edit")
@staff("touchpoints.edit")
def edit(ref: str) -> Any:
    one = queries.get_listed(ref)
    form = _form(one, True)
    editions.show(form, _shown(one))
    return _form_page(form, one)


def _shown(one: queries.Listed) -> Any:
    return one.name, one.kind, one.stage, one.active, one.owner_id, one.importance, one.notes, one.sources


def _overtaken(form: TouchpointForm, ref: str) -> bool:
    """Whether somebody has changed a touchpoint meanwhile: a ready-made one has no row until they do."""
    services.one_at_a_time()
    row = queries.get_row(ref)
    rows = [] if row is None else [row]
    return editions.overtaken(form, lambda: _shown(queries.listed_anew(ref)), *rows, by=_CHANGED)


_CHANGED = ("touchpoint.added", "touchpoint.changed", "touchpoint.switched")


@bp.post("/<ref>/edit")
@staff("touchpoints.edit")
def change(ref: str) -> Any:
    one = queries.get_listed(ref)
    form = _form(one, False)
    if not form.validate():
        return _form_page(form, one, 422)
    if _overtaken(form, ref):
        return _form_page(form, one, 409)
    try:
        services.edit(ref, form.draft_of(None if one.own else one.kind))
    except Refusal as refusal:
        if not _refused(form, refusal):
            raise
        return _form_page(form, one, 422)
    flash(_("Saved."), "positive")
    return redirect(url_for(".show", ref=ref), 303)


@bp.post("/<ref>/remove")
@staff("touchpoints.edit")
def remove(ref: str) -> Any:
    services.remove(ref)
    flash(_("The touchpoint is removed. What members did stays where it is recorded."), "positive")
    return redirect(url_for(".index"), 303)


# ── The matrix ──────────────────────────────────────────────────────────────────────────────────────────────────────


def _matrix() -> tuple[queries.Matrix, date, date]:
    first, last = period(90)
    with patience(PATIENCE):
        return queries.matrix(*instants(first, last), entered=request.args.get("by") != "measured"), first, last


# The picture of the matrix, in its own units: the two axes from 1 to 5, and how far two dots keep from one another.
LEFT, RIGHT, TOP, BOTTOM, APART = 46.0, 626.0, 34.0, 384.0, 23.0


def _across(score: float) -> float:
    return LEFT + (RIGHT - LEFT) * (score - rules.LOWEST) / (rules.HIGHEST - rules.LOWEST)


def _down(score: float) -> float:
    return BOTTOM - (BOTTOM - TOP) * (score - rules.LOWEST) / (rules.HIGHEST - rules.LOWEST)


def _dots(found: queries.Matrix) -> list[tuple[queries.Point, float, float]]:
    """Where each dot is drawn: at its place, or beside it where another one lies there already."""
    dots: list[tuple[queries.Point, float, float]] = []
    for point in found.placed:
        x = min(max(_across(point.performance.score or 0), LEFT + 12), RIGHT - 12)
        y = min(max(_down(point.importance or 0), TOP + 12), BOTTOM - 12)
        while any(abs(x - there) < APART and abs(y - down) < APART for _point, there, down in dots):
            x += APART
            if x > RIGHT - 12:
                x, y = LEFT + 12, y - APART if y - APART > TOP else y + APART
        dots.append((point, x, y))
    return dots


@bp.get("/matrix")
@staff("touchpoints.view")
def matrix() -> Any:
    found, first, last = _matrix()
    return render_template(
        "touchpoints/matrix.html",
        tabs_on=_tabs("matrix"),
        matrix=found,
        counted_at=queries.counted_at(*instants(first, last)),
        first=first,
        last=last,
        quick=_quick(),
        today=clock.today(),
        labels=labels,
        rules=rules,
        dots=_dots(found),
        cross=(_across(found.lines.performance), _down(found.lines.importance)),
        box=(LEFT, RIGHT, TOP, BOTTOM),
        across=_across,
        down=_down,
    )


@bp.get("/matrix/export")
@staff("touchpoints.view")
def matrix_export() -> Any:
    found, first, last = _matrix()
    header = [
        _("No."), _("Touchpoint"), _("Stage"), _("Importance entered"), _("Buyers who met it before"), _("Buyers"),
        _("Importance measured"), _("Importance taken"), _("Meetings"), _("Responded"), _("Usual rate"), _("Stars given"),
        _("Mean of the stars"), _("Performance"), _("Where it comes from"), _("Quadrant"),
    ]  # fmt: skip
    return csv_response(f"importance-performance-{first}-{last}.csv", header, _matrix_lines(found))


def _figure(value: float | None, digits: int = 2) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _matrix_lines(found: queries.Matrix) -> Iterator[list[Any]]:
    for point in found.points:
        one, tally = point.listed, point.tally
        yield [
            point.number, one.name, labels.STAGES[one.stage], one.importance or "", point.buyers, found.buyers,
            _figure(point.measured), _figure(point.importance), tally.met, tally.answered if one.answer else "",
            _figure(point.usual, 4), tally.rated or "", _figure(tally.mean_stars), _figure(point.performance.score),
            labels.BASES[point.performance.basis], labels.QUADRANTS[point.quadrant] if point.quadrant else "",
        ]  # fmt: skip


# ── One touchpoint ──────────────────────────────────────────────────────────────────────────────────────────────────


def _trend(weeks: list[rules.Tally], last: date) -> list[dict[str, Any]]:
    """The weeks as the chart and the table show them; each is called by its first day."""
    rows = []
    for back, tally in enumerate(reversed(weeks)):
        begins = last - timedelta(days=7 * back + 6)
        rows.append(
            {
                "label": f"{begins:%m-%d}",
                "value": tally.met,
                "text": f"{tally.met:,}",
                "tally": tally,
            }
        )
    return rows[::-1]


def _followed(
    ref: str, since: datetime, until: datetime, one_in: int
) -> tuple[list[dict[str, Any]], queries.After] | None:
    """The funnel of those who met a touchpoint and what followed; None where that takes too long."""
    try:
        with patience(PATIENCE):
            steps = result_labels.funnel_rows(queries.steps(ref, since, until, one_in))
            return steps, queries.after(ref, since, until, one_in)
    except TooSlow:
        return None


@bp.get("/<ref>")
@staff("touchpoints.view")
def show(ref: str) -> Any:
    one = queries.get_listed(ref)
    first, last = period()
    since, until = instants(first, last)
    begins = min(since, until - rules.WEEKS * queries.WEEK)
    with patience(PATIENCE):
        weeks = queries.tallies(begins, until, [ref]).get(ref, [])
        people = queries.people_of(since, until, [ref]).get(ref, 0)
        tally = sum(queries.tallies(since, until, [ref]).get(ref, []), rules.Tally())
    one_in = rules.one_in(people, rules.FOLLOWED)
    found = _followed(ref, since, until, one_in) if people else ([], queries.After())
    steps, after = found or ([], queries.After())
    return render_template(
        "touchpoints/show.html",
        one=one,
        people=people,
        tally=tally,
        trend=_trend(weeks, last),
        steps=steps,
        after=after,
        too_slow=found is None,
        # A week is the shortest time that still has every day of the week in it.
        shorter=last - timedelta(days=6) if (last - first).days > 6 else None,
        one_in=one_in,
        off_by=round(100 * rules.off_by(people // one_in), 1),
        counted_at=queries.counted_at(since, until),
        before_days=rules.BEFORE.days,
        names=colleagues.names(),
        first=first,
        last=last,
        quick=_quick(),
        today=clock.today(),
        labels=labels,
    )


@bp.get("/<ref>/people")
@staff("members.view")
def people(ref: str) -> Any:
    one = queries.get_listed(ref)
    action = request.args.get("action", "")
    if action and action not in funnels.ACTIONS:
        raise NotFound
    first, last = period()
    statement = queries.members_who(ref, action, *instants(first, last))
    with patience(PATIENCE):
        page = keyset(statement, queries.MEMBER_ORDER, request.args.get("cursor"))
        count = capped_count(statement)
    return render_template(
        "touchpoints/people.html",
        one=one,
        action=action,
        action_label=result_labels.ACTIONS[action] if action else None,
        page=page,
        count=count,
        first=first,
        last=last,
    )
