"""Audiences: rules over members."""

from __future__ import annotations

from flask import Flask

from kernel import navigation
from kernel.i18n import lazy_gettext as _l
from membership.coupons.services import granting


def init_app(app: Flask) -> None:
    """Open the room."""
    from . import console, jobs, merging, models, personal, queries  # noqa: F401

    app.register_blueprint(console.bp)
    granting.audiences.fill(queries.for_grants)
    granting.audience_members.fill(queries.members_for_grants)
    navigation.add("campaigns", _l("Audiences"), "audiences_console.index", "audiences.view", order=20)
