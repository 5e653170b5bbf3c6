"""Offers as the writer holds them: their locked rows, the coupons that are there, and putting new ones in."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from functools import cache
from typing import Any, NamedTuple

import psycopg
from psycopg.rows import namedtuple_row
from sqlalchemy import Connection

from kernel import clock, events, wire
from membership.limits import services as limits

from .. import rules
from ..events import CouponClaimed
from . import caps


class Claimed(NamedTuple):
    """A member's coupon; `fresh` is False when they had it already."""

    coupon_id: int
    code: str
    fresh: bool


class Asks(NamedTuple):
    """What an offer wants to know of a claimant: whether they are in a group, and under what the person is counted."""

    group_id: int | None
    person: bool


class Trace(NamedTuple):
    """Keyed hashes of the address and the browser that a claim came from."""

    network: str | None = None
    device: str | None = None


NO_TRACE = Trace()


class Refused(NamedTuple):
    """Why a claim was not granted: the refusal, and the number or instant that its sentence tells."""

    kind: type[rules.ClaimRefused]
    value: Any = None


class Claim(NamedTuple):
    """One member's wish for one offer, with what was known of the member when they asked."""

    offer_id: int
    member_id: int
    rank: int
    # The group for which `in_group` was found out, or None when the offer asked for none.
    group_id: int | None
    in_group: bool
    source: str
    # The how-manieth coupon of this offer the member means; None is the next one, or else their last.
    ordinal: int | None = None
    # The hash under which a fresh claim binds the browser it came from (`kernel.visitors.promise`).
    browser: str | None = None
    # Under what the natural person is counted (`caps.person_key`), looked up where the offer counts persons.
    person: str | None = None
    # Where the claim came from, as keyed hashes.
    trace: Trace = NO_TRACE


class Stale(NamedTuple):
    """The offer asks for something else than what was looked up (a group, a natural person): judge the claim anew."""

    asks: Asks


class Gone(NamedTuple):
    """The member's record was merged into another one or erased while the claim was under way: look who they are now."""


Outcome = Claimed | Refused | Stale | Gone


@dataclass(frozen=True, slots=True)
class Version:
    """What the writer needs of an offer's version; versions never change."""

    min_rank: int
    group_id: int | None
    usable_from: datetime | None
    usable_until: datetime | None
    valid_days: int | None


@dataclass(slots=True)
class Coupon:
    """A coupon that is there, or one that this batch is about to insert (`id` still 0)."""

    offer_id: int
    version_id: int
    member_id: int
    ordinal: int
    code: str
    source: str = ""
    grant_key: str | None = None
    trace: Trace = NO_TRACE
    usages: Sequence[limits.Usage] = ()
    usable_from: datetime | None = None
    usable_until: datetime | None = None
    id: int = 0


# These go to the driver as they are, each a statement that is prepared once a connection.
# Locked in the order of their ids, so that two writers with several offers each never wait for each other. The lock is
# the one an UPDATE takes: foreign keys to the offer may go on being checked meanwhile.
LOCK = """
    SELECT id, state, version_id, stock, claimed, per_member, per_day, claimed_on, claimed_today, claim_from, claim_until,
           per_person, per_group, budget
    FROM offer WHERE id = ANY(%(offers)s::bigint[]) ORDER BY id FOR NO KEY UPDATE
"""

HELD = """
    SELECT offer_id, version_id, member_id, ordinal, code, id FROM coupon
    WHERE offer_id = ANY(%(offers)s::bigint[]) AND member_id = ANY(%(members)s::bigint[])
    ORDER BY offer_id, member_id, ordinal
"""

VERSIONS = """
    SELECT id, min_rank, group_id, usable_from, usable_until, valid_days FROM offer_version
    WHERE id = ANY(%(ids)s::bigint[])
"""

