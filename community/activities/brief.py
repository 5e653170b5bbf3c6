"""What the room says elsewhere: the console's first page, its search, the groups' calendar, a member's timeline."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from flask import url_for
from markupsafe import Markup, escape

from community.groups import queries as groups
from kernel import clock, today
from kernel.auth import may
from kernel.events import describes
from kernel.i18n import gettext as _
from kernel.i18n import ngettext
from kernel.pages import once_a_request

from . import labels, queries
from .console.lists import address_of
from .events import MemberEnteredLottery, MemberWonLottery
from .models import Lottery
from .rules import Phase


def tasks() -> list[today.Task]:
    """Prizes that could not be given, and what ends within a day."""
    if not may("activities.view"):
        return []
    found = [
        today.Task(
            weight=76,
            text=ngettext(
                "%(num)s winner of “%(title)s” has no prize yet",
                "%(num)s winners of “%(title)s” have no prize yet",
                number,
                title=lottery.title,
            ),
            url=url_for("activities_console.lottery", lottery_id=lottery.id),
            action=_("See to it"),
            icon="gift",
            about=_("Nothing was left, the coupon does not run, or they have as many of it as one may."),
        )
        for lottery, number in queries.missed_prizes()
    ]
    for row in queries.ending_within(clock.now() + timedelta(days=1)):
        found.append(
            today.Task(
                weight=35,
                text=_("%(kind)s “%(title)s” ends within a day", kind=labels.KINDS[row.kind], title=row.title),
                url=address_of(row.kind, row.id),
                action=_("Look at it"),
                icon=labels.KIND_ICONS[row.kind],
                about=row.group,
            )
        )
    return found


def find(words: str) -> list[today.Hit]:
    """Draws and sales for the search over everything."""
    if not may("activities.view"):
        return []
    return [
        today.Hit(labels.KINDS[row.kind], row.title, address_of(row.kind, row.id), labels.PHASES[Phase(row.phase)])
        for row in queries.found_by_name(words)
    ]


def moments(since: datetime, until: datetime) -> list[groups.Moment]:
    """What begins, ends and is drawn, for the calendar of groups."""
    return [
        groups.Moment(
            at,
            f"{kind}_{what}",
            group,
            title,
            _moment_label(kind, what),
            labels.KIND_ICONS[kind],
            address_of(kind, row_id),
        )
        for at, what, kind, row_id, title, group in queries.moments(since, until)
    ]


def _moment_label(kind: str, what: str) -> str:
    if kind == "lottery":
        return _("Entry begins") if what == "begins" else _("Draw is held")
    name = str(labels.KINDS[kind])
    return _("%(kind)s begins", kind=name) if what == "begins" else _("%(kind)s ends", kind=name)


@once_a_request
def _lottery(lottery_id: int) -> Lottery | None:
    return queries.find_lottery(lottery_id)


def _named(lottery_id: int, sentence: str, otherwise: str) -> Any:
    lottery = _lottery(lottery_id)
    if lottery is None:
        return otherwise
    place = Markup('<a href="{}">{}</a>').format(
        url_for("activities_console.lottery", lottery_id=lottery_id), lottery.title
    )
    return escape(sentence) % {"draw": place}


def entered(event: MemberEnteredLottery) -> Any:
    return _named(event.lottery_id, _("Took a ticket for %(draw)s"), _("Took a ticket for a draw"))


def won(event: MemberWonLottery) -> Any:
    return _named(event.lottery_id, _("Won in %(draw)s"), _("Won in a draw"))


def init() -> None:
    """Register with the kernel's ports."""
    today.tasks.fill(tasks)
    today.search.fill(find)
    groups.moments.fill(moments)
    describes(MemberEnteredLottery)(entered)
    describes(MemberWonLottery)(won)
