"""Reads of conversations: the queue, what was said, who has how many, what came of them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, and_, func, or_, select, text

from community.tickets.models import AgentPresence
from community.tickets.queries import handles
from community.tickets.rules import Load
from kernel import clock, files
from kernel.auth import Role
from kernel.db import db, escaped
from kernel.errors import NotFound
from kernel.staff.models import Staff
from membership.members import queries as members
from membership.members.models import Member

from . import rules
from .models import Conversation, Message, Sender, TalkState

WORDS = (Sender.MEMBER, Sender.STAFF, Sender.BOT)


def get_conversation(conversation_id: int) -> Conversation:
    """The conversation, or `NotFound`."""
    found = db.session.get(Conversation, conversation_id)
    if found is None:
        raise NotFound
    return found


def get_by_public_id(public_id: str) -> Conversation:
    """The conversation under the name that its member knows, or `NotFound`."""
    found = db.session.scalar(select(Conversation).where(Conversation.public_id == public_id))
    if found is None:
        raise NotFound
    return found


def live_of(member_id: int) -> Conversation | None:
    """A member's conversation that is not over."""
    return db.session.scalar(
        select(Conversation).where(Conversation.member_id == member_id, Conversation.state != TalkState.CLOSED)
    )


def of_member(member_id: int, limit: int = 20) -> Sequence[Conversation]:
    """A member's conversations, newest first."""
    return db.session.scalars(
        select(Conversation).where(Conversation.member_id == member_id).order_by(Conversation.id.desc()).limit(limit)
    ).all()


def messages(conversation_id: int, since: int = 0) -> Sequence[Message]:
    """What was said, oldest first; `since` leaves out what came before that message."""
    return db.session.scalars(
        select(Message).where(Message.conversation_id == conversation_id, Message.id >= since).order_by(Message.id)
    ).all()


def get_message(message_id: int) -> Message | None:
    """A message, for whoever learns from what was asked and answered."""
    return db.session.get(Message, message_id)


def has_picture(conversation_id: int, key: str, since: int = 0) -> bool:
    return (
        db.session.scalar(
            select(Message.id).where(
                Message.conversation_id == conversation_id, Message.picture == key, Message.id >= since
            )
        )
        is not None
    )


@files.private_in_use.fill
def pictures_in_use(keys: Sequence[str]) -> set[str]:
    """Which of these pictures stand in a conversation."""
    return {key for key in db.session.scalars(select(Message.picture).where(Message.picture.in_(keys))) if key}


@files.public_in_use.fill
def pictures_shown(keys: Sequence[str]) -> set[str]:
    """Which of these pictures of the shop's own the bot has shown."""
    return {key for key in db.session.scalars(select(Message.shown).where(Message.shown.in_(keys))) if key}


def last_choices(conversation_id: int) -> list[tuple[str, str]]:
    """What the bot's last message of a conversation offered to tap: (key, words)."""
    found = db.session.scalar(
        select(Message.choices)
        .where(Message.conversation_id == conversation_id, Message.sender == Sender.BOT)
        .order_by(Message.id.desc())
        .limit(1)
    )
    return [(str(key), str(label)) for key, label in found or []]


def last_question(conversation_id: int) -> int | None:
    """The number of the member's last message with words."""
    return db.session.scalar(
        select(func.max(Message.id)).where(
            Message.conversation_id == conversation_id, Message.sender == Sender.MEMBER, Message.body != ""
        )
    )


def last_word(conversation_id: int, but: int | None = None) -> int:
    """The number of the last thing that was said by anybody but the staff member `but`."""
    found = select(func.max(Message.id)).where(Message.conversation_id == conversation_id, Message.sender.in_(WORDS))
    if but is not None:
        found = found.where(or_(Message.staff_id.is_(None), Message.staff_id != but))
    return db.session.scalar(found) or 0


def last_of_staff(conversation_id: int) -> int:
    """The number of the last thing that a person of the shop wrote, 0 when nobody has."""
    return (
        db.session.scalar(
            select(func.max(Message.id)).where(
                Message.conversation_id == conversation_id, Message.sender == Sender.STAFF
            )
        )
        or 0
    )


def last_over(member_id: int, public_ids: Collection[str] | None = None) -> Conversation | None:
    """A member's last conversation that is over; with `public_ids` only among those."""
    found = select(Conversation).where(Conversation.member_id == member_id, Conversation.state == TalkState.CLOSED)
    if public_ids is not None:
        found = found.where(Conversation.public_id.in_(list(public_ids)))
    return db.session.scalar(found.order_by(Conversation.id.desc()).limit(1))


def has_unread(member_id: int) -> bool:
    """Whether a person wrote to a member what they have not looked at yet; what is over for long does not matter any more."""
    written = select(Message.id).where(
        Message.conversation_id == Conversation.id,
        Message.sender == Sender.STAFF,
        Message.id > Conversation.seen_message_id,
    )
    found = select(Conversation.id).where(
        Conversation.member_id == member_id,
        Conversation.last_message_id > Conversation.seen_message_id,
        or_(Conversation.state != TalkState.CLOSED, Conversation.closed_at > clock.now() - rules.LATELY),
        written.exists(),
    )
    return db.session.scalar(select(found.exists())) or False


# ── The queue ───────────────────────────────────────────────────────────────────────────────────────────────────────


