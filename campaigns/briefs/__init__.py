"""The morning brief by e-mail: what somebody has to do today comes to them at an hour that they chose."""

from __future__ import annotations

from flask import Flask


def init_app(app: Flask) -> None:
    """Open the room."""
    from . import console, handover, jobs, models, personal, restored  # noqa: F401

    app.register_blueprint(console.bp)
    # A mail program posts the link without ever having seen a page of ours (RFC 8058); its signature is the proof.
    app.extensions["csrf_protect"].exempt(console.stop_post)
