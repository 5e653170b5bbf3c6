"""Pages about files of orders: upload, look, start, and what was rejected."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flask import Response, flash, redirect, render_template, request, url_for

from kernel import audit, clock, once, pages
from kernel.auth import acting_staff, staff
from kernel.i18n import gettext as _
from kernel.i18n import ngettext, number
from membership.members import labels as member_labels

from .. import formats, labels, queries, services
from ..formats import siyu
from ..formats.drafts import Fault, Reason
from ..forms import CorrectionsForm, ImportForm
from ..models import ImportReject, ImportRun, RunState
from ..services import answers, arrivals, by_hand, corrections
from . import imports_bp as bp


def _imports(form: ImportForm, status: int = 200) -> Any:
    page = queries.runs_page(
        request.args.get("source", "")[:32], request.args.get("state", "")[:16], request.args.get("cursor")
    )
    return (
        render_template(
            "orders/imports.html",
            form=form,
            page=page,
            runs=page.rows,
            chips_on=_chips(),
            sources=[(source, member_labels.source_label(source)) for source in queries.run_sources()],
            states=[(state.value, label) for state, label in labels.RUN_STATES.items()],
            run_states=labels.RUN_STATES,
            run_tones=labels.RUN_TONES,
            source_label=member_labels.source_label,
            failure_text=labels.failure_text,
            formats=formats.FORMATS,
            mappings=form.mappings,
            required=siyu.REQUIRED,
            optional=siyu.OPTIONAL,
        ),
        status,
    )


def _chips() -> list[tuple[str, str, str]]:
    chips: list[tuple[str, str, str]] = []
    source, state = request.args.get("source", "")[:32], request.args.get("state", "")
    if source:
        chips.append(("source", source, _("Source: %(source)s", source=member_labels.source_label(source))))
    if state in list(RunState):
        chips.append(("state", state, _("State: %(state)s", state=labels.RUN_STATES[RunState(state)])))
    return chips


@bp.get("/imports", endpoint="index")
@staff("orders.import")
def index() -> Any:
    return _imports(once.show(ImportForm()))


@bp.post("/imports", endpoint="new_post")
@staff("orders.import")
def upload() -> Any:
    form = ImportForm()
    if not form.validate_on_submit():
        return _imports(form, 422)
    if once.done_before():
        return redirect(url_for(".index"), 303)
    wanted, options = form.told
    try:
        run = arrivals.keep(
            form.file.data.stream,
            form.file.data.filename or "",
            form.source.data or options.get("mapping", {}).get("source", ""),
            wanted,
            acting_staff().id,
            options,
        )
    except services.SourceInvalid as refused:
        form.refuse("source", refused.message)
        return _imports(form, 422)
    return redirect(url_for(".show", run_id=run.id), 303)


@bp.get("/imports/template.csv")
@staff("orders.import")
def template() -> Any:
    response = Response("\ufeff" + siyu.TEMPLATE, mimetype="text/csv; charset=utf-8")
    response.headers["Content-Disposition"] = 'attachment; filename="siyu-orders.csv"'
    return response


def _bar(run: ImportRun) -> dict[str, Any]:
    """What the progress bar shows: lines, rate, time left."""
    spent = (clock.now() - run.started_at).total_seconds() if run.started_at else 0
    rate = run.rows_in / spent if spent >= 1 else 0
    left = (run.rows_total - run.rows_in) / rate if rate else None
    return {
        "run": run,
        "rate": _("%(number)s lines a second", number=number(round(rate))) if rate else None,
        "left": _("about %(seconds)s s left", seconds=number(max(1, round(left)))) if left is not None else None,
        "finished": run.state in (RunState.DONE, RunState.FAILED),
    }


@bp.get("/imports/<int:run_id>", endpoint="show")
@staff("orders.import")
def show(run_id: int) -> Any:
    return _show(queries.get_run(run_id), once.show(CorrectionsForm()))


def _show(found: ImportRun, form: CorrectionsForm, status: int = 200, rate_error: str = "") -> Any:
    waiting = found.state is RunState.WAITING
    every = request.args.get("rejects") == "all"
    of_others = corrections.corrections_of(found.id)
    return (
        render_template(
            "orders/run.html",
            **_bar(found),
            heading=corrections.own_columns(found, found.checkpoint.get("heading", [])) if waiting else [],
            preview=[corrections.own_columns(found, row) for row in services.preview(found)] if waiting else [],
            sample=[one for one in services.sample(found) if one.rows] if waiting else [],
            page=queries.rejects_of(found.id, request.args.get("cursor"), every=every) if found.rejected else None,
            every=every,
            to_correct=corrections.left(found),
            corrections=of_others,
            corrects=queries.get_run(found.corrects_id) if found.corrects_id else None,
            details=queries.details_of(found.id)
            if found.format == "taobao_details" and found.state is RunState.DONE
            else None,
            form=form,
            rate_error=rate_error,
            run_states=labels.RUN_STATES,
            run_tones=labels.RUN_TONES,
            states=labels.STATES,
            state_tones=labels.STATE_TONES,
            encodings=labels.ENCODINGS,
            formats=formats.FORMATS,
            failure_text=labels.failure_text,
            reason_text=labels.reason_text,
            column_text=labels.column_text,
            source_label=member_labels.source_label,
        ),
        status,
    )


@bp.get("/imports/<int:run_id>/progress")
@staff("orders.import")
def progress(run_id: int) -> Any:
    found = queries.get_run(run_id)
    return pages.bar(render_template("orders/_progress.html", **_bar(found)), found.state is RunState.RUNNING)


@bp.post("/imports/<int:run_id>/start")
@staff("orders.import")
def start(run_id: int) -> Any:
    queries.get_run(run_id)
    services.start(run_id)
    return redirect(url_for(".show", run_id=run_id), 303)


@bp.post("/imports/<int:run_id>/put-away")
@staff("orders.import")
def put_away(run_id: int) -> Any:
    found = queries.get_run(run_id)
    services.put_away(run_id)
    flash(_("%(file)s is put away; nothing was imported.", file=found.filename), "info")
    return redirect(url_for(".index"), 303)


@bp.post("/imports/<int:run_id>/rates")
@staff("orders.import")
def rates(run_id: int) -> Any:
    found = queries.get_run(run_id)
    told = {code: request.form.get(f"rate-{code}", "")[:20] for code in found.options.get("currencies", {})}
    try:
        answers.set_rates(found, told)
    except answers.RateInvalid as refused:
        return _show(found, once.show(CorrectionsForm()), 422, rate_error=refused.message)
    return redirect(url_for(".show", run_id=run_id), 303)


# ── Rejected lines ──────────────────────────────────────────────────────────────────────────────────────────────────


@bp.post("/imports/<int:run_id>/rejects/export")
@staff("orders.import")
def rejects(run_id: int) -> Any:
    found = queries.get_run(run_id)
    root_id = found.corrects_id or found.id
    heading = corrections.own_columns(found, found.checkpoint.get("heading", []))
    audit.record("import.rejects_downloaded", "import", run_id)
    rows = (
        [
            one.origin_line if found.corrects_id and one.origin_line is not None else one.line,
            one.column,
            labels.reason_text(one.reason),
            one.value,
            *corrections.own_columns(found, one.row),
        ]
        for one in queries.open_rejects_of(run_id)
    )
    header = [corrections.mark(_("Line"), root_id), _("Column"), _("Reason"), _("Text found"), *heading]
    return pages.csv_response(f"import-{root_id}-rejects.csv", header, rows)


@bp.post("/imports/<int:run_id>/corrections")
@staff("orders.import")
def correct(run_id: int) -> Any:
    found = queries.get_run(run_id)
    form = CorrectionsForm()
    if not form.validate_on_submit():
        return _show(found, form, 422)
    if once.done_before():
        return redirect(url_for(".show", run_id=run_id), 303)
    run = arrivals.keep(
        form.file.data.stream,
        form.file.data.filename or "",
        found.source,
        staff_id=acting_staff().id,
        corrects_id=found.corrects_id or found.id,
    )
    return redirect(url_for(".show", run_id=run.id), 303)


def _typed(run: ImportRun, lines: Sequence[ImportReject]) -> dict[int, list[str]]:
    """The cells of the lines as they stand in the form; a column that was not shown stays as it was."""
    width = len(corrections.own_columns(run, run.checkpoint.get("heading", [])))
    typed: dict[int, list[str]] = {}
    for line in lines:
        row = [*corrections.own_columns(run, line.row), *[""] * width][:width]
        typed[line.id] = [request.form.get(f"cell-{line.id}-{place}", cell) for place, cell in enumerate(row)]
    return typed


def _fix(
    run: ImportRun,
    lines: Sequence[ImportReject],
    typed: dict[int, list[str]],
    faults: Sequence[Fault],
    status: int = 200,
) -> Any:
    heading = corrections.own_columns(run, run.checkpoint.get("heading", []))
    wrong = {fault.line: fault for fault in faults}
    shown = []
    for line in lines:
        fault = wrong.get(line.line)
        place = formats.place_of(run.format, heading, fault.column) if fault else None
        shown.append(
            {
                "reject": line,
                "cells": typed[line.id],
                "place": place,
                "column": fault.column if fault else "",
                "reason": fault.reason if fault else "",
                # Where the fault is in no cell that can be named, all are shown.
                "open": fault is not None and place is None and fault.reason != Reason.OTHER_LINE,
            }
        )
    return (
        render_template(
            "orders/fix.html",
            run=run,
            heading=heading,
            lines=shown,
            again=status != 200,
            reason_text=labels.reason_text,
            column_text=labels.column_text,
        ),
        status,
    )


@bp.get("/imports/<int:run_id>/rejects/<int:reject_id>", endpoint="fix")
@staff("orders.import")
def fix(run_id: int, reject_id: int) -> Any:
    run = queries.get_run(run_id)
    lines = by_hand.lines_with(queries.get_reject(run_id, reject_id))
    faults = [Fault(line.line, line.column, line.reason, line.value) for line in lines]
    return _fix(run, lines, _typed(run, lines), faults)


@bp.post("/imports/<int:run_id>/rejects/<int:reject_id>", endpoint="fix_post")
@staff("orders.import")
def retry(run_id: int, reject_id: int) -> Any:
    run = queries.get_run(run_id)
    lines = by_hand.lines_with(queries.get_reject(run_id, reject_id))
    typed = _typed(run, lines)
    faults = by_hand.retry(run, lines, typed)
    if faults:
        return _fix(run, lines, typed, faults, 422)
    flash(ngettext("One line was imported.", "%(num)s lines were imported.", len(lines)), "positive")
    return redirect(url_for(".show", run_id=run_id, _anchor="rejects"), 303)
