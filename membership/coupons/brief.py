"""What coupons put on the console's first page and into its search."""

from __future__ import annotations

from datetime import timedelta

from flask import url_for
from sqlalchemy import select

from kernel import clock
from kernel.auth import may
from kernel.db import db
from kernel.i18n import gettext as _
from kernel.i18n import ngettext, number
from kernel.today import Hit, Number, Task

from . import codes, labels, queries
from .models import Offer
from .services import leaks

WEEK = timedelta(days=7)
MANY = 10


def find(wanted: str) -> list[Hit]:
    """A coupon by its code, and offers by words of their name; at most ten."""
    if len(wanted) < 2 or not may("coupons.view"):
        return []
    hits = []
    row = queries.find_code(wanted)
    if row is not None:
        hits.append(
            Hit(
                kind=_("Coupon"),
                title=codes.masked(row.coupon.code),
                url=url_for("coupons_console.coupon", coupon_id=row.coupon.id),
                about=f"{row.offer.name} · {labels.coupon_state(row.state)}",
            )
        )
    found = db.session.scalars(
        select(Offer).where(Offer.name.icontains(wanted, autoescape=True)).order_by(Offer.id.desc()).limit(10)
    )
    hits.extend(
        Hit(
            kind=_("Offer"),
            title=offer.name,
            url=url_for("coupons_console.show", offer_id=offer.id),
            about=str(labels.OFFER_STATES[offer.state]),
        )
        for offer in found
    )
    return hits


def tasks() -> list[Task]:
    """Offers that are about to run out, and coupons whose owners should be reminded."""
    if not may("coupons.view"):
        return []
    found = []
    for offer in queries.low_on_stock():
        left = (offer.stock or 0) - offer.claimed
        text = (
            ngettext(
                "“%(offer)s” has %(count)s piece left",
                "“%(offer)s” has %(count)s pieces left",
                left,
                offer=offer.name,
                count=number(left),
            )
            if left
            else _("“%(offer)s” is sold out", offer=offer.name)
        )
        about = _("Raise the stock, or end it, so that no link leads to an empty shelf.")
        url = url_for("coupons_console.show", offer_id=offer.id, _anchor="stock")
        found.append(
            Task(65 if left else 72, text, url, _("See the stock"), "ticket", about, name=f"coupons.stock:{offer.id}")
        )
    for offer, count, first in queries.expiring_soon():
        if count < MANY:
            continue
        text = ngettext(
            "%(count)s coupon of “%(offer)s” ends within three days",
            "%(count)s coupons of “%(offer)s” end within three days",
            count,
            offer=offer.name,
            count=number(count),
        )
        about = _(
            "The first on %(day)s. A reminder brings some of them back.", day=clock.local(first).strftime("%m-%d")
        )
        url = url_for("coupons_console.ending")
        found.append(Task(55, text, url, _("See whose"), "hourglass", about, name=f"coupons.ending:{offer.id}"))
    for pool, offer, left in queries.low_pools():
        text = ngettext(
            "%(count)s code is left of “%(pool)s” (%(offer)s)",
            "%(count)s codes are left of “%(pool)s” (%(offer)s)",
            left,
            count=number(left),
            pool=pool.name,
            offer=offer.name,
        )
        about = _("Make more before whoever gives them out runs dry.")
        url = url_for("coupons_console.codes_of", offer_id=offer.id)
        found.append(Task(60, text, url, _("See the codes"), "barcode", about, name=f"coupons.codes:{pool.id}"))
    for offer, clusters in leaks.suspicious_offers():
        text = ngettext(
            "%(count)s browser claimed “%(offer)s” for several people",
            "%(count)s browsers claimed “%(offer)s” for several people each",
            clusters,
            count=number(clusters),
            offer=offer.name,
        )
        about = _("Look at whose coupons they are, and freeze them or mark them as fine.")
        url = url_for("coupons_console.oddities", offer_id=offer.id)
        found.append(Task(68, text, url, _("See what is odd"), "shield-lock", about))
    return found


def numbers() -> list[Number]:
    """Coupons given out in the last seven days, against the seven before."""
    if not may("coupons.view"):
        return []
    now = clock.now()
    return [
        Number(
            _("Coupons claimed"),
            queries.claimed_between(now - WEEK, now + timedelta(seconds=1)),
            queries.claimed_between(now - 2 * WEEK, now - WEEK),
            url_for("coupons_console.index"),
            position=2,
        )
    ]
