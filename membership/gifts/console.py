"""Pages for staff: the gifts, and each member's gift on its way."""

from __future__ import annotations

import io
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import IO, Any

from apiflask import APIBlueprint
from flask import flash, redirect, render_template, request, url_for

from kernel import audit, clock, editions, once, pages
from kernel.auth import may, safe_next, staff
from kernel.errors import InputInvalid
from kernel.files import FileRefused
from kernel.i18n import gettext as _
from kernel.i18n import lazy_gettext as _l
from kernel.i18n import ngettext, number
from membership.members import queries as members
from membership.members import rules as member_rules
from membership.members.services import reveals
from membership.orders.formats.sheet import FileUnreadable

from . import fulfilment, jobs, labels, queries, rules, services
from .forms import (
    CodesForm,
    GiftForm,
    GiveForm,
    HandOverForm,
    PaidForm,
    ReasonForm,
    RevealForm,
    ShipForm,
    TrackingForm,
    claim_filter,
    gift_filter,
)
from .models import Gift, GiftClaim, GiftKind, GiftState
from .queries import ClaimFilter, ClaimRow, GiftFilter

bp = APIBlueprint("gifts_console", __name__, url_prefix="/console", template_folder="templates", enable_openapi=False)


# ── The catalogue ───────────────────────────────────────────────────────────────────────────────────────────────────


def _gift_chips(wanted: GiftFilter) -> list[tuple[str, str, str]]:
    chips = pages.search_chip(wanted.q)
    if wanted.kind is not None:
        chips.append(("kind", wanted.kind, _("Kind: %(kind)s", kind=labels.KINDS[wanted.kind])))
    if wanted.active is not None:
        chips.append(("active", request.args["active"], str(labels.GIVEN[wanted.active])))
    if wanted.low:
        chips.append(("stock", "low", _("Running low")))
    return chips


@bp.get("/gifts")
@staff("gifts.view")
def index() -> Any:
    wanted = gift_filter(request.args)
    page, count = queries.gifts_page(wanted, request.args.get("sort", ""), request.args.get("cursor"))
    return render_template(
        "gifts/index.html",
        page=page,
        count=count,
        tallies={
            gift_id: labels.tally(states)
            for gift_id, states in services.count_by_state([row.Gift.id for row in page.rows]).items()
        },
        chips_on=_gift_chips(wanted),
        labels=labels,
    )


@bp.get("/gifts.csv")
@staff("gifts.view")
def export() -> Any:
    rows = queries.all_gifts(gift_filter(request.args), request.args.get("sort", ""))
    tallies = services.count_by_state([gift.id for gift, _given in rows])
    header = [
        _("Gift"), _("Kind"), _("Pieces in stock"), _("Given out"), _("What one is worth"), _("Unclaimed"), _("In hand"),
        _("Sent out"),
    ]  # fmt: skip
    return pages.csv_response(
        f"gifts-{clock.today().isoformat()}.csv",
        header,
        [
            (
                gift.name,
                labels.KINDS[gift.kind],
                gift.stock,
                given,
                f"{gift.value / 100:.2f}",
                *labels.tally(tallies[gift.id]),
            )
            for gift, given in rows
        ],
    )


@bp.get("/gifts/<int:gift_id>")
@staff("gifts.view")
def show(gift_id: int) -> Any:
    gift = services.get_gift(gift_id)
    states = services.count_by_state([gift_id])[gift_id]
    return render_template(
        "gifts/show.html",
        gift=gift,
        given=services.given(gift_id),
        states=states,
        tally=labels.tally(states),
        rows=queries.latest_of_gift(gift_id),
        pool=queries.pool(gift_id),
        GiftKind=GiftKind,
        groups=members.group_names(),
        labels=labels,
    )


def _editor(form: GiftForm, gift: Gift | None = None, status: int = 200) -> Any:
    return render_template(
        "gifts/edit.html",
        form=form,
        gift=gift,
        given=services.given(gift.id) if gift else 0,
        kind_fixed=gift is not None and services.anybody_has(gift.id),
        pool=queries.pool(gift.id) if gift else None,
        labels=labels,
    ), status


