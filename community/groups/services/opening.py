"""What the shop has to have sold before it opens a group, where it says so; and who wants to hear when one opens."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import delete, func, select, update
from sqlalchemy.dialects.postgresql import insert

from kernel import audit, clock, shop
from kernel.db import db
from kernel.events import publish_all
from kernel.i18n import forced_locale
from kernel.i18n import gettext as _
from kernel.notices import Notice, NoticeWritten
from membership.members.models import Member
from membership.orders import queries as orders
from membership.orders.models import Order

from .. import queries, rules
from ..models import Group, GroupState, OpeningWish

KEY = "groups.opening"
SLICE = 1_000


def condition() -> rules.Opening:
    """The condition in force; off until a shop switches it on."""
    return rules.Opening(**(shop.get(KEY) or {}))


def set_condition(wanted: rules.Opening) -> None:
    """Switch the condition on or off, or change it; groups that are open stay so."""
    before = condition()
    shop.put(KEY, {"on": wanted.on, "orders": wanted.orders, "days": wanted.days})
    audit.record(
        "groups.opening_changed",
        "shop",
        None,
        {"on": before.on, "orders": before.orders, "days": before.days},
        {"on": wanted.on, "orders": wanted.orders, "days": wanted.days},
    )


def orders_found(days: int) -> int:
    """How many paid orders were placed in the last so many days."""
    since = clock.now() - timedelta(days=days)
    return db.session.scalar(select(func.count()).where(Order.placed_at >= since, orders.counts())) or 0


def refuse_early() -> None:
    """Refuse with `NotEnoughOrders` while the shop has not sold what the condition asks for."""
    asked = condition()
    if not asked.on:
        return
    found = orders_found(asked.days)
    if missing := asked.missing(found):
        raise rules.NotEnoughOrders(needed=asked.orders, days=asked.days, found=found, missing=missing)


# ── Who waits for it ────────────────────────────────────────────────────────────────────────────────────────────────


def wants_to_hear(group_id: int, member_id: int) -> bool:
    """Whether a member is to be told when a group opens."""
    return db.session.get(OpeningWish, (group_id, member_id)) is not None


def wish(group: Group, member_id: int, wanted: bool = True) -> None:
    """Tell a member when an announced group opens, or with `wanted` False not. Refuses with `Moved` when it is not announced."""
    if queries.state_of(group) is not GroupState.WARM_UP:
        raise rules.Moved
    if wanted:
        statement = insert(OpeningWish).values(group_id=group.id, member_id=member_id, at=clock.now())
        db.session.execute(statement.on_conflict_do_nothing())
    else:
        db.session.execute(
            delete(OpeningWish).where(OpeningWish.group_id == group.id, OpeningWish.member_id == member_id)
        )


def tell_opened(group: Group) -> int:
    """Tell those who waited that a group is open, each once; how many."""
    told = 0
    while people := db.session.execute(
        select(OpeningWish.member_id, Member.locale)
        .join(Member, Member.id == OpeningWish.member_id)
        .where(OpeningWish.group_id == group.id, OpeningWish.told_at.is_(None), Member.erased_at.is_(None))
        .order_by(OpeningWish.member_id)
        .limit(SLICE)
    ).all():
        rows = []
        for person in people:
            with forced_locale(person.locale):
                rows.append(
                    {
                        "member_id": person.member_id,
                        "kind": "group.opened",
                        "title": str(_("“%(group)s” is open", group=group.name)),
                        "body": str(_("You wanted to know. One tap and you are in.")),
                        "path": f"/groups/{group.public_id}",
                        "created_at": clock.now(),
                    }
                )
        ids = db.session.execute(insert(Notice).returning(Notice.id), rows).scalars().all()
        publish_all(NoticeWritten(notice_id=notice_id) for notice_id in ids)
        db.session.execute(
            update(OpeningWish)
            .where(OpeningWish.group_id == group.id, OpeningWish.member_id.in_([p.member_id for p in people]))
            .values(told_at=clock.now())
            .execution_options(synchronize_session=False)
        )
        told += len(people)
    return told
