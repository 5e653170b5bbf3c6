"""Coupons that look farmed or leaked: what is odd about them, and freezing, giving free or clearing many at once."""

from __future__ import annotations

from typing import Any

from flask import flash, redirect, render_template, request, url_for

from kernel import pages
from kernel.auth import staff
from kernel.errors import NotFound
from kernel.i18n import gettext as _
from kernel.i18n import ngettext, number
from membership.members.rules import masked_phone

from .. import labels, queries, services
from ..services import leaks
from . import bp
from .frame import frame


@bp.get("/offers/<int:offer_id>/oddities")
@staff("coupons.view")
def oddities(offer_id: int) -> Any:
    offer, version = services.get_offer(offer_id)
    return render_template(
        "coupons/oddities.html",
        **frame(offer, version, "oddities"),
        findings=leaks.findings(offer.id),
    )


@bp.get("/offers/<int:offer_id>/oddities/<sign>")
@staff("coupons.view")
def oddity(offer_id: int, sign: str) -> Any:
    offer, version = services.get_offer(offer_id)
    found = leaks.finding(offer.id, sign, request.args.get("key", ""))
    if found is None:
        raise NotFound
    return render_template(
        "coupons/oddity.html",
        **frame(offer, version, "oddities"),
        finding=found,
        rows=queries.owners_of(found.coupon_ids[: leaks.SHOWN]),
        masked_phone=masked_phone,
    )


@bp.post("/offers/<int:offer_id>/oddities/<sign>")
@staff("coupons.issue")
def act_on_oddity(offer_id: int, sign: str) -> Any:
    """Freeze, give free or clear: all of a finding, or those that were ticked."""
    offer, _version = services.get_offer(offer_id)
    key = request.form.get("key", "")
    found = leaks.finding(offer.id, sign, key)
    if found is None:
        raise NotFound
    ticked = set(pages.ticked())
    chosen = [i for i in found.coupon_ids if not ticked or i in ticked]
    match request.form.get("act"):
        case "freeze":
            n = leaks.freeze_many(offer.id, chosen, labels.sign_words(found.sign))
            flash(
                ngettext("%(count)s coupon is frozen.", "%(count)s coupons are frozen.", n, count=number(n)),
                "positive",
            )
        case "unfreeze":
            n = leaks.unfreeze_many(offer.id, chosen)
            flash(
                ngettext("%(count)s coupon is unfrozen.", "%(count)s coupons are unfrozen.", n, count=number(n)),
                "positive",
            )
        case "clear":
            n = leaks.clear(offer.id, chosen)
            flash(
                ngettext(
                    "%(count)s coupon is marked as fine.", "%(count)s coupons are marked as fine.", n, count=number(n)
                ),
                "positive",
            )
        case _:
            raise NotFound
    if leaks.finding(offer.id, sign, key) is not None:
        return redirect(url_for(".oddity", offer_id=offer.id, sign=sign, key=key), 303)
    flash(_("Nothing is left of this finding."), "info")
    return redirect(url_for(".oddities", offer_id=offer.id), 303)
