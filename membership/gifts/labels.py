"""Words for kinds and states of gifts."""

from __future__ import annotations

from kernel.i18n import lazy_gettext as _l

from .models import GiftKind, GiftState

KINDS = {
    GiftKind.PHYSICAL: _l("Parcel"),
    GiftKind.DIGITAL: _l("Digital"),
    GiftKind.RED_PACKET: _l("Red packet"),
}

KIND_HELP = {
    GiftKind.PHYSICAL: _l("Is sent; the member gives an address."),
    GiftKind.DIGITAL: _l("A code or a link that staff send over."),
    GiftKind.RED_PACKET: _l("Money that staff pay out and confirm."),
}

STATES = {
    GiftState.OFFERED: _l("Waiting"),
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
