"""Coupons that the shop gives without a claim, and the life of offers."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import func, select

from kernel import links
from kernel.errors import InputInvalid, NotFound
from kernel.events import EventRecord
from membership.coupons import rules, services
from membership.coupons.models import Coupon, CouponKind, CouponState, Offer, OfferState, OfferVersion
from membership.coupons.services import grants, offers, ways


def test_grant_many_gives_one_each_and_tells_others(db: Any, make_member: Callable, make_offer: Callable) -> None:
    offer, people = make_offer(stock=10), [make_member() for _ in range(3)]
    wanted = [(person.id, f"push:1:{person.id}") for person in people]
    first = services.grant_many(offer.id, wanted, "push:1")
    assert set(first) == {person.id for person in people}
    # The same keys again: the same coupons, and nothing is counted twice.
    assert services.grant_many(offer.id, wanted, "push:1") == first
    db.session.refresh(offer)
    assert offer.claimed == 3
    told = db.session.scalars(select(EventRecord.payload).where(EventRecord.name == "CouponClaimed")).all()
    assert sorted(p["member_id"] for p in told) == sorted(first)
    assert {p["source"] for p in told} == {"push:1"}


def test_grants_end_with_the_stock(make_member: Callable, make_offer: Callable) -> None:
    offer, people = make_offer(stock=2), [make_member() for _ in range(4)]
    found = services.grant_many(offer.id, [(p.id, f"k{p.id}") for p in people], "x")
    assert set(found) == {people[0].id, people[1].id}
    with pytest.raises(rules.SoldOut):
        services.claim(offer.id, people[3].id)


def test_whoever_has_one_is_given_that_one_while_it_can_be_used(
    db: Any, make_member: Callable, make_offer: Callable
) -> None:
    offer, member = make_offer(), make_member()
    own = services.claim(offer.id, member.id)
    assert services.grant_many(offer.id, [(member.id, "k1")], "x") == {member.id: own[:2]}
    services.redeem(own.code, "shop", "A-1", rules.Basket(9900))
    assert services.grant_many(offer.id, [(member.id, "k2")], "x") == {}
    with pytest.raises(grants.NothingToGrant):
        services.grant(offer.id, member.id, "k3", "console")


@pytest.mark.parametrize(
    ("state", "granted"), [(OfferState.ACTIVE, 1), (OfferState.PAUSED, 0), (OfferState.ENDED, 0), (OfferState.DRAFT, 0)]
)
def test_only_a_running_offer_is_granted(
    make_member: Callable, make_offer: Callable, state: OfferState, granted: int
) -> None:
    assert len(services.grant_many(make_offer(state).id, [(make_member().id, "k")], "x")) == granted
    assert services.grant_many(0, [(make_member().id, "k")], "x") == {}


def test_tier_and_window_are_no_matter_for_a_grant(clock: Any, make_member: Callable, make_offer: Callable) -> None:
    offer = make_offer(min_rank=4, claim_from=clock.now() + timedelta(days=1))
    assert services.grant_many(offer.id, [(make_member().id, "k")], "x")


def test_several_each_are_granted_under_several_keys(db: Any, make_member: Callable, make_offer: Callable) -> None:
    offer, member = make_offer(per_member=None), make_member()
    services.grant_many(offer.id, [(member.id, "a"), (member.id, "b")], "x")
    ordinals = db.session.scalars(select(Coupon.ordinal).where(Coupon.offer_id == offer.id).order_by(Coupon.id)).all()
    assert ordinals == [1, 2]


def test_grants_are_few_statements_however_many(make_member: Callable, make_offer: Callable, queries: Callable) -> None:
    offer, people = make_offer(), [make_member() for _ in range(40)]
    services.grant_many(offer.id, [(people[0].id, "k")], "x")
    with queries(2):
        services.grant_many(offer.id, [(p.id, f"k{p.id}") for p in people], "x")


def draft(**changes: Any) -> offers.Draft:
    return offers.Draft(**{"name": "Spring", "kind": CouponKind.AMOUNT, "value": 2000, "valid_days": 14, **changes})


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"name": " "}, "name"),
        ({"value": 0}, "value"),
        ({"value": 2000, "min_spend": 1000}, "value"),
        ({"kind": CouponKind.PERCENT, "value": 1000}, "percent"),
        ({"kind": CouponKind.FIXED_PRICE, "value": 990}, "skus"),
        ({"kind": CouponKind.GIFT_ITEM, "value": 0}, "item_title"),
        ({"valid_days": None}, "valid_days"),
        ({"valid_days": 0}, "valid_days"),
        ({"stock": 0}, "stock"),
        ({"per_member": 0}, "per_member"),
        ({"min_rank": 5}, "min_rank"),
        ({"open_to_new": True, "min_rank": 1}, "open_to_new"),
        ({"open_to_new": True, "group_id": 1}, "open_to_new"),
    ],
)
def test_an_offer_that_makes_no_sense_is_refused(db: Any, changes: dict[str, Any], field: str) -> None:
    with pytest.raises(InputInvalid) as refused:
        services.create(draft(**changes))
    assert [place for place, _ in refused.value.errors] == [field]
    assert db.session.scalar(select(func.count()).select_from(Offer)) == 0


def test_dates_that_contradict_each_other_are_refused(clock: Any, db: Any) -> None:
    day = [clock.now() + timedelta(days=n) for n in range(4)]
    for changes, field in (
        ({"valid_days": None, "usable_from": day[2], "usable_until": day[1]}, "usable_until"),
        ({"claim_from": day[2], "claim_until": day[1]}, "claim_until"),
        ({"valid_days": None, "usable_until": day[1], "claim_until": day[2]}, "claim_until"),
    ):
        with pytest.raises(InputInvalid) as refused:
            services.create(draft(**changes))
        assert [place for place, _ in refused.value.errors] == [field]


def test_changed_terms_make_a_version_and_changed_conditions_do_not(db: Any, make_offer: Callable) -> None:
    offer = make_offer(stock=5)
    services.edit(offer.id, draft(stock=9, per_day=3))
    services.edit(offer.id, draft(stock=9, per_day=3, value=1500))
    numbers = db.session.scalars(select(OfferVersion.number).where(OfferVersion.offer_id == offer.id)).all()
    assert sorted(numbers) == [1, 2]
    assert (offer.stock, offer.per_day) == (9, 3)


def test_inv_l7_stock_cannot_fall_below_what_is_out(make_member: Callable, make_offer: Callable) -> None:
    offer = make_offer(stock=5)
    for _ in range(2):
        services.claim(offer.id, make_member().id)
    with pytest.raises(offers.StockBelowClaimed):
        services.edit(offer.id, draft(stock=1))
    services.edit(offer.id, draft(stock=2))
    with pytest.raises(rules.SoldOut):
        services.claim(offer.id, make_member().id)


def test_an_ended_offer_stays_ended_and_its_coupons_stay_usable(make_member: Callable, make_offer: Callable) -> None:
    offer = make_offer()
    found = services.claim(offer.id, make_member().id)
    services.set_state(offer.id, OfferState.PAUSED)
    services.set_state(offer.id, OfferState.ENDED)
    with pytest.raises(offers.OfferStateRefused):
        services.set_state(offer.id, OfferState.ACTIVE)
    assert services.redeem(found.code, "shop", "A-1", rules.Basket(9900)).coupon.state == CouponState.REDEEMED


def test_personal_links_say_whose_they_are_and_only_that(app: Any, db: Any) -> None:
    with app.test_request_context():
        path = services.personal_path(7, 3, "push:12")
        assert services.read_personal(path.removeprefix("/c/")) == (7, 3, "push:12")
        assert services.read_personal(services.personal_path(7, 3).removeprefix("/c/")) == (7, 3, "personal")
        for purpose in ("gift", "coupon-page"):
            with pytest.raises(links.LinkInvalid):
                services.read_personal(links.make(purpose, 7, 3))


def test_a_revoked_link_leads_nowhere_at_once(make_offer: Callable) -> None:
    offer = make_offer()
    link = services.make_link(offer.id, "Poster")
    assert services.find_link(link.token).id == link.id
    with pytest.raises(NotFound):
        services.revoke_link(offer.id + 1, link.id)
    services.revoke_link(offer.id, link.id)
    with pytest.raises(ways.LinkRevoked):
        services.find_link(link.token)
    with pytest.raises(links.LinkInvalid):
        services.find_link("nothing")
