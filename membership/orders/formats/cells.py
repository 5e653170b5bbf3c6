"""Reads single cells of order files strictly: a cell is understood or refused with a reason, never bent."""

from __future__ import annotations

import re
import unicodedata
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from kernel import clock, money
from membership.members import rules as people

from .. import rules
from .drafts import Reason

_UNSTORABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
_WHOLE = re.compile(r"[+-]?[0-9]+(?:\.0+)?")
_MOMENT = re.compile(
    r"(\d{4})[-/.](\d{1,2})[-/.](\d{1,2})[ T]+(\d{1,2}):(\d{2})(?::(\d{2})(?:\.(\d{1,6})0*)?)?\s*(Z|[+-]\d{2}:?\d{2})?"
)
_SPOILT = re.compile(r"[0-9](?:\.[0-9]+)?E\+?[0-9]+", re.IGNORECASE)
# What exports write where there is nothing.
NOTHING = frozenset({"", "-", "--", "—", "——", "?", "n/a", "null", "none", "无"})


class CellRefused(Exception):
    """A cell cannot be understood."""

    def __init__(self, column: str, reason: Reason, value: str = "") -> None:
        super().__init__(reason)
        self.column = column
        self.reason = reason
        self.value = value[:80]


def unwrapped(cell: str) -> str:
    """A cell without what spreadsheet programs put around it: `="123"`, a leading apostrophe, blanks."""
    text = cell.strip()
    if not text or text[0] not in "='\ufeff":
        return text
    text = text.removeprefix("\ufeff")
    if len(text) > 3 and text.startswith('="') and text.endswith('"'):
        text = text[2:-1].strip()
    return text.removeprefix("'").strip()


def is_nothing(text: str) -> bool:
    return text.strip().lower() in NOTHING


def text(column: str, cell: str, longest: int) -> str:
    """A text with its runs of blanks joined."""
    if _UNSTORABLE.search(cell):
        raise CellRefused(column, Reason.UNSTORABLE, _UNSTORABLE.sub("\ufffd", cell))
    plain = " ".join(cell.split())
    if len(plain) > longest:
        raise CellRefused(column, Reason.TOO_LONG, plain)
    return plain


def number(column: str, cell: str, longest: int = 64) -> str:
    """An order or customer number: any text without blanks inside that no spreadsheet program has rounded."""
    plain = text(column, unwrapped(cell), longest)
    if not plain:
        raise CellRefused(column, Reason.EMPTY)
    if _SPOILT.fullmatch(plain):
        raise CellRefused(column, Reason.NUMBER_FORM, plain)
    return plain


def amount(column: str, cell: str) -> int:
    """An amount in yuan as 分, between 0 and `rules.LARGEST_AMOUNT`. Refuses NaN, infinities, exponents and thirds of a 分."""
    found = _amount(unwrapped(cell)) if len(cell) <= 100 else Reason.AMOUNT_ABSURD
    if isinstance(found, Reason):
        raise CellRefused(column, found, cell)
    return found


@lru_cache(maxsize=20_000)
def _amount(text: str) -> int | Reason:
    """An amount, or why it is none. Few amounts of a file are different."""
    plain = unicodedata.normalize("NFKC", text).strip()
    # Some exports write every amount with more zeros than a 分 has room for.
    shortened = re.sub(r"(\.\d{2})0+(?=\s*元?$)", r"\1", plain)
    try:
        fen = money.parse_yuan(shortened, negative=True)
    except money.MoneyInvalid:
        digits = re.fullmatch(r"[¥￥]?\s*[0-9,]{13,}(?:\.[0-9]{1,2})?\s*元?", shortened)
        return Reason.AMOUNT_ABSURD if digits else Reason.AMOUNT_FORM
    if fen < 0:
        return Reason.AMOUNT_BELOW_ZERO
    return fen if fen <= rules.LARGEST_AMOUNT else Reason.AMOUNT_ABSURD


def quantity(column: str, cell: str) -> int:
    """Pieces, between 1 and a million; `2.0` is 2."""
    plain = unicodedata.normalize("NFKC", unwrapped(cell)).strip()
    if not _WHOLE.fullmatch(plain) or len(plain) > 20:
        raise CellRefused(column, Reason.QUANTITY_FORM, cell)
    pieces = int(plain.partition(".")[0])
    if not 1 <= pieces <= rules.MOST_PIECES:
        raise CellRefused(column, Reason.QUANTITY_RANGE, cell)
    return pieces


def moment(column: str, cell: str, now: datetime, ahead: timedelta = rules.AHEAD) -> datetime:
    """A date and time as aware UTC; without a zone it is the shop's clock. Refuses leap seconds, dates that do not exist,
    years before 2000, and what lies further than `ahead` after `now`."""
    plain = unicodedata.normalize("NFKC", unwrapped(cell)).strip()
    match = _MOMENT.fullmatch(plain)
    if match is None:
        raise CellRefused(column, Reason.MOMENT_FORM, cell)
    year, month, day, hour, minute, second, fraction, zone = match.groups()
    try:
        local = datetime(  # noqa: DTZ001 - the zone follows
            int(year),
            int(month),
            int(day),
            int(hour),
            int(minute),
            int(second or 0),
            int((fraction or "0").ljust(6, "0")),
        )
        if zone is None:
            at = local.replace(tzinfo=clock.ZONE).astimezone(UTC)
        else:
            offset = "+00:00" if zone == "Z" else zone if ":" in zone else f"{zone[:3]}:{zone[3:]}"
            at = datetime.fromisoformat(f"{local.isoformat()}{offset}").astimezone(UTC)
    except (ValueError, OverflowError):
        raise CellRefused(column, Reason.MOMENT_ABSURD, cell) from None
    if at.year < 2000:
        raise CellRefused(column, Reason.MOMENT_ABSURD, cell)
    if at > now + ahead:
        raise CellRefused(column, Reason.MOMENT_AHEAD, cell)
    return at


def phone(column: str, cell: str) -> str | None:
    """A phone in E.164; None where there is none or it is masked (138****0000)."""
    plain = unwrapped(cell)
    if is_nothing(plain) or "*" in plain:
        return None
    try:
        return people.canonical_phone(plain)
    except people.PhoneInvalid:
        raise CellRefused(column, Reason.PHONE_FORM, cell) from None


def email(column: str, cell: str) -> str | None:
    """An e-mail address in its canonical spelling; None where there is none or it is masked."""
    plain = unwrapped(cell)
    if is_nothing(plain) or "*" in plain:
        return None
    try:
        return people.canonical_email(plain)
    except people.EmailInvalid:
        raise CellRefused(column, Reason.EMAIL_FORM, cell) from None
