"""Pages for pushes: the list, the four steps, what is running, what came of it, and who was not sent to and why."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from typing import Any

from flask import flash, redirect, render_template, request, url_for

from campaigns.audiences import labels as audience_labels
from campaigns.audiences import queries as audiences
from campaigns.audiences import rules as audience_rules
from campaigns.audiences.fields import RulesForm
from campaigns.channels import labels as channel_labels
from campaigns.channels import rules as channel_rules
from campaigns.channels import services as channels
from campaigns.channels.models import Account, ChannelKind
from campaigns.results import queries as results
from campaigns.results.models import Kind
from kernel import clock, editions, once, pages
from kernel.auth import acting_staff, holds, staff
from kernel.errors import Forbidden
from kernel.i18n import date_time, ngettext
from kernel.i18n import gettext as _
from kernel.pages import capped_count, csv_response, keyset, search_chip
from kernel.staff import services as colleagues

from .. import jobs, labels, ledger, message, queries, recurrence, rules, services
from ..forms import CheckForm, PushForm, values_of
from ..models import Delivery, DeliveryState, Push, Run, RunState
from . import bp

# ── The list ────────────────────────────────────────────────────────────────────────────────────────────────────────


def _narrowed_by() -> tuple[str, RunState | None]:
    return pages.searched(), pages.chosen(RunState, "state")


@bp.get("/pushes")
@staff("pushes.view")
def index() -> Any:
    wanted, state = _narrowed_by()
    statement = queries.listed(wanted, state)
    page = keyset(statement, queries.order_of(request.args.get("sort", "")), request.args.get("cursor"))
    chips = [("state", state.value, str(labels.RUN_STATES[state]))] if state is not None else []
    chips += search_chip(wanted)
    runs = [run for run, _push in page.rows]
    return render_template(
        "pushes/index.html",
        page=page,
        count=capped_count(statement),
        progress=queries.progress_of(runs),
        credits=results.credits_of([run.id for run in runs]),
        labels=labels,
        chips_on=chips,
    )


@bp.get("/pushes/export")
@staff("pushes.view")
def export() -> Any:
    header = [
        _("Push"), _("Title"), _("State"), _("Planned for"), _("Started"), _("Finished at"), _("Planned"),
        _("Messages sent"), labels.DELIVERY_STATES[DeliveryState.UNKNOWN], _("Orders, direct"), _("Orders, influenced"),
    ]  # fmt: skip
    found = queries.exported(queries.listed(*_narrowed_by()), queries.order_of(request.args.get("sort", "")))
    return csv_response(f"pushes-{clock.today().isoformat()}.csv", header, _run_lines(found))


def _run_lines(found: list[tuple[Run, Push]]) -> Iterator[list[Any]]:
    rows = iter(found)
    while portion := list(islice(rows, 500)):
        progress = queries.progress_of([run for run, _push in portion])
        credits = results.credits_of([run.id for run, _push in portion])
        for run, push in portion:
            begun = run.started_at is not None
            orders = [
                credits[run.id, kind].orders if (run.id, kind) in credits else 0
                for kind in (Kind.DIRECT, Kind.INFLUENCED)
            ]
            yield [
                push.name,
                push.subject,
                str(labels.RUN_STATES[run.state]),
                *(clock.wall_text(at) for at in (run.scheduled_at, run.started_at, run.finished_at)),
                progress[run.id].planned if begun else "",
                progress[run.id].accepted if begun else "",
                progress[run.id].unknown if begun else "",
                *(orders if begun else ("", "")),
            ]


# ── The four steps ──────────────────────────────────────────────────────────────────────────────────────────────────


@bp.get("/pushes/new")
@staff("pushes.edit")
def new() -> Any:
    chosen = request.args.get("audience_id", type=pages.row_number)
    definition = (
        audience_rules.parse(audiences.get_audience(chosen).definition) if chosen else audience_rules.Definition()
    )
    return _steps(once.show(PushForm(definition=definition)), None, None)


@bp.post("/pushes/new")
@staff("pushes.edit")
def new_post() -> Any:
    form = PushForm()
    return _written(form, None, None)


@bp.get("/pushes/<int:push_id>/edit")
@staff("pushes.edit")
def edit(push_id: int) -> Any:
    push, run = queries.get_push(push_id)
    if run.state is not RunState.DRAFT:
        return redirect(url_for(".show", push_id=push_id))
    form = PushForm(definition=audience_rules.parse(push.audience), offer=push.offer_id, **values_of(push, run))
    editions.show(form, _shown(push, run))
    return _steps(form, push, run)


def _shown(push: Push, run: Run) -> Any:
    return values_of(push, run), push.audience


@bp.post("/pushes/<int:push_id>/edit")
@staff("pushes.edit")
def edit_post(push_id: int) -> Any:
    push, run = queries.get_push(push_id)
    return _written(PushForm(offer=push.offer_id), push, run)


@bp.post("/pushes/check")
@staff("pushes.edit")
def check() -> Any:
    form = CheckForm()
    form.validate()
    return render_template("pushes/_check.html", **_judged(form))


def _written(form: PushForm, push: Push | None, run: Run | None) -> Any:
    act = request.form.get("act", "save")
    if form.built:
        return _steps(form, push, run)
    well = form.validate()
    if act == "schedule" and not holds(acting_staff().role, "pushes.send"):
        raise Forbidden
    if not well:
        return _steps(form, push, run), 422
    if act == "check":
        return _steps(form, push, run)
    if push is None or run is None:
        if once.done_before():
            return redirect(url_for(".index"))
        push, run = services.draft(acting_staff().id, **form.fields())
    elif editions.overtaken(form, partial(_shown, push, run), push, run, by=("push.drafted", "push.changed")):
        return _steps(form, push, run), 409
    else:
        services.change(push, run, acting_staff().id, **form.fields())
    at = form.scheduled_at.data if form.moment.data == "at" else None
    if act != "schedule":
        services.set_moment(run, at, form.lifetime)
        flash(_("The draft is saved."), "positive")
        return redirect(url_for(".edit", push_id=push.id))
    services.schedule(run, at, form.lifetime, acting_staff().id)
    if run.state is RunState.APPROVAL:
        flash(_("The push waits for a second person to approve it."), "caution")
    else:
        jobs.wake.later()
        flash(_("The push is on its way.") if at is None else _("The push is scheduled."), "positive")
    return redirect(url_for(".show", push_id=push.id))


def _steps(form: PushForm, push: Push | None, run: Run | None) -> Any:
    return render_template(
        "pushes/edit.html",
        push=push,
        run=run,
        saved=audiences.saved(),
        labels=labels,
        rules=rules,
        lost=queries.lost_since(push) if push is not None and push.copied_from_id is not None else [],
        listed=services.known_size(push, run) if push is not None and run is not None and run.listed else None,
        **_judged(form),
    )


_WHOM = frozenset(name for name in RulesForm.__dict__ if not name.startswith("_")) | {"account_id"}


def _judged(form: PushForm) -> dict[str, Any]:
    """What the page shows of a push while it is being written: whom it reaches, how it looks, when it arrives."""
    whom_well = not form.to_all and not any(field.errors for field in form if field.name in _WHOM)
    definition = form.definition() if whom_well else audience_rules.Definition()
    account = form.account
    contact_class = form.fields()["contact_class"]
    found = queries.check(definition, account, contact_class) if whom_well else None
    if found is not None and not form.control_percent.errors:
        found = replace(found, control_percent=form.fields()["control_percent"])
    person = queries.somebody(definition, account, contact_class) if whom_well else None
    return {
        "form": form,
        "check": found,
        "sentences": audience_labels.sentences(definition) if whom_well else [],
        "sample": audiences.sample(definition) if whom_well else [],
        "account": account,
        "account_name": channels.shown_name(account),
        "length_of": channels.length_of,
        "in_parts": channels.in_parts,
        "person": person,
        "preview": message.preview(form.fields(), account, person) if whom_well or form.to_all else None,
        "next_times": _next_times(form),
        "place": place_of(account),
        **_timing(form, found),
    }


def place_of(account: Account) -> dict[str, Any] | None:
    """Where a push goes that goes to no member: the groups with how many members sit in them, or a chat."""
    if not account.kind.shared:
        return None
    return {
        "name": channels.shown_name(account),
        "kind": channel_labels.KINDS[account.kind],
        "groups": channels.groups_of(account) if account.kind is ChannelKind.GROUP_POST else [],
        "people": channels.people_in(account),
    }


def _next_times(form: PushForm) -> list[datetime]:
    rule = form.fields()["rrule"]
    if rule is None:
        return []
    return [one.at for one in islice(recurrence.occurrences(rule, form.start, clock.ZONE), 5)]


def _timing(form: PushForm, found: queries.Check | None) -> dict[str, Any]:
    start = form.start
    account, quiet = form.account, channels.quiet_hours()
    silent = channels.makes_no_sound(account)
    held = None if silent else channel_rules.quiet_end(clock.local(start), quiet)
    rates = [rate for rate in (account.rate_per_second, form.rate_per_second.data) if rate]
    return {
        "start": start,
        "held_until": held,
        "hours": [] if silent else channel_rules.quiet_map(quiet),
        "start_hour": clock.local(start).hour,
        "seconds": found.sent / min(rates) if found and rates else None,
        "caps": channels.budget(),
        "holdout": services.holdout()[0],
    }


def _asked_for(push_id: int) -> tuple[Push, Run]:
    """The push with the run that the address names, or its latest."""
    return queries.get_push(push_id, request.args.get("run", type=pages.row_number))


# ── One push ────────────────────────────────────────────────────────────────────────────────────────────────────────


@bp.get("/pushes/<int:push_id>")
@staff("pushes.view")
def show(push_id: int) -> Any:
    push, run = _asked_for(push_id)
    account = queries.account_of(push)
    return render_template(
        "pushes/show.html",
        push=push,
        run=run,
        account=account,
        account_name=channels.shown_name(account),
        offer=queries.offer_of(push),
        sentences=audience_labels.sentences(audience_rules.parse(push.audience)),
        outcomes=queries.outcomes(run) if run.started_at else [],
        report=results.report(run, push) if run.started_at else None,
        runs=queries.runs_of(push) if push.rrule else [],
        wordings=queries.wordings(push, run) if run.started_at else [],
        letters=rules.LETTERS,
        place=place_of(account),
        names=colleagues.names([one for one in (run.asked_by, run.approved_by) if one is not None]),
        own_work=acting_staff().id in (push.staff_id, push.changed_by, run.asked_by),
        **_asked_of_a_second(push, run),
        labels=labels,
        S=DeliveryState,
        MISSED=services.MISSED,
        RESTORED=services.RESTORED,
        still_in_doubt=ledger.still_in_doubt(run.id) if run.started_at else 0,
        copy_once=once.key(),
        **_live(run, account),
    )


def _asked_of_a_second(push: Push, run: Run) -> dict[str, Any]:
    """What a second person is told of whom a run goes to: an audience as it is now, and who of it would be left out."""
    if run.state is not RunState.APPROVAL:
        return {"size": None, "check": None}
    size = services.known_size(push, run)
    account = queries.account_of(push)
    if size is not None or account.kind.shared:
        return {"size": size, "check": None}
    found = queries.check(audience_rules.parse(push.audience), account, push.contact_class)
    return {"size": None, "check": replace(found, control_percent=push.control_percent)}


@bp.get("/pushes/<int:push_id>/progress")
@staff("pushes.view")
def progress(push_id: int) -> Any:
    push, run = _asked_for(push_id)
    live = _live(run, queries.account_of(push))
    piece = render_template("pushes/_progress.html", push=push, run=run, labels=labels, **live)
    # In another state its buttons and cards are others.
    return pages.bar(piece, request.args.get("state", run.state.value) == run.state.value)


def _live(run: Run, account: Any) -> dict[str, Any]:
    """The bar: counts, the rate since this page was opened, and what holds the run up if something does."""
    now, found = clock.now(), queries.progress(run)
    done, since = request.args.get("done", type=int), request.args.get("since", type=int)
    if done is None or since is None:
        done, since = found.done, int(now.timestamp())
    begun = datetime.fromtimestamp(min(max(since, 0), 2**32), UTC)
    rate, left = rules.time_left(found.done - done, found.total - done, begun, now)
    quiet = None if channels.makes_no_sound(account) else channels.quiet_until(now)
    return {
        "progress": found,
        "rate": rate,
        "left": left,
        "base": {"done": done, "since": since, "state": run.state.value},
        "holds_until": quiet if run.state is RunState.RUNNING else None,
        "rests_until": channels.rests_until(account, now),
        "account_paused": account.paused_at is not None,
    }


@bp.post("/pushes/<int:push_id>/unschedule")
@staff("pushes.send")
def unschedule(push_id: int) -> Any:
    _push, run = _asked_for(push_id)
    services.unschedule(run)
    flash(_("The push is a draft again. Nothing has been sent."), "positive")
    return redirect(url_for(".edit", push_id=push_id))


@bp.post("/pushes/<int:push_id>/pause")
@staff("pushes.send")
def pause(push_id: int) -> Any:
    _push, run = _asked_for(push_id)
    services.pause(run)
    flash(_("The push stands still. What was already handed over cannot be called back."), "caution")
    return redirect(url_for(".show", push_id=push_id))


@bp.post("/pushes/<int:push_id>/resume")
@staff("pushes.send")
def resume(push_id: int) -> Any:
    _push, run = _asked_for(push_id)
    services.resume(run)
    jobs.wake_run(run.id)
    flash(_("The push goes on."), "positive")
    return redirect(url_for(".show", push_id=push_id))


@bp.post("/pushes/<int:push_id>/cancel")
@staff("pushes.send")
def cancel(push_id: int) -> Any:
    _push, run = _asked_for(push_id)
    services.cancel(run)
    jobs.close.later(run_id=run.id)
    flash(_("The push is cancelled. What was not sent yet will not be sent."), "positive")
    return redirect(url_for(".show", push_id=push_id))


@bp.post("/pushes/<int:push_id>/resend")
@staff("pushes.send")
def resend(push_id: int) -> Any:
    _push, run = _asked_for(push_id)
    people = services.resend_unknown(run)
    jobs.wake_run(run.id)
    flash(ngettext("%(num)s message is offered again.", "%(num)s messages are offered again.", people), "caution")
    return redirect(url_for(".show", push_id=push_id))


@bp.post("/pushes/<int:push_id>/copy")
@staff("pushes.edit")
def copy(push_id: int) -> Any:
    push, _run = queries.get_push(push_id)
    if once.done_before():
        return redirect(url_for(".index"))
    fresh = services.copy(push, acting_staff().id, _("Copy of %(name)s", name=push.name)[:80])
    flash(_("Here is a draft with the same audience and the same words."), "positive")
    return redirect(url_for(".edit", push_id=fresh.id))


@bp.post("/pushes/<int:push_id>/approve")
@staff("pushes.approve")
def approve(push_id: int) -> Any:
    _push, run = _asked_for(push_id)
    services.approve(run, acting_staff().id)
    jobs.wake.later()
    if run.scheduled_at is not None and run.scheduled_at > clock.now():
        flash(_("The push is approved and starts %(time)s.", time=date_time(run.scheduled_at)), "positive")
    else:
        flash(_("The push is approved and on its way."), "positive")
    return redirect(url_for(".show", push_id=push_id))


@bp.post("/pushes/<int:push_id>/stop")
@staff("pushes.send")
def stop(push_id: int) -> Any:
    push, _run = queries.get_push(push_id)
    services.stop_series(push)
    flash(_("The series is over. Nothing more of it is sent."), "positive")
    return redirect(url_for(".show", push_id=push_id))


@bp.post("/pushes/<int:push_id>/missed")
@staff("pushes.edit")
def missed(push_id: int) -> Any:
    push, run = _asked_for(push_id)
    if once.done_before():
        return redirect(url_for(".index"))
    fresh = services.copy_for_missed(
        push, run, acting_staff().id, _("%(name)s, for those it missed", name=push.name)[:80]
    )
    flash(
        _("Here is a draft for those whom the push did not reach. Consent and the budget are asked anew."), "positive"
    )
    return redirect(url_for(".edit", push_id=fresh.id))


@bp.post("/pushes/<int:push_id>/again")
@staff("pushes.edit")
def again(push_id: int) -> Any:
    push, run = _asked_for(push_id)
    if once.done_before():
        return redirect(url_for(".index"))
    fresh = services.copy_for_next_year(push, run, acting_staff().id, push.name)
    flash(_("Here is a draft for the same day of the year, with the same audience and the same words."), "positive")
    return redirect(url_for(".edit", push_id=fresh.id))


# ── Who, and why not ────────────────────────────────────────────────────────────────────────────────────────────────


def _wanted() -> tuple[DeliveryState | None, str | None, bool, str]:
    said = request.args.get("state", "")
    state = DeliveryState(said) if said in list(DeliveryState) else None
    # A reason belongs to the state that it explains.
    reason = request.args.get("reason", "")[:300] or None if state is not None else None
    return state, reason, said == "unsent", pages.searched()


@bp.get("/pushes/<int:push_id>/deliveries")
@staff("pushes.view")
def deliveries(push_id: int) -> Any:
    push, run = _asked_for(push_id)
    wanted = _wanted()
    statement = queries.deliveries(run.id, *wanted)
    state, reason, unsent, words = wanted
    chips = [("state", "unsent", str(_("Everybody not sent to")))] if unsent else []
    if state is not None:
        chips = [("state", state.value, str(labels.outcome(state, reason)))]
    return render_template(
        "pushes/deliveries.html",
        push=push,
        run=run,
        page=keyset(statement, [Delivery.id], request.args.get("cursor")),
        count=capped_count(statement),
        outcomes=queries.outcomes(run),
        labels=labels,
        place=place_of(queries.account_of(push)),
        state=request.args.get("state", ""),
        chips_on=chips + search_chip(words),
    )


@bp.get("/pushes/<int:push_id>/deliveries.csv")
@staff("pushes.view")
def deliveries_csv(push_id: int) -> Any:
    push, run = _asked_for(push_id)
    header = [
        _("Member no."),
        _("Member"),
        _("What became of it"),
        _("Sent at"),
        _("Reported"),
        _("Clicked at"),
    ]
    place = channels.shown_name(queries.account_of(push))
    return csv_response(f"push-{push_id}-deliveries.csv", header, _lines(run, place, *_wanted()))


def _lines(run: Run, place: str, *wanted: Any) -> Iterator[list[Any]]:
    for delivery, member in queries.streamed(queries.deliveries(run.id, *wanted).order_by(Delivery.id)):
        yield [
            member.id if member is not None else "",
            member.shown_name if member is not None else place,
            labels.outcome(delivery.state, delivery.reason),
            _instant(delivery.accepted_at),
            labels.report(delivery),
            _instant(delivery.clicked_at),
        ]


def _instant(value: datetime | None) -> str:
    return clock.local(value).strftime("%Y-%m-%d %H:%M:%S") if value else ""


@bp.get("/pushes/<int:push_id>/results.csv")
@staff("results.view")
def results_csv(push_id: int) -> Any:
    push, run = _asked_for(push_id)
    return csv_response(f"push-{push_id}-results.csv", [_("What"), _("How many")], _result_lines(push, run))


def _result_lines(push: Push, run: Run) -> Iterator[list[Any]]:
    report = results.report(run, push)
    yield [_("Planned"), run.planned]
    for outcome in queries.outcomes(run):
        yield [labels.outcome(outcome.state, outcome.reason), outcome.people]
    if report.reported:
        yield [labels.DELIVERED, report.delivered]
        yield [labels.UNDELIVERED, report.undelivered]
    if report.linked:
        yield [_("Clicked"), report.clicked if report.visits is None else report.visits]
    yield [_("Coupons taken"), report.claimed]
    yield [_("Coupons used"), report.redeemed]
    for name, credit in ((_("Direct"), report.direct), (_("Influenced"), report.influenced)):
        yield [_("%(name)s: orders", name=name), credit.orders]
        yield [_("%(name)s: money net of refunds, yuan", name=name), f"{credit.money / 100:.2f}"]
    for name, found, scale in (
        (_("Incremental: orders"), report.extra_orders, 1),
        (_("Incremental: money, yuan"), report.extra_money, 100),
    ):
        known = found is not None and report.enough
        yield [name, f"{found.value / scale:.2f}" if known and found is not None else _("not enough data")]
        if known and found is not None:
            yield [_("%(name)s, 95 %% interval from", name=name), f"{found.low / scale:.2f}"]
            yield [_("%(name)s, 95 %% interval to", name=name), f"{found.high / scale:.2f}"]
