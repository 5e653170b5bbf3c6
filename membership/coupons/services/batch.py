"""The writer's work: a batch of claims in one transaction, under the offers' row locks.

The offer's row is locked once a batch; every item is judged on what the locked row says and on the coupons that are
really there; the coupons go in with one statement that counts what it inserted. So stock, the day's number and the
number a member may have are exact however many processes claim at once. docs/decisions/0003-group-commit.md tells why.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Connection

from kernel import clock, visitors, wire
from kernel.group_commit import More
from membership.limits import services as limits

from .. import codes, rules
from . import caps
from .shelves import (
    Asks,
    Claim,
    Claimed,
    Coupon,
    Gone,
    Outcome,
    Refused,
    Shelf,
    Stale,
    Version,
    coupons_held,
    insert_coupons,
    living,
    locked,
)


def refusal_of(claim: Claim, shelf: Shelf) -> Refused | Stale | None:
    """Why a claim cannot be granted whatever is left on the shelf, or None."""
    if (closed := rules.refusal_of(shelf.row, shelf.now)) is not None:
        return Refused(closed, shelf.row.claim_from)
    version = shelf.version
    if claim.rank < version.min_rank:
        return Refused(rules.TierTooLow, version.min_rank)
    asks = Asks(version.group_id, shelf.row.per_person is not None)
    if (asks.group_id is not None and claim.group_id != asks.group_id) or (asks.person and claim.person is None):
        return Stale(asks)
    if version.group_id is not None and not claim.in_group:
        return Refused(rules.NotInGroup, version.group_id)
    return None


def judge(claim: Claim, shelf: Shelf | None, held: list[Coupon]) -> Coupon | Refused | Stale:
    """What one claim gets: a coupon (one that is there, or a new one with `id` 0), or why not.

    A coupon that the member has already comes before every refusal: a repeated tap must show it as theirs.
    """
    if shelf is None:
        return Refused(rules.TooLate)
    if held and claim.ordinal is not None and claim.ordinal <= held[-1].ordinal:
        return next((c for c in held if c.ordinal >= claim.ordinal), held[-1])
    most = shelf.row.per_member
    if held and most is not None and len(held) >= most:
        return held[-1]
    if (refused := refusal_of(claim, shelf)) is not None:
        return refused
    if (empty := shelf.exhausted()) is not None:
        return Refused(empty)
    fresh = Coupon(claim.offer_id, 0, claim.member_id, held[-1].ordinal + 1 if held else 1, codes.fresh(), claim.source)
    fresh.trace = claim.trace
    shelf.take(fresh)
    held.append(fresh)
    return fresh


def plain(wishes: Sequence[Claim], shelves: dict[int, Shelf]) -> bool:
    """Whether every claim of a batch would be granted if its member had no coupon yet.

    Then nobody's coupons need be looked up first: one each is what the unique key holds, and there is enough for all.
    """
    for offer_id, number in Counter([wish.offer_id for wish in wishes]).items():
        shelf = shelves.get(offer_id)
        if shelf is None or shelf.row.per_member != 1 or shelf.capped:
            return False
        if any(left is not None and left < number for left in (shelf.left, shelf.left_today)):
            return False
        # Closed is closed for everybody; that is asked once.
        if rules.refusal_of(shelf.row, shelf.now) is not None:
            return False
    return all(_qualified(wish, shelves[wish.offer_id].version) for wish in wishes)


def _qualified(wish: Claim, version: Version) -> bool:
    """Whether tier and group let an open offer's claim through, and it means the first coupon."""
    return (
        (wish.ordinal is None or wish.ordinal == 1)
        and wish.rank >= version.min_rank
        and (version.group_id is None or (wish.group_id == version.group_id and wish.in_group))
    )


def give_all(
    connection: Connection, items: Sequence[Claim], shelves: dict[int, Shelf], now: datetime, ending: bool = False
) -> dict[int, Outcome]:
    """Grant a `plain` batch as it stands, without looking up who has what: the outcomes by the items' places, of those that
    met no coupon and no record that is merged or erased. With `ending` these are committed (`insert_coupons`).
    """
    # Of two wishes of one member the first is granted; the other meets that coupon.
    wanted: dict[tuple[int, int], tuple[int, Coupon]] = {}
    for i, (claim, code) in enumerate(zip(items, codes.fresh_many(len(items)), strict=True)):
        key = claim.offer_id, claim.member_id
        if key not in wanted:
            coupon = Coupon(claim.offer_id, 0, claim.member_id, 1, code, claim.source, None, claim.trace)
            shelves[claim.offer_id].take(coupon)
            wanted[key] = i, coupon
    insert_coupons(connection, [coupon for _, coupon in wanted.values()], now, "claimed", ending)
    outcomes: dict[int, Outcome] = {}
    bindings = []
    for i, coupon in wanted.values():
        if coupon.id:
            outcomes[i] = Claimed(coupon.id, coupon.code, True)
            if (browser := items[i].browser) is not None:
                bindings.append((browser, coupon.member_id))
        else:
            shelves[coupon.offer_id].put_back()
    visitors.write(connection, bindings)
    return outcomes


