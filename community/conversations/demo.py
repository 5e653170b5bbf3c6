"""Conversations of the demo shop, about orders that were really placed."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from sqlalchemy import select

from community.tickets import queries as tickets
from kernel import clock
from kernel.db import db
from kernel.staff.models import Staff
from membership.members.models import Member
from membership.orders.models import Order, OrderState

from . import services
from .models import Ending

# How many hours ago, what was said by whom (the minutes until then), and the stars at the end.
TALKS = (
    (
        50.0,
        (
            ("m", 0, "你好，{product}可以进洗碗机吗？"),
            ("s", 2, "您好，可以的，放上层、不要烘干就行。"),
            ("m", 1, "好的谢谢"),
            ("s", 1, "不客气，有事随时找我。"),
        ),
        5,
    ),
    (27.0, (("m", 0, "我的快递到哪了"), ("s", 6, "您好，昨晚已到您所在的城市，今天会派送。"), ("m", 3, "收到")), 4),
    (
        5.0,
        (
            ("m", 0, "想问下{product}还会补货吗，想再买两个送人"),
            ("s", 4, "会的，下周三晚八点群里先开，我到时候提醒您。"),
            ("m", 2, "那我等着，有礼盒装吗？"),
        ),
        0,
    ),
    (0.4, (("m", 0, "优惠券怎么用不了，提示不满足条件"),), 0),
    (0.1, (("m", 0, "{product}收到一个有裂缝，怎么处理？"), ("m", 1, "要拍照吗")), 0),
)


def make(progress: Callable[[float], None]) -> None:
    """Some that are over, one under way, and two that wait for a person."""
    agent = db.session.scalar(select(Staff.id).where(Staff.email == "service@shop.example"))
    if agent is None:
        return
    people = db.session.scalars(
        select(Member.id)
        .join(Order, Order.member_id == Member.id)
        .where(Order.state == OrderState.COMPLETED, Member.phone.is_not(None), Member.enrolled_at.is_not(None))
        .group_by(Member.id)
        .order_by(Member.id.desc())
        .limit(len(TALKS))
    ).all()
    for i, ((hours, said, stars), member_id) in enumerate(zip(TALKS, people, strict=False)):
        product = tickets.product_of(member_id) or "这件"
        with clock.frozen(clock.now() - timedelta(hours=hours)) as move:
            talk = 0
            for who, minutes, words in said:
                move(timedelta(minutes=minutes))
                if who == "m":
                    talk = services.ask(member_id, words.replace("{product}", product)).conversation_id
                    # The demo's talks are between people; what the bot can do is on its own pages.
                    services.ask_for_person(talk)
                else:
                    services.say(talk, agent, words)
            if stars:
                services.close(talk, Ending.MEMBER)
                services.rate(talk, stars)
        progress((i + 1) / len(TALKS))
