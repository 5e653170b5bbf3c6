"""What the answers learn from conversations."""

from __future__ import annotations

from community.conversations.events import ConversationAnswered, ConversationHandedOver
from kernel.events import subscribe

from . import services


@subscribe(ConversationAnswered)
def suggest_phrasing(event: ConversationAnswered) -> None:
    if event.question_id is not None:
        services.note_answer(event.member_id, event.staff_id, event.question_id, event.message_id)


@subscribe(ConversationHandedOver)
def count_hand_over(event: ConversationHandedOver) -> None:
    services.note_handed_over(event.conversation_id)
