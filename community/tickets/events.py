"""What happened to tickets. Ids and plain values; `kind` is a value of `TicketKind`."""

from __future__ import annotations

from dataclasses import dataclass

from kernel.events import Event


@dataclass(frozen=True, kw_only=True)
class TicketOpened(Event):
    """`source` is a value of `TicketSource`."""

    member_id: int
    ticket_id: int
    kind: str
    source: str


@dataclass(frozen=True, kw_only=True)
class TicketAnswered(Event):
    """The desk answered for the customer to read; `first` for the first time. `staff_id` is None when a program did."""

    member_id: int
    ticket_id: int
    kind: str
    staff_id: int | None
    first: bool


@dataclass(frozen=True, kw_only=True)
class TicketResolved(Event):
    """It is put right, as the desk or the customer says; who of the staff, if any."""

    member_id: int
    ticket_id: int
    kind: str
    staff_id: int | None


@dataclass(frozen=True, kw_only=True)
class TicketReopened(Event):
    member_id: int
    ticket_id: int
    kind: str


@dataclass(frozen=True, kw_only=True)
class TicketClosed(Event):
    """It is over; `staff_id` is who resolved it."""

    member_id: int
    ticket_id: int
    kind: str
    staff_id: int | None


@dataclass(frozen=True, kw_only=True)
class TicketRated(Event):
    """The customer said how content they are, 1 to 5; `staff_id` is who resolved it."""

    member_id: int
    ticket_id: int
    kind: str
    staff_id: int | None
    stars: int


@dataclass(frozen=True, kw_only=True)
class ReturnOverdue(Event):
    """The parcel of a return or an exchange should have been back by now."""

    member_id: int
    ticket_id: int
    kind: str


@dataclass(frozen=True, kw_only=True)
class TicketLooked(Event):
    """The customer has looked at what the desk wrote."""

    member_id: int
    ticket_id: int
