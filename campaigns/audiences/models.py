"""Saved audiences: rules over members."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy.orm import Mapped

from kernel.db import db, pk


class Audience(db.Model):
    __tablename__ = "audience"
    id: Mapped[pk]
    name: Mapped[str]
    # {"rules": [{"kind": "tier", "ranks": [2, 3]}, {"kind": "last_order", "from_days": 30, "to_days": 90}, …]}, all of which hold.
    definition: Mapped[dict[str, Any]]
    created_at: Mapped[datetime]
