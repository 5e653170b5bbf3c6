"""What the demo shop shows of channels: a text-message account, a contact task account with open tasks, a group post account."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import select

from community.posts import queries as posts
from kernel import clock
from kernel.db import db
from membership.members.models import Contact, Member
from membership.members.services import give_consent

from . import pace, services
from .models import ChannelKind, ContactTask

_TEMPLATES = (
    "SMS_100000001 ${name}，您常喝的茶该续上了，凭码${code}到店立减20元，拒收请回复R\n"
    "SMS_100000002 新茶到店，到店或进会员群即可试饮，拒收请回复R"
)
_CALLS = (
    ("春茶开售，请老朋友来尝", "{name}您好，春茶到店了，按您平时的口味给您留了一罐，周末来坐坐吗？"),
    ("生日前的问候", "{name}您好，下周是您的生日，会员生日礼已经放进您的卡里，提前祝您生日快乐！"),
    ("上次的茶喝得怎么样", "{name}您好，上次那款您喝着还习惯吗？需要的话我给您调一调口味。"),
)


def show() -> None:
    """Set the accounts up and lay a few tasks before the staff; the account for text messages waits for its keys."""
    sms = services.save_account(
        ChannelKind.SMS,
        "短信（阿里云）",
        {
            "provider": "aliyun",
            "signature": "青荷茶铺",
            "opt_out": "拒收请回复R",
            "key_id": "LTAI-demo",
            "templates": _TEMPLATES,
        },
        pace.Rates(None, 600, None, 20_000),
        "demo",
    )
    services.pause_account(sms, "演示店没有阿里云账号，填好密钥后再启用")
    groups = [group.id for group in posts.writable_groups()][:2]
    if groups:
        services.save_account(
            ChannelKind.GROUP_POST, "群动态", {"groups": groups, "post_kind": "promotion"}, pace.Rates(), None
        )
    calls = services.save_account(
        ChannelKind.TASK, "顾问一对一联系", {"days": 2}, pace.Rates(None, None, None, 40), None
    )
    db.session.flush()
    members = db.session.scalars(
        select(Member)
        .where(Member.phone.is_not(None), Member.merged_into_id.is_(None), Member.rank >= 3)
        .order_by(Member.id)
        .limit(len(_CALLS))
    ).all()
    now = clock.now()
    for number, (member, (title, words)) in enumerate(zip(members, _CALLS, strict=False), 1):
        give_consent(member.id, Contact.CALL, source="call")
        task = ContactTask(
            account_id=calls.id,
            key=f"demo:{number}",
            delivery_id=0,
            member_id=member.id,
            title=title,
            words=words.format(name=member.shown_name),
            made_at=now,
            due_at=now + timedelta(days=number),
        )
        db.session.add(task)
