"""Coming in: the way somebody came by, whether the rules let them, the one tap that seats them, and their welcome."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any
from zlib import crc32

from sqlalchemy import func, select

from kernel import clock
from kernel.db import db
from kernel.i18n import gettext as _
from kernel.ports import Port
from membership.gifts import services as gifts
from membership.gifts.models import GiftClaim
from membership.limits import services as limits
from membership.members import queries as members
from membership.members import services as member_services
from membership.members.models import Channel, Contact, Member, MemberTag, Purpose, Tag
from membership.members.rules import canonical_phone
from membership.members.services import identify
from membership.members.services.rights import address_hash
from membership.orders.models import Order, OrderLine
from membership.orders.rules import PAID_STATES

from .. import labels, queries, rules
from ..models import FriendLink, Group, JoinLink
from . import seats

# The version of the words beside the box, kept with the consent.
CONSENT_TEXT = "group-join-1"
CONSENT_CHANNELS = (Contact.INBOX, Contact.SMS, Contact.EMAIL)
# From one network address, people whom nobody knows, an hour.
NEWCOMERS_AN_HOUR = 60
_VISIT = re.compile(r"[A-Za-z0-9_-]{16,64}")


@dataclass(frozen=True)
class Way:
    """How somebody came: where from, through whom, and whether they were personally invited."""

    source: str = ""
    inviter_id: int | None = None
    staff_id: int | None = None
    link: JoinLink | None = None
    friend: FriendLink | None = None
    invited: bool = False


def facts_of(member: Member, group: Group, invited: bool = False, password: str = "") -> rules.Facts:
    """What the rules of a group want to know of a member, and nothing more."""
    return replace(facts_of_many([member], group)[member.id], invited=invited, password=password)


def facts_of_many(people: Sequence[Member], group: Group) -> dict[int, rules.Facts]:
    """What the rules of a group want to know of each member, by their id, in two statements at most however many they are."""
    _mode, asked = rules.rules_of(group.kind, group.join_rule)
    products = [rule["sku"] for rule in asked if rule["kind"] == "product"]
    tags = [rule["tag"] for rule in asked if rule["kind"] == "tag"]
    ids = [member.id for member in people]
    bought = _bought(ids, products) if products else {}
    named = _tags(ids, tags) if tags else {}
    return {
        member.id: rules.Facts(
            enrolled=member.enrolled_at is not None,
            rank=member.rank,
            spend=member.spend,
            orders=member.orders_count,
            products=frozenset(bought.get(member.id, ())),
            tags=frozenset(named.get(member.id, ())),
        )
        for member in people
    }


def _bought(member_ids: Sequence[int], skus: Sequence[str]) -> dict[int, set[str]]:
    """Which of the products are in an order of each member that was paid for and not sent back."""
    rows = db.session.execute(
        select(Order.member_id, OrderLine.sku)
        .join(Order, Order.id == OrderLine.order_id)
        .where(
            Order.member_id == func.any(list(member_ids)),
            Order.paid_at.is_not(None),
            Order.state.in_(PAID_STATES),
            OrderLine.sku.in_(skus),
            OrderLine.quantity > OrderLine.refunded_quantity,
        )
        .distinct()
    )
    return _by_member(rows)


def _tags(member_ids: Sequence[int], names: Sequence[str]) -> dict[int, set[str]]:
    """Which of the tags each member has."""
    rows = db.session.execute(
        select(MemberTag.member_id, Tag.name)
        .join(Tag, Tag.id == MemberTag.tag_id)
        .where(MemberTag.member_id == func.any(list(member_ids)), Tag.name.in_(names))
    )
    return _by_member(rows)


def _by_member(rows: Iterable[Any]) -> dict[int, set[str]]:
    found: dict[int, set[str]] = {}
    for member_id, name in rows:
        found.setdefault(member_id, set()).add(name)
    return found


def misses(member: Member, group: Group, way: Way, password: str = "") -> list[rules.Miss]:
    """What keeps a member out of a group. Nothing does when a seat or a number is theirs already."""
    if not group.join_rule.get("rules") and not rules.rules_of(group.kind, group.join_rule)[1]:
        return []
    found = rules.joinable(facts_of(member, group, way.invited, password), group.kind, group.join_rule)
    if found and (
        queries.find_seat(group.id, member.id)
        or queries.find_hold(group.id, member.id)
        or queries.find_place(group.id, member.id)
    ):
        return []
    return found


def refuse_guessing(group: Group, password: str, network: str) -> None:
    """Refuse with `TooManyPasswords` whoever has typed too many wrong ones from this network address; once more too."""
    if password and identify.guessed_too_often(f"group:{group.id}", network):
        raise rules.TooManyPasswords


def note_wrong_password(group: Group, network: str) -> None:
    """Count a wrong password; the view that refuses it keeps the count (`kernel.db.keep_refused`)."""
    identify.note_wrong_guess(f"group:{group.id}", network)


# Higher rooms refuse here whom they keep out of every group.
before_entering: Port[[int], None] = Port("groups.before_entering")


def enter(
    group: Group, member: Member, way: Way, password: str = "", marketing: bool = False, together: bool = False
) -> seats.Joined | seats.Waiting:
    """The one tap: a seat or a number, enrolment, the consent as ticked, and the welcome.

    Double taps, two tabs and the back button end in the same seat. `together` is for a member whom this very transaction
    made. Refuses with `NotQualified`, as `seats.join` does, and as higher rooms do (`before_entering`); then nothing was
    written.
    """
    before_entering.call(member.id)
    found = misses(member, group, way, password)
    if found:
        if refusal := rules.entry_refusal(queries.state_of(group), keeps_seat=False):
            raise refusal
        raise rules.NotQualified(found, labels.misses_sentence(group, found, member))
    taken = seats.join(
        group.id,
        member.id,
        way.source,
        inviter_id=way.inviter_id,
        staff_id=way.staff_id,
        link_id=way.link.id if way.link else None,
        together=together,
    )
    if marketing:
        for channel in CONSENT_CHANNELS:
            member_services.give_consent(
                member.id, channel, Purpose.MARKETING, source=f"group:{group.id}", text_version=CONSENT_TEXT
            )
    if isinstance(taken, seats.Joined):
        welcome(group, member.id, way.source)
    return taken


def welcome(group: Group, member_id: int, source: str) -> GiftClaim | None:
    """Enrol a member who has taken a seat, and offer the group's gift. Doing it again changes nothing.

    It happens with the tap, so that the gift waits on the next page, and once more by the event, should a crash have come
    between the seat and it.
    """
    member = members.find_member(member_id)
    if member is not None and member.enrolled_at is None:
        member_services.enrol(member_id, source or f"group:{group.id}")
    if group.welcome_gift_id is None:
        return None
    return gifts.offer_gift(group.welcome_gift_id, member_id, benefit=f"welcome:{group.id}", group_id=group.id)


def new_visit() -> str:
    """A word for one showing of the page to somebody whom nobody knows: tapping twice on it is one person."""
    return secrets.token_urlsafe(16)


def make_newcomer(phone: str, visit: str, source: str, network: str) -> Member:
    """A lead for a person who gives only a phone: not verified, so never somebody's account.

    Whoever types the phone of a known person becomes a lead beside them: without proof nobody gets hold of an account, and
    nobody learns from the answer whose phone is known. `visit` is the word of the page (see `new_visit`), `network` the
    visitor's address. Refuses with `PhoneInvalid`, `TooManyNewcomers`.
    """
    canonical = canonical_phone(phone)
    if not _VISIT.fullmatch(visit):
        visit = new_visit()
    identities: list[tuple[Channel, str]] = [(Channel.SHOP, f"visit-{visit}")]
    known = members.find_by_identity(*identities[0])
    if known is not None:
        return known
    hour = clock.local(clock.now()).strftime("%Y-%m-%dT%H")
    try:
        limits.take([("group.newcomer", address_hash(network)[:32], hour, 1, NEWCOMERS_AN_HOUR)])
    except limits.LimitReached:
        raise rules.TooManyNewcomers from None
    if members.find_by_phone(canonical) is None:
        identities.append((Channel.PHONE, canonical))
    # The group reads the nickname, so no digit of it is the phone's.
    number = f"{crc32(visit.encode()) % 10_000:04d}"
    member, _made = member_services.find_or_make(
        identities, nickname=_("Guest %(number)s", number=number), source=source
    )
    return member


class _StaysOut(Exception):
    """Ends the savepoint of somebody who does not come in."""


def admit_newcomer(
    group: Group, phone: str, visit: str, way: Way, network: str, password: str, enrols: bool
) -> Member | None:
    """The newcomer whom the group's rules let in, made by `make_newcomer`; None, and nobody made, when they do not.

    `enrols` says that they become a member with the same tap. Refuses as `make_newcomer` and `refuse_guessing` do.
    """
    refuse_guessing(group, password, network)
    with suppress(_StaysOut), db.session.begin_nested():
        member = make_newcomer(phone, visit, way.source, network)
        if not enrols and misses(member, group, way, password):
            raise _StaysOut
        return member
    return None
