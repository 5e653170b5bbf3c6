"""The contact budget, the quiet hours, the festival calendar and the hold-out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from functools import cache
from typing import Any

from sqlalchemy import BigInteger, Date, Integer, SmallInteger, bindparam, case, exists, func, or_, select, update
from sqlalchemy.dialects.postgresql import ARRAY, insert

from kernel import audit, clock, shop
from kernel.db import db
from kernel.errors import NotFound

from .. import rules
from ..models import ContactClass, ContactCount, Festival, FestivalEffect

# So far ahead the calendar is looked at: nothing waits longer for its quiet to end.
AHEAD = timedelta(days=60)
# Clocks of several machines differ by minutes. A row further ahead comes from a clock that was wrong, and is begun anew.
LAG = timedelta(days=2)


# ── What is in force ────────────────────────────────────────────────────────────────────────────────────────────────


def _caps(said: Mapping[str, int | None]) -> rules.Caps:
    return rules.Caps(said.get("day"), said.get("week"), said.get("month"))


def in_force() -> tuple[rules.Budget, rules.Quiet]:
    """The contact budget and the quiet hours in force, with what the festivals to come say of both."""
    today = clock.today()
    calendar = festivals(today - timedelta(days=1), today + AHEAD)
    return _budget(calendar), _quiet_hours(calendar)


def budget() -> rules.Budget:
    """The contact budget in force, with the extra allowance of the festivals to come."""
    return in_force()[0]


def quiet_hours() -> rules.Quiet:
    """The quiet hours in force, with the quiet days to come."""
    return in_force()[1]


def _budget(calendar: Sequence[Festival]) -> rules.Budget:
    standard = rules.Budget()
    return rules.Budget(
        shop.get("contact.per_day", standard.per_day),
        shop.get("contact.per_week", standard.per_week),
        shop.get("contact.per_month", standard.per_month),
        {ContactClass(name): _caps(said) for name, said in shop.get("contact.by_class", {}).items()},
        {int(rank): _caps(said) for rank, said in shop.get("contact.by_rank", {}).items()},
        {
            day: festival.extra
            for festival in calendar
            if festival.effect is FestivalEffect.EXTRA
            for day in days_of(festival)
        },
    )


def _quiet_hours(calendar: Sequence[Festival]) -> rules.Quiet:
    standard = rules.Quiet()
    return rules.Quiet(
        time.fromisoformat(shop.get("quiet.from", standard.since.isoformat("minutes"))),
        time.fromisoformat(shop.get("quiet.until", standard.until.isoformat("minutes"))),
        frozenset(day for festival in calendar if festival.effect is FestivalEffect.QUIET for day in days_of(festival)),
    )


def quiet_until(now: datetime) -> datetime | None:
    """When the quiet that holds at an instant ends, or None when it is not quiet."""
    return rules.quiet_end(clock.local(now), quiet_hours())


def holdout_percent() -> float:
    """How many percent of all members are held out of every push."""
    return float(shop.get("holdout.percent", 5))


def set_budget(caps: rules.Budget, quiet_from: str, quiet_until: str, holdout: float) -> None:
    """Set the contact budget, the quiet hours (`22:00`) and the hold-out (percent)."""
    values = {
        "contact.per_day": caps.per_day,
        "contact.per_week": caps.per_week,
        "contact.per_month": caps.per_month,
        "contact.by_class": {name.value: dict(_said(one)) for name, one in caps.by_class.items()},
        "contact.by_rank": {str(rank): dict(_said(one)) for rank, one in caps.by_rank.items()},
        "quiet.from": quiet_from,
        "quiet.until": quiet_until,
        "holdout.percent": holdout,
    }
    before = {key: shop.get(key) for key in values}
    for key, value in values.items():
        shop.put(key, value)
    audit.record("contact_budget.changed", "shop", None, before, values)


def _said(caps: rules.Caps) -> zip[tuple[str, int | None]]:
    return zip(rules.WINDOWS, caps.windows, strict=True)


# ── The festival calendar ───────────────────────────────────────────────────────────────────────────────────────────


def festivals(since: date, until: date) -> list[Festival]:
    """The festivals with a day in `[since, until)`, the earliest first."""
    return list(
        db.session.scalars(
            select(Festival)
            .where(Festival.until_on > since, Festival.from_on < until)
            .order_by(Festival.from_on, Festival.id)
        )
    )


def days_of(festival: Festival) -> list[date]:
    """Every day of a festival."""
    return [festival.from_on + timedelta(days=n) for n in range((festival.until_on - festival.from_on).days)]


def has_festival(name: str, from_on: date) -> bool:
    """Whether a festival of this name begins on a day already."""
    return bool(db.session.scalar(select(exists().where(Festival.name == name, Festival.from_on == from_on))))


def get_festival(festival_id: int) -> Festival:
    """One festival; refuses with `NotFound`."""
    found = db.session.get(Festival, festival_id)
    if found is None:
        raise NotFound
    return found


def save_festival(
    name: str, from_on: date, until_on: date, effect: FestivalEffect, extra: int = 0, festival: Festival | None = None
) -> Festival:
    """Put days `[from_on, until_on)` into the calendar, or change them."""
    if festival is None:
        festival = Festival()
        db.session.add(festival)
    festival.name, festival.from_on, festival.until_on = " ".join(name.split()), from_on, until_on
    festival.effect, festival.extra = effect, extra if effect is FestivalEffect.EXTRA else 0
    db.session.flush()
    audit.record("festival.saved", "festival", festival.id, after=_festival_said(festival))
    return festival


def _festival_said(festival: Festival) -> dict[str, Any]:
    return {
        "name": festival.name,
        "from": festival.from_on.isoformat(),
        "until": festival.until_on.isoformat(),
        "effect": festival.effect.value,
        "extra": festival.extra,
    }


def drop_festival(festival: Festival) -> None:
    """Take days out of the calendar."""
    audit.record("festival.dropped", "festival", festival.id, before=_festival_said(festival))
    db.session.delete(festival)
    db.session.flush()


# ── Taking and giving back ──────────────────────────────────────────────────────────────────────────────────────────

CLASSES = (ContactClass.TRIGGERED, ContactClass.REPURCHASE, ContactClass.BROADCAST)
# Counts are small whole numbers; nobody gets so many messages.
_UNLIMITED = 30_000
_members = bindparam("member_ids", type_=ARRAY(BigInteger))
_ranks = bindparam("ranks", type_=ARRAY(Integer))
_window = {window: bindparam(f"this_{window}", type_=Date) for window in rules.WINDOWS}
_latest = {window: bindparam(f"latest_{window}", type_=Date) for window in rules.WINDOWS}
_class_cap = {window: bindparam(f"class_{window}_cap", type_=Integer) for window in rules.WINDOWS}
_ledger = ContactCount.__table__


def _column(window: str, name: str) -> Any:
    return _ledger.c[f"{window}_{name}"]


def _present(window: str, name: str) -> Any:
    """A count as it stands in the window of a claim: 0 when the row's own is an earlier one."""
    return case((_ledger.c[f"{window}_on"].between(_window[window], _latest[window]), _column(window, name)), else_=0)


