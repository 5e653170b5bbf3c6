"""Reads JSON of shop systems field by field: each is understood or noted as a fault, so that one answer names them all."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from typing import Any

from kernel.errors import Refusal
from membership.members import rules as people

from .. import rules
from ..formats.cells import UNSTORABLE
from ..formats.drafts import OrderDraft, RefundDraft, StepDraft, version_at
from ..models import OrderState
from .reasons import PayloadRefused, Reason

MOST_ORDERS = 500
_AMOUNT = re.compile(r"-?[0-9]{1,15}(?:\.[0-9]{1,12})?")
_NUMBER = re.compile(r"[^\s\x00-\x1f\x7f]{1,64}")
_MOMENT = re.compile(
    r"\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}:\d{2}(?:\.\d{1,9})?(?P<zone>Z|[+-]\d{2}:?\d{2})?", re.IGNORECASE
)
_CURRENCY = re.compile(r"[A-Z]{3}")
# A moment may lie so long before the placing (clocks differ, orders are entered by hand) before it is taken for a mistake.
BEFORE = timedelta(days=1)


def parsed(body: bytes) -> Any:
    """A body as JSON, its decimal numbers exact. Refuses with `PayloadRefused`: no UTF-8, no JSON, NaN and infinities,
    nesting that cannot be followed."""

    def none_of_these(constant: str) -> Any:
        raise ValueError(constant)

    try:
        return json.loads(body.decode("utf-8"), parse_float=Decimal, parse_constant=none_of_these)
    except (ValueError, RecursionError, InvalidOperation):
        raise PayloadRefused([("body", Reason.NO_JSON)]) from None


@dataclass(frozen=True)
class Exchange:
    """In which currency amounts may come besides yuan, and how many yuan one of it is worth (the shop's own fixed rate)."""

    currency: str = "CNY"
    rate: Decimal = Decimal(1)

    def rate_of(self, currency: str) -> Decimal | None:
        """What an amount in the currency is multiplied with, or None when nobody said."""
        if currency == "CNY":
            return Decimal(1)
        return self.rate if currency == self.currency else None


@dataclass
class Payload:
    """What was understood: reports to take in, remarks (`Reason`s) about parts left out, and why nothing is to be taken."""

    reports: list[OrderDraft | RefundDraft | StepDraft] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    ignored: str = ""


def one_order(
    remarks: list[str],
    moments: dict[str, Any],
    *,
    state: OrderState,
    placed_at: datetime,
    updated_at: datetime | None,
    paid: int,
    postage: int,
    refunded: int,
    **told: Any,
) -> Payload:
    """What every shop system's order comes to (amounts in 分): no more postage and refunds than was paid; where the system
    does not say when it changed, its `moments` do."""
    draft = OrderDraft(
        state=state,
        placed_at=placed_at,
        version_at=updated_at or version_at(state, placed_at, **moments),
        paid_amount=paid,
        postage=min(postage, paid),
        refunded_amount=min(refunded, paid),
        **told,
        **moments,
    )
    return Payload([draft], remarks)


class Fields:
    """One JSON object that is being read. Faults are gathered under their places; what was faulty reads as nothing."""

    def __init__(
        self, body: Any, now: datetime, place: str = "", faults: list[tuple[str, str]] | None = None, rate: Any = None
    ) -> None:
        self.faults: list[tuple[str, str]] = faults if faults is not None else []
        self.now = now
        self.place = place
        self.rate: Decimal = rate or Decimal(1)
        self.body: dict[str, Any] = body if isinstance(body, dict) else {}
        if not isinstance(body, dict):
            self.faults.append((place or "body", Reason.NO_OBJECT))

    def fault(self, name: str, reason: Reason) -> None:
        self.faults.append((f"{self.place}.{name}" if self.place else name, reason))

    def has(self, name: str) -> bool:
        """Whether the field says anything."""
        return self.body.get(name) not in (None, "")

    def _under(self, body: Any, name: str) -> Fields:
        place = f"{self.place}.{name}" if self.place else name
        return Fields(body, self.now, place, self.faults, self.rate)

    def child(self, name: str, needed: bool = False) -> Fields:
        """An object inside; an empty one where there is none."""
        inner = self.body.get(name)
        if inner is None:
            if needed:
                self.fault(name, Reason.MISSING)
            inner = {}
        return self._under(inner, name)

    def children(self, name: str, most: int = rules.MOST_LINES) -> list[Fields]:
        """The objects of a list; none where the list is missing."""
        inner = self.body.get(name)
        if inner is None:
            return []
        if not isinstance(inner, list):
            self.fault(name, Reason.NO_LIST)
            return []
        if len(inner) > most:
            self.fault(name, Reason.TOO_MANY_LINES)
            return []
        return [self._under(one, f"{name}.{place}") for place, one in enumerate(inner)]

    def text(self, name: str, longest: int = 200) -> str:
        """A text with its runs of blanks joined; what is longer is cut, for titles and names may be as long as they like."""
        value = self.body.get(name)
        if value is None:
            return ""
        if not isinstance(value, str):
            self.fault(name, Reason.NO_TEXT)
            return ""
        if UNSTORABLE.search(value):
            self.fault(name, Reason.UNSTORABLE)
            return ""
        return " ".join(value.split())[:longest]

    def choice(self, name: str, known: Any, default: Any = None) -> Any:
        """What a word stands for; a word that is not among the known ones is a fault."""
        value = self.body.get(name)
        if value is None and default is not None:
            return default
        if isinstance(value, str) and value in known:
            return known[value]
        self.fault(name, Reason.MISSING if value in (None, "") else Reason.STATE_UNKNOWN)
        return default

    def number(self, name: str, needed: bool = False) -> str | None:
        """A number of an order, a line or a customer, as text; 0 stands for nobody."""
        value = self.body.get(name)
        if value is None or value == "" or (value == 0 and not isinstance(value, bool)):
            if needed:
                self.fault(name, Reason.MISSING)
            return None
        if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 10**40:
            return str(value)
        if isinstance(value, str) and _NUMBER.fullmatch(value) and not UNSTORABLE.search(value):
            return value
        self.fault(name, Reason.NO_NUMBER)
        return None

    def amount(self, name: str, needed: bool = False, negative: bool = False) -> int:
        """An amount as 分, in yuan at the connection's rate, rounded half up. 0 where there is none.

        Refuses NaN, exponents, amounts beyond `rules.LARGEST_AMOUNT`, and those below zero unless `negative`.
        """
        value = self.body.get(name)
        if value is None or value == "":
            if needed:
                self.fault(name, Reason.MISSING)
            return 0
        if isinstance(value, bool) or not isinstance(value, str | int | Decimal):
            self.fault(name, Reason.AMOUNT_FORM)
            return 0
        if isinstance(value, int) and abs(value) >= 10**15:
            self.fault(name, Reason.AMOUNT_ABSURD)
            return 0
        written = value if isinstance(value, str) else f"{value:f}" if isinstance(value, Decimal) else str(value)
        if not _AMOUNT.fullmatch(written):
            self.fault(name, Reason.AMOUNT_FORM)
            return 0
        fen = int((Decimal(written) * 100 * self.rate).quantize(Decimal(1), ROUND_HALF_UP))
        if fen < 0 and not negative:
            self.fault(name, Reason.AMOUNT_BELOW_ZERO)
            return 0
        if abs(fen) > rules.LARGEST_AMOUNT:
            self.fault(name, Reason.AMOUNT_ABSURD)
            return 0
        return fen

    def pieces(self, name: str) -> int:
        """A number of pieces, 0 to a million; 0 are lines that an edit took out."""
        value = self.body.get(name)
        if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 10:
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int):
            self.fault(name, Reason.MISSING if value is None else Reason.QUANTITY_FORM)
            return 0
        if not 0 <= value <= rules.MOST_PIECES:
            self.fault(name, Reason.QUANTITY_RANGE)
            return 0
        return value

    def moment(self, name: str, zone: tzinfo | None = None, needed: bool = False) -> datetime | None:
        """An instant (ISO 8601) as aware UTC; without an offset it is read in `zone`, and is a fault where that is None."""
        value = self.body.get(name)
        if value is None or value == "":
            if needed:
                self.fault(name, Reason.MISSING)
            return None
        match = _MOMENT.fullmatch(value) if isinstance(value, str) else None
        if match is None or (match["zone"] is None and zone is None):
            self.fault(name, Reason.MOMENT_FORM)
            return None
        try:
            at = datetime.fromisoformat(value.replace(" ", "T"))
            at = (at.replace(tzinfo=zone) if at.tzinfo is None else at).astimezone(UTC)
        except (ValueError, OverflowError):
            self.fault(name, Reason.MOMENT_ABSURD)
            return None
        if at.year < 2000:
            self.fault(name, Reason.MOMENT_ABSURD)
            return None
        if at > self.now + rules.AHEAD:
            self.fault(name, Reason.MOMENT_AHEAD)
            return None
        return at

    def after(
        self, name: str, placed_at: datetime | None, zone: tzinfo | None = None, needed: bool = False
    ) -> datetime | None:
        """An instant in the course of an order, so not before its placing."""
        at = self.moment(name, zone, needed)
        if at is None or placed_at is None or at >= placed_at:
            return at
        if placed_at - at > BEFORE:
            self.fault(name, Reason.MOMENT_ORDER)
            return None
        return placed_at

    def currency(self, name: str, exchange: Exchange) -> None:
        """Settle the rate of the amounts here and below; a currency that has none is a fault."""
        value = self.body.get(name)
        if not isinstance(value, str) or not _CURRENCY.fullmatch(value):
            self.fault(name, Reason.MISSING if value in (None, "") else Reason.CURRENCY_FORM)
            return
        rate = exchange.rate_of(value)
        if rate is None:
            self.fault(name, Reason.CURRENCY_FOREIGN)
            return
        self.rate = rate