def _submitted(gift: Gift | None = None) -> Any:
    """What the editor sends: the gift saved, or the page again with what is wrong."""
    form = GiftForm()
    fixed = gift.kind if gift is not None and services.anybody_has(gift.id) else None
    if fixed is not None:
        # People were promised one kind of thing; the form does not offer another.
        form.kind.data = fixed.value
    complete = form.validate()
    try:
        form.keep_picture()
    except FileRefused as refusal:
        form.refuse("file", refusal)
        return _editor(form, gift, 422)
    if not complete:
        return _editor(form, gift, 422)
    if gift is None and once.done_before():
        return redirect(url_for(".index"))
    if gift is not None and editions.overtaken(form, partial(_shown, gift), gift, by=("gift.created", "gift.changed")):
        return _editor(form, gift, 409)
    try:
        saved = services.edit(gift.id, form.draft(fixed)) if gift else services.create(form.draft())
    except services.StockBelowGiven as refusal:
        form.refuse("stock", refusal)
        return _editor(form, gift, 422)
    except InputInvalid as refusal:
        form.refuse_each(refusal.errors)
        return _editor(form, gift, 422)
    flash(_("Saved.") if gift else _("The gift is there. Choose it as a welcome gift in a group."), "positive")
    return redirect(url_for(".show", gift_id=saved.id))


@bp.get("/gifts/new")
@staff("gifts.edit")
def new() -> Any:
    return _editor(once.show(GiftForm(formdata=None)))


@bp.post("/gifts/new")
@staff("gifts.edit")
def new_post() -> Any:
    return _submitted()


@bp.get("/gifts/<int:gift_id>/edit")
@staff("gifts.edit")
def edit(gift_id: int) -> Any:
    gift = services.get_gift(gift_id)
    form = GiftForm(formdata=None, obj=gift)
    editions.show(form, _shown(gift))
    return _editor(form, gift)


def _shown(gift: Gift) -> Any:
    return (
        gift.name, gift.kind, gift.description, gift.picture, gift.stock, gift.value, gift.claim_days, gift.active,
    )  # fmt: skip


@bp.post("/gifts/<int:gift_id>/edit")
@staff("gifts.edit")
def edit_post(gift_id: int) -> Any:
    return _submitted(services.get_gift(gift_id))


# ── The pool of codes ───────────────────────────────────────────────────────────────────────────────────────────────


def _codes_page(gift: Gift, form: CodesForm, outcome: services.Added | None = None, status: int = 200) -> Any:
    return render_template(
        "gifts/codes.html", gift=gift, form=form, outcome=outcome, pool=queries.pool(gift.id), key_of=GiftKind
    ), status


@bp.get("/gifts/<int:gift_id>/codes")
@staff("gifts.edit")
def codes(gift_id: int) -> Any:
    gift = services.get_gift(gift_id)
    if gift.kind != GiftKind.DIGITAL:
        raise services.NoPlaceForCodes
    return _codes_page(gift, once.show(CodesForm(formdata=None)))


@bp.post("/gifts/<int:gift_id>/codes")
@staff("gifts.edit")
def codes_post(gift_id: int) -> Any:
    gift, form = services.get_gift(gift_id), CodesForm()
    form.validate()
    upload, typed = request.files.get(form.file.name), form.text.data or ""
    if upload is not None and upload.filename:
        try:
            lines = services.lines_in(upload.stream)
        except (FileUnreadable, services.TooManyCodes) as refusal:
            form.refuse("file", refusal)
            return _codes_page(gift, form, status=422)
    else:
        lines = typed.splitlines()
    if not any(line.strip() for line in lines):
        form.refuse("text", _("Choose a file, or paste the codes, one per line."))
        return _codes_page(gift, form, status=422)
    if once.done_before():
        return redirect(url_for(".codes", gift_id=gift_id), 303)
    try:
        outcome = services.add_codes(gift_id, lines)
    except services.TooManyCodes as refusal:
        form.refuse("text", refusal)
        return _codes_page(gift, form, status=422)
    jobs.serve_waiting.later(gift_id=gift_id)
    if outcome.rejects:
        return _codes_page(gift, once.show(CodesForm(formdata=None)), outcome)
    flash(ngettext("One code added.", "%(num)s codes added.", outcome.added), "positive")
    return redirect(url_for(".codes", gift_id=gift_id), 303)


