"""Using coupons: validate, reserve, redeem, roll back; and random lives of coupons against the laws of domain.md."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from sqlalchemy import func, select

from kernel import clock as kernel_clock
from membership.coupons import codes, rules, services, subscribers
from membership.coupons.models import Coupon, CouponEvent, CouponKind, CouponState, Offer, OfferState, Redemption
from membership.coupons.rules import Basket
from membership.coupons.services import claims, holding, states, undoing
from membership.members.models import Member
from membership.orders.events import OrderRefunded
from tests.conftest import published

S = CouponState
BASKET = Basket(9900)


@pytest.fixture
def make_coupon(db: Any, make_member: Callable, make_offer: Callable) -> Callable[..., Coupon]:
    """`make_coupon(value=500)` is a member's fresh coupon of a new offer."""

    def make(member: Member | None = None, **changes: Any) -> Coupon:
        offer = make_offer(**changes)
        found = services.claim(offer.id, (member or make_member(rank=4)).id)
        return db.session.get_one(Coupon, found.coupon_id)

    return make


def history(db: Any, coupon: Coupon) -> list[tuple[S | None, S]]:
    rows = db.session.execute(
        select(CouponEvent.from_state, CouponEvent.to_state)
        .where(CouponEvent.coupon_id == coupon.id)
        .order_by(CouponEvent.id)
    )
    return [(row[0], row[1]) for row in rows]


def test_redeem_uses_the_coupon_on_the_order(db: Any, clock: Any, make_coupon: Callable) -> None:
    coupon = make_coupon()
    done = services.redeem(codes.spelt(coupon.code).lower(), "shop", "A-1", BASKET)
    assert (done.redemption.discount, done.redemption.redeemed_at, done.replayed) == (2000, clock.now(), False)
    assert (coupon.state, coupon.redeemed_at) == (S.REDEEMED, clock.now())
    assert history(db, coupon) == [(None, S.ISSUED), (S.ISSUED, S.REDEEMED)]
    assert published(db, "CouponRedeemed") == [
        {
            "member_id": coupon.member_id, "coupon_id": coupon.id, "offer_id": coupon.offer_id, "source": "shop",
            "order_external_id": "A-1", "discount": 2000,
        }
    ]  # fmt: skip


def test_inv_c2_the_same_order_again_gets_the_same_answer(db: Any, make_coupon: Callable) -> None:
    coupon = make_coupon()
    first = services.redeem(coupon.code, "shop", "A-1", BASKET)
    again = services.redeem(coupon.code, "shop", "A-1", Basket(1))
    assert again.replayed
    assert again.redemption.id == first.redemption.id
    assert db.session.scalar(select(func.count()).select_from(Redemption)) == 1


def test_another_order_is_told_which_one_used_it(clock: Any, make_coupon: Callable) -> None:
    coupon = make_coupon()
    services.redeem(coupon.code, "counter", "T-9", BASKET)
    with pytest.raises(rules.AlreadyRedeemed) as refused:
        services.redeem(coupon.code, "shop", "A-1", BASKET)
    assert refused.value.members == {"order": "T-9", "source": "counter", "redeemed_at": clock.now().isoformat()}


def test_inv_c4_interval_is_half_open_with_no_sweep(clock: Any, make_coupon: Callable) -> None:
    now = clock.now()
    coupon = make_coupon(valid_days=None, usable_from=now + timedelta(days=1), usable_until=now + timedelta(days=2))
    with pytest.raises(rules.NotUsableYet) as refused:
        services.redeem(coupon.code, "shop", "A-1", BASKET)
    assert refused.value.code == "not_yet"
    clock.at(now + timedelta(days=2))
    assert coupon.state == S.ISSUED
    with pytest.raises(rules.Expired):
        services.redeem(coupon.code, "shop", "A-1", BASKET)
    clock.at(now + timedelta(days=2) - timedelta(microseconds=1))
    assert services.redeem(coupon.code, "shop", "A-1", BASKET).redemption.discount == 2000


