"""Drafts of the rules: writing them, trying them on everybody, comparing two, putting one in force."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from flask import flash, redirect, render_template, request, url_for

from kernel import audit, clock, editions, once, pages
from kernel.auth import acting_staff, may, staff
from kernel.i18n import day, number
from kernel.i18n import gettext as _
from kernel.staff.services import names as staff_names
from membership.members.queries import group_names
from membership.members.rules import masked_phone

from .. import labels, outcomes, queries, rules, services
from ..forms import PolicyForm, concerned_from
from ..models import SimulationState, TierDraft, Window
from . import bp


def _edit(form: PolicyForm, draft: TierDraft | None = None, status: int = 200) -> Any:
    page = render_template(
        "tiers/edit.html", form=form, draft=draft, ranks=rules.RANKS, rolling=Window.ROLLING, labels=labels
    )
    return page, status


@bp.get("/tiers/edit")
@staff("tiers.edit")
def edit() -> Any:
    return _edit(once.show(PolicyForm.of(queries.policy(), _("Draft of %(day)s", day=day(clock.today())))))


@bp.post("/tiers/edit")
@staff("tiers.edit")
def edit_post() -> Any:
    form = PolicyForm()
    if not form.validate_on_submit():
        return _edit(form, status=422)
    if once.done_before():
        return redirect(url_for(".drafts"), 303)
    try:
        draft = services.create_draft(form.draft_name.data, form.policy, acting_staff().id)
    except services.PolicyInvalid as refused:
        form.show(refused.mistakes)
        return _edit(form, status=422)
    return _kept(draft)


def _kept(draft: TierDraft) -> Any:
    if request.form.get("act") == "keep":
        flash(_("The draft is saved. Nothing has changed for anybody."), "info")
    else:
        services.start_simulation(draft.id)
    return redirect(url_for(".draft", draft_id=draft.id), 303)


@bp.get("/tiers/drafts")
@staff("tiers.view")
def drafts() -> Any:
    page = queries.drafts_page(request.args.get("cursor"))
    return render_template("tiers/drafts.html", page=page, authors=staff_names(), labels=labels)


def _bar(draft: TierDraft) -> dict[str, Any]:
    """What the progress bar shows: members, rate, time left."""
    spent = (clock.now() - draft.started_at).total_seconds() if draft.started_at else 0
    rate = draft.done / spent if spent >= 1 else 0
    left = (draft.total - draft.done) / rate if rate else None
    return {
        "draft": draft,
        "rate": _("%(number)s members a second", number=number(round(rate))) if rate else None,
        "left": _("about %(seconds)s s left", seconds=number(max(1, round(left)))) if left is not None else None,
        "finished": draft.state is not SimulationState.RUNNING,
    }


def _outcome(draft: TierDraft) -> outcomes.Outcome | None:
    """What a draft would do, against the version that was in force when it was tried; None before the end."""
    if draft.state is not SimulationState.DONE or draft.compared_id is None:
        return None
    before = queries.get_version(draft.compared_id)
    return outcomes.outcome(draft.result, before, services.policy_of(draft), queries.all_things())


@bp.get("/tiers/drafts/<int:draft_id>")
@staff("tiers.view")
def draft(draft_id: int) -> Any:
    found = services.get_draft(draft_id)
    policy = services.policy_of(found)
    force = queries.policy()
    return render_template(
        "tiers/draft.html",
        **_bar(found),
        policy=policy,
        changes=rules.differences(force, policy),
        outcome=_outcome(found),
        stale=found.state is SimulationState.DONE and found.compared_id != force.id and found.policy_id is None,
        authors=staff_names(),
        others=[one for one in queries.open_drafts(20) if one.id != found.id],
        names=labels.thing_names(queries.all_things()),
        groups=group_names(),
        labels=labels,
        ranks=(0, *rules.RANKS),
    )


@bp.get("/tiers/drafts/<int:draft_id>/progress")
@staff("tiers.view")
def draft_progress(draft_id: int) -> Any:
    found = services.get_draft(draft_id)
    return pages.bar(render_template("tiers/_progress.html", **_bar(found)), found.state is SimulationState.RUNNING)


@bp.get("/tiers/drafts/<int:draft_id>/edit")
@staff("tiers.edit")
def draft_edit(draft_id: int) -> Any:
    found = services.get_draft(draft_id)
    form = PolicyForm.of(services.policy_of(found), found.name)
    editions.show(form, _shown(found))
    return _edit(form, found)


def _shown(draft: TierDraft) -> Any:
    return draft.name, rules.as_terms(services.policy_of(draft))


@bp.post("/tiers/drafts/<int:draft_id>/edit")
@staff("tiers.edit")
def draft_edit_post(draft_id: int) -> Any:
    found = services.get_draft(draft_id)
    form = PolicyForm()
    if not form.validate_on_submit():
        return _edit(form, found, 422)
    if editions.overtaken(form, lambda: _shown(found), found, by=("tiers.draft_made",)):
        return _edit(form, found, 409)
    try:
        changed = services.edit_draft(draft_id, form.draft_name.data, form.policy)
    except services.PolicyInvalid as refused:
        form.show(refused.mistakes)
        return _edit(form, found, 422)
    return _kept(changed)


@bp.post("/tiers/drafts/<int:draft_id>/simulate")
@staff("tiers.edit")
def draft_simulate(draft_id: int) -> Any:
    services.start_simulation(draft_id)
    return redirect(url_for(".draft", draft_id=draft_id), 303)


@bp.post("/tiers/drafts/<int:draft_id>/publish")
@staff("tiers.edit")
def draft_publish(draft_id: int) -> Any:
    services.publish_draft(draft_id, acting_staff().id)
    flash(_("In force. Nobody is lowered by it; whoever reaches more now moves up within minutes."), "positive")
    return redirect(url_for(".index"), 303)


@bp.post("/tiers/drafts/<int:draft_id>/delete")
@staff("tiers.edit")
def draft_delete(draft_id: int) -> Any:
    services.delete_draft(draft_id)
    flash(_("The draft is thrown away."), "info")
    return redirect(url_for(".drafts"), 303)


@bp.get("/tiers/drafts/<int:draft_id>/members")
@staff("tiers.view")
def draft_members(draft_id: int) -> Any:
    found = services.get_draft(draft_id)
    wanted = concerned_from(request.args)
    page, count = queries.concerned_page(draft_id, wanted, request.args.get("cursor"))
    chips = pages.search_chip(wanted.q)
    if wanted.from_rank is not None:
        chips.append(("from", str(wanted.from_rank), _("From: %(tier)s", tier=labels.rank_word(wanted.from_rank))))
    if wanted.to_rank is not None:
        chips.append(("to", str(wanted.to_rank), _("To: %(tier)s", tier=labels.rank_word(wanted.to_rank))))
    return render_template(
        "tiers/draft_members.html",
        draft=found,
        wanted=wanted,
        page=page,
        count=count,
        chips_on=chips,
        labels=labels,
        ranks=(0, *rules.RANKS),
    )


@bp.post("/tiers/drafts/<int:draft_id>/members/export")
@staff("members.export")
def draft_members_export(draft_id: int) -> Any:
    services.get_draft(draft_id)
    wanted, open_phones = concerned_from(request.args), may("members.reveal")
    audit.record(
        "tiers.draft_exported",
        "tier_draft",
        draft_id,
        after={"filter": dict(request.args.items()), "phones": open_phones},
    )
    header = [
        _("Member"), _("Phone"), _("Tier now"), _("Tier then"), _("Spend of a year"), _("Falls on"), _("Falls to"),
        _("By the rules in force too"),
    ]  # fmt: skip

    def rows() -> Iterator[list[Any]]:
        for member, row in queries.concerned_export(draft_id, wanted):
            yield [
                member.shown_name,
                member.phone if open_phones else masked_phone(member.phone),
                f"VIP{row.from_rank}" if row.from_rank else "",
                f"VIP{row.to_rank}" if row.to_rank else "",
                f"{row.spend / 100:.2f}",
                clock.local(row.falls_at).date().isoformat() if row.falls_at else "",
                "" if row.falls_to is None else f"VIP{row.falls_to}" if row.falls_to else "0",
                (_("yes") if row.falls_anyway else _("no")) if row.falls_at else "",
            ]

    return pages.csv_response(f"tier-draft-{draft_id}.csv", header, rows())


@bp.get("/tiers/drafts/compare")
@staff("tiers.view")
def compare() -> Any:
    asked = [one for one in request.args.getlist("draft") if one.isascii() and one.isdigit() and len(one) < 18]
    if len(set(asked)) != 2:
        flash(_("Choose two drafts to see side by side."), "caution")
        return redirect(url_for(".drafts"))
    both = [services.get_draft(int(one)) for one in dict.fromkeys(asked)]
    policies = [services.policy_of(one) for one in both]
    return render_template(
        "tiers/compare.html",
        both=both,
        outcomes=[_outcome(one) for one in both],
        changes=rules.differences(*policies),
        names=labels.thing_names(queries.all_things()),
        groups=group_names(),
        labels=labels,
        ranks=(0, *rules.RANKS),
    )
