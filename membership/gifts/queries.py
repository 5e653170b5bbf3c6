"""Reads of the pages about gifts: the catalogue, members' gifts, and what a personal link leads to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, func, or_, select

from kernel import clock, files
from kernel.db import db
from kernel.links import LinkInvalid
from kernel.pages import Count, Page, capped_count, keyset
from membership.limits.models import LimitCounter
from membership.members import queries as members
from membership.members.models import Member

from . import rules, services
from .models import Gift, GiftClaim, GiftCode, GiftKind, GiftState

# A gift's pieces run low at a tenth of the stock, and whenever this few are left.
FEW = 5
GIVEN = func.coalesce(LimitCounter.used, 0)


# ── The catalogue ───────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class GiftFilter:
    """What narrows the list of gifts."""

    q: str = ""
    kind: GiftKind | None = None
    active: bool | None = None
    low: bool = False


def _with_given() -> Select[Gift, int]:
    name = func.concat("gift:", Gift.id, ":stock")
    on_count = and_(LimitCounter.limit == name, LimitCounter.subject == "", LimitCounter.window == "")
    return select(Gift, GIVEN.label("given")).outerjoin(LimitCounter, on_count)


def _low() -> ColumnElement[bool]:
    left = Gift.stock - GIVEN
    return and_(Gift.active, Gift.stock.is_not(None), or_(left <= FEW, left * 10 <= Gift.stock))


def _listed(wanted: GiftFilter) -> Select[Gift, int]:
    found = _with_given()
    if wanted.q:
        found = found.where(Gift.name.icontains(wanted.q, autoescape=True))
    if wanted.kind is not None:
        found = found.where(Gift.kind == wanted.kind)
    if wanted.active is not None:
        found = found.where(Gift.active.is_(wanted.active))
    return found.where(_low()) if wanted.low else found


def catalogue(wanted: GiftFilter) -> Select[Gift, int]:
    """The catalogue as rows (Gift, given), in no order."""
    return _listed(wanted)


def _gift_order(sort: str) -> list[Any]:
    orders: dict[str, list[Any]] = {
        "name": [Gift.name, Gift.id],
        "-name": [Gift.name.desc(), Gift.id.desc()],
        "given": [GIVEN, Gift.id],
        "-given": [GIVEN.desc(), Gift.id.desc()],
        "value": [Gift.value, Gift.id],
        "-value": [Gift.value.desc(), Gift.id.desc()],
    }
    return orders.get(sort, [Gift.id.desc()])


def gifts_page(wanted: GiftFilter, sort: str, cursor: str | None) -> tuple[Page, Count]:
    """One page of the catalogue as rows (Gift, given), and how many gifts fit."""
    found = _listed(wanted)
    return keyset(found, _gift_order(sort), cursor), capped_count(found)


def all_gifts(wanted: GiftFilter, sort: str) -> Sequence[Any]:
    """Every gift that fits, as rows (Gift, given), for the download."""
    return db.session.execute(_listed(wanted).order_by(*_gift_order(sort)).limit(10_000)).all()


def running_low() -> Sequence[Any]:
    """Gifts of which few pieces are left, as rows (Gift, given), the emptiest first."""
    return db.session.execute(_with_given().where(_low()).order_by(Gift.stock - GIVEN, Gift.id).limit(5)).all()


def gift_choices() -> list[tuple[int, str]]:
    """Every gift to filter by."""
    return list(db.session.execute(select(Gift.id, Gift.name).order_by(Gift.id.desc()).limit(200)).all())


def found_by_name(words: str) -> list[Gift]:
    """Gifts for the search over everything."""
    return list(db.session.scalars(select(Gift).where(Gift.name.icontains(words, autoescape=True)).limit(5)))


@files.public_in_use.fill
def pictures_in_use(keys: Sequence[str]) -> set[str]:
    """Which of these pictures a gift has."""
    return {key for key in db.session.scalars(select(Gift.picture).where(Gift.picture.in_(keys))) if key}


# ── Members' gifts ──────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class ClaimFilter:
    """What narrows the list of members' gifts."""

    q: str = ""
    state: GiftState | None = None
    gift_id: int | None = None
    group_id: int | None = None


