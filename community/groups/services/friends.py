"""Members who bring friends: a link of their own, and a reward once a friend has stayed or bought, each friend once.

The reward is judged when it is due, not when the friend comes: whoever leaves at once, or looks made up, brings nothing.
Every coupon and every point is keyed by group and friend, so nothing is given twice, whatever runs twice.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy import exists, select, update
from sqlalchemy.dialects.postgresql import insert

from kernel import audit, clock
from kernel.db import changed, db
from kernel.errors import NotFound
from kernel.i18n import forced_locale
from kernel.i18n import gettext as _
from kernel.notices import tell
from membership.coupons import services as coupons
from membership.coupons.models import Coupon, Offer
from membership.coupons.services.claims import trace_of_request
from membership.limits import services as limits
from membership.members.models import Member
from membership.orders import queries as orders
from membership.orders.models import Order
from membership.points import services as points
from membership.points.models import Kind

from .. import queries, results, rules
from ..models import FriendLink, FriendReward, Group, RewardState, Seat, SeatState

SLICE = 200
STILL_DUE = timedelta(days=1)


# ── The link ────────────────────────────────────────────────────────────────────────────────────────────────────────


def find_friend_link(group_id: int, member_id: int) -> FriendLink | None:
    """A member's link to bring friends into a group, or None when they have made none."""
    return db.session.scalar(
        select(FriendLink).where(FriendLink.group_id == group_id, FriendLink.member_id == member_id)
    )


def make_friend_link(group: Group, member_id: int) -> FriendLink:
    """A member's link into a group they sit in, made once; it remembers the browser that it was made from.

    Refuses with `NotAMember`, and with `LinkRevoked` when staff have withdrawn it.
    """
    if not queries.in_group(member_id, group.id):
        raise rules.NotAMember
    trace = trace_of_request()
    db.session.execute(
        insert(FriendLink)
        .values(
            token=secrets.token_urlsafe(9),
            group_id=group.id,
            member_id=member_id,
            opened=0,
            network=trace.network,
            device=trace.device,
            created_at=clock.now(),
        )
        .on_conflict_do_nothing(index_elements=[FriendLink.group_id, FriendLink.member_id])
    )
    found = find_friend_link(group.id, member_id)
    if found is None:
        raise NotFound
    if found.revoked_at is not None:
        raise rules.LinkRevoked
    return found


def friend_link_of(token: str) -> tuple[FriendLink, Group]:
    """A member's link and its group. Refuses with `LinkUnknown` and `LinkRevoked`, also once the member has left."""
    found = db.session.scalar(select(FriendLink).where(FriendLink.token == token))
    if found is None:
        raise rules.LinkUnknown
    if found.revoked_at is not None or not queries.in_group(found.member_id, found.group_id):
        raise rules.LinkRevoked
    return found, queries.get_group(found.group_id)


def withdrawn_links(group_id: int, member_ids: Sequence[int]) -> set[int]:
    """Which of the members have a link for friends that was withdrawn."""
    return set(
        db.session.scalars(
            select(FriendLink.member_id).where(
                FriendLink.group_id == group_id,
                FriendLink.member_id.in_(member_ids),
                FriendLink.revoked_at.is_not(None),
            )
        )
    )


def set_friend_link(link: FriendLink, revoked: bool) -> None:
    """Withdraw a member's link, or let it lead in again."""
    link.revoked_at = clock.now() if revoked else None
    action = "friend_link.revoked" if revoked else "friend_link.restored"
    audit.record(action, "group", link.group_id, after={"member_id": link.member_id})


# ── A friend comes ──────────────────────────────────────────────────────────────────────────────────────────────────


def note_friend(link: FriendLink, group: Group, friend_id: int) -> bool:
    """Write down that a friend comes by a member's link; whether they can bring something.

    Not when the group gives nothing, when it is the member's own tap, or when the friend has been in the group before.
    """
    terms = rules.Reward.read(group.reward)
    if terms is None or friend_id == link.member_id:
        return False
    if db.session.scalar(
        select(exists().where(Seat.group_id == group.id, Seat.member_id == friend_id, Seat.joined_at.is_not(None)))
    ):
        return False
    trace, now = trace_of_request(), clock.now()
    statement = insert(FriendReward).values(
        group_id=group.id,
        inviter_id=link.member_id,
        friend_id=friend_id,
        state=RewardState.WAITING,
        terms=dict(group.reward),
        reason="",
        network=trace.network,
        device=trace.device,
        came_at=now,
        due_at=now + timedelta(days=terms.days),
    )
    return bool(
        changed(
            db.session.execute(
                statement.on_conflict_do_nothing(index_elements=[FriendReward.group_id, FriendReward.friend_id])
            )
        )
    )


