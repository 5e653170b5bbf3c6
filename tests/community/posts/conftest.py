"""Groups with seated members, posts, and a browser that belongs to a member."""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from community.groups.models import Group, GroupKind, GroupState, Seat, SeatState, SubGroup
from community.posts import services
from community.posts.models import Post, PostKind
from kernel import clock as kernel_clock
from kernel import visitors
from membership.members.models import Member
from membership.orders.models import Order, OrderState

numbers = itertools.count(1)


@pytest.fixture
def make_member(db: Any) -> Callable[..., Member]:
    """`make_member("小满")` adds a person."""

    def make(name: str = "", **values: Any) -> Member:
        now = kernel_clock.now()
        person = Member(nickname=name or f"Guest {next(numbers)}", stage_since=now, created_at=now, **values)
        db.session.add(person)
        db.session.flush()
        return person

    return make


@pytest.fixture
def make_group(db: Any) -> Callable[..., Group]:
    """`make_group("茶友群", members=[…])` adds an open group in which the members sit."""

    def make(name: str = "", members: Any = (), state: GroupState = GroupState.OPEN, **values: Any) -> Group:
        now, number = kernel_clock.now(), next(numbers)
        group = Group(
            public_id=f"posts{number}",
            name=name or f"Group {number}",
            kind=GroupKind.REGULAR,
            state=state,
            seated=len(members),
            created_at=now,
            join_rule={},
            **values,
        )
        db.session.add(group)
        db.session.flush()
        part = SubGroup(group_id=group.id, number=1, seats=500, seated=len(members))
        db.session.add(part)
        db.session.flush()
        for member in members:
            db.session.add(
                Seat(
                    group_id=group.id,
                    sub_group_id=part.id,
                    member_id=member.id,
                    state=SeatState.TAKEN,
                    held_at=now,
                    joined_at=now,
                    barred=False,
                )
            )
        db.session.flush()
        return group

    return make


@pytest.fixture
def draft() -> Callable[..., services.Draft]:
    """`draft(group, …)` is a plain tip for the groups."""

    def make(*groups: Group, **values: Any) -> services.Draft:
        standard: dict[str, Any] = {
            "kind": PostKind.TIP,
            "title": "白茶这样泡不涩",
            "body": "水温八十五度。",
            "picture": None,
        }
        return services.Draft(**{**standard, **values}, group_ids=tuple(group.id for group in groups))

    return make


@pytest.fixture
def published(db: Any, draft: Callable[..., services.Draft]) -> Callable[..., Post]:
    """`published(group, …)` is a post that the groups show since now."""

    def make(*groups: Group, **values: Any) -> Post:
        post = services.write(draft(*groups, **values))
        services.publish_now(post.id)
        db.session.refresh(post)
        return post

    return make


@pytest.fixture
def phone_of(app: Flask, db: Any) -> Callable[[Member], FlaskClient]:
    """`phone_of(member)` is a browser that is bound to the member."""

    def make(member: Member) -> FlaskClient:
        token = secrets.token_urlsafe(16)
        now = kernel_clock.now()
        db.session.add(
            visitors.VisitorSession(
                token_hash=visitors._hash(token),
                member_id=member.id,
                created_at=now,
                expires_at=now + timedelta(days=30),
            )
        )
        db.session.flush()
        browser = app.test_client()
        browser.set_cookie(visitors.cookie_name("http://localhost"), token)
        return browser

    return make


@pytest.fixture
def order(db: Any) -> Callable[..., Order]:
    """`order(member, placed_at, …)` is a paid order of ¥100."""

    def make(member: Member, placed_at: Any, **values: Any) -> Order:
        standard = {"state": OrderState.PAID, "paid_amount": 10_000, "paid_at": placed_at}
        made = Order(
            source="shop",
            external_id=f"T{next(numbers)}",
            member_id=member.id,
            placed_at=placed_at,
            version_at=placed_at,
            version_mark="",
            created_at=placed_at,
            **{**standard, **values},
        )
        db.session.add(made)
        db.session.flush()
        return made

    return make
