"""The member's own tier: first on their page, and a page of its own."""

from __future__ import annotations

from typing import Any

from apiflask import APIBlueprint
from flask import render_template

from kernel import visitors
from kernel.auth import member_only
from kernel.ports import fill_slot
from membership.members import queries as members
from membership.members.models import Member

from . import labels, queries

bp = APIBlueprint("tiers_portal", __name__, template_folder="templates", enable_openapi=False)


@fill_slot("me.cards", order=10)
def card(member: Member) -> str:
    """Tier with its progress and the sentence why."""
    told = queries.explanation(member.id)
    return render_template("tiers/_card.html", told=told, level=told.policy.level(told.rank), labels=labels)


@bp.get("/me/tier")
@member_only()
def tier() -> Any:
    member = members.get_member(visitors.member_id() or 0)
    told = queries.explanation(member.id)
    level = told.policy.level(told.rank)
    names = labels.thing_names(queries.all_things())
    groups = members.group_names()
    all_lines = {one.rank: labels.benefit_lines(told.policy, one, names) for one in told.policy.levels}
    return render_template(
        "tiers/tier.html",
        member=member,
        told=told,
        level=level,
        enrolled=member.enrolled_at is not None,
        lines=all_lines[level.rank] if level is not None else [],
        places=queries.places_of(member.id, level.group_ids) if level is not None else [],
        all_lines=all_lines,
        group_names_of={
            one.rank: [groups[group_id] for group_id in one.group_ids if group_id in groups]
            for one in told.policy.levels
        },
        labels=labels,
    )
