"""Pages for members: the link to a gift, claiming it, where it goes and where it is. GET changes nothing."""

from __future__ import annotations

from typing import Any

from apiflask import APIBlueprint
from flask import flash, redirect, render_template, request, url_for

from kernel import once, visitors
from kernel.auth import member_only, public
from kernel.i18n import date_time
from kernel.i18n import gettext as _
from membership.members import queries as members

from . import labels, queries, rules, services
from .forms import AddressForm
from .models import GiftClaim, GiftKind, GiftState
from .queries import Opened

bp = APIBlueprint("gifts_portal", __name__, template_folder="templates", enable_openapi=False)


def _refuse_over(found: Opened) -> None:
    """Refuses with `GiftGone` or `GiftCancelled`; whoever is known here is led to their gifts."""
    refusal: Any = None
    if found.state == GiftState.FORFEITED:
        refusal = rules.GiftGone(until=date_time(found.claim.claim_until))
    elif found.state == GiftState.CANCELLED:
        refusal = rules.GiftCancelled()
    if refusal is not None:
        if visitors.member_id() is not None:
            refusal.next_step = (url_for(".mine"), _("My gifts"))
        raise refusal


def _is_mine(found: Opened) -> bool:
    return visitors.member_id() == found.member.id


def _somebody_elses(found: Opened, token: str) -> Any:
    """For a browser that belongs to somebody else, or to nobody once the gift is claimed: nothing personal."""
    return render_template(
        "gifts/elsewhere.html",
        token=token,
        waiting=found.state == GiftState.OFFERED,
        known=visitors.member_id() is not None,
    )


def _known_address(found: Opened, kept: GiftClaim | None) -> dict[str, str]:
    """What the form is filled in with: the address given, that of the last gift, or the member's own."""
    source = found.claim if found.claim.address else kept
    if source is not None:
        return {"recipient": source.recipient, "phone": source.phone, "address": source.address}
    member = found.member
    return {"recipient": member.name, "phone": (member.phone or "").removeprefix("+86"), "address": member.address}


def _page(found: Opened, token: str, form: AddressForm | None = None, status: int = 200) -> Any:
    """The gift of the member whom this browser is bound to.

    A link alone must not show where somebody lives, so an address is shown whole only to who has proved who they are.
    """
    kept = services.kept_address(found.member.id) if found.state == GiftState.ADDRESS_PENDING else None
    identified = visitors.member_id(identified=True) == found.member.id
    if form is None:
        form = once.show(AddressForm(formdata=None, data=_known_address(found, kept) if identified else {}))
    return render_template(
        "gifts/gift.html",
        found=found,
        claim=found.claim,
        gift=found.gift,
        state=found.state,
        steps_now=labels.steps(found.gift.kind, found.state, found.claim),
        token=token,
        form=form,
        kept=kept,
        identified=identified,
        labels=labels,
        GiftState=GiftState,
        GiftKind=GiftKind,
    ), status


@bp.get("/gift/<token>")
@public("a personal link; its signature is the right")
def show(token: str) -> Any:
    found = queries.opened(token)
    _refuse_over(found)
    if _is_mine(found) and found.state != GiftState.OFFERED:
        return _page(found, token)
    if found.state != GiftState.OFFERED or visitors.member_id() not in (None, found.member.id):
        return _somebody_elses(found, token)
    visitors.propose()
    return render_template(
        "gifts/offer.html", gift=found.gift, claim=found.claim, token=token, labels=labels, GiftKind=GiftKind
    )


@bp.post("/gift/<token>")
@public("a personal link; its signature is the right")
def claim(token: str) -> Any:
    found = queries.opened(token, lock=True)
    _refuse_over(found)
    if found.state == GiftState.OFFERED:
        if visitors.member_id() not in (None, found.member.id) and "mine" not in request.form:
            return _somebody_elses(found, token)
        services.claim(found.claim.id, found.claim.member_id)
        visitors.bind(found.member.id)
    elif not _is_mine(found):
        return _somebody_elses(found, token)
    return redirect(url_for(".show", token=token), 303)


@bp.post("/gift/<token>/address")
@public("a personal link; only the browser that claimed may say where the gift goes")
def address(token: str) -> Any:
    found = queries.opened(token, lock=True)
    _refuse_over(found)
    if not _is_mine(found):
        return _somebody_elses(found, token)
    if once.done_before():
        return redirect(url_for(".show", token=token), 303)
    form = AddressForm()
    kept = services.kept_address(found.member.id) if "kept" in request.form else None
    if kept is not None and found.state == GiftState.ADDRESS_PENDING:
        services.give_address(found.claim, kept.recipient, kept.phone, kept.address)
    else:
        try:
            services.give_address(
                found.claim, form.recipient.data or "", form.phone.data or "", form.address.data or ""
            )
        except rules.AddressInvalid as refusal:
            form.refuse_each(refusal.errors)
            return _page(found, token, form, 422)
    flash(_("Thank you. The shop packs it and sends it there."), "positive")
    return redirect(url_for(".show", token=token), 303)


@bp.get("/me/gifts")
@member_only()
def mine() -> Any:
    member = members.get_member(visitors.member_id() or 0)
    rows = queries.gifts_of(member.id)
    return render_template(
        "gifts/mine.html",
        waiting=[row for row in rows if row.state in rules.WAITING],
        under_way=[row for row in rows if row.state not in rules.WAITING and row.state not in labels.OVER],
        past=[row for row in rows if row.state in labels.OVER],
        path_of=services.path_of,
        labels=labels,
    )
