"""Names of states, reasons and sanctions, as people read them."""

from __future__ import annotations

from typing import Any

from kernel.i18n import lazy_gettext as _l

from .models import CaseReason, CaseState, Ground, SanctionKind

STATES: dict[CaseState, Any] = {
    CaseState.OPEN: _l("To be decided"),
    CaseState.UPHELD: _l("Taken down"),
    CaseState.DISMISSED: _l("Left standing"),
}
REASONS: dict[CaseReason, Any] = {
    CaseReason.REPORTED: _l("Reported by members"),
    CaseReason.WORDS: _l("Holds a word of the list"),
    CaseReason.LINK: _l("Holds a link"),
    CaseReason.APPROVAL: _l("Waits for approval"),
}
REASON_ICONS: dict[CaseReason, str] = {
    CaseReason.REPORTED: "flag",
    CaseReason.WORDS: "ban",
    CaseReason.LINK: "link",
    CaseReason.APPROVAL: "eye",
}
GROUNDS: dict[Ground, Any] = {
    Ground.ADVERTISING: _l("Advertising or a lead away"),
    Ground.ABUSE: _l("Insulting or offensive"),
    Ground.FALSE: _l("Not true"),
    Ground.PRIVATE: _l("Shows somebody's private details"),
    Ground.OTHER: _l("Something else"),
}
SANCTIONS: dict[SanctionKind, Any] = {
    SanctionKind.SILENCE: _l("May not write"),
    SanctionKind.BAN: _l("Out of all groups"),
}
SPANS: dict[str, Any] = {
    "1": _l("A day"),
    "7": _l("A week"),
    "30": _l("A month"),
    "": _l("Until it is lifted"),
}
