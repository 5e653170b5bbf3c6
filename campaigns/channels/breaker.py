"""Pure decisions about accounts in trouble: when a paused one is tried again, and how its errors are shown."""

from __future__ import annotations

import re
from datetime import timedelta

FIRST_PROBE, LONGEST_PROBE = timedelta(minutes=1), timedelta(hours=1)
_MAIL = re.compile(r"([^\s<>@,;:()\[\]\"]{1,3})[^\s<>@,;:()\[\]\"]*@([^\s<>,;()\[\]\"]+)")
_DIGITS = re.compile(r"(\+?\d{3})\d{4,}(\d{4})")


def probe_wait(probes: int) -> timedelta:
    """How long a paused account waits for its next probe: a minute, doubled each time, at most an hour."""
    doubled: timedelta = FIRST_PROBE * 2 ** min(max(probes, 0), 12)
    return min(doubled, LONGEST_PROBE)


def one_line(text: str) -> str:
    """A text on one line, without what cannot be printed."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def masked(reason: str) -> str:
    """What another side said, on one line, with the addresses and phones in it masked."""
    return _DIGITS.sub(r"\1****\2", _MAIL.sub(r"\1***@\2", one_line(reason)))