@dataclass(frozen=True)
class ClaimRow:
    """A member's gift with whose and what it is; `state` is what it is at this instant."""

    claim: GiftClaim
    gift: Gift
    member: Member
    state: GiftState


def _in_state(state: GiftState, now: datetime) -> ColumnElement[bool]:
    """`rules.state_at` as a condition."""
    overdue = and_(GiftClaim.state.in_(rules.WAITING), GiftClaim.claim_until <= now)
    if state == GiftState.FORFEITED:
        return or_(GiftClaim.state == state, overdue)
    if state in rules.WAITING:
        return and_(GiftClaim.state == state, GiftClaim.claim_until > now)
    return GiftClaim.state == state


def _claims(wanted: ClaimFilter) -> Select[GiftClaim, Gift, Member]:
    found = (
        select(GiftClaim, Gift, Member)
        .join(Gift, Gift.id == GiftClaim.gift_id)
        .join(Member, Member.id == GiftClaim.member_id)
    )
    if wanted.state is not None:
        found = found.where(_in_state(wanted.state, clock.now()))
    if wanted.gift_id is not None:
        found = found.where(GiftClaim.gift_id == wanted.gift_id)
    if wanted.group_id is not None:
        found = found.where(GiftClaim.group_id == wanted.group_id)
    if wanted.q:
        found = found.where(
            or_(
                members.sought(wanted.q),
                GiftClaim.recipient.icontains(wanted.q, autoescape=True),
                GiftClaim.tracking_number == wanted.q,
                GiftClaim.id == _number(wanted.q),
            )
        )
    return found


def _number(words: str) -> int:
    plain = words.removeprefix("#")
    return int(plain) if plain.isascii() and plain.isdigit() and len(plain) < 19 else 0


def _row(claim: GiftClaim, gift: Gift, member: Member) -> ClaimRow:
    return ClaimRow(claim, gift, member, rules.state_at(claim.state, claim.claim_until, clock.now()))


def claims_listed(
    state: GiftState | None, gift_id: int | None, member_id: int | None
) -> Select[GiftClaim, Gift, Member]:
    """Members' gifts as rows for `as_row`, in no order; None narrows nothing."""
    found = _claims(ClaimFilter(state=state, gift_id=gift_id))
    return found.where(GiftClaim.member_id == member_id) if member_id is not None else found


def as_row(claim: GiftClaim, gift: Gift, member: Member) -> ClaimRow:
    """A row of `claims_listed` with its state at this instant."""
    return _row(claim, gift, member)


def claims_page(wanted: ClaimFilter, sort: str, cursor: str | None) -> tuple[Page, list[ClaimRow], Count]:
    """One page of members' gifts, newest first or as asked; the page is for its cursors."""
    found = _claims(wanted)
    orders: dict[str, list[Any]] = {
        "offered": [GiftClaim.id],
        "until": [GiftClaim.claim_until, GiftClaim.id],
        "-until": [GiftClaim.claim_until.desc(), GiftClaim.id.desc()],
    }
    page = keyset(found, orders.get(sort, [GiftClaim.id.desc()]), cursor)
    return page, [_row(*row) for row in page.rows], capped_count(found)


def pick_list(wanted: ClaimFilter) -> list[ClaimRow]:
    """What is to be packed, whoever has waited longest first; of the filter the gift, the group and the words count."""
    found = _to_pack(wanted).order_by(GiftClaim.queued_at, GiftClaim.id).limit(10_000)
    return [_row(*row) for row in db.session.execute(found)]


def _to_pack(wanted: ClaimFilter) -> Select[GiftClaim, Gift, Member]:
    return _claims(replace(wanted, state=GiftState.QUEUED))


def to_pay(wanted: ClaimFilter) -> list[ClaimRow]:
    """Red packets that are claimed and not yet paid, whoever has waited longest first; of the filter the gift, the group
    and the words count."""
    found = _to_pay(wanted).order_by(GiftClaim.claimed_at, GiftClaim.id).limit(10_000)
    return [_row(*row) for row in db.session.execute(found)]


