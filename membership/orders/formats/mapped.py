"""Any file of orders through a plan that staff made: which column is what, how dates and amounts are written.

A line is an order, or one product of an order whose other lines carry the same number. The plan is kept as JSON
(`ColumnMapping.plan`, `ImportRun.options["mapping"]`) and is checked whenever it is read.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from itertools import islice
from typing import Any

from ..models import OrderState, Payment
from . import cells, reading, taobao, youzan
from .cells import CellRefused, Dates
from .drafts import Entry, Reason
from .reading import Layout, OrderReader
from .sheet import FileUnreadable, Sheet, Wrong, name_of, some_rows

# Our columns, the needed ones first; the state may be a constant instead.
NEEDED = ("order_no", "placed_at", "paid_amount")
FIELDS = (
    *NEEDED, "state", "buyer_phone", "buyer_id", "buyer_nickname", "buyer_name", "buyer_email", "buyer_city", "buyer_address",
    "title", "sku", "quantity", "unit_price", "postage", "discount", "refunded_amount", "payment", "paid_at", "shipped_at",
    "delivered_at", "completed_at", "closed_at", "updated_at",
)  # fmt: skip
AMOUNTS = {"yuan": cells.amount, "comma": cells.comma_amount, "fen": cells.fen}

# How others call our columns; compared in lower case without blanks, underlines and brackets.
CALLED: dict[str, list[str]] = {
    ours: calls.split()
    for ours, calls in {
        "order_no": ("订单编号 订单号 主订单编号 交易编号 单号 order orderno ordernumber orderid order# transactionid"),
        "placed_at": (
            "订单创建时间 下单时间 创建时间 订单时间 订单日期 下单日期 日期 orderdate createdat placedat date ordertime"
        ),
        "paid_amount": (
            "买家实际支付金额 实付金额 支付金额 实付款 实收金额 订单金额 订单实付金额 金额 总金额 成交金额 paid paidamount "
            "total amount ordertotal grandtotal"
        ),
        "state": "订单状态 状态 交易状态 status orderstatus state",
        "buyer_phone": (
            "联系手机 手机 手机号 手机号码 电话 联系电话 买家手机号 收货人手机 客户手机 会员手机 phone mobile tel "
            "buyerphone"
        ),
        "buyer_id": ("客户编号 会员编号 买家id 会员id 用户id 客户id 会员号 customerid buyerid memberid userid"),
        "buyer_nickname": "买家会员名 买家昵称 昵称 会员名 用户名 旺旺 旺旺号 nickname buyer username",
        "buyer_name": "收货人姓名 收货人 姓名 客户姓名 客户 收件人 name customername customer recipient",
        "buyer_email": "邮箱 电子邮箱 email e-mail mail",
        "buyer_city": "城市 收货城市 收货人城市 city",
        "buyer_address": "收货地址 地址 详细地址 address",
        "title": ("宝贝标题 商品名称 商品标题 商品 标题 品名 全部商品名称 product productname item itemname title"),
        "sku": "商家编码 商品编码 货号 商品编号 规格编码 sku skuid productcode itemcode",
        "quantity": "宝贝总数量 购买数量 数量 件数 商品数量 quantity qty pieces count",
        "unit_price": "单价 价格 商品单价 售价 unitprice price",
        "postage": "买家应付邮费 邮费 运费 快递费 shipping postage freight",
        "discount": "优惠 优惠金额 折扣 discount discountamount",
        "refunded_amount": "退款金额 已退款金额 退款 refund refunded refundamount refundedamount",
        "payment": "支付方式 付款方式 payment paymentmethod",
        "paid_at": "订单付款时间 付款时间 支付时间 买家付款时间 付款日期 paidat paymenttime paymentdate",
        "shipped_at": "发货时间 shippedat shipdate fulfilledat",
        "delivered_at": "签收时间 收货时间 送达时间 deliveredat deliverydate",
        "completed_at": "交易成功时间 完成时间 成交时间 completedat",
        "closed_at": "关闭时间 取消时间 closedat cancelledat",
        "updated_at": "更新时间 修改时间 updatedat modifiedat",
    }.items()
}

# Words for states that mean the same wherever they stand; a plan may say otherwise.
STATE_WORDS: dict[str, OrderState] = {
    **taobao.STATES,
    **youzan.STATES,
    **{state.value: state for state in OrderState},
    "未付款": OrderState.PLACED,
    "待支付": OrderState.PLACED,
    "已支付": OrderState.PAID,
    "未发货": OrderState.PAID,
    "配送中": OrderState.SHIPPED,
    "运输中": OrderState.SHIPPED,
    "已收货": OrderState.DELIVERED,
    "已送达": OrderState.DELIVERED,
    "完成": OrderState.COMPLETED,
    "成功": OrderState.COMPLETED,
    "已取消": OrderState.CLOSED,
    "取消": OrderState.CLOSED,
    "关闭": OrderState.CLOSED,
    "拒收": OrderState.REFUSED,
    "已拒收": OrderState.REFUSED,
    "拒签": OrderState.REFUSED,
    "pending": OrderState.PLACED,
    "unpaid": OrderState.PLACED,
    "processing": OrderState.PAID,
    "fulfilled": OrderState.SHIPPED,
    "complete": OrderState.COMPLETED,
    "success": OrderState.COMPLETED,
    "cancelled": OrderState.CLOSED,
    "canceled": OrderState.CLOSED,
}
PAYMENT_WORDS: dict[str, Payment] = {
    "online": Payment.ONLINE,
    "on_delivery": Payment.ON_DELIVERY,
    "货到付款": Payment.ON_DELIVERY,
    "cod": Payment.ON_DELIVERY,
    "cashondelivery": Payment.ON_DELIVERY,
}


@dataclass(frozen=True)
class Plan:
    """How a file is read. `columns` names the file's column for each of ours, `states` what its words for states mean where
    that is not plain; `state` holds for all orders of a file that has none. `source` may be empty."""

    columns: dict[str, str] = field(default_factory=dict)
    state: str = ""
    source: str = ""
    dates: str = Dates.YMD.value
    unit: str = "yuan"
    states: dict[str, str] = field(default_factory=dict)

    @property
    def stored(self) -> dict[str, Any]:
        """As JSON keeps it."""
        return asdict(self)

    @property
    def missing(self) -> list[str]:
        """Our columns that the plan says nothing about and that no order can do without."""
        found = [name for name in NEEDED if name not in self.columns]
        return found if "state" in self.columns or self.state else [*found, "state"]


def plan_of(stored: Mapping[str, Any]) -> Plan:
    """A plan as it was stored; what no plan may say is left out."""
    columns = stored.get("columns") or {}
    states = stored.get("states") or {}
    known = set(OrderState)
    return Plan(
        columns={name: str(columns[name]) for name in FIELDS if columns.get(name)},
        state=stored["state"] if stored.get("state") in known else "",
        source=str(stored.get("source") or ""),
        dates=stored["dates"] if stored.get("dates") in set(Dates) else Dates.YMD.value,
        unit=stored["unit"] if stored.get("unit") in AMOUNTS else "yuan",
        states={str(word): str(state) for word, state in states.items() if state in known},
    )


def heading_key(heading: Sequence[str]) -> str:
    """What two headings have in common that a plan reads alike: the same columns, in whatever sequence."""
    names = sorted(filter(None, (name_of(cell) for cell in heading)))
    return hashlib.sha256("\x1f".join(names).encode("utf-8", "replace")).hexdigest()[:32]


def _plain(name: str) -> str:
    return "".join(c for c in unicodedata.normalize("NFKC", name).lower() if c not in " \t_-()[]【】:：./")


def guessed(heading: Sequence[str], rows: Sequence[Sequence[str]] = ()) -> Plan:
    """The plan that the names of the columns suggest, with the way of writing dates and amounts that the first `rows` allow.

    A suggestion only: whoever looks at the preview decides.
    """
    names = [name_of(cell) for cell in heading]
    plain = {_plain(name): name for name in reversed(names) if name}
    taken: set[str] = set()
    columns: dict[str, str] = {}
    for ours, calls in CALLED.items():
        for call in (_plain(ours), *calls):
            name = plain.get(_plain(call))
            if name is not None and name not in taken:
                columns[ours] = name
                taken.add(name)
                break
    at = {name: place for place, name in reversed(list(enumerate(names)))}

    def shown(ours: str) -> list[str]:
        place = at.get(columns.get(ours, ""))
        texts = [row[place] for row in rows if place is not None and place < len(row)]
        return [text.strip() for text in texts if not cells.is_nothing(cells.unwrapped(text))]

    return Plan(columns=columns, dates=_dates_in(shown("placed_at")), state="" if "state" in columns else "completed")


def _dates_in(texts: Sequence[str]) -> str:
    """The first way of writing dates that all the texts follow."""
    far = datetime.max.replace(tzinfo=UTC)
    for dates in Dates:
        try:
            for text in texts:
                cells.moment("", text, far - 2 * reading.EXPECTED_WITHIN, dates=dates, day_only=True)
        except CellRefused:
            continue
        return dates.value
    return Dates.YMD.value


def states_in(sheet: Sheet, plan: Plan, most: int = 40) -> list[str]:
    """The words for states in the file that are not plain by themselves, the most at once."""
    place = _place_of(sheet.heading, plan.columns.get("state", ""))
    if place is None:
        return []
    found: dict[str, None] = {}
    for row in sheet.rows():
        word = _word(row.cells[place]) if place < len(row.cells) else ""
        if word and word not in found and word.lower() not in STATE_WORDS and len(word) <= 60:
            found[word] = None
            if len(found) >= most:
                break
    return list(found)


def _word(cell: str) -> str:
    return "".join(cells.unwrapped(cell).split()).replace(",", "，")


def _place_of(heading: Sequence[str], name: str) -> int | None:
    return next((place for place, cell in enumerate(heading) if name and name_of(cell) == name), None)


def check(sheet: Sheet) -> None:
    """Refuses with `FileUnreadable` a file without the columns of its plan, and a plan that lacks what every order needs."""
    plan = plan_of(sheet.options.get("mapping", {}))
    names = [name_of(cell) for cell in sheet.heading]
    missing = plan.missing or sorted({name for name in plan.columns.values() if name not in names})
    if missing:
        raise FileUnreadable(Wrong.COLUMNS_MISSING, columns=", ".join(missing))
    repeated = sorted({name for name in plan.columns.values() if names.count(name) > 1})
    if repeated:
        raise FileUnreadable(Wrong.COLUMNS_REPEATED, columns=", ".join(repeated))


def entries(sheet: Sheet, now: datetime) -> Iterator[Entry]:
    """Every order of the file once, read as `sheet.options["mapping"]` says. `now` (aware UTC) decides which moments lie in
    the future. Refuses with `FileUnreadable` when columns are missing or repeated."""
    return _reader(sheet, now).entries()


def previewed(sheet: Sheet, now: datetime, most: int = 20) -> list[tuple[list[int], Entry]]:
    """The orders of the first `most` rows as they would be taken, each with the lines it stands on."""
    first = some_rows(sheet, list(islice(sheet.rows(), most)))
    reader = _reader(first, now)
    return [([row.line for row in rows], reader.entry(key, rows)) for key, rows in reader.orders()]


def _reader(sheet: Sheet, now: datetime) -> OrderReader:
    check(sheet)
    plan = plan_of(sheet.options["mapping"])
    places = {ours: _place_of(sheet.heading, name) or 0 for ours, name in plan.columns.items()}
    layout = Layout(
        width=len(sheet.heading),
        places=places,
        names=plan.columns,
        needed=(*NEEDED, *(("state",) if "state" in places else ())),
        constants={} if "state" in places else {"state": OrderState(plan.state)},
        dates=Dates(plan.dates),
        day_only=True,
        amount=AMOUNTS[plan.unit],
        state=lambda column, cell: _state(column, cell, plan.states),
        payment=_payment,
    )
    return OrderReader(sheet, layout, now)


def _state(column: str, cell: str, states: Mapping[str, str]) -> OrderState:
    word = _word(cell)
    if word in states:
        return OrderState(states[word])
    found = STATE_WORDS.get(word.lower())
    if found is None:
        raise CellRefused(column, Reason.STATE_UNMAPPED, word)
    return found


def _payment(column: str, cell: str) -> Payment:
    """Cash on delivery where the cell says so; whatever else was used, it was used online."""
    return PAYMENT_WORDS.get(_plain(_word(cell)), PAYMENT_WORDS.get(_word(cell), Payment.ONLINE))
