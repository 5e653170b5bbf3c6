"""The member's own tier, first on their page."""

from __future__ import annotations

from flask import render_template
from markupsafe import Markup

from kernel.ports import fill_slot
from membership.members.models import Member

from . import labels, queries


@fill_slot("me.cards", order=10)
def card(member: Member) -> Markup:
    """Tier with its progress and the sentence why."""
    told = queries.explanation(member.id)
    return Markup(  # noqa: S704 - the template escapes
        render_template("tiers/_card.html", told=told, level=told.policy.level(told.rank), labels=labels)
    )
