"""Giving coupons: one to a member, or one each to many."""

from __future__ import annotations

import secrets
from typing import Any

from flask import flash, redirect, render_template, request, url_for

from kernel import links
from kernel.auth import staff
from kernel.errors import InputInvalid, NotFound, Refusal
from kernel.i18n import gettext as _
from kernel.i18n import ngettext, number
from membership.members import queries as members
from membership.members.queries import group_names

from .. import labels, queries, services
from ..forms import GrantForm, GrantManyForm
from ..jobs import give_coupons
from ..models import Offer, OfferVersion
from ..services import granting
from ..services.grants import NothingToGrant
from . import bp
from .frame import frame, sentence_of


def _grant_page(member_id: int, status: int = 200) -> Any:
    member = members.get_member(member_id)
    groups = group_names()
    choices = [(offer, version, sentence_of(offer, version, groups)) for offer, version in queries.grantable()]
    chosen = request.args.get("offer", type=int)
    found = next((one for one in choices if one[0].id == chosen), None)
    address = links.absolute(services.personal_path(member.id, found[0].id)) if found else None
    return render_template(
        "coupons/grant.html",
        member=member,
        choices=choices,
        chosen=found[0] if found else None,
        address=address,
        code=links.qr_svg(address) if address else None,
        held=queries.held(found[0].id, member.id) if found else [],
        key=secrets.token_urlsafe(12),
        labels=labels,
    ), status


@bp.get("/offers/grants/<int:member_id>")
@staff("coupons.issue")
def grant(member_id: int) -> Any:
    return _grant_page(member_id)


@bp.post("/offers/grants/<int:member_id>")
@staff("coupons.issue")
def grant_post(member_id: int) -> Any:
    member = members.get_member(member_id)
    form = GrantForm([(offer.id, offer.name) for offer, _version in queries.grantable()])
    if not form.validate():
        raise NothingToGrant(next_step=(url_for(".grant", member_id=member.id), _("Choose another offer")))
    key = f"console:{member.id}:{form.key.data}"
    coupon_id = services.grant(form.offer_id.data, member.id, key, "console").coupon_id
    row = queries.coupon_row(coupon_id)
    flash(_("%(name)s has the coupon of “%(offer)s”.", name=member.shown_name, offer=row.offer.name), "positive")
    return redirect(url_for(".coupon", coupon_id=coupon_id), 303)


# ── To many ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _many_page(offer: Offer, version: OfferVersion, form: GrantManyForm, status: int = 200) -> Any:
    return render_template(
        "coupons/grants.html",
        **frame(offer, version, "grants"),
        form=form,
        runs=granting.runs_of(offer.id),
    ), status


def _many_form(**values: Any) -> GrantManyForm:
    return GrantManyForm(granting.choices(), **values)


@bp.get("/offers/<int:offer_id>/grants")
@staff("coupons.view")
def many(offer_id: int) -> Any:
    form = _many_form(formdata=None)
    form.key.data = secrets.token_urlsafe(12)
    return _many_page(*services.get_offer(offer_id), form)


@bp.post("/offers/<int:offer_id>/grants")
@staff("coupons.issue")
def many_post(offer_id: int) -> Any:
    offer, version = services.get_offer(offer_id)
    form = _many_form()
    if not form.validate():
        return _many_page(offer, version, form, 422)
    try:
        rejects: list[list[object]] = []
        if form.audience.data:
            name = dict(form.audience.choices)[form.audience.data]
            people = granting.people_of(form.audience.data)
        else:
            name = form.file.data.filename
            people, rejects = granting.people_in(form.file.data.read())
        run = granting.start(offer.id, name, people, form.key.data, rejects)
    except InputInvalid as refusal:
        form.refuse_each(refusal.errors)
        return _many_page(offer, version, form, 422)
    except Refusal as refusal:
        form.refuse("file", str(refusal))
        return _many_page(offer, version, form, 422)
    give_coupons.later(run_id=run.id)
    flash(
        ngettext(
            "%(count)s member gets a coupon. You can leave this page.",
            "%(count)s members get a coupon each. You can leave this page.",
            run.total,
            count=number(run.total),
        ),
        "positive",
    )
    return redirect(url_for(".many", offer_id=offer.id), 303)


@bp.get("/offers/grant-runs/<int:run_id>")
@staff("coupons.view")
def run_progress(run_id: int) -> Any:
    run = granting.run_of(run_id)
    if run is None:
        raise NotFound
    return render_template("coupons/_grant_progress.html", run=run)
