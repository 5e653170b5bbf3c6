"""What this room keeps of people, column by column: see `membership.members.services.personal`."""

from __future__ import annotations

from sqlalchemy import select, update

from kernel import clock, files
from kernel.db import db
from kernel.i18n import lazy_gettext as _l
from membership.members.services import erasure
from membership.members.services.personal import Person, by, declare, through

from .models import Conversation, Ending, Message, TalkState

declare(
    Conversation,
    "id public_id member_id state assignee_id assigned_at released_by_id tries opened_at queued_at waits_since first_answered_at "
    "first_answered_by_id answer_seconds last_message_id seen_message_id last_from last_at closed_at closed_by ticket_id satisfaction "
    "rated_at",
    "satisfaction_note",
    rows=by(Conversation.member_id),
    label=_l("Conversations"),
)
declare(
    Message,
    "id conversation_id sender staff_id band choices answer_key shown link_url link_label at",
    "body picture",
    rows=through(Message.conversation_id, Conversation.id, Conversation.member_id),
    label=_l("What was said in conversations"),
)


@erasure.forgetters.fill
def end_conversations(person: Person) -> None:
    """Nobody answers somebody who is gone, and their pictures are removed; how long answers took stays counted."""
    theirs = select(Conversation.id).where(Conversation.member_id.in_(person.ids))
    pictures = select(Message.picture).where(Message.conversation_id.in_(theirs), Message.picture.is_not(None))
    files.drop_private([key for key in db.session.scalars(pictures) if key])
    db.session.execute(
        update(Conversation)
        .where(Conversation.member_id.in_(person.ids), Conversation.state != TalkState.CLOSED)
        .values(state=TalkState.CLOSED, closed_at=clock.now(), closed_by=Ending.SILENCE, waits_since=None)
        .execution_options(synchronize_session=False)
    )
