"""Pure decisions about gifts: the changes of state, what an address needs, how a line of a tracking file is read."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from datetime import datetime

from kernel.errors import Refusal
from kernel.i18n import gettext as _
from kernel.i18n import lazy_gettext as _l

from .models import GiftKind, GiftState

G = GiftState

# domain.md, "Gifts". A gift without a parcel (a code, a red packet) goes from claimed to delivered by a person's hand.
TRANSITIONS: frozenset[tuple[GiftState, GiftState]] = frozenset(
    {
        (G.OFFERED, G.CLAIMED),
        (G.OFFERED, G.ADDRESS_PENDING),
        (G.OFFERED, G.FORFEITED),
        (G.OFFERED, G.CANCELLED),
        (G.CLAIMED, G.DELIVERED),
        (G.CLAIMED, G.FAILED),
        (G.CLAIMED, G.CANCELLED),
        (G.ADDRESS_PENDING, G.QUEUED),
        (G.ADDRESS_PENDING, G.FORFEITED),
        (G.ADDRESS_PENDING, G.CANCELLED),
        (G.QUEUED, G.SHIPPED),
        (G.QUEUED, G.FAILED),
        (G.QUEUED, G.CANCELLED),
        (G.SHIPPED, G.DELIVERED),
        (G.SHIPPED, G.FAILED),
        (G.SHIPPED, G.RETURNED),
        (G.DELIVERED, G.RETURNED),
        (G.FAILED, G.QUEUED),
        (G.FAILED, G.CLAIMED),
        (G.FAILED, G.CANCELLED),
        (G.RETURNED, G.QUEUED),
        (G.RETURNED, G.CANCELLED),
    }
)

# While a gift is in one of these it holds no piece of the stock.
GIVEN_BACK = frozenset({G.FORFEITED, G.CANCELLED})
# A deadline ends these.
WAITING = frozenset({G.OFFERED, G.ADDRESS_PENDING})


class GiftStepNotListed(Refusal):
    title = _l("Not possible in this state")
    label = _l("A gift that is %(state)s cannot be changed in this way.")


class GiftGone(Refusal):
    status = 410
    title = _l("This gift could be claimed until %(until)s")
    label = _l(
        "The time to claim it is over, and somebody else may have it now. The next one will find you in your group."
    )
    icon = "gift"

    def __init__(self, until: str) -> None:
        super().__init__(until=until)
        self.title = str(type(self).title) % {"until": until}


class GiftCancelled(Refusal):
    status = 410
    title = _l("This gift was called off")
    label = _l("The shop has called it off. Ask there if you did not expect that.")
    icon = "gift"


class AddressInvalid(Refusal):
    status = 422
    label = _l("The address is not complete.")

    def __init__(self, errors: Sequence[tuple[str, str]]) -> None:
        super().__init__()
        self.errors = list(errors)


def state_at(state: GiftState, claim_until: datetime, now: datetime) -> GiftState:
    """What a gift is at an instant, whether or not the sweep has written it down."""
    return G.FORFEITED if state in WAITING and claim_until <= now else state


def after_claim(kind: GiftKind) -> GiftState:
    """Where a gift goes when its member takes it: a parcel needs an address first."""
    return G.ADDRESS_PENDING if kind == GiftKind.PHYSICAL else G.CLAIMED


def checked_address(recipient: str, phone: str, address: str) -> tuple[str, str, str]:
    """A recipient, a phone as typed, and an address, tidied. Refuses with `AddressInvalid` naming each field."""
    recipient, phone, address = (
        " ".join(unicodedata.normalize("NFKC", t).split()) for t in (recipient, phone, address)
    )
    wrong = []
    if not 1 <= len(recipient) <= 60:
        wrong.append(("recipient", _("Whose name stands on the parcel? Up to 60 characters.")))
    digits = sum(c.isdigit() for c in phone)
    if not 5 <= digits <= 15 or set(phone) - set("0123456789+-() ") or len(phone) > 30:
        wrong.append(("phone", _("The courier needs a phone number.")))
    if not 8 <= len(address) <= 300:
        wrong.append(("address", _("Province, city, street and house, so that the parcel arrives.")))
    if wrong:
        raise AddressInvalid(wrong)
    return recipient, phone, address
