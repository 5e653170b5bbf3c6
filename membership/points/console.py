"""Pages for staff: what is owed in points, the ledger, the rewards, the settings, and one member's points."""

from __future__ import annotations

import secrets
from functools import partial
from typing import Any

from apiflask import APIBlueprint
from flask import flash, redirect, render_template, request, url_for

from kernel import audit, clock, editions, once, pages
from kernel.auth import Role, acting_staff, staff
from kernel.errors import InputInvalid
from kernel.i18n import day, ngettext, number
from kernel.i18n import gettext as _
from kernel.staff.services import names as staff_names
from membership.members import queries as members
from membership.members import rules as member_rules
from membership.orders.formats.sheet import FileUnreadable
from membership.tiers import labels as tier_labels

from . import labels, queries, rules, services
from .forms import AdjustForm, BatchForm, ProgramForm, ReasonForm, RewardForm, ledger_filter
from .models import Kind, PointsReward
from .queries import LedgerFilter

bp = APIBlueprint("points_console", __name__, url_prefix="/console", template_folder="templates", enable_openapi=False)


def _tabs(here: str) -> list[tuple[Any, str, bool]]:
    places = [
        ("index", _("Overview")),
        ("ledger", _("Ledger")),
        ("rewards", _("Rewards")),
        ("redemptions", _("Redeemed rewards")),
        ("liability", _("Liability")),
        ("trial_balance", _("Trial balance")),
    ]
    return [(label, url_for(f".{endpoint}"), endpoint == here) for endpoint, label in places]


# ── Overview, ledger, reports ───────────────────────────────────────────────────────────────────────────────────────


@bp.get("/points")
@staff("points.view")
def index() -> Any:
    program = queries.program()
    months = queries.by_month(2)
    page, _count = queries.ledger_page(LedgerFilter())
    rows = page.rows[:10]
    return render_template(
        "points/index.html",
        tabs_on=_tabs("index"),
        program=program,
        held=queries.outstanding(),
        now=months[-1],
        before=months[0],
        rows=rows,
        numbers=queries.order_numbers(row[0] for row in rows),
        rewards=queries.rewards(True),
        backlog=services.backlog_after() is not None,
        value=rules.value_of,
        labels=labels,
    )


def _chips(wanted: LedgerFilter) -> list[tuple[str, str, str]]:
    chips = pages.search_chip(wanted.q)
    if wanted.kind is not None:
        chips.append(("kind", wanted.kind, str(labels.KINDS[wanted.kind])))
    if (days := request.args.get("days", "")) in labels.SPANS:
        chips.append(("days", days, str(labels.SPANS[days])))
    elif wanted.since is not None:
        chips.append(("since", wanted.since.isoformat(), _("From %(day)s", day=day(wanted.since))))
    if wanted.until is not None:
        chips.append(("until", wanted.until.isoformat(), _("Until %(day)s", day=day(wanted.until))))
    return chips


@bp.get("/points/ledger")
@staff("points.view")
def ledger() -> Any:
    wanted = ledger_filter(request.args)
    page, count = queries.ledger_page(wanted, request.args.get("cursor"), request.args.get("sort", ""))
    return render_template(
        "points/ledger.html",
        tabs_on=_tabs("ledger"),
        page=page,
        count=count,
        numbers=queries.order_numbers(row[0] for row in page.rows),
        names=staff_names(),
        chips_on=_chips(wanted),
        labels=labels,
    )


@bp.post("/points/ledger/export")
@staff("members.export")
def ledger_export() -> Any:
    audit.record("points.exported", "member", None, after={"filter": dict(request.args.items()), "phones": False})
    header = [_("When"), _("Member"), _("Phone"), _("What"), _("Points"), _("Reason"), _("Source"), _("Number")]

    def cells(row: Any, member: Any) -> tuple[Any, ...]:
        return (
            clock.local(row.at).strftime("%Y-%m-%d %H:%M:%S"),
            member.shown_name,
            member_rules.masked_phone(member.phone) if member.phone else "",
            labels.KINDS[row.type],
            row.points,
            row.reason,
            row.source_type,
            row.source_id,
        )

    rows = queries.all_ledger(ledger_filter(request.args))
    return pages.csv_response(
        f"points-{clock.today().isoformat()}.csv", header, (cells(row, member) for row, member in rows)
    )


