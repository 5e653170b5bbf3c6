"""Claiming: one writer a process gives out the coupons of a batch in one transaction, under the offers' row locks.

The offer's row is locked once a batch; every item is judged on what the locked row says and on the coupons that are
really there; the coupons go in with one statement that counts what it inserted. So stock, the day's number and the
number a member may have are exact however many processes claim at once. docs/decisions/0003-group-commit.md tells why.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

import psycopg
from flask import current_app
from psycopg.rows import namedtuple_row
from sqlalchemy import BigInteger, Connection, bindparam, text

from kernel import audit, clock, events, visitors
from kernel.db import db
from kernel.errors import NotFound
from kernel.group_commit import GrowingCommit, More, nothing_more
from kernel.i18n import date_time
from kernel.ports import Port
from membership.limits import services as limits
from membership.members import services as members
from membership.members.models import Channel
from membership.tiers import labels as tier_labels
from membership.tiers import queries as tiers
from membership.tiers import rules as tier_rules

from .. import codes, rules
from ..events import CouponClaimed

# A refusal that holds for everybody is remembered by the process for so long (seconds): a crowd before an empty shelf
# must not queue at the writer.
CLOSED_SECONDS = 1.0
WAKE_SECONDS = 1.0

# Asked with (member_id, group_id): whether the member is in the group now.
group_membership: Port[[int, int], bool] = Port("coupons.group_membership")


class Claimed(NamedTuple):
    """A member's coupon; `fresh` is False when they had it already."""

    coupon_id: int
    code: str
    fresh: bool


class Refused(NamedTuple):
    """Why a claim was not granted: the refusal, and the number or instant that its sentence tells."""

    kind: type[rules.ClaimRefused]
    value: Any = None


@dataclass(frozen=True, slots=True)
class Claim:
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


class Stale(NamedTuple):
    """The offer asks for another group than the one that was looked up: judge the claim anew."""

    group_id: int


Outcome = Claimed | Refused | Stale


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
    usable_from: datetime | None = None
    usable_until: datetime | None = None
    id: int = 0


# These go to the driver as they are, each a statement that is prepared once a connection.
# Locked in the order of their ids, so that two writers with several offers each never wait for each other. The lock is
# the one an UPDATE takes: foreign keys to the offer may go on being checked meanwhile.
LOCK = """
    SELECT id, state, version_id, stock, claimed, per_member, per_day, claimed_on, claimed_today, claim_from, claim_until
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

WRITE = f"""
    WITH fresh AS (
        INSERT INTO coupon (offer_id, version_id, member_id, code, state, ordinal, grant_key, source,
                            usable_from, usable_until, issued_at)
        SELECT q.offer_id, q.version_id, q.member_id, q.code, 'issued', q.ordinal, q.grant_key, q.source,
               q.usable_from, q.usable_until, %(now)s::timestamptz
        FROM unnest(%(offers)s::bigint[], %(versions)s::bigint[], %(members)s::bigint[], %(codes)s::text[],
                    %(ordinals)s::bigint[], %(keys)s::text[], %(sources)s::text[], %(froms)s::timestamptz[],
                    %(untils)s::timestamptz[])
             AS q (offer_id, version_id, member_id, code, ordinal, grant_key, source, usable_from, usable_until)
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
    ), {events.publishing(CouponClaimed, "fresh", coupon_id="id")}
    SELECT offer_id, member_id, ordinal, id FROM fresh
