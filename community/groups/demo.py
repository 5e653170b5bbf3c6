"""What the demo shop's groups have behind them: a flash group of last month with its result, a live group, friends, a drift."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import select, text

from kernel import clock
from kernel.db import db
from membership.coupons import services as coupons
from membership.coupons.models import CouponKind, OfferState
from membership.demo import members_by_number, share_of
from membership.members.models import Member
from membership.orders import queries as orders
from membership.orders.models import Order

from . import rules, services
from .models import Drift, Group, GroupKind, GroupState, Seat, SeatState

# The flash group ran so many days, so long ago.
DAYS, AGO = 3, 24


def give_past(manager_id: int | None) -> None:
    """Make what has been: everything through the services, then moved back in time."""
    groups = list(db.session.scalars(select(Group).order_by(Group.id)))
    regular = next(group for group in groups if group.kind is GroupKind.REGULAR)
    vip = next(group for group in groups if group.kind is GroupKind.VIP)
    services.set_reward(regular, rules.Reward("points", 0, 50, "stay", 7, 10))
    _make_last_flash(regular, manager_id)
    _make_live(manager_id)
    _let_some_drift(vip, regular)


def _make_last_flash(regular: Group, manager_id: int | None) -> None:
    now = clock.now()
    begun = clock.at(clock.today() - timedelta(days=AGO), 10)
    flash = services.create(
        GroupKind.FLASH,
        services.GroupDraft(
            name="上月开仓快闪",
            intro="三天开仓：尾货、拆箱、群内专享券，散群后去老友群。",
            welcome_post="先领券，再看第一条。",
            capacity=120,
            seats_each=40,
            closes_at=now + timedelta(days=1),
            successor_id=regular.id,
            owner_id=manager_id,
            cover="demo/shelf.webp",
        ),
    )
    ways = [
        services.add_link(flash, "包裹卡片", "包裹卡片", manager_id),
        services.add_link(flash, "直播间", "直播间"),
        services.add_link(flash, "老客短信", "老客短信"),
    ]
    services.change_state(flash, GroupState.OPEN)
    offer = coupons.create(
        coupons.Draft(
            name="开仓群专享 ¥15", kind=CouponKind.AMOUNT, value=1_500, min_spend=9_900, valid_days=40, group_id=flash.id, stock=200
        ),
        OfferState.ACTIVE,
    )  # fmt: skip
    # Those whom the shop's real orders of those days belong to came for a reason; the others by chance.
    bought = set(
        db.session.scalars(
            select(Order.member_id)
            .where(
                Order.placed_at >= begun + timedelta(hours=12),
                Order.placed_at < begun + timedelta(days=DAYS),
                orders.counts(),
            )
            .limit(40)
        )
    )
    people = [
        m for number, m in sorted(members_by_number().items()) if m in bought or share_of(number, "last flash") < 0.08
    ]
    people = people[:110]
    for number, link in enumerate(ways):
        came = people[number::3]
        for member_id in came:
            services.join(flash.id, member_id, link.source, staff_id=link.staff_id, link_id=link.id, together=True)
        db.session.execute(
            text("UPDATE join_link SET opened = :opened WHERE id = :id"),
            {"opened": len(came) * (2 + number), "id": link.id},
        )
    coupons.grant_many(
        offer.id, [(m, f"demo:{flash.id}:{m}") for m in people if share_of(m, "coupon") < 0.6], f"group:{flash.id}"
    )
    for member_id in people[5::17]:
        services.leave(flash.id, member_id)
    services.change_state(flash, GroupState.CLOSED)
    values = {"id": flash.id, "begun": begun, "over": begun + timedelta(days=DAYS)}
    for statement in (
        'UPDATE "group" SET created_at = :begun, opened_at = :begun, opens_at = :begun, closes_at = :over, closed_at = :over, '
        "template = true WHERE id = :id",
        "UPDATE seat SET held_at = :begun, joined_at = :begun + (id % 60) * interval '11 minutes', "
        "ended_at = CASE WHEN ended_at IS NULL THEN NULL ELSE :over END WHERE group_id = :id",
    ):
        db.session.execute(text(statement), values)
    db.session.expire_all()
    coupons.set_state(offer.id, OfferState.ENDED)
    still = set(
        db.session.scalars(select(Seat.member_id).where(Seat.group_id == flash.id, Seat.state == SeatState.TAKEN))
    )
    for member_id in [found for found in people[1::4] if found in still]:
        services.move_on(db.session.get_one(Group, flash.id), db.session.get_one(Member, member_id))


def _make_live(manager_id: int | None) -> None:
    live = services.create(
        GroupKind.LIVE,
        services.GroupDraft(
            name="周三开箱直播群",
            intro="每周三晚八点开箱：先看真货，再决定要不要。",
            welcome_post="直播前十分钟会提醒您，错过了有回放。",
            capacity=300,
            seats_each=100,
            owner_id=manager_id,
            cover="demo/parcels.webp",
        ),
    )
    services.change_state(live, GroupState.OPEN)
    people = [m for number, m in sorted(members_by_number().items()) if share_of(number, "live") < 0.08]
    services.join_many(live.id, people, source="直播间", staff_id=manager_id)
    last = clock.at(clock.today() - timedelta(days=5), 20)
    services.save_session(
        live,
        None,
        "秋茶开箱",
        last,
        last + timedelta(hours=1),
        "https://shop.example/live",
        "https://shop.example/replay/1",
    )
    start = clock.at(clock.today() + timedelta(days=2), 20)
    session = services.save_session(
        live, None, "搪瓷杯专场", start, start + timedelta(hours=1), "https://shop.example/live"
    )
    offer = coupons.create(
        coupons.Draft(
            name="直播专享 ¥10", kind=CouponKind.AMOUNT, value=1_000, min_spend=5_900, valid_days=3, group_id=live.id, stock=50
        ),
        OfferState.ACTIVE,
    )  # fmt: skip
    services.add_drop(session, "第一波专享券", "拼手速，50 张。", "", offer.id, 10)
    services.add_drop(session, "今晚的清单", "边看边挑。", "https://shop.example/live/list", None, 0)


def _let_some_drift(vip: Group, regular: Group) -> None:
    """Five people who were VIP3 when they joined and are not now; two of them have had their time."""
    vip.successor_id = regular.id
    people = list(
        db.session.scalars(
            select(Member.id).where(Member.rank == 2, Member.erased_at.is_(None)).order_by(Member.spend.desc()).limit(5)
        )
    )
    services.join_many(vip.id, people, source="call")
    services.sweep(vip.id)
    first = list(db.session.scalars(select(Drift.id).where(Drift.group_id == vip.id).order_by(Drift.id).limit(2)))
    for drift_id in first:
        db.session.execute(
            text("UPDATE drift SET found_at = :found, grace_until = :until WHERE id = :id"),
            {"id": drift_id, "found": clock.now() - timedelta(days=16), "until": clock.now() - timedelta(days=2)},
        )
    db.session.expire_all()
