"""What groups show and answer in other rooms: cards on a member's pages, the brief, the search, and who is in a group."""

from __future__ import annotations

from collections.abc import Sequence

from flask import render_template, url_for
from sqlalchemy import Select

from kernel import today
from kernel.auth import may
from kernel.ports import fill_slot
from kernel.today import Hit
from membership.coupons import services as coupons
from membership.members import queries as members
from membership.members.models import Member
from membership.tiers import queries as tiers
from membership.tiers.queries import GroupPlace

from . import brief, labels, queries
from .models import GroupState


def member_side(member: Member) -> str:
    """The groups of a member, on the console's page about them (slot `member.side`)."""
    if not may("groups.view"):
        return ""
    return render_template("groups/_member_side.html", stays=queries.stays_of(member.id), labels=labels)


def member_actions(member: Member) -> str:
    """The button that leads to a personal invitation (slot `member.actions`)."""
    if not may("groups.invite") or member.erased_at is not None:
        return ""
    return render_template("groups/_member_actions.html", member=member)


def me_cards(member: Member) -> str:
    """My groups, on the member's own page (slot `me.cards`)."""
    seats, waiting = queries.groups_of(member.id), queries.waits_of(member.id)
    if not seats and not waiting:
        return ""
    return render_template(
        "groups/_me_cards.html",
        seats=seats,
        waiting=waiting,
        sessions=queries.next_sessions([group.id for _seat, group in seats]),
        labels=labels,
    )


def find(words: str) -> list[Hit]:
    """Groups for the search over everything."""
    if not may("groups.view"):
        return []
    return [
        Hit(
            labels.KINDS[group.kind],
            group.name,
            url_for("groups_console.show", group_id=group.id),
            labels.STATES[queries.state_of(group)],
        )
        for group in queries.found_by_name(words)
    ]


def group_choices() -> list[tuple[int, str]]:
    """Groups to filter members by."""
    return [(group.id, group.name) for group in queries.all_groups()]


def seated_in(group_id: int) -> Select[int]:
    return queries.seated_in(group_id)


def tier_places(member_id: int, group_ids: Sequence[int]) -> list[GroupPlace]:
    """The groups that a tier opens, as a member finds them: those that can be joined now, and those they are in."""
    mine = {group.id for _seat, group in queries.groups_of(member_id)}
    found = [queries.find_group(group_id) for group_id in group_ids]
    return [
        GroupPlace(group.id, group.name, url_for("groups_portal.show", public_id=group.public_id), group.id in mine)
        for group in found
        if group is not None and (group.id in mine or queries.state_of(group) is GroupState.OPEN)
    ]


def init() -> None:
    """Put everything into its place."""
    fill_slot("member.side", order=40)(member_side)
    fill_slot("member.actions", order=20)(member_actions)
    fill_slot("me.cards", order=40)(me_cards)
    today.tasks.fill(brief.tasks)
    today.steps.fill(brief.steps)
    today.numbers.fill(brief.numbers)
    today.search.fill(find)
    members.group_choices.fill(group_choices)
    members.seated_in.fill(seated_in)
    members.acts_of.fill(queries.acts_of)
    coupons.group_membership.fill(queries.in_group)
    tiers.group_places.fill(tier_places)
    coupons.in_group.fill(queries.in_group_expression)
