"""The touchpoints that Siyu records by itself: their kind, their stage, and what counts as having done what they ask for."""

from __future__ import annotations

from dataclasses import dataclass

from .models import Stage, TouchKind
from .rules import Answer


@dataclass(frozen=True)
class Ready:
    """A touchpoint that is there without anybody entering it; `answer` is what its rate counts, none where stars speak."""

    key: str
    kind: TouchKind
    stage: Stage
    answer: Answer | None
    sources: tuple[str, ...] = ()


READY: tuple[Ready, ...] = (
    Ready("push_inbox", TouchKind.MESSAGE, Stage.REACH, Answer.CLICK),
    Ready("push_email", TouchKind.MESSAGE, Stage.REACH, Answer.CLICK),
    Ready("push_sms", TouchKind.MESSAGE, Stage.REACH, Answer.CLICK),
    Ready("push_wecom", TouchKind.MESSAGE, Stage.REACH, Answer.CLICK),
    Ready("push_webhook", TouchKind.MESSAGE, Stage.REACH, Answer.CLICK),
    Ready("push_task", TouchKind.PHONE, Stage.REACH, Answer.CLICK),
    Ready("post", TouchKind.POST, Stage.REACH, Answer.REACT),
    Ready("group_link", TouchKind.GROUP, Stage.AD, Answer.COME),
    Ready("friend", TouchKind.GROUP, Stage.AD, Answer.COME),
    Ready("parcel_card", TouchKind.PRINT, Stage.AD, Answer.COME, ("包裹卡", "parcel card")),
    Ready("call_invitation", TouchKind.PHONE, Stage.LANDING, Answer.COME),
    Ready("group_welcome", TouchKind.GROUP, Stage.LANDING, Answer.REACT),
    Ready("coupon_link", TouchKind.COUPON, Stage.LANDING, Answer.USE),
    Ready("coupon_message", TouchKind.COUPON, Stage.LANDING, Answer.USE),
    Ready("coupon_code", TouchKind.COUPON, Stage.LANDING, Answer.USE),
    Ready("gift", TouchKind.COUPON, Stage.LANDING, Answer.CLAIM),
    Ready("web_shop", TouchKind.SHOP, Stage.ORDER, Answer.KEEP),
    Ready("conversation", TouchKind.TALK, Stage.ORDER, None),
    Ready("parcel", TouchKind.SHOP, Stage.SHIPPING, Answer.ARRIVE),
    Ready("call_back", TouchKind.PHONE, Stage.RECEIPT, None),
    Ready("ticket", TouchKind.TICKET, Stage.RECEIPT, None),
    Ready("survey", TouchKind.POST, Stage.RECEIPT, Answer.REPLY),
    Ready("journey_message", TouchKind.MESSAGE, Stage.REPURCHASE, Answer.CLICK),
)
BY_KEY = {ready.key: ready for ready in READY}
