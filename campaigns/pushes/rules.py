"""Pure decisions of pushes: which state follows which, what a message's text may hold, who is held out."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

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
    RunState.DRAFT: frozenset({RunState.APPROVAL, RunState.SCHEDULED, RunState.CANCELLED}),
    RunState.APPROVAL: frozenset({RunState.DRAFT, RunState.SCHEDULED, RunState.CANCELLED}),
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
NEEDS_MEMBER = frozenset({"nickname", "tier", "coupon_link"})
# An address in a text, as far as the channels make a link of it.
_ADDRESS = re.compile(r"https?://[^\s<>\"'{}，。！？；：、）】》]*[^\s<>\"'{}，。！？；：、）】》.,;:!?)\]]")
_TOKEN = re.compile(r"\{\{|\}\}|\{([^{}|]*)(?:\|([^{}]*))?\}|[{}]")


class PlaceholderUnknown(Refusal):
    status = 422
    label = _l("%(name)s is not a placeholder. Choose one from the list, or write {{ and }} for plain braces.")


class PlaceholderEmpty(Refusal):
    status = 422
    label = _l("%(name)s has nothing to stand for: choose a coupon, or write a link, or take it out.")


class LinkBroken(Refusal):
    status = 422
    label = _l("Leave a space between %(name)s and the address beside it: an address is counted as it stands.")


class NobodysOwn(Refusal):
    status = 422
    label = _l("%(name)s is each member's own, and this message goes to a whole group at once. Take it out.")


class RenderFailed(Exception):
    """A member has no value for a placeholder without other words; the message is not sent."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


@dataclass(frozen=True)
class Part:
    """A piece of a text: plain words, an address, or a placeholder with what to write when it is empty."""

    words: str = ""
    address: str = ""
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


def _in_pieces(words: str) -> Iterable[Part]:
    at = 0
    for found in _ADDRESS.finditer(words):
        if found.start() > at:
            yield Part(words=words[at : found.start()])
        yield Part(address=found[0])
        at = found.end()
    if at < len(words):
        yield Part(words=words[at:])


def with_addresses(parts: Iterable[Part]) -> tuple[Part, ...]:
    """A text's parts with every http(s) address in its words as a part of its own."""
    return tuple(piece for part in parts for piece in (_in_pieces(part.words) if part.words else (part,)))


def addresses_in(text: str) -> list[str]:
    """The http(s) addresses that a text holds, in order."""
    return [part.address for part in with_addresses(parse(text)) if part.address]


def address_key(address: str) -> str:
    """The name under which a message's link to an address is signed and counted."""
    return "u" + hashlib.sha256(address.encode()).hexdigest()[:12]


def with_utm(address: str, utm: Mapping[str, str], content: str = "") -> str:
    """An address with the marks that web statistics read; marks that it has already stay as they are."""
    marks = {f"utm_{name}": utm[name] for name in ("source", "medium", "campaign") if utm.get(name)}
    if not marks:
        return address
    if content:
        marks["utm_content"] = content
    parts = urlsplit(address)
    said = parse_qsl(parts.query, keep_blank_values=True)
    known = {name for name, _value in said}
    more = urlencode([(name, value) for name, value in marks.items() if name not in known])
    return urlunsplit(parts._replace(query="&".join(filter(None, (parts.query, more)))))


def names_in(parts: Iterable[Part]) -> frozenset[str]:
    return frozenset(part.name for part in parts if part.name)


def check(text: str, has_offer: bool, has_link: bool) -> frozenset[str]:
    """The placeholders that a text uses. Refuses unknown ones, and those that have nothing to stand for."""
    parts = with_addresses(parse(text))
    for before, after in pairwise(parts):
        if (before.address and after.name) or (before.name and after.address):
            raise LinkBroken(name="{" + (before.name or after.name) + "}")
    names = names_in(parts)
    lacking = (names & NEEDS_OFFER if not has_offer else frozenset()) | (
        names & NEEDS_LINK if not has_link else frozenset()
    )
    if lacking:
        raise PlaceholderEmpty(name="{" + min(lacking) + "}")
    return names


def check_for_all(text: str) -> None:
    """Refuse a text for a whole group that speaks to one member, with `NobodysOwn`."""
    own = names_in(parse(text)) & NEEDS_MEMBER
    if own:
        raise NobodysOwn(name="{" + min(own) + "}")


