"""Stylesheets, scripts and pictures: addresses that change with the file, so that browsers may keep each for a year."""

from __future__ import annotations

from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from flask import Flask, Response, request
from flask_compress import Compress


@cache
def version(path: Path) -> str:
    """A short fingerprint of a file's content, read once a process."""
    return sha256(path.read_bytes()).hexdigest()[:10] if path.is_file() else ""


def init_app(app: Flask) -> None:
    """Version the static addresses, and compress what is worth it."""
    app.config.update(COMPRESS_MIN_SIZE=1024, COMPRESS_BR_LEVEL=5)
    Compress(app)
    folder = Path(app.static_folder or "")

    @app.url_defaults
    def add_version(endpoint: str, values: dict[str, Any]) -> None:
        if endpoint == "static" and "v" not in values and (found := version(folder / values["filename"])):
            values["v"] = found

    @app.after_request
    def keep_for_a_year(response: Response) -> Response:
        if request.endpoint == "static" and "v" in request.args and response.status_code == 200:
            response.headers["Cache-Control"] = "public, max-age=31536000, immutable"
        return response
