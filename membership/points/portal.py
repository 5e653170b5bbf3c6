"""The member's points: what they have, until when, what came and went, and what to take for them."""

from __future__ import annotations

import secrets
from typing import Any

from apiflask import APIBlueprint
from flask import flash, redirect, render_template, request, url_for

from kernel import clock, visitors
from kernel.auth import member_only
from kernel.errors import NotFound
from kernel.i18n import gettext as _
from membership.members import queries as members
from membership.members.models import Member
from membership.tiers import labels as tier_labels

from . import labels, queries, rules, services
from .forms import TakeForm
from .models import PointsReward

bp = APIBlueprint("points_portal", __name__, template_folder="templates", enable_openapi=False)


def _me() -> Member:
    member_id = visitors.member_id()
    if member_id is None:
        raise NotFound
    return members.get_member(member_id)


@bp.get("/me/points")
@member_only()
def index() -> Any:
    member = _me()
    now = clock.now()
    lots = queries.lots_of(member.id)
    page = queries.history_page(member.id, None, 5)
    rewards = [row for row in queries.rewards(True) if row.running]
    return render_template(
        "points/mine.html",
        member=member,
        balance=queries.balance_of(member.id),
        waiting=[lot for lot in lots if rules.state_at(lot.state, lot.activates_at, lot.expires_at, now) == "pending"],
        soon=queries.lapsing(lots, now),
        rewards=rewards,
        taken=queries.taken_by(member.id, [row.reward.id for row in rewards]),
        program=queries.program(),
        multiplier=queries.multiplier_of(member.rank),
        rows=page.rows,
        made=queries.lots_of_transactions([row.id for row in page.rows]),
        numbers=queries.order_numbers([*page.rows]),
        lot_numbers=queries.order_numbers_of(lots),
        rank_word=tier_labels.rank_word,
        labels=labels,
        now=now,
    )


@bp.get("/me/points/history")
@member_only()
def history() -> Any:
    member = _me()
    page = queries.history_page(member.id, request.args.get("cursor"))
    return render_template(
        "points/history.html",
        page=page,
        made=queries.lots_of_transactions([row.id for row in page.rows]),
        numbers=queries.order_numbers(page.rows),
        labels=labels,
        now=clock.now(),
    )


def _reward(code: str) -> PointsReward:
    found = queries.find_reward(code[:40])
    if found is None:
        raise NotFound
    return found


@bp.get("/me/points/rewards/<code>")
@member_only(identified=True)
def reward(code: str) -> Any:
    member, found = _me(), _reward(code)
    return render_template(
        "points/take.html",
        member=member,
        row=queries.reward_row(found),
        over=found.per_member is not None and queries.taken_by(member.id, [found.id])[found.id] >= found.per_member,
        balance=queries.balance_of(member.id),
        form=TakeForm(formdata=None, token=secrets.token_urlsafe(12)),
        rank_word=tier_labels.rank_word,
        labels=labels,
    )


@bp.post("/me/points/rewards/<code>")
@member_only(identified=True)
def take(code: str) -> Any:
    member, found = _me(), _reward(code)
    form = TakeForm()
    if not form.validate():
        flash(_("This page was open for too long. Look at it once more; nothing was taken."), "caution")
        return redirect(url_for(".reward", code=code))
    try:
        services.redeem(member.id, found.id, form.token.data or "")
    except rules.NotEnoughPoints as refusal:
        refusal.next_step = (url_for(".index"), _("My points"))
        raise
    return redirect(url_for(".taken", code=code, token=form.token.data), 303)


@bp.get("/me/points/rewards/<code>/taken")
@member_only(identified=True)
def taken(code: str) -> Any:
    member, found = _me(), _reward(code)
    redemption = queries.redemption_of(member.id, request.args.get("token", "")[:40])
    if redemption is None or redemption.reward_id != found.id:
        raise NotFound
    return render_template(
        "points/taken.html",
        redemption=redemption,
        row=queries.reward_row(found),
        balance=queries.balance_of(member.id),
        path=queries.path_to(redemption),
        labels=labels,
    )