@bp.post("/gifts/<int:gift_id>/codes/remove")
@staff("gifts.edit")
def remove_codes(gift_id: int) -> Any:
    removed = services.remove_free(services.get_gift(gift_id).id)
    flash(ngettext("One free code removed.", "%(num)s free codes removed.", removed), "positive")
    return redirect(url_for(".codes", gift_id=gift_id), 303)


# ── Giving a gift to a member ───────────────────────────────────────────────────────────────────────────────────────


@bp.get("/gifts/grants/<int:member_id>")
@staff("gifts.give")
def give(member_id: int) -> Any:
    return render_template(
        "gifts/give.html",
        member=members.get_member(member_id),
        choices=queries.givable(),
        key=secrets.token_urlsafe(12),
        labels=labels,
    )


@bp.post("/gifts/grants/<int:member_id>")
@staff("gifts.give")
def give_post(member_id: int) -> Any:
    member, form = members.get_member(member_id), GiveForm()
    back = url_for(".give", member_id=member.id)
    if not form.validate():
        flash(_("Choose a gift: nothing was given."), "caution")
        return redirect(back, 303)
    claim = services.offer_gift(form.gift_id.data or 0, member.id, f"hand:{form.key.data}")
    if claim is None:
        flash(_("Nothing is left of this gift. Choose another one."), "caution")
        return redirect(back, 303)
    audit.record("gift.given", "gift_claim", claim.id, after={"member": member.id, "gift": claim.gift_id})
    flash(_("The gift waits for %(name)s, and a notice is on its way.", name=member.shown_name), "positive")
    return redirect(url_for(".claim", claim_id=claim.id), 303)


# ── Members' gifts ──────────────────────────────────────────────────────────────────────────────────────────────────


def _claim_chips(
    wanted: ClaimFilter, gifts: list[tuple[int, str]], groups: dict[int, str]
) -> list[tuple[str, str, str]]:
    chips = pages.search_chip(wanted.q)
    if wanted.state is not None:
        chips.append(("state", wanted.state, _("State: %(state)s", state=labels.STATES[wanted.state])))
    if wanted.gift_id is not None:
        chips.append(("gift", str(wanted.gift_id), _("Gift: %(gift)s", gift=dict(gifts).get(wanted.gift_id, "–"))))
    if wanted.group_id is not None:
        chips.append(
            ("group", str(wanted.group_id), _("From the group %(group)s", group=groups.get(wanted.group_id, "–")))
        )
    return chips


@bp.get("/gift-claims")
@staff("gifts.view")
def claims() -> Any:
    wanted = claim_filter(request.args)
    page, rows, count = queries.claims_page(wanted, request.args.get("sort", ""), request.args.get("cursor"))
    gifts, groups = queries.gift_choices(), members.group_names()
    queued, to_pay = queries.count_lists(wanted)
    return render_template(
        "gifts/claims.html",
        page=page,
        rows=rows,
        count=count,
        queued=queued,
        to_pay=to_pay,
        chips_on=_claim_chips(wanted, gifts, groups),
        gifts=gifts,
        groups=groups,
        labels=labels,
        here=request.full_path.rstrip("?"),
    )


