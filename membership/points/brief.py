"""What points show on other rooms' pages: the first page of the console, a member's pages, the search."""

from __future__ import annotations

from datetime import timedelta

from flask import render_template, url_for

from kernel import clock, today
from kernel.auth import may
from kernel.i18n import gettext as _
from kernel.i18n import ngettext, number
from kernel.ports import fill_slot
from kernel.today import Hit, Number, Task
from membership.members.models import Member

from . import labels, queries


def tasks() -> list[Task]:
    """Many points that lapse soon: a reason to write to their members; rewards with nothing left."""
    if not may("points.view") or queries.program().id is None:
        return []
    found: list[Task] = []
    members, points = queries.lapsing_within(timedelta(days=14))
    if members:
        found.append(
            Task(
                50,
                ngettext(
                    "%(count)s member loses points within two weeks",
                    "%(count)s members lose points within two weeks",
                    members,
                    count=number(members),
                ),
                url_for("points_console.liability"),
                _("See how many"),
                "hourglass",
                _("%(points)s points in all. Whoever is told of a reward in reach comes back.", points=number(points)),
            )
        )
    found += [
        Task(
            60,
            _("Nothing is left of the reward “%(reward)s”", reward=row.reward.name),
            url_for("points_console.rewards"),
            _("See the rewards"),
            "gift",
            _("Members still see it on their points page."),
            name=f"points.reward:{row.reward.id}",
        )
        for row in queries.rewards(True)
        if row.left == 0
    ]
    return found


def numbers() -> list[Number]:
    """Points spent in the last seven days, against the seven before."""
    if not may("points.view") or queries.program().id is None:
        return []
    week, before = queries.spent_by_week(clock.now())
    return [Number(_("Points spent"), week, before, url_for("points_console.ledger", kind="redeem"))]


def find(words: str) -> list[Hit]:
    """Rewards by name."""
    if len(words) < 2 or not may("points.view"):
        return []
    return [
        Hit(
            _("Reward"),
            reward.name,
            url_for("points_console.rewards"),
            ngettext("%(count)s point", "%(count)s points", reward.points, count=number(reward.points)),
        )
        for reward in queries.rewards_named(words)
    ]


def member_side(member: Member) -> str:
    """A member's points, on the console's page about them (slot `member.side`)."""
    if not may("points.view") or queries.program().id is None:
        return ""
    rows = queries.history_page(member.id, None, 4).rows
    balance = queries.balance_of(member.id)
    return render_template(
        "points/_member_side.html",
        member=member,
        balance=balance,
        last=labels.last_day(balance.next_expiry_at) if balance.next_expiry_at else None,
        rows=rows,
        numbers=queries.order_numbers(rows),
        labels=labels,
    )


def me_nav(member: Member) -> str:
    """The way to their points (slot `me.nav`)."""
    if queries.program().id is None:
        return ""
    balance = queries.balance_of(member.id)
    text = None
    soon = balance.next_expiry_at is not None and balance.next_expiry_at - clock.now() < timedelta(
        days=max(queries.program().notice_days, 1)
    )
    if soon:
        text = ngettext(
            "%(count)s point lapses soon",
            "%(count)s points lapse soon",
            balance.next_expiry_points,
            count=number(balance.next_expiry_points),
        )
    elif balance.pending:
        text = ngettext(
            "%(count)s more on the way", "%(count)s more on the way", balance.pending, count=number(balance.pending)
        )
    return render_template("points/_me_nav.html", balance=balance, text=text)


def init() -> None:
    """Put everything into its place."""
    today.tasks.fill(tasks)
    today.numbers.fill(numbers)
    today.search.fill(find)
    fill_slot("member.side", order=40)(member_side)
    fill_slot("me.nav", order=40)(me_nav)
