"""Translated names of kinds, states and moments."""

from __future__ import annotations

from typing import Any

from kernel.i18n import lazy_gettext as _l

from .models import PrizeState
from .rules import Phase

KINDS: dict[str, Any] = {
    "lottery": _l("Draw"),
    "flash_sale": _l("Flash sale"),
    "group_price": _l("Group price"),
}
KIND_ICONS = {"lottery": "sparkles", "flash_sale": "bolt", "group_price": "discount"}
PHASES: dict[Phase, Any] = {
    Phase.DRAFT: _l("Draft"),
    Phase.COMING: _l("Coming"),
    Phase.RUNNING: _l("Running"),
    Phase.SOLD_OUT: _l("Sold out"),
    Phase.PAUSED: _l("Paused"),
    Phase.DRAWING: _l("Being drawn"),
    Phase.DRAWN: _l("Drawn"),
    Phase.OVER: _l("Over"),
    Phase.CANCELLED: _l("Called off"),
}
# The colours of `ui.state_badge`.
TONES: dict[Phase, str] = {
    Phase.DRAFT: "neutral",
    Phase.COMING: "info",
    Phase.RUNNING: "running",
    Phase.SOLD_OUT: "caution",
    Phase.PAUSED: "caution",
    Phase.DRAWING: "running",
    Phase.DRAWN: "positive",
    Phase.OVER: "neutral",
    Phase.CANCELLED: "negative",
}
PRIZES: dict[PrizeState, Any] = {
    PrizeState.OWED: _l("Being given"),
    PrizeState.GIVEN: _l("Given"),
    PrizeState.MISSED: _l("Could not be given"),
}
