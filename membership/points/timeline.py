"""What the events of points say on a member's timeline. An order's earning is told with the order, not again here."""

from __future__ import annotations

from typing import Any

from flask import url_for
from markupsafe import Markup, escape

from kernel.db import db
from kernel.events import describes
from kernel.i18n import day, ngettext, number
from kernel.i18n import gettext as _
from kernel.pages import once_a_request

from . import labels
from .events import (
    PointsClawedBack,
    PointsEarned,
    PointsExpired,
    PointsExpiring,
    PointsReturned,
    PointsSpent,
    RewardTaken,
)
from .models import Kind, PointsReward


def _said(sentence: Any, member_id: int, points: int) -> Markup:
    words = ngettext("%(count)s point", "%(count)s points", points, count=number(points))
    link = Markup('<a href="{}">{}</a>').format(url_for("points_console.member", member_id=member_id), words)
    return escape(sentence) % {"points": link}


@describes(PointsEarned)
def earned(event: PointsEarned) -> Markup:
    if event.kind == Kind.EARN:
        sentence = _("Earned %(points)s by an order")
    elif event.reason:
        return _said(_("Got %(points)s: "), event.member_id, event.points) + escape(event.reason)
    else:
        return _said(_("Got %(points)s: "), event.member_id, event.points) + escape(labels.KINDS[Kind(event.kind)])
    return _said(sentence, event.member_id, event.points)


@describes(PointsSpent)
def spent(event: PointsSpent) -> Markup:
    if event.kind == Kind.ADJUST:
        return _said(_("Lost %(points)s: "), event.member_id, event.points) + escape(event.reason)
    return _said(_("Spent %(points)s"), event.member_id, event.points)


@describes(PointsReturned)
def returned(event: PointsReturned) -> Markup:
    return _said(_("%(points)s came back"), event.member_id, event.points)


@describes(PointsExpired)
def expired(event: PointsExpired) -> Markup:
    return _said(_("%(points)s lapsed"), event.member_id, event.points)


@describes(PointsClawedBack)
def clawed_back(event: PointsClawedBack) -> Markup:
    return _said(_("A refund took %(points)s back"), event.member_id, event.points)


@describes(PointsExpiring)
def expiring(event: PointsExpiring) -> Markup:
    sentence = escape(_("Was told that %(points)s lapse after %(day)s"))
    words = ngettext("%(count)s point", "%(count)s points", event.points, count=number(event.points))
    return sentence % {"points": words, "day": day(labels.last_day(event.expires_at))}


@once_a_request
def _name(reward_id: int) -> str:
    reward = db.session.get(PointsReward, reward_id)
    return reward.name if reward is not None else _("a reward")


@describes(RewardTaken)
def taken(event: RewardTaken) -> Markup:
    return escape(_("Took the reward “%(reward)s”")) % {"reward": _name(event.reward_id)}
