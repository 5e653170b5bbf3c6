"""Check-ins of the demo shop's members over the last two weeks."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import select

from community.groups.models import Group, Seat, SeatState
from kernel import clock
from kernel.db import db
from membership.demo import share_of
from membership.points import services as points
from membership.points.models import Kind

from . import rules, services
from .models import CheckIn

DAYS = 14


def keep_coming() -> None:
    """Open the check-in, and let some of the first group's members come on most days."""
    program = services.save_program(True, 2, "7 10\n30 60")
    group_id = db.session.scalar(select(Group.id).order_by(Group.id).limit(1))
    seated = db.session.scalars(
        select(Seat.member_id).where(Seat.group_id == group_id, Seat.state == SeatState.TAKEN).order_by(Seat.member_id)
    )
    today, now = clock.today(), clock.now()
    for member_id in [member_id for member_id in seated if share_of(member_id, "checks in") < 0.15]:
        length = 0
        keen = share_of(member_id, "keen")
        for back in range(DAYS, 0, -1):
            day = today - timedelta(days=back)
            if share_of(member_id, f"on {back}") > keen:
                length = 0
                continue
            length += 1
            worth = rules.points_for(program, length)
            db.session.add(
                CheckIn(
                    member_id=member_id,
                    on=day,
                    group_id=group_id,
                    streak=length,
                    points=worth,
                    at=now - timedelta(days=back),
                )
            )
            points.award(member_id, worth, type=Kind.CHECK_IN, source_type="check_in", source_id=day.isoformat())
    db.session.flush()