# ── The reward ──────────────────────────────────────────────────────────────────────────────────────────────────────


def due_rewards() -> list[int]:
    """The friends whose reward is to be judged now, the longest due first."""
    return list(
        db.session.scalars(
            select(FriendReward.id)
            .where(FriendReward.state == RewardState.WAITING, FriendReward.due_at <= clock.now())
            .order_by(FriendReward.due_at, FriendReward.id)
            .limit(SLICE)
        )
    )


def _trace(member: Member, network: str | None, device: str | None) -> rules.Trace:
    return rules.Trace(member.id, network, device, member.phone, "".join(member.address.split()).casefold())


def _suspicion(row: FriendReward, inviter: Member, friend: Member) -> rules.Farming | None:
    link = find_friend_link(row.group_id, row.inviter_id)
    others = db.session.execute(
        select(FriendReward, Member)
        .join(Member, Member.id == FriendReward.friend_id)
        .where(
            FriendReward.inviter_id == row.inviter_id,
            FriendReward.friend_id != row.friend_id,
            FriendReward.state.in_([RewardState.WAITING, RewardState.GIVEN]),
            FriendReward.id < row.id,
        )
        .order_by(FriendReward.id.desc())
        .limit(500)
    ).all()
    return rules.farming(
        _trace(inviter, link.network if link else None, link.device if link else None),
        _trace(friend, row.network, row.device),
        [_trace(member, other.network, other.device) for other, member in others],
    )


def _ordered(friend_id: int, row: FriendReward) -> bool:
    return bool(
        db.session.scalar(
            select(exists().where(Order.member_id == friend_id, Order.placed_at >= row.came_at, orders.counts()))
        )
    )


def settle_reward(reward_id: int) -> RewardState | None:
    """Judge one friend: given, refused, lapsed, or not yet (then it is looked at again in a day). None: it was judged before.

    In the caller's transaction; the row stays locked in it, so that two jobs do not judge one friend.
    """
    row = db.session.scalar(
        select(FriendReward)
        .where(FriendReward.id == reward_id, FriendReward.state == RewardState.WAITING)
        .with_for_update(skip_locked=True)
        .execution_options(populate_existing=True)
    )
    if row is None:
        return None
    terms = rules.Reward.read(row.terms)
    inviter, friend = db.session.get_one(Member, row.inviter_id), db.session.get_one(Member, row.friend_id)
    if terms is None or inviter.erased_at is not None or friend.erased_at is not None:
        return _end(row, RewardState.LAPSED, "left")
    if farming := _suspicion(row, inviter, friend):
        return _end(row, RewardState.REFUSED, farming.value)
    return _by_stay(row, terms, inviter, friend)


def _by_stay(row: FriendReward, terms: rules.Reward, inviter: Member, friend: Member) -> RewardState:
    now = clock.now()
    seat = queries.find_seat(row.group_id, friend.id) or _moved_on(row.group_id, friend.id)
    over = now >= row.came_at + max(rules.REWARD_ENDS, timedelta(days=terms.days))
    if seat is None:
        moved = db.session.scalar(
            select(
                exists().where(
                    Seat.group_id == row.group_id,
                    Seat.member_id == friend.id,
                    Seat.state.in_([SeatState.LEFT, SeatState.REMOVED]),
                )
            )
        )
        # Whoever waits for a seat may still get one; whoever left does not count.
        return _end(row, RewardState.LAPSED, "left") if moved or over else _later(row)
    if seat.joined_at is not None and now < seat.joined_at + timedelta(days=terms.days):
        return _later(row)
    if terms.after == "order" and not _ordered(friend.id, row):
        return _end(row, RewardState.LAPSED, "no_order") if over else _later(row)
    return _give(row, terms, inviter)


def _moved_on(group_id: int, member_id: int) -> Seat | None:
    """The seat of somebody who went on to the group that follows, as the shop asked them to: they stayed."""
    return db.session.scalar(
        select(Seat)
        .where(
            Seat.group_id == group_id,
            Seat.member_id == member_id,
            Seat.state == SeatState.MOVED,
            Seat.end_reason == results.SUCCESSOR,
        )
        .order_by(Seat.id.desc())
        .limit(1)
    )


