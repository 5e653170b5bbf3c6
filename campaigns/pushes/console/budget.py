"""Pages for the contact budget: what is in force, who has used it up, and the days that change it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from flask import flash, redirect, render_template, request, url_for

from campaigns.channels import queries as channel_queries
from campaigns.channels import rules as channel_rules
from campaigns.channels import services as channels
from kernel import clock, editions
from kernel.auth import staff
from kernel.i18n import gettext as _
from kernel.i18n import ngettext
from kernel.pages import capped_count, csv_response, keyset
from membership.members.models import Member

from .. import labels, queries, services
from ..festivals import starters
from ..forms import BudgetForm, FestivalForm
from . import bp


@bp.get("/contact-budget")
@staff("channels.view")
def budget() -> Any:
    return _page(_present(), FestivalForm(formdata=None))


# A festival of the calendar is not in the form.
_CHANGED = ("contact_budget.changed", "push.approval_changed")


def _present() -> BudgetForm:
    form = BudgetForm(formdata=None, **BudgetForm.present())
    editions.show(form, BudgetForm.present())
    return form


@bp.post("/contact-budget")
@staff("channels.edit")
def budget_post() -> Any:
    form = BudgetForm()
    if not form.validate():
        return _page(form, FestivalForm(formdata=None)), 422
    if editions.overtaken(form, BudgetForm.present, by=_CHANGED):
        return _page(form, FestivalForm(formdata=None)), 409
    channels.set_budget(form.caps(), form.quiet_from.data, form.quiet_until.data, float(form.holdout.data))
    if form.approval_above.data != services.approval_above():
        services.set_approval_above(form.approval_above.data)
    flash(_("Saved. It holds from the next message on."), "positive")
    return redirect(url_for(".budget"))


def _page(form: BudgetForm, festival_form: FestivalForm) -> str:
    today = clock.today()
    return render_template(
        "pushes/budget.html",
        form=form,
        festival_form=festival_form,
        festivals=channels.festivals(today, today + timedelta(days=400)),
        hours=channel_rules.quiet_map(channels.quiet_hours()),
        used=channel_queries.budget_use(),
        full=queries.count_at_cap(),
        caps=channels.budget(),
        labels=labels,
        day=timedelta(days=1),
    )


# ── Who has used it up ──────────────────────────────────────────────────────────────────────────────────────────────


@bp.get("/contact-budget/members")
@staff("channels.view")
def at_cap() -> Any:
    window = _window()
    statement = queries.at_cap(window)
    return render_template(
        "pushes/at_cap.html",
        page=keyset(statement, [Member.id.desc()], request.args.get("cursor")),
        count=capped_count(statement),
        window=window,
        labels=labels,
        now=channels.counted_now,
    )


@bp.get("/contact-budget/members.csv")
@staff("channels.view")
def at_cap_csv() -> Any:
    header = [_("Member no."), _("Member"), _("Today"), _("This week"), _("This month"), _("Last counted on")]
    return csv_response("contact-budget.csv", header, _lines(queries.at_cap(_window())))


def _window() -> str | None:
    said = request.args.get("window", "")
    return said if said in channel_rules.WINDOWS else None


def _lines(statement: Any) -> Iterator[list[Any]]:
    for member, row in queries.streamed(statement.order_by(Member.id)):
        counts = channels.counted_now(row)
        yield [member.id, member.shown_name, counts["day"], counts["week"], counts["month"], row.day_on.isoformat()]


# ── The festival calendar ───────────────────────────────────────────────────────────────────────────────────────────


@bp.post("/festivals")
@staff("channels.edit")
def add_festival() -> Any:
    form = FestivalForm()
    if not form.validate():
        return _page(_present(), form), 422
    channels.save_festival(*form.values())
    flash(_("The days are in the calendar."), "positive")
    return redirect(url_for(".budget", _anchor="festivals"))


@bp.post("/festivals/starters")
@staff("channels.edit")
def add_starters() -> Any:
    added = starters(clock.today())
    words = ngettext("%(num)s festival was added.", "%(num)s festivals were added.", added)
    flash(words if added else _("They are all there already."), "positive" if added else "info")
    return redirect(url_for(".budget", _anchor="festivals"))


@bp.post("/festivals/<int:festival_id>/drop")
@staff("channels.edit")
def drop_festival(festival_id: int) -> Any:
    festival = channels.get_festival(festival_id)
    name = festival.name
    channels.drop_festival(festival)
    flash(_("%(name)s is out of the calendar.", name=name), "positive")
    return redirect(url_for(".budget", _anchor="festivals"))
