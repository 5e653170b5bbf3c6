"""How a merge brings deliveries along: those that have come to their end. What is under way keeps its place in its slice."""

from __future__ import annotations

from sqlalchemy import select

from kernel.i18n import lazy_gettext as _l
from membership.members.services import merge

from .models import OPEN_STATES, Delivery, DeliveryState, Target

# A run has one row a target. Where both records were targets, the absorbed one's row stays: it tells what that record was
# sent, and the run's sum stays right. An open row stays too, for slices find theirs by member; `claim` ends it as gone.


@merge.follower(Delivery.member_id)
def follow_deliveries(merging: merge.Merging) -> None:
    rows = Delivery.__table__
    own = select(rows.c.run_id).where(rows.c.member_id == merging.survivor)
    merging.repoint(
        Delivery.member_id,
        rows.c.state.not_in([*OPEN_STATES, DeliveryState.UNKNOWN, DeliveryState.ASSIGNED]),
        rows.c.run_id.not_in(own),
        label=_l("Messages of pushes"),
    )


@merge.follower(Target.member_id)
def follow_targets(merging: merge.Merging) -> None:
    rows = Target.__table__
    own = select(rows.c.run_id).where(rows.c.member_id == merging.survivor)
    merging.repoint(Target.member_id, rows.c.run_id.not_in(own), label=_l("Lists of pushes"))
