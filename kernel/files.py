"""Uploaded pictures: decoded, shrunk, stripped of their metadata and encoded anew, under `FILES_DIR`."""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Iterable
from pathlib import Path
from typing import IO

from flask import Flask, Response, current_app, send_from_directory, url_for
from PIL import Image, ImageOps, UnidentifiedImageError

from .auth import public
from .db import on_commit
from .errors import NotFound, Refusal
from .i18n import lazy_gettext as _l

LARGEST_SIDE = 1600
LARGEST_PIXELS = 40_000_000
FORMATS = ("JPEG", "PNG", "WEBP", "GIF")
_KEY = re.compile(r"[A-Za-z0-9_-]{16}\.webp")


class FileRefused(Refusal):
    status = 422
    label = _l("This is not a picture that can be read. JPEG, PNG, WebP or GIF up to 40 megapixels are taken.")


def _folder(private: bool = False) -> Path:
    folder = Path(current_app.extensions["settings"].files_dir)
    return folder / "private" if private else folder


def save_picture(stream: IO[bytes], private: bool = False) -> str:
    """Store a picture and return its key; the longest side becomes at most 1600 pixels.

    A private one (what a member shows the desk) has no address of its own: a page that knows who may see it serves it with
    `send_private`. Refuses with `FileRefused`: no picture, another format, too many pixels, a broken file.
    """
    try:
        opened = Image.open(stream, formats=FORMATS)
        if opened.width * opened.height > LARGEST_PIXELS:
            raise FileRefused
        opened.draft("RGB", (LARGEST_SIDE, LARGEST_SIDE))
        picture: Image.Image = ImageOps.exif_transpose(opened)
        clear = picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info
        picture = picture.convert("RGBA" if clear else "RGB")
        picture.thumbnail((LARGEST_SIDE, LARGEST_SIDE))
    except FileRefused:
        raise
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise FileRefused from error
    key = f"{secrets.token_urlsafe(12)}.webp"
    folder = _folder(private) / key[:2]
    folder.mkdir(parents=True, exist_ok=True)
    half = folder / f".{key}.part"
    # Written aside and renamed, so that a full disk leaves no cut-off picture in sight.
    try:
        with half.open("wb") as out:
            picture.save(out, "WEBP", quality=82, method=4)
            out.flush()
            os.fsync(out.fileno())
        half.rename(folder / key)
    finally:
        half.unlink(missing_ok=True)
    return key


def send_private(key: str) -> Response:
    """A private picture, to a reader whose right the caller has checked. Refuses with `NotFound`."""
    if not _KEY.fullmatch(key):
        raise NotFound
    return send_from_directory(_folder(private=True) / key[:2], key, mimetype="image/webp", max_age=0)


def drop_private(keys: Iterable[str]) -> None:
    """Remove private pictures once the present transaction is committed (erasure)."""
    paths = [_folder(private=True) / key[:2] / key for key in keys if _KEY.fullmatch(key)]

    def unlink() -> None:
        for path in paths:
            path.unlink(missing_ok=True)

    on_commit(unlink)


def picture_url(key: str | None) -> str | None:
    """Where a stored picture is served; demo pictures live in static/ under `demo/`."""
    if not key:
        return None
    if key.startswith("demo/"):
        return url_for("static", filename=f"img/{key}")
    return url_for("picture", key=key)


def init_app(app: Flask) -> None:
    @app.get("/pictures/<key>")
    @public("pictures of posts and groups; keys are random")
    def picture(key: str):  # type: ignore[no-untyped-def]
        if not key.endswith(".webp") or len(key) > 40:
            raise NotFound
        response = send_from_directory(_folder() / key[:2], key, mimetype="image/webp", max_age=31_536_000)
        response.headers["Cache-Control"] = "public, max-age=31536000, immutable"
        return response

    app.jinja_env.globals.update(picture_url=picture_url)
