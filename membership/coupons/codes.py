"""Coupon codes: 65 random bits in Crockford's base 32, which no eye confuses, spelt in three groups."""

from __future__ import annotations

import secrets
import unicodedata

LENGTH = 13
# Codes of pools, which may have been printed elsewhere.
SHORTEST, LONGEST = 4, 40
_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
# The character of each byte: eight bytes have the same, so that random ones give every character as often.
_BY_BYTE = (_ALPHABET * 8).encode()
_AS_READ = str.maketrans("OIL", "011")


def fresh() -> str:
    """A new code of 13 characters, 5 random bits each."""
    return fresh_many(1)[0]


def fresh_many(number: int) -> list[str]:
    """So many new codes, from one draw: a crowd waits for the lock under which they are made."""
    drawn = secrets.token_bytes(number * LENGTH).translate(_BY_BYTE).decode()
    return [drawn[i : i + LENGTH] for i in range(0, len(drawn), LENGTH)]


def canonical(typed: str) -> str:
    """A typed or scanned code as it is kept: upper case, no blanks or dashes, O read as 0, I and L as 1.

    Anything that cannot be a code comes back as an empty text.
    """
    text = unicodedata.normalize("NFKC", typed[:100]).upper()
    text = "".join(c for c in text if c.isalnum()).translate(_AS_READ)
    return text if len(text) == LENGTH and set(text) <= set(_ALPHABET) else ""


def typed(text: str) -> str:
    """A pool's code as it is kept: NFKC, upper case, no blanks or dashes. Empty when that cannot be a code.

    What a shop has printed elsewhere may hold O and I beside 0 and 1, so that nothing is read as something else here.
    """
    text = unicodedata.normalize("NFKC", text[:100]).upper()
    text = "".join(c for c in text if not c.isspace() and c not in "-–—_")
    return text if SHORTEST <= len(text) <= LONGEST and text.isascii() and text.isalnum() else ""


def as_read(text: str) -> str:
    """A code whose O, I and L are taken for the digits that they look like: how a generated one is found again."""
    return text.translate(_AS_READ)


def drawn(length: int, prefix: str = "") -> str:
    """A new code for a pool: the prefix, then so many random characters of 5 bits each."""
    return prefix + "".join(secrets.choice(_ALPHABET) for _ in range(length))


def grouped(code: str, prefix: str = "", group: int = 0) -> str:
    """A pool's code as people read it: `SPRING7F3K9QWE` with groups of four is `SPRING-7F3K-9QWE`."""
    if not group:
        return code
    rest = code[len(prefix) :] if code.startswith(prefix) else code
    parts = [rest[i : i + group] for i in range(0, len(rest), group)]
    return "-".join(([prefix] if prefix and code.startswith(prefix) else []) + parts)


def spelt(code: str) -> str:
    """`7F3K9QWE22MNX` → `7F3K-9QWE2-2MNX`."""
    return f"{code[:4]}-{code[4:9]}-{code[9:]}"


def masked(code: str) -> str:
    """`7F3K9QWE22MNX` → `7F3K-•••••-•MNX`, for eyes that need not use it."""
    return f"{code[:4]}-•••••-•{code[10:]}"
