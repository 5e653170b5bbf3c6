"""Staff results: what each colleague did beyond sales, a board that compares like with like, and everybody's own page."""

from __future__ import annotations

from flask import Flask

from kernel import navigation
from kernel.i18n import lazy_gettext as _l


def init_app(app: Flask) -> None:
    """Open the room's pages; it keeps no tables of its own."""
    from . import console

    app.register_blueprint(console.bp)
    navigation.add("results", _l("Staff"), "staff_results_console.index", "staff_results.view", order=30)
    navigation.add("results", _l("My results"), "staff_results_console.mine", "staff_results.own", order=31)
