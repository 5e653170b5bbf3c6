"""Orders: feeds, files, refunds, the after-sale moment."""

from __future__ import annotations

from flask import Flask

from kernel import navigation, today, views
from kernel.i18n import lazy_gettext as _l


def init_app(app: Flask) -> None:
    """Load the room's tables, jobs and subscribers, and open its pages, its API and its commands."""
    from . import (  # noqa: F401
        api,
        brief,
        cli,
        connections_console,
        console,
        events,
        hooks,
        jobs,
        labels,
        merging,
        models,
        personal,
        subscribers,
        webhooks,
    )

    app.register_blueprint(console.bp)
    app.register_blueprint(console.imports_bp)
    app.register_blueprint(api.bp)
    app.register_blueprint(connections_console.bp)
    app.register_blueprint(hooks.bp)
    # Programs call it; the signature takes the form token's place.
    app.extensions["csrf_protect"].exempt(hooks.bp)
    app.cli.add_command(cli.group)
    views.offer("orders", "orders_console.index", "orders.view")
    navigation.add("members", _l("Orders"), "orders_console.index", "orders.view", order=20)
    navigation.add("members", _l("Order files"), "imports_console.index", "orders.import", order=30)
    navigation.add("settings", _l("Order connections"), "connections_console.index", "feeds.edit", order=50)
    today.search.fill(brief.find)
    today.running.fill(brief.running)
    today.tasks.fill(brief.tasks)
    today.steps.fill(brief.steps)
