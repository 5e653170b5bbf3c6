"""How benefits are called."""

from __future__ import annotations

from kernel.i18n import gettext as _
from kernel.i18n import lazy_gettext as _l
from kernel.i18n import month

from .models import Benefit, BenefitState

BENEFITS = {
    Benefit.ENTRY_GIFT: _l("Gift on reaching it"),
    Benefit.ENTRY_COUPON: _l("Coupon on reaching it"),
    Benefit.BIRTHDAY_GIFT: _l("Birthday gift"),
    Benefit.MONTHLY_COUPON: _l("Coupon every month"),
}
STATES = {BenefitState.GIVEN: _l("Given"), BenefitState.MISSED: _l("Nothing was left")}
TONES = {BenefitState.GIVEN: "positive", BenefitState.MISSED: "caution"}
ICONS = {
    Benefit.ENTRY_GIFT: "gift",
    Benefit.ENTRY_COUPON: "ticket",
    Benefit.BIRTHDAY_GIFT: "heart",
    Benefit.MONTHLY_COUPON: "calendar",
}


def period(key: str) -> str:
    """What a benefit was given for: a month (`2026-11`), a year, or once in a life (empty)."""
    if not key:
        return _("once")
    return month(key) if "-" in key else key
