"""Money is an integer number of 分 (1/100 yuan); these two functions are the only way in and out of text."""

from __future__ import annotations

import re
import unicodedata
from decimal import ROUND_HALF_UP, Decimal

LARGEST = 10_000_000_000_00
# The sign may stand before the ¥, as `yuan` writes it, or after it.
_PATTERN = re.compile(r"(?:([+-])\s*[¥￥]?|[¥￥]?\s*([+-]?))\s*(\d{1,3}(?:,\d{3})+|\d+)(?:\.(\d{1,2}))?\s*元?")


class MoneyInvalid(ValueError):
    """The text is not an amount in yuan with at most two decimals, or is out of range."""


def yuan(fen: int) -> str:
    """`123450` → `¥1,234.50`."""
    sign = "-" if fen < 0 else ""
    return f"{sign}¥{abs(fen) // 100:,}.{abs(fen) % 100:02d}"


def short_yuan(fen: int) -> str:
    """`2000` → `¥20`, `2050` → `¥20.50`: for sentences, where empty decimals only disturb."""
    text = yuan(fen)
    return text.removesuffix(".00")


def parse_yuan(text: str, negative: bool = False) -> int:
    """Read an amount in yuan (`1,234.50`, `¥20`, full-width digits allowed) as 分.

    Refuses with `MoneyInvalid`: anything else, more than two decimals, a negative amount unless
    `negative`, an amount of more than ten thousand million yuan.
    """
    # Python itself refuses to read numbers of thousands of digits, with another exception.
    match = _PATTERN.fullmatch(unicodedata.normalize("NFKC", text).strip()) if len(text) <= 60 else None
    if match is None:
        raise MoneyInvalid(text[:60])
    before, after, whole, cents = match.groups()
    sign = before or after
    fen = int(whole.replace(",", "")) * 100 + int((cents or "").ljust(2, "0"))
    fen = -fen if sign == "-" else fen
    if (fen < 0 and not negative) or abs(fen) > LARGEST:
        raise MoneyInvalid(text)
    return fen


def share(amount: int, weights: list[int]) -> list[int]:
    """Split an amount over weights so that the parts sum to it exactly (largest remainder)."""
    total = sum(weights)
    if total == 0:
        return [0] * len(weights)
    floors = [amount * w // total for w in weights]
    rest = amount - sum(floors)
    order = sorted(range(len(weights)), key=lambda i: (-(amount * weights[i] % total), i))
    for i in order[:rest]:
        floors[i] += 1
    return floors


def percent_of(amount: int, per_mille: int) -> int:
    """`per_mille`/1000 of an amount in 分, rounded half up."""
    return int((Decimal(amount) * per_mille / 1000).quantize(Decimal(1), ROUND_HALF_UP))
