"""The forecasts: fitting the models to everybody's orders once a night, and working each member out by them, in slices."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable
from datetime import date, timedelta
from typing import Any

from sqlalchemy import Float, Select, cast, delete, func, literal, select, text

from kernel import audit, clock
from kernel.db import db
from membership.members import queries as members
from membership.members.models import Member
from membership.orders import queries as orders
from membership.orders.models import Order

from .. import queries, rules
from ..abacus import Abacus, AbacusBroken
from ..models import ForecastModel, MemberForecast, ModelState
from .bought import purchases

log = logging.getLogger(__name__)
# So many members are worked out in one transaction.
MEMBERS = 20_000
# Former fits are kept for so many nights, so that parameters can be compared.
KEPT = 30
WORKING = (ModelState.FITTING, ModelState.SCORING)


def start_fitting(now: bool = False) -> ForecastModel | None:
    """Begin a night's fit if it is time (or asked for `now`) and none is under way; returns it, or None."""
    db.session.execute(select(func.pg_advisory_xact_lock(func.hashtext("forecasts.model"))))
    last = queries.last_model()
    if last is not None and last.state in WORKING:
        return last if now else None
    if not (now or _needs_night(last)):
        return None
    # Today is not over, and would look like a day on which few came.
    model = ForecastModel(
        state=ModelState.FITTING, observed_until=clock.today() - timedelta(days=1), started_at=clock.now()
    )
    db.session.add(model)
    db.session.flush()
    if now:
        audit.record("forecast.fit_asked", "forecast_model", model.id)
    return model


def _needs_night(last: ForecastModel | None) -> bool:
    """Once a night, and once the first orders of earlier days have come to a new shop."""
    if last is not None and not last.customers:
        known = select(Order.id).where(_before(clock.today() - timedelta(days=1)), Order.member_id.is_not(None))
        if db.session.scalar(known.where(orders.counts()).limit(1)) is not None:
            return True
    return rules.begins(clock.local(last.started_at) if last is not None else None, clock.local(clock.now()))


def fit_on(abacus: Abacus) -> bool:
    """Do the next piece of the fit that is under way; returns whether there is more. Each piece is one transaction with how far
    the work has come, so that whoever goes on after a crash does not begin anew."""
    model = db.session.scalars(
        select(ForecastModel)
        .where(ForecastModel.state.in_(WORKING))
        .order_by(ForecastModel.id)
        .limit(1)
        .with_for_update(skip_locked=True)
        .execution_options(populate_existing=True)
    ).one_or_none()
    if model is None:
        return False
    try:
        if model.state is ModelState.FITTING:
            _fit(model, abacus)
        else:
            _score(model, abacus)
    except AbacusBroken as broken:
        log.exception("the forecast could not be fitted")
        model.state, model.error, model.finished_at = ModelState.FAILED, str(broken)[-500:], clock.now()
    db.session.flush()
    return model.state in WORKING


def _before(until: date) -> Any:
    return Order.placed_at < clock.day_bounds(until)[1]


def summary(until: date, split: date, *where: Any) -> Select[*tuple[Any, ...]]:
    """What the models know of customers by their orders up to the business date `until`, and up to `split`: a row each, days
    whole, `mean` in 分 a repeat purchase. `where` narrows the orders, by whole customers."""
    days = purchases(_before(until), *where)
    first = func.min(days.c.day).over(partition_by=days.c.member_id)
    day = select(days.c.member_id, days.c.day, days.c.spend, first.label("first")).cte("day")
    early = day.c.day <= split
    repeat = day.c.day > day.c.first
    return (
        select(
            day.c.member_id,
            (func.count() - 1).label("repeats"),
            (func.max(day.c.day) - func.min(day.c.day)).label("recency"),
            (literal(until) - func.min(day.c.day)).label("age"),
            cast(func.avg(day.c.spend).filter(repeat), Float).label("mean"),
            func.nullif(func.count().filter(early), 0).label("early"),
            (func.max(day.c.day).filter(early) - func.min(day.c.day)).label("early_recency"),
            (literal(split) - func.min(day.c.day)).label("early_age"),
            func.count().filter(~early).label("later"),
        )
        .join(Member, Member.id == day.c.member_id)
        .where(Member.merged_into_id.is_(None), Member.erased_at.is_(None))
        .group_by(day.c.member_id)
    )


def _grouped(rows: list[tuple[int, int, int]]) -> dict[str, list[float]]:
    """Customers who are alike, once with their number; days as weeks."""
    found = sorted(Counter(rows).items())
    return {
        "x": [x for (x, _recency, _age), _people in found],
        "recency": [recency / 7 for (_x, recency, _age), _people in found],
        "age": [age / 7 for (_x, _recency, age), _people in found],
        "people": [people for _row, people in found],
    }


