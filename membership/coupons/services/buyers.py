"""The person behind an order at the checkout, as far as the shop system tells."""

from __future__ import annotations

from collections.abc import Mapping

from kernel.errors import about
from membership.members import queries as members
from membership.members import services as member_services
from membership.members.models import Channel, Member
from membership.members.rules import EmailInvalid, PhoneInvalid, canonical_email, canonical_phone
from membership.orders.services.intake import SALES_CHANNELS


def _keys(source: str, said: Mapping[str, str]) -> list[tuple[Channel, str]]:
    keys: list[tuple[Channel, str]] = []
    if number := said.get("id"):
        channel = SALES_CHANNELS.get(source)
        # As orders are matched: an unknown source's numbers are the shop's, under the source's name.
        keys.append((channel, number) if channel is not None else (Channel.SHOP, f"{source}:{number}"))
    if phone := said.get("phone"):
        with about("buyer.phone"):
            keys.append((Channel.PHONE, canonical_phone(phone)))
    if email := said.get("email"):
        with about("buyer.email"):
            keys.append((Channel.EMAIL, canonical_email(email)))
    return keys


def find_buyer(source: str, said: Mapping[str, str]) -> Member | None:
    """The member with one of a buyer's identities (`id`, `phone`, `email`), or None; nobody is made.

    Refuses with `PhoneInvalid` and `EmailInvalid`.
    """
    for channel, external_id in _keys(source, said):
        found = members.find_by_identity(channel, external_id)
        if found is not None:
            return found
    return None


def find_or_make_buyer(source: str, said: Mapping[str, str]) -> Member | None:
    """The member of a buyer, made where nobody has one of these identities yet; None when nothing is told of them.

    Refuses with `PhoneInvalid` and `EmailInvalid`.
    """
    keys = _keys(source, said)
    return member_services.find_or_make(keys, source=source)[0] if keys else None


__all__ = ["EmailInvalid", "PhoneInvalid", "find_buyer", "find_or_make_buyer"]
