"""Ways to reach a member: accounts, their rates and health; the inbox that is always there; the contact budget."""

from __future__ import annotations

import enum
from datetime import date, datetime
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Index, SmallInteger, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from kernel.db import db, pk
from membership.members.models import Contact


class ChannelKind(enum.StrEnum):
    INBOX = "inbox"
    EMAIL = "email"
    SMS = "sms"
    WECOM = "wecom"  # A mass send to customers of WeCom, which staff confirm there.
    TASK = "task"  # A person of the staff calls or writes.
    WEBHOOK = "webhook"
    ROBOT = "robot"  # A robot in a group chat of Feishu, DingTalk or WeCom.
    GROUP_POST = "group_post"  # The feed of the shop's own groups.

    @property
    def shared(self) -> bool:
        """Whether one message says it to everybody in a chat or a group, and goes to no member."""
        return self in (ChannelKind.ROBOT, ChannelKind.GROUP_POST)


class ContactClass(enum.StrEnum):
    """What a message is, the most pressing first.

    The first two go to those who agreed to service messages and count against nothing; the others are marketing, and
    each of them counts against the contact budget.
    """

    TRANSACTIONAL = "transactional"
    SERVICE = "service"
    TRIGGERED = "triggered"
    REPURCHASE = "repurchase"
    BROADCAST = "broadcast"

    @property
    def budgeted(self) -> bool:
        """Whether it is marketing, which the contact budget and the hold-out concern."""
        return self not in (ContactClass.TRANSACTIONAL, ContactClass.SERVICE)


class Account(db.Model):
    """One configured account of a channel. What must stay secret lies sealed in `secret` and is never shown again."""

    __tablename__ = "channel_account"
    id: Mapped[pk]
    name: Mapped[str]
    kind: Mapped[ChannelKind]
    settings: Mapped[dict[str, Any]] = mapped_column(default=dict)
    secret: Mapped[str | None]
    # Messages in each span, all of them together; null is no limit. Minutes and hours slide, a day is one of the calendar.
    rate_per_second: Mapped[int | None]
    rate_per_minute: Mapped[int | None]
    rate_per_hour: Mapped[int | None]
    rate_per_day: Mapped[int | None]
    tokens: Mapped[float] = mapped_column(default=0.0)
    tokens_at: Mapped[datetime | None]
    # What was taken lately in each span with a limit: `{"minute": [[slot, taken], …], …}`.
    taken: Mapped[dict[str, Any]] = mapped_column(default=dict, server_default=text("'{}'::jsonb"))
    # What the addresses of callbacks end with; whoever knows it can only take rights away.
    hook_token: Mapped[str | None] = mapped_column(unique=True)
    errors_in_row: Mapped[int] = mapped_column(default=0)
    last_error: Mapped[str | None]
    last_error_at: Mapped[datetime | None]
    last_accepted_at: Mapped[datetime | None]
    # After a failed connection nothing is tried before this moment.
    retry_at: Mapped[datetime | None]
    paused_at: Mapped[datetime | None]
    pause_reason: Mapped[str | None]
    # Whether the breaker paused it and not a person: then it is tried again by itself, later each time.
    tripped: Mapped[bool] = mapped_column(default=False, server_default=text("false"))
    probes: Mapped[int] = mapped_column(default=0, server_default=text("0"))
    probe_at: Mapped[datetime | None]
    tested_at: Mapped[datetime | None]
    tested_to: Mapped[str | None]
    tested_words: Mapped[str | None]
    # What the other side said to the latest test; null while it is on its way.
    test_outcome: Mapped[str | None]
    test_passed: Mapped[bool | None]
    created_at: Mapped[datetime]

    __table_args__ = (
        CheckConstraint("rate_per_second > 0", name="rate"),
        CheckConstraint("least(rate_per_minute, rate_per_hour, rate_per_day) > 0", name="rates"),
        # There is one inbox, and it is the shop's own.
        Index("uq_channel_account_inbox", "kind", unique=True, postgresql_where=text("kind = 'inbox'")),
    )


