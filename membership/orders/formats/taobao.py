"""Order exports of Taobao and Tmall: the seller's order list (41 or 37 columns) and the two reports made from it.

One line is one order. What has to be known about them: names in the heading are padded with blanks; numbers may come as
`="123"` and phones with an apostrophe before them; the report of Tmall shows what was paid *after* refunds, so the sum
paid is the two together; the shop report has no order number at all, so one is made from what does not change.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime

from .. import rules
from ..models import OrderState, Payment
from . import cells
from .cells import CellRefused
from .drafts import Buyer, Entry, LineDraft, OrderDraft, Reason, RejectedDraft, version_at
from .reading import check_width, fault_of
from .sheet import Row, Sheet, check_columns, places

ORDER = "订单编号"
NICK = "买家会员名"
BUYER = "买家昵称"
STATE = "订单状态"
PAID = "买家实际支付金额"
TOTAL = "总金额"
POSTAGE = "买家应付邮费"
PLACED = "订单创建时间"
PAID_AT = "订单付款时间"
REFUND = "退款金额"
TITLE = "宝贝标题"
PIECES = "宝贝总数量"
NAME = "收货人姓名"
ADDRESS = "收货地址"
PHONE = "联系手机"
OTHER_PHONE = "联系电话"
DELIVERY = "运送方式"
# The shop report's own names.
REPORT_PAID_AT = "付款日期"
REPORT_PAID = "实付金额"
REPORT_POSTAGE = "邮费"
REPORT_PIECES = "购买数量"
PROVINCE = "省份"
CITY = "城市"
BRAND = "品牌名称"

KNOWN = (
    ORDER, NICK, BUYER, STATE, PAID, TOTAL, POSTAGE, PLACED, PAID_AT, REFUND, TITLE, PIECES, NAME, ADDRESS, PHONE,
    OTHER_PHONE, DELIVERY, REPORT_PAID_AT, REPORT_PAID, REPORT_POSTAGE, REPORT_PIECES, PROVINCE, CITY, BRAND,
)  # fmt: skip
SPELLINGS = {name: name for name in KNOWN} | {
    "支付金额": PAID,
    "收货人": NAME,
    "订单号": ORDER,
    "订单创建日期": PLACED,
    "下单时间": PLACED,
}

# The seller's list, Tmall's report, the shop report; each needs these columns.
LIST = (ORDER, STATE, PAID, PLACED)
TMALL_REPORT = (ORDER, TOTAL, PAID, PLACED, REFUND)
SHOP_REPORT = (BUYER, REPORT_PAID_AT, STATE, REPORT_PAID)
LAYOUTS = (LIST, TMALL_REPORT, SHOP_REPORT)

REFUNDED = "付款以后用户退款成功，交易自动关闭"
STATES = {
    "等待买家付款": OrderState.PLACED,
    "买家已付款，等待卖家发货": OrderState.PAID,
    "买家已付款": OrderState.PAID,
    "卖家部分发货": OrderState.PAID,
    "卖家已发货，等待买家确认": OrderState.SHIPPED,
    "卖家已发货": OrderState.SHIPPED,
    "买家已签收": OrderState.DELIVERED,
    "交易成功": OrderState.COMPLETED,
    "交易关闭": OrderState.CLOSED,
    "付款以前，卖家或买家主动关闭交易": OrderState.CLOSED,
    "没有创建支付宝交易": OrderState.PLACED,
    "买家拒签": OrderState.REFUSED,
    REFUNDED: OrderState.CLOSED,
}


def layout_of(heading: Sequence[str]) -> tuple[str, ...] | None:
    """Which of the three layouts a heading has, or None."""
    found, _repeated = places(heading, SPELLINGS)
    return next((layout for layout in LAYOUTS if set(layout) <= found.keys()), None)


def recognises(heading: Sequence[str]) -> bool:
    """Whether a heading is one of this format's."""
    return layout_of(heading) is not None


def check(heading: Sequence[str]) -> None:
    """Refuses with `FileUnreadable` a heading that lacks columns of the layout it comes nearest to, or repeats some."""
    check_columns(heading, SPELLINGS, LAYOUTS)


def entries(sheet: Sheet, now: datetime) -> Iterator[Entry]:
    """Every line of the file as an order. `now` (aware UTC) decides which moments lie in the future.

    Refuses with `FileUnreadable` when columns are missing or repeated.
    """
    check(sheet.heading)
    found, _repeated = places(sheet.heading, SPELLINGS)
    layout = layout_of(sheet.heading) or LIST
    width = len(sheet.heading)
    alike: Counter[bytes] = Counter()
    for row in sheet.rows():
        line = Line(row, found, now)
        try:
            check_width(row, width)
            yield _shop_report(line, alike) if layout is SHOP_REPORT else _listed(line, layout)
        except CellRefused as refused:
            yield RejectedDraft(line.text(ORDER, 64, refuse=False), (fault_of(row, refused),))


