"""The night's fit: from orders to forecasts, and what is done without enough of them."""

from __future__ import annotations

import random
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import func, select

from campaigns.audiences import labels as audience_labels
from campaigns.audiences import queries as audiences
from campaigns.audiences.rules import parse
from campaigns.forecasts import bgnbd, queries, rules, services
from campaigns.forecasts.abacus import Abacus, AbacusBroken
from campaigns.forecasts.models import ForecastModel, MemberForecast, ModelState
from campaigns.forecasts.services import fitting
from kernel import clock as kernel_clock
from membership.members.models import Member
from membership.orders.models import Order, OrderState

from .conftest import fit_all

PEOPLE = 240


@pytest.fixture
def crowd(db, clock):
    """Customers over a year: each comes at a rate of their own and stops one day. Always the same ones."""
    chance = random.Random(20)
    now = kernel_clock.now()
    people = [Member(nickname=f"N{n}", created_at=now, stage_since=now, orders_count=1) for n in range(PEOPLE)]
    db.session.add_all(people)
    db.session.flush()
    number = 0
    for person in people:
        rate, age = chance.gammavariate(0.8, 1 / 30), chance.uniform(60, 360)
        leaves, at = chance.betavariate(0.9, 3.0), age
        while at > 0.5:
            number += 1
            when = now - timedelta(days=at)
            db.session.add(
                Order(
                    source="shop", external_id=f"C{number}", member_id=person.id, state=OrderState.COMPLETED,
                    placed_at=when, paid_at=when, paid_amount=round(chance.gammavariate(4, 2_500)) + 100,
                    version_at=when, version_mark="", created_at=when,
                )
            )  # fmt: skip
            if chance.random() < leaves:
                break
            at -= max(1.0, chance.expovariate(rate))
    db.session.flush()
    return people


def test_a_night_forecasts_everybody_with_orders(db, crowd, monkeypatch):
    monkeypatch.setattr(fitting, "MEMBERS", 50)
    fit_all()
    model = queries.shown_model()
    assert (model.state, model.customers, model.scored) == (ModelState.DONE, PEOPLE, PEOPLE)
    assert model.observed_until == kernel_clock.today() - timedelta(days=1)
    rows = db.session.scalars(select(MemberForecast)).all()
    assert len(rows) == PEOPLE
    for row in rows:
        assert (row.alive is None) == (row.repeats == 0)
        assert 0 <= row.orders_7 <= row.orders_30 <= row.orders_90 <= row.orders_180 <= row.orders_365 <= row.orders_730
        assert row.order_value is not None
        assert row.order_value > 0
    trial = rules.calibration(model.fitted["calibration"])
    assert trial.people == sum(bucket.people for bucket in trial.buckets)
    assert trial.actual > 0


def test_a_forecast_is_what_the_published_formulas_say_of_the_member_s_own_orders(db, crowd):
    fit_all()
    model = queries.shown_model()
    row = db.session.scalars(select(MemberForecast).order_by(MemberForecast.repeats.desc()).limit(1)).one()
    orders = db.session.scalars(select(Order).where(Order.member_id == row.member_id)).all()
    by_day: dict[Any, int] = {}
    for order in orders:
        day = kernel_clock.local(order.placed_at).date()
        by_day[day] = by_day.get(day, 0) + order.paid_amount
    days = sorted(by_day)
    assert row.repeats == len(days) - 1
    recency, age = (days[-1] - days[0]).days / 7, (model.observed_until - days[0]).days / 7
    buying = bgnbd.Buying(**model.fitted["buying"])
    assert row.orders_90 == pytest.approx(
        float(bgnbd.expected_orders(buying, 90 / 7, [row.repeats], [recency], [age])[0]), abs=1e-5
    )
    spending = bgnbd.Spending(**{k: v for k, v in model.fitted["spending"].items() if k != "customers"})
    mean = sum(by_day[day] for day in days[1:]) / row.repeats
    assert row.order_value == round(float(bgnbd.expected_spend(spending, [row.repeats], [mean])[0]))


def test_too_few_customers_are_told_so_and_get_no_numbers(db, crowd, make_member, make_product, buy):
    fit_all()
    gone = [person.id for person in crowd[60:]]
    db.session.execute(Order.__table__.delete().where(Order.member_id.in_(gone)))
    fit_all()
    model = queries.shown_model()
    assert (model.state, model.fitted) == (ModelState.TOO_FEW, {})
    assert db.session.scalar(select(func.count()).select_from(MemberForecast)) == 0


