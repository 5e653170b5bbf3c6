"""What pushes brought: one, several beside one another, a quarter together, by journey; cohorts, the funnel, and reports."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import date, datetime, timedelta
from itertools import dropwhile
from typing import Any

from apiflask import APIBlueprint
from flask import flash, redirect, render_template, request, url_for

from campaigns.audiences import queries as audiences
from campaigns.audiences.rules import parse as parse_audience
from campaigns.channels import services as channels
from campaigns.channels.models import Account
from campaigns.pushes import queries as pushes
from campaigns.pushes import rules as push_rules
from campaigns.pushes.models import Push, Run
from kernel import clock, editions, once
from kernel.auth import acting_staff, staff
from kernel.errors import NotFound, Refusal
from kernel.i18n import gettext as _
from kernel.pages import capped_count, csv_response, instants, keyset, period, time_limit
from kernel.staff import services as colleagues

from . import cohorts as cohort_tables
from . import funnel as funnels
from . import labels, mailing, queries, rules, services
from .forms import MeasureForm, PriceField, ReportForm
from .models import Kind, ReportPlan, Rhythm

bp = APIBlueprint(
    "results_console", __name__, url_prefix="/console/results", template_folder="templates", enable_openapi=False
)
QUARTERS = 6
# At most so many pushes stand beside one another.
BESIDE = 5
# A table of cohorts has so many months at most.
MONTHS = 12
# Whoever waits longer for a page asks for less.
PATIENCE = 20.0
_NUMBERS = re.compile(r"[0-9]{1,18}", re.ASCII)


def _tabs(here: str) -> list[tuple[Any, str, bool]]:
    places = [
        ("index", _("A quarter together")),
        ("compare", _("Side by side")),
        ("journeys", _("Journeys")),
        ("funnel", _("Seven actions")),
        ("cohorts", _("Cohorts")),
        ("reports", _("Reports by e-mail")),
        ("measure", _("How it is measured")),
    ]
    return [(label, url_for(f".{endpoint}"), endpoint == here) for endpoint, label in places]


def _quick() -> list[tuple[int, date]]:
    return [(days, clock.today() - timedelta(days=days - 1)) for days in (7, 30, 90)]


def _number(name: str) -> int | None:
    said = request.args.get(name, "")
    return int(said) if _NUMBERS.fullmatch(said) and int(said) < 2**63 else None


# ── A quarter together: the hold-out of all pushes ──────────────────────────────────────────────────────────────────


def _quarters() -> list[tuple[str, str]]:
    """The latest quarters, as (key, name)."""
    today = clock.today()
    at, found = (today.year, (today.month - 1) // 3 + 1), []
    for _turn in range(QUARTERS):
        found.append((f"{at[0]}Q{at[1]}", f"{at[0]} Q{at[1]}"))
        at = (at[0], at[1] - 1) if at[1] > 1 else (at[0] - 1, 4)
    return found


def _quarter() -> tuple[str, str, datetime, datetime]:
    """The quarter asked for, else the present one: its key, what was said, and its bounds."""
    quarters = _quarters()
    said = request.args.get("quarter", "")
    quarter = said if said in dict(quarters) else quarters[0][0]
    year, number = int(quarter[:4]), int(quarter[5:])
    since = clock.at(date(year, 3 * number - 2, 1))
    until = clock.at(date(year + number // 4, (3 * number) % 12 + 1, 1))
    return quarter, said if said in dict(quarters) else "", since, until


@bp.get("/pushes")
@staff("results.view")
def index() -> Any:
    quarter, chosen, since, until = _quarter()
    statement = pushes.begun_between(since, until)
    page = keyset(statement, [Run.id.desc()], request.args.get("cursor"))
    runs = [run for run, _push in page.rows]
    with time_limit(PATIENCE):
        treated, control = queries.pooled(since, until)
    holdout = channels.holdout_percent()
    return render_template(
        "results/index.html",
        tabs_on=_tabs("index"),
        page=page,
        count=capped_count(statement),
        quarters=_quarters(),
        quarter=quarter,
        chosen=chosen,
        progress=pushes.progress_of(runs),
        credits=queries.credits_of([run.id for run in runs]),
        clicked=queries.clicked_of([run.id for run in runs]),
        linked={push.id for _run, push in page.rows if pushes.linked(push)},
        treated=treated,
        control=control,
        holdout=holdout,
        until=until,
        over=until <= clock.now(),
        split=rules.holdout_split(
            treated.people, control.people, 0, rules.Terms(holdout=queries.holdout_meant(since, until))
        ),
        enough=rules.enough(treated, control),
        needed=rules.needed_in_control(treated, control),
        share=rules.share_difference(treated, control),
        orders=rules.orders_difference(treated, control),
        money=rules.money_difference(treated, control),
    )


@bp.get("/pushes.csv")
@staff("results.view")
def index_csv() -> Any:
    quarter, _chosen, since, until = _quarter()
    return csv_response(f"pushes-{quarter}.csv", _run_head(), _run_lines(since, until))


def _run_head() -> list[Any]:
    return [
        _("Push"), _("Started"), _("Messages sent"), _("Clicked"), _("Direct: orders"), _("Direct: money, yuan"),
        _("Influenced: orders"), _("Influenced: money, yuan"),
    ]  # fmt: skip


def _run_lines(since: datetime, until: datetime) -> Iterator[list[Any]]:
    cursor: str | None = None
    while True:
        page = keyset(pushes.begun_between(since, until), [Run.id.desc()], cursor)
        runs = [run for run, _push in page.rows]
        ids = [run.id for run in runs]
        progress, credits, clicked = pushes.progress_of(runs), queries.credits_of(ids), queries.clicked_of(ids)
        for run, push in page.rows:
            direct = credits.get((run.id, Kind.DIRECT), queries.Credit())
            influenced = credits.get((run.id, Kind.INFLUENCED), queries.Credit())
            yield [
                push.name,
                clock.wall_text(run.started_at),
                progress[run.id].accepted,
                clicked.get(run.id, 0 if pushes.linked(push) else None),
                direct.orders,
                _yuan(direct.money),
                influenced.orders,
                _yuan(influenced.money),
            ]
        cursor = page.next_cursor
        if cursor is None:
            return


def _yuan(fen: float | None) -> str:
    return "" if fen is None else f"{fen / 100:.2f}"


# ── One push ────────────────────────────────────────────────────────────────────────────────────────────────────────


def _run(run_id: int) -> tuple[Run, Push]:
    found = queries.get_runs([run_id])
    if not found:
        raise NotFound
    return found[0]


@bp.get("/runs/<int:run_id>")
@staff("results.view")
def run(run_id: int) -> Any:
    found, push = _run(run_id)
    said = request.args.get("deed", "")
    deed = said if said in labels.DEEDS else ""
    with time_limit(PATIENCE):
        report = queries.report(found, push)
        did = queries.did(found, report.terms, deed) if deed else None
    return render_template(
        "results/run.html",
        run=found,
        push=push,
        report=report,
        letters=push_rules.LETTERS,
        subjects=[push.subject, *(variant["subject"] for variant in push.variants)],
        against_first=[
            (
                rules.share_difference(one.clicks, report.wordings[0].clicks),
                rules.share_difference(one.arm, report.wordings[0].arm),
            )
            for one in report.wordings
        ],
        deed=deed,
        deeds=[(name, str(label)) for name, label in labels.DEEDS.items()],
        labels=labels,
        did=did,
        did_share=rules.share_difference(*did) if did else None,
        Kind=Kind,
    )


@bp.get("/runs/<int:run_id>.csv")
@staff("results.view")
def run_csv(run_id: int) -> Any:
    found, push = _run(run_id)
    report = queries.report(found, push)
    head = [_("What"), _("How many"), _("95 % interval from"), _("95 % interval to")]
    return csv_response(f"push-result-{run_id}.csv", head, _report_lines(report))


def _report_lines(report: queries.Report) -> Iterator[list[Any]]:
    yield [_("Messages sent"), report.sent]
    if report.reported:
        yield [_("Reported delivered"), report.delivered]
        yield [_("Reported not delivered"), report.undelivered]
    if report.linked:
        yield [_("Clicked"), report.clicked if report.visits is None else report.visits]
    yield [_("Coupons taken"), report.claimed]
    yield [_("Coupons used"), report.redeemed]
    yield [_("Cost of messages, yuan"), _yuan(report.messages)]
    for name, credit in ((_("Direct"), report.direct), (_("Influenced"), report.influenced)):
        yield [_("%(name)s: orders", name=name), credit.orders]
        yield [_("%(name)s: money net of refunds, yuan", name=name), _yuan(credit.money)]
        yield [_("%(name)s: coupons, yuan", name=name), _yuan(credit.coupons)]
        yield [_("%(name)s: profit, yuan", name=name), _yuan(report.profit(credit))]
    if report.alarming:
        yield [_("Incremental"), _("not to be trusted: people were not shared out as planned")]
        return
    for name, value, scale in (
        (_("Incremental: share of buyers, points"), report.share, 0.01),
        (_("Incremental: orders"), report.extra_orders, 1),
        (_("Incremental: money, yuan"), report.extra_money, 100),
        (_("Incremental: profit, yuan"), report.extra_profit, 100),
    ):
        if value is None or not report.enough:
            yield [name, _("not enough data")]
        else:
            yield [name, *(f"{one / scale:.2f}" for one in (value.value, value.low, value.high))]


# ── Several pushes beside one another ───────────────────────────────────────────────────────────────────────────────


def _chosen_runs() -> list[int]:
    said = [int(one) for one in request.args.getlist("run") if _NUMBERS.fullmatch(one) and int(one) < 2**63]
    return list(dict.fromkeys(said))[:BESIDE]


class _Beside:
    """A push in the comparison: its report, and how it differs from the first one."""

    def __init__(self, run: Run, push: Push, report: queries.Report, first: queries.Report | None) -> None:
        self.run, self.push, self.report = run, push, report
        # What a push caused for each person written to: that alone can be compared where the audiences differ.
        self.lift = rules.share_difference(report.treated, report.control) if report.enough else None
        self.money = rules.money_difference(report.treated, report.control) if report.enough else None
        self.clicks = rules.Arm(people=report.sent, buyers=report.clicked)
        self.click_difference = self.lift_difference = self.money_difference = None
        if first is not None:
            others = rules.Arm(people=first.sent, buyers=first.clicked)
            self.click_difference = rules.share_difference(self.clicks, others)
            sound = first.enough and not first.alarming and not report.alarming
            base = rules.share_difference(first.treated, first.control) if sound else None
            if self.lift is not None and base is not None:
                self.lift_difference = rules.difference_of(self.lift, base)
            spent = rules.money_difference(first.treated, first.control) if sound else None
            if self.money is not None and spent is not None:
                self.money_difference = rules.difference_of(self.money, spent)


def _beside() -> list[_Beside]:
    found: list[_Beside] = []
    with time_limit(PATIENCE):
        for one, push in queries.get_runs(_chosen_runs()):
            report = queries.report(one, push)
            found.append(_Beside(one, push, report, found[0].report if found else None))
    return found


@bp.get("/compare")
@staff("results.view")
def compare() -> Any:
    chosen = _chosen_runs()
    choices = queries.begun()
    known = {run.id for run, _push in choices}
    rows = _beside() if len(chosen) > 1 else []
    choices += queries.get_runs([run_id for run_id in chosen if run_id not in known])
    return render_template(
        "results/compare.html",
        tabs_on=_tabs("compare"),
        rows=rows if len(rows) > 1 else [],
        chosen=chosen,
        choices=choices,
        most=BESIDE,
    )


@bp.get("/compare.csv")
@staff("results.view")
def compare_csv() -> Any:
    head = [
        _("Push"), _("Started"), _("Messages sent"), _("Clicked"), _("Written to"), _("Of them bought"), _("Held out"),
        _("Of them bought"), _("More buyers, points"), _("from"), _("to"), _("More than the first, points"), _("from"),
        _("to"), _("Direct: money, yuan"), _("Influenced: money, yuan"),
    ]  # fmt: skip
    return csv_response("pushes-side-by-side.csv", head, [_beside_line(one) for one in _beside()])


def _beside_line(one: _Beside) -> list[Any]:
    report = one.report
    return [
        one.push.name,
        clock.wall_text(one.run.started_at),
        report.sent,
        report.clicked if report.linked else None,
        report.treated.people,
        report.treated.buyers,
        report.control.people,
        report.control.buyers,
        *_points(one.lift),
        *_points(one.lift_difference),
        _yuan(report.direct.money),
        _yuan(report.influenced.money),
    ]


def _points(found: rules.Interval | None) -> list[str]:
    return ["", "", ""] if found is None else [f"{100 * one:.3f}" for one in (found.value, found.low, found.high)]


# ── By journey ──────────────────────────────────────────────────────────────────────────────────────────────────────


@bp.get("/journeys")
@staff("results.view")
def journeys() -> Any:
    first, last = period()
    with time_limit(PATIENCE):
        rows = queries.by_journey(*instants(first, last))
    return render_template(
        "results/journeys.html",
        tabs_on=_tabs("journeys"),
        rows=rows,
        first=first,
        last=last,
        quick=_quick(),
        today=clock.today(),
    )


@bp.get("/journeys.csv")
@staff("results.view")
def journeys_csv() -> Any:
    first, last = period()
    head = [
        _("Journey"), _("Messages sent"), _("Clicked"), _("Direct: orders"), _("Direct: money, yuan"),
        _("Influenced: orders"), _("Influenced: money, yuan"), _("Incremental: money, yuan"), _("from"), _("to"),
    ]  # fmt: skip
    rows = [
        [
            one.name,
            one.sent,
            one.clicked,
            one.direct.orders,
            _yuan(one.direct.money),
            one.influenced.orders,
            _yuan(one.influenced.money),
            *([_yuan(x) for x in (one.extra_money.value, one.extra_money.low, one.extra_money.high)]
              if one.enough and one.extra_money else [_("not enough data"), "", ""]),
        ]
        for one in queries.by_journey(*instants(first, last))
    ]  # fmt: skip
    return csv_response(f"journeys-{first}-{last}.csv", head, rows)


# ── The funnel over the seven actions ───────────────────────────────────────────────────────────────────────────────


def _among() -> tuple[funnels.Among, str, str]:
    """Whom the funnel is asked of: the scope, the name of its filter, and what it is called."""
    if (run_id := _number("run")) is not None:
        found, push = _run(run_id)
        return funnels.Among(run=found), "run", push.name
    if (group_id := _number("group")) is not None:
        name = audiences.group_name(group_id)
        if name is None:
            raise NotFound
        return funnels.Among(group_id=group_id), "group", name
    if (audience_id := _number("audience")) is not None:
        audience = audiences.get_audience(audience_id)
        return funnels.Among(audience=parse_audience(audience.definition)), "audience", audience.name
    return funnels.Among(), "", ""


def _steps(among: funnels.Among, first: date, last: date) -> list[dict[str, Any]]:
    with time_limit(PATIENCE):
        return labels.funnel_rows(funnels.funnel(among, *instants(first, last)))


@bp.get("/funnel")
@staff("results.view")
def funnel() -> Any:
    among, kind, name = _among()
    first, last = period()
    return render_template(
        "results/funnel.html",
        tabs_on=_tabs("funnel"),
        steps=_steps(among, first, last),
        kind=kind,
        name=name,
        first=first,
        last=last,
        quick=_quick(),
        today=clock.today(),
        groups=audiences.group_choices(),
        audiences=audiences.audience_choices(),
        runs=queries.begun(30),
    )


@bp.get("/funnel.csv")
@staff("results.view")
def funnel_csv() -> Any:
    among, _kind, name = _among()
    first, last = period()
    return csv_response(
        f"seven-actions-{first}-{last}.csv",
        [_("Step"), _("Members"), _("Did the step before as well"), _("Of the step before"), _("Whom")],
        [
            [row["label"], row["value"], row["after"], row["share"], name or _("Everybody")]
            for row in _steps(among, first, last)
        ],
    )


# ── Cohorts ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _cohorts() -> tuple[Sequence[rules.Cohort], str]:
    today = clock.today()
    among: list[Any] = []
    name = ""
    if (audience_id := _number("audience")) is not None:
        audience = audiences.get_audience(audience_id)
        among, name = audiences.conditions(parse_audience(audience.definition)), audience.name
    first = today.replace(day=1)
    for _turn in range(MONTHS - 1):
        first = (first - timedelta(days=1)).replace(day=1)
    with time_limit(PATIENCE):
        found = cohort_tables.cohorts(first, today, among)
    # Months before the shop's first customer say nothing.
    return list(dropwhile(lambda one: not one.people, found)), name


def _after(cohort: rules.Cohort) -> int:
    """How many months have begun since a cohort's own."""
    today = clock.today()
    return (today.year - cohort.month.year) * 12 + today.month - cohort.month.month


