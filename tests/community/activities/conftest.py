"""A group with people, a product, something to win, and drafts of draws and sales."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from community.activities import jobs, queries, services
from community.activities.models import Lottery, SaleKind
from kernel import clock as kernel_clock
from membership.coupons import services as coupons
from membership.coupons.models import CouponKind, OfferState
from membership.gifts import services as gifts
from membership.gifts.models import GiftKind
from membership.products.models import Product
from tests.community.posts.conftest import make_group, make_member, phone_of

__all__ = ["make_group", "make_member", "phone_of"]


@pytest.fixture
def scene(db: Any, clock: Any, make_member: Any, make_group: Any, phone_of: Any) -> SimpleNamespace:
    """Five people in a group, one outside; a mug for ¥100 that costs ¥20; a gift and an offer to win."""
    people = [make_member(f"客{n}") for n in range(5)]
    group = make_group("茶友群", members=people)
    mug = Product(
        source="shop", sku="MUG", title="马克杯", list_price=10_000, cost=2_000, created_at=kernel_clock.now()
    )
    db.session.add(mug)
    db.session.flush()
    offer = coupons.create(
        coupons.Draft(name="满百减二十", kind=CouponKind.AMOUNT, value=2_000, min_spend=10_000, valid_days=7),
        OfferState.ACTIVE,
    )
    gift = gifts.create(gifts.Draft("茶巾", GiftKind.PHYSICAL, stock=9))
    return SimpleNamespace(
        people=people,
        ann=people[0],
        stranger=make_member("外人"),
        group=group,
        mug=mug,
        offer=offer,
        gift=gift,
        phone=phone_of(people[0]),
    )


@pytest.fixture
def draft(scene: SimpleNamespace) -> Callable[..., services.LotteryDraft]:
    """`draft(…)` is a draw of two gifts and one coupon whose entry closes in two hours."""

    def make(**values: Any) -> services.LotteryDraft:
        standard: dict[str, Any] = {
            "title": "周三抽茶巾",
            "closes_at": kernel_clock.now() + timedelta(hours=2),
            "prizes": (
                services.PrizeDraft(2, gift_id=scene.gift.id),
                services.PrizeDraft(1, offer_id=scene.offer.id),
            ),
        }
        return services.LotteryDraft(**{**standard, **values})

    return make


@pytest.fixture
def announced(scene: SimpleNamespace, draft: Any) -> Callable[..., Lottery]:
    """`announced(…)` is a draw that stands in the group."""

    def make(**values: Any) -> Lottery:
        made = services.create(scene.group, draft(**values), f"key-{values}")
        return services.announce(made.id)

    return make


@pytest.fixture
def held(db: Any, clock: Any) -> Callable[[Lottery], Lottery]:
    """`held(lottery)` lets the clock end the entry and the job do the rest."""

    def hold(lottery: Lottery) -> Lottery:
        clock.at(lottery.closes_at)
        jobs.settle()
        db.session.expire_all()
        return queries.get_lottery(lottery.id)

    return hold


@pytest.fixture
def sale_draft(scene: SimpleNamespace) -> Callable[..., services.SaleDraft]:
    """`sale_draft(…)` is a mug for ¥60, three pieces, for two hours."""

    def make(**values: Any) -> services.SaleDraft:
        standard: dict[str, Any] = {
            "title": "马克杯快抢",
            "product_id": scene.mug.id,
            "price": 6_000,
            "ends_at": kernel_clock.now() + timedelta(hours=2),
            "stock": 3,
        }
        return services.SaleDraft(**{**standard, **values})

    return make


@pytest.fixture
def started(scene: SimpleNamespace, sale_draft: Any) -> Callable[..., queries.OnSale]:
    """`started(kind, …)` is a sale that stands in the group."""

    def make(kind: SaleKind = SaleKind.FLASH_SALE, **values: Any) -> queries.OnSale:
        made = services.create_sale(scene.group, kind, sale_draft(**values), f"key-{kind}-{values}")
        services.start_sale(made.id)
        return queries.on_sale(made.id)

    return make
