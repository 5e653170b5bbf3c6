"""What this room keeps of people, column by column: see `membership.members.services.personal`."""

from __future__ import annotations

from sqlalchemy import select

from kernel.db import db
from kernel.i18n import lazy_gettext as _l
from membership.members.services import erasure
from membership.members.services.personal import Person, by, declare

from . import queries
from .models import Journey, JourneyLog, JourneyMember, JourneyPush, JourneyVersion, ReceivedEvent
from .services import leaving

declare(Journey, "id name recipe state draft version_id trigger switched_on_at looked_at staff_id created_at")
declare(JourneyVersion, "id journey_id number plan staff_id created_at")
declare(JourneyPush, "version_id step trial push_id")
declare(
    JourneyMember,
    "id journey_id version_id member_id since entered_at state step due_at attempts ended_at trial key",
    "reason",
    rows=by(JourneyMember.member_id),
    label=_l("Ways through journeys"),
)
declare(
    JourneyLog,
    "id place_id version_id step outcome trial at",
    "detail",
    rows=lambda person: JourneyLog.place_id.in_(
        select(JourneyMember.id).where(JourneyMember.member_id.in_(person.ids))
    ),
    label=_l("Steps of journeys"),
)
declare(
    ReceivedEvent,
    "id member_id type key at received_at payload",
    rows=by(ReceivedEvent.member_id),
    label=_l("Events that other programs reported"),
    drop=True,
)


@erasure.forgetters.fill
def end_ways(person: Person) -> None:
    """Nobody who is erased goes on through a journey."""
    places = db.session.scalars(
        select(JourneyMember)
        .where(JourneyMember.member_id.in_(person.ids), queries.LIVE)
        .order_by(JourneyMember.id)
        .with_for_update()
    ).all()
    leaving.let_leave(places, "gone")
