"""The list over all groups and under one group's tab, and its file."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from flask import render_template, request, url_for

from community.groups import labels as group_labels
from community.groups import queries as groups
from community.groups import rules as group_rules
from community.groups.models import Group, GroupState
from kernel import clock, pages
from kernel.auth import staff
from kernel.i18n import gettext as _
from kernel.pages import capped_count, csv_response, keyset, search_chip

from .. import labels, queries
from ..queries import ActivityFilter
from ..rules import Phase
from . import bp


def _filter(group_id: int | None = None) -> ActivityFilter:
    said = request.args
    return ActivityFilter(
        q=pages.searched(),
        kind=said.get("kind", ""),
        phase=said.get("phase", ""),
        group_id=group_id if group_id is not None else said.get("group", type=pages.row_number),
    )


def _chips(wanted: ActivityFilter, group: Group | None) -> list[tuple[str, str, str]]:
    chips = search_chip(wanted.q)
    if wanted.kind in queries.KINDS:
        chips.append(("kind", wanted.kind, str(labels.KINDS[wanted.kind])))
    if wanted.phase in list(Phase):
        chips.append(("phase", wanted.phase, str(labels.PHASES[Phase(wanted.phase)])))
    if group is None and wanted.group_id is not None:
        name = groups.names([wanted.group_id]).get(wanted.group_id, "–")
        chips.append(("group", str(wanted.group_id), name))
    return chips


def frame_of(group: Group, tab: str = "activities") -> dict[str, Any]:
    """What every page under a group's tab shows around itself."""
    state = groups.state_of(group)
    return {
        "group": group,
        "tab": tab,
        "state": state,
        "acts": group_rules.ACTS[state],
        "numbers": groups.consequences(group),
        "group_labels": group_labels,
        "closed": state in (GroupState.CLOSED, GroupState.ARCHIVED),
    }


def address_of(kind: str, row_id: int) -> str:
    """The console's page of a row of the list."""
    if kind == "lottery":
        return url_for("activities_console.lottery", lottery_id=row_id)
    return url_for("activities_console.sale", sale_id=row_id)


def _page(template: str, wanted: ActivityFilter, group: Group | None = None) -> str:
    statement, orders = queries.listing(wanted)
    sort = request.args.get("sort", "")
    page = keyset(statement, orders.get(sort, orders[""]), request.args.get("cursor"))
    return render_template(
        template,
        page=page,
        count=capped_count(statement),
        chips_on=_chips(wanted, group),
        labels=labels,
        address_of=address_of,
        group_choices=[(str(one.id), one.name) for one in groups.all_groups()] if group is None else [],
        **(frame_of(group) if group is not None else {}),
    )


@bp.get("/activities")
@staff("activities.view")
def index() -> Any:
    return _page("activities/index.html", _filter())


@bp.get("/groups/<int:group_id>/activities")
@staff("activities.view")
def of_group(group_id: int) -> Any:
    return _page("activities/of_group.html", _filter(group_id), groups.get_group(group_id))


@bp.get("/activities/export")
@staff("activities.view")
def export() -> Any:
    header = [
        _("Name"), _("Kind"), _("Group"), _("State"), _("Begins"), _("Ends"), _("Took part or claimed"), _("In stock"),
    ]  # fmt: skip
    wanted, sort = _filter(), request.args.get("sort", "")

    def rows() -> Iterator[list[Any]]:
        for row in queries.exported(wanted, sort):
            yield [
                row.title,
                str(labels.KINDS[row.kind]),
                row.group,
                str(labels.PHASES[Phase(row.phase)]),
                clock.wall_text(row.begins),
                clock.wall_text(row.ends),
                row.taken,
                row.stock,
            ]

    return csv_response(f"activities-{clock.today().isoformat()}.csv", header, rows())


def group_tab(group: Group, tab: str = "", **_values: Any) -> str:
    """The tab of a group's pages with its draws and sales (slot `group.tabs`)."""
    return render_template("activities/_tab.html", group=group, tab=tab)
