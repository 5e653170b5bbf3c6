"""Siyu's own order file: one line for each line of an order, columns in any order, the order's own values on every line
(or on its first line, and empty on the others).

Times are the shop's clock (`2026-03-01 10:30`) unless they carry an offset; amounts are yuan with at most two decimals.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

from .drafts import Entry
from .reading import Layout, OrderReader
from .sheet import Sheet, check_columns, has_columns, places

REQUIRED = ("order_no", "placed_at", "state", "paid_amount", "sku", "quantity", "unit_price")
OPTIONAL = (
    "paid_at",
    "shipped_at",
    "delivered_at",
    "completed_at",
    "closed_at",
    "updated_at",
    "payment",
    "postage",
    "discount",
    "refunded_amount",
    "buyer_id",
    "buyer_phone",
    "buyer_email",
    "buyer_nickname",
    "buyer_name",
    "buyer_city",
    "title",
)
COLUMNS = (*REQUIRED, *OPTIONAL)
OTHER_SPELLINGS = {
    "order_number": "order_no",
    "phone": "buyer_phone",
    "buyer_e_mail": "buyer_email",
    "buyer_e-mail": "buyer_email",
    "email": "buyer_email",
    "e_mail": "buyer_email",
    "nickname": "buyer_nickname",
    "customer_id": "buyer_id",
    "city": "buyer_city",
}
SPELLINGS = {name: name for name in COLUMNS} | OTHER_SPELLINGS


def recognises(heading: Sequence[str]) -> bool:
    """Whether a heading is this format's: order number, state, and a product."""
    return has_columns(heading, SPELLINGS, (("order_no", "state", "sku"),))


def check(heading: Sequence[str]) -> None:
    """Refuses with `FileUnreadable` a heading in which columns are missing or repeated."""
    check_columns(heading, SPELLINGS, (REQUIRED,))


def entries(sheet: Sheet, now: datetime) -> Iterator[Entry]:
    """Every order of the file once, in the order of their last lines; an order's lines may stand anywhere.

    `now` (aware UTC) decides which moments lie in the future. Refuses with `FileUnreadable` when columns are missing or
    repeated.
    """
    check(sheet.heading)
    return OrderReader(sheet, layout_of(sheet), now).entries()


def layout_of(sheet: Sheet) -> Layout:
    """Where a file of ours has what; its heading has been checked."""
    found, _repeated = places(sheet.heading, SPELLINGS)
    return Layout(width=len(sheet.heading), places=found, names={}, needed=REQUIRED)


# A file to start from; phones are at a prefix that no operator gives out.
TEMPLATE = (
    ",".join(COLUMNS)
    + "\n"
    + "A1001,2026-03-01 10:30,delivered,128.00,CUP-01,2,55.00,2026-03-01 10:31,2026-03-01 18:00,2026-03-04 09:12,,,,online,"
    "8.00,0,0,7781,+8612000000001,,小满,,杭州,青瓷茶杯\n"
    + "A1001,,,,TRAY-02,1,10.00,,,,,,,,,,,,,,,,,竹茶盘\n"
    + "A1002,2026-03-02 20:05,paid,79.00,TEA-09,1,79.00,2026-03-02 20:06,,,,,,online,0,0,0,,,lime@example.com,,,,桂花乌龙\n"
)
