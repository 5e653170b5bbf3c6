"""The seven actions from a message to the second order: how many people did each, in one statement."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from sqlalchemy import Integer, and_, func, literal, or_, select, union_all
from sqlalchemy.orm import aliased

from campaigns.audiences import queries as audiences
from campaigns.audiences.rules import Definition
from campaigns.pushes.models import Delivery, DeliveryState, Run
from community.groups.models import Seat
from community.posts.models import Reaction, ReactionKind
from kernel.db import db
from membership.coupons.models import Coupon
from membership.orders import queries as orders
from membership.orders.models import Order

from .models import Click
from .queries import source_of

# A further order so soon after a parcel arrived is a repurchase.
AGAIN = timedelta(days=90)
# A run of which something may have been sent in a period began at most so long before it.
LATE = timedelta(days=30)
Action = Literal["reached", "followed", "landed", "ordered", "shipped", "received", "again"]
ACTIONS: tuple[Action, ...] = ("reached", "followed", "landed", "ordered", "shipped", "received", "again")


@dataclass(frozen=True)
class Among:
    """Whom a funnel is about: everybody, those to whom a run was to go, those who were in a group, an audience, or the
    members whose ids a statement gives."""

    run: Run | None = None
    group_id: int | None = None
    audience: Definition | None = None
    members: Any = None

    def narrow(self, member_id: Any) -> list[Any]:
        """Conditions on a column of member ids."""
        if self.run is not None:
            written = select(Delivery.member_id).where(Delivery.run_id == self.run.id, Delivery.slice_number > 0)
            return [member_id.in_(written)]
        if self.group_id is not None:
            seats = select(Seat.member_id).where(Seat.group_id == self.group_id, Seat.joined_at.is_not(None))
            return [member_id.in_(seats)]
        if self.audience is not None:
            return [member_id.in_(audiences.member_ids(self.audience))]
        if self.members is not None:
            return [member_id.in_(self.members)]
        return [member_id.is_not(None)]


@dataclass(frozen=True)
class Step:
    """How many people did an action, and how many of them had done the one before as well."""

    action: Action
    people: int
    after_former: int


def _messages(among: Among, since: datetime, until: datetime) -> Sequence[tuple[Action, Any]]:
    """What people did with messages and links."""
    sent = [Delivery.state == DeliveryState.ACCEPTED, Delivery.accepted_at >= since, Delivery.accepted_at < until]
    clicked = [Click.at >= since, Click.at < until]
    if among.run is not None:
        source = source_of(among.run.id)
        return [
            ("reached", select(Delivery.member_id).where(Delivery.run_id == among.run.id, *sent)),
            ("followed", select(Click.member_id).where(Click.run_id == among.run.id, *clicked)),
            ("landed", _taken(since, until).where(Coupon.source == source)),
            ("landed", _joined(since, until).where(Seat.source == source)),
        ]
    runs = select(Run.id).where(Run.started_at >= since - LATE, Run.started_at < until)
    looked = select(Reaction.member_id).where(Reaction.at >= since, Reaction.at < until)
    entered = select(Seat.member_id).where(Seat.held_at >= since, Seat.held_at < until)
    joined = _joined(since, until)
    if among.group_id is not None:
        looked = looked.where(Reaction.group_id == among.group_id)
        entered, joined = (one.where(Seat.group_id == among.group_id) for one in (entered, joined))
    return [
        ("reached", select(Delivery.member_id).where(Delivery.run_id.in_(runs), *sent)),
        ("reached", looked),
        ("followed", select(Click.member_id).where(*clicked)),
        ("followed", looked.where(Reaction.kind == ReactionKind.CLICKED)),
        ("followed", entered),
        ("landed", _taken(since, until)),
        ("landed", joined),
    ]


def _taken(since: datetime, until: datetime) -> Any:
    """Who took a coupon on its page, by themselves."""
    return select(Coupon.member_id).where(
        Coupon.issued_at >= since, Coupon.issued_at < until, Coupon.grant_key.is_(None)
    )


def _joined(since: datetime, until: datetime) -> Any:
    return select(Seat.member_id).where(Seat.joined_at >= since, Seat.joined_at < until)


def _orders(since: datetime, until: datetime) -> Sequence[tuple[Action, Any]]:
    """What became of the orders placed in the period."""
    ordered = select(Order.member_id).where(Order.placed_at >= since, Order.placed_at < until, orders.counts())
    arrived = orders.has_arrived()
    further = aliased(Order)
    arrived_at = func.coalesce(func.least(Order.delivered_at, Order.completed_at), Order.placed_at)
    return [
        ("ordered", ordered),
        ("shipped", ordered.where(or_(Order.shipped_at.is_not(None), arrived))),
        ("received", ordered.where(arrived)),
        (
            "again",
            ordered.where(arrived).join(
                further,
                and_(
                    further.member_id == Order.member_id,
                    further.id != Order.id,
                    further.placed_at > arrived_at,
                    further.placed_at <= arrived_at + AGAIN,
                    further.paid_at.is_not(None),
                    further.refunded_amount < further.paid_amount,
                ),
            ),
        ),
    ]


def _people(among: Among, since: datetime, until: datetime) -> Any:
    """Members with what they did: each action is a bit, and a person has all the bits of what they did."""
    acts = [*_messages(among, since, until), *_orders(since, until)]
    each = union_all(
        *(
            statement.with_only_columns(
                (member := statement.selected_columns[0]).label("member_id"),
                literal(1 << ACTIONS.index(action), Integer).label("bit"),
            ).where(*among.narrow(member))
            for action, statement in acts
        )
    ).subquery("acts")
    return select(each.c.member_id, func.bit_or(each.c.bit).label("bits")).group_by(each.c.member_id).subquery("people")


def funnel(among: Among, since: datetime, until: datetime) -> list[Step]:
    """How many people did each of the seven actions in `[since, until)`.

    The orders are those placed in the period, whenever they were shipped and received; a repurchase is another order within
    90 days of a parcel's arrival. One statement.
    """
    people = _people(among, since, until)
    counts = []
    for number in range(len(ACTIONS)):
        this, both = 1 << number, (1 << number) | (1 << number >> 1)
        counts.append(func.count().filter(people.c.bits.op("&")(this) == this))
        counts.append(func.count().filter(people.c.bits.op("&")(both) == both))
    row = db.session.execute(select(*counts)).one()
    return [Step(action, row[2 * n], row[2 * n + 1]) for n, action in enumerate(ACTIONS)]


def members_who(among: Among, action: Action, since: datetime, until: datetime) -> Any:
    """The ids of those whom a number of the funnel counts, as a statement."""
    people = _people(among, since, until)
    bit = 1 << ACTIONS.index(action)
    return select(people.c.member_id).where(people.c.bits.op("&")(bit) == bit)