@bp.get("/cohorts")
@staff("results.view")
def cohorts() -> Any:
    found, name = _cohorts()
    people = sum(one.people for one in found if _after(one) >= 2)
    again = sum(one.again.get(1, 0) for one in found if _after(one) >= 2)
    return render_template(
        "results/cohorts.html",
        tabs_on=_tabs("cohorts"),
        rows=[(one, [_cell(one, after) for after in range(MONTHS)]) for one in found],
        months=range(MONTHS),
        any=sum(one.people for one in found),
        people=people,
        again=again,
        name=name,
        audiences=audiences.audience_choices(),
    )


def _cell(cohort: rules.Cohort, after: int) -> dict[str, Any] | None:
    """A cell: None for months that have not begun, and for months without members."""
    if after > _after(cohort) or not cohort.people:
        return None
    share = cohort.share(after)
    # Eight shades; a quarter of the members and more is the darkest.
    return {
        "people": cohort.again.get(after, 0),
        "share": share,
        "shade": min(int(share * 32), 7) + 1 if share else 0,
        "open": after == _after(cohort),
    }


@bp.get("/cohorts.csv")
@staff("results.view")
def cohorts_csv() -> Any:
    found, _name = _cohorts()
    head = [_("Month of the first order"), _("Members"), *(_("Month %(n)s", n=n) for n in range(MONTHS))]
    rows = [
        [
            one.month.isoformat()[:7],
            one.people,
            *("" if (cell := _cell(one, after)) is None else cell["people"] for after in range(MONTHS)),
        ]
        for one in found
    ]
    return csv_response("cohorts.csv", head, rows)


