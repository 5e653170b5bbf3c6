"""What conversations have under somebody's name, for a hand-over."""

from __future__ import annotations

from kernel import clock
from kernel.i18n import lazy_gettext as _l
from kernel.staff.handover import Area, handover

from .models import Conversation, TalkState


@handover.fill
def areas() -> list[Area]:
    """Conversations that are under way. Since when the member waits stays as it is."""
    return [
        Area(
            "conversations",
            _l("Conversations under way"),
            Conversation.assignee_id,
            lambda: [Conversation.state == TalkState.OPEN],
            asks="talks.handle",
            icon="messages",
            also=lambda: {"assigned_at": clock.now()},
        )
    ]
