"""Offers: the list, making and changing one, and one offer with who claimed it."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import Any

from flask import flash, redirect, render_template, request, url_for

from kernel import audit, clock, editions, links, pages
from kernel.auth import staff
from kernel.errors import InputInvalid, NotFound
from kernel.i18n import gettext as _
from kernel.i18n import ngettext, number
from kernel.money import short_yuan
from kernel.pages import csv_response, search_chip
from membership.members.queries import group_names
from membership.members.rules import masked_phone
from membership.tiers.rules import RANKS

from .. import labels, listing, queries, reports, rules, services
from ..forms import OfferForm, StockForm
from ..listing import OfferFilter
from ..models import CouponKind, CouponState, Offer, OfferState, OfferVersion
from ..services import guard
from ..services.offers import Draft, draft_of
from . import bp
from .frame import frame, sentence_of

# ── The list ────────────────────────────────────────────────────────────────────────────────────────────────────────


def _filter() -> OfferFilter:
    said = request.args
    state, kind = said.get("state", ""), said.get("kind", "")
    return OfferFilter(
        q=pages.searched(),
        state=OfferState(state) if state in list(OfferState) else None,
        kind=CouponKind(kind) if kind in list(CouponKind) else None,
        sort=said.get("sort", ""),
        archived=said.get("archived") == "1",
    )


def _chips(wanted: OfferFilter) -> list[tuple[str, str, str]]:
    chips = search_chip(wanted.q)
    if wanted.state is not None:
        chips.append(("state", wanted.state, str(labels.OFFER_STATES[wanted.state])))
    if wanted.kind is not None:
        chips.append(("kind", wanted.kind, str(labels.KINDS[wanted.kind])))
    if wanted.archived:
        chips.append(("archived", "1", _("Archive")))
    return chips


@bp.get("/offers")
@staff("coupons.view")
def index() -> Any:
    wanted = _filter()
    rows, page, count = listing.page_of(wanted, request.args.get("cursor"))
    groups = group_names()
    return render_template(
        "coupons/offers.html",
        rows=[(row, sentence_of(row.offer, row.version, groups)) for row in rows],
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
    wanted, groups = _filter(), group_names()

    def rows() -> Iterator[list[Any]]:
        for row in listing.export_of(wanted):
            offer = row.offer
            yield [
                offer.name,
                str(labels.KINDS[row.version.kind]),
                sentence_of(offer, row.version, groups),
                str(labels.OFFER_STATES[offer.state]),
                offer.stock,
                offer.claimed,
                row.used.redeemed,
                f"{row.used.cost / 100:.2f}",
                clock.wall_text(offer.claim_from),
                clock.wall_text(offer.claim_until),
            ]

    return csv_response(f"offers-{clock.today().isoformat()}.csv", header, rows())


# ── Making and changing ─────────────────────────────────────────────────────────────────────────────────────────────


def _form(offer: Offer | None = None, version: OfferVersion | None = None, **values: Any) -> OfferForm:
    groups = list(group_names().items())
    if version is not None and version.group_id is not None and version.group_id not in dict(groups):
        groups.append((version.group_id, _("Group %(number)s", number=version.group_id)))
    tiers = [(rank, f"VIP{rank}+" if rank < 4 else "VIP4") for rank in RANKS]
    before = draft_of(offer, version) if offer is not None and version is not None else None
    return OfferForm(groups, tiers, claimed=offer.claimed if offer else 0, before=before, **values)


def _draft_sentence(draft: Draft) -> str:
    group = group_names().get(draft.group_id, "") if draft.group_id is not None else ""
    return labels.sentence(draft, draft.stock, draft.per_member, draft.per_day, group)


def _warnings(terms: Any) -> list[str]:
    """What whoever writes an offer should think of: discounts that eat the margin, goods that nobody knows."""
    found: list[str] = []
    skus = [sku.strip() for sku in terms.skus if sku.strip()]
    known = listing.known_titles(skus)
    unknown = [sku for sku in dict.fromkeys(skus) if sku not in known]
    if unknown:
        found.append(
            ngettext(
                "No product has the number %(skus)s yet: check it for typing mistakes.",
                "No product has the numbers %(skus)s yet: check them for typing mistakes.",
                len(unknown),
                skus=_(", ").join(unknown[:5]) + (" …" if len(unknown) > 5 else ""),
            )
        )
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


def _edit_page(form: OfferForm, offer: Offer | None, status: int = 200, ready: bool = False, ask: bool = False) -> Any:
    """The form; with `ask` it wants the name typed, because something would be sold below its floor."""
    cases, below = guard.weigh(form.draft, offer.id if offer else 0) if ready else ([], 0)
    return render_template(
        "coupons/offer_edit.html",
        form=form,
        offer=offer,
        labels=labels,
        ready=ready,
        ask=ask,
        cases=cases,
        below=below,
        sentence=_draft_sentence(form.draft) if ready else "",
        warnings=_warnings(form.draft) if ready else [],
    ), status


@bp.get("/offers/new")
@staff("coupons.edit")
def new() -> Any:
    form = _form(formdata=None)
    form.form_key.data = secrets.token_urlsafe(12)
    model = request.args.get("from", type=pages.row_number)
    if model is not None:
        form.fill(draft_of(*services.get_offer(model)))
        form.name.data = ""
    return _edit_page(form, None, ready=model is not None)


def _unconfirmed(form: OfferForm, offer_id: int = 0) -> bool:
    """Whether the draft leads below the floor and nobody has typed its name to say that this is meant."""
    if (form.confirmation.data or "").strip() == (form.name.data or "").strip():
        return False
    return guard.weigh(form.draft, offer_id)[1] > 0


@bp.post("/offers/new")
@staff("coupons.edit")
def new_post() -> Any:
    form = _form()
    if not form.validate():
        return _edit_page(form, None, 422)
    start = bool(request.form.get("start"))
    if start and _unconfirmed(form):
        return _edit_page(form, None, 422, ready=True, ask=True)
    offer, fresh = services.create_once(form.draft, form.form_key.data or secrets.token_urlsafe(12))
    said = _draft_sentence(form.draft)
    if fresh and start:
        guard.refuse_unconfirmed(*services.get_offer(offer.id), form.confirmation.data or "")
        services.set_state(offer.id, OfferState.ACTIVE)
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
    cases, below = guard.weigh(form.draft) if ready else ([], 0)
    return render_template(
        "coupons/_sentence.html",
        ready=ready,
        cases=cases,
        below=below,
        sentence=_draft_sentence(form.draft) if ready else "",
        warnings=_warnings(form.draft) if ready else [],
    )


@bp.get("/offers/<int:offer_id>/edit")
@staff("coupons.edit")
def edit(offer_id: int) -> Any:
    offer, version = services.get_offer(offer_id)
    form = _form(offer, version, formdata=None)
    form.fill(draft_of(offer, version))
    editions.show(form, _shown(offer_id))
    return _edit_page(form, offer, ready=True)


_CHANGED = ("offer.created", "offer.changed", "offer.stock_raised")


def _shown(offer_id: int) -> Draft:
    return draft_of(*services.get_offer(offer_id))


@bp.post("/offers/<int:offer_id>/edit")
@staff("coupons.edit")
def edit_post(offer_id: int) -> Any:
    offer, version = services.get_offer(offer_id)
    form = _form(offer, version)
    if not form.validate():
        return _edit_page(form, offer, 422)
    if editions.overtaken(form, lambda: _shown(offer_id), offer, by=_CHANGED):
        return _edit_page(form, offer, 409, ready=True)
    draft = form.draft
    if offer.state == OfferState.ACTIVE and draft != draft_of(offer, version) and _unconfirmed(form, offer.id):
        return _edit_page(form, offer, 422, ready=True, ask=True)
    changed = services.edit(offer_id, draft)
    if changed.state == OfferState.ACTIVE and changed.version_id != version.id:
        guard.refuse_unconfirmed(*services.get_offer(offer_id), form.confirmation.data or "")
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
    offer, version = services.get_offer(offer_id)
    said = request.form.get("to", "")
    if said not in list(OfferState) or said == OfferState.DRAFT:
        raise NotFound
    to = OfferState(said)
    if to == OfferState.ENDED and offer.claimed and request.form.get("confirmation", "").strip() != offer.name:
        raise InputInvalid([(_("Name"), _("Type the offer's name, exactly as it is written."))])
    if offer.state != to:
        if to == OfferState.ACTIVE:
            guard.refuse_unconfirmed(offer, version, request.form.get("confirmation", ""))
        services.set_state(offer_id, to)
    flash(str(labels.STATE_SENTENCES[to]), "positive")
    return redirect(url_for(".show", offer_id=offer_id), 303)


@bp.post("/offers/<int:offer_id>/archive")
@staff("coupons.edit")
def archive(offer_id: int) -> Any:
    offer = services.archive(offer_id)
    flash(_("“%(offer)s” is archived. Its coupons and numbers stay.", offer=offer.name), "positive")
    return redirect(url_for(".index"), 303)


@bp.post("/offers/<int:offer_id>/unarchive")
@staff("coupons.edit")
def unarchive(offer_id: int) -> Any:
    offer = services.unarchive(offer_id)
    flash(_("“%(offer)s” is back in the list.", offer=offer.name), "positive")
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


def _show(offer: Offer, version: OfferVersion, form: StockForm) -> str:
    found = queries.links_of(offer.id)
    link = next((one for one in found if one.revoked_at is None), None)
    address = links.absolute(f"/o/{link.token}") if link else None
    around = frame(offer, version, "overview")
    groups = around["groups"]
    return render_template(
        "coupons/offer.html",
        **around,
        brought=listing.yield_of(offer.id),
        sources=queries.sources_of(offer.id),
        link_names=queries.names_of(found),
        versions=_versions(offer, groups),
        book=reports.liabilities([offer.id])[0],
        days=(days := reports.curve(offer.id)),
        chart=[
            {"label": day.day.strftime("%m-%d"), "value": day.redeemed, "text": number(day.redeemed)} for day in days
        ],
        caps=_caps(offer),
        warnings=_warnings(version),
        titles=listing.known_titles(version.skus[:20]),
        group=groups.get(version.group_id or 0, ""),
        closed=rules.refusal_of(offer, clock.now()),
        address=address,
        code=links.qr_svg(address) if address else None,
        stock_form=form,
    )


def _versions(offer: Offer, groups: dict[int, str]) -> list[tuple[OfferVersion, str, list[tuple[str, str, str]]]]:
    """An offer's versions, newest first: each as a sentence, and what changed against the one before."""
    found = list(queries.versions_of(offer.id))
    before = [*found[1:], None]
    return [
        (
            one,
            labels.sentence(one, group=groups.get(one.group_id or 0, "")),
            labels.differences(old, one, groups) if old is not None else [],
        )
        for one, old in zip(found, before, strict=True)
    ]


