"""The tiers side by side, and the versions of their rules."""

from __future__ import annotations

from typing import Any

from flask import flash, redirect, render_template, request, url_for

from kernel import once
from kernel.auth import acting_staff, staff
from kernel.i18n import gettext as _
from kernel.i18n import number, percent
from kernel.staff.services import names as staff_names
from membership.members.queries import group_names

from .. import labels, queries, rules, services
from . import bp


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
        versions=queries.versions(8),
        authors=staff_names(),
        drafts=queries.open_drafts(),
        falling=queries.falls_within(30),
        by_hand=queries.by_hand_page(queries.ManualFilter(), None)[1],
        names=labels.thing_names(queries.all_things()),
        groups=group_names(),
        labels=labels,
        ranks=rules.RANKS,
    )


@bp.get("/tiers/versions")
@staff("tiers.view")
def versions() -> Any:
    page = queries.versions_page(request.args.get("cursor"))
    return render_template(
        "tiers/versions.html", page=page, authors=staff_names(), in_force=queries.policy().id, labels=labels
    )


@bp.get("/tiers/versions/<int:policy_id>")
@staff("tiers.view")
def version(policy_id: int) -> Any:
    row = queries.get_version_row(policy_id)
    before = queries.version_before(policy_id)
    chosen = request.args.get("with", "")
    other = (
        queries.get_version_row(int(chosen)) if chosen.isascii() and chosen.isdigit() and len(chosen) < 18 else before
    )
    policy = queries.as_policy(row)
    return render_template(
        "tiers/version.html",
        row=row,
        once=once.key(),
        policy=policy,
        other=other,
        changes=rules.differences(queries.as_policy(other), policy) if other is not None else [],
        choices=[one for one in queries.versions(100) if one.id != row.id],
        authors=staff_names(),
        in_force=queries.policy().id == row.id,
        names=labels.thing_names(queries.all_things()),
        groups=group_names(),
        labels=labels,
        ranks=rules.RANKS,
    )


@bp.post("/tiers/versions/<int:policy_id>/draft")
@staff("tiers.edit")
def restore(policy_id: int) -> Any:
    if once.done_before():
        return redirect(url_for(".drafts"), 303)
    name = _("Version %(number)s again", number=policy_id)
    draft = services.restore(policy_id, name, acting_staff().id)
    flash(_("A draft with the rules of version %(number)s is made. Nothing has changed yet.", number=policy_id), "info")
    return redirect(url_for(".draft", draft_id=draft.id), 303)
