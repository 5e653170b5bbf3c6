"""The contact budget is exact whatever eight workers do at once, and none of them waits for another in a circle."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import date, timedelta
from functools import partial
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import func, insert, select

from campaigns.channels import services as channels
from campaigns.channels.models import ContactLedger, InboxMessage
from campaigns.channels.rules import Budget
from campaigns.pushes import drain, services
from campaigns.pushes.models import Delivery, DeliveryState, Run, RunState, Slice
from kernel import clock, shop
from kernel.db import db, transaction
from membership.members.models import Consent, Contact, Member, Purpose
from tests.committed import at_once

pytestmark = pytest.mark.race
WORKERS = 8


def eight(work: Callable[[int], Any]) -> list[Callable[[], Any]]:
    """The same work for eight workers, by their numbers."""
    return [partial(work, number) for number in range(WORKERS)]


DAYS = [date(2026, 3, 30), date(2026, 3, 31), date(2026, 4, 1)]


def claim_at_random(number: int) -> None:
    """Many overlapping claims in every order, over midnight and the end of a month, some of them given back."""
    chance = random.Random(number)
    for _ in range(40):
        members = chance.sample(range(1, 41), 15)
        day = chance.choice(DAYS)
        with transaction():
            found = channels.reserve_contacts(members, day, Budget(per_day=2, per_month=3))
        if chance.random() < 0.3:
            with transaction():
                channels.release_contacts(found.granted)


def test_inv_d3_caps_hold_under_eight_workers(app: Flask, committed: Flask) -> None:
    assert at_once(app, eight(claim_at_random)) == []
    with app.app_context():
        rows = db.session.scalars(select(ContactLedger)).all()
    assert rows
    assert max(row.total for row in rows) <= 3
    assert max(row.day_total for row in rows) <= 2
    # The budget is used to its end: nobody is refused while there was room.
    assert max(row.total for row in rows) == 3


def test_teeth_without_the_condition_caps_are_passed(
    app: Flask, committed: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    unguarded = channels._new.on_conflict_do_update(
        index_elements=[ContactLedger.member_id, ContactLedger.month_on], set_={"total": ContactLedger.total + 1}
    ).returning(ContactLedger.member_id, ContactLedger.day_on)
    monkeypatch.setattr(channels, "_RESERVE", unguarded)
    at_once(app, eight(claim_at_random))
    with app.app_context():
        assert db.session.scalar(select(func.max(ContactLedger.total))) > 3


def test_inv_d3_four_pushes_at_once_write_to_each_member_once(app: Flask, committed: Flask) -> None:
    with app.app_context(), transaction():
        now = clock.now()
        ids = db.session.scalars(
            insert(Member).returning(Member.id),
            [{"nickname": f"P{i}", "created_at": now, "stage_since": now} for i in range(600)],
        ).all()
        said = {
            "channel": Contact.INBOX,
            "purpose": Purpose.MARKETING,
            "granted": True,
            "source": "test",
            "text_version": "1",
        }
        db.session.execute(insert(Consent), [{"member_id": i, "at": now, **said} for i in ids])
        shop.put("holdout.percent", 0)
        account = channels.inbox_account()
        runs = []
        for name in "abcd":
            _push, run = services.draft(
                None, name=name, account_id=account.id, audience={"rules": []}, subject=name, body=name
            )
            services.schedule(run)
            services.start(run)
            assert services.fan_out(run.id).done
            runs.append(run.id)

    def work(number: int) -> None:
        for _ in range(3):
            drain.drain(runs[number % 4], budget_seconds=20)

    assert at_once(app, eight(work)) == []
    with app.app_context():
        per_member = dict(
            db.session.execute(select(InboxMessage.member_id, func.count()).group_by(InboxMessage.member_id)).all()
        )
        states = dict(db.session.execute(select(Delivery.state, func.count()).group_by(Delivery.state)).all())
        totals = db.session.execute(
            select(func.sum(Slice.accepted), func.sum(Slice.unsent), func.sum(Slice.total))
        ).one()
        ended = [services.finish(run_id) for run_id in runs]
        finished = db.session.scalars(select(Run.state)).all()
        db.session.rollback()
    assert per_member == dict.fromkeys(ids, 1)
    assert states == {DeliveryState.ACCEPTED: 600, DeliveryState.CAPPED: 1_800}
    assert tuple(totals) == (600, 1_800, 2_400)
    assert ended == [True] * 4
    assert set(finished) == {RunState.COMPLETED}


def test_a_lost_lease_and_its_heir_do_not_deadlock(app: Flask, committed: Flask) -> None:
    """Two claims over the same members in opposite slices, with releases in between."""

    def work(number: int) -> None:
        members = list(range(1, 200)) if number % 2 else list(range(199, 0, -1))
        for step in range(10):
            day = DAYS[0] + timedelta(days=step % 2)
            with transaction():
                found = channels.reserve_contacts(members, day, Budget(None, None))
            assert found.refused == {}
            with transaction():
                channels.release_contacts(found.granted)

    assert at_once(app, eight(work)) == []
    with app.app_context():
        assert db.session.scalar(select(func.sum(ContactLedger.total))) == 0
