"""What the room does when something happened elsewhere."""

from __future__ import annotations

from community.groups.events import GroupClosed, GroupCopied
from kernel.events import subscribe

from . import services


@subscribe(GroupCopied)
def copy_sales(event: GroupCopied) -> None:
    """Let the sales of a group come along when its coupons were copied."""
    services.adopt_copies(event.group_id, event.from_group_id)


@subscribe(GroupClosed)
def end_sales(event: GroupClosed) -> None:
    """End what a group sells when it closes before its sales do."""
    services.stop_sales_of(event.group_id)
