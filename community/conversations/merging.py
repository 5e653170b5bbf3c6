"""How a merge brings conversations along: one that is not over a person; the one that was written in last goes on."""

from __future__ import annotations

from sqlalchemy import select

from kernel.db import db
from kernel.i18n import gettext as _
from kernel.i18n import lazy_gettext as _l
from membership.members.services import merge

from .models import Conversation, Ending, TalkState


@merge.follower(Conversation.member_id)
def follow_conversations(merging: merge.Merging) -> None:
    live = db.session.scalars(
        select(Conversation)
        .where(Conversation.member_id.in_(merging.pair), Conversation.state != TalkState.CLOSED)
        .order_by(Conversation.last_at.desc(), Conversation.id.desc())
        .with_for_update()
        .execution_options(populate_existing=True)
    ).all()
    for spare in live[1:]:
        with merging.watching(Conversation, Conversation.id == spare.id, unit=f"talk:{spare.id}"):
            spare.state, spare.closed_at, spare.closed_by = TalkState.CLOSED, merging.at, Ending.SILENCE
            spare.waits_since = None
            db.session.flush()
        merging.conflict(_("Both records have a conversation under way: the one written in last goes on."))
    merging.count(_l("Conversations"), merging.repoint(Conversation.member_id))
