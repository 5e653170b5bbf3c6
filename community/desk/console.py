"""Pages for staff: the calls to make, a call with the customer's past, the scripts, and the funnel."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from apiflask import APIBlueprint
from flask import flash, redirect, render_template, request, url_for

from community.groups import queries as groups
from kernel import audit, clock, editions, once
from kernel.auth import acting_staff, may, staff
from kernel.errors import NotFound, Refusal
from kernel.i18n import gettext as _
from kernel.i18n import ngettext
from kernel.pages import (
    capped_count,
    chosen,
    csv_response,
    instants,
    keyset,
    period,
    row_or_none,
    search_chip,
    searched,
    ticked,
    url_with,
)
from kernel.staff.models import Staff
from membership.members import labels as member_labels
from membership.members import queries as members
from membership.members.models import CustomerType, Member
from membership.members.rules import masked_phone

from . import labels, queries, rules, services
from .forms import CallForm, InviteForm, OutcomeForm, ScriptForm
from .models import CallReason, CallState, CallTask, Script

bp = APIBlueprint("desk_console", __name__, url_prefix="/console", template_folder="templates", enable_openapi=False)


# ── The list ────────────────────────────────────────────────────────────────────────────────────────────────────────


def _view() -> str:
    wanted = request.args.get("due", "today")
    return wanted if wanted in labels.DUES else "today"


def _assignee() -> int | None:
    match who := request.args.get("who"):
        case "me":
            return acting_staff().id
        case "nobody":
            return 0
        case _:
            return row_or_none(who)


def _listing(view: str) -> Any:
    return queries.listing(searched(), view, chosen(CallState, "state"), chosen(CallReason, "reason"), _assignee())


def _chips() -> list[tuple[str, str, str]]:
    chips = []
    if state := chosen(CallState, "state"):
        chips.append(("state", state.value, _("State: %(state)s", state=labels.STATES[state])))
    if reason := chosen(CallReason, "reason"):
        chips.append(("reason", reason.value, _("Reason: %(reason)s", reason=labels.REASONS[reason])))
    if (who := request.args.get("who")) in ("me", "nobody"):
        chips.append(("who", who, _("Mine") if who == "me" else _("Not assigned")))
    elif assignee := _assignee():
        chips.append(("who", str(assignee), queries.names([assignee]).get(assignee, "–")))
    return chips + search_chip(searched())


@bp.get("/calls")
@staff("calls.view")
def index() -> Any:
    view = _view()
    found = _listing(view)
    page = keyset(found, queries.order_of(request.args.get("sort", ""), view), request.args.get("cursor"))
    today, overdue = queries.waiting()
    tallies = {"today": today + overdue, "overdue": overdue}
    return render_template(
        "desk/index.html",
        page=page,
        rows=[row[:3] for row in page.rows],
        count=capped_count(found),
        view=view,
        views=[
            (label, url_with(due=None if key == "today" else key), view == key, tallies.get(key))
            for key, label in labels.DUES.items()
        ],
        chosen=_chips(),
        labels=labels,
        served_first=queries.served_first,
        day=clock.day_bounds(clock.today()),
        later=None if page.rows else capped_count(queries.listing("", "later", None, None, None)),
    )


@bp.post("/calls/export")
@staff("calls.view")
def export() -> Any:
    view = _view()
    rows = queries.export(_listing(view), queries.order_of(request.args.get("sort", ""), view))
    header = [
        _("Customer"),
        _("Phone"),
        _("Reason"),
        _("State"),
        _("Due"),
        _("Taken by"),
        _("Tries"),
        _("What was said"),
    ]
    shown = may("members.reveal") and may("members.export")
    audit.record("calls.exported", "call_task", None, after={"phones": shown})
    return csv_response(
        "calls.csv",
        header,
        [
            (
                member.shown_name,
                (member.phone or "") if shown else masked_phone(member.phone),
                labels.REASONS[task.reason],
                labels.STATES[task.state],
                clock.local(task.due_at).strftime("%Y-%m-%d %H:%M"),
                name or "",
                task.tries,
                task.outcome_note,
            )
            for task, member, name in rows
        ],
    )


@bp.post("/calls/take")
@staff("calls.handle")
def take_many() -> Any:
    wanted = ticked(500)
    mine = services.take_many(wanted, acting_staff().id)
    flash(
        ngettext("%(num)s call is yours now.", "%(num)s calls are yours now.", mine), "positive" if mine else "caution"
    )
    if left := len(set(wanted)) - mine:
        flash(
            ngettext(
                "%(num)s belongs to somebody else or is done.", "%(num)s belong to somebody else or are done.", left
            ),
            "info",
        )
    return redirect(url_for(".index", who="me"))


# ── A call ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _groups_for(member_id: int) -> list[Any]:
    taken = {group.id for _seat, group in groups.groups_of(member_id)}
    return [group for group in groups.open_groups() if group.id not in taken]


def _call_page(
    task: CallTask,
    outcome: OutcomeForm | None = None,
    invite: InviteForm | None = None,
    status: int = 200,
    revealed: bool = False,
    refused: Refusal | None = None,
) -> Any:
    member = members.get_member(task.member_id)
    who = acting_staff()
    if outcome is None:
        outcome = OutcomeForm(
            formdata=None,
            tries=task.tries,
            customer_type=member.customer_type.value if member.customer_type else "",
            retry_at=_next_try(),
        )
    open_groups = _groups_for(member.id)
    if invite is None:
        invite = InviteForm(formdata=None, group=task.invited_group_id)
    invite.group.choices = [(group.id, group.name) for group in open_groups]
    words = services.words_for(task, member, who)
    said = _said_by(task, member, who, words)
    outcome.script.choices = [
        ("", _("None of them")),
        *((str(one["id"]), one["title"]) for one in said["scripts"] if one["id"] is not None),
    ]
    this, earlier, others = queries.purchases_of(task)
    return render_template(
        "desk/show.html",
        task=task,
        member=member,
        revealed=revealed,
        refused=refused,
        live=task.state in rules.LIVE,
        mine=task.assignee_id in (None, who.id),
        names=queries.names([task.assignee_id, task.closed_by_id, task.opened_by_id, task.invited_by_id]),
        this=this,
        earlier=earlier,
        others=others,
        **said,
        opening=labels.opening(who, words, member.locale),
        closing=labels.closing(who, member.locale),
        outcome=outcome,
        invite=invite,
        open_groups=open_groups,
        invitation=services.invitation(task, member, who) if may("calls.handle") else None,
        labels=labels,
        served_first=queries.served_first(member),
        member_labels=member_labels,
    ), status


def _said_by(task: CallTask, member: Member, who: Staff, words: dict[str, str]) -> dict[str, Any]:
    """The scripts beside a call: those that fit it, or those that hold the words that were typed."""
    chosen_type = chosen(CustomerType, "type") or member.customer_type
    sought = searched("words")
    found = queries.fitting_scripts(task.reason, chosen_type, who.role, staff_id=who.id, q=sought)
    return {
        "scripts": [
            {"id": getattr(one, "id", None), "title": one.title, "body": rules.fill(one.body, words)} for one in found
        ],
        "sought": sought,
        "chosen_type": chosen_type,
    }


@bp.get("/calls/<int:task_id>/scripts")
@staff("calls.view")
def call_scripts(task_id: int) -> Any:
    """The scripts beside a call alone, while words are being typed."""
    task, who = queries.get_task(task_id), acting_staff()
    member = members.get_member(task.member_id)
    return render_template(
        "desk/_call_scripts.html",
        task=task,
        member=member,
        **_said_by(task, member, who, services.words_for(task, member, who)),
    )


def _next_try() -> datetime:
    """A while from now, within the hours in which people may be called."""
    later = clock.local(clock.now() + timedelta(hours=3)).replace(minute=0, second=0, microsecond=0)
    return rules.within_hours(later)


@bp.get("/calls/<int:task_id>")
@staff("calls.view")
def show(task_id: int) -> Any:
    return _call_page(queries.get_task(task_id))


@bp.post("/calls/<int:task_id>/take")
@staff("calls.handle")
def take(task_id: int) -> Any:
    services.take(task_id, acting_staff().id, row_or_none(request.form.get("from")))
    flash(_("The call is yours."), "positive")
    return redirect(url_for(".show", task_id=task_id))


@bp.post("/calls/<int:task_id>/phone")
@staff("calls.handle")
def phone(task_id: int) -> Any:
    """Whoever is to call sees the number: the call becomes theirs, and that they looked is kept in the audit trail."""
    services.take(task_id, acting_staff().id)
    services.note_reveal(task_id)
    return _call_page(queries.get_task(task_id), revealed=True)


@bp.post("/calls/<int:task_id>/release")
@staff("calls.handle")
def release(task_id: int) -> Any:
    services.release(task_id, acting_staff().id)
    flash(_("Given back: anybody may take it."), "positive")
    return redirect(url_for(".show", task_id=task_id))


@bp.post("/calls/<int:task_id>/outcome")
@staff("calls.handle")
def outcome(task_id: int) -> Any:
    form = OutcomeForm()
    if not form.validate():
        return _call_page(queries.get_task(task_id), outcome=form, status=422)
    try:
        services.record_outcome(task_id, acting_staff(), form.result, form.tries.data or 0)
    except services.RetryTimeRefused as refusal:
        form.refuse("retry_at" if form.result.state is CallState.RETRY else "again_at", refusal)
        return _call_page(queries.get_task(task_id), outcome=form, status=422)
    except (services.CallTaken, services.CallRecorded) as refusal:
        task = queries.get_task(task_id)
        # Whoever has read what the other one recorded may record a try of their own.
        form.tries.data, form.tries.raw_data = task.tries, [str(task.tries)]
        return _call_page(task, outcome=form, status=409, refused=refusal)
    if (script := row_or_none(form.script.data)) is not None:
        services.note_script_used(script)
    if form.result.state == CallState.REACHED:
        flash(_("Recorded. Now choose the group that suits them."), "positive")
        return redirect(url_for(".show", task_id=task_id, _anchor="invite"))
    flash(_("Recorded."), "positive")
    return redirect(url_for(".index"))


@bp.post("/calls/<int:task_id>/invite")
@staff("calls.handle")
def invite(task_id: int) -> Any:
    task = queries.get_task(task_id)
    form = InviteForm()
    form.group.choices = [(group.id, group.name) for group in _groups_for(task.member_id)]
    if not form.validate():
        return _call_page(task, invite=form, status=422)
    try:
        services.invite(task_id, form.group.data, acting_staff().id)
    except (services.GroupNotOpen, services.InGroupAlready) as refusal:
        form.refuse("group", refusal)
        return _call_page(task, invite=form, status=422)
    flash(_("The personal link is ready to be sent."), "positive")
    return redirect(url_for(".show", task_id=task_id, _anchor="invite"))


def _member(text: str | None) -> Member:
    return members.get_member(row_or_none(text) or 0)


@bp.get("/calls/new")
@staff("calls.handle")
def new() -> Any:
    member = _member(request.args.get("member"))
    if (task := queries.live_task(member.id)) is not None:
        flash(_("There is a call to make already; here it is."), "info")
        return redirect(url_for(".show", task_id=task.id))
    form = CallForm(formdata=None, member=str(member.id), due_at=_next_try())
    return render_template("desk/new.html", form=form, member=member)


@bp.post("/calls/new")
@staff("calls.handle")
def new_post() -> Any:
    form = CallForm()
    member = _member(form.member.data)
    if form.validate() and form.due_at.data is not None:
        try:
            task_id = services.open_by_hand(
                member.id, CallReason(form.reason.data), form.due_at.data, form.about.data or "", acting_staff().id
            )
        except services.RetryTimeRefused as refusal:
            form.refuse("due_at", refusal)
        else:
            flash(_("It is in the list of calls."), "positive")
            return redirect(url_for(".show", task_id=task_id))
    return render_template("desk/new.html", form=form, member=member), 422


def member_button(member: Member, **_values: Any) -> str:
    """The button “call back” on a member's page (slot `member.actions`)."""
    return render_template("desk/_member_button.html", member=member) if may("calls.handle") else ""


