"""Reads: a member's streak, the days of the shop, and what checking in is worth."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from sqlalchemy import Select, func, select

from kernel import clock, shop
from kernel.db import db
from membership.members import queries as members
from membership.members.models import Member

from . import rules
from .models import CheckIn

SETTING = "checkins"
WEEK = 7


def program() -> rules.Program:
    """What the shop gives at present."""
    return rules.load(shop.get(SETTING))


def last_of(member_id: int) -> CheckIn | None:
    """A member's latest check-in."""
    return db.session.scalar(select(CheckIn).where(CheckIn.member_id == member_id).order_by(CheckIn.on.desc()).limit(1))


@dataclass(frozen=True)
class Standing:
    """Where a member stands today: whether it is done, the streak that still lives, and the days of the last week."""

    done: CheckIn | None
    streak: int
    days: list[tuple[date, bool]]


def standing(member_id: int) -> Standing:
    """Where a member stands today, in one statement."""
    today = clock.today()
    rows = db.session.scalars(
        select(CheckIn)
        .where(CheckIn.member_id == member_id, CheckIn.on > today - timedelta(days=WEEK))
        .order_by(CheckIn.on.desc())
    ).all()
    there = {row.on: row for row in rows}
    last = rows[0] if rows else None
    alive = last.streak if last is not None and last.on >= today - timedelta(days=1) else 0
    days = [today - timedelta(days=back) for back in range(WEEK - 1, -1, -1)]
    return Standing(there.get(today), alive, [(day, day in there) for day in days])


def by_day(days: int = 30) -> list[tuple[date, int]]:
    """How many members checked in on each of the last days, oldest first, today included."""
    first = clock.today() - timedelta(days=days - 1)
    counted = dict(
        db.session.execute(select(CheckIn.on, func.count()).where(CheckIn.on >= first).group_by(CheckIn.on)).all()
    )
    return [(day, counted.get(day, 0)) for day in (first + timedelta(days=i) for i in range(days))]


def alive(q: str = "") -> Select[Any]:
    """The streaks that still live; `q` finds a member. Rows: CheckIn (the latest one of each member), Member."""
    today = clock.today()
    newer = CheckIn.__table__.alias("newer")
    later = select(newer.c.member_id).where(newer.c.member_id == CheckIn.member_id, newer.c.on > CheckIn.on).exists()
    found: Any = select(CheckIn, Member).join(Member, Member.id == CheckIn.member_id)
    found = found.where(CheckIn.on >= today - timedelta(days=1), CheckIn.on <= today, ~later)
    return found.where(members.sought(q)) if q else found


ALIVE_ORDER = (CheckIn.streak.desc(), CheckIn.member_id)


def export(q: str = "") -> list[Any]:
    """Rows of `alive`, the longest first (no more than 20,000)."""
    return list(db.session.execute(alive(q).order_by(*ALIVE_ORDER).limit(20_000)))
