"""Names of channels, stages, types and rights in the reader's language, and the sentences of the timeline."""

from __future__ import annotations

from typing import Any

from kernel.events import describes
from kernel.i18n import day, ngettext
from kernel.i18n import gettext as _
from kernel.i18n import lazy_gettext as _l
from kernel.money import yuan
from membership.orders.models import OrderState

from . import events
from .models import Channel, Contact, CustomerType, Purpose, RightsWish, Stage, ValueLabel
from .rules import ValueFacts

STAGES = {
    Stage.LEAD: _l("Lead"),
    Stage.CUSTOMER: _l("Customer"),
    Stage.MEMBER: _l("Member"),
    Stage.ACTIVE: _l("Active buyer"),
    Stage.DORMANT: _l("Dormant"),
    Stage.LOST: _l("Lost"),
}
STAGE_TONES = {
    Stage.LEAD: "neutral",
    Stage.CUSTOMER: "info",
    Stage.MEMBER: "info",
    Stage.ACTIVE: "positive",
    Stage.DORMANT: "caution",
    Stage.LOST: "negative",
}
# What a shop does at each stage, until it writes its own.
STRATEGIES = {
    Stage.LEAD: _l("Make the first order easy: a small coupon for new people, and an answer within the hour."),
    Stage.CUSTOMER: _l("Call back after the parcel, invite into a group, and let the welcome gift wait there."),
    Stage.MEMBER: _l("Bring the second order: the coupon of their tier, and a tip for what they bought."),
    Stage.ACTIVE: _l("Thank them and keep them: early access, the next tier in sight, ask them to bring a friend."),
    Stage.DORMANT: _l("Wake them once: ask what they miss, with a coupon that ends soon. Then leave them in peace."),
    Stage.LOST: _l("Spend nothing more by routine. One personal word at a big occasion, and an easy way out."),
}
# What ties a valuable customer to the shop.
TIES = {
    ValueLabel.TRANSACTION: _l("Orders"),
    ValueLabel.RELATION: _l("Relation"),
    ValueLabel.BOTH: _l("Orders and relation"),
}
CHANNELS = {
    Channel.TAOBAO: _l("Taobao"),
    Channel.TMALL: _l("Tmall"),
    Channel.DOUYIN: _l("Douyin"),
    Channel.SHOP: _l("Own shop"),
    Channel.COUNTER: _l("Counter"),
    Channel.WECOM: _l("WeCom"),
    Channel.WECHAT: _l("WeChat"),
    Channel.PHONE: _l("Phone"),
    Channel.EMAIL: _l("E-mail"),
}
CONTACTS = {
    Contact.INBOX: _l("Messages on their page"),
    Contact.EMAIL: _l("E-mails"),
    Contact.SMS: _l("SMS"),
    Contact.CALL: _l("Phone call"),
    Contact.WECOM: _l("WeCom"),
}
# The same, said to the person.
CONTACTS_FOR_THEM = {
    Contact.INBOX: _l("Messages on your page"),
    Contact.EMAIL: _l("E-mails"),
    Contact.SMS: _l("Text messages"),
    Contact.CALL: _l("Phone calls"),
    Contact.WECOM: _l("WeCom"),
}
CUSTOMER_TYPES = {
    CustomerType.RATIONAL: _l("Rational: wants facts"),
    CustomerType.IRRITABLE: _l("Quick-tempered: wants to be heard"),
    CustomerType.HAGGLER: _l("Haggler: wants a better price"),
    CustomerType.PRESSING: _l("Pressing: wants it now"),
    CustomerType.NO_SAYER: _l("No-sayer: needs time"),
}
# What two records have in common.
SIGNS = {
    "account": _l("Same account name on two channels"),
    "email": _l("Same e-mail address"),
    "phone_tail": _l("Same name and phone ending"),
    "receiver": _l("Same name and address"),
    "address": _l("Same address"),
    "name_city": _l("Same name and city"),
    "nickname": _l("Similar nickname"),
}
# What a merge chooses between.
FIELDS = {
    "name": _l("Full name"),
    "nickname": _l("Nickname"),
    "phone": _l("Phone"),
    "email": _l("E-mail"),
    "birthday": _l("Birthday"),
    "customer_type": _l("Customer type"),
    "hobbies": _l("Hobbies"),
    "city": _l("City"),
    "address": _l("Address"),
    "locale": _l("Language"),
    "source": _l("Came by"),
}
# Tables as staff call what is in them.
TABLES = {
    "member": _l("The records themselves"),
    "member_identity": _l("Identities on channels"),
    "consent": _l("Consents and refusals"),
    "opt_out": _l("Refusals"),
    "member_tag": _l("Tags"),
    "member_note": _l("Notes"),
    "visitor_session": _l("Browsers that know them"),
    "event": _l("Entries of the timeline"),
    "notice": _l("Notices"),
    "order": _l("Orders"),
    "member_tier": _l("Tier"),
    "tier_change": _l("Changes of the tier"),
    "limit_counter": _l("Limits"),
    "coupon": _l("Coupons"),
    "gift_claim": _l("Gifts"),
    "benefit_grant": _l("Benefits of the tier"),
    "points_account": _l("Points accounts"),
    "points_redemption": _l("Rewards for points"),
    "seat": _l("Seats in groups"),
    "group": _l("Numbers of groups"),
    "sub_group": _l("Numbers of sub-groups"),
    "waiting": _l("Places on waiting lists"),
    "post_group": _l("Numbers of posts"),
    "reaction": _l("What they did with posts"),
    "call_task": _l("Call-backs"),
    "call_task_order": _l("Orders of call-backs"),
    "inbox_message": _l("Messages"),
    "contact_count": _l("Contact budget"),
    "contact_task": _l("Contact tasks"),
    "channel_reply": _l("Answers to text messages"),
    "dead_address": _l("Addresses that cannot be reached"),
    "wecom_recipient": _l("Mass sends over WeCom"),
    "delivery": _l("Messages of pushes"),
    "click": _l("Clicks"),
    "attribution": _l("Orders that a push led to"),
}
WISHES = {
    RightsWish.DOSSIER: _l("wants to know what is kept of them"),
    RightsWish.ERASURE: _l("wants to be erased"),
}
# Order states as the buyer reads them.
ORDER_STATES = {
    OrderState.PLACED: _l("Not paid yet"),
    OrderState.PAID: _l("Paid, being packed"),
    OrderState.SHIPPED: _l("On its way"),
    OrderState.DELIVERED: _l("Delivered"),
    OrderState.COMPLETED: _l("Completed"),
    OrderState.CLOSED: _l("Closed"),
    OrderState.REFUSED: _l("Parcel not accepted"),
}
# How staff came to know what a person wants.
TOLD_BY = {
    "call": _l("said it on the phone"),
    "chat": _l("wrote it in a chat"),
    "counter": _l("said it at the counter"),
    "paper": _l("signed it on paper"),
}
_SOURCES = {
    "portal": _l("on their own page"),
    "unsubscribe": _l("through the unsubscribe link"),
    "undo": _l("undid the unsubscribing"),
    "sms_reply": _l("in answer to a text message"),
    "complaint": _l("by a complaint about an e-mail"),
    "import": _l("taken over from a file"),
    "demo": _l("demo shop"),
    "kept_opt_out": _l("had opted out before"),
}


