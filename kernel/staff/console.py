"""Pages: signing in and out, own password, language, and the list of staff."""

from __future__ import annotations

from typing import Any

import flask_login
from apiflask import APIBlueprint
from flask import current_app, flash, redirect, render_template, request, session, url_for

from .. import clock, editions, once
from ..auth import ROLE_LABELS, Role, acting_staff, current_staff, may, public, safe_next, signed_in, staff
from ..db import keep_refused
from ..errors import Refusal
from ..http import client_address
from ..i18n import COOKIE, LOCALES, ngettext
from ..i18n import gettext as _
from ..pages import capped_count, chosen, csv_response, keyset, row_or_none, search_chip, searched
from . import guessing, handover, services
from .forms import NewStaffForm, PasswordForm, SignInForm, StaffForm
from .models import Staff

bp = APIBlueprint("staff_console", __name__, url_prefix="/console", enable_openapi=False)


@bp.get("/sign-in")
@public("signing in")
def sign_in() -> Any:
    if current_staff() is not None:
        return redirect(safe_next(request.args.get("next"), url_for("today.index")))
    form = SignInForm(next=request.args.get("next"))
    return render_template("staff/sign_in.html", form=form)


@bp.post("/sign-in")
@public("signing in")
def sign_in_post() -> Any:
    form = SignInForm()
    if form.validate():
        try:
            found = services.check_password(form.email.data or "", form.password.data or "")
        except (guessing.TooManyTries, guessing.AlreadyTrying) as refusal:
            form.refuse("email", refusal)
            return render_template("staff/sign_in.html", form=form), 429
        if found is not None:
            session.clear()
            flask_login.login_user(_SignedIn(services.open_session(found, client_address()), found))
            response = redirect(safe_next(form.next.data, url_for("today.index")))
            guessing.remember_browser(response, found)
            return response
        form.refuse("password", services.SignInRefused())
        keep_refused()
    return render_template("staff/sign_in.html", form=form), 422


@bp.post("/sign-out")
@signed_in
def sign_out() -> Any:
    services.close_session(flask_login.current_user.get_id())
    flask_login.logout_user()
    session.clear()
    return redirect(url_for(".sign_in"))


@bp.post("/language")
@public("reading the page in another language")
def language() -> Any:
    chosen = request.form.get("lang", "")
    response = redirect(safe_next(request.form.get("next"), url_for("today.index")))
    if chosen in LOCALES:
        secure = current_app.extensions["settings"].secure
        response.set_cookie(COOKIE, chosen, max_age=31_536_000, secure=secure, httponly=True, samesite="Lax")
    return response


@bp.get("/password")
@signed_in
def password() -> Any:
    return render_template("staff/password.html", form=PasswordForm())


@bp.post("/password")
@signed_in
def password_post() -> Any:
    form = PasswordForm()
    who = acting_staff()
    if form.validate():
        try:
            right = services.check_password(who.email, form.current.data or "") is not None
        except (guessing.TooManyTries, guessing.AlreadyTrying) as refusal:
            form.refuse("current", refusal)
            return render_template("staff/password.html", form=form), 429
        if not right:
            form.refuse("current", _("This is not your present password."))
            keep_refused()
            return render_template("staff/password.html", form=form), 422
        services.set_password(who, form.fresh.data or "", keep_session=flask_login.current_user.get_id())
        flash(_("Your password is changed. Every other browser has been signed out."), "positive")
        return redirect(url_for(".password"))
    return render_template("staff/password.html", form=form), 422


def _wanted() -> tuple[str, Role | None, bool | None]:
    """What the list is narrowed by: words, a role, and whether somebody can sign in."""
    words = searched()
    return words, chosen(Role, "role"), {"active": False, "disabled": True}.get(request.args.get("state", ""))


def _chips() -> list[tuple[str, str, str]]:
    words, role, disabled = _wanted()
    chips = []
    if role is not None:
        chips.append(("role", role.value, str(ROLE_LABELS[role])))
    if disabled is not None:
        chips.append(("state", request.args["state"], _("Cannot sign in") if disabled else _("Can sign in")))
    chips += search_chip(words)
    return chips


