"""Translated names of states, reasons and classes."""

from __future__ import annotations

from typing import Any

from kernel.i18n import lazy_gettext as _l

from .models import ContactClass, CouponMode, DeliveryState, RunState

S = DeliveryState

RUN_STATES = {
    RunState.DRAFT: _l("Draft"),
    RunState.SCHEDULED: _l("Scheduled"),
    RunState.MATERIALISING: _l("Being prepared"),
    RunState.RUNNING: _l("Sending"),
    RunState.PAUSED: _l("Paused"),
    RunState.COMPLETED: _l("Finished"),
    RunState.CANCELLED: _l("Cancelled"),
    RunState.EXPIRED: _l("Expired"),
    RunState.FAILED: _l("Failed"),
}

CLASSES = {
    ContactClass.REPURCHASE: _l("Repurchase reminder"),
    ContactClass.BROADCAST: _l("News for everybody"),
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

REASONS = {
    (S.SUPPRESSED, "no_consent"): _l("No consent to offers by this channel"),
    (S.SUPPRESSED, "no_address"): _l("No address for this channel"),
    (S.SUPPRESSED, "bought"): _l("Has bought meanwhile"),
    (S.SUPPRESSED, "gone"): _l("Merged or erased meanwhile"),
    (S.SUPPRESSED, "no_coupon"): _l("No coupon left to give"),
    (S.CAPPED, "day"): _l("Has had today's message already"),
    (S.CAPPED, "month"): _l("Has had this month's messages already"),
    (S.CONTROL, "held_out"): _l("Held out to measure what pushes bring"),
    (S.UNKNOWN, "sender_stopped"): _l("The sender was stopped in the middle"),
    (S.UNKNOWN, "no_answer"): _l("The channel gave no answer"),
}


def outcome(state: DeliveryState, reason: str | None) -> Any:
    """Why a delivery ended as it did: our own reasons translated, a channel's words as they are."""
    if state is S.RENDER_FAILED and reason:
        return _l("Nothing to put in for {%(name)s}", name=reason)
    known = REASONS.get((state, reason or ""))
    if known is not None:
        return known
    return DELIVERY_STATES[state] if not reason else f"{DELIVERY_STATES[state]}: {reason}"
