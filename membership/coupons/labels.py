"""Words for kinds, states and terms, and an offer's rules as one sentence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

from kernel.i18n import current_locale, date_time, ngettext, number
from kernel.i18n import gettext as _
from kernel.i18n import lazy_gettext as _l
from kernel.money import short_yuan

from .models import CouponKind, CouponState, OfferState, OfferVersion, PoolKind
from .signs import Sign

KINDS = {
    CouponKind.AMOUNT: _l("Amount off"),
    CouponKind.PERCENT: _l("Percentage off"),
    CouponKind.FIXED_PRICE: _l("Fixed price"),
    CouponKind.GIFT_ITEM: _l("Gift with the order"),
    CouponKind.FREE_SHIPPING: _l("Free shipping"),
}

KIND_HELP = {
    CouponKind.AMOUNT: _l("¥20 off the goods, from a minimum if you like."),
    CouponKind.PERCENT: _l("The goods at 85%, with a most that it may take off."),
    CouponKind.FIXED_PRICE: _l("One piece of the chosen goods at a group price or a flash price."),
    CouponKind.GIFT_ITEM: _l("Something is put into the parcel."),
    CouponKind.FREE_SHIPPING: _l("The postage is on the shop."),
}

KIND_ICONS = {
    CouponKind.AMOUNT: "cash",
    CouponKind.PERCENT: "discount",
    CouponKind.FIXED_PRICE: "tag",
    CouponKind.GIFT_ITEM: "gift",
    CouponKind.FREE_SHIPPING: "truck",
}

STATE_SENTENCES = {
    OfferState.ACTIVE: _l("It runs: links and pushes give it out from now on."),
    OfferState.PAUSED: _l("Paused: nobody can claim it until you go on. Coupons that are out stay usable."),
    OfferState.ENDED: _l("Ended. Coupons that are out stay usable until the day they say."),
}

OFFER_STATES = {
    OfferState.DRAFT: _l("Draft"),
    OfferState.ACTIVE: _l("Running"),
    OfferState.PAUSED: _l("Paused"),
    OfferState.ENDED: _l("Over"),
}

COUPON_STATES = {
    CouponState.ISSUED: _l("Usable"),
    CouponState.RESERVED: _l("Held by an order"),
    CouponState.REDEEMED: _l("Used"),
    CouponState.EXPIRED: _l("Expired"),
    CouponState.REVOKED: _l("Taken back"),
    CouponState.TRANSFERRED: _l("Given away"),
    CouponState.FROZEN: _l("Frozen"),
}

REASONS = {
    "claimed": _l("Claimed"),
    "granted": _l("Granted by the shop"),
    "reserved": _l("Held by an order"),
    "released": _l("Let go by the order"),
    "reservation ran out": _l("The order held it for too long"),
    "redeemed": _l("Used on an order"),
    "rolled back": _l("Use undone"),
    "full refund": _l("The order was refunded"),
    "time": _l("Its time was over"),
    "transferred": _l("Given to somebody else"),
    "unfrozen": _l("Unfrozen"),
}


POOL_KINDS = {
    PoolKind.SHARED: _l("One code for everybody"),
    PoolKind.SINGLE: _l("Each code gives one coupon"),
}

# Why a line of a file was not taken.
REJECTS = {
    "empty": _l("The line has no code"),
    "malformed": _l("It cannot be read"),
    "repeated": _l("It stands in the file twice"),
    "taken": _l("It is in use already"),
    "unknown": _l("Nobody is known by it"),
}

SIGNS = {
    Sign.TIER: _l("The owner is below the tier"),
    Sign.GROUP: _l("The owner is not in the group"),
    Sign.DEVICE: _l("One browser for several people"),
    Sign.NETWORK: _l("One network for many people"),
    Sign.ADDRESS: _l("One address for many people"),
    Sign.PHONES: _l("Phone numbers in a row"),
    Sign.BURST: _l("A burst of new people"),
}

SIGN_HELP = {
    Sign.TIER: _l(
        "They do not have the tier that the offer asks for. They may have lost it since, or the coupon was granted."
    ),
    Sign.GROUP: _l("They are not in the group now. The coupon cannot be used until they are in it again."),
    Sign.DEVICE: _l(
        "The same browser claimed for people with different phones. A family may share one; a dozen hardly do."
    ),
    Sign.NETWORK: _l(
        "So many claims came from one address on the internet. An office or a mobile carrier may look the same."
    ),
    Sign.ADDRESS: _l("So many members have the same postal address. A dormitory or a pick-up point may look the same."),
    Sign.PHONES: _l("The numbers differ in the last three digits only, as numbers do that were bought together."),
    Sign.BURST: _l(
        "In one minute many people claimed whom the shop had known for less than an hour and who never ordered."
    ),
}


def sign_words(sign: Sign) -> str:
    """What is odd, as the coupon's history keeps it."""
    return str(SIGNS[sign])


