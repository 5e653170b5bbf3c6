"""Pages for members: the link to a coupon, claiming it, the coupon itself, and all of theirs. GET changes nothing."""

from __future__ import annotations

from typing import Any

from apiflask import APIBlueprint
from flask import flash, redirect, render_template, request, url_for

from kernel import clock, links, visitors
from kernel.auth import member_only, public
from kernel.errors import Refusal
from kernel.http import client_address
from kernel.i18n import gettext as _
from membership.members import queries as member_queries

from . import codes, labels, queries, rules, services
from .forms import CodeForm, PhoneForm
from .models import CouponState, Offer, OfferVersion
from .queries import CouponRow
from .services import transfers, typed
from .services.claims import claimant

bp = APIBlueprint("coupons_portal", __name__, template_folder="templates", enable_openapi=False)

PAGE = "coupon-page"


def page_path(coupon_id: int, **said: Any) -> str:
    """The path of a coupon's own page: a signed bearer token, for who holds the code holds the coupon."""
    return url_for("coupons_portal.show", token=links.make(PAGE, coupon_id), **said)


def _offer_page(offer: Offer, version: OfferVersion, person: Any, **values: Any) -> Any:
    """The ticket with its one button; or why nobody can claim now."""
    refusal = rules.refusal_of(offer, clock.now())
    if refusal is not None and refusal is not rules.NotYet:
        raise refusal
    if offer.stock is not None and offer.claimed >= offer.stock:
        raise rules.SoldOut
    if person is not None:
        services.refuse_unqualified(person, version.min_rank, version.group_id)
    held = queries.held(offer.id, person.id) if person is not None else []
    return render_template(
        "coupons/claim.html",
        offer=offer,
        version=version,
        face=labels.face(version),
        terms=labels.ticket_terms(version),
        validity=labels.validity(version),
        opens=offer.claim_from if refusal is rules.NotYet else None,
        closed=refusal is rules.NotYet,
        ordinal=len(held) + 1,
        **values,
    )


def _mine_already(offer: Offer, member_id: int) -> CouponRow | None:
    """The coupon that the member has when the offer gives no more of them."""
    held = queries.held(offer.id, member_id)
    if held and offer.per_member is not None and len(held) >= offer.per_member:
        return held[-1]
    return None


def _ordinal() -> int | None:
    said = request.form.get("n", "")
    return int(said) if said.isascii() and said.isdigit() and 0 < len(said) < 5 else None


def _elsewhere() -> Any:
    return render_template("coupons/elsewhere.html")


# ── A person's own link ─────────────────────────────────────────────────────────────────────────────────────────────


@bp.get("/c/<token>")
@public("a personal link; its signature is the right")
def personal(token: str) -> Any:
    member_id, offer_id, _source = services.read_personal(token)
    person = claimant(member_id)
    offer, version = queries.offer_with_version(offer_id)
    mine = _mine_already(offer, person.id)
    if mine is not None:
        if visitors.member_id() == person.id:
            return redirect(page_path(mine.coupon.id, again="1"))
        return _elsewhere()
    visitors.propose()
    return _offer_page(offer, version, person, post_url=url_for(".claim_personal", token=token), ask=False)


@bp.post("/c/<token>")
@public("a personal link; its signature is the right")
def claim_personal(token: str) -> Any:
    member_id, offer_id, source = services.read_personal(token)
    claimed = services.claim(offer_id, member_id, source, _ordinal(), bind=True)
    if claimed.fresh:
        return redirect(page_path(claimed.coupon_id, fresh="1"), 303)
    # Everybody who holds the link may open it, and only the browser that claimed gets to see whose coupon it is.
    if visitors.member_id() == queries.coupon_row(claimed.coupon_id).coupon.member_id:
        return redirect(page_path(claimed.coupon_id, again="1"), 303)
    services.note_link_reuse(claimed.coupon_id)
    return _elsewhere()


# ── A public link ───────────────────────────────────────────────────────────────────────────────────────────────────


@bp.get("/o/<token>")
@public("a public link to an offer; it asks who you are before it gives anything")
def offer(token: str, form: PhoneForm | None = None) -> Any:
    link = services.find_link(token)
    found, version = queries.offer_with_version(link.offer_id)
    member_id = visitors.member_id()
    if member_id is not None:
        mine = _mine_already(found, member_id)
        if mine is not None:
            return redirect(page_path(mine.coupon.id, again="1"))
    return _offer_page(
        found,
        version,
        claimant(member_id) if member_id is not None else None,
        post_url=url_for(".claim_public", token=token),
        ask=member_id is None,
        sign_in_url=url_for("members_portal.sign_in", next=url_for(".offer", token=token)),
        new_url=url_for(".claim_new", token=token) if found.open_to_new else None,
        form=form or PhoneForm(formdata=None),
    )


@bp.post("/o/<token>")
@public("a public link to an offer; only a browser that is bound to a member gets anything")
def claim_public(token: str) -> Any:
    claimed = services.claim_while_closed(token)
    if claimed is None:
        member_id = visitors.member_id()
        if member_id is None:
            services.find_link(token)
            return redirect(url_for("members_portal.sign_in", next=url_for(".offer", token=token)), 303)
        claimed = services.claim_by_link(token, member_id, _ordinal())
    return redirect(page_path(claimed.coupon_id, **({"fresh": "1"} if claimed.fresh else {"again": "1"})), 303)