def part_line(key: str, facts: ValueFacts) -> str:
    """What a part of a member's value rests on, as a sentence."""
    match key:
        case "channels":
            return str(ngettext("Known on one channel", "Known on %(num)s channels", facts.channels))
        case "recency" if facts.last_order_at is None:
            return str(_("Never ordered"))
        case "recency":
            return str(_("Last order on %(day)s", day=day(facts.last_order_at)))
        case "frequency":
            return str(ngettext("One order", "%(num)s orders", facts.orders))
        case "money":
            return str(_("%(amount)s in all", amount=yuan(facts.spend)))
        case "groups":
            return str(ngettext("In one group", "In %(num)s groups", facts.groups))
        case "brought":
            return str(ngettext("Brought one person", "Brought %(num)s people", facts.brought))
        case _:
            return str(ngettext("Liked one post", "Liked %(num)s posts", facts.took_part))


PARTS = {
    "channels": _l("Shop channels"),
    "recency": _l("Recency"),
    "frequency": _l("Frequency"),
    "money": _l("Money"),
    "groups": _l("Groups"),
    "brought": _l("Invitations"),
    "took_part": _l("Taking part"),
}


def consent_source_label(source: str) -> Any:
    """How a person's wish became known, as words."""
    return TOLD_BY[source] if source in TOLD_BY else source_label(source)


