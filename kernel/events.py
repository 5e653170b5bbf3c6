"""Facts that cross rooms: written with the change that made them, delivered at least once, applied exactly once.

`publish` writes one row in `event` and one in `event_delivery` for each subscriber, in the caller's transaction. A worker
leases deliveries, runs each subscriber in its own transaction and marks it delivered in that same transaction.
"""

from __future__ import annotations

import importlib
import json
import logging
import typing
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from functools import cache
from typing import Any, TypeVar

from flask import g
from sqlalchemy import Connection, ForeignKey, Index, delete, func, or_, select, text, update
from sqlalchemy.orm import Mapped, mapped_column

from . import clock
from .db import changed, db, pk, transaction
from .jobs import every, job

log = logging.getLogger(__name__)
LEASE = timedelta(seconds=60)
ATTEMPTS = 8


@dataclass(frozen=True, kw_only=True)
class Event:
    """Base of every published fact: ids and plain values only, named by a noun and a past participle.

    A field `member_id` puts the event on that member's timeline.
    """


class EventRecord(db.Model):
    __tablename__ = "event"
    id: Mapped[pk]
    name: Mapped[str]
    member_id: Mapped[int | None]
    payload: Mapped[dict[str, Any]]
    occurred_at: Mapped[datetime]

    __table_args__ = (
        Index("ix_event_timeline", "member_id", text("id DESC"), postgresql_where=text("member_id IS NOT NULL")),
        Index("ix_event_name", "name", "id"),
    )


class EventDelivery(db.Model):
    __tablename__ = "event_delivery"
    event_id: Mapped[int] = mapped_column(ForeignKey("event.id", ondelete="CASCADE"), primary_key=True)
    subscriber: Mapped[str] = mapped_column(primary_key=True)
    due_at: Mapped[datetime]
    attempts: Mapped[int] = mapped_column(default=0)
    error: Mapped[str | None]
    delivered_at: Mapped[datetime | None]
    dead_at: Mapped[datetime | None]

    __table_args__ = (
        Index(
            "ix_event_delivery_due",
            "due_at",
            postgresql_where=text("delivered_at IS NULL AND dead_at IS NULL"),
        ),
        Index("ix_event_delivery_dead", "dead_at", postgresql_where=text("dead_at IS NOT NULL")),
    )


E = TypeVar("E", bound=Event)
_types: dict[str, type[Event]] = {}
_subscribers: dict[str, list[str]] = defaultdict(list)
_descriptions: dict[str, Callable[[Any], Any]] = {}
# Subscribers that hear only of what somebody outside has asked for: a condition in SQL on the event's name.
_CONDITIONS: dict[str, str] = {}


def _register_type(event_type: type[Event]) -> None:
    known = _types.setdefault(event_type.__name__, event_type)
    if known is not event_type:
        raise TypeError(f"two events are called {event_type.__name__}")


def subscribe(event_type: type[E]) -> Callable[[Callable[[E], None]], Callable[[E], None]]:
    """Let a function react to an event, later, in a transaction of its own; it may run again after a crash mid-way."""
    _register_type(event_type)

    def register(handler: Callable[[E], None]) -> Callable[[E], None]:
        key = f"{handler.__module__}.{handler.__name__}"
        if key not in _subscribers[event_type.__name__]:
            _subscribers[event_type.__name__].append(key)
        return handler

    return register


def only_if(handler: Callable[[Any], None], condition: str) -> None:
    """Write deliveries to a subscriber only where a condition holds: SQL without values, in which `{name}` is the event's name
    and `{member}` the id of its member.

    Subscribers that listen to nearly everything, or that nearly every event does not concern, need it: what nobody asked for
    costs nothing. The condition is looked at when the event is written; what comes true later needs an event of its own.
    """
    _CONDITIONS[f"{handler.__module__}.{handler.__name__}"] = condition


def delivering() -> EventRecord:
    """The row of the event that a subscriber is being handed at this moment."""
    return g.delivered_event  # type: ignore[no-any-return]


def describes(event_type: type[E]) -> Callable[[Callable[[E], Any]], Callable[[E], Any]]:
    """Register the sentence (str or Markup) that an event is on a member's timeline."""
    _register_type(event_type)

    def register(describe: Callable[[E], Any]) -> Callable[[E], Any]:
        _descriptions[event_type.__name__] = describe
        return describe

    return register


@cache
def _instants(name: str) -> frozenset[str]:
    event_type = _types[name]
    hints = typing.get_type_hints(event_type)
    return frozenset(f.name for f in fields(event_type) if datetime in (hints[f.name], *typing.get_args(hints[f.name])))


def _encode(event: Event) -> dict[str, Any]:
    plain = {f.name: getattr(event, f.name) for f in fields(event)}
    return {k: v.isoformat() if isinstance(v, datetime) else v for k, v in plain.items()}


def decode(name: str, payload: dict[str, Any]) -> Event | None:
    """The event that a row holds, or None when its type is no longer known."""
    event_type = _types.get(name)
    if event_type is None:
        return None
    known = {f.name for f in fields(event_type)}
    instants = _instants(name)
    return event_type(
        **{k: datetime.fromisoformat(v) if k in instants and v else v for k, v in payload.items() if k in known}
    )


