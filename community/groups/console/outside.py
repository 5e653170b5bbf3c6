"""QR codes of the group on other platforms."""

from __future__ import annotations

from typing import Any

from flask import flash, redirect, render_template, request, url_for

from kernel import clock, once
from kernel.auth import staff
from kernel.i18n import gettext as _

from .. import queries, rules, services
from ..forms import OutsideCodeForm
from ..models import Group, Platform
from . import bp
from .groups import frame_of


def _page(group: Group, form: OutsideCodeForm, status: int = 200) -> Any:
    codes = services.codes_of(group.id)
    return render_template(
        "groups/codes.html",
        **frame_of(group, "codes"),
        form=form,
        codes=codes,
        current=rules.code_for_newcomers(codes, clock.now()),
        alarm=rules.code_alarm(codes, clock.now()),
        usable=lambda code: rules.usable_code(code, clock.now()),
        now=clock.now,
    ), status


@bp.get("/groups/<int:group_id>/codes")
@staff("groups.view")
def codes(group_id: int) -> Any:
    return _page(queries.get_group(group_id), once.show(OutsideCodeForm(formdata=None)))


@bp.post("/groups/<int:group_id>/codes")
@staff("groups.edit")
def add_code(group_id: int) -> Any:
    group, form = queries.get_group(group_id), OutsideCodeForm()
    valid, sent = form.validate(), request.files.get("picture")
    picture = None
    if valid and (sent is None or not sent.filename):
        form.refuse("picture", _("Choose the picture of the code."))
    elif valid and sent is not None:
        picture, refusal = services.try_code_picture(sent.stream)
        if refusal is not None:
            form.refuse("picture", refusal)
    if picture is None:
        return _page(group, form, 422)
    if once.done_before():
        return redirect(url_for(".codes", group_id=group_id))
    added = services.add_code(
        group, Platform(form.platform.data), form.name.data or "", picture, form.expires_at.data, form.seats.data
    )
    if services.code_now(group_id) is added:
        flash(_("Members are shown this code from now on."), "positive")
    else:
        flash(_("The code is shown as soon as those before it have ended or are full."), "positive")
    return redirect(url_for(".codes", group_id=group_id), 303)


@bp.post("/groups/<int:group_id>/codes/<int:code_id>/retire")
@staff("groups.edit")
def retire_code(group_id: int, code_id: int) -> Any:
    services.retire_code(services.get_code(group_id, code_id))
    if services.code_now(group_id) is not None:
        flash(_("The next code takes its place."), "positive")
    else:
        flash(_("It is out of use, and no code is left to show. Put a new picture here."), "caution")
    return redirect(url_for(".codes", group_id=group_id), 303)


@bp.post("/groups/<int:group_id>/codes/<int:code_id>/resume")
@staff("groups.edit")
def resume_code(group_id: int, code_id: int) -> Any:
    services.resume_code(services.get_code(group_id, code_id))
    flash(_("The code is in use again."), "positive")
    return redirect(url_for(".codes", group_id=group_id), 303)
