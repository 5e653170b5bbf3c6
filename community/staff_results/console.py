"""Pages: the board for those who lead, everybody's own results, and the rows behind each number."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from typing import Any

from apiflask import APIBlueprint
from flask import render_template, request, url_for

from kernel import clock
from kernel.auth import ROLE_LABELS, Role, acting_staff, may, staff
from kernel.errors import NotFound
from kernel.i18n import gettext as _
from kernel.pages import chosen, csv_response, patience, period
from kernel.staff import services as staff_services
from kernel.staff.models import Staff

from . import labels, queries, rules, services
from .rules import Figure, Span

bp = APIBlueprint(
    "staff_results_console", __name__, url_prefix="/console", template_folder="templates", enable_openapi=False
)
# Whoever waits longer for a page asks for less.
PATIENCE = 20.0


def _days() -> tuple[date, date, Span | None]:
    """The first and last day that were asked for, and which of the usual periods that is; this month when none was asked for."""
    usual = rules.spans(clock.today())
    if not request.args.get("from") and not request.args.get("to"):
        return *usual[Span.THIS_MONTH], Span.THIS_MONTH
    first, last = period()
    return first, last, next((span for span, days in usual.items() if days == (first, last)), None)


def _shared() -> dict[str, Any]:
    first, last, span = _days()
    return {
        "first": first,
        "last": last,
        "span": span,
        "usual": rules.spans(clock.today()),
        "days_said": {"from": first, "to": last},
        "rules": rules,
        "labels": labels,
        "figures": list(Figure),
    }


def _sorting() -> tuple[Figure | None, bool]:
    said = request.args.get("sort", "")
    name = said.removeprefix("-")
    return (Figure(name) if name in set(Figure) else None), said.startswith("-")


# ── The board ───────────────────────────────────────────────────────────────────────────────────────────────────────


def _board(first: date, last: date) -> services.Board:
    with patience(PATIENCE):
        return services.board(first, last, chosen(Role, "role"), *_sorting())


@bp.get("/results/staff")
@staff("staff_results.view")
def index() -> Any:
    shared = _shared()
    role = chosen(Role, "role")
    return render_template(
        "staff_results/board.html",
        board=_board(shared["first"], shared["last"]),
        roles=[(one.value, label) for one, label in ROLE_LABELS.items()],
        chosen=[("role", role.value, ROLE_LABELS[role])] if role else [],
        **shared,
    )


@bp.get("/results/staff.csv")
@staff("staff_results.view")
def export() -> Any:
    first, last, _span = _days()
    return csv_response(
        f"staff-{first}-{last}.csv",
        [
            _("Name"),
            _("Role"),
            _("Figure"),
            _("What the share says"),
            _("Share or mean"),
            _("How many"),
            _("Of these good"),
            _("Done"),
            _("Sum"),
            _("Median"),
            _("Place on the board"),
            _("Days with work"),
        ],
        _cells(_board(first, last)),
    )


def _cells(board: services.Board) -> Iterator[tuple[Any, ...]]:
    for row in board.rows:
        for figure in Figure:
            part = row.parts[figure]
            if part.n == 0:
                continue
            yield (
                row.person.name,
                ROLE_LABELS[row.person.role],
                labels.FIGURES[figure],
                labels.RATES[figure],
                labels.rate(figure, part) if rules.enough(figure, part) else "",
                part.n,
                part.good,
                part.pieces,
                part.total if figure in (Figure.STARS, Figure.ORDERS) else "",
                part.middle,
                row.places.get(figure, ""),
                row.days,
            )


# ── One person ──────────────────────────────────────────────────────────────────────────────────────────────────────


def _page(person: Staff, own: bool) -> Any:
    shared = _shared()
    first, last = shared["first"], shared["last"]
    with patience(PATIENCE):
        page = services.own_page(person.id, first, last)
    return render_template(
        "staff_results/person.html",
        person=person,
        own=own,
        page=page,
        before=rules.preceding(first, last),
        rows_of=_rows_address(person, own),
        **shared,
    )


def _rows_address(person: Staff, own: bool) -> Any:
    def address(figure: Figure) -> str:
        days: dict[str, Any] = {name: request.args[name] for name in ("from", "to") if request.args.get(name)}
        if own:
            return url_for(".my_rows", figure=figure.value, **days)
        return url_for(".rows", staff_id=person.id, figure=figure.value, **days)

    return address


@bp.get("/results/my-work")
@staff("staff_results.own")
def mine() -> Any:
    return _page(acting_staff(), own=True)


@bp.get("/results/staff/<int:staff_id>")
@staff("staff_results.view")
def show(staff_id: int) -> Any:
    return _page(staff_services.get_staff(staff_id), own=False)


# ── The rows behind a number ────────────────────────────────────────────────────────────────────────────────────────


def _figure(name: str) -> Figure:
    if name not in set(Figure):
        raise NotFound
    return Figure(name)


def _rows(person: Staff, name: str, own: bool) -> Any:
    figure, shared = _figure(name), _shared()
    over = services.stretch_of(shared["first"], shared["last"])
    with patience(PATIENCE):
        page, lines = queries.page_of(figure, person.id, over, request.args.get("cursor"))
    days: dict[str, Any] = {key: request.args[key] for key in ("from", "to") if request.args.get(key)}
    if own:
        back, save = url_for(".mine", **days), url_for(".export_mine", figure=figure.value, **days)
    else:
        back = url_for(".show", staff_id=person.id, **days)
        save = url_for(".export_rows", staff_id=person.id, figure=figure.value, **days)
    return render_template(
        "staff_results/rows.html",
        person=person,
        own=own,
        figure=figure,
        page=page,
        lines=lines,
        back=back,
        save=save,
        may_open=may("members.view"),
        **shared,
    )


def _file(person: Staff, name: str) -> Any:
    figure = _figure(name)
    first, last, _span = _days()
    with patience(PATIENCE):
        lines = services.export(figure, person.id, first, last)
    return csv_response(
        f"{figure.value}-{person.id}-{first}-{last}.csv",
        [_("What"), _("Number"), _("Name"), _("When"), _("Customer"), _("Result")],
        [
            (
                labels.SOURCES[line.source],
                line.row_id,
                labels.title(line),
                clock.wall_text(line.at),
                line.member,
                labels.plain_outcome(figure, line),
            )
            for line in lines
        ],
    )


@bp.get("/results/my-work/<figure>")
@staff("staff_results.own")
def my_rows(figure: str) -> Any:
    return _rows(acting_staff(), figure, own=True)


@bp.post("/results/my-work/<figure>/export")
@staff("staff_results.own")
def export_mine(figure: str) -> Any:
    return _file(acting_staff(), figure)


@bp.get("/results/staff/<int:staff_id>/<figure>")
@staff("staff_results.view")
def rows(staff_id: int, figure: str) -> Any:
    return _rows(staff_services.get_staff(staff_id), figure, own=False)


@bp.post("/results/staff/<int:staff_id>/<figure>/export")
@staff("staff_results.view")
def export_rows(staff_id: int, figure: str) -> Any:
    return _file(staff_services.get_staff(staff_id), figure)
