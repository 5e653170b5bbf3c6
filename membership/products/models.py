"""What the shop sells, as the order feeds name it."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from kernel.db import db, pk


class Product(db.Model):
    __tablename__ = "product"
    id: Mapped[pk]
    source: Mapped[str]
    sku: Mapped[str]
    title: Mapped[str]
    category: Mapped[str] = mapped_column(default="")
    list_price: Mapped[int | None]
    cost: Mapped[int | None]
    days_of_use: Mapped[int | None]
    # The key of its picture, see `kernel.files`.
    picture: Mapped[str | None]
    created_at: Mapped[datetime]

    __table_args__ = (UniqueConstraint("source", "sku"),)