def describe(record: EventRecord) -> Any | None:
    """The timeline sentence of a row, or None when nobody describes it."""
    event = decode(record.name, record.payload)
    describer = _descriptions.get(record.name)
    return describer(event) if event is not None and describer is not None else None


def publish(event: Event) -> None:
    """Write the event and its deliveries in the present transaction, and wake a worker after the commit."""
    publish_all([event])


def publish_all(events: Iterable[Event]) -> None:
    """Many events in one statement; see `publish`."""
    if write(db.session.connection(), events):
        deliver_events.later()


def write(connection: Connection, events: Iterable[Event]) -> bool:
    """Write events over a given connection (set-wise paths); returns whether anyone has subscribed to them."""
    now = clock.now()
    names: list[str] = []
    members: list[int | None] = []
    payloads: list[str] = []
    for event in events:
        _register_type(type(event))
        names.append(type(event).__name__)
        members.append(getattr(event, "member_id", None))
        payloads.append(json.dumps(_encode(event), ensure_ascii=False))
    if not names:
        return False
    told = [(name, subscriber) for name in set(names) for subscriber in _subscribers[name]]
    connection.execute(
        _write_statement(),
        {
            "now": now,
            "names": names,
            "members": members,
            "payloads": payloads,
            "told": [name for name, _ in told],
            "subscribers": [subscriber for _, subscriber in told],
        },
    )
    return bool(told)


def _asked_for(subscriber: str, name: str, member: str, among: Sequence[str] | None = None) -> str:
    """The condition under which a delivery is written, in SQL; `subscriber`, `name` and `member` are SQL too.

    `among` are the only subscribers that can be meant, None is all: a plan is made ready with every condition that it names.
    """
    parts = [
        f"({subscriber} <> '{key}' OR {condition.replace('{name}', name).replace('{member}', member)})"
        for key, condition in _CONDITIONS.items()
        if among is None or key in among
    ]
    return " AND ".join(parts) or "true"


@cache
def _write_statement() -> Any:
    """One statement however many events there are: publishing lies on the way of every claim."""
    # The names come from code, never from input.
    return text(
        f"""
        WITH written AS (
            INSERT INTO event (name, member_id, payload, occurred_at)
            SELECT q.name, q.member_id, CAST(q.payload AS jsonb), CAST(:now AS timestamptz)
            FROM unnest(CAST(:names AS text[]), CAST(:members AS bigint[]), CAST(:payloads AS text[]))
                 WITH ORDINALITY AS q (name, member_id, payload, position)
            ORDER BY q.position
            RETURNING id, name, member_id
        )
        INSERT INTO event_delivery (event_id, subscriber, due_at, attempts)
        SELECT written.id, told.subscriber, CAST(:now AS timestamptz), 0
        FROM written JOIN unnest(CAST(:told AS text[]), CAST(:subscribers AS text[])) AS told (name, subscriber) USING (name)
        WHERE {_asked_for("told.subscriber", "written.name", "written.member_id")}
        """  # noqa: S608
    )


def publishing(
    event_type: type[Event],
    rows: str,
    now: str = "%(now)s::timestamptz",
    subscribers: str = "%(subscribers)s::text[]",
    **columns: str,
) -> str:
    """Two common table expressions that publish an event for each row of another one, for a statement that writes many.

    `rows` names the other expression; a field of the event is its column of the same name, or what `columns` says. The
    statement goes to the driver with the values `now` and `subscribers` (`subscribers_of` the event), unless these two say
    in SQL where they come from.
    """
    _register_type(event_type)
    pairs = ", ".join(f"'{f.name}', {columns.get(f.name, f.name)}" for f in fields(event_type))
    member = columns.get("member_id", "member_id") if any(f.name == "member_id" for f in fields(event_type)) else "NULL"
    # The names come from code, never from input.
    return f"""
        published AS (
            INSERT INTO event (name, member_id, payload, occurred_at)
            SELECT '{event_type.__name__}', {member}, jsonb_build_object({pairs}), {now} FROM {rows}
            RETURNING id, member_id
        ), told AS (
            INSERT INTO event_delivery (event_id, subscriber, due_at, attempts)
            SELECT published.id, s.subscriber, {now}, 0
            FROM published, unnest({subscribers}) AS s (subscriber)
            WHERE {_asked_for("s.subscriber", f"'{event_type.__name__}'", "published.member_id", subscribers_of(event_type))}
        )"""  # noqa: S608


def subscribers_of(event_type: type[Event]) -> list[str]:
    """Who has subscribed to an event, by the names that deliveries carry."""
    return list(_subscribers[event_type.__name__])


def _due() -> Any:
    return (EventDelivery.delivered_at.is_(None), EventDelivery.dead_at.is_(None), EventDelivery.due_at <= clock.now())


