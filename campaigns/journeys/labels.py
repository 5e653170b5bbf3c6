"""Words of journeys: what brings people in, what steps do, what came of them, what is wrong with a draft."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from campaigns.audiences import labels as audience_labels
from campaigns.audiences import rules as audience_rules
from kernel.i18n import gettext as _
from kernel.i18n import lazy_gettext as _l
from kernel.i18n import ngettext
from membership.members import labels as member_labels

from . import rules
from .models import JourneyState, PlaceState
from .rules import Kind, Wrong

STATES = {JourneyState.ON: _l("On"), JourneyState.OFF: _l("Off")}
PLACES = {
    PlaceState.ACTIVE: _l("Inside now"),
    PlaceState.DONE: _l("Came to the end"),
    PlaceState.LEFT: _l("Left before the end"),
    PlaceState.FAILED: _l("Stopped by an error"),
}
KINDS = {
    Kind.SHIPPED: _l("A parcel is on its way"),
    Kind.ARRIVING: _l("A parcel is about to arrive"),
    Kind.DELIVERED: _l("A parcel has arrived"),
    Kind.UNCONFIRMED: _l("An arrived order is not confirmed"),
    Kind.STAGE: _l("Reaches a life-cycle stage"),
    Kind.JOINED: _l("Joins a group"),
    Kind.ENROLLED: _l("Becomes a member"),
    Kind.BIRTHDAY: _l("Birthday"),
    Kind.ANNIVERSARY: _l("A number of days with the shop"),
    Kind.TIER_UP: _l("Rises to a higher tier"),
    Kind.TIER_FALL: _l("The tier is about to fall"),
    Kind.COUPON_ENDING: _l("A coupon is about to end"),
    Kind.CART: _l("Left something in the cart"),
    Kind.DORMANT: _l("Has not ordered for a while"),
    Kind.DUE: _l("Due to buy again"),
    Kind.CALL_CLOSED: _l("A call-back is closed"),
    Kind.TICKET_CLOSED: _l("A ticket is closed"),
    Kind.EVENT: _l("Another program reports it"),
}
KIND_ICONS = {
    Kind.SHIPPED: "truck", Kind.ARRIVING: "truck", Kind.DELIVERED: "package", Kind.UNCONFIRMED: "package",
    Kind.STAGE: "flag", Kind.JOINED: "users-group", Kind.ENROLLED: "user-check", Kind.BIRTHDAY: "gift",
    Kind.ANNIVERSARY: "heart", Kind.TIER_UP: "crown", Kind.TIER_FALL: "crown", Kind.COUPON_ENDING: "ticket",
    Kind.CART: "shopping-bag", Kind.DORMANT: "moon", Kind.DUE: "refresh", Kind.CALL_CLOSED: "phone-call",
    Kind.TICKET_CLOSED: "receipt-refund",
    Kind.EVENT: "webhook",
}  # fmt: skip
STEPS = {
    "message": _l("Send a message"),
    "wait": _l("Wait"),
    "condition": _l("Condition"),
    "split": _l("Split"),
    "coupon": _l("Coupon"),
    "points": _l("Points"),
    "invite": _l("Invite to a group"),
    "tag": _l("Tag"),
    "task": _l("Have them called"),
    "end": _l("End"),
}
STEP_LINES = {
    "message": _l("Say something over a channel, by your rules of consent, budget and quiet hours."),
    "wait": _l("A number of days and hours, or until an hour of the day."),
    "condition": _l("Go on by whether they are in an audience."),
    "split": _l("Send people two to six ways, each way its share."),
    "coupon": _l("Put a coupon among theirs, once."),
    "points": _l("Give points, once."),
    "invite": _l("Send their own link into a group."),
    "tag": _l("Put a tag on them, or take it off."),
    "task": _l("Open a call for the desk."),
    "end": _l("Nobody goes on from here."),
}
STEP_ICONS = {
    "message": "send", "wait": "clock", "condition": "help-circle", "split": "scale", "coupon": "ticket",
    "points": "coin", "invite": "users-group", "tag": "tag", "task": "phone-call", "end": "flag",
}  # fmt: skip
OUTCOMES = {
    "entered": _l("Entered"),
    "passed": _l("Passed"),
    "yes": _l("Yes"),
    "no": _l("No"),
    "a": _l("Way A"),
    "b": _l("Way B"),
    "c": _l("Way C"),
    "d": _l("Way D"),
    "e": _l("Way E"),
    "f": _l("Way F"),
    "no_coupon": _l("No coupon left to give"),
    "no_call": _l("Does not want to be called"),
    "left": _l("Left before the end"),
    "failed": _l("Stopped by an error"),
}
REASONS = {
    "bought": _l("Has bought meanwhile"),
    "audience": _l("Is not in the audience any more"),
    "days": _l("Was inside for too long"),
    "taken_out": _l("Taken out by staff"),
    "gone": _l("Merged or erased meanwhile"),
    "merged": _l("Goes on under their other record"),
    "restored": _l("The shop was restored: the step may have been done already"),
}
WRONGS = {
    Wrong.TRIGGER: _l("Say exactly what brings people in."),
    Wrong.AUDIENCE: _l("Choose an audience again."),
    Wrong.NO_STEPS: _l("Add a step."),
    Wrong.NO_WAIT: _l("Say how long to wait."),
    Wrong.NO_WORDS: _l("Write a title and a message, in English both or neither."),
    Wrong.PLACEHOLDER: _l("A placeholder in the text is not one of the list."),
    Wrong.EMPTY_PLACEHOLDER: _l("A placeholder has nothing to stand for: choose a coupon, or write a link."),
    Wrong.ACCOUNT: _l("Choose a channel again."),
    Wrong.OFFER: _l("Choose a coupon that runs."),
    Wrong.GROUP: _l("Choose a group that lets people in."),
    Wrong.TAG: _l("Write the tag."),
    Wrong.ABOUT: _l("Write what the call is about."),
    Wrong.LINK: _l("Write an https address, or a path of this site."),
    Wrong.NO_WAYS: _l("Add a step to one of the ways."),
    Wrong.UNREACHABLE: _l("Nobody comes here: move it before the end, or remove it."),
}
CALL_OUTCOMES = {
    "reached": _l("The customer was reached"),
    "refused": _l("The customer did not want to talk"),
    "unreachable": _l("Nobody answered"),
}
BASES = {"enrolled": _l("since they became a member"), "first_order": _l("since their first order")}


def duration(days: int, hours: int = 0) -> str:
    """`2 days 3 hours`."""
    parts = []
    if days:
        parts.append(ngettext("%(num)s day", "%(num)s days", days))
    if hours or not days:
        parts.append(ngettext("%(num)s hour", "%(num)s hours", hours))
    return " ".join(str(part) for part in parts)


def trigger(found: rules.Trigger, groups: Mapping[int, str]) -> str:
    """What brings people in, as a sentence."""
    days, hours = found.days or 0, found.hours or 0
    match found.kind:
        case Kind.ARRIVING:
            return _("A parcel arrives within %(time)s", time=duration(*divmod(hours, 24)))
        case Kind.DELIVERED:
            if not days:
                return _("A parcel has arrived")
            return ngettext("A parcel arrived %(num)s day ago", "A parcel arrived %(num)s days ago", days)
        case Kind.UNCONFIRMED:
            return _("Arrived for %(time)s and not confirmed", time=duration(days))
        case Kind.STAGE if found.stage is not None:
            return _("Reaches the stage “%(stage)s”", stage=member_labels.STAGES[found.stage])
        case Kind.JOINED:
            if found.group_id is None:
                return _("Joins any group")
            return _("Joins the group %(name)s", name=groups.get(found.group_id) or _("a group that is gone"))
        case Kind.BIRTHDAY:
            return _("%(time)s before the birthday", time=duration(days)) if days else _("On the birthday")
        case Kind.ANNIVERSARY:
            return _("%(time)s %(basis)s", time=duration(days), basis=BASES[found.basis or "enrolled"])
        case Kind.TIER_UP:
            return _("Rises to VIP%(rank)s", rank=found.rank) if found.rank else _("Rises to a higher tier")
        case Kind.TIER_FALL:
            return _("The tier falls within %(time)s", time=duration(days))
        case Kind.COUPON_ENDING:
            return _("A coupon ends within %(time)s", time=duration(days))
        case Kind.CART:
            return _("Left something in the cart for %(time)s", time=duration(*divmod(hours, 24)))
        case Kind.DORMANT:
            return _("No order for %(time)s", time=duration(days))
        case Kind.DUE:
            return _("Due to buy again within %(time)s", time=duration(days))
        case Kind.CALL_CLOSED if found.outcome is not None:
            return _("A call-back is closed: %(outcome)s", outcome=CALL_OUTCOMES[found.outcome])
        case Kind.EVENT:
            return _("Another program reports “%(type)s”", type=found.type or "–")
    return str(KINDS[found.kind])


def audience(definition: Mapping[str, Any]) -> list[str]:
    """The rules of an audience in words."""
    try:
        return audience_labels.sentences(audience_rules.parse(dict(definition)))
    except audience_rules.AudienceInvalid:
        return [str(WRONGS[Wrong.AUDIENCE])]


class Names:
    """What steps name, looked up once a page."""

    def __init__(self, offers: Mapping[int, str], groups: Mapping[int, str], accounts: Mapping[int, str]) -> None:
        self.offers, self.groups, self.accounts = offers, groups, accounts

    def account(self, account_id: int | None) -> str:
        """The name of a channel; none is the inbox."""
        name = self.accounts.get(account_id, "–") if account_id is not None else "inbox"
        return str(_("inbox")) if name == "inbox" else name


def step(found: rules.AnyStep, names: Names) -> str:
    """What a step does, as a short sentence; what it still lacks where it cannot be said."""
    match found:
        case rules.Wait():
            return _wait(found)
        case rules.Condition():
            if not found.audience:
                return str(WRONGS[Wrong.AUDIENCE])
            return _("Does this hold: %(rules)s?", rules=str(_(", ")).join(audience(found.audience)))
        case rules.Split():
            shares = [f"{OUTCOMES[way]} {share(percent)}" for way, percent in found.percents.items()]
            return str(_(", ")).join(shares)
        case rules.Message() if found.subject:
            return _("Says “%(subject)s” (%(channel)s)", subject=found.subject, channel=names.account(found.account_id))
        case rules.Invite():
            group = names.groups.get(found.group_id or 0) or "–"
            return _("Invites to the group %(name)s (%(channel)s)", name=group, channel=names.account(found.account_id))
        case rules.GrantCoupon() if found.offer_id in names.offers:
            return _("Gives the coupon “%(name)s”", name=names.offers.get(found.offer_id or 0, "–"))
        case rules.GrantPoints():
            return ngettext("Gives %(num)s point", "Gives %(num)s points", found.points)
        case rules.Tagging() if found.name:
            put_on = _("Puts on the tag “%(name)s”", name=found.name)
            return put_on if found.carried else _("Takes off the tag “%(name)s”", name=found.name)
        case rules.Task() if found.about:
            return _("Asks a colleague to call: %(about)s", about=found.about)
        case rules.End():
            return str(STEP_LINES["end"])
    return str(WRONGS[_LACKS[found.kind]])


_LACKS = {"message": Wrong.NO_WORDS, "coupon": Wrong.OFFER, "tag": Wrong.TAG, "task": Wrong.ABOUT}


def _wait(found: rules.Wait) -> str:
    hour = f"{found.until_hour:02d}" if found.until_hour is not None else ""
    if not (found.days or found.hours):
        return _("Waits until %(hour)s:00", hour=hour) if hour else str(WRONGS[Wrong.NO_WAIT])
    time = duration(found.days, found.hours)
    return _("Waits %(time)s, then until %(hour)s:00", time=time, hour=hour) if hour else _("Waits %(time)s", time=time)


def share(percent: float) -> str:
    """`30%`, `33.3%`."""
    return f"{percent:.1f}".removesuffix(".0") + "%"


def details(found: rules.AnyStep, names: Names) -> list[str]:
    """What else there is to say of a step: of a message what stands in it, what comes with it, and what it counts as."""
    match found:
        case rules.Message():
            said = [_shortened(found.body)]
            if found.offer_id is not None:
                said.append(_("With the coupon “%(name)s”", name=names.offers.get(found.offer_id, "–")))
            if found.link_url:
                said.append(_("The link leads to %(address)s", address=found.link_url))
            said.append(str(_KINDS_OF_MESSAGE[found.service]))
            return [line for line in said if line]
        case rules.Invite():
            return [line for line in (_shortened(found.body),) if line]
        case rules.GrantPoints() if found.reason:
            return [_("The member reads: %(reason)s", reason=found.reason)]
    return []


_KINDS_OF_MESSAGE = {
    False: _l("An offer: asks for consent, and counts in the contact budget"),
    True: _l("About their order or their rights: outside the contact budget"),
}


def _shortened(words: str, most: int = 90) -> str:
    line = " ".join(words.split())
    return line if len(line) <= most else line[: most - 1] + "…"


def again(plan: rules.Plan) -> str:
    """How often one person may enter."""
    if plan.again_after is None:
        return _("Once for each person")
    if plan.again_after == 0:
        return _("Again each time")
    return ngettext("Again after %(num)s day", "Again after %(num)s days", plan.again_after)


def exits(plan: rules.Plan) -> list[str]:
    """When people leave before the end."""
    found = []
    if plan.exits.bought:
        found.append(_("when they order"))
    if plan.exits.audience:
        found.append(_("when they are not in the audience any more"))
    if plan.exits.days is not None:
        found.append(_("after %(time)s", time=duration(plan.exits.days)))
    return found


def reason(said: str | None) -> Any:
    """Why somebody left: our own reasons translated, an error as it is."""
    return REASONS.get(said or "", said or "")


def walk(plan: rules.Plan) -> list[rules.AnyStep]:
    """Every step of a plan in the order of reading."""
    return list(rules.walk(plan.steps))
