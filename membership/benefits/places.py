"""What benefits show on other rooms' pages: the tiers' page, a member's own tier, the first page of the console."""

from __future__ import annotations

from flask import render_template, url_for
from markupsafe import Markup

from kernel import today
from kernel.auth import may
from kernel.i18n import gettext as _
from kernel.i18n import month, ngettext
from kernel.ports import fill_slot
from kernel.today import Running, Task
from membership.members.models import Member

from . import labels, queries


@fill_slot("tiers.actions", order=10)
def tiers_actions() -> Markup:
    """The way from the tiers to what was given."""
    return Markup(render_template("benefits/_tiers_actions.html", missed=queries.count_missed()))  # noqa: S704


@fill_slot("tier.given", order=10)
def given(member: Member) -> Markup:
    """What the member was given lately."""
    rows = queries.grants_of(member.id, 6)
    if not rows:
        return Markup("")
    return Markup(render_template("benefits/_given.html", rows=rows, labels=labels))  # noqa: S704


@today.tasks.fill
def tasks() -> list[Task]:
    """Benefits that members did not get because nothing was left."""
    if not may("tiers.view"):
        return []
    missed = queries.count_missed()
    if not missed:
        return []
    text = ngettext(
        "One member waits for a benefit of their tier: nothing was left",
        "%(num)s members wait for a benefit of their tier: nothing was left",
        missed,
    )
    return [Task(66, text, url_for("benefits_console.index", state="missed"), _("See who"), "gift")]


@today.running.fill
def running() -> list[Running]:
    """This month's coupons on their way."""
    if not may("tiers.view"):
        return []
    return [
        Running(
            _("Coupons of %(month)s", month=month(one.period)),
            url_for("benefits_console.index", benefit="monthly_coupon"),
            one.given + one.missed,
            one.total,
            _("being given"),
        )
        for one in queries.rounds(1)
        if one.finished_at is None
    ]
