"""Caps beside the stock: money, natural persons and groups, each with the proof that its test would notice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import select

from membership.coupons import rules, services
from membership.coupons.models import Coupon, CouponKind, CouponState, Offer
from membership.coupons.rules import Basket
from membership.coupons.services import batch, caps
from membership.limits import services as limits
from membership.limits.models import LimitCounter

BASKET = Basket(10_000)


@pytest.fixture
def hold(make_member: Callable) -> Callable[[Offer], str]:
    return lambda offer: services.claim(offer.id, make_member().id).code


def test_the_budget_is_never_passed_by_a_fen(db: Any, make_offer: Callable, hold: Callable) -> None:
    offer = make_offer(value=3000, budget=7000)
    first, second, third = hold(offer), hold(offer), hold(offer)
    services.redeem(first, "shop", "A-1", BASKET)
    services.redeem(second, "shop", "A-2", BASKET)
    with pytest.raises(rules.BudgetSpent, match=r"¥30\.00.*¥10\.00"), db.session.begin_nested():
        services.redeem(third, "shop", "A-3", BASKET)
    assert "¥10.00" in str(services.validate([third], BASKET).verdicts[0].refusal)
    assert limits.used(caps.budget_name(offer.id)) == 6000
    # A smaller discount still fits, and what is rolled back can be given again.
    assert services.redeem(third, "shop", "A-4", Basket(1000)).redemption.discount == 1000
    services.roll_back(first, "shop", "A-1")
    services.roll_back(first, "shop", "A-1")
    assert limits.used(caps.budget_name(offer.id)) == 4000
    assert services.redeem(first, "shop", "A-5", BASKET).redemption.discount == 3000


def test_budget_has_teeth(db: Any, make_offer: Callable, hold: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the counter the same redemptions pass the budget."""
    from membership.coupons.services import redemptions

    offer = make_offer(value=3000, budget=4000)
    codes = [hold(offer), hold(offer)]
    monkeypatch.setattr(redemptions, "take_budget", lambda spent: None)
    given = [services.redeem(code, "shop", f"A-{code}", BASKET).redemption.discount for code in codes]
    assert sum(given) > 4000


def test_several_coupons_of_one_budget_are_taken_together_or_not_at_all(
    db: Any, make_offer: Callable, make_member: Callable
) -> None:
    one, other = (
        make_offer(value=3000, budget=3000, stack_group="a"),
        make_offer(value=3000, budget=2999, stack_group="b"),
    )
    member = make_member()
    codes = [services.claim(offer.id, member.id).code for offer in (one, other)]
    with pytest.raises(rules.BudgetSpent), db.session.begin_nested():
        services.redeem_all(codes, "shop", "A-1", BASKET)
    assert limits.used(caps.budget_name(one.id)) == 0
    assert set(db.session.scalars(select(Coupon.state))) == {CouponState.ISSUED}


def test_a_budget_set_later_knows_what_was_given_before(db: Any, make_offer: Callable, hold: Callable) -> None:
    offer = make_offer(value=3000)
    services.redeem(hold(offer), "shop", "A-1", BASKET)
    late = hold(offer)
    services.edit(
        offer.id, services.Draft(name="Spring", kind=CouponKind.AMOUNT, value=3000, valid_days=14, budget=5000)
    )
    with pytest.raises(rules.BudgetSpent):
        services.redeem(late, "shop", "A-2", BASKET)


def test_nothing_is_given_out_once_the_budget_is_used_up(db: Any, make_offer: Callable, hold: Callable) -> None:
    offer = make_offer(value=3000, budget=3000)
    services.redeem(hold(offer), "shop", "A-1", BASKET)
    with pytest.raises(rules.SoldOut):
        hold(offer)
    assert services.grant_many(offer.id, [(1, "k")], "push:1") == {}


def test_a_person_is_one_over_all_their_records(db: Any, make_offer: Callable, make_member: Callable) -> None:
    offer = make_offer(per_member=None, per_person=2)
    member = make_member(phone="+8612600007777")
    services.claim(offer.id, member.id)
    services.grant(offer.id, member.id, "k", "console")
    with pytest.raises(rules.PersonHasTheirs):
        services.claim(offer.id, member.id)
    # The record was erased and the same phone came again.
    member.phone = None
    db.session.flush()
    again = make_member(phone="+8612600007777")
    with pytest.raises(rules.PersonHasTheirs):
        services.claim(offer.id, again.id)
    assert services.grant_many(offer.id, [(again.id, "k2")], "push:1") == {}
    assert services.claim(offer.id, make_member(phone="+8612600008888").id).fresh
    # L4: what was refused has moved no counter, and nobody reads a phone in one.
    rows = db.session.execute(select(LimitCounter.subject, LimitCounter.used)).all()
    assert sorted(row.used for row in rows) == [1, 2]
    assert all("7777" not in row.subject[:4] and len(row.subject) == 24 for row in rows)


def test_a_group_has_its_share(db: Any, make_offer: Callable, make_member: Callable) -> None:
    offer = make_offer(per_group=2)
    for _ in range(2):
        services.claim(offer.id, make_member().id, "group:7")
    with pytest.raises(rules.GroupShareTaken):
        services.claim(offer.id, make_member().id, "group:7")
    assert services.claim(offer.id, make_member().id, "group:8").fresh
    assert services.claim(offer.id, make_member().id, "link:1").fresh


@pytest.mark.parametrize("cap", ["per_person", "per_group"])
def test_caps_have_teeth(
    db: Any, make_offer: Callable, make_member: Callable, monkeypatch: pytest.MonkeyPatch, cap: str
) -> None:
    """With the row count of the counter ignored, the cap is passed."""
    offer = make_offer(per_member=None, **{cap: 1})
    member = make_member(phone="+8612600007777")
    monkeypatch.setattr(batch.limits, "take", lambda usages, connection=None: None)
    for _ in range(2):
        services.claim(offer.id, member.id, "group:7")
    assert db.session.scalar(select(Offer.claimed).where(Offer.id == offer.id)) == 2


def test_inv_l4_a_refused_claim_leaves_no_counter_behind(db: Any, make_offer: Callable, make_member: Callable) -> None:
    offer = make_offer(per_person=5, per_group=1, per_member=None)
    services.claim(offer.id, make_member(phone="+8612600007777").id, "group:7")
    refused = make_member(phone="+8612600008888")
    with pytest.raises(rules.GroupShareTaken):
        services.claim(offer.id, refused.id, "group:7")
    mine = caps.person_keys([refused.id])[refused.id]
    assert db.session.get(LimitCounter, (caps.person_name(offer.id), mine, "")) is None
    assert db.session.scalar(select(Offer.claimed).where(Offer.id == offer.id)) == 1


def test_a_cap_that_was_set_meanwhile_is_found_by_the_writer(
    db: Any, make_offer: Callable, make_member: Callable
) -> None:
    offer = make_offer(per_member=None)
    member = make_member(phone="+8612600007777")
    services.claim(offer.id, member.id)
    # Another process set it: this one still remembers that nothing is asked.
    offer.per_person = 1
    db.session.flush()
    assert services.claim(offer.id, member.id).fresh
    with pytest.raises(rules.PersonHasTheirs):
        services.claim(offer.id, member.id)
