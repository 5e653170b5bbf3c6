"""Uploaded files under `FILES_DIR`: pictures are decoded, shrunk, stripped of their metadata and encoded anew; short videos are
looked into and kept as they are, but for the user data and tags that tell where they were filmed.

A file lies under a random name of ours in a folder named after the first two letters of it; nothing that somebody sends is
ever part of a path. It is written aside and renamed, so that a full disk leaves nothing cut off in sight.
"""

from __future__ import annotations

import math
import os
import re
import secrets
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO

from flask import Flask, Response, current_app, request, send_from_directory, url_for
from PIL import Image, ImageOps, UnidentifiedImageError
from werkzeug.datastructures import Range
from werkzeug.exceptions import RequestedRangeNotSatisfiable
from werkzeug.http import parse_range_header

from . import containers
from .auth import public
from .db import on_commit, on_rollback
from .errors import NotFound, Refusal
from .i18n import lazy_gettext as _l
from .jobs import every, job
from .ports import Port

LARGEST_SIDE = 1600
LARGEST_PIXELS = 40_000_000
FORMATS = ("JPEG", "PNG", "WEBP", "GIF")
LARGEST_VIDEO = 32 * 1024 * 1024
VIDEO_TYPES = {"mp4": "video/mp4", "webm": "video/webm"}
# A player that asks for more from a place on, or for everything, gets so much at a time, so that no slow phone holds a thread for minutes.
LARGEST_PIECE = 2 * 1024 * 1024
# What lies unused for so long was left behind by a crash, or by somebody who never pressed the button of a form.
ORPHAN_SECONDS = 86_400
# A private picture that was named for a month is taken away by whoever takes its name away, and is not asked about again.
WATCHED_SECONDS = 30 * 86_400
# Whatever a file might be taken for, nothing in it runs or asks for anything.
SEALED = "default-src 'none'; sandbox"
_KEY = re.compile(r"[A-Za-z0-9_-]{16}\.webp")
_RAW = re.compile(r"[A-Za-z0-9_-]{16}\.raw")
_VIDEO = re.compile(r"[A-Za-z0-9_-]{16}\.(?:mp4|webm)")

private_in_use: Port[[Sequence[str]], set[str]] = Port("files.private_in_use")
"""Which of these keys of private pictures, and of what is kept as it came, a room still names; every room that stores some
answers."""
public_in_use: Port[[Sequence[str]], set[str]] = Port("files.public_in_use")
"""Which of these keys of pictures that anybody could ask for a room still names; every room that stores some answers."""
videos_in_use: Port[[Sequence[str]], set[str]] = Port("files.videos_in_use")
"""Which of these keys of videos a room still names; every room that stores some answers."""


class FileRefused(Refusal):
    status = 422
    label = _l("This is not a picture that can be read. JPEG, PNG, WebP or GIF up to 40 megapixels are taken.")


class VideoRefused(Refusal):
    status = 422
    label = _l("This is not a whole video that can be read. MP4 or WebM up to 32 MB are taken.")


class VideoTooLarge(Refusal):
    status = 422
    label = _l(
        "The video is larger than 32 MB. Cut it shorter, or save it with fewer pixels: 720p is plenty on a phone."
    )


class VideoCodeRefused(Refusal):
    status = 422
    label = _l("The video is coded as %(code)s, which many phones cannot play. Save it as MP4 with H.264, or as WebM.")


class VideoTells(Refusal):
    status = 422
    label = _l(
        "Beside picture and sound the video has another track (%(kind)s), and cameras write into such a track where they were. "
        "Save it again as a plain video, for instance by cutting it on the phone, and choose that one."
    )


@dataclass(frozen=True)
class Video:
    """A stored video: its key, and how long the file is."""

    key: str
    size: int


def _folder(private: bool = False) -> Path:
    folder = Path(current_app.extensions["settings"].files_dir)
    return folder / "private" if private else folder