def render(parts: Iterable[Part], values: Mapping[str, str], tracked: Callable[[str], str] | None = None) -> str:
    """Put a member's values in. Raises `RenderFailed` for one that is empty and has no other words.

    `tracked` gives the counted link that stands for an address of the text itself; what was put in is not looked into.
    """
    out: list[str] = []
    for part in parts:
        if part.address:
            out.append(tracked(part.address) if tracked is not None else part.address)
            continue
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
        case Status.ASSIGNED:
            return Verdict(DeliveryState.ASSIGNED, provider_id=outcome.provider_id)
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


def cut_of(percent: float) -> bytes:
    """The bound below which `percent` of all hashes lie (0 up to, not including, 100)."""
    if not 0 <= percent < 100:
        raise ValueError("a share is 0 up to 100 percent")
    return min(round(percent / 100 * 2**32), 2**32 - 1).to_bytes(4, "big")


def holdout_cut(percent: float) -> bytes:
    """The bound below which a member's hash lies in the hold-out."""
    if not 0 <= percent <= 50:
        raise ValueError("the hold-out is 0 to 50 percent")
    return cut_of(percent)


def held_out(salt: str, quarter: str, member_id: int, percent: float) -> bool:
    """Whether a member is held out of all pushes of a quarter: SHA-256 of salt, quarter and id lies below the bound.

    The fan-out says the same in SQL; a test holds the two equal.
    """
    return hashlib.sha256(f"{salt}:{quarter}:{member_id}".encode()).digest() < holdout_cut(percent)


# ── Wordings that compete ───────────────────────────────────────────────────────────────────────────────────────────

LETTERS = "ABCD"
MOST_VARIANTS = len(LETTERS)


def shares_of(variants: Sequence[Mapping[str, Any]]) -> tuple[int, ...]:
    """The percentage of each wording, the first one having what the others leave; empty where there is only one."""
    others = tuple(int(variant["share"]) for variant in variants)
    return (100 - sum(others), *others) if others else ()


def _digest(salt: str, member_id: int) -> bytes:
    return hashlib.sha256(f"{salt}{member_id}".encode()).digest()


def variant_of(salt: str, member_id: int, shares: Sequence[int], sample_percent: int | None = None) -> int | None:
    """The wording that a member gets, by the hash of the salt and their id; None for those who wait for the winner.

    The fan-out says the same in SQL; a test holds the two equal.
    """
    if not shares:
        return None
    if sample_percent is not None and _digest(f"{salt}sample:", member_id) >= cut_of(sample_percent):
        return None
    digest, reached = _digest(f"{salt}variant:", member_id), 0
    for number, share in enumerate(shares[:-1]):
        reached += share
        if digest < cut_of(reached):
            return number
    return len(shares) - 1


def winner_of(results: Mapping[int, tuple[int, int]]) -> int:
    """The wording with the highest share of clicks among those sent, the first of equals: `{variant: (sent, clicked)}`."""
    rates = {number: clicked / sent if sent else 0.0 for number, (sent, clicked) in results.items()}
    return max(sorted(rates), key=lambda number: rates[number], default=0)


# ── The hour of each member ─────────────────────────────────────────────────────────────────────────────────────────


def at_hours(start: datetime, zone: Any) -> list[datetime]:
    """For each hour of the wall clock the first instant from `start` on that lies in it."""
    wall = start.astimezone(zone)
    found: list[datetime] = []
    for hour in range(24):
        at = datetime.combine(wall.date(), time(hour), tzinfo=zone).astimezone(UTC)
        if hour < wall.hour:
            at = datetime.combine(wall.date() + timedelta(days=1), time(hour), tzinfo=zone).astimezone(UTC)
        found.append(max(at, start))
    return found


def next_year(moment: datetime, now: datetime, zone: Any) -> datetime:
    """The same day and time on the wall clock in the first year in which it still lies ahead; 29 February becomes the 28th."""
    wall = moment.astimezone(zone)
    year = max(wall.year, now.astimezone(zone).year)
    while True:
        try:
            then = wall.replace(year=year)
        except ValueError:
            then = wall.replace(year=year, day=28)
        if then.astimezone(UTC) > now:
            return then.astimezone(UTC)
        year += 1


# ── Progress ────────────────────────────────────────────────────────────────────────────────────────────────────────


def time_left(done: int, total: int, since: datetime, now: datetime) -> tuple[float, timedelta | None]:
    """The rate (messages a second) so far and the time that the rest takes at it, None while nothing can be said."""
    seconds = max((now - since).total_seconds(), 0.0)
    rate = done / seconds if seconds > 0 else 0.0
    if done <= 0 or rate <= 0:
        return 0.0, None
    return rate, timedelta(seconds=(total - done) / rate)
