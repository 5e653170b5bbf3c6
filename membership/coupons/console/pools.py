"""The codes of an offer: one for all, or pools of codes that give one coupon each."""

from __future__ import annotations

from typing import Any

from flask import flash, redirect, render_template, url_for

from kernel import audit, once
from kernel.auth import staff
from kernel.errors import InputInvalid, NotFound, Refusal
from kernel.i18n import gettext as _
from kernel.pages import csv_response

from .. import labels, queries, services
from ..forms import PoolFileForm, PoolForm, SharedCodeForm
from ..jobs import fill_pool
from ..models import Offer, OfferVersion
from ..services import pools
from . import bp
from .frame import frame


def _page(offer: Offer, version: OfferVersion, status: int = 200, **forms: Any) -> Any:
    found = queries.pools_of(offer.id)
    shown: dict[str, Any] = {
        "pool_form": once.show(PoolForm(formdata=None)),
        "file_form": once.show(PoolFileForm(formdata=None, prefix="file-")),
        "shared_form": once.show(SharedCodeForm(formdata=None, prefix="shared-")),
    }
    return render_template(
        "coupons/pools.html",
        **frame(offer, version, "codes"),
        pools=found,
        left=pools.left_in([pool.id for pool, _code in found]),
        **(shown | forms),
    ), status


@bp.get("/offers/<int:offer_id>/codes")
@staff("coupons.view")
def codes_of(offer_id: int) -> Any:
    return _page(*services.get_offer(offer_id))


def _refused(form: Any, refusal: Refusal) -> None:
    if isinstance(refusal, InputInvalid):
        form.refuse_each(refusal.errors)
    else:
        form.refuse("file", str(refusal))


@bp.post("/offers/<int:offer_id>/codes/generate")
@staff("coupons.issue")
def generate_codes(offer_id: int) -> Any:
    offer, version = services.get_offer(offer_id)
    form = PoolForm()
    if not form.validate():
        return _page(offer, version, 422, pool_form=form)
    if once.done_before():
        return redirect(url_for(".codes_of", offer_id=offer.id), 303)
    try:
        pool = pools.generate(
            offer.id,
            form.name.data,
            form.number.data,
            form.prefix.data or "",
            form.length.data or 13,
            form.group.data or 0,
        )
    except InputInvalid as refusal:
        _refused(form, refusal)
        return _page(offer, version, 422, pool_form=form)
    fill_pool.later(pool_id=pool.id)
    flash(_("The codes are being made. You can leave this page."), "positive")
    return redirect(url_for(".codes_of", offer_id=offer.id), 303)


@bp.post("/offers/<int:offer_id>/codes/import")
@staff("coupons.issue")
def import_codes(offer_id: int) -> Any:
    offer, version = services.get_offer(offer_id)
    form = PoolFileForm(prefix="file-")
    if not form.validate():
        return _page(offer, version, 422, file_form=form)
    if once.done_before():
        return redirect(url_for(".codes_of", offer_id=offer.id), 303)
    try:
        pool = pools.take_file(offer.id, form.name.data, form.file.data.read())
    except Refusal as refusal:
        _refused(form, refusal)
        return _page(offer, version, 422, file_form=form)
    fill_pool.later(pool_id=pool.id)
    flash(_("The file is being read. You can leave this page."), "positive")
    return redirect(url_for(".codes_of", offer_id=offer.id), 303)


@bp.post("/offers/<int:offer_id>/codes/shared")
@staff("coupons.edit")
def share_code(offer_id: int) -> Any:
    offer, version = services.get_offer(offer_id)
    form = SharedCodeForm(prefix="shared-")
    if not form.validate():
        return _page(offer, version, 422, shared_form=form)
    if once.done_before():
        return redirect(url_for(".codes_of", offer_id=offer.id), 303)
    try:
        pools.make_shared(offer.id, form.name.data, form.code.data)
    except InputInvalid as refusal:
        _refused(form, refusal)
        return _page(offer, version, 422, shared_form=form)
    flash(_("Everybody can type this code from now on."), "positive")
    return redirect(url_for(".codes_of", offer_id=offer.id), 303)


@bp.post("/offers/<int:offer_id>/codes/<int:pool_id>/close")
@staff("coupons.edit")
def close_pool(offer_id: int, pool_id: int) -> Any:
    pools.close(offer_id, pool_id)
    flash(_("These codes give nothing any more. Coupons that they gave stay with their owners."), "positive")
    return redirect(url_for(".codes_of", offer_id=offer_id), 303)


@bp.get("/offers/code-pools/<int:pool_id>")
@staff("coupons.view")
def pool_progress(pool_id: int) -> Any:
    return render_template("coupons/_pool_progress.html", pool=_pool(pool_id))


def _pool(pool_id: int) -> Any:
    found = queries.find_pool(pool_id)
    if found is None:
        raise NotFound
    return found


@bp.post("/offers/<int:offer_id>/codes/<int:pool_id>/export")
@staff("coupons.issue")
def export_codes(offer_id: int, pool_id: int) -> Any:
    pool = _pool(pool_id)
    if pool.offer_id != offer_id:
        raise NotFound
    audit.record("code_pool.exported", "offer", offer_id, after={"name": pool.name, "codes": pool.accepted})
    return csv_response(f"codes-{pool.id}.csv", [_("Coupon code"), _("State")], pools.export(pool))


@bp.get("/offers/<int:offer_id>/codes/<int:pool_id>/rejects")
@staff("coupons.issue")
def pool_rejects(offer_id: int, pool_id: int) -> Any:
    pool = _pool(pool_id)
    if pool.offer_id != offer_id:
        raise NotFound
    rows = ([line, text, str(labels.REJECTS[why])] for line, text, why in pool.rejects)
    return csv_response(f"codes-{pool.id}-rejects.csv", [_("Line"), _("Coupon code"), _("Reason")], rows)
