"""Records that look like one person: found set-wise by keys that they share, scored, and shown with what speaks for it."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import delete, func, or_, select, text
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.orm import aliased

from kernel import audit, clock, shop
from kernel.db import db
from kernel.errors import NotFound
from kernel.pages import Count, Page, capped_count, keyset

from .. import queries
from ..models import DuplicatePair, Member, NotDuplicate

ASKED, FOUND = "duplicates.asked_at", "duplicates.found_at"
# A key that more records share than this tells nothing about a person (a parcel shop's address, a common name).
MOST_SHARING = 8


class Sign(enum.StrEnum):
    """What two records have in common."""

    ACCOUNT = "account"
    EMAIL = "email"
    PHONE_TAIL = "phone_tail"
    RECEIVER = "receiver"
    ADDRESS = "address"
    NAME_CITY = "name_city"
    NICKNAME = "nickname"


# How much each sign counts of 100. A pair is shown from `SHOWN_FROM`: a nickname or a name and a city alone are not enough.
WEIGHTS = {
    Sign.ACCOUNT: 60,
    Sign.EMAIL: 80,
    Sign.PHONE_TAIL: 60,
    Sign.RECEIVER: 70,
    Sign.ADDRESS: 25,
    Sign.NAME_CITY: 25,
    Sign.NICKNAME: 25,
}
SHOWN_FROM = 45
# Two birthdays that differ speak against it.
BIRTHDAYS_DIFFER = 40


# Every record gives a handful of keys, each a sign and a 64-bit hash of what is shared; records meet within their keys only,
# so that the work grows with the number of records and not with its square. Keys that too many share are left out.
# The sign of an account is a name that is the same on two channels (Taobao and Tmall share theirs), a phone's tail goes with
# the name because exports mask the middle digits, e-mail addresses are compared without `+anything` and capitals.
_KEYS = """
    WITH live AS (
        SELECT id, birthday, lower(regexp_replace(name, '\\s', '', 'g')) AS name,
               lower(regexp_replace(city, '[\\s市省]', '', 'g')) AS city,
               lower(regexp_replace(address, '[\\s,，.。#-]', '', 'g')) AS address,
               lower(regexp_replace(nickname, '[^[:alnum:]]', '', 'g')) AS nickname
        FROM member WHERE merged_into_id IS NULL AND erased_at IS NULL
    ), known AS (
        SELECT i.member_id, i.channel, lower(i.external_id) AS external_id
        FROM member_identity i JOIN live ON live.id = i.member_id
    ), said AS (
        SELECT member_id AS id, 'account' AS sign, regexp_replace(external_id, '^\\+86', '') AS word
        FROM known WHERE length(external_id) >= 5 AND external_id ~ '[^0-9]|^1[0-9]{10}$|^\\+'
        UNION ALL
        SELECT member_id, 'email', regexp_replace(split_part(external_id, '@', 1), '\\+.*$', '') || '@' || split_part(external_id, '@', 2)
        FROM known WHERE external_id LIKE '%_@_%'
        UNION ALL
        SELECT k.member_id, 'phone_tail', right(k.external_id, 4) || ' ' || live.name
        FROM known k JOIN live ON live.id = k.member_id WHERE k.channel = 'phone' AND length(live.name) >= 2
        UNION ALL SELECT id, 'receiver', name || ' ' || address FROM live WHERE length(address) >= 8 AND length(name) >= 2
        UNION ALL SELECT id, 'address', address FROM live WHERE length(address) >= 8
        UNION ALL SELECT id, 'name_city', name || ' ' || city FROM live WHERE length(name) >= 2 AND city <> ''
        UNION ALL
        SELECT id, 'nickname', regexp_replace(nickname, '[0-9]+$', '') FROM live
        WHERE length(regexp_replace(nickname, '[0-9]+$', '')) >= 4
    ), blocks AS (
        -- The members of a key together: pairs are made of the few in it, and nothing is joined with itself.
        SELECT sign, array_agg(DISTINCT id) AS ids
        FROM (SELECT id, sign, hashtextextended(word, 0) AS key FROM said) AS keyed
        GROUP BY sign, key HAVING count(*) BETWEEN 2 AND :most * 2
    ), pairs AS (
        SELECT DISTINCT a.id AS low_id, b.id AS high_id, sign
        FROM blocks CROSS JOIN LATERAL unnest(ids) AS a (id) CROSS JOIN LATERAL unnest(ids) AS b (id)
        WHERE cardinality(ids) BETWEEN 2 AND :most AND a.id < b.id
    ), scored AS (
        SELECT p.low_id, p.high_id, sum(w.weight) AS sum, jsonb_agg(p.sign ORDER BY w.weight DESC, p.sign) AS reasons
        FROM pairs p JOIN unnest(CAST(:signs AS text[]), CAST(:weights AS bigint[])) AS w (sign, weight) USING (sign)
        GROUP BY p.low_id, p.high_id
    ), judged AS (
        SELECT s.low_id, s.high_id, s.reasons,
               LEAST(s.sum, 100) - CASE WHEN a.birthday <> b.birthday THEN :against ELSE 0 END AS score
        FROM scored s JOIN member a ON a.id = s.low_id JOIN member b ON b.id = s.high_id
    )
