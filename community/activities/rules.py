"""Pure decisions: how winners follow from a seed and a list, what a group price may be, and what the clock says.

The draw is that of RFC 3797 ("Publicly Verifiable Nominations Committee Random Selection"): an ordered list that is
fixed before the seed is known, and for each place one number made of the seed, which picks from those who are left. The
numbers are HMAC-SHA256 (RFC 2104, FIPS 180-4) where the RFC has MD5. That the seed is the one of the announcement is shown
by its hash, as in any commitment by hash. Picking one of those left, place after place, is Knuth's algorithm P (The Art of
Computer Programming, volume 2, 3.4.2): each order is reached by exactly one row of numbers, so that all are equally likely.
"""

from __future__ import annotations

import enum
import hashlib
import hmac
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import count, islice
from typing import Final

from kernel.errors import Refusal
from kernel.i18n import lazy_gettext as _l
from membership.coupons.models import OfferState

from .models import LotteryState, SaleKind

SEED_BYTES: Final = 32
# What tickets are made of: no character that an eye takes for another. 31 ** 8 is 2 ** 39 tickets.
TICKET_CHARACTERS: Final = "23456789ABCDEFGHJKLMNPQRSTUVWXY"
TICKET_LENGTH: Final = 8
MOST_PRIZES: Final = 1_000
MOST_KINDS_OF_PRIZE: Final = 3
LONGEST_DAYS: Final = 90
# A group price is worth coming for and no give-away: between these shares of the list price (per mille).
LOWEST_SHARE: Final = 500
HIGHEST_SHARE: Final = 800


# ── Refusals ────────────────────────────────────────────────────────────────────────────────────────────────────────


class EntryOver(Refusal):
    title = _l("Entry is over")
    label = _l("Nobody can enter this draw any more. Its page shows who has won.")
    icon = "clock-off"


class EntryNotYet(Refusal):
    title = _l("Entry has not begun")
    label = _l("Entry begins at %(when)s.")
    icon = "hourglass"


class Sanctioned(Refusal):
    status = 403
    title = _l("You cannot enter for now")
    label = _l("The shop has paused your writing in this group, and draws with it. What is yours already stays yours.")
    icon = "message-off"


class ChangedMeanwhile(Refusal):
    title = _l("Somebody was faster")
    label = _l("This has changed in the meantime. Nothing was done; look at it again.")


class AnnouncedAlready(Refusal):
    title = _l("It is announced already")
    label = _l(
        "Members rely on what they have read, so it stays as it is. Cancel it with a reason and make another one."
    )
    icon = "lock"


class TooLateToCancel(Refusal):
    title = _l("It cannot be cancelled any more")
    label = _l("Entry is over: who wins is settled by what was announced.")
    icon = "lock"


# ── The draw ────────────────────────────────────────────────────────────────────────────────────────────────────────


def commitment_of(seed: bytes) -> str:
    """What is shown of a seed before the draw: its SHA-256, in hexadecimal digits."""
    return hashlib.sha256(seed).hexdigest()


def in_order(tickets: Sequence[str]) -> list[str]:
    """The list as it is frozen: by the tickets' characters, which says nothing of who came first."""
    return sorted(tickets)


def listed_as(tickets: Sequence[str]) -> str:
    """What a frozen list hashes to: SHA-256 of the tickets, one a line with no line end after the last."""
    return hashlib.sha256("\n".join(tickets).encode()).hexdigest()


def number_of(seed: bytes, listed: str, place: int) -> int:
    """The number (0 to 2**256 - 1) that picks who gets a place: HMAC-SHA256 under the seed, of the list's hash and the place.

    The remainder by m is even but for a share of m / 2**256: for every list that fits on a disk, nothing.
    """
    return int.from_bytes(hmac.digest(seed, f"{listed}:{place}".encode(), "sha256"))


def pick(tickets: Sequence[str], numbers: Iterable[int]) -> Iterator[str]:
    """The tickets that the numbers pick, in their order: each number's remainder names one of those that are left."""
    left = list(tickets)
    for number in numbers:
        if not left:
            return
        yield left.pop(number % len(left))


def named(seed: bytes, tickets: Sequence[str], void: Collection[str] = ()) -> Iterator[str]:
    """The tickets of a frozen list in the order in which the seed names them, but for those that are `void`."""
    listed = listed_as(tickets)
    numbers = (number_of(seed, listed, turn) for turn in count(1))
    return (ticket for ticket in pick(tickets, numbers) if ticket not in void)


def winners(
    seed: bytes, tickets: Sequence[str], places: int, void: Collection[str] = (), freed: Sequence[str] = ()
) -> list[str]:
    """Who wins, first place first: `places` of the tickets of a frozen list, or all of them where there are fewer.

    A ticket that is `void` (before the draw its holder turned out to hold another one) takes no place: whoever the seed's order
    names next moves up, so that no place stays empty while a ticket is left. One that is `freed` (its holder turned out after the
    draw to be another winner) gives its place to whoever the seed names after the last one who has got a place; all others
    keep theirs.
    """
    order = list(islice(named(seed, tickets, frozenset(void)), places + len(freed)))
    won, behind = order[:places], order[places:]
    for ticket in freed:
        won[won.index(ticket)] = behind.pop(0)
    return won


