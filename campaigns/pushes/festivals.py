"""The festivals that a shop's calendar may begin with: dates of the lunar ones for ten years, and the fixed ones."""

from __future__ import annotations

from datetime import date, timedelta

from campaigns.channels import services as channels
from campaigns.channels.models import FestivalEffect

# The first day of the lunar year, the fifth of the fifth month, the seventh of the seventh, the fifteenth of the eighth,
# as the Purple Mountain Observatory's calendar has them.
LUNAR: dict[int, tuple[str, str, str, str]] = {
    2026: ("02-17", "06-19", "08-19", "09-25"),
    2027: ("02-06", "06-09", "08-08", "09-15"),
    2028: ("01-26", "05-28", "08-26", "10-03"),
    2029: ("02-13", "06-16", "08-16", "09-22"),
    2030: ("02-03", "06-05", "08-05", "09-12"),
    2031: ("01-23", "06-24", "08-24", "10-01"),
    2032: ("02-11", "06-12", "08-12", "09-19"),
    2033: ("01-31", "06-01", "08-01", "09-08"),
    2034: ("02-19", "06-20", "08-20", "09-27"),
    2035: ("02-08", "06-10", "08-10", "09-16"),
}
Q, X = FestivalEffect.QUIET, FestivalEffect.EXTRA


def days_in(year: int) -> list[tuple[str, date, date, FestivalEffect, int]]:
    """The festivals of a year: name, first day, the day after the last, what they do, how many messages more."""

    def on(text: str) -> date:
        return date.fromisoformat(f"{year}-{text}")

    found = [
        ("618 大促", on("06-16"), on("06-19"), X, 1),
        ("双十一", on("11-10"), on("11-12"), X, 1),
        ("双十二", on("12-12"), on("12-13"), X, 1),
    ]
    if year in LUNAR:
        spring, dragon_boat, seventh, mid_autumn = (on(text) for text in LUNAR[year])
        found += [
            # The eve and the first day belong to the family.
            ("春节", spring - timedelta(days=1), spring + timedelta(days=1), Q, 0),
            ("元宵节", spring + timedelta(days=14), spring + timedelta(days=15), X, 1),
            ("端午节", dragon_boat, dragon_boat + timedelta(days=1), X, 1),
            ("七夕", seventh, seventh + timedelta(days=1), X, 1),
            ("中秋节", mid_autumn, mid_autumn + timedelta(days=1), X, 1),
        ]
    return sorted(found, key=lambda one: one[1])


def starters(today: date) -> int:
    """Put the festivals of this year and the next that still lie ahead into the calendar; returns how many were new."""
    known = {(one.name, one.from_on) for one in channels.festivals(today, today + timedelta(days=800))}
    added = 0
    for year in (today.year, today.year + 1):
        for name, from_on, until_on, effect, extra in days_in(year):
            if until_on > today and (name, from_on) not in known:
                channels.save_festival(name, from_on, until_on, effect, extra)
                added += 1
    return added
