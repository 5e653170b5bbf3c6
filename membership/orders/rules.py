"""Pure decisions about orders: which report is newer, what counts, and when."""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta

from kernel.errors import Refusal
from kernel.i18n import lazy_gettext as _l

from .models import OrderState, Payment

# After delivery a buyer may send things back for so long; an order counts for tiers from its end.
AFTER_SALE = timedelta(days=7)
# A file publishes deliveries (and refunds) one by one only when they are no older than this.
FRESH = timedelta(days=14)
# No order, price or refund is larger; whatever is, is a slip of the decimal point.
LARGEST_AMOUNT = 100_000_000_00
MOST_PIECES = 1_000_000
MOST_LINES = 2_000
# A report may be this far ahead of our clock before it is taken for a mistake.
AHEAD = timedelta(hours=24)

# How far an order has come; of two reports with the same instant the one further on is the newer.
STEP = {
    OrderState.PLACED: 0,
    OrderState.PAID: 1,
    OrderState.SHIPPED: 2,
    OrderState.DELIVERED: 3,
    OrderState.COMPLETED: 4,
    OrderState.REFUSED: 5,
    OrderState.CLOSED: 6,
}
# States in which the shop has the money, cash on delivery apart.
PAID_STATES = (OrderState.PAID, OrderState.SHIPPED, OrderState.DELIVERED, OrderState.COMPLETED)
ARRIVED_STATES = (OrderState.DELIVERED, OrderState.COMPLETED)

# What a source's name is wholly made of. Feeds, files, tills and checkouts are held to the same, for what is said of an order under
# another name never meets it.
SOURCE = r"[a-z0-9][a-z0-9_-]{0,31}"


class SourceInvalid(Refusal):
    status = 422
    label = _l("A source is 1 to 32 small letters, digits, - and _, such as taobao or own-shop.")


def version_mark(state: OrderState, reported_refund: int, content: str) -> str:
    """What decides between two reports of one order with the same `version_at`: the greater text (compared by code point)
    is the newer. First the state that is further on, then the larger refund, then, so that any order of arrival ends
    alike, a digest of the content. Equal marks mean equal content."""
    digest = hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{STEP[state]}{reported_refund:013d}{digest[:24]}"


def paid_at_for(
    state: OrderState,
    payment: Payment,
    placed_at: datetime,
    paid_at: datetime | None,
    arrived_at: datetime | None,
) -> datetime | None:
    """When an order was paid, where its report leaves that out: with the placing, or at the door."""
    if paid_at is not None or state not in PAID_STATES:
        return paid_at
    if payment is Payment.ON_DELIVERY:
        return (arrived_at or placed_at) if state in ARRIVED_STATES else None
    return placed_at


def wholly_refunded(paid_amount: int, postage: int, refunded_amount: int) -> bool:
    """Whether nothing of the goods is left; postage is often kept."""
    return refunded_amount > 0 and refunded_amount >= paid_amount - postage


def spend_of(paid_amount: int, postage: int, refunded_amount: int) -> int:
    """What an order adds to its member's spend: paid − postage − refunded, never below zero."""
    return max(0, paid_amount - postage - refunded_amount)


def counts(state: OrderState, paid_at: datetime | None, paid_amount: int, postage: int, refunded_amount: int) -> bool:
    """Whether an order is one of its member's orders: paid, neither closed nor refused, not wholly refunded."""
    return state in PAID_STATES and paid_at is not None and not wholly_refunded(paid_amount, postage, refunded_amount)


def qualifies_at(
    state: OrderState,
    paid_at: datetime | None,
    delivered_at: datetime | None,
    completed_at: datetime | None,
    after_sale: timedelta = AFTER_SALE,
) -> datetime | None:
    """The instant from which an order counts for tiers: completed, or the end of the after-sale window; None while neither
    is known."""
    if paid_at is None or state not in ARRIVED_STATES:
        return None
    instants = [delivered_at + after_sale] if delivered_at is not None else []
    if state is OrderState.COMPLETED and completed_at is not None:
        instants.append(completed_at)
    return min(instants, default=None)
