"""What this room keeps of people, column by column: see `membership.members.services.personal`."""

from __future__ import annotations

from contextlib import suppress

from sqlalchemy import select

from kernel.db import db
from kernel.i18n import lazy_gettext as _l
from membership.members.services import erasure
from membership.members.services.personal import Person, by, declare

from . import services
from .models import (
    Drift,
    FriendLink,
    FriendReward,
    Group,
    JoinLink,
    LiveDrop,
    LiveSession,
    OpeningWish,
    OutsideCode,
    OutsideView,
    Seat,
    SeatState,
    SubGroup,
    Waiting,
    WaitingState,
)
from .rules import NotAMember

declare(
    Group,
    "id public_id name kind state intro announcement cover capacity seats_each seated queued last_number "
    "active_week hold_minutes invite_hours opens_at closes_at join_rule open_to_new welcome_gift_id "
    "welcome_post successor_id owner_id grace_days reward template copied_from_id created_at opened_at closed_at",
)
declare(
    Drift,
    "id group_id member_id seat_id state missing rank found_at grace_until kept_until decided_at staff_id moved_seat_id "
    "undone_at",
    rows=by(Drift.member_id),
    label=_l("When they no longer met a group's rules"),
)
declare(
    FriendLink,
    "id token group_id member_id opened created_at revoked_at",
    "network device",
    rows=by(FriendLink.member_id),
    label=_l("Links to bring friends"),
    hidden="network device",
)
declare(
    FriendReward,
    "id group_id inviter_id friend_id state terms reason came_at due_at settled_at coupon_id points",
    "network device",
    rows=by(FriendReward.inviter_id, FriendReward.friend_id),
    label=_l("Friends brought into groups"),
    hidden="network device",
)
declare(
    LiveDrop,
    "id session_id token title note url offer_id minute created_at",
)
declare(
    OpeningWish,
    "group_id member_id at told_at",
    rows=by(OpeningWish.member_id),
    label=_l("Groups whose opening they wait for"),
)
declare(
    OutsideCode,
    "id group_id platform name picture position expires_at seats shown retired_at created_at",
)
declare(
    OutsideView,
    "code_id member_id at",
    rows=by(OutsideView.member_id),
    label=_l("Codes of groups elsewhere that they were shown"),
)
declare(
    JoinLink,
    "id group_id token name source staff_id opened joined revoked_at created_at",
)
declare(
    LiveSession,
    "id group_id title starts_at ends_at watch_url replay_url reminded_day_at reminded_soon_at",
)
declare(
    Seat,
    "id group_id sub_group_id member_id state role source inviter_id staff_id link_id held_until held_at "
    "joined_at ended_at end_reason barred muted_until seen_at",
    rows=by(Seat.member_id),
    label=_l("Seats in groups"),
)
declare(
    SubGroup,
    "id group_id number seats seated",
)
declare(
    Waiting,
    "id group_id member_id number state queued_at invited_at invited_until ended_at",
    rows=by(Waiting.member_id),
    label=_l("Waiting lists"),
)


@erasure.forgetters.fill
def give_seats_back(person: Person) -> None:
    """Their seats and their places on waiting lists are for others now."""
    seats = select(Seat.group_id, Seat.member_id).where(
        Seat.member_id.in_(person.ids), Seat.state.in_((SeatState.HELD, SeatState.TAKEN))
    )
    waits = select(Waiting.group_id, Waiting.member_id).where(
        Waiting.member_id.in_(person.ids), Waiting.state.in_((WaitingState.QUEUED, WaitingState.INVITED))
    )
    for group_id, member_id in sorted(db.session.execute(seats.union(waits)).all()):
        with suppress(NotAMember):
            services.leave(group_id, member_id)
