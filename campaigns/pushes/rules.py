"""Pure decisions of pushes: which state follows which, what a message's text may hold, who is held out."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from campaigns.channels.adapters import Outcome, Status
from kernel.errors import Refusal
from kernel.i18n import lazy_gettext as _l

from .models import DeliveryState, RunState

CHUNK = 20_000
SLICE = 1_000
ATTEMPTS = 5
FIRST_RETRY, LONGEST_RETRY = timedelta(seconds=30), timedelta(hours=6)
LONGEST_SUBJECT, LONGEST_BODY = 120, 4_000

NEXT: dict[RunState, frozenset[RunState]] = {
    RunState.DRAFT: frozenset({RunState.SCHEDULED, RunState.CANCELLED}),
    RunState.SCHEDULED: frozenset({RunState.DRAFT, RunState.MATERIALISING, RunState.CANCELLED, RunState.EXPIRED}),
    RunState.MATERIALISING: frozenset({RunState.RUNNING, RunState.CANCELLED, RunState.EXPIRED, RunState.FAILED}),
    RunState.RUNNING: frozenset({RunState.PAUSED, RunState.COMPLETED, RunState.CANCELLED, RunState.EXPIRED}),
    RunState.PAUSED: frozenset({RunState.RUNNING, RunState.CANCELLED, RunState.EXPIRED}),
    RunState.COMPLETED: frozenset({RunState.RUNNING}),  # Only to offer doubtful messages again.
    RunState.CANCELLED: frozenset(),
    RunState.EXPIRED: frozenset(),
    RunState.FAILED: frozenset(),
}


def may_follow(state: RunState, to: RunState) -> bool:
    """Whether a run in one state may go over into another."""
    return to in NEXT[state]


# ── The text of a message ───────────────────────────────────────────────────────────────────────────────────────────

# Every placeholder, with what it stands for. `{name|words}` says what to write when there is nothing to put in.
PLACEHOLDERS: dict[str, Any] = {
    "nickname": _l("How the member is called"),
    "tier": _l("The member's tier, such as VIP2"),
    "shop": _l("The shop's name"),
    "coupon_name": _l("The coupon's name"),
    "coupon_value": _l("What the coupon is worth, such as ¥20"),
    "coupon_link": _l("The member's own link to the coupon"),
    "link": _l("The link of this push"),
}
NEEDS_OFFER = frozenset({"coupon_name", "coupon_value", "coupon_link"})
NEEDS_LINK = frozenset({"link"})
_TOKEN = re.compile(r"\{\{|\}\}|\{([^{}|]*)(?:\|([^{}]*))?\}|[{}]")


class PlaceholderUnknown(Refusal):
    status = 422
    label = _l("%(name)s is not a placeholder. Choose one from the list, or write {{ and }} for plain braces.")


class PlaceholderEmpty(Refusal):
    status = 422
    label = _l("%(name)s has nothing to stand for: choose a coupon, or write a link, or take it out.")


class RenderFailed(Exception):
    """A member has no value for a placeholder without other words; the message is not sent."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


@dataclass(frozen=True)
class Part:
    """A piece of a text: plain words, or a placeholder with what to write when it is empty."""

    words: str = ""
    name: str = ""
    otherwise: str | None = None


def parse(text: str) -> tuple[Part, ...]:
    """A message's text in its parts. Refuses with `PlaceholderUnknown` what is no placeholder of ours."""
    parts: list[Part] = []
    at = 0
    for found in _TOKEN.finditer(text):
        if found.start() > at:
            parts.append(Part(words=text[at : found.start()]))
        at = found.end()
        if found[0] in ("{{", "}}"):
            parts.append(Part(words=found[0][0]))
            continue
        name = (found[1] or "").strip()
        if name not in PLACEHOLDERS:
            raise PlaceholderUnknown(name=found[0])
        parts.append(Part(name=name, otherwise=found[2]))
    if at < len(text):
        parts.append(Part(words=text[at:]))
    return tuple(parts)


def names_in(parts: Iterable[Part]) -> frozenset[str]:
    return frozenset(part.name for part in parts if part.name)


