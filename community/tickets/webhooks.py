"""What other programs are told of tickets: ids and states, never what was said."""

from __future__ import annotations

from kernel.http import Strict
from kernel.i18n import lazy_gettext as _l
from kernel.webhooks import expose

from .events import TicketAnswered, TicketClosed, TicketOpened, TicketRated, TicketReopened, TicketResolved


class TicketMessage(Strict):
    """`kind` is return, exchange, complaint, wrong_address, refused_parcel, feedback or survey."""

    ticket_id: int
    member_id: int
    kind: str


class TicketOpenedMessage(TicketMessage):
    """`source` says through what it was opened: staff, member, program, call or conversation."""

    source: str


class TicketAnsweredMessage(TicketMessage):
    """`first` is true for the first answer."""

    first: bool


class TicketRatedMessage(TicketMessage):
    """`stars` from 1 to 5."""

    stars: int


expose(TicketOpened, "ticket.opened", TicketOpenedMessage, _l("A ticket was opened."))
expose(TicketAnswered, "ticket.answered", TicketAnsweredMessage, _l("The desk answered the customer."))
expose(TicketResolved, "ticket.resolved", TicketMessage, _l("A ticket is resolved."))
expose(TicketReopened, "ticket.reopened", TicketMessage, _l("A ticket was opened again."))
expose(TicketClosed, "ticket.closed", TicketMessage, _l("A ticket is over."))
expose(TicketRated, "ticket.rated", TicketRatedMessage, _l("A customer said how satisfied they are with a ticket."))
