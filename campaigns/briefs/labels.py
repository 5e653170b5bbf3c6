"""Translated names."""

from __future__ import annotations

from typing import Any

from campaigns.channels.copies import CopyState
from kernel.i18n import lazy_gettext as _l

COPY_STATES: dict[CopyState, Any] = {
    CopyState.WAITING: _l("Still to go out"),
    CopyState.SUBMITTING: _l("Being sent"),
    CopyState.SENT: _l("Message sent"),
    CopyState.NOTHING: _l("Nothing was due"),
    CopyState.FAILED: _l("Failed"),
    CopyState.UNKNOWN: _l("In doubt"),
}
FAILURES: dict[str, Any] = {
    "late": _l("It was too late for it that day"),
    "stopped": _l("It was not wanted any more"),
    "no mail server": _l("No mail server is set up"),
    "restored": _l("The shop was restored: it may have been sent already"),
}
LOCALES: dict[str, Any] = {"zh_Hans": _l("Chinese"), "en": _l("English")}
