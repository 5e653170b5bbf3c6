"""One member: what is known about them, what happened, and what staff write down."""

from __future__ import annotations

from typing import Any

from flask import current_app, flash, redirect, render_template, request, url_for

from kernel import audit, clock, once
from kernel.auth import acting_staff, may, staff
from kernel.i18n import gettext as _
from membership.orders.models import Order

from .. import labels, queries, rules, services, timeline
from ..forms import LANGUAGES, NoteForm, ProfileForm, RevealForm, RightForm, TagForm
from ..models import Contact, Member, Purpose
from ..services import reveals
from . import bp


def _order_url(order: Order) -> str | None:
    """Where an order's own page is, for staff who may see it."""
    if "orders_console.show" not in current_app.view_functions or not may("orders.view"):
        return None
    return url_for("orders_console.show", order_id=order.id)


def _page(member: Member, status: int = 200, revealed: bool = False, **forms: Any) -> Any:
    kind = request.args.get("kind")
    facts = queries.value_facts(member)
    items, page = timeline.page_of(member.id, kind, request.args.get("cursor"))
    return render_template(
        "members/show.html",
        member=member,
        standing=rules.stage_for(
            member.orders_count,
            member.first_order_at,
            member.last_order_at,
            member.enrolled_at,
            member.created_at,
            clock.now(),
            queries.stage_days(),
        ),
        facts=facts,
        value=rules.value_of(facts, clock.now()),
        parts=labels.PARTS,
        part_line=labels.part_line,
        ties=labels.TIES,
        strategy=queries.strategies().get(member.stage, labels.STRATEGIES[member.stage]),
        languages=dict(LANGUAGES),
        stages=labels.STAGES,
        stage_tones=labels.STAGE_TONES,
        items=items,
        page=page,
        kind=kind,
        kinds=timeline.KINDS,
        revealed=revealed,
        identities=queries.identities_of(member.id),
        channels=labels.CHANNELS,
        rights=queries.rights(member.id),
        contacts=labels.CONTACTS,
        marketing=Purpose.MARKETING,
        types=labels.CUSTOMER_TYPES,
        source_label=labels.source_label,
        consent_source_label=labels.consent_source_label,
        channels_of=labels.source_label,
        order_states=labels.ORDER_STATES,
        order_url=_order_url,
        tags=queries.tags_of(member.id),
        all_tags=queries.tags(),
        notes=queries.notes_of(member.id),
        **{
            "tag_form": TagForm(formdata=None),
            "note_form": once.show(NoteForm(formdata=None)),
            "right_form": once.show(RightForm(formdata=None)),
            "reveal_form": RevealForm(formdata=None),
        }
        | forms,
    ), status


def _back(member: Member, part: str) -> Any:
    return redirect(url_for(".show", member_id=member.id, _anchor=part))


@bp.get("/members/<int:member_id>")
@staff("members.view")
def show(member_id: int) -> Any:
    member = queries.get_member(member_id)
    if member.id != member_id:
        return redirect(url_for(".show", member_id=member.id))
    return _page(member)


@bp.post("/members/<int:member_id>/reveal")
@staff("members.reveal")
def reveal(member_id: int) -> Any:
    member, form = queries.get_member(member_id), RevealForm()
    if not form.validate():
        return _page(member, 422, reveal_form=form)
    reveals.reveal("member.revealed", "member", member.id, form.reason.data)
    return _page(member, revealed=True)


def _edit_page(member: Member, form: ProfileForm, clashes: list[Any], status: int = 200) -> Any:
    by = queries.last_edit(member.id) if clashes else None
    return render_template("members/edit.html", member=member, form=form, clashes=clashes, by=by), status


@bp.get("/members/<int:member_id>/edit")
@staff("members.edit")
def edit(member_id: int) -> Any:
    member = queries.get_member(member_id)
    return _edit_page(member, ProfileForm.of(member, with_address=may("members.reveal")), [])


@bp.post("/members/<int:member_id>/edit")
@staff("members.edit")
def edit_post(member_id: int) -> Any:
    member, form = queries.get_member(member_id), ProfileForm(with_address=may("members.reveal"))
    if not form.validate():
        return _edit_page(member, form, [], 422)
    edited = services.edit_profile(member, form.mine, form.seen)
    if edited.clashes:
        told = form.told(edited.clashes, member)
        form.keep(member)
        return _edit_page(member, form, told, 409)
    if edited.theirs:
        names = ", ".join(str(form[name].label.text) for name in edited.theirs)
        flash(
            _("Details saved. Somebody else changed %(fields)s meanwhile; that is kept too.", fields=names), "positive"
        )
    else:
        flash(_("Details saved."), "positive")
    return _back(member, "profile")


@bp.post("/members/<int:member_id>/tags")
@staff("members.edit")
def tag(member_id: int) -> Any:
    member, form = queries.get_member(member_id), TagForm()
    if not form.validate():
        return _page(member, 422, tag_form=form)
    services.tag([member.id], form.name.data or "")
    return _back(member, "tags")


@bp.post("/members/<int:member_id>/tags/remove")
@staff("members.edit")
def untag(member_id: int) -> Any:
    member = queries.get_member(member_id)
    services.untag([member.id], request.form.get("name", ""))
    return _back(member, "tags")


@bp.post("/members/<int:member_id>/notes")
@staff("members.edit")
def note(member_id: int) -> Any:
    member, form = queries.get_member(member_id), NoteForm()
    if not form.validate():
        return _page(member, 422, note_form=form)
    if once.done_before():
        return _back(member, "notes")
    services.write_note(member.id, form.body.data or "")
    flash(_("Note saved."), "positive")
    return _back(member, "notes")


@bp.post("/members/<int:member_id>/rights")
@staff("members.edit")
def right(member_id: int) -> Any:
    member, form = queries.get_member(member_id), RightForm()
    if not form.validate():
        return _page(member, 422, right_form=form)
    if once.done_before():
        return _back(member, "rights")
    act = services.give_consent if form.wish.data == "give" else services.withdraw_consent
    act(member.id, Contact(form.channel.data), Purpose.MARKETING, form.told.data, author=acting_staff().name)
    audit.record("consent.recorded", "member", member.id, after={"channel": form.channel.data, "wish": form.wish.data})
    flash(_("Their wish is written down and holds from now on."), "positive")
    return _back(member, "rights")
