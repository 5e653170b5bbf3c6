"""Touchpoints: where members meet the shop, and what staff say of each."""

from __future__ import annotations

import enum
from datetime import date, datetime
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, SmallInteger
from sqlalchemy.orm import Mapped, mapped_column

from kernel.db import db, pk


class TouchKind(enum.StrEnum):
    """What a touchpoint is made of."""

    PRINT = "print"
    PHONE = "phone"
    GROUP = "group"
    COUPON = "coupon"
    POST = "post"
    MESSAGE = "message"
    TICKET = "ticket"
    TALK = "talk"
    SHOP = "shop"
    OTHER = "other"


class Stage(enum.StrEnum):
    """The seven actions, in their order."""

    REACH = "reach"
    AD = "ad"
    LANDING = "landing"
    ORDER = "order"
    SHIPPING = "shipping"
    RECEIPT = "receipt"
    REPURCHASE = "repurchase"


class Touchpoint(db.Model):
    """What the shop says of one of the touchpoints that Siyu records by itself (`key`), or a touchpoint of its own.

    A ready-made one has no row until somebody changes something of it; an empty name stands for its own.
    """

    __tablename__ = "touchpoint"
    id: Mapped[pk]
    key: Mapped[str | None] = mapped_column(unique=True)
    name: Mapped[str]
    kind: Mapped[TouchKind]
    stage: Mapped[Stage]
    active: Mapped[bool] = mapped_column(default=True)
    owner_id: Mapped[int | None] = mapped_column(ForeignKey("staff.id"))
    # How much it matters, 1 to 5, as the staff see it; none while nobody has said.
    importance: Mapped[int | None] = mapped_column(SmallInteger)
    notes: Mapped[str] = mapped_column(default="")
    # The names of the links through which people come by it, as they stand on join links and claim links.
    sources: Mapped[list[str]] = mapped_column(default=list)
    created_at: Mapped[datetime]

    __table_args__ = (
        CheckConstraint("importance BETWEEN 1 AND 5", name="importance"),
        CheckConstraint("key IS NOT NULL OR name <> ''", name="name"),
    )


class CountKind(enum.StrEnum):
    """What a row of kept figures is about: the meetings of one day, or who had met what before they ordered in a stretch."""

    DAY = "day"
    BEFORE = "before"


class TouchpointCount(db.Model):
    """Figures of a day or a stretch of the shop's days as they were counted, see `counts.py`. They can be dropped at any time."""

    __tablename__ = "touchpoint_count"
    kind: Mapped[CountKind] = mapped_column(primary_key=True)
    first: Mapped[date] = mapped_column(primary_key=True)
    last: Mapped[date] = mapped_column(primary_key=True)
    # The links that touchpoints named then.
    mark: Mapped[str]
    # Of a day `{key: [met, answered, rated, stars]}`, of a stretch `{"buyers": …, "met": {key: …}, "one_in": …}`.
    figures: Mapped[dict[str, Any]]
    counted_at: Mapped[datetime]
