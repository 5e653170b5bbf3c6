"""Coupons at many tills at once: one use each, never more taken off than there is, and the proof that this would be noticed."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import func, select, text, update

from kernel import api_keys, clock
from kernel.db import db, transaction
from membership.coupons import rules, services
from membership.coupons.models import Coupon, CouponEvent, CouponState, CouponTransfer, PoolCode, Redemption
from membership.coupons.services import caps, pools, transfers
from membership.limits import services as limits
from tests.races.test_claims import broken, make_offer
from tests.webshop import Answer, Visitor, WebShop, raw

pytestmark = pytest.mark.race
Till = Callable[..., bytes]


@pytest.fixture(scope="module")
def shop() -> Iterator[WebShop]:
    with WebShop() as found:
        yield found


@pytest.fixture(scope="module")
def crowd(shop: WebShop) -> list[Visitor]:
    return shop.members(30)


def till_of(shop: WebShop) -> Till:
    assert shop.app is not None
    with shop.app.test_request_context(), transaction():
        token = api_keys.create("till", ["coupons:redeem"])[1]

    def request(path: str, body: dict[str, Any], key: str | None = None) -> bytes:
        headers = {"Authorization": f"Bearer {token}"} | ({"Idempotency-Key": key} if key else {})
        return raw(f"/api/v1/coupons/{path}", json.dumps(body).encode(), "application/json", headers)

    return request


def a_coupon(shop: WebShop, member_id: int, **changes: Any) -> tuple[int, str]:
    offer_id, _path = make_offer(shop, **changes)
    assert shop.app is not None
    with shop.app.app_context(), transaction():
        return services.grant_many(offer_id, [(member_id, f"race:{offer_id}:{member_id}")], "race")[member_id]


def bodies(answers: list[Answer], status: int) -> list[dict[str, Any]]:
    return [json.loads(answer.body) for answer in answers if answer.status == status]


def live(shop: WebShop, coupon_id: int) -> int:
    assert shop.app is not None
    with shop.app.app_context():
        wanted = select(func.count()).where(Redemption.coupon_id == coupon_id, Redemption.rolled_back_at.is_(None))
        return db.session.scalar(wanted) or 0


def adds_up(shop: WebShop, coupon_id: int) -> None:
    """A coupon's state is the fold of its events, and the budget counts what its live redemptions took off."""
    assert shop.app is not None
    with shop.app.app_context():
        coupon = db.session.get_one(Coupon, coupon_id)
        events = db.session.execute(
            select(CouponEvent.from_state, CouponEvent.to_state)
            .where(CouponEvent.coupon_id == coupon_id)
            .order_by(CouponEvent.id)
        ).all()
        assert rules.folded([(row[0], row[1]) for row in events]) == coupon.state
        given = db.session.scalar(
            select(func.coalesce(func.sum(Redemption.discount), 0)).where(
                Redemption.offer_id == coupon.offer_id, Redemption.rolled_back_at.is_(None)
            )
        )
        assert limits.used(caps.budget_name(coupon.offer_id)) == given


# ── One code ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_check_c3_one_code_at_twenty_tills(shop: WebShop, crowd: list[Visitor]) -> None:
    till = till_of(shop)
    for turn in range(5):
        coupon_id, code = a_coupon(shop, crowd[0].member_id)
        said = {"code": code, "source": "counter", "amount": 9900}
        answers = shop.volley([till("redeem", {**said, "order": f"T{turn}-{i}"}) for i in range(20)])
        done, refused = bodies(answers, 200), bodies(answers, 409)
        assert (len(done), len(refused)) == (1, 19)
        at = datetime.fromisoformat(done[0]["coupons"][0]["redeemed_at"])
        # Each of the others is told which order used it, and when.
        assert {(r["code"], r["order"], datetime.fromisoformat(r["redeemed_at"])) for r in refused} == {
            ("already_redeemed", done[0]["order"], at)
        }
        assert live(shop, coupon_id) == 1
        adds_up(shop, coupon_id)


def test_check_c3_with_refunds_in_flight(shop: WebShop, crowd: list[Visitor]) -> None:
    """Refunds come in between: the coupon may be used again after one, and never twice at a time."""
    assert shop.app is not None
    app, till = shop.app, till_of(shop)
    for turn in range(5):
        coupon_id, code = a_coupon(shop, crowd[0].member_id, budget=2000)
        undone = []

        def refund(numbers: range, turn: int = turn, undone: list[int] = undone) -> None:
            for number in numbers:
                with app.app_context(), transaction():
                    undone.append(services.roll_back_order("counter", f"R{turn}-{number}", "full refund"))

        refunds = [threading.Thread(target=refund, args=(range(i, 20, 2),)) for i in range(2)]
        for thread in refunds:
            thread.start()
        said = {"code": code, "source": "counter", "amount": 9900}
        answers = shop.volley([till("redeem", {**said, "order": f"R{turn}-{i}"}) for i in range(20)])
        for thread in refunds:
            thread.join()
        used = len(bodies(answers, 200))
        assert {answer.status for answer in answers} <= {200, 409}
        assert used >= 1
        assert live(shop, coupon_id) == used - sum(undone) in (0, 1)
        adds_up(shop, coupon_id)


