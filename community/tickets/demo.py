"""Tickets of the demo shop, about orders that were really placed: each lived through at its own time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import select

from kernel import clock
from kernel.db import db
from kernel.staff.models import Staff
from membership.members.models import Member
from membership.orders.models import Order, OrderLine, OrderState

from . import services
from .models import Ticket, TicketKind, TicketSource, TicketState

MACROS = (
    (
        "退货寄回地址",
        TicketKind.RETURN,
        "{nickname}您好，{product}同意退回。请寄：杭州市西湖区样例路 1 号 杂货铺售后，寄出后把快递单号填在这里，收到当天就退款。",
    ),
    ("换货已寄出", TicketKind.EXCHANGE, "{nickname}您好，换的那件今天已经寄出，单号 {parcel}，一般三天内到。"),
    ("请拍照片", None, "{nickname}您好，麻烦拍一张全貌和一张问题处的照片发在这里，我马上看。"),
    ("退款多久到账", TicketKind.RETURN, "退款已经原路退回，银行卡一般一到三个工作日到账，没到您随时找{agent}。"),
    (
        "道歉并补偿",
        TicketKind.COMPLAINT,
        "{nickname}，这件事是我们没做好，向您道歉。{agent}已经登记，今天之内给您一个处理结果。",
    ),
    ("改地址已通知", TicketKind.WRONG_ADDRESS, "新地址收到，已经通知快递改派，改派成功后我在这里告诉您。"),
)


@dataclass(frozen=True)
class Case:
    """A ticket to be: how long ago it began, what was said, and what was done how many hours later."""

    kind: TicketKind
    days_ago: float
    words: str
    acts: tuple[tuple[float, str, str], ...] = ()
    why: str = ""


CASES = (
    Case(
        TicketKind.RETURN,
        9,
        "{product}收到了，但边上有一道裂，想退。",
        (
            (0.6, "answer", "您好，同意退回，地址在上面，寄出后填一下单号就行。"),
            (0.1, "approved", ""),
            (20, "sent", ""),
            (60, "received", ""),
            (2, "refunded", ""),
            (0.1, "resolve", "已退款，原路返回，一到三天到账。"),
            (8, "stars", "5"),
        ),
        "broken",
    ),
    Case(
        TicketKind.EXCHANGE,
        6,
        "{product}颜色和图片差得有点多，能换一个吗？",
        (
            (1.5, "answer", "可以换，您看换同款的米白色行吗？"),
            (3, "reply", "米白可以的"),
            (0.3, "approved", ""),
            (18, "sent", ""),
        ),
        "unlike_picture",
    ),
    # The parcel should have been back by now.
    Case(
        TicketKind.RETURN,
        12,
        "买重了，{product}没拆，想退一件。",
        ((0.5, "answer", "没问题，寄回地址在上面。"), (0.1, "approved", "")),
        "no_longer_wanted",
    ),
    Case(
        TicketKind.COMPLAINT,
        4,
        "包裹压扁了，{product}碎了一半，客服电话一直占线。",
        (
            (0.4, "answer", "实在抱歉，这就给您补发，电话占线的事我也记下了。"),
            (0.2, "heard", ""),
            (2, "looked_into", ""),
            (0.5, "offered", ""),
            (10, "settled", ""),
            (0.1, "resolve", "补发的今天寄出，单号稍后告诉您。"),
            (20, "stars", "3"),
        ),
    ),
    Case(TicketKind.WRONG_ADDRESS, 0.25, "我搬家了，{product}能不能改送到样例路 6 号？"),
    Case(
        TicketKind.FEEDBACK,
        2,
        "{product}用着不错，说明书字太小，老人看不清。",
        ((3, "answer", "谢谢您，已经转给编辑，下一批换大字。"), (0.2, "noted", "")),
    ),
    Case(TicketKind.COMPLAINT, 1.2, "说好送的小礼物没有收到。"),
    Case(TicketKind.RETURN, 0.05, "{product}和我下单的不是一个款，想退。", why="wrong_item"),
)

TOLD = {
    "approved": {"return_address": "杭州市西湖区样例路 1 号 杂货铺售后"},
    "sent": {"carrier": "样板快递", "parcel_number": "DEMO20260001"},
    "received": {"parcel_state": "complete"},
    "refunded": {"amount": "39.00"},
    "heard": {"what_happened": "外箱压扁，内装破损；来电三次占线。"},
    "looked_into": {"cause": "外箱过薄；周一上午人手不足。"},
    "offered": {"remedy": "replacement", "offer": "补发一件，另送一张十元券。"},
    "settled": {"agreed": "yes"},
    "noted": {"about": "product"},
}


def make(progress: Callable[[float], None]) -> None:
    """Tickets in every state with what was said, and saved answers."""
    staff = {row.email.partition("@")[0]: row.id for row in db.session.scalars(select(Staff))}
    agents = [staff[name] for name in ("service", "assistant") if name in staff]
    if not agents:
        return
    for title, kind, body in MACROS:
        services.add_macro(services.MacroDraft(title, body, kind), agents[0])
    found = _orders(len(CASES))
    for i, (case, (order_id, member_id, product)) in enumerate(zip(CASES, found, strict=False)):
        _live(case, order_id, member_id, product, agents[i % len(agents)])
        progress((i + 1) / len(CASES))
    services.remind_returns()


def _orders(most: int) -> list[tuple[int, int, str]]:
    """The last delivered orders of different members who left a phone: (order, member, what was bought)."""
    rows = db.session.execute(
        select(Order.id, Order.member_id)
        .join(Member, Member.id == Order.member_id)
        .where(Order.state.in_((OrderState.DELIVERED, OrderState.COMPLETED)), Member.phone.is_not(None))
        .order_by(Order.placed_at.desc(), Order.id.desc())
        .limit(most * 8)
    ).all()
    chosen: dict[int, int] = {}
    for order_id, member_id in rows:
        if member_id is not None:
            chosen.setdefault(member_id, order_id)
    found = []
    for member_id, order_id in list(chosen.items())[:most]:
        title = db.session.scalar(
            select(OrderLine.title).where(OrderLine.order_id == order_id).order_by(OrderLine.amount.desc()).limit(1)
        )
        found.append((order_id, member_id, title or "这件"))
    return found


def _live(case: Case, order_id: int, member_id: int, product: str, agent: int) -> None:
    at = clock.now() - timedelta(days=case.days_ago)
    with clock.frozen(at) as move:
        ticket = services.open_ticket(
            services.Opening(
                member_id,
                case.kind,
                case.words.replace("{product}", product),
                order_id=order_id,
                answers={"why": case.why} if case.why else {},
                source=TicketSource.MEMBER,
            )
        )
        for hours, act, words in case.acts:
            move(timedelta(hours=hours))
            _act(ticket, act, words, agent)
            if clock.now() > at + timedelta(days=case.days_ago):
                break


def _act(ticket: Ticket, act: str, words: str, agent: int) -> None:
    match act:
        case "answer":
            services.answer(ticket.id, agent, words)
        case "reply":
            services.member_write(ticket.id, words)
        case "resolve":
            services.answer(ticket.id, agent, words, then=TicketState.RESOLVED)
        case "stars":
            services.rate(ticket.id, int(words))
        case "sent":
            services.member_step(ticket.id, act, TOLD[act])
        case _:
            services.do_step(ticket.id, act, TOLD[act], agent)
