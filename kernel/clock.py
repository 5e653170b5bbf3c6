"""The one source of time. Instants are aware UTC; business dates are in the shop's time zone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

ZONE = ZoneInfo("Asia/Shanghai")


def _system() -> datetime:
    return datetime.now(UTC)


_source: Callable[[], datetime] = _system


def now() -> datetime:
    """The current instant, aware UTC."""
    return _source()


def today() -> date:
    """The current business date in the shop's time zone."""
    return local(now()).date()


def local(instant: datetime) -> datetime:
    """The instant as the shop's wall clock shows it."""
    return instant.astimezone(ZONE)


def wall_text(instant: datetime | None) -> str:
    """An instant on the shop's wall clock to the minute, for a file; nothing where there is none."""
    return local(instant).strftime("%Y-%m-%d %H:%M") if instant is not None else ""


def at(day: date, hour: int = 0, minute: int = 0) -> datetime:
    """The instant, aware UTC, at which the shop's wall clock shows the given day and time."""
    return datetime.combine(day, time(hour, minute), tzinfo=ZONE).astimezone(UTC)


def day_bounds(day: date) -> tuple[datetime, datetime]:
    """The half-open interval `[from, until)` of instants that a business date covers."""
    return at(day), at(day + timedelta(days=1))


@contextmanager
def frozen(instant: datetime) -> Iterator[Callable[[timedelta], None]]:
    """Hold the clock at an instant; yields a function that moves it by a timedelta.

    For tests, and for the past of the demo shop, which is loaded by a process of its own. It holds for the whole process.
    """
    global _source
    previous, held = _source, [instant.astimezone(UTC)]

    def move(step: timedelta) -> None:
        held[0] += step

    _source = lambda: held[0]  # noqa: E731
    try:
        yield move
    finally:
        _source = previous