@bp.post("/o/<token>/new")
@public("a public link to an offer that is open to people the shop does not know")
def claim_new(token: str) -> Any:
    link = services.find_link(token)
    found, _version = queries.offer_with_version(link.offer_id)
    if not found.open_to_new:
        return redirect(url_for(".offer", token=token), 303)
    form = PhoneForm()
    if not form.validate():
        return offer(token, form), 422
    claimed = services.claim_with_phone(link.offer_id, form.canonical, f"link:{link.id}", client_address())
    if not claimed.fresh:
        # The same words whether the phone is a member's or another newcomer's.
        return _elsewhere()
    return redirect(page_path(claimed.coupon_id, fresh="1"), 303)


# ── The coupon ──────────────────────────────────────────────────────────────────────────────────────────────────────


@bp.get("/coupon/<token>")
@public("a coupon's own page; its signature is the right")
def show(token: str) -> Any:
    (coupon_id,) = links.read(PAGE, token)
    row = queries.coupon_row(int(coupon_id))
    own = visitors.member_id() == row.coupon.member_id
    gift = transfers.open_of(row.coupon.id) if own else None
    return render_template(
        "coupons/coupon.html",
        row=row,
        token=token,
        gift=gift,
        gift_url=links.absolute(transfers.path_of(gift)) if gift is not None else None,
        giveable=own and transfers.transferable(row.coupon, row.version),
        face=labels.face(row.version),
        terms=labels.ticket_terms(row.version),
        state=labels.COUPON_STATES[row.state],
        tone=_tone(row),
        code=codes.spelt(row.coupon.code),
        qr_svg=links.qr_svg(row.coupon.code) if row.usable else None,
        used=queries.live_redemption(row.coupon.id) if row.state == CouponState.REDEEMED else None,
        bound=visitors.member_id() is not None,
        CouponState=CouponState,
    )


def _tone(row: CouponRow) -> str:
    return {
        CouponState.ISSUED: "open",
        CouponState.RESERVED: "open",
        CouponState.REDEEMED: "used",
        CouponState.FROZEN: "frozen",
    }.get(row.state, "expired")


@bp.get("/me/coupons")
@member_only()
def mine(form: CodeForm | None = None) -> Any:
    member = member_queries.get_member(visitors.member_id() or 0)
    return render_template(
        "coupons/mine.html",
        usable=queries.usable_of(member.id),
        past=queries.past_of(member.id),
        labels=labels,
        tone=_tone,
        page_path=page_path,
        code_form=form or CodeForm(formdata=None),
        soon=queries.SOON,
        now=clock.now(),
        CouponState=CouponState,
    )


@bp.post("/me/coupons/codes")
@member_only()
def enter_code() -> Any:
    form = CodeForm()
    if not form.validate():
        return mine(form), 422
    member = member_queries.get_member(visitors.member_id() or 0)
    try:
        coupon_id, fresh = typed.enter(form.code.data or "", member)
    except (rules.RedeemRefused, rules.ClaimRefused) as refusal:
        # A redirect and no error page: what counts the tries must be committed.
        flash(f"{refusal.title} {refusal}", "caution")
        return redirect(url_for(".mine"), 303)
    return redirect(page_path(coupon_id, **({"fresh": "1"} if fresh else {"again": "1"})), 303)


# ── To a friend ─────────────────────────────────────────────────────────────────────────────────────────────────────


def _own_coupon() -> tuple[int, int]:
    """(coupon_id, member_id) of the coupon whose page the form came from."""
    (coupon_id,) = links.read(PAGE, request.form.get("coupon", ""))
    return int(coupon_id), visitors.member_id() or 0


@bp.post("/me/coupons/gifts")
@member_only()
def give() -> Any:
    coupon_id, member_id = _own_coupon()
    transfers.offer_transfer(coupon_id, member_id)
    return redirect(page_path(coupon_id), 303)


@bp.post("/me/coupons/gifts/call-back")
@member_only()
def call_back() -> Any:
    coupon_id, member_id = _own_coupon()
    transfers.cancel(coupon_id, member_id)
    flash(_("The coupon is yours alone again."), "positive")
    return redirect(page_path(coupon_id), 303)


@bp.get("/coupon-gifts/<token>")
@public("a gift's link; it asks who you are before it gives anything")
def gift(token: str, form: PhoneForm | None = None) -> Any:
    found = transfers.read(token)
    coupon = transfers.refuse(found, None)
    row = queries.coupon_row(coupon.id)
    member_id = visitors.member_id()
    refusal = None
    if member_id is not None:
        try:
            transfers.refuse(found, claimant(member_id).id)
        except Refusal as refused:
            refusal = refused
    return render_template(
        "coupons/gift.html",
        token=token,
        coupon=coupon,
        offer=row.offer,
        version=row.version,
        face=labels.face(row.version),
        terms=labels.ticket_terms(row.version),
        refusal=refusal,
        ask=member_id is None,
        form=(form or PhoneForm(formdata=None)) if row.offer.open_to_new else None,
        sign_in_url=url_for("members_portal.sign_in", next=url_for(".gift", token=token)),
    )


@bp.post("/coupon-gifts/<token>")
@public("a gift's link; only a browser that is bound to a member, or a new person's phone, gets anything")
def accept_gift(token: str) -> Any:
    found = transfers.read(token)
    member_id = visitors.member_id()
    if member_id is not None:
        fresh = transfers.accept(found.id, claimant(member_id).id)
        return redirect(page_path(fresh.id, fresh="1"), 303)
    row = queries.coupon_row(found.coupon_id)
    if not row.offer.open_to_new:
        return redirect(url_for("members_portal.sign_in", next=url_for(".gift", token=token)), 303)
    form = PhoneForm()
    if not form.validate():
        return gift(token, form), 422
    friend, known = services.newcomer(form.canonical, "gift", client_address())
    fresh = transfers.accept(found.id, friend.id)
    if known:
        # The same words whether the phone is a member's or another newcomer's.
        return _elsewhere()
    return redirect(page_path(fresh.id, fresh="1"), 303)
