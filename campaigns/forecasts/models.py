"""How long products last, who is due to buy again, and what members are expected to order."""

from __future__ import annotations

import enum
from datetime import date, datetime
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from kernel.db import db, pk


class Basis(enum.StrEnum):
    """Where the days of use that count come from."""

    SET = "set"
    LEARNED = "learned"
    CATEGORY = "category"
    SHOP = "shop"


class ProductClock(db.Model):
    """How many days one piece of a product is used.

    `learned_days` is the middle of the real gaps between a person's orders of it, by the pieces they bought, and
    `learned_spread` a robust standard deviation of these; both are kept however few the gaps are. `days`, `spread` and `basis`
    are what counts, see `rules.choose`. `histogram` holds the gaps by `bin_days`, the last bin whatever lies beyond.
    `stale`: the days have changed and the members after `stale_after` are still to be worked out by them.
    """

    __tablename__ = "product_clock"
    product_id: Mapped[int] = mapped_column(ForeignKey("product.id"), primary_key=True)
    gaps: Mapped[int] = mapped_column(default=0)
    people: Mapped[int] = mapped_column(default=0)
    learned_days: Mapped[float | None]
    learned_spread: Mapped[float | None]
    histogram: Mapped[list[int]] = mapped_column(default=list)
    bin_days: Mapped[int] = mapped_column(default=1)
    fallback_days: Mapped[float | None]
    fallback_spread: Mapped[float | None]
    fallback_basis: Mapped[Basis | None]
    # The product's own days of use as staff set them, when `days` was worked out last.
    set_days: Mapped[int | None]
    days: Mapped[float | None]
    spread: Mapped[float | None]
    basis: Mapped[Basis | None]
    stale: Mapped[bool] = mapped_column(default=False)
    stale_after: Mapped[int] = mapped_column(default=0)
    learned_at: Mapped[datetime | None]

    __table_args__ = (
        CheckConstraint("days > 0", name="days"),
        Index("ix_product_clock_stale", "product_id", postgresql_where=text("stale")),
    )


class Repurchase(db.Model):
    """When somebody is expected to need a product again: what they bought last, and until when it lasts.

    `due_on` is the business date on which it is used up; `from_on` to `until_on` is the window around it.
    """

    __tablename__ = "repurchase"
    member_id: Mapped[int] = mapped_column(ForeignKey("member.id"), primary_key=True)
    product_id: Mapped[int] = mapped_column(ForeignKey("product.id"), primary_key=True)
    order_id: Mapped[int]
    bought_at: Mapped[datetime]
    bought_on: Mapped[date]
    pieces: Mapped[int]
    due_on: Mapped[date]
    from_on: Mapped[date]
    until_on: Mapped[date]

    __table_args__ = (
        Index("ix_repurchase_due", "due_on", "member_id", "product_id"),
        Index("ix_repurchase_product", "product_id", "due_on"),
    )


class ClockPhase(enum.StrEnum):
    LEARNING = "learning"
    MARKING = "marking"
    DONE = "done"


class ClockRun(db.Model):
    """A night's work on the repurchase clock: the products up to `cursor` are learned, or the members up to it are marked."""

    __tablename__ = "clock_run"
    id: Mapped[pk]
    phase: Mapped[ClockPhase] = mapped_column(default=ClockPhase.LEARNING)
    cursor: Mapped[int] = mapped_column(default=0)
    products: Mapped[int] = mapped_column(default=0)
    members: Mapped[int] = mapped_column(default=0)
    started_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]


class ModelState(enum.StrEnum):
    FITTING = "fitting"
    SCORING = "scoring"
    DONE = "done"
    TOO_FEW = "too_few"
    FAILED = "failed"


class ForecastModel(db.Model):
    """A night's fit of the two models.

    Orders of the business dates up to `observed_until` are looked at, in weeks. `fitted` holds {"buying": …, "spending": …,
    "calibration": …} as `bgnbd` and `rules.Calibration` write them. `one_in`: of so many customers one was fitted on. Members up
    to `cursor` have been worked out.
    """

    __tablename__ = "forecast_model"
    id: Mapped[pk]
    state: Mapped[ModelState] = mapped_column(default=ModelState.FITTING)
    observed_from: Mapped[date | None]
    observed_until: Mapped[date]
    customers: Mapped[int] = mapped_column(default=0)
    repeaters: Mapped[int] = mapped_column(default=0)
    one_in: Mapped[int] = mapped_column(default=1)
    fitted: Mapped[dict[str, Any]] = mapped_column(default=dict)
    cursor: Mapped[int] = mapped_column(default=0)
    scored: Mapped[int] = mapped_column(default=0)
    error: Mapped[str] = mapped_column(default="")
    started_at: Mapped[datetime]
    fitted_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]


class MemberForecast(db.Model):
    """What is expected of a member: estimates of the model with this number.

    `alive` is the probability that they still buy, empty for whoever came only once, of whom it says nothing. `order_value`
    (分) is what an order of theirs is expected to be worth, empty while too few have come back.
    """

    __tablename__ = "member_forecast"
    member_id: Mapped[int] = mapped_column(ForeignKey("member.id"), primary_key=True)
    model_id: Mapped[int]
    repeats: Mapped[int]
    alive: Mapped[float | None]
    # The nearest and the farthest days are empty until the first fit that works them out.
    orders_7: Mapped[float | None]
    orders_30: Mapped[float]
    orders_90: Mapped[float]
    orders_180: Mapped[float]
    orders_365: Mapped[float]
    orders_730: Mapped[float | None]
    order_value: Mapped[int | None]

    __table_args__ = (
        CheckConstraint("alive BETWEEN 0 AND 1", name="alive"),
        Index("ix_member_forecast_model", "model_id"),
        Index("ix_member_forecast_orders", text("orders_90 DESC"), text("member_id DESC")),
    )
