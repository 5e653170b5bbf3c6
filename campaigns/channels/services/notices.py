"""Words to members that something of theirs was answered: the inbox, and one letter or text message where they agreed to it.

Service messages, never marketing: they count against no budget, are sent to nobody who has not agreed to service messages by
that way, and not in quiet hours. The words say that there is an answer, not what it says.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from datetime import datetime, timedelta

from flask import current_app
from sqlalchemy import ColumnElement, and_, case, delete, or_, select, update
from sqlalchemy.dialects.postgresql import insert

from kernel import clock, links, shop
from kernel.db import changed, db
from kernel.i18n import forced_locale
from kernel.i18n import gettext as _
from membership.members import queries as members
from membership.members.models import Contact, Member, Purpose

from .. import sms
from ..adapters import Message, Outcome, Status
from ..models import Account, ChannelKind, DeadAddress, InboxMessage, NoticeState, ServiceNotice
from . import addresses, rates, texts
from .accounts import environment_account
from .budget import quiet_until
from .inbox import put_into_inbox

# Whoever sits before the page has seen the answer by then, and is told nothing.
GRACE = timedelta(minutes=1)
TRIES = 4
FIRST_RETRY = timedelta(minutes=1)
# What could not be sent for so long is no news any more.
STALE = timedelta(days=2)
# A sender that gave no sign for so long is dead; what it was sending is in doubt.
LOST = timedelta(minutes=5)
KEPT = timedelta(days=180)
KINDS = {Contact.EMAIL: ChannelKind.EMAIL, Contact.SMS: ChannelKind.SMS}
# Before what a notice is about, when it asks how content somebody is.
RATING = "rating:"


def tell(member_id: int, about: str, title: str, body: str, path: str) -> bool:
    """Have a member told that the thing `about` was answered; returns False while they have not looked since the last time.

    `path` leads to it; its first part must suit everybody, for text messages may only have links that are the same for all.
    """
    return _write(member_id, about, title, body, path)


def ask_how(member_id: int, about: str, title: str, body: str, path: str) -> bool:
    """Ask a member how content they are with the thing `about`; returns False while they have not looked at it since the last
    time they were told of it. Never by text message: the words that providers approve speak of an answer.
    """
    open_already = select(ServiceNotice.id).where(ServiceNotice.about == about, ServiceNotice.looked_at.is_(None))
    if db.session.scalar(open_already) is not None:
        return False
    return _write(member_id, f"{RATING}{about}", title, body, path)


def _write(member_id: int, about: str, title: str, body: str, path: str) -> bool:
    now = clock.now()
    written = db.session.scalar(
        insert(ServiceNotice)
        .values(
            member_id=member_id,
            about=about,
            title=title,
            body=body,
            path=path,
            made_at=now,
            state=NoticeState.WAITING,
            tries=0,
            due_at=now + GRACE,
        )
        .on_conflict_do_nothing(index_elements=[ServiceNotice.about], index_where=ServiceNotice.looked_at.is_(None))
        .returning(ServiceNotice.id)
    )
    return written is not None


def looked(about: str) -> None:
    """The member has looked at it: what was not sent is not, its message in the inbox is read, the next answer is told again."""
    _looked(ServiceNotice.about.in_((about, f"{RATING}{about}")))


def looked_into_inbox(member_id: int) -> None:
    """The member reads their messages: what those say is known, and the next answer is told again.

    Called before the messages themselves are marked as read.
    """
    _looked(ServiceNotice.member_id == member_id, ServiceNotice.inbox_at.is_not(None))


def _looked(*which: ColumnElement[bool]) -> None:
    """Notices are locked in the order of their numbers, and before the messages, so that no two who look wait for each other."""
    now = clock.now()
    ids = db.session.scalars(
        select(ServiceNotice.id)
        .where(ServiceNotice.looked_at.is_(None), *which)
        .order_by(ServiceNotice.id)
        .with_for_update()
    ).all()
    if not ids:
        return
    waits = ServiceNotice.state == NoticeState.WAITING
    db.session.execute(
        update(ServiceNotice)
        .where(ServiceNotice.id.in_(ids))
        .values(
            looked_at=now,
            state=case((waits, NoticeState.LOOKED), else_=ServiceNotice.state),
            ended_at=case((waits, now), else_=ServiceNotice.ended_at),
        )
        .execution_options(synchronize_session=False)
    )
    db.session.execute(
        update(InboxMessage)
        .where(InboxMessage.key.in_([f"service:{one}" for one in ids]), InboxMessage.read_at.is_(None))
        .values(read_at=now)
        .execution_options(synchronize_session=False)
    )


@dataclass(frozen=True)
class Letter:
    """A message that may go now, and over which account; `tries` counts this one."""

    notice_id: int
    account_id: int
    contact: Contact
    tries: int
    message: Message


class Turn(enum.Enum):
    """What became of a turn that brought no letter to send."""

    ON = "on"  # A notice was dealt with or has to wait longer, and there may be more.
    OVER = "over"  # There is none whose time has come.


def take_letter() -> Letter | Turn:
    """Take the next notice whose time has come; if it goes further than the inbox, mark that it is being sent.

    One notice a turn: the caller commits before it sends, and before it asks again.
    """
    now = clock.now()
    _give_up(now)
    notice = _next(now)
    if notice is None:
        return Turn.OVER
    member = db.session.get_one(Member, notice.member_id)
    turn: Letter | Turn = Turn.ON
    if member.erased_at is not None:
        notice.state, notice.ended_at = NoticeState.LOOKED, now
    else:
        if notice.inbox_at is None:
            put_into_inbox(member.id, f"service:{notice.id}", "service", notice.title, notice.body, notice.path)
            notice.inbox_at = now
        turn = _letter(notice, member, now)
    db.session.flush()
    return turn


def _give_up(now: datetime) -> None:
    db.session.execute(
        update(ServiceNotice)
        .where(ServiceNotice.state == NoticeState.SENDING, ServiceNotice.due_at < now - LOST)
        .values(state=NoticeState.UNKNOWN, reason="no_answer", ended_at=now)
        .execution_options(synchronize_session=False)
    )
    db.session.execute(
        update(ServiceNotice)
        .where(
            ServiceNotice.state == NoticeState.WAITING,
            ServiceNotice.inbox_at.is_not(None),
            ServiceNotice.made_at < now - STALE,
        )
        .values(state=NoticeState.FAILED, reason="too_late", ended_at=now)
        .execution_options(synchronize_session=False)
    )


def _next(now: datetime) -> ServiceNotice | None:
    found: ServiceNotice | None = db.session.scalar(
        select(ServiceNotice)
        .where(
            ServiceNotice.state == NoticeState.WAITING,
            ServiceNotice.due_at <= now,
            ServiceNotice.looked_at.is_(None),
        )
        .order_by(ServiceNotice.due_at, ServiceNotice.id)
        .limit(1)
        .with_for_update(skip_locked=True)
        .execution_options(populate_existing=True)
    )
    return found


def _letter(notice: ServiceNotice, member: Member, now: datetime) -> Letter | Turn:
    """The letter or text message of a notice, or that there is no way to send one, or that it has to wait."""
    fitting = [way for way in KINDS if way is not Contact.SMS or not notice.about.startswith(RATING)]
    ways = [way for way in fitting if _address(member, way)]
    if ways and (quiet := quiet_until(now)) is not None:
        notice.due_at = quiet
        return Turn.ON
    for way in ways:
        for account in _accounts(KINDS[way]):
            words = _words(account, way, notice, member)
            if words is None:
                continue
            if account.retry_at is not None and account.retry_at > now:
                notice.due_at = account.retry_at
                return Turn.ON
            drawn = rates.take_tokens((Account, account.id), rates.rates_of(account), 1)
            if not drawn.granted:
                notice.due_at = now + timedelta(seconds=max(drawn.wait, 1.0))
                return Turn.ON
            notice.state, notice.due_at, notice.tries = NoticeState.SENDING, now, notice.tries + 1
            notice.contact, notice.account_id = way, account.id
            message = Message(
                key=f"service:{notice.id}",
                delivery_id=0,
                member_id=member.id,
                address=_address(member, way) or "",
                subject=notice.title,
                body=words,
                path=notice.path,
                kind="service",
            )
            return Letter(notice.id, account.id, way, notice.tries, message)
    notice.state, notice.ended_at = NoticeState.INBOX, now
    return Turn.ON


def _address(member: Member, way: Contact) -> str | None:
    """Where a member may be written to about their own affairs by a way: their address, if it works and they agreed."""
    address = member.email if way is Contact.EMAIL else member.phone
    if not address or not members.has_consent(member.id, way, Purpose.SERVICE):
        return None
    dead = select(DeadAddress.id).where(
        DeadAddress.member_id == member.id, DeadAddress.contact == way, DeadAddress.address == address
    )
    return None if db.session.scalar(dead) is not None else address


def _accounts(kind: ChannelKind) -> list[Account]:
    if kind is ChannelKind.EMAIL and current_app.extensions["settings"].smtp_url:
        environment_account()
    return list(
        db.session.scalars(
            select(Account).where(Account.kind == kind, Account.paused_at.is_(None)).order_by(Account.id)
        )
    )


def _words(account: Account, way: Contact, notice: ServiceNotice, member: Member) -> str | None:
    """What is said over an account, or None where its provider has approved no words for it."""
    with forced_locale(member.locale):
        if way is Contact.EMAIL:
            why = _("You get this because you agreed to e-mails about your own affairs.")
            return f"{notice.body}\n\n{links.absolute(notice.path)}\n\n{shop.shop_name()}\n{why}"
        fixed = links.absolute("/" + notice.path.split("/")[1])
        said = _("We have answered you: %(link)s", link=fixed)
    body = f"【{texts.terms_of(account).signature}】{said}"
    if account.settings.get("provider") == "aliyun":
        body = texts.answered_text(account) or ""
    try:
        texts.check(account, body, marketing=False)
    except (sms.SignatureMissing, sms.LinkPersonal, sms.MessageTooLong, sms.TemplateUnknown):
        return None
    return body


def note_letter(letter: Letter, outcome: Outcome) -> None:
    """Write down what became of a letter. What is in doubt is never sent again by itself."""
    now = clock.now()
    values: dict[str, object] = {"reason": outcome.reason[:300] or None}
    match outcome.status:
        case Status.ACCEPTED:
            values |= {"state": NoticeState.SENT, "ended_at": now}
        case Status.RETRY if letter.tries < TRIES or outcome.down:
            wait = outcome.after or FIRST_RETRY * 4 ** (letter.tries - 1)
            values |= {"state": NoticeState.WAITING, "due_at": now + min(wait, timedelta(hours=1))}
        case Status.UNKNOWN:
            values |= {"state": NoticeState.UNKNOWN, "ended_at": now}
        case _:
            values |= {"state": NoticeState.FAILED, "ended_at": now}
    db.session.execute(
        update(ServiceNotice)
        .where(ServiceNotice.id == letter.notice_id, ServiceNotice.state == NoticeState.SENDING)
        .values(**values)
        .execution_options(synchronize_session=False)
    )
    # Whoever looked while a try was under way is not written to again.
    db.session.execute(
        update(ServiceNotice)
        .where(
            ServiceNotice.id == letter.notice_id,
            ServiceNotice.state == NoticeState.WAITING,
            ServiceNotice.looked_at.is_not(None),
        )
        .values(state=NoticeState.LOOKED, ended_at=now)
        .execution_options(synchronize_session=False)
    )
    if outcome.bounced:
        addresses.give_up(letter.message.member_id, letter.message.address, outcome.reason, letter.contact)


def forget_notices() -> int:
    """Forget what was said half a year ago, looked at or not, and soon what nobody had to be told; returns how many."""
    now = clock.now()
    return changed(
        db.session.execute(
            delete(ServiceNotice).where(
                or_(
                    ServiceNotice.ended_at < now - KEPT,
                    and_(ServiceNotice.state == NoticeState.LOOKED, ServiceNotice.looked_at < now - STALE),
                )
            )
        )
    )
