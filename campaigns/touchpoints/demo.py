"""What the demo shop says of its touchpoints, one of its own, and some weeks in which members met them.

The weeks are invented like everything that the demo shop sends: a push a week, calls after real deliveries, conversations with
stars. They are there so that the matrix has something to place.
"""

from __future__ import annotations

import secrets
from dataclasses import replace
from datetime import timedelta

from sqlalchemy import insert, literal, select
from sqlalchemy.dialects.postgresql import distinct_on

from campaigns.channels import services as channels
from campaigns.pushes import ledger
from campaigns.pushes import rules as push_rules
from campaigns.pushes import services as pushes
from campaigns.pushes.models import Delivery, DeliveryState, Run, RunState, Slice
from campaigns.results import services as results
from campaigns.results.models import Click
from community.conversations.models import Conversation, Ending, Message, Sender, TalkState
from community.desk.models import CallReason, CallState, CallTask, CallTaskOrder
from community.groups.models import Group, GroupKind
from kernel import clock
from kernel.db import db
from kernel.staff.models import Staff
from membership.members.models import Member
from membership.orders.models import Order, OrderState

from . import queries, services
from .models import Stage, TouchKind

IMPORTANCE = {
    "push_inbox": 4, "post": 3, "group_link": 3, "call_invitation": 4, "group_welcome": 4, "coupon_link": 3, "gift": 2,
    "web_shop": 5, "parcel": 3, "conversation": 4, "call_back": 5, "ticket": 5, "journey_message": 2,
}  # fmt: skip
# Of how many people the push of each week was opened, in percent, the latest first.
OPENED = (19, 12, 9, 11, 8, 13, 10, 7, 12, 9)
EACH_WEEK = 60
CALLS, TALKS = 48, 36
ASKED = ("尺码怎么选？", "什么时候能发货？", "可以开发票吗？", "这个能换颜色吗？")


def begin() -> None:
    """Enter how much each matters, the shop's own touchpoint, and the weeks behind."""
    manager = db.session.scalar(select(Staff.id).where(Staff.email == "manager@shop.example"))
    for one in queries.listed_now():
        if one.ref in IMPORTANCE:
            draft = services.Draft(one.name, one.kind, one.stage, sources=one.sources)
            services.edit(one.ref, replace(draft, importance=IMPORTANCE[one.ref], owner_id=manager))
    services.add(
        services.Draft(
            name="直播间屏幕上的二维码",
            kind=TouchKind.GROUP,
            stage=Stage.AD,
            owner_id=manager,
            importance=3,
            notes="每周三直播时展示，扫码进直播群。",
            sources=("直播间",),
        )
    )
    _send_weekly()
    agent = db.session.scalar(select(Staff.id).where(Staff.email == "service@shop.example"))
    _call(agent)
    _talk(agent)


