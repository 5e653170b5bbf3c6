"""Many gifts at once: one act on a selection, the carrier's numbers and the payments of red packets from a file."""

from __future__ import annotations

import csv
import io
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import IO, Any

from sqlalchemy import select

from kernel.db import db
from kernel.errors import NotFound, Refusal
from kernel.i18n import gettext as _
from kernel.i18n import lazy_gettext as _l
from membership.orders.formats import sent
from membership.orders.formats.cells import unwrapped
from membership.orders.formats.sheet import FileUnreadable, Row, Wrong, examine, places

from . import rules, services
from .labels import state_words
from .models import Gift, GiftClaim, GiftKind, GiftState

MOST_LINES = 2_000
LONGEST = 60

CLAIM, CARRIER, NUMBER, REFERENCE = "claim", "carrier", "number", "reference"
# Spellings of the headings, as `sheet.places` compares them.
_CLAIM_HEADINGS = {
    "claim number": CLAIM, "claim_number": CLAIM, "claim": CLAIM, "领取单号": CLAIM, "礼品单号": CLAIM,
}  # fmt: skip


@dataclass(frozen=True)
class Form:
    """What a file brings beside the claim number: the headings it may have, and the column names to show."""

    headings: dict[str, str]
    names: dict[str, Any]


TRACKING = Form(
    {
        **_CLAIM_HEADINGS,
        "carrier": CARRIER, "快递公司": CARRIER, "快递": CARRIER, "物流公司": CARRIER,
        "tracking number": NUMBER, "tracking_number": NUMBER, "快递单号": NUMBER, "运单号": NUMBER, "物流单号": NUMBER,
    },
    {CLAIM: _l("Claim number"), CARRIER: _l("Carrier"), NUMBER: _l("Tracking number")},
)  # fmt: skip
PAYMENTS = Form(
    {
        **_CLAIM_HEADINGS,
        "payment reference": REFERENCE, "payment_reference": REFERENCE, "reference": REFERENCE, "付款单号": REFERENCE,
        "转账单号": REFERENCE, "支付单号": REFERENCE,
    },
    {CLAIM: _l("Claim number"), REFERENCE: _l("Payment reference")},
)  # fmt: skip

# What a spreadsheet program makes of a long number.
_ROUNDED = re.compile(r"[0-9](?:\.[0-9]+)?E\+?[0-9]+", re.IGNORECASE)


class TooManyLines(Refusal):
    status = 422
    label = _l("The file has %(lines)s lines; up to %(most)s are taken at once. Split it into several.")


@dataclass(frozen=True)
class Reject:
    """A line that was not taken: its number in the file, the column, why, the text found, and its cells."""

    line: int
    column: str
    reason: str
    value: str
    cells: tuple[str, ...]


@dataclass
class Outcome:
    """What became of the lines of a file; each is counted once."""

    shipped: int = 0
    corrected: int = 0
    unchanged: int = 0
    without_number: int = 0
    rejects: list[Reject] = field(default_factory=list)
    heading: list[str] = field(default_factory=list)

    @property
    def rejected_text(self) -> str:
        """The rejected lines under their heading, to be put right and sent again."""
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        writer.writerow(self.heading)
        writer.writerows(reject.cells for reject in self.rejects)
        return buffer.getvalue()


class _LineRefused(Exception):
    def __init__(self, column: str, reason: str) -> None:
        super().__init__(reason)
        self.column, self.reason = column, reason


def take_in_tracking(stream: IO[bytes]) -> Outcome:
    """Note the carrier and its number for every gift that a file (CSV or .xlsx) names; a bad line stops no other.

    Lines without carrier and number are passed over: a pick list that is filled in half is fine. The same file again
    changes nothing. Refuses the file as a whole with `FileUnreadable` (encoding, quoting, a heading that lacks a column) and
    `TooManyLines`.
    """
    return _take_in(stream, TRACKING)


def take_in_payments(stream: IO[bytes]) -> Outcome:
    """Note for every red packet that a CSV file names under which reference it was paid; as `take_in_tracking` otherwise."""
    return _take_in(stream, PAYMENTS)


def _take_in(stream: IO[bytes], form: Form) -> Outcome:
    with sent(stream) as (path, _book):
        found = examine(path)
        where, repeated = places(found.heading, form.headings)
        if lacking := [str(name) for key, name in form.names.items() if key not in where]:
            raise FileUnreadable(Wrong.COLUMNS_MISSING, columns=", ".join(lacking))
        if repeated:
            raise FileUnreadable(Wrong.COLUMNS_REPEATED, columns=", ".join(repeated))
        if found.rows_total > MOST_LINES:
            raise TooManyLines(lines=found.rows_total, most=MOST_LINES)
        outcome = Outcome(heading=found.heading)
        seen: dict[int, tuple[int, tuple[str, ...]]] = {}
        for row in found.rows():
            _take_line(row, where, outcome, seen)
    return outcome


