"""The contact budget is exact whatever eight workers do at once, and none of them waits for another in a circle."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from functools import partial
from importlib import import_module
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import and_, func, insert, select, true

from campaigns.channels import rules
from campaigns.channels import services as channels
from campaigns.channels.models import ContactClass, ContactCount, InboxMessage
from campaigns.channels.rules import Budget, Caps
from campaigns.pushes import drain, services
from campaigns.pushes.models import Delivery, DeliveryState, Run, RunState, Slice
from kernel import clock, shop
from kernel.db import db, transaction
from membership.members.models import Consent, Contact, Member, Purpose
from tests.committed import at_once

pytestmark = pytest.mark.race
# The package has a function of the same name.
budget = import_module("campaigns.channels.services.budget")
WORKERS = 8


def eight(work: Callable[[int], Any]) -> list[Callable[[], Any]]:
    """The same work for eight workers, by their numbers."""
    return [partial(work, number) for number in range(WORKERS)]


# One week that lies in two months.
DAYS = [date(2026, 3, 30), date(2026, 3, 31), date(2026, 4, 1)]
CAPS = Budget(2, 3, 4, {ContactClass.BROADCAST: Caps(1, 2, None)}, {4: Caps(3, 4, 5)})
RANKS = {member: member % 5 for member in range(1, 41)}
CLASSES = list(budget.CLASSES)


@dataclass
class Held:
    """What workers were granted and did not give back, by their own word."""

    contacts: Counter[tuple[int, date, ContactClass]] = field(default_factory=Counter)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, members: Mapping[int, date], contact_class: ContactClass, step: int) -> None:
        with self.lock:
            for member, day in members.items():
                self.contacts[member, day, contact_class] += step

    def passed(self) -> list[tuple[str, int]]:
        """Every cap that was passed, with the member."""
        sums: Counter[tuple[str, int, object, int]] = Counter()
        for (member, day, contact_class), held in self.contacts.items():
            caps = CAPS.caps_of(RANKS[member], day)
            starts = (day, rules.week_of(day), rules.month_of(day))
            for window, start, cap in zip(rules.WINDOWS, starts, caps, strict=True):
                sums[window, member, start, 10**9 if cap is None else cap] += held
            if contact_class is ContactClass.BROADCAST:
                sums["class_day", member, day, 1] += held
                sums["class_week", member, rules.week_of(day), 2] += held
        return [(window, member) for (window, member, _start, cap), held in sums.items() if held > cap]


def claiming(held: Held) -> Callable[[int], None]:
    """Many overlapping claims in every order, over midnight and the end of a month, some of them given back."""

    def claim_at_random(number: int) -> None:
        chance = random.Random(number)
        for _ in range(40):
            members = chance.sample(range(1, 41), 15)
            day, contact_class = chance.choice(DAYS), chance.choice(CLASSES)
            with transaction():
                found = channels.reserve_contacts({m: RANKS[m] for m in members}, day, CAPS, contact_class)
            held.note(found.granted, contact_class, 1)
            if chance.random() < 0.3:
                with transaction():
                    channels.release_contacts(found.granted, contact_class)
                held.note(found.granted, contact_class, -1)

    return claim_at_random


def test_inv_d3_caps_hold_under_eight_workers(app: Flask, committed: Flask) -> None:
    held = Held()
    assert at_once(app, eight(claiming(held))) == []
    assert held.passed() == []
    with app.app_context():
        rows = db.session.scalars(select(ContactCount)).all()
    assert len(rows) == 40
    # The budget is used to its end: nobody is refused while there was room.
    assert max(row.week_total for row in rows if RANKS[row.member_id] != 4) == 3
    assert max(row.week_total for row in rows if RANKS[row.member_id] == 4) == 4
    assert max(row.week_broadcast for row in rows) == 2


@pytest.mark.parametrize("guard", ["all", "class"])
def test_teeth_without_the_condition_caps_are_passed(
    app: Flask, committed: Flask, monkeypatch: pytest.MonkeyPatch, guard: str
) -> None:
    def unguarded(contact_class: ContactClass) -> Any:
        statement = guarded(contact_class)
        clause = statement._post_values_clause
        kept = list(clause.update_whereclause.clauses)
        clause.update_whereclause = true() if guard == "all" else and_(*kept[:3])
        return statement

    guarded = budget.reserve_statement.__wrapped__
    monkeypatch.setattr(budget, "reserve_statement", unguarded)
    held = Held()
    at_once(app, eight(claiming(held)))
    windows = {window for window, _member in held.passed()}
    assert windows >= ({"day", "week"} if guard == "all" else {"class_day", "class_week"})


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
                found = channels.reserve_contacts(dict.fromkeys(members, 0), day, Budget(None, None, None))
            assert found.refused == {}
            with transaction():
                channels.release_contacts(found.granted)

    assert at_once(app, eight(work)) == []
    with app.app_context():
        assert db.session.scalar(select(func.sum(ContactCount.month_total))) == 0
