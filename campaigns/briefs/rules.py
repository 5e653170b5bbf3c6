"""When a brief goes. Pure."""

from __future__ import annotations

from datetime import datetime, timedelta

# A brief that could not go for so long says nothing new any more: the page does.
LATEST = timedelta(hours=6)


def is_due(at: datetime, since: datetime, now: datetime) -> bool:
    """Whether a brief that is to go at `at` goes now, for somebody who has wished for it so since `since`."""
    return since <= at <= now < at + LATEST