@bp.post("/gift-claims")
@staff("gifts.fulfil")
def act_on_many() -> Any:
    back = safe_next(request.form.get("next"), url_for(".claims"))
    ids = sorted(set(pages.ticked(500)))
    act, reason = request.form.get("act", ""), request.form.get("reason", "").replace("\x00", "").strip()
    if not ids or act not in labels.BULK:
        flash(_("Select gifts first: nothing was changed."), "caution")
    elif act == "cancel" and not reason:
        flash(_("Write why they are called off: nothing was changed."), "caution")
    else:
        done, left = fulfilment.act_on_many(ids, act, reason)
        if done:
            flash(ngettext("One gift changed.", "%(num)s gifts changed.", done), "positive")
        if left:
            flash(
                ngettext(
                    "One stays as it is: its state does not allow this, or its code is missing.",
                    "%(num)s stay as they are: their state does not allow this, or their code is missing.",
                    left,
                ),
                "caution",
            )
    return redirect(back)


@bp.post("/gift-claims/pick-list")
@staff("gifts.fulfil")
def pick_list() -> Any:
    """What is to be packed, with two empty columns: filled in, the same file is taken by `tracking_post`."""
    found, open_addresses = queries.pick_list(claim_filter(request.args)), may("members.reveal")
    audit.record(
        "gift.pick_list_exported",
        "gift_claim",
        None,
        after={"filter": dict(request.args.items()), "gifts": len(found), "addresses": open_addresses},
    )
    header = [
        _("Claim number"), _("Gift"), _("Name on the parcel"), _("Phone"), _("Address"), _("Queued"), _("Carrier"),
        _("Tracking number"),
    ]  # fmt: skip

    def cells(row: ClaimRow) -> list[Any]:
        claim = row.claim
        return [
            claim.id,
            row.gift.name,
            claim.recipient if open_addresses else labels.masked_name(claim.recipient),
            # The country's own prefix would be taken for a formula and guarded with an apostrophe.
            claim.phone.removeprefix("+86") if open_addresses else member_rules.masked_phone(claim.phone),
            claim.address if open_addresses else member_rules.masked_address(claim.address),
            clock.wall_text(claim.queued_at),
            "",
            "",
        ]

    return pages.csv_response(f"pick-list-{clock.today().isoformat()}.csv", header, [cells(row) for row in found])


@bp.post("/gift-claims/payout-list")
@staff("gifts.fulfil")
def payout_list() -> Any:
    """The red packets to be paid, with an empty column for the reference: filled in, `payments_post` takes the same file."""
    found, open_phones = queries.to_pay(claim_filter(request.args)), may("members.reveal")
    audit.record(
        "gift.payout_list_exported",
        "gift_claim",
        None,
        after={"filter": dict(request.args.items()), "gifts": len(found), "phones": open_phones},
    )
    header = [_("Claim number"), _("Gift"), _("Member"), _("Phone"), _("Amount"), _("Claimed"), _("Payment reference")]

    def cells(row: ClaimRow) -> list[Any]:
        number = row.member.phone or ""
        return [
            row.claim.id,
            row.gift.name,
            row.member.shown_name,
            # The country's own prefix would be taken for a formula and guarded with an apostrophe.
            number.removeprefix("+86") if open_phones else member_rules.masked_phone(number),
            f"{row.gift.value / 100:.2f}",
            clock.wall_text(row.claim.claimed_at),
            "",
        ]

    return pages.csv_response(f"red-packets-{clock.today().isoformat()}.csv", header, [cells(row) for row in found])


@dataclass(frozen=True)
class Intake:
    """A page that takes a file about many gifts: its words, what the file holds, and what reads it."""

    title: Any
    subtitle: Any
    button: Any
    passed_over: Any
    form: fulfilment.Form
    take_in: Callable[[IO[bytes]], fulfilment.Outcome]
    done: Any


