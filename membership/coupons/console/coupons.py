"""One coupon, using it at the counter, and those that are about to end."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from flask import flash, redirect, render_template, request, url_for

from kernel import audit, clock
from kernel.auth import may, safe_next, staff
from kernel.errors import NotFound, Refusal
from kernel.i18n import gettext as _
from kernel.money import short_yuan
from kernel.pages import csv_response, search_chip, searched
from membership.members import queries as members
from membership.members.rules import masked_phone

from .. import codes, labels, listing, queries, rules, services
from ..forms import ReasonForm, RedeemForm
from ..models import CouponKind, CouponState
from ..queries import CouponRow
from ..services.counter import redeem_at_counter
from . import bp

# More than any minimum, to ask whether a coupon could be used at all.
ENOUGH = 10_000_000_000_00


@bp.get("/coupons")
@staff("coupons.view")
def lookup() -> Any:
    typed = request.args.get("code", "").strip()[:100]
    row = queries.find_code(typed) if typed else None
    if row is not None:
        return redirect(url_for(".coupon", coupon_id=row.coupon.id))
    return render_template("coupons/lookup.html", typed=typed), 404 if typed else 200


def _redeem_form(row: CouponRow, **values: Any) -> RedeemForm:
    titles = listing.known_titles(row.version.skus)
    skus = [(sku, f"{titles[sku]} ({sku})" if titles.get(sku) else sku) for sku in row.version.skus]
    return RedeemForm(skus, row.version.kind == CouponKind.FREE_SHIPPING, **values)


def _coupon_page(row: CouponRow, redeem_form: RedeemForm, reason_form: ReasonForm, status: int = 200) -> Any:
    member = members.get_member(row.coupon.member_id)
    verdict = services.validate([row.coupon.code], rules.Basket(ENOUGH), "counter").verdicts[0]
    stopper = verdict.refusal if not isinstance(verdict.refusal, rules.LinesNeeded | rules.NothingToDiscount) else None
    return render_template(
        "coupons/coupon_console.html",
        row=row,
        member=member,
        spelt=codes.spelt(row.coupon.code)
        if may("coupons.redeem") or may("coupons.issue")
        else codes.masked(row.coupon.code),
        stopper=stopper,
        used=queries.live_redemption(row.coupon.id),
        redemptions=queries.redemptions_of(row.coupon.id),
        events=queries.events_of(row.coupon.id),
        redeem_form=redeem_form,
        reason_form=reason_form,
        labels=labels,
        S=CouponState,
        link_names=queries.names_of(queries.links_of(row.offer.id)),
        masked_phone=masked_phone,
    ), status


@bp.get("/coupons/<int:coupon_id>")
@staff("coupons.view")
def coupon(coupon_id: int) -> Any:
    row = queries.coupon_row(coupon_id)
    return _coupon_page(row, _redeem_form(row, formdata=None), ReasonForm(formdata=None))


@bp.post("/coupons/<int:coupon_id>/redeem")
@staff("coupons.redeem")
def redeem(coupon_id: int) -> Any:
    row = queries.coupon_row(coupon_id)
    form = _redeem_form(row)
    if not form.validate():
        return _coupon_page(row, form, ReasonForm(formdata=None), 422)
    done = redeem_at_counter(row.coupon, (form.order.data or "").strip(), form.basket)
    if isinstance(done, Refusal):
        form.form_errors.append(str(done))
        return _coupon_page(row, form, ReasonForm(formdata=None), 422)
    taken, rest = done.redemption.discount, done.redemption.amount + form.basket.postage - done.taken
    if row.version.kind == CouponKind.GIFT_ITEM:
        flash(_("Used. Put %(item)s into the bag.", item=row.version.item_title), "positive")
    else:
        flash(
            _("Used: %(discount)s off, %(rest)s to pay.", discount=short_yuan(taken), rest=short_yuan(max(0, rest))),
            "positive",
        )
    return redirect(url_for(".coupon", coupon_id=coupon_id), 303)


@bp.post("/coupons/<int:coupon_id>/redemptions/<int:redemption_id>/roll-back")
@staff("coupons.redeem")
def roll_back(coupon_id: int, redemption_id: int) -> Any:
    row, form = queries.coupon_row(coupon_id), ReasonForm()
    found = next((one for one in queries.redemptions_of(coupon_id) if one.id == redemption_id), None)
    if found is None:
        raise NotFound
    if not form.validate():
        return _coupon_page(row, _redeem_form(row, formdata=None), form, 422)
    if found.rolled_back_at is None:
        services.roll_back(row.coupon.code, found.source, found.order_external_id, form.reason.data or "")
    back = queries.coupon_row(coupon_id)
    flash(
        _("The use is undone; the coupon is good again.")
        if back.usable
        else _("The use is undone; its time was over meanwhile."),
        "positive",
    )
    return redirect(url_for(".coupon", coupon_id=coupon_id), 303)


def _with_reason(coupon_id: int, act: Any, said: str) -> Any:
    row, form = queries.coupon_row(coupon_id), ReasonForm()
    if not form.validate():
        return _coupon_page(row, _redeem_form(row, formdata=None), form, 422)
    act(coupon_id, (form.reason.data or "").strip())
    flash(said, "positive")
    return redirect(safe_next(request.form.get("next"), url_for(".coupon", coupon_id=coupon_id)), 303)


@bp.post("/coupons/<int:coupon_id>/revoke")
@staff("coupons.issue")
def revoke(coupon_id: int) -> Any:
    return _with_reason(
        coupon_id, services.revoke, _("The coupon is taken back; its owner can read that on their page.")
    )


@bp.post("/coupons/<int:coupon_id>/freeze")
@staff("coupons.issue")
def freeze(coupon_id: int) -> Any:
    return _with_reason(coupon_id, services.freeze, _("The coupon is frozen until somebody unfreezes it."))


@bp.post("/coupons/<int:coupon_id>/unfreeze")
@staff("coupons.issue")
def unfreeze(coupon_id: int) -> Any:
    services.unfreeze(coupon_id, "unfrozen")
    if queries.coupon_row(coupon_id).usable:
        flash(_("The coupon can be used again."), "positive")
    else:
        flash(_("It is unfrozen, but its time was over meanwhile."), "caution")
    return redirect(url_for(".coupon", coupon_id=coupon_id), 303)


# ── Those that are about to end ─────────────────────────────────────────────────────────────────────────────────────


@bp.get("/coupons/ending")
@staff("coupons.view")
def ending() -> Any:
    q = searched()
    rows, page, count = queries.ending_page(q, request.args.get("cursor"))
    return render_template(
        "coupons/ending.html",
        rows=rows,
        page=page,
        count=count,
        chips_on=search_chip(q),
        labels=labels,
    )


@bp.post("/coupons/ending/export")
@staff("members.export")
def export_ending() -> Any:
    q = searched()
    audit.record("coupons.ending_exported", "coupon", None, after={"filter": {"q": q} if q else {}})
    header = [_("Member"), _("Phone"), _("Offer"), _("What it gives"), _("Usable until"), _("Reminded")]

    def rows() -> Iterator[list[Any]]:
        for coupon, offer, version, member in queries.ending_export(q):
            yield [
                member.shown_name,
                masked_phone(member.phone),
                offer.name,
                labels.what(version),
                clock.wall_text(coupon.usable_until),
                clock.wall_text(coupon.reminded_at),
            ]

    return csv_response(f"coupons-ending-{clock.today().isoformat()}.csv", header, rows())
