"""The ledger against a small model: orders, refunds, spending, returns, awards, time and merges in every order that chance finds.

The model holds a member's points as a list of (points, usable from, until, order) and knows nothing of accounts, entries or
transactions. After each step the product's balances are the model's, and the books add up (P1–P5, I25–I34).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from flask import g
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import text

from kernel import clock
from kernel.db import db as database
from membership.members.models import Member
from membership.orders.models import Order, OrderState
from membership.points import queries, rules, services
from membership.points.models import Clawback, Kind, Late, Rounding

from .conftest import check_books


@dataclass
class ModelLot:
    left: int
    order: int | None
    usable_from: datetime | None
    until: datetime | None
    days: int | None

    def state(self, now: datetime) -> str:
        if self.usable_from is None or self.usable_from > now:
            return "pending"
        return "over" if self.until is not None and self.until <= now else "usable"


@dataclass
class Person:
    lots: list[ModelLot] = field(default_factory=list)
    shortfall: int = 0
    overdrawn: int = 0
    spendings: list[tuple[Any, list[tuple[ModelLot, int]]]] = field(default_factory=list)


ENDLESS = datetime.max


def soonest(lots: list[ModelLot]) -> list[ModelLot]:
    return sorted(lots, key=lambda lot: (lot.until.replace(tzinfo=None) if lot.until else ENDLESS, id_of[id(lot)]))


# The order in which lots came to be decides between equal ends.
id_of: dict[int, int] = {}


class Points(RuleBasedStateMachine):
    make_clock: Any = None

    def __init__(self) -> None:
        super().__init__()
        self.outer = database.session.begin_nested()
        self.start = clock.now()
        g.pop("points_program", None)
        id_of.clear()

    def teardown(self) -> None:
        self.outer.rollback()
        database.session.expire_all()
        g.pop("points_program", None)
        self.make_clock.at(self.start)

    @initialize(
        policy=st.sampled_from(Clawback),
        late=st.sampled_from(Late),
        rate=st.sampled_from([1000, 700, 2500]),
        days=st.sampled_from([None, 3, 30]),
    )
    def begin(self, policy: Clawback, late: Late, rate: int, days: int | None) -> None:
        days = None if policy is Clawback.ALLOW_NEGATIVE else days
        self.program = services.save_program(
            replace(
                rules.STANDARD,
                enabled=True,
                rate=rate,
                clawback=policy,
                late=late,
                lot_days=days,
                reopen_days=2,
                rounding=Rounding.DOWN,
                effective_from=clock.now() - timedelta(days=400),
            )
        )
        now = clock.now()
        rows = [Member(stage_since=now, created_at=now) for _ in range(2)]
        database.session.add_all(rows)
        database.session.flush()
        self.members = [row.id for row in rows]
        self.people = [Person(), Person()]
        self.orders: list[Order] = []
        self.held: dict[int, int] = {}
        self.owner: dict[int, int] = {}
        self.number = 0
        # Everybody begins with something to spend and something to refund.
        for who in (0, 1):
            self.order_comes(who, 50_00, 0, 0, "completed", many=False)
            self.award(who, 20, 4)

    # ── The model ───────────────────────────────────────────────────────────────────────────────────────────────────

    def lot(self, person: Person, points: int, order: int | None, at: datetime | None) -> ModelLot:
        usable_from = max(at, clock.now()) if at is not None else None
        made = ModelLot(
            points, order, usable_from, rules.expires_at(usable_from, self.program.lot_days), self.program.lot_days
        )
        id_of[id(made)] = len(id_of)
        person.lots.append(made)
        return made

    def lapse(self) -> None:
        now = clock.now()
        for person in self.people:
            for lot in person.lots:
                if lot.state(now) == "over":
                    lot.left = 0
            self.pay_off(person)

    def usable(self, person: Person) -> list[ModelLot]:
        now = clock.now()
        return soonest([lot for lot in person.lots if lot.left and lot.state(now) == "usable"])

    def pay_off(self, person: Person) -> None:
        for lot in self.usable(person):
            part = min(lot.left, person.overdrawn)
            lot.left -= part
            person.overdrawn -= part

    def collect(self, person: Person, lots: list[ModelLot], most: int) -> None:
        owed = min(person.shortfall, most)
        for lot in soonest(lots):
            part = min(lot.left, owed)
            lot.left -= part
            owed -= part
            person.shortfall -= part

    def claw_back(self, person: Person, order: int, points: int) -> None:
        now = clock.now()
        own = [lot for lot in person.lots if lot.order == order and lot.left]
        sources = soonest([lot for lot in own if lot.state(now) == "pending"])
        if self.program.clawback is not Clawback.ONLY_PENDING:
            sources += soonest([lot for lot in own if lot.state(now) == "usable"])
            sources += [lot for lot in self.usable(person) if lot.order != order]
        for lot in sources:
            part = min(lot.left, points)
            lot.left -= part
            points -= part
        if self.program.clawback is Clawback.ALLOW_NEGATIVE:
            person.overdrawn += points
        else:
            person.shortfall += points

    def follow(self, order: Order) -> None:
        """What the order's owner should have after it has changed."""
        self.lapse()
        now, place = clock.now(), order.id
        arrived = order.state in (OrderState.DELIVERED, OrderState.COMPLETED)
        ends = [order.delivered_at + timedelta(days=7)] if order.delivered_at else []
        ends += [order.completed_at] if order.state is OrderState.COMPLETED and order.completed_at else []
        at = min(ends) if arrived and ends else None
        left = max(order.paid_amount - order.postage - order.refunded_amount, 0)
        counts = order.state is not OrderState.CLOSED and left > 0
        target = left * self.program.rate // 100_000 if counts else 0
        owner = self.members.index(order.member_id)
        before, had = self.owner.get(place, owner), self.held.get(place, 0)
        if before != owner and had:
            self.claw_back(self.people[before], place, had)
            had = 0
        person = self.people[owner]
        for lot in person.lots:
            if lot.order == place and lot.state(now) == "pending" and lot.usable_from != at:
                lot.usable_from = max(at, now) if at is not None else None
                lot.until = rules.expires_at(lot.usable_from, lot.days)
        self.pay_off(person)
        if target > had:
            lot = self.lot(person, target - had, place, at)
            self.collect(person, [lot], target - had)
            self.pay_off(person)
        elif target < had:
            self.claw_back(person, place, had - target)
        self.held[place], self.owner[place] = target, owner

    def settle(self, order: Order, many: bool) -> None:
        database.session.flush()
        if many:
            services.settle_orders([one.id for one in self.orders])
        else:
            services.settle_order(order.id)
        self.follow(order)

    # ── What happens ────────────────────────────────────────────────────────────────────────────────────────────────

    @rule(
        who=st.integers(0, 1),
        paid=st.integers(0, 90_00),
        postage=st.integers(0, 9_00),
        refunded=st.sampled_from([0, 0, 0, 10_00, 90_00]),
        state=st.sampled_from(["paid", "delivered", "completed"]),
        many=st.booleans(),
    )
    def order_comes(self, who: int, paid: int, postage: int, refunded: int, state: str, many: bool) -> None:
        now = clock.now()
        self.number += 1
        order = Order(
            source="m", external_id=str(self.number), member_id=self.members[who], state=OrderState(state), placed_at=now,
            paid_at=now, delivered_at=now if state == "delivered" else None,
            completed_at=now if state == "completed" else None, paid_amount=paid, postage=min(postage, paid),
            refunded_amount=min(refunded, paid), version_at=now, version_mark="", created_at=now,
        )  # fmt: skip
        database.session.add(order)
        self.orders.append(order)
        self.settle(order, many)

    @precondition(lambda self: self.orders)
    @rule(which=st.integers(0, 50), amount=st.sampled_from([1, 13_37, 50_00, 90_00]), many=st.booleans())
    def refund(self, which: int, amount: int, many: bool) -> None:
        order = self.orders[which % len(self.orders)]
        order.refunded_amount = min(order.paid_amount, order.refunded_amount + amount)
        self.settle(order, many)

    @precondition(lambda self: self.orders)
    @rule(which=st.integers(0, 50), what=st.sampled_from(["delivered", "completed", "closed"]), many=st.booleans())
    def step(self, which: int, what: str, many: bool) -> None:
        order = self.orders[which % len(self.orders)]
        order.state = OrderState(what)
        if what == "delivered":
            order.delivered_at = order.delivered_at or clock.now()
        if what == "completed":
            order.completed_at = order.completed_at or clock.now()
        self.settle(order, many)

    @precondition(lambda self: self.orders)
    @rule(which=st.integers(0, 50), many=st.booleans())
    def order_moves(self, which: int, many: bool) -> None:
        order = self.orders[which % len(self.orders)]
        order.member_id = self.members[1 - self.members.index(order.member_id)]
        self.settle(order, many)

    @rule(who=st.integers(0, 1), points=st.integers(1, 40), days=st.sampled_from([None, 1, 4, 9]))
    def award(self, who: int, points: int, days: int | None) -> None:
        self.number += 1
        if self.program.clawback is Clawback.ALLOW_NEGATIVE:
            days = None
        until = clock.now() + timedelta(days=days) if days is not None else None
        services.award(
            self.members[who],
            points,
            type=Kind.AWARD,
            source_type="m",
            source_id=str(self.number),
            expires_at=until,
        )
        self.lapse()
        lot = self.lot(self.people[who], points, None, clock.now())
        lot.until = until or lot.until
        self.pay_off(self.people[who])

    @rule(who=st.integers(0, 1), points=st.sampled_from([1, 7, 30, 50, 60]))
    def spend(self, who: int, points: int) -> None:
        self.lapse()
        person, self.number = self.people[who], self.number + 1
        lots = self.usable(person)
        have = sum(lot.left for lot in lots) - person.overdrawn
        kwargs = {"source_type": "m", "source_id": str(self.number)}
        if have < points:
            with pytest.raises(rules.NotEnoughPoints):
                services.spend(self.members[who], points, **kwargs)
            return
        spent = services.spend(self.members[who], points, **kwargs)
        uses = []
        for lot in lots:
            part = min(lot.left, points)
            lot.left -= part
            points -= part
            if part:
                uses.append((lot, part))
        person.spendings.append((spent, uses))

    @rule(who=st.integers(0, 1), which=st.integers(0, 20), part=st.integers(1, 60))
    def give_back(self, who: int, which: int, part: int) -> None:
        self.lapse()
        person, self.number = self.people[who], self.number + 1
        open_ones = [one for one in person.spendings if sum(amount for _lot, amount in one[1])]
        if not open_ones:
            return
        spent, uses = open_ones[which % len(open_ones)]
        out = sum(amount for _lot, amount in uses)
        amount, now = min(part, out), clock.now()
        services.give_back(spent, amount, source_type="m", source_id=str(self.number))
        back = amount
        ordered = soonest([lot for lot, _used in uses])
        for lot in reversed(ordered):
            place = next(i for i, (one, _used) in enumerate(uses) if one is lot)
            take = min(uses[place][1], back)
            uses[place] = (lot, uses[place][1] - take)
            back -= take
            if not take:
                continue
            if lot.until is None or lot.until > now:
                lot.left += take
            elif self.program.late is Late.REOPENED:
                lot.left += take
                lot.until = rules.expires_at(now, 2)
        if self.program.clawback is not Clawback.ONLY_PENDING:
            self.collect(person, [lot for lot, _used in uses], amount)
        self.pay_off(person)

    @rule(days=st.integers(0, 12), hours=st.integers(0, 23))
    def time_passes(self, days: int, hours: int) -> None:
        self.make_clock.move(days=days, hours=hours)

    @rule()
    def sweep(self) -> None:
        services.settle_due()

    @rule()
    def everything_again(self) -> None:
        """Each report arrives once more, set-wise and one by one: nothing changes."""
        services.settle_orders([order.id for order in self.orders])
        for order in self.orders:
            services.settle_order(order.id)
        self.lapse()

    @invariant()
    def the_product_agrees(self) -> None:
        if not hasattr(self, "people"):
            return
        now = clock.now()
        for member_id, person in zip(self.members, self.people, strict=True):
            found = queries.balance_of(member_id)
            usable = sum(lot.left for lot in person.lots if lot.state(now) == "usable")
            pending = sum(lot.left for lot in person.lots if lot.state(now) == "pending")
            # What becomes usable by the clock pays what is overdrawn once somebody settles it.
            assert found.active == usable - person.overdrawn
            assert (found.pending, found.shortfall) == (pending, person.shortfall)
            if self.program.clawback is not Clawback.ALLOW_NEGATIVE:
                assert found.active >= 0, "I28"
            held = [
                (lot.remaining, lot.expires_at)
                for lot in queries.lots_of(member_id)
                if rules.state_at(lot.state, lot.activates_at, lot.expires_at, now) == "active"
            ]
            modelled = [(lot.left, lot.until) for lot in person.lots if lot.left and lot.state(now) == "usable"]
            assert Counter(held) == Counter(modelled), "I29: from lots and back to them"
        check_books(database)
        spent = database.session.execute(
            text(
                "SELECT t.id FROM points_transaction t JOIN points_lot_use u ON u.transaction_id = t.id "
                "WHERE t.type = 'spend' GROUP BY t.id, t.points HAVING sum(u.amount) <> -t.points"
            )
        ).all()
        assert spent == [], "I30: what was spent was taken from lots"
        twice = database.session.execute(
            text(
                "SELECT type, source_type, source_id FROM points_transaction GROUP BY 1, 2, 3, account_id HAVING count(*) > 1"
            )
        ).all()
        assert twice == [], "inv_p4 (I32)"


def test_inv_p1_to_p5_over_whatever_happens(db: Any, clock: Any, request: pytest.FixtureRequest) -> None:
    Points.make_clock = clock
    long = request.config.getoption("--long")
    run_state_machine_as_test(
        Points,
        settings=settings(
            max_examples=600 if long else 40,
            stateful_step_count=40 if long else 22,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
