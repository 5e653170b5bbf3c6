"""The demo shop's answers: the forty questions, nine welcome cards, and what members asked lately."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from sqlalchemy import select

from community.conversations.rules import Band
from kernel import clock
from kernel.db import db
from membership.members.models import Member

from . import queries, services

CARDS: Final = (
    ("when-sent", "何时发货", "When sent"), ("tracking", "查快递", "Tracking"), ("ask-refund", "退款", "Refund"),
    ("return-rules", "退换货", "Returns"), ("invoice", "开发票", "Invoice"), ("get-coupon", "领券", "Coupons"),
    ("damaged", "收到破损", "Damaged"), ("change-order", "改地址", "Change order"), ("reach-person", "找人工", "A person"),
)  # fmt: skip
ASKED: Final = (
    ("杯子啥时候能发呀", True), ("我的快递三天没动了", True), ("可以改下地址吗，写错门牌了", True), ("收到碗裂了一个口子", None),
    ("这个券怎么用不了", True), ("开公司抬头的发票", True), ("退款几天到账呢", True), ("能不能送到驿站", None),
    ("两个单子一起寄行吗", True), ("降价了给补差价不", False), ("香薰点完的杯子还能装什么", None), ("蜡烛味道会不会太浓", None),
    ("少发了一个勺子", True), ("退货寄到哪", True), ("不想要了怎么取消", True), ("你们店在哪个城市", None),
)  # fmt: skip


def give(members: int = 16) -> None:
    """Take the pack in that comes with Siyu, set the cards, and let some members have asked. Once: a shop that has answers
    keeps them."""
    if queries.choices():
        return
    services.take_in(services.preview_shipped(None).id)
    ids = {intent.key: intent.id for intent in queries.all_enabled()}
    services.save_cards([(ids[key], label, label_en) for key, label, label_en in CARDS])
    people = db.session.scalars(
        select(Member.id).where(Member.merged_into_id.is_(None)).order_by(Member.id).limit(members)
    ).all()
    for i, (member_id, (text, helpful)) in enumerate(zip(people, ASKED, strict=False)):
        row = services.keep(text, services.reply(text), "ask", member_id)
        row.at = clock.now() - timedelta(days=i % 7, hours=i)
        if row.band is Band.ANSWER:
            row.helpful = helpful
    db.session.flush()
