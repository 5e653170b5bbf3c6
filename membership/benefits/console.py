"""Pages for staff: what members were given because of their tier."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from apiflask import APIBlueprint
from flask import flash, redirect, render_template, request, url_for

from kernel import audit, clock, pages
from kernel.auth import may, staff
from kernel.i18n import gettext as _
from kernel.i18n import ngettext
from membership.members.rules import masked_phone

from . import labels, queries, services
from .models import Benefit, BenefitState
from .queries import GrantFilter

bp = APIBlueprint(
    "benefits_console", __name__, url_prefix="/console", template_folder="templates", enable_openapi=False
)


def _filter() -> GrantFilter:
    benefit, state = request.args.get("benefit", ""), request.args.get("state", "")
    return GrantFilter(
        benefit=Benefit(benefit) if benefit in list(Benefit) else None,
        state=BenefitState(state) if state in list(BenefitState) else None,
        q=pages.searched(),
    )


@bp.get("/tiers/benefits")
@staff("tiers.view")
def index() -> Any:
    wanted = _filter()
    page, count = queries.grants_page(wanted, request.args.get("cursor"))
    chips = pages.search_chip(wanted.q)
    if wanted.benefit is not None:
        chips.append(("benefit", wanted.benefit, _("Benefit: %(name)s", name=labels.BENEFITS[wanted.benefit])))
    if wanted.state is not None:
        chips.append(("state", wanted.state, _("State: %(state)s", state=labels.STATES[wanted.state])))
    return render_template(
        "benefits/index.html",
        page=page,
        count=count,
        chips_on=chips,
        rounds=queries.rounds(),
        missed=queries.count_missed(),
        labels=labels,
    )


@bp.post("/tiers/benefits/missed")
@staff("tiers.edit")
def give_missed() -> Any:
    handed = services.give_missed()
    if handed.given:
        flash(
            ngettext("One benefit was given after all.", "%(num)s benefits were given after all.", handed.given),
            "positive",
        )
    else:
        flash(_("Still nothing is left: raise the stock or choose another gift in the rules."), "caution")
    return redirect(url_for(".index", state="missed" if handed.missed else None), 303)


@bp.post("/tiers/benefits/export")
@staff("members.export")
def export() -> Any:
    wanted, open_phones = _filter(), may("members.reveal")
    audit.record(
        "benefits.exported", "member", None, after={"filter": dict(request.args.items()), "phones": open_phones}
    )
    header = [_("Member"), _("Phone"), _("Benefit"), _("What"), _("Tier"), _("Period"), _("State"), _("When")]

    def rows() -> Iterator[list[Any]]:
        for grant, member, gift, offer in queries.grants_export(wanted):
            yield [
                member.shown_name,
                member.phone if open_phones else masked_phone(member.phone),
                str(labels.BENEFITS[grant.benefit]),
                gift or offer or "",
                f"VIP{grant.given_rank}",
                grant.period,
                str(labels.STATES[grant.state]),
                clock.local(grant.at).strftime("%Y-%m-%d %H:%M"),
            ]

    return pages.csv_response(f"benefits-{clock.today().isoformat()}.csv", header, rows())