def _videos() -> Path:
    return Path(current_app.extensions["settings"].files_dir) / "videos"


@contextmanager
def _written(folder: Path, key: str) -> Iterator[IO[bytes]]:
    """A new file that gets its name once all of it is on the disk, and leaves nothing otherwise. Of two who write the same one
    at the same time each has a half of its own."""
    (folder / key[:2]).mkdir(parents=True, exist_ok=True)
    half = folder / key[:2] / f".{key}.{secrets.token_hex(4)}.part"
    try:
        with half.open("xb") as out:
            yield out
            out.flush()
            os.fsync(out.fileno())
        half.rename(folder / key[:2] / key)
    finally:
        half.unlink(missing_ok=True)


@contextmanager
def _readable() -> Iterator[None]:
    """What the library for pictures says of one that it cannot read, as `FileRefused`."""
    try:
        yield
    except FileRefused:
        raise
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise FileRefused from error


def _opened(stream: IO[bytes]) -> Image.Image:
    opened = Image.open(stream, formats=FORMATS)
    if opened.width * opened.height > LARGEST_PIXELS:
        raise FileRefused
    return opened


def look_at_picture(stream: IO[bytes]) -> None:
    """Judge a picture by its first bytes, in a fraction of a millisecond; drawing it may still find it broken further on.

    Refuses with `FileRefused`: no picture, another format, too many pixels.
    """
    with _readable():
        _opened(stream)


def picture_key() -> str:
    """A key for a picture that is still to be stored, for whoever must write it down beforehand."""
    return f"{secrets.token_urlsafe(12)}.webp"


def save_picture(stream: IO[bytes], private: bool = False, key: str | None = None) -> str:
    """Store a picture and return its key; the longest side becomes at most 1600 pixels.

    With a `key` of `picture_key` it is stored under that one, over what is there already. A private one (what a member shows
    the desk) has no address of its own: a page that knows who may see it serves it with `send_private`. Refuses with
    `FileRefused`: no picture, another format, too many pixels, a broken file.
    """
    with _readable():
        opened = _opened(stream)
        opened.draft("RGB", (LARGEST_SIDE, LARGEST_SIDE))
        picture: Image.Image = ImageOps.exif_transpose(opened)
        clear = picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info
        picture = picture.convert("RGBA" if clear else "RGB")
        picture.thumbnail((LARGEST_SIDE, LARGEST_SIDE))
    key, folder = key or picture_key(), _folder(private)
    with _written(folder, key) as out:
        picture.save(out, "WEBP", quality=82, method=4)
    if private:
        # What is refused afterwards names it nowhere.
        on_rollback(lambda: (folder / key[:2] / key).unlink(missing_ok=True))
    return key


def keep_raw(content: bytes) -> str:
    """Keep bytes as they came until somebody looks into them, and return their key. They lie among the private pictures, are
    swept away as those are, and no page serves them."""
    key, folder = f"{secrets.token_urlsafe(12)}.raw", _folder(private=True)
    with _written(folder, key) as out:
        out.write(content)
    on_rollback(lambda: (folder / key[:2] / key).unlink(missing_ok=True))
    return key


def read_raw(key: str, begins: int, size: int) -> bytes | None:
    """A stretch of what `keep_raw` kept, from a byte on; None where it is gone or shorter."""
    path = _folder(private=True) / key[:2] / key
    if not _RAW.fullmatch(key) or not path.is_file():
        return None
    with path.open("rb") as kept:
        kept.seek(begins)
        content = kept.read(size)
    return content if len(content) == size else None


def picture_size(key: str) -> int | None:
    """The bytes of a stored picture that has an address of its own; None where there is none of that key."""
    path = _folder() / key[:2] / key
    return path.stat().st_size if _KEY.fullmatch(key) and path.is_file() else None


