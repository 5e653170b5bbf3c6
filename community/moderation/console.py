"""Pages for staff: the queue of texts to decide about, silences and bans, and the words."""

from __future__ import annotations

from typing import Any

from apiflask import APIBlueprint
from flask import flash, redirect, render_template, request, url_for

from community.groups import queries as groups
from kernel import audit, clock, editions, once
from kernel.auth import acting_staff, may, safe_next, staff
from kernel.errors import Refusal
from kernel.i18n import gettext as _
from kernel.i18n import ngettext
from kernel.pages import capped_count, chosen, csv_response, keyset, row_or_none, search_chip, searched, ticked
from membership.members import queries as members
from membership.members.models import Member

from . import labels, queries, rules, services, subjects
from .forms import SanctionForm, WordsForm
from .models import CaseReason, CaseState, SanctionKind, WordEffect

bp = APIBlueprint(
    "moderation_console", __name__, url_prefix="/console", template_folder="templates", enable_openapi=False
)


def _group_id() -> int | None:
    return row_or_none(request.args.get("group"))


def _follows(consequence: rules.Consequence) -> None:
    """Tell staff what the rule made follow."""
    if consequence is rules.Consequence.SILENCE:
        flash(_("It was their third within a month, so they cannot write for a week."), "caution")
    elif consequence is rules.Consequence.BAN:
        flash(_("They had been silenced twice before, so they are out of all groups."), "caution")


# ── The queue ───────────────────────────────────────────────────────────────────────────────────────────────────────


def _narrowed_by() -> tuple[CaseState, str, CaseReason | None, int | None, str]:
    """What the queue is narrowed to: the state, the kind of text, the reason, the group, the words."""
    kind = request.args.get("kind", "")
    return (
        chosen(CaseState, "state") or CaseState.OPEN,
        kind if kind in subjects.labels() else "",
        chosen(CaseReason, "reason"),
        _group_id(),
        searched(),
    )


@bp.get("/moderation")
@staff("moderation.view")
def index() -> Any:
    state, kind, reason, group_id, words = _narrowed_by()
    found = queries.listing(state, kind, reason, group_id, words)
    page = keyset(found, queries.order_of(state), request.args.get("cursor"))
    chips = []
    if kind:
        chips.append(("kind", kind, str(subjects.labels()[kind])))
    if reason:
        chips.append(("reason", reason.value, str(labels.REASONS[reason])))
    if group_id and (group := groups.find_group(group_id)):
        chips.append(("group", str(group_id), group.name))
    chips += search_chip(words)
    return render_template(
        "moderation/index.html",
        page=page,
        rows=queries.rows_of(page.rows),
        count=capped_count(found),
        state=state,
        chosen=chips,
        waiting=queries.open_cases(),
        labels=labels,
        kinds=subjects.labels(),
    )


@bp.post("/moderation/export")
@staff("members.export")
def export() -> Any:
    wanted = _narrowed_by()
    rows = queries.case_rows(queries.listing(*wanted), wanted[0])
    audit.record(
        "cases.exported", "moderation_case", None, after={"number": len(rows), "filter": dict(request.args.items())}
    )
    header = [
        _("Text"), _("Kind"), _("Why it is here"), _("Reports"), _("Written by"), _("Group"), _("Stands here since"),
        _("Decided"),
    ]  # fmt: skip
    kinds = subjects.labels()
    return csv_response(
        f"moderation-{clock.today().isoformat()}.csv",
        header,
        (
            (
                row.shown.text or _("A picture without words") if row.shown else _("Their author took it back."),
                kinds[row.case.kind],
                f"{labels.REASONS[row.case.reason]}: “{row.case.word}”"
                if row.case.word
                else labels.REASONS[row.case.reason],
                len(row.complaints),
                row.member.shown_name,
                row.group.name,
                clock.wall_text(row.case.opened_at),
                clock.wall_text(row.case.decided_at),
            )
            for row in rows
        ),
    )


@bp.post("/moderation/<int:case_id>/uphold")
@staff("moderation.decide")
def uphold(case_id: int) -> Any:
    follows = services.decide(case_id, True, acting_staff().id, request.form.get("note", ""))
    flash(_("Taken down. Its author sees that it does not show."), "positive")
    _follows(follows)
    return redirect(safe_next(request.form.get("next"), url_for(".index")))


@bp.post("/moderation/<int:case_id>/dismiss")
@staff("moderation.decide")
def dismiss(case_id: int) -> Any:
    services.decide(case_id, False, acting_staff().id, request.form.get("note", ""))
    flash(_("It stands, and members see it."), "positive")
    return redirect(safe_next(request.form.get("next"), url_for(".index")))


@bp.post("/moderation/decide")
@staff("moderation.decide")
def decide_many() -> Any:
    upheld, done = request.form.get("act") == "uphold", 0
    for case_id in ticked(200):
        try:
            services.decide(case_id, upheld, acting_staff().id)
        except services.DecidedAlready:
            continue
        done += 1
    flash(ngettext("%(num)s text decided.", "%(num)s texts decided.", done), "positive")
    return redirect(url_for(".index"))


