"""Settings › API keys: made, shown once, revoked."""

from __future__ import annotations

from typing import Any

from apiflask import APIBlueprint
from flask import Flask, current_app, flash, redirect, render_template, url_for
from sqlalchemy import select
from wtforms import SelectMultipleField, StringField
from wtforms.validators import DataRequired, Length, NumberRange, Optional, ValidationError
from wtforms.widgets import CheckboxInput, ListWidget

from . import api_keys, audit, clock, navigation, once, openapi
from .auth import Role, grant, policy_of, staff
from .db import db
from .errors import NotFound
from .forms import Form, LocalDateTimeField, OptionalIntegerField
from .i18n import gettext as _
from .i18n import lazy_gettext as _l

bp = APIBlueprint("settings_console", __name__, url_prefix="/console", enable_openapi=False)


class ApiKeyForm(Form):
    name = StringField(_l("Name"), [DataRequired(), Length(max=80)])
    scopes = SelectMultipleField(
        _l("What it may do"), [DataRequired()], widget=ListWidget(prefix_label=False), option_widget=CheckboxInput()
    )

    expires_at = LocalDateTimeField(_l("Ends by itself"))
    per_minute = OptionalIntegerField(
        _l("Requests a minute"), [Optional(), NumberRange(1, api_keys.MOST_PER_MINUTE)], default=api_keys.PER_MINUTE
    )

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        words = scope_words()
        self.scopes.choices = [(scope, f"{scope} · {words[scope]}") for scope in sorted(api_keys.SCOPES)]

    def validate_expires_at(self, field: LocalDateTimeField) -> None:
        if field.data is not None and field.data <= clock.now():
            raise ValidationError(_("This moment has passed already."))


def scope_words() -> dict[str, str]:
    """What each scope allows: the calls that ask for it, or its own sentence."""
    found: dict[str, list[str]] = {scope: [] for scope in api_keys.SCOPES}
    for _rule, _method, view, declared in openapi.operations(current_app):
        policy = policy_of(view)
        if policy is not None and policy.detail in found:
            found[policy.detail].append(str(declared.summary))
    words = {scope: [str(api_keys.SCOPE_WORDS[scope])] if scope in api_keys.SCOPE_WORDS else [] for scope in found}
    return {scope: _(", ").join(dict.fromkeys([*words[scope], *calls])) for scope, calls in found.items()}


def _keys() -> list[api_keys.ApiKey]:
    return list(
        db.session.scalars(
            select(api_keys.ApiKey).order_by(api_keys.ApiKey.revoked_at.is_not(None), api_keys.ApiKey.id.desc())
        )
    )


@bp.get("/api-keys")
@staff("api_keys.manage")
def api_key_list() -> Any:
    return render_template("settings/api_keys.html", keys=_keys(), form=once.show(ApiKeyForm()), token=None)


@bp.post("/api-keys")
@staff("api_keys.manage")
def api_key_create() -> Any:
    form = ApiKeyForm()
    if not form.validate():
        return render_template("settings/api_keys.html", keys=_keys(), form=form, token=None), 422
    if once.done_before():
        return redirect(url_for(".api_key_list"))
    key, token = api_keys.create(
        form.name.data or "",
        list(form.scopes.data or []),
        expires_at=form.expires_at.data,
        per_minute=form.per_minute.data or api_keys.PER_MINUTE,
    )
    audit.record("api_key.created", "api_key", key.id, after={"name": key.name, "scopes": key.scopes})
    form = once.show(ApiKeyForm(formdata=None))
    return render_template("settings/api_keys.html", keys=_keys(), form=form, token=token)


@bp.post("/api-keys/<int:key_id>/revoke")
@staff("api_keys.manage")
def api_key_revoke(key_id: int) -> Any:
    if not api_keys.revoke(key_id):
        raise NotFound
    audit.record("api_key.revoked", "api_key", key_id)
    flash(_("The key is revoked. Whatever uses it is refused from now on."), "positive")
    return redirect(url_for(".api_key_list"))


def init_app(app: Flask) -> None:
    grant("api_keys.manage", Role.OWNER)
    app.register_blueprint(bp)
    navigation.add("settings", _l("API keys"), "settings_console.api_key_list", "api_keys.manage", order=60)