def _cap(window: str, rank: Any) -> Any:
    """The cap over all classes for a rank, one parameter each."""
    caps = [(rank == r, bindparam(f"{window}_cap_{r}", type_=Integer)) for r in range(rules.RANKS)]
    return case(*caps[1:], else_=caps[0][1])


def starts_of(day: date) -> dict[str, date]:
    """The first day of each window that a date lies in."""
    return {"day": day, "week": rules.week_of(day), "month": rules.month_of(day)}


@cache
def reserve_statement(contact_class: ContactClass) -> Any:
    """One statement that takes every cap for many members. A claimer whose clock is behind another's counts on the later day."""
    wanted = select(func.unnest(_members).label("member_id"), func.unnest(_ranks).label("rank")).cte("wanted")
    own = contact_class.value
    first = {
        f"{window}_{name}": int(name in ("total", own))
        for window in rules.WINDOWS
        for name in ("total", *(one.value for one in CLASSES))
    }
    fresh = insert(_ledger).from_select(
        ["member_id", "rank", "day_on", "week_on", "month_on", *first],
        select(wanted.c.member_id, wanted.c.rank, *_window.values(), *first.values())
        .where(
            *(_cap(window, wanted.c.rank) > 0 for window in rules.WINDOWS),
            *(_class_cap[window] > 0 for window in rules.WINDOWS),
        )
        .order_by(wanted.c.member_id),
    )
    values: dict[str, Any] = {"rank": fresh.excluded.rank}
    for window in rules.WINDOWS:
        start = _ledger.c[f"{window}_on"]
        values[start.name] = case(
            (start <= _latest[window], func.greatest(start, _window[window])), else_=_window[window]
        )
        for name in ("total", *(one.value for one in CLASSES)):
            values[f"{window}_{name}"] = _present(window, name) + first[f"{window}_{name}"]
    room = [_present(window, "total") < _cap(window, fresh.excluded.rank) for window in rules.WINDOWS] + [
        _present(window, own) < _class_cap[window] for window in rules.WINDOWS
    ]
    condition = room[0]
    for one in room[1:]:
        condition = condition & one
    return fresh.on_conflict_do_update(index_elements=[_ledger.c.member_id], set_=values, where=condition).returning(
        _ledger.c.member_id, _ledger.c.day_on
    )


_REFUSED = select(ContactCount).where(ContactCount.member_id == func.any(_members))


@dataclass(frozen=True)
class Reserved:
    """What came of a reservation: the date on which each granted contact counts, and why others were refused."""

    granted: dict[int, date]
    refused: dict[int, str]  # day | week | month, and with class_ before it where the class's own cap is reached