def read_picture(key: str, most: int) -> bytes | None:
    """A stored picture with an address of its own; None where there is none of that key, or it has more than `most` bytes."""
    size = picture_size(key)
    return (_folder() / key[:2] / key).read_bytes() if size is not None and size <= most else None


def save_video(stream: IO[bytes]) -> Video:
    """Store a short video as it is and return its key; its user data and tags are made empty.

    Refuses with `VideoTooLarge` (more than 32 MB), `VideoCodeRefused` (a coding that many phones cannot play), `VideoTells`
    (a track beside picture and sound, which may be a path of places) and `VideoRefused`: no MP4 or WebM, or
    one whose pieces do not fill it from the first byte to the last.
    """
    size = stream.seek(0, os.SEEK_END)
    if size > LARGEST_VIDEO:
        raise VideoTooLarge
    try:
        found = containers.look_into(stream, size)
    except containers.Broken as error:
        raise VideoRefused from error
    except containers.UnplayableCode as error:
        raise VideoCodeRefused(code=error.args[0]) from error
    except containers.TellingTrack as error:
        raise VideoTells(kind=error.args[0]) from error
    key = f"{secrets.token_urlsafe(12)}.{found.ending}"
    stream.seek(0)
    with _written(_videos(), key) as out:
        while portion := stream.read(1024 * 1024):
            out.write(portion)
        for blank in found.blanks:
            out.seek(blank.at)
            out.write(blank.head)
            for start in range(blank.at + len(blank.head), blank.until, 1024 * 1024):
                out.write(bytes(min(1024 * 1024, blank.until - start)))
    return Video(key, size)


def is_video(key: str) -> bool:
    """Whether this could be the key of a video."""
    return _VIDEO.fullmatch(key) is not None


def video_size(key: str) -> int | None:
    """How long a stored video is in bytes; None for a key that names none."""
    path = _videos() / key[:2] / key
    return path.stat().st_size if is_video(key) and path.is_file() and not path.is_symlink() else None


def send_private(key: str) -> Response:
    """A private picture, to a reader whose right the caller has checked. Refuses with `NotFound`."""
    return _sent(_folder(private=True), key, 0)


def _sent(folder: Path, key: str, max_age: int) -> Response:
    """A stored picture. Refuses with `NotFound` what is no key of ours, and whatever is not a file of the folder itself."""
    if not _KEY.fullmatch(key) or (folder / key[:2] / key).is_symlink():
        raise NotFound
    response = send_from_directory(folder / key[:2], key, mimetype="image/webp", max_age=max_age)
    response.headers["Content-Security-Policy"] = SEALED
    return response


def drop_private(keys: Iterable[str]) -> None:
    """Remove private pictures, and what was kept as it came, once the present transaction is committed."""
    _drop([_folder(private=True) / key[:2] / key for key in keys if _KEY.fullmatch(key) or _RAW.fullmatch(key)])


def drop_pictures(keys: Iterable[str]) -> None:
    """Remove pictures that anybody could ask for, once the present transaction is committed (erasure of who showed them).

    Whoever calls has taken the names away; a picture that any row still names stays, so that nobody who named one of the
    shop's takes it along.
    """
    known = sorted({key for key in keys if _KEY.fullmatch(key)})
    if known:
        used: set[str] = set().union(*public_in_use.call(known))
        _drop([_folder() / key[:2] / key for key in known if key not in used])


def drop_video(key: str) -> None:
    """Remove a video once the present transaction is committed; whoever calls knows that nothing names it any more."""
    if _VIDEO.fullmatch(key):
        _drop([_videos() / key[:2] / key])


def _drop(paths: Sequence[Path]) -> None:
    def unlink() -> None:
        for path in paths:
            path.unlink(missing_ok=True)

    on_commit(unlink)