@bp.get("/points/liability")
@staff("points.view")
def liability() -> Any:
    program = queries.program()
    months = queries.by_month(12)
    expired, ended = queries.breakage(months)
    return render_template(
        "points/liability.html",
        tabs_on=_tabs("liability"),
        program=program,
        held=queries.outstanding(),
        by_expiry=queries.by_expiry(),
        months=months,
        expired=expired,
        ended=ended,
        value=rules.value_of,
        labels=labels,
    )


@bp.get("/points/liability.csv")
@staff("points.view")
def liability_csv() -> Any:
    header = [
        _("Month"), _("Earned"), _("Awarded"), _("Spent"), _("Given back"), _("Lapsed"), _("Taken back"),
        _("Changed by hand"),
    ]  # fmt: skip
    rows = [
        (
            one.month.strftime("%Y-%m"), one.earned, one.awarded, one.spent, one.returned, one.expired, one.clawed_back,
            one.adjusted,
        )
        for one in queries.by_month(36)
    ]  # fmt: skip
    return pages.csv_response(f"points-by-month-{clock.today().isoformat()}.csv", header, rows)


@bp.get("/points/trial-balance")
@staff("points.view")
def trial_balance() -> Any:
    lines = queries.trial_balance()
    apart = queries.unreconciled()
    return render_template(
        "points/trial_balance.html",
        tabs_on=_tabs("trial_balance"),
        lines=lines,
        total=sum(line.total for line in lines),
        apart=apart,
        unbalanced=queries.unbalanced(),
        due=services.due_count(),
        labels=labels,
    )


# ── Settings ────────────────────────────────────────────────────────────────────────────────────────────────────────


def _settings_page(form: ProgramForm, preview: services.Preview | None = None, status: int = 200) -> Any:
    return render_template(
        "points/settings.html",
        form=form,
        preview=preview,
        versions=queries.versions(),
        authors=staff_names(),
        rank_word=tier_labels.rank_word,
        labels=labels,
    ), status


@bp.get("/points/settings")
@staff("points.edit")
def settings() -> Any:
    form = ProgramForm(formdata=None)
    form.show(queries.program())
    editions.show(form, queries.program())
    return _settings_page(form)


@bp.post("/points/settings")
@staff("points.edit")
def settings_post() -> Any:
    form = ProgramForm()
    if not form.validate():
        return _settings_page(form, status=422)
    draft = form.program()
    try:
        if request.form.get("act") != "save":
            return _settings_page(form, services.preview(draft))
        if editions.overtaken(form, queries.program_anew, by=("points.saved",)):
            return _settings_page(form, status=409)
        services.save_program(draft, acting_staff().id)
    except services.ProgramInvalid as refusal:
        form.refuse_mistakes(refusal.mistakes)
        return _settings_page(form, status=422)
    flash(_("Saved. What has been earned keeps its terms."), "positive")
    return redirect(url_for(".index"))


# ── Rewards ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@bp.get("/points/rewards")
@staff("points.view")
def rewards() -> Any:
    rows = queries.rewards()
    return render_template(
        "points/rewards.html",
        tabs_on=_tabs("rewards"),
        rows=rows,
        taken=queries.taken_counts([row.reward.id for row in rows]),
        rank_word=tier_labels.rank_word,
        program=queries.program(),
        value=rules.value_of,
        labels=labels,
    )


def _reward_form(**values: Any) -> RewardForm:
    form = RewardForm(**values)
    form.thing.choices = {
        _("Coupons"): [(f"offer:{offer_id}", name) for offer_id, name in queries.offer_choices()],
        _("Gifts"): [(f"gift:{gift_id}", name) for gift_id, name in queries.gift_choices()],
    }
    form.min_rank.choices = [(0, _("Everybody")), *((rank, tier_labels.rank_word(rank)) for rank in range(1, 5))]
    return form


def _reward_editor(form: RewardForm, reward: PointsReward | None = None, status: int = 200) -> Any:
    return render_template("points/reward_edit.html", form=form, reward=reward, labels=labels), status


def _keep_thing(form: RewardForm, reward: PointsReward) -> None:
    """An offer that has ended meanwhile stays to be chosen for the reward that gives it."""
    row = queries.reward_row(reward)
    value = f"offer:{reward.offer_id}" if reward.offer_id is not None else f"gift:{reward.gift_id}"
    groups: dict[str, list[tuple[str, str]]] = form.thing.choices  # type: ignore[assignment]
    if not any(value == known for group in groups.values() for known, _name in group):
        groups[_("Coupons") if reward.offer_id is not None else _("Gifts")].append((value, row.thing))


