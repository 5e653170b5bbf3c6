"""Recurring work of the conversations."""

from __future__ import annotations

from kernel.jobs import every, job

from . import services


@every(20)
@job()
def hand_out_conversations() -> None:
    """Give out what waits, to whoever has room by now."""
    services.hand_out()


@every(300)
@job()
def end_silent_conversations() -> None:
    """End conversations in which nobody writes any more."""
    services.close_silent()
