"""People, consents and pushes for the tests of this floor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from campaigns.channels import services as channels
from campaigns.channels.models import Account
from campaigns.pushes import services as pushes
from campaigns.pushes.models import Push, Run
from kernel import clock as kernel_clock
from membership.coupons.models import CouponKind, Offer, OfferState
from membership.coupons.services import offers
from membership.members.models import Consent, Contact, Member, Purpose


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