def member_calls(member: Member, **_values: Any) -> str:
    """A member's calls beside their page (slot `member.side`)."""
    if not may("calls.view"):
        return ""
    # On the page of a call itself the others are shown.
    shown = (request.view_args or {}).get("task_id")
    tasks = [task for task in queries.tasks_of(member.id) if task.id != shown]
    return render_template("desk/_member_calls.html", member=member, tasks=tasks, labels=labels)


# ── Scripts ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _script_chips() -> list[tuple[str, str, str]]:
    chips = []
    if reason := chosen(CallReason, "reason"):
        chips.append(("reason", reason.value, _("Reason: %(reason)s", reason=labels.REASONS[reason])))
    if kind := chosen(CustomerType, "type"):
        chips.append(("type", kind.value, _("Type: %(type)s", type=member_labels.CUSTOMER_TYPES[kind])))
    if (voice := request.args.get("voice", "")) and voice in labels.VOICES:
        chips.append(("voice", voice, _("In the voice of: %(voice)s", voice=labels.VOICES[voice])))
    return chips + search_chip(searched())


@bp.get("/scripts")
@staff("calls.view")
def scripts() -> Any:
    voice = request.args.get("voice", "")
    found = queries.scripts(
        searched(),
        chosen(CallReason, "reason"),
        chosen(CustomerType, "type"),
        acting_staff().id,
        voice if voice in labels.VOICES else "",
    )
    page = keyset(found, queries.script_order(), request.args.get("cursor"))
    fragment = request.headers.get("HX-Request") == "true"
    return render_template(
        "desk/_scripts.html" if fragment else "desk/scripts.html",
        page=page,
        count=capped_count(found),
        chosen=_script_chips(),
        starters=queries.offers_starters(),
        labels=labels,
        member_labels=member_labels,
    )


