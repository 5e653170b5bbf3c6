"""Secrets that must be read again are kept sealed: AES-256-GCM (NIST SP 800-38D) under a key derived from the shop's by HKDF."""

from __future__ import annotations

import os
from base64 import urlsafe_b64decode, urlsafe_b64encode

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from flask import current_app


def _box(secret: bytes, purpose: str) -> AESGCM:
    return AESGCM(HKDF(hashes.SHA256(), 32, salt=None, info=f"siyu {purpose}".encode()).derive(secret))


def seal(text: str, purpose: str) -> str:
    """A secret as it may lie in the database; `purpose` (such as "channel account") is asked for again to open it."""
    nonce = os.urandom(12)
    box = _box(current_app.extensions["settings"].secret_key, purpose)
    return urlsafe_b64encode(nonce + box.encrypt(nonce, text.encode(), None)).decode()


def unseal(sealed: str | None, purpose: str) -> str:
    """The secret itself, with the present key or a former one; empty when there is none or no key fits any more."""
    if not sealed:
        return ""
    settings = current_app.extensions["settings"]
    raw = urlsafe_b64decode(sealed)
    for secret in (settings.secret_key, *settings.previous_secret_keys):
        try:
            return _box(secret, purpose).decrypt(raw[:12], raw[12:], None).decode()
        except InvalidTag:
            continue
    return ""