# ── How it is measured ──────────────────────────────────────────────────────────────────────────────────────────────


def _measure_form() -> tuple[Any, list[tuple[Any, str]]]:
    """The form, with a field for the price of each account; and those fields' names."""
    accounts = channels.accounts()
    prices = services.measure().prices
    fields = {f"price_{account.id}": PriceField(channels.shown_name(account)) for account in accounts}
    wanted = type("MeasureForm", (MeasureForm,), dict(fields))
    said = services.measure()
    form = wanted(
        touch_days=said.touch_days,
        margin=said.margin,
        **{f"price_{account.id}": prices.get(account.id) for account in accounts},
    )
    return form, [(account, f"price_{account.id}") for account in accounts]


def _measured(prices: list[tuple[Account, str]]) -> Any:
    """What the form of the measure shows: the prices of accounts that it does not have are not in it."""
    said = services.measure()
    return said.touch_days, said.margin, [(account.id, said.prices.get(account.id)) for account, _name in prices]


@bp.get("/measure")
@staff("results.view")
def measure() -> Any:
    form, prices = _measure_form()
    editions.show(form, _measured(prices))
    return render_template("results/measure.html", tabs_on=_tabs("measure"), form=form, prices=prices)


@bp.post("/measure")
@staff("results.edit")
def set_measure() -> Any:
    form, prices = _measure_form()
    if not form.validate():
        page = render_template("results/measure.html", tabs_on=_tabs("measure"), form=form, prices=prices)
        return page, 422
    if editions.overtaken(form, lambda: _measured(prices), by=("results.measure_changed",)):
        return render_template("results/measure.html", tabs_on=_tabs("measure"), form=form, prices=prices), 409
    said = {account.id: form[name].data for account, name in prices if form[name].data is not None}
    services.set_measure(services.Measure(form.touch_days.data, form.margin.data, said))
    flash(_("Saved. Pushes that have begun keep what they began with."))
    return redirect(url_for(".measure"), 303)


