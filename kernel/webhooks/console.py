"""Settings › Webhooks: addresses of other programs, what each is told, and what came of every message."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

from apiflask import APIBlueprint
from flask import Flask, flash, redirect, render_template, request, url_for
from wtforms import SelectField, SelectMultipleField, StringField
from wtforms.validators import DataRequired, Length
from wtforms.widgets import CheckboxInput, ListWidget

from .. import audit, clock, editions, navigation, once
from ..auth import Role, grant, staff
from ..forms import Form
from ..i18n import gettext as _
from ..i18n import lazy_gettext as _l
from ..i18n import ngettext
from ..outbound import AddressRefused
from ..pages import csv_response
from . import labels, queries, rules, services
from .models import WebhookEndpoint
from .registry import exposed_types

bp = APIBlueprint("webhooks_console", __name__, url_prefix="/console/webhooks", enable_openapi=False)


class EndpointForm(Form):
    url = StringField(_l("Address"), [DataRequired(), Length(max=2_000)])
    description = StringField(_l("What it is for"), [Length(max=200)])
    types = SelectMultipleField(
        _l("What it is told"), [DataRequired()], widget=ListWidget(prefix_label=False), option_widget=CheckboxInput()
    )

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.types.choices = [
            (name, f"{name} · {one.about}" if one.about else name) for name, one in exposed_types().items()
        ]


SINCE = ((1, _l("one hour ago")), (24, _l("one day ago")), (168, _l("a week ago")), (720, _l("thirty days ago")))


class ResendForm(Form):
    hours = SelectField(_l("Failed since"), coerce=int, choices=SINCE)


@bp.get("")
@staff("webhooks.edit")
def index() -> Any:
    return render_template("webhooks/index.html", rows=queries.endpoints(), labels=labels)


@bp.get("/new")
@staff("webhooks.edit")
def new() -> Any:
    return render_template("webhooks/edit.html", form=once.show(EndpointForm(formdata=None)), endpoint=None)


@bp.post("")
@staff("webhooks.edit")
def create() -> Any:
    form = EndpointForm()
    refused = _accept(form)
    if refused:
        return render_template("webhooks/edit.html", form=form, endpoint=None), 422
    if once.done_before():
        return redirect(url_for(".index"))
    endpoint, secret = services.add(form.url.data or "", list(form.types.data or []), form.description.data or "")
    return _page(endpoint.id, secret=secret)


@bp.get("/<int:endpoint_id>")
@staff("webhooks.edit")
def show(endpoint_id: int) -> Any:
    return _page(endpoint_id)


def _page(endpoint_id: int, secret: str | None = None) -> Any:
    endpoint = services.get_endpoint(endpoint_id)
    state, wanted_type = request.args.get("state"), request.args.get("type")
    page = queries.deliveries(endpoint.id, state, wanted_type, request.args.get("cursor"))
    chips = []
    if state:
        words = {"failed": _("failed"), **{s.value: str(w) for s, w in labels.DELIVERY_STATES.items()}}
        chips.append(("state", state, _("State: %(state)s", state=words.get(state, state))))
    if wanted_type:
        chips.append(("type", wanted_type, wanted_type))
    return render_template(
        "webhooks/show.html",
        once=once.key(),
        endpoint=endpoint,
        backlog=queries.with_backlog([endpoint])[0],
        secret=secret,
        page=page,
        chips_on=chips,
        labels=labels,
        resend_form=ResendForm(formdata=None),
        types=[(name, name) for name in (*endpoint.types, services.TEST_TYPE)],
        states=[("failed", _("failed")), *((s.value, w) for s, w in labels.DELIVERY_STATES.items())],
    )


@bp.post("/<int:endpoint_id>/export")
@staff("webhooks.edit")
def export(endpoint_id: int) -> Any:
    endpoint = services.get_endpoint(endpoint_id)
    rows = queries.exported(endpoint.id, request.args.get("state"), request.args.get("type"))
    audit.record("webhook.log_exported", "webhook_endpoint", endpoint.id, after={"number": len(rows)})
    header = [_("Event"), "webhook-id", _("State"), _("Answer"), _("Reason"), _("Times sent"), _("Made"), _("Sent at")]
    return csv_response(
        f"webhook-{endpoint.id}-messages.csv",
        header,
        (
            (
                one.type,
                one.message_id,
                labels.DELIVERY_STATES[one.state],
                one.last_status,
                labels.fault(one),
                one.attempts,
                clock.wall_text(one.created_at),
                clock.wall_text(one.sent_at),
            )
            for one in rows
        ),
    )


@bp.get("/<int:endpoint_id>/edit")
@staff("webhooks.edit")
def edit(endpoint_id: int) -> Any:
    endpoint = services.get_endpoint(endpoint_id)
    form = EndpointForm(formdata=None, obj=endpoint)
    editions.show(form, _shown(endpoint))
    return render_template("webhooks/edit.html", form=form, endpoint=endpoint)


@bp.post("/<int:endpoint_id>/edit")
@staff("webhooks.edit")
def save(endpoint_id: int) -> Any:
    endpoint = services.get_endpoint(endpoint_id)
    form = EndpointForm()
    if _accept(form):
        return render_template("webhooks/edit.html", form=form, endpoint=endpoint), 422
    if editions.overtaken(form, lambda: _shown(endpoint), endpoint, by=("webhook.added", "webhook.edited")):
        return render_template("webhooks/edit.html", form=form, endpoint=endpoint), 409
    services.edit(endpoint_id, form.url.data or "", list(form.types.data or []), form.description.data or "")
    flash(_("Saved."), "positive")
    return redirect(url_for(".show", endpoint_id=endpoint_id))


def _shown(endpoint: WebhookEndpoint) -> Any:
    return endpoint.url, endpoint.description, endpoint.types


def _accept(form: EndpointForm) -> bool:
    """Validate the form, with the address as the calls will read it; whether it is refused."""
    if not form.validate():
        return True
    try:
        services.check_address(form.url.data or "")
    except AddressRefused as refusal:
        form.refuse("url", refusal.message)
        return True
    return False


@bp.post("/<int:endpoint_id>/ping")
@staff("webhooks.edit")
def ping(endpoint_id: int) -> Any:
    delivery = services.ping(endpoint_id)
    flash(_("A test message is on its way. Reload in a moment to see what came back."), "positive")
    return redirect(url_for(".delivery", endpoint_id=endpoint_id, delivery_id=delivery.id))


@bp.post("/<int:endpoint_id>/pause")
@staff("webhooks.edit")
def pause(endpoint_id: int) -> Any:
    services.pause(endpoint_id)
    flash(_("Paused. What happens meanwhile waits for up to thirty days."), "positive")
    return redirect(url_for(".show", endpoint_id=endpoint_id))


@bp.post("/<int:endpoint_id>/resume")
@staff("webhooks.edit")
def resume(endpoint_id: int) -> Any:
    services.resume(endpoint_id)
    flash(_("Sending again. What has waited goes out first."), "positive")
    return redirect(url_for(".show", endpoint_id=endpoint_id))


@bp.post("/<int:endpoint_id>/rotate")
@staff("webhooks.edit")
def rotate(endpoint_id: int) -> Any:
    if once.done_before():
        return redirect(url_for(".show", endpoint_id=endpoint_id))
    return _page(endpoint_id, secret=services.rotate(endpoint_id))


@bp.post("/<int:endpoint_id>/delete")
@staff("webhooks.edit")
def delete(endpoint_id: int) -> Any:
    services.remove(endpoint_id)
    flash(_("The address is deleted. It hears nothing any more."), "positive")
    return redirect(url_for(".index"))


@bp.post("/<int:endpoint_id>/resend-failed")
@staff("webhooks.edit")
def resend_failed(endpoint_id: int) -> Any:
    form = ResendForm()
    if not form.validate():
        return redirect(url_for(".show", endpoint_id=endpoint_id))
    count = services.resend_failed(endpoint_id, clock.now() - timedelta(hours=form.hours.data))
    flash(ngettext("%(num)s message is sent again.", "%(num)s messages are sent again.", count), "positive")
    return redirect(url_for(".show", endpoint_id=endpoint_id))


@bp.get("/<int:endpoint_id>/deliveries/<int:delivery_id>")
@staff("webhooks.edit")
def delivery(endpoint_id: int, delivery_id: int) -> Any:
    found = services.get_delivery(endpoint_id, delivery_id)
    return render_template(
        "webhooks/delivery.html",
        delivery=found,
        endpoint=services.get_endpoint(endpoint_id),
        labels=labels,
        body=json.dumps(json.loads(found.body), ensure_ascii=False, indent=2),
        retries=len(rules.RETRIES),
    )


@bp.post("/<int:endpoint_id>/deliveries/<int:delivery_id>/resend")
@staff("webhooks.edit")
def resend(endpoint_id: int, delivery_id: int) -> Any:
    services.resend(endpoint_id, delivery_id)
    flash(_("The message is sent again, under the same webhook-id."), "positive")
    return redirect(url_for(".delivery", endpoint_id=endpoint_id, delivery_id=delivery_id))


def init_app(app: Flask) -> None:
    grant("webhooks.edit", Role.MANAGER)
    app.register_blueprint(bp)
    navigation.add("settings", _l("Webhooks"), "webhooks_console.index", "webhooks.edit", order=65)
