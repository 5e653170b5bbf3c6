"""Flash sales and group prices: a fixed-price coupon of one product, for those who sit in the group.

Claiming, stock, limits and the checkout are those of `membership.coupons`; here stands only which product and which group.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import select

from community.groups import queries as groups
from community.groups import services as seats
from community.groups.models import Group
from community.groups.rules import NotAMember
from kernel import audit, clock
from kernel.db import db
from kernel.errors import InputInvalid
from kernel.events import publish
from kernel.i18n import gettext as _
from kernel.money import short_yuan
from membership.coupons import services as coupons
from membership.coupons.models import CouponKind, Offer, OfferState, OfferVersion
from membership.coupons.services import guard, offers
from membership.products.models import Product

from .. import queries, rules
from ..events import SaleStarted
from ..models import Sale, SaleKind

RUNNING = (OfferState.ACTIVE, OfferState.PAUSED)


@dataclass(frozen=True)
class SaleDraft:
    """What staff write of a sale. `price` in 分, instants aware UTC; whoever claims has `pay_days` days after the end to order."""

    title: str
    product_id: int
    price: int
    ends_at: datetime
    starts_at: datetime | None = None
    stock: int | None = None
    per_member: int = 1
    pay_days: int = 1
    combines: bool = False
    note: str = ""


def _product(product_id: int) -> Product:
    found = db.session.get(Product, product_id)
    if found is None or not found.list_price:
        raise InputInvalid([("product_id", _("Choose a product with a list price."))])
    return found


def check(group: Group, kind: SaleKind, draft: SaleDraft) -> Product:
    """The product of a draft. Refuses with `InputInvalid` (field, sentence) whatever does not make a sensible sale."""
    product = _product(draft.product_id)
    wrong: list[tuple[str, str]] = []
    if not draft.title.strip():
        wrong.append(("title", _("Give it a name that members will read.")))
    lowest, highest = rules.price_range(kind, product.list_price or 0)
    if not lowest <= draft.price <= highest:
        sentence = _("Between %(low)s and %(high)s for this product.", low=short_yuan(lowest), high=short_yuan(highest))
        wrong.append(("price", sentence))
    now = clock.now()
    if draft.ends_at <= now:
        wrong.append(("ends_at", _("It must end in the future.")))
    elif draft.ends_at > now + timedelta(days=rules.LONGEST_DAYS):
        wrong.append(("ends_at", _("At most %(days)s days from now.", days=rules.LONGEST_DAYS)))
    elif group.closes_at is not None and draft.ends_at > group.closes_at:
        wrong.append(
            ("ends_at", _("The group closes before that, at %(when)s.", when=clock.wall_text(group.closes_at)))
        )
    if draft.starts_at is not None and draft.starts_at >= draft.ends_at:
        wrong.append(("starts_at", _("It begins before it ends.")))
    if kind is SaleKind.FLASH_SALE and draft.stock is None:
        wrong.append(("stock", _("Say how many pieces the flash sale has.")))
    if draft.stock is not None and draft.stock < 1:
        wrong.append(("stock", _("At least one.")))
    if not 1 <= draft.per_member <= 20:
        wrong.append(("per_member", _("Between 1 and 20 each.")))
    if not 0 <= draft.pay_days <= 30:
        wrong.append(("pay_days", _("Between 0 and 30 days.")))
    if wrong:
        raise InputInvalid(wrong)
    return product


def offer_draft(group: Group, draft: SaleDraft, product: Product, stack_group: str = "") -> offers.Draft:
    """The offer that a sale is, in the words of `membership.coupons`."""
    return offers.Draft(
        name=draft.title.strip(),
        kind=CouponKind.FIXED_PRICE,
        value=draft.price,
        skus=[product.sku],
        usable_until=draft.ends_at + timedelta(days=draft.pay_days),
        group_id=group.id,
        stack_group=stack_group if draft.combines else "",
        stock=draft.stock,
        per_member=draft.per_member,
        claim_from=draft.starts_at,
        claim_until=draft.ends_at,
    )


def weigh(group: Group, kind: SaleKind, draft: SaleDraft, offer_id: int = 0) -> tuple[list[Any], int]:
    """What would be sold below its floor, as `coupons.services.guard.weigh`. Refuses as `check`."""
    product = check(group, kind, draft)
    return guard.weigh(offer_draft(group, draft, product), offer_id)


def create_sale(
    group: Group, kind: SaleKind, draft: SaleDraft, form_key: str | None = None, author_id: int | None = None
) -> Sale:
    """Write a sale down as a draft with its offer; the same `form_key` again gives the same one. Refuses with `InputInvalid`."""
    product = check(group, kind, draft)
    public_id = secrets.token_urlsafe(9)
    wanted = offer_draft(group, draft, product, f"sale-{public_id}")
    offer, fresh = coupons.create_once(wanted, form_key or public_id)
    if not fresh:
        return db.session.scalars(select(Sale).where(Sale.offer_id == offer.id)).one()
    sale = Sale(
        public_id=public_id,
        group_id=group.id,
        kind=kind,
        offer_id=offer.id,
        product_id=product.id,
        list_price=product.list_price or 0,
        note=draft.note.strip(),
        author_id=author_id,
        created_at=clock.now(),
    )
    db.session.add(sale)
    db.session.flush()
    audit.record("sale.created", "sale", sale.id, after=_plain(draft))
    return sale


def _plain(draft: SaleDraft) -> dict[str, Any]:
    return {key: value.isoformat() if isinstance(value, datetime) else value for key, value in asdict(draft).items()}


def sale_draft_of(sale: Sale, offer: Offer, version: OfferVersion) -> SaleDraft:
    """What a form shows of a sale."""
    ends_at = offer.claim_until or clock.now()
    return SaleDraft(
        offer.name,
        sale.product_id,
        version.value,
        ends_at,
        offer.claim_from,
        offer.stock,
        offer.per_member or 1,
        max(0, ((version.usable_until or ends_at) - ends_at).days),
        bool(version.stack_group),
        sale.note,
    )


def edit_sale(sale_id: int, draft: SaleDraft) -> Sale:
    """Change a sale that is still a draft. Refuses with `InputInvalid` and `AnnouncedAlready`."""
    sale = queries.get_sale(sale_id)
    offer, version = coupons.get_offer(sale.offer_id, lock=True)
    if offer.state is not OfferState.DRAFT:
        raise rules.AnnouncedAlready
    group, before = groups.get_group(sale.group_id), sale_draft_of(sale, offer, version)
    product = check(group, sale.kind, draft)
    coupons.edit(offer.id, offer_draft(group, draft, product, f"sale-{sale.public_id}"))
    sale.product_id, sale.list_price, sale.note = product.id, product.list_price or 0, draft.note.strip()
    db.session.flush()
    audit.record("sale.changed", "sale", sale.id, _plain(before), _plain(draft))
    return sale


def start_sale(sale_id: int, typed: str = "") -> Sale:
    """Show a sale to its group and open its offer. The line goes through what the product costs at this instant.

    Refuses with `MarginUnconfirmed` what would be sold below its floor until its name is `typed`, with `InputInvalid` what has
    its time behind it, and with `ChangedMeanwhile` when it was started or ended already or the group is closed.
    """
    sale = queries.get_sale(sale_id)
    offer, version = coupons.get_offer(sale.offer_id, lock=True)
    group = groups.get_group(sale.group_id)
    if offer.state is not OfferState.DRAFT or groups.is_over(group):
        raise rules.ChangedMeanwhile
    product = check(group, sale.kind, sale_draft_of(sale, offer, version))
    sale.list_price = product.list_price or sale.list_price
    guard.refuse_unconfirmed(offer, version, typed)
    coupons.set_state(offer.id, OfferState.ACTIVE)
    publish(SaleStarted(sale_id=sale.id, group_id=sale.group_id, kind=sale.kind.value))
    audit.record("sale.started", "sale", sale.id)
    return sale


def stop_sale(sale_id: int) -> Sale:
    """End a sale for good; coupons that are out stay usable. Refuses with `ChangedMeanwhile` when it has ended."""
    sale = queries.get_sale(sale_id)
    offer, _version = coupons.get_offer(sale.offer_id, lock=True)
    if offer.state is OfferState.ENDED:
        raise rules.ChangedMeanwhile
    coupons.set_state(offer.id, OfferState.ENDED)
    audit.record("sale.stopped", "sale", sale.id)
    return sale


def stop_sales_of(group_id: int) -> int:
    """End the sales of a group that has closed, so that no door to their coupons stays open; how many ran."""
    running = [sale.id for sale, offer, _version in queries.sales_of_group(group_id) if offer.state in RUNNING]
    for sale_id in running:
        with suppress(rules.ChangedMeanwhile):
            stop_sale(sale_id)
    return len(running)


def claim(sale: Sale, member_id: int, ordinal: int | None = None) -> coupons.Claimed:
    """Give a member their coupon of a sale, committed when this returns, as `coupons.claim`; `ordinal` as there.

    Refuses with `NotAMember`, `GroupOver`, as `groups.before_entering` does, and as `coupons.claim`.
    """
    if not groups.in_group(member_id, sale.group_id):
        raise NotAMember
    seats.refuse_over(sale.group_id)
    seats.before_entering.call(member_id)
    return coupons.claim(sale.offer_id, member_id, queries.source_of(sale), ordinal)


def adopt_copies(group_id: int, from_group_id: int) -> int:
    """Make sales of the offers that a copied group took over from the sales of the one it was made after; how many."""
    made = 0
    for sale, offer, version in queries.sales_of_group(from_group_id):
        copy = _copy_of(group_id, offer, version)
        if copy is not None:
            product = db.session.get_one(Product, sale.product_id)
            db.session.add(
                Sale(
                    public_id=secrets.token_urlsafe(9),
                    group_id=group_id,
                    kind=sale.kind,
                    offer_id=copy.id,
                    product_id=sale.product_id,
                    list_price=product.list_price or sale.list_price,
                    note=sale.note,
                    author_id=sale.author_id,
                    created_at=clock.now(),
                )
            )
            made += 1
            db.session.flush()
    return made


def _copy_of(group_id: int, offer: Offer, version: OfferVersion) -> Offer | None:
    found: Sequence[Offer] = db.session.scalars(
        select(Offer)
        .join(OfferVersion, OfferVersion.id == Offer.version_id)
        .outerjoin(Sale, Sale.offer_id == Offer.id)
        .where(
            OfferVersion.group_id == group_id,
            OfferVersion.kind == CouponKind.FIXED_PRICE,
            OfferVersion.value == version.value,
            OfferVersion.skus == version.skus,
            Offer.name == offer.name,
            Offer.state == OfferState.DRAFT,
            Sale.id.is_(None),
        )
        .order_by(Offer.id)
        .limit(1)
    ).all()
    return found[0] if found else None
