"""Pages for channels: accounts with their health, a test, and the contact budget."""

from __future__ import annotations

from typing import Any

from apiflask import APIBlueprint
from flask import flash, redirect, render_template, request, url_for

from kernel.auth import staff
from kernel.errors import NotFound
from kernel.i18n import gettext as _

from . import jobs, labels, queries, rules, services
from .forms import FORMS, BudgetForm, TestForm, form_of
from .models import ChannelKind

bp = APIBlueprint(
    "channels_console", __name__, url_prefix="/console", template_folder="templates", enable_openapi=False
)


@bp.get("/channels")
@staff("channels.view")
def index() -> Any:
    return render_template("channels/index.html", rows=services.accounts(), labels=labels, services=services)


def _kind(text: str) -> ChannelKind:
    if text not in (ChannelKind.EMAIL, ChannelKind.WEBHOOK):
        raise NotFound
    return ChannelKind(text)


@bp.get("/channels/new/<kind>")
@staff("channels.edit")
def new(kind: str) -> Any:
    return _page(FORMS[_kind(kind)](), _kind(kind), None)


@bp.post("/channels/new/<kind>")
@staff("channels.edit")
def new_post(kind: str) -> Any:
    form = FORMS[_kind(kind)]()
    if not form.validate():
        return _page(form, _kind(kind), None), 422
    account = services.save_account(
        _kind(kind), form.name.data, form.settings(), form.rate_per_second.data, form.secret_typed
    )
    flash(_("The channel is set up. Send a test before you use it."), "positive")
    return redirect(url_for(".edit", account_id=account.id))


@bp.get("/channels/<int:account_id>")
@staff("channels.view")
def edit(account_id: int) -> Any:
    account = services.get_account(account_id)
    return _page(form_of(account), account.kind, account)


@bp.post("/channels/<int:account_id>")
@staff("channels.edit")
def edit_post(account_id: int) -> Any:
    account = services.get_account(account_id)
    form = type(form_of(account))()
    if not form.validate():
        return _page(form, account.kind, account), 422
    if "name" in form:
        values = (form.name.data, form.settings(), form.rate_per_second.data, form.secret_typed)
        services.save_account(account.kind, *values, account=account)
    else:
        services.save_account(
            account.kind, account.name, account.settings, form.rate_per_second.data, None, account=account
        )
    flash(_("Saved."), "positive")
    return redirect(url_for(".edit", account_id=account_id))


@bp.post("/channels/<int:account_id>/pause")
@staff("channels.edit")
def pause(account_id: int) -> Any:
    services.pause_account(services.get_account(account_id), _("Paused by hand"))
    flash(_("Nothing is sent over this channel until you let it go on. Pushes wait and lose nothing."), "caution")
    return redirect(url_for(".edit", account_id=account_id))


@bp.post("/channels/<int:account_id>/resume")
@staff("channels.edit")
def resume(account_id: int) -> Any:
    services.resume_account(services.get_account(account_id))
    flash(_("The channel goes on."), "positive")
    return redirect(url_for(".edit", account_id=account_id))


@bp.post("/channels/<int:account_id>/test")
@staff("channels.edit")
def test(account_id: int) -> Any:
    account, form = services.get_account(account_id), TestForm()
    if account.kind is ChannelKind.INBOX:
        raise NotFound
    if not form.validate():
        return _page(form_of(account), account.kind, account, form), 422
    services.ask_test(account, (form.address.data or "").strip())
    jobs.send_test.later(account_id=account_id)
    return redirect(url_for(".edit", account_id=account_id))


@bp.get("/channels/<int:account_id>/health")
@staff("channels.view")
def health(account_id: int) -> Any:
    return render_template("channels/_health.html", account=services.get_account(account_id), labels=labels)


def _page(form: Any, kind: ChannelKind, account: Any, test_form: Any = None) -> Any:
    return render_template(
        "channels/edit.html",
        form=form,
        kind=kind,
        account=account,
        title=services.shown_name(account) if account else labels.KINDS[kind],
        test_form=test_form or TestForm(formdata=None),
        labels=labels,
    )


# ── The contact budget ──────────────────────────────────────────────────────────────────────────────────────────────


@bp.get("/contact-budget")
@staff("channels.view")
def budget() -> Any:
    caps, quiet = services.budget(), services.quiet_hours()
    form = BudgetForm(
        per_day=caps.per_day,
        per_month=caps.per_month,
        quiet_from=quiet.since.isoformat("minutes"),
        quiet_until=quiet.until.isoformat("minutes"),
        holdout=services.holdout_percent(),
    )
    return _budget_page(form)


@bp.post("/contact-budget")
@staff("channels.edit")
def budget_post() -> Any:
    form = BudgetForm()
    if not form.validate():
        return _budget_page(form), 422
    services.set_budget(
        form.per_day.data, form.per_month.data, form.quiet_from.data, form.quiet_until.data, float(form.holdout.data)
    )
    flash(_("Saved. It holds from the next message on."), "positive")
    return redirect(url_for(".budget"))


def _budget_page(form: BudgetForm) -> Any:
    return render_template(
        "channels/budget.html",
        form=form,
        hours=rules.quiet_map(services.quiet_hours()),
        used=queries.budget_use(),
        caps=services.budget(),
        posted=request.method == "POST",
    )