def _lease(limit: int) -> list[tuple[int, str]]:
    picked = (
        select(EventDelivery.event_id, EventDelivery.subscriber)
        .where(*_due())
        .order_by(EventDelivery.event_id)
        .limit(limit)
        .with_for_update(skip_locked=True)
        .cte("picked")
    )
    rows = db.session.execute(
        update(EventDelivery)
        .where(EventDelivery.event_id == picked.c.event_id, EventDelivery.subscriber == picked.c.subscriber)
        .values(due_at=clock.now() + LEASE, attempts=EventDelivery.attempts + 1)
        .returning(EventDelivery.event_id, EventDelivery.subscriber)
        .execution_options(synchronize_session=False)
    )
    return sorted((row[0], row[1]) for row in rows)


def _deliver(event_id: int, subscriber: str) -> None:
    delivery = db.session.scalar(
        select(EventDelivery)
        .where(EventDelivery.event_id == event_id, EventDelivery.subscriber == subscriber)
        .with_for_update(skip_locked=True)
    )
    if delivery is None or delivery.delivered_at is not None or delivery.dead_at is not None:
        return
    record = db.session.get_one(EventRecord, event_id)
    event = decode(record.name, record.payload)
    if event is not None:
        g.delivered_event = record
        module, _, name = subscriber.rpartition(".")
        getattr(importlib.import_module(module), name)(event)
    delivery.delivered_at = clock.now()
    delivery.error = None


def _note_failure(event_id: int, subscriber: str, error: Exception) -> None:
    delivery = db.session.get_one(EventDelivery, (event_id, subscriber))
    delivery.error = f"{type(error).__name__}: {error}"[:500]
    if delivery.attempts >= ATTEMPTS:
        delivery.dead_at = clock.now()
    else:
        delivery.due_at = clock.now() + timedelta(seconds=min(2**delivery.attempts, 600))


@every(2)
@job(own_transactions=True)
def deliver_events() -> None:
    """Hand the due events to their subscribers until none is left."""
    while True:
        with transaction():
            # A worker that died eight times over one delivery is not given it a ninth time.
            db.session.execute(
                update(EventDelivery)
                .where(*_due(), EventDelivery.attempts >= ATTEMPTS)
                .values(dead_at=clock.now(), error=func.coalesce(EventDelivery.error, "the worker died each time"))
                .execution_options(synchronize_session=False)
            )
            leased = _lease(50)
        if not leased:
            return
        for event_id, subscriber in leased:
            try:
                with transaction():
                    _deliver(event_id, subscriber)
            except Exception as error:
                log.exception("subscriber %s failed on event %s", subscriber, event_id)
                with transaction():
                    _note_failure(event_id, subscriber, error)


def waiting() -> int:
    """How many deliveries are due but not yet done (the health page)."""
    return db.session.scalar(select(func.count()).select_from(EventDelivery).where(*_due())) or 0


def dead() -> list[EventDelivery]:
    """Deliveries that were given up, newest first."""
    return list(
        db.session.scalars(
            select(EventDelivery)
            .where(EventDelivery.dead_at.is_not(None))
            .order_by(EventDelivery.dead_at.desc())
            .limit(200)
        )
    )


def drop(event_id: int, subscriber: str) -> bool:
    """Let a delivery that was given up be forgotten; the event stays. Returns whether there was one."""
    gone = db.session.execute(
        delete(EventDelivery).where(
            EventDelivery.event_id == event_id,
            EventDelivery.subscriber == subscriber,
            EventDelivery.dead_at.is_not(None),
        )
    )
    return changed(gone) == 1


@dataclass(frozen=True)
class Backlog:
    """Deliveries of events: due now, failed and to be tried again, given up; and since when the oldest due one waits."""

    due: int
    failing: int
    dead: int
    oldest: datetime | None


def backlog() -> Backlog:
    """How far the deliveries of events have fallen behind."""
    now = clock.now()
    open_ = (EventDelivery.delivered_at.is_(None), EventDelivery.dead_at.is_(None))
    row = db.session.execute(
        select(
            func.count().filter(EventDelivery.due_at <= now),
            func.count().filter(EventDelivery.error.is_not(None)),
            func.min(EventDelivery.due_at).filter(EventDelivery.due_at <= now),
        ).where(*open_)
    ).one()
    given_up = select(func.count()).select_from(EventDelivery).where(EventDelivery.dead_at.is_not(None))
    return Backlog(row[0], row[1], db.session.scalar(given_up) or 0, row[2])


def revive(event_id: int, subscriber: str) -> bool:
    """Give a dead delivery its tries back. Returns whether there was one that had failed."""
    revived = db.session.execute(
        update(EventDelivery)
        .where(
            EventDelivery.event_id == event_id,
            EventDelivery.subscriber == subscriber,
            or_(EventDelivery.dead_at.is_not(None), EventDelivery.error.is_not(None)),
            EventDelivery.delivered_at.is_(None),
        )
        .values(dead_at=None, attempts=0, due_at=clock.now())
        .execution_options(synchronize_session=False)
    )
    deliver_events.later()
    return changed(revived) == 1
