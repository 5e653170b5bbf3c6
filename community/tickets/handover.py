"""What tickets have under somebody's name, for a hand-over."""

from __future__ import annotations

from collections.abc import Sequence

from flask import url_for
from sqlalchemy import insert

from kernel import clock
from kernel.db import db
from kernel.i18n import lazy_gettext as _l
from kernel.staff.handover import Area, Stays, handover

from . import queries, rules
from .models import AgentPresence, EntryKind, Macro, Ticket, TicketEntry


def _write_down(ticket_ids: Sequence[int], to_id: int, by_id: int | None) -> None:
    """Let each ticket's history say who has it now."""
    name, now = queries.names([to_id]).get(to_id, "–"), clock.now()
    db.session.execute(
        insert(TicketEntry),
        [
            {
                "ticket_id": ticket_id,
                "kind": EntryKind.ASSIGNED,
                "staff_id": by_id,
                "about": name,
                "body": "",
                "pictures": [],
                "at": now,
            }
            for ticket_id in ticket_ids
        ],
    )


@handover.fill
def areas() -> list[Area | Stays]:
    """Tickets that are not put right yet, and answers that somebody saved for themselves."""
    return [
        Area(
            "tickets",
            _l("Open tickets"),
            Ticket.assignee_id,
            lambda: [Ticket.state.in_(rules.LIVE)],
            asks="tickets.handle",
            icon="headset",
            also=lambda: {"assigned_at": clock.now()},
            moved=_write_down,
            address=lambda staff_id: url_for("tickets_console.index", who=staff_id),
        ),
        Area(
            "macros",
            _l("Saved answers of their own"),
            Macro.owner_id,
            list,
            asks="macros.edit",
            icon="message-2",
            waits=False,
        ),
        Stays(AgentPresence.staff_id, "Whether somebody is on; whoever cannot sign in is handed nothing."),
    ]
