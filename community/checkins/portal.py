"""The strip on a group's page with today's check-in, and the tap."""

from __future__ import annotations

from typing import Any

from apiflask import APIBlueprint
from flask import flash, redirect, render_template, url_for

from community.groups import queries as groups
from community.groups.models import Group
from community.groups.rules import SeatNeeded
from kernel import visitors
from kernel.auth import member_only
from kernel.i18n import gettext as _
from kernel.i18n import ngettext

from . import queries, rules, services

bp = APIBlueprint("checkins_portal", __name__, template_folder="templates", enable_openapi=False)


def render_strip(group: Group, member: Any = None, seat: Any = None, **_values: Any) -> str:
    """Today's check-in for a member of the group (slot `group.page`)."""
    program = queries.program()
    if member is None or seat is None or not program.enabled or groups.is_over(group):
        return ""
    standing = queries.standing(member.id)
    following = standing.streak if standing.done else standing.streak + 1
    return render_template(
        "checkins/_strip.html",
        group=group,
        standing=standing,
        worth=rules.points_for(program, following),
        bonus=rules.next_bonus(program, following),
    )


@bp.post("/groups/<public_id>/check-in")
@member_only()
def check_in(public_id: str) -> Any:
    group = groups.get_by_public_id(public_id)
    member_id = visitors.member_id()
    if member_id is None or not groups.in_group(member_id, group.id):
        raise SeatNeeded(public_id)
    done = services.check_in(member_id, group.id)
    said = [ngettext("Checked in: %(num)s day in a row.", "Checked in: %(num)s days in a row.", done.streak)]
    if done.points:
        said.append(_("%(points)s points are yours.", points=done.points))
    flash(" ".join(said), "positive")
    return redirect(url_for("groups_portal.show", public_id=group.public_id) + "#check-in", 303)
