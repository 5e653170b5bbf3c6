"""Counting clicks and crediting orders. Each verb may be repeated: an order is credited once for each kind."""

from __future__ import annotations

import re
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Text, and_, cast, delete, exists, func, literal, select, update
from sqlalchemy.dialects.postgresql import distinct_on, insert

from campaigns.pushes import message
from campaigns.pushes.models import Delivery, Push, Run
from community.groups.services import invitation_path
from kernel import clock, links
from kernel.db import changed, db
from kernel.events import publish
from membership.coupons.models import Coupon, Redemption
from membership.coupons.services.ways import personal_path
from membership.orders.models import Order

from . import queries, rules
from .events import LinkFollowed
from .models import Attribution, Click, Kind

_NO_SYNC = {"synchronize_session": False}
# A push that invites into a group: its link is each member's own.
_GROUP = re.compile(r"group:(\d{1,18})", re.ASCII)


def visit(token: str, counted: bool) -> str:
    """Where a message's link leads: a path of this site or the push's own address; `counted` visits become clicks.

    Refuses with `LinkInvalid` what is no link of ours.
    """
    parts = links.read(message.CLICK, token)
    if len(parts) != 2 or not parts[0].isdigit():
        raise links.LinkInvalid
    found = db.session.execute(
        select(Delivery.id, Delivery.member_id, Delivery.run_id, Run.push_id, Push.offer_id, Push.link_url)
        .join(Run, Run.id == Delivery.run_id)
        .join(Push, Push.id == Run.push_id)
        .where(Delivery.id == int(parts[0]))
    ).one_or_none()
    if found is None:
        raise links.LinkInvalid
    if counted:
        _count(found, parts[1])
    if parts[1] == message.COUPON and found.offer_id is not None:
        return personal_path(found.member_id, found.offer_id, queries.source_of(found.run_id))
    group = _GROUP.fullmatch(found.link_url or "")
    if group is not None:
        return invitation_path(found.member_id, int(group[1]), source=queries.source_of(found.run_id))
    return found.link_url or "/me/"


def _count(found: Any, target: str) -> None:
    now = clock.now()
    # The delivery's row is locked first, so that of two taps at once the second one sees the first.
    db.session.execute(
        update(Delivery)
        .where(Delivery.id == found.id)
        .values(clicked_at=func.coalesce(Delivery.clicked_at, now))
        .execution_options(**_NO_SYNC)
    )
    recent = exists().where(Click.delivery_id == found.id, Click.target == target, Click.at > now - rules.SAME_VISIT)
    row = select(
        literal(found.id, BigInteger),
        literal(found.run_id, BigInteger),
        literal(found.member_id, BigInteger),
        literal(target, Text),
        literal(now),
    ).where(~recent)
    fresh = db.session.execute(
        insert(Click.__table__).from_select(
            ["delivery_id", "run_id", "member_id", "target", "at"], row, include_defaults=False
        )
    )
    if changed(fresh):
        publish(LinkFollowed(member_id=found.member_id, run_id=found.run_id, push_id=found.push_id, target=target))


# ── Crediting ───────────────────────────────────────────────────────────────────────────────────────────────────────

_pushed_run = cast(func.substring(Coupon.source, literal(r"^push:(\d{1,18})$")), BigInteger)


def credit_coupons(scope: ColumnElement[bool]) -> int:
    """Credit orders on which a push's coupon was redeemed, within a scope over `order`, `redemption` and `coupon`."""
    rows = (
        select(Order.id, Run.id, Coupon.member_id, literal(Kind.DIRECT.value, Text), literal(clock.now()))
        .ext(distinct_on(Order.id))
        .select_from(Redemption)
        .join(Coupon, Coupon.id == Redemption.coupon_id)
        .join(Order, and_(Order.source == Redemption.source, Order.external_id == Redemption.order_external_id))
        .join(Run, Run.id == _pushed_run)
        .where(Redemption.rolled_back_at.is_(None), Coupon.source.like("push:%"), scope)
        .order_by(Order.id, Redemption.id)
    )
    return _insert(rows)


def credit_clicks(scope: ColumnElement[bool]) -> int:
    """Credit orders placed within five days after a click to the run of the member's last one, within a scope over `order`."""
    rows = (
        select(Order.id, Click.run_id, Order.member_id, literal(Kind.INFLUENCED.value, Text), literal(clock.now()))
        .ext(distinct_on(Order.id))
        .select_from(Order)
        .join(
            Click,
            and_(
                Click.member_id == Order.member_id,
                Click.at <= Order.placed_at,
                Click.at > Order.placed_at - rules.TOUCH,
            ),
        )
        .where(scope)
        .order_by(Order.id, Click.at.desc(), Click.id.desc())
    )
    return _insert(rows)


def _insert(rows: Any) -> int:
    statement = insert(Attribution.__table__).from_select(
        ["order_id", "run_id", "member_id", "kind", "at"], rows, include_defaults=False
    )
    return changed(db.session.execute(statement.on_conflict_do_nothing()))


def credit(scope: ColumnElement[bool]) -> int:
    """Credit orders both ways; returns how many credits are new."""
    return credit_coupons(scope) + credit_clicks(scope)


def credit_order(order_id: int) -> int:
    return credit(Order.id == order_id)


def credit_import(import_run_id: int) -> int:
    return credit(Order.run_id == import_run_id)


def credit_redemption(coupon_id: int) -> int:
    return credit_coupons(Redemption.coupon_id == coupon_id)


def take_credit_back(source: str, order_external_id: str) -> None:
    """A coupon's use was undone: its order is no longer credited directly, unless another push's coupon is on it."""
    order = select(Order.id).where(Order.source == source, Order.external_id == order_external_id)
    db.session.execute(
        delete(Attribution)
        .where(Attribution.kind == Kind.DIRECT, Attribution.order_id.in_(order))
        .execution_options(**_NO_SYNC)
    )
    credit_coupons(and_(Order.source == source, Order.external_id == order_external_id))
