"""A worker that dies between any two statements of the night's work leaves whole slices, and the next one goes on after them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import select, text

from campaigns.forecasts import rules, services
from campaigns.forecasts.abacus import Abacus
from campaigns.forecasts.models import ClockPhase, ClockRun, ForecastModel, MemberForecast, ModelState, Repurchase
from campaigns.forecasts.services import clocks, fitting
from kernel import clock
from kernel.db import db, transaction
from membership.members.models import Member
from membership.orders.models import Order, OrderLine, OrderState
from membership.products.models import Product
from tests.faults.midway import killed_before

pytestmark = pytest.mark.fault
PEOPLE = 12


@pytest.fixture
def night(app: Flask, committed: Flask, monkeypatch: pytest.MonkeyPatch) -> Flask:
    """A small shop with small slices, and both works of the night begun."""
    monkeypatch.setattr(clocks, "MEMBERS", 5)
    monkeypatch.setattr(clocks, "PRODUCTS", 1)
    monkeypatch.setattr(fitting, "MEMBERS", 5)
    for name, least in (("LEAST_CUSTOMERS", 5), ("LEAST_REPEATERS", 3), ("LEAST_DAYS", 10)):
        monkeypatch.setattr(rules, name, least)
    with app.app_context(), transaction():
        now = clock.now()
        products = [
            Product(source="shop", sku=f"P{n}", title=f"P{n}", days_of_use=10 * n, created_at=now) for n in (1, 2)
        ]
        people = [Member(stage_since=now, created_at=now) for _ in range(PEOPLE)]
        db.session.add_all([*products, *people])
        db.session.flush()
        for place, person in enumerate(people):
            for turn in range(1 + place % 3):
                at = now - timedelta(days=60 - 9 * turn - place % 4)
                order = Order(
                    source="shop", external_id=f"{place}-{turn}", member_id=person.id, state=OrderState.COMPLETED,
                    placed_at=at, paid_at=at, paid_amount=1_000 + 97 * place + 13 * turn, version_at=at,
                    version_mark="", created_at=at,
                )  # fmt: skip
                db.session.add(order)
                db.session.flush()
                product = products[place % 2]
                db.session.add(
                    OrderLine(
                        order_id=order.id, position=1, product_id=product.id, sku=product.sku, title=product.title,
                        quantity=1 + place, unit_price=100, amount=100,
                    )
                )  # fmt: skip
    return app


def begin(app: Flask) -> None:
    with app.app_context(), transaction():
        services.start_learning(now=True)
        services.start_fitting(now=True)


def marked(app: Flask) -> list[Any]:
    with app.app_context():
        return db.session.execute(
            select(Repurchase.member_id, Repurchase.product_id, Repurchase.due_on).order_by(
                Repurchase.member_id, Repurchase.product_id
            )
        ).all()


def forecast(app: Flask) -> list[Any]:
    with app.app_context():
        return db.session.execute(
            select(MemberForecast.member_id, MemberForecast.repeats, MemberForecast.orders_90).order_by(
                MemberForecast.member_id
            )
        ).all()


def without_crash(app: Flask, work: Callable[[], bool]) -> None:
    with app.app_context():
        more = True
        while more:
            with transaction():
                more = work()


def with_crashes(app: Flask, work: Callable[[], bool]) -> int:
    """Let every piece of work die before each of its statements in turn, and then come to its end; how many lives it took."""
    lives, left = 0, [True]
    while left[-1]:
        number = 1
        while killed_before(app, number, lambda: left.append(work())):
            number += 1
            lives += 1
            assert number < 100
    return lives


def test_the_clock_s_night_goes_on_after_any_death(night: Flask) -> None:
    begin(night)
    without_crash(night, services.learn_on)
    whole = marked(night)
    assert whole
    with night.app_context(), transaction():
        db.session.execute(text("TRUNCATE repurchase, product_clock, clock_run"))
    begin(night)
    assert with_crashes(night, services.learn_on) > 20
    assert marked(night) == whole
    with night.app_context():
        run = db.session.scalars(select(ClockRun)).one()
        # Each slice counted once.
        assert (run.phase, run.products, run.members) == (ClockPhase.DONE, 2, PEOPLE)


def test_the_forecasts_night_goes_on_after_any_death(night: Flask) -> None:
    begin(night)
    with Abacus() as abacus:
        without_crash(night, lambda: services.fit_on(abacus))
        whole = forecast(night)
        assert len(whole) == PEOPLE
        with night.app_context(), transaction():
            db.session.execute(text("TRUNCATE member_forecast, forecast_model"))
        begin(night)
        assert with_crashes(night, lambda: services.fit_on(abacus)) > 10
    assert forecast(night) == whole
    with night.app_context():
        model = db.session.scalars(select(ForecastModel)).one()
        assert (model.state, model.scored) == (ModelState.DONE, PEOPLE)


def test_teeth_a_cursor_of_its_own_transaction_would_be_noticed(night: Flask) -> None:
    """Were it written down how far the work has come before the slice itself, a death between would leave people out."""
    begin(night)

    def in_two() -> bool:
        run = db.session.scalars(select(ClockRun).where(ClockRun.phase == ClockPhase.MARKING)).one_or_none()
        if run is None:
            return services.learn_on()
        ids = db.session.scalars(select(Member.id).where(Member.id > run.cursor).order_by(Member.id).limit(5)).all()
        if not ids:
            return False
        run.cursor = ids[-1]
        db.session.commit()
        clocks.mark(ids)
        return True

    with_crashes(night, in_two)
    left_out = marked(night)
    with night.app_context(), transaction():
        db.session.execute(text("TRUNCATE repurchase, product_clock, clock_run"))
    begin(night)
    without_crash(night, services.learn_on)
    assert left_out != marked(night)
