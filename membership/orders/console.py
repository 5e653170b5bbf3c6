"""Pages for staff: orders, and the files they come in."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from apiflask import APIBlueprint
from flask import Response, flash, redirect, render_template, request, url_for

from kernel import audit, clock, pages
from kernel.auth import acting_staff, staff
from kernel.i18n import gettext as _
from kernel.i18n import number
from membership.members import labels as member_labels
from membership.members import queries as members
from membership.members import rules as member_rules

from . import formats, labels, queries, services
from .formats import siyu
from .forms import ImportForm, filter_from
from .models import ImportRun, RunState
from .queries import OrderFilter

bp = APIBlueprint("orders_console", __name__, url_prefix="/console", template_folder="templates", enable_openapi=False)
imports_bp = APIBlueprint("imports_console", __name__, url_prefix="/console", enable_openapi=False)


def _chips(wanted: OrderFilter) -> list[tuple[str, str, str]]:
    """What narrows the list, each to be taken off by itself."""
    chips: list[tuple[str, str, str]] = []
    if wanted.q:
        chips.append(("q", wanted.q, _("Search: %(words)s", words=wanted.q)))
    if wanted.source:
        chips.append(
            ("source", wanted.source, _("Source: %(source)s", source=member_labels.source_label(wanted.source)))
        )
    if wanted.state is not None:
        chips.append(("state", wanted.state, _("State: %(state)s", state=labels.STATES[wanted.state])))
    if wanted.since is not None:
        chips.append(("from", wanted.since.isoformat(), _("From %(day)s", day=wanted.since.isoformat())))
    if wanted.until is not None:
        chips.append(("until", wanted.until.isoformat(), _("Until %(day)s", day=wanted.until.isoformat())))
    if wanted.refunded:
        chips.append(("refunded", "yes", _("With a refund")))
    if wanted.nobody:
        chips.append(("member", "none", _("Without a member")))
    return chips


@bp.get("/orders")
@staff("orders.view")
def index() -> Any:
    wanted = filter_from(request.args)
    page, count = queries.page_of(wanted, request.args.get("cursor"))
    today = clock.today()
    return render_template(
        "orders/index.html",
        page=page,
        count=count,
        wanted=wanted,
        chips_on=_chips(wanted),
        states=labels.STATES,
        state_tones=labels.STATE_TONES,
        sources=[(source, member_labels.source_label(source)) for source in queries.sources()],
        source_label=member_labels.source_label,
        spans=[((today - timedelta(days=days - 1)).isoformat(), label) for days, label in _spans()],
    )


def _spans() -> list[tuple[int, str]]:
    return [(1, _("Today")), (7, _("The last 7 days")), (30, _("The last 30 days")), (365, _("The last 365 days"))]


@bp.post("/orders/export")
@staff("members.export")
def export() -> Any:
    wanted = filter_from(request.args)
    audit.record("orders.exported", "order", None, after={"filter": dict(request.args.items())})
    header = [
        _("Order number"), _("Source"), _("State"), _("Placed"), _("Paid"), _("Delivered"), _("Amount paid"), _("Postage"),
        _("Refunded"), _("Member"), _("Phone"),
    ]  # fmt: skip

    def rows() -> Iterator[list[Any]]:
        for order, member in queries.export_of(wanted):
            yield [
                order.external_id,
                str(member_labels.source_label(order.source)),
                str(labels.STATES[order.state]),
                *(clock.local(at).strftime("%Y-%m-%d %H:%M") if at else "" for at in (order.placed_at, order.paid_at)),
                clock.local(order.delivered_at).strftime("%Y-%m-%d %H:%M") if order.delivered_at else "",
                f"{order.paid_amount / 100:.2f}",
                f"{order.postage / 100:.2f}",
                f"{order.refunded_amount / 100:.2f}",
                member.shown_name if member else "",
                member_rules.masked_phone(member.phone) if member else "",
            ]

    return pages.csv_response(f"orders-{clock.today().isoformat()}.csv", header, rows())


@bp.get("/orders/<int:order_id>")
@staff("orders.view")
def show(order_id: int) -> Any:
    order = queries.get_order(order_id)
    return render_template(
        "orders/show.html",
        order=order,
        lines=queries.lines_of(order.id),
        refunds=queries.refunds_of(order.id),
        member=members.find_member(order.member_id) if order.member_id is not None else None,
        others=[one for one in queries.orders_of(order.member_id, 6) if one.id != order.id][:5]
        if order.member_id
        else [],
        states=labels.STATES,
        state_tones=labels.STATE_TONES,
        payments=labels.PAYMENTS,
        source_label=member_labels.source_label,
    )


# ── Files ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def _imports(form: ImportForm, status: int = 200) -> Any:
    return (
        render_template(
            "orders/imports.html",
            form=form,
            runs=queries.runs(),
            run_states=labels.RUN_STATES,
            run_tones=labels.RUN_TONES,
            source_label=member_labels.source_label,
            failure_text=labels.failure_text,
            formats=formats.FORMATS,
            required=siyu.REQUIRED,
            optional=siyu.OPTIONAL,
        ),
        status,
    )


@imports_bp.get("/imports", endpoint="index")
@staff("orders.import")
def index_of_imports() -> Any:
    return _imports(ImportForm())


@imports_bp.post("/imports", endpoint="new_post")
@staff("orders.import")
def upload() -> Any:
    form = ImportForm()
    if not form.validate_on_submit():
        return _imports(form, 422)
    try:
        run = services.keep(
            form.file.data.stream, form.file.data.filename or "", form.source.data, form.format.data, acting_staff().id
        )
    except services.SourceInvalid as refused:
        form.refuse("source", refused.message)
        return _imports(form, 422)
    return redirect(url_for(".show", run_id=run.id), 303)


@imports_bp.get("/imports/template.csv")
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


@imports_bp.get("/imports/<int:run_id>", endpoint="show")
@staff("orders.import")
def show_import(run_id: int) -> Any:
    found = queries.get_run(run_id)
    waiting = found.state is RunState.WAITING
    return render_template(
        "orders/run.html",
        **_bar(found),
        heading=found.checkpoint.get("heading", []) if waiting else [],
        preview=services.preview(found) if waiting else [],
        sample=[one for one in services.sample(found) if one.rows] if waiting else [],
        page=queries.rejects_of(found.id, request.args.get("cursor")) if found.rejected else None,
        run_states=labels.RUN_STATES,
        run_tones=labels.RUN_TONES,
        states=labels.STATES,
        state_tones=labels.STATE_TONES,
        encodings=labels.ENCODINGS,
        formats=formats.FORMATS,
        failure_text=labels.failure_text,
        reason_text=labels.reason_text,
        source_label=member_labels.source_label,
    )


@imports_bp.get("/imports/<int:run_id>/progress")
@staff("orders.import")
def progress(run_id: int) -> Any:
    found = queries.get_run(run_id)
    answer = Response(render_template("orders/_progress.html", **_bar(found)))
    if found.state is not RunState.RUNNING:
        # The page around the bar says more now.
        answer.headers["HX-Refresh"] = "true"
    return answer


@imports_bp.post("/imports/<int:run_id>/start")
@staff("orders.import")
def start(run_id: int) -> Any:
    queries.get_run(run_id)
    services.start(run_id)
    return redirect(url_for(".show", run_id=run_id), 303)


@imports_bp.post("/imports/<int:run_id>/put-away")
@staff("orders.import")
def put_away(run_id: int) -> Any:
    found = queries.get_run(run_id)
    services.put_away(run_id)
    flash(_("%(file)s is put away; nothing was taken in.", file=found.filename), "info")
    return redirect(url_for(".index"), 303)


@imports_bp.get("/imports/<int:run_id>/rejects.csv")
@staff("orders.import")
def rejects(run_id: int) -> Any:
    found = queries.get_run(run_id)
    heading = found.checkpoint.get("heading", [])
    rows = (
        [one.line, one.column, labels.reason_text(one.reason), one.value, *one.row]
        for one in queries.all_rejects_of(run_id)
    )
    header = [_("Line"), _("Column"), _("Reason"), _("Text found"), *heading]
    return pages.csv_response(f"import-{run_id}-rejects.csv", header, rows)
