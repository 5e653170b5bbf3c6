"""Claiming one coupon at a time: what is given, to whom, and what is refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import func, select

from kernel.events import EventDelivery, EventRecord
from kernel.i18n import forced_locale
from membership.coupons import rules, services
from membership.coupons.models import Coupon, CouponEvent, CouponState, Offer, OfferState
from membership.coupons.services import claims, shelves


def claimed(db: Any, offer: Offer) -> int:
    db.session.refresh(offer)
    return int(offer.claimed)


def test_claim_gives_a_coupon_with_its_first_event(
    db: Any, clock: Any, make_member: Callable, make_offer: Callable
) -> None:
    member, offer = make_member(), make_offer(stock=10)
    found = services.claim(offer.id, member.id, "link:1")
    coupon = db.session.get_one(Coupon, found.coupon_id)
    assert (coupon.member_id, coupon.state, coupon.source, coupon.ordinal) == (
        member.id,
        CouponState.ISSUED,
        "link:1",
        1,
    )
    assert (coupon.usable_from, coupon.usable_until) == (clock.now(), clock.now() + timedelta(days=14))
    assert found.fresh
    assert found.code == coupon.code
    assert claimed(db, offer) == 1
    events = db.session.scalars(select(CouponEvent).where(CouponEvent.coupon_id == coupon.id)).all()
    assert [(e.from_state, e.to_state, e.reason) for e in events] == [(None, CouponState.ISSUED, "claimed")]
    record = db.session.scalars(select(EventRecord).where(EventRecord.name == "CouponClaimed")).one()
    assert record.member_id == member.id
    assert record.payload == {"member_id": member.id, "coupon_id": coupon.id, "offer_id": offer.id, "source": "link:1"}


def test_inv_l6_a_repeated_claim_gives_the_same_coupon_and_moves_no_stock(
    db: Any, make_member: Callable, make_offer: Callable
) -> None:
    member, offer = make_member(), make_offer(stock=10)
    first = services.claim(offer.id, member.id)
    again = services.claim(offer.id, member.id)
    assert again == (first.coupon_id, first.code, False)
    assert claimed(db, offer) == 1


def test_claim_beyond_the_stock_is_refused_and_leaves_nothing(
    db: Any, make_member: Callable, make_offer: Callable
) -> None:
    offer = make_offer(stock=2)
    owners = [make_member() for _ in range(2)]
    for owner in owners:
        services.claim(offer.id, owner.id)
    with pytest.raises(rules.SoldOut):
        services.claim(offer.id, make_member().id)
    # The flag is up now, and a repeat is still answered with the coupon.
    assert offer.id in claims._closed
    assert not services.claim(offer.id, owners[0].id).fresh
    assert claimed(db, offer) == 2
    assert db.session.scalar(select(func.count()).select_from(Coupon).where(Coupon.offer_id == offer.id)) == 2


def test_raised_stock_is_given_out_at_once(make_member: Callable, make_offer: Callable) -> None:
    offer = make_offer(stock=1)
    services.claim(offer.id, make_member().id)
    with pytest.raises(rules.SoldOut):
        services.claim(offer.id, make_member().id)
    services.raise_stock(offer.id, 1)
    assert services.claim(offer.id, make_member().id).fresh


def test_the_days_number_is_kept_by_the_shops_day(clock: Any, make_member: Callable, make_offer: Callable) -> None:
    offer = make_offer(per_day=1)
    services.claim(offer.id, make_member().id)
    with pytest.raises(rules.DayLimitReached):
        services.claim(offer.id, make_member().id)
    clock.move(hours=11, minutes=59)
    claims.forget_closed(offer.id)
    with pytest.raises(rules.DayLimitReached):
        services.claim(offer.id, make_member().id)
    clock.move(minutes=1)
    claims.forget_closed(offer.id)
    assert services.claim(offer.id, make_member().id).fresh


def test_several_each_are_numbered_so_that_a_double_tap_is_no_second_claim(
    make_member: Callable, make_offer: Callable
) -> None:
    member, offer = make_member(), make_offer(per_member=2)
    first = services.claim(offer.id, member.id, ordinal=1)
    assert services.claim(offer.id, member.id, ordinal=1) == (first.coupon_id, first.code, False)
    second = services.claim(offer.id, member.id, ordinal=2)
    assert second.fresh
    assert second.coupon_id != first.coupon_id
    assert services.claim(offer.id, member.id, ordinal=3) == (second.coupon_id, second.code, False)


@pytest.mark.parametrize(
    ("state", "opens", "ends", "refusal"),
    [
        (OfferState.DRAFT, None, None, rules.NotYet),
        (OfferState.PAUSED, None, None, rules.OfferPaused),
        (OfferState.ENDED, None, None, rules.TooLate),
        (OfferState.ACTIVE, 1, None, rules.NotYet),
        (OfferState.ACTIVE, None, 0, rules.TooLate),
        (OfferState.PAUSED, None, -1, rules.TooLate),
    ],
)
def test_claim_outside_the_offers_time_is_refused(
    clock: Any, make_member: Callable, make_offer: Callable, state: OfferState, opens: int | None, ends: int | None,
    refusal: type,
) -> None:  # fmt: skip
    def at(hours: int | None) -> Any:
        return None if hours is None else clock.now() + timedelta(hours=hours)

    offer = make_offer(state, claim_from=at(opens), claim_until=at(ends))
    with pytest.raises(refusal):
        services.claim(offer.id, make_member().id)


def test_claim_window_is_half_open(clock: Any, make_member: Callable, make_offer: Callable) -> None:
    offer = make_offer(claim_from=clock.now(), claim_until=clock.now() + timedelta(hours=1))
    assert services.claim(offer.id, make_member().id).fresh
    clock.move(minutes=59, seconds=59)
    assert services.claim(offer.id, make_member().id).fresh
    clock.move(seconds=1)
    with pytest.raises(rules.TooLate):
        services.claim(offer.id, make_member().id)


def test_tier_too_low_is_refused_with_the_tier_that_is_needed(make_member: Callable, make_offer: Callable) -> None:
    offer = make_offer(min_rank=3)
    with forced_locale("en"), pytest.raises(rules.TierTooLow) as refused:
        services.claim(offer.id, make_member(rank=2).id)
    with forced_locale("en"):
        assert refused.value.message == "It is for VIP3 and above, and ¥2,000.00 or 8 orders more would take you there."
    assert services.claim(offer.id, make_member(rank=3).id).fresh


@pytest.fixture
def members_in_group() -> Iterator[set[tuple[int, int]]]:
    """(member, group) pairs that count as being in; the answer of the floor above stands aside meanwhile."""
    inside: set[tuple[int, int]] = set()
    before = list(claims.group_membership._answers)
    claims.group_membership._answers[:] = [lambda member_id, group_id: (member_id, group_id) in inside]
    yield inside
    claims.group_membership._answers[:] = before


def test_a_groups_offer_is_for_its_members_alone(
    db: Any, make_member: Callable, make_offer: Callable, members_in_group: set
) -> None:
    member, offer = make_member(), make_offer(group_id=7)
    with pytest.raises(rules.NotInGroup):
        services.claim(offer.id, member.id)
    members_in_group.add((member.id, 7))
    assert services.claim(offer.id, member.id).fresh


def test_a_changed_group_is_looked_up_again(make_member: Callable, make_offer: Callable, members_in_group: set) -> None:
    offer, first, second = make_offer(group_id=7), make_member(), make_member()
    members_in_group.update({(first.id, 7), (second.id, 8)})
    services.claim(offer.id, first.id)
    known = dict(claims._asks)
    services.edit(
        offer.id,
        services.Draft(name="Spring", kind=services.get_offer(offer.id)[1].kind, value=2000, valid_days=14, group_id=8),
    )
    # Another process still remembers the old group.
    claims._asks.update(known)
    assert services.claim(offer.id, second.id).fresh
    with pytest.raises(rules.NotInGroup):
        services.claim(offer.id, make_member().id)


def test_claim_follows_a_merge_and_ends_with_erasure(
    clock: Any, db: Any, make_member: Callable, make_offer: Callable
) -> None:
    offer, older = make_offer(), make_member()
    younger = make_member(merged_into_id=older.id)
    found = services.claim(offer.id, younger.id)
    assert db.session.get_one(Coupon, found.coupon_id).member_id == older.id
    assert not services.claim(offer.id, older.id).fresh
    with pytest.raises(rules.ClaimantUnknown):
        services.claim(offer.id, make_member(erased_at=clock.now()).id)
    with pytest.raises(rules.ClaimantUnknown):
        services.claim(offer.id, 999_999_999)


def test_a_batch_judges_each_of_its_items(db: Any, make_member: Callable, make_offer: Callable) -> None:
    hot, other, paused = make_offer(stock=2), make_offer(stock=5), make_offer(OfferState.PAUSED)
    people = [make_member() for _ in range(4)]

    def wish(offer: Offer, i: int) -> claims.Claim:
        return claims.Claim(offer.id, people[i].id, 0, None, False, "", None)

    asked = [wish(hot, 0), wish(other, 0), wish(hot, 0), wish(hot, 1), wish(paused, 2), wish(hot, 2), wish(other, 3)]
    outcomes = claims.run_batch(
        db.session.connection(), [*asked, claims.Claim(0, people[0].id, 0, None, False, "", None)]
    )
    kinds = [o.fresh if isinstance(o, claims.Claimed) else o.kind for o in outcomes]  # type: ignore[union-attr]
    assert kinds == [True, True, False, True, rules.OfferPaused, rules.SoldOut, True, rules.TooLate]
    assert outcomes[0][:2] == outcomes[2][:2]
    assert (claimed(db, hot), claimed(db, other), claimed(db, paused)) == (2, 2, 0)


def test_a_crowd_writes_no_delivery_to_whom_nobody_asked_for(
    db: Any, make_member: Callable, make_offer: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each would be a job of its own; the condition on other programs must hold on the way of a claim too."""
    offer = make_offer()
    for _ in range(3):
        services.claim(offer.id, make_member().id)
    assert db.session.scalar(select(func.count()).select_from(EventDelivery)) == 0
    # Without the condition there is one each.
    monkeypatch.setattr("kernel.events._CONDITIONS", {})
    shelves.complete.cache_clear()
    try:
        services.claim(offer.id, make_member().id)
    finally:
        shelves.complete.cache_clear()
    assert db.session.scalar(select(func.count()).select_from(EventDelivery)) == 1


