"""Pure decisions of the desk: when to call, which script fits, what it says."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import datetime, time, timedelta
from typing import Final, Protocol

from membership.members.models import CustomerType

from .models import CallReason, CallState

# Nobody is called outside these hours of the shop's day.
CALL_FROM, CALL_UNTIL = time(10), time(20)
# What people agree on may lie outside of them, but not at night: a three in the morning was meant for the afternoon.
AGREED_FROM, AGREED_UNTIL = time(8), time(22)
# A parcel that arrived longer ago is no reason to call any more.
FRESH: Final = timedelta(days=14)
FURTHEST: Final = timedelta(days=60)
LIVE: Final = (CallState.OPEN, CallState.RETRY)
# A refused parcel or a wrong address waits for no next day, and takes over a task about a parcel that arrived.
URGENT: Final = (CallReason.REFUSED_PARCEL, CallReason.WRONG_ADDRESS)
PLACES: Final = ("nickname", "product", "shop", "agent")

_PLACE = re.compile(r"\{(" + "|".join(PLACES) + r")\}")
_ANY_PLACE = re.compile(r"\{([^{}\s]{1,40})\}")


def within_hours(moment: datetime) -> datetime:
    """The moment itself, or the next one at which people may be called. Local time in, local time out."""
    if moment.time() < CALL_FROM:
        return moment.replace(hour=CALL_FROM.hour, minute=0, second=0, microsecond=0)
    if moment.time() >= CALL_UNTIL:
        following = moment + timedelta(days=1)
        return following.replace(hour=CALL_FROM.hour, minute=0, second=0, microsecond=0)
    return moment


def may_be_agreed(moment: datetime) -> bool:
    """Whether a call may be arranged for this moment of the shop's clock."""
    return AGREED_FROM <= moment.time() < AGREED_UNTIL


def due_at(reason: CallReason, arrived: datetime, known: datetime) -> datetime:
    """When to call about a parcel. Local time in (when it arrived, when the desk learnt of it), local time out.

    After a delivery: ten o'clock of the next day, when it has been unpacked; learnt of later, as soon as people may be
    called. Whatever is urgent: an hour after it is known, within the hours.
    """
    if reason in URGENT:
        return within_hours(known + timedelta(hours=1))
    following = (arrived + timedelta(days=1)).replace(hour=CALL_FROM.hour, minute=0, second=0, microsecond=0)
    return following if following > known else within_hours(known)


def takes_over(fresh: CallReason, present: CallReason) -> bool:
    """Whether a task changes to the reason of what joins it: urgent ones go before others."""
    return fresh in URGENT and present not in URGENT


class Written(Protocol):
    """What a script is chosen by."""

    @property
    def reason(self) -> CallReason | None: ...
    @property
    def customer_type(self) -> CustomerType | None: ...
    @property
    def voice(self) -> str: ...


def fitness(script: Written, reason: CallReason, customer_type: CustomerType | None, voice: str) -> int | None:
    """How well a script fits: None when it is for something else, more when it names the case itself.

    The reason weighs most, then the customer's type, then the voice.
    """
    if script.reason not in (None, reason) or script.customer_type not in (None, customer_type):
        return None
    if script.voice not in ("", voice):
        return None
    return 4 * (script.reason is not None) + 2 * (script.customer_type is not None) + (script.voice != "")


def fitting(
    scripts: Iterable[Written], reason: CallReason, customer_type: CustomerType | None, voice: str
) -> list[Written]:
    """The scripts that fit, the best first."""
    scored = [(fitness(script, reason, customer_type, voice), script) for script in scripts]
    return [script for score, script in sorted(((n, s) for n, s in scored if n is not None), key=lambda p: -p[0])]


def fill(body: str, values: Mapping[str, str]) -> str:
    """The text with its places filled in; a place that nobody knows stays as it is, and what is filled in is not read again."""
    return _PLACE.sub(lambda m: values.get(m[1]) or m[0], body)


def unknown_places(body: str) -> list[str]:
    """Places of a script that cannot be filled in."""
    return sorted({name for name in _ANY_PLACE.findall(body) if name not in PLACES})
