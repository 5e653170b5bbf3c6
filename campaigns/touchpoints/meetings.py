"""Who met which touchpoint when: one statement over the rows that the rooms below keep anyway.

Every source has the same columns: `key` (of the touchpoint), `member_id`, `at`, `answered` (whether they did what it asks for,
up to now) and `stars` (1 to 5, or null). A meeting is a row there: a message, a seat, a coupon, a call. The parts are bounded
by `[since, until)` before anything is joined.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    Boolean,
    Integer,
    Select,
    Text,
    and_,
    case,
    cast,
    exists,
    func,
    literal,
    null,
    or_,
    select,
    union_all,
)

from campaigns.channels.models import Account, ChannelKind
from campaigns.pushes.models import NOBODY, Delivery, DeliveryState, Origin, Push, Run
from community.conversations.models import Conversation
from community.desk.models import CallState, CallTask
from community.groups.models import JoinLink, Seat
from community.posts.models import Comment, CommentState, PollOption, PollVote, Post, PostKind, Reaction, ReactionKind
from community.tickets.models import Ticket
from kernel.db import db
from membership.coupons.models import ClaimLink, Coupon
from membership.gifts.models import GiftClaim, GiftState
from membership.orders import queries as orders
from membership.orders.models import Order, OrderState
from membership.orders.rules import ARRIVED_STATES

from .rules import WELCOMED

# A run of which something was handed over in a period began at most so long before it.
LATE = timedelta(days=30)
BY_PUSH = {
    "push_inbox": ChannelKind.INBOX,
    "push_email": ChannelKind.EMAIL,
    "push_sms": ChannelKind.SMS,
    "push_wecom": ChannelKind.WECOM,
    "push_webhook": ChannelKind.WEBHOOK,
    "push_task": ChannelKind.TASK,
}
BY_LINK = ("link:", "push:", "code:")
# A parcel was sent off, whatever became of it.
SENT = (OrderState.SHIPPED, *ARRIVED_STATES, OrderState.REFUSED)


@dataclass(frozen=True)
class Ways:
    """Through what people come who come by a touchpoint that names its links: what seats and coupons say, to its key."""

    sources: Mapping[str, str] = field(default_factory=dict)
    join_links: Mapping[int, str] = field(default_factory=dict)
    coupons: Mapping[str, str] = field(default_factory=dict)

    @property
    def keys(self) -> set[str]:
        return {*self.sources.values(), *self.join_links.values(), *self.coupons.values()}


def ways_of(names: Mapping[str, str]) -> Ways:
    """Look up the links that bear these names (name → key): what a join link says as its source or its name, and a claim
    link as its name."""
    if not names:
        return Ways()
    links = db.session.execute(
        select(JoinLink.id, JoinLink.source, JoinLink.name).where(
            or_(JoinLink.source.in_(names), JoinLink.name.in_(names))
        )
    )
    claims = db.session.execute(select(ClaimLink.id, ClaimLink.name).where(ClaimLink.name.in_(names)))
    return Ways(
        sources=dict(names),
        join_links={row.id: names.get(row.source) or names[row.name] for row in links},
        coupons={f"link:{row.id}": names[row.name] for row in claims},
    )


def _row(key: Any, member_id: Any, at: Any, answered: Any, stars: Any = None) -> Any:
    return select(
        cast(key, Text).label("key"),
        member_id.label("member_id"),
        at.label("at"),
        cast(answered, Boolean).label("answered"),
        cast(null() if stars is None else stars, Integer).label("stars"),
    )


def _between(column: Any, since: datetime, until: datetime) -> Any:
    return and_(column >= since, column < until)


def _messages(since: datetime, until: datetime, ways: Ways) -> Any:
    key = case(
        (Push.origin == Origin.JOURNEY, "journey_message"),
        *((Account.kind == kind, key) for key, kind in BY_PUSH.items()),
    )
    return (
        _row(key, Delivery.member_id, Delivery.accepted_at, Delivery.clicked_at.is_not(None))
        .join(Run, Run.id == Delivery.run_id)
        .join(Push, Push.id == Run.push_id)
        .join(Account, Account.id == Push.account_id)
        .where(
            Run.started_at >= since - LATE,
            Run.started_at < until,
            or_(Push.origin == Origin.JOURNEY, Account.kind.in_(BY_PUSH.values())),
            Delivery.state == DeliveryState.ACCEPTED,
            Delivery.member_id != NOBODY,
            _between(Delivery.accepted_at, since, until),
        )
    )


def _posts(since: datetime, until: datetime, ways: Ways) -> Any:
    done = Reaction.__table__.alias("done")
    acted = exists().where(
        done.c.post_id == Reaction.post_id,
        done.c.group_id == Reaction.group_id,
        done.c.member_id == Reaction.member_id,
        done.c.kind != ReactionKind.SEEN,
    )
    voted = (
        exists()
        .where(PollOption.post_id == Reaction.post_id)
        .where(PollVote.option_id == PollOption.id, PollVote.member_id == Reaction.member_id)
    )
    survey = Post.kind == PostKind.SURVEY
    return (
        _row(
            case((survey, "survey"), else_="post"),
            Reaction.member_id,
            Reaction.at,
            case(
                (survey, voted), else_=or_(acted, _commented(Reaction.member_id, Reaction.group_id, Reaction.post_id))
            ),
        )
        .join(Post, Post.id == Reaction.post_id)
        .where(Reaction.kind == ReactionKind.SEEN, _between(Reaction.at, since, until))
    )


def _commented(member_id: Any, group_id: Any, post_id: Any) -> Any:
    return exists().where(
        Comment.member_id == member_id,
        Comment.group_id == group_id,
        Comment.post_id == post_id,
        Comment.state == CommentState.SHOWN,
    )


def _seats(since: datetime, until: datetime, ways: Ways) -> Any:
    key = case(
        *((Seat.source == name, key) for name, key in ways.sources.items()),
        *((Seat.link_id == link_id, key) for link_id, key in ways.join_links.items()),
        (Seat.source == "friend", "friend"),
        (Seat.link_id.is_not(None), "group_link"),
        (Seat.source == "link", "group_link"),
    )
    named = Seat.source.in_([*ways.sources, "friend", "link"])
    return _row(key, Seat.member_id, Seat.held_at, Seat.joined_at.is_not(None)).where(
        _between(Seat.held_at, since, until), or_(named, Seat.link_id.is_not(None))
    )


def _welcomes(since: datetime, until: datetime, ways: Ways) -> Any:
    soon = Seat.joined_at + literal(WELCOMED)
    acted = exists().where(
        Reaction.member_id == Seat.member_id,
        Reaction.group_id == Seat.group_id,
        Reaction.kind != ReactionKind.SEEN,
        Reaction.at >= Seat.joined_at,
        Reaction.at < soon,
    )
    said = exists().where(
        Comment.member_id == Seat.member_id,
        Comment.group_id == Seat.group_id,
        Comment.state == CommentState.SHOWN,
        Comment.at >= Seat.joined_at,
        Comment.at < soon,
    )
    return _row(literal("group_welcome"), Seat.member_id, Seat.joined_at, or_(acted, said)).where(
        Seat.joined_at.is_not(None), _between(Seat.joined_at, since, until)
    )


def _invitations(since: datetime, until: datetime, ways: Ways) -> Any:
    came = exists().where(
        Seat.member_id == CallTask.member_id,
        Seat.group_id == CallTask.invited_group_id,
        Seat.joined_at >= CallTask.invited_at,
    )
    return _row(literal("call_invitation"), CallTask.member_id, CallTask.invited_at, came).where(
        CallTask.invited_group_id.is_not(None), _between(CallTask.invited_at, since, until)
    )


def _coupons(since: datetime, until: datetime, ways: Ways) -> Any:
    key = case(
        *((Coupon.source == name, key) for name, key in ways.coupons.items()),
        (Coupon.source.startswith("link:"), "coupon_link"),
        (Coupon.source.startswith("push:"), "coupon_message"),
        (Coupon.source.startswith("code:"), "coupon_code"),
    )
    return _row(key, Coupon.member_id, Coupon.issued_at, Coupon.redeemed_at.is_not(None)).where(
        _between(Coupon.issued_at, since, until),
        or_(*(Coupon.source.startswith(start) for start in BY_LINK)),
    )


def _gifts(since: datetime, until: datetime, ways: Ways) -> Any:
    claimed = or_(GiftClaim.claimed_at.is_not(None), GiftClaim.queued_at.is_not(None))
    return _row(literal("gift"), GiftClaim.member_id, GiftClaim.offered_at, claimed).where(
        _between(GiftClaim.offered_at, since, until), GiftClaim.state != GiftState.CANCELLED
    )


def _orders(since: datetime, until: datetime, ways: Ways) -> Any:
    return _row(literal("web_shop"), Order.member_id, Order.placed_at, orders.counts()).where(
        Order.member_id.is_not(None), _between(Order.placed_at, since, until)
    )


def _parcels(since: datetime, until: datetime, ways: Ways) -> Any:
    # Some shops do not say when a parcel left; then it is taken to have left when the order was placed.
    left = func.coalesce(Order.shipped_at, Order.placed_at)
    return _row(literal("parcel"), Order.member_id, left, orders.has_arrived()).where(
        Order.member_id.is_not(None),
        # No index holds when a parcel was sent off; it left at most so long after its order.
        Order.placed_at >= since - LATE,
        Order.placed_at < until,
        or_(Order.shipped_at.is_not(None), Order.state.in_(SENT)),
        _between(left, since, until),
    )


def _calls(since: datetime, until: datetime, ways: Ways) -> Any:
    return _row(
        literal("call_back"), CallTask.member_id, CallTask.called_at, literal(False), CallTask.satisfaction
    ).where(CallTask.state == CallState.REACHED, _between(CallTask.called_at, since, until))


def _tickets(since: datetime, until: datetime, ways: Ways) -> Any:
    return _row(literal("ticket"), Ticket.member_id, Ticket.opened_at, literal(False), Ticket.satisfaction).where(
        _between(Ticket.opened_at, since, until)
    )


def _talks(since: datetime, until: datetime, ways: Ways) -> Any:
    return _row(
        literal("conversation"),
        Conversation.member_id,
        Conversation.opened_at,
        literal(False),
        Conversation.satisfaction,
    ).where(_between(Conversation.opened_at, since, until))


Source = Callable[[datetime, datetime, Ways], Any]
# Each source with the keys that its rows can have; those of `Ways` come beside.
_SOURCES: tuple[tuple[frozenset[str], Source], ...] = (
    (frozenset({*BY_PUSH, "journey_message"}), _messages),
    (frozenset({"post", "survey"}), _posts),
    (frozenset({"group_link", "friend"}), _seats),
    (frozenset({"group_welcome"}), _welcomes),
    (frozenset({"call_invitation"}), _invitations),
    (frozenset({"coupon_link", "coupon_message", "coupon_code"}), _coupons),
    (frozenset({"gift"}), _gifts),
    (frozenset({"web_shop"}), _orders),
    (frozenset({"parcel"}), _parcels),
    (frozenset({"call_back"}), _calls),
    (frozenset({"ticket"}), _tickets),
    (frozenset({"conversation"}), _talks),
)


def met(since: datetime, until: datetime, ways: Ways, keys: Collection[str] | None = None) -> Any:
    """The meetings in `[since, until)` as a subquery; with `keys` of these touchpoints alone."""
    named = (_seats, _coupons)
    parts: Sequence[Any] = [
        source(since, until, ways)
        for own, source in _SOURCES
        if keys is None or own & set(keys) or (source in named and ways.keys & set(keys))
    ]
    found = _together(parts or [_none()]).subquery("met")
    if keys is None:
        return found
    here: Any = select(*found.c).where(found.c.key.in_(keys))
    return here.subquery("met_here")


def _together(parts: Sequence[Select[Any]]) -> Any:
    return union_all(*parts) if len(parts) > 1 else parts[0]


def _none() -> Any:
    return _row(literal(""), literal(0), func.now(), literal(False)).where(literal(False))
