"""Who no longer qualifies for a vip group, what was decided, and who qualifies and is not in."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from flask import flash, redirect, render_template, request, url_for

from kernel import audit, clock, links
from kernel.auth import acting_staff, staff
from kernel.errors import NotFound
from kernel.i18n import gettext as _
from kernel.i18n import ngettext
from kernel.pages import capped_count, csv_response, keyset, ticked
from membership.members.models import Member
from membership.members.rules import masked_phone

from .. import labels, queries, services
from .. import standing as reads
from ..models import Drift, Group, GroupKind
from ..services import Decision
from . import bp
from .groups import frame_of

PAGE = 50
VIEWS = ("open", "decided", "qualified")


def _vip(group_id: int) -> Group:
    group = queries.get_group(group_id)
    if group.kind is not GroupKind.VIP:
        raise NotFound
    return group


@bp.get("/groups/<int:group_id>/standing")
@staff("groups.view")
def standing(group_id: int) -> Any:
    group = _vip(group_id)
    view = request.args.get("view", "open")
    if view not in VIEWS:
        view = "open"
    order = [Member.spend.desc(), Member.id.desc()] if view == "qualified" else [Drift.id.desc()]
    statement: Any = reads.qualified(group) if view == "qualified" else reads.drifts(group.id, view == "open")
    return render_template(
        "groups/standing.html",
        **frame_of(group, "standing"),
        view=view,
        page=keyset(statement, order, request.args.get("cursor"), PAGE),
        count=capped_count(statement),
        successor=queries.find_group(group.successor_id) if group.successor_id else None,
        state_at=services.drift_state,
    )


@bp.post("/groups/<int:group_id>/standing")
@staff("groups.moderate")
def decide(group_id: int) -> Any:
    group, said = _vip(group_id), request.form.get("decision", "")
    if said not in list(Decision):
        raise NotFound
    decision, chosen = Decision(said), ticked()
    if not chosen:
        flash(_("Nobody is ticked. Nothing was changed."), "caution")
    else:
        count = services.decide(group, chosen, decision, acting_staff().id)
        flash(_SENTENCES[decision](count), "positive")
    return redirect(url_for(".standing", group_id=group_id), 303)


_SENTENCES = {
    Decision.KEEP: lambda count: ngettext("%(num)s person may stay.", "%(num)s people may stay.", count),
    Decision.MOVE: lambda count: ngettext("%(num)s person was moved.", "%(num)s people were moved.", count),
    Decision.REMOVE: lambda count: ngettext("%(num)s person was removed.", "%(num)s people were removed.", count),
}


@bp.post("/groups/<int:group_id>/standing/look")
@staff("groups.moderate")
def look_again(group_id: int) -> Any:
    group = _vip(group_id)
    count = services.sweep(group.id)
    flash(
        ngettext("%(num)s person was found and told.", "%(num)s people were found and told.", count)
        if count
        else _("Everybody in the group qualifies, or knows already that they do not."),
        "positive",
    )
    return redirect(url_for(".standing", group_id=group_id), 303)


@bp.post("/groups/<int:group_id>/standing/<int:drift_id>/undo")
@staff("groups.moderate")
def undo_decision(group_id: int, drift_id: int) -> Any:
    services.undo_decision(_vip(group_id), drift_id)
    flash(_("The seat is theirs again, and they may stay for another while."), "positive")
    return redirect(url_for(".standing", group_id=group_id, view="decided"), 303)


@bp.post("/groups/<int:group_id>/standing/export")
@staff("members.export")
def export_standing(group_id: int) -> Any:
    group = _vip(group_id)
    audit.record("group.exported", "group", group.id, after={"list": "standing"})
    header = [_("Member"), _("Phone"), _("Tier"), _("State"), _("Found on"), _("Keeps the seat until")]
    return csv_response(f"group-{group.id}-standing.csv", header, _rows_of_drifts(group))


def _rows_of_drifts(group: Group) -> Iterator[list[Any]]:
    for open_only in (True, False):
        cursor: str | None = None
        while True:
            page = keyset(reads.drifts(group.id, open_only), [Drift.id.desc()], cursor, 500)
            for row in page.rows:
                drift, member = row.Drift, row.Member
                yield [
                    member.shown_name,
                    masked_phone(member.phone),
                    labels.rank_name(member.rank) if member.rank else "",
                    str(labels.DRIFT_STATES[services.drift_state(drift)]),
                    clock.wall_text(drift.found_at),
                    clock.wall_text(drift.grace_until),
                ]
            if page.next_cursor is None:
                break
            cursor = page.next_cursor


@bp.post("/groups/<int:group_id>/standing/invitations")
@staff("members.export")
def export_qualified(group_id: int) -> Any:
    """The people who qualify and are not in, each with their personal link, for the staff who write to them."""
    group, who = _vip(group_id), acting_staff()
    audit.record("group.exported", "group", group.id, after={"list": "qualified"})
    return csv_response(
        f"group-{group.id}-invitations.csv",
        [_("Member"), _("Phone"), _("Tier"), _("Personal link")],
        _rows_of_qualified(group, who.id),
    )


def _rows_of_qualified(group: Group, staff_id: int) -> Iterator[list[Any]]:
    cursor: str | None = None
    while True:
        page = keyset(reads.qualified(group), [Member.spend.desc(), Member.id.desc()], cursor, 500)
        for member in page.rows:
            yield [
                member.shown_name,
                masked_phone(member.phone),
                labels.rank_name(member.rank) if member.rank else "",
                links.absolute(services.invitation_path(member.id, group.id, staff_id, "invitation")),
            ]
        if page.next_cursor is None:
            return
        cursor = page.next_cursor