def source_label(source: str) -> Any:
    """How a member, an order or a consent came, as words; `group:12` is named by what stands before the colon."""
    if source in _SOURCES:
        return _SOURCES[source]
    if source in list(Channel):
        return CHANNELS[Channel(source)]
    return {"group": _("when joining a group"), "offer": _("with a coupon"), "gift": _("with a gift")}.get(
        source.partition(":")[0], source
    )


def contact(value: str) -> Any:
    return CONTACTS[Contact(value)] if value in list(Contact) else value


# ── The timeline's sentences ────────────────────────────────────────────────────────────────────────────────────────


@describes(events.MemberEnrolled)
def enrolled(event: events.MemberEnrolled) -> str:
    return str(_("Became a member of the shop"))


@describes(events.ConsentChanged)
def consent_changed(event: events.ConsentChanged) -> str:
    words = {"channel": contact(event.channel), "source": source_label(event.source)}
    if event.purpose == Purpose.SERVICE:
        if event.granted:
            return str(_("Agreed to service contact (%(channel)s; %(source)s)", **words))
        return str(_("No longer wants service contact (%(channel)s; %(source)s)", **words))
    if event.granted:
        return str(_("Agreed to hear offers (%(channel)s; %(source)s)", **words))
    return str(_("Opted out of offers (%(channel)s; %(source)s)", **words))


@describes(events.MemberTagged)
def tagged(event: events.MemberTagged) -> str:
    return str(_("Tagged “%(tag)s”", tag=event.tag))


@describes(events.MemberUntagged)
def untagged(event: events.MemberUntagged) -> str:
    return str(_("Tag “%(tag)s” removed", tag=event.tag))


@describes(events.NoteWritten)
def note_written(event: events.NoteWritten) -> str:
    return str(_("%(author)s wrote a note", author=event.author))


@describes(events.MemberIdentified)
def identified(event: events.MemberIdentified) -> str:
    if event.means == "email":
        return str(_("Signed in with a code by e-mail"))
    return str(_("Signed in with phone and order number"))


@describes(events.StageChanged)
def stage_changed(event: events.StageChanged) -> str:
    return str(
        _(
            "Stage: %(before)s → %(after)s",
            before=STAGES[Stage(event.from_stage)],
            after=STAGES[Stage(event.to_stage)],
        )
    )


@describes(events.MembersMerged)
def merged(event: events.MembersMerged) -> str:
    return str(_("Merged with record #%(number)s", number=event.absorbed_id))


@describes(events.MergeUndone)
def merge_undone(event: events.MergeUndone) -> str:
    other = event.absorbed_id if event.member_id == event.survivor_id else event.survivor_id
    return str(_("The merge with record #%(number)s was undone", number=other))


@describes(events.MemberErased)
def erased(event: events.MemberErased) -> str:
    return str(_("Erased on request"))


@describes(events.RightsRequested)
def rights_requested(event: events.RightsRequested) -> str:
    if event.wish == RightsWish.ERASURE:
        return str(_("Asked to be erased"))
    return str(_("Asked what is kept of them"))
