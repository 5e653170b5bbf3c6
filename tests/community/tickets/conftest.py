"""Customers with orders, tickets of theirs, and a desk."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import select

from community.tickets import services
from community.tickets.models import Ticket, TicketKind, TicketSource
from membership.members.models import Member
from tests.community.desk.conftest import delivered
from tests.community.posts.conftest import make_group, make_member, order

__all__ = ["delivered", "make_group", "make_member", "order"]


def ticket_of(db: Any, ticket_id: int) -> Ticket:
    """The ticket as it stands in the database."""
    found = db.session.scalar(select(Ticket).where(Ticket.id == ticket_id).execution_options(populate_existing=True))
    assert isinstance(found, Ticket)
    return found


@pytest.fixture
def ticket(db: Any, make_member: Callable[..., Member]) -> Callable[..., Ticket]:
    """`ticket(member, kind, text=…)` is a ticket that a customer has just opened."""

    def make(member: Member | None = None, kind: TicketKind = TicketKind.RETURN, **values: Any) -> Ticket:
        member = member or make_member()
        values = {"text": "杯口有个缺口", "source": TicketSource.MEMBER, **values}
        return services.open_ticket(services.Opening(member_id=member.id, kind=kind, **values))

    return make
