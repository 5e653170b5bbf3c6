"""Names of kinds, states, steps and what they ask for, and the sentences of the timeline."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flask import url_for
from markupsafe import Markup, escape

from kernel import money
from kernel.events import describes
from kernel.i18n import current_locale, ngettext
from kernel.i18n import gettext as _
from kernel.i18n import lazy_gettext as _l

from .events import (
    ReturnOverdue,
    TicketAnswered,
    TicketClosed,
    TicketOpened,
    TicketRated,
    TicketReopened,
    TicketResolved,
)
from .models import EntryKind, TicketEntry, TicketKind, TicketSource, TicketState, TicketStep
from .rules import Ask, Step

KINDS: dict[TicketKind, Any] = {
    TicketKind.RETURN: _l("Return"),
    TicketKind.EXCHANGE: _l("Exchange"),
    TicketKind.COMPLAINT: _l("Complaint"),
    TicketKind.WRONG_ADDRESS: _l("Address is wrong"),
    TicketKind.REFUSED_PARCEL: _l("Parcel refused"),
    TicketKind.FEEDBACK: _l("Feedback"),
    TicketKind.SURVEY: _l("Survey"),
}
KIND_ICONS: dict[TicketKind, str] = {
    TicketKind.RETURN: "arrow-back-up",
    TicketKind.EXCHANGE: "refresh",
    TicketKind.COMPLAINT: "alert-triangle",
    TicketKind.WRONG_ADDRESS: "map-off",
    TicketKind.REFUSED_PARCEL: "ban",
    TicketKind.FEEDBACK: "message-2",
    TicketKind.SURVEY: "clipboard-list",
}
# What a member reads before they choose.
FOR_THEM: dict[TicketKind, Any] = {
    TicketKind.RETURN: _l("Send something back and get the money"),
    TicketKind.EXCHANGE: _l("Send something back and get another one"),
    TicketKind.WRONG_ADDRESS: _l("The parcel is going to the wrong place"),
    TicketKind.COMPLAINT: _l("Something went wrong and should be put right"),
    TicketKind.FEEDBACK: _l("Tell us what you noticed"),
}
STATES: dict[TicketState, Any] = {
    TicketState.OPEN: _l("For the desk"),
    TicketState.WAITING: _l("Waiting for the customer"),
    TicketState.RESOLVED: _l("Resolved"),
    TicketState.CLOSED: _l("Closed"),
}
MEMBER_STATES: dict[TicketState, Any] = {
    TicketState.OPEN: _l("We are on it"),
    TicketState.WAITING: _l("We have answered you"),
    TicketState.RESOLVED: _l("Resolved"),
    TicketState.CLOSED: _l("Closed"),
}
STATE_TONES: dict[TicketState, str] = {
    TicketState.OPEN: "info",
    TicketState.WAITING: "caution",
    TicketState.RESOLVED: "positive",
    TicketState.CLOSED: "neutral",
}
SOURCES: dict[TicketSource, Any] = {
    TicketSource.STAFF: _l("Staff"),
    TicketSource.MEMBER: _l("The customer"),
    TicketSource.PROGRAM: _l("Another program"),
    TicketSource.CALL: _l("A call"),
    TicketSource.CONVERSATION: _l("A conversation"),
}
VIEWS: dict[str, Any] = {
    "live": _l("To do"),
    "mine": _l("Mine"),
    "nobody": _l("Not assigned"),
    "late": _l("Late"),
    "resolved": _l("Resolved"),
    "closed": _l("Closed"),
    "all": _l("All"),
}
STEPS: dict[str, Any] = {
    "reason": _l("Why it comes back"),
    "approved": _l("Agreed to"),
    "sent": _l("On its way back"),
    "received": _l("Back with us"),
    "refunded": _l("Refunded"),
    "sent_again": _l("The other one is sent"),
    "heard": _l("Heard out"),
    "looked_into": _l("Looked into"),
    "offered": _l("Offered a remedy"),
    "settled": _l("Settled"),
    "noted": _l("Noted"),
    "passed_on": _l("Told whom it concerns"),
    "address": _l("Right address known"),
    "carrier_told": _l("Carrier told"),
    "arrived": _l("Arrived"),
    "asked": _l("They were asked"),
    "decided": _l("Decided"),
    "done": _l("Done"),
    "answered": _l("Answered"),
}
ASKS: dict[str, Any] = {
    "why": _l("Why they want it"),
    "wanted": _l("What they would like instead"),
    "return_address": _l("Where it is to be sent"),
    "carrier": _l("Carrier"),
    "parcel_number": _l("Parcel number"),
    "parcel_state": _l("How it came back"),
    "amount": _l("Amount refunded"),
    "what_happened": _l("What they tell"),
    "cause": _l("What the cause was"),
    "remedy": _l("Remedy"),
    "offer": _l("What was offered, word for word"),
    "agreed": _l("Did they agree?"),
    "about": _l("What it is about"),
    "to_whom": _l("To whom"),
    "right_address": _l("The right address"),
    "carrier_says": _l("What the carrier says"),
    "why_refused": _l("Why it was refused"),
    "outcome": _l("What happens now"),
    "said": _l("What they said"),
}
THEIR_ASKS: dict[str, Any] = {
    "why": _l("Why it comes back"),
    "wanted": _l("What you would like instead"),
    "said": _l("What you think"),
}
CHOICES: dict[str, dict[str, Any]] = {
    "why": {
        "unlike_picture": _l("Not as pictured"),
        "broken": _l("Broken or faulty"),
        "wrong_item": _l("The wrong item came"),
        "size": _l("Size does not fit"),
        "no_longer_wanted": _l("No longer wanted"),
        "other": _l("Something else"),
    },
    "parcel_state": {
        "complete": _l("Complete, as it was sent"),
        "damaged": _l("Damaged"),
        "missing_parts": _l("Something is missing"),
    },
    "remedy": {
        "apology": _l("An apology"),
        "coupon": _l("A coupon"),
        "replacement": _l("A replacement"),
        "refund": _l("A refund"),
    },
    "agreed": {"yes": _l("Yes"), "no": _l("No")},
    "about": {
        "product": _l("A product"),
        "parcel": _l("The parcel"),
        "service": _l("Our service"),
        "group": _l("A group"),
        "other": _l("Something else"),
    },
    "why_refused": {
        "not_ordered": _l("Says they did not order it"),
        "too_late": _l("Came too late"),
        "damaged": _l("Damaged"),
        "price": _l("Found it cheaper"),
        "other": _l("Something else"),
    },
    "outcome": {
        "send_again": _l("It is sent once more"),
        "refund": _l("A refund"),
        "cancel": _l("The order is cancelled"),
    },
}
FAULTS: dict[str, Any] = {
    "needed": _l("This field is required."),
    "choice": _l("Not a valid choice."),
    "yuan": _l("Write an amount in yuan, such as 99 or 1,234.50."),
    "long": _l("This is too long."),
}
ENTRY_ICONS: dict[EntryKind, str] = {
    EntryKind.STEP: "check",
    EntryKind.STATE: "arrow-right",
    EntryKind.ASSIGNED: "user-check",
    EntryKind.REMINDER: "clock",
}
STARS: dict[int, Any] = {
    5: _l("5 · very satisfied"),
    4: _l("4 · satisfied"),
    3: _l("3 · so-so"),
    2: _l("2 · not satisfied"),
    1: _l("1 · upset"),
}
WEEKDAYS = (_l("Monday"), _l("Tuesday"), _l("Wednesday"), _l("Thursday"), _l("Friday"), _l("Saturday"), _l("Sunday"))


SHAPES: dict[str, Any] = {
    "line": _l("A line"),
    "text": _l("Several lines"),
    "choice": _l("One of several"),
    "yuan": _l("An amount"),
}
TIMERS: dict[str, Any] = {
    "": _l("No parcel is waited for"),
    "start": _l("From here a parcel is waited for"),
    "stop": _l("The parcel is there"),
}
WORKFLOW_FAULTS: dict[str, Any] = {
    "number": _l("One step at the least, twelve at the most."),
    "twice": _l("A step stands there twice."),
    "name": _l("Every step needs a name."),
    "asks": _l("A step asks for six things at the most, each once."),
    "choices": _l("Something to choose from has two to twelve lines."),
    "timer": _l("A parcel can only arrive after a step from which it is waited for."),
}


def step_name(step: Step) -> str:
    """What a step is called in the reader's language."""
    if step.name:
        return (step.name_en if current_locale().startswith("en") else "") or step.name
    return str(STEPS.get(step.key, step.key))