class ChannelHour(db.Model):
    """What an account did in an hour. A process that is killed may leave its last second out; deliveries are exact."""

    __tablename__ = "channel_hour"
    account_id: Mapped[int] = mapped_column(ForeignKey("channel_account.id"), primary_key=True)
    hour_at: Mapped[datetime] = mapped_column(primary_key=True)
    calls: Mapped[int] = mapped_column(default=0)
    accepted: Mapped[int] = mapped_column(default=0)
    rejected: Mapped[int] = mapped_column(default=0)
    retried: Mapped[int] = mapped_column(default=0)
    unknown: Mapped[int] = mapped_column(default=0)
    # Milliseconds of all calls together, and of the slowest.
    took_ms: Mapped[int] = mapped_column(default=0)
    slowest_ms: Mapped[int] = mapped_column(default=0)

    __table_args__ = ({"postgresql_with": {"fillfactor": 70}},)


class ChannelFault(db.Model):
    """A reason for which an account did not take messages, with how often and when; addresses in it are masked."""

    __tablename__ = "channel_fault"
    account_id: Mapped[int] = mapped_column(ForeignKey("channel_account.id"), primary_key=True)
    reason: Mapped[str] = mapped_column(primary_key=True)
    times: Mapped[int]
    first_at: Mapped[datetime]
    last_at: Mapped[datetime]


class Callback(db.Model):
    """A call from the other side that was acted on, so that the same one again does nothing."""

    __tablename__ = "channel_callback"
    account_id: Mapped[int] = mapped_column(ForeignKey("channel_account.id"), primary_key=True)
    # What tells it from others: an id of the other side's, or a hash of what it says.
    key: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str]
    signed: Mapped[bool]
    at: Mapped[datetime]


# A report that does not say our own key of its message.
NUMBERED = "left(key, 9) <> 'delivery:'"


class Receipt(db.Model):
    """What the other side reported of a message after it had taken it. The first report of each kind counts."""

    __tablename__ = "channel_receipt"
    id: Mapped[pk]
    account_id: Mapped[int] = mapped_column(ForeignKey("channel_account.id"))
    # The key of the message (`delivery:12`), or the other side's number of it where that is all it says.
    key: Mapped[str]
    delivered: Mapped[bool]
    code: Mapped[str]
    # Whether it was signed; what is not signed is kept and believed by nobody.
    signed: Mapped[bool]
    at: Mapped[datetime]

    __table_args__ = (
        UniqueConstraint("account_id", "key", "delivered", "signed"),
        # The few that know a message by the other side's number alone, the latest ones first.
        Index("ix_channel_receipt_by_number", "at", postgresql_where=text(NUMBERED)),
    )


class Reply(db.Model):
    """What somebody answered to a message; a word that stops messages has done so already."""

    __tablename__ = "channel_reply"
    id: Mapped[pk]
    account_id: Mapped[int] = mapped_column(ForeignKey("channel_account.id"))
    # Null when nobody with this phone is known; their refusal is kept as a hash all the same.
    member_id: Mapped[int | None] = mapped_column(ForeignKey("member.id"), index=True)
    words: Mapped[str]
    stopped: Mapped[bool]
    signed: Mapped[bool]
    at: Mapped[datetime]

    __table_args__ = (Index("ix_channel_reply_account", "account_id", text("id DESC")),)


class DeadAddress(db.Model):
    """An address of a member's that cannot be reached: the other side said for good that there is no such mailbox."""

    __tablename__ = "dead_address"
    id: Mapped[pk]
    member_id: Mapped[int] = mapped_column(ForeignKey("member.id"))
    contact: Mapped[Contact]
    address: Mapped[str]
    reason: Mapped[str]
    at: Mapped[datetime]

    __table_args__ = (UniqueConstraint("member_id", "contact", "address"),)


class PostingState(enum.StrEnum):
    WAITING = "waiting"
    SENDING = "sending"
    SENT = "sent"
    FAILED = "failed"
    UNKNOWN = "unknown"


class Posting(db.Model):
    """What a group robot is to say in its chat: a post that was published, or a notice to the staff."""

    __tablename__ = "channel_posting"
    id: Mapped[pk]
    account_id: Mapped[int] = mapped_column(ForeignKey("channel_account.id"))
    # `post:<id>` or `notice:<what>`: the same is said once.
    key: Mapped[str]
    title: Mapped[str]
    body: Mapped[str]
    path: Mapped[str | None]
    state: Mapped[PostingState] = mapped_column(default=PostingState.WAITING)
    tries: Mapped[int] = mapped_column(default=0)
    reason: Mapped[str | None]
    due_at: Mapped[datetime]
    made_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]

    __table_args__ = (
        UniqueConstraint("account_id", "key"),
        Index("ix_channel_posting_due", "due_at", postgresql_where=text("state IN ('waiting', 'sending')")),
    )


