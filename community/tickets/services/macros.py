"""Saved answers and the words that fill them."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import select, update

from community.desk import labels as desk_labels
from community.desk.services import note_script_used
from kernel import audit, clock, shop
from kernel.db import db
from kernel.errors import Refusal
from kernel.i18n import lazy_gettext as _l
from kernel.pages import row_or_none
from kernel.staff.models import Staff
from membership.members.models import Member
from membership.orders.models import Order

from .. import queries, rules
from ..models import Macro, Ticket, TicketKind


class PlaceUnknown(Refusal):
    status = 422
    label = _l(
        "{%(name)s} cannot be filled in. Known places: {nickname}, {product}, {order}, {parcel}, {shop}, {agent}."
    )


@dataclass(frozen=True)
class MacroDraft:
    """A saved answer as it is written; `mine` keeps it to whoever writes it."""

    title: str
    body: str
    kind: TicketKind | None = None
    mine: bool = False


def _checked(draft: MacroDraft) -> tuple[str, str]:
    body = draft.body.replace("\r\n", "\n").strip()
    if unknown := rules.unknown_places(body):
        raise PlaceUnknown(name=unknown[0])
    return " ".join(draft.title.split()), body


def add_macro(draft: MacroDraft, staff_id: int) -> Macro:
    """Save an answer. Refuses with `PlaceUnknown`."""
    title, body = _checked(draft)
    macro = Macro(
        title=title,
        body=body,
        kind=draft.kind,
        owner_id=staff_id if draft.mine else None,
        used=0,
        created_at=clock.now(),
    )
    db.session.add(macro)
    db.session.flush()
    audit.record("macro.added", "macro", macro.id, after={"title": title})
    return macro


def edit_macro(macro_id: int, draft: MacroDraft, staff_id: int) -> None:
    """Change a saved answer. Refuses with `PlaceUnknown`, and with `NotFound` for a colleague's own."""
    title, body = _checked(draft)
    macro = queries.get_macro(macro_id, staff_id)
    before = {"title": macro.title, "body": macro.body}
    macro.title, macro.body, macro.kind = title, body, draft.kind
    macro.owner_id = staff_id if draft.mine else None
    audit.record("macro.edited", "macro", macro_id, before, {"title": title, "body": body})


def delete_macro(macro_id: int, staff_id: int) -> None:
    """Delete a saved answer. Refuses with `NotFound` for a colleague's own."""
    macro = queries.get_macro(macro_id, staff_id)
    audit.record("macro.deleted", "macro", macro_id, before={"title": macro.title, "body": macro.body})
    db.session.delete(macro)


def note_used(macro_id: int) -> None:
    """Count that a saved answer was sent; one that is gone is not counted."""
    db.session.execute(update(Macro).where(Macro.id == macro_id).values(used=Macro.used + 1))


def note_said(name: str) -> None:
    """Count that a saved answer (`macro-3`, or its bare number) or a script (`script-3`) was sent; anything else is nothing."""
    kind, _dash, number = name.rpartition("-")
    wanted = row_or_none(number)
    if wanted is None:
        return
    if kind == "script":
        note_script_used(wanted)
    elif kind in ("macro", ""):
        note_used(wanted)


def words_for(member: Member, staff: Staff, ticket: Ticket | None = None) -> dict[str, str]:
    """What the places of a saved answer or a script are filled with; unknown ones are left out."""
    words = {
        "nickname": member.nickname or member.name or "",
        "shop": shop.shop_name(),
        "agent": desk_labels.agent_name(staff, member.locale),
        "product": queries.product_of(member.id, ticket.order_id if ticket else None),
        "order": "",
        "parcel": "",
    }
    if ticket is not None:
        if ticket.order_id is not None:
            words["order"] = db.session.scalar(select(Order.external_id).where(Order.id == ticket.order_id)) or ""
        words["parcel"] = queries.parcel_of(ticket.id)
    return words