def step_written(step: Step) -> str:
    """What stands in the field of a step's name: the shop's own words whatever the reader's language, which has its own field."""
    return step.name or step_name(step)


def ask_name(ask: Ask, theirs: bool = False) -> str:
    """What is asked for, in the reader's language; `theirs` where the customer is asked themselves."""
    if ask.label:
        return (ask.label_en if current_locale().startswith("en") else "") or ask.label
    return str((THEIR_ASKS if theirs else {}).get(ask.key) or ASKS.get(ask.key, ask.key))


def ask_written(ask: Ask) -> str:
    """What stands in the field of what is asked for, as `step_written`."""
    return ask.label or ask_name(ask)


def choice_name(ask: Ask, value: str) -> str:
    """One of the answers to choose from: the standard's are translated, the shop's own are as they were written."""
    return str(CHOICES.get(ask.key, {}).get(value, value))


def said(ask: Ask, answers: Mapping[str, Any] | None) -> str:
    """What a step was told, as people read it; empty when it was not."""
    value = (answers or {}).get(ask.key)
    if value is None:
        return ""
    if ask.shape == "yuan":
        return money.yuan(int(value))
    if ask.shape == "choice":
        return choice_name(ask, str(value))
    return str(value)


def told(step: Step, done: TicketStep) -> list[tuple[str, str]]:
    """What a step that is done was told: (what was asked, the answer), without what was left empty."""
    return [(ask_name(ask), words) for ask in step.asks if (words := said(ask, done.answers))]


