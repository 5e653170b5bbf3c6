"""Secrets of channel accounts, sealed."""

from __future__ import annotations

from kernel import sealing

_PURPOSE = "channel account"


def seal(text: str) -> str:
    """A secret as it may lie in the database."""
    return sealing.seal(text, _PURPOSE)


def unseal(sealed: str | None) -> str:
    """The secret itself; empty when there is none or no key fits any more."""
    return sealing.unseal(sealed, _PURPOSE)
