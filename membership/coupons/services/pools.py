"""Pools of codes: made or read in as a run with progress. What typing one of them gives stands in `typed`."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert

from kernel import audit, clock
from kernel.db import db
from kernel.errors import InputInvalid, NotFound, Refusal
from kernel.i18n import gettext as _
from kernel.i18n import lazy_gettext as _l

from .. import codes
from ..models import CodePool, Coupon, PoolCode, PoolKind

SLICE = 2_000
MOST = 500_000
MOST_READ = 200_000
# A generated code of at least 13 characters has 65 random bits.
SHORTEST_DRAWN, LONGEST_DRAWN = 13, 24
REJECTS_KEPT = 1_000
LARGEST_FILE = 20 * 1024 * 1024


class FileUnreadable(Refusal):
    status = 422
    label = _l("The file is neither UTF-8 nor GB18030 text. Save it as CSV and try again.")


# ── Making ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _check(name: str, prefix: str) -> tuple[str, str]:
    """Refuses with `InputInvalid` (field, sentence)."""
    wrong = []
    prefix = codes.typed(prefix) if len(prefix.strip()) >= codes.SHORTEST else prefix.strip().upper()
    if not name.strip():
        wrong.append(("name", _("Say what these codes are for.")))
    if prefix and not (prefix.isascii() and prefix.isalnum() and len(prefix) <= 10):
        wrong.append(("prefix", _("Up to ten letters and digits.")))
    if wrong:
        raise InputInvalid(wrong)
    return name.strip()[:60], prefix


def generate(offer_id: int, name: str, number: int, prefix: str = "", length: int = 13, group: int = 4) -> CodePool:
    """Have `number` single-use codes made: random characters that no eye confuses, at least 65 random bits each.

    `group` is how many characters stand together when a code is written out, 0 for no groups. The codes come in slices
    from a job. Refuses with `InputInvalid` (field, sentence).
    """
    name, prefix = _check(name, prefix)
    wrong = []
    if not 1 <= number <= MOST:
        wrong.append(("number", _("Between 1 and %(most)s codes.", most=f"{MOST:,}")))
    if not SHORTEST_DRAWN <= length <= LONGEST_DRAWN:
        wrong.append(("length", _("Between 13 and 24 characters, so that nobody guesses one.")))
    if not 0 <= group <= 8:
        wrong.append(("group", _("Between 0 and 8 characters.")))
    if wrong:
        raise InputInvalid(wrong)
    pool = CodePool(
        offer_id=offer_id, name=name, kind=PoolKind.SINGLE, prefix=prefix, length=length, group=group, total=number,
        created_at=clock.now(),
    )  # fmt: skip
    return _kept(pool)


def take_file(offer_id: int, name: str, content: bytes) -> CodePool:
    """Have a file of codes read in, one a line in its first column (or the one headed `code`); each gives one coupon.

    The encoding is found in the house's order: BOM, strict UTF-8, strict GB18030. Refuses with `FileUnreadable` and
    `InputInvalid`.
    """
    name, _prefix = _check(name, "")
    if len(content) > LARGEST_FILE:
        raise InputInvalid([("file", _("At most 20 MB at once."))])
    body = decoded(content)
    lines = sum(1 for _line in _rows(body))
    if not lines:
        raise InputInvalid([("file", _("There is no code in this file."))])
    if lines > MOST_READ:
        raise InputInvalid([("file", _("At most %(most)s codes at once.", most=f"{MOST_READ:,}"))])
    pool = CodePool(
        offer_id=offer_id, name=name, kind=PoolKind.SINGLE, total=lines, body=body, length=0, created_at=clock.now()
    )
    return _kept(pool)


def make_shared(offer_id: int, name: str, code: str) -> CodePool:
    """One public code that everybody may type, such as `SUMMER20`. Refuses with `InputInvalid`."""
    name, _prefix = _check(name, "")
    typed = codes.typed(code)
    if not typed:
        raise InputInvalid([("code", _("A code has 4 to 40 letters and digits."))])
    if _taken([typed]):
        raise InputInvalid([("code", _("This code is in use already."))])
    now = clock.now()
    pool = CodePool(
        offer_id=offer_id, name=name, kind=PoolKind.SHARED, total=1, done=1, accepted=1, length=0, created_at=now,
        finished_at=now,
    )  # fmt: skip
    db.session.add(pool)
    db.session.flush()
    row = insert(PoolCode).values(pool_id=pool.id, code=typed).on_conflict_do_nothing().returning(PoolCode.id)
    if db.session.scalar(row) is None:
        raise InputInvalid([("code", _("This code is in use already."))])
    audit.record("code_pool.made", "offer", offer_id, after={"name": pool.name, "code": typed})
    return pool


def _kept(pool: CodePool) -> CodePool:
    db.session.add(pool)
    db.session.flush()
    audit.record("code_pool.made", "offer", pool.offer_id, after={"name": pool.name, "codes": pool.total})
    return pool


def decoded(content: bytes) -> str:
    """The text of a file by the house's order of encodings. Refuses with `FileUnreadable`."""
    for encoding in ("utf-8-sig", "gb18030"):
        try:
            return content.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise FileUnreadable


