"""Pure decisions about benefits: what a rise, a month and a birthday give, and under which key."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

from membership.tiers import rules as tiers

from .models import Benefit

COUPONS = frozenset({Benefit.ENTRY_COUPON, Benefit.MONTHLY_COUPON})


@dataclass(frozen=True, order=True)
class Due:
    """A benefit that a member is to be given, unless its key (member, benefit, rank, period) has been given before.

    `rank` is that of an entry benefit and 0 of the others; `given_rank` is the tier that gives it, `thing_id` the gift or
    the offer.
    """

    member_id: int
    benefit: Benefit
    rank: int
    period: str
    given_rank: int
    thing_id: int


def month_of(day: date) -> str:
    """The period of a monthly coupon: `2026-11`."""
    return f"{day.year}-{day.month:02}"


def entry_dues(policy: tiers.Policy, member_id: int, from_rank: int, to_rank: int) -> list[Due]:
    """What a rise gives: the entry benefits of every level above `from_rank` up to `to_rank`.

    Levels that were jumped over count as reached, so that the order in which orders arrive makes no difference.
    """
    found = []
    for level in policy.levels:
        if from_rank < level.rank <= to_rank:
            for benefit, thing_id in (
                (Benefit.ENTRY_GIFT, level.entry_gift_id),
                (Benefit.ENTRY_COUPON, level.entry_offer_id),
            ):
                if thing_id is not None:
                    found.append(Due(member_id, benefit, level.rank, "", level.rank, thing_id))
    return found


def monthly_due(policy: tiers.Policy, member_id: int, rank: int, today: date) -> Due | None:
    """The coupon of this calendar month, None where the tier has none. Another tier in the same month gives no second one."""
    level = policy.level(rank)
    if level is None or level.monthly_offer_id is None:
        return None
    return Due(member_id, Benefit.MONTHLY_COUPON, 0, month_of(today), rank, level.monthly_offer_id)


def birthday_due(policy: tiers.Policy, member_id: int, rank: int, birthday: date | None, today: date) -> Due | None:
    """The gift of a birthday that is near, None where there is none or it is another time of the year."""
    level = policy.level(rank)
    if level is None or level.birthday_gift_id is None or birthday is None:
        return None
    year = tiers.birthday_period(birthday, today, policy.birthday_days)
    return Due(member_id, Benefit.BIRTHDAY_GIFT, 0, str(year), rank, level.birthday_gift_id) if year else None


def birthdays_near(today: date, days_before: int) -> list[tuple[str, int]]:
    """The birthdays (`MM-DD`) whose gift is due on a day, each with the year that it belongs to; `tiers.birthday_period`
    as a list, for a statement."""
    found = []
    for offset in range(-tiers.BIRTHDAY_LATE_DAYS, days_before + 1):
        kept = today + timedelta(days=offset)
        found.append((f"{kept.month:02}-{kept.day:02}", kept.year))
        if (kept.month, kept.day) == (2, 28) and tiers.birthday_in(date(2000, 2, 29), kept.year) == kept:
            found.append(("02-29", kept.year))
    return found
