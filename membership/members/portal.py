"""Pages for members: their own page, who they are, what they agreed to, their orders, and the way out of messages."""

from __future__ import annotations

from typing import Any

from apiflask import APIBlueprint
from flask import flash, redirect, render_template, request, url_for

from kernel import visitors
from kernel.auth import member_only, public, safe_next
from kernel.db import keep_refused
from kernel.errors import NotFound
from kernel.http import client_address
from kernel.i18n import gettext as _

from . import labels, queries, services
from .forms import CodeCheckForm, CodeForm, MyProfileForm, SignInForm
from .models import Contact, Member, Purpose
from .services import identify

bp = APIBlueprint("members_portal", __name__, template_folder="templates", enable_openapi=False)


def me() -> Member:
    """The member to whom this browser is bound; the route's policy guarantees one."""
    member_id = visitors.member_id()
    if member_id is None:
        raise NotFound
    return queries.get_member(member_id)


@bp.get("/me/")
@member_only()
def index() -> Any:
    member = me()
    return render_template("members/me.html", member=member, identified=visitors.member_id(identified=True) is not None)


# ── Who are you ─────────────────────────────────────────────────────────────────────────────────────────────────────


def _sign_in_page(form: SignInForm, code_form: CodeForm | None = None, status: int = 200) -> Any:
    ways = identify.ways()
    if code_form is None and ways:
        code_form = CodeForm(ways, formdata=None, next=form.next.data)
    return render_template("members/sign_in.html", form=form, code_form=code_form), status


@bp.get("/me/sign-in")
@public("proving who one is")
def sign_in() -> Any:
    following = request.args.get("next")
    if visitors.member_id(identified=True) is not None:
        return redirect(safe_next(following, url_for(".index")))
    return _sign_in_page(SignInForm(formdata=None, next=following))


@bp.post("/me/sign-in")
@public("proving who one is")
def sign_in_post() -> Any:
    form = SignInForm()
    if not form.validate():
        return _sign_in_page(form, status=422)
    member = identify.by_order(form.phone.canonical, form.order_number.data or "", client_address())
    if member is None:
        form.refuse("order_number", _("This phone and this order number do not go together. Look at both once more."))
        keep_refused()
        return _sign_in_page(form, status=422)
    identify.identify(member, "order")
    return redirect(safe_next(form.next.data, url_for(".index")))


@bp.post("/me/sign-in/code")
@public("proving who one is")
def ask_code() -> Any:
    ways = identify.ways()
    if not ways:
        raise NotFound
    form = CodeForm(ways)
    if not form.validate():
        return _sign_in_page(SignInForm(formdata=None, next=form.next.data), form, 422)
    try:
        token = identify.ask_code(form.way, form.canonical, client_address())
    except identify.CodeJustSent as refusal:
        form.refuse("address", refusal)
        return _sign_in_page(SignInForm(formdata=None, next=form.next.data), form, refusal.status)
    return redirect(url_for(".code", token=token, next=form.next.data or None))


@bp.get("/me/sign-in/code/<token>")
@public("proving who one is")
def code(token: str) -> Any:
    identify.read_code_token(token)
    return render_template("members/code.html", form=CodeCheckForm(formdata=None, next=request.args.get("next")))


@bp.post("/me/sign-in/code/<token>")
@public("proving who one is")
def code_post(token: str) -> Any:
    identify.read_code_token(token)
    form = CodeCheckForm()
    if not form.validate():
        return render_template("members/code.html", form=form), 422
    network = client_address()
    if identify.guessed_too_often("code", network):
        raise identify.TooManyTries
    member = identify.by_code(token, form.code.data or "")
    if member is None:
        identify.note_wrong_guess("code", network)
        form.refuse("code", identify.CodeRefused())
        keep_refused()
        return render_template("members/code.html", form=form), 422
    identify.identify(member, "code")
    return redirect(safe_next(form.next.data, url_for(".index")))


@bp.post("/me/sign-out")
@member_only()
def sign_out() -> Any:
    visitors.forget()
    flash(_("This browser does not know you any more."), "positive")
    return redirect(url_for(".sign_in"))