def test_closed_and_refunded_orders_forecast_nothing(db, crowd):
    person = crowd[0]
    for order in db.session.scalars(select(Order).where(Order.member_id == person.id)):
        order.state = OrderState.CLOSED
    db.session.flush()
    fit_all()
    assert queries.forecast_of(person.id) is None
    assert queries.shown_model().customers == PEOPLE - 1


def test_one_fit_a_night_and_former_ones_are_kept_for_a_while(db, crowd, clock, monkeypatch):
    monkeypatch.setattr(fitting, "KEPT", 2)
    for _ in range(3):
        fit_all()
        assert services.start_fitting() is None
        clock.move(days=1)
    assert db.session.scalar(select(func.count()).select_from(ForecastModel)) == 2
    newest = queries.shown_model().id
    assert set(db.session.scalars(select(MemberForecast.model_id))) == {newest}


def test_a_program_that_breaks_leaves_the_former_forecasts(db, crowd, monkeypatch):
    fit_all()
    former = queries.shown_model().id

    def broken(*_arguments: Any, **_named: Any) -> Any:
        raise AbacusBroken("no more beads")

    monkeypatch.setattr(Abacus, "ask", broken)
    fit_all()
    assert queries.last_model().state is ModelState.FAILED
    assert "beads" in queries.last_model().error
    assert queries.shown_model().id == former
    assert db.session.scalar(select(func.count()).select_from(MemberForecast)) == PEOPLE


def test_a_sample_is_fitted_and_everybody_is_forecast(db, crowd, monkeypatch):
    monkeypatch.setattr(rules, "MOST_FITTED", 150)
    fit_all()
    model = queries.shown_model()
    assert (model.one_in, model.scored) == (2, PEOPLE)


def test_nobody_gets_a_probability_where_nobody_is_seen_to_leave(db, crowd, monkeypatch):
    ask = Abacus.ask

    def staying(self: Abacus, do: str, **given: Any) -> Any:
        said = ask(self, do, **given)
        return said | {"leaving": False} if do == "buying" else said

    monkeypatch.setattr(Abacus, "ask", staying)
    fit_all()
    rows = db.session.scalars(select(MemberForecast)).all()
    assert {row.alive for row in rows} == {None}
    assert all(row.orders_90 > 0 for row in rows)


def test_any_days_ahead_are_read_off_what_was_worked_out(db, crowd):
    fit_all()
    row = db.session.scalars(select(MemberForecast).order_by(MemberForecast.repeats.desc()).limit(1)).one()

    def within(days: int) -> float:
        return db.session.scalar(select(queries.orders_within(days)).where(MemberForecast.member_id == row.member_id))

    assert within(90) == row.orders_90
    assert within(60) == pytest.approx(rules.read_off(60, 30, 90, row.orders_30, row.orders_90))
    assert within(500) == pytest.approx(rules.read_off(500, 365, 730, row.orders_365, row.orders_730))
    # A fit of the time before says nothing of the nearest and the farthest days: they are read off their neighbours.
    row.orders_7 = row.orders_730 = None
    db.session.flush()
    assert within(7) == pytest.approx(rules.read_off(7, 30, 90, row.orders_30, row.orders_90))
    assert within(730) == pytest.approx(rules.read_off(730, 180, 365, row.orders_180, row.orders_365))
    row.orders_7 = row.orders_30 = row.orders_90 = 0.0
    db.session.flush()
    assert (within(7), within(30), within(45)) == (0.0, 0.0, 0.0)
    assert queries.totals(45)[0] == PEOPLE


@pytest.mark.parametrize("measure", ["alive", "orders", "value"])
def test_audiences_by_forecast(db, crowd, measure):
    fit_all()
    rows = db.session.scalars(select(MemberForecast)).all()
    amounts = {
        "alive": lambda row: None if row.alive is None else row.alive * 10_000,
        "orders": lambda row: row.orders_180 * 100,
        "value": lambda row: row.orders_180 * row.order_value,
    }
    known = sorted(amount for row in rows if (amount := amounts[measure](row)) is not None)
    low, high = int(known[len(known) // 3]), int(known[2 * len(known) // 3])
    rule = {"kind": "forecast", "measure": measure, "in_days": 180, "from_hundredths": low, "to_hundredths": high}
    definition = parse({"rules": [rule]})
    meant = {row.member_id for row in rows if (amount := amounts[measure](row)) is not None and low <= amount <= high}
    assert meant
    assert set(db.session.scalars(audiences.member_ids(definition))) == meant
    assert audience_labels.whole(definition)
