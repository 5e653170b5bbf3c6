"""Counting clicks, crediting orders, and the terms under which pushes are measured.

Each verb of crediting may be repeated, and whatever comes first the credit is the same: an order is credited once for each
kind, to the run that all of its coupons and clicks together speak for.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Text, and_, cast, delete, exists, func, literal, or_, select, update
from sqlalchemy.dialects.postgresql import distinct_on, insert

from campaigns.channels import services as channels
from campaigns.pushes import message
from campaigns.pushes import rules as push_rules
from campaigns.pushes import services as pushes
from campaigns.pushes.models import NOBODY, Delivery, Push, Run
from community.groups.services import invitation_path
from kernel import audit, clock, links, shop, visitors
from kernel.db import changed, db
from kernel.events import publish
from membership.coupons.models import Coupon, Redemption
from membership.coupons.services.ways import personal_path
from membership.limits import services as limits
from membership.limits.models import LimitCounter
from membership.members.services.rights import address_hash
from membership.orders.models import Order

from . import queries, rules
from .events import LinkFollowed
from .models import Attribution, Click, Kind

_NO_SYNC = {"synchronize_session": False}
_VISITS = "visits:"
# A push that invites into a group: its link is each member's own.
_GROUP = re.compile(r"group:(\d{1,18})", re.ASCII)


def visit(token: str, counted: bool, network: str = "") -> str:
    """Where a message's link leads: a path of this site or the push's own address; `counted` visits become clicks.

    `network` is the visitor's address: of visits that no browser is known for only so many are counted from one.
    Refuses with `LinkInvalid` what is no link of ours.
    """
    parts = links.read(message.CLICK, token)
    if len(parts) != 2 or not parts[0].isdigit():
        raise links.LinkInvalid
    found = db.session.execute(
        select(
            Delivery.id,
            Delivery.member_id,
            Delivery.run_id,
            Delivery.variant,
            Run.push_id,
            Push.offer_id,
            Push.link_url,
            Push,
        )
        .join(Run, Run.id == Delivery.run_id)
        .join(Push, Push.id == Run.push_id)
        .where(Delivery.id == int(parts[0]))
    ).one_or_none()
    if found is None:
        raise links.LinkInvalid
    if found.member_id == NOBODY:
        # Said to a whole group: whoever comes is known by their browser, or not at all.
        if counted:
            member_id = visitors.member_id() or NOBODY
            if member_id != NOBODY or _within_limit(found.id, network):
                _count(found, parts[1], member_id)
        return message.destination(found.Push, parts[1], found.variant) or "/me/"
    if counted:
        _count(found, parts[1], found.member_id)
    if parts[1] == message.COUPON and found.offer_id is not None:
        return personal_path(found.member_id, found.offer_id, queries.source_of(found.run_id))
    group = _GROUP.fullmatch(found.link_url or "")
    if group is not None and parts[1] == message.LINK:
        return invitation_path(found.member_id, int(group[1]), source=queries.source_of(found.run_id))
    return message.destination(found.Push, parts[1], found.variant) or "/me/"


def _within_limit(delivery_id: int, network: str) -> bool:
    """Whether one more visit by somebody unknown is counted, and not only led on."""
    span = int(rules.SAME_VISIT.total_seconds())
    window = str(int(clock.now().timestamp()) // span * span)
    try:
        limits.take([(f"{_VISITS}{delivery_id}", address_hash(network)[:32], window, 1, rules.MOST_UNKNOWN_VISITS)])
    except limits.LimitReached:
        return False
    return True


def forget_networks(before: datetime) -> None:
    """Drop what was counted for network addresses before an instant."""
    old = LimitCounter.limit.startswith(_VISITS), LimitCounter.window < str(int(before.timestamp()))
    db.session.execute(delete(LimitCounter).where(*old).execution_options(**_NO_SYNC))


def _count(found: Any, target: str, member_id: int) -> None:
    now = clock.now()
    first = Delivery.id == found.id
    if found.member_id == NOBODY:
        # A whole group taps at once: the one row is written once, and each member waits for their own taps alone.
        first = and_(first, Delivery.clicked_at.is_(None))
        if member_id != NOBODY:
            key = func.hashtextextended(f"click:{found.id}:{member_id}", 0)
            db.session.execute(select(func.pg_advisory_xact_lock(key)))
    # The delivery's row is locked first, so that of two taps at once the second one sees the first.
    db.session.execute(
        update(Delivery)
        .where(first)
        .values(clicked_at=func.coalesce(Delivery.clicked_at, now))
        .execution_options(**_NO_SYNC)
    )
    recent = exists().where(
        Click.delivery_id == found.id,
        Click.member_id == member_id,
        Click.target == target,
        Click.at > now - rules.SAME_VISIT,
        # Those whom no browser knows cannot be told apart, so that each of their visits counts.
        Click.member_id != NOBODY,
    )
    row = select(
        literal(found.id, BigInteger),
        literal(found.run_id, BigInteger),
        literal(member_id, BigInteger),
        literal(target, Text),
        literal(now),
    ).where(~recent)
    fresh = db.session.execute(
        insert(Click.__table__).from_select(
            ["delivery_id", "run_id", "member_id", "target", "at"], row, include_defaults=False
        )
    )
    if changed(fresh) and member_id != NOBODY:
        publish(LinkFollowed(member_id=member_id, run_id=found.run_id, push_id=found.push_id, target=target))


# ── Crediting ───────────────────────────────────────────────────────────────────────────────────────────────────────

_pushed_run = cast(func.substring(Coupon.source, literal(r"^push:(\d{1,18})$")), BigInteger)
# So many orders of an import are credited in one transaction.
SLICE = 2_000
_LONGEST_TOUCH = timedelta(days=rules.LONGEST_TOUCH_DAYS)
_touch_days = func.coalesce(Run.terms["touch_days"].as_integer(), rules.TOUCH_DAYS)


def credit_coupons(scope: ColumnElement[bool]) -> int:
    """Credit orders on which a push's coupon was redeemed, within a scope over `order`.

    Of several pushes' coupons on one order the one that took most off has the credit, whichever was used first.
    """
    rows = (
        select(Order.id, Run.id, Coupon.member_id, literal(Kind.DIRECT.value, Text), literal(clock.now()))
        .ext(distinct_on(Order.id))
        .select_from(Redemption)
        .join(Coupon, Coupon.id == Redemption.coupon_id)
        .join(Order, and_(Order.source == Redemption.source, Order.external_id == Redemption.order_external_id))
        .join(Run, Run.id == _pushed_run)
        .where(Redemption.rolled_back_at.is_(None), Coupon.source.like("push:%"), scope)
        .order_by(Order.id, Redemption.discount.desc(), Run.id, Redemption.coupon_id)
    )
    return _put(rows)


def credit_clicks(scope: ColumnElement[bool]) -> int:
    """Credit orders to the run of the member's last click before them, within a scope over `order`.

    How long before the order a click may lie was fixed when its run began.
    """
    rows = (
        select(Order.id, Click.run_id, Order.member_id, literal(Kind.INFLUENCED.value, Text), literal(clock.now()))
        .ext(distinct_on(Order.id))
        .select_from(Order)
        .join(
            Click,
            and_(
                Click.member_id == Order.member_id,
                Click.at <= Order.placed_at,
                Click.at > Order.placed_at - _LONGEST_TOUCH,
            ),
        )
        .join(Run, Run.id == Click.run_id)
        .where(scope, Click.at > Order.placed_at - func.make_interval(0, 0, 0, _touch_days))
        .order_by(Order.id, Click.at.desc(), Click.id.desc())
    )
    return _put(rows)


def _put(rows: Any) -> int:
    """Write credits; one that stands differently by now is corrected. Returns how many changed."""
    statement = insert(Attribution.__table__).from_select(
        ["order_id", "run_id", "member_id", "kind", "at"], rows, include_defaults=False
    )
    new = statement.excluded
    there = Attribution.__table__.c
    statement = statement.on_conflict_do_update(
        index_elements=["order_id", "kind"],
        set_={"run_id": new.run_id, "member_id": new.member_id},
        where=or_(there.run_id != new.run_id, there.member_id != new.member_id),
    )
    return changed(db.session.execute(statement))


def credit(scope: ColumnElement[bool]) -> int:
    """Credit orders both ways; returns how many credits are new."""
    return credit_coupons(scope) + credit_clicks(scope)


def credit_order(order_id: int) -> int:
    return credit(Order.id == order_id)


def credit_import(import_run_id: int, first_id: int, last_id: int) -> int:
    """Credit the orders that an import wrote, from one id to another; returns how many credits are new."""
    return credit(and_(Order.run_id == import_run_id, Order.id.between(first_id, last_id)))


def credit_redemption(coupon_id: int) -> int:
    """Credit the orders on which a coupon was used."""
    used = exists().where(
        Redemption.coupon_id == coupon_id,
        Redemption.source == _order.c.source,
        Redemption.order_external_id == _order.c.external_id,
    )
    return credit_coupons(Order.id.in_(select(_order.c.id).where(used)))


_order = Order.__table__.alias("used_on")


def take_credit_back(source: str, order_external_id: str) -> None:
    """A coupon's use was undone: its order is no longer credited directly, unless another push's coupon is on it."""
    order = select(Order.id).where(Order.source == source, Order.external_id == order_external_id)
    db.session.execute(
        delete(Attribution)
        .where(Attribution.kind == Kind.DIRECT, Attribution.order_id.in_(order))
        .execution_options(**_NO_SYNC)
    )
    credit_coupons(and_(Order.source == source, Order.external_id == order_external_id))


# ── How results are measured ────────────────────────────────────────────────────────────────────────────────────────

_TOUCH, _MARGIN, _PRICES = "results.touch_days", "results.margin", "results.prices"


@dataclass(frozen=True)
class Measure:
    """What the shop says about measuring: days a click counts, the margin of goods (percent), prices of a message by account
    (hundredths of a 分)."""

    touch_days: int = rules.TOUCH_DAYS
    margin: int | None = None
    prices: Mapping[int, int] = field(default_factory=dict)


def measure() -> Measure:
    """The settings in force; a push keeps those of the moment at which it began."""
    prices = {int(account_id): int(price) for account_id, price in shop.get(_PRICES, {}).items()}
    return Measure(int(shop.get(_TOUCH, rules.TOUCH_DAYS)), shop.get(_MARGIN), prices)


def set_measure(wanted: Measure) -> None:
    """Change how pushes are measured that begin from now on."""
    before = measure()
    if wanted == before:
        return
    prices = {str(account_id): price for account_id, price in sorted(wanted.prices.items())}
    shop.put(_TOUCH, wanted.touch_days)
    shop.put(_MARGIN, wanted.margin)
    shop.put(_PRICES, prices)
    was = {"touch_days": before.touch_days, "margin": before.margin, "prices": len(before.prices)}
    now = {"touch_days": wanted.touch_days, "margin": wanted.margin, "prices": len(wanted.prices)}
    audit.record("results.measure_changed", "shop", None, was, now)


@pushes.fixed_terms.fill
def terms_now(push: Push) -> dict[str, Any]:
    """How a push that begins at this moment will be measured, whatever is changed later."""
    said = measure()
    shared = channels.get_account(push.account_id).kind.shared
    return rules.Terms(
        window_days=push.attribution_days,
        touch_days=said.touch_days,
        price=said.prices.get(push.account_id),
        margin=said.margin,
        holdout=channels.holdout_percent() if push.contact_class.budgeted and not shared else 0.0,
        control=float(push.control_percent),
        shares=push_rules.shares_of(push.variants),
    ).written()
