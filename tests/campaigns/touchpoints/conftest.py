"""Meetings of every kind, written as the rooms below keep them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from campaigns.channels.models import Account
from campaigns.pushes.models import Delivery, DeliveryState
from community.conversations.models import Conversation, Sender, TalkState
from community.desk.models import CallReason, CallState, CallTask
from community.groups.models import Group, GroupKind, GroupState, JoinLink, Seat, SeatState, SubGroup
from community.posts.models import Post, PostKind, PostState, Reaction, ReactionKind
from kernel import clock as kernel_clock
from membership.coupons.models import ClaimLink
from membership.coupons.services import claims
from membership.members.models import Member


@pytest.fixture
def group(db: Any) -> Group:
    now = kernel_clock.now()
    found = Group(
        public_id="touch", name="老客群", kind=GroupKind.REGULAR, state=GroupState.OPEN, capacity=500, created_at=now,
        opened_at=now - timedelta(days=60),
    )  # fmt: skip
    db.session.add(found)
    db.session.flush()
    db.session.add(SubGroup(group_id=found.id, number=1, seats=500))
    db.session.flush()
    return found


@pytest.fixture
def make_seat(db: Any, group: Group) -> Callable[..., Seat]:
    """`make_seat(member, days_ago, source="link", joined=True, link=None)`."""

    def make(
        member: Member, days_ago: float = 1, source: str = "link", joined: bool = True, link: JoinLink | None = None
    ) -> Seat:
        at = kernel_clock.now() - timedelta(days=days_ago)
        seat = Seat(
            group_id=group.id, sub_group_id=db.session.query(SubGroup.id).filter_by(group_id=group.id).scalar(),
            member_id=member.id, state=SeatState.TAKEN if joined else SeatState.LAPSED, source=source, held_at=at,
            joined_at=at if joined else None, ended_at=None if joined else at, link_id=link.id if link else None,
        )  # fmt: skip
        db.session.add(seat)
        db.session.flush()
        return seat

    return make


@pytest.fixture
def make_link(db: Any, group: Group) -> Callable[..., JoinLink]:
    """`make_link(name, source="link")`."""

    def make(name: str = "", source: str = "link") -> JoinLink:
        link = JoinLink(
            group_id=group.id, token=f"t{name}{source}", name=name, source=source, created_at=kernel_clock.now()
        )
        db.session.add(link)
        db.session.flush()
        return link

    return make


@pytest.fixture
def take_coupon(db: Any, make_offer: Callable[..., Any]) -> Callable[..., None]:
    """`take_coupon(member, source)` takes a coupon now."""

    def take(member: Member, source: str) -> None:
        claims.claim_here(make_offer().id, member.id, source)

    return take


@pytest.fixture
def make_claim_link(db: Any, make_offer: Callable[..., Any]) -> Callable[..., ClaimLink]:
    """`make_claim_link(name)`."""

    def make(name: str) -> ClaimLink:
        link = ClaimLink(token=f"c{name}", offer_id=make_offer().id, name=name, created_at=kernel_clock.now())
        db.session.add(link)
        db.session.flush()
        return link

    return make


@pytest.fixture
def send(db: Any, make_push: Callable[..., Any]) -> Callable[..., None]:
    """`send(members, days_ago=1, clicked=())` has handed a push over to these."""

    def make(members: list[Member], days_ago: float = 1, clicked: Any = (), account: Account | None = None) -> None:
        at = kernel_clock.now() - timedelta(days=days_ago)
        _push, run = make_push(**({"account_id": account.id} if account else {}))
        run.started_at = at
        db.session.add_all(
            Delivery(
                run_id=run.id, member_id=member.id, slice_number=1, state=DeliveryState.ACCEPTED, accepted_at=at,
                clicked_at=at if member in clicked else None,
            )
            for member in members
        )  # fmt: skip
        db.session.flush()

    return make


@pytest.fixture
def call(db: Any) -> Callable[..., CallTask]:
    """`call(member, days_ago, stars=None, group=None)`: they were reached, and perhaps invited."""

    def make(member: Member, days_ago: float = 1, stars: int | None = None, group: Group | None = None) -> CallTask:
        at = kernel_clock.now() - timedelta(days=days_ago)
        task = CallTask(
            member_id=member.id, reason=CallReason.DELIVERED, state=CallState.REACHED, due_at=at, called_at=at,
            closed_at=at, created_at=at, satisfaction=stars, invited_group_id=group.id if group else None,
            invited_at=at if group else None,
        )  # fmt: skip
        db.session.add(task)
        db.session.flush()
        return task

    return make


@pytest.fixture
def talk(db: Any) -> Callable[..., None]:
    """`talk(member, days_ago, stars=None)`: a conversation that is over."""

    def make(member: Member, days_ago: float = 1, stars: int | None = None) -> None:
        at = kernel_clock.now() - timedelta(days=days_ago)
        db.session.add(
            Conversation(
                public_id=f"talk-{member.id}", member_id=member.id, state=TalkState.CLOSED, opened_at=at, last_at=at,
                last_from=Sender.MEMBER, closed_at=at, satisfaction=stars,
            )
        )  # fmt: skip
        db.session.flush()

    return make


@pytest.fixture
def see(db: Any, group: Group) -> Callable[..., Post]:
    """`see(member, *kinds, post=None, kind=PostKind.TIP)`: a member saw a post, and did more with it."""

    def make(
        member: Member,
        *kinds: ReactionKind,
        post: Post | None = None,
        kind: PostKind = PostKind.TIP,
        days_ago: float = 1,
    ) -> Post:
        at = kernel_clock.now() - timedelta(days=days_ago)
        if post is None:
            post = Post(kind=kind, title="小贴士", body="…", state=PostState.PUBLISHED, published_at=at, created_at=at)
            db.session.add(post)
            db.session.flush()
        for one in (ReactionKind.SEEN, *kinds):
            db.session.add(Reaction(post_id=post.id, group_id=group.id, member_id=member.id, kind=one, at=at))
        db.session.flush()
        return post

    return make
