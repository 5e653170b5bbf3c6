"""A till whose answer was lost says the same again under the same key: one effect, and the answer that the first call had (C6)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from kernel import api_keys
from kernel.db import db, transaction
from kernel.events import EventRecord
from membership.coupons import codes, services
from membership.coupons.models import Coupon, CouponEvent, CouponKind, CouponState, OfferState, Redemption
from membership.coupons.services import caps
from membership.limits import services as limits
from tests.faults.dying_till import HOOKS
from tests.live import children, eventually
from tests.webshop import WebShop, ask, raw

pytestmark = pytest.mark.fault
VALUE = 2000


@pytest.fixture(scope="module")
def shop() -> Iterator[WebShop]:
    with WebShop("tests.faults.dying_till") as found:
        yield found


@pytest.fixture(scope="module")
def token(shop: WebShop) -> str:
    assert shop.app is not None
    with shop.app.test_request_context(), transaction():
        return api_keys.create("till", ["coupons:redeem"])[1]


def a_coupon(shop: WebShop) -> tuple[int, str]:
    """A coupon of an offer with a budget: (id, code)."""
    assert shop.app is not None
    owner = shop.members(1)[0].member_id
    with shop.app.app_context(), transaction():
        draft = services.Draft(name="Crash", kind=CouponKind.AMOUNT, value=VALUE, valid_days=14, budget=10 * VALUE)
        offer = services.create(draft, OfferState.ACTIVE)
        return services.grant_many(offer.id, [(owner, f"crash:{offer.id}")], "crash")[owner]


def effects(shop: WebShop, coupon_id: int) -> dict[str, Any]:
    """What a redemption leaves behind, counted."""
    assert shop.app is not None
    with shop.app.app_context():
        coupon = db.session.get_one(Coupon, coupon_id)
        payload = EventRecord.payload["coupon_id"].as_integer()
        return {
            "state": coupon.state,
            "redemptions": db.session.scalar(
                select(func.count()).select_from(Redemption).where(Redemption.coupon_id == coupon_id)
            ),
            "steps": db.session.scalar(
                select(func.count())
                .select_from(CouponEvent)
                .where(CouponEvent.coupon_id == coupon_id, CouponEvent.to_state == CouponState.REDEEMED)
            ),
            "told": db.session.scalar(
                select(func.count()).where(EventRecord.name == "CouponRedeemed", payload == coupon_id)
            ),
            "budget": limits.used(caps.budget_name(coupon.offer_id)),
        }


NOTHING = {"state": CouponState.ISSUED, "redemptions": 0, "steps": 0, "told": 0, "budget": 0}
ONCE = {"state": CouponState.REDEEMED, "redemptions": 1, "steps": 1, "told": 1, "budget": VALUE}


@pytest.mark.parametrize("hook", HOOKS)
def test_check_c6_a_redemption_whose_answer_was_lost_is_repeated_without_a_second_effect(
    shop: WebShop, token: str, hook: str
) -> None:
    for turn in range(3):
        coupon_id, code = a_coupon(shop)
        body = {"code": codes.spelt(code), "source": "counter", "order": f"{hook}-{turn}", "amount": 9900}
        headers = {"Authorization": f"Bearer {token}", "Idempotency-Key": f"{hook}-{turn}"}
        request = raw("/api/v1/coupons/redeem", json.dumps(body).encode(), "application/json", headers)
        asked = Path(shop.folder) / f"die-{hook}"
        asked.touch()
        assert ask(shop, request) is None
        # It was killed where it should be, by nothing else.
        assert not asked.exists()
        committed = hook == "after-commit"
        assert effects(shop, coupon_id) == (ONCE if committed else NOTHING)
        answer = eventually(lambda request=request: ask(shop, request))
        assert (answer.status, answer.headers.get("idempotent-replay")) == (200, "true" if committed else None)
        said = json.loads(answer.body)
        # The answer is the first call's own, not one that tells of a repeat.
        assert (said["discount"], said["payable"], said["replayed"]) == (VALUE, 9900 - VALUE, False)
        assert effects(shop, coupon_id) == ONCE
        again = ask(shop, request)
        assert again is not None
        assert (again.status, json.loads(again.body), again.headers["idempotent-replay"]) == (200, said, "true")
        # Without the key the order itself is known; another order is told which one used it.
        bare = {"Authorization": headers["Authorization"]}
        known = ask(shop, raw("/api/v1/coupons/redeem", json.dumps(body).encode(), "application/json", bare))
        assert known is not None
        assert (known.status, json.loads(known.body)["replayed"]) == (200, True)
        other = json.dumps({**body, "order": "another"}).encode()
        refused = ask(shop, raw("/api/v1/coupons/redeem", other, "application/json", bare))
        assert refused is not None
        assert (refused.status, json.loads(refused.body)["order"]) == (409, f"{hook}-{turn}")
        assert effects(shop, coupon_id) == ONCE
        eventually(lambda: shop.process is not None and len(children().get(shop.process.pid, [])) >= 2)
