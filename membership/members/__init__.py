"""Members: one record a person, across channels."""

from __future__ import annotations

from flask import Flask

from kernel import navigation, today, views
from kernel.i18n import lazy_gettext as _l


def init_app(app: Flask) -> None:
    """Load the room's tables, events and jobs, and open its pages."""
    from . import (  # noqa: F401
        api,
        brief,
        bulk,
        console,
        jobs,
        labels,
        merging,
        models,
        personal,
        portal,
        rules,
        subscribers,
        webhooks,
    )

    app.register_blueprint(console.bp)
    app.register_blueprint(api.bp)
    app.register_blueprint(portal.bp)
    # A mail program posts the unsubscribe link without ever having seen a page of ours; its signature is the proof.
    app.extensions["csrf_protect"].exempt(portal.unsubscribe_post)
    app.jinja_env.filters.update(
        masked_phone=rules.masked_phone, masked_email=rules.masked_email, masked_address=rules.masked_address
    )
    navigation.add("members", _l("Members"), "members_console.index", "members.view", order=10)
    views.offer("members", "members_console.index", "members.view")
    today.search.fill(brief.find)
    today.numbers.fill(brief.numbers)