@bp.post("/me/sign-out-everywhere")
@member_only()
def sign_out_everywhere() -> Any:
    member = me()
    visitors.forget()
    visitors.forget_everywhere(member.id)
    flash(_("No browser knows you any more. Links that were sent to you still work."), "positive")
    return redirect(url_for(".sign_in"))


# ── My data and my choices ──────────────────────────────────────────────────────────────────────────────────────────


@bp.get("/me/choices")
@member_only()
def choices() -> Any:
    member = me()
    return render_template(
        "members/choices.html",
        member=member,
        contacts=labels.CONTACTS_FOR_THEM,
        rights=queries.rights(member.id),
        marketing=Purpose.MARKETING,
        consent_source_label=labels.consent_source_label,
    )


@bp.post("/me/choices/<channel>")
@member_only()
def choose(channel: str) -> Any:
    if channel not in list(Contact):
        raise NotFound
    member, contact = me(), Contact(channel)
    name = labels.CONTACTS_FOR_THEM[contact]
    if request.form.get("wish") == "give":
        services.give_consent(member.id, contact, Purpose.MARKETING, "portal")
        flash(_("%(channel)s: we may tell you about offers.", channel=name), "positive")
    else:
        services.withdraw_consent(member.id, contact, Purpose.MARKETING, "portal")
        flash(_("%(channel)s: no more offers.", channel=name), "positive")
    return redirect(url_for(".choices"))


@bp.get("/me/profile")
@member_only(identified=True)
def profile() -> Any:
    member = me()
    return render_template("members/my_profile.html", member=member, form=MyProfileForm.of(member), clashes=[])


@bp.post("/me/profile")
@member_only(identified=True)
def profile_post() -> Any:
    member, form = me(), MyProfileForm()
    if not form.validate():
        return render_template("members/my_profile.html", member=member, form=form, clashes=[]), 422
    edited = services.edit_profile(member, form.mine, form.seen)
    if edited.clashes:
        told = form.told(edited.clashes, member)
        form.keep(member)
        return render_template("members/my_profile.html", member=member, form=form, clashes=told), 409
    flash(_("Saved."), "positive")
    return redirect(url_for(".index"))


@bp.get("/me/orders")
@member_only(identified=True)
def orders() -> Any:
    member = me()
    page, lines = queries.orders_page(member.id, request.args.get("cursor"))
    return render_template("members/my_orders.html", member=member, page=page, lines=lines, states=labels.ORDER_STATES)


# ── The way out ─────────────────────────────────────────────────────────────────────────────────────────────────────


def _unsubscribe_page(token: str, done: bool) -> Any:
    member, contact = services.read_unsubscribe(token)
    agreed = [c for c in Contact if queries.has_consent(member.id, c)]
    return render_template(
        "members/unsubscribe.html",
        token=token,
        contact=contact,
        contacts=labels.CONTACTS_FOR_THEM,
        agreed=agreed,
        agreed_names=[str(labels.CONTACTS_FOR_THEM[c]) for c in agreed],
        done=done or contact not in agreed,
        undoable=queries.had_consent(member.id, contact),
    )


@bp.get("/u/<token>")
@public("the signed link under a message")
def unsubscribe(token: str) -> Any:
    return _unsubscribe_page(token, done=False)


@bp.post("/u/<token>")
@public("the signed link under a message; mail programs post it for their users (RFC 8058)")
def unsubscribe_post(token: str) -> Any:
    member, contact = services.read_unsubscribe(token)
    services.withdraw_consent(member.id, contact, Purpose.MARKETING, "unsubscribe")
    # Answered with the page itself: RFC 8058 asks for no redirect, and posting it again changes nothing.
    return _unsubscribe_page(token, done=True)


@bp.post("/u/<token>/all")
@public("the signed link under a message")
def unsubscribe_all(token: str) -> Any:
    member, _contact = services.read_unsubscribe(token)
    services.withdraw_marketing(member.id, "unsubscribe")
    return redirect(url_for(".unsubscribe", token=token))


@bp.post("/u/<token>/undo")
@public("the signed link under a message")
def unsubscribe_undo(token: str) -> Any:
    member, contact = services.read_unsubscribe(token)
    if queries.had_consent(member.id, contact):
        services.give_consent(member.id, contact, Purpose.MARKETING, "undo")
        flash(_("Taken back: we may tell you about offers again."), "positive")
    return redirect(url_for(".unsubscribe", token=token))
