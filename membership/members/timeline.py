"""One line of time for a member: what every room published about them, and their orders, newest first."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Select, literal, or_, select, union_all

from kernel.db import db
from kernel.events import EventRecord, describe
from kernel.i18n import lazy_gettext as _l
from kernel.pages import Page, keyset
from membership.orders.models import Order, OrderLine

from .models import Note


@dataclass(frozen=True)
class Kind:
    """A part of the timeline that can be looked at alone: the beginnings of its events' names, and its icon."""

    key: str
    label: Any
    icon: str
    events: tuple[str, ...]


KINDS = (
    Kind("orders", _l("Orders"), "shopping-bag", ("Order", "Refund")),
    Kind("groups", _l("Groups"), "messages", ("MemberJoined", "MemberLeft", "MemberQueued", "Seat", "Post")),
    Kind("benefits", _l("Coupons & gifts"), "ticket", ("Coupon", "Gift")),
    Kind("messages", _l("Messages and visits"), "send", ("Push", "Message", "Delivery", "Link", "Notice")),
    Kind("calls", _l("Call-backs"), "phone-call", ("Call",)),
    Kind("standing", _l("Tier and stage"), "star", ("Tier", "Stage", "MemberEnrolled")),
    Kind("rights", _l("Contact rights"), "shield-check", ("Consent", "MemberIdentified")),
    Kind("staff", _l("Notes and tags"), "note", ("Note", "MemberTagged", "MemberUntagged")),
)
# Orders come from their own table; this one would say the same twice.
_DOUBLED = ("OrderRecorded",)
SIZE = 30


@dataclass
class Item:
    """One thing that happened. Either `text` is what an event says, or `order` an order with its lines."""

    at: datetime
    icon: str
    text: Any = ""
    order: Order | None = None
    lines: list[OrderLine] = field(default_factory=list)
    body: str = ""


def _icon(name: str) -> str:
    special = {"GiftOffered": "gift", "GiftClaimed": "gift", "GiftShipped": "truck", "MemberEnrolled": "user-check"}
    return special.get(name) or next(
        (kind.icon for kind in KINDS if any(name.startswith(start) for start in kind.events)), "history"
    )


def _statement(member_id: int, kind: Kind | None) -> Select[Any]:
    events = select(EventRecord.id, EventRecord.occurred_at.label("at"), literal("event").label("kind")).where(
        EventRecord.member_id == member_id, EventRecord.name.not_in(_DOUBLED)
    )
    if kind is not None:
        events = events.where(or_(*(EventRecord.name.startswith(start, autoescape=True) for start in kind.events)))
    parts = [events]
    if kind is None or kind.key == "orders":
        parts.append(
            select(Order.id, Order.placed_at.label("at"), literal("order").label("kind")).where(
                Order.member_id == member_id
            )
        )
    line = union_all(*parts).subquery()
    return select(line.c.at, line.c.kind, line.c.id)


def page_of(member_id: int, kind_key: str | None, cursor: str | None) -> tuple[list[Item], Page]:
    """One page of a member's timeline, of one kind or of all; and the page itself, for its cursors."""
    kind = next((k for k in KINDS if k.key == kind_key), None)
    statement = _statement(member_id, kind)
    columns = statement.selected_columns
    page = keyset(statement, [columns.at.desc(), columns.kind.desc(), columns.id.desc()], cursor, SIZE)
    ids: dict[str, list[int]] = {"event": [], "order": []}
    for row in page.rows:
        ids[row.kind].append(row.id)
    events = {e.id: e for e in db.session.scalars(select(EventRecord).where(EventRecord.id.in_(ids["event"])))}
    orders = {o.id: o for o in db.session.scalars(select(Order).where(Order.id.in_(ids["order"])))}
    lines: dict[int, list[OrderLine]] = {}
    for one in db.session.scalars(
        select(OrderLine).where(OrderLine.order_id.in_(ids["order"])).order_by(OrderLine.order_id, OrderLine.position)
    ):
        lines.setdefault(one.order_id, []).append(one)
    note_ids = [e.payload.get("note_id") for e in events.values() if e.name == "NoteWritten"]
    notes = {n.id: n.body for n in db.session.scalars(select(Note).where(Note.id.in_(note_ids)))} if note_ids else {}
    items = []
    for row in page.rows:
        if row.kind == "order":
            items.append(Item(row.at, "shopping-bag", order=orders[row.id], lines=lines.get(row.id, [])))
        elif (said := describe(events[row.id])) is not None:
            event = events[row.id]
            items.append(Item(row.at, _icon(event.name), said, body=notes.get(event.payload.get("note_id") or 0, "")))
    return items, page


__all__ = ["KINDS", "Item", "Kind", "page_of"]
