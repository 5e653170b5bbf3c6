"""Settings › Order connections: shop systems that push their orders, and the log of what they delivered."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

from apiflask import APIBlueprint
from flask import flash, redirect, render_template, request, url_for

from kernel import audit, clock, editions, links, once, pages
from kernel.auth import acting_staff, staff
from kernel.errors import NotFound
from kernel.i18n import gettext as _
from kernel.i18n import ngettext
from membership.members import labels as member_labels

from . import connection_labels as labels
from . import queries
from .connection_forms import ConnectionForm, SecretForm, receipt_filter_from
from .feeds.reasons import sentence
from .feeds.signatures import Kind
from .models import ConnectionState, OrderConnection, Outcome
from .services import SourceInvalid, connections

bp = APIBlueprint("connections_console", __name__, url_prefix="/console", enable_openapi=False)


def _told() -> dict[str, Any]:
    """What every page here shows with."""
    return {
        "kinds": labels.KINDS,
        "states": labels.STATES,
        "outcomes": labels.OUTCOMES,
        "outcome_tones": labels.OUTCOME_TONES,
        "source_label": member_labels.source_label,
        "reason_text": sentence,
    }


@bp.get("/order-connections")
@staff("feeds.edit")
def index() -> Any:
    return render_template(
        "orders/connections.html", rows=queries.connections(), counts=queries.receipt_counts(), **_told()
    )


@bp.get("/order-connections/new")
@staff("feeds.edit")
def new() -> Any:
    return _new(once.show(ConnectionForm()))


def _new(form: ConnectionForm, status: int = 200) -> Any:
    return render_template("orders/connection_new.html", form=form, kind_lines=labels.KIND_LINES, **_told()), status


@bp.post("/order-connections/new")
@staff("feeds.edit")
def new_post() -> Any:
    form = ConnectionForm()
    if not form.validate_on_submit():
        return _new(form, 422)
    if once.done_before():
        return redirect(url_for(".index"), 303)
    try:
        connection, secret = connections.set_up(
            form.name.data or "",
            Kind(form.kind.data),
            form.source.data or "",
            form.secret.data or "",
            form.client_id.data or "",
            form.currency.data or "CNY",
            form.rate.data,
            acting_staff().id,
        )
    except (
        SourceInvalid,
        connections.SecretNeeded,
        connections.ClientNeeded,
        connections.RateNeeded,
    ) as refused:
        form.refuse(labels.FIELD_OF[type(refused).__name__], refused.message)
        return _new(form, 422)
    return _show(connection, secret=secret)


def _show(
    connection: OrderConnection,
    form: ConnectionForm | None = None,
    secret_form: SecretForm | None = None,
    secret: str | None = None,
    status: int = 200,
) -> Any:
    page, count = queries.receipts(queries.ReceiptFilter(connection_id=connection.id), None)
    if form is None:
        form = ConnectionForm(formdata=None, obj=labels.shown(connection))
        editions.show(form, _shown(connection))
    return render_template(
        "orders/connection.html",
        connection=connection,
        address=links.absolute(url_for("order_hooks.receive", token=connection.token)),
        form=form,
        secret_form=secret_form or once.show(SecretForm(formdata=None)),
        secret=secret,
        given_out=connection.kind in (Kind.SHOPIFY, Kind.YOUZAN),
        steps=labels.STEPS[connection.kind],
        refusal=labels.refusal_text(connection.refusal),
        old_secret_good=connection.previous_until is not None and connection.previous_until > clock.now(),
        latest=page.rows[:8],
        count=count,
        counts=queries.receipt_counts().get(connection.id, {}),
        **_told(),
    ), status


def _shown(connection: OrderConnection) -> Any:
    return vars(labels.shown(connection))


@bp.get("/order-connections/<int:connection_id>")
@staff("feeds.edit")
def show(connection_id: int) -> Any:
    return _show(queries.get_connection(connection_id))


@bp.post("/order-connections/<int:connection_id>")
@staff("feeds.edit")
def edit(connection_id: int) -> Any:
    connection = queries.get_connection(connection_id)
    form = ConnectionForm()
    # The kind is what the secret and the address were made for; it does not change.
    form.kind.data = connection.kind.value
    if not form.validate_on_submit():
        return _show(connection, form=form, status=422)
    by = ("order_connection.made", "order_connection.changed")
    if editions.overtaken(form, partial(_shown, connection), connection, by=by):
        return _show(connection, form=form, status=409)
    try:
        connections.change(
            connection,
            form.name.data or "",
            form.source.data or "",
            form.client_id.data or "",
            form.currency.data or "CNY",
            form.rate.data,
        )
    except (SourceInvalid, connections.ClientNeeded, connections.RateNeeded) as refused:
        form.refuse(labels.FIELD_OF[type(refused).__name__], refused.message)
        return _show(connection, form=form, status=422)
    flash(_("The connection is saved."), "positive")
    return redirect(url_for(".show", connection_id=connection_id), 303)


@bp.post("/order-connections/<int:connection_id>/rotate")
@staff("feeds.edit")
def rotate(connection_id: int) -> Any:
    connection = queries.get_connection(connection_id)
    form = SecretForm()
    if not form.validate_on_submit():
        return _show(connection, secret_form=form, status=422)
    if once.done_before():
        return redirect(url_for(".show", connection_id=connection_id), 303)
    try:
        secret = connections.rotate(connection, form.new_secret.data or "")
    except connections.SecretNeeded as refused:
        form.refuse("new_secret", refused.message)
        return _show(connection, secret_form=form, status=422)
    return _show(connection, secret=secret)


@bp.post("/order-connections/<int:connection_id>/pause")
@staff("feeds.edit")
def pause(connection_id: int) -> Any:
    queries.get_connection(connection_id)
    connections.move(connection_id, ConnectionState.PAUSED)
    flash(_("The connection is paused. What arrives is kept and waits."), "info")
    return redirect(url_for(".show", connection_id=connection_id), 303)


@bp.post("/order-connections/<int:connection_id>/resume")
@staff("feeds.edit")
def resume(connection_id: int) -> Any:
    queries.get_connection(connection_id)
    connections.move(connection_id, ConnectionState.ACTIVE)
    flash(_("The connection goes on, with what has waited first."), "positive")
    return redirect(url_for(".show", connection_id=connection_id), 303)


@bp.post("/order-connections/<int:connection_id>/delete")
@staff("feeds.edit")
def delete(connection_id: int) -> Any:
    connection = queries.get_connection(connection_id)
    connections.remove(connection)
    flash(_("%(name)s is deleted. Its orders stay.", name=connection.name), "info")
    return redirect(url_for(".index"), 303)


# ── The log ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@bp.get("/order-deliveries")
@staff("feeds.edit")
def deliveries() -> Any:
    wanted = receipt_filter_from(request.args)
    page, count = queries.receipts(wanted, request.args.get("cursor"))
    rows = queries.connections()
    names = {one.id: one.name for one in rows}
    chips: list[tuple[str, Any, str]] = pages.search_chip(wanted.q)
    if wanted.connection_id is not None:
        name = names.get(wanted.connection_id, "?")
        chips.append(("connection", wanted.connection_id, _("Connection: %(name)s", name=name)))
    if wanted.outcome is not None:
        chips.append(("outcome", wanted.outcome, _("State: %(state)s", state=labels.OUTCOMES[wanted.outcome])))
    return render_template(
        "orders/deliveries.html",
        page=page,
        count=count,
        chips_on=chips,
        names=names,
        choices=[(one.id, one.name) for one in rows],
        **_told(),
    )


@bp.get("/order-deliveries/<int:receipt_id>")
@staff("feeds.edit")
def delivery(receipt_id: int) -> Any:
    receipt = queries.get_receipt(receipt_id)
    return render_template(
        "orders/delivery.html",
        receipt=receipt,
        connection=queries.get_connection(receipt.connection_id),
        found=queries.orders_numbered(receipt.connection_id, receipt.orders),
        again=receipt.body is not None
        and receipt.outcome in (Outcome.FAILED, Outcome.REJECTED)
        and not receipt.delivery_id.startswith("unreadable-"),
        **_told(),
    )


@bp.post("/order-deliveries/<int:receipt_id>/again")
@staff("feeds.edit")
def again(receipt_id: int) -> Any:
    queries.get_receipt(receipt_id)
    connections.again([receipt_id])
    flash(_("It is being worked on again."), "info")
    return redirect(url_for(".delivery", receipt_id=receipt_id), 303)


@bp.post("/order-deliveries/again")
@staff("feeds.edit")
def again_many() -> Any:
    ids = pages.ticked()
    n = connections.again(ids[:500])
    flash(
        ngettext("%(num)s delivery is being worked on again.", "%(num)s deliveries are being worked on again.", n),
        "info",
    )
    return redirect(url_for(".deliveries"), 303)


@bp.post("/order-deliveries/<int:receipt_id>/text")
@staff("feeds.edit")
def text(receipt_id: int) -> Any:
    receipt = queries.get_receipt(receipt_id)
    if receipt.body is None:
        raise NotFound
    # It holds whole phones and addresses.
    audit.record("hook_receipt.read", "hook_receipt", receipt.id)
    return pages.attachment(receipt.body, "application/octet-stream", f"delivery-{receipt.id}.json")


@bp.post("/order-deliveries/export")
@staff("feeds.edit")
def export() -> Any:
    wanted = receipt_filter_from(request.args)
    names = {one.id: one.name for one in queries.connections()}

    def rows() -> Iterator[list[Any]]:
        for one in queries.export_of_receipts(wanted):
            yield [
                clock.local(one.received_at).strftime("%Y-%m-%d %H:%M:%S"),
                names.get(one.connection_id, ""),
                one.topic,
                one.delivery_id,
                str(labels.OUTCOMES[one.outcome]),
                " ".join(one.orders),
                "; ".join(f"{place}: {sentence(why)}" if place else sentence(why) for place, why in one.reasons),
                one.repeats,
            ]

    header = [
        _("Came in"), _("Connection"), _("Topic"), _("Delivery number"), _("State"), _("Order numbers"), _("Reason"),
        _("Came again"),
    ]  # fmt: skip
    return pages.csv_response(f"order-deliveries-{clock.today().isoformat()}.csv", header, rows())