@bp.post("/scripts/starters")
@staff("scripts.edit")
def starters() -> Any:
    made = services.ensure_scripts()
    flash(
        _("The scripts are there. Make them yours.") if made else _("They were given to this shop before."),
        "positive" if made else "info",
    )
    return redirect(url_for(".scripts"))


def _script_page(form: ScriptForm, script: Any = None, status: int = 200) -> Any:
    editable = may("scripts.edit") or (may("scripts.own") and (script is None or script.owner_id is not None))
    return render_template("desk/script.html", form=form, script=script, editable=editable), status


def _drafted(form: ScriptForm) -> services.ScriptDraft:
    """The script as typed; whoever may not change everybody's writes their own."""
    return form.draft if may("scripts.edit") else replace(form.draft, mine=True)


def _changeable(script_id: int) -> Script:
    """A script that the acting person may change. Refuses with `NotFound`."""
    script = queries.get_script(script_id, acting_staff().id)
    if script.owner_id is None and not may("scripts.edit"):
        raise NotFound
    return script


@bp.get("/scripts/new")
@staff("scripts.own")
def new_script() -> Any:
    return _script_page(once.show(ScriptForm()))


@bp.post("/scripts/new")
@staff("scripts.own")
def new_script_post() -> Any:
    form = ScriptForm()
    if form.validate():
        if once.done_before():
            return redirect(url_for(".scripts"))
        try:
            services.add_script(_drafted(form), acting_staff().id)
        except services.PlaceUnknown as refusal:
            form.refuse("body", refusal)
        else:
            flash(_("The script is in the library."), "positive")
            return redirect(url_for(".scripts"))
    return _script_page(form, status=422)