def _give(row: FriendReward, terms: rules.Reward, inviter: Member) -> RewardState:
    try:
        limits.take([(f"group.friends:{row.group_id}", limits.subject_of(inviter.id), "", 1, terms.cap)])
    except limits.LimitReached:
        return _end(row, RewardState.LAPSED, "cap")
    key = f"{row.group_id}:{row.friend_id}"
    if terms.kind == "coupon":
        granted = coupons.grant_many(
            terms.offer_id, [(inviter.id, f"friend:{key}")], f"{results.FRIEND_SOURCE}{row.group_id}"
        ).get(inviter.id)
        # Where the offer allows no more of it to one member, granting gives the one they have: that is no reward.
        fresh = granted is not None and db.session.get_one(Coupon, granted[0]).grant_key == f"friend:{key}"
        if granted is None or not fresh:
            limits.give_back(f"group.friends:{row.group_id}", limits.subject_of(inviter.id))
            return _end(row, RewardState.LAPSED, "nothing_left" if granted is None else "cap")
        row.coupon_id = granted[0]
    else:
        points.award(inviter.id, terms.points, type=Kind.AWARD, source_type="friend", source_id=key)
        row.points = terms.points
    db.session.flush()
    _tell(row, terms, inviter)
    return _end(row, RewardState.GIVEN, "")


def _tell(row: FriendReward, terms: rules.Reward, inviter: Member) -> None:
    group = queries.get_group(row.group_id)
    with forced_locale(inviter.locale):
        body = (
            _("A coupon is waiting for you among your coupons.")
            if terms.kind == "coupon"
            else _("You have %(points)s points more.", points=terms.points)
        )
        tell(
            inviter.id,
            "group.friend",
            _("Thank you for the friend you brought into “%(group)s”", group=group.name),
            body,
            f"/groups/{group.public_id}/friends",
        )


def _end(row: FriendReward, state: RewardState, reason: str) -> RewardState:
    ended = db.session.execute(
        update(FriendReward)
        .where(FriendReward.id == row.id, FriendReward.state == RewardState.WAITING)
        .values(state=state, reason=reason, settled_at=clock.now())
        .execution_options(synchronize_session=False)
    )
    if not changed(ended):
        raise rules.Moved
    db.session.expire(row)
    return state


def _later(row: FriendReward) -> RewardState:
    row.due_at = clock.now() + STILL_DUE
    return RewardState.WAITING


def rewards_of(group_id: int, member_id: int) -> Sequence[tuple[FriendReward, Member]]:
    """The friends whom a member brought into a group, newest first."""
    rows = db.session.execute(
        select(FriendReward, Member)
        .join(Member, Member.id == FriendReward.friend_id)
        .where(FriendReward.group_id == group_id, FriendReward.inviter_id == member_id)
        .order_by(FriendReward.id.desc())
        .limit(50)
    )
    return [(reward, member) for reward, member in rows]


def offer_name(terms: rules.Reward) -> str:
    """What the coupon of a reward is called, empty where it is none."""
    offer = db.session.get(Offer, terms.offer_id) if terms.offer_id else None
    return offer.name if offer is not None else ""


def set_reward(group: Group, terms: rules.Reward | None) -> None:
    """Say what a member gets for a friend, or with None that it is nothing; friends who came before keep their terms."""
    before = dict(group.reward)
    group.reward = {} if terms is None else {
        "kind": terms.kind, "offer_id": terms.offer_id, "points": terms.points, "after": terms.after,
        "days": terms.days, "cap": terms.cap,
    }  # fmt: skip
    audit.record("group.reward_changed", "group", group.id, before, dict(group.reward))


def give_all_the_same(group_id: int, reward_id: int) -> None:
    """Give what was refused as farming after all: staff know the people. Refuses with `Moved` when it was not
    refused, and with `NothingToGive` when the cap is reached or the offer has ended."""
    back = update(FriendReward).where(
        FriendReward.id == reward_id, FriendReward.group_id == group_id, FriendReward.state == RewardState.REFUSED
    )
    if not changed(
        db.session.execute(
            back.values(state=RewardState.WAITING, settled_at=None).execution_options(synchronize_session=False)
        )
    ):
        raise rules.Moved
    row = db.session.get_one(FriendReward, reward_id, populate_existing=True)
    terms = rules.Reward.read(row.terms)
    inviter = db.session.get_one(Member, row.inviter_id)
    if terms is None or row.inviter_id == row.friend_id or inviter.erased_at is not None:
        raise rules.Moved
    if _give(row, terms, inviter) is not RewardState.GIVEN:
        raise rules.NothingToGive
    audit.record("friend_reward.given", "group", group_id, after={"member_id": row.friend_id})
