"""Translated names of states, reasons and classes."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, datetime
from typing import Any

from babel import dates

from campaigns.channels.models import ContactClass, FestivalEffect
from kernel.i18n import current_locale, ngettext
from kernel.i18n import gettext as _
from kernel.i18n import lazy_gettext as _l

from .models import CouponMode, Delivery, DeliveryState, RunState

S = DeliveryState

RUN_STATES = {
    RunState.DRAFT: _l("Draft"),
    RunState.APPROVAL: _l("Waiting for approval"),
    RunState.SCHEDULED: _l("Scheduled"),
    RunState.MATERIALISING: _l("Being prepared"),
    RunState.RUNNING: _l("Sending"),
    RunState.PAUSED: _l("Paused"),
    RunState.COMPLETED: _l("Finished"),
    RunState.CANCELLED: _l("Cancelled"),
    RunState.EXPIRED: _l("Expired"),
    RunState.FAILED: _l("Failed"),
}

# Those that a person may choose; what a journey sends beside them follows below.
CLASSES = {
    ContactClass.REPURCHASE: _l("Repurchase reminder"),
    ContactClass.BROADCAST: _l("News for everybody"),
}
ALL_CLASSES = {
    ContactClass.TRANSACTIONAL: _l("Part of an order or a request"),
    ContactClass.SERVICE: _l("Service"),
    ContactClass.TRIGGERED: _l("Set off by something the member did"),
    **CLASSES,
}

FESTIVAL_EFFECTS = {
    FestivalEffect.QUIET: _l("Nothing that makes a sound is sent"),
    FestivalEffect.EXTRA: _l("Some messages more than usual"),
}
WINDOWS = {"day": _l("Today"), "week": _l("This week"), "month": _l("This month")}
MISSED_RUN = _l("Missed: nothing ran at that moment. It was skipped and is not sent later.")
RESTORED_RUN = _l(
    "It was on its way, or was to begin, when the backup was made from which the shop was restored. What was unsent then may"
    " have arrived since, and whom it had not come to yet is left out. Ask the channel's own records before you send anything"
    " again."
)
LOST = {
    "offer": _l("Its coupon does not run any more. Choose another one, or none."),
    "products": _l("A product on its cards is not there any more; it is left out."),
    "account": _l("Its channel stands still."),
    "audience": _l("Its audience speaks of something that is not there any more."),
}

COUPON_MODES = {
    CouponMode.LINK: _l("They take it with one tap"),
    CouponMode.GRANT: _l("It lies in their coupons already"),
}
COUPON_MODE_LINES = {
    CouponMode.LINK.value: _l("Stock is used only by those who take it."),
    CouponMode.GRANT.value: _l("Stock is used by everybody written to; nobody forgets to take it."),
}

DELIVERY_STATES = {
    S.READY: _l("Waiting"),
    S.CLAIMED: _l("Taken up"),
    S.SUBMITTING: _l("Being handed over"),
    S.ASSIGNED: _l("In the hands of staff"),
    S.ACCEPTED: _l("Message sent"),
    S.SUPPRESSED: _l("Left out"),
    S.CAPPED: _l("Contact budget used up"),
    S.CONTROL: _l("Held out"),
    S.FAILED: _l("Refused by the channel"),
    S.CANCELLED: _l("Cancelled before sending"),
    S.EXPIRED: _l("Not sent in time"),
    S.RENDER_FAILED: _l("The text could not be filled in"),
    S.UNKNOWN: _l("In doubt"),
}

# What a channel that took a message may report of it later.
DELIVERED = _l("Reported delivered")
UNDELIVERED = _l("Reported not delivered")
REASONS = {
    (S.SUPPRESSED, "no_consent"): _l("No consent to offers by this channel"),
    (S.SUPPRESSED, "no_address"): _l("No address for this channel"),
    (S.SUPPRESSED, "bought"): _l("Has bought meanwhile"),
    (S.SUPPRESSED, "gone"): _l("Merged or erased meanwhile"),
    (S.SUPPRESSED, "no_coupon"): _l("No coupon left to give"),
    (S.CAPPED, "day"): _l("Has had today's message already"),
    (S.CAPPED, "week"): _l("Has had this week's messages already"),
    (S.CAPPED, "class_day"): _l("Has had today's message of this kind already"),
    (S.CAPPED, "class_week"): _l("Has had this week's messages of this kind already"),
    (S.CAPPED, "class_month"): _l("Has had this month's messages of this kind already"),
    (S.FAILED, "not_done"): _l("Staff did not send it"),
    (S.EXPIRED, "not_confirmed"): _l("Staff did not confirm it in time"),
    (S.CONTROL, "control"): _l("Control group of this push"),
    (S.CAPPED, "month"): _l("Has had this month's messages already"),
    (S.CONTROL, "held_out"): _l("Held out to measure what pushes bring"),
    (S.UNKNOWN, "sender_stopped"): _l("The sender was stopped in the middle"),
    (S.UNKNOWN, "no_answer"): _l("The channel gave no answer"),
    (S.UNKNOWN, "restored"): _l("On its way when the backup was made"),
}
# The usual rules of a series, in words.
SERIES = {
    "FREQ=DAILY": _l("Every day"),
    "FREQ=WEEKLY": _l("Every week, on the same weekday"),
    "FREQ=MONTHLY": _l("Every month, on the same day"),
}

_DAYS = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")


def series(rule: str) -> str:
    """A rule of repetition (in the spelling of `recurrence.canonical`) in words."""
    if rule in SERIES:
        return str(SERIES[rule])
    said = dict(piece.split("=", 1) for piece in rule.split(";"))
    words = [_rhythm(said["FREQ"], int(said.get("INTERVAL", 1)))]
    if "BYMONTH" in said:
        names = dates.get_month_names("wide", locale=current_locale())
        words.append(_("in %(months)s", months=_listed(names[int(one)] for one in said["BYMONTH"].split(","))))
    if "BYMONTHDAY" in said:
        words.append(_listed(_day_of_month(int(one)) for one in said["BYMONTHDAY"].split(",")))
    if "BYDAY" in said:
        words.append(_listed(_weekday(one) for one in said["BYDAY"].split(",")))
    if "BYSETPOS" in said:
        words.append(_listed(_position(int(one)) for one in said["BYSETPOS"].split(",")))
    if "COUNT" in said:
        words.append(ngettext("%(num)s time in all", "%(num)s times in all", int(said["COUNT"])))
    if "UNTIL" in said:
        last = datetime.strptime(said["UNTIL"][:8], "%Y%m%d").date()  # noqa: DTZ007
        words.append(_("until %(day)s", day=_date(last)))
    return " · ".join(words)


def _listed(words: Iterable[str]) -> str:
    return ("、" if current_locale().startswith("zh") else ", ").join(words)


def _date(day: date) -> str:
    return str(dates.format_date(day, "long", locale=current_locale()))


_RHYTHMS = {
    "DAILY": (_l("Every day"), _l("Every %(num)s days")),
    "WEEKLY": (_l("Every week"), _l("Every %(num)s weeks")),
    "MONTHLY": (_l("Every month"), _l("Every %(num)s months")),
    "YEARLY": (_l("Every year"), _l("Every %(num)s years")),
}


def _rhythm(freq: str, every: int) -> str:
    once, several = _RHYTHMS[freq]
    return str(once) if every == 1 else str(several) % {"num": every}


def _weekday(said: str) -> str:
    name = dates.get_day_names("wide", locale=current_locale())[_DAYS.index(said[-2:])]
    number = int(said[:-2] or 0)
    if not number:
        return str(name)
    if number == -1:
        return _("the last %(day)s", day=name)
    if number < 0:
        return _("%(day)s no. %(num)s from the end", day=name, num=-number)
    return _("%(day)s no. %(num)s", day=name, num=number)


def _day_of_month(number: int) -> str:
    if number == -1:
        return _("on the last day of the month")
    return _("on day %(num)s", num=number) if number > 0 else _("on day %(num)s from the end", num=-number)


def _position(number: int) -> str:
    if number == -1:
        return _("only the last of these")
    return _("only no. %(num)s of these", num=number) if number > 0 else _("only no. %(num)s from the end", num=-number)


def report(delivery: Delivery) -> str:
    """What the channel reported of a message that it had taken; empty while it has said nothing."""
    if delivery.delivered_at is not None:
        return str(DELIVERED)
    return str(UNDELIVERED) if delivery.undelivered_at is not None else ""


def outcome(state: DeliveryState, reason: str | None) -> Any:
    """Why a delivery ended as it did: our own reasons translated, a channel's words as they are."""
    if state is S.RENDER_FAILED and reason:
        return _l("Nothing to put in for {%(name)s}", name=reason)
    known = REASONS.get((state, reason or ""))
    if known is not None:
        return known
    return DELIVERY_STATES[state] if not reason else f"{DELIVERY_STATES[state]}: {reason}"
