"""Pure decisions: how long a streak is, and what a day is worth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any, Final

MOST_POINTS: Final = 1_000
MOST_BONUSES: Final = 6
LONGEST: Final = 366


@dataclass(frozen=True)
class Program:
    """What the shop gives for checking in: points a day, and more on the days on which a streak reaches a length."""

    enabled: bool = False
    points: int = 2
    bonuses: Mapping[int, int] = field(default_factory=lambda: {7: 10, 30: 60})

    def dump(self) -> dict[str, Any]:
        """As it is stored."""
        return {
            "enabled": self.enabled,
            "points": self.points,
            "bonuses": [list(pair) for pair in sorted(self.bonuses.items())],
        }


def load(stored: Any) -> Program:
    """A stored program, or the default one."""
    if not stored:
        return Program()
    return Program(stored["enabled"], stored["points"], dict(stored["bonuses"]))


def streak(last_on: date | None, last_streak: int, today: date) -> int:
    """How many days in a row a check-in of today makes; a missed day begins anew."""
    return last_streak + 1 if last_on == today - timedelta(days=1) else 1


def points_for(program: Program, length: int) -> int:
    """What the day on which a streak reaches this length is worth."""
    return program.points + program.bonuses.get(length, 0)


def next_bonus(program: Program, length: int) -> tuple[int, int] | None:
    """The next length that is worth more, and how much; None after the last one."""
    return min(((days, points) for days, points in program.bonuses.items() if days > length), default=None)


class BonusesUnreadable(ValueError):
    """A line is not two numbers; `args[0]` is the line."""


def bonuses_of(text: str) -> dict[int, int]:
    """Bonuses as they are typed, a line each: days, a blank, points. Refuses with `BonusesUnreadable`."""
    found: dict[int, int] = {}
    for line in filter(None, (line.strip() for line in text.splitlines())):
        words = line.split()
        if len(words) != 2 or not all(word.isascii() and word.isdecimal() and len(word) < 5 for word in words):
            raise BonusesUnreadable(line)
        days, points = map(int, words)
        if not 2 <= days <= LONGEST or not 1 <= points <= MOST_POINTS or days in found or len(found) == MOST_BONUSES:
            raise BonusesUnreadable(line)
        found[days] = points
    return found