# A merge or an erasure holds the member's row until it is through, and the row is judged as it is then: no coupon is put
# at a record that is nobody's. The lock is the one that a foreign key would take, only before the coupon is there;
# lowest id first, as a merge locks its two.
LIVING = """
    SELECT id FROM member
    WHERE id = ANY(%(members)s::bigint[]) AND merged_into_id IS NULL AND erased_at IS NULL
    ORDER BY id FOR KEY SHARE
"""

WRITE = f"""
    WITH living AS MATERIALIZED ({LIVING}), fresh AS (
        INSERT INTO coupon (offer_id, version_id, member_id, code, state, ordinal, grant_key, source,
                            network, device, usable_from, usable_until, issued_at)
        SELECT q.offer_id, terms.version_id, q.member_id, q.code, 'issued', q.ordinal, q.grant_key, q.source,
               q.network, q.device, terms.usable_from, terms.usable_until, %(now)s::timestamptz
        FROM unnest(%(offers)s::bigint[], %(members)s::bigint[], %(codes)s::text[], %(ordinals)s::bigint[], %(keys)s::text[],
                    %(sources)s::text[], %(networks)s::text[], %(devices)s::text[])
             WITH ORDINALITY AS q (offer_id, member_id, code, ordinal, grant_key, source, network, device, position)
             JOIN living ON living.id = q.member_id
             JOIN unnest(%(shelves)s::bigint[], %(versions)s::bigint[], %(froms)s::timestamptz[], %(untils)s::timestamptz[])
             AS terms (offer_id, version_id, usable_from, usable_until) ON terms.offer_id = q.offer_id
        ORDER BY q.position
        ON CONFLICT DO NOTHING
        RETURNING id, offer_id, member_id, ordinal, source
    ), history AS (
        INSERT INTO coupon_event (coupon_id, to_state, at, reason, detail)
        SELECT id, 'issued', %(now)s::timestamptz, %(reason)s::text, '{{}}' FROM fresh
    ), counted AS (
        UPDATE offer SET claimed = offer.claimed + f.n,
            claimed_today = CASE WHEN offer.claimed_on = %(today)s::date THEN offer.claimed_today ELSE 0 END + f.n,
            claimed_on = %(today)s::date
        FROM (SELECT offer_id, count(*) AS n FROM fresh GROUP BY offer_id) AS f
        WHERE offer.id = f.offer_id
    ), -- publishing
    SELECT offer_id, member_id, ordinal, id FROM fresh
"""  # noqa: S608

# Without a target every unique index is probed before a row goes in, and what is put there is marked as a try first.
ANY_CONFLICT, OF_OWNER = "ON CONFLICT DO NOTHING", "ON CONFLICT (offer_id, member_id, ordinal) DO NOTHING"


@cache
def complete(statement: str, keyed: bool) -> str:
    """`WRITE` with the part that publishes: only once the program runs is it known who listens to what, and to a subscriber
    whom nobody asked for nothing is written. Coupons without a key (not `keyed`) can meet nothing but one of their owner's.
    """
    if not keyed:
        statement = statement.replace(ANY_CONFLICT, OF_OWNER)
    return statement.replace("-- publishing", events.publishing(CouponClaimed, "fresh", coupon_id="id"))


_versions: dict[int, Version] = {}


def versions_of(driver: psycopg.Connection[Any], ids: Iterable[int]) -> dict[int, Version]:
    """Versions by id; what a process has read once it keeps, for they never change."""
    missing = [i for i in set(ids) if i not in _versions]
    if missing:
        if len(_versions) > 10_000:
            _versions.clear()
        for row in rows_of(driver, VERSIONS, {"ids": missing}):
            _versions[row.id] = Version(row.min_rank, row.group_id, row.usable_from, row.usable_until, row.valid_days)
    return _versions


def driver_of(connection: Connection) -> psycopg.Connection[Any]:
    """The driver's connection beneath, in the same transaction."""
    return connection.connection.dbapi_connection  # type: ignore[return-value]


