"""What the channels do when a lower floor has something to tell a member."""

from __future__ import annotations

from kernel.db import db
from kernel.events import subscribe
from kernel.notices import Notice, NoticeWritten

from . import services


@subscribe(NoticeWritten)
def deliver_notice(event: NoticeWritten) -> None:
    """Put a notice into the member's inbox, once."""
    notice = db.session.get(Notice, event.notice_id)
    if notice is not None:
        services.put_into_inbox(
            notice.member_id, f"notice:{notice.id}", notice.kind, notice.title, notice.body, notice.path
        )
