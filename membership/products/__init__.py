"""Products, as the order feeds name them."""

from __future__ import annotations

from flask import Flask

from kernel import navigation
from kernel.i18n import lazy_gettext as _l


def init_app(app: Flask) -> None:
    """Load the room's tables and open its pages."""
    from . import api, console, models, personal  # noqa: F401

    app.register_blueprint(console.bp)
    app.register_blueprint(api.bp)
    navigation.add("members", _l("Products"), "products_console.index", "products.view", order=40)