def test_check_c3_with_expiry_in_flight(shop: WebShop, crowd: list[Visitor]) -> None:
    """Its last moment falls into the volley: whoever comes later is told so, whether or not the sweep has been there."""
    assert shop.app is not None
    till = till_of(shop)
    for turn in range(5):
        coupon_id, code = a_coupon(shop, crowd[0].member_id)
        with shop.app.app_context(), transaction():
            end = clock.now() + timedelta(seconds=0.02 * turn + 0.04)
            db.session.execute(
                update(Coupon).where(Coupon.id == coupon_id).values(usable_until=end, usable_from=clock.now())
            )

        def sweep(app: Any = shop.app) -> None:
            for _ in range(10):
                with app.app_context(), transaction():
                    services.sweep()
                time.sleep(0.01)

        sweeping = threading.Thread(target=sweep)
        sweeping.start()
        said = {"code": code, "source": "counter", "amount": 9900}
        answers = shop.volley([till("redeem", {**said, "order": f"E{turn}-{i}"}) for i in range(20)])
        sweeping.join()
        done, refused = bodies(answers, 200), bodies(answers, 409)
        assert len(done) == live(shop, coupon_id) <= 1
        assert len(done) + len(refused) == 20
        assert {r["code"] for r in refused} == ({"already_redeemed"} if done else {"expired"})
        adds_up(shop, coupon_id)


def five_orders(shop: WebShop, till: Till, member_id: int, name: str) -> tuple[int, list[dict[str, Any]]]:
    """Five orders at once with one coupon of more than they cost; how many redemptions there are, and the answers."""
    coupon_id, code = a_coupon(shop, member_id, value=8000)
    said = {"code": code, "source": "shop", "amount": 5000}
    answers = shop.volley([till("redeem", {**said, "order": f"{name}-{i}"}) for i in range(5)])
    return live(shop, coupon_id), bodies(answers, 200)


def test_like_mall_1003(shop: WebShop, crowd: list[Visitor]) -> None:
    """Five orders used one coupon and one of them was to be paid with −8.24: one may, and nobody pays less than nothing."""
    till = till_of(shop)
    for turn in range(5):
        used, done = five_orders(shop, till, crowd[0].member_id, f"M{turn}")
        assert (used, len(done)) == (1, 1)
        assert (done[0]["discount"], done[0]["payable"]) == (5000, 0)


@pytest.mark.parametrize("mode", ["redeem-guard", "redeem-count", "redeem-stale"])
def test_mall_1003_has_teeth(mode: str) -> None:
    with broken(mode) as shop:
        assert shop.app is not None
        with shop.app.app_context(), transaction():
            # The index is the last guard, and these are to fall before it.
            db.session.execute(text("DROP INDEX uq_redemption_live"))
        till, member = till_of(shop), shop.members(1)[0]
        twice = sum(five_orders(shop, till, member.member_id, f"M{turn}")[0] > 1 for turn in range(5))
    assert twice >= 4, f"only {twice} of 5 coupons were used more than once: this race has no teeth"


def test_check_c6_one_idempotency_key_fifty_times(shop: WebShop, crowd: list[Visitor]) -> None:
    till, other_till = till_of(shop), till_of(shop)
    coupon_id, code = a_coupon(shop, crowd[0].member_id)
    said = {"code": code, "source": "shop", "order": "A-1", "amount": 9900}
    answers = shop.volley([till("redeem", said, "k1") for _ in range(50)])
    assert {answer.status for answer in answers} == {200}
    assert len({answer.body for answer in answers}) == 1
    other = shop.volley([till("redeem", {**said, "order": "A-2"}, "k1")])[0]
    assert (other.status, json.loads(other.body)["code"]) == (422, "idempotency_key_reused")
    # Another program's equal key is another key.
    theirs = shop.volley([other_till("redeem", {**said, "order": "A-3"}, "k1")])[0]
    assert (theirs.status, json.loads(theirs.body)["code"]) == (409, "already_redeemed")
    assert live(shop, coupon_id) == 1


# ── Several coupons, budgets, codes, gifts ──────────────────────────────────────────────────────────────────────────