def _reward_submitted(form: RewardForm, reward: PointsReward | None = None) -> Any:
    if not form.validate():
        return _reward_editor(form, reward, 422)
    if reward is None and once.done_before():
        return redirect(url_for(".rewards"))
    if reward is not None and editions.overtaken(
        form, partial(_shown, reward), reward, by=("reward.created", "reward.changed")
    ):
        return _reward_editor(form, reward, 409)
    try:
        if reward is not None:
            services.edit_reward(reward.id, form.draft())
        else:
            services.create_reward(form.draft())
    except InputInvalid as refusal:
        form.refuse_each(refusal.errors)
        return _reward_editor(form, reward, 422)
    flash(
        _("Saved.") if reward is not None else _("The reward is there. Members see it on their points page."),
        "positive",
    )
    return redirect(url_for(".rewards"))


@bp.get("/points/rewards/new")
@staff("points.edit")
def new_reward() -> Any:
    return _reward_editor(once.show(_reward_form(formdata=None)))


@bp.post("/points/rewards/new")
@staff("points.edit")
def new_reward_post() -> Any:
    return _reward_submitted(_reward_form())


@bp.get("/points/rewards/<int:reward_id>/edit")
@staff("points.edit")
def edit_reward(reward_id: int) -> Any:
    reward = services.get_reward(reward_id)
    form = _reward_form(formdata=None)
    _keep_thing(form, reward)
    form.show(reward)
    editions.show(form, _shown(reward))
    return _reward_editor(form, reward)


def _shown(reward: PointsReward) -> Any:
    return [getattr(reward, column.key) for column in PointsReward.__table__.columns]


@bp.post("/points/rewards/<int:reward_id>/edit")
@staff("points.edit")
def edit_reward_post(reward_id: int) -> Any:
    reward = services.get_reward(reward_id)
    form = _reward_form()
    _keep_thing(form, reward)
    return _reward_submitted(form, reward)


