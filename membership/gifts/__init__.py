"""Gifts: catalogue, claims, fulfilment."""

from __future__ import annotations

from flask import Flask

from kernel import navigation
from kernel.i18n import lazy_gettext as _l


def init_app(app: Flask) -> None:
    """Load the room's tables, jobs and services, open its pages, and fill the places that other rooms offer."""
    from . import (  # noqa: F401
        api,
        brief,
        console,
        jobs,
        merging,
        models,
        personal,
        portal,
        services,
        subscribers,
        timeline,
        webhooks,
    )

    app.register_blueprint(console.bp)
    app.register_blueprint(api.bp)
    app.register_blueprint(portal.bp)
    navigation.add("coupons", _l("Gifts"), "gifts_console.index", "gifts.view", order=30)
    navigation.add("coupons", _l("Gift claims"), "gifts_console.claims", "gifts.view", order=40)
    brief.init()