def test_two_coupons_on_one_order_at_once_never_take_off_more_than_it_costs(
    shop: WebShop, crowd: list[Visitor]
) -> None:
    till = till_of(shop)
    for turn in range(5):
        codes = [a_coupon(shop, crowd[0].member_id, value=8000, stack_group=group)[1] for group in ("a", "b")]
        said = {"source": "shop", "order": f"B-{turn}", "amount": 10_000}
        answers = shop.volley([till("redeem", {**said, "code": code}) for code in codes])
        assert sorted(body["discount"] for body in bodies(answers, 200)) == [2000, 8000]
        assert {body["payable"] for body in bodies(answers, 200)} == {0, 2000}


def test_overlapping_sets_of_coupons_are_used_whole_or_not_at_all(shop: WebShop, crowd: list[Visitor]) -> None:
    """Ten orders want two of five coupons each, listed in either order: no deadlock, and no set is used by halves."""
    till = till_of(shop)
    for turn in range(5):
        made = [a_coupon(shop, crowd[0].member_id, value=100, stack_group=f"g{i}") for i in range(5)]
        pairs = [(i, (i + 1) % 5) for i in range(5)]
        wanted = pairs + [pair[::-1] for pair in pairs]
        answers = shop.volley(
            [
                till(
                    "redeem",
                    {"codes": [made[a][1], made[b][1]], "source": "shop", "order": f"P{turn}-{n}", "amount": 9900},
                )
                for n, (a, b) in enumerate(wanted)
            ]
        )
        assert {answer.status for answer in answers} <= {200, 409}
        done = bodies(answers, 200)
        assert 1 <= len(done) <= 2
        assert sum(live(shop, coupon_id) for coupon_id, _code in made) == 2 * len(done)


def test_a_budget_under_a_crowd_is_never_passed_by_a_fen(shop: WebShop, crowd: list[Visitor]) -> None:
    assert shop.app is not None
    till = till_of(shop)
    for turn in range(5):
        offer_id, _path = make_offer(shop, value=3000, budget=10_000)
        with shop.app.app_context(), transaction():
            given = services.grant_many(offer_id, [(v.member_id, f"b:{offer_id}:{v.member_id}") for v in crowd], "race")
        answers = shop.volley(
            [
                till("redeem", {"code": code, "source": "shop", "order": f"G{turn}-{n}", "amount": 9900})
                for n, (_id, code) in enumerate(given.values())
            ]
        )
        assert len(bodies(answers, 200)) == 3
        assert {body["code"] for body in bodies(answers, 409)} == {"budget_spent"}
        adds_up(shop, next(iter(given.values()))[0])


def test_one_single_use_code_typed_by_thirty_people(shop: WebShop, crowd: list[Visitor]) -> None:
    assert shop.app is not None
    for _ in range(5):
        offer_id, _path = make_offer(shop)
        with shop.app.test_request_context(), transaction():
            pool = pools.generate(offer_id, "Race", 1)
            pools.fill(pool.id)
            code = db.session.scalars(select(PoolCode.code).where(PoolCode.pool_id == pool.id)).one()
        answers = shop.volley([visitor.post("/me/coupons/codes", code=code) for visitor in crowd])
        assert {answer.status for answer in answers} == {303}
        assert sum("fresh=1" in answer.headers["location"] for answer in answers) == 1
        with shop.app.app_context():
            assert db.session.scalar(select(func.count()).where(Coupon.offer_id == offer_id)) == 1


def test_one_gift_accepted_by_thirty_friends_while_its_owner_uses_it(shop: WebShop, crowd: list[Visitor]) -> None:
    assert shop.app is not None
    till, owner = till_of(shop), crowd[0]
    for turn in range(5):
        coupon_id, code = a_coupon(shop, owner.member_id, transferable=True)
        with shop.app.test_request_context(), transaction():
            path = transfers.path_of(transfers.offer_transfer(coupon_id, owner.member_id))
        use = till("redeem", {"code": code, "source": "shop", "order": f"F-{turn}", "amount": 9900})
        answers = shop.volley([*(friend.post(path) for friend in crowd[1:]), use])
        accepted = sum(answer.status == 303 for answer in answers[:-1])
        used = answers[-1].status == 200
        # It went to one friend, or its owner used it.
        assert accepted + used == 1
        with shop.app.app_context():
            coupons = db.session.scalars(
                select(Coupon).where((Coupon.id == coupon_id) | (Coupon.parent_id == coupon_id))
            )
            states = sorted(coupon.state.value for coupon in coupons)
            assert states == (["issued", "transferred"] if accepted else [CouponState.REDEEMED.value])
            gift = db.session.scalars(select(CouponTransfer).where(CouponTransfer.coupon_id == coupon_id)).one()
            assert (gift.new_coupon_id is not None) == bool(accepted)
