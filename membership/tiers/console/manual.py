"""Tiers set by hand: the list of them, and what stands on a member's page."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from flask import flash, redirect, render_template, request, url_for

from kernel import audit, clock, editions, once, pages
from kernel.auth import acting_staff, may, staff
from kernel.i18n import gettext as _
from kernel.pages import once_a_request
from kernel.ports import fill_slot
from kernel.staff.services import names as staff_names
from membership.members.models import Member
from membership.members.rules import masked_phone

from .. import labels, queries, rules, services
from ..forms import ManualTierForm, by_hand_from
from . import bp


@bp.get("/tiers/by-hand")
@staff("tiers.view")
def by_hand() -> Any:
    wanted = by_hand_from(request.args)
    page, count = queries.by_hand_page(wanted, request.args.get("cursor"))
    chips = pages.search_chip(wanted.q)
    if wanted.tier is not None:
        chips.append(("tier", str(wanted.tier), _("Tier: %(tier)s", tier=f"VIP{wanted.tier}")))
    if wanted.ends:
        chips.append(("ends", wanted.ends, _("Ends: %(when)s", when=labels.ENDS[wanted.ends])))
    return render_template(
        "tiers/by_hand.html",
        page=page,
        count=count,
        chips_on=chips,
        authors=staff_names(),
        labels=labels,
        ranks=rules.RANKS,
    )


@bp.post("/tiers/by-hand/export")
@staff("members.export")
def by_hand_export() -> Any:
    wanted, open_phones = by_hand_from(request.args), may("members.reveal")
    audit.record(
        "tiers.by_hand_exported", "member", None, after={"filter": dict(request.args.items()), "phones": open_phones}
    )
    authors = staff_names()
    header = [_("Member"), _("Phone"), _("Set by hand"), _("By orders"), _("Reason"), _("Until"), _("By"), _("Set on")]

    def rows() -> Iterator[list[Any]]:
        for member, row in queries.by_hand_export(wanted):
            yield [
                member.shown_name,
                member.phone if open_phones else masked_phone(member.phone),
                f"VIP{row.manual_rank}",
                f"VIP{row.own_rank}" if row.own_rank else "",
                row.manual_reason or "",
                clock.wall_text(row.manual_until),
                authors.get(row.manual_staff_id or 0, ""),
                clock.local(row.manual_at).date().isoformat() if row.manual_at else "",
            ]

    return pages.csv_response(f"tiers-by-hand-{clock.today().isoformat()}.csv", header, rows())


# ── On a member's page ──────────────────────────────────────────────────────────────────────────────────────────────


# Two places on a member's page show it.
_explained = once_a_request(queries.explanation)


@fill_slot("member.header", order=10)
def header(member: Member) -> str:
    """Tier, progress and the sentence why, under the member's name."""
    return render_template("tiers/_header.html", member=member, told=_explained(member.id), labels=labels)


@fill_slot("member.side", order=10)
def side(member: Member) -> str:
    """The explanation beside the member's past."""
    told = _explained(member.id)
    level = told.policy.level(told.rank)
    return render_template(
        "tiers/_side.html",
        member=member,
        told=told,
        lines=labels.benefit_lines(told.policy, level, labels.thing_names(queries.all_things())) if level else [],
        first=queries.benefits_of(member.id).priority_service,
        form=ManualTierForm(formdata=None),
        labels=labels,
        whys=labels.WHYS,
    )


@bp.get("/members/<int:member_id>/tier")
@staff("tiers.set_manually")
def manual(member_id: int) -> Any:
    held = _by_hand_now(queries.member(member_id).id)
    # What holds is shown, to be changed and not written anew.
    form = ManualTierForm(formdata=None, data=held)
    once.show(form)
    editions.show(form, held)
    return _manual(member_id, form)


def _by_hand_now(member_id: int) -> dict[str, Any]:
    row = queries.standing_of(member_id)
    if row is None or row.manual_rank is None:
        return {}
    return {"rank": row.manual_rank, "reason": row.manual_reason, "until": row.manual_until}


def _manual(member_id: int, form: ManualTierForm, status: int = 200) -> Any:
    member = queries.member(member_id)
    told = queries.explanation(member_id)
    return render_template("tiers/manual.html", member=member, told=told, form=form, labels=labels), status


@bp.post("/members/<int:member_id>/tier")
@staff("tiers.set_manually")
def manual_post(member_id: int) -> Any:
    form = ManualTierForm()
    if not form.validate_on_submit():
        return _manual(member_id, form, 422)
    member = queries.member(member_id)
    if once.done_before():
        return redirect(url_for("members_console.show", member_id=member.id), 303)
    if editions.overtaken(form, lambda: _by_hand_now(member.id), member, by=("tier.set_manually",)):
        return _manual(member_id, form, 409)
    try:
        services.set_manually(member_id, form.rank.data, form.reason.data, form.until.data, acting_staff().id)
    except services.ManualEndPast as refused:
        form.refuse("until", refused.message)
        return _manual(member_id, form, 422)
    flash(_("Kept at %(tier)s at least.", tier=labels.rank_word(form.rank.data)), "positive")
    return redirect(url_for("members_console.show", member_id=member_id), 303)


@bp.post("/members/<int:member_id>/tier/end")
@staff("tiers.set_manually")
def manual_end(member_id: int) -> Any:
    services.set_manually(member_id, 0, "", None, acting_staff().id)
    flash(_("The tier set by hand has ended; what the orders give holds again."), "info")
    if request.form.get("next") == "by-hand":
        return redirect(url_for(".by_hand"), 303)
    return redirect(url_for("members_console.show", member_id=member_id), 303)
