"""Pages for staff: the offers, one offer with its links and claims, giving a coupon to a member, and the counter."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from apiflask import APIBlueprint
from flask import Response, flash, redirect, render_template, request, url_for

from kernel import audit, clock, links
from kernel.auth import may, safe_next, staff
from kernel.errors import InputInvalid, NotFound, Refusal
from kernel.i18n import gettext as _
from kernel.i18n import ngettext, number
from kernel.money import short_yuan
from kernel.pages import csv_response
from membership.members import queries as members
from membership.members.rules import masked_phone
from membership.tiers.rules import RANKS

from . import codes, labels, listing, queries, rules, services
from .forms import GrantForm, LinkForm, OfferForm, ReasonForm, RedeemForm, StockForm
from .listing import OfferFilter
from .models import ClaimLink, CouponKind, CouponState, Offer, OfferState, OfferVersion
from .queries import CouponRow
from .services.counter import redeem_at_counter
from .services.grants import NothingToGrant
from .services.offers import Draft, draft_of

bp = APIBlueprint("coupons_console", __name__, url_prefix="/console", template_folder="templates", enable_openapi=False)

# More than any minimum, to ask whether a coupon could be used at all.
ENOUGH = 10_000_000_000_00

# What staff may do with an offer in each state.
ACTS: dict[OfferState, tuple[OfferState, ...]] = {
    OfferState.DRAFT: (OfferState.ACTIVE, OfferState.ENDED),
    OfferState.ACTIVE: (OfferState.PAUSED, OfferState.ENDED),
    OfferState.PAUSED: (OfferState.ACTIVE, OfferState.ENDED),
    OfferState.ENDED: (),
}


# ── The list ────────────────────────────────────────────────────────────────────────────────────────────────────────


def _filter() -> OfferFilter:
    said = request.args
    state, kind = said.get("state", ""), said.get("kind", "")
    return OfferFilter(
        q=said.get("q", "").replace("\x00", "").strip()[:60],
        state=OfferState(state) if state in list(OfferState) else None,
        kind=CouponKind(kind) if kind in list(CouponKind) else None,
        sort=said.get("sort", ""),
    )


def _chips(wanted: OfferFilter) -> list[tuple[str, str, str]]:
    chips: list[tuple[str, str, str]] = []
    if wanted.q:
        chips.append(("q", wanted.q, _("Search: %(words)s", words=wanted.q)))
    if wanted.state is not None:
        chips.append(("state", wanted.state, str(labels.OFFER_STATES[wanted.state])))
    if wanted.kind is not None:
        chips.append(("kind", wanted.kind, str(labels.KINDS[wanted.kind])))
    return chips


def _group_names() -> dict[int, str]:
    return {group_id: name for answer in members.group_choices.call() for group_id, name in answer}


def _sentence(offer: Offer, version: OfferVersion, groups: dict[int, str]) -> str:
    group = groups.get(version.group_id, "") if version.group_id is not None else ""
    return labels.sentence(version, offer.stock, offer.per_member, offer.per_day, group)


@bp.get("/offers")
@staff("coupons.view")
def index() -> Any:
    wanted = _filter()
    rows, page, count = listing.page_of(wanted, request.args.get("cursor"))
    groups = _group_names()
    return render_template(
        "coupons/offers.html",
        rows=[(row, _sentence(row.offer, row.version, groups)) for row in rows],
        page=page,
        count=count,
        chips_on=_chips(wanted),
        labels=labels,
    )


@bp.get("/offers/export")
@staff("coupons.view")
def export() -> Any:
    header = [
        _("Offer"), _("Kind"), _("Summary"), _("State"), _("How many pieces"), _("Claimed"), _("Used"), _("Discount given"),
        _("Can be claimed from"), _("Can be claimed until"),
    ]  # fmt: skip
    wanted, groups = _filter(), _group_names()

    def rows() -> Iterator[list[Any]]:
        for row in listing.export_of(wanted):
            offer = row.offer
            yield [
                offer.name,
                str(labels.KINDS[row.version.kind]),
                _sentence(offer, row.version, groups),
                str(labels.OFFER_STATES[offer.state]),
                offer.stock,
                offer.claimed,
                row.used.redeemed,
                f"{row.used.cost / 100:.2f}",
                _local(offer.claim_from),
                _local(offer.claim_until),
            ]

    return csv_response(f"offers-{clock.today().isoformat()}.csv", header, rows())


def _local(instant: Any) -> str:
    return clock.local(instant).strftime("%Y-%m-%d %H:%M") if instant else ""


# ── Making and changing ─────────────────────────────────────────────────────────────────────────────────────────────


def _form(offer: Offer | None = None, version: OfferVersion | None = None, **values: Any) -> OfferForm:
    groups = list(_group_names().items())
    if version is not None and version.group_id is not None and version.group_id not in dict(groups):
        groups.append((version.group_id, _("Group %(number)s", number=version.group_id)))
    tiers = [(rank, f"VIP{rank}+" if rank < 4 else "VIP4") for rank in RANKS]
    return OfferForm(groups, tiers, claimed=offer.claimed if offer else 0, **values)


def _draft_sentence(draft: Draft) -> str:
    group = _group_names().get(draft.group_id, "") if draft.group_id is not None else ""
    return labels.sentence(draft, draft.stock, draft.per_member, draft.per_day, group)


def _warnings(terms: Any) -> list[str]:
    """What whoever writes an offer should think of: discounts that eat the margin."""
    found: list[str] = []
    deepest = rules.deepest_share(terms)
    if terms.kind == CouponKind.AMOUNT and not terms.min_spend and terms.value:
        found.append(_("Without a minimum, an order of %(value)s would cost nothing.", value=short_yuan(terms.value)))
    elif deepest is not None and deepest >= 500:
        found.append(_("It takes up to %(share)s off the goods.", share=f"{deepest / 10:g}%"))
    if terms.kind == CouponKind.PERCENT and terms.discount_cap is None:
        found.append(_("There is no limit to what it takes off a large order."))
    if terms.kind == CouponKind.FIXED_PRICE and terms.value:
        found.extend(
            _(
                "“%(title)s” costs the shop %(cost)s, more than the %(price)s it would sell for.",
                title=title or sku,
                cost=short_yuan(cost),
                price=short_yuan(terms.value),
            )
            for sku, title, cost in listing.dearer_than(terms.skus, terms.value)
        )
    return found


def _edit_page(form: OfferForm, offer: Offer | None, status: int = 200, ready: bool = False) -> Any:
    return render_template(
        "coupons/offer_edit.html",
        form=form,
        offer=offer,
        labels=labels,
        ready=ready,
        sentence=_draft_sentence(form.draft) if ready else "",
        warnings=_warnings(form.draft) if ready else [],
    ), status


@bp.get("/offers/new")
@staff("coupons.edit")
def new() -> Any:
    form = _form(formdata=None)
    model = request.args.get("from", type=int)
    if model is not None:
        form.fill(draft_of(*services.get_offer(model)))
        form.name.data = ""
    return _edit_page(form, None, ready=model is not None)


@bp.post("/offers/new")
@staff("coupons.edit")
def new_post() -> Any:
    form = _form()
    if not form.validate():
        return _edit_page(form, None, 422)
    offer = services.create(form.draft, OfferState.ACTIVE if request.form.get("start") else OfferState.DRAFT)
    said = _draft_sentence(form.draft)
    if offer.state == OfferState.ACTIVE:
        flash(_("“%(offer)s” runs: %(sentence)s.", offer=offer.name, sentence=said), "positive")
    else:
        flash(_("Kept as a draft: %(sentence)s. Start it when you are ready.", sentence=said), "positive")
    return redirect(url_for(".show", offer_id=offer.id), 303)


@bp.post("/offers/sentence")
@staff("coupons.edit")
def sentence() -> Any:
    """The offer that is being written, as one sentence; changes nothing."""
    form = _form()
    ready = form.validate()
    return render_template(
        "coupons/_sentence.html",
        ready=ready,
        sentence=_draft_sentence(form.draft) if ready else "",
        warnings=_warnings(form.draft) if ready else [],
    )


@bp.get("/offers/<int:offer_id>/edit")
@staff("coupons.edit")
def edit(offer_id: int) -> Any:
    offer, version = services.get_offer(offer_id)
    form = _form(offer, version, formdata=None)
    form.fill(draft_of(offer, version))
    return _edit_page(form, offer, ready=True)


@bp.post("/offers/<int:offer_id>/edit")
@staff("coupons.edit")
def edit_post(offer_id: int) -> Any:
    offer, version = services.get_offer(offer_id)
    form = _form(offer, version)
    if not form.validate():
        return _edit_page(form, offer, 422)
    # What the form does not show stays as it is.
    before = draft_of(offer, version)
    draft = replace(form.draft, channels=before.channels, exclusive=before.exclusive, priority=before.priority)
    changed = services.edit(offer_id, draft)
    said = _draft_sentence(draft)
    if changed.version_id != version.id and changed.claimed:
        flash(
            ngettext(
                "Saved as version %(version)s: %(sentence)s. The coupon that is out keeps its terms.",
                "Saved as version %(version)s: %(sentence)s. The %(count)s coupons that are out keep their terms.",
                changed.claimed,
                version=version.number + 1,
                sentence=said,
                count=number(changed.claimed),
            ),
            "positive",
        )
    else:
        flash(_("Saved: %(sentence)s.", sentence=said), "positive")
    return redirect(url_for(".show", offer_id=offer_id), 303)


@bp.post("/offers/<int:offer_id>/state")
@staff("coupons.edit")
def change_state(offer_id: int) -> Any:
    offer, _version = services.get_offer(offer_id)
    said = request.form.get("to", "")
    if said not in list(OfferState) or said == OfferState.DRAFT:
        raise NotFound
    to = OfferState(said)
    if to == OfferState.ENDED and offer.claimed and request.form.get("confirmation", "").strip() != offer.name:
        raise InputInvalid([(_("Name"), _("Type the offer's name, exactly as it is written."))])
    if offer.state != to:
        services.set_state(offer_id, to)
    flash(str(labels.STATE_SENTENCES[to]), "positive")
    return redirect(url_for(".show", offer_id=offer_id), 303)


@bp.post("/offers/<int:offer_id>/stock")
@staff("coupons.edit")
def raise_stock(offer_id: int) -> Any:
    offer, version = services.get_offer(offer_id, lock=True)
    form = StockForm()
    if not form.validate():
        return _show(offer, version, form), 422
    if form.seen.data != str(offer.stock):
        flash(_("The stock had changed already: there are %(stock)s pieces.", stock=_pieces(offer)), "caution")
    else:
        services.raise_stock(offer_id, form.more.data or 0)
        flash(_("There are %(stock)s pieces now.", stock=_pieces(offer)), "positive")
    return redirect(url_for(".show", offer_id=offer_id), 303)


def _pieces(offer: Offer) -> str:
    return number(offer.stock) if offer.stock is not None else _("any number of")


# ── One offer ───────────────────────────────────────────────────────────────────────────────────────────────────────


def _frame(offer: Offer, version: OfferVersion, tab: str) -> dict[str, Any]:
    """What every tab of an offer shows around itself."""
    states = queries.states_of(offer.id)
    return {
        "offer": offer,
        "version": version,
        "tab": tab,
        "acts": ACTS[offer.state],
        "states": states,
        "usable": listing.usable(states),
        "sentence": _sentence(offer, version, _group_names()),
        "labels": labels,
        "OfferState": OfferState,
        "CouponState": CouponState,
    }


def _show(offer: Offer, version: OfferVersion, form: StockForm) -> str:
    shown = [(link, count) for link, count in queries.links_of(offer.id) if link.revoked_at is None]
    link = shown[0][0] if shown else None
    address = links.absolute(f"/o/{link.token}") if link else None
    groups = _group_names()
    return render_template(
        "coupons/offer.html",
        **_frame(offer, version, "overview"),
        brought=listing.yield_of(offer.id),
        sources=queries.sources_of(offer.id),
        link_names={f"link:{link.id}": link.name for link, _count in queries.links_of(offer.id)},
        versions=[
            (one, labels.sentence(one, group=groups.get(one.group_id or 0, "")))
            for one in queries.versions_of(offer.id)
        ],
        warnings=_warnings(version),
        titles=listing.known_titles(version.skus[:20]),
        group=groups.get(version.group_id or 0, ""),
        closed=rules.refusal_of(offer, clock.now()),
        address=address,
        code=links.qr_svg(address) if address else None,
        stock_form=form,
    )


@bp.get("/offers/<int:offer_id>")
@staff("coupons.view")
def show(offer_id: int) -> Any:
    return _show(*services.get_offer(offer_id), StockForm(formdata=None))


@bp.get("/offers/<int:offer_id>/claims")
@staff("coupons.view")
def claims(offer_id: int) -> Any:
    offer, version = services.get_offer(offer_id)
    state = request.args.get("state", "")
    rows, page, count = queries.claimants_page(offer.id, state, request.args.get("cursor"))
    chips = [("state", state, labels.coupon_state(CouponState(state)))] if state in list(CouponState) else []
    return render_template(
        "coupons/claims.html",
        **_frame(offer, version, "claims"),
        rows=rows,
        page=page,
        count=count,
        chips_on=chips,
        link_names={f"link:{link.id}": link.name for link, _count in queries.links_of(offer.id)},
    )


@bp.post("/offers/<int:offer_id>/claims/export")
@staff("members.export")
def export_claims(offer_id: int) -> Any:
    offer, _version = services.get_offer(offer_id)
    state = request.args.get("state", "")
    audit.record("offer.exported", "offer", offer.id, after={"coupons": offer.claimed, "state": state[:20]})
    header = [
        _("Member"), _("Phone"), _("Tier"), _("State"), _("Came through"), _("Claimed at"), _("Usable until"), _("Used at"),
    ]  # fmt: skip

    def rows() -> Iterator[list[Any]]:
        now = clock.now()
        for coupon, member in queries.claimants_export(offer_id, state):
            yield [
                member.shown_name,
                masked_phone(member.phone),
                f"VIP{member.rank}" if member.rank else "",
                labels.coupon_state(rules.state_at(coupon.state, coupon.usable_until, coupon.reserved_until, now)),
                labels.source_words(coupon.source),
                _local(coupon.issued_at),
                _local(coupon.usable_until),
                _local(coupon.redeemed_at),
            ]

    return csv_response(f"offer-{offer_id}-claims.csv", header, rows())


# ── Public links ────────────────────────────────────────────────────────────────────────────────────────────────────


def _links_page(offer: Offer, version: OfferVersion, form: LinkForm, status: int = 200) -> Any:
    used = listing.used_through(offer.id)
    return render_template(
        "coupons/links.html",
        **_frame(offer, version, "links"),
        form=form,
        rows=[(link, count, used.get(link.id, 0)) for link, count in queries.links_of(offer.id)],
        absolute=links.absolute,
    ), status


@bp.get("/offers/<int:offer_id>/links")
@staff("coupons.view")
def claim_links(offer_id: int) -> Any:
    return _links_page(*services.get_offer(offer_id), LinkForm(formdata=None))


@bp.post("/offers/<int:offer_id>/links")
@staff("coupons.edit")
def add_link(offer_id: int) -> Any:
    offer, version = services.get_offer(offer_id, lock=True)
    form = LinkForm()
    if not form.validate():
        return _links_page(offer, version, form, 422)
    name = (form.name.data or "").strip()
    known = [link for link, _count in queries.links_of(offer.id) if link.name == name and link.revoked_at is None]
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
    found = next((link for link, _count in queries.links_of(offer_id) if link.id == link_id), None)
    if found is None:
        raise NotFound
    return found


def _download(body: bytes | str, mimetype: str, filename: str) -> Response:
    response = Response(body, mimetype=mimetype)
    response.headers["Content-Disposition"] = f'attachment; filename="{filename}"'
    return response


@bp.get("/offers/<int:offer_id>/links/<int:link_id>/qr.svg")
@staff("coupons.view")
def link_svg(offer_id: int, link_id: int) -> Any:
    address = links.absolute(f"/o/{_link(offer_id, link_id).token}")
    return _download(links.qr_svg(address), "image/svg+xml", f"coupon-{offer_id}-{link_id}.svg")


@bp.get("/offers/<int:offer_id>/links/<int:link_id>/qr.png")
@staff("coupons.view")
def link_png(offer_id: int, link_id: int) -> Any:
    address = links.absolute(f"/o/{_link(offer_id, link_id).token}")
    return _download(links.qr_png(address, 16), "image/png", f"coupon-{offer_id}-{link_id}.png")


# ── Giving a coupon to a member ─────────────────────────────────────────────────────────────────────────────────────


def _grant_page(member_id: int, status: int = 200) -> Any:
    member = members.get_member(member_id)
    groups = _group_names()
    choices = [(offer, version, _sentence(offer, version, groups)) for offer, version in queries.grantable()]
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
    coupon_id, _code = services.grant(form.offer_id.data, member.id, f"console:{member.id}:{form.key.data}", "console")
    row = queries.coupon_row(coupon_id)
    flash(_("%(name)s has the coupon of “%(offer)s”.", name=member.shown_name, offer=row.offer.name), "positive")
    return redirect(url_for(".coupon", coupon_id=coupon_id), 303)


# ── One coupon, and the counter ─────────────────────────────────────────────────────────────────────────────────────


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
        link_names={f"link:{link.id}": link.name for link, _count in queries.links_of(row.offer.id)},
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
    return _with_reason(coupon_id, services.freeze, _("The coupon is on hold until somebody gives it free again."))


@bp.post("/coupons/<int:coupon_id>/unfreeze")
@staff("coupons.issue")
def unfreeze(coupon_id: int) -> Any:
    services.unfreeze(coupon_id, "unfrozen")
    flash(_("The coupon can be used again."), "positive")
    return redirect(url_for(".coupon", coupon_id=coupon_id), 303)
