"""Pages that say which column of a file is which, and the list of what was said before."""

from __future__ import annotations

from functools import partial
from typing import Any

from flask import flash, redirect, render_template, request, url_for

from kernel import clock, editions
from kernel.auth import acting_staff, staff
from kernel.i18n import gettext as _
from membership.members import labels as member_labels

from .. import labels, queries, services
from ..formats import FileUnreadable, mapped
from ..forms import mapping_form
from ..models import ColumnMapping, ImportRun, RunState
from ..services import answers, mappings
from . import imports_bp as bp

PREVIEWED = 20


def _words(run: ImportRun, plan: mapped.Plan) -> list[str]:
    """The words for states in the file whose meaning has to be said, those said already among them."""
    try:
        found = mapped.states_in(services.sheet_of(run), plan)
    except FileNotFoundError:
        found = []
    return list(dict.fromkeys([*plan.states, *found]))


def _columns(run: ImportRun, form: Any, plan: mapped.Plan, refused: str = "", status: int = 200) -> Any:
    preview: list[Any] = []
    sheet = services.sheet_of(run)
    try:
        sheet.options = {**run.options, "mapping": plan.stored}
        preview = [] if plan.missing else mapped.previewed(sheet, clock.now(), PREVIEWED)
    except FileUnreadable as error:
        refused = refused or error.message
    except FileNotFoundError:
        refused = refused or labels.failure_text({"code": "file_gone"})
    taken = [one for _lines, one in preview if not hasattr(one, "faults")]
    return (
        render_template(
            "orders/columns.html",
            run=run,
            form=form,
            plan=plan,
            refused=refused,
            preview=preview,
            good=len(taken),
            fields=labels.FIELDS,
            needed=mapped.NEEDED,
            states=labels.STATES,
            state_tones=labels.STATE_TONES,
            failure_text=labels.failure_text,
            reason_text=labels.reason_text,
            missing=[labels.FIELDS[name] for name in plan.missing],
        ),
        status,
    )


def _waiting(run_id: int) -> ImportRun:
    run = queries.get_run(run_id)
    if run.state is not RunState.WAITING:
        raise services.RunNotWaiting
    return run


@bp.get("/imports/<int:run_id>/columns", endpoint="columns")
@staff("orders.import")
def columns(run_id: int) -> Any:
    run = _waiting(run_id)
    heading = run.checkpoint.get("heading", [])
    told = run.options.get("mapping")
    plan = mapped.plan_of(told) if told else mapped.guessed(heading, services.preview(run, 50))
    form = mapping_form(heading, plan, _words(run, plan), source=run.source, name=run.options.get("mapping_name", ""))
    return _columns(run, form, plan)


@bp.post("/imports/<int:run_id>/columns", endpoint="columns_post")
@staff("orders.import")
def use_columns(run_id: int) -> Any:
    run = _waiting(run_id)
    heading = run.checkpoint.get("heading", [])
    before = mapping_form(heading, mapped.Plan(), [])
    plan = before.plan()
    form = mapping_form(heading, plan, _words(run, plan))
    plan = form.plan()
    if not form.validate_on_submit():
        return _columns(run, form, plan, status=422)
    if request.form.get("do") == "look":
        return _columns(run, form, plan)
    try:
        saved = None
        if form.name.data:
            saved = mappings.find_named(form.name.data)
            if saved is not None and saved.heading_key != mapped.heading_key(heading):
                # The name of a mapping for other files.
                saved = None
            saved = mappings.save(form.name.data, heading, plan, acting_staff().id, saved)
        answers.map_columns(run, plan, saved.name if saved else "")
    except services.SourceInvalid as refused:
        form.refuse("source", refused.message)
        return _columns(run, form, plan, status=422)
    except mappings.MappingNameTaken as refused:
        form.refuse("name", refused.message)
        return _columns(run, form, plan, status=422)
    except mappings.MappingIncomplete:
        return _columns(run, form, plan, status=422)
    except FileUnreadable as refused:
        return _columns(run, form, plan, refused.message, 422)
    return redirect(url_for(".show", run_id=run_id), 303)


# ── Saved mappings ──────────────────────────────────────────────────────────────────────────────────────────────────


@bp.get("/imports/mappings", endpoint="mappings")
@staff("orders.import")
def index() -> Any:
    return render_template(
        "orders/mappings.html",
        mappings=[(one, mapped.plan_of(one.plan)) for one in mappings.all_of_them()],
        fields=labels.FIELDS,
        source_label=member_labels.source_label,
    )


def _mapping(one: ColumnMapping, form: Any, plan: mapped.Plan, status: int = 200) -> Any:
    return (
        render_template(
            "orders/mapping.html",
            mapping=one,
            form=form,
            fields=labels.FIELDS,
            needed=mapped.NEEDED,
            missing=[labels.FIELDS[name] for name in plan.missing],
        ),
        status,
    )


@bp.get("/imports/mappings/<int:mapping_id>", endpoint="mapping")
@staff("orders.import")
def edit(mapping_id: int) -> Any:
    one = mappings.get(mapping_id)
    plan = mapped.plan_of(one.plan)
    form = mapping_form(one.heading, plan, list(plan.states), source=plan.source, name=one.name)
    editions.show(form, _shown(one))
    return _mapping(one, form, plan)


def _shown(one: ColumnMapping) -> Any:
    return one.name, one.heading, one.plan


@bp.post("/imports/mappings/<int:mapping_id>", endpoint="mapping_post")
@staff("orders.import")
def change(mapping_id: int) -> Any:
    one = mappings.get(mapping_id)
    form = mapping_form(one.heading, mapped.Plan(), list(mapped.plan_of(one.plan).states))
    plan = form.plan()
    if not form.validate_on_submit() or not form.name.data:
        if not form.name.data:
            form.refuse("name", _("Give the mapping a name."))
        return _mapping(one, form, plan, status=422)
    if editions.overtaken(form, partial(_shown, one), one, by=("mapping.saved",)):
        return _mapping(one, form, plan, status=409)
    try:
        if plan.source:
            services.check_source(plan.source)
        mappings.save(form.name.data, one.heading, plan, acting_staff().id, one)
    except services.SourceInvalid as refused:
        form.refuse("source", refused.message)
        return _mapping(one, form, plan, status=422)
    except mappings.MappingNameTaken as refused:
        form.refuse("name", refused.message)
        return _mapping(one, form, plan, status=422)
    except mappings.MappingIncomplete:
        return _mapping(one, form, plan, status=422)
    flash(_("The mapping is saved. Files that were read before stay as they are."), "positive")
    return redirect(url_for(".mappings"), 303)


@bp.post("/imports/mappings/<int:mapping_id>/delete", endpoint="mapping_delete")
@staff("orders.import")
def delete(mapping_id: int) -> Any:
    one = mappings.get(mapping_id)
    mappings.delete(one)
    flash(_("The mapping %(name)s is deleted.", name=one.name), "info")
    return redirect(url_for(".mappings"), 303)
