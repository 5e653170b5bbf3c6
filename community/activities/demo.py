"""Draws and sales of the demo shop: one draw that was held, one that is open, a flash sale and a group price that run."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import select

from community.groups.models import Group, Seat, SeatState
from kernel import clock
from kernel.db import db
from membership.coupons import services as coupons
from membership.coupons.models import CouponKind, OfferState
from membership.demo import share_of
from membership.gifts import queries as gifts
from membership.products.models import Product

from . import queries, services
from .models import SaleKind


def _people(group: Group, share: float, why: str) -> list[int]:
    seated = db.session.scalars(
        select(Seat.member_id).where(Seat.group_id == group.id, Seat.state == SeatState.TAKEN).order_by(Seat.member_id)
    )
    return [member_id for member_id in seated if share_of(member_id, why) < share]


def give(manager_id: int | None) -> None:
    """Make what runs and what has been in the first group and in the flash group."""
    groups = list(db.session.scalars(select(Group).order_by(Group.id)))
    regular, flash = groups[0], next((group for group in groups if group.closes_at is not None), groups[0])
    gift_id = gifts.givable()[0][0].id
    _hold_one(regular, gift_id, manager_id)
    open_one = services.create(
        regular,
        services.LotteryDraft(
            title="周末大抽奖",
            closes_at=clock.at(clock.today() + timedelta(days=2), 20),
            prizes=(services.PrizeDraft(3, gift_id=gift_id), services.PrizeDraft(10, offer_id=_offer_id())),
            note="点一下就参加。周末晚上八点自动开奖，结果人人可以验证。",
        ),
        "demo-lottery-open",
        manager_id,
    )
    services.announce(open_one.id)
    for member_id in _people(regular, 0.4, "takes part"):
        services.enter(open_one, member_id)
    _sell(regular, flash, manager_id)


def _offer_id() -> int:
    return coupons.create(
        coupons.Draft(
            name="抽奖专属满 99 减 30", kind=CouponKind.AMOUNT, value=3_000, min_spend=9_900, valid_days=14, stock=200
        ),
        OfferState.ACTIVE,
    ).id


def _hold_one(group: Group, gift_id: int, manager_id: int | None) -> None:
    """A draw of the day before yesterday, held at its time."""
    closes_at = clock.at(clock.today() - timedelta(days=1), 20)
    with clock.frozen(closes_at - timedelta(days=2)) as move:
        held = services.create(
            group,
            services.LotteryDraft(
                title="周三老友抽奖",
                closes_at=closes_at,
                prizes=(services.PrizeDraft(2, gift_id=gift_id),),
                note="老规矩：一人一号，八点开奖。",
            ),
            "demo-lottery-held",
            manager_id,
        )
        services.announce(held.id)
        for member_id in _people(group, 0.3, "took part"):
            services.enter(held, member_id)
        move(timedelta(days=2))
        services.freeze(held.id)
        services.draw(held.id)
        for entry_id in services.owed():
            services.hand_over(entry_id)


def _sell(regular: Group, flash: Group, manager_id: int | None) -> None:
    products = list(
        db.session.scalars(
            select(Product)
            .where(Product.list_price >= 3_000)
            .order_by(Product.picture.is_(None), Product.list_price, Product.id)
            .limit(2)
        )
    )
    if len(products) < 2:
        return
    mug, tray = products
    sales = (
        (flash, SaleKind.FLASH_SALE, mug, 600, 24, 0.3, "快闪价，抢完为止", timedelta(days=2)),
        (regular, SaleKind.GROUP_PRICE, tray, 700, None, 0.08, "老友群专享，群里才有", timedelta(days=10)),
    )
    for group, kind, product, share, stock, keen, note, span in sales:
        draft = services.SaleDraft(
            title=(product.title or product.sku)[:40],
            product_id=product.id,
            price=(product.list_price or 0) * share // 1000,
            ends_at=min(clock.now() + span, group.closes_at or clock.now() + span),
            stock=stock,
            note=note,
        )
        sale = services.create_sale(group, kind, draft, f"demo-{kind}", manager_id)
        services.start_sale(sale.id, draft.title)
        people = _people(group, keen, f"takes {kind}")
        if stock is not None:
            people = people[: stock * 3 // 4]
        coupons.grant_many(
            sale.offer_id, [(member_id, f"demo:{kind}:{member_id}") for member_id in people], queries.source_of(sale)
        )
