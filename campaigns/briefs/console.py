"""Somebody's own page for the brief by e-mail, and the page of the link that stops it."""

from __future__ import annotations

from typing import Any

from apiflask import APIBlueprint
from flask import flash, redirect, render_template, url_for

from kernel.auth import acting_staff, may, public, staff
from kernel.i18n import current_locale
from kernel.i18n import gettext as _
from kernel.ports import fill_slot

from . import labels, services
from .forms import USUAL_HOUR, BriefForm

bp = APIBlueprint("briefs_console", __name__, url_prefix="/console", template_folder="templates", enable_openapi=False)


@fill_slot("today.side", order=90)
def beside_today() -> str:
    """A line below the first page's tasks."""
    return render_template("briefs/_beside.html", wished=services.wish_of(acting_staff().id))


@fill_slot("staff.menu")
def in_menu() -> str:
    """The entry in somebody's own menu."""
    return render_template("briefs/_menu.html") if may("today.view") else ""


def _page(form: BriefForm, status: int = 200) -> Any:
    person = acting_staff()
    wished = services.wish_of(person.id)
    return render_template(
        "briefs/mine.html",
        form=form,
        wished=wished,
        person=person,
        can_mail=services.mail_account() is not None,
        copies=services.copies_of(person.id),
        letter=services.letter_of(person, wished.locale if wished else current_locale()),
        labels=labels,
    ), status


@bp.get("/my-brief")
@staff("today.view")
def mine() -> Any:
    wished = services.wish_of(acting_staff().id)
    return _page(
        BriefForm(
            wanted=wished is not None,
            hour=wished.hour if wished else USUAL_HOUR,
            locale=wished.locale if wished else current_locale(),
            also_empty=bool(wished and wished.also_empty),
        )
    )


@bp.post("/my-brief")
@staff("today.view")
def mine_post() -> Any:
    form, person = BriefForm(), acting_staff()
    if not form.validate():
        return _page(form, 422)
    if form.wanted.data:
        services.wish(person.id, form.hour.data, bool(form.also_empty.data), form.locale.data)
        flash(_("Your brief comes by e-mail at %(hour)s every day.", hour=f"{form.hour.data:02}:00"), "positive")
    else:
        services.stop(person.id)
        flash(_("Your brief does not come by e-mail."), "positive")
    return redirect(url_for(".mine"), 303)


def _stop_page(token: str, done: bool) -> Any:
    person = services.read_stop(token)
    return render_template(
        "briefs/stop.html", token=token, person=person, done=done or services.wish_of(person.id) is None
    )


@bp.get("/briefs/u/<token>")
@public("the signed link under a brief")
def stop(token: str) -> Any:
    return _stop_page(token, done=False)


@bp.post("/briefs/u/<token>")
@public("the signed link under a brief; mail programs post it for their users (RFC 8058)")
def stop_post(token: str) -> Any:
    services.stop(services.read_stop(token).id)
    # Answered with the page itself: RFC 8058 asks for no redirect, and posting it again changes nothing.
    return _stop_page(token, done=True)