"""  # noqa: S608

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
    # In a pipeline the driver's BEGIN travels with it.
    with driver.pipeline():
        cursor = asked(driver, LOCK, {"offers": sorted(set(offers))})
    rows = [row for row in cursor.fetchall() if row.version_id is not None]
    versions = versions_of(driver, [row.version_id for row in rows])
    return {row.id: Shelf(row, versions[row.version_id], now) for row in rows}


def coupons_held(
    connection: Connection, offers: Iterable[int], members: Iterable[int]
) -> dict[tuple[int, int], list[Coupon]]:
    """The coupons that members have of offers, by (offer, member), first ordinal first."""
    values = {"offers": list(set(offers)), "members": list(set(members))}
    return _by_owner(rows_of(driver_of(connection), HELD, values))


def _by_owner(rows: Iterable[Any]) -> dict[tuple[int, int], list[Coupon]]:
    held: dict[tuple[int, int], list[Coupon]] = {}
    for row in rows:
        coupon = Coupon(row.offer_id, row.version_id, row.member_id, row.ordinal, row.code, id=row.id)
        held.setdefault((row.offer_id, row.member_id), []).append(coupon)
    return held


def insert_coupons(connection: Connection, coupons: Sequence[Coupon], now: datetime, reason: str) -> list[Coupon]:
    """Insert coupons with their first event, count them on their offers, publish, and return those really inserted."""
    if not coupons:
        return []
    rows = rows_of(
        driver_of(connection),
        WRITE,
        {
            "now": now,
            "today": clock.local(now).date(),
            "reason": reason,
            "offers": [c.offer_id for c in coupons],
            "versions": [c.version_id for c in coupons],
            "members": [c.member_id for c in coupons],
            "codes": [c.code for c in coupons],
            "ordinals": [c.ordinal for c in coupons],
            "keys": [c.grant_key for c in coupons],
            "sources": [c.source for c in coupons],
            "froms": [c.usable_from for c in coupons],
            "untils": [c.usable_until for c in coupons],
            "subscribers": events.subscribers_of(CouponClaimed),
        },
    )
    ids = {tuple(row[:3]): row[3] for row in rows}
    for coupon in coupons:
        coupon.id = ids.get((coupon.offer_id, coupon.member_id, coupon.ordinal), 0)
    return [coupon for coupon in coupons if coupon.id]


def refusal_of(claim: Claim, shelf: Shelf) -> Refused | Stale | None:
    """Why a claim cannot be granted whatever is left on the shelf, or None."""
    if (closed := rules.refusal_of(shelf.row, shelf.now)) is not None:
        return Refused(closed, shelf.row.claim_from)
    version = shelf.version
    if claim.rank < version.min_rank:
        return Refused(rules.TierTooLow, version.min_rank)
    if version.group_id is not None and claim.group_id != version.group_id:
        return Stale(version.group_id)
    if version.group_id is not None and not claim.in_group:
        return Refused(rules.NotInGroup, version.group_id)
    return None


def judge(claim: Claim, shelf: Shelf | None, held: list[Coupon]) -> Coupon | Refused | Stale:
    """What one claim gets: a coupon (one that is there, or a new one with `id` 0), or why not.

    A coupon that the member has already comes before every refusal: a repeated tap must show it as theirs.
    """
    if shelf is None:
        return Refused(rules.TooLate)
    if held and claim.ordinal is not None and claim.ordinal <= held[-1].ordinal:
        return next((c for c in held if c.ordinal >= claim.ordinal), held[-1])
    most = shelf.row.per_member
    if held and most is not None and len(held) >= most:
        return held[-1]
    if (refused := refusal_of(claim, shelf)) is not None:
        return refused
    if (empty := shelf.exhausted()) is not None:
        return Refused(empty)
    fresh = Coupon(claim.offer_id, 0, claim.member_id, held[-1].ordinal + 1 if held else 1, codes.fresh(), claim.source)
    shelf.take(fresh)
    held.append(fresh)
    return fresh


def plain(wishes: Sequence[Claim], shelves: dict[int, Shelf]) -> bool:
    """Whether every claim of a batch would be granted if its member had no coupon yet.

    Then nobody's coupons need be looked up first: one each is what the unique key holds, and there is enough for all.
    """
    for offer_id, number in Counter(wish.offer_id for wish in wishes).items():
        shelf = shelves.get(offer_id)
        if shelf is None or shelf.row.per_member != 1:
            return False
        if any(left is not None and left < number for left in (shelf.left, shelf.left_today)):
            return False
    return all(refusal_of(wish, shelves[wish.offer_id]) is None for wish in wishes)


def run_batch(connection: Connection, items: Sequence[Claim], more: More[Claim] = nothing_more) -> list[Outcome]:
    """Judge and grant a batch of claims in one transaction, several offers at once; the outcomes in the items' order.

    What gathers while this waits for another process's lock on the same offers is taken into the batch.
    """
    now = clock.now()
    shelves = locked(connection, [item.offer_id for item in items], now)
    items = [*items, *more(lambda late: late.offer_id in shelves)]
    outcomes: dict[int, Outcome] = {}
    todo = list(range(len(items)))
    trusting = plain(items, shelves)
    while todo:
        held = {} if trusting else coupons_held(connection, shelves, [items[i].member_id for i in todo])
        found: dict[int, Coupon] = {}
        fresh: dict[int, int] = {}
        for i in todo:
            claim = items[i]
            mine = held.setdefault((claim.offer_id, claim.member_id), [])
            outcome = judge(claim, shelves.get(claim.offer_id), mine)
            if isinstance(outcome, Coupon):
                found[i] = outcome
                if not outcome.id:
                    fresh.setdefault(id(outcome), i)
            else:
                outcomes[i] = outcome
        insert_coupons(connection, [found[i] for i in fresh.values()], now, "claimed")
        bindings = ((items[i].browser, found[i]) for i in fresh.values())
        visitors.write(connection, [(browser, c.member_id) for browser, c in bindings if browser and c.id])
        for i, coupon in found.items():
            if coupon.id:
                outcomes[i] = Claimed(coupon.id, coupon.code, fresh.get(id(coupon)) == i)
        # What was not inserted has met a coupon that is there already: look, and judge those claims anew.
        todo = [i for i in found if i not in outcomes]
        if todo:
            trusting = False
            for coupon in (found[i] for i in fresh.values()):
                if not coupon.id:
                    shelves[coupon.offer_id].put_back()
    return [outcomes[i] for i in range(len(items))]


writer: GrowingCommit[Claim, Outcome] = GrowingCommit("coupons", run_batch)

# What everybody is refused at this moment, by offer: until when (monotonic seconds) and why.
_closed: dict[int, tuple[float, Refused]] = {}
_woken = 0.0
# The group that an offer asked for when it was last looked at.
_groups: dict[int, int | None] = {}

CLAIMANT = text("SELECT id, rank, merged_into_id, erased_at FROM member WHERE id = :id").bindparams(
    bindparam("id", type_=BigInteger)
)
GROUP_OF = text(
    "SELECT v.group_id FROM offer o JOIN offer_version v ON v.id = o.version_id WHERE o.id = :id"
).bindparams(bindparam("id", type_=BigInteger))


def forget_closed(offer_id: int) -> None:
    """Ask the writer again: the offer has been changed here."""
    _closed.pop(offer_id, None)
    _groups.pop(offer_id, None)


def closed_for_all(offer_id: int) -> Refused | None:
    """What everybody has just been refused with, while the process remembers it."""
    closed = _closed.get(offer_id)
    return closed[1] if closed is not None and closed[0] > time.monotonic() else None


def _let_one_through(offer_id: int) -> Refused | None:
    """`closed_for_all`, but once the time is over the first who asks goes to the writer, and the others wait for its word."""
    closed = _closed.get(offer_id)
    if closed is None:
        return None
    until, refused = closed
    if until > time.monotonic():
        return refused
    _closed[offer_id] = (time.monotonic() + CLOSED_SECONDS, refused)
    return None


def claimant(member_id: int) -> Any:
    """The row (id, rank) of the person who claims; a merged record leads to the one it was merged into.

    Refuses with `ClaimantUnknown` when there is nobody any more.
    """
    connection = db.session.connection()
    wanted: int | None = member_id
    for _hop in range(10):
        row = connection.execute(CLAIMANT, {"id": wanted}).one_or_none()
        if row is None or row.erased_at is not None:
            break
        if row.merged_into_id is None:
            return row
        wanted = row.merged_into_id
    raise rules.ClaimantUnknown


def claim(offer_id: int, member_id: int, source: str = "", ordinal: int | None = None, bind: bool = False) -> Claimed:
    """Give a member their coupon of an offer, committed when this returns.

    A repeat gives the same coupon with `fresh` False; `ordinal` names the how-manieth one is meant where an offer allows
    several, so that a double tap is no second claim. With `bind` a fresh claim binds the browser that it came from to
    the member, in the same transaction. For requests: what the request has written so far is committed first, because
    the writer has a transaction of its own. Inside a larger transaction use `grant_many`.

    Refuses with `SoldOut`, `DayLimitReached`, `NotYet`, `TooLate`, `OfferPaused`, `TierTooLow`, `NotInGroup`,
    `ClaimantUnknown`, and with `WriterBusy` when the writer is far behind.
    """
    return claim_as(claimant(member_id), offer_id, source, ordinal, bind)


def claim_as(person: Any, offer_id: int, source: str, ordinal: int | None, bind: bool = False) -> Claimed:
    """`claim` for a person (a row with id and rank) who has been looked up already."""
    closed = _let_one_through(offer_id)
    if closed is not None:
        # One read by index, no lock and no writer: whoever has one already is still shown it.
        held = coupons_held(db.session.connection(), [offer_id], [person.id]).get((offer_id, person.id))
        if held:
            return Claimed(held[-1].id, held[-1].code, False)
        raise _refusal(closed, person.id)
    stranger = bind and visitors.member_id() is None
    browser = visitors.promise() if stranger else None
    if offer_id not in _groups:
        _groups[offer_id] = db.session.connection().execute(GROUP_OF, {"id": offer_id}).scalar()
    group_id = _groups[offer_id]
    for _attempt in range(3):
        in_group = group_id is not None and any(group_membership.call(person.id, group_id))
        wish = Claim(offer_id, person.id, person.rank, group_id, in_group, source, ordinal, browser)
        outcome = writer.submit(wish)
        if isinstance(outcome, Refused) and outcome.kind in (rules.SoldOut, rules.DayLimitReached):
            _closed[offer_id] = (time.monotonic() + CLOSED_SECONDS, outcome)
        else:
            _closed.pop(offer_id, None)
        match outcome:
            case Claimed():
                if outcome.fresh:
                    _wake()
                    if stranger:
                        visitors.keep_promise(person.id)
                    elif bind:
                        visitors.bind(person.id)
                return outcome
            case Stale(group_id=wanted):
                _groups[offer_id] = group_id = wanted
            case Refused():
                raise _refusal(outcome, person.id)
    raise NotFound


def _wake() -> None:
    """Let a worker hand the events on, at most once a second: a queue command for every claim would cost more than it."""
    global _woken
    if time.monotonic() - _woken > WAKE_SECONDS or current_app.config.get("GROUP_COMMIT_INLINE"):
        _woken = time.monotonic()
        events.deliver_events.later()


def _refusal(refused: Refused, member_id: int) -> rules.ClaimRefused:
    """The refusal with its sentence filled in, in the language of whoever asked."""
    if refused.kind is rules.NotYet:
        return rules.NotYet(opens=date_time(refused.value) if refused.value is not None else "")
    if refused.kind is rules.TierTooLow:
        return rules.TierTooLow(tier=f"VIP{refused.value}", missing=_missing(member_id, refused.value))
    return refused.kind()


def _missing(member_id: int, rank: int) -> str:
    """What the member's orders lack of a rank, in words; empty when the level is off or only a review is missing."""
    level = tiers.policy().level(rank)
    if level is None:
        return ""
    return tier_labels.missing_text(tier_rules.missing_to(tiers.policy(), level, tiers.explanation(member_id).totals))


