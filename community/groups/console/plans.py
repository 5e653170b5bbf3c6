"""Groups over time: copying one, templates, the calendar, and what it takes to open one."""

from __future__ import annotations

from datetime import date, timedelta
from itertools import groupby
from typing import Any

from flask import flash, redirect, render_template, request, url_for

from kernel import clock, editions, once
from kernel.auth import acting_staff, may, staff
from kernel.errors import NotFound
from kernel.i18n import gettext as _
from kernel.i18n import ngettext
from kernel.pages import ticked

from .. import labels, queries, results, rules, services
from ..forms import CopyForm, OpeningForm
from ..models import Group, GroupState
from . import bp
from .groups import frame_of


@bp.get("/groups/<int:group_id>/copy")
@staff("groups.edit")
def copy(group_id: int) -> Any:
    group = queries.get_group(group_id)
    return _copy_page(group, once.show(CopyForm(formdata=None, name=group.name)))


def _copy_page(group: Group, form: CopyForm, status: int = 200) -> Any:
    return render_template(
        "groups/copy.html",
        **frame_of(group, ""),
        form=form,
        begun=services.begun_at(group),
        join_links=[link for link in queries.links_of(group.id) if link.revoked_at is None and link.name],
        sessions=queries.sessions_of(group.id),
        offers=results.offers_of(group.id) if may("coupons.edit") else [],
    ), status


@bp.post("/groups/<int:group_id>/copy")
@staff("groups.edit")
def copy_post(group_id: int) -> Any:
    group, form = queries.get_group(group_id), CopyForm()
    if not form.validate():
        return _copy_page(group, form, 422)
    if once.done_before():
        return redirect(url_for(".index"))
    plan = services.Plan(
        form.name.data or "",
        form.opens_at.data,
        bool(form.links.data),
        bool(form.sessions.data),
        bool(form.coupons.data) and may("coupons.edit"),
    )
    made = services.copy(group, plan, acting_staff().id)
    flash(_("The copy is there, as a draft. Look it over, then announce or open it."), "positive")
    return redirect(url_for(".edit", group_id=made.id), 303)


@bp.post("/groups/<int:group_id>/template")
@staff("groups.edit")
def set_template(group_id: int) -> Any:
    group, wanted = queries.get_group(group_id), request.form.get("template") == "1"
    services.set_template(group, wanted)
    flash(
        _("The group is a template: it stands first when somebody makes a new one.")
        if wanted
        else _("The group is no template any more."),
        "positive",
    )
    return redirect(url_for(".show", group_id=group_id), 303)


# ── The calendar ────────────────────────────────────────────────────────────────────────────────────────────────────


def _month() -> date:
    said = request.args.get("month", "")
    try:
        first = date.fromisoformat(f"{said}-01")
    except ValueError:
        return clock.today().replace(day=1)
    return first if 2000 <= first.year < 2100 else clock.today().replace(day=1)


@bp.get("/groups/calendar")
@staff("groups.view")
def calendar() -> Any:
    first = _month()
    after = (first + timedelta(days=32)).replace(day=1)
    moments = queries.calendar(clock.day_bounds(first)[0], clock.day_bounds(after)[0])
    return render_template(
        "groups/calendar.html",
        days=[(on, list(found)) for on, found in groupby(moments, key=lambda m: clock.local(m.at).date())],
        first=first,
        before=f"{first - timedelta(days=1):%Y-%m}",
        after=f"{after:%Y-%m}",
        today=clock.today(),
        hour=lambda at: f"{clock.local(at):%H:%M}",
        labels=labels,
    )


# ── Many at once ────────────────────────────────────────────────────────────────────────────────────────────────────


@bp.post("/groups/states")
@staff("groups.edit")
def change_many() -> Any:
    said, chosen = request.form.get("to", ""), ticked()
    if said not in (GroupState.PAUSED, GroupState.OPEN, GroupState.ARCHIVED):
        raise NotFound
    done, passed = services.change_many(chosen, GroupState(said))
    flash(
        ngettext("%(num)s group was changed.", "%(num)s groups were changed.", done), "positive" if done else "caution"
    )
    if passed:
        flash(
            ngettext(
                "%(num)s group is in a state that does not lead there, and stays as it is.",
                "%(num)s groups are in a state that does not lead there, and stay as they are.",
                passed,
            ),
            "caution",
        )
    return redirect(url_for(".index"), 303)


@bp.post("/groups/<int:group_id>/unarchive")
@staff("groups.edit")
def unarchive(group_id: int) -> Any:
    services.unarchive(queries.get_group(group_id))
    flash(_("The group is back in the list, closed as it was."), "positive")
    return redirect(url_for(".show", group_id=group_id), 303)


# ── What it takes to open a group ───────────────────────────────────────────────────────────────────────────────────


@bp.get("/groups/opening")
@staff("groups.view")
def opening() -> Any:
    asked = services.condition()
    form = OpeningForm(formdata=None, on=asked.on, orders=asked.orders, days=asked.days)
    editions.show(form, asked)
    return _opening_page(form)


def _opening_page(form: OpeningForm, status: int = 200) -> Any:
    asked = services.condition()
    return render_template(
        "groups/opening.html", form=form, asked=asked, found=services.orders_found(asked.days)
    ), status


@bp.post("/groups/opening")
@staff("groups.edit")
def opening_post() -> Any:
    form = OpeningForm()
    if not form.validate():
        return _opening_page(form, 422)
    if editions.overtaken(form, services.condition, by=("groups.opening_changed",)):
        return _opening_page(form, 409)
    services.set_condition(rules.Opening(bool(form.on.data), form.orders.data or 30, form.days.data or 30))
    flash(_("Saved."), "positive")
    return redirect(url_for(".opening"), 303)
