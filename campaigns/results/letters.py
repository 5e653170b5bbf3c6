"""The report that goes by e-mail: what a week or a month brought, in plain sentences."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta

from flask import current_app
from sqlalchemy import func, select

from campaigns.pushes import queries as pushes
from kernel import clock, shop
from kernel.db import db
from kernel.i18n import day, forced_locale, month, ngettext, number
from kernel.i18n import gettext as _
from kernel.money import yuan
from membership.members.models import Member
from membership.orders import queries as orders
from membership.orders.models import Order

from . import queries, rules
from .models import Kind, ReportPlan, Rhythm

SHOWN = 10


@dataclass(frozen=True)
class Letter:
    """A report as it is read."""

    subject: str
    body: str


def compose(plan: ReportPlan, first: date, until: date) -> Letter:
    """The report of the days `[first, until)`, in the plan's language."""
    with forced_locale(plan.locale):
        when = (
            month(first)
            if plan.rhythm is Rhythm.MONTHLY
            else _("%(first)s to %(last)s", first=day(first), last=day(until - timedelta(days=1)))
        )
        subject = _("%(shop)s: %(report)s, %(period)s", shop=shop.shop_name(), report=plan.name, period=when)
        return Letter(str(subject), "\n".join(_lines(when, first, until)))


def _lines(when: str, first: date, until: date) -> Iterator[str]:
    since, end = clock.at(first), clock.at(until)
    yield str(when)
    yield ""
    yield from _sales(first, until)
    yield ""
    runs = [(run, push) for run, push in db.session.execute(pushes.begun_between(since, end)).all()]
    yield ngettext("%(num)s push began.", "%(num)s pushes began.", len(runs))
    ids = [run.id for run, _push in runs]
    credits, clicked = queries.credits_of(ids), queries.clicked_of(ids)
    progress = pushes.progress_of([run for run, _push in runs])
    for run, push in runs[:SHOWN]:
        direct = credits.get((run.id, Kind.DIRECT), queries.Credit())
        influenced = credits.get((run.id, Kind.INFLUENCED), queries.Credit())
        yield _(
            "· %(name)s: %(sent)s sent, %(clicked)s clicked; direct %(direct)s, influenced %(influenced)s",
            name=push.name,
            sent=number(progress[run.id].accepted),
            clicked=number(clicked.get(run.id, 0)) if run.id in clicked or pushes.linked(push) else "–",
            direct=yuan(direct.money),
            influenced=yuan(influenced.money),
        )
    for one in queries.by_journey(since, end)[:SHOWN]:
        yield _(
            "· Journey %(name)s: %(sent)s sent, %(clicked)s clicked; direct %(direct)s, influenced %(influenced)s",
            name=one.name,
            sent=number(one.sent),
            clicked=number(one.clicked),
            direct=yuan(one.direct.money),
            influenced=yuan(one.influenced.money),
        )
    yield ""
    yield _caused(*queries.pooled(since, end))
    yield str(_("Direct, influenced and incremental are three views of the same orders and must not be added."))
    yield ""
    yield current_app.extensions["settings"].site_url.rstrip("/") + "/console/results/pushes"


def _sales(first: date, until: date) -> Iterator[str]:
    """Orders of the period beside those of as many days before it."""
    since, end = clock.at(first), clock.at(until)
    before = clock.at(first - (until - first))
    in_period = Order.placed_at >= since
    row = db.session.execute(
        select(
            func.count().filter(in_period),
            func.coalesce(func.sum(orders.spend()).filter(in_period), 0),
            func.count(Order.member_id.distinct()).filter(in_period),
            func.count(Order.member_id.distinct()).filter(in_period, Order.placed_at > Member.first_order_at),
            func.coalesce(func.sum(orders.spend()).filter(~in_period), 0),
        )
        .outerjoin(Member, Member.id == Order.member_id)
        .where(Order.placed_at >= before, Order.placed_at < end, orders.counts())
    ).one()
    yield ngettext(
        "%(num)s order, %(money)s net of refunds; the same number of days before it: %(before)s.",
        "%(num)s orders, %(money)s net of refunds; the same number of days before them: %(before)s.",
        row[0],
        money=yuan(int(row[1])),
        before=yuan(int(row[4])),
    )
    yield ngettext(
        "%(num)s member bought, %(again)s of them not for the first time.",
        "%(num)s members bought, %(again)s of them not for the first time.",
        row[2],
        again=number(row[3]),
    )


def _caused(treated: rules.Arm, control: rules.Arm) -> str:
    money = rules.money_difference(treated, control)
    if not rules.enough(treated, control) or money is None:
        return str(_("What all pushes together caused: not enough data yet."))
    total = money.times(treated.people)
    words = _(
        "What all pushes together caused: %(value)s (95 %% interval %(low)s to %(high)s), against the hold-out.",
        value=yuan(round(total.value)),
        low=yuan(round(total.low)),
        high=yuan(round(total.high)),
    )
    return str(words)