def cluster_words(sign: Sign, key: str) -> str:
    """Which cluster of a sign it is: the start of the phone numbers, or the minute. Hashes say nothing to anybody."""
    if sign is Sign.PHONES:
        return f"{key.removeprefix('+86')}***"
    return key if sign is Sign.BURST else ""


class Terms(Protocol):
    """The terms that a sentence is made of: an `OfferVersion`, or what a form holds."""

    kind: CouponKind
    value: int
    discount_cap: int | None
    min_spend: int
    skus: list[str]
    item_title: str
    usable_from: datetime | None
    usable_until: datetime | None
    valid_days: int | None
    min_rank: int
    group_id: int | None


def coupon_state(state: CouponState) -> str:
    return str(COUPON_STATES[state])


def reason(text: str) -> str:
    """Why a coupon changed: our own reasons translated, what staff typed as it is."""
    return str(REASONS.get(text, text))


def percent_words(per_mille: int) -> str:
    """`850` paid: `8.5折` in Chinese, `15% off` in English."""
    if current_locale() == "zh_Hans":
        return f"{per_mille / 100:g}折"
    return f"{(1000 - per_mille) / 10:g}% off"


def face(terms: Any) -> str:
    """What stands large on the ticket."""
    match terms.kind:
        case CouponKind.AMOUNT | CouponKind.FIXED_PRICE:
            return short_yuan(terms.value)
        case CouponKind.PERCENT:
            return percent_words(terms.value)
        case CouponKind.GIFT_ITEM:
            return _("Free gift")
        case _:
            return _("Free shipping")


def what(terms: Any) -> str:
    """What the coupon does, from which minimum."""
    least = terms.min_spend
    match terms.kind:
        case CouponKind.AMOUNT if least:
            return _("%(value)s off from %(least)s", value=short_yuan(terms.value), least=short_yuan(least))
        case CouponKind.AMOUNT:
            return _("%(value)s off", value=short_yuan(terms.value))
        case CouponKind.PERCENT:
            words = percent_words(terms.value)
            if least:
                words = _("%(percent)s from %(least)s", percent=words, least=short_yuan(least))
            if terms.discount_cap is None:
                return words
            return _("%(words)s, at most %(cap)s", words=words, cap=short_yuan(terms.discount_cap))
        case CouponKind.FIXED_PRICE:
            return _("one piece for %(value)s", value=short_yuan(terms.value))
        case CouponKind.GIFT_ITEM if least:
            return _("%(item)s with orders from %(least)s", item=terms.item_title, least=short_yuan(least))
        case CouponKind.GIFT_ITEM:
            return _("%(item)s with the order", item=terms.item_title)
        case _ if least:
            return _("free shipping from %(least)s", least=short_yuan(least))
        case _:
            return _("free shipping")


def scope(skus: Sequence[str]) -> str:
    """Which goods a coupon is for; empty when it is for all."""
    if not skus:
        return ""
    if len(skus) <= 2:
        return _("only for %(skus)s", skus=_(", ").join(skus))
    return ngettext("only for %(num)s product", "only for %(num)s products", len(skus))


def validity(terms: Any) -> str:
    """How long a coupon can be used once it is claimed."""
    parts = []
    if terms.valid_days is not None:
        parts.append(ngettext("%(num)s day from the claim", "%(num)s days from the claim", terms.valid_days))
    if terms.usable_from is not None:
        parts.append(_("usable from %(at)s", at=date_time(terms.usable_from)))
    if terms.usable_until is not None:
        parts.append(_("until %(at)s", at=date_time(terms.usable_until)))
    return _comma().join(parts)


