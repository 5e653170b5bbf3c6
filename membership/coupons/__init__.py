"""Coupons: offers, claims, the checkout."""

from __future__ import annotations

from flask import Flask


def init_app(app: Flask) -> None:
    """Load the room's tables, jobs and services, and open its pages."""
    from . import api, jobs, models, portal, services, subscribers, timeline  # noqa: F401

    app.register_blueprint(portal.bp)
    app.register_blueprint(api.bp)
