"""Words for kinds and states of gifts."""

from __future__ import annotations

from collections.abc import Mapping

from kernel.i18n import day
from kernel.i18n import gettext as _
from kernel.i18n import lazy_gettext as _l

from .models import GiftClaim, GiftKind, GiftState

KINDS = {
    GiftKind.PHYSICAL: _l("Parcel"),
    GiftKind.DIGITAL: _l("Digital"),
    GiftKind.RED_PACKET: _l("Red packet"),
}

KIND_HELP = {
    GiftKind.PHYSICAL: _l("Is sent; the member gives an address."),
    GiftKind.DIGITAL: _l("A code or a link: from a list that you put in, or sent over by staff."),
    GiftKind.RED_PACKET: _l("Money that staff pay out and confirm."),
}

STATES = {
    GiftState.OFFERED: _l("Unclaimed"),
    GiftState.CLAIMED: _l("Claimed"),
    GiftState.ADDRESS_PENDING: _l("Address missing"),
    GiftState.QUEUED: _l("To be sent"),
    GiftState.SHIPPED: _l("On its way"),
    GiftState.DELIVERED: _l("Arrived"),
    GiftState.FORFEITED: _l("Lapsed"),
    GiftState.CANCELLED: _l("Called off"),
    GiftState.FAILED: _l("Not delivered"),
    GiftState.RETURNED: _l("Came back"),
}


def state_words(state: GiftState) -> str:
    return str(STATES[state])


KIND_ICONS = {GiftKind.PHYSICAL: "package", GiftKind.DIGITAL: "key", GiftKind.RED_PACKET: "cash"}

# Whether a gift is given at the moment.
GIVEN = {True: _l("Given now"), False: _l("Not given any more")}

# What can be done with a selection.
BULK = {"deliver": _l("Mark as arrived"), "queue": _l("Send again"), "cancel": _l("Call off")}

# Nothing more happens to these.
OVER = frozenset({GiftState.DELIVERED, GiftState.FORFEITED, GiftState.CANCELLED})

_SENT = frozenset({GiftState.SHIPPED, GiftState.DELIVERED})
_OUTSIDE = _SENT | {GiftState.OFFERED, GiftState.FORFEITED, GiftState.CANCELLED}

# What the member reads under the gift's name.
FOR_THEM = {
    GiftState.OFFERED: _l("Waits for you"),
    GiftState.CLAIMED: _l("The shop is preparing it"),
    GiftState.ADDRESS_PENDING: _l("Tell us where it goes"),
    GiftState.QUEUED: _l("Being packed"),
    GiftState.SHIPPED: _l("On its way"),
    GiftState.DELIVERED: _l("Arrived"),
    GiftState.FORFEITED: _l("Not claimed in time"),
    GiftState.CANCELLED: _l("Called off"),
    GiftState.FAILED: _l("The shop is looking into it"),
    GiftState.RETURNED: _l("The shop is looking into it"),
}


# The same where nothing is sent: a code is handed over, money is paid.
_FOR_THEM_AT_HAND = {
    (GiftKind.DIGITAL, GiftState.DELIVERED): _l("Yours"),
    (GiftKind.RED_PACKET, GiftState.CLAIMED): _l("The shop pays it out"),
    (GiftKind.RED_PACKET, GiftState.DELIVERED): _l("Paid out"),
}


def for_them(kind: GiftKind, state: GiftState) -> str:
    """What the member reads of a gift of a kind in a state."""
    return str(_FOR_THEM_AT_HAND.get((kind, state)) or FOR_THEM[state])


def tally(states: Mapping[GiftState, int]) -> tuple[int, int, int]:
    """How many wait for their members, are in the shop's or the member's hands, and have been sent."""
    in_hand = sum(number for state, number in states.items() if state not in _OUTSIDE)
    return states.get(GiftState.OFFERED, 0), in_hand, sum(states.get(state, 0) for state in _SENT)


def benefit_words(claim: GiftClaim, groups: Mapping[int, str]) -> str:
    """Why somebody has a gift."""
    if claim.benefit.startswith("welcome:"):
        if claim.group_id is not None and claim.group_id in groups:
            return str(_("Welcome gift of “%(group)s”", group=groups[claim.group_id]))
        return str(_("Welcome gift"))
    kind, __, rest = claim.benefit.partition(":")
    if kind == "tier" and rest[:1].isdigit():
        return str(_("For reaching VIP%(rank)s", rank=rest[:1]))
    return str(_REASONS.get(kind, _l("Gift from the shop")))


# The first word of a benefit, by whatever room gives it.
_REASONS = {
    "birthday": _l("Birthday gift"),
    "points": _l("Redeemed with points"),
    "hand": _l("Given by staff"),
}


def masked_name(name: str) -> str:
    """The first letter of a name."""
    return f"{name[0]}**" if name else ""


def steps(kind: GiftKind, state: GiftState, claim: GiftClaim) -> list[tuple[str, str, str]]:
    """The way of a claimed gift as (what, `done`, `now` or `next`, a line about it)."""
    on = day(claim.claimed_at) if claim.claimed_at else ""
    sent = state in _SENT
    if kind == GiftKind.PHYSICAL:
        names = [
            (_("Claimed"), on),
            (_("Address"), ""),
            (_("Being packed"), ""),
            (_("On its way"), f"{claim.carrier} {claim.tracking_number}".strip() if sent else ""),
            (_("Arrived"), day(claim.delivered_at) if claim.delivered_at else ""),
        ]
        order = {
            GiftState.ADDRESS_PENDING: 1,
            GiftState.QUEUED: 2,
            GiftState.FAILED: 2,
            GiftState.RETURNED: 2,
            GiftState.SHIPPED: 3,
        }
    else:
        handed = _("Paid out") if kind == GiftKind.RED_PACKET else _("Yours")
        names = [
            (_("Claimed"), on),
            (_("The shop pays it out") if kind == GiftKind.RED_PACKET else _("The shop sends the code"), ""),
            (handed, day(claim.delivered_at) if claim.delivered_at else ""),
        ]
        order = {GiftState.CLAIMED: 1, GiftState.FAILED: 1}
    now = order.get(state, len(names))
    return [
        (name, "done" if at < now else "now" if at == now else "next", text) for at, (name, text) in enumerate(names)
    ]
