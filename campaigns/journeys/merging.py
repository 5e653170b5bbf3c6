"""How a merge brings journeys along: a person walks through a journey once at a time."""

from __future__ import annotations

from sqlalchemy import select, update
from sqlalchemy.orm import aliased

from kernel.db import db
from kernel.i18n import lazy_gettext as _l
from membership.members.services import merge

from .models import JourneyMember, PlaceState, ReceivedEvent


@merge.follower(JourneyMember.member_id, ReceivedEvent.member_id)
def follow_journeys(merging: merge.Merging) -> None:
    # Where both are inside one journey, the survivor's way goes on and the other's ends.
    theirs = aliased(JourneyMember)
    both = (
        select(theirs.id)
        .where(
            theirs.member_id == merging.survivor,
            theirs.state == PlaceState.ACTIVE,
            theirs.journey_id == JourneyMember.journey_id,
            theirs.trial == JourneyMember.trial,
        )
        .exists()
    )
    twice = (JourneyMember.member_id == merging.absorbed, JourneyMember.state == PlaceState.ACTIVE, both)
    with merging.watching(JourneyMember, *twice):
        db.session.execute(
            update(JourneyMember)
            .where(*twice)
            .values(state=PlaceState.LEFT, step=None, due_at=None, ended_at=merging.at, reason="merged")
            .execution_options(synchronize_session=False)
        )
    merging.repoint(JourneyMember.member_id, label=_l("Ways through journeys"))
    merging.repoint(ReceivedEvent.member_id)
