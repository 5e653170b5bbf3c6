"""Names of reasons, states and voices, the words around a script, and the sentences of the timeline."""

from __future__ import annotations

from typing import Any

from flask import url_for
from markupsafe import Markup, escape

from community.groups import queries as groups
from kernel.auth import Role
from kernel.events import describes
from kernel.i18n import forced_locale, number, percent
from kernel.i18n import gettext as _
from kernel.i18n import lazy_gettext as _l
from kernel.staff.models import Staff

from .events import CallClosed, CallTaskOpened, MemberInvited
from .models import CallReason, CallState
from .queries import Funnel

REASONS: dict[CallReason, Any] = {
    CallReason.DELIVERED: _l("Parcel arrived"),
    CallReason.REFUSED_PARCEL: _l("Parcel refused"),
    CallReason.WRONG_ADDRESS: _l("Wrong address"),
    CallReason.FOLLOW_UP: _l("Follow-up"),
}
REASON_ICONS: dict[CallReason, str] = {
    CallReason.DELIVERED: "package",
    CallReason.REFUSED_PARCEL: "ban",
    CallReason.WRONG_ADDRESS: "map-off",
    CallReason.FOLLOW_UP: "phone-call",
}
STATES: dict[CallState, Any] = {
    CallState.OPEN: _l("To call"),
    CallState.RETRY: _l("Call again"),
    CallState.REACHED: _l("Reached"),
    CallState.REFUSED: _l("Did not want to talk"),
    CallState.UNREACHABLE: _l("Not reached"),
}
DUES: dict[str, Any] = {
    "today": _l("Today"),
    "overdue": _l("Overdue"),
    "later": _l("Later"),
    "closed": _l("Done"),
    "all": _l("All"),
}
VOICES: dict[str, Any] = {
    "": _l("Everybody"),
    Role.SERVICE.value: _l("Customer service"),
    Role.ASSISTANT.value: _l("Assistant"),
    Role.MANAGER.value: _l("Community manager"),
}
# How somebody introduces themselves to a customer.
_TITLES: dict[Role, Any] = {
    Role.OWNER: _l("the owner"),
    Role.MANAGER: _l("the shop's editor"),
    Role.MARKETER: _l("the shop's editor"),
    Role.SERVICE: _l("customer service"),
    Role.ASSISTANT: _l("the shop's assistant"),
}


def agent_name(staff: Staff, locale: str) -> str:
    """How an agent is called before a customer: the signature they chose, or what they do and their name."""
    if staff.signature:
        return staff.signature
    with forced_locale(locale):
        title = _TITLES.get(staff.role, "")
        return str(_("%(name)s, %(title)s", name=staff.name, title=title)) if title else staff.name


def opening(staff: Staff, values: dict[str, str], locale: str) -> str:
    """The first sentence of a call, in the voice of the agent's role and the customer's language."""
    with forced_locale(locale):
        match staff.role:
            case Role.SERVICE:
                text = _("Hello, is this %(nickname)s? This is %(agent)s at %(shop)s. Do you have a minute?", **values)
            case Role.ASSISTANT:
                text = _(
                    "Hi %(nickname)s, it's %(agent)s from %(shop)s. Just a quick call to see that all is well.",
                    **values,
                )
            case _:
                text = _(
                    "Hello %(nickname)s, %(agent)s of %(shop)s here. I wanted to ask you myself how it went.", **values
                )
        return str(text)


def closing(staff: Staff, locale: str) -> str:
    """The last sentence of a call, in the voice of the agent's role."""
    with forced_locale(locale):
        match staff.role:
            case Role.SERVICE:
                text = _("Thank you. If anything is not right, call me, I will see to it.")
            case Role.ASSISTANT:
                text = _("That was all, thank you! Ask in the group any time, I am there.")
            case _:
                text = _("Thank you for telling me. See you in the group.")
        return str(text)


def invitation_text(values: dict[str, str], group: str, gift: str | None, link: str, locale: str) -> str:
    """The message that goes with a personal link, ready to be pasted, in the customer's language."""
    words = {**values, "group": group, "link": link, "gift": gift or ""}
    with forced_locale(locale):
        if gift:
            return str(
                _(
                    "Hello %(nickname)s, this is %(agent)s at %(shop)s. Your own way into our group “%(group)s”, "
                    "with %(gift)s kept for you: %(link)s",
                    **words,
                )
            )
        return str(
            _(
                "Hello %(nickname)s, this is %(agent)s at %(shop)s. Your own way into our group “%(group)s”: %(link)s",
                **words,
            )
        )


FUNNEL: dict[str, Any] = {
    "delivered": _l("Parcel delivered"),
    "called": _l("Called"),
    "reached": _l("Reached"),
    "invited": _l("Invited to a group"),
    "joined": _l("Joined a group"),
    "gift": _l("Claimed the gift"),
    "again": _l("Ordered again"),
}


def funnel_rows(funnel: Funnel) -> list[dict[str, Any]]:
    """The steps of a funnel as the chart, the table and the file show them."""
    rows: list[dict[str, Any]] = []
    for name, value in funnel.steps():
        before = rows[-1]["value"] if rows else 0
        rows.append(
            {
                "key": name,
                "label": FUNNEL[name],
                "value": value,
                "text": number(value),
                "share": percent(value, before) if rows else "",
                "of_all": percent(value, funnel.delivered, 1),
            }
        )
    return rows


# ── The timeline ────────────────────────────────────────────────────────────────────────────────────────────────────


def _task_link(task_id: int, words: Any) -> Markup:
    return Markup('<a href="{}">{}</a>').format(url_for("desk_console.show", task_id=task_id), words)


@describes(CallTaskOpened)
def opened(event: CallTaskOpened) -> Any:
    place = _task_link(event.task_id, REASONS[CallReason(event.reason)])
    return escape(_("To be called: %(reason)s")) % {"reason": place}


@describes(CallClosed)
def closed(event: CallClosed) -> Any:
    place = _task_link(event.task_id, STATES[CallState(event.outcome)])
    return escape(_("Called: %(outcome)s")) % {"outcome": place}


@describes(MemberInvited)
def invited(event: MemberInvited) -> str:
    group = groups.find_group(event.group_id)
    return str(_("Was invited to the group “%(group)s” after a call", group=group.name if group else "–"))