class GroupPosted(db.Model):
    """The post that a message over the group feed became: one a message, however often it is handed over."""

    __tablename__ = "group_posted"
    account_id: Mapped[int] = mapped_column(ForeignKey("channel_account.id"), primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    post_id: Mapped[int] = mapped_column(ForeignKey("post.id", ondelete="CASCADE"), index=True)


class TaskState(enum.StrEnum):
    OPEN = "open"
    DONE = "done"
    NOT_REACHED = "not_reached"
    REFUSED = "refused"


class ContactTask(db.Model):
    """A message that a person of the staff gives to a member, by phone or as they usually write to them."""

    __tablename__ = "contact_task"
    id: Mapped[pk]
    account_id: Mapped[int] = mapped_column(ForeignKey("channel_account.id"))
    key: Mapped[str] = mapped_column(unique=True)
    delivery_id: Mapped[int]
    member_id: Mapped[int] = mapped_column(ForeignKey("member.id"), index=True)
    title: Mapped[str]
    words: Mapped[str]
    state: Mapped[TaskState] = mapped_column(default=TaskState.OPEN)
    # Whoever has taken it on.
    staff_id: Mapped[int | None] = mapped_column(ForeignKey("staff.id"))
    note: Mapped[str] = mapped_column(default="")
    made_at: Mapped[datetime]
    due_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]

    __table_args__ = (Index("ix_contact_task_open", "due_at", "id", postgresql_where=text("state = 'open'")),)


class NoticeState(enum.StrEnum):
    WAITING = "waiting"
    SENDING = "sending"
    SENT = "sent"
    INBOX = "inbox"  # It lies in the inbox, and they agreed to no other way.
    LOOKED = "looked"  # They looked before anything was sent.
    FAILED = "failed"
    UNKNOWN = "unknown"


class ServiceNotice(db.Model):
    """A word to a member that something of theirs was answered; `about` names what (`conversation:12`).

    There is one about a thing until the member has looked at it. Unless they look first, it lies in the inbox from `due_at`
    on, and one letter or text message goes where they agreed to that; `contact` is that way.
    """

    __tablename__ = "service_notice"
    id: Mapped[pk]
    member_id: Mapped[int] = mapped_column(ForeignKey("member.id"), index=True)
    about: Mapped[str]
    title: Mapped[str]
    body: Mapped[str]
    path: Mapped[str]
    made_at: Mapped[datetime]
    looked_at: Mapped[datetime | None]
    inbox_at: Mapped[datetime | None]
    state: Mapped[NoticeState] = mapped_column(default=NoticeState.WAITING)
    contact: Mapped[Contact | None]
    account_id: Mapped[int | None] = mapped_column(ForeignKey("channel_account.id"))
    tries: Mapped[int] = mapped_column(default=0)
    reason: Mapped[str | None]
    due_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]

    __table_args__ = (
        Index("uq_service_notice_about", "about", unique=True, postgresql_where=text("looked_at IS NULL")),
        Index("ix_service_notice_due", "due_at", "id", postgresql_where=text("state IN ('waiting', 'sending')")),
    )


class WecomSend(db.Model):
    """A mass send that WeCom has laid before the staff, until it is known what became of it."""

    __tablename__ = "wecom_send"
    id: Mapped[pk]
    account_id: Mapped[int] = mapped_column(ForeignKey("channel_account.id"))
    msgid: Mapped[str]
    made_at: Mapped[datetime]
    polled_at: Mapped[datetime | None]
    closed_at: Mapped[datetime | None]

    __table_args__ = (
        UniqueConstraint("account_id", "msgid"),
        Index("ix_wecom_send_open", "polled_at", postgresql_where=text("closed_at IS NULL")),
    )


class WecomRecipient(db.Model):
    """A customer of a mass send, and what became of the message to them."""

    __tablename__ = "wecom_recipient"
    send_id: Mapped[int] = mapped_column(ForeignKey("wecom_send.id", ondelete="CASCADE"), primary_key=True)
    external_id: Mapped[str] = mapped_column(primary_key=True)
    delivery_id: Mapped[int]
    member_id: Mapped[int] = mapped_column(ForeignKey("member.id"), index=True)
    # Null while the staff has not sent it.
    sent: Mapped[bool | None]
    reason: Mapped[str | None]


