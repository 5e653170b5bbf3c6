"""Orders: feeds, files, refunds, the after-sale moment."""

from __future__ import annotations

from flask import Flask


def init_app(app: Flask) -> None:
    """Load the room's tables, jobs and subscribers, and open its pages, its API and its commands."""
    from . import cli, events, jobs, models, subscribers  # noqa: F401

    app.cli.add_command(cli.group)
