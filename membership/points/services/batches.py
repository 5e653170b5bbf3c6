"""A file of awards: a line a member, with points and a reason; a bad line stops no other."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import IO, Any

from sqlalchemy import DateTime, bindparam, select, text

from kernel import audit, clock
from kernel.db import db
from kernel.errors import Refusal
from kernel.events import publish_all
from kernel.i18n import lazy_gettext as _l
from membership.members import queries as members
from membership.members import rules as member_rules
from membership.members.models import Channel
from membership.orders.formats import sent
from membership.orders.formats.cells import unwrapped
from membership.orders.formats.sheet import FileUnreadable, Wrong, examine, places

from .. import queries, rules
from ..events import PointsEarned
from ..models import AccountKind, Kind, PointsAccount, PointsBatch, PointsTransaction
from . import ledger

MOST_LINES = 20_000
SOURCE = "batch"
MEMBER, CHANNEL, POINTS, REASON = "member", "channel", "points", "reason"
# Spellings of the headings, as `sheet.places` compares them.
HEADINGS = {
    "member": MEMBER, "phone": MEMBER, "identity": MEMBER, "会员": MEMBER, "手机号": MEMBER, "手机": MEMBER, "会员账号": MEMBER,
    "channel": CHANNEL, "渠道": CHANNEL, "来源": CHANNEL,
    "points": POINTS, "积分": POINTS,
    "reason": REASON, "原因": REASON, "说明": REASON,
}  # fmt: skip
_CHANNELS = {
    **{channel.value: channel for channel in Channel},
    "淘宝": Channel.TAOBAO, "天猫": Channel.TMALL, "抖音": Channel.DOUYIN, "自有商城": Channel.SHOP, "门店": Channel.COUNTER,
    "微信": Channel.WECHAT, "企业微信": Channel.WECOM, "手机": Channel.PHONE, "手机号": Channel.PHONE, "邮箱": Channel.EMAIL,
}  # fmt: skip


class TooManyAwards(Refusal):
    status = 422
    label = _l("The file has %(lines)s lines; up to %(most)s are taken at once. Split it into several.")


class _LineRefused(Exception):
    """`fault` is a key of `labels.BATCH_FAULTS`: whoever reads it later may speak another language."""

    def __init__(self, fault: str, **told: str) -> None:
        super().__init__(fault)
        self.fault, self.told = fault, told


@dataclass(frozen=True)
class _Line:
    number: int
    key: member_rules.Key
    points: int
    reason: str
    cells: list[str]


def award_file(stream: IO[bytes], filename: str, staff_id: int | None = None) -> PointsBatch:
    """Give points to every member that a file names (CSV or .xlsx; columns member, points, reason; channel if it is not a phone).

    The same file again gives nothing twice: its lines count as duplicates. Refuses the file as a whole with
    `FileUnreadable` (encoding, quoting, a heading that lacks a column) and `TooManyAwards`.
    """
    lines, rejects, rows_in, digest = _read(stream)
    owners = members.owners_of({line.key for line in lines})
    batch = PointsBatch(
        filename=filename[:200], digest=digest, rows_in=rows_in, rejects=[], staff_id=staff_id, at=clock.now()
    )
    db.session.add(batch)
    db.session.flush()
    known = [(line, owners[line.key]) for line in lines if line.key in owners]
    rejects += [_reject(line.number, _LineRefused("unknown"), line.cells) for line in lines if line.key not in owners]
    given = _give(known, digest, staff_id)
    batch.accepted, batch.points = len(given), sum(given.values())
    batch.duplicate = len(known) - len(given)
    batch.rejects = sorted(rejects, key=lambda reject: reject["line"])
    batch.rejected = len(rejects)
    db.session.flush()
    audit.record(
        "points.awarded_by_file",
        "points_batch",
        batch.id,
        after={"file": batch.filename, "lines": rows_in, "given": batch.accepted, "points": batch.points},
    )
    return batch


def _read(stream: IO[bytes]) -> tuple[list[_Line], list[dict[str, Any]], int, str]:
    with sent(stream) as (path, _book):
        with path.open("rb") as kept:
            digest = hashlib.file_digest(kept, "sha256")
        found = examine(path)
        where, repeated = places(found.heading, HEADINGS)
        if lacking := [name for name in (MEMBER, POINTS, REASON) if name not in where]:
            raise FileUnreadable(Wrong.COLUMNS_MISSING, columns=", ".join(lacking))
        if repeated:
            raise FileUnreadable(Wrong.COLUMNS_REPEATED, columns=", ".join(repeated))
        if found.rows_total > MOST_LINES:
            raise TooManyAwards(lines=found.rows_total, most=MOST_LINES)
        lines, rejects, rows_in = [], [], 0
        for row in found.rows():
            rows_in += 1
            cells = {key: row.cells[at] if at < len(row.cells) else "" for key, at in where.items()}
            try:
                if any(cell.strip() for cell in row.cells[len(found.heading) :]):
                    raise _LineRefused("columns")
                key = _key(_plain(cells[MEMBER]), _plain(cells.get(CHANNEL, "")))
                lines.append(_Line(row.line, key, _points(_plain(cells[POINTS])), _reason(cells[REASON]), row.cells))
            except _LineRefused as refused:
                rejects.append(_reject(row.line, refused, row.cells))
    return lines, rejects, rows_in, digest.hexdigest()


def _reject(line: int, refused: _LineRefused, cells: list[str]) -> dict[str, Any]:
    return {
        "line": line,
        "fault": refused.fault,
        **refused.told,
        "row": [cell.replace("\x00", "")[:300] for cell in cells],
    }


def _plain(cell: str) -> str:
    return unicodedata.normalize("NFKC", unwrapped(cell)).strip()


def _key(name: str, channel: str) -> member_rules.Key:
    if not name:
        raise _LineRefused("member")
    kind = Channel.PHONE if not channel else _CHANNELS.get(channel.lower())
    if kind is None:
        raise _LineRefused("channel", channel=channel[:40])
    try:
        return member_rules.canonical_identity(kind, name)
    except member_rules.PhoneInvalid:
        raise _LineRefused("phone") from None
    except member_rules.EmailInvalid:
        raise _LineRefused("email") from None
    except ValueError:
        # Nothing but characters that are not seen.
        raise _LineRefused("member") from None


def _points(cell: str) -> int:
    plain = cell.replace(",", "")
    if not (plain.isascii() and plain.isdigit() and len(plain) < 12 and 1 <= int(plain) <= rules.MOST_POINTS):
        raise _LineRefused("points")
    return int(plain)


def _reason(cell: str) -> str:
    reason = " ".join(unicodedata.normalize("NFC", unwrapped(cell)).split())
    if not reason:
        raise _LineRefused("reason")
    if any(unicodedata.category(letter) in ("Cc", "Cs") for letter in reason):
        raise _LineRefused("letter")
    return reason[:300]


_CREDIT = text(
    """
    WITH booked AS (
        INSERT INTO points_transaction (type, account_id, points, source_type, source_id, reason, staff_id, at)
        SELECT 'award', q.account_id, q.points, 'batch', q.source_id, q.reason, CAST(:staff AS bigint), :now
        FROM unnest(CAST(:accounts AS bigint[]), CAST(:points AS bigint[]), CAST(:sources AS text[]), CAST(:reasons AS text[]))
             WITH ORDINALITY AS q (account_id, points, source_id, reason, place)
        ORDER BY q.place
        RETURNING id, account_id, points, source_id
    ), legs AS (
        INSERT INTO points_entry (transaction_id, account_id, bucket, amount)
        SELECT b.id, CASE WHEN leg.sign = 1 THEN b.account_id ELSE CAST(:promotion AS bigint) END, 'active', leg.sign * b.points
        FROM booked b CROSS JOIN (VALUES (1), (-1)) AS leg (sign)
    ), lots AS (
        INSERT INTO points_lot (account_id, transaction_id, original, remaining, state, days, activates_at, expires_at)
        SELECT account_id, id, points, points, 'active', CAST(:days AS bigint), :now, CAST(:expires AS timestamptz) FROM booked
    )
    SELECT id, account_id, points, source_id FROM booked
    """
).bindparams(bindparam("now", type_=DateTime(timezone=True)))


def _give(known: Sequence[tuple[_Line, int]], digest: str, staff_id: int | None) -> dict[str, int]:
    """Book the lines, set-wise; returns the points by source of those that were not booked before."""
    now = clock.now()
    wanted = sorted({member_id for _line, member_id in known})
    ledger.open_for(wanted, now)
    accounts = ledger.locked(wanted)
    ledger.settle(accounts, now)
    home: dict[int, PointsAccount] = {}
    for account in accounts:
        if account.member_id is not None:
            home.setdefault(account.member_id, account)
    sources = {f"{digest[:24]}:{line.number}": (line, member_id) for line, member_id in known if member_id in home}
    done = set(
        db.session.scalars(
            select(PointsTransaction.source_id).where(
                PointsTransaction.type == Kind.AWARD,
                PointsTransaction.source_type == SOURCE,
                PointsTransaction.account_id.in_([account.id for account in accounts]),
                PointsTransaction.source_id.in_(list(sources)),
            )
        )
    )
    fresh = [(source, line, home[member_id]) for source, (line, member_id) in sources.items() if source not in done]
    if not fresh:
        return {}
    days = queries.program().lot_days
    rows = _book(fresh, now, days, staff_id)
    ledger.pay_off(accounts, now)
    owner = {account.id: account.member_id or 0 for account in accounts}
    reason = {source: line.reason for source, line, _account in fresh}
    publish_all(
        PointsEarned(
            member_id=owner[row.account_id],
            transaction_id=row.id,
            kind=Kind.AWARD.value,
            points=row.points,
            source_type=SOURCE,
            source_id=row.source_id,
            usable_from=now,
            reason=reason[row.source_id],
        )
        for row in rows
    )
    return {row.source_id: row.points for row in rows}


def _book(
    fresh: Sequence[tuple[str, _Line, PointsAccount]], now: datetime, days: int | None, staff_id: int | None
) -> Sequence[Any]:
    expires = rules.expires_at(now, days)
    return db.session.execute(
        _CREDIT,
        {
            "accounts": [account.id for _source, _line, account in fresh],
            "points": [line.points for _source, line, _account in fresh],
            "sources": [source for source, _line, _account in fresh],
            "reasons": [line.reason for _source, line, _account in fresh],
            "promotion": ledger.contra(AccountKind.PROMOTION),
            "now": now,
            "days": days,
            "expires": expires,
            "staff": staff_id,
        },
    ).all()