# ── Reports by e-mail ───────────────────────────────────────────────────────────────────────────────────────────────


def _report_form(**values: Any) -> ReportForm:
    form = ReportForm(**values)
    channels.accounts()
    form.account_id.choices = [(account.id, channels.shown_name(account)) for account in mailing.mail_accounts()]
    present = set(values.get("staff_ids") or [])
    form.staff_ids.choices = [
        (person.id, f"{person.name} ({person.email})")
        for person in colleagues.everyone()
        if person.disabled_at is None or person.id in present
    ]
    return form


def _reports_page(form: ReportForm, status: int = 200) -> Any:
    plans = mailing.plans()
    with time_limit(PATIENCE):
        # What a report says, for whoever has none yet.
        letter = None if plans else mailing.sample()
    page = render_template(
        "results/reports.html",
        tabs_on=_tabs("reports"),
        plans=plans,
        copies=mailing.copies_of([plan.id for plan in plans]),
        names=colleagues.names(),
        plan_names={plan.id: plan.name for plan in plans},
        form=form,
        letter=letter,
        labels=labels,
    )
    return page, status


@bp.get("/reports")
@staff("results.view")
def reports() -> Any:
    return _reports_page(once.show(_report_form(name=_("What pushes brought"), locale="zh_Hans")))


