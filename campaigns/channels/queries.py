"""Reads about accounts, the inbox and the contact budget."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import case, exists, func, null, or_, select

from kernel import clock
from kernel.db import db
from kernel.pages import once_a_request
from kernel.staff.models import Staff
from membership.members.models import Channel, Contact, Member, MemberIdentity

from . import rules
from .models import (
    Account,
    ChannelFault,
    ChannelHour,
    ChannelKind,
    ContactCount,
    ContactTask,
    DeadAddress,
    InboxMessage,
    Posting,
    Receipt,
    Reply,
    TaskState,
)


def messages_of(member_id: int) -> Any:
    """A member's messages, as a statement for paging."""
    return select(InboxMessage).where(InboxMessage.member_id == member_id)


def latest(member_id: int, limit: int = 2) -> Sequence[InboxMessage]:
    """The newest messages of a member that were not read yet."""
    return db.session.scalars(
        messages_of(member_id).where(InboxMessage.read_at.is_(None)).order_by(InboxMessage.id.desc()).limit(limit)
    ).all()


@once_a_request
def unread(member_id: int) -> int:
    """How many messages a member has not read yet, counted no further than a hundred."""
    inner = (
        select(InboxMessage.id).where(InboxMessage.member_id == member_id, InboxMessage.read_at.is_(None)).limit(100)
    )
    return db.session.scalar(select(func.count()).select_from(inner.subquery())) or 0


def budget_use() -> tuple[int, int]:
    """How many members were written to today, and how many this month."""
    today = clock.today()
    row = db.session.execute(
        select(
            func.count().filter(ContactCount.day_on == today, ContactCount.day_total > 0),
            func.count().filter(ContactCount.month_total > 0),
        ).where(ContactCount.month_on == rules.month_of(today))
    ).one()
    return row[0], row[1]


def troubled() -> Sequence[Account]:
    """The accounts that are paused or rest after failed connections."""
    return db.session.scalars(
        select(Account).where(Account.paused_at.is_not(None) | (Account.retry_at > clock.now())).order_by(Account.id)
    ).all()


# ── What accounts can do and have done ──────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Able:
    """What a kind of channel can do, for the table on the channels page."""

    kind: ChannelKind
    consent: bool
    once: str  # truly | keyed | doubt | person
    receipts: bool
    quiet: bool
    links: str  # personal | constant
    test: bool = True


def abilities() -> list[Able]:
    """What each kind of channel can do."""
    return [
        Able(ChannelKind.INBOX, True, "truly", False, False, "personal"),
        Able(ChannelKind.EMAIL, True, "doubt", True, True, "personal"),
        Able(ChannelKind.SMS, True, "doubt", True, True, "constant"),
        Able(ChannelKind.WECOM, True, "person", True, True, "constant"),
        Able(ChannelKind.TASK, True, "person", True, False, "personal"),
        Able(ChannelKind.WEBHOOK, True, "keyed", True, True, "personal"),
        Able(ChannelKind.ROBOT, False, "doubt", False, True, "constant"),
        Able(ChannelKind.GROUP_POST, False, "truly", False, False, "constant"),
    ]


@dataclass(frozen=True)
class Record:
    """What an account did in a span: calls, messages by outcome, milliseconds a call and of the slowest."""

    calls: int
    accepted: int
    rejected: int
    retried: int
    unknown: int
    mean_ms: int | None
    slowest_ms: int