def test_inv_c6_rolling_back_restores_the_coupon(db: Any, make_coupon: Callable) -> None:
    coupon = make_coupon()
    before = {c.name: getattr(coupon, c.name) for c in Coupon.__table__.columns}
    services.redeem(coupon.code, "shop", "A-1", BASKET)
    services.roll_back(coupon.code, "shop", "A-1", "wrong till")
    db.session.refresh(coupon)
    assert {c.name: getattr(coupon, c.name) for c in Coupon.__table__.columns} == before
    # Another order may use it now, and the first one again as well.
    services.redeem(coupon.code, "shop", "A-2", BASKET)
    services.roll_back(coupon.code, "shop", "A-2")
    assert not services.redeem(coupon.code, "shop", "A-1", BASKET).replayed


def test_inv_c7_rolling_back_twice_is_once(db: Any, make_coupon: Callable) -> None:
    coupon = make_coupon()
    services.redeem(coupon.code, "shop", "A-1", BASKET)
    first, _ = services.roll_back(coupon.code, "shop", "A-1")
    again, _ = services.roll_back(coupon.code, "shop", "A-1")
    assert first.id == again.id
    assert history(db, coupon)[2:] == [(S.REDEEMED, S.ISSUED)]
    assert len(published(db, "CouponRolledBack")) == 1


def test_rolling_back_after_its_time_leaves_it_expired(clock: Any, make_coupon: Callable) -> None:
    coupon = make_coupon()
    services.redeem(coupon.code, "shop", "A-1", BASKET)
    clock.move(days=15)
    services.roll_back(coupon.code, "shop", "A-1")
    assert coupon.state == S.EXPIRED


def test_rolling_back_what_never_was_is_refused(make_coupon: Callable) -> None:
    coupon = make_coupon()
    with pytest.raises(undoing.RedemptionUnknown):
        services.roll_back(coupon.code, "shop", "A-1")
    with pytest.raises(rules.UnknownCode):
        services.roll_back("nothing", "shop", "A-1")


@pytest.mark.parametrize(("full", "state"), [(True, S.ISSUED), (False, S.REDEEMED)])
def test_a_full_refund_gives_the_orders_coupons_back(make_coupon: Callable, full: bool, state: S) -> None:
    coupon, other = make_coupon(), make_coupon()
    services.redeem(coupon.code, "taobao", "B-1", BASKET)
    services.redeem(other.code, "taobao", "B-2", BASKET)
    refund = OrderRefunded(order_id=1, member_id=None, amount=1, full=full, source="taobao", external_id="B-1")
    subscribers.roll_back_coupons(refund)
    subscribers.roll_back_coupons(refund)
    assert (coupon.state, other.state) == (state, S.REDEEMED)


def test_reserve_holds_a_coupon_for_half_an_hour(clock: Any, db: Any, make_coupon: Callable) -> None:
    coupon = make_coupon()
    services.reserve(coupon.code, "shop", "A-1")
    with pytest.raises(rules.Reserved):
        services.redeem(coupon.code, "shop", "A-2", BASKET)
    with pytest.raises(holding.NotReserved):
        services.release(coupon.code, "shop", "A-2")
    clock.move(minutes=29)
    services.reserve(coupon.code, "shop", "A-1")
    clock.move(minutes=29)
    assert services.redeem(coupon.code, "shop", "A-1", BASKET).redemption.discount == 2000
    assert history(db, coupon)[1:] == [(S.ISSUED, S.RESERVED), (S.RESERVED, S.REDEEMED)]


def test_a_reservation_that_ran_out_holds_nothing(clock: Any, db: Any, make_coupon: Callable) -> None:
    coupon = make_coupon()
    services.reserve(coupon.code, "shop", "A-1")
    clock.move(minutes=30)
    services.redeem(coupon.code, "shop", "A-2", BASKET)
    assert history(db, coupon)[1:] == [(S.ISSUED, S.RESERVED), (S.RESERVED, S.ISSUED), (S.ISSUED, S.REDEEMED)]


def test_release_lets_go(make_coupon: Callable) -> None:
    coupon = make_coupon()
    services.reserve(coupon.code, "shop", "A-1")
    services.release(coupon.code, "shop", "A-1")
    assert (coupon.state, coupon.reserved_source, coupon.reserved_order, coupon.reserved_until) == (
        S.ISSUED,
        None,
        None,
        None,
    )