def _fit(model: ForecastModel, abacus: Abacus) -> None:
    known = purchases(_before(model.observed_until))
    first, customers = db.session.execute(select(func.min(known.c.day), func.count(known.c.member_id.distinct()))).one()
    model.observed_from = first
    model.customers, model.one_in = customers, max(1, -(-customers // rules.MOST_FITTED))
    # Always the same ones, so that tonight's parameters can be compared with last night's.
    chosen = [func.mod(func.abs(func.hashint8(Order.member_id)), model.one_in) == 0] if model.one_in > 1 else []
    split = rules.split_day(first, model.observed_until) if first is not None else model.observed_until
    rows = db.session.execute(summary(model.observed_until, split, *chosen)).all()
    model.repeaters = sum(1 for row in rows if row.repeats > 0)
    model.fitted_at = clock.now()
    if not rules.enough(len(rows), model.repeaters, first, model.observed_until):
        db.session.execute(delete(MemberForecast).execution_options(synchronize_session=False))
        model.state, model.finished_at = ModelState.TOO_FEW, clock.now()
        return
    fitted: dict[str, Any] = {
        "buying": abacus.ask("buying", **_grouped([(row.repeats, row.recency, row.age) for row in rows]))
    }
    worth = [(row.repeats, row.mean) for row in rows if row.repeats > 0 and row.mean]
    if len(worth) >= rules.LEAST_REPEATERS:
        spending = abacus.ask("spending", x=[x for x, _mean in worth], mean=[mean for _x, mean in worth])
        # Without that the mean of all spends is not finite, and nothing can be said of anybody's.
        if spending["q"] > 1.0:
            fitted["spending"] = {**spending, "customers": len(worth)}
    fitted["calibration"] = _on_held_back(model, split, rows, abacus)
    model.fitted = fitted
    model.state, model.cursor = ModelState.SCORING, 0


def _on_held_back(model: ForecastModel, split: date, rows: Any, abacus: Abacus) -> dict[str, Any] | None:
    """Fit on the first part of the time alone, and compare what it expects of the rest with what came."""
    early = [row for row in rows if row.early]
    repeaters = sum(1 for row in early if row.early > 1)
    first = model.observed_from
    if not rules.enough(len(early), repeaters, first, split):
        return None
    days = (model.observed_until - split).days
    buying = abacus.ask("buying", **_grouped([(row.early - 1, row.early_recency, row.early_age) for row in early]))
    ages = [row.early_age / 7 for row in early]
    repeats = [row.early - 1 for row in early]
    said = abacus.ask(
        "score",
        buying=buying,
        x=repeats,
        recency=[row.early_recency / 7 for row in early],
        age=ages,
        horizons=[days / 7],
    )
    return rules.calibrate(split, days, repeats, ages, said["orders"][0], [row.later for row in early]).dump()


_ORDERS = tuple(f"orders_{days}" for days in rules.HORIZONS)
_TYPES = {
    "member_id": "bigint",
    "repeats": "bigint",
    "alive": "double precision",
    **dict.fromkeys(_ORDERS, "double precision"),
    "order_value": "bigint",
}
# Names and types come from here alone.
_UPSERT = text(
    f"""
    INSERT INTO member_forecast (model_id, {", ".join(_TYPES)})
    SELECT CAST(:model_id AS bigint), {", ".join(_TYPES)}
    FROM unnest({", ".join(f"CAST(:{name} AS {kind}[])" for name, kind in _TYPES.items())}) AS t ({", ".join(_TYPES)})
    ORDER BY member_id
    ON CONFLICT (member_id) DO UPDATE SET model_id = excluded.model_id, {", ".join(f"{n} = excluded.{n}" for n in [*_TYPES][1:])}
    """  # noqa: S608
)


def _score(model: ForecastModel, abacus: Abacus) -> None:
    """Work out the next members by the fitted model; at the end drop whoever has no orders any more."""
    ids = db.session.scalars(
        members.live().with_only_columns(Member.id).where(Member.id > model.cursor).order_by(Member.id).limit(MEMBERS)
    ).all()
    if not ids:
        db.session.execute(
            delete(MemberForecast)
            .where(MemberForecast.model_id != model.id)
            .execution_options(synchronize_session=False)
        )
        old = select(ForecastModel.id).order_by(ForecastModel.id.desc()).offset(KEPT)
        db.session.execute(
            delete(ForecastModel).where(ForecastModel.id.in_(old)).execution_options(synchronize_session=False)
        )
        model.state, model.finished_at = ModelState.DONE, clock.now()
        return
    until = model.observed_until
    rows = db.session.execute(summary(until, until, Order.member_id.between(ids[0], ids[-1]))).all()
    if rows:
        buying = {name: model.fitted["buying"][name] for name in ("r", "alpha", "a", "b", "log_likelihood", "edge")}
        leaving = model.fitted["buying"].get("leaving", True)
        spending = model.fitted.get("spending")
        said = abacus.ask(
            "score",
            buying=buying,
            spending={name: value for name, value in spending.items() if name != "customers"} if spending else None,
            x=[row.repeats for row in rows],
            recency=[row.recency / 7 for row in rows],
            age=[row.age / 7 for row in rows],
            mean=[row.mean or 0.0 for row in rows],
            horizons=[days / 7 for days in rules.HORIZONS],
        )
        _write(model.id, rows, said, leaving)
    model.cursor, model.scored = ids[-1], model.scored + len(rows)


def _array(values: Iterable[float | None], digits: int | None = None) -> str:
    """Numbers as PostgreSQL writes an array of them."""
    return "{" + ",".join("NULL" if one is None else repr(round(one, digits)) for one in values) + "}"


def _write(model_id: int, rows: Any, said: dict[str, Any], leaving: bool) -> None:
    """Put a slice of forecasts in the place of the former ones, in one statement. The probability of still buying is left out
    of whoever came once, and of everybody where nobody is seen to leave."""
    spends = said.get("spend") or [None] * len(rows)
    db.session.execute(
        _UPSERT,
        {
            "model_id": model_id,
            "member_id": _array(row.member_id for row in rows),
            "repeats": _array(row.repeats for row in rows),
            "alive": _array(
                (one if row.repeats and leaving else None for one, row in zip(said["alive"], rows, strict=True)), 6
            ),
            **{name: _array(values, 6) for name, values in zip(_ORDERS, said["orders"], strict=True)},
            "order_value": _array(spends),
        },
    )
    for found in db.session.identity_map.values():
        if isinstance(found, MemberForecast):
            db.session.expire(found)