@bp.post("/reports")
@staff("results.edit")
def add_report() -> Any:
    form = _report_form()
    if not form.validate():
        return _reports_page(form, 422)
    if once.done_before():
        return redirect(url_for(".reports"), 303)
    return _saved(form, None)


def _saved(form: ReportForm, plan: Any) -> Any:
    try:
        saved = mailing.save(
            plan,
            form.name.data,
            Rhythm(form.rhythm.data),
            form.account_id.data,
            form.locale.data,
            form.staff_ids.data,
            acting_staff().id,
        )
    except Refusal as refusal:
        form.refuse("staff_ids" if isinstance(refusal, mailing.NobodyToTell) else "account_id", refusal.message)
        return _reports_page(form, 422) if plan is None else _report_page(plan, form, 422)
    flash(_("The report is saved. It goes in the morning after each week or month."))
    return redirect(url_for(".report", plan_id=saved.id), 303)


def _report_page(plan: Any, form: ReportForm, status: int = 200) -> Any:
    with time_limit(PATIENCE):
        letter = mailing.preview(plan)
    page = render_template(
        "results/report.html",
        plan=plan,
        letter=letter,
        form=form,
        copies=mailing.copies_of([plan.id]),
        names=colleagues.names(),
        labels=labels,
    )
    return page, status


