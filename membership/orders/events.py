"""What happens to orders."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from kernel.events import Event


@dataclass(frozen=True, kw_only=True)
class OrderRecorded(Event):
    """A paid order is new here, reported singly (not by a file). `amount` is what was paid, in 分."""

    order_id: int
    member_id: int | None
    source: str
    external_id: str
    amount: int


@dataclass(frozen=True, kw_only=True)
class OrderShipped(Event):
    """The parcel is on its way. Files publish it only for parcels of the last fourteen days that have not arrived yet."""

    order_id: int
    member_id: int | None
    shipped_at: datetime
    external_id: str = ""


@dataclass(frozen=True, kw_only=True)
class OrderDelivered(Event):
    """The parcel has arrived: the after-sale moment. Files publish it only for deliveries of the last fourteen days."""

    order_id: int
    member_id: int | None
    delivered_at: datetime
    external_id: str = ""


@dataclass(frozen=True, kw_only=True)
class OrderCompleted(Event):
    """An order reported singly is complete: nothing can be sent back any more."""

    order_id: int
    member_id: int | None
    external_id: str = ""


@dataclass(frozen=True, kw_only=True)
class OrderUpdated(Event):
    """A newer report of an order came singly; also told of the member whom the order left, if it did."""

    order_id: int
    member_id: int | None


@dataclass(frozen=True, kw_only=True)
class OrderRefused(Event):
    """The parcel was refused at the door (拒签)."""

    order_id: int
    member_id: int | None
    external_id: str = ""


@dataclass(frozen=True, kw_only=True)
class OrderRefunded(Event):
    """Money was given back. `amount` is what was given back since the last report, in 分; `full`: nothing of the goods is left."""

    order_id: int
    member_id: int | None
    amount: int
    full: bool
    source: str
    external_id: str


@dataclass(frozen=True, kw_only=True)
class OrdersImported(Event):
    """A file has been taken in, to its end or as far as could be. Whose orders changed is told in slices: `BuyersChanged`.

    `ranked`: their tiers have been judged already, together with their sums.
    """

    run_id: int
    source: str
    orders_new: int
    orders_changed: int
    ranked: bool = False


@dataclass(frozen=True, kw_only=True)
class BuyersChanged(Event):
    """A file changed the orders of these members: some of all whom it concerns, to be looked at in one transaction."""

    member_ids: list[int]
