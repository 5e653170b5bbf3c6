"""What members get for friends whom they bring, and whom they brought."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from flask import flash, redirect, render_template, request, url_for
from sqlalchemy import Select, select
from sqlalchemy.orm import aliased

from kernel import audit, clock, editions
from kernel.auth import staff
from kernel.errors import NotFound
from kernel.i18n import gettext as _
from kernel.pages import capped_count, csv_response, keyset
from membership.members.models import Member

from .. import labels, queries, rules, services
from ..forms import RewardForm
from ..models import FriendReward, Group, RewardState
from . import bp
from .groups import frame_of

PAGE = 50
Inviter = aliased(Member)
Friend = aliased(Member)


def _listing(group_id: int) -> Select[Any, Any, Any]:
    statement = (
        select(FriendReward, Inviter, Friend)
        .join(Inviter, Inviter.id == FriendReward.inviter_id)
        .join(Friend, Friend.id == FriendReward.friend_id)
        .where(FriendReward.group_id == group_id)
    )
    state = request.args.get("state", "")
    return statement.where(FriendReward.state == state) if state in list(RewardState) else statement


def _form(group: Group, **values: Any) -> RewardForm:
    return RewardForm(services.drop_choices(group), **values)


def _page(group: Group, form: RewardForm, status: int = 200) -> Any:
    statement, state = _listing(group.id), request.args.get("state", "")
    terms = rules.Reward.read(group.reward)
    page = keyset(statement, [FriendReward.id.desc()], request.args.get("cursor"), PAGE)
    return render_template(
        "groups/rewards.html",
        **frame_of(group, "friends"),
        form=form,
        page=page,
        withdrawn=services.withdrawn_links(group.id, [row[1].id for row in page.rows]),
        count=capped_count(statement),
        chips_on=[("state", state, str(labels.REWARD_STATES[RewardState(state)]))]
        if state in list(RewardState)
        else [],
        reward=labels.reward_sentence(terms, services.offer_name(terms)) if terms else "",
    ), status


@bp.get("/groups/<int:group_id>/friends")
@staff("groups.view")
def friends(group_id: int) -> Any:
    group = queries.get_group(group_id)
    form = _form(group, formdata=None, data=dict(group.reward))
    editions.show(form, dict(group.reward))
    return _page(group, form)


@bp.post("/groups/<int:group_id>/friends")
@staff("groups.edit")
def set_reward(group_id: int) -> Any:
    group = queries.get_group(group_id)
    form = _form(group)
    if not form.validate():
        return _page(group, form, 422)
    if editions.overtaken(form, lambda: dict(group.reward), group, by=("group.reward_changed",)):
        return _page(group, form, 409)
    services.set_reward(group, form.terms)
    flash(_("Saved. Friends who have come already keep the terms of their day."), "positive")
    return redirect(url_for(".friends", group_id=group_id), 303)


@bp.post("/groups/<int:group_id>/friends/<int:reward_id>/give")
@staff("groups.edit")
def give_reward(group_id: int, reward_id: int) -> Any:
    services.give_all_the_same(group_id, reward_id)
    flash(_("Given after all."), "positive")
    return redirect(url_for(".friends", group_id=group_id), 303)


@bp.post("/groups/<int:group_id>/friends/<int:member_id>/link")
@staff("groups.moderate")
def set_friend_link(group_id: int, member_id: int) -> Any:
    link = services.find_friend_link(group_id, member_id)
    if link is None:
        raise NotFound
    services.set_friend_link(link, revoked=request.form.get("revoked") == "1")
    flash(_("Saved."), "positive")
    return redirect(url_for(".friends", group_id=group_id), 303)


@bp.post("/groups/<int:group_id>/friends/export")
@staff("members.export")
def export_friends(group_id: int) -> Any:
    group = queries.get_group(group_id)
    audit.record("group.exported", "group", group.id, after={"list": "friends"})
    header = [_("Member"), _("Friend"), _("State"), _("Reason"), _("Came in")]
    return csv_response(f"group-{group.id}-friends.csv", header, _rows(group.id))


def _rows(group_id: int) -> Iterator[list[Any]]:
    cursor: str | None = None
    while True:
        page = keyset(_listing(group_id), [FriendReward.id.desc()], cursor, 500)
        for reward, inviter, friend in page.rows:
            yield [
                inviter.shown_name,
                friend.shown_name,
                str(labels.REWARD_STATES[reward.state]),
                str(labels.REWARD_REASONS.get(reward.reason, "")),
                clock.wall_text(reward.came_at),
            ]
        if page.next_cursor is None:
            return
        cursor = page.next_cursor
