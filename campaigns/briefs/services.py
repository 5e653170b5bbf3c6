"""The verbs: who wants the brief when, and each day's copy of it (`campaigns.channels.copies` hands it over once)."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy import delete, func, select
from sqlalchemy.dialects.postgresql import insert

from campaigns.channels import copies
from campaigns.channels.adapters import Message
from campaigns.channels.copies import CopyState
from campaigns.channels.models import Account, ChannelKind
from kernel import clock, links
from kernel.auth import reading_as
from kernel.db import changed, db
from kernel.i18n import LOCALES
from kernel.staff.models import Staff

from . import letters, rules
from .models import BriefCopy, BriefMail

log = logging.getLogger(__name__)
# So long a list of what was sent is of use to anybody.
KEPT = timedelta(days=30)
PURPOSE = "brief"


def mail_account() -> Account | None:
    """The account over which briefs go: the first e-mail account that does not stand still, or None."""
    return db.session.scalar(
        select(Account)
        .where(Account.kind == ChannelKind.EMAIL, Account.paused_at.is_(None))
        .order_by(Account.id)
        .limit(1)
    )


def wish_of(staff_id: int) -> BriefMail | None:
    """How somebody gets their brief by e-mail; None when they do not."""
    return db.session.get(BriefMail, staff_id)


def wish(staff_id: int, hour: int, also_empty: bool, locale: str) -> None:
    """Let somebody's brief go to them by e-mail at an hour of the shop's day (0 to 23), from the next such hour on."""
    if hour not in range(24) or locale not in LOCALES:
        raise ValueError("no hour of a day, or no language of ours")
    values = {"hour": hour, "also_empty": also_empty, "locale": locale, "since": clock.now()}
    db.session.execute(
        insert(BriefMail)
        .values(staff_id=staff_id, **values)
        .on_conflict_do_update(index_elements=["staff_id"], set_=values)
    )


def stop(staff_id: int) -> None:
    """No more briefs by e-mail to somebody; whoever gets none stays as they are."""
    db.session.execute(delete(BriefMail).where(BriefMail.staff_id == staff_id))


def copies_of(staff_id: int, limit: int = 7) -> Sequence[BriefCopy]:
    """The latest copies of somebody."""
    return db.session.scalars(
        select(BriefCopy).where(BriefCopy.staff_id == staff_id).order_by(BriefCopy.day.desc()).limit(limit)
    ).all()


def stop_path(staff_id: int) -> str:
    """The path of the link under a brief with which its reader stops it. It never expires."""
    return f"/console/briefs/u/{links.make(PURPOSE, staff_id)}"


def read_stop(token: str) -> Staff:
    """Whose briefs a link stops. Refuses with `LinkInvalid`."""
    parts = links.read(PURPOSE, token)
    person = db.session.get(Staff, int(parts[0])) if len(parts) == 1 and parts[0].isdigit() else None
    if person is None:
        raise links.LinkInvalid
    return person


def letter_of(person: Staff, locale: str) -> letters.Letter:
    """The brief of somebody in whose name is being read, as it would go at this moment."""
    return letters.compose(person, locale, links.absolute(stop_path(person.id)))


# ── Sending ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def write_copies() -> int:
    """Write today's copies of those whose hour has come; each exists once. Returns how many are new."""
    now, today = clock.now(), clock.today()
    wished = select(BriefMail).join(Staff, Staff.id == BriefMail.staff_id).where(Staff.disabled_at.is_(None))
    rows = [
        {"staff_id": one.staff_id, "day": today, "state": CopyState.WAITING, "attempts": 0, "changed_at": now}
        for one in db.session.scalars(wished.order_by(BriefMail.staff_id))
        if rules.is_due(clock.at(today, one.hour), one.since, now)
    ]
    db.session.execute(delete(BriefCopy).where(BriefCopy.day < today - KEPT))
    if not rows:
        return 0
    return changed(db.session.execute(insert(BriefCopy).values(rows).on_conflict_do_nothing()))


def take_due() -> copies.Due | None:
    """Take the next copy in hand: its intent is committed with the caller's transaction. None when nothing is due.

    What is due for somebody who stopped it meanwhile, for whom nothing is to do, or that waited too long, is settled on the way.
    """
    now, account = clock.now(), mail_account()
    while True:
        row = db.session.execute(
            select(BriefCopy, BriefMail, Staff)
            .join(Staff, Staff.id == BriefCopy.staff_id)
            .outerjoin(BriefMail, BriefMail.staff_id == BriefCopy.staff_id)
            .where(BriefCopy.state == CopyState.WAITING, func.coalesce(BriefCopy.retry_at, now) <= now)
            .order_by(BriefCopy.day, BriefCopy.staff_id)
            .limit(1)
            .with_for_update(of=BriefCopy, skip_locked=True)
        ).one_or_none()
        if row is None:
            return None
        copy, wished, person = row
        if wished is None or person.disabled_at is not None:
            copies.move(copy, CopyState.WAITING, CopyState.FAILED, failure="stopped")
        elif copy.day != clock.today() or now >= clock.at(copy.day, wished.hour) + rules.LATEST:
            copies.move(copy, CopyState.WAITING, CopyState.FAILED, failure="late")
        elif account is None:
            _later(copy, "no mail server")
        elif (due := _begun(copy, wished, person, account)) is not None:
            return due


def _begun(copy: BriefCopy, wished: BriefMail, person: Staff, account: Account) -> copies.Due | None:
    """Write a copy's intent, or settle what is not to go; a task that cannot be read holds nobody else's brief up."""
    try:
        with db.session.begin_nested(), reading_as(person):
            letter = letter_of(person, wished.locale)
    except Exception as error:
        log.exception("a brief could not be written")
        _later(copy, type(error).__name__)
        return None
    if not letter.due and not wished.also_empty:
        copies.move(copy, CopyState.WAITING, CopyState.NOTHING)
        return None
    message = Message(
        key=f"brief:{person.id}.{copy.day.isoformat()}",
        delivery_id=0,
        member_id=0,
        address=person.email,
        subject=letter.subject,
        body=letter.body,
        unsubscribe=links.absolute(stop_path(person.id)),
        kind="report",
    )
    return copies.begin(copy, account.id, message)


def _later(copy: BriefCopy, failure: str) -> None:
    """A copy that nothing was tried with yet waits, each time for longer, until it is too late."""
    attempts = min(copy.attempts + 1, copies.TRIES)
    retry_at = clock.now() + copies.wait_of(attempts)
    copies.move(copy, CopyState.WAITING, CopyState.WAITING, attempts=attempts, failure=failure, retry_at=retry_at)
