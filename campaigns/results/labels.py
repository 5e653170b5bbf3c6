"""Translated names of what results are made of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from campaigns.channels.copies import CopyState
from kernel.i18n import lazy_gettext as _l

from .models import Rhythm

if TYPE_CHECKING:
    from .funnel import Step

ACTIONS: dict[str, Any] = {
    "reached": _l("Reached by a message"),
    "followed": _l("Followed an ad, a link or a code"),
    "landed": _l("Took something on the landing page"),
    "ordered": _l("Ordered"),
    "shipped": _l("Shipped to"),
    "received": _l("Received their parcel"),
    "again": _l("Bought again"),
}
MEANINGS: dict[str, Any] = {
    "reached": _l("A message was sent to them, or they saw a post in a group."),
    "followed": _l("They opened a message's or a post's link, or scanned the code of a group."),
    "landed": _l("They took a coupon or joined a group on the page they came to."),
    "ordered": _l("They placed an order in these days that was paid and not wholly refunded."),
    "shipped": _l("Such an order was shipped."),
    "received": _l("Such an order was received."),
    "again": _l("They placed a further order within 90 days of receiving it."),
}
DEEDS: dict[str, Any] = {
    "opened": _l("Opened a message on their page"),
    "clicked": _l("Opened a push's link"),
    "claimed": _l("Took a coupon"),
    "redeemed": _l("Used a coupon"),
    "seen": _l("Saw a post in a group"),
    "liked": _l("Liked a post"),
    "entered": _l("Opened a group's link to join"),
    "called": _l("Was reached by phone"),
}
RHYTHMS: dict[Rhythm, Any] = {Rhythm.WEEKLY: _l("Every week"), Rhythm.MONTHLY: _l("Every month")}
COPY_STATES: dict[CopyState, Any] = {
    CopyState.WAITING: _l("Waiting"),
    CopyState.SUBMITTING: _l("Being sent"),
    CopyState.SENT: _l("Message sent"),
    CopyState.FAILED: _l("Failed"),
    CopyState.UNKNOWN: _l("In doubt"),
}
LOCALES: dict[str, Any] = {"zh_Hans": _l("Chinese"), "en": _l("English")}


def funnel_rows(steps: Sequence[Step]) -> list[dict[str, Any]]:
    """The steps of a funnel as its chart and its table show them."""
    rows = []
    for before, step in zip([None, *steps], steps, strict=False):
        share = f"{100 * step.after_former / before.people:.1f}%" if before and before.people else ""
        rows.append(
            {
                "action": step.action,
                "label": ACTIONS[step.action],
                "meaning": MEANINGS[step.action],
                "value": step.people,
                "text": f"{step.people:,}",
                "share": share,
                "after": step.after_former,
            }
        )
    return rows
