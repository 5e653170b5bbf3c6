"""REST for points: what a member has and why, paying with points at a till or checkout, and giving points."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, model_validator

from kernel import api_keys
from kernel.auth import api_scope
from kernel.errors import NotFound, Refusal, about
from kernel.http import (
    Instant,
    Listed,
    Name,
    PageQuery,
    RowId,
    Strict,
    Words,
    api_blueprint,
    cursor_page,
    idempotent,
    operation,
)
from kernel.i18n import gettext as _
from kernel.i18n import lazy_gettext as _l
from kernel.openapi import describe_tag
from membership.members import queries as members
from membership.members.models import Channel, Member
from membership.members.rules import EmailInvalid, PhoneInvalid
from membership.members.services.programs import IdentityEmpty, MemberGone, canonical, get_present
from membership.orders.feeds.standard import Number, Source

from . import queries, rules, services
from .models import Kind, PointsReward, PointsTransaction

bp = api_blueprint("points_api", __name__)
describe_tag("Points", _l("Members' points: balance, ledger, paying with points, and rewards."))
api_keys.declare("points:read", _l("Read points, their ledger and the rewards"))
api_keys.declare("points:spend", _l("Pay with members' points and give them back"))
api_keys.declare("points:write", _l("Give points to members"))

Points = Annotated[int, Field(ge=1, le=rules.MOST_POINTS)]
_PAYER = (MemberGone, NotFound, IdentityEmpty, PhoneInvalid, EmailInvalid)
_MEMBER = {"points": ("points.balance", {"member_id": "$response.body#/member_id"})}


class SpendUnknown(Refusal):
    status = 404
    label = _l("No points of this member were spent on this order.")


class BalanceOut(Strict):
    """`active` can be spent now, `pending` after the after-sale window; `shortfall` is what the next earn is netted by."""

    member_id: int
    active: int
    pending: int
    locked: int
    shortfall: int
    next_expiry_at: Instant | None
    next_expiry_points: int


class TransactionOut(Strict):
    """One booking; `points` is what it did to the member's points, signed. `activate` moves points from pending to active."""

    id: int
    member_id: int
    type: Kind
    points: int
    source_type: str
    source_id: str
    reverses_id: int | None
    reason: str
    at: Instant


class TransactionsQuery(PageQuery):
    type: Kind | None = None


class BookedOut(Strict):
    """A booking, and what the member has after it."""

    transaction: TransactionOut
    balance: BalanceOut


class RewardOut(Strict):
    """Something to be had for points: a coupon of an offer, or a gift. `left` is null where there is no limit."""

    id: int
    name: str
    description: str
    points: int
    offer_id: int | None
    gift_id: int | None
    min_rank: int
    per_member: int | None
    left: int | None
    available: bool


class Payer(Strict):
    """Whose points: `member_id`, or an identity such as `{"channel": "phone", "identity": "126 0000 1234"}`."""

    member_id: RowId | None = None
    channel: Channel | None = None
    identity: Annotated[str | None, Field(min_length=1, max_length=200)] = None

    @model_validator(mode="after")
    def one_way(self) -> Any:
        if (self.channel is None) != (self.identity is None) or (self.member_id is None) == (self.channel is None):
            raise ValueError(_("Give member_id, or channel and identity."))
        return self


class SpendIn(Payer):
    """`source` and `order` name the order that is paid; once an order and member."""

    points: Points
    source: Source
    order: Number
    reason: Words = ""


class GiveBackIn(Payer):
    """What was spent on an order comes back: all that is left of it, or `points`. `return` names a part, so that it is given
    back once."""

    source: Source
    order: Number
    points: Points | None = None
    return_number: Annotated[Name | None, Field(alias="return")] = None
    reason: Words = ""

    @model_validator(mode="after")
    def parts_are_named(self) -> Any:
        if self.points is not None and self.return_number is None:
            raise ValueError(_("A part that is given back needs a number of its own as return."))
        return self


class AwardIn(Strict):
    """`source` and `number` say what for; the same two give points once."""

    points: Points
    source: Name
    number: Name
    reason: Annotated[Name, Field(max_length=200)]


def _payer(body: Payer) -> Member:
    if body.member_id is not None:
        with about("member_id"):
            return get_present(body.member_id)
    assert body.channel is not None and body.identity is not None  # noqa: S101, PT018 - the model holds it
    with about("identity"):
        found = members.find_by_identity(*canonical(body.channel, body.identity))
        if found is None:
            raise NotFound
        return get_present(found.id)


def _balance(member_id: int) -> BalanceOut:
    found = queries.balance_of(member_id)
    return BalanceOut(
        member_id=member_id,
        active=found.active,
        pending=found.pending,
        locked=found.locked,
        shortfall=found.shortfall,
        next_expiry_at=found.next_expiry_at,
        next_expiry_points=found.next_expiry_points,
    )