class Line:
    """One row's cells by name."""

    def __init__(self, row: Row, found: dict[str, int], now: datetime) -> None:
        self.row = row
        self.found = found
        self.now = now

    def cell(self, name: str) -> str:
        place = self.found.get(name)
        return self.row.cells[place] if place is not None and place < len(self.row.cells) else ""

    def has(self, name: str) -> bool:
        return not cells.is_nothing(cells.unwrapped(self.cell(name)))

    def text(self, name: str, longest: int, refuse: bool = True) -> str:
        try:
            return cells.text(name, cells.unwrapped(self.cell(name)), longest) if self.has(name) else ""
        except CellRefused:
            if refuse:
                raise
            return ""

    def amount(self, name: str) -> int:
        return cells.amount(name, self.cell(name)) if self.has(name) else 0

    def needed_amount(self, name: str) -> int:
        if not self.has(name):
            raise CellRefused(name, Reason.EMPTY)
        return self.amount(name)

    def moment(self, name: str) -> datetime | None:
        return cells.moment(name, self.cell(name), self.now) if self.has(name) else None

    def needed_moment(self, name: str) -> datetime:
        if not self.has(name):
            raise CellRefused(name, Reason.EMPTY)
        return cells.moment(name, self.cell(name), self.now)

    def state(self) -> tuple[OrderState, bool]:
        """The state, and whether it says that everything was refunded."""
        said = "".join(cells.unwrapped(self.cell(STATE)).split()).replace(",", "，")
        state = STATES.get(said)
        if state is None:
            raise CellRefused(STATE, Reason.STATE_UNKNOWN if said else Reason.EMPTY, said)
        return state, said == REFUNDED

    def lines(self, sku: str, title: str, pieces: str, goods_amount: int) -> tuple[LineDraft, ...]:
        quantity = cells.quantity(pieces, self.cell(pieces)) if self.has(pieces) else 1
        if not title and not self.has(pieces):
            return ()
        return (LineDraft(sku, title, quantity, goods_amount // quantity, goods=bool(sku), total=goods_amount),)


def _listed(line: Line, layout: tuple[str, ...]) -> OrderDraft:
    """A line of the seller's list or of Tmall's report."""
    external_id = cells.number(ORDER, line.cell(ORDER))
    placed_at = line.needed_moment(PLACED)
    paid_at = line.moment(PAID_AT)
    if paid_at is not None and paid_at < placed_at:
        raise CellRefused(PAID_AT, Reason.MOMENT_ORDER, line.cell(PAID_AT))
    paid = line.needed_amount(PAID)
    refund = line.amount(REFUND)
    postage = line.amount(POSTAGE)
    payment = Payment.ON_DELIVERY if "货到付款" in line.text(DELIVERY, 200) else Payment.ONLINE
    if layout is TMALL_REPORT:
        paid += refund
        if paid_at is None:
            state = OrderState.PLACED
        else:
            state = OrderState.CLOSED if refund and refund >= paid else OrderState.PAID
    else:
        state, gone = line.state()
        if gone:
            refund = max(refund, paid)
        if state in rules.PAID_STATES:
            paid_at = rules.paid_at_for(state, payment, placed_at, paid_at, None)
    if refund > paid:
        raise CellRefused(REFUND, Reason.REFUND_TOO_LARGE, line.cell(REFUND))
    if state is OrderState.PLACED:
        # What an unpaid order would come to is not money that anybody has.
        paid = 0
    postage = min(postage, paid)
    title = line.text(TITLE, 200)
    address = line.text(ADDRESS, 400)
    buyer = Buyer(
        number=line.text(NICK, 100) or None,
        nickname=line.text(NICK, 100),
        name=line.text(NAME, 80),
        phone=cells.phone(PHONE, line.cell(PHONE)) or cells.phone(OTHER_PHONE, line.cell(OTHER_PHONE)),
        city=_city(address),
        address=address if layout is LIST else "",
    )
    return _draft(external_id, state, payment, placed_at, paid_at, paid, postage, refund, buyer,
                  line.lines(title[:80], title, PIECES, max(0, paid - postage)))  # fmt: skip


def _shop_report(line: Line, alike: Counter[bytes]) -> OrderDraft:
    """A line of the report that has no order number.

    The number is made from buyer, instant and sums, which do not change when the state does; equal lines are different
    orders and are told apart by counting them.
    """
    paid_at = line.needed_moment(REPORT_PAID_AT)
    paid = line.needed_amount(REPORT_PAID)
    postage = min(line.amount(REPORT_POSTAGE), paid)
    state, gone = line.state()
    nick = line.text(BUYER, 100)
    pieces = cells.quantity(REPORT_PIECES, line.cell(REPORT_PIECES)) if line.has(REPORT_PIECES) else 1
    place = " ".join(dict.fromkeys(filter(None, (line.text(PROVINCE, 80), line.text(CITY, 80)))))
    stable = "\x1f".join((nick, paid_at.isoformat(), str(paid), str(postage), str(pieces), place))
    digest = hashlib.sha256(stable.encode()).digest()[:10]
    alike[digest] += 1
    nth = alike[digest]
    external_id = f"R{digest.hex()}" + (f"-{nth}" if nth > 1 else "")
    buyer = Buyer(number=nick or None, nickname=nick, city=line.text(CITY, 80))
    return _draft(external_id, state, Payment.ONLINE, paid_at, paid_at, paid, postage, paid if gone else 0, buyer,
                  line.lines("", line.text(BRAND, 200), REPORT_PIECES, paid - postage))  # fmt: skip


def _draft(
    external_id: str,
    state: OrderState,
    payment: Payment,
    placed_at: datetime,
    paid_at: datetime | None,
    paid: int,
    postage: int,
    refund: int,
    buyer: Buyer,
    lines: tuple[LineDraft, ...],
) -> OrderDraft:
    return OrderDraft(
        external_id=external_id,
        state=state,
        payment=payment,
        placed_at=placed_at,
        paid_at=paid_at,
        version_at=version_at(state, placed_at, paid_at),
        paid_amount=paid,
        postage=postage,
        refunded_amount=refund,
        buyer=buyer if buyer.known else None,
        lines=lines,
    )


def _city(address: str) -> str:
    """The city of an address written `浙江省 杭州市 西湖区 …`; for a municipality or a bare province the first part."""
    parts = address.split()
    if not parts:
        return ""
    return next((part for part in parts[:3] if part.endswith("市")), parts[0])[:80]
