"""Gifts: catalogue, claims, fulfilment."""

from __future__ import annotations

from flask import Flask


def init_app(app: Flask) -> None:
    """Load the room's tables, jobs and services."""
    from . import jobs, models, services  # noqa: F401
