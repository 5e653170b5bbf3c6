"""Translated names of what touchpoints are made of."""

from __future__ import annotations

from typing import Any

from kernel.i18n import lazy_gettext as _l

from .models import Stage, TouchKind
from .rules import Answer, Basis, Quadrant

KINDS: dict[TouchKind, Any] = {
    TouchKind.PRINT: _l("Print"),
    TouchKind.PHONE: _l("Telephone"),
    TouchKind.GROUP: _l("Group"),
    TouchKind.COUPON: _l("Coupon or gift"),
    TouchKind.POST: _l("Post"),
    TouchKind.MESSAGE: _l("Messages"),
    TouchKind.TICKET: _l("Ticket"),
    TouchKind.TALK: _l("Conversation"),
    TouchKind.SHOP: _l("Shop and parcel"),
    TouchKind.OTHER: _l("Other"),
}
STAGES: dict[Stage, Any] = {
    Stage.REACH: _l("Reach"),
    Stage.AD: _l("Ad"),
    Stage.LANDING: _l("Landing page"),
    Stage.ORDER: _l("Order"),
    Stage.SHIPPING: _l("Shipping"),
    Stage.RECEIPT: _l("Receipt"),
    Stage.REPURCHASE: _l("Repurchase"),
}
NAMES: dict[str, Any] = {
    "push_inbox": _l("Push to the member's page"),
    "push_email": _l("Push by e-mail"),
    "push_sms": _l("Push by SMS"),
    "push_wecom": _l("Push by WeCom"),
    "push_webhook": _l("Push through another program"),
    "push_task": _l("Push that staff give in person"),
    "post": _l("Post in a group"),
    "group_link": _l("Link or QR code of a group"),
    "friend": _l("Invitation by a friend"),
    "parcel_card": _l("Card in the parcel with a QR code"),
    "call_invitation": _l("Invitation to a group by phone"),
    "group_welcome": _l("Welcome in a group"),
    "coupon_link": _l("Coupon link"),
    "coupon_message": _l("Coupon in a push"),
    "coupon_code": _l("Coupon code typed in"),
    "gift": _l("Gift that can be claimed"),
    "web_shop": _l("Order in a shop"),
    "conversation": _l("Conversation with the shop"),
    "parcel": _l("The parcel itself"),
    "call_back": _l("Call-back after delivery"),
    "ticket": _l("After-sale ticket"),
    "survey": _l("Survey in a group"),
    "journey_message": _l("Message of a journey"),
}
MET: dict[str, Any] = {
    "push_inbox": _l("A message that was handed over."),
    "push_email": _l("A message that was handed over."),
    "push_sms": _l("A message that was handed over."),
    "push_wecom": _l("A message that was handed over."),
    "push_webhook": _l("A message that was handed over."),
    "push_task": _l("A message that was handed over."),
    "post": _l("A post that a member saw in a group."),
    "group_link": _l("A seat held through a link that no other touchpoint names."),
    "friend": _l("A seat held through a friend's link."),
    "parcel_card": _l("A seat held, or a coupon taken, through a link with one of its names."),
    "call_invitation": _l("A member who was invited into a group on the phone."),
    "group_welcome": _l("A member who joined a group."),
    "coupon_link": _l("A coupon taken through a claim link that no other touchpoint names."),
    "coupon_message": _l("A coupon taken through the link of a push."),
    "coupon_code": _l("A coupon taken by typing a code."),
    "gift": _l("A gift that a member may claim."),
    "web_shop": _l("An order placed, in whichever shop."),
    "conversation": _l("A conversation that a member began."),
    "parcel": _l("A parcel sent off, counted on the day of the order where the shop does not say when it left."),
    "call_back": _l("A call in which the member was reached."),
    "ticket": _l("A ticket opened."),
    "survey": _l("A post of the kind survey that a member saw."),
    "journey_message": _l("A message that a journey handed over."),
}
MET_OWN = _l("A seat held, or a coupon taken, through a link with one of its names.")
ANSWERS: dict[Answer, Any] = {
    Answer.CLICK: _l("opened its link"),
    Answer.REACT: _l("liked, opened or commented on something"),
    Answer.COME: _l("joined, or used the coupon"),
    Answer.USE: _l("used the coupon"),
    Answer.CLAIM: _l("claimed it"),
    Answer.KEEP: _l("paid and did not return all of it"),
    Answer.ARRIVE: _l("received it"),
    Answer.REPLY: _l("answered it"),
}
BASES: dict[Basis, Any] = {
    Basis.STARS: _l("stars"),
    Basis.RATE: _l("rate against the usual one"),
    Basis.TOO_FEW: _l("too little seen"),
    Basis.NO_USUAL: _l("nothing to compare with yet"),
    Basis.NOT_RECORDED: _l("not recorded"),
}
QUADRANTS: dict[Quadrant, Any] = {
    Quadrant.CONCENTRATE: _l("Concentrate here"),
    Quadrant.KEEP_UP: _l("Keep up the good work"),
    Quadrant.LOW_PRIORITY: _l("Low priority"),
    Quadrant.OVERKILL: _l("Possible overkill"),
}
MEANINGS: dict[Quadrant, Any] = {
    Quadrant.CONCENTRATE: _l("Matters much and does less well: work on this first."),
    Quadrant.KEEP_UP: _l("Matters much and does well: keep it so."),
    Quadrant.LOW_PRIORITY: _l("Matters less and does less well: it can wait."),
    Quadrant.OVERKILL: _l("Matters less and does well: perhaps more care than it needs."),
}
TONES: dict[Quadrant, str] = {
    Quadrant.CONCENTRATE: "negative",
    Quadrant.KEEP_UP: "positive",
    Quadrant.LOW_PRIORITY: "neutral",
    Quadrant.OVERKILL: "info",
}
