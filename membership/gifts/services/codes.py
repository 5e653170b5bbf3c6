"""The pool of codes that a digital gift consists of: filled by staff, emptied by claims, each code to one claim."""

from __future__ import annotations

import csv
import gzip
import io
import unicodedata
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import IO

from sqlalchemy import delete, exists, func, select, update
from sqlalchemy.dialects.postgresql import insert

from kernel import audit, clock
from kernel.db import changed, db
from kernel.errors import Refusal
from kernel.i18n import gettext as _
from kernel.i18n import lazy_gettext as _l
from membership.orders.formats import sent
from membership.orders.formats.sheet import FileUnreadable, Wrong, encoding_of, opened

from ..models import Gift, GiftClaim, GiftCode, GiftKind, GiftState
from .catalogue import locked

MOST_CODES = 100_000
LONGEST = 500
SLICE = 5_000
# Claims in these states keep their piece and need no code any more; those in the others that keep one still do.
_SETTLED = (GiftState.DELIVERED, GiftState.RETURNED)
_UNSERVED = (GiftState.OFFERED, GiftState.CLAIMED, GiftState.FAILED)


class NoPlaceForCodes(Refusal):
    status = 422
    label = _l("Only a digital gift consists of codes.")


class TooManyCodes(Refusal):
    status = 422
    label = _l("There are %(lines)s lines; up to %(most)s are taken at once. Split them.")


@dataclass
class Added:
    """What became of the lines: how many codes are new, and (line, why, what stood there) of those that were not taken."""

    added: int = 0
    rejects: list[tuple[int, str, str]] = field(default_factory=list)


def lines_in(stream: IO[bytes]) -> list[str]:
    """The lines of a text file of codes, its encoding found as that of an order file (`membership.orders.formats.sheet`); of a
    workbook the rows of its first sheet.

    Refuses with `FileUnreadable`, and with `TooManyCodes` before more than those are kept in memory.
    """
    lines: list[str] = []
    number = 0
    try:
        with (
            sent(stream) as (path, book),
            opened(path) as raw,
            io.TextIOWrapper(raw, encoding_of(path), "strict") as text,
        ):
            # The codes stand in a sheet's first column.
            rows = (row[0] if row else "" for row in csv.reader(text)) if book else text
            for number, line in enumerate(rows, 1):
                if number <= MOST_CODES:
                    # One that is too long is named by its beginning.
                    lines.append(line.strip()[: LONGEST + 1])
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise FileUnreadable(Wrong.BROKEN_GZIP) from error
    except csv.Error as error:
        # Of rows that were written here nothing else can be wrong.
        raise FileUnreadable(Wrong.CELL_TOO_LONG, line=number + 1) from error
    if number > MOST_CODES:
        raise TooManyCodes(lines=number, most=MOST_CODES)
    return lines


def add_codes(gift_id: int, lines: Iterable[str]) -> Added:
    """Put codes into a gift's pool, one a line; empty lines are passed over, a bad line stops no other.

    The stock becomes what the pool can cover. Codes are unique within a gift whatever their case. Refuses with `NotFound`,
    `NoPlaceForCodes` for a gift of another kind, and `TooManyCodes`.
    """
    gift = locked(gift_id)
    if gift.kind != GiftKind.DIGITAL:
        raise NoPlaceForCodes
    rows = list(lines)
    if len(rows) > MOST_CODES:
        raise TooManyCodes(lines=len(rows), most=MOST_CODES)
    outcome = Added()
    seen: dict[str, int] = {}
    wanted: dict[str, tuple[int, str]] = {}
    for number, line in enumerate(rows, 1):
        code = line.strip().strip("\ufeff").strip()
        if not code:
            continue
        if len(code) > LONGEST:
            outcome.rejects.append((number, _("Longer than %(most)s characters.", most=LONGEST), code[:80]))
        elif any(unicodedata.category(c) in ("Cc", "Cs") for c in code):
            outcome.rejects.append((number, _("The text holds a character that cannot be stored."), code[:80]))
        elif (folded := code.lower()) in seen:
            outcome.rejects.append((number, _("Stands in line %(line)s already.", line=seen[folded]), code[:80]))
        else:
            seen[folded] = number
            wanted[folded] = (number, code)
    now = clock.now()
    fresh: set[str] = set()
    keys = list(wanted)
    for start in range(0, len(keys), SLICE):
        found = db.session.scalars(
            insert(GiftCode)
            .values(
                [{"gift_id": gift_id, "code": wanted[key][1], "added_at": now} for key in keys[start : start + SLICE]]
            )
            .on_conflict_do_nothing()
            .returning(GiftCode.code)
        )
        fresh.update(found)
    outcome.added = len(fresh)
    outcome.rejects += [
        (number, _("This gift has the code already."), code[:80])
        for number, code in wanted.values()
        if code not in fresh
    ]
    outcome.rejects.sort()
    restock(gift)
    audit.record("gift.codes_added", "gift", gift_id, after={"added": outcome.added, "refused": len(outcome.rejects)})
    return outcome


