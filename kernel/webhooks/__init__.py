"""Outgoing webhooks: other programs are told what happens here, signed after the Standard Webhooks scheme, at least once.

A room exposes an event under a public type, in its `webhooks.py`; a message that only repeats fields of the event is enough:

    class GiftClaimedMessage(Strict): ...
    expose(GiftClaimed, "gift.claimed", GiftClaimedMessage, _l("A member has taken a gift up."))

    class OrderRecordedHook(Strict): ...
    def order_recorded(event: OrderRecorded) -> OrderRecordedHook | None: ...
    expose(OrderRecorded, "order.recorded", order_recorded, _l("A paid order has come in."))

    event ── its delivery (kernel/events.py) ──> one `webhook_delivery` row an endpoint     the same transaction
    worker ── claim with a lease → POST with no session open → record the outcome           one transaction each

An endpoint that nobody has made costs nothing: `events.only_if` keeps deliveries to `spread` from being written.
"""

from __future__ import annotations

from flask import Flask

from .registry import Exposed, expose, exposed_types, find_exposed

__all__ = ["Exposed", "expose", "exposed_types", "find_exposed", "init_app"]


def init_app(app: Flask) -> None:
    """Load the tables and jobs, open the pages, and say on the first page which endpoint fails."""
    from . import brief, console, jobs, models, registry  # noqa: F401

    console.init_app(app)
    brief.init()
    registry.describe()
