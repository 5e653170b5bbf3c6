"""Reads single cells of order files strictly: a cell is understood or refused with a reason, never bent."""

from __future__ import annotations

import enum
import re
import unicodedata
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from functools import lru_cache

from kernel import clock, money
from membership.members import rules as people

from .. import rules
from .drafts import Reason

# Control characters, and halves of characters that no database keeps.
UNSTORABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
# What nearly every amount looks like; none of these is too large.
_PLAIN_AMOUNT = re.compile(r"([0-9]{1,7})(?:\.([0-9]{1,2}))?", re.ASCII)
_WHOLE = re.compile(r"[+-]?[0-9]+(?:\.0+)?")
_CLOCK = (
    r"(?:[ T]+(\d{1,2}):(\d{2})(?::(\d{2})(?:\.(\d{1,6})0*)?)?\s*(?:([AaPp])\.?[Mm]\.?)?\s*(Z|UTC|[+-]\d{2}:?\d{2})?)?"
)
_MOMENT = re.compile(r"(\d{4})[-/.](\d{1,2})[-/.](\d{1,2})" + _CLOCK)
_TURNED = re.compile(r"(\d{1,2})[-/.](\d{1,2})[-/.](\d{4})" + _CLOCK)
_SERIAL = re.compile(r"[34567]\d{4}(?:\.\d+)?")
# What is a mobile number of China at first sight.
_MOBILE = re.compile(r"(?:\+86)?1[0-9]{10}", re.ASCII)
_SPOILT = re.compile(r"[0-9](?:\.[0-9]+)?E\+?[0-9]+", re.IGNORECASE)
_FEW = {str(pieces): pieces for pieces in range(1, 100)}
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
    """A cell without what spreadsheet programs put around it: `="123"`, a leading apostrophe, blanks. What went through our own
    list of rejected lines carries a second layer, the apostrophe that keeps a spreadsheet from computing it."""
    text = cell.strip()
    if not text or text[0] not in "='\ufeff":
        return text
    text, layered = text.removeprefix("\ufeff"), ""
    while text != layered:
        layered = text
        if len(text) > 3 and text.startswith('="') and text.endswith('"'):
            text = text[2:-1].strip()
        text = text.removeprefix("'").strip()
    return text


def is_nothing(text: str) -> bool:
    return text.strip().lower() in NOTHING


def text(column: str, cell: str, longest: int) -> str:
    """A text with its runs of blanks joined."""
    if cell.isprintable() and "  " not in cell:
        # Nearly every cell; nothing printable is unstorable, and no blank but the plain one is printable.
        plain = cell.strip()
    elif UNSTORABLE.search(cell):
        raise CellRefused(column, Reason.UNSTORABLE, UNSTORABLE.sub("\ufffd", cell))
    else:
        plain = " ".join(cell.split())
    if len(plain) > longest:
        raise CellRefused(column, Reason.TOO_LONG, plain)
    return plain


def number(column: str, cell: str, longest: int = 64) -> str:
    """An order or customer number: any text without blanks inside that no spreadsheet program has rounded."""
    if cell.isalnum() and cell.isascii() and len(cell) <= longest and (cell.isdigit() or not cell[0].isdigit()):
        # Nearly every one; what was rounded begins with a digit and holds a letter.
        return cell
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


_WITH_COMMA = re.compile(r"[0-9]{1,3}(?:[. \u00a0\u202f'’][0-9]{3})+(?:,[0-9]{1,2})?|[0-9]+(?:,[0-9]{1,2})?", re.ASCII)


def comma_amount(column: str, cell: str) -> int:
    """An amount in yuan as 分 where a comma stands before the decimals, `1.234,50` or `1 234,50`; otherwise as `amount`."""
    plain = unwrapped(cell)
    if not _WITH_COMMA.fullmatch(plain):
        raise CellRefused(column, Reason.AMOUNT_FORM, cell)
    return amount(column, re.sub("[^0-9,]", "", plain).replace(",", "."))


@lru_cache(maxsize=20_000)
def _amount(text: str) -> int | Reason:
    """An amount, or why it is none. Few amounts of a file are different."""
    if plainly := _PLAIN_AMOUNT.fullmatch(text):
        return int(plainly[1]) * 100 + int((plainly[2] or "").ljust(2, "0"))
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
    if cell in _FEW:
        return _FEW[cell]
    plain = unicodedata.normalize("NFKC", unwrapped(cell)).strip()
    if not _WHOLE.fullmatch(plain) or len(plain) > 20:
        raise CellRefused(column, Reason.QUANTITY_FORM, cell)
    pieces = int(plain.partition(".")[0])
    if not 1 <= pieces <= rules.MOST_PIECES:
        raise CellRefused(column, Reason.QUANTITY_RANGE, cell)
    return pieces


def fen(column: str, cell: str) -> int:
    """An amount in whole 分, between 0 and `rules.LARGEST_AMOUNT`."""
    plain = unicodedata.normalize("NFKC", unwrapped(cell)).strip().replace(",", "")
    if not _WHOLE.fullmatch(plain) or len(plain) > 20:
        raise CellRefused(column, Reason.AMOUNT_FORM, cell)
    found = int(plain.partition(".")[0])
    if found < 0:
        raise CellRefused(column, Reason.AMOUNT_BELOW_ZERO, cell)
    if found > rules.LARGEST_AMOUNT:
        raise CellRefused(column, Reason.AMOUNT_ABSURD, cell)
    return found


