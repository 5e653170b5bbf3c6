"""What groups do when something happened elsewhere, or a moment before."""

from __future__ import annotations

from kernel.events import subscribe
from membership.members import services as members

from . import queries, services
from .events import GroupClosed, GroupOpened, MemberJoinedGroup
from .models import GroupKind


@subscribe(MemberJoinedGroup)
def welcome_member(event: MemberJoinedGroup) -> None:
    """Make sure that nobody who was seated misses their enrolment and their gift."""
    group = queries.find_group(event.group_id)
    if group is not None and queries.in_group(event.member_id, event.group_id):
        services.welcome(group, event.member_id, event.source)
    members.revalue([event.member_id])


@subscribe(GroupClosed)
def tell_what_follows(event: GroupClosed) -> None:
    """Tell the people of a flash group where it goes on."""
    group = queries.find_group(event.group_id)
    if group is not None and group.kind is GroupKind.FLASH:
        services.tell_what_follows(group)


@subscribe(GroupOpened)
def tell_opened(event: GroupOpened) -> None:
    """Tell those who waited for a group that it is open."""
    group = queries.find_group(event.group_id)
    if group is not None:
        services.tell_opened(group)