NETWORK_CLAIMS = 60


def claim_with_phone(offer_id: int, phone: str, source: str, network: str) -> Claimed:
    """Claim for a phone (E.164) that nobody has proved to own: its member, or a new unverified lead.

    The browser is not bound, and a coupon that is not fresh must not be shown: both would tell whose phone it is.
    At most 60 claims an hour come from one network address. Refuses as `claim` does, and with `TooManyNewcomers`.
    """
    hour = str(int(clock.now().timestamp()) // 3_600)
    try:
        limits.take([("coupon.newcomers", network, hour, 1, NETWORK_CLAIMS)])
    except limits.LimitReached:
        raise rules.TooManyNewcomers from None
    member, _created = members.find_or_make([(Channel.PHONE, phone)], source=source)
    return claim(offer_id, member.id, source)


def refuse_unqualified(person: Any, min_rank: int, group_id: int | None) -> None:
    """Say before the button is shown what the button would say: refuses with `TierTooLow` and `NotInGroup`."""
    if person.rank < min_rank:
        raise _refusal(Refused(rules.TierTooLow, min_rank), person.id)
    if group_id is not None and not any(group_membership.call(person.id, group_id)):
        raise rules.NotInGroup


def note_link_reuse(coupon_id: int) -> None:
    """Somebody opened a personal link on a browser that is not its owner's, after it was used."""
    audit.record("coupon.link_reused", "coupon", coupon_id)
