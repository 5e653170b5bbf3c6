"""What follows when a gift is offered, sent or handed over: its member hears of it."""

from __future__ import annotations

from kernel.events import subscribe

from . import services
from .events import GiftDelivered, GiftOffered, GiftShipped


@subscribe(GiftOffered)
def tell_of_waiting_gift(event: GiftOffered) -> None:
    # Whoever has just joined a group sees the welcome gift on the page that says so.
    if not event.benefit.startswith("welcome:"):
        services.tell_waiting(event.claim_id)


@subscribe(GiftShipped)
def tell_of_shipped_gift(event: GiftShipped) -> None:
    services.tell_shipped(event.claim_id)


@subscribe(GiftDelivered)
def tell_of_handed_over_gift(event: GiftDelivered) -> None:
    if not event.at_once:
        services.tell_handed_over(event.claim_id)
