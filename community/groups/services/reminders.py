"""Reminders of live sessions, and counting who is active."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import func, insert, or_, select, update

from kernel import clock
from kernel.db import changed, db
from kernel.events import publish_all
from kernel.i18n import date_time, forced_locale
from kernel.i18n import gettext as _
from kernel.notices import Notice, NoticeWritten
from membership.members.models import Member

from ..models import Group, GroupState, LiveSession, Seat, SeatState

DAY_BEFORE = timedelta(hours=24)
SOON = timedelta(minutes=10)
ACTIVE = timedelta(days=7)
SLICE = 1_000


class Moment(enum.StrEnum):
    """Which of the two reminders."""

    DAY = "day"
    SOON = "soon"


@dataclass(frozen=True)
class Reminder:
    """A reminder that is due."""

    session_id: int
    moment: Moment


def due_reminders() -> list[Reminder]:
    """The reminders whose time has come. A session planned later than a day before has the second one only by then."""
    now = clock.now()
    live = (
        select(LiveSession.id)
        .join(Group, Group.id == LiveSession.group_id)
        .where(Group.state.in_([GroupState.OPEN, GroupState.PAUSED, GroupState.WARM_UP]), LiveSession.starts_at > now)
    )
    soon = live.where(LiveSession.starts_at <= now + SOON, LiveSession.reminded_soon_at.is_(None))
    day = live.where(
        LiveSession.starts_at <= now + DAY_BEFORE,
        LiveSession.starts_at > now + SOON,
        LiveSession.reminded_day_at.is_(None),
    )
    return [
        *(Reminder(found, Moment.DAY) for found in db.session.scalars(day.order_by(LiveSession.id))),
        *(Reminder(found, Moment.SOON) for found in db.session.scalars(soon.order_by(LiveSession.id))),
    ]


def remind(reminder: Reminder) -> int:
    """Write one reminder to everybody in the group who has not muted it; how many. Once only, whoever else tries."""
    column = LiveSession.reminded_day_at if reminder.moment is Moment.DAY else LiveSession.reminded_soon_at
    claimed = changed(
        db.session.execute(
            update(LiveSession)
            .where(LiveSession.id == reminder.session_id, column.is_(None), LiveSession.starts_at > clock.now())
            .values({column: clock.now()})
            .execution_options(synchronize_session=False)
        )
    )
    if not claimed:
        return 0
    session = db.session.get_one(LiveSession, reminder.session_id)
    group = db.session.get_one(Group, session.group_id)
    told, last = 0, 0
    while True:
        people = db.session.execute(
            select(Seat.id, Seat.member_id, Member.locale)
            .join(Member, Member.id == Seat.member_id)
            .where(
                Seat.group_id == group.id,
                Seat.state == SeatState.TAKEN,
                Seat.id > last,
                or_(Seat.muted_until.is_(None), Seat.muted_until <= clock.now()),
                Member.erased_at.is_(None),
            )
            .order_by(Seat.id)
            .limit(SLICE)
        ).all()
        if not people:
            return told
        last = people[-1].id
        words = {locale: _words(locale, reminder.moment, group, session) for locale in {row.locale for row in people}}
        _tell([(row.member_id, *words[row.locale]) for row in people], f"/groups/{group.public_id}")
        told += len(people)


def _words(locale: str, moment: Moment, group: Group, session: LiveSession) -> tuple[str, str]:
    """The title and the body of a reminder in a language."""
    with forced_locale(locale):
        if moment is Moment.SOON:
            title = str(_("Live in ten minutes: %(title)s", title=session.title))
        else:
            title = str(_("Live tomorrow: %(title)s", title=session.title))
            if clock.local(session.starts_at).date() == clock.today():
                title = str(_("Live today: %(title)s", title=session.title))
        body = str(_("%(when)s in “%(group)s”.", when=date_time(session.starts_at), group=group.name))
    return title, body


def _tell(people: list[tuple[int, str, str]], path: str) -> None:
    """What `kernel.notices.tell` does, for a thousand people in a few statements."""
    now = clock.now()
    rows = [
        {"member_id": member_id, "kind": "group.live", "title": title, "body": body, "path": path, "created_at": now}
        for member_id, title, body in people
    ]
    ids = db.session.execute(insert(Notice).returning(Notice.id), rows).scalars().all()
    publish_all(NoticeWritten(notice_id=notice_id) for notice_id in ids)


def count_active(now: datetime | None = None) -> None:
    """Refresh the counter that lists show: who looked into the group in the last seven days."""
    since = (now or clock.now()) - ACTIVE
    counted = (
        select(Seat.group_id, func.count().label("n"))
        .where(Seat.state == SeatState.TAKEN, Seat.seen_at > since)
        .group_by(Seat.group_id)
        .subquery()
    )
    present = select(counted.c.n).where(counted.c.group_id == Group.id).scalar_subquery()
    # Only rows that change, and none that a joining holds: a counter is not worth waiting for the seats' lock.
    free = (
        select(Group.id)
        .where(Group.active_week != func.coalesce(present, 0))
        .with_for_update(skip_locked=True, key_share=True)
    )
    ids = db.session.scalars(free.order_by(Group.id)).all()
    if ids:
        db.session.execute(
            update(Group)
            .where(Group.id.in_(ids))
            .values(active_week=func.coalesce(present, 0))
            .execution_options(synchronize_session=False)
        )
