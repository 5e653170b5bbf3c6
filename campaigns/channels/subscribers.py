"""What the channels do when a lower floor has something to tell a member, or a group robot something to pass on."""

from __future__ import annotations

from community.posts.events import PostPublished
from community.posts.models import Post
from kernel.db import db
from kernel.events import subscribe
from kernel.i18n import LOCALES, forced_locale
from kernel.i18n import gettext as _
from kernel.notices import Notice, NoticeWritten

from . import jobs, services
from .events import ChannelPaused
from .services import postings


@subscribe(NoticeWritten)
def deliver_notice(event: NoticeWritten) -> None:
    """Put a notice into the member's inbox, once."""
    notice = db.session.get(Notice, event.notice_id)
    if notice is not None:
        services.put_into_inbox(
            notice.member_id, f"notice:{notice.id}", notice.kind, notice.title, notice.body, notice.path
        )


@subscribe(PostPublished)
def pass_on_post(event: PostPublished) -> None:
    """Let the robots of the groups' chats say a post that has appeared, once in each chat."""
    post = db.session.get(Post, event.post_id)
    if post is None or post.automatic:
        return
    for robot in postings.robots(group_ids=event.group_ids):
        body = "\n".join(part for part in (post.body, post.link_url) if part)
        postings.queue(robot.id, f"post:{post.id}", post.title, body)
        jobs.say.later()


@subscribe(ChannelPaused)
def tell_of_pause(event: ChannelPaused) -> None:
    """Tell the staff that a channel stands still."""
    account = services.get_account(event.account_id)
    with forced_locale(LOCALES[0]):
        title = str(_("The channel %(name)s stands still", name=services.shown_name(account)))
        body = str(_("%(reason)s. What was to go over it waits and is not lost.", reason=event.reason))
    at = int(account.paused_at.timestamp()) if account.paused_at is not None else 0
    if services.tell_staff(f"paused:{account.id}:{at}", title, body, f"/console/channels/{account.id}"):
        jobs.say.later()
