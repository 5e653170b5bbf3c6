"""What groups put on the console's first page: what each of them needs today, and who joined."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from flask import url_for
from sqlalchemy import exists, func, or_, select

from kernel import clock
from kernel.auth import may
from kernel.db import db
from kernel.i18n import gettext as _
from kernel.i18n import ngettext
from kernel.today import Number, Step, Task

from . import labels, queries, services
from .models import Group, GroupState, LiveDrop, LiveSession, Seat, SeatState

WEEK = timedelta(days=7)
# A group of at least so many in which more than so many in a hundred have not looked in for a week is silent.
FEW = 20
SILENT_PERCENT = 30


def tasks() -> list[Task]:
    """What groups need today: room, a successor, an end of waiting, a code, decisions, material, life."""
    if not may("groups.view"):
        return []
    return [*_ending(), *_codes(), *_drifted(), *_without_material(), *_room(), *_silent()]


def steps() -> list[Step]:
    """A shop that has just begun opens its first group."""
    if not may("groups.edit"):
        return []
    return [
        Step(
            order=30,
            done=bool(db.session.scalar(select(exists().select_from(Group)))),
            text=_("Open the first group"),
            about=_("Members gather in it, and a gift waits there for them."),
            url=url_for("groups_console.new"),
            action=_("New group"),
        )
    ]


def _task(
    kind: str, weight: int, group: Group, text: str, endpoint: str, action: str, icon: str, about: Any = "", **to: Any
) -> Task:
    url = url_for(f"groups_console.{endpoint}", group_id=group.id, **to)
    return Task(weight, text, url, action, icon, about, queries.place_of(group), f"groups.{kind}:{group.id}")


def _ending() -> Iterator[Task]:
    for group in queries.closing_within(24):
        about = _("Nothing follows it yet: choose the group that goes on.") if group.successor_id is None else ""
        endpoint = "edit" if about and may("groups.edit") else "show"
        text = _("“%(group)s” closes within a day", group=group.name)
        yield _task("closing", 80 if about else 60, group, text, endpoint, _("Look at it"), "bolt", about)
    for group in queries.closed_flash():
        text = _("“%(group)s” is over", group=group.name)
        yield _task("over", 40, group, text, "result", _("What came of it"), "chart-bar")


def _codes() -> Iterator[Task]:
    for group, alarm in services.alarms():
        text = _("“%(group)s”: %(alarm)s", group=group.name, alarm=labels.CODE_ALARMS[alarm])
        yield _task("code", 78, group, text, "codes", _("Put a new code there"), "qrcode")


def _drifted() -> Iterator[Task]:
    for group, count in services.count_due():
        text = ngettext(
            "%(num)s person in “%(group)s” no longer qualifies",
            "%(num)s people in “%(group)s” no longer qualify",
            count,
            group=group.name,
        )
        about = _("Their time is over: let them stay, move or remove them.")
        yield _task("drift", 72, group, text, "standing", _("Decide"), "crown", about)


def _without_material() -> Iterator[Task]:
    for session, group in sessions_without_material(clock.now(), clock.day_bounds(clock.today())[1]):
        time = clock.local(session.starts_at).strftime("%H:%M")
        text = _("“%(title)s” begins at %(time)s without material", title=session.title, time=time)
        about = (
            _("Nothing drops during it: a coupon or a link for those who watch.")
            if session.watch_url
            else _("It has no address to watch it at yet.")
        )
        weight = 74 if session.watch_url else 88
        yield _task(f"live.{session.id}", weight, group, text, "sessions", _("Prepare it"), "broadcast", about)


def _room() -> Iterator[Task]:
    waiting = queries.with_waiting_list()
    for group in waiting:
        text = ngettext(
            "%(num)s person waits for a seat in “%(group)s”",
            "%(num)s people wait for a seat in “%(group)s”",
            group.queued,
            group=group.name,
        )
        about = _("More capacity seats them at once.")
        yield _task("waiting", 75, group, text, "waiting_list", _("See the list"), "hourglass", about)
    known = {group.id for group in waiting}
    full = [group for group in queries.nearly_full() if group.id not in known]
    lapsed = lapsed_holds_of([group.id for group in full])
    for group in full:
        left = max(0, group.capacity - group.seated + lapsed.get(group.id, 0))
        text = ngettext("%(num)s seat left in “%(group)s”", "%(num)s seats left in “%(group)s”", left, group=group.name)
        endpoint = "edit" if may("groups.edit") else "show"
        yield _task("full", 70, group, text, endpoint, _("Raise the capacity"), "users")


def _silent() -> Iterator[Task]:
    for row in silent():
        text = _("%(share)s%% of “%(group)s” have not looked in for a week", share=row.percent, group=row.group.name)
        about = ngettext(
            "%(num)s of the members is silent. A question, a drop or a check-in brings some of them back.",
            "%(num)s of the members are silent. A question, a drop or a check-in brings some of them back.",
            row.people,
        )
        yield _task(
            "silent", 45 if row.percent < 60 else 52, row.group, text, "people", _("See who"), "user-question", about,
            silent=1,
        )  # fmt: skip


@dataclass(frozen=True)
class Silence:
    """A group in which many have not looked in for a week."""

    group: Group
    people: int
    percent: int


def silent(limit: int = 10) -> list[Silence]:
    """Open groups, at least a week old, in which more than 30 % of at least 20 members have not looked in for seven days.

    By the counters that lists show (`Group.seated`, `Group.active_week`), so that it costs nothing however many seats there are.
    """
    people = Group.seated - Group.active_week
    rows = db.session.scalars(
        select(Group)
        .where(
            queries.state_expression() == GroupState.OPEN.value,
            Group.seated >= FEW,
            people * 100 > Group.seated * SILENT_PERCENT,
            func.coalesce(Group.opened_at, Group.created_at) <= clock.now() - WEEK,
        )
        .order_by(people.desc(), Group.id)
        .limit(limit)
    )
    return [
        Silence(group, group.seated - group.active_week, 100 * (group.seated - group.active_week) // group.seated)
        for group in rows
    ]


def sessions_without_material(since: datetime, until: datetime) -> list[tuple[LiveSession, Group]]:
    """Live sessions that begin in `[since, until)` without an address to watch them at, or with nothing that drops."""
    drops = exists().where(LiveDrop.session_id == LiveSession.id)
    rows = db.session.execute(
        select(LiveSession, Group)
        .join(Group, Group.id == LiveSession.group_id)
        .where(
            LiveSession.starts_at >= since,
            LiveSession.starts_at < until,
            or_(LiveSession.watch_url == "", ~drops),
            Group.state.in_([GroupState.WARM_UP, GroupState.OPEN, GroupState.PAUSED]),
        )
        .order_by(LiveSession.starts_at, LiveSession.id)
        .limit(10)
    )
    return [(session, group) for session, group in rows]


def lapsed_holds_of(group_ids: Sequence[int]) -> dict[int, int]:
    """Holds that the clock has ended and nobody has written down yet, by group."""
    rows = db.session.execute(
        select(Seat.group_id, func.count())
        .where(Seat.group_id.in_(group_ids), Seat.state == SeatState.HELD, Seat.held_until <= clock.now())
        .group_by(Seat.group_id)
    )
    return {group_id: held for group_id, held in rows}  # noqa: C416


def numbers() -> list[Number]:
    """Who joined in the last seven days, against the seven before."""
    if not may("groups.view"):
        return []
    now = clock.now()
    return [
        Number(
            _("Joined a group"),
            queries.joined_between(now - WEEK, now + timedelta(seconds=1)),
            queries.joined_between(now - 2 * WEEK, now - WEEK),
            url_for("groups_console.index"),
            position=1,
        )
    ]
