"""Recurring work of the tickets."""

from __future__ import annotations

from kernel.jobs import every, job

from . import services


@every(60)
@job()
def hand_out_tickets() -> None:
    """Give out what nobody has, to whoever has room by now."""
    services.hand_out()


@every(300)
@job()
def see_to_time() -> None:
    """Close what was resolved a while ago, and bring up returns whose parcel is not back."""
    services.close_due()
    services.remind_returns()