class InboxMessage(db.Model):
    """A message on the member's own page."""

    __tablename__ = "inbox_message"
    id: Mapped[pk]
    member_id: Mapped[int] = mapped_column(ForeignKey("member.id"))
    # "delivery:<id>" or "notice:<id>": the same message arrives once, however often it is handed over.
    key: Mapped[str] = mapped_column(unique=True)
    kind: Mapped[str]
    title: Mapped[str]
    body: Mapped[str]
    path: Mapped[str | None]
    # Products shown below the text: `{"title", "price", "url", "picture"}`.
    cards: Mapped[list[Any]] = mapped_column(default=list, server_default=text("'[]'"))
    sent_at: Mapped[datetime]
    read_at: Mapped[datetime | None]

    __table_args__ = (
        Index("ix_inbox_message_member", "member_id", text("id DESC")),
        Index("ix_inbox_message_unread", "member_id", postgresql_where=text("read_at IS NULL")),
    )


class ContactCount(db.Model):
    """How often a member was contacted on the latest day, and in its week (from Monday) and month, all and by class.

    One row carries every cap, so that one conditional upsert in the order of member ids takes them, exactly and without a
    deadlock. A count belongs to the window beside it and is 0 in a later one. Which delivery took what stands on the
    delivery (`contacted_on`).
    """

    __tablename__ = "contact_count"
    member_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    day_on: Mapped[date]
    week_on: Mapped[date]
    month_on: Mapped[date]
    # The member's rank when they were last written to: caps may differ by tier.
    rank: Mapped[int] = mapped_column(SmallInteger)
    day_total: Mapped[int] = mapped_column(SmallInteger)
    week_total: Mapped[int] = mapped_column(SmallInteger)
    month_total: Mapped[int] = mapped_column(SmallInteger)
    day_triggered: Mapped[int] = mapped_column(SmallInteger)
    week_triggered: Mapped[int] = mapped_column(SmallInteger)
    month_triggered: Mapped[int] = mapped_column(SmallInteger)
    day_repurchase: Mapped[int] = mapped_column(SmallInteger)
    week_repurchase: Mapped[int] = mapped_column(SmallInteger)
    month_repurchase: Mapped[int] = mapped_column(SmallInteger)
    day_broadcast: Mapped[int] = mapped_column(SmallInteger)
    week_broadcast: Mapped[int] = mapped_column(SmallInteger)
    month_broadcast: Mapped[int] = mapped_column(SmallInteger)

    __table_args__ = (
        CheckConstraint(
            "least(day_triggered, day_repurchase, day_broadcast, week_triggered, week_repurchase, week_broadcast, "
            "month_triggered, month_repurchase, month_broadcast) >= 0 "
            "AND day_total = day_triggered + day_repurchase + day_broadcast "
            "AND week_total = week_triggered + week_repurchase + week_broadcast "
            "AND month_total = month_triggered + month_repurchase + month_broadcast",
            name="counts",
        ),
        # A claim counts every member of a page at once, and the new versions are to find their place beside the old.
        {"postgresql_with": {"fillfactor": 50}},
    )


class FestivalEffect(enum.StrEnum):
    """What the days of a festival do to marketing messages."""

    QUIET = "quiet"  # Nothing that makes a sound is sent, all day.
    EXTRA = "extra"  # So many more than usual may be sent to each member.


class Festival(db.Model):
    """Days of the shop's calendar that change the contact budget, `[from_on, until_on)`."""

    __tablename__ = "festival"
    id: Mapped[pk]
    name: Mapped[str]
    from_on: Mapped[date]
    until_on: Mapped[date]
    effect: Mapped[FestivalEffect]
    # Messages more than usual a member and window while it lasts.
    extra: Mapped[int] = mapped_column(SmallInteger, default=0)

    __table_args__ = (
        CheckConstraint("until_on > from_on", name="span"),
        CheckConstraint("extra BETWEEN 0 AND 20", name="extra"),
        UniqueConstraint("name", "from_on"),
        Index("ix_festival_until", "until_on"),
    )