# ── Silences and bans ───────────────────────────────────────────────────────────────────────────────────────────────


@bp.get("/moderation/sanctions")
@staff("moderation.view")
def sanctions() -> Any:
    ended, words = request.args.get("view") == "ended", searched()
    found = queries.sanctions(words, ended)
    page = keyset(found, queries.SANCTION_ORDER, request.args.get("cursor"))
    return render_template(
        "moderation/sanctions.html",
        page=page,
        rows=[row[:4] for row in page.rows],
        count=capped_count(found),
        ended=ended,
        chosen=search_chip(words),
        labels=labels,
    )


@bp.post("/moderation/sanctions/export")
@staff("members.export")
def export_sanctions() -> Any:
    rows = queries.sanction_rows(searched(), request.args.get("view") == "ended")
    audit.record("sanctions.exported", "member", None, after={"number": len(rows)})
    header = [
        _("Member"),
        _("What they may not do"),
        _("In which group"),
        _("Until"),
        _("Reason"),
        _("By"),
        _("Time"),
    ]
    return csv_response(
        "sanctions.csv",
        header,
        [
            (
                member.shown_name,
                labels.SANCTIONS[row.kind],
                group.name if group else _("In every group"),
                clock.wall_text(row.until) if row.until else _("Until it is lifted"),
                row.reason,
                by or _("The rule"),
                clock.wall_text(row.at),
            )
            for row, member, group, by in rows
        ],
    )


def _sanction_form(member: Member) -> SanctionForm:
    form = SanctionForm()
    form.group.choices = [
        (0, _("In every group")),
        *((group.id, group.name) for _seat, group in groups.groups_of(member.id)),
    ]
    return form


def _sanction_page(form: SanctionForm, member: Member, status: int = 200) -> Any:
    upheld, dismissed = queries.history(member.id)
    return render_template(
        "moderation/sanction.html", form=form, member=member, upheld=upheld, dismissed=dismissed
    ), status


@bp.get("/members/<int:member_id>/sanction")
@staff("moderation.decide")
def sanction(member_id: int) -> Any:
    member = members.get_member(member_id)
    return _sanction_page(once.show(_sanction_form(member)), member)


@bp.post("/members/<int:member_id>/sanction")
@staff("moderation.decide")
def sanction_post(member_id: int) -> Any:
    member = members.get_member(member_id)
    form = _sanction_form(member)
    if not form.validate():
        return _sanction_page(form, member, 422)
    if once.done_before():
        return redirect(url_for(".sanctions"))
    by, reason = acting_staff().id, form.reason.data or ""
    if form.kind.data == SanctionKind.BAN.value:
        services.ban(member.id, reason, by)
        flash(_("%(name)s is out of all groups.", name=member.shown_name), "positive")
    else:
        until = services.until_after(int(form.days.data) if form.days.data else None)
        services.silence(member.id, form.group.data or None, until, reason, by)
        flash(_("%(name)s can read but not write.", name=member.shown_name), "positive")
    return redirect(url_for(".sanctions"))


@bp.post("/moderation/sanctions/<int:sanction_id>/lift")
@staff("moderation.decide")
def lift(sanction_id: int) -> Any:
    if services.lift(sanction_id, acting_staff().id).kind is SanctionKind.BAN:
        flash(_("Lifted. They were not put back into any group; they may join again."), "positive")
    else:
        flash(_("Lifted. They may write again."), "positive")
    return redirect(safe_next(request.form.get("next"), url_for(".sanctions")))


def member_sanctions(member: Member, **_values: Any) -> str:
    """What a member may not do at present, on their page (slot `member.side`)."""
    if not may("moderation.view"):
        return ""
    rows = queries.sanction_rows(member_id=member.id)
    return render_template("moderation/_member.html", member=member, rows=rows, labels=labels)


# ── Words ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@bp.get("/moderation/words")
@staff("moderation.view")
def words() -> Any:
    form = WordsForm(formdata=None)
    kept = queries.stop_words()
    form.refused.data = "\n".join(row.word for row in kept if row.effect is WordEffect.REFUSE)
    form.held.data = "\n".join(row.word for row in kept if row.effect is WordEffect.HOLD)
    editions.show(form, _shown())
    return render_template("moderation/words.html", form=form, rules=rules)


def _shown() -> Any:
    return sorted((row.word, row.effect.value) for row in queries.stop_words())


@bp.post("/moderation/words")
@staff("moderation.decide")
def save_words() -> Any:
    form = WordsForm()
    if not form.validate():
        return render_template("moderation/words.html", form=form, rules=rules), 422
    if editions.overtaken(form, _shown, by=("stop_words.saved",)):
        return render_template("moderation/words.html", form=form, rules=rules), 409
    try:
        services.save_words(form.refused.data or "", form.held.data or "")
    except Refusal as refusal:
        form.refuse("refused", refusal)
        return render_template("moderation/words.html", form=form, rules=rules), 422
    flash(_("Saved. They hold for what is written from now on."), "positive")
    return redirect(url_for(".words"))
