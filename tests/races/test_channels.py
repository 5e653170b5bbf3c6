"""Rates are exact whatever several workers take at once, and a call that comes many times at once acts once."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import func, select

from campaigns.channels import pace, services
from campaigns.channels.models import Account, ChannelKind, Reply
from kernel import clock
from kernel.db import db, transaction
from membership.members.models import Channel, Consent, Contact, Member, MemberIdentity
from membership.members.services import give_consent
from tests.committed import at_once, clear

pytestmark = pytest.mark.race
WORKERS, ROUNDS = 8, 25
PHONE = "+8610000000001"
GATEWAY = {
    "provider": "gateway",
    "signature": "青荷茶铺",
    "opt_out": "拒收请回复R",
    "url": "https://gateway.example/",
    "template": '{"to": "{to}", "text": "{text}"}',
}


@pytest.fixture
def floor(app: Flask) -> Iterator[Flask]:
    """Committed rows, which every table is rid of afterwards."""
    yield app
    clear(app)


def account_of(app: Flask, rates: pace.Rates) -> int:
    with app.app_context(), transaction():
        return services.save_account(ChannelKind.SMS, "SMS", GATEWAY, rates, "hush").id


def taken(app: Flask, account_id: int, rates: pace.Rates, take: Any) -> int:
    """What eight workers are granted who each ask for seven messages so many times."""
    granted: list[int] = []

    def work(number: int) -> None:
        for _round in range(ROUNDS):
            with transaction():
                granted.append(take((Account, account_id), rates, 7).granted)

    assert at_once(app, [partial(work, number) for number in range(WORKERS)]) == []
    return sum(granted)


def test_eight_workers_take_what_the_rates_allow_and_not_one_more(floor: Flask) -> None:
    rates = pace.Rates(None, None, None, 500)
    assert taken(floor, account_of(floor, rates), rates, services.take_tokens) == 500


def test_teeth_without_the_lock_they_take_more(floor: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    rates = pace.Rates(None, None, None, 500)
    monkeypatch.setattr("sqlalchemy.sql.selectable.GenerativeSelect.with_for_update", lambda self, **_how: self)
    assert taken(floor, account_of(floor, rates), rates, services.take_tokens) > 500


def test_check_b7_the_same_answer_fifty_times_at_once_acts_once(floor: Flask) -> None:
    account_id = account_of(floor, pace.Rates())
    with floor.app_context(), transaction():
        now = clock.now()
        member = Member(nickname="Lime", phone=PHONE, created_at=now, stage_since=now)
        db.session.add(member)
        db.session.flush()
        db.session.add(MemberIdentity(member_id=member.id, channel=Channel.PHONE, external_id=PHONE, created_at=now))
        db.session.flush()
        give_consent(member.id, Contact.SMS, source="portal")

    def call(number: int) -> None:
        for _again in range(7):
            with transaction():
                account = services.get_account(account_id)
                services.take_replies(account, [{"phone": PHONE, "text": "R", "id": "1"}], False)

    assert at_once(floor, [partial(call, number) for number in range(WORKERS)]) == []
    with floor.app_context():
        assert db.session.scalar(select(func.count()).select_from(Reply)) == 1
        assert db.session.scalar(select(func.count()).select_from(Consent).where(~Consent.granted)) == 1