def _comma() -> str:
    """Between the parts of a sentence; between goods it is another one in Chinese."""
    return "，" if current_locale() == "zh_Hans" else ", "


def _joined(parts: Sequence[str]) -> str:
    text = _comma().join(part for part in parts if part)
    return text[:1].upper() + text[1:]


def sentence(
    terms: Any, stock: int | None = None, per_member: int | None = 1, per_day: int | None = None, group: str = ""
) -> str:
    """An offer's rules in one sentence: "¥20 off from ¥99, VIP2+, 14 days from the claim, 1,000 pieces"."""
    parts = [what(terms), scope(terms.skus)]
    if terms.min_rank:
        parts.append(f"VIP{terms.min_rank}+" if terms.min_rank < 4 else "VIP4")
    if terms.group_id is not None:
        parts.append(_("in %(group)s only", group=group) if group else _("for a group's members"))
    parts.append(validity(terms))
    if stock is not None:
        parts.append(ngettext("%(count)s piece", "%(count)s pieces", stock, count=number(stock)))
    if per_day is not None:
        parts.append(_("%(count)s a day", count=number(per_day)))
    if per_member is None:
        parts.append(_("any number each"))
    elif per_member > 1:
        parts.append(_("%(count)s each", count=number(per_member)))
    return _joined(parts)


def ticket_terms(terms: Any) -> str:
    """The terms in a line, as they stand on a member's ticket."""
    parts = [what(terms), scope(terms.skus)]
    if terms.group_id is not None:
        parts.append(_("only while in the group"))
    return _joined(parts)


def source_words(source: str) -> str:
    """Where a coupon came from, for staff."""
    kind, _colon, rest = source.partition(":")
    known = {
        "link": _l("Public link"),
        "personal": _l("Personal link"),
        "push": _l("Push"),
        "call": _l("Call-back"),
        "journey": _l("Journey"),
        "console": _l("Granted by staff"),
        "transfer": _l("From another member"),
        "code": _l("A typed code"),
        "group": _l("Group"),
        "tier": _l("Benefit of a tier"),
        "points": _l("Redeemed with points"),
        "api": _l("By another program"),
    }
    if kind not in known:
        return source or "–"
    # Of a push and a group the number tells one from another; what else follows means nothing to a reader.
    number = rest.partition("/")[0] if kind == "group" else rest
    return f"{known[kind]} {number}".strip() if kind in ("link", "push", "group") else str(known[kind])


def _scope_words(version: OfferVersion) -> str:
    return scope(version.skus) or _("all goods")


def _who_words(version: OfferVersion, groups: Mapping[int, str]) -> str:
    parts = [(f"VIP{version.min_rank}+" if version.min_rank < 4 else "VIP4") if version.min_rank else _("Every tier")]
    if version.group_id is not None:
        parts.append(groups.get(version.group_id) or _("for a group's members"))
    return " · ".join(parts)


def _beside_words(version: OfferVersion) -> str:
    if version.exclusive or not version.stack_group:
        return _("no other coupon")
    return _("coupons of another kind than “%(name)s”", name=version.stack_group)


def differences(old: OfferVersion, new: OfferVersion, groups: Mapping[int, str]) -> list[tuple[str, str, str]]:
    """What changed from one version of an offer to the next: (what, before, now)."""

    def yes(held: bool) -> str:
        return _("Yes") if held else _("No")

    both = [
        (_("Kind"), *(str(KINDS[v.kind]) for v in (old, new))),
        (_("It gives"), *(what(v) for v in (old, new))),
        (_("Only for these goods"), *(_scope_words(v) for v in (old, new))),
        (_("Can be used"), *(validity(v) for v in (old, new))),
        (_("For whom"), *(_who_words(v, groups) for v in (old, new))),
        (_("Goes together with"), *(_beside_words(v) for v in (old, new))),
        (_("Order of deduction"), *(number(v.priority) for v in (old, new))),
        (_("Beside the tier's discount"), *(yes(v.with_tier) for v in (old, new))),
        (_("May be given to a friend"), *(yes(v.transferable) for v in (old, new))),
        (_("Only on these channels"), *(_comma().join(v.channels) or _("all of them") for v in (old, new))),
        (_("More terms"), *(v.terms or "–" for v in (old, new))),
    ]
    return [(name, before, now) for name, before, now in both if before != now]