def sweep(now: float) -> int:
    """Remove private pictures and videos that no row names, and files that were never finished, if they are older than a day
    (private pictures also no older than a month).

    `now` is in seconds of the machine's clock, which also dates the files. Returns how many went. A kind of file for which
    nobody answers is left alone.
    """
    root, gone = _folder(), 0
    for folder, port, longest in (
        (_folder(private=True), private_in_use, float(WATCHED_SECONDS)),
        (_videos(), videos_in_use, math.inf),
    ):
        if not port.filled:
            continue
        old = (path for path in folder.glob("??/*") if _is_old(path, now, longest))
        while portion := list(islice(old, 500)):
            used: set[str] = set().union(*port.call([path.name for path in portion]))
            for path in portion:
                if path.name not in used:
                    path.unlink(missing_ok=True)
                    gone += 1
    for pattern in ("??/.*.part", "*/??/.*.part"):
        for path in root.glob(pattern):
            if _is_old(path, now):
                path.unlink(missing_ok=True)
                gone += 1
    return gone


def _is_old(path: Path, now: float, longest: float = math.inf) -> bool:
    try:
        return ORPHAN_SECONDS < now - path.lstat().st_mtime < longest
    except FileNotFoundError:
        return False


@every(6 * 3_600)
@job()
def sweep_files() -> None:
    """Remove what a crash left of uploaded files."""
    sweep(time.time())


def picture_url(key: str | None) -> str | None:
    """Where a stored picture is served; demo pictures live in static/ under `demo/`."""
    if not key:
        return None
    if key.startswith("demo/"):
        return url_for("static", filename=f"img/{key}")
    return url_for("picture", key=key)


def video_url(key: str | None) -> str | None:
    """Where a stored video is played from."""
    return url_for("video", key=key) if key else None


def _one_range(header: str | None, size: int) -> str | None:
    """The one stretch that is asked for, as it is answered: no longer than a piece, and never more than the file has.

    None answers with the whole file, as RFC 9110 (14.2) wants for units that are not known, several stretches and nonsense.
    """
    asked = parse_range_header(header)
    if asked is None or asked.units != "bytes" or len(asked.ranges) != 1:
        return None
    start, stop = asked.ranges[0]
    if start < 0:
        start = max(size + start, 0)
    if start < size:
        stop = min(size if stop is None else stop, start + LARGEST_PIECE, size)
    return Range("bytes", [(start, stop)]).to_header()


def _film(key: str) -> Response:
    size = video_size(key)
    if size is None:
        raise NotFound
    asked = _one_range(request.headers.get("Range"), size)
    if asked is None:
        request.environ.pop("HTTP_RANGE", None)
    else:
        request.environ["HTTP_RANGE"] = asked
    ending = key.rpartition(".")[2]
    try:
        answer = send_from_directory(
            _videos() / key[:2],
            key,
            mimetype=VIDEO_TYPES[ending],
            max_age=31_536_000,
            as_attachment=True,
            download_name=f"video.{ending}",
            etag=key,
        )
    except RequestedRangeNotSatisfiable:
        return Response(status=416, headers={"Content-Range": f"bytes */{size}", "Cache-Control": "no-store"})
    answer.headers["Cache-Control"] = "public, max-age=31536000, immutable"
    answer.headers["Content-Security-Policy"] = SEALED
    answer.headers.setdefault("Accept-Ranges", "bytes")
    return answer


def init_app(app: Flask) -> None:
    @app.get("/pictures/<key>")
    @public("pictures of posts and groups; keys are random")
    def picture(key: str):  # type: ignore[no-untyped-def]
        response = _sent(_folder(), key, 31_536_000)
        response.headers["Content-Disposition"] = "attachment; filename=picture.webp"
        response.headers["Cache-Control"] = "public, max-age=31536000, immutable"
        return response

    @app.get("/videos/<key>")
    @public("short videos of posts; keys are random")
    def video(key: str):  # type: ignore[no-untyped-def]
        return _film(key)

    app.jinja_env.globals.update(picture_url=picture_url, video_url=video_url)