def remove_free(gift_id: int) -> int:
    """Take every code out of the pool that nobody was promised; returns how many. Those set aside for waiting gifts stay.

    Refuses with `NotFound`.
    """
    gift = locked(gift_id)
    waiting = promised(gift_id)
    free = (
        select(GiftCode.id)
        .where(GiftCode.gift_id == gift_id, GiftCode.claim_id.is_(None))
        .order_by(GiftCode.id)
        .offset(waiting)
    )
    removed = changed(db.session.execute(delete(GiftCode).where(GiftCode.id.in_(free))))
    restock(gift)
    audit.record("gift.codes_removed", "gift", gift_id, after={"removed": removed})
    return removed


def hand_out(claim: GiftClaim) -> str | None:
    """Give a claim the first free code of its gift, in the caller's transaction; None when the pool is empty.

    The same claim is given the same code again. Whoever takes one skips codes that another transaction is taking.
    """
    known = db.session.scalar(select(GiftCode.code).where(GiftCode.claim_id == claim.id))
    if known is not None:
        return known
    free = (
        select(GiftCode.id)
        .where(GiftCode.gift_id == claim.gift_id, GiftCode.claim_id.is_(None))
        .order_by(GiftCode.id)
        .limit(1)
        .with_for_update(skip_locked=True)
        .scalar_subquery()
    )
    return db.session.scalar(
        update(GiftCode)
        .where(GiftCode.id == free, GiftCode.claim_id.is_(None))
        .values(claim_id=claim.id, handed_out_at=clock.now())
        .returning(GiftCode.code)
        .execution_options(synchronize_session=False)
    )


def has_pool(gift_id: int) -> bool:
    """Whether codes were ever put into a gift: its stock follows them then."""
    return bool(db.session.scalar(select(exists().where(GiftCode.gift_id == gift_id))))


def free_codes(gift_id: int) -> int:
    """How many codes are free, those included that are set aside for gifts that wait."""
    free = select(func.count()).select_from(GiftCode).where(GiftCode.gift_id == gift_id, GiftCode.claim_id.is_(None))
    return db.session.scalar(free) or 0


def restock(gift: Gift) -> None:
    """Make a gift's stock what its pool covers: the free codes, and the pieces that need none any more.

    The caller holds the gift's row lock. A gift without a pool keeps the stock that staff set.
    """
    if not has_pool(gift.id):
        return
    settled = select(func.count()).select_from(GiftClaim).where(
        GiftClaim.gift_id == gift.id, GiftClaim.state.in_(_SETTLED)
    )  # fmt: skip
    gift.stock = free_codes(gift.id) + (db.session.scalar(settled) or 0)
    db.session.flush()


def waiting_claims(gift_id: int, size: int) -> list[int]:
    """Claims that were taken up and have no code yet, the oldest first, to be served when codes arrive."""
    return list(
        db.session.scalars(
            select(GiftClaim.id)
            .where(GiftClaim.gift_id == gift_id, GiftClaim.state == GiftState.CLAIMED)
            .order_by(GiftClaim.claimed_at, GiftClaim.id)
            .limit(size)
        )
    )


def promised(gift_id: int) -> int:
    """How many claims of a gift have no code yet and are to get one, those that failed and may be queued again included."""
    unserved = GiftClaim.state.in_(_UNSERVED)
    found = select(func.count()).select_from(GiftClaim).where(GiftClaim.gift_id == gift_id, unserved)
    return db.session.scalar(found) or 0
