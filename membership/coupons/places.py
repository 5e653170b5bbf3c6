"""What coupons show in other rooms: on the console's page of a member, on the member's own page, and in the brief."""

from __future__ import annotations

from flask import render_template

from kernel import operations, today
from kernel.auth import may
from kernel.ports import fill_slot
from membership.members.models import Member

from . import brief, labels, queries
from .portal import page_path


def member_side(member: Member) -> str:
    """A member's newest coupons, on the console's page about them (slot `member.side`)."""
    if not may("coupons.view"):
        return ""
    return render_template("coupons/_member_side.html", member=member, rows=queries.of_member(member.id), labels=labels)


def member_actions(member: Member) -> str:
    """The button that gives them one (slot `member.actions`)."""
    if not may("coupons.issue") or member.erased_at is not None:
        return ""
    return render_template("coupons/_member_actions.html", member=member)


def me_cards(member: Member) -> str:
    """What a member can use, the soonest to end first, on their own page (slot `me.cards`)."""
    rows = queries.usable_of(member.id, 4)
    if not rows:
        return ""
    return render_template(
        "coupons/_me_cards.html", rows=rows[:3], more=len(rows) > 3, labels=labels, page_path=page_path
    )


def families() -> list[operations.Family]:
    """The coupons that offers have given out, for the numbers of operations."""
    claimed = operations.Family("siyu_coupons_claimed", "gauge", "Coupons that all offers have given out.")
    claimed.samples.append(({}, queries.given_out()))
    return [claimed]


def init() -> None:
    """Put everything into its place."""
    fill_slot("member.side", order=30)(member_side)
    fill_slot("member.actions", order=30)(member_actions)
    fill_slot("me.cards", order=20)(me_cards)
    today.tasks.fill(brief.tasks)
    today.numbers.fill(brief.numbers)
    today.search.fill(brief.find)
    operations.families.fill(families)