class Dates(enum.StrEnum):
    """How a file writes its dates."""

    YMD = "ymd"
    DMY = "dmy"
    MDY = "mdy"
    SERIAL = "serial"
    UNIX = "unix"


def moment(
    column: str,
    cell: str,
    now: datetime,
    ahead: timedelta = rules.AHEAD,
    dates: Dates = Dates.YMD,
    day_only: bool = False,
) -> datetime:
    """A date and time as aware UTC; without a zone it is the shop's clock. `dates` says how it is written; with `day_only`
    a date without a time is the beginning of that day. Refuses leap seconds, dates that do not exist, years before 2000,
    and what lies further than `ahead` after `now`."""
    found = moment_of(unwrapped(cell), dates, day_only)
    if isinstance(found, Reason):
        raise CellRefused(column, found, cell)
    if found > now + ahead:
        raise CellRefused(column, Reason.MOMENT_AHEAD, cell)
    return found


@lru_cache(maxsize=20_000)
def moment_of(text: str, dates: Dates, day_only: bool) -> datetime | Reason:
    """A moment, or why it is none. Few moments of a file are different."""
    plain = unicodedata.normalize("NFKC", text).strip()
    if dates in (Dates.SERIAL, Dates.UNIX):
        return _counted(plain, dates)
    if dates is Dates.YMD and "年" in plain:
        plain = plain.replace("年", "-").replace("月", "-").replace("日", " ").strip()
    match = _MOMENT.fullmatch(plain) if dates is Dates.YMD else _TURNED.fullmatch(plain)
    if match is None or (match[4] is None and not day_only):
        return Reason.MOMENT_SERIAL if _SERIAL.fullmatch(plain) else Reason.MOMENT_FORM
    first, second_part, third, hour, minute, second, fraction, half, zone = match.groups()
    year, month, day = {
        Dates.YMD: (first, second_part, third),
        Dates.DMY: (third, second_part, first),
        Dates.MDY: (third, first, second_part),
    }[dates]
    hours = int(hour or 0)
    if half:
        if not 1 <= hours <= 12:
            return Reason.MOMENT_ABSURD
        hours = hours % 12 + (12 if half.lower() == "p" else 0)
    try:
        local = datetime(  # noqa: DTZ001 - the zone follows
            int(year),
            int(month),
            int(day),
            hours,
            int(minute or 0),
            int(second or 0),
            int((fraction or "0").ljust(6, "0")),
        )
        if zone is None:
            at = local.replace(tzinfo=clock.ZONE).astimezone(UTC)
        else:
            offset = "+00:00" if zone in ("Z", "UTC") else zone if ":" in zone else f"{zone[:3]}:{zone[3:]}"
            at = datetime.fromisoformat(f"{local.isoformat()}{offset}").astimezone(UTC)
    except (ValueError, OverflowError):
        return Reason.MOMENT_ABSURD
    return at if at.year >= 2000 else Reason.MOMENT_ABSURD


def _counted(plain: str, dates: Dates) -> datetime | Reason:
    """A moment counted in days since 1899-12-30 by the shop's clock, as spreadsheets do, or in (milli)seconds since 1970."""
    if not re.fullmatch(r"[0-9]{1,13}(?:\.[0-9]{1,12})?", plain):
        return Reason.MOMENT_FORM
    if dates is Dates.SERIAL:
        seconds = int((Decimal(plain) * 86_400).to_integral_value(ROUND_HALF_UP))
        try:
            at = (datetime(1899, 12, 30) + timedelta(seconds=seconds)).replace(tzinfo=clock.ZONE).astimezone(UTC)  # noqa: DTZ001
        except OverflowError:
            return Reason.MOMENT_ABSURD
    else:
        number = Decimal(plain)
        at = datetime.fromtimestamp(float(number / 1000 if number >= 100_000_000_000 else number), UTC)
    return at if 2000 <= at.year < 2100 else Reason.MOMENT_ABSURD


def phone(column: str, cell: str, region: str = "CN") -> str | None:
    """A phone in E.164; None where there is none or it is masked (138****0000). `region` (ISO 3166) is where a number
    without a country prefix is dialled."""
    plain = unwrapped(cell)
    if _MOBILE.fullmatch(plain) and region == "CN":
        return "+86" + plain[-11:]
    if is_nothing(plain) or "*" in plain:
        return None
    found = _phone(plain, region)
    if isinstance(found, Reason):
        raise CellRefused(column, found, cell)
    return found


@lru_cache(maxsize=20_000)
def _phone(plain: str, region: str) -> str | Reason:
    if _SPOILT.fullmatch(plain):
        return Reason.PHONE_SPOILT
    try:
        return people.canonical_phone(plain, region)
    except people.PhoneInvalid:
        return Reason.PHONE_FORM


def email(column: str, cell: str) -> str | None:
    """An e-mail address in its canonical spelling; None where there is none or it is masked."""
    plain = unwrapped(cell)
    if is_nothing(plain) or "*" in plain:
        return None
    try:
        return people.canonical_email(plain)
    except people.EmailInvalid:
        raise CellRefused(column, Reason.EMAIL_FORM, cell) from None