@bp.get("/staff")
@staff("staff.manage")
def index() -> Any:
    found = services.listing(*_wanted())
    page = keyset(found, services.order_of(request.args.get("sort", "")), request.args.get("cursor"))
    return render_template(
        "staff/index.html",
        page=page,
        count=capped_count(found),
        chosen=_chips(),
        states=[("active", _("Can sign in")), ("disabled", _("Cannot sign in"))],
    )


@bp.post("/staff/export")
@staff("staff.manage")
def export() -> Any:
    people = services.exported(services.listing(*_wanted()), services.order_of(request.args.get("sort", "")))
    header = [_("Name"), _("E-mail"), _("Role"), _("Signature under messages"), _("State"), _("Since")]
    return csv_response(
        f"staff-{clock.today().isoformat()}.csv",
        header,
        [
            (
                person.name,
                person.email,
                ROLE_LABELS[person.role],
                person.signature,
                _("Cannot sign in") if person.disabled_at else _("Can sign in"),
                clock.local(person.created_at).strftime("%Y-%m-%d"),
            )
            for person in people
        ],
    )


@bp.get("/staff/new")
@staff("staff.manage")
def new() -> Any:
    return _page(once.show(NewStaffForm(role=Role.ASSISTANT.value)))


def _page(form: StaffForm, person: Staff | None = None, status: int = 200, password: str | None = None) -> Any:
    return render_template("staff/edit.html", form=form, person=person, password=password), status


@bp.post("/staff/new")
@staff("staff.manage")
def new_post() -> Any:
    form = NewStaffForm()
    if form.validate():
        if once.done_before():
            return redirect(url_for(".index"))
        try:
            person = services.add(
                form.name.data or "",
                form.email.data or "",
                form.chosen_role,
                form.password.data or "",
                form.signature.data or "",
            )
        except services.EmailTaken as refusal:
            form.refuse("email", refusal)
        else:
            flash(_("%(name)s can sign in now.", name=person.name), "positive")
            return redirect(url_for(".index"))
    return _page(form, status=422)


@bp.get("/staff/<int:staff_id>")
@staff("staff.manage")
def edit(staff_id: int) -> Any:
    return _shown_page(services.get_staff(staff_id))


def _shown_page(person: Staff, password: str | None = None) -> Any:
    form = StaffForm(formdata=None, obj=person)
    editions.show(form, _shown(person))
    return _page(form, person, password=password)


def _shown(person: Staff) -> Any:
    return person.name, person.role, person.signature


@bp.post("/staff/<int:staff_id>")
@staff("staff.manage")
def edit_post(staff_id: int) -> Any:
    person, form = services.get_staff(staff_id), StaffForm()
    if form.validate():
        if editions.overtaken(form, lambda: _shown(person), person, by=("staff.added", "staff.changed")):
            return _page(form, person, 409)
        services.edit(person, form.name.data or "", form.chosen_role, form.signature.data or "")
        flash(_("Saved."), "positive")
        return redirect(url_for(".index"))
    return _page(form, person, 422)


@bp.post("/staff/<int:staff_id>/new-password")
@staff("staff.manage")
def new_password(staff_id: int) -> Any:
    person = services.get_staff(staff_id)
    return _shown_page(person, services.give_new_password(person))


@bp.post("/staff/<int:staff_id>/disable")
@staff("staff.manage")
def disable(staff_id: int) -> Any:
    person = services.get_staff(staff_id)
    services.disable(person)
    flash(_("%(name)s is signed out everywhere and cannot sign in any more.", name=person.name), "positive")
    if any(one.count for one in handover.in_hand(staff_id)):
        return redirect(url_for(".hand_over", staff_id=staff_id))
    return redirect(url_for(".index"))


@bp.get("/staff/<int:staff_id>/hand-over")
@staff("staff.hand_over")
def hand_over(staff_id: int) -> Any:
    return _hand_over_page(staff_id, closing=request.args.get("closing") == "1")


