"""When a brief goes. Pure."""

from __future__ import annotations

from datetime import datetime, timedelta

# A brief that could not go for so long says nothing new any more: the page does.
LATEST = timedelta(hours=6)
TRIES = 6


def is_due(at: datetime, since: datetime, now: datetime) -> bool:
    """Whether a brief that is to go at `at` goes now, for somebody who has wished for it so since `since`."""
    return since <= at <= now < at + LATEST


def wait_of(attempts: int, asked: timedelta | None = None) -> timedelta:
    """How long a copy waits after so many tries: longer each time, and no less than the mail server asks for."""
    return max(timedelta(minutes=2**attempts), asked or timedelta())
