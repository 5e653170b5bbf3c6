"""Tiers that are about to fall: who, when, what is missing; taken along as a file or tagged for an audience."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from flask import flash, redirect, render_template, request, url_for

from kernel import audit, clock, pages
from kernel.auth import may, safe_next, staff
from kernel.i18n import gettext as _
from kernel.i18n import ngettext
from membership.members import services as members
from membership.members.rules import masked_phone

from .. import labels, queries, rules, services
from ..forms import falls_from
from . import bp


@bp.get("/tiers/falls")
@staff("tiers.view")
def falls() -> Any:
    wanted = falls_from(request.args)
    page, count = queries.falls_page(wanted, request.args.get("cursor"))
    chips = pages.search_chip(wanted.q)
    if wanted.tier is not None:
        chips.append(("tier", str(wanted.tier), _("Tier: %(tier)s", tier=f"VIP{wanted.tier}")))
    return render_template(
        "tiers/falls.html",
        page=page,
        count=count,
        chips_on=chips,
        wanted=wanted,
        numbers={days: queries.falls_within(days) for days in labels.FALL_DAYS},
        policy=queries.policy(),
        missing_of=queries.missing_of,
        rank_after=queries.shown_after_fall,
        labels=labels,
        ranks=rules.RANKS,
        here=request.full_path.rstrip("?"),
    )


@bp.post("/tiers/falls/tags")
@staff("members.edit")
def tag_falls() -> Any:
    back = safe_next(request.form.get("next"), url_for(".falls"))
    ids = pages.ticked()
    name = request.form.get("tag", "")
    if not name.strip():
        flash(_("Write which tag: nothing was changed."), "caution")
    elif request.form.get("act") == "all":
        number = services.tag_falling(falls_from(request.args), name)
        flash(ngettext("One member tagged.", "%(num)s members tagged.", number), "positive")
    elif not ids:
        flash(_("Select members first: nothing was changed."), "caution")
    else:
        number = members.tag(ids, name)
        flash(ngettext("One member tagged.", "%(num)s members tagged.", number), "positive")
    return redirect(back, 303)


@bp.post("/tiers/falls/export")
@staff("members.export")
def falls_export() -> Any:
    wanted, open_phones = falls_from(request.args), may("members.reveal")
    audit.record(
        "tiers.falls_exported", "member", None, after={"filter": dict(request.args.items()), "phones": open_phones}
    )
    header = [
        _("Member"), _("Phone"), _("Tier"), _("Falls to"), _("Falls on"), _("Missing spend"), _("Missing orders"),
        _("Spend"), _("Orders"),
    ]  # fmt: skip

    def rows() -> Iterator[list[Any]]:
        for member, row in queries.falls_export(wanted):
            after = queries.shown_after_fall(row)
            yield [
                member.shown_name,
                member.phone if open_phones else masked_phone(member.phone),
                f"VIP{member.rank}",
                f"VIP{after}" if after else "",
                clock.local(row.falls_at).date().isoformat() if row.falls_at else "",
                f"{row.keep_spend / 100:.2f}" if row.keep_spend is not None else "",
                row.keep_orders if row.keep_orders is not None else "",
                f"{row.spend / 100:.2f}",
                row.orders,
            ]

    return pages.csv_response(f"tier-falls-{clock.today().isoformat()}.csv", header, rows())
