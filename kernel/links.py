"""Signed links. A token is `key.expiry.parts….signature`; its purpose is part of what is signed, never of the text.

The signature is HMAC-SHA256 (RFC 2104) cut to 128 bits, under a key derived for the purpose by HKDF (RFC 5869). A token is
accepted only in the very spelling in which it is made, so that no two texts stand for one right.
"""

from __future__ import annotations

import hmac
import re
from base64 import urlsafe_b64encode
from datetime import UTC, datetime
from functools import cache
from hashlib import sha256

import segno
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from flask import current_app

from . import clock
from .errors import Refusal
from .i18n import lazy_gettext as _l

_ALPHABET = "0123456789abcdefghijklmnopqrstuvwxyz"
_EXPIRY = re.compile(r"[0-9a-z]{1,10}")
_PART = re.compile(r"[A-Za-z0-9_-]{1,64}")


class LinkInvalid(Refusal):
    status = 404
    title = _l("This link does not work")
    label = _l("The link is incomplete or was changed on its way. Ask for it again, or copy the whole of it.")
    icon = "link-off"


class LinkExpired(Refusal):
    status = 410
    title = _l("This link has expired")
    label = _l("It was valid for a limited time. Nothing is lost; the shop can send you a new one.")
    icon = "clock-off"


@cache
def _key(secret: bytes, key_id: str, purpose: str) -> bytes:
    return HKDF(hashes.SHA256(), 32, salt=key_id.encode(), info=f"siyu link {purpose}".encode()).derive(secret)


def _base36(value: int) -> str:
    digits = ""
    while value:
        value, rest = divmod(value, 36)
        digits = _ALPHABET[rest] + digits
    return digits or "0"


def _key_id(secret: bytes) -> str:
    # A key is named by its own fingerprint, so that rotation needs no counter to be kept anywhere.
    return urlsafe_b64encode(sha256(b"siyu key id" + secret).digest())[:4].decode()


def _spell(secret: bytes, purpose: str, parts: tuple[str, ...], expiry: int) -> str:
    key_id = _key_id(secret)
    body = ".".join((key_id, _base36(expiry), *parts))
    signature = hmac.digest(_key(secret, key_id, purpose), body.encode(), "sha256")[:16]
    return f"{body}.{urlsafe_b64encode(signature).rstrip(b'=').decode()}"


def make(purpose: str, *parts: int | str, expires_at: datetime | None = None) -> str:
    """A token for a purpose over parts (integers, or text of letters, digits, `-` and `_`); no expiry if none is given."""
    texts = tuple(str(part) for part in parts)
    if not all(_PART.fullmatch(text) for text in texts):
        raise ValueError("a link's parts are short and plain")
    secret: bytes = current_app.extensions["settings"].secret_key
    return _spell(secret, purpose, texts, int(expires_at.timestamp()) if expires_at else 0)


def read(purpose: str, token: str) -> tuple[str, ...]:
    """The parts of a token.

    Refuses with `LinkInvalid` whatever was not made by `make` for this purpose, with `LinkExpired` what is too old.
    """
    pieces = token.split(".")
    if len(token) > 400 or len(pieces) < 3 or not token.isascii():
        raise LinkInvalid
    # `int` would also read signs and underscores; a negative number has no end when it is spelled.
    if not _EXPIRY.fullmatch(pieces[1]):
        raise LinkInvalid
    expiry = int(pieces[1], 36)
    parts = tuple(pieces[2:-1])
    settings = current_app.extensions["settings"]
    secrets_known = (settings.secret_key, *getattr(settings, "previous_secret_keys", ()))
    if not any(hmac.compare_digest(_spell(secret, purpose, parts, expiry), token) for secret in secrets_known):
        raise LinkInvalid
    if expiry and datetime.fromtimestamp(expiry, UTC) <= clock.now():
        raise LinkExpired
    return parts


def absolute(path: str) -> str:
    """The full address of a path, on the configured site and never on what a request header says."""
    return str(current_app.extensions["settings"].site_url).rstrip("/") + path


def qr_svg(address: str) -> str:
    """A QR code (ISO/IEC 18004, error correction M) as SVG markup, black on whatever lies behind it."""
    return segno.make(address, error="m", micro=False).svg_inline(
        scale=1, border=2, omitsize=True, svgclass="qr", lineclass=None, dark="#000"
    )


def qr_png(address: str, scale: int = 8) -> bytes:
    """A QR code as PNG, `scale` pixels a module."""
    import io

    buffer = io.BytesIO()
    segno.make(address, error="m", micro=False).save(buffer, kind="png", scale=scale, border=3)
    return buffer.getvalue()