def test_revoked_frozen_and_given_away_coupons_are_refused(make_coupon: Callable, make_member: Callable) -> None:
    revoked, frozen, given = make_coupon(), make_coupon(), make_coupon()
    services.revoke(revoked.id, "farmed")
    services.revoke(revoked.id, "farmed")
    services.freeze(frozen.id, "looks odd")
    friend = services.transfer(given.id, make_member().id)
    for coupon, refusal in ((revoked, rules.Revoked), (frozen, rules.Frozen), (given, rules.Transferred)):
        with pytest.raises(refusal):
            services.redeem(coupon.code, "shop", "A-1", BASKET)
    services.unfreeze(frozen.id, "all well")
    assert services.redeem(frozen.code, "shop", "A-1", BASKET).redemption.discount == 2000
    # C8: as many usable coupons as before, with the same terms and time.
    assert (friend.version_id, friend.usable_until, friend.state) == (given.version_id, given.usable_until, S.ISSUED)
    assert services.redeem(friend.code, "shop", "A-2", BASKET).redemption.discount == 2000


def test_a_used_coupon_cannot_be_revoked(make_coupon: Callable) -> None:
    coupon = make_coupon()
    services.redeem(coupon.code, "shop", "A-1", BASKET)
    with pytest.raises(states.StepNotListed):
        services.revoke(coupon.id, "late")


def test_inv_c5_coupons_keep_the_terms_they_were_claimed_under(
    make_member: Callable, make_offer: Callable, db: Any
) -> None:
    offer = make_offer(min_spend=5000)
    first = db.session.get_one(Coupon, services.claim(offer.id, make_member().id).coupon_id)
    services.edit(
        offer.id, services.Draft(name="Spring", kind=CouponKind.AMOUNT, value=500, valid_days=1, min_spend=5000)
    )
    second = db.session.get_one(Coupon, services.claim(offer.id, make_member().id).coupon_id)
    assert services.redeem(first.code, "shop", "A-1", BASKET).redemption.discount == 2000
    assert services.redeem(second.code, "shop", "A-2", BASKET).redemption.discount == 500


def test_channel_and_group_are_looked_at_when_it_is_used(make_coupon: Callable) -> None:
    coupon = make_coupon(channels=["shop"])
    with pytest.raises(rules.WrongChannel):
        services.redeem(coupon.code, "taobao", "A-1", BASKET)
    inside = {True}
    before = list(claims.group_membership._answers)
    claims.group_membership._answers[:] = [lambda member_id, group_id: bool(inside)]
    try:
        grouped = make_coupon(group_id=5)
        inside.clear()
        with pytest.raises(rules.NotInGroupNow):
            services.redeem(grouped.code, "shop", "A-1", BASKET)
    finally:
        claims.group_membership._answers[:] = before


def test_coupons_go_together_only_from_different_stacks(make_coupon: Callable) -> None:
    plain, tea, shipping = (
        make_coupon(),
        make_coupon(stack_group="goods"),
        make_coupon(kind=CouponKind.FREE_SHIPPING, value=0, stack_group="post"),
    )
    basket = Basket(9900, 800)
    services.redeem(tea.code, "shop", "A-1", basket)
    with pytest.raises(rules.NotCombinable):
        services.redeem(plain.code, "shop", "A-1", basket)
    both = services.redeem(shipping.code, "shop", "A-1", basket)
    assert (both.redemption.discount, both.taken) == (800, 2800)


def test_validate_gives_each_code_its_reason_and_changes_nothing(db: Any, make_coupon: Callable) -> None:
    small, large, minimum = make_coupon(value=500), make_coupon(value=1500), make_coupon(min_spend=10_000)
    written = db.session.scalar(select(func.count()).select_from(CouponEvent))
    wanted = [small.code, large.code, minimum.code, "nothing"]
    found = services.validate(wanted, BASKET)
    verdicts = found.verdicts
    assert [v.discount.total if v.discount else v.refusal.code for v in verdicts] == [
        500,
        1500,
        "below_minimum",
        "unknown_code",
    ]  # type: ignore[union-attr]
    assert found.codes_used == [large.code]
    # C10: whatever the order in which they are listed.
    again = services.validate(wanted[::-1], BASKET)
    assert (again.codes_used, again.best) == (found.codes_used, found.best)
    assert db.session.scalar(select(func.count()).select_from(CouponEvent)) == written


