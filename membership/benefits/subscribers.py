"""Benefits follow tiers and enrolment."""

from __future__ import annotations

from kernel.events import subscribe
from membership.members import queries as members
from membership.members.events import MemberEnrolled
from membership.tiers.events import TierChanged

from . import services


@subscribe(TierChanged)
def give_entry_benefits(event: TierChanged) -> None:
    """A rise gives the entry benefits of every level that was reached."""
    if event.to_rank > event.from_rank:
        services.welcome(event.member_id, event.from_rank, event.to_rank)


@subscribe(MemberEnrolled)
def give_what_waited(event: MemberEnrolled) -> None:
    """Benefits count from enrolment: whoever has a tier by then is given what it brings."""
    member = members.find_member(event.member_id)
    if member is not None:
        services.welcome(member.id, 0, member.rank)
