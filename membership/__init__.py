"""Floor 1: who the customer is, and what they are entitled to."""

from __future__ import annotations

from flask import Flask

from . import benefits, coupons, gifts, limits, members, orders, permissions, points, products, tiers

ROOMS = (members, products, orders, tiers, points, limits, coupons, gifts, benefits)


def init_app(app: Flask) -> None:
    """Grant the floor's permissions, then open its rooms from the lowest up."""
    permissions.init()
    for room in ROOMS:
        room.init_app(app)
