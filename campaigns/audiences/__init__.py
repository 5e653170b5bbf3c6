"""Audiences: rules over members."""

from __future__ import annotations

from flask import Flask

from kernel import navigation
from kernel.i18n import lazy_gettext as _l


def init_app(app: Flask) -> None:
    """Open the room."""
    from . import console, models, personal  # noqa: F401

    app.register_blueprint(console.bp)
    navigation.add("campaigns", _l("Audiences"), "audiences_console.index", "audiences.view", order=20)
