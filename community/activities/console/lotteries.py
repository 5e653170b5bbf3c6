"""A draw: written, announced, called off, and what came of it. No page shows its seed before it was held."""

from __future__ import annotations

from functools import partial
from typing import Any

from flask import flash, redirect, render_template, url_for

from community.groups import queries as groups
from community.groups.models import Group
from kernel import audit, clock, editions, links, once
from kernel.auth import acting_staff, staff
from kernel.errors import InputInvalid
from kernel.i18n import gettext as _
from kernel.i18n import ngettext
from kernel.pages import csv_response
from membership.coupons import queries as coupons
from membership.gifts import queries as gifts

from .. import labels, queries, rules, services
from ..forms import CancelForm, LotteryForm
from ..models import Lottery, LotteryState
from . import bp
from .lists import frame_of


def _things(group_id: int, lottery: Lottery | None = None) -> list[tuple[str, str]]:
    """What can be won in a group: gifts and coupon offers that are given out now, and what is chosen already."""
    found = [(f"gift:{gift.id}", _("Gift: %(name)s", name=gift.name)) for gift, _given in gifts.givable()]
    found += [
        (f"offer:{offer.id}", _("Coupon: %(name)s", name=offer.name))
        for offer, version in coupons.grantable()
        if version.group_id in (None, group_id)
    ]
    if lottery is not None:
        prizes = queries.prizes_of(lottery.id)
        names, known = queries.prize_names(prizes), {key for key, _name in found}
        for prize in prizes:
            key = f"gift:{prize.gift_id}" if prize.gift_id is not None else f"offer:{prize.offer_id}"
            if key not in known:
                found.append((key, names.get(prize.id, "–")))
    return found


def _form(group_id: int, lottery: Lottery | None = None, **values: Any) -> LotteryForm:
    return LotteryForm(_things(group_id, lottery), **values)


def _edit_page(group: Group, form: LotteryForm, lottery: Lottery | None = None, status: int = 200) -> Any:
    return render_template(
        "activities/lottery_edit.html", **frame_of(group), form=form, lottery=lottery, labels=labels
    ), status


@bp.get("/groups/<int:group_id>/lotteries/new")
@staff("activities.edit")
def new_lottery(group_id: int) -> Any:
    return _edit_page(groups.get_group(group_id), once.show(_form(group_id, formdata=None)))


@bp.post("/groups/<int:group_id>/lotteries/new")
@staff("activities.edit")
def new_lottery_post(group_id: int) -> Any:
    group, form = groups.get_group(group_id), _form(group_id)
    if not form.validate():
        return _edit_page(group, form, None, 422)
    if once.done_before():
        return redirect(url_for(".of_group", group_id=group_id))
    try:
        made = services.create(group, form.draft, author_id=acting_staff().id)
    except InputInvalid as refusal:
        form.refuse_each(refusal.errors)
        return _edit_page(group, form, None, 422)
    flash(_("Kept as a draft. Announce it when you are ready."), "positive")
    return redirect(url_for(".lottery", lottery_id=made.id), 303)


@bp.get("/lotteries/<int:lottery_id>/edit")
@staff("activities.edit")
def edit_lottery(lottery_id: int) -> Any:
    lottery = queries.get_lottery(lottery_id)
    if lottery.state is not LotteryState.DRAFT:
        raise rules.AnnouncedAlready(next_step=(url_for(".lottery", lottery_id=lottery_id), _("See the draw")))
    form = _form(lottery.group_id, lottery, formdata=None)
    form.fill(services.draft_of(lottery))
    editions.show(form, services.draft_of(lottery))
    return _edit_page(groups.get_group(lottery.group_id), form, lottery)


