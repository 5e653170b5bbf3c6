"""Pure decisions about people: how a phone is written, whose an identity is, and which stage of life somebody is in."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import phonenumbers

from kernel.errors import Refusal
from kernel.i18n import lazy_gettext as _l

from .models import Channel, Stage, ValueLabel

Key = tuple[Channel, str]
# Names of an enum's members cost more to look up than their values to compare.
_BY_PHONE, _BY_EMAIL = Channel.PHONE, Channel.EMAIL

# What files and people put between digits; everything invisible goes by its Unicode category.
_SEPARATORS = re.compile(r"[\s()\[\]./'’‘`´\"_·-]")
_PHONE = re.compile(r"\+?\d{5,20}")
_CHINESE_MOBILE = re.compile(r"(?:86)?(1\d{10})")
_BEGUN_MOBILE = re.compile(r"1[3-9]\d*")
_CANONICAL = re.compile(r"\+[1-9]\d{6,14}")
_CANONICAL_CHINESE_MOBILE = re.compile(r"\+861\d{10}", re.ASCII)
_EMAIL = re.compile(r"[^@\s,;<>\"]{1,64}@[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)+")


class PhoneInvalid(Refusal):
    status = 422
    label = _l("This is not a whole phone number. Write all its digits, such as 138 0000 0000.")


class EmailInvalid(Refusal):
    status = 422
    label = _l("This is not an e-mail address. Write it such as name@example.com.")


def _plain(text: str) -> str:
    """NFKC without the characters that are not seen (zero-width spaces, byte-order marks, controls)."""
    return "".join(c for c in unicodedata.normalize("NFKC", text) if unicodedata.category(c) not in ("Cf", "Cc"))


def canonical_phone(text: str, region: str = "CN") -> str:
    """A phone number in E.164 (ITU-T E.164, such as +8613800000000), the one spelling under which people are matched.

    `text` may hold full-width digits, separators, invisible characters, a leading apostrophe as spreadsheets leave it, and
    the prefixes +, 00 or none; without a prefix it is read as dialled in `region` (ISO 3166). Possible numbers are taken,
    not only ones in use: ranges are given out faster than tables are brought up to date.
    Refuses with `PhoneInvalid`: masked numbers (138****0000), letters, too few or too many digits.
    """
    if _CANONICAL_CHINESE_MOBILE.fullmatch(text):
        # Nearly all of them, and there is nothing more to find out; the general way costs thirty times as much.
        return text
    if _CANONICAL.fullmatch(text):
        digits = text
    else:
        digits = _SEPARATORS.sub("", _plain(text).strip())
        digits = re.sub(r"[‐-―−]", "", digits)
        if digits.startswith("00"):
            digits = "+" + digits[2:]
        if not _PHONE.fullmatch(digits):
            raise PhoneInvalid
        if region == "CN" and (mobile := _CHINESE_MOBILE.fullmatch(digits)):
            # Said outright, because `phonenumbers` takes the beginning of some for a carrier's dialling prefix.
            return "+86" + mobile[1]
        if region == "CN" and _BEGUN_MOBILE.fullmatch(digits):
            # A digit too few or too many, and not the number without its area code that `phonenumbers` would take it for.
            raise PhoneInvalid
    try:
        number = phonenumbers.parse(digits, region)
    except phonenumbers.NumberParseException:
        raise PhoneInvalid from None
    # The same guess would cut a number that is too long down to one that fits.
    cut = region == "CN" and digits[0] != "+" and str(number.national_number) != digits.lstrip("0")
    # A number that reaches somebody only within one town (95588) is none: the same digits are other people elsewhere.
    possible = phonenumbers.is_possible_number_with_reason(number) == phonenumbers.ValidationResult.IS_POSSIBLE
    if cut or not possible:
        raise PhoneInvalid
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


def canonical_email(text: str) -> str:
    """An e-mail address in lower case, the one spelling under which people are matched (RFC 5321, ASCII domain).

    Refuses with `EmailInvalid` whatever is no single address of at most 254 characters.
    """
    address = _plain(text).strip().lower()
    if len(address) > 254 or ".." in address or not _EMAIL.fullmatch(address):
        raise EmailInvalid
    return address


def canonical_identity(channel: Channel, external_id: str) -> Key:
    """An identity in the spelling in which it is stored; phones and e-mail addresses have one, others are only trimmed.

    Refuses with `PhoneInvalid`, `EmailInvalid`, and `ValueError` for an empty name.
    """
    if channel is _BY_PHONE:
        return channel, canonical_phone(external_id)
    if channel is _BY_EMAIL:
        return channel, canonical_email(external_id)
    plain = external_id.strip() if external_id.isascii() and external_id.isprintable() else _plain(external_id).strip()
    if not plain:
        raise ValueError("an identity has a name")
    return channel, plain[:200]


def masked_phone(phone: str | None) -> str:
    """`+8613800001234` → `138****1234`: enough to tell people apart, not enough to call them."""
    if not phone:
        return ""
    local = phone.removeprefix("+86")
    return f"{local[: 3 if len(local) >= 10 else 1]}****{local[-4:] if len(local) >= 8 else local[-2:]}"


def masked_email(email: str | None) -> str:
    """`lime.012@example.com` → `l****@example.com`."""
    name, at, domain = (email or "").partition("@")
    return f"{name[:1]}****@{domain}" if at else ""


def masked_address(address: str) -> str:
    """The first few characters of an address: the place, not the door."""
    return f"{address[:4]}****" if address else ""


def _age(member: int) -> tuple[bool, int]:
    return member < 0, abs(member)


def assign(people: Sequence[Sequence[Key]], known: Mapping[Key, int]) -> tuple[list[int], dict[Key, int]]:
    """Decide who is who: for each person, given by identities, the member; and the owner of every identity that was free.

    `known` holds the member of each identity that has one. People are taken one after the other, so that the answer does
    not depend on how they were cut into batches. A person whose identities belong to several members is the oldest of
    them, and the others keep theirs. Members to be made are numbered -1, -2, … in the order of need.
    """
    owners = dict(known)
    found: list[int] = []
    attached: dict[Key, int] = {}
    made = 0
    for keys in people:
        if len(keys) == 1:
            # Nearly everybody in a file, and there is nothing to choose from.
            key = keys[0]
            known_as = owners.get(key)
            if known_as is None:
                made += 1
                known_as = owners[key] = attached[key] = -made
            found.append(known_as)
            continue
        candidates = [owners[key] for key in keys if key in owners]
        if candidates:
            member = min(candidates, key=_age)
        else:
            made += 1
            member = -made
        found.append(member)
        for key in keys:
            if key not in owners:
                owners[key] = attached[key] = member
    return found, attached


@dataclass(frozen=True)
class StageDays:
    """After how many days without an order or a joining somebody is no longer active, is dormant, is lost."""

    active: int = 90
    dormant: int = 180
    lost: int = 365


@dataclass(frozen=True)
class Standing:
    """A stage, since when, and why as a sentence."""

    stage: Stage
    since: datetime
    reason: Any


def stage_for(
    orders_count: int,
    first_order_at: datetime | None,
    last_order_at: datetime | None,
    enrolled_at: datetime | None,
    created_at: datetime,
    now: datetime,
    days: StageDays,
) -> Standing:
    """The stage of life of a person, from their orders and their joining alone.

    Dormant and lost count from the last order or the joining, whichever is later. `services.reassess_stages` says the
    same in SQL; a test holds the two equal.
    """
    touched = max((at for at in (last_order_at, enrolled_at) if at is not None), default=None)
    if touched is not None and touched <= now - timedelta(days=days.lost):
        return Standing(
            Stage.LOST, touched + timedelta(days=days.lost), _l("Nothing for more than %(days)s days.", days=days.lost)
        )
    if touched is not None and touched <= now - timedelta(days=days.dormant):
        return Standing(
            Stage.DORMANT,
            touched + timedelta(days=days.dormant),
            _l("Nothing for more than %(days)s days.", days=days.dormant),
        )
    if orders_count >= 2 and last_order_at is not None and last_order_at > now - timedelta(days=days.active):
        return Standing(
            Stage.ACTIVE,
            last_order_at,
            _l("Bought more than once, the last time less than %(days)s days ago.", days=days.active),
        )
    if enrolled_at is not None:
        return Standing(Stage.MEMBER, enrolled_at, _l("Has accepted an invitation or a link."))
    if orders_count > 0 and first_order_at is not None:
        return Standing(Stage.CUSTOMER, first_order_at, _l("Has ordered, and not joined yet."))
    return Standing(Stage.LEAD, created_at, _l("Has neither ordered nor joined yet."))


# ── Details that two people edit at once ────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Reconciled:
    """What is to be written, in which fields both changed the same to different words, and which the other changed."""

    values: dict[str, Any]
    clashes: tuple[str, ...]
    theirs: tuple[str, ...]


def reconcile(before: Mapping[str, Any], mine: Mapping[str, Any], now: Mapping[str, Any]) -> Reconciled:
    """Put two edits of one record together, field by field (a three-way merge).

    `before` is what I saw when I began, `mine` what I wrote, `now` what is there. A field that only one of us changed takes
    that change; one that both changed to different values is a clash and keeps what is there.
    """
    values: dict[str, Any] = {}
    clashes, theirs = [], []
    for name, wanted in mine.items():
        seen, present = before.get(name, now[name]), now[name]
        if present != seen and present != wanted:
            theirs.append(name)
            if wanted != seen:
                clashes.append(name)
            values[name] = present
        else:
            values[name] = wanted
    return Reconciled(values, tuple(clashes), tuple(theirs))


# ── What a member is worth ──────────────────────────────────────────────────────────────────────────────────────────

# Each part of the index is a staircase: (from how much on, how many points). Money is 分.
CHANNEL_STEPS = ((1, 3), (2, 6), (3, 8), (4, 10))
FREQUENCY_STEPS = ((1, 6), (2, 12), (3, 17), (5, 22), (8, 26), (12, 30))
MONEY_STEPS = ((10_000, 6), (30_000, 10), (100_000, 16), (300_000, 22), (1_000_000, 30))
# Less than so many days since the last order.
RECENCY_STEPS = ((30, 30), (60, 25), (90, 20), (180, 12), (365, 5))
# What somebody does with the shop beside buying: groups they sit in, people they brought, posts they answered.
GROUP_STEPS = ((1, 10), (2, 15), (3, 20))
BROUGHT_STEPS = ((1, 10), (3, 15), (5, 20))
TOOK_PART_STEPS = ((1, 5), (5, 10), (20, 20))
# Below this there is too little to say what ties somebody to the shop; within it, both sides weigh alike.
LEAST_TIE = 10
ALIKE = 10


@dataclass(frozen=True)
class ValueFacts:
    """What the value of a member is worked out from. `spend` is 分; acts count from the beginning."""

    channels: int = 0
    last_order_at: datetime | None = None
    orders: int = 0
    spend: int = 0
    groups: int = 0
    brought: int = 0
    took_part: int = 0


@dataclass(frozen=True)
class Part:
    """One part of a value: its points, of how many at most, and the step that is next as (from how much on, points)."""

    key: str
    points: int
    most: int
    next_step: tuple[int, int] | None = None


@dataclass(frozen=True)
class Value:
    """The index 0–100 with its four parts; and what ties a member to the shop, with the points of either side (0–60)."""

    index: int
    parts: tuple[Part, ...]
    label: ValueLabel | None
    transaction: int
    relation: int
    ties: tuple[Part, ...]


def _climbed(key: str, n: int, steps: Sequence[tuple[int, int]]) -> Part:
    reached = [points for least, points in steps if n >= least]
    ahead = next(((least, points) for least, points in steps if n < least), None)
    return Part(key, reached[-1] if reached else 0, steps[-1][1], ahead)


def _recent(last_order_at: datetime | None, now: datetime) -> Part:
    points = 0
    if last_order_at is not None:
        points = next((p for days, p in RECENCY_STEPS if last_order_at > now - timedelta(days=days)), 0)
    return Part("recency", points, RECENCY_STEPS[0][1])


def tie_for(transaction: int, relation: int) -> ValueLabel | None:
    """What ties a member to the shop: their orders, what they do with us, both alike, or nothing that shows yet."""
    if max(transaction, relation) < LEAST_TIE:
        return None
    if abs(transaction - relation) <= ALIKE:
        return ValueLabel.BOTH
    return ValueLabel.TRANSACTION if transaction > relation else ValueLabel.RELATION


def value_of(facts: ValueFacts, now: datetime) -> Value:
    """What a member is worth to the shop: points for channels (10), recency, frequency and money (30 each), added up.

    They are added, not multiplied, so that each can be shown and one that is missing does not wipe out the others.
    `services.revalue` says the same in SQL; a property test holds the two equal.
    """
    parts = (
        _climbed("channels", facts.channels, CHANNEL_STEPS),
        _recent(facts.last_order_at, now),
        _climbed("frequency", facts.orders, FREQUENCY_STEPS),
        _climbed("money", facts.spend, MONEY_STEPS),
    )
    ties = (
        _climbed("groups", facts.groups, GROUP_STEPS),
        _climbed("brought", facts.brought, BROUGHT_STEPS),
        _climbed("took_part", facts.took_part, TOOK_PART_STEPS),
    )
    transaction = parts[2].points + parts[3].points
    relation = sum(tie.points for tie in ties)
    return Value(sum(part.points for part in parts), parts, tie_for(transaction, relation), transaction, relation, ties)