def _take_line(row: Row, where: dict[str, int], outcome: Outcome, seen: dict[int, tuple[int, tuple[str, ...]]]) -> None:
    cells = {key: row.cells[at] if at < len(row.cells) else "" for key, at in where.items()}
    try:
        if any(cell.strip() for cell in row.cells[len(outcome.heading) :]):
            raise _LineRefused("", _("The line has more columns than the heading."))
        said = tuple(_text(key, cells) for key in (CARRIER, NUMBER, REFERENCE) if key in where)
        if not any(said):
            outcome.without_number += 1
            return
        claim_id = _claim_id(cells[CLAIM])
        if REFERENCE in where:
            _check_length(REFERENCE, said[0])
        else:
            _check_numbers(said[0], said[1])
        if claim_id in seen and seen[claim_id][1] != said:
            raise _LineRefused(CLAIM, _("Line %(line)s says something else for the same gift.", line=seen[claim_id][0]))
        if REFERENCE in where:
            _pay(claim_id, said[0], outcome)
        else:
            _ship(claim_id, said[0], said[1], outcome)
        seen.setdefault(claim_id, (row.line, said))
    except _LineRefused as refused:
        place = where.get(refused.column)
        outcome.rejects.append(
            Reject(
                row.line,
                outcome.heading[place].strip("\ufeff ") if place is not None else "",
                refused.reason,
                cells.get(refused.column, "")[:80],
                tuple(row.cells),
            )
        )


def _text(key: str, cells: dict[str, str]) -> str:
    text = " ".join(unicodedata.normalize("NFKC", unwrapped(cells[key])).split())
    if any(unicodedata.category(c) in ("Cc", "Cs") for c in text):
        raise _LineRefused(key, _("The text holds a character that cannot be stored."))
    return text


def _claim_id(cell: str) -> int:
    plain = unicodedata.normalize("NFKC", unwrapped(cell)).strip().removeprefix("#")
    if not plain:
        raise _LineRefused(CLAIM, _("The claim number is missing."))
    if not (plain.isascii() and plain.isdigit() and len(plain) < 19):
        raise _LineRefused(CLAIM, _("This is no claim number; it stands in the pick list."))
    return int(plain)


def _check_numbers(carrier: str, number: str) -> None:
    if not carrier:
        raise _LineRefused(CARRIER, _("The carrier is missing."))
    if not number:
        raise _LineRefused(NUMBER, _("The tracking number is missing."))
    _check_length(CARRIER, carrier)
    _check_length(NUMBER, number)


def _check_length(key: str, text: str) -> None:
    if key != CARRIER and _ROUNDED.fullmatch(text):
        raise _LineRefused(key, _("A spreadsheet program has rounded this number: format the column as text."))
    if len(text) > LONGEST:
        raise _LineRefused(key, _("Longer than %(most)s characters.", most=LONGEST))


def _ship(claim_id: int, carrier: str, number: str, outcome: Outcome) -> None:
    try:
        before = services.get_claim(claim_id, lock=True)
        known = (before.carrier, before.tracking_number) if before.state == GiftState.SHIPPED else None
        services.ship(claim_id, carrier, number)
    except NotFound:
        raise _LineRefused(CLAIM, _("There is no gift with this claim number.")) from None
    except rules.GiftStepNotListed:
        state = state_words(before.state)
        raise _LineRefused(
            CLAIM, _("This gift is not waiting to be sent; its state is: %(state)s.", state=state)
        ) from None
    if known is None:
        outcome.shipped += 1
    elif known == (carrier, number):
        outcome.unchanged += 1
    else:
        outcome.corrected += 1


def _pay(claim_id: int, reference: str, outcome: Outcome) -> None:
    try:
        before = services.get_claim(claim_id, lock=True)
    except NotFound:
        raise _LineRefused(CLAIM, _("There is no gift with this claim number.")) from None
    if services.get_gift(before.gift_id).kind != GiftKind.RED_PACKET:
        raise _LineRefused(CLAIM, _("This gift is no red packet."))
    if before.state == GiftState.DELIVERED:
        if before.content != reference:
            raise _LineRefused(
                REFERENCE, _("It was paid already, under another reference: %(known)s.", known=before.content or "–")
            )
        outcome.unchanged += 1
        return
    try:
        services.deliver(claim_id, reference)
    except rules.GiftStepNotListed:
        raise _LineRefused(
            CLAIM,
            _("This red packet is not waiting to be paid; its state is: %(state)s.", state=state_words(before.state)),
        ) from None
    outcome.shipped += 1


# ── A selection ─────────────────────────────────────────────────────────────────────────────────────────────────────


def act_on_many(claim_ids: Sequence[int], act: str, reason: str = "") -> tuple[int, int]:
    """Do one thing (`deliver`, `queue`, `cancel`) to many gifts; returns how many changed and how many could not.

    A digital gift without its code is not marked as delivered here: its member would find nothing.
    """
    # In the order in which the sweep takes them, so that the two never wait for each other.
    wanted = db.session.execute(
        select(GiftClaim.id, Gift.kind, GiftClaim.state, GiftClaim.content)
        .join(Gift, Gift.id == GiftClaim.gift_id)
        .where(GiftClaim.id.in_(claim_ids))
        .order_by(GiftClaim.gift_id, GiftClaim.id)
    ).all()
    verbs: dict[str, Any] = {
        "deliver": services.deliver,
        "queue": services.queue_again,
        "cancel": lambda claim_id: services.cancel(claim_id, reason),
    }
    done = 0
    for claim_id, kind, state, content in wanted:
        if act == "deliver" and kind == GiftKind.DIGITAL and not content:
            continue
        try:
            done += verbs[act](claim_id).state != state
        except (rules.GiftStepNotListed, NotFound):
            continue
    return done, len(claim_ids) - done