@bp.post("/lotteries/<int:lottery_id>/edit")
@staff("activities.edit")
def edit_lottery_post(lottery_id: int) -> Any:
    lottery = queries.get_lottery(lottery_id)
    form = _form(lottery.group_id, lottery)
    if form.validate():
        by = ("lottery.created", "lottery.changed")
        if editions.overtaken(form, partial(services.draft_of, lottery), lottery, by=by):
            return _edit_page(groups.get_group(lottery.group_id), form, lottery, 409)
        try:
            services.edit(lottery_id, form.draft)
        except InputInvalid as refusal:
            form.refuse_each(refusal.errors)
        else:
            flash(_("Saved."), "positive")
            return redirect(url_for(".lottery", lottery_id=lottery_id), 303)
    return _edit_page(groups.get_group(lottery.group_id), form, lottery, 422)


def _show(lottery: Lottery, form: CancelForm, status: int = 200) -> Any:
    prizes = queries.prizes_of(lottery.id)
    winners = queries.winners_of(lottery.id)
    seed = services.seed_shown(lottery)
    return render_template(
        "activities/lottery.html",
        **frame_of(groups.get_group(lottery.group_id)),
        lottery=lottery,
        phase=queries.phase_of(lottery),
        prizes=prizes,
        names=queries.prize_names(prizes),
        entered=queries.entered([lottery.id]).get(lottery.id, 0),
        left_out=queries.left_out(lottery.id),
        winners=winners,
        missed=sum(entry.prize_state == "missed" and not member.erased_at for entry, member, _prize in winners),
        address=links.absolute(queries.path_of(lottery)) if lottery.announced_at else None,
        seed=seed.hex() if seed is not None else None,
        form=form,
        labels=labels,
    ), status


@bp.get("/lotteries/<int:lottery_id>")
@staff("activities.view")
def lottery(lottery_id: int) -> Any:
    return _show(queries.get_lottery(lottery_id), CancelForm(formdata=None))


@bp.post("/lotteries/<int:lottery_id>/announce")
@staff("activities.edit")
def announce(lottery_id: int) -> Any:
    try:
        services.announce(lottery_id)
    except InputInvalid as refusal:
        for _field, sentence in refusal.errors:
            flash(sentence, "caution")
        return redirect(url_for(".edit_lottery", lottery_id=lottery_id), 303)
    flash(_("It stands in the group now, with the hash of its seed. It draws by itself when entry closes."), "positive")
    return redirect(url_for(".lottery", lottery_id=lottery_id), 303)


@bp.post("/lotteries/<int:lottery_id>/cancel")
@staff("activities.edit")
def cancel(lottery_id: int) -> Any:
    found, form = queries.get_lottery(lottery_id), CancelForm()
    if found.state is not LotteryState.DRAFT and not form.validate():
        return _show(found, form, 422)
    drafted = found.state is LotteryState.DRAFT
    services.cancel(lottery_id, form.reason.data or "")
    flash(_("Thrown away.") if drafted else _("Called off. Whoever had a ticket is told why."), "positive")
    return redirect(url_for(".lottery", lottery_id=lottery_id), 303)


@bp.post("/lotteries/<int:lottery_id>/prizes")
@staff("activities.edit")
def try_again(lottery_id: int) -> Any:
    queries.get_lottery(lottery_id)
    number = services.try_again(lottery_id)
    flash(ngettext("%(num)s prize is tried again.", "%(num)s prizes are tried again.", number), "positive")
    return redirect(url_for(".lottery", lottery_id=lottery_id), 303)


@bp.post("/lotteries/<int:lottery_id>/winners/export")
@staff("members.export")
def export_winners(lottery_id: int) -> Any:
    found = queries.get_lottery(lottery_id)
    winners = queries.winners_of(lottery_id)
    names = queries.prize_names([prize for _entry, _member, prize in winners])
    audit.record("lottery.winners_exported", "lottery", lottery_id, after={"number": len(winners)})
    header = [_("Winning place"), _("Ticket number"), _("Member"), _("Prize"), _("State")]
    return csv_response(
        f"winners-{clock.local(found.closes_at):%Y-%m-%d}.csv",
        header,
        [
            (
                entry.place,
                entry.ticket,
                member.shown_name,
                names.get(prize.id, ""),
                str(labels.PRIZES[entry.prize_state]) if entry.prize_state else "",
            )
            for entry, member, prize in winners
        ],
    )