def reserve_contacts(
    ranks: Mapping[int, int],
    today: date,
    caps: rules.Budget,
    contact_class: ContactClass = ContactClass.BROADCAST,
) -> Reserved:
    """Take one contact of each member's budget for a business date; `ranks` are the members with their tiers.

    The rows are locked in the order of member ids until the caller's transaction ends, whatever several claimers do at
    once: no cap is ever passed, and none of them waits for another in a circle.
    """
    if not ranks:
        return Reserved({}, {})
    members = sorted(ranks)
    by_rank = [caps.caps_of(rank, today) for rank in range(rules.RANKS)]
    own = caps.caps_of_class(contact_class, today)
    values: dict[str, Any] = {
        "member_ids": members,
        "ranks": [ranks[m] for m in members],
        **{f"this_{window}": start for window, start in starts_of(today).items()},
        **{f"latest_{window}": start for window, start in starts_of(today + LAG).items()},
    }
    for at, window in enumerate(rules.WINDOWS):
        values |= {f"{window}_cap_{rank}": _limit(caps_of[at]) for rank, caps_of in enumerate(by_rank)}
        values[f"class_{window}_cap"] = _limit(own[at])
    granted = {row.member_id: row.day_on for row in db.session.execute(reserve_statement(contact_class), values)}
    refused = [m for m in members if m not in granted]
    if not refused:
        return Reserved(granted, {})
    rows = {
        row.member_id: row
        for row in db.session.scalars(_REFUSED.execution_options(populate_existing=True), {"member_ids": refused})
    }
    reasons: dict[int, str] = {}
    for member in refused:
        used, used_by_class = counts_of(rows.get(member), contact_class, today)
        reasons[member] = rules.full_window(used, used_by_class, by_rank[ranks[member]], own) or "day"
    return Reserved(granted, reasons)


def _limit(cap: int | None) -> int:
    return _UNLIMITED if cap is None else min(cap, _UNLIMITED)


def counts_of(
    row: ContactCount | None, contact_class: ContactClass, today: date
) -> tuple[dict[str, int], dict[str, int]]:
    """What a member's row counts in the windows of a date: of all classes, and of one."""
    if row is None:
        return {}, {}
    since, until = starts_of(today), starts_of(today + LAG)
    alive = [w for w in rules.WINDOWS if since[w] <= getattr(row, f"{w}_on") <= until[w]]
    return (
        {window: getattr(row, f"{window}_total") for window in alive},
        {window: getattr(row, f"{window}_{contact_class.value}") for window in alive},
    )


@cache
def release_statement(contact_class: ContactClass) -> Any:
    """Give contacts of one class back, in every window that still runs."""
    given = select(
        func.unnest(_members).label("member_id"), func.unnest(bindparam("days", type_=ARRAY(Date))).label("day_on")
    ).subquery("given")
    locked = (
        select(ContactCount.member_id, given.c.day_on)
        .join(given, given.c.member_id == ContactCount.member_id)
        .order_by(ContactCount.member_id)
        .with_for_update(of=ContactCount)
        .cte("locked")
    )
    same = {
        "day": _ledger.c.day_on == locked.c.day_on,
        "week": _ledger.c.week_on == func.date_trunc("week", locked.c.day_on).cast(Date),
        "month": _ledger.c.month_on == func.date_trunc("month", locked.c.day_on).cast(Date),
    }
    values = {
        f"{window}_{name}": _column(window, name)
        - case((same[window] & (_column(window, contact_class.value) > 0), 1), else_=0).cast(SmallInteger)
        for window in rules.WINDOWS
        for name in ("total", contact_class.value)
    }
    return update(_ledger).where(_ledger.c.member_id == locked.c.member_id).values(**values)


def release_contacts(taken: Mapping[int, date], contact_class: ContactClass = ContactClass.BROADCAST) -> None:
    """Give back what `reserve_contacts` granted, with the dates it said. The caller knows from its own rows that they hold it."""
    if taken:
        members = sorted(taken)
        db.session.execute(
            release_statement(contact_class), {"member_ids": members, "days": [taken[m] for m in members]}
        )


def counted_now(row: ContactCount) -> dict[str, int]:
    """What a member's row counts today, this week and this month, of all classes together."""
    return dict.fromkeys(rules.WINDOWS, 0) | counts_of(row, ContactClass.BROADCAST, clock.today())[0]


def at_the_cap(contact_class: ContactClass | None, rank: Any) -> list[tuple[Any, str]]:
    """Conditions on `contact_count` joined beside a member of the given rank, and which window each says is full.

    The longest window first, as `rules.full_window` has it, but without telling whose cap it is. Without a class the caps
    over all of them are asked alone.
    """
    today, caps = clock.today(), budget()
    since, until = starts_of(today), starts_of(today + LAG)
    found: list[tuple[Any, str]] = []
    for at, window in reversed(list(enumerate(rules.WINDOWS))):
        overall = [caps.caps_of(r, today)[at] for r in range(rules.RANKS)]
        own = caps.caps_of_class(contact_class, today)[at] if contact_class is not None else None
        alive = _ledger.c[f"{window}_on"].between(since[window], until[window])
        full = []
        for r, cap in enumerate(overall):
            if cap is not None:
                full.append((rank == r) & (func.coalesce(case((alive, _column(window, "total")), else_=0), 0) >= cap))
        if own is not None and contact_class is not None:
            full.append(func.coalesce(case((alive, _column(window, contact_class.value)), else_=0), 0) >= own)
        if full:
            found.append((or_(*full), window))
    return found
