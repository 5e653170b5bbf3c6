"""Two events at once give one entry gift and one coupon; and the proof of the teeth.

Threads with committed rows, each with a connection of its own, meet at a barrier. The teeth: without the reserved key,
a benefit that is looked for first and given then is given twice.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import func, select

from kernel import clock
from kernel.db import db, transaction
from membership.benefits import services
from membership.benefits.models import BenefitGrant
from membership.coupons import services as coupons
from membership.coupons.models import Coupon, CouponKind, OfferState
from membership.gifts import services as gifts
from membership.gifts.models import GiftClaim, GiftKind
from membership.members.models import Member, Stage
from membership.tiers import services as tiers
from membership.tiers.rules import STANDARD
from tests.webshop import WebShop

pytestmark = pytest.mark.race
ROUNDS, AT_ONCE = 20, 4


@pytest.fixture(scope="module")
def app() -> Iterator[Flask]:
    with WebShop() as shop:
        assert shop.app is not None
        yield shop.app


@pytest.fixture(scope="module")
def giving(app: Flask) -> tuple[int, int]:
    """VIP2 gives a gift and a coupon: their ids."""
    with app.app_context(), transaction():
        gift = gifts.create(gifts.Draft(name="Box", kind=GiftKind.PHYSICAL, stock=None))
        offer = coupons.create(
            coupons.Draft(name="¥20", kind=CouponKind.AMOUNT, value=20_00, valid_days=30, per_member=None),
            OfferState.ACTIVE,
        )
        levels = tuple(
            replace(one, entry_gift_id=gift.id, entry_offer_id=offer.id, monthly_offer_id=offer.id)
            if one.rank == 2
            else one
            for one in STANDARD.levels
        )
        tiers.save_policy(replace(STANDARD, levels=levels))
        return gift.id, offer.id


def make_member(app: Flask) -> int:
    with app.app_context(), transaction():
        now = clock.now()
        member = Member(stage=Stage.MEMBER, stage_since=now, created_at=now, enrolled_at=now, rank=2)
        db.session.add(member)
        db.session.flush()
        return member.id


def at_once(app: Flask, work: Callable[[], object]) -> list[BaseException]:
    """Run the same work in several threads that set off together; what went wrong."""
    barrier, wrong = threading.Barrier(AT_ONCE), []

    def run() -> None:
        try:
            with app.app_context(), transaction():
                db.session.execute(select(1))
                barrier.wait(10)
                work()
        except BaseException as fault:
            wrong.append(fault)

    threads = [threading.Thread(target=run) for _ in range(AT_ONCE)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    return wrong


def given(app: Flask, member_id: int) -> tuple[int, int, int]:
    """Gifts, coupons and grants of a member."""
    with app.app_context():
        counts: list[Any] = [
            db.session.scalar(select(func.count()).select_from(model).where(model.member_id == member_id))
            for model in (GiftClaim, Coupon, BenefitGrant)
        ]
        return counts[0], counts[1], counts[2]


def test_inv_t6_events_at_once_give_one_entry_gift(app: Flask, giving: tuple[int, int]) -> None:
    for number in range(ROUNDS):
        member_id = make_member(app)
        wrong = at_once(app, lambda member_id=member_id: services.welcome(member_id, 0, 2))
        assert wrong == [], f"round {number}"
        # One gift, one coupon for reaching the tier and one for the month.
        assert given(app, member_id) == (1, 2, 3), f"round {number}"


def test_month_and_rise_at_once_give_one_coupon(app: Flask, giving: tuple[int, int]) -> None:
    people = [make_member(app) for _ in range(5)]

    def both() -> None:
        services.give_month_slice()
        for member_id in people:
            services.welcome(member_id, 1, 2)

    assert at_once(app, both) == []
    assert {given(app, member_id) for member_id in people} == {(1, 2, 3)}


def test_the_race_has_teeth(app: Flask, giving: tuple[int, int]) -> None:
    """Looked for first and given then, without the key: somebody is given a benefit twice."""
    _gift, offer_id = giving

    def look_and_give(member_id: int) -> None:
        had = db.session.scalar(select(func.count()).select_from(Coupon).where(Coupon.member_id == member_id))
        marks.wait(10)
        if not had:
            key = f"unkeyed:{member_id}:{threading.get_ident()}"
            coupons.grant_many(offer_id, [(member_id, key)], "tier")

    twice = 0
    for _ in range(5):
        marks = threading.Barrier(AT_ONCE)
        member_id = make_member(app)
        assert at_once(app, lambda member_id=member_id: look_and_give(member_id)) == []
        twice += given(app, member_id)[1] > 1
    assert twice == 5
