"""Quick ways of reading cells that are written as nearly all of their kind are; `cells` has the rules and the words.

Each reader takes a cell and says what the function of `cells` says, or `NOTHING` for an empty cell, or refuses as it does.
What is remembered is bounded: a file with a million different names costs time and no memory.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Final

from . import cells
from .cells import CellRefused, Dates
from .drafts import Reason

MOST_REMEMBERED = 10_000


class _Nothing:
    """There is no text in the cell."""


NOTHING: Final = _Nothing()


class Remembered(dict[str, Any]):
    """What a reader said of each cell, the latest few thousand different ones."""

    def __init__(self, read: Callable[[str], Any]) -> None:
        super().__init__()
        self.read = read

    def __missing__(self, cell: str) -> Any:
        found = self.read(cell)
        if len(cell) <= 100:
            if len(self) >= MOST_REMEMBERED:
                self.clear()
            self[cell] = found
        return found


_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)
_TIME = re.compile(r" (?:[01][0-9]|2[0-3]):[0-5][0-9](?::[0-5][0-9])?", re.ASCII)


def _day(cell: str) -> datetime:
    found = cells.moment_of(f"{cell} 00:00", Dates.YMD, False) if _DAY.fullmatch(cell) else None
    if not isinstance(found, datetime):
        raise KeyError(cell)
    return found


def _time(cell: str) -> timedelta:
    if not _TIME.fullmatch(cell):
        raise KeyError(cell)
    hours, minutes, *seconds = cell.split(":")
    return timedelta(hours=int(hours), minutes=int(minutes), seconds=int(seconds[0]) if seconds else 0)


# Of a year there are few days, and of a day few minutes; together they are half a million. The shop's clock has not been
# moved since 1991, so that a day has all its hours.
_days, _times = Remembered(_day), Remembered(_time)


def moments(column: str, read: Callable[[str, str], datetime], latest: datetime) -> Callable[[str], Any]:
    """A reader of moments by the shop's clock, `2026-03-01 10:30` or with seconds; the others go to `read`. Refuses what is
    later than `latest` (aware UTC)."""
    days, times = _days, _times

    def moment(cell: str) -> Any:
        try:
            at = days[cell[:10]] + times[cell[10:]]
        except KeyError:
            return read(column, cell) if cell and cells.unwrapped(cell) else NOTHING
        if at > latest:
            raise CellRefused(column, Reason.MOMENT_AHEAD, cell)
        return at

    return moment


def plain_amounts(others: Callable[[str], Any]) -> Callable[[str], Any]:
    """A reader of amounts, `1234.50`; the `others` are read by another."""

    def amount(cell: str) -> Any:
        if cell[-3:-2] == "." and len(cell) <= 10:
            digits = cell[:-3] + cell[-2:]
            if digits.isdigit() and digits.isascii() and len(digits) >= 3:
                return int(digits)
        return others(cell)

    return amount


def amounts(column: str) -> Callable[[str], Any]:
    """A reader of amounts, `1234.50`; the others go to `cells.amount`."""
    return plain_amounts(lambda cell: cells.amount(column, cell) if cell and cells.unwrapped(cell) else NOTHING)


def words(column: str, read: Callable[[str, str], str], longest: int) -> Callable[[str], Any]:
    """A reader of texts of at most so many characters, letters and digits throughout; the others go to `read`."""

    def text(cell: str) -> Any:
        if cell.isalnum() and len(cell) <= longest:
            return cell
        return read(column, cell) if cell and cells.unwrapped(cell) else NOTHING

    return text


# A mobile number of China as people and programs write it, with or without the country.
_MOBILE = re.compile(r" ?(?:(?:\+|00)?86)?[ -]?(1[0-9]{2})[ -]?([0-9]{4})[ -]?([0-9]{4}) ?", re.ASCII)


def phones(column: str) -> Callable[[str], Any]:
    """A reader of phones; all but the mobile numbers of China go to `cells.phone`."""
    mobile = _MOBILE.fullmatch

    def phone(cell: str) -> Any:
        if found := mobile(cell):
            return "+86" + "".join(found.groups())
        return cells.phone(column, cell) if cell and cells.unwrapped(cell) else NOTHING

    return phone