def asked(driver: psycopg.Connection[Any], statement: str, values: dict[str, Any]) -> psycopg.Cursor[Any]:
    return driver.cursor(row_factory=namedtuple_row).execute(statement, values, prepare=True)


def rows_of(driver: psycopg.Connection[Any], statement: str, values: dict[str, Any]) -> list[Any]:
    return asked(driver, statement, values).fetchall()


class Shelf:
    """An offer's row under its lock, and what this batch has taken from it so far."""

    def __init__(self, row: Any, version: Version, now: datetime) -> None:
        self.row, self.version, self.now = row, version, now
        today = clock.local(now).date()
        self.left = None if row.stock is None else row.stock - row.claimed
        spent = row.claimed_today if row.claimed_on == today else 0
        self.left_today = None if row.per_day is None else row.per_day - spent
        self.interval = rules.usable_interval(version.usable_from, version.usable_until, version.valid_days, now)

    def exhausted(self) -> type[rules.ClaimRefused] | None:
        if self.left is not None and self.left <= 0:
            return rules.SoldOut
        if self.left_today is not None and self.left_today <= 0:
            return rules.DayLimitReached
        return None

    def take(self, coupon: Coupon) -> None:
        coupon.version_id = self.row.version_id
        coupon.usable_from, coupon.usable_until = self.interval
        self._move(-1)

    @property
    def capped(self) -> bool:
        """Whether a claim takes from counters beside the offer's own row, or needs them read."""
        return any(cap is not None for cap in (self.row.per_person, self.row.per_group, self.row.budget))

    def usages(self, coupon: Coupon, person: str | None) -> list[limits.Usage]:
        """What a claim takes of the counters, the least shared one first."""
        wanted = []
        if self.row.per_person is not None:
            who = person or limits.subject_of(coupon.member_id)
            wanted.append(limits.Usage(caps.person_name(self.row.id), who, "", 1, self.row.per_person))
        group = caps.group_of(coupon.source)
        if self.row.per_group is not None and group:
            wanted.append(limits.Usage(caps.group_name(self.row.id), group, "", 1, self.row.per_group))
        return wanted

    def put_back(self) -> None:
        """A coupon was not inserted after all."""
        self._move(1)

    def _move(self, by: int) -> None:
        if self.left is not None:
            self.left += by
        if self.left_today is not None:
            self.left_today += by


def locked(connection: Connection, offers: Iterable[int], now: datetime) -> dict[int, Shelf]:
    """Lock offers' rows until the transaction ends, lowest id first; unknown ids are absent."""
    driver = driver_of(connection)
    if (line := wire.of(connection)) is not None and line.idle:
        # The transaction begins in the same round trip.
        return _shelves(driver, _locked_over(line, sorted(set(offers))), now)
    # In a pipeline the driver's BEGIN travels with it.
    with driver.pipeline():
        cursor = asked(driver, LOCK, {"offers": sorted(set(offers))})
    return _shelves(driver, cursor.fetchall(), now)


def _shelves(driver: psycopg.Connection[Any], rows: Iterable[Any], now: datetime) -> dict[int, Shelf]:
    there = [row for row in rows if row.version_id is not None]
    versions = versions_of(driver, [row.version_id for row in there])
    return {row.id: Shelf(row, versions[row.version_id], now) for row in there}


class Locked(NamedTuple):
    """An offer's locked row, in the order in which `LOCK` names its columns."""

    id: int
    state: str
    version_id: int | None
    stock: int | None
    claimed: int
    per_member: int | None
    per_day: int | None
    claimed_on: date | None
    claimed_today: int
    claim_from: datetime | None
    claim_until: datetime | None
    per_person: int | None
    per_group: int | None
    budget: int | None


def _locked_over(line: wire.Wire, offers: Sequence[int]) -> list[Locked]:
    _begun, rows = line.ask(wire.BEGIN, (LOCK, {"offers": _numbers(offers)}))
    return [
        Locked._make(None if said is None else read(said) for read, said in zip(_READ, row, strict=True))
        for row in rows
    ]


