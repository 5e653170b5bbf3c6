"""Translated names of channels and of their health."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from kernel import clock
from kernel.i18n import date_time, number
from kernel.i18n import gettext as _
from kernel.i18n import lazy_gettext as _l

from . import services
from .models import Account, ChannelHour, ChannelKind, PostingState, TaskState

KINDS = {
    ChannelKind.INBOX: _l("Inbox"),
    ChannelKind.EMAIL: _l("E-mails"),
    ChannelKind.SMS: _l("SMS"),
    ChannelKind.WECOM: _l("WeCom customer contact"),
    ChannelKind.TASK: _l("Contact task"),
    ChannelKind.WEBHOOK: _l("Webhook"),
    ChannelKind.ROBOT: _l("Group robot"),
    ChannelKind.GROUP_POST: _l("Group post"),
}
SECURITIES = {
    "starttls": _l("STARTTLS (usual, port 587)"),
    "tls": _l("TLS from the start (port 465)"),
    "none": _l("None (only on this machine or a private network)"),
}
PROVIDERS = {
    "aliyun": _l("Aliyun"),
    "gateway": _l("another gateway over HTTP"),
}
FORMS = {
    "json": _l("JSON"),
    "form": _l("form fields"),
}
ROBOTS = {
    "feishu": _l("Feishu"),
    "dingtalk": _l("DingTalk"),
    "wecom": _l("WeCom"),
}
KIND_ICONS = {
    ChannelKind.INBOX: "inbox",
    ChannelKind.EMAIL: "mail",
    ChannelKind.SMS: "message-2",
    ChannelKind.WECOM: "messages",
    ChannelKind.TASK: "phone",
    ChannelKind.WEBHOOK: "webhook",
    ChannelKind.ROBOT: "broadcast",
    ChannelKind.GROUP_POST: "article",
}
# What each kind is good for, in a sentence.
ABOUT = {
    ChannelKind.INBOX: _l("Messages on the member's own page; needs no account anywhere."),
    ChannelKind.EMAIL: _l("Over any mail server, with one-click unsubscribe."),
    ChannelKind.SMS: _l("Text messages with signature and opt-out, over Aliyun or any HTTP gateway."),
    ChannelKind.WECOM: _l("Mass sends that staff confirm in WeCom."),
    ChannelKind.TASK: _l("A colleague calls or writes, and says what came of it."),
    ChannelKind.WEBHOOK: _l("Signed JSON to a program of your own."),
    ChannelKind.ROBOT: _l("Passes posts on to a chat in Feishu, DingTalk or WeCom, and tells the staff."),
    ChannelKind.GROUP_POST: _l("A post in the shop's own groups."),
}
# What is known when a worker dies, or the other side falls silent, in the middle of it.
ONCE = {
    "truly": _l("nothing lost, nothing twice"),
    "keyed": _l("nothing twice where the receiver keeps keys, else shown as in doubt"),
    "doubt": _l("shown as in doubt, never sent again by itself"),
    "person": _l("a person confirms each"),
}
_FAULTS = {
    "signature_missing": _l("The text does not begin with the signature."),
    "opt_out_missing": _l("The text does not say how to stop."),
    "link_personal": _l("The text has a link of the member's own."),
    "message_too_long": _l("The text is too long."),
    "template_unknown": _l("The text fits no approved template."),
    "wecom_quota": _l("The customer has had this month's mass messages."),
    "wecom_no_customer": _l("Is no customer of the staff at WeCom."),
    "not_confirmed": _l("Nobody of the staff sent it within a week."),
    "no_answer": _l("No answer came."),
    "too_late": _l("It waited too long to be news."),
    "restored": _l("The shop was restored: it may have been sent already"),
}
TASK_STATES = {
    TaskState.OPEN: _l("Still to do"),
    TaskState.DONE: _l("Done"),
    TaskState.NOT_REACHED: _l("Not reached"),
    TaskState.REFUSED: _l("Wants no calls"),
}
POSTING_STATES = {
    PostingState.WAITING: _l("Waiting"),
    PostingState.SENDING: _l("Being sent"),
    PostingState.SENT: _l("Message sent"),
    PostingState.FAILED: _l("Failed"),
    PostingState.UNKNOWN: _l("In doubt"),
}
CONTACTS = {
    "sms": _l("SMS (to the phone)"),
    "email": _l("e-mail (to the address)"),
    "inbox": _l("any other (the member's number)"),
}


def fault(reason: str) -> str:
    """Why a message was not taken: our own reasons in words, those of the other side as it said them."""
    return str(_FAULTS.get(reason, reason))


def rates(account: Account) -> str:
    """How fast an account may send, in words."""
    parts = [
        text
        for rate, text in (
            (account.rate_per_second, _("%(rate)s a second", rate=number(account.rate_per_second or 0))),
            (account.rate_per_minute, _("%(rate)s a minute", rate=number(account.rate_per_minute or 0))),
            (account.rate_per_hour, _("%(rate)s an hour", rate=number(account.rate_per_hour or 0))),
            (account.rate_per_day, _("%(rate)s a day", rate=number(account.rate_per_day or 0))),
        )
        if rate
    ]
    return " · ".join(parts) if parts else str(_("as fast as it takes them"))


def hours(rows: Iterable[ChannelHour]) -> list[dict[str, Any]]:
    """The bars of the hours of a day."""
    return [
        {
            "label": clock.local(row.hour_at).strftime("%H:00"),
            "value": row.accepted,
            "text": number(row.accepted),
            "tone": "negative" if row.rejected + row.unknown > row.accepted else "accent",
        }
        for row in rows
    ]


# What servers say in their own words, and what somebody who sets one up is to make of it.
_MEANINGS: tuple[tuple[re.Pattern[str], Any], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), words)
    for pattern, words in (
        (r"\b535\b|authentication (failed|unsuccessful|credentials)", _l("The user name or the password is not right.")),
        (r"connection refused", _l("Nothing answers at this address: check the server and the port.")),
        (r"name or service not known|nodename nor servname|no address associated|name resolution",
         _l("No server has this name: check how it is written.")),
        (r"timed out|no route to host|network is unreachable", _l("The server cannot be reached: check address and port.")),
        (r"certificate", _l("The server's certificate is not trusted.")),
        (r"wrong.version.number|unexpectedly closed|STARTTLS extension",
         _l("Encryption and port do not go together: try another of the three.")),
    )
)  # fmt: skip


def meaning(said: str) -> str:
    """What an error of the other side most likely means, in a sentence; empty for one that is not known."""
    return next((str(words) for pattern, words in _MEANINGS if pattern.search(said)), "")


# Ways that need a server of somebody else, of which nobody knows whether it takes anything before it has.
OUTSIDE = frozenset({ChannelKind.EMAIL, ChannelKind.SMS, ChannelKind.WECOM, ChannelKind.WEBHOOK, ChannelKind.ROBOT})


def health(account: Account) -> tuple[str, str, str]:
    """How an account is: a tone, a word, and a sentence that may be empty."""
    now = clock.now()
    if account.paused_at is not None:
        if account.tripped and account.probe_at is not None:
            words = _(
                "%(error)s. Tried again by itself at %(time)s.",
                error=account.pause_reason or "",
                time=date_time(account.probe_at),
            )
            return "negative", _("Paused by itself"), words
        return "negative", _("Paused"), account.pause_reason or ""
    resting = services.rests_until(account, now)
    if resting is not None:
        words = _("Tried again at %(time)s: %(error)s", time=date_time(resting), error=account.last_error or "")
        return "caution", _("Does not answer"), words
    if account.errors_in_row:
        return "caution", _("Has errors"), account.last_error or ""
    taken = account.last_accepted_at
    if account.test_passed is False and (taken is None or account.tested_at is None or taken < account.tested_at):
        return "negative", _("Test not taken"), meaning(account.test_outcome or "") or account.test_outcome or ""
    if account.kind in OUTSIDE and taken is None and not account.test_passed:
        return "caution", _("Not tested yet"), ""
    return "positive", _("Works"), ""