def _contact(
    places: list[tuple[Fields, str]], canonical: Callable[[str], str], left_out: Reason, remarks: list[str]
) -> str | None:
    """The first contact that can be used. What a buyer typed and no shop system checked must not keep the order out: where
    none is whole, it is left out with a remark. Masked ones are nobody's."""
    typed = False
    for fields, name in places:
        text = fields.text(name, 300)
        if not text or "*" in text:
            continue
        try:
            return canonical(text)
        except Refusal:
            typed = True
    if typed:
        remarks.append(left_out)
    return None


def phone(places: list[tuple[Fields, str]], remarks: list[str]) -> str | None:
    """The first whole phone among some fields, in E.164."""
    return _contact(places, people.canonical_phone, Reason.PHONE_LEFT_OUT, remarks)


def email(places: list[tuple[Fields, str]], remarks: list[str]) -> str | None:
    """The first e-mail address among some fields, in its canonical spelling."""
    return _contact(places, people.canonical_email, Reason.EMAIL_LEFT_OUT, remarks)


def several(
    body: Any, keys: tuple[str, ...], one: Callable[[Any, str, list[tuple[str, str]]], Payload | None]
) -> Payload:
    """Read one object or a list of up to 500 (bare, or under one of the keys); faults of all are named at once.

    Refuses with `PayloadRefused`.
    """
    faults: list[tuple[str, str]] = []
    payload = Payload()
    listed: Any = body
    prefix = ""
    # An order has refunds of its own; only what is no order itself is a list of them.
    if isinstance(body, dict) and not {"id", "currency"} & body.keys():
        key = next((key for key in keys if isinstance(body.get(key), list)), None)
        if key is not None:
            listed, prefix = body[key], f"{key}."
    bodies = listed if isinstance(listed, list) else [body]
    if len(bodies) > MOST_ORDERS:
        raise PayloadRefused([(prefix.rstrip(".") or "body", Reason.TOO_MANY_ORDERS)])
    for number, each in enumerate(bodies):
        found = one(each, f"{prefix}{number}" if isinstance(listed, list) else "", faults)
        if found is not None:
            payload.reports += found.reports
            payload.remarks += found.remarks
            payload.ignored = payload.ignored or found.ignored
    if faults:
        raise PayloadRefused(faults)
    if payload.reports:
        payload.ignored = ""
    elif not payload.ignored:
        raise PayloadRefused([("body", Reason.NO_ORDER)])
    return payload
