"""What other programs are told of people: numbers alone, never names or addresses."""

from __future__ import annotations

from kernel.http import Strict
from kernel.i18n import lazy_gettext as _l
from kernel.webhooks import expose

from .events import ConsentChanged, MemberEnrolled, MemberErased, MembersMerged, MergeUndone


class MemberEnrolledMessage(Strict):
    """`source` is what they accepted: a link, a group, a form."""

    member_id: int
    source: str


class ConsentChangedMessage(Strict):
    """The latest one of a member, channel and purpose rules."""

    member_id: int
    channel: str
    purpose: str
    granted: bool
    source: str


class MembersMergedMessage(Strict):
    """`absorbed_id` is the same person as `member_id`, under which they are found from now on."""

    member_id: int
    absorbed_id: int


class MergeUndoneMessage(Strict):
    """The two are two again; each of them is told with its own `member_id`."""

    member_id: int
    survivor_id: int
    absorbed_id: int


class MemberErasedMessage(Strict):
    """Forget this person too."""

    member_id: int


expose(MemberEnrolled, "member.enrolled", MemberEnrolledMessage, _l("Somebody accepted an invitation or a link."))
expose(MembersMerged, "member.merged", MembersMergedMessage, _l("Two records were found to be one person."))
expose(MergeUndone, "member.merge_undone", MergeUndoneMessage, _l("A merge was taken back."))
expose(MemberErased, "member.erased", MemberErasedMessage, _l("A person's data was erased."))
expose(
    ConsentChanged, "consent.changed", ConsentChangedMessage, _l("Somebody agreed to be addressed, or took that back.")
)