@bp.get("/reports/<int:plan_id>")
@staff("results.view")
def report(plan_id: int) -> Any:
    plan = mailing.get_plan(plan_id)
    form = _report_form(
        name=plan.name,
        rhythm=plan.rhythm.value,
        locale=plan.locale,
        account_id=plan.account_id,
        staff_ids=plan.staff_ids,
    )
    editions.show(form, _shown(plan))
    return _report_page(plan, form)


def _shown(plan: ReportPlan) -> Any:
    return plan.name, plan.rhythm, plan.locale, plan.account_id, plan.staff_ids


@bp.post("/reports/<int:plan_id>")
@staff("results.edit")
def change_report(plan_id: int) -> Any:
    plan = mailing.get_plan(plan_id)
    form = _report_form()
    if not form.validate():
        return _report_page(plan, form, 422)
    if editions.overtaken(form, lambda: _shown(plan), plan, by=("report.saved",)):
        return _report_page(plan, form, 409)
    return _saved(form, plan)


@bp.post("/reports/<int:plan_id>/pause")
@staff("results.edit")
def pause_report(plan_id: int) -> Any:
    plan = mailing.get_plan(plan_id)
    mailing.pause(plan, plan.paused_at is None)
    return redirect(url_for(".report", plan_id=plan_id), 303)


@bp.post("/reports/<int:plan_id>/remove")
@staff("results.edit")
def remove_report(plan_id: int) -> Any:
    mailing.remove(mailing.get_plan(plan_id))
    flash(_("The report is removed. It goes to nobody any more."))
    return redirect(url_for(".reports"), 303)