# How the text of each of these columns is read.
_READ: tuple[Callable[[str], Any], ...] = (
    *(int, str, int, int, int, int, int),
    *(date.fromisoformat, int, datetime.fromisoformat, datetime.fromisoformat, int, int, int),
)


def coupons_held(
    connection: Connection, offers: Iterable[int], members: Iterable[int]
) -> dict[tuple[int, int], list[Coupon]]:
    """The coupons that members have of offers, by (offer, member), first ordinal first."""
    values = {"offers": list(set(offers)), "members": list(set(members))}
    return _by_owner(rows_of(driver_of(connection), HELD, values))


def living(connection: Connection, members: Iterable[int]) -> set[int]:
    """Those of some members whose records are neither merged nor erased, and stay so until the transaction ends."""
    return {row.id for row in rows_of(driver_of(connection), LIVING, {"members": list(set(members))})}


def _by_owner(rows: Iterable[Any]) -> dict[tuple[int, int], list[Coupon]]:
    held: dict[tuple[int, int], list[Coupon]] = {}
    for row in rows:
        coupon = Coupon(row.offer_id, row.version_id, row.member_id, row.ordinal, row.code, id=row.id)
        held.setdefault((row.offer_id, row.member_id), []).append(coupon)
    return held


def insert_coupons(
    connection: Connection, coupons: Sequence[Coupon], now: datetime, reason: str, ending: bool = False
) -> list[Coupon]:
    """Insert coupons with their first event, count them on their offers, publish, and return those really inserted.

    Not inserted is what somebody has already, and what would be of a record that is merged or erased (`living`).
    Coupons of one offer share its version and the interval in which they can be used. With `ending` the transaction is
    committed in the same round trip, over the connection's wire.
    """
    if not coupons:
        return []
    terms = {c.offer_id: c for c in coupons}
    statement = complete(WRITE, any(c.grant_key is not None for c in coupons))
    values = {
        "now": now.isoformat(),
        "today": clock.local(now).date().isoformat(),
        "reason": reason,
        "shelves": _numbers(terms),
        "versions": _numbers([c.version_id for c in terms.values()]),
        "froms": _words([_instant(c.usable_from) for c in terms.values()]),
        "untils": _words([_instant(c.usable_until) for c in terms.values()]),
        "offers": _numbers([c.offer_id for c in coupons]),
        "members": _numbers([c.member_id for c in coupons]),
        "codes": _words([c.code for c in coupons]),
        "ordinals": _numbers([c.ordinal for c in coupons]),
        "keys": _words([c.grant_key for c in coupons]),
        "sources": _words([c.source for c in coupons]),
        "networks": _words([c.trace.network for c in coupons]),
        "devices": _words([c.trace.device for c in coupons]),
        "subscribers": _words(events.subscribers_of(CouponClaimed)),
    }
    line = wire.of(connection) if ending else None
    if line is not None:
        written, _committed = line.ask((statement, values), wire.COMMIT)
        rows = [tuple(int(said or 0) for said in row) for row in written]
    else:
        rows = driver_of(connection).execute(statement, values, prepare=True).fetchall()
    ids = {row[:3]: row[3] for row in rows}
    for coupon in coupons:
        coupon.id = ids.get((coupon.offer_id, coupon.member_id, coupon.ordinal), 0)
    return [coupon for coupon in coupons if coupon.id]


# Lists go as the text of an array: written by the driver value by value they would cost more than the rest of a batch.


def _numbers(values: Iterable[int]) -> str:
    return "{" + ",".join(map(str, values)) + "}"


def _words(values: Iterable[str | None]) -> str:
    return "{" + ",".join([_word(value) for value in values]) + "}"


def _word(value: str | None) -> str:
    if value is None:
        return "NULL"
    if not value.isalnum():
        value = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{value}"'


def _instant(value: datetime | None) -> str | None:
    return None if value is None else value.isoformat()
