"""What the demo shop shows of results: a push of last month over the shop's real orders, terms, and a report that rests."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import case, func, insert, literal, null, or_, select

from campaigns.channels import services as channels
from campaigns.pushes import ledger
from campaigns.pushes import rules as push_rules
from campaigns.pushes import services as pushes
from campaigns.pushes.models import Delivery, DeliveryState, Run, RunState, Slice
from kernel import clock
from kernel.db import db
from kernel.staff.models import Staff
from membership.members.models import Member
from membership.orders.models import Order

from . import mailing, services
from .models import Click, Rhythm

PEOPLE = 4_000
HELD_OUT_PERCENT = 20


def begin() -> None:
    """Say what goods and messages cost, and let a push of last month have been: its orders are those of the shop's past.

    The message is invented and cannot have caused anything, which is what the comparison with its control group should say.
    """
    inbox = channels.inbox_account()
    services.set_measure(services.Measure(margin=45, prices={inbox.id: 0}))
    marketer = db.session.scalar(select(Staff.id).where(Staff.email == "marketer@shop.example"))
    start = clock.at(clock.today() - timedelta(days=30), 10)
    push, run = pushes.draft(
        marketer,
        name="上月老客回访",
        account_id=inbox.id,
        audience={"rules": []},
        subject="{nickname}，上次的东西用得怎么样",
        body="回来看看，给您留了新品：{link}",
        link_url="/me/",
        control_percent=HELD_OUT_PERCENT,
    )
    _send(run, start)
    run.terms = services.terms_now(push)
    # A ninth of the people opened the link on the second day.
    clicks = select(
        Delivery.id, Delivery.run_id, Delivery.member_id, literal("l"), literal(start + timedelta(days=1))
    ).where(Delivery.run_id == run.id, Delivery.clicked_at.is_not(None))
    db.session.execute(
        insert(Click.__table__).from_select(
            ["delivery_id", "run_id", "member_id", "target", "at"], clicks, include_defaults=False
        )
    )
    services.credit_clicks(Order.placed_at.between(start, clock.now()))
    accounts = mailing.mail_accounts()
    people = db.session.scalars(select(Staff.id).where(Staff.email == "marketer@shop.example")).all()
    if accounts and people:
        plan = mailing.save(None, "每月推送效果", Rhythm.MONTHLY, accounts[0].id, "zh_Hans", people, marketer)
        mailing.pause(plan, True)


def _send(run: Run, start: datetime) -> None:
    """Write the deliveries of a push that came to its end."""
    percent, salt = pushes.holdout()
    everywhere = ledger.held_out(literal(salt), literal(push_rules.holdout_cut(percent)))
    own = ledger.held_out(literal("demo:"), literal(push_rules.cut_of(HELD_OUT_PERCENT)))
    reason = case((everywhere, "held_out"), (own, "control"), else_=null())
    picked = (
        select(Member.id, or_(everywhere, own).label("held"), reason.label("reason"))
        .where(Member.merged_into_id.is_(None), Member.first_order_at < start)
        .order_by(Member.id)
        .limit(PEOPLE)
        .subquery()
    )
    held = DeliveryState.CONTROL.value, DeliveryState.ACCEPTED.value
    rows = select(
        literal(run.id), picked.c.id, case((picked.c.held, 0), else_=1), case((picked.c.held, held[0]), else_=held[1]),
        picked.c.reason, literal(1),
        case((picked.c.held, null()), else_=literal(start)),
        case((picked.c.held, null()), (picked.c.id % 9 == 0, literal(start + timedelta(days=1))), else_=null()),
    )  # fmt: skip
    columns = ["run_id", "member_id", "slice_number", "state", "reason", "attempts", "accepted_at", "clicked_at"]
    db.session.execute(insert(Delivery.__table__).from_select(columns, rows, include_defaults=False))
    total, sent, low, high = db.session.execute(
        select(
            func.count(),
            func.count(Delivery.accepted_at),
            func.coalesce(func.min(Delivery.member_id), 0),
            func.coalesce(func.max(Delivery.member_id), 0),
        ).where(Delivery.run_id == run.id)
    ).one()
    db.session.add(
        Slice(run_id=run.id, number=1, from_member=low, to_member=high, state="done", total=sent, accepted=sent)
    )
    run.state, run.planned, run.slices = RunState.COMPLETED, total, 1
    run.scheduled_at = run.started_at = run.bought_since = start
    run.finished_at = start + timedelta(minutes=2)
    db.session.flush()