TRACKING = Intake(
    _l("Enter carrier numbers"),
    _l("From a file: the pick list with its last two columns filled in, or what the carrier's program gives out."),
    _l("Enter the numbers"),
    _l(
        "Lines without carrier and number are passed over. The same file again changes nothing; another number for a gift "
        "on its way corrects it."
    ),
    fulfilment.TRACKING,
    fulfilment.take_in_tracking,
    _l("%(shipped)s sent, %(corrected)s corrected, %(unchanged)s known already, %(left)s without a number yet."),
)
PAYMENTS = Intake(
    _l("Enter payments"),
    _l("From a file: the payout list with its last column filled in. Each member reads that their red packet is paid."),
    _l("Confirm the payments"),
    _l(
        "Lines without a reference are passed over. The same file again changes nothing, and nothing is confirmed twice."
    ),
    fulfilment.PAYMENTS,
    fulfilment.take_in_payments,
    _l("%(shipped)s paid, %(unchanged)s known already, %(left)s without a reference yet."),
)


def _intake(intake: Intake, form: TrackingForm, outcome: fulfilment.Outcome | None = None, status: int = 200) -> Any:
    return render_template("gifts/intake.html", intake=intake, form=form, outcome=outcome), status


def _taken_in(intake: Intake) -> Any:
    form = TrackingForm()
    form.validate()
    upload, text = request.files.get(form.file.name), form.text.data or ""
    if upload is not None and upload.filename:
        stream: Any = upload.stream
    elif text.strip():
        stream = io.BytesIO(text.encode())
    else:
        form.refuse("file", _("Choose a file, or paste the lines."))
        return _intake(intake, form, status=422)
    try:
        outcome = intake.take_in(stream)
    except (FileUnreadable, fulfilment.TooManyLines) as refusal:
        form.refuse("file" if upload is not None and upload.filename else "text", refusal)
        return _intake(intake, form, status=422)
    if outcome.rejects:
        return _intake(intake, TrackingForm(formdata=None, text=outcome.rejected_text), outcome)
    flash(
        str(intake.done)
        % {
            "shipped": number(outcome.shipped),
            "corrected": number(outcome.corrected),
            "unchanged": number(outcome.unchanged),
            "left": number(outcome.without_number),
        },
        "positive",
    )
    return redirect(url_for(".claims"))


@bp.get("/gift-claims/tracking")
@staff("gifts.fulfil")
def tracking() -> Any:
    return _intake(TRACKING, TrackingForm(formdata=None))


@bp.post("/gift-claims/tracking")
@staff("gifts.fulfil")
def tracking_post() -> Any:
    return _taken_in(TRACKING)


@bp.get("/gift-claims/payments")
@staff("gifts.fulfil")
def payments() -> Any:
    return _intake(PAYMENTS, TrackingForm(formdata=None))


@bp.post("/gift-claims/payments")
@staff("gifts.fulfil")
def payments_post() -> Any:
    return _taken_in(PAYMENTS)


# ── One member's gift ───────────────────────────────────────────────────────────────────────────────────────────────


def _page(row: ClaimRow, status: int = 200, revealed: bool = False, **forms: Any) -> Any:
    hand_over = HandOverForm(formdata=None, content=row.claim.content)
    ship_form = ShipForm(formdata=None, carrier=row.claim.carrier, tracking_number=row.claim.tracking_number)
    editions.show(ship_form, _sending(row.claim))
    return render_template(
        "gifts/claim.html",
        row=row,
        claim=row.claim,
        acts={after for before, after in rules.TRANSITIONS if before == row.state},
        revealed=revealed,
        carriers=queries.carriers(),
        groups=members.group_names(),
        labels=labels,
        GiftState=GiftState,
        GiftKind=GiftKind,
        **{
            "ship_form": ship_form,
            "hand_over_form": hand_over,
            "paid_form": PaidForm(formdata=None, content=row.claim.content),
            "fail_form": ReasonForm(formdata=None, prefix="fail-"),
            "return_form": ReasonForm(formdata=None, prefix="return-"),
            "cancel_form": ReasonForm(formdata=None, prefix="cancel-"),
            "reveal_form": RevealForm(formdata=None),
        }
        | forms,
    ), status