def test_sweep_writes_down_what_time_has_decided(clock: Any, db: Any, make_coupon: Callable) -> None:
    due, held, later = make_coupon(valid_days=1), make_coupon(valid_days=30), make_coupon(valid_days=30)
    services.reserve(held.code, "shop", "A-1")
    clock.move(days=1)
    assert services.sweep() == 2
    for coupon in (due, held, later):
        db.session.refresh(coupon)
    assert (due.state, held.state, later.state) == (S.EXPIRED, S.ISSUED, S.ISSUED)
    assert (held.reserved_order, held.reserved_until) == (None, None)
    assert services.sweep() == 0
    for coupon in (due, held, later):
        assert rules.folded(history(db, coupon)) == coupon.state


class CouponLives(RuleBasedStateMachine):
    """C1, C2, C3, C4, C6, C7, C8, C9: random lives of a few coupons against a small model."""

    db: Any
    step: Callable[[timedelta], None]

    def __init__(self) -> None:
        super().__init__()
        self.coupons: list[Coupon] = []
        # What the model thinks: the order that used each, the order that holds it and until when, and set-aside states.
        self.used: dict[int, str] = {}
        self.held: dict[int, tuple[str, datetime]] = {}
        self.aside: dict[int, S] = {}

    @initialize(days=st.lists(st.integers(1, 5), min_size=1, max_size=3))
    def begin(self, days: list[int]) -> None:
        now = kernel_clock.now()
        for n in days:
            member = Member(stage_since=now, created_at=now)
            self.db.session.add(member)
            self.db.session.flush()
            draft = services.Draft(name="L", kind=CouponKind.AMOUNT, value=100, valid_days=n, stock=5)
            offer = services.create(draft, OfferState.ACTIVE)
            self.coupons.append(self.db.session.get_one(Coupon, services.claim(offer.id, member.id).coupon_id))

    def pick(self, number: int) -> Coupon:
        return self.coupons[number % len(self.coupons)]

    def expected(self, coupon: Coupon) -> S:
        now = kernel_clock.now()
        if coupon.id in self.aside:
            return self.aside[coupon.id]
        if coupon.id in self.used:
            return S.REDEEMED
        if coupon.id in self.held and self.held[coupon.id][1] > now:
            return S.RESERVED
        return S.EXPIRED if coupon.usable_until <= now else S.ISSUED

    numbers = st.integers(0, 5)
    orders = st.sampled_from(["A", "B"])

    @rule(number=numbers, order=orders)
    def redeem(self, number: int, order: str) -> None:
        coupon = self.pick(number)
        name = f"{order}{coupon.id}"
        state = self.expected(coupon)
        holder = self.held.get(coupon.id, ("",))[0]
        alive = coupon.usable_until > kernel_clock.now()
        if self.used.get(coupon.id) == name:
            assert services.redeem(coupon.code, "s", name, BASKET).replayed
        elif state == S.ISSUED or (state == S.RESERVED and holder == name and alive):
            services.redeem(coupon.code, "s", name, BASKET)
            self.used[coupon.id] = name
            self.held.pop(coupon.id, None)
        else:
            with pytest.raises(rules.RedeemRefused):
                services.redeem(coupon.code, "s", name, BASKET)

    @rule(number=numbers, order=orders)
    def reserve(self, number: int, order: str) -> None:
        coupon = self.pick(number)
        name = f"{order}{coupon.id}"
        state, holder = self.expected(coupon), self.held.get(coupon.id, ("",))[0]
        if state == S.ISSUED or (state == S.RESERVED and holder == name and coupon.usable_until > kernel_clock.now()):
            services.reserve(coupon.code, "s", name)
            self.held[coupon.id] = (name, min(kernel_clock.now() + holding.RESERVED_FOR, coupon.usable_until))
        else:
            with pytest.raises(rules.RedeemRefused):
                services.reserve(coupon.code, "s", name)

    @rule(first=numbers, second=numbers)
    def redeem_two(self, first: int, second: int) -> None:
        """Two that stand alone are never used together, and neither is used when both are asked for."""
        one, other = self.pick(first), self.pick(second)
        with pytest.raises((rules.CouponsRefused, rules.RedeemRefused)):
            services.redeem_all([one.code, other.code], "s", f"two{one.id}-{other.id}", BASKET)

    @rule(number=numbers, order=orders)
    def release(self, number: int, order: str) -> None:
        coupon = self.pick(number)
        name = f"{order}{coupon.id}"
        if self.expected(coupon) == S.RESERVED and self.held[coupon.id][0] == name:
            services.release(coupon.code, "s", name)
            del self.held[coupon.id]
        else:
            with pytest.raises(holding.NotReserved):
                services.release(coupon.code, "s", name)

    @rule(number=numbers, order=orders)
    def roll_back(self, number: int, order: str) -> None:
        coupon = self.pick(number)
        name = f"{order}{coupon.id}"
        try:
            services.roll_back(coupon.code, "s", name)
        except undoing.RedemptionUnknown:
            assert self.used.get(coupon.id) != name
        if self.used.get(coupon.id) == name:
            del self.used[coupon.id]

    @rule(number=numbers)
    def freeze_or_free(self, number: int) -> None:
        coupon = self.pick(number)
        if self.aside.get(coupon.id) == S.FROZEN:
            services.unfreeze(coupon.id, "test")
            del self.aside[coupon.id]
        elif self.expected(coupon) == S.ISSUED:
            services.freeze(coupon.id, "test")
            self.aside[coupon.id] = S.FROZEN
            self.held.pop(coupon.id, None)
        else:
            with pytest.raises(states.StepNotListed):
                services.freeze(coupon.id, "test")

    @rule(number=numbers)
    def revoke(self, number: int) -> None:
        coupon = self.pick(number)
        if self.expected(coupon) in (S.ISSUED, S.REVOKED):
            services.revoke(coupon.id, "test")
            self.aside[coupon.id] = S.REVOKED
        else:
            with pytest.raises(states.StepNotListed):
                services.revoke(coupon.id, "test")

    @rule(number=numbers)
    def transfer(self, number: int) -> None:
        coupon = self.pick(number)
        if self.expected(coupon) == S.ISSUED:
            friend = services.transfer(coupon.id, coupon.member_id)
            self.aside[coupon.id] = S.TRANSFERRED
            self.coupons.append(friend)
        else:
            with pytest.raises(states.StepNotListed):
                services.transfer(coupon.id, coupon.member_id)

    @rule(minutes=st.sampled_from([10, 40, 60 * 30]))
    def time_goes_by(self, minutes: int) -> None:
        self.step(timedelta(minutes=minutes))

    @rule()
    def sweep(self) -> None:
        services.sweep()
        self.db.session.expire_all()

    @invariant()
    def the_laws_hold(self) -> None:
        now = kernel_clock.now()
        for coupon in self.coupons:
            self.db.session.refresh(coupon)
            assert rules.state_at(coupon.state, coupon.usable_until, coupon.reserved_until, now) == self.expected(
                coupon
            )
            assert rules.folded(history(self.db, coupon)) == coupon.state
            live = self.db.session.scalars(
                select(Redemption.order_external_id).where(
                    Redemption.coupon_id == coupon.id, Redemption.rolled_back_at.is_(None)
                )
            ).all()
            assert live == ([self.used[coupon.id]] if coupon.id in self.used else [])
            claimed = self.db.session.scalar(select(Offer.claimed).where(Offer.id == coupon.offer_id))
            assert claimed == 1


@pytest.fixture
def lives(db: Any) -> Iterator[type[CouponLives]]:
    with kernel_clock.frozen(datetime.fromisoformat("2026-03-03T04:00:00+00:00")) as step:
        yield type("Lives", (CouponLives,), {"db": db, "step": staticmethod(step)})


@pytest.mark.parametrize(("lives_led", "steps"), [(25, 25), pytest.param(1_000, 50, marks=pytest.mark.long)])
def test_inv_c1_to_c9_hold_over_random_lives(lives: type[CouponLives], lives_led: int, steps: int) -> None:
    run_state_machine_as_test(
        lives,
        settings=settings(
            max_examples=lives_led, stateful_step_count=steps, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
