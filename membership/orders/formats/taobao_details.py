"""Taobao's and Tmall's export of order details: a line for each 子订单, which adds its products to an order of the list.

The old export has the order's number and no sums; that of 2021 has numbers of its own, what was paid for each line, and
what of it was given back. A file of details makes no order: its lines wait for theirs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from .. import rules
from ..models import OrderState
from . import cells, gathering, reading, taobao
from .cells import CellRefused
from .drafts import DetailDraft, Entry, Fault, LineDraft, Reason
from .sheet import Row, Sheet, check_columns, has_columns, places

ORDER = "订单编号"
SUB_ORDER = "子订单编号"
MAIN_ORDER = "主订单编号"
TITLE = "标题"
PRICE = "价格"
PIECES = "购买数量"
OUTER_CODE = "外部系统编号"
SELLER_CODE = "商家编码"
STATE = "订单状态"
TO_PAY = "买家应付货款"
PAID = "买家实际支付金额"
REFUND_STATE = "退款状态"
REFUND = "退款金额"
PLACED = "订单创建时间"
PAID_AT = "订单付款时间"

KNOWN = (
    ORDER, SUB_ORDER, MAIN_ORDER, TITLE, PRICE, PIECES, OUTER_CODE, SELLER_CODE, STATE, TO_PAY, PAID, REFUND_STATE,
    REFUND, PLACED, PAID_AT,
)  # fmt: skip
SPELLINGS = {name: name for name in KNOWN}
OLD = (ORDER, TITLE, PRICE, PIECES, STATE)
NEW = (MAIN_ORDER, SUB_ORDER, TITLE, PRICE, PIECES, STATE)
LAYOUTS = (NEW, OLD)
# A report that names no moment is older than any that does.
NEVER = datetime(2000, 1, 1, tzinfo=UTC)


def recognises(heading: Sequence[str]) -> bool:
    """Whether a heading is one of this format's: lines of orders with a title and a price each."""
    return has_columns(heading, SPELLINGS, LAYOUTS)


def check(heading: Sequence[str]) -> None:
    """Refuses with `FileUnreadable` a heading that lacks columns or repeats some."""
    check_columns(heading, SPELLINGS, LAYOUTS)


def entries(sheet: Sheet, now: datetime) -> Iterator[Entry]:
    """The lines of each order together. `now` (aware UTC) decides which moments lie in the future.

    Refuses with `FileUnreadable` when columns are missing or repeated.
    """
    check(sheet.heading)
    found, _repeated = places(sheet.heading, SPELLINGS)
    number = MAIN_ORDER if MAIN_ORDER in found else ORDER
    for key, rows in gathering.orders(sheet, found[number]):
        yield _order(key, rows, number, found, len(sheet.heading), now)


@dataclass(frozen=True, slots=True)
class _SubOrder:
    line: LineDraft
    state: OrderState
    refunded: int
    at: datetime


def _order(key: str, rows: list[Row], number: str, found: dict[str, int], width: int, now: datetime) -> Entry:
    read: list[_SubOrder] = []
    faults: dict[int, Fault] = {}
    for place, row in enumerate(rows):
        try:
            if place >= rules.MOST_LINES:
                raise CellRefused("", Reason.TOO_MANY_LINES)
            reading.check_width(row, width)
            read.append(_sub_order(taobao.Line(row, found, now), number))
        except CellRefused as refused:
            faults[row.line] = reading.fault_of(row, refused)
    if faults:
        return reading.rejected(key, rows, faults)
    return DetailDraft(
        external_id=key,
        version_at=max(one.at for one in read),
        step=sum(rules.STEP[one.state] for one in read),
        # The sequence of the file says nothing; in one of our own, equal reports are equal.
        lines=tuple(
            sorted(
                (one.line for one in read),
                key=lambda one: (one.sku, one.title, one.unit_price, one.amount, one.quantity),
            )
        ),
        refunded_amount=sum(one.refunded for one in read),
        rows=len(rows),
    )


def _sub_order(line: taobao.Line, number: str) -> _SubOrder:
    cells.number(number, line.cell(number))
    title = line.text(TITLE, reading.LONGEST_TITLE)
    code = line.text(SELLER_CODE, reading.LONGEST_SKU) or line.text(OUTER_CODE, reading.LONGEST_SKU)
    if not title and not code:
        raise CellRefused(TITLE, Reason.EMPTY)
    pieces = cells.quantity(PIECES, line.cell(PIECES))
    price = line.needed_amount(PRICE)
    state, gone = line.state()
    total = line.amount(PAID) if line.has(PAID) else line.amount(TO_PAY) if line.has(TO_PAY) else None
    refunded = 0
    if line.has(REFUND) and (not line.has(REFUND_STATE) or "成功" in line.cell(REFUND_STATE)):
        refunded = line.amount(REFUND)
    elif gone and total is not None:
        refunded = total
    if line.has(PAID) and refunded > line.amount(PAID):
        raise CellRefused(REFUND, Reason.REFUND_TOO_LARGE, line.cell(REFUND))
    moments = [at for at in (line.moment(PLACED), line.moment(PAID_AT)) if at is not None]
    return _SubOrder(
        LineDraft(code or title[: reading.LONGEST_SKU], title or code, pieces, price, total=total),
        state,
        refunded,
        max(moments, default=NEVER),
    )