def _view(view: str, staff_id: int) -> ColumnElement[bool]:
    match view:
        case "waiting":
            return Conversation.state == TalkState.QUEUED
        case "all":
            return Conversation.state.in_((TalkState.QUEUED, TalkState.OPEN))
        case "bot":
            return Conversation.state == TalkState.BOT
        case "closed":
            return Conversation.state == TalkState.CLOSED
        case _:
            return and_(Conversation.state == TalkState.OPEN, Conversation.assignee_id == staff_id)


def listing(view: str, staff_id: int, q: str = "") -> Any:
    """The conversations of a view. Rows: Conversation, Member, last words, name of who has it."""
    # Whoever chooses from the queue reads what the customer asked, not what the house said to it by itself.
    last = (
        select(Message.body)
        .where(
            Message.conversation_id == Conversation.id,
            Message.sender.in_(WORDS),
            or_(Conversation.state != TalkState.QUEUED, Message.sender == Sender.MEMBER),
        )
        .order_by(Message.id.desc())
        .limit(1)
        .correlate(Conversation)
        .scalar_subquery()
    )
    found: Any = (
        select(Conversation, Member, last.label("words"), Staff.name)
        .join(Member, Member.id == Conversation.member_id)
        .outerjoin(Staff, Staff.id == Conversation.assignee_id)
        .where(_view(view, staff_id))
    )
    if q:
        pattern = f"%{escaped(q)}%"
        said = select(Message.id).where(Message.conversation_id == Conversation.id, Message.body.ilike(pattern))
        found = found.where(or_(members.sought(q), said.exists()))
    return found


def order_of(view: str) -> list[Any]:
    """What is over: the newest first. Else who has waited longest for an answer, then the newest word."""
    if view in ("closed", "bot"):
        return [Conversation.last_at.desc(), Conversation.id.desc()]
    return [
        func.coalesce(Conversation.waits_since, Conversation.last_at, type_=Conversation.last_at.type),
        Conversation.id,
    ]


def counts(staff_id: int) -> dict[str, int]:
    """How many conversations each view of the queue has."""
    views = ("mine", "waiting", "all", "bot")
    row = db.session.execute(
        select(*(func.count().filter(_view(view, staff_id)) for view in views)).where(
            Conversation.state != TalkState.CLOSED
        )
    ).one()
    return dict(zip(views, row, strict=True))


def mark(view: str, staff_id: int) -> str:
    """What changes whenever a view of the queue does."""
    row = db.session.execute(
        select(
            func.count(),
            func.max(Conversation.last_message_id),
            func.sum(Conversation.id),
            func.max(Conversation.last_at),
            func.count(Conversation.assignee_id),
            func.sum(Conversation.assignee_id),
            func.max(Conversation.assigned_at),
            func.count(Conversation.waits_since),
        ).where(_view(view, staff_id))
    ).one()
    return "-".join(str(value) for value in row)


def waiting_count() -> int:
    """How many conversations wait for a person."""
    return db.session.scalar(select(func.count()).where(Conversation.state == TalkState.QUEUED)) or 0


def unanswered(staff_id: int) -> int:
    """How many of somebody's conversations wait for their answer."""
    return (
        db.session.scalar(
            select(func.count()).where(
                Conversation.state == TalkState.OPEN,
                Conversation.assignee_id == staff_id,
                Conversation.waits_since.is_not(None),
            )
        )
        or 0
    )


def loads(standard_cap: int) -> list[Load]:
    """Who is on and may answer, with the conversations they have."""
    in_hand = (
        select(
            Conversation.assignee_id.label("staff_id"),
            func.count().label("open"),
            func.max(Conversation.assigned_at).label("last_at"),
        )
        .where(Conversation.state == TalkState.OPEN)
        .group_by(Conversation.assignee_id)
        .subquery()
    )
    rows = db.session.execute(
        select(
            AgentPresence.staff_id,
            func.coalesce(in_hand.c.open, 0),
            func.coalesce(AgentPresence.talk_cap, standard_cap),
            in_hand.c.last_at,
        )
        .join(Staff, Staff.id == AgentPresence.staff_id)
        .outerjoin(in_hand, in_hand.c.staff_id == AgentPresence.staff_id)
        .where(
            AgentPresence.is_on, Staff.disabled_at.is_(None), Staff.role.in_([role for role in Role if handles(role)])
        )
        .order_by(AgentPresence.staff_id)
    )
    return [Load(*row) for row in rows]


# ── What came of them ───────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class TalkRow:
    """What conversations of a period came to. `seconds` is the median until a person's first answer."""

    key: str
    count: int
    by_bot: int
    answered: int
    seconds: float | None
    rated: int
    stars: float | None


_COUNTS = """
    count(*), count(*) FILTER (WHERE c.queued_at IS NULL), count(c.answer_seconds),
    percentile_cont(0.5) WITHIN GROUP (ORDER BY c.answer_seconds) FILTER (WHERE c.answer_seconds IS NOT NULL),
    count(c.satisfaction), avg(c.satisfaction)::float
    FROM conversation c WHERE c.opened_at >= :since AND c.opened_at < :until
"""
_ALL = text(f"SELECT '', {_COUNTS}")
_BY_STAFF = text(f"SELECT c.assignee_id::text, {_COUNTS} AND c.assignee_id IS NOT NULL GROUP BY 1 ORDER BY 2 DESC, 1")


def results(since: datetime, until: datetime) -> tuple[TalkRow, list[TalkRow]]:
    """What the conversations begun in `[since, until)` came to: all of them, and by who had them."""
    period = {"since": since, "until": until}
    return TalkRow(*db.session.execute(_ALL, period).one()), [
        TalkRow(*row) for row in db.session.execute(_BY_STAFF, period)
    ]
