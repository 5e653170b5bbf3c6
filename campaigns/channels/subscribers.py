"""What the channels do when a lower floor has something to tell a member, or a group robot something to pass on."""

from __future__ import annotations

from community.conversations import queries as conversations
from community.conversations.events import (
    ConversationAnswered,
    ConversationClosed,
    ConversationLooked,
    ConversationRated,
)
from community.conversations.models import Ending
from community.posts.events import PostPublished
from community.posts.models import Post
from community.tickets import labels as ticket_labels
from community.tickets import queries as tickets
from community.tickets.events import TicketAnswered, TicketLooked, TicketRated, TicketResolved
from community.tickets.models import EntryKind, TicketKind, TicketState
from kernel.db import db
from kernel.events import subscribe
from kernel.i18n import LOCALES, forced_locale
from kernel.i18n import gettext as _
from kernel.notices import Notice, NoticeWritten
from membership.members import queries as members

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


# ── Answers of the desk ─────────────────────────────────────────────────────────────────────────────────────────────


@subscribe(ConversationAnswered)
def tell_of_answer(event: ConversationAnswered) -> None:
    """Tell a member who does not sit before the page that somebody has answered, unless they have read it by now."""
    found = conversations.get_conversation(event.conversation_id)
    if found.seen_message_id >= event.message_id:
        return
    with forced_locale(members.get_member(found.member_id).locale):
        title, body = (
            str(_("We have answered you")),
            str(_("What you asked is answered. It waits for you on your page.")),
        )
    services.tell(found.member_id, f"conversation:{found.id}", title, body, f"/ask/{found.public_id}")


@subscribe(ConversationClosed)
def ask_how_it_was(event: ConversationClosed) -> None:
    """Ask a member how content they are with a conversation that a person had and that they did not end themselves."""
    found = conversations.get_conversation(event.conversation_id)
    if event.staff_id is None or event.ending == Ending.MEMBER or found.satisfaction is not None:
        return
    with forced_locale(members.get_member(found.member_id).locale):
        title = str(_("How was it?"))
        body = str(_("Your conversation with us is over. One tap tells us how satisfied you are."))
    services.ask_how(found.member_id, f"conversation:{found.id}", title, body, f"/ask/{found.public_id}")


@subscribe(ConversationLooked)
def note_conversation_looked_at(event: ConversationLooked) -> None:
    services.looked(f"conversation:{event.conversation_id}")


@subscribe(ConversationRated)
def note_conversation_rated(event: ConversationRated) -> None:
    """Whoever has said how content they are need not be asked."""
    services.looked(f"conversation:{event.conversation_id}")


@subscribe(TicketAnswered)
def tell_of_ticket(event: TicketAnswered) -> None:
    """Tell a member that the desk has written into their ticket, unless they have read it by now."""
    found = tickets.get_ticket(event.ticket_id)
    if tickets.last_spoken(found.id, (EntryKind.ANSWER,)) <= found.seen_entry_id:
        return
    with forced_locale(members.get_member(found.member_id).locale):
        kind = ticket_labels.KINDS[TicketKind(event.kind)]
        title, body = str(_("We have answered you")), str(_("There is news in your case: %(kind)s.", kind=kind))
    services.tell(found.member_id, f"ticket:{found.id}", title, body, f"/tickets/{found.public_id}")


@subscribe(TicketResolved)
def ask_how_it_went(event: TicketResolved) -> None:
    """Ask a member how content they are with what the desk has put right; who says so themselves is asked on the page."""
    found = tickets.get_ticket(event.ticket_id)
    if found.state is not TicketState.RESOLVED or found.satisfaction is not None:
        return
    with forced_locale(members.get_member(found.member_id).locale):
        kind = ticket_labels.KINDS[TicketKind(event.kind)]
        title = str(_("How did we do?"))
        body = str(_("We have dealt with your case (%(kind)s). Tell us how satisfied you are.", kind=kind))
    services.ask_how(found.member_id, f"ticket:{found.id}", title, body, f"/tickets/{found.public_id}")


@subscribe(TicketLooked)
def note_ticket_looked_at(event: TicketLooked) -> None:
    services.looked(f"ticket:{event.ticket_id}")


@subscribe(TicketRated)
def note_ticket_rated(event: TicketRated) -> None:
    """Whoever has said how content they are need not be asked, whatever page they said it on."""
    services.looked(f"ticket:{event.ticket_id}")
