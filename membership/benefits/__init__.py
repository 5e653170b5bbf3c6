"""What tiers give: entry gifts and coupons, a coupon every month, birthday gifts."""

from __future__ import annotations

from flask import Flask

from kernel import navigation
from kernel.i18n import lazy_gettext as _l


def init_app(app: Flask) -> None:
    """Load the room's tables, jobs and subscribers, fill its ports, and open its pages."""
    from . import console, jobs, merging, models, personal, places, queries, subscribers  # noqa: F401

    app.register_blueprint(console.bp)
    navigation.add("members", _l("Benefits given"), "benefits_console.index", "tiers.view", order=41)
