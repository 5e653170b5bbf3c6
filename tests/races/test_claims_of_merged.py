"""Claims and grants under way while a record is merged or erased: no coupon is put at a record that is nobody's."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import select, text

from kernel import clock
from kernel.db import db, transaction
from membership.coupons import rules, services
from membership.coupons.models import Coupon, CouponKind, Offer, OfferState
from membership.coupons.services import shelves, transfers
from membership.members.models import Member
from membership.members.services import erasure, merge
from membership.tiers import services as tiers
from tests.committed import at_once
from tests.strays import strays

pytestmark = pytest.mark.race

# Read from the locks themselves: what the activity view shows stays the same for a whole transaction.
WAITING = "SELECT count(*) FROM pg_locks WHERE NOT granted"
WRONG = """
    SELECT count(*) FROM coupon c JOIN member m ON m.id = c.member_id
    WHERE m.merged_into_id IS NOT NULL OR m.erased_at IS NOT NULL
"""
UNCOUNTED = "SELECT count(*) FROM offer o WHERE claimed <> (SELECT count(*) FROM coupon WHERE offer_id = o.id)"


def people(app: Flask, number: int) -> list[int]:
    with app.app_context(), transaction():
        tiers.ensure_policy()
        rows = [Member(rank=0, stage_since=clock.now(), created_at=clock.now()) for _ in range(number)]
        db.session.add_all(rows)
        db.session.flush()
        return [row.id for row in rows]


def offer(app: Flask, **changes: Any) -> int:
    values: dict[str, Any] = {"name": "Race", "kind": CouponKind.AMOUNT, "value": 2000, "valid_days": 14, **changes}
    with app.app_context(), transaction():
        return services.create(services.Draft(**values), OfferState.ACTIVE).id


def owners(app: Flask, offer_id: int) -> list[int]:
    with app.app_context():
        return list(db.session.scalars(select(Coupon.member_id).where(Coupon.offer_id == offer_id)))


def counted(app: Flask, statement: str) -> int:
    with app.app_context():
        return int(db.session.scalar(text(statement)) or 0)


def meanwhile(app: Flask, first: Callable[[], Any], then: Callable[[], Any]) -> tuple[Any, BaseException | None]:
    """`first` in a transaction that is committed only when `then` waits for it; what `then` gave or was refused with."""
    outcome: list[Any] = []

    def run() -> None:
        with app.app_context():
            try:
                with transaction():
                    outcome.extend((then(), None))
            except Exception as error:
                outcome.extend((None, error))

    late = threading.Thread(target=run)
    with app.app_context():
        with transaction():
            first()
            late.start()
            deadline = time.monotonic() + 30
            # Nothing is left to chance: the claim has looked its person up before the merge is there to be seen.
            while late.is_alive() and not db.session.scalar(text(WAITING)):
                assert time.monotonic() < deadline
                time.sleep(0.01)
        late.join(60)
    assert not late.is_alive()
    return outcome[0], outcome[1]


def test_a_claim_during_a_merge_is_the_survivors(committed: Flask) -> None:
    survivor, absorbed = people(committed, 2)
    offer_id = offer(committed, stock=5)
    claimed, error = meanwhile(
        committed, lambda: merge.merge(survivor, absorbed), lambda: services.claim(offer_id, absorbed)
    )
    assert error is None
    assert claimed.fresh
    assert owners(committed, offer_id) == [survivor]
    assert counted(committed, UNCOUNTED) == 0


def test_a_claim_during_a_merge_counts_what_the_survivor_has(committed: Flask) -> None:
    survivor, absorbed = people(committed, 2)
    offer_id = offer(committed, stock=5, per_person=1)
    with committed.app_context(), transaction():
        first = services.claim(offer_id, survivor)
    claimed, error = meanwhile(
        committed, lambda: merge.merge(survivor, absorbed), lambda: services.claim(offer_id, absorbed)
    )
    assert error is None
    # One each: the survivor's own is shown, and no second one was taken from the stock.
    assert (claimed.coupon_id, claimed.fresh) == (first.coupon_id, False)
    assert owners(committed, offer_id) == [survivor]
    with committed.app_context():
        assert db.session.get_one(Offer, offer_id).claimed == 1


def test_a_grant_during_a_merge_is_the_survivors(committed: Flask) -> None:
    survivor, absorbed, other = people(committed, 3)
    offer_id = offer(committed, stock=5)
    given, error = meanwhile(
        committed,
        lambda: merge.merge(survivor, absorbed),
        lambda: services.grant_many(offer_id, [(absorbed, "k:1"), (other, "k:2")], "race"),
    )
    assert error is None
    assert sorted(given) == sorted([absorbed, other])
    assert sorted(owners(committed, offer_id)) == sorted([survivor, other])
    assert counted(committed, UNCOUNTED) == 0


def test_a_gift_accepted_during_a_merge_is_the_survivors(committed: Flask) -> None:
    owner, survivor, absorbed = people(committed, 3)
    offer_id = offer(committed, stock=5, transferable=True)
    with committed.app_context(), transaction():
        gift_id = transfers.offer_transfer(services.claim(offer_id, owner).coupon_id, owner).id
    fresh, error = meanwhile(
        committed, lambda: merge.merge(survivor, absorbed), lambda: transfers.accept(gift_id, absorbed).member_id
    )
    assert (fresh, error) == (survivor, None)
    assert sorted(owners(committed, offer_id)) == sorted([owner, survivor])


def test_a_claim_during_an_erasure_is_nobodys(committed: Flask) -> None:
    (gone,) = people(committed, 1)
    offer_id = offer(committed, stock=5, per_person=1)
    claimed, error = meanwhile(
        committed, lambda: erasure.erase(gone, str(gone)), lambda: services.claim(offer_id, gone)
    )
    assert claimed is None
    assert isinstance(error, rules.ClaimantUnknown)
    assert owners(committed, offer_id) == []
    with committed.app_context():
        assert db.session.get_one(Offer, offer_id).claimed == 0


@pytest.mark.parametrize("seed", range(2))
def test_claims_and_merges_crosswise_wait_for_nobody_for_ever(committed: Flask, seed: int) -> None:
    """Batches of many people against merges of the same ones, in both directions: no deadlock, and the books are right."""
    ids = people(committed, 24)
    offer_id = offer(committed, stock=24)
    pairs = [(ids[i], ids[23 - i]) if (i + seed) % 2 else (ids[23 - i], ids[i]) for i in range(12)]

    def merges() -> None:
        for survivor, absorbed in pairs:
            with transaction():
                merge.merge(survivor, absorbed)

    def grants() -> None:
        for start in range(0, 24, 8):
            with transaction():
                wanted = [(member_id, f"k:{member_id}") for member_id in reversed(ids[start : start + 8])]
                services.grant_many(offer_id, wanted, "race")

    def claims() -> None:
        for member_id in ids[::-1]:
            with transaction():
                services.claim(offer_id, member_id)

    assert at_once(committed, [merges, grants, claims]) == []
    assert (counted(committed, WRONG), counted(committed, UNCOUNTED)) == (0, 0)
    with committed.app_context():
        assert strays(db) == []
    assert set(owners(committed, offer_id)) == {survivor for survivor, _absorbed in pairs}


LIVES = "merged_into_id IS NULL AND erased_at IS NULL"


@pytest.mark.parametrize("without", [(f" AND {LIVES}", ""), ("FOR KEY SHARE", "")], ids=["unconditional", "unlocked"])
def test_the_race_has_teeth(committed: Flask, monkeypatch: pytest.MonkeyPatch, without: tuple[str, str]) -> None:
    """Without the condition, or with one that does not wait for the merge, the coupon is put at the absorbed record."""
    assert without[0] in shelves.WRITE
    monkeypatch.setattr(shelves, "WRITE", shelves.WRITE.replace(*without))
    survivor, absorbed = people(committed, 2)
    offer_id = offer(committed, stock=5)
    meanwhile(committed, lambda: merge.merge(survivor, absorbed), lambda: services.claim(offer_id, absorbed))
    assert owners(committed, offer_id) == [absorbed]
    assert counted(committed, WRONG) == 1
