"""What a restore does to journeys: a step that was due since the backup may have been done, and is not done again."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import select, update

from kernel import restoring
from kernel.db import db
from kernel.i18n import lazy_gettext as _l

from . import queries, services
from .models import Journey, JourneyMember, JourneyState

LEFT, PASSED_OVER = "journeys_left", "journeys_passed_over"
AT_ONCE = 1_000

restoring.words.update(
    {
        LEFT: _l("People taken out of journeys, because their next step may have been done"),
        PASSED_OVER: _l("People whom a journey passes over, because they may have been inside"),
    }
)


@restoring.began.fill
def take_out(now: datetime) -> list[restoring.TakenOut]:
    """Let those leave whose step was due by now."""
    statement = (
        select(JourneyMember)
        .where(queries.LIVE, JourneyMember.due_at <= now)
        .order_by(JourneyMember.id)
        .limit(AT_ONCE)
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    left = 0
    while places := db.session.scalars(statement).all():
        left += services.let_leave(places, "restored")
    return [restoring.TakenOut(LEFT, left)]


@restoring.released.fill
def begin_anew(now: datetime) -> list[restoring.TakenOut]:
    """Let the journeys that are on count from now: what happened before brings nobody in."""
    on = db.session.scalars(select(Journey.id).where(Journey.state == JourneyState.ON).order_by(Journey.id)).all()
    passed = sum(services.pass_over(journey_id) for journey_id in on)
    db.session.execute(
        update(Journey)
        .where(Journey.id.in_(on))
        .values(switched_on_at=now, looked_at=now)
        .execution_options(synchronize_session=False)
    )
    db.session.expire_all()
    return [restoring.TakenOut(PASSED_OVER, passed)]
