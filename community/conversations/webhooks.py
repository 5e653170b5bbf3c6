"""What other programs are told of conversations: that there is one and how it ended, never what was said."""

from __future__ import annotations

from kernel.http import Strict
from kernel.i18n import lazy_gettext as _l
from kernel.webhooks import expose

from .events import ConversationClosed, ConversationHandedOver


class ConversationMessage(Strict):
    conversation_id: int
    member_id: int


class ConversationClosedMessage(ConversationMessage):
    """`ending` is member, staff or silence."""

    ending: str


expose(ConversationHandedOver, "conversation.handed_over", ConversationMessage, _l("A customer waits for a person."))
expose(ConversationClosed, "conversation.closed", ConversationClosedMessage, _l("A conversation is over."))