def _rows(body: str) -> Iterator[tuple[int, str]]:
    """(line, text) of every code in a file, the heading left out, empty lines too."""
    reader = csv.reader(io.StringIO(body.replace("\x00", ""), newline=""))
    column = 0
    for number, row in enumerate(reader):
        if number == 0:
            heads = [cell.strip().casefold() for cell in row]
            known = next((i for i, head in enumerate(heads) if head in HEADINGS), None)
            if known is not None:
                column = known
                continue
        text = row[column].strip() if column < len(row) else ""
        if text or len(row) > 1:
            yield reader.line_num, text


HEADINGS = {"code", "codes", "coupon", "券码", "优惠码", "兑换码", "编码"}


def _taken(wanted: list[str]) -> set[str]:
    """Which of these codes stand for something already."""
    lower = [code.lower() for code in wanted]
    pooled = db.session.scalars(select(PoolCode.code).where(func.lower(PoolCode.code).in_(lower)))
    issued = db.session.scalars(select(Coupon.code).where(func.lower(Coupon.code).in_(lower)))
    return {*pooled, *issued}


def fill(pool_id: int) -> bool:
    """Make or read in the next slice of a pool's codes; whether there is more to do.

    The pool's row is locked, so that a slice and how far it has come are written together and once. A pool on which
    somebody else is at work is theirs.
    """
    pool = db.session.scalar(
        select(CodePool)
        .where(CodePool.id == pool_id, CodePool.finished_at.is_(None))
        .with_for_update(skip_locked=True)
        .execution_options(populate_existing=True)
    )
    if pool is None:
        return False
    if pool.body is None:
        _draw(pool)
    else:
        _read(pool)
    if pool.done >= pool.total:
        pool.finished_at = clock.now()
        pool.body = None
    db.session.flush()
    return pool.finished_at is None


def _draw(pool: CodePool) -> None:
    wanted = min(SLICE, pool.total - pool.done)
    drawn = [codes.drawn(pool.length, pool.prefix) for _ in range(wanted)]
    made = _insert(pool, drawn)
    pool.done += len(made)
    pool.accepted += len(made)


def _insert(pool: CodePool, wanted: list[str]) -> set[str]:
    if not wanted:
        return set()
    rows = [{"pool_id": pool.id, "code": code} for code in wanted]
    return set(db.session.scalars(insert(PoolCode).on_conflict_do_nothing().returning(PoolCode.code), rows))


def _read(pool: CodePool) -> None:
    slice_ = [row for i, row in enumerate(_rows(pool.body or "")) if pool.done <= i < pool.done + SLICE]
    wrong: list[tuple[int, str, str]] = []
    fresh: dict[str, int] = {}
    for line, text in slice_:
        code = codes.typed(text)
        if not text:
            wrong.append((line, "", "empty"))
        elif not code:
            wrong.append((line, text[:60], "malformed"))
        elif code in fresh:
            wrong.append((line, text[:60], "repeated"))
        else:
            fresh[code] = line
    known = _taken(list(fresh))
    made = _insert(pool, [code for code in fresh if code not in known])
    wrong += [(line, code, "taken") for code, line in fresh.items() if code not in made]
    pool.done += len(slice_)
    pool.accepted += len(made)
    room = REJECTS_KEPT - len(pool.rejects)
    pool.rejects = [*pool.rejects, *[list(one) for one in sorted(wrong)[: max(0, room)]]]


def unfinished() -> list[int]:
    """Pools that still want codes."""
    return list(db.session.scalars(select(CodePool.id).where(CodePool.finished_at.is_(None)).order_by(CodePool.id)))


def close(offer_id: int, pool_id: int) -> None:
    """Let a pool's codes give nothing any more; coupons that they gave stay. Refuses with `NotFound`."""
    pool = db.session.get(CodePool, pool_id)
    if pool is None or pool.offer_id != offer_id:
        raise NotFound
    if pool.closed_at is None:
        pool.closed_at = clock.now()
        audit.record("code_pool.closed", "offer", offer_id, before={"name": pool.name})


# ── Reading ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def left_in(pool_ids: list[int]) -> dict[int, int]:
    """How many codes of pools have not given a coupon yet."""
    rows = db.session.execute(
        select(PoolCode.pool_id, func.count())
        .where(PoolCode.pool_id.in_(pool_ids), PoolCode.coupon_id.is_(None))
        .group_by(PoolCode.pool_id)
    )
    return dict.fromkeys(pool_ids, 0) | {row[0]: row[1] for row in rows}


def export(pool: CodePool) -> Iterator[list[Any]]:
    """The codes of a pool for a file: as it is written, and whether it was used."""
    statement = select(PoolCode.code, PoolCode.coupon_id).where(PoolCode.pool_id == pool.id).order_by(PoolCode.id)
    for code, coupon_id in db.session.execute(statement.execution_options(yield_per=1_000)):
        yield [codes.grouped(code, pool.prefix, pool.group), "" if coupon_id is None else _("Used")]
