"""Coupons: offers, claims, the checkout."""

from __future__ import annotations

from flask import Flask

from kernel import navigation
from kernel.i18n import lazy_gettext as _l


def init_app(app: Flask) -> None:
    """Load the room's tables, jobs and services, open its pages, and fill the places that other rooms offer."""
    from . import (  # noqa: F401
        api,
        console,
        jobs,
        listing_api,
        merging,
        models,
        personal,
        places,
        portal,
        services,
        subscribers,
        timeline,
        webhooks,
    )

    app.register_blueprint(console.bp)
    app.register_blueprint(portal.bp)
    app.register_blueprint(api.bp)
    app.register_blueprint(listing_api.bp)
    navigation.add("coupons", _l("Coupon offers"), "coupons_console.index", "coupons.view", order=10)
    navigation.add("coupons", _l("Look up a coupon"), "coupons_console.lookup", "coupons.view", order=20)
    navigation.add("coupons", _l("What coupons cost and bring"), "coupons_console.report", "coupons.view", order=25)
    navigation.add("coupons", _l("Price floor"), "coupons_console.floor", "coupons.edit", order=90)
    places.init()
