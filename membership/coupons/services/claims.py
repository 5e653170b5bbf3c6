"""Claiming: a request hands its claim to the process's writer (`batch.run_batch`) and tells what came of it.

docs/decisions/0003-group-commit.md tells why there is one writer a process.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from hashlib import blake2b
from typing import Any

from flask import current_app, has_request_context, request, session
from sqlalchemy import BigInteger, ColumnElement, bindparam, text

from kernel import audit, clock, events, visitors
from kernel.db import db
from kernel.errors import NotFound
from kernel.group_commit import GrowingCommit
from kernel.http import client_address
from kernel.i18n import date_time
from kernel.ports import Port
from membership.limits import services as limits
from membership.members import services as members
from membership.members.models import Channel, Member
from membership.tiers import labels as tier_labels
from membership.tiers import queries as tiers
from membership.tiers import rules as tier_rules

from .. import rules
from . import caps
from .batch import run_batch, run_of_writer
from .shelves import Asks, Claim, Claimed, Gone, Outcome, Refused, Stale, Trace, coupons_held

# A refusal that holds for everybody is remembered by the process for so long (seconds): a crowd before an empty shelf
# must not queue at the writer.
CLOSED_SECONDS = 1.0
WAKE_SECONDS = 1.0
# How often a claim is judged anew because the offer or the claimant has changed in the meantime.
ATTEMPTS = 4

# Asked with (member_id, group_id): whether the member is in the group now.
group_membership: Port[[int, int], bool] = Port("coupons.group_membership")
# Asked with a group_id: whether `Member` is in it now, as a condition of a statement.
in_group: Port[[int], ColumnElement[bool]] = Port("coupons.in_group")

writer: GrowingCommit[Claim, Outcome] = GrowingCommit("coupons", run_batch, run_of_writer)

# What everybody is refused at this moment, by offer: until when (monotonic seconds) and why.
_closed: dict[int, tuple[float, Refused]] = {}
_woken = 0.0
# What an offer asked for when it was last looked at.
_asks: dict[int, Asks] = {}

CLAIMANT = text("SELECT id, rank, merged_into_id, erased_at FROM member WHERE id = :id").bindparams(
    bindparam("id", type_=BigInteger)
)
ASKS = text(
    "SELECT v.group_id, o.per_person IS NOT NULL FROM offer o JOIN offer_version v ON v.id = o.version_id WHERE o.id = :id"
).bindparams(bindparam("id", type_=BigInteger))


def forget_closed(offer_id: int) -> None:
    """Ask the writer again: the offer has been changed here."""
    _closed.pop(offer_id, None)
    _asks.pop(offer_id, None)


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
    trace = trace_of_request()

    def submit(wish: Claim) -> Outcome:
        outcome = writer.submit(wish._replace(browser=browser, trace=trace))
        if isinstance(outcome, Refused) and outcome.kind in (rules.SoldOut, rules.DayLimitReached):
            _closed[offer_id] = (time.monotonic() + CLOSED_SECONDS, outcome)
        else:
            _closed.pop(offer_id, None)
        return outcome

    claimed, owner = _until_answered(submit, person, offer_id, source, ordinal)
    if claimed.fresh:
        _wake()
        if stranger:
            visitors.keep_promise(owner)
        elif bind:
            visitors.bind(owner)
    return claimed


def _until_answered(
    submit: Callable[[Claim], Outcome], person: Any, offer_id: int, source: str, ordinal: int | None
) -> tuple[Claimed, int]:
    """Hand a wish in, again with what has changed meanwhile; the claim, and whose it is. Refuses as `claim` does."""
    asks = asked_of(offer_id)
    for _attempt in range(ATTEMPTS):
        outcome = submit(wish_of(person, offer_id, source, ordinal, asks))
        match outcome:
            case Claimed():
                return outcome, person.id
            case Stale(asks=wanted):
                _asks[offer_id] = asks = wanted
            case Gone():
                # Merged or erased since they were looked up: the survivor's claim is judged on what the survivor has.
                person = claimant(person.id)
            case Refused():
                raise _refusal(outcome, person.id)
    raise NotFound


def asked_of(offer_id: int) -> Asks:
    """What an offer wants to know of a claimant, as this process last saw it; the writer tells when that is out of date."""
    if offer_id not in _asks:
        row = db.session.connection().execute(ASKS, {"id": offer_id}).one_or_none()
        if row is None:
            return Asks(None, False)
        _asks[offer_id] = Asks(row[0], row[1])
    return _asks[offer_id]


def wish_of(person: Any, offer_id: int, source: str, ordinal: int | None, asks: Asks) -> Claim:
    """A person's claim with what the offer asks for looked up."""
    in_group = asks.group_id is not None and any(group_membership.call(person.id, asks.group_id))
    who = caps.person_keys([person.id]).get(person.id) if asks.person else None
    return Claim(offer_id, person.id, person.rank, asks.group_id, in_group, source, ordinal, person=who)


def claim_here(offer_id: int, member_id: int, source: str) -> Claimed:
    """`claim` in the caller's own transaction, for acts that hold more than the claim: it keeps the offer locked until then.

    Refuses as `claim` does.
    """
    claimed, _owner = _until_answered(
        lambda wish: run_batch(db.session.connection(), [wish])[0], claimant(member_id), offer_id, source, None
    )
    if claimed.fresh:
        events.deliver_events.later()
    return claimed


def trace_of_request() -> Trace:
    """The keyed hashes of whoever asks: their address, and their browser's session or, without one, what it calls itself."""
    if not has_request_context():
        return Trace()
    secret: bytes = current_app.extensions["settings"].secret_key
    address = client_address()
    said = session.get("csrf_token") or f"{address} {request.headers.get('User-Agent', '')[:200]}"
    return Trace(_short_hash(secret, f"network {address}"), _short_hash(secret, f"device {said}"))


def _short_hash(secret: bytes, said: str) -> str:
    return blake2b(said.encode(), key=secret[:64], digest_size=8).hexdigest()


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
    member, _known = newcomer(phone, source, network)
    return claim(offer_id, member.id, source)


def newcomer(phone: str, source: str, network: str) -> tuple[Member, bool]:
    """The member of a phone (E.164) that nobody has proved to own, made if there is none; and whether there was one.

    At most 60 an hour come from one network address. Refuses with `TooManyNewcomers`.
    """
    hour = str(int(clock.now().timestamp()) // 3_600)
    try:
        limits.take([("coupon.newcomers", network, hour, 1, NETWORK_CLAIMS)])
    except limits.LimitReached:
        raise rules.TooManyNewcomers from None
    member, made = members.find_or_make([(Channel.PHONE, phone)], source=source)
    return member, not made


def refuse_unqualified(person: Any, min_rank: int, group_id: int | None) -> None:
    """Say before the button is shown what the button would say: refuses with `TierTooLow` and `NotInGroup`."""
    if person.rank < min_rank:
        raise _refusal(Refused(rules.TierTooLow, min_rank), person.id)
    if group_id is not None and not any(group_membership.call(person.id, group_id)):
        raise rules.NotInGroup


def note_link_reuse(coupon_id: int) -> None:
    """Somebody opened a personal link on a browser that is not its owner's, after it was used."""
    audit.record("coupon.link_reused", "coupon", coupon_id)