def record_of(account_id: int, span: timedelta) -> Record:
    """What an account did lately."""
    row = db.session.execute(
        select(
            *(
                func.coalesce(func.sum(column), 0)
                for column in (
                    ChannelHour.calls,
                    ChannelHour.accepted,
                    ChannelHour.rejected,
                    ChannelHour.retried,
                    ChannelHour.unknown,
                    ChannelHour.took_ms,
                )
            ),
            func.coalesce(func.max(ChannelHour.slowest_ms), 0),
        ).where(ChannelHour.account_id == account_id, ChannelHour.hour_at > clock.now() - span)
    ).one()
    calls, accepted, rejected, retried, unknown, took, slowest = (int(value) for value in row)
    return Record(calls, accepted, rejected, retried, unknown, took // calls if calls else None, slowest)


def hours_of(account_id: int) -> Sequence[ChannelHour]:
    """The hours of the last day in which an account did anything, the latest last."""
    return db.session.scalars(
        select(ChannelHour)
        .where(ChannelHour.account_id == account_id, ChannelHour.hour_at > clock.now() - timedelta(days=1))
        .order_by(ChannelHour.hour_at)
    ).all()


def faults_of(account_id: int) -> Sequence[ChannelFault]:
    """The latest reasons for which messages were not taken."""
    return db.session.scalars(
        select(ChannelFault)
        .where(ChannelFault.account_id == account_id)
        .order_by(ChannelFault.last_at.desc(), ChannelFault.reason)
        .limit(20)
    ).all()


def receipts_of(account_id: int) -> tuple[int, int, int]:
    """Delivery receipts of the last week: delivered, not delivered, and those without a signature among them."""
    row = db.session.execute(
        select(
            func.count().filter(Receipt.delivered),
            func.count().filter(~Receipt.delivered),
            func.count().filter(~Receipt.signed),
        ).where(Receipt.account_id == account_id, Receipt.at > clock.now() - timedelta(days=7))
    ).one()
    return int(row[0]), int(row[1]), int(row[2])


def replies_of(account_id: int) -> Sequence[Any]:
    """The newest answers to text messages, with who gave them where that is known."""
    return db.session.execute(
        select(Reply, Member)
        .outerjoin(Member, Member.id == Reply.member_id)
        .where(Reply.account_id == account_id)
        .order_by(Reply.id.desc())
        .limit(20)
    ).all()


def postings_of(account_id: int) -> Sequence[Posting]:
    """The newest of what a robot had to say."""
    return db.session.scalars(
        select(Posting).where(Posting.account_id == account_id).order_by(Posting.id.desc()).limit(20)
    ).all()


def dead_addresses(member_id: int) -> Sequence[DeadAddress]:
    """The addresses of a member's that cannot be reached."""
    return db.session.scalars(
        select(DeadAddress).where(DeadAddress.member_id == member_id).order_by(DeadAddress.id)
    ).all()


def address_of(contact: Contact) -> Any:
    """Where a member is reached by a channel, as a column over `member`: null when nowhere, None when no address is needed."""
    if contact in (Contact.SMS, Contact.CALL):
        return Member.phone
    if contact is Contact.EMAIL:
        dead = exists().where(
            DeadAddress.member_id == Member.id,
            DeadAddress.contact == Contact.EMAIL,
            DeadAddress.address == Member.email,
        )
        return case((dead, null()), else_=Member.email)
    if contact is Contact.WECOM:
        return (
            select(func.min(MemberIdentity.external_id))
            .where(MemberIdentity.member_id == Member.id, MemberIdentity.channel == Channel.WECOM)
            .correlate(Member)
            .scalar_subquery()
        )
    return None


# ── Tasks of the staff ──────────────────────────────────────────────────────────────────────────────────────────────

TASK_ORDERS: dict[TaskState, list[Any]] = {
    state: (
        [ContactTask.due_at, ContactTask.id]
        if state is TaskState.OPEN
        else [ContactTask.ended_at.desc(), ContactTask.id.desc()]
    )
    for state in TaskState
}


def tasks(state: TaskState, words: str = "", staff_id: int | None = None) -> Any:
    """The tasks in a state with their members and whoever has them; of one colleague, or with 0 of nobody."""
    found = (
        select(ContactTask, Member, Staff.name)
        .join(Member, Member.id == ContactTask.member_id)
        .outerjoin(Staff, Staff.id == ContactTask.staff_id)
        .where(ContactTask.state == state)
    )
    if words:
        digits = "".join(c for c in words if c.isdigit())
        named = (
            func.strpos(
                func.lower(func.concat(Member.nickname, " ", Member.name, " ", ContactTask.title)), words.lower()
            )
            > 0
        )
        tail = func.strpos(func.coalesce(Member.phone, ""), digits) > 0 if len(digits) >= 4 else None
        found = found.where(named if tail is None else or_(named, tail))
    if staff_id is not None:
        found = found.where(ContactTask.staff_id == staff_id if staff_id else ContactTask.staff_id.is_(None))
    return found


def export_tasks(found: Any, state: TaskState) -> Sequence[Any]:
    """The rows of a list of tasks for a file, at most 50,000."""
    return db.session.execute(found.order_by(*TASK_ORDERS[state]).limit(50_000)).all()


def open_tasks() -> tuple[int, int]:
    """How many tasks are open, and how many of them overdue."""
    row = db.session.execute(
        select(func.count(), func.count().filter(ContactTask.due_at < clock.now())).where(
            ContactTask.state == TaskState.OPEN
        )
    ).one()
    return int(row[0]), int(row[1])


def staff_name(staff_id: int | None) -> str | None:
    """The name of whoever has a task."""
    return db.session.scalar(select(Staff.name).where(Staff.id == staff_id)) if staff_id is not None else None
