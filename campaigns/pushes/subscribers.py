"""What pushes do when a channel tells what became of a message."""

from __future__ import annotations

from campaigns.channels.events import MessageConfirmed
from kernel.errors import NotFound
from kernel.events import subscribe

from . import services


@subscribe(MessageConfirmed)
def note_confirmed(event: MessageConfirmed) -> None:
    """Write down what a person did with a message that was handed to them; what was ended meanwhile stays as it is."""
    try:
        services.confirm(event.delivery_id, event.done, event.staff_id, None if event.done else event.reason)
    except (services.TooLate, NotFound):
        return