def _send_weekly() -> None:
    """A push of new goods on each Thursday of the last weeks, to other people each time; the hold-out gets none of them."""
    percent, salt = pushes.holdout()
    people = db.session.execute(
        select(Member.id, ledger.held_out(literal(salt), literal(push_rules.holdout_cut(percent))))
        .where(Member.merged_into_id.is_(None), Member.erased_at.is_(None), Member.last_order_at.is_not(None))
        .order_by(Member.last_order_at.desc(), Member.id)
        .limit(EACH_WEEK * len(OPENED))
    ).all()
    push, first = pushes.draft(
        db.session.scalar(select(Staff.id).where(Staff.email == "marketer@shop.example")),
        name="每周上新",
        account_id=channels.inbox_account().id,
        audience={"rules": []},
        subject="这周新到的",
        body="{nickname}，这周新到了几样，您看看：{link}",
        link_url="/me/",
        stop_when_bought=False,
    )
    terms = results.terms_now(push)
    today = clock.today()
    latest = today - timedelta(days=(today.weekday() - 3) % 7 or 7)
    for back, opened in enumerate(OPENED):
        start = clock.at(latest - timedelta(days=7 * back), 20)
        run = first if back == 0 else Run(push_id=push.id, occurrence=f"{latest - timedelta(days=7 * back):%Y-%m-%d}")
        run.state, run.planned, run.slices, run.terms = RunState.COMPLETED, EACH_WEEK, 1, terms
        run.scheduled_at = run.started_at = run.bought_since = start
        run.finished_at = start + timedelta(minutes=1)
        db.session.add(run)
        db.session.flush()
        meant = sorted(people[back :: len(OPENED)])
        theirs = [member_id for member_id, held in meant if not held]
        db.session.add(
            Slice(
                run_id=run.id, number=1, from_member=min(theirs, default=0), to_member=max(theirs, default=0), state="done",
                total=len(theirs), accepted=len(theirs),
            )
        )  # fmt: skip
        run.planned = len(meant)
        db.session.add_all(
            Delivery(
                run_id=run.id, member_id=member_id, slice_number=0, state=DeliveryState.CONTROL, reason="held_out", attempts=1
            )
            for member_id, held in meant
            if held
        )  # fmt: skip
        who_opened = set(theirs[: len(theirs) * opened // 100])
        seen = start + timedelta(hours=1)
        made = db.session.execute(
            insert(Delivery).returning(Delivery.id, Delivery.member_id),
            [
                {
                    "run_id": run.id, "member_id": member_id, "slice_number": 1, "state": DeliveryState.ACCEPTED, "attempts": 1,
                    "accepted_at": start, "clicked_at": seen if member_id in who_opened else None,
                }
                for member_id in theirs
            ],
        ).all() if theirs else []  # fmt: skip
        db.session.add_all(
            Click(delivery_id=row.id, run_id=run.id, member_id=row.member_id, target="l", at=seen)
            for row in made
            if row.member_id in who_opened
        )
    db.session.flush()


def _call(agent: int | None) -> None:
    """Calls two days after real deliveries of the last weeks, older than those that the desk still has to call about; a third of
    those reached were invited to the group."""
    group = db.session.scalar(
        select(Group.id).where(Group.kind == GroupKind.REGULAR).order_by(Group.seated.desc(), Group.id).limit(1)
    )
    now = clock.now()
    delivered = (
        select(Order.id, Order.member_id, Order.delivered_at)
        .where(
            Order.state.in_([OrderState.DELIVERED, OrderState.COMPLETED]),
            Order.member_id.is_not(None),
            Order.delivered_at.between(now - timedelta(days=80), now - timedelta(days=16)),
            Order.id.not_in(select(CallTaskOrder.order_id)),
        )
        .ext(distinct_on(Order.member_id))
        .order_by(Order.member_id, Order.delivered_at.desc())
        .subquery()
    )
    rows = db.session.execute(select(delivered).order_by(delivered.c.id % 97, delivered.c.id).limit(CALLS))
    for number, order in enumerate(rows):
        at = order.delivered_at + timedelta(days=2)
        invited = number % 3 == 0 and group is not None
        task = CallTask(
            member_id=order.member_id, order_id=order.id, reason=CallReason.DELIVERED, state=CallState.REACHED, due_at=at,
            assignee_id=agent, tries=1, called_at=at, satisfaction=(5, 5, 4, 5, 3, 5)[number % 6], closed_at=at,
            closed_by_id=agent, created_at=order.delivered_at, invited_group_id=group if invited else None,
            invited_at=at if invited else None, invited_by_id=agent if invited else None,
        )  # fmt: skip
        db.session.add(task)
        db.session.flush()
        db.session.add(CallTaskOrder(order_id=order.id, reason=CallReason.DELIVERED, task_id=task.id, at=at))
    db.session.flush()


def _talk(agent: int | None) -> None:
    """Conversations of the last weeks that a colleague answered and members rated."""
    people = db.session.scalars(
        select(Member.id)
        .where(
            Member.merged_into_id.is_(None),
            Member.erased_at.is_(None),
            Member.last_order_at.is_not(None),
            Member.id.not_in(select(Conversation.member_id)),
        )
        .order_by(Member.last_order_at.desc(), Member.id)
        .limit(TALKS)
    ).all()
    for number, member_id in enumerate(people):
        at = clock.at(clock.today() - timedelta(days=2 + 2 * number), 10 + number % 9)
        answered = at + timedelta(seconds=70 + 13 * number)
        over = answered + timedelta(minutes=6)
        talk = Conversation(
            public_id=secrets.token_urlsafe(12), member_id=member_id, state=TalkState.CLOSED, assignee_id=agent,
            assigned_at=at if agent else None, opened_at=at, queued_at=at, first_answered_at=answered,
            first_answered_by_id=agent, answer_seconds=70 + 13 * number, last_from=Sender.STAFF, last_at=answered,
            closed_at=over, closed_by=Ending.MEMBER, satisfaction=(5, 4, 3, 5, 2, 4)[number % 6], rated_at=over,
        )  # fmt: skip
        db.session.add(talk)
        db.session.flush()
        said = [
            Message(conversation_id=talk.id, sender=Sender.MEMBER, body=ASKED[number % 4], choices=[], at=at),
            Message(
                conversation_id=talk.id, sender=Sender.STAFF, staff_id=agent, body="您好，我来帮您看一下。", choices=[],
                at=answered,
            ),
        ]  # fmt: skip
        db.session.add_all(said)
        db.session.flush()
        talk.last_message_id = said[-1].id
    db.session.flush()