@bp.get("/scripts/<int:script_id>")
@staff("calls.view")
def edit_script(script_id: int) -> Any:
    script = queries.get_script(script_id, acting_staff().id)
    form = ScriptForm().show(script)
    editions.show(form, _shown(script))
    return _script_page(form, script)


def _shown(script: Script) -> Any:
    return script.title, script.body, script.reason, script.customer_type, script.voice, script.owner_id


@bp.post("/scripts/<int:script_id>")
@staff("scripts.own")
def edit_script_post(script_id: int) -> Any:
    script, form = _changeable(script_id), ScriptForm()
    if form.validate():
        if editions.overtaken(form, lambda: _shown(script), script, by=("script.added", "script.edited")):
            return _script_page(form, script, 409)
        try:
            services.edit_script(script_id, _drafted(form), acting_staff().id)
        except services.PlaceUnknown as refusal:
            form.refuse("body", refusal)
        else:
            flash(_("Saved."), "positive")
            return redirect(url_for(".scripts"))
    return _script_page(form, script, 422)


@bp.post("/scripts/<int:script_id>/delete")
@staff("scripts.own")
def delete_script(script_id: int) -> Any:
    services.delete_script(_changeable(script_id).id, acting_staff().id)
    flash(_("The script is deleted."), "positive")
    return redirect(url_for(".scripts"))


# ── The funnel ──────────────────────────────────────────────────────────────────────────────────────────────────────


@bp.get("/funnel")
@staff("calls.view")
def funnel() -> Any:
    first, last = period()
    since, until = instants(first, last)
    found = queries.funnel(since, until)
    today = clock.today()
    return render_template(
        "desk/funnel.html",
        funnel=found,
        steps=labels.funnel_rows(found),
        agents=queries.agents(since, until),
        first=first,
        last=last,
        quick=[(days, today - timedelta(days=days - 1)) for days in (7, 30, 90)],
        today=today,
    )


@bp.get("/funnel.csv")
@staff("calls.view")
def funnel_export() -> Any:
    first, last = period()
    rows = labels.funnel_rows(queries.funnel(*instants(first, last)))
    return csv_response(
        f"funnel-{first}-{last}.csv",
        [_("Step"), _("Members"), _("Of the step before"), _("Of all delivered")],
        [(row["label"], row["value"], row["share"], row["of_all"]) for row in rows],
    )
