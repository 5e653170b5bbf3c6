"""Coupon codes: 65 random bits in Crockford's base 32, which no eye confuses, spelt in three groups."""

from __future__ import annotations

import base64
import secrets
import unicodedata

LENGTH = 13
_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_FROM_RFC4648 = str.maketrans("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", _ALPHABET)
_AS_READ = str.maketrans("OIL", "011")


def fresh() -> str:
    """A new code of 13 characters, 5 random bits each."""
    return base64.b32encode(secrets.token_bytes(10)).decode().translate(_FROM_RFC4648)[:LENGTH]


def canonical(typed: str) -> str:
    """A typed or scanned code as it is kept: upper case, no blanks or dashes, O read as 0, I and L as 1.

    Anything that cannot be a code comes back as an empty text.
    """
    text = unicodedata.normalize("NFKC", typed[:100]).upper()
    text = "".join(c for c in text if c.isalnum()).translate(_AS_READ)
    return text if len(text) == LENGTH and set(text) <= set(_ALPHABET) else ""


def spelt(code: str) -> str:
    """`7F3K9QWE22MNX` → `7F3K-9QWE2-2MNX`."""
    return f"{code[:4]}-{code[4:9]}-{code[9:]}"


def masked(code: str) -> str:
    """`7F3K9QWE22MNX` → `7F3K-•••••-•MNX`, for eyes that need not use it."""
    return f"{code[:4]}-•••••-•{code[10:]}"