def _reward_id() -> int | None:
    text = request.args.get("reward", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None


def _taken_sought() -> tuple[int | None, str, str]:
    """What the list of taken rewards is narrowed to: the reward, the state, the words."""
    state = request.args.get("state", "")
    return _reward_id(), state if state in ("taken", "undone") else "", pages.searched()


@bp.get("/points/redemptions")
@staff("points.view")
def redemptions() -> Any:
    reward_id, state, q = _taken_sought()
    page, count = queries.redemptions_page(reward_id, state, q, request.args.get("cursor"))
    chips = [("state", state, _("Undone") if state == "undone" else _("Redeemed"))] if state else []
    choices = [(row.reward.id, row.reward.name) for row in queries.rewards()]
    if reward_id is not None:
        chips.append(("reward", str(reward_id), dict(choices).get(reward_id, "–")))
    chips += pages.search_chip(q)
    return render_template(
        "points/redemptions.html",
        tabs_on=_tabs("redemptions"),
        page=page,
        count=count,
        choices=choices,
        chips_on=chips,
        labels=labels,
    )


@bp.post("/points/redemptions/export")
@staff("members.export")
def redemptions_export() -> Any:
    wanted = _taken_sought()
    audit.record("points.redemptions_exported", "member", None, after={"filter": dict(request.args.items())})
    header = [
        _("When"), _("Member"), _("Phone"), _("Reward"), _("Points"), _("State"), _("Undone"), _("Reason"),
    ]  # fmt: skip

    def cells(one: Any, reward: Any, member: Any) -> tuple[Any, ...]:
        return (
            clock.wall_text(one.at),
            member.shown_name,
            member_rules.masked_phone(member.phone),
            reward.name,
            one.points,
            _("Undone") if one.undone_at else _("Redeemed"),
            clock.wall_text(one.undone_at),
            one.undone_reason,
        )

    return pages.csv_response(
        f"points-redemptions-{clock.today().isoformat()}.csv",
        header,
        (cells(*row) for row in queries.all_redemptions(*wanted)),
    )


@bp.post("/points/redemptions/<int:redemption_id>/undo")
@staff("points.adjust")
def undo(redemption_id: int) -> Any:
    services.get_redemption(redemption_id)
    form = ReasonForm()
    if not form.validate():
        flash(_("Write a reason: nothing was changed."), "caution")
        return redirect(url_for(".redemptions"))
    services.undo_redemption(redemption_id, form.reason.data or "", acting_staff().id)
    flash(_("Undone: the points are back with the member."), "positive")
    return redirect(url_for(".redemptions"))


# ── One member ──────────────────────────────────────────────────────────────────────────────────────────────────────


def _cap() -> int | None:
    """How many points whoever is signed in may change a day; the owner as many as they like."""
    return None if acting_staff().role is Role.OWNER else queries.program().adjust_cap


def _member_page(member_id: int, form: AdjustForm | None = None, status: int = 200) -> Any:
    member = members.get_member(member_id)
    page = queries.history_page(member.id, request.args.get("cursor"))
    return render_template(
        "points/member.html",
        member=member,
        balance=queries.balance_of(member.id),
        lots=queries.lots_of(member.id),
        page=page,
        numbers=queries.order_numbers(page.rows),
        names=staff_names(),
        form=form or AdjustForm(formdata=None, key=secrets.token_urlsafe(12)),
        cap=_cap(),
        program=queries.program(),
        value=rules.value_of,
        now=clock.now(),
        state_at=rules.state_at,
        labels=labels,
        Kind=Kind,
    ), status


@bp.get("/members/<int:member_id>/points")
@staff("points.view")
def member(member_id: int) -> Any:
    return _member_page(member_id)


@bp.post("/members/<int:member_id>/points")
@staff("points.adjust")
def adjust(member_id: int) -> Any:
    who = members.get_member(member_id)
    form = AdjustForm()
    if not form.validate():
        return _member_page(who.id, form, 422)
    try:
        services.adjust(
            who.id, form.change, form.reason.data or "", key=form.key.data or "", staff_id=acting_staff().id, cap=_cap()
        )
    except (rules.NotEnoughPoints, rules.AdjustCapReached, rules.SourceUsed) as refusal:
        form.refuse("points", refusal)
        return _member_page(who.id, form, 422)
    points = form.points.data or 0
    flash(
        ngettext("%(count)s point given.", "%(count)s points given.", points, count=number(points))
        if form.change > 0
        else ngettext("%(count)s point taken away.", "%(count)s points taken away.", points, count=number(points)),
        "positive",
    )
    return redirect(url_for(".member", member_id=who.id))


# ── Awards by file ──────────────────────────────────────────────────────────────────────────────────────────────────


@bp.get("/points/batches")
@staff("points.view")
def batches() -> Any:
    return render_template("points/batches.html", rows=queries.batches(), names=staff_names())


def _batch_page(form: BatchForm, status: int = 200) -> Any:
    return render_template("points/batch_new.html", form=form), status


@bp.get("/points/batches/new")
@staff("points.edit")
def new_batch() -> Any:
    return _batch_page(once.show(BatchForm(formdata=None)))


@bp.post("/points/batches/new")
@staff("points.edit")
def new_batch_post() -> Any:
    form = BatchForm()
    upload = request.files.get("file")
    if upload is None or not upload.filename:
        form.refuse("file", _("Choose a CSV file."))
        return _batch_page(form, 422)
    if once.done_before():
        return redirect(url_for(".batches"))
    try:
        batch = services.award_file(upload.stream, upload.filename.replace("\x00", ""), acting_staff().id)
    except (FileUnreadable, services.TooManyAwards) as refusal:
        form.refuse("file", refusal)
        return _batch_page(form, 422)
    return redirect(url_for(".batch", batch_id=batch.id))


@bp.get("/points/batches/<int:batch_id>")
@staff("points.view")
def batch(batch_id: int) -> Any:
    return render_template("points/batch.html", batch=queries.get_batch(batch_id), names=staff_names(), labels=labels)


@bp.post("/points/batches/<int:batch_id>/rejects")
@staff("points.edit")
def batch_rejects(batch_id: int) -> Any:
    found = queries.get_batch(batch_id)
    audit.record("points.rejects_exported", "points_batch", found.id, after={"lines": len(found.rejects)})
    width = max((len(reject["row"]) for reject in found.rejects), default=0)
    header = [_("Line"), _("What is wrong"), *(_("Column %(number)s", number=place + 1) for place in range(width))]
    rows = [(reject["line"], labels.batch_fault(reject), *reject["row"]) for reject in found.rejects]
    return pages.csv_response(f"points-rejects-{found.id}.csv", header, rows)
