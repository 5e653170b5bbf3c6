"""Translated names of channels and of their health."""

from __future__ import annotations

from kernel import clock
from kernel.i18n import date_time
from kernel.i18n import gettext as _
from kernel.i18n import lazy_gettext as _l

from . import services
from .models import Account, ChannelKind

KINDS = {
    ChannelKind.INBOX: _l("Inbox"),
    ChannelKind.EMAIL: _l("E-mail"),
    ChannelKind.SMS: _l("SMS"),
    ChannelKind.WECOM: _l("WeCom customer contact"),
    ChannelKind.TASK: _l("Staff task"),
    ChannelKind.WEBHOOK: _l("Webhook"),
    ChannelKind.ROBOT: _l("Group robot"),
    ChannelKind.GROUP_POST: _l("Group post"),
}
SECURITIES = {
    "starttls": _l("STARTTLS (usual, port 587)"),
    "tls": _l("TLS from the start (port 465)"),
    "none": _l("None (only on this machine or a private network)"),
}
CONTACTS = {
    "sms": _l("SMS (to the phone)"),
    "email": _l("e-mail (to the address)"),
    "inbox": _l("any other (the member's number)"),
}


def health(account: Account) -> tuple[str, str, str]:
    """How an account is: a tone, a word, and a sentence that may be empty."""
    now = clock.now()
    if account.paused_at is not None:
        return "negative", _("Paused"), account.pause_reason or ""
    resting = services.rests_until(account, now)
    if resting is not None:
        words = _("Tried again at %(time)s: %(error)s", time=date_time(resting), error=account.last_error or "")
        return "caution", _("Does not answer"), words
    if account.errors_in_row:
        return "caution", _("Has errors"), account.last_error or ""
    return "positive", _("Works"), ""
