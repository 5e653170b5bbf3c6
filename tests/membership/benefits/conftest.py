"""Tiers that give something, and members who have one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date
from typing import Any

import pytest
from flask import Flask, g
from flask.testing import FlaskClient

from kernel import visitors
from kernel.db import commit
from membership.coupons import services as coupons
from membership.coupons.models import CouponKind, OfferState
from membership.gifts import services as gifts
from membership.gifts.models import Gift, GiftKind
from membership.members.models import Member, Stage
from membership.tiers import services as tiers
from membership.tiers.rules import STANDARD
from tests.conftest import NOON, settle


@pytest.fixture(autouse=True)
def noon(clock: Any) -> Any:
    return clock


@pytest.fixture
def box(db: Any) -> Gift:
    return gifts.create(gifts.Draft(name="Box", kind=GiftKind.PHYSICAL, stock=50, value=30_00, claim_days=30))


@pytest.fixture
def make_offer(db: Any) -> Callable[..., int]:
    def make(name: str = "¥20", **values: Any) -> int:
        terms = {"value": 20_00, "valid_days": 31, "per_member": None, "stock": 100} | values
        return coupons.create(coupons.Draft(name=name, kind=CouponKind.AMOUNT, **terms), OfferState.ACTIVE).id

    return make


@pytest.fixture
def give_levels(db: Any) -> Callable[..., Any]:
    """`give_levels({2: {"entry_gift_id": 7}})` puts a policy in force that gives this."""

    def make(wanted: dict[int, dict[str, Any]], **changes: Any) -> Any:
        levels = tuple(replace(level, **wanted.get(level.rank, {})) for level in STANDARD.levels)
        return tiers.save_policy(replace(STANDARD, levels=levels, **changes))

    return make


@pytest.fixture
def make_person(db: Any) -> Callable[..., Member]:
    def make(rank: int = 0, enrolled: bool = True, birthday: date | None = None, **values: Any) -> Member:
        member = Member(
            stage=Stage.MEMBER, stage_since=NOON, created_at=NOON, birthday=birthday,
            enrolled_at=NOON if enrolled else None, **values,
        )  # fmt: skip
        db.session.add(member)
        db.session.flush()
        if rank:
            tiers.set_manually(member.id, rank, "test")
        return member

    return make


@pytest.fixture
def member_client(app: Flask) -> Callable[[int], FlaskClient]:
    """`member_client(member.id)`: a browser that is bound to a member."""

    def make(member_id: int) -> FlaskClient:
        settle()
        with app.test_request_context():
            visitors.bind(member_id)
            token, name = g.visitor_cookie, visitors.cookie_name(app.extensions["settings"].site_url)
            commit()
        browser = app.test_client()
        browser.set_cookie(name, token)
        return browser

    return make
