"""Stylesheets, scripts and pictures: addresses that change with the file, so that browsers may keep each for a year."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from flask import Flask, Response, has_request_context, request
from flask_compress import Compress

# So many addresses are kept: every file of static/ under a few roots. What lies beyond is worked out anew.
MOST_KEPT = 2_048


@cache
def version(path: Path) -> str:
    """A short fingerprint of a file's content, read once a process."""
    return sha256(path.read_bytes()).hexdigest()[:10] if path.is_file() else ""


def addresses(app: Flask) -> Callable[..., str]:
    """`url_for` for templates: the address of a static file is worked out once a process and root of the site, for a page has
    dozens of icons. Everything else, and what is asked for outside of a request, is `Flask.url_for` itself."""

    @lru_cache(maxsize=MOST_KEPT)
    def static(script_root: str, filename: str) -> str:
        return app.url_for("static", filename=filename)

    def url_for(endpoint: str, /, **values: Any) -> str:
        if endpoint == "static" and len(values) == 1 and "filename" in values and has_request_context():
            return static(request.script_root, values["filename"])
        return app.url_for(endpoint, **values)

    return url_for


def init_app(app: Flask) -> None:
    """Version the static addresses, and compress what is worth it."""
    app.config.update(COMPRESS_MIN_SIZE=1024, COMPRESS_BR_LEVEL=5)
    Compress(app)
    folder = Path(app.static_folder or "")
    app.jinja_env.globals["url_for"] = addresses(app)

    @app.url_defaults
    def add_version(endpoint: str, values: dict[str, Any]) -> None:
        if endpoint == "static" and "v" not in values and (found := version(folder / values["filename"])):
            values["v"] = found

    @app.after_request
    def keep_for_a_year(response: Response) -> Response:
        if request.endpoint == "static" and "v" in request.args and response.status_code == 200:
            response.headers["Cache-Control"] = "public, max-age=31536000, immutable"
        return response
