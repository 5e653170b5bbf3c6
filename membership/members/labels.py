"""Names of channels, stages, types and rights in the reader's language, and the sentences of the timeline."""

from __future__ import annotations

from typing import Any

from kernel.events import describes
from kernel.i18n import gettext as _
from kernel.i18n import lazy_gettext as _l
from membership.orders.models import OrderState

from . import events
from .models import Channel, Contact, CustomerType, Purpose, Stage, ValueLabel

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
}
# The same, said to the person.
CONTACTS_FOR_THEM = {
    Contact.INBOX: _l("Messages on your page"),
    Contact.EMAIL: _l("E-mails"),
    Contact.SMS: _l("Text messages"),
    Contact.CALL: _l("Phone calls"),
}
CUSTOMER_TYPES = {
    CustomerType.RATIONAL: _l("Rational: wants facts"),
    CustomerType.IRRITABLE: _l("Quick-tempered: wants to be heard"),
    CustomerType.HAGGLER: _l("Haggler: wants a better price"),
    CustomerType.PRESSING: _l("Pressing: wants it now"),
    CustomerType.NO_SAYER: _l("No-sayer: needs time"),
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
    "undo": _l("took the unsubscribing back"),
    "import": _l("taken over from a file"),
    "demo": _l("demo shop"),
    "kept_opt_out": _l("had opted out before"),
    **TOLD_BY,
}


def source_label(source: str) -> Any:
    """How a consent or a member came, as words; `group:12` is named by what stands before the colon."""
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
