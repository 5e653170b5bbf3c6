"""Offers: made, edited in versions, opened and closed, stocked, put aside."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from kernel import audit, clock
from kernel.db import db
from kernel.errors import InputInvalid, NotFound, Refusal
from kernel.i18n import date_time
from kernel.i18n import gettext as _
from kernel.i18n import lazy_gettext as _l
from kernel.money import LARGEST

from ..models import CouponKind, Offer, OfferState, OfferVersion
from .claims import forget_closed


class StockBelowClaimed(Refusal):
    status = 422
    label = _l("%(claimed)s coupons are out already; the stock cannot be lower than that.")


class OfferStateRefused(Refusal):
    label = _l("An offer that has ended cannot be opened again. Make a new one from it.")


class OfferPast(Refusal):
    title = _l("Its time is over")
    label = _l("Its coupons could be used or claimed until %(until)s only. Change that first, then start it.")
    icon = "calendar"


class OfferRuns(Refusal):
    label = _l("An offer that runs cannot be archived. End it first.")


@dataclass(frozen=True)
class Draft:
    """Everything that staff set about an offer. Amounts in 分, percentages per mille paid (850 = 8.5折)."""

    name: str
    kind: CouponKind
    value: int = 0
    discount_cap: int | None = None
    min_spend: int = 0
    skus: list[str] = field(default_factory=list)
    item_title: str = ""
    usable_from: datetime | None = None
    usable_until: datetime | None = None
    valid_days: int | None = None
    min_rank: int = 0
    group_id: int | None = None
    channels: list[str] = field(default_factory=list)
    stack_group: str = ""
    exclusive: bool = False
    priority: int = 100
    terms: str = ""
    stock: int | None = None
    per_member: int | None = 1
    per_day: int | None = None
    claim_from: datetime | None = None
    claim_until: datetime | None = None
    open_to_new: bool = False
    with_tier: bool = True
    transferable: bool = False
    budget: int | None = None
    per_person: int | None = None
    per_group: int | None = None
    remind_hours: int | None = None


TERMS = (
    "kind", "value", "discount_cap", "min_spend", "skus", "item_title", "usable_from", "usable_until", "valid_days",
    "min_rank", "group_id", "channels", "stack_group", "exclusive", "priority", "with_tier", "transferable", "terms",
)  # fmt: skip
CONDITIONS = (
    "name", "stock", "per_member", "per_day", "claim_from", "claim_until", "open_to_new", "budget", "per_person", "per_group",
    "remind_hours",
)  # fmt: skip


def check(draft: Draft) -> None:
    """Refuses with `InputInvalid` (field, sentence) whatever does not make a sensible offer."""
    wrong: list[tuple[str, str]] = []
    if not draft.name.strip():
        wrong.append(("name", _("Give the offer a name that members will read.")))
    match draft.kind:
        case CouponKind.AMOUNT if draft.value < 1:
            wrong.append(("value", _("Say how much it takes off.")))
        case CouponKind.AMOUNT if draft.min_spend and draft.value > draft.min_spend:
            wrong.append(("value", _("It takes off more than the minimum that it asks for.")))
        case CouponKind.PERCENT if not 10 <= draft.value <= 990:
            wrong.append(("percent", _("The share that is paid lies between 1 % and 99 %.")))
        case CouponKind.FIXED_PRICE if draft.value < 1:
            wrong.append(("value", _("Say what one piece costs with the coupon.")))
        case CouponKind.FIXED_PRICE if not draft.skus:
            wrong.append(("skus", _("A fixed price needs the goods that it is for.")))
        case CouponKind.GIFT_ITEM if not draft.item_title.strip():
            wrong.append(("item_title", _("Say what is put into the parcel.")))
    if draft.discount_cap is not None and draft.discount_cap < 1:
        wrong.append(("discount_cap", _("The most it takes off must be more than nothing.")))
    if draft.min_spend < 0:
        wrong.append(("min_spend", _("The minimum cannot be negative.")))
    if draft.valid_days is None and draft.usable_until is None:
        wrong.append(("valid_days", _("Say how long a coupon can be used: days from the claim, or a last day.")))
    if draft.valid_days is not None and not 1 <= draft.valid_days <= 3_650:
        wrong.append(("valid_days", _("Between 1 and 3,650 days.")))
    if draft.usable_from and draft.usable_until and draft.usable_from >= draft.usable_until:
        wrong.append(("usable_until", _("It ends before it begins.")))
    if draft.claim_from and draft.claim_until and draft.claim_from >= draft.claim_until:
        wrong.append(("claim_until", _("It ends before it begins.")))
    if draft.usable_until and draft.claim_until and draft.claim_until > draft.usable_until:
        wrong.append(("claim_until", _("Coupons could still be claimed when they can no longer be used.")))
    for name in ("stock", "per_member", "per_day", "budget", "per_person", "per_group"):
        number = getattr(draft, name)
        if number is not None and not 1 <= number <= (LARGEST if name == "budget" else 100_000_000):
            wrong.append((name, _("At least 1, or leave it empty for no limit.")))
    if draft.remind_hours is not None and not 1 <= draft.remind_hours <= 720:
        wrong.append(("remind_hours", _("Between 1 and 720 hours before it ends.")))
    if not 1 <= draft.priority <= 1_000:
        wrong.append(("priority", _("Between 1 and 1,000; the smaller number is taken off first.")))
    if draft.exclusive and draft.stack_group:
        wrong.append(("stack_group", _("A coupon that stands alone goes together with nothing: leave this empty.")))
    if not 0 <= draft.min_rank <= 4:
        wrong.append(("min_rank", _("Choose one of the tiers.")))
    if draft.open_to_new and (draft.min_rank or draft.group_id is not None):
        wrong.append(("open_to_new", _("New people have no tier and no group: leave those open, or this off.")))
    if wrong:
        raise InputInvalid(wrong)


def _terms_of(draft: Draft) -> dict[str, Any]:
    values = {name: getattr(draft, name) for name in TERMS}
    values["skus"] = [sku.strip() for sku in draft.skus if sku.strip()]
    values["item_title"] = draft.item_title.strip()
    return values


def _plain(draft: Draft) -> dict[str, Any]:
    return {k: v.isoformat() if isinstance(v, datetime) else v for k, v in asdict(draft).items()}


def create(draft: Draft, state: OfferState = OfferState.DRAFT) -> Offer:
    """Make an offer with its first version. Refuses with `InputInvalid`."""
    check(draft)
    now = clock.now()
    offer = Offer(state=state, created_at=now, **{name: getattr(draft, name) for name in CONDITIONS})
    offer.name = draft.name.strip()
    db.session.add(offer)
    db.session.flush()
    version = OfferVersion(offer_id=offer.id, number=1, created_at=now, **_terms_of(draft))
    db.session.add(version)
    db.session.flush()
    offer.version_id = version.id
    db.session.flush()
    audit.record("offer.created", "offer", offer.id, after=_plain(draft))
    return offer


def create_once(draft: Draft, form_key: str) -> tuple[Offer, bool]:
    """`create` a draft for a form that was shown once: the offer, and whether it is new. A double click makes one.

    The unique key decides between two that come at the same moment: the second waits for the first, and gets its offer.
    """
    known = made_by(form_key)
    if known is not None:
        return known, False
    try:
        with db.session.begin_nested():
            offer = create(draft)
            offer.form_key = form_key
            db.session.flush()
        return offer, True
    except IntegrityError:
        known = made_by(form_key)
        if known is None:
            raise
        return known, False


def made_by(form_key: str) -> Offer | None:
    """The offer that a form has made already."""
    return db.session.scalar(select(Offer).where(Offer.form_key == form_key))


def get_offer(offer_id: int, lock: bool = False) -> tuple[Offer, OfferVersion]:
    """An offer with its version in force. Refuses with `NotFound`."""
    statement = select(Offer).where(Offer.id == offer_id).execution_options(populate_existing=True)
    offer = db.session.scalar(statement.with_for_update(key_share=True) if lock else statement)
    if offer is None or offer.version_id is None:
        raise NotFound
    return offer, db.session.get_one(OfferVersion, offer.version_id)


def draft_of(offer: Offer, version: OfferVersion) -> Draft:
    """What a form shows of an offer."""
    return Draft(
        **{name: getattr(offer, name) for name in CONDITIONS}, **{name: getattr(version, name) for name in TERMS}
    )


def edit(offer_id: int, draft: Draft) -> Offer:
    """Change an offer. Changed terms make a new version, and the coupons that are out keep theirs.

    Refuses with `InputInvalid`, and with `StockBelowClaimed` when fewer would be in stock than are out.
    """
    check(draft)
    offer, version = get_offer(offer_id, lock=True)
    before = draft_of(offer, version)
    if draft.stock is not None and draft.stock < offer.claimed:
        raise StockBelowClaimed(claimed=offer.claimed)
    for name in CONDITIONS:
        setattr(offer, name, getattr(draft, name))
    offer.name = draft.name.strip()
    terms = _terms_of(draft)
    if any(getattr(version, name) != value for name, value in terms.items()):
        fresh = OfferVersion(offer_id=offer.id, number=version.number + 1, created_at=clock.now(), **terms)
        db.session.add(fresh)
        db.session.flush()
        offer.version_id = fresh.id
    db.session.flush()
    forget_closed(offer.id)
    audit.record("offer.changed", "offer", offer.id, _plain(before), _plain(draft))
    return offer


def set_state(offer_id: int, state: OfferState) -> Offer:
    """Open, pause or end an offer; ended is for good. Coupons that are out stay usable.

    Refuses with `OfferStateRefused`, and with `OfferPast` to open one whose coupons nobody could claim or use any more.
    """
    offer, version = get_offer(offer_id, lock=True)
    if offer.state == OfferState.ENDED and state != OfferState.ENDED:
        raise OfferStateRefused
    ends = [until for until in (offer.claim_until, version.usable_until) if until is not None]
    if state == OfferState.ACTIVE and ends and min(ends) <= clock.now():
        raise OfferPast(until=date_time(min(ends)))
    before, offer.state = offer.state, state
    db.session.flush()
    forget_closed(offer.id)
    audit.record("offer.state_changed", "offer", offer.id, {"state": before.value}, {"state": state.value})
    return offer


def archive(offer_id: int) -> Offer:
    """Put an offer that has ended aside: lists leave it out, its coupons and numbers stay. Refuses with `OfferStateRefused`."""
    offer, _version = get_offer(offer_id, lock=True)
    if offer.state not in (OfferState.ENDED, OfferState.DRAFT):
        raise OfferRuns
    if offer.archived_at is None:
        offer.archived_at = clock.now()
        db.session.flush()
        audit.record("offer.archived", "offer", offer.id)
    return offer


def unarchive(offer_id: int) -> Offer:
    """Take an offer out of the archive again."""
    offer, _version = get_offer(offer_id, lock=True)
    if offer.archived_at is not None:
        offer.archived_at = None
        db.session.flush()
        audit.record("offer.unarchived", "offer", offer.id)
    return offer


def raise_stock(offer_id: int, more: int) -> Offer:
    """Put more coupons on the shelf. Raises `ValueError` for fewer than one; an unlimited offer stays so."""
    if more < 1:
        raise ValueError("stock is only ever raised here")
    offer, _version = get_offer(offer_id, lock=True)
    if offer.stock is not None:
        before, offer.stock = offer.stock, offer.stock + more
        db.session.flush()
        audit.record("offer.stock_raised", "offer", offer.id, {"stock": before}, {"stock": offer.stock})
    forget_closed(offer.id)
    return offer
