"""Benefits follow tiers and enrolment."""

from __future__ import annotations

from kernel.events import only_if, subscribe
from membership.members import queries as members
from membership.members.events import MemberEnrolled
from membership.tiers.events import TierChanged

from . import services


@subscribe(TierChanged)
def give_entry_benefits(event: TierChanged) -> None:
    """A rise gives the entry benefits of every level that was reached."""
    if event.to_rank > event.from_rank:
        services.welcome(event.member_id, event.from_rank, event.to_rank)


# A file raises a hundred thousand people who have not enrolled; what they are due waits for their enrolment (below).
only_if(give_entry_benefits, "EXISTS (SELECT FROM member m WHERE m.id = {member} AND m.enrolled_at IS NOT NULL)")


@subscribe(MemberEnrolled)
def give_what_waited(event: MemberEnrolled) -> None:
    """Benefits count from enrolment: whoever has a tier by then is given what it brings."""
    member = members.find_member(event.member_id)
    if member is not None:
        services.welcome(member.id, 0, member.rank)
