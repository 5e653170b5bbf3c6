"""Pages for channels: accounts with their health, a test, and the tasks of the staff."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from apiflask import APIBlueprint
from flask import flash, redirect, render_template, request, url_for

from kernel import audit, clock, editions, links, once
from kernel.auth import acting_staff, may, staff
from kernel.errors import NotFound, Refusal
from kernel.i18n import gettext as _
from kernel.i18n import ngettext
from kernel.pages import capped_count, csv_response, keyset, search_chip, searched, ticked, url_with
from membership.members import queries as members
from membership.members.rules import masked_phone

from . import jobs, labels, queries, services
from .forms import FORMS, TaskOutcomeForm, TestForm, form_of, lacks_secret, secret_name
from .models import Account, ChannelKind, TaskState
from .services import wecom

bp = APIBlueprint(
    "channels_console", __name__, url_prefix="/console", template_folder="templates", enable_openapi=False
)


@bp.get("/channels")
@staff("channels.view")
def index() -> Any:
    return render_template(
        "channels/index.html",
        rows=services.accounts(),
        abilities=queries.abilities(),
        addable=[kind for kind in ChannelKind if kind is not ChannelKind.INBOX],
        labels=labels,
        services=services,
    )


def _kind(text: str) -> ChannelKind:
    if text not in {kind.value for kind in ChannelKind} or text == ChannelKind.INBOX:
        raise NotFound
    return ChannelKind(text)


@bp.get("/channels/new/<kind>")
@staff("channels.edit")
def new(kind: str) -> Any:
    return _page(once.show(FORMS[_kind(kind)]()), _kind(kind), None)


@bp.post("/channels/new/<kind>")
@staff("channels.edit")
def new_post(kind: str) -> Any:
    form = FORMS[_kind(kind)]()
    if not form.validate() or lacks_secret(form):
        return _page(form, _kind(kind), None), 422
    if once.done_before():
        return redirect(url_for(".index"))
    account = services.save_account(_kind(kind), form.name.data, form.settings(), form.rates, form.secret_typed)
    flash(_("The channel is set up. Send a test before you use it."), "positive")
    return redirect(url_for(".edit", account_id=account.id))


@bp.get("/channels/<int:account_id>")
@staff("channels.view")
def edit(account_id: int) -> Any:
    account = services.get_account(account_id)
    return _page(_filled(account), account.kind, account)


def _filled(account: Account) -> Any:
    form = form_of(account)
    editions.show(form, _shown(account))
    return form


def _shown(account: Account) -> Any:
    """What the form of an account shows: a secret is not in it, so that a new one overtakes nobody."""
    rates = [getattr(account, f"rate_per_{span}") for span in ("second", "minute", "hour", "day")]
    return account.name, account.settings, rates


@bp.post("/channels/<int:account_id>")
@staff("channels.edit")
def edit_post(account_id: int) -> Any:
    account = services.get_account(account_id)
    form = type(form_of(account))()
    if not form.validate():
        return _page(form, account.kind, account), 422
    if editions.overtaken(form, lambda: _shown(account), account, by=("channel_account.saved",)):
        return _page(form, account.kind, account), 409
    if "name" in form:
        values = (form.name.data, form.settings(), form.rates, form.secret_typed)
        services.save_account(account.kind, *values, account=account)
    else:
        services.save_account(account.kind, account.name, account.settings, form.rates, None, account=account)
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
    account = services.get_account(account_id)
    form = _test_form(account)
    fits = form.validate()
    if fits and once.done_before():
        return redirect(url_for(".edit", account_id=account_id))
    if fits:
        try:
            services.ask_test(account, form.address.data or "", form.body.data or "")
        except Refusal as refusal:
            field = str(getattr(refusal, "field", ""))
            form.refuse(field if field in form else "address", refusal.message)
            fits = False
    if not fits:
        return _page(_filled(account), account.kind, account, form), 422
    jobs.send_test.later(account_id=account_id)
    return redirect(url_for(".edit", account_id=account_id))


@bp.post("/channels/<int:account_id>/hooks")
@staff("channels.edit")
def open_hooks(account_id: int) -> Any:
    services.open_hooks(services.get_account(account_id))
    return redirect(url_for(".edit", account_id=account_id) + "#hooks")


@bp.get("/channels/<int:account_id>/health")
@staff("channels.view")
def health(account_id: int) -> Any:
    return render_template("channels/_health.html", account=services.get_account(account_id), labels=labels)


@bp.get("/channels/<int:account_id>/record")
@staff("channels.view")
def record(account_id: int) -> Any:
    account = services.get_account(account_id)
    return render_template(
        "channels/record.html",
        account=account,
        title=services.shown_name(account),
        day=queries.record_of(account_id, timedelta(days=1)),
        week=queries.record_of(account_id, timedelta(days=7)),
        hours=queries.hours_of(account_id),
        faults=queries.faults_of(account_id),
        receipts=queries.receipts_of(account_id),
        replies=queries.replies_of(account_id),
        postings=queries.postings_of(account_id),
        waiting=wecom.unsent(account_id) if account.kind is ChannelKind.WECOM else None,
        labels=labels,
    )


@bp.post("/channels/<int:account_id>/postings/<int:posting_id>/again")
@staff("channels.edit")
def say_again(account_id: int, posting_id: int) -> Any:
    services.get_account(account_id)
    if services.say_again(posting_id):
        jobs.say.later()
        flash(_("It is posted again."), "positive")
    return redirect(url_for(".record", account_id=account_id))


def _test_form(account: Any, **kept: Any) -> TestForm:
    """The form of a test; an address is asked for wherever a test needs one."""
    form = TestForm(**kept)
    form.address.flags.required = account is not None and account.kind not in services.NO_ADDRESS
    return form


def _page(form: Any, kind: ChannelKind, account: Any, test_form: Any = None) -> Any:
    if account is None and (needed := secret_name(form)) is not None:
        form[needed].flags.required = True
    if test_form is None:
        test_form = _test_form(account, formdata=None, body=services.default_words(account) if account else "")
        once.show(test_form)
    return render_template(
        "channels/edit.html",
        form=form,
        kind=kind,
        account=account,
        title=services.shown_name(account) if account else labels.KINDS[kind],
        test_form=test_form,
        length=services.length_of(account, test_form.body.data or "") if account else None,
        no_address=services.NO_ADDRESS,
        to_a_member=services.TO_A_MEMBER,
        hook_secret=services.hook_secret(account) if account and account.hook_token and may("channels.edit") else None,
        absolute=links.absolute,
        labels=labels,
    )


@bp.post("/members/<int:member_id>/addresses/try-again")
@staff("members.edit")
def try_address_again(member_id: int) -> Any:
    member = members.get_member(member_id)
    if services.try_again(member.id):
        flash(_("Their address is written to again."), "positive")
    return redirect(url_for("members_console.show", member_id=member.id))


# ── Messages that people give ───────────────────────────────────────────────────────────────────────────────────────


def _task_state() -> TaskState:
    wanted = request.args.get("state", "open")
    return TaskState(wanted) if wanted in {state.value for state in TaskState} else TaskState.OPEN


def _task_listing(state: TaskState) -> Any:
    who = {"me": acting_staff().id, "nobody": 0}.get(request.args.get("who", ""))
    return queries.tasks(state, searched(), who)


@bp.get("/contact-tasks")
@staff("tasks.view")
def tasks() -> Any:
    state = _task_state()
    found = _task_listing(state)
    page = keyset(found, queries.TASK_ORDERS[state], request.args.get("cursor"))
    chosen = [
        ("who", who, _("Mine") if who == "me" else _("Not assigned"))
        for who in [request.args.get("who", "")]
        if who in ("me", "nobody")
    ]
    chosen += search_chip(searched())
    return render_template(
        "channels/tasks.html",
        page=page,
        count=capped_count(found),
        state=state,
        views=[
            (label, url_with(state=None if one is TaskState.OPEN else one.value), state is one, None)
            for one, label in labels.TASK_STATES.items()
        ],
        chosen=chosen,
        now=clock.now(),
        labels=labels,
    )


@bp.post("/contact-tasks/export")
@staff("tasks.view")
def export_tasks() -> Any:
    state = _task_state()
    rows = queries.export_tasks(_task_listing(state), state)
    audit.record("contact_tasks.exported", "contact_task", None, after={"rows": len(rows)})
    return csv_response(
        "contact-tasks.csv",
        [_("Customer"), _("Phone"), _("Title"), _("State"), _("To be done by"), _("Taken by"), _("What was said")],
        [
            (
                member.shown_name,
                masked_phone(member.phone),
                task.title,
                labels.TASK_STATES[task.state],
                clock.local(task.due_at).strftime("%Y-%m-%d %H:%M"),
                name or "",
                task.note,
            )
            for task, member, name in rows
        ],
    )


@bp.post("/contact-tasks/take")
@staff("tasks.handle")
def take_tasks() -> Any:
    mine = sum(services.take_task(task_id, acting_staff().id) for task_id in ticked(500))
    flash(
        ngettext("%(num)s task is yours now.", "%(num)s tasks are yours now.", mine), "positive" if mine else "caution"
    )
    return redirect(url_for(".tasks", who="me"))


def _task_page(task: Any, form: Any = None, revealed: bool = False) -> Any:
    return render_template(
        "channels/task.html",
        task=task,
        member=members.get_member(task.member_id),
        name=queries.staff_name(task.staff_id),
        mine=task.staff_id in (None, acting_staff().id),
        form=form or TaskOutcomeForm(formdata=None),
        revealed=revealed,
        labels=labels,
        now=clock.now(),
    )


@bp.get("/contact-tasks/<int:task_id>")
@staff("tasks.view")
def task(task_id: int) -> Any:
    return _task_page(services.get_task(task_id))


@bp.post("/contact-tasks/<int:task_id>/phone")
@staff("tasks.handle")
def task_phone(task_id: int) -> Any:
    """Whoever is to call sees the number: the task becomes theirs, and that they looked is kept in the audit trail."""
    found = services.get_task(task_id)
    if not services.take_task(task_id, acting_staff().id):
        flash(_("A colleague has this task."), "caution")
        return redirect(url_for(".task", task_id=task_id))
    audit.record("member.revealed", "member", found.member_id, after={"reason": "call", "task": task_id})
    return _task_page(services.get_task(task_id), revealed=True)


@bp.post("/contact-tasks/<int:task_id>/outcome")
@staff("tasks.handle")
def task_outcome(task_id: int) -> Any:
    found, form = services.get_task(task_id), TaskOutcomeForm()
    if not form.validate():
        return _task_page(found, form), 422
    services.end_task(task_id, TaskState(form.outcome.data), form.note.data or "", acting_staff().id)
    flash(_("Written down."), "positive")
    return redirect(url_for(".tasks"))


@bp.post("/contact-tasks/<int:task_id>/reopen")
@staff("tasks.handle")
def reopen_task(task_id: int) -> Any:
    services.reopen_task(task_id)
    flash(_("The task is on the list again."), "positive")
    return redirect(url_for(".task", task_id=task_id))
