"""Tickets that are opened at once: nobody on the staff gets more than they take at a time, and each goes to one."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import func, select

from community.tickets import services
from community.tickets.models import Ticket, TicketKind
from kernel import clock
from kernel.auth import Role
from kernel.db import db, transaction
from kernel.staff.models import Staff
from membership.members.models import Member
from tests.committed import at_once

pytestmark = pytest.mark.race
CROWD, CAP = 8, 3
staffing = services.staffing


def furnish(app: Flask) -> tuple[list[int], list[int]]:
    """Two of the staff who are on with a small cap, and as many customers as there are threads."""
    with app.app_context(), transaction():
        now = clock.now()
        staff = [
            Staff(name=n, email=f"{n}@shop.example", role=Role.SERVICE, password_hash="x", created_at=now) for n in "ab"
        ]
        people = [Member(nickname=f"Guest {n}", stage_since=now, created_at=now) for n in range(CROWD)]
        db.session.add_all([*staff, *people])
        db.session.flush()
        for person in staff:
            services.set_presence(person.id, True, ticket_cap=CAP, keep_caps=False)
        return [person.id for person in staff], [person.id for person in people]


def open_one(member_id: int) -> None:
    with transaction():
        services.open_ticket(services.Opening(member_id, TicketKind.RETURN, "x"))


def in_hand(app: Flask) -> dict[int | None, int]:
    with app.app_context():
        rows = db.session.execute(select(Ticket.assignee_id, func.count()).group_by(Ticket.assignee_id))
        return dict(rows.all())


def test_nobody_gets_more_than_they_take(committed: Flask) -> None:
    agents, people = furnish(committed)
    assert at_once(committed, [partial(open_one, member_id) for member_id in people]) == []
    assert in_hand(committed) == {agents[0]: CAP, agents[1]: CAP, None: CROWD - 2 * CAP}


def test_counting_without_the_lock_would_give_too_much(committed: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of the crowd has counted before any has given out: the lock is what keeps the cap."""
    import threading

    _agents, people = furnish(committed)
    all_counted = threading.Barrier(len(people))
    counting = staffing.free_agents

    def counted_together() -> Any:
        found = counting()
        all_counted.wait(60)
        return found

    monkeypatch.setattr(staffing, "desk_lock", lambda: None)
    monkeypatch.setattr(staffing, "free_agents", counted_together)
    at_once(committed, [partial(open_one, member_id) for member_id in people])
    assert max(n for who, n in in_hand(committed).items() if who is not None) > CAP