def check(text: str, has_offer: bool, has_link: bool) -> frozenset[str]:
    """The placeholders that a text uses. Refuses unknown ones, and those that have nothing to stand for."""
    names = names_in(parse(text))
    lacking = (names & NEEDS_OFFER if not has_offer else frozenset()) | (
        names & NEEDS_LINK if not has_link else frozenset()
    )
    if lacking:
        raise PlaceholderEmpty(name="{" + min(lacking) + "}")
    return names


def render(parts: Iterable[Part], values: Mapping[str, str]) -> str:
    """Put a member's values in. Raises `RenderFailed` for one that is empty and has no other words."""
    out: list[str] = []
    for part in parts:
        if not part.name:
            out.append(part.words)
            continue
        value = values.get(part.name) or part.otherwise
        if value is None:
            raise RenderFailed(part.name)
        out.append(value)
    return "".join(out)


def one_line(text: str) -> str:
    """A text without line breaks and control characters, for a title or a mail header."""
    if not text.isprintable():
        text = "".join(c if c.isprintable() else " " for c in text)
    return " ".join(text.split())


# ── Outcomes ────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Verdict:
    """Where a delivery goes after it was handed over; `later` is set for one that will be offered again."""

    state: DeliveryState
    reason: str | None = None
    provider_id: str | None = None
    tried: bool = False
    later: datetime | None = None


def verdict(outcome: Outcome, attempts: int, now: datetime, idempotent: bool = False) -> Verdict:
    """What follows from an outcome for a delivery that had so many attempts before.

    Refused for good: failed. Not taken: ready again, later each time, and failed after five tries; a channel that could
    not be reached at all costs no try. In doubt: unknown, and never offered again by itself, unless the channel keeps each
    key once (`idempotent`).
    """
    reason = one_line(outcome.reason)[:300] or None
    match outcome.status:
        case Status.ACCEPTED:
            return Verdict(DeliveryState.ACCEPTED, provider_id=outcome.provider_id)
        case Status.REJECTED:
            return Verdict(DeliveryState.FAILED, reason or "rejected")
        case Status.UNKNOWN if not idempotent or attempts + 1 >= ATTEMPTS:
            return Verdict(DeliveryState.UNKNOWN, reason or "no_answer")
        case _ if outcome.down:
            return Verdict(DeliveryState.READY, reason)
        case _ if attempts + 1 >= ATTEMPTS:
            return Verdict(DeliveryState.FAILED, reason or "gave_up")
    wait = outcome.after or FIRST_RETRY * 4**attempts
    return Verdict(DeliveryState.READY, reason, tried=True, later=now + min(wait, LONGEST_RETRY))


def next_batch(size: int, seconds: float, most: int) -> int:
    """How many messages the next batch has when one of `size` took so long: about half a second's worth, at least five.

    A slow channel is left with few messages in doubt if its sender dies, a fast one is not held up by commits.
    """
    if seconds < 0.25:
        return min(size * 2, most)
    return max(size // 2, 5) if seconds > 1.0 else size


# ── The hold-out ────────────────────────────────────────────────────────────────────────────────────────────────────


def quarter_of(day: date) -> str:
    """`2026Q1`: as long as a hold-out is kept."""
    return f"{day.year}Q{(day.month - 1) // 3 + 1}"


def holdout_cut(percent: float) -> bytes:
    """The bound below which a member's hash lies in the hold-out."""
    if not 0 <= percent <= 50:
        raise ValueError("the hold-out is 0 to 50 percent")
    return round(percent / 100 * 2**32).to_bytes(5, "big")[1:]


def held_out(salt: str, quarter: str, member_id: int, percent: float) -> bool:
    """Whether a member is held out of all pushes of a quarter: SHA-256 of salt, quarter and id lies below the bound.

    The fan-out says the same in SQL; a test holds the two equal.
    """
    return hashlib.sha256(f"{salt}:{quarter}:{member_id}".encode()).digest() < holdout_cut(percent)


# ── Progress ────────────────────────────────────────────────────────────────────────────────────────────────────────


def time_left(done: int, total: int, since: datetime, now: datetime) -> tuple[float, timedelta | None]:
    """The rate (messages a second) so far and the time that the rest takes at it, None while nothing can be said."""
    seconds = max((now - since).total_seconds(), 0.0)
    rate = done / seconds if seconds > 0 else 0.0
    if done <= 0 or rate <= 0:
        return 0.0, None
    return rate, timedelta(seconds=(total - done) / rate)