def _hand_over_page(staff_id: int, closing: bool, refusal: Refusal | None = None) -> Any:
    """What somebody has in hand, and for each kind who can take it over; `to` in the address proposes one colleague."""
    person = services.get_staff(staff_id)
    proposed = row_or_none(request.args.get("to"))
    return render_template(
        "staff/hand_over.html",
        person=person,
        rows=[(one, handover.able(one.area, staff_id)) for one in handover.in_hand(staff_id) if one.count],
        colleagues=[one for one in services.signing_in() if one.id != staff_id],
        proposed=proposed,
        closing=closing and may("staff.manage") and person.disabled_at is None,
        who_can=handover.who_can,
        refusal=refusal,
        chosen={key.removeprefix("area-"): row_or_none(value) for key, value in request.form.items()},
        handed=handover.of_person(staff_id),
    ), (refusal.status if refusal else 200)


@bp.post("/staff/<int:staff_id>/hand-over")
@staff("staff.hand_over")
def hand_over_post(staff_id: int) -> Any:
    person = services.get_staff(staff_id)
    to = {
        key.removeprefix("area-"): chosen
        for key, value in request.form.items()
        if key.startswith("area-") and (chosen := row_or_none(value)) is not None
    }
    closing = request.form.get("closing") == "1"
    disable = closing and request.form.get("disable") == "1" and may("staff.manage")
    try:
        made = handover.hand_over(staff_id, to, acting_staff().id, request.form.get("note", ""), disable)
    except (handover.SuccessorRefused, handover.HandedToThemselves) as refusal:
        return _hand_over_page(staff_id, closing, refusal)
    if disable:
        flash(_("%(name)s is signed out everywhere and cannot sign in any more.", name=person.name), "positive")
    if made is None:
        if not disable:
            flash(_("Nothing was handed over: nobody was chosen, or it had gone already."), "info")
        return redirect(url_for(".hand_over", staff_id=staff_id))
    return redirect(url_for(".handed_over", hand_over_id=made.id))


@bp.get("/staff/hand-overs/<int:hand_over_id>")
@staff("staff.hand_over")
def handed_over(hand_over_id: int) -> Any:
    made = handover.get(hand_over_id)
    moved = handover.moved_with(hand_over_id)
    person = services.get_staff(made.from_id)
    named = {made.from_id, *(one.to_id for one in moved), made.by_id, made.returned_by_id} - {None}
    return render_template(
        "staff/handed_over.html",
        made=made,
        person=person,
        moved=moved,
        not_theirs=_(", ").join(str(area.label) for area in handover.not_theirs(made, person.role)),
        names=services.names([one for one in named if one is not None]),
    )


@bp.post("/staff/hand-overs/<int:hand_over_id>/return")
@staff("staff.hand_over")
def give_back(hand_over_id: int) -> Any:
    back = handover.give_back(hand_over_id, acting_staff().id)
    flash(ngettext("%(num)s piece of work is back.", "%(num)s pieces of work are back.", back), "positive")
    return redirect(url_for(".handed_over", hand_over_id=hand_over_id))


@bp.post("/staff/<int:staff_id>/enable")
@staff("staff.manage")
def enable(staff_id: int) -> Any:
    person = services.get_staff(staff_id)
    services.enable(person)
    flash(_("%(name)s can sign in again.", name=person.name), "positive")
    return redirect(url_for(".index"))


class _SignedIn(flask_login.UserMixin):  # type: ignore[misc]
    """What Flask-Login carries: the session's token as its id, and the staff row behind it."""

    def __init__(self, token: str, person: Any) -> None:
        self.token = token
        self.person = person

    def get_id(self) -> str:
        return self.token


def init_login(login: flask_login.LoginManager) -> None:
    @login.user_loader  # type: ignore[untyped-decorator]
    def load(token: str) -> _SignedIn | None:
        person = services.staff_of_session(token)
        return _SignedIn(token, person) if person is not None else None
