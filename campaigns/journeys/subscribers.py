"""What brings people into journeys at once, and what lets them leave."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

from community.desk.events import CallClosed
from community.groups.events import MemberJoinedGroup
from community.tickets.events import TicketClosed
from kernel.events import Event, delivering, only_if, subscribe
from membership.members.events import MemberEnrolled, StageChanged
from membership.orders.events import BuyersChanged, OrderRecorded, OrderShipped
from membership.tiers.events import TierChanged, TierFallAnnounced

from . import jobs, queries, rules, services
from .events import EventReceived
from .rules import Kind


def _wanted(kind: Kind) -> str:
    """That some journey which is on begins with this: what nobody waits for costs nothing."""
    return f"EXISTS (SELECT 1 FROM journey WHERE state = 'on' AND trigger = '{kind.value}')"  # noqa: S608


def _enter(kind: Kind, member_id: int, key: str, fits: Callable[[rules.Trigger], bool] = lambda _trigger: True) -> None:
    """Bring a member into every journey of a kind whose trigger fits."""
    for journey_id, trigger in list(_journeys(kind)):
        if fits(trigger) and services.enter(journey_id, member_id, key, _at()):
            jobs.move_people_on.later()


def _journeys(kind: Kind) -> Iterator[tuple[int, rules.Trigger]]:
    for journey in queries.waiting_for(kind):
        version = queries.version_of(journey)
        if version is not None and journey.switched_on_at is not None and journey.switched_on_at <= _at():
            yield journey.id, queries.plan_of(version).trigger


def _at() -> datetime:
    return delivering().occurred_at


def _event_key(event: Event) -> str:
    return f"event:{delivering().id}"


@subscribe(OrderShipped)
def enter_when_shipped(event: OrderShipped) -> None:
    if event.member_id is not None:
        _enter(Kind.SHIPPED, event.member_id, f"order:{event.order_id}")


@subscribe(StageChanged)
def enter_at_a_stage(event: StageChanged) -> None:
    _enter(
        Kind.STAGE,
        event.member_id,
        _event_key(event),
        lambda t: t.stage is not None and t.stage.value == event.to_stage,
    )


@subscribe(MemberJoinedGroup)
def enter_on_joining(event: MemberJoinedGroup) -> None:
    _enter(Kind.JOINED, event.member_id, f"seat:{event.seat_id}", lambda t: t.group_id in (None, event.group_id))


@subscribe(MemberEnrolled)
def enter_on_enrolling(event: MemberEnrolled) -> None:
    _enter(Kind.ENROLLED, event.member_id, _event_key(event))


@subscribe(TierChanged)
def enter_on_rising(event: TierChanged) -> None:
    if event.to_rank > event.from_rank:
        _enter(Kind.TIER_UP, event.member_id, _event_key(event), lambda t: t.rank in (None, event.to_rank))


@subscribe(TierFallAnnounced)
def enter_before_falling(event: TierFallAnnounced) -> None:
    _enter(
        Kind.TIER_FALL,
        event.member_id,
        f"fall:{event.falls_at:%Y-%m-%d}:{event.member_id}",
        lambda t: t.days is not None and event.days <= t.days,
    )


@subscribe(CallClosed)
def enter_after_a_call(event: CallClosed) -> None:
    _enter(Kind.CALL_CLOSED, event.member_id, f"call:{event.task_id}", lambda t: t.outcome in (None, event.outcome))


@subscribe(TicketClosed)
def enter_after_a_ticket(event: TicketClosed) -> None:
    _enter(Kind.TICKET_CLOSED, event.member_id, f"ticket:{event.ticket_id}", lambda t: True)


@subscribe(EventReceived)
def enter_on_an_event(event: EventReceived) -> None:
    _enter(Kind.EVENT, event.member_id, f"received:{event.received_id}", lambda t: t.type == event.type)


INSIDE = "EXISTS (SELECT 1 FROM journey_member WHERE state = 'active')"


@subscribe(OrderRecorded)
def leave_after_an_order(event: OrderRecorded) -> None:
    if event.member_id is not None:
        services.leave_buyers([event.member_id])


@subscribe(BuyersChanged)
def leave_after_an_import(event: BuyersChanged) -> None:
    services.leave_buyers(event.member_ids)


_CONDITIONS: dict[Any, str] = {
    enter_when_shipped: _wanted(Kind.SHIPPED),
    enter_at_a_stage: _wanted(Kind.STAGE),
    enter_on_joining: _wanted(Kind.JOINED),
    enter_on_enrolling: _wanted(Kind.ENROLLED),
    enter_on_rising: _wanted(Kind.TIER_UP),
    enter_before_falling: _wanted(Kind.TIER_FALL),
    enter_after_a_call: _wanted(Kind.CALL_CLOSED),
    enter_after_a_ticket: _wanted(Kind.TICKET_CLOSED),
    enter_on_an_event: _wanted(Kind.EVENT),
    leave_after_an_order: INSIDE,
    leave_after_an_import: INSIDE,
}
for _handler, _condition in _CONDITIONS.items():
    only_if(_handler, _condition)
