"""The contact budget, the quiet hours and the hold-out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time

from sqlalchemy import BigInteger, Date, bindparam, case, func, select, update
from sqlalchemy.dialects.postgresql import ARRAY, insert

from kernel import audit, clock, shop
from kernel.db import db

from .. import rules
from ..models import ContactLedger


def budget() -> rules.Budget:
    """The contact budget in force."""
    standard = rules.Budget()
    return rules.Budget(
        shop.get("contact.per_day", standard.per_day), shop.get("contact.per_month", standard.per_month)
    )


def quiet_hours() -> rules.Quiet:
    """The quiet hours in force."""
    standard = rules.Quiet()
    return rules.Quiet(
        time.fromisoformat(shop.get("quiet.from", standard.since.isoformat("minutes"))),
        time.fromisoformat(shop.get("quiet.until", standard.until.isoformat("minutes"))),
    )


def holdout_percent() -> float:
    """How many percent of all members are held out of every push."""
    return float(shop.get("holdout.percent", 5))


def set_budget(per_day: int | None, per_month: int | None, quiet_from: str, quiet_until: str, holdout: float) -> None:
    """Set the contact budget (None is no cap), the quiet hours (`22:00`) and the hold-out (percent)."""
    values = {
        "contact.per_day": per_day,
        "contact.per_month": per_month,
        "quiet.from": quiet_from,
        "quiet.until": quiet_until,
        "holdout.percent": holdout,
    }
    before = {key: shop.get(key) for key in values}
    for key, value in values.items():
        shop.put(key, value)
    audit.record("contact_budget.changed", "shop", None, before, values)


def quiet_until(now: datetime) -> datetime | None:
    """When the quiet hours that hold at an instant end, or None when it is not quiet."""
    return rules.quiet_end(clock.local(now), quiet_hours())


_members = bindparam("member_ids", type_=ARRAY(BigInteger))
_today = bindparam("today", type_=Date)
_month = bindparam("month", type_=Date)
_wanted = select(func.unnest(_members).label("member_id")).cte("wanted")
_ledger = ContactLedger.__table__
_new = insert(_ledger).from_select(
    ["member_id", "month_on", "total", "day_on", "day_total"],
    select(_wanted.c.member_id, _month, 1, _today, 1).order_by(_wanted.c.member_id),
)
_day_total = case((ContactLedger.day_on >= _today, ContactLedger.day_total), else_=0)
# One statement takes both caps. A claimer whose clock is a day behind another's counts on the later day.
_RESERVE = _new.on_conflict_do_update(
    index_elements=[ContactLedger.member_id, ContactLedger.month_on],
    set_={
        "total": ContactLedger.total + 1,
        "day_on": func.greatest(ContactLedger.day_on, _today),
        "day_total": _day_total + 1,
    },
    where=(ContactLedger.total < bindparam("per_month", type_=BigInteger))
    & (_day_total < bindparam("per_day", type_=BigInteger)),
).returning(ContactLedger.member_id, ContactLedger.day_on)
_REFUSED = select(ContactLedger.member_id, ContactLedger.total).where(
    ContactLedger.month_on == _month, ContactLedger.member_id == func.any(_members)
)
_UNLIMITED = 2**62


@dataclass(frozen=True)
class Reserved:
    """What came of a reservation: the date on which each granted contact counts, and why others were refused."""

    granted: dict[int, date]
    refused: dict[int, str]  # day | month


def reserve_contacts(member_ids: Sequence[int], today: date, caps: rules.Budget) -> Reserved:
    """Take one contact of each member's budget for a business date.

    The rows are locked in the order of member ids until the caller's transaction ends, whatever several claimers do at
    once: no cap is ever passed, and none of them waits for another in a circle. Ids must be distinct.
    """
    if not member_ids:
        return Reserved({}, {})
    if caps.per_day == 0 or caps.per_month == 0:
        return Reserved({}, dict.fromkeys(member_ids, "day" if caps.per_day == 0 else "month"))
    window = {"member_ids": sorted(member_ids), "month": rules.month_of(today)}
    limits = {
        "per_day": _UNLIMITED if caps.per_day is None else caps.per_day,
        "per_month": _UNLIMITED if caps.per_month is None else caps.per_month,
    }
    granted = {row.member_id: row.day_on for row in db.session.execute(_RESERVE, {**window, "today": today, **limits})}
    refused = [m for m in member_ids if m not in granted]
    if not refused:
        return Reserved(granted, {})
    totals = {row.member_id: row.total for row in db.session.execute(_REFUSED, {**window, "member_ids": refused})}
    full = limits["per_month"]
    return Reserved(granted, {m: "month" if totals.get(m, 0) >= full else "day" for m in refused})


_given = (
    select(func.unnest(_members).label("member_id"), func.unnest(bindparam("days", type_=ARRAY(Date))).label("day_on"))
).subquery("given")
_locked = (
    select(ContactLedger.member_id, ContactLedger.month_on, _given.c.day_on)
    .join(
        _given,
        (_given.c.member_id == ContactLedger.member_id)
        & (ContactLedger.month_on == func.date_trunc("month", _given.c.day_on).cast(Date)),
    )
    .order_by(ContactLedger.member_id, ContactLedger.month_on)
    .with_for_update(of=ContactLedger)
    .cte("locked")
)
_RELEASE = (
    update(_ledger)
    .where(ContactLedger.member_id == _locked.c.member_id, ContactLedger.month_on == _locked.c.month_on)
    .values(
        total=ContactLedger.total - 1,
        day_total=ContactLedger.day_total - case((ContactLedger.day_on == _locked.c.day_on, 1), else_=0),
    )
)


def release_contacts(taken: Mapping[int, date]) -> None:
    """Give back what `reserve_contacts` granted, with the dates it said. The caller knows from its own rows that they hold it."""
    if taken:
        members = sorted(taken)
        db.session.execute(_RELEASE, {"member_ids": members, "days": [taken[m] for m in members]})