"""
_FIND = text(
    _KEYS  # noqa: S608 - both parts are constants
    + """
    INSERT INTO duplicate_pair (low_id, high_id, score, reasons, found_at)
    SELECT low_id, high_id, score, reasons, :now FROM judged WHERE score >= :from
    ON CONFLICT (low_id, high_id) DO UPDATE SET score = excluded.score, reasons = excluded.reasons, found_at = excluded.found_at
    """
)


def find_all() -> int:
    """Look at every living record and write down the pairs that look like one person; returns how many there are.

    One statement, in the caller's transaction; what is no longer so goes. Readers see the former pairs until it is through.
    """
    now = clock.now()
    db.session.execute(text("SET LOCAL work_mem = '64MB'"))
    db.session.execute(
        _FIND,
        {
            "now": now,
            "most": MOST_SHARING,
            "signs": [sign.value for sign in WEIGHTS],
            "weights": list(WEIGHTS.values()),
            "against": BIRTHDAYS_DIFFER,
            "from": SHOWN_FROM,
        },
    )
    db.session.execute(
        delete(DuplicatePair).where(DuplicatePair.found_at < now).execution_options(synchronize_session=False)
    )
    shop.put(FOUND, now.isoformat())
    return db.session.scalar(select(func.count()).select_from(DuplicatePair)) or 0


def ask() -> None:
    """Have the pairs looked for anew, by a job; asking again while it runs asks for nothing more."""
    from ..jobs import find_duplicates

    shop.put(ASKED, clock.now().isoformat())
    find_duplicates.later()


@dataclass(frozen=True)
class Looked:
    """When the pairs were last looked for, and whether somebody waits for it now."""

    at: datetime | None
    waiting: bool


def looked() -> Looked:
    """How fresh the list is."""
    asked, found = shop.get(ASKED), shop.get(FOUND)
    return Looked(datetime.fromisoformat(found) if found else None, bool(asked and (not found or asked > found)))


@dataclass(frozen=True)
class Candidate:
    """Two living records and what speaks for their being one person."""

    one: Member
    other: Member
    score: int
    reasons: list[Sign]


_low, _high = aliased(Member), aliased(Member)


def _candidates(member_id: int | None = None, sign: Sign | None = None, q: str = "") -> tuple[Any, list[Any]]:
    looked_at = (
        select(NotDuplicate.low_id)
        .where(NotDuplicate.low_id == DuplicatePair.low_id, NotDuplicate.high_id == DuplicatePair.high_id)
        .exists()
    )
    statement = (
        select(DuplicatePair, _low, _high)
        .join(_low, _low.id == DuplicatePair.low_id)
        .join(_high, _high.id == DuplicatePair.high_id)
        .where(~looked_at)
    )
    for row in (_low, _high):
        statement = statement.where(row.merged_into_id.is_(None), row.erased_at.is_(None))
    if member_id is not None:
        statement = statement.where(or_(DuplicatePair.low_id == member_id, DuplicatePair.high_id == member_id))
    if sign is not None:
        statement = statement.where(DuplicatePair.reasons.contains([sign.value]))
    if q:
        fit = select(Member.id).where(queries.sought_or_numbered(q))
        statement = statement.where(or_(DuplicatePair.low_id.in_(fit), DuplicatePair.high_id.in_(fit)))
    return statement, [DuplicatePair.score.desc(), DuplicatePair.low_id.desc(), DuplicatePair.high_id.desc()]


def page_of(sign: Sign | None, cursor: str | None, q: str = "") -> tuple[list[Candidate], Page, Count]:
    """One page of the pairs that nobody has judged yet, the surest first; the page itself, and how many there are. `q` finds
    one of the two (see `queries.sought`; a member's number too)."""
    statement, order = _candidates(sign=sign, q=q)
    page = keyset(statement, order, cursor, size=20)
    found = [Candidate(low, high, pair.score, [Sign(s) for s in pair.reasons]) for pair, low, high in page.rows]
    return found, page, capped_count(statement)


def of_member(member_id: int) -> list[Candidate]:
    """The pairs that one record belongs to, the surest first; at most five."""
    statement, order = _candidates(member_id)
    rows = db.session.execute(statement.order_by(*order).limit(5)).all()
    return [Candidate(low, high, pair.score, [Sign(s) for s in pair.reasons]) for pair, low, high in rows]


def others_like(member_id: int, words: str) -> Sequence[Member]:
    """Living records beside one that fit what somebody typed (see `queries.sought`); at most twenty."""
    if not words:
        return []
    return db.session.scalars(
        queries.live().where(queries.sought(words), Member.id != member_id).order_by(Member.id.desc()).limit(20)
    ).all()


def _pair(one_id: int, other_id: int) -> tuple[int, int]:
    if one_id == other_id:
        raise NotFound
    return min(one_id, other_id), max(one_id, other_id)


def dismiss(one_id: int, other_id: int, staff_id: int | None = None) -> None:
    """Remember that two records are two people: they are not shown again. Refuses with `NotFound` for unknown records."""
    low, high = _pair(one_id, other_id)
    if len(db.session.scalars(select(Member.id).where(Member.id.in_((low, high)))).all()) < 2:
        raise NotFound
    db.session.execute(
        upsert(NotDuplicate)
        .values(low_id=low, high_id=high, staff_id=staff_id, at=clock.now())
        .on_conflict_do_nothing()
    )
    audit.record("duplicate.dismissed", "member", low, after={"other_id": high})


def take_up_again(one_id: int, other_id: int) -> None:
    """Forget that two records were found to be two people."""
    low, high = _pair(one_id, other_id)
    db.session.execute(
        delete(NotDuplicate)
        .where(NotDuplicate.low_id == low, NotDuplicate.high_id == high)
        .execution_options(synchronize_session=False)
    )
    audit.record("duplicate.taken_up_again", "member", low, after={"other_id": high})


def dismissed_page(cursor: str | None) -> tuple[Sequence[tuple[NotDuplicate, Member, Member]], Page]:
    """One page of what was set aside, newest first."""
    statement = (
        select(NotDuplicate, _low, _high)
        .join(_low, _low.id == NotDuplicate.low_id)
        .join(_high, _high.id == NotDuplicate.high_id)
    )
    page = keyset(
        statement, [NotDuplicate.at.desc(), NotDuplicate.low_id.desc(), NotDuplicate.high_id.desc()], cursor, 20
    )
    return [(row[0], row[1], row[2]) for row in page.rows], page


__all__ = [
    "Candidate",
    "Looked",
    "Sign",
    "ask",
    "dismiss",
    "dismissed_page",
    "find_all",
    "looked",
    "of_member",
    "others_like",
    "page_of",
    "take_up_again",
]