def happened(entry: TicketEntry) -> str:
    """The sentence of a line that the house wrote itself."""
    match entry.kind:
        case EntryKind.STEP:
            return str(_("Step done: %(step)s", step=STEPS.get(entry.about, entry.about)))
        case EntryKind.ASSIGNED:
            return str(_("Assigned to %(name)s", name=entry.about))
        case EntryKind.REMINDER:
            return str(_("The parcel is not back in time."))
        case EntryKind.STATE if entry.about.startswith("kind:"):
            kind = TicketKind(entry.about.removeprefix("kind:"))
            return str(_("Put under “%(kind)s”", kind=KINDS[kind]))
        case EntryKind.STATE:
            return str(STATES[TicketState(entry.about)])
        case _:
            return ""


def span(minutes: float | None) -> str:
    """A number of working minutes, as people say it."""
    if minutes is None:
        return "–"
    whole = round(minutes)
    if whole < 60:
        return str(ngettext("%(num)s min", "%(num)s min", whole))
    hours, rest = divmod(whole, 60)
    if hours < 10 and rest:
        return str(_("%(hours)d h %(minutes)d min", hours=hours, minutes=rest))
    return str(ngettext("%(num)s h", "%(num)s h", round(minutes / 60)))


# ── The timeline ────────────────────────────────────────────────────────────────────────────────────────────────────


def _sentence(sentence: str, event: Any, **values: Any) -> Markup:
    words = KINDS[TicketKind(event.kind)]
    place = Markup('<a href="{}">{}</a>').format(url_for("tickets_console.show", ticket_id=event.ticket_id), words)
    return escape(sentence) % {"ticket": place, **values}


@describes(TicketOpened)
def opened(event: TicketOpened) -> Any:
    return _sentence(_("Ticket opened: %(ticket)s"), event)


@describes(TicketAnswered)
def answered(event: TicketAnswered) -> Any:
    return _sentence(_("The desk answered: %(ticket)s"), event)


@describes(TicketResolved)
def resolved(event: TicketResolved) -> Any:
    return _sentence(_("Resolved: %(ticket)s"), event)


@describes(TicketReopened)
def reopened(event: TicketReopened) -> Any:
    return _sentence(_("Opened again: %(ticket)s"), event)


@describes(TicketClosed)
def closed(event: TicketClosed) -> Any:
    return _sentence(_("Ticket closed: %(ticket)s"), event)


@describes(TicketRated)
def rated(event: TicketRated) -> Any:
    return _sentence(_("Rated %(stars)s of 5: %(ticket)s"), event, stars=event.stars)


@describes(ReturnOverdue)
def overdue(event: ReturnOverdue) -> Any:
    return _sentence(_("The parcel is not back in time: %(ticket)s"), event)
