"""The journeys a shop begins with, one for each scenario: all of them off, and all of them to be changed.

Their texts are content in the customers' language, like everything that is said to members.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from . import rules


@dataclass(frozen=True)
class Recipe:
    """A ready-made journey."""

    key: str
    name: str
    plan: rules.Plan


def _wait(days: int = 0, hours: int = 0, until: int | None = None) -> dict[str, Any]:
    return {"kind": "wait", "days": days, "hours": hours, "until_hour": until}


def _say(subject: str, body: str, en: tuple[str, str] | None = None, **more: Any) -> dict[str, Any]:
    english = {"subject_en": en[0], "body_en": en[1]} if en else {}
    return {"kind": "message", "subject": subject, "body": body, **english, **more}


def _made(key: str, name: str, trigger: dict[str, Any], *steps: dict[str, Any], **more: Any) -> Recipe:
    """A recipe whose steps are numbered in the order of reading."""
    count = 0

    def number(found: Any) -> list[dict[str, Any]]:
        nonlocal count
        numbered = []
        for step in found:
            count += 1
            fresh = {**step, "id": f"s{count}"}
            for way in ("yes", "no", *rules.WAYS):
                if way in fresh:
                    fresh[way] = number(fresh[way])
            numbered.append(fresh)
        return numbered

    return Recipe(key, name, rules.parse({"trigger": trigger, "steps": number(steps), **more}))


_SECOND_ORDER = {"rules": [{"kind": "orders", "from_count": 2}]}
_ENROLLED = {"rules": [{"kind": "enrolled", "value": True}]}

RECIPES = (
    _made(
        "shipped", "发货通知", {"kind": "shipped"},
        _say("您的包裹出发了", "{nickname}，您的订单已经发出，路上有任何问题随时找我们。",
             ("Your parcel is on its way", "{nickname}, your order has left us. Write to us whenever something is wrong."),
             service=True),
        exits={"bought": False}, again_after=0,
    ),
    _made(
        "arriving", "快到货提醒", {"kind": "arriving", "hours": 24},
        _say("包裹快到了", "{nickname}，您的包裹预计一天内送到，请留意电话。签收前请先看看外箱是否完好。",
             ("Your parcel is nearly there", "{nickname}, your parcel should arrive within a day. Please look at the box before you sign."),
             service=True),
        exits={"bought": False}, again_after=0,
    ),
    _made(
        "after_sale", "到货关怀", {"kind": "delivered", "days": 1},
        _wait(until=10),
        _say("东西用着还顺手吗", "{nickname}，包裹昨天到了，用着还顺手吗？有破损、少件、不会用，直接回复我们。",
             ("Is everything all right?", "{nickname}, your parcel came yesterday. If anything is broken or missing, just write to us."),
             service=True),
        _wait(days=6, until=10),
        {"kind": "condition", "audience": _ENROLLED, "yes": [], "no": [
            _say("加入会员，以后更省", "{nickname}，加入会员就有积分和会员价：{link}",
                 ("Join and save", "{nickname}, members get points and member prices: {link}"),
             link_url="/me/"),
        ]},
        exits={"bought": False}, again_after=30,
    ),
    _made(
        "unconfirmed", "签收未确认提醒", {"kind": "unconfirmed", "days": 5},
        _wait(until=10),
        _say("收到货了吗", "{nickname}，物流显示您的包裹已经送到，东西没问题的话请点一下确认收货；没收到请马上告诉我们。",
             ("Did it reach you?", "{nickname}, your parcel is marked as delivered. Please confirm the order; if it did not come, write."),
             service=True),
        _wait(days=3),
        {"kind": "task", "about": "包裹送到多日还没有确认收货：问一下是没收到，还是东西有问题。"},
        exits={"bought": False}, again_after=0,
    ),
    _made(
        "refused_care", "投诉与售后回访", {"kind": "ticket_closed"},
        _wait(days=3, until=10),
        _say("上次的问题解决了吗", "{nickname}，前几天您反映的问题都解决了吗？还有不满意的地方，直接回复，我们接着处理。",
             ("Is it solved?", "{nickname}, is what you told us of some days ago solved? If not, just answer and we go on."),
             service=True),
        exits={"bought": False}, again_after=30,
    ),
    _made(
        "welcome", "新会员欢迎", {"kind": "enrolled"},
        {"kind": "points", "points": 50, "reason": "新会员见面礼"},
        _say("欢迎加入", "{nickname}，欢迎！50 积分已经放进您的账户，会员权益都在这里：{link}",
             ("Welcome", "{nickname}, welcome! 50 points are in your account. Your benefits: {link}"),
             link_url="/me/"),
    ),
    _made(
        "group_care", "进群关怀", {"kind": "joined"},
        _wait(days=1, until=10),
        _say("群里都有什么", "{nickname}，欢迎进群。群里会先发上新、使用技巧和只给群友的价，不想看可以随时静音。",
             ("What the group is for", "{nickname}, welcome to the group: news, tips and prices for its members come there first.")),
        exits={"bought": False}, again_after=90,
    ),
    _made(
        "second_order", "首单后促二单", {"kind": "delivered", "days": 14},
        {"kind": "condition", "audience": _SECOND_ORDER, "yes": [{"kind": "end"}], "no": []},
        _wait(until=19),
        {"kind": "coupon"},
        _say("一张只给您的券", "{nickname}，谢谢您第一次选我们。券已经放进您的卡包，随时能用：{link}",
             ("A coupon for you", "{nickname}, thank you for your first order. A coupon is waiting for you: {link}"),
             link_url="/me/coupons"),
    ),
    _made(
        "birthday", "生日祝福", {"kind": "birthday", "days": 0},
        _wait(until=10),
        {"kind": "points", "points": 100, "reason": "生日礼"},
        _say("生日快乐", "{nickname}，生日快乐！100 积分是我们的一点心意，已经放进您的账户。",
             ("Happy birthday", "{nickname}, happy birthday! 100 points from us are in your account.")),
        exits={"bought": False}, again_after=300,
    ),
    _made(
        "day_100", "百日纪念", {"kind": "anniversary", "days": 100, "basis": "enrolled"},
        _wait(until=10),
        {"kind": "points", "points": 66, "reason": "百日纪念"},
        _say("我们认识 100 天了", "{nickname}，您成为会员整 100 天了，66 积分谢谢您的陪伴。",
             ("100 days together", "{nickname}, you have been a member for 100 days. 66 points, with our thanks.")),
        exits={"bought": False},
    ),
    _made(
        "tier_up", "升级祝贺", {"kind": "tier_up"},
        _say("恭喜升级", "{nickname}，您已经是{tier}了，新的权益从现在起生效：{link}",
             ("You have risen", "{nickname}, you are {tier} now. Your new benefits begin at once: {link}"),
             link_url="/me/", service=True),
        exits={"bought": False}, again_after=0,
    ),
    _made(
        "tier_fall", "降级前挽留", {"kind": "tier_fall", "days": 30},
        _wait(until=19),
        _say("等级快到期了", "{nickname}，您的{tier}快到期了，再下一单就能保住。还差多少看这里：{link}",
             ("Your tier is about to fall", "{nickname}, your {tier} ends soon; one more order keeps it. What is missing: {link}"),
             link_url="/me/"),
        again_after=60,
    ),
    _made(
        "coupon_ending", "券快到期提醒", {"kind": "coupon_ending", "days": 3},
        _wait(until=19),
        _say("有张券快过期了", "{nickname}，您有一张券三天内到期，别浪费了：{link}",
             ("A coupon ends soon", "{nickname}, one of your coupons ends within three days: {link}"),
             link_url="/me/coupons"),
        again_after=14,
    ),
    _made(
        "cart", "购物车提醒", {"kind": "cart", "hours": 2},
        _say("还在考虑吗", "{nickname}，您选的东西还在购物车里。有拿不准的可以直接问我们。",
             ("Still thinking?", "{nickname}, what you chose is still in your cart. Ask us if you are unsure.")),
        _wait(days=1),
        _say("东西给您留着", "{nickname}，购物车里的东西还有货，喜欢就带回家吧。",
             ("Still there for you", "{nickname}, what is in your cart is still in stock.")),
        again_after=7,
    ),
    _made(
        "dormant", "沉睡唤醒", {"kind": "dormant", "days": 180, "present": False},
        _wait(until=19),
        {"kind": "coupon"},
        _say("好久不见", "{nickname}，好久没见您了。给您留了一个红包，打开就能用：{link}",
             ("It has been a while", "{nickname}, we have not seen you for a while. A present is waiting: {link}"),
             link_url="/me/coupons"),
        _wait(days=7, until=19),
        _say("红包还在等您", "{nickname}，红包还没有用掉，过几天就失效了：{link}",
             ("Your present is waiting", "{nickname}, your present is still there, and ends in some days: {link}"),
             link_url="/me/coupons"),
        again_after=180,
    ),
    _made(
        "due", "复购提醒", {"kind": "due", "days": 3},
        _wait(until=19),
        _say("该补货了吧", "{nickname}，上次买的应该快用完了，需要的话现在下单正好接上。",
             ("Nearly used up?", "{nickname}, what you bought last should be nearly used up. Order now and you will not run out.")),
        again_after=14,
    ),
    _made(
        "active", "活跃会员邀评", {"kind": "stage", "stage": "active"},
        _wait(days=1, until=19),
        {"kind": "tag", "name": "老朋友"},
        _say("谢谢您一直都在", "{nickname}，最近您来得勤，我们都记着。有什么想要的新品，直接告诉我们。",
             ("Thank you for coming back", "{nickname}, you come often, and we notice. Tell us what we should have next.")),
        exits={"bought": False}, again_after=180,
    ),
)  # fmt: skip