def _transaction(row: PointsTransaction, member_id: int) -> TransactionOut:
    return TransactionOut(
        id=row.id,
        member_id=member_id,
        type=row.type,
        points=row.points,
        source_type=row.source_type,
        source_id=row.source_id,
        reverses_id=row.reverses_id,
        reason=row.reason,
        at=row.at,
    )


def _booked(row: PointsTransaction, member_id: int) -> tuple[BookedOut, int]:
    answer = BookedOut(transaction=_transaction(row, member_id), balance=_balance(member_id))
    return answer, 200 if row.replayed else 201


@bp.get("/members/<int:member_id>/points")
@api_scope("points:read")
@operation(_l("Read what a member has"), tag="Points", answers=BalanceOut)
def balance(member_id: int) -> BalanceOut:
    return _balance(members.get_member(member_id).id)


@bp.get("/members/<int:member_id>/points/transactions")
@api_scope("points:read")
@operation(
    _l("List what happened to a member's points"),
    tag="Points",
    query=TransactionsQuery,
    answers=Listed[TransactionOut],
)
def transactions(member_id: int, query: TransactionsQuery) -> Any:
    member = members.get_member(member_id)
    statement = queries.transactions_of(member.id, query.type)
    return cursor_page(statement, [PointsTransaction.id.desc()], query, lambda row: _transaction(row, member.id))


@bp.get("/points/rewards")
@api_scope("points:read")
@operation(_l("List the rewards"), tag="Points", query=PageQuery, answers=Listed[RewardOut])
def rewards(query: PageQuery) -> Any:
    return cursor_page(queries.reward_statement(), [PointsReward.id], query, _reward)


def _reward(reward: PointsReward) -> RewardOut:
    row = queries.reward_row(reward)
    return RewardOut(
        id=reward.id,
        name=reward.name,
        description=reward.description,
        points=reward.points,
        offer_id=reward.offer_id,
        gift_id=reward.gift_id,
        min_rank=reward.min_rank,
        per_member=reward.per_member,
        left=row.left,
        available=reward.active and row.running and row.left != 0,
    )


@bp.post("/points/spend")
@api_scope("points:spend")
@idempotent()
@operation(
    _l("Pay with a member's points"),
    tag="Points",
    takes=SpendIn,
    answers={201: BookedOut, 200: BookedOut},
    refusals=[rules.NotEnoughPoints, rules.SourceUsed, *_PAYER],
    description=_l(
        "All or nothing, earliest-expiring first. Once an order and member: again it gives the same answer."
    ),
    example={"channel": "phone", "identity": "126 0000 1234", "points": 500, "source": "shop", "order": "A-1001"},
    links=_MEMBER,
)
def spend(body: SpendIn) -> Any:
    member = _payer(body)
    booked = services.spend(
        member.id,
        body.points,
        source_type=f"order:{body.source}",
        source_id=body.order,
        reason=body.reason or f"{body.source} {body.order}",
    )
    return _booked(booked, member.id)


@bp.post("/points/give-back")
@api_scope("points:spend")
@idempotent()
@operation(
    _l("Give back points that were spent on an order"),
    tag="Points",
    takes=GiveBackIn,
    answers={201: BookedOut, 200: BookedOut},
    refusals=[rules.NothingToReturn, rules.SourceUsed, SpendUnknown, *_PAYER],
    description=_l("They go back to where they came from, with the expiry that they had."),
    example={"member_id": 12, "source": "shop", "order": "A-1001"},
    links=_MEMBER,
)
def give_back(body: GiveBackIn) -> Any:
    member = _payer(body)
    spent = queries.spent_on(member.id, f"order:{body.source}", body.order)
    if spent is None:
        raise SpendUnknown
    booked = services.give_back(
        spent,
        body.points,
        source_type="return" if body.return_number else "transaction",
        source_id=f"{spent.id}:{body.return_number}" if body.return_number else "",
        reason=body.reason,
    )
    return _booked(booked, member.id)


@bp.post("/members/<int:member_id>/points/awards")
@api_scope("points:write")
@idempotent()
@operation(
    _l("Give a member points"),
    tag="Points",
    takes=AwardIn,
    answers={201: BookedOut, 200: BookedOut},
    refusals=[rules.SourceUsed, MemberGone],
    description=_l("They can be used at once. The same source and number give points once."),
    example={"points": 50, "source": "survey", "number": "2026-11", "reason": "Thank you for your answers"},
)
def award(member_id: int, body: AwardIn) -> Any:
    member = get_present(member_id)
    booked = services.award(
        member.id,
        body.points,
        type=Kind.AWARD,
        source_type=f"api:{body.source}",
        source_id=body.number,
        reason=body.reason,
    )
    return _booked(booked, member.id)