def _to_pay(wanted: ClaimFilter) -> Select[GiftClaim, Gift, Member]:
    return _claims(replace(wanted, state=GiftState.CLAIMED)).where(Gift.kind == GiftKind.RED_PACKET)


def count_lists(wanted: ClaimFilter) -> tuple[int, int]:
    """How many gifts `pick_list` and `to_pay` would hold."""
    packed, paid = (
        db.session.scalar(found.with_only_columns(func.count(GiftClaim.id))) or 0
        for found in (_to_pack(wanted), _to_pay(wanted))
    )
    return packed, paid


@dataclass(frozen=True)
class Pool:
    """The codes of a digital gift: free for anybody, set aside for gifts that wait, handed out."""

    free: int
    set_aside: int
    handed_out: int


def pool(gift_id: int) -> Pool | None:
    """A gift's codes; None where none were ever put in."""
    if not services.has_pool(gift_id):
        return None
    unused = services.free_codes(gift_id)
    set_aside = min(unused, services.promised(gift_id))
    out = select(func.count(GiftCode.id)).where(GiftCode.gift_id == gift_id, GiftCode.claim_id.is_not(None))
    return Pool(unused - set_aside, set_aside, db.session.scalar(out) or 0)


def givable() -> list[Any]:
    """Gifts that can be given now, as rows (Gift, given), newest first."""
    left = or_(Gift.stock.is_(None), Gift.stock > GIVEN)
    return list(db.session.execute(_with_given().where(Gift.active, left).order_by(Gift.id.desc()).limit(200)).all())


def claim_row(claim_id: int) -> ClaimRow:
    """One member's gift. Refuses with `NotFound`."""
    claim = services.get_claim(claim_id)
    return _row(claim, services.get_gift(claim.gift_id), members.get_member(claim.member_id))


def latest_of_gift(gift_id: int, size: int = 8) -> list[ClaimRow]:
    """The newest members' gifts of one kind."""
    found = _claims(ClaimFilter(gift_id=gift_id)).order_by(GiftClaim.id.desc()).limit(size)
    return [_row(*row) for row in db.session.execute(found)]


def gifts_of(member_id: int, size: int = 100) -> list[ClaimRow]:
    """A member's gifts, newest first."""
    found = _claims(ClaimFilter()).where(GiftClaim.member_id == member_id).order_by(GiftClaim.id.desc()).limit(size)
    return [_row(*row) for row in db.session.execute(found)]


def with_tracking(number: str) -> list[ClaimRow]:
    """Gifts on their way under a carrier's number, for the search over everything."""
    found = _claims(ClaimFilter()).where(GiftClaim.tracking_number == number).limit(5)
    return [_row(*row) for row in db.session.execute(found)]


def count_in(state: GiftState) -> int:
    """How many members' gifts are in a state."""
    return db.session.scalar(select(func.count(GiftClaim.id)).where(_in_state(state, clock.now()))) or 0


def carriers() -> list[str]:
    """The carriers of the last gifts sent, to choose from."""
    last = select(GiftClaim.carrier).where(GiftClaim.carrier != "").order_by(GiftClaim.id.desc()).limit(200).subquery()
    return list(db.session.scalars(select(last.c.carrier).distinct().order_by(last.c.carrier)))


# ── A personal link ─────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Opened:
    """What a personal link leads to: whose gift, which, and its state at this instant."""

    member: Member
    claim: GiftClaim
    gift: Gift
    state: GiftState


def opened(token: str, lock: bool = False) -> Opened:
    """Read a personal link; a merged record leads to the one it was merged into. `lock` for whoever will change it.

    Refuses with `LinkInvalid` (also when the gift is somebody else's or its owner is erased) and `LinkExpired`.
    """
    member_id, claim_id = services.read_path(token)
    member = members.find_member(member_id)
    if member is None or member.erased_at is not None:
        raise LinkInvalid
    claim = services.get_claim(claim_id, lock=lock)
    owner = members.find_member(claim.member_id)
    if owner is None or owner.id != member.id:
        raise LinkInvalid
    return Opened(
        member, claim, services.get_gift(claim.gift_id), rules.state_at(claim.state, claim.claim_until, clock.now())
    )