def test_what_a_crowd_brings_is_written_as_it_was_said(db: Any, make_member: Callable, make_offer: Callable) -> None:
    """Sources go to the database as the text of a list; whatever is in them stays what it is."""
    offer = make_offer()
    said = ['a "b" \\ c', "{x,y}", "NULL", "", "裙子, 30%", "ok"]
    people = [make_member() for _ in said]
    batch = [claims.Claim(offer.id, p.id, 0, None, False, s) for p, s in zip(people, said, strict=True)]
    outcomes = claims.run_batch(db.session.connection(), batch)
    assert all(isinstance(o, claims.Claimed) and o.fresh for o in outcomes)
    assert [db.session.get_one(Coupon, o.coupon_id).source for o in outcomes] == said  # type: ignore[union-attr]


def test_a_batch_may_be_run_again_after_its_commit(db: Any, make_member: Callable, make_offer: Callable) -> None:
    offer, member = make_offer(stock=3), make_member()
    batch = [claims.Claim(offer.id, member.id, 0, None, False, "", None)]
    first = claims.run_batch(db.session.connection(), batch)
    again = claims.run_batch(db.session.connection(), batch)
    assert first[0][:2] == again[0][:2]
    assert claimed(db, offer) == 1


def test_claim_sends_few_statements(make_member: Callable, make_offer: Callable, queries: Callable) -> None:
    offer = make_offer(stock=10)
    services.claim(offer.id, make_member().id)
    member = make_member()
    # The person. Lock and insert, which publishes as well, go to the driver directly.
    with queries(1):
        services.claim(offer.id, member.id)


def test_one_asks_again_for_all_once_the_flag_is_old(
    make_member: Callable, make_offer: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer, late = make_offer(stock=1), make_member()
    services.claim(offer.id, make_member().id)
    with pytest.raises(rules.SoldOut):
        services.claim(offer.id, late.id)
    asked: list[int] = []
    monkeypatch.setattr(
        claims.writer, "submit", lambda wish: asked.append(wish.member_id) or claims.Refused(rules.SoldOut)
    )
    for number in range(3):
        # Each second one of the three goes to the writer.
        claims._closed[offer.id] = (0.0, claims._closed[offer.id][1])
        for _ in range(3):
            with pytest.raises(rules.SoldOut):
                services.claim(offer.id, late.id)
        assert len(asked) == number + 1
    # Another process has raised the stock: whoever asks finds out, and nobody is refused after that.
    monkeypatch.undo()
    services.raise_stock(offer.id, 5)
    claims._closed[offer.id] = (0.0, claims.Refused(rules.SoldOut))
    assert services.claim(offer.id, late.id).fresh
    assert offer.id not in claims._closed