def next_up(
    seed: bytes, tickets: Sequence[str], places: int, void: Collection[str], freed: Sequence[str], held: Collection[str]
) -> list[str]:
    """The tickets that the seed names after the last one who has got a place, up to the first that is one of `held`: it takes
    the next place that is freed. None, when there is no such ticket left."""
    passed: list[str] = []
    for ticket in islice(named(seed, tickets, frozenset(void)), places + len(freed), None):
        passed.append(ticket)
        if ticket in held:
            return passed
    return []


def freed(
    seed: bytes, tickets: Sequence[str], places: int, void: Collection[str], held: Mapping[int, str]
) -> list[str]:
    """The tickets that gave their place up after the draw, in an order that leads to who holds which place now (`held`).

    A place that nobody holds any more is that of its first ticket. Tickets that were passed over when a place was given on gave it
    up as soon as they got it.
    """
    order = list(islice(named(seed, tickets, frozenset(void)), places))
    now = dict(enumerate(order, 1))
    came = {ticket: place for place, ticket in held.items() if now.get(place) != ticket}
    gone: list[str] = []
    passed: list[str] = []
    for ticket in islice(named(seed, tickets, frozenset(void)), places, None) if came else ():
        passed.append(ticket)
        if (place := came.pop(ticket, None)) is not None:
            gone += [now[place], *passed[:-1]]
            now[place], passed = ticket, []
        if not came:
            break
    return gone


def prize_of(place: int, numbers: Sequence[int]) -> int:
    """Which prize (by its index) a place gets, when there are so many of each: the first places get the first prize."""
    for index, number in enumerate(numbers):
        place -= number
        if place <= 0:
            return index
    raise ValueError("there is no such place")


RECIPE: Final = """\
import csv, hashlib, hmac

seed = bytes.fromhex("{seed}")
tickets = [row["ticket"] for row in csv.DictReader(open("tickets.csv", encoding="utf-8-sig"))]
places, void, freed = {places}, {void}, {freed}

print("commitment", hashlib.sha256(seed).hexdigest())
listed = hashlib.sha256("\\n".join(tickets).encode()).hexdigest()
print("list", listed)
order, turn = [], 0
while tickets and len(order) < places + len(freed):
    turn += 1
    digest = hmac.digest(seed, f"{{listed}}:{{turn}}".encode(), "sha256")
    ticket = tickets.pop(int.from_bytes(digest, "big") % len(tickets))
    if ticket not in void:
        order.append(ticket)
won, behind = order[:places], order[places:]
for ticket in freed:
    won[won.index(ticket)] = behind.pop(0)
for place, ticket in enumerate(won, 1):
    print(place, ticket)
"""


def recipe(seed: bytes, places: int, void: Sequence[str] = (), freed: Sequence[str] = ()) -> str:
    """A few lines of Python with which anybody recomputes a draw from the downloaded list."""
    return RECIPE.format(seed=seed.hex(), places=places, void=list(void), freed=list(freed))


# ── The clock ───────────────────────────────────────────────────────────────────────────────────────────────────────


class Phase(enum.StrEnum):
    """What a draw or a sale is at an instant, whether or not a job has run."""

    DRAFT = "draft"
    COMING = "coming"
    RUNNING = "running"
    SOLD_OUT = "sold_out"
    PAUSED = "paused"
    # A draw whose entry is over and that has not been drawn yet.
    DRAWING = "drawing"
    DRAWN = "drawn"
    OVER = "over"
    CANCELLED = "cancelled"


SHOWN: Final = (Phase.COMING, Phase.RUNNING, Phase.SOLD_OUT, Phase.DRAWING)


def lottery_phase(state: LotteryState, opens_at: datetime | None, closes_at: datetime, now: datetime) -> Phase:
    """What a draw is at an instant."""
    match state:
        case LotteryState.DRAFT:
            return Phase.DRAFT
        case LotteryState.CANCELLED:
            return Phase.CANCELLED
        case LotteryState.DRAWN:
            return Phase.DRAWN
        case LotteryState.FROZEN:
            return Phase.DRAWING
    if now >= closes_at:
        return Phase.DRAWING
    return Phase.COMING if opens_at is not None and now < opens_at else Phase.RUNNING


def sale_phase(
    state: OfferState, begins: datetime | None, ends: datetime | None, stock: int | None, claimed: int, now: datetime
) -> Phase:
    """What a sale is at an instant, by its offer's state, times and stock."""
    if state is OfferState.DRAFT:
        return Phase.DRAFT
    if state is OfferState.ENDED or (ends is not None and now >= ends):
        return Phase.OVER
    if stock is not None and claimed >= stock:
        return Phase.SOLD_OUT
    if state is OfferState.PAUSED:
        return Phase.PAUSED
    return Phase.COMING if begins is not None and now < begins else Phase.RUNNING


# ── Prices ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def price_range(kind: SaleKind, list_price: int) -> tuple[int, int]:
    """The lowest and the highest price (分) that a sale of this kind may have, given the product's list price (分)."""
    if kind is SaleKind.GROUP_PRICE:
        lowest = -(-list_price * LOWEST_SHARE // 1000)
        return lowest, max(lowest, list_price * HIGHEST_SHARE // 1000)
    return 1, list_price - 1
