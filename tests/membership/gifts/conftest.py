"""Gifts, members and phones for the tests of gifts."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from membership.gifts import services
from membership.gifts.models import Gift, GiftClaim, GiftKind, GiftState
from membership.members import services as members
from membership.members.models import Channel, Member
from tests.conftest import bind, english

ADDRESS = {"recipient": "青柠", "phone": "126 0000 1234", "address": "杭州市西湖区样例路一号三楼"}


def state_of(claim: GiftClaim) -> GiftState:
    """The state of somebody's gift as it is stored now."""
    return services.get_claim(claim.id, lock=True).state


def words(page: Any) -> str:
    """What a page says, without its tags."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page.get_data(as_text=True)))


@pytest.fixture
def make_member(db: Any) -> Callable[..., Member]:
    """`make_member(name=…, phone="+86126…")` adds a person."""
    made = 0

    def make(name: str = "", phone: str = "", **columns: Any) -> Member:
        nonlocal made
        made += 1
        identities = [(Channel.SHOP, f"buyer-{made}")]
        identities += [(Channel.PHONE, phone)] if phone else []
        member, _ = members.find_or_make(identities, name or f"青柠{made}", source="shop")
        for key, value in columns.items():
            setattr(member, key, value)
        db.session.flush()
        return member

    return make


@pytest.fixture
def make_gift(db: Any) -> Callable[..., Gift]:
    """`make_gift(kind, stock=3)` puts a gift into the catalogue."""

    def make(kind: GiftKind = GiftKind.PHYSICAL, **changes: Any) -> Gift:
        values: dict[str, Any] = {
            "name": "茶样三泡",
            "stock": 10,
            "value": 880 * (kind == GiftKind.RED_PACKET),
            **changes,
        }
        return services.create(services.Draft(kind=kind, **values))

    return make


@pytest.fixture
def give(make_member: Callable[..., Member], make_gift: Callable[..., Gift]) -> Callable[..., GiftClaim]:
    """`give(state=GiftState.QUEUED, gift=…, member=…)`: somebody's gift that has come as far as that."""
    made = 0

    def make(state: GiftState = GiftState.OFFERED, gift: Gift | None = None, member: Member | None = None) -> GiftClaim:
        nonlocal made
        made += 1
        gift, member = gift or make_gift(), member or make_member()
        claim = services.offer_gift(gift.id, member.id, f"welcome:{made}")
        assert claim is not None
        if state != GiftState.OFFERED:
            services.claim(claim.id, member.id)
        if state in (GiftState.QUEUED, GiftState.SHIPPED, GiftState.FAILED, GiftState.RETURNED):
            services.give_address(services.get_claim(claim.id), **ADDRESS)
        if state in (GiftState.SHIPPED, GiftState.RETURNED):
            services.ship(claim.id, "样板快递", f"DEMO{made:04}")
        if state == GiftState.FAILED:
            services.fail(claim.id, "无人接听")
        if state == GiftState.RETURNED:
            services.come_back(claim.id, "查无此人")
        assert services.get_claim(claim.id, lock=True).state == state
        return claim

    return make


@pytest.fixture
def phone(app: Flask, db: Any) -> Callable[..., FlaskClient]:
    """`phone()` is nobody's; `phone(member, identified=True)` is bound to a member. It speaks English."""

    def make(member: Member | None = None, identified: bool = False) -> FlaskClient:
        browser = english(app.test_client())
        return browser if member is None else bind(browser, member.id, identified)

    return make


@pytest.fixture
def contents(db: Any) -> Callable[[], Any]:
    """`contents()` is what the tables of gifts, counters, events and browsers hold."""
    from sqlalchemy import text

    def read() -> Any:
        db.session.flush()
        return [
            db.session.execute(text(f"SELECT * FROM {table} ORDER BY 1, 2, 3")).all()
            for table in ("gift", "gift_claim", "limit_counter", "event", "visitor_session", "audit_entry")
        ]

    return read
