"""Who meets the rules of a group, as a condition of a statement; `rules.drifted` says the same of one person."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, exists, false, or_, select, true

from kernel import clock
from membership.members import queries as members
from membership.members.models import Member, MemberTag, Tag
from membership.orders.models import Order, OrderLine
from membership.orders.rules import PAID_STATES

from . import rules
from .models import Drift, DriftState, Group, Seat, SeatState, Waiting, WaitingState

OPEN_DRIFT = (DriftState.GRACE, DriftState.DUE)


def _meets(rule: Mapping[str, Any]) -> ColumnElement[bool]:
    match rule["kind"]:
        case "enrolled":
            return Member.enrolled_at.is_not(None)
        case "tier":
            return Member.rank >= rule["rank"]
        case "spend":
            return Member.spend >= rule["fen"]
        case "orders":
            return Member.orders_count >= rule["count"]
        case "product":
            return (
                exists()
                .where(
                    Order.member_id == Member.id,
                    OrderLine.order_id == Order.id,
                    Order.paid_at.is_not(None),
                    Order.state.in_(PAID_STATES),
                    OrderLine.sku == rule["sku"],
                    OrderLine.quantity > OrderLine.refunded_quantity,
                )
                .correlate(Member)
            )
        case "tag":
            return (
                exists()
                .where(MemberTag.member_id == Member.id, MemberTag.tag_id == Tag.id, Tag.name == rule["tag"])
                .correlate(Member)
            )
        case _:
            return false()


def meets(group: Group) -> ColumnElement[bool]:
    """SQL: the member of the enclosing statement meets the rules of the group that last."""
    mode, lasting = rules.lasting_rules(group.kind, group.join_rule)
    if not lasting:
        return true()
    conditions = [_meets(rule) for rule in lasting]
    return or_(*conditions) if mode == "any" else and_(*conditions)


def qualified(group: Group) -> Select[Member]:
    """SQL: who meets the rules of a group and neither sits nor waits in it, nor is barred from it."""
    sits = exists().where(
        Seat.group_id == group.id,
        Seat.member_id == Member.id,
        or_(Seat.state.in_([SeatState.HELD, SeatState.TAKEN]), Seat.barred),
    )
    waits = exists().where(
        Waiting.group_id == group.id,
        Waiting.member_id == Member.id,
        Waiting.state.in_([WaitingState.QUEUED, WaitingState.INVITED]),
    )
    return members.live().where(meets(group), ~sits.correlate(Member), ~waits.correlate(Member))


def drifts(group_id: int, open_only: bool = True) -> Select[Drift, Member]:
    """SQL: the people of a group who no longer qualify, or what was decided about those who did not."""
    statement = select(Drift, Member).join(Member, Member.id == Drift.member_id).where(Drift.group_id == group_id)
    return statement.where(Drift.state.in_(OPEN_DRIFT) if open_only else Drift.state.not_in(OPEN_DRIFT))


def due_now() -> ColumnElement[bool]:
    """SQL: the time that somebody was given is over."""
    return and_(Drift.state.in_(OPEN_DRIFT), Drift.grace_until <= clock.now())