def _done(claim_id: int, sentence: str) -> Any:
    flash(sentence, "positive")
    return redirect(url_for(".claim", claim_id=claim_id))


@bp.get("/gift-claims/<int:claim_id>")
@staff("gifts.view")
def claim(claim_id: int) -> Any:
    return _page(queries.claim_row(claim_id))


@bp.post("/gift-claims/<int:claim_id>/reveal")
@staff("members.reveal")
def reveal(claim_id: int) -> Any:
    row, form = queries.claim_row(claim_id), RevealForm()
    if not form.validate():
        return _page(row, 422, reveal_form=form)
    reveals.reveal("gift.address_revealed", "gift_claim", claim_id, form.reason.data)
    return _page(row, revealed=True)


def _sending(claim: GiftClaim) -> Any:
    return claim.carrier, claim.tracking_number


@bp.post("/gift-claims/<int:claim_id>/ship")
@staff("gifts.fulfil")
def ship(claim_id: int) -> Any:
    row, form = queries.claim_row(claim_id), ShipForm()
    if not form.validate():
        return _page(row, 422, ship_form=form)
    by = ("gift.shipped", "gift.tracking_changed")
    if editions.overtaken(form, partial(_sending, row.claim), row.claim, by=by):
        return _page(row, 409, ship_form=form)
    services.ship(claim_id, form.carrier.data or "", form.tracking_number.data or "")
    return _done(claim_id, _("On its way. The member can follow it on the phone."))


@bp.post("/gift-claims/<int:claim_id>/deliver")
@staff("gifts.fulfil")
def deliver(claim_id: int) -> Any:
    row = queries.claim_row(claim_id)
    if row.gift.kind == GiftKind.RED_PACKET:
        paid = PaidForm()
        if not paid.validate():
            return _page(row, 422, paid_form=paid)
        services.deliver(claim_id, paid.content.data or "")
        return _done(claim_id, _("Confirmed: the member reads that it is paid."))
    if row.gift.kind == GiftKind.PHYSICAL or row.claim.content:
        services.deliver(claim_id)
        return _done(claim_id, _("Marked as arrived."))
    form = HandOverForm()
    if not form.validate():
        return _page(row, 422, hand_over_form=form)
    services.deliver(claim_id, form.content.data or "")
    return _done(claim_id, _("Handed over: the member finds it on the gift's page."))


@bp.post("/gift-claims/<int:claim_id>/fail")
@staff("gifts.fulfil")
def fail(claim_id: int) -> Any:
    row, form = queries.claim_row(claim_id), ReasonForm(prefix="fail-")
    if not form.validate():
        return _page(row, 422, fail_form=form)
    services.fail(claim_id, form.reason.data or "")
    return _done(claim_id, _("Noted. It can be sent again, or called off."))


@bp.post("/gift-claims/<int:claim_id>/return")
@staff("gifts.fulfil")
def come_back(claim_id: int) -> Any:
    row, form = queries.claim_row(claim_id), ReasonForm(prefix="return-")
    if not form.validate():
        return _page(row, 422, return_form=form)
    services.come_back(claim_id, form.reason.data or "")
    return _done(claim_id, _("Noted. It can be sent again, or called off."))


@bp.post("/gift-claims/<int:claim_id>/queue")
@staff("gifts.fulfil")
def queue_again(claim_id: int) -> Any:
    services.queue_again(queries.claim_row(claim_id).claim.id)
    return _done(claim_id, _("It is to be sent again."))


@bp.post("/gift-claims/<int:claim_id>/cancel")
@staff("gifts.fulfil")
def cancel(claim_id: int) -> Any:
    row, form = queries.claim_row(claim_id), ReasonForm(prefix="cancel-")
    if not form.validate():
        return _page(row, 422, cancel_form=form)
    services.cancel(claim_id, form.reason.data or "")
    return _done(claim_id, _("Called off. Its piece is back in stock."))
