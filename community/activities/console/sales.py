"""A flash sale or a group price: written, started past the margin guard, ended, and what came of it."""

from __future__ import annotations

from typing import Any

from flask import flash, redirect, render_template, request, url_for

from community.groups import queries as groups
from community.groups.models import Group
from kernel import editions, links, once, pages
from kernel.auth import acting_staff, staff
from kernel.errors import InputInvalid, NotFound
from kernel.i18n import gettext as _
from membership.coupons import queries as coupons
from membership.coupons import services as offers
from membership.coupons.models import OfferState
from membership.coupons.services import guard

from .. import labels, queries, rules, services
from ..forms import SaleForm
from ..models import SaleKind
from ..queries import OnSale
from . import bp
from .lists import frame_of


def _kind() -> SaleKind:
    said = request.args.get("kind", SaleKind.FLASH_SALE.value)
    if said not in list(SaleKind):
        raise NotFound
    return SaleKind(said)


def _form(kind: SaleKind, **values: Any) -> SaleForm:
    return SaleForm(kind, queries.product_choices(), **values)


def _edit_page(
    group: Group, kind: SaleKind, form: SaleForm, found: OnSale | None = None, status: int = 200, ask: bool = False
) -> Any:
    cases, below = services.weigh(group, kind, form.draft, found.offer.id if found else 0) if ask else ([], 0)
    return render_template(
        "activities/sale_edit.html",
        **frame_of(group),
        kind=kind,
        form=form,
        found=found,
        labels=labels,
        ask=ask,
        cases=cases,
        below=below,
    ), status


@bp.get("/groups/<int:group_id>/sales/new")
@staff("activities.edit")
def new_sale(group_id: int) -> Any:
    kind, group = _kind(), groups.get_group(group_id)
    form = _form(kind, formdata=None)
    once.show(form)
    product = request.args.get("product", type=pages.row_number)
    if product is not None:
        form.product_id.data = product
    form.ends_at.data = group.closes_at
    return _edit_page(group, kind, form)


def _saved(group: Group, kind: SaleKind, form: SaleForm, found: OnSale | None) -> Any:
    """Keep what was typed, and start it where that was asked for and the margin allows it or was confirmed."""
    if not form.validate():
        return _edit_page(group, kind, form, found, 422)
    try:
        draft, start = form.draft, bool(request.form.get("start"))
        below = services.weigh(group, kind, draft, found.offer.id if found else 0)[1]
        if start and below and (form.confirmation.data or "") != draft.title:
            return _edit_page(group, kind, form, found, 422, ask=True)
        if found is None:
            if once.done_before():
                return redirect(url_for(".of_group", group_id=group.id))
            sale = services.create_sale(group, kind, draft, author_id=acting_staff().id)
        elif _overtaken(form, found):
            return _edit_page(group, kind, form, found, 409)
        else:
            sale = services.edit_sale(found.sale.id, draft)
    except InputInvalid as refusal:
        form.refuse_each(refusal.errors)
        return _edit_page(group, kind, form, found, 422)
    if start and queries.on_sale(sale.id).offer.state is OfferState.DRAFT:
        services.start_sale(sale.id, form.confirmation.data or "")
        flash(_("It stands in the group now."), "positive")
    else:
        flash(_("Kept as a draft. Start it when you are ready."), "positive")
    return redirect(url_for(".sale", sale_id=sale.id), 303)


@bp.post("/groups/<int:group_id>/sales/new")
@staff("activities.edit")
def new_sale_post(group_id: int) -> Any:
    kind = _kind()
    return _saved(groups.get_group(group_id), kind, _form(kind), None)


@bp.get("/sales/<int:sale_id>/edit")
@staff("activities.edit")
def edit_sale(sale_id: int) -> Any:
    found = queries.on_sale(sale_id)
    if found.offer.state is not OfferState.DRAFT:
        raise rules.AnnouncedAlready(next_step=(url_for(".sale", sale_id=sale_id), _("See the sale")))
    form = _form(found.sale.kind, formdata=None)
    form.fill(services.sale_draft_of(found.sale, found.offer, found.version))
    editions.show(form, _shown(sale_id))
    return _edit_page(groups.get_group(found.sale.group_id), found.sale.kind, form, found)


def _shown(sale_id: int) -> Any:
    found = queries.on_sale(sale_id)
    return services.sale_draft_of(found.sale, found.offer, found.version)


def _overtaken(form: SaleForm, found: OnSale) -> bool:
    # The offer comes before its sale in the order of locks, as where a sale is started; a version never changes.
    offers.get_offer(found.offer.id, lock=True)
    return editions.overtaken(form, lambda: _shown(found.sale.id), found.sale, by=("sale.created", "sale.changed"))


@bp.post("/sales/<int:sale_id>/edit")
@staff("activities.edit")
def edit_sale_post(sale_id: int) -> Any:
    found = queries.on_sale(sale_id)
    return _saved(groups.get_group(found.sale.group_id), found.sale.kind, _form(found.sale.kind), found)


@bp.get("/sales/<int:sale_id>")
@staff("activities.view")
def sale(sale_id: int) -> Any:
    found = queries.on_sale(sale_id)
    group = groups.get_group(found.sale.group_id)
    cases, below = guard.weigh(found.version, found.offer.id) if found.offer.state is OfferState.DRAFT else ([], 0)
    path = url_for("activities_portal.sale", public_id=group.public_id, token=found.sale.public_id)
    return render_template(
        "activities/sale.html",
        **frame_of(group),
        found=found,
        phase=found.phase,
        outcome=queries.outcome_of(found.sale, found.offer),
        states=coupons.states_of(found.offer.id),
        address=links.absolute(path) if found.offer.state is not OfferState.DRAFT else None,
        cases=cases,
        below=below,
        labels=labels,
    )


@bp.post("/sales/<int:sale_id>/start")
@staff("activities.edit")
def start_sale(sale_id: int) -> Any:
    try:
        services.start_sale(sale_id, request.form.get("confirmation", ""))
    except InputInvalid as refusal:
        for _field, sentence in refusal.errors:
            flash(sentence, "caution")
        return redirect(url_for(".edit_sale", sale_id=sale_id), 303)
    flash(_("It stands in the group now."), "positive")
    return redirect(url_for(".sale", sale_id=sale_id), 303)


@bp.post("/sales/<int:sale_id>/stop")
@staff("activities.edit")
def stop_sale(sale_id: int) -> Any:
    drafted = queries.on_sale(sale_id).offer.state is OfferState.DRAFT
    services.stop_sale(sale_id)
    said = _("Thrown away.") if drafted else _("It has ended. Coupons that are out can still be used.")
    flash(said, "positive")
    return redirect(url_for(".sale", sale_id=sale_id), 303)
