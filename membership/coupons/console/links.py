"""The public links of an offer, with their QR codes."""

from __future__ import annotations

from typing import Any

from flask import flash, redirect, render_template, url_for

from kernel import links, once
from kernel.auth import staff
from kernel.errors import NotFound
from kernel.i18n import gettext as _
from kernel.pages import attachment

from .. import queries, services
from ..forms import LinkForm
from ..models import ClaimLink, Offer, OfferVersion
from . import bp
from .frame import frame


def _links_page(offer: Offer, version: OfferVersion, form: LinkForm, status: int = 200) -> Any:
    found = queries.links_of(offer.id)
    brought = queries.brought_by(found)
    return render_template(
        "coupons/links.html",
        **frame(offer, version, "links"),
        form=form,
        rows=[(link, *brought[link.id]) for link in found],
        absolute=links.absolute,
    ), status


@bp.get("/offers/<int:offer_id>/links")
@staff("coupons.view")
def claim_links(offer_id: int) -> Any:
    return _links_page(*services.get_offer(offer_id), once.show(LinkForm(formdata=None)))


@bp.post("/offers/<int:offer_id>/links")
@staff("coupons.edit")
def add_link(offer_id: int) -> Any:
    offer, version = services.get_offer(offer_id, lock=True)
    form = LinkForm()
    if not form.validate():
        return _links_page(offer, version, form, 422)
    if once.done_before():
        return redirect(url_for(".claim_links", offer_id=offer_id), 303)
    name = (form.name.data or "").strip()
    known = [link for link in queries.links_of(offer.id) if link.name == name and link.revoked_at is None]
    if known:
        flash(_("There is a link of this name already; here it is."), "info")
    else:
        services.make_link(offer_id, name)
        flash(_("The link leads to the coupon from now on."), "positive")
    return redirect(url_for(".claim_links", offer_id=offer_id), 303)


@bp.post("/offers/<int:offer_id>/links/<int:link_id>/revoke")
@staff("coupons.edit")
def revoke_link(offer_id: int, link_id: int) -> Any:
    services.revoke_link(offer_id, link_id)
    flash(_("The link leads nowhere any more. What was claimed through it stays with its owners."), "positive")
    return redirect(url_for(".claim_links", offer_id=offer_id), 303)


def _link(offer_id: int, link_id: int) -> ClaimLink:
    found = next((link for link in queries.links_of(offer_id) if link.id == link_id), None)
    if found is None:
        raise NotFound
    return found


@bp.get("/offers/<int:offer_id>/links/<int:link_id>/qr.svg")
@staff("coupons.view")
def link_svg(offer_id: int, link_id: int) -> Any:
    address = links.absolute(f"/o/{_link(offer_id, link_id).token}")
    return attachment(links.qr_svg(address), "image/svg+xml", f"coupon-{offer_id}-{link_id}.svg")


@bp.get("/offers/<int:offer_id>/links/<int:link_id>/qr.png")
@staff("coupons.view")
def link_png(offer_id: int, link_id: int) -> Any:
    address = links.absolute(f"/o/{_link(offer_id, link_id).token}")
    return attachment(links.qr_png(address, 16), "image/png", f"coupon-{offer_id}-{link_id}.png")
