"""When a recurring push goes: an RRULE (RFC 5545, 3.3.10) on the shop's wall clock. Pure: values in, moments out."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo

from dateutil.rrule import rrule, rrulestr  # type: ignore[import-untyped]

from kernel.errors import Refusal
from kernel.i18n import lazy_gettext as _l

# A push that comes later than this after its moment was missed: it is skipped, and the list says so.
LATE = timedelta(hours=1)
# So far ahead a rule is looked into; one that names no day within it names none.
HORIZON = timedelta(days=5 * 366)
LOOK_BACK = timedelta(days=400)
LONGEST = 300
# Beyond it the calendar of the programming language ends.
LAST_YEAR = 9_990
_PARTS = {
    "FREQ": r"DAILY|WEEKLY|MONTHLY|YEARLY",
    "INTERVAL": r"[1-9]\d{0,2}",
    "COUNT": r"[1-9]\d{0,3}",
    "UNTIL": r"\d{8}(T\d{6}Z?)?",
    "BYDAY": r"([+-]?[1-9]\d?)?(MO|TU|WE|TH|FR|SA|SU)(,([+-]?[1-9]\d?)?(MO|TU|WE|TH|FR|SA|SU))*",
    "BYMONTHDAY": r"-?([1-9]|[12]\d|3[01])(,-?([1-9]|[12]\d|3[01]))*",
    "BYMONTH": r"([1-9]|1[0-2])(,([1-9]|1[0-2]))*",
    "BYSETPOS": r"-?[1-9]\d{0,2}(,-?[1-9]\d{0,2})*",
    "WKST": r"MO|TU|WE|TH|FR|SA|SU",
}


class RuleInvalid(Refusal):
    status = 422
    label = _l("This is not a rule such as FREQ=WEEKLY;BYDAY=MO,TH. A push repeats daily at most.")


class NeverComes(Refusal):
    status = 422
    label = _l("By this rule the push would never go.")


@dataclass(frozen=True)
class Occurrence:
    """One time of a series. `key` is the wall clock's own, so that no jump of the clock makes a second one of it."""

    key: str
    at: datetime


def canonical(text: str) -> str:
    """A rule in one spelling. Refuses with `RuleInvalid` what is no rule, or repeats more often than daily."""
    text = re.sub(r"\s", "", text).upper().removeprefix("RRULE:").rstrip(";")
    said: dict[str, str] = {}
    for piece in text.split(";"):
        name, _equals, value = piece.partition("=")
        if name in said or name not in _PARTS or not re.fullmatch(_PARTS[name], value):
            raise RuleInvalid
        said[name] = value
    if "FREQ" not in said or len(text) > LONGEST or ("COUNT" in said and "UNTIL" in said):
        raise RuleInvalid
    found = ";".join(f"{name}={said[name]}" for name in _PARTS if name in said)
    _rule(found, datetime(2026, 1, 1, tzinfo=UTC))
    return found


def _rule(text: str, first: datetime) -> rrule:
    # Everything is said on the wall clock: a Z would compare it with another one.
    try:
        found = rrulestr(text.replace("Z", ""), dtstart=first.replace(tzinfo=None, microsecond=0), ignoretz=True)
    except (ValueError, TypeError):
        raise RuleInvalid from None
    if not isinstance(found, rrule):
        raise RuleInvalid
    return found


def occurrences(text: str, first: datetime, zone: tzinfo, after: datetime | None = None) -> Iterator[Occurrence]:
    """The times of a series that begins at the instant `first`, those after the instant `after` if that is given.

    They lie on the wall clock of `zone`. A time that a clock put forward leaves out comes as much later, and of two that a
    clock put back brings, the first one counts (RFC 5545, 3.3.5).
    """
    start = first.astimezone(zone).replace(tzinfo=None, fold=0)
    since = start if after is None else max(start, after.astimezone(zone).replace(tzinfo=None) - timedelta(days=1))
    if since.year > LAST_YEAR:
        return
    for wall in _rule(text, start).xafter(since, inc=True):
        if wall > since + HORIZON:
            return
        at = wall.replace(tzinfo=zone).astimezone(UTC)
        if after is None or at > after:
            yield Occurrence(wall.isoformat(timespec="minutes"), at)


def next_after(text: str, first: datetime, zone: tzinfo, after: datetime | None = None) -> Occurrence | None:
    """The next time of a series, or None when it is over."""
    return next(occurrences(text, first, zone, after), None)


def overdue(
    text: str, first: datetime, zone: tzinfo, after: datetime, now: datetime, most: int
) -> tuple[list[Occurrence], Occurrence | None]:
    """What a series has missed between `after` and now, the latest `most` of it, and its next time, which may be due.

    A time is missed when it lies more than `LATE` back.
    """
    missed: list[Occurrence] = []
    # What lies further back than a year and a month is not looked up time by time.
    for occurrence in occurrences(text, first, zone, max(after, now - LATE - LOOK_BACK)):
        if occurrence.at > now - LATE:
            return missed[-most:], occurrence
        missed.append(occurrence)
    return missed[-most:], None