def take_counters(connection: Connection, coupon: Coupon, shelf: Shelf, person: str | None) -> Refused | None:
    """Take what a new coupon needs of its offer's counters, or tell which is used up and leave them as they are."""
    if not shelf.capped:
        return None
    budget = shelf.row.budget
    # A coupon that could not be used any more is no gift.
    if budget is not None and caps.budget_used(connection, shelf.row.id) >= budget:
        return Refused(rules.SoldOut)
    usages = shelf.usages(coupon, person)
    if usages:
        try:
            limits.take(usages, connection)
        except limits.LimitReached as reached:
            of_person = reached.limit == caps.person_name(shelf.row.id)
            return Refused(rules.PersonHasTheirs if of_person else rules.GroupShareTaken)
    coupon.usages = usages
    return None


def give_counters_back(connection: Connection, coupon: Coupon) -> None:
    """The coupon was not inserted after all."""
    for usage in coupon.usages:
        limits.give_back(usage.limit, usage.subject, usage.window, usage.amount, connection)
    coupon.usages = ()


def run_of_writer(connection: Connection, items: Sequence[Claim], more: More[Claim]) -> list[Outcome]:
    """`run_batch` on the writer's own connection, where a batch may be committed by what it sends.

    What gathers while this waits for another process's lock on the same offers is taken into the batch. When all can be
    granted the lock is held for one round trip, which writes and commits; who turned out to have a coupon already is judged
    in a transaction after it.
    """
    wire.lay(connection)
    now = clock.now()
    shelves = locked(connection, [item.offer_id for item in items], now)
    items = [*items, *more(lambda late: late.offer_id in shelves)]
    if not plain(items, shelves):
        return judged(connection, items, shelves, now, {})
    # A browser is bound only to a coupon that was really given, and so before the commit.
    ending = all(item.browser is None for item in items)
    outcomes = give_all(connection, items, shelves, now, ending)
    if not ending:
        return judged(connection, items, shelves, now, outcomes)
    rest = [i for i in range(len(items)) if i not in outcomes]
    if rest:
        outcomes |= zip(rest, run_batch(connection, [items[i] for i in rest]), strict=True)
    return [outcomes[i] for i in range(len(items))]


def run_batch(connection: Connection, items: Sequence[Claim]) -> list[Outcome]:
    """Judge and grant a batch of claims in one transaction, several offers at once; the outcomes in the items' order."""
    now = clock.now()
    shelves = locked(connection, [item.offer_id for item in items], now)
    outcomes = give_all(connection, items, shelves, now) if plain(items, shelves) else {}
    return judged(connection, items, shelves, now, outcomes)


def judged(
    connection: Connection,
    items: Sequence[Claim],
    shelves: dict[int, Shelf],
    now: datetime,
    outcomes: dict[int, Outcome],
) -> list[Outcome]:
    """Judge those of a batch who have no outcome yet, each on the coupons that are there, and grant what they may have."""
    # Who has met a coupon that is there already is judged on what they have, like everybody where there is more to judge.
    todo = [i for i in range(len(items)) if i not in outcomes]
    while todo:
        held = coupons_held(connection, shelves, [items[i].member_id for i in todo])
        found: dict[int, Coupon] = {}
        fresh: dict[int, int] = {}
        for i in todo:
            claim = items[i]
            mine = held.setdefault((claim.offer_id, claim.member_id), [])
            outcome = judge(claim, shelves.get(claim.offer_id), mine)
            if isinstance(outcome, Coupon) and not outcome.id and id(outcome) not in fresh:
                shelf = shelves[claim.offer_id]
                used_up = take_counters(connection, outcome, shelf, claim.person)
                if used_up is not None:
                    shelf.put_back()
                    mine.remove(outcome)
                    outcome = used_up
            if isinstance(outcome, Coupon):
                found[i] = outcome
                if not outcome.id:
                    fresh.setdefault(id(outcome), i)
            else:
                outcomes[i] = outcome
        insert_coupons(connection, [found[i] for i in fresh.values()], now, "claimed")
        bindings = ((items[i].browser, found[i]) for i in fresh.values())
        visitors.write(connection, [(browser, c.member_id) for browser, c in bindings if browser and c.id])
        for i, coupon in found.items():
            if coupon.id:
                outcomes[i] = Claimed(coupon.id, coupon.code, fresh.get(id(coupon)) == i)
        missed = [i for i in found if i not in outcomes]
        if missed:
            for coupon in (found[i] for i in fresh.values()):
                if not coupon.id:
                    shelves[coupon.offer_id].put_back()
                    give_counters_back(connection, coupon)
            people = living(connection, [items[i].member_id for i in missed])
            outcomes |= {i: Gone() for i in missed if items[i].member_id not in people}
        # The others have met a coupon that is there already: look, and judge those claims anew.
        todo = [i for i in missed if i not in outcomes]
    return [outcomes[i] for i in range(len(items))]
