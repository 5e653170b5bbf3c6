"""Pure arithmetic over a simulation: who would move where, and what it would cost a year."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from . import rules
from .queries import Thing

MONTHS = 12


@dataclass(frozen=True)
class LevelOutcome:
    """One rank now and then. Amounts are 分: discounts, monthly coupons and birthday gifts a year, entry gifts and coupons once.

    `spend_…` is what the members of the rank spent in the last twelve months.
    """

    rank: int
    now: int
    then: int
    up: int
    down: int
    spend_now: int
    spend_then: int
    discount_now: int
    discount_then: int
    monthly_now: int
    monthly_then: int
    birthday_now: int
    birthday_then: int
    entries: int
    entry_cost: int

    @property
    def yearly_now(self) -> int:
        return self.discount_now + self.monthly_now + self.birthday_now

    @property
    def yearly_then(self) -> int:
        return self.discount_then + self.monthly_then + self.birthday_then


@dataclass(frozen=True)
class FallMonth:
    """How many would fall in a month from a rank to a lower one; `anyway` of them by the rules in force too."""

    month: str
    from_rank: int
    to_rank: int
    people: int
    anyway: int


@dataclass(frozen=True)
class Outcome:
    """What a draft would do. `matrix[from][to]` counts members; `unpriced` names what has no known cost."""

    matrix: Mapping[int, Mapping[int, int]]
    levels: tuple[LevelOutcome, ...]
    falls: tuple[FallMonth, ...]
    unpriced: tuple[str, ...]

    @property
    def moving_up(self) -> int:
        return sum(level.up for level in self.levels)

    @property
    def moving_down(self) -> int:
        return sum(level.down for level in self.levels)

    @property
    def falling(self) -> int:
        return sum(one.people for one in self.falls)

    @property
    def falling_anyway(self) -> int:
        return sum(one.anyway for one in self.falls)

    @property
    def yearly_now(self) -> int:
        return sum(level.yearly_now for level in self.levels)

    @property
    def yearly_then(self) -> int:
        return sum(level.yearly_then for level in self.levels)

    @property
    def entry_cost(self) -> int:
        return sum(level.entry_cost for level in self.levels)


@dataclass
class _Prices:
    known: Mapping[tuple[str, int], Thing]
    unpriced: set[str]

    def of(self, kind: str, thing_id: int | None) -> int:
        if thing_id is None:
            return 0
        thing = self.known.get((kind, thing_id))
        if thing is None:
            return 0
        if thing.cost is None:
            self.unpriced.add(thing.name)
        return thing.cost or 0


def discount_of(level: rules.Level | None, spend: int) -> int:
    """What a level takes off a spend, in 分, had every order used it."""
    return spend * (rules.FULL_PRICE - level.discount) // rules.FULL_PRICE if level is not None else 0


def outcome(result: Mapping[str, Any], before: rules.Policy, after: rules.Policy, things: list[Thing]) -> Outcome:
    """Add a simulation's counts up.

    `result` has `cells` {"from:to": [members, spend of a year in 分, enrolled, enrolled with a birthday]}, `falls`
    {"2026-11:from:to": [members, 0, of them falling anyway, 0]} and `entries` {rank: [entering, of them with the gift
    already, with the coupon already]}.
    """
    prices = _Prices({(thing.kind, thing.id): thing for thing in things}, set())
    ranks = (0, *rules.RANKS)
    cells = {tuple(int(part) for part in key.split(":")): counted for key, counted in result.get("cells", {}).items()}
    matrix = {a: {b: cells.get((a, b), [0])[0] for b in ranks} for a in ranks}
    levels = []
    for rank in ranks:
        old, new = before.level(rank), after.level(rank)
        held = [counted for (a, _b), counted in cells.items() if a == rank]
        gained = [counted for (_a, b), counted in cells.items() if b == rank]
        spend_now, spend_then = sum(one[1] for one in held), sum(one[1] for one in gained)
        entering, had_gift, had_coupon = result.get("entries", {}).get(str(rank), [0, 0, 0])
        entry_cost = 0
        if new is not None:
            entry_cost = (entering - had_gift) * prices.of("gift", new.entry_gift_id)
            entry_cost += (entering - had_coupon) * prices.of("offer", new.entry_offer_id)
        levels.append(
            LevelOutcome(
                rank=rank,
                now=sum(one[0] for one in held),
                then=sum(one[0] for one in gained),
                up=sum(counted[0] for (a, b), counted in cells.items() if b == rank and a < b),
                down=sum(counted[0] for (a, b), counted in cells.items() if b == rank and a > b),
                spend_now=spend_now,
                spend_then=spend_then,
                discount_now=discount_of(old, spend_now),
                discount_then=discount_of(new, spend_then),
                monthly_now=sum(one[2] for one in held)
                * MONTHS
                * prices.of("offer", old.monthly_offer_id if old else None),
                monthly_then=sum(one[2] for one in gained)
                * MONTHS
                * prices.of("offer", new.monthly_offer_id if new else None),
                birthday_now=sum(one[3] for one in held) * prices.of("gift", old.birthday_gift_id if old else None),
                birthday_then=sum(one[3] for one in gained) * prices.of("gift", new.birthday_gift_id if new else None),
                entries=entering if new is not None and (new.entry_gift_id or new.entry_offer_id) else 0,
                entry_cost=entry_cost,
            )
        )
    falls = []
    for key, counted in sorted(result.get("falls", {}).items()):
        month, from_rank, to_rank = key.split(":")
        falls.append(FallMonth(month, int(from_rank), int(to_rank), counted[0], counted[2]))
    return Outcome(matrix, tuple(levels), tuple(falls), tuple(sorted(prices.unpriced)))