def _caps(offer: Offer) -> list[tuple[str, str]]:
    """The caps beside the stock, in words."""
    found = []
    if offer.per_person is not None:
        found.append((_("Each person may have"), _("%(count)s over all accounts", count=number(offer.per_person))))
    if offer.per_group is not None:
        found.append((_("Through each group"), number(offer.per_group)))
    if offer.remind_hours is not None:
        hours = ngettext("%(num)s hour before it ends", "%(num)s hours before it ends", offer.remind_hours)
        found.append((_("Reminder"), hours))
    return found


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
        **frame(offer, version, "claims"),
        rows=rows,
        page=page,
        count=count,
        chips_on=chips,
        link_names=queries.names_of(queries.links_of(offer.id)),
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

    names = queries.names_of(queries.links_of(offer_id))

    def rows() -> Iterator[list[Any]]:
        now = clock.now()
        for coupon, member in queries.claimants_export(offer_id, state):
            yield [
                member.shown_name,
                masked_phone(member.phone),
                f"VIP{member.rank}" if member.rank else "",
                labels.coupon_state(rules.state_at(coupon.state, coupon.usable_until, coupon.reserved_until, now)),
                names.get(coupon.source) or labels.source_words(coupon.source),
                clock.wall_text(coupon.issued_at),
                clock.wall_text(coupon.usable_until),
                clock.wall_text(coupon.redeemed_at),
            ]

    return csv_response(f"offer-{offer_id}-claims.csv", header, rows())
