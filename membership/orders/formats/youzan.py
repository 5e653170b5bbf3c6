"""Youzan's order export: a line for each order, UTF-8 with a byte-order mark.

What is empty is written in half a dozen ways, and phones of buyers may be masked: a masked phone says nothing about who
somebody is. Without a column for the state, an order is complete when it has a moment of success, and paid when money came.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

from .. import rules
from ..models import OrderState, Payment
from . import cells
from .cells import CellRefused
from .drafts import Buyer, Entry, OrderDraft, Reason, RejectedDraft, version_at
from .reading import LONGEST_SKU, check_width, fault_of
from .sheet import Sheet, check_columns, has_columns, places
from .taobao import Line

ORDER = "订单号"
PLACED = "订单创建时间"
NICK = "买家昵称"
IS_MEMBER = "买家是否会员"
PHONE = "买家手机号"
SUCCEEDED = "交易成功时间"
RECEIVED = "订单实收金额"
CHANNEL = "销售渠道"
ORIGIN = "订单来源"
# Seen in newer exports as well.
PROVINCE = "收货人省份"
CITY = "收货人城市"
PAID = "订单实付金额"
TITLES = "全部商品名称"
STATE = "订单状态"
PAID_AT = "买家付款时间"
POSTAGE = "运费"
REFUND = "订单已退款金额"
PIECES = "商品总数"
NAME = "收货人"

NEEDED = (ORDER, PLACED, NICK, IS_MEMBER, PHONE, SUCCEEDED, RECEIVED, CHANNEL, ORIGIN)
OPTIONAL = (PROVINCE, CITY, PAID, TITLES, STATE, PAID_AT, POSTAGE, REFUND, PIECES, NAME)
SPELLINGS = {name: name for name in (*NEEDED, *OPTIONAL)} | {
    "付款时间": PAID_AT,
    "订单付款时间": PAID_AT,
    "已退款金额": REFUND,
    "收货人姓名": NAME,
}
STATES = {
    "待付款": OrderState.PLACED,
    "待接单": OrderState.PAID,
    "待成团": OrderState.PAID,
    "待发货": OrderState.PAID,
    "部分发货": OrderState.PAID,
    "已付款": OrderState.PAID,
    "已发货": OrderState.SHIPPED,
    "待收货": OrderState.SHIPPED,
    "已签收": OrderState.DELIVERED,
    "已完成": OrderState.COMPLETED,
    "交易完成": OrderState.COMPLETED,
    "交易成功": OrderState.COMPLETED,
    "已关闭": OrderState.CLOSED,
    "交易关闭": OrderState.CLOSED,
    "交易取消": OrderState.CLOSED,
}


def recognises(heading: Sequence[str]) -> bool:
    """Whether a heading is this format's."""
    return has_columns(heading, SPELLINGS, (NEEDED,))


def check(heading: Sequence[str]) -> None:
    """Refuses with `FileUnreadable` a heading that lacks columns or repeats some."""
    check_columns(heading, SPELLINGS, (NEEDED,))


def entries(sheet: Sheet, now: datetime) -> Iterator[Entry]:
    """Every line of the file as an order. `now` (aware UTC) decides which moments lie in the future.

    Refuses with `FileUnreadable` when columns are missing or repeated.
    """
    check(sheet.heading)
    found, _repeated = places(sheet.heading, SPELLINGS)
    width = len(sheet.heading)
    for row in sheet.rows():
        line = Line(row, found, now)
        try:
            check_width(row, width)
            yield _order(line)
        except CellRefused as refused:
            yield RejectedDraft(line.text(ORDER, 64, refuse=False), (fault_of(row, refused),))


def _order(line: Line) -> OrderDraft:
    external_id = cells.number(ORDER, line.cell(ORDER))
    placed_at = line.needed_moment(PLACED)
    paid_at, completed_at = line.moment(PAID_AT), line.moment(SUCCEEDED)
    for column, at in ((PAID_AT, paid_at), (SUCCEEDED, completed_at)):
        if at is not None and at < placed_at:
            raise CellRefused(column, Reason.MOMENT_ORDER, line.cell(column))
    received = line.needed_amount(RECEIVED)
    # What the buyer paid is the sum, where the export has it beside what the shop got of it.
    paid = max(received, line.amount(PAID))
    refund = line.amount(REFUND)
    if refund > paid:
        raise CellRefused(REFUND, Reason.REFUND_TOO_LARGE, line.cell(REFUND))
    state = _state(line, completed_at, paid)
    if state is OrderState.PLACED:
        paid = refund = 0
    if state in rules.PAID_STATES:
        paid_at = paid_at or placed_at
    postage = min(line.amount(POSTAGE), paid)
    nickname = line.text(NICK, 80)
    buyer = Buyer(
        # A nickname is no account here: two people may share one.
        nickname=nickname,
        name=line.text(NAME, 80),
        phone=cells.phone(PHONE, line.cell(PHONE)),
        city=line.text(CITY, 80) or line.text(PROVINCE, 80),
    )
    title = line.text(TITLES, 200)
    return OrderDraft(
        external_id=external_id,
        state=state,
        payment=Payment.ONLINE,
        placed_at=placed_at,
        paid_at=paid_at,
        completed_at=completed_at if state is OrderState.COMPLETED else None,
        version_at=version_at(state, placed_at, paid_at, completed_at=completed_at),
        paid_amount=paid,
        postage=postage,
        refunded_amount=refund,
        buyer=buyer if buyer.known else None,
        lines=line.lines(title[:LONGEST_SKU], title, PIECES, paid - postage) if title else (),
    )


def _state(line: Line, completed_at: datetime | None, paid: int) -> OrderState:
    """The state as the export says it, or as its moments and sums do."""
    if line.has(STATE):
        said = "".join(cells.unwrapped(line.cell(STATE)).split())
        state = STATES.get(said)
        if state is None:
            raise CellRefused(STATE, Reason.STATE_UNKNOWN, said)
        return state
    if completed_at is not None:
        return OrderState.COMPLETED
    return OrderState.PAID if paid else OrderState.PLACED
