"""Pages for audiences: the list, the rules with a live count and a sample."""

from __future__ import annotations

from typing import Any

from apiflask import APIBlueprint
from flask import flash, redirect, render_template, request, url_for

from kernel.auth import staff
from kernel.i18n import gettext as _

from . import labels, queries, rules, services
from .forms import AudienceForm, ReachForm

bp = APIBlueprint(
    "audiences_console", __name__, url_prefix="/console/audiences", template_folder="templates", enable_openapi=False
)


@bp.get("")
@staff("audiences.view")
def index() -> Any:
    rows = []
    for audience in queries.saved():
        definition = rules.parse(audience.definition)
        rows.append((audience, labels.sentences(definition), queries.count(definition)))
    return render_template("audiences/index.html", rows=rows)


@bp.get("/new")
@staff("audiences.edit")
def new() -> Any:
    return _page(AudienceForm(), None)


@bp.post("/new")
@staff("audiences.edit")
def new_post() -> Any:
    form = AudienceForm()
    if not form.validate():
        return _page(form, None), 422
    if request.form.get("act") == "count":
        return _page(form, None)
    services.save(form.name.data or "", form.definition())
    flash(_("The audience is saved."), "positive")
    return redirect(url_for(".index"))


@bp.get("/<int:audience_id>")
@staff("audiences.view")
def edit(audience_id: int) -> Any:
    audience = queries.get_audience(audience_id)
    return _page(AudienceForm(definition=rules.parse(audience.definition), name=audience.name), audience)


@bp.post("/<int:audience_id>")
@staff("audiences.edit")
def edit_post(audience_id: int) -> Any:
    audience, form = queries.get_audience(audience_id), AudienceForm()
    if not form.validate():
        return _page(form, audience), 422
    if request.form.get("act") == "count":
        return _page(form, audience)
    services.save(form.name.data or "", form.definition(), audience)
    flash(_("The audience is saved. Pushes made from it before keep their rules."), "positive")
    return redirect(url_for(".index"))


@bp.post("/<int:audience_id>/remove")
@staff("audiences.edit")
def remove(audience_id: int) -> Any:
    services.remove(queries.get_audience(audience_id))
    flash(_("The audience is removed. Pushes made from it stay as they are."), "positive")
    return redirect(url_for(".index"))


@bp.get("/count")
@staff("audiences.view")
def count() -> Any:
    form = ReachForm(formdata=request.args)
    if not form.validate():
        return render_template("audiences/_count.html", form=form, reach=None, sample=[], sentences=[])
    definition = form.definition()
    return render_template(
        "audiences/_count.html",
        form=form,
        reach=queries.count(definition),
        sample=queries.sample(definition),
        sentences=labels.sentences(definition),
    )


def _page(form: AudienceForm, audience: Any) -> Any:
    well = not form.errors
    definition = form.definition() if well else rules.Definition()
    return render_template(
        "audiences/edit.html",
        form=form,
        audience=audience,
        reach=queries.count(definition) if well else None,
        sample=queries.sample(definition) if well else [],
        sentences=labels.sentences(definition) if well else [],
    )
