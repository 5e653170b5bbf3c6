"""Pages for staff: the tiers, their policy, and a tier set by hand."""

from __future__ import annotations

from typing import Any

from apiflask import APIBlueprint
from flask import flash, redirect, render_template, request, url_for
from markupsafe import Markup

from kernel.auth import acting_staff, staff
from kernel.i18n import gettext as _
from kernel.i18n import number, percent
from kernel.ports import fill_slot
from membership.members.models import Member

from . import labels, queries, rules, services
from .forms import ManualTierForm, PolicyForm
from .models import Window

bp = APIBlueprint("tiers_console", __name__, url_prefix="/console", template_folder="templates", enable_openapi=False)


def _chart(counts: dict[int, int]) -> tuple[str, list[dict[str, Any]]]:
    """What the distribution shows, as a sentence and as rows."""
    total = sum(counts.values())
    tiered = total - counts[0]
    sentence = _(
        "%(tiered)s of %(total)s members have a tier (%(share)s).",
        tiered=number(tiered),
        total=number(total),
        share=percent(tiered, total),
    )
    rows = [
        {
            "label": labels.rank_word(rank) if rank else _("No tier yet"),
            "value": counts[rank],
            "text": f"{number(counts[rank])} · {percent(counts[rank], total, 1)}",
            "url": url_for("members_console.index", tier=rank),
            "tone": f"tier-{rank}" if rank else "",
        }
        for rank in (*reversed(rules.RANKS), 0)
    ]
    return sentence, rows


@bp.get("/tiers")
@staff("tiers.view")
def index() -> Any:
    counts = queries.head_counts()
    sentence, rows = _chart(counts)
    return render_template(
        "tiers/index.html",
        policy=queries.policy(),
        counts=counts,
        total=sum(counts.values()),
        chart_sentence=sentence,
        chart_rows=rows,
        versions=queries.versions(),
        authors=queries.authors(),
        labels=labels,
        ranks=rules.RANKS,
    )


def _edit(form: PolicyForm, preview: services.Preview | None = None, status: int = 200) -> Any:
    page = render_template(
        "tiers/edit.html",
        form=form,
        preview=preview,
        ranks=rules.RANKS,
        rolling=Window.ROLLING,
        labels=labels,
    )
    return page, status


@bp.get("/tiers/edit")
@staff("tiers.edit")
def edit() -> Any:
    return _edit(PolicyForm.of(queries.policy()))


@bp.post("/tiers/edit")
@staff("tiers.edit")
def edit_post() -> Any:
    form = PolicyForm()
    if not form.validate_on_submit():
        return _edit(form, status=422)
    mistakes = rules.mistakes_in(form.policy)
    if mistakes:
        form.show(mistakes)
        return _edit(form, status=422)
    if request.form.get("act") != "save":
        return _edit(form, services.preview(form.policy))
    services.save_policy(form.policy, acting_staff().id)
    flash(_("Saved. Nobody is lowered by it; whoever reaches more now moves up within minutes."), "positive")
    return redirect(url_for(".index"), 303)


# ── On a member's page ──────────────────────────────────────────────────────────────────────────────────────────────


def _side(member: Member, form: ManualTierForm) -> Markup:
    return Markup(  # noqa: S704 - the template escapes
        render_template(
            "tiers/_side.html",
            member=member,
            told=queries.explanation(member.id),
            form=form,
            labels=labels,
            whys=labels.WHYS,
        )
    )


@fill_slot("member.header", order=10)
def header(member: Member) -> Markup:
    """Tier, progress and the sentence why, under the member's name."""
    told = queries.explanation(member.id)
    return Markup(render_template("tiers/_header.html", member=member, told=told, labels=labels))  # noqa: S704


@fill_slot("member.side", order=10)
def side(member: Member) -> Markup:
    """The explanation beside the member's past."""
    return _side(member, ManualTierForm(formdata=None))


@bp.get("/members/<int:member_id>/tier")
@staff("tiers.set_manually")
def manual(member_id: int) -> Any:
    return _manual(member_id, ManualTierForm())


def _manual(member_id: int, form: ManualTierForm, status: int = 200) -> Any:
    told = queries.explanation(member_id)
    member = queries.member(member_id)
    return render_template("tiers/manual.html", member=member, told=told, form=form, labels=labels), status


@bp.post("/members/<int:member_id>/tier")
@staff("tiers.set_manually")
def manual_post(member_id: int) -> Any:
    form = ManualTierForm()
    if not form.validate_on_submit():
        return _manual(member_id, form, 422)
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
    return redirect(url_for("members_console.show", member_id=member_id), 303)
