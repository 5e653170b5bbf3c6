"""People, consents and pushes for the tests of this floor."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask

from campaigns.channels import services as channels
from campaigns.channels.models import Account
from campaigns.pushes import services as pushes
from campaigns.pushes.models import Push, Run
from kernel import clock as kernel_clock
from membership.coupons.models import CouponKind, Offer, OfferState
from membership.coupons.services import offers
from membership.members.models import Consent, Contact, Member, Purpose
from membership.orders.models import Order, OrderLine, OrderState
from membership.products.models import Product


@pytest.fixture(autouse=True)
def one_lane(app: Flask) -> Iterator[None]:
    """A test's one connection cannot be used by two threads."""
    app.config["SEND_LANES"] = 1
    yield
    del app.config["SEND_LANES"]


@pytest.fixture
def make_member(db: Any) -> Callable[..., Member]:
    """`make_member(nickname, consents=(Contact.INBOX,), **fields)` adds a person who agreed to these channels."""

    def make(
        nickname: str = "Lime", consents: tuple[Contact, ...] = (Contact.INBOX, Contact.EMAIL), **fields: Any
    ) -> Member:
        now = kernel_clock.now()
        person = Member(nickname=nickname, created_at=now, stage_since=now, **fields)
        db.session.add(person)
        db.session.flush()
        for channel in consents:
            agree(db, person.id, channel, True)
        db.session.flush()
        return person

    return make


def agree(db: Any, member_id: int, channel: Contact, granted: bool) -> None:
    """Write a consent row."""
    db.session.add(
        Consent(
            member_id=member_id,
            channel=channel,
            purpose=Purpose.MARKETING,
            granted=granted,
            source="test",
            text_version="1",
            at=kernel_clock.now(),
        )
    )
    db.session.flush()


@pytest.fixture
def inbox(db: Any) -> Account:
    return channels.inbox_account()


@pytest.fixture
def make_push(db: Any, inbox: Account) -> Callable[..., tuple[Push, Run]]:
    """`make_push(**fields)` drafts a push to everybody over the inbox."""

    def make(**fields: Any) -> tuple[Push, Run]:
        values: dict[str, Any] = {
            "name": "Time for tea",
            "account_id": inbox.id,
            "audience": {"rules": []},
            "subject": "Hello {nickname}",
            "body": "Your tea may be running low.",
        }
        return pushes.draft(None, **(values | fields))

    return make


@pytest.fixture
def make_offer(db: Any) -> Callable[..., Offer]:
    """`make_offer(stock=None)` is a running offer of ¥20 off."""

    def make(stock: int | None = None) -> Offer:
        draft = offers.Draft(name="¥20 off", kind=CouponKind.AMOUNT, value=2_000, stock=stock, valid_days=14)
        return offers.create(draft, OfferState.ACTIVE)

    return make


@pytest.fixture
def make_order(db: Any) -> Callable[..., Order]:
    """`make_order(member, days_ago=1, amount=1_000, sku=None, …)` writes an order that was paid, with a line if a SKU is given."""
    numbers = iter(range(1, 10_000))

    def make(
        member: Member,
        days_ago: float = 1,
        amount: int = 1_000,
        sku: str | None = None,
        title: str = "",
        refunded_quantity: int = 0,
        **fields: Any,
    ) -> Order:
        at = kernel_clock.now() - timedelta(days=days_ago)
        values: dict[str, Any] = {
            "source": "shop",
            "external_id": f"N{next(numbers)}",
            "member_id": member.id,
            "state": OrderState.COMPLETED,
            "placed_at": at,
            "paid_at": at,
            "paid_amount": amount,
            "version_at": at,
            "version_mark": "",
            "created_at": at,
        }
        order = Order(**(values | fields))
        db.session.add(order)
        db.session.flush()
        if sku is not None:
            product = db.session.query(Product).filter_by(sku=sku).one_or_none()
            if product is None:
                product = Product(source="shop", sku=sku, title=title, created_at=at)
                db.session.add(product)
                db.session.flush()
            line = {"sku": sku, "title": title, "quantity": 1, "unit_price": amount, "amount": amount}
            db.session.add(
                OrderLine(
                    order_id=order.id, position=1, product_id=product.id, refunded_quantity=refunded_quantity, **line
                )
            )
            db.session.flush()
        return order

    return make
