"""What group robots say in their chats: posts that were published, and notices to the staff. Each is said once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import or_, select, update
from sqlalchemy.dialects.postgresql import insert

from kernel import clock
from kernel.db import changed, db

from ..adapters import Outcome, Status
from ..models import Account, ChannelKind, Posting, PostingState
from . import rates

TRIES = 5
FIRST_RETRY = timedelta(seconds=30)
# What is older than this is no news any more.
STALE = timedelta(days=1)
# A sender that gave no sign for so long is dead; what it was saying is in doubt.
LOST = timedelta(minutes=2)


def queue(account_id: int, key: str, title: str, body: str, path: str | None = None) -> bool:
    """Let a robot say something; returns False when it has been given the same already."""
    now = clock.now()
    written = db.session.scalar(
        insert(Posting)
        .values(
            account_id=account_id,
            key=key,
            title=title,
            body=body,
            path=path,
            state=PostingState.WAITING,
            tries=0,
            due_at=now,
            made_at=now,
        )
        .on_conflict_do_nothing(index_elements=["account_id", "key"])
        .returning(Posting.id)
    )
    return written is not None


def robots(notices: bool | None = None, group_ids: Sequence[int] = ()) -> list[Account]:
    """The robots that tell the staff, or those that pass on the posts of any of these groups."""
    found = db.session.scalars(select(Account).where(Account.kind == ChannelKind.ROBOT).order_by(Account.id))
    return [
        robot
        for robot in found
        if (notices and robot.settings.get("notices"))
        or (group_ids and set(robot.settings.get("groups") or ()).intersection(group_ids))
    ]


def tell_staff(key: str, title: str, body: str, path: str | None = None) -> int:
    """Tell the staff something in every chat that is set up for it, once under a key; returns how many chats are told."""
    return sum(queue(robot.id, f"notice:{key}", title, body, path) for robot in robots(notices=True))


@dataclass(frozen=True)
class Due:
    """A posting that may go now; `tries` counts this one."""

    id: int
    account_id: int
    key: str
    title: str
    body: str
    path: str | None
    tries: int


def take_due() -> Due | None:
    """Take the next posting whose robot may speak now, and mark that it is being said. The caller commits before it speaks."""
    now = clock.now()
    db.session.execute(
        update(Posting)
        .where(Posting.state == PostingState.SENDING, Posting.due_at < now - LOST)
        .values(state=PostingState.UNKNOWN, reason="no_answer", ended_at=now)
    )
    db.session.execute(
        update(Posting)
        .where(Posting.state == PostingState.WAITING, Posting.made_at < now - STALE)
        .values(state=PostingState.FAILED, reason="too_late", ended_at=now)
    )
    found = db.session.execute(
        select(Posting, Account)
        .join(Account, Account.id == Posting.account_id)
        .where(
            Posting.state == PostingState.WAITING,
            Posting.due_at <= now,
            Account.paused_at.is_(None),
            or_(Account.retry_at.is_(None), Account.retry_at <= now),
        )
        .order_by(Posting.due_at, Posting.id)
        .limit(1)
        .with_for_update(of=Posting, skip_locked=True)
    ).one_or_none()
    if found is None:
        return None
    posting, account = found
    drawn = rates.take_tokens((Account, account.id), rates.rates_of(account), 1)
    if not drawn.granted:
        _put_off(account.id, now + timedelta(seconds=drawn.wait))
        return take_due()
    posting.state, posting.due_at, posting.tries = PostingState.SENDING, now, posting.tries + 1
    db.session.flush()
    return Due(posting.id, account.id, posting.key, posting.title, posting.body, posting.path, posting.tries)


def _put_off(account_id: int, until: datetime) -> None:
    """Let everything that a robot has to say wait until it may speak again."""
    db.session.execute(
        update(Posting)
        .where(Posting.account_id == account_id, Posting.state == PostingState.WAITING, Posting.due_at < until)
        .values(due_at=until)
        .execution_options(synchronize_session=False)
    )


def note_posting(due: Due, outcome: Outcome) -> None:
    """Write down what became of a posting. What is in doubt is never said again by itself."""
    now = clock.now()
    values: dict[str, object] = {"reason": outcome.reason[:300] or None}
    match outcome.status:
        case Status.ACCEPTED:
            values |= {"state": PostingState.SENT, "ended_at": now}
        case Status.RETRY if due.tries < TRIES or outcome.down:
            wait = outcome.after or FIRST_RETRY * 4 ** (due.tries - 1)
            values |= {"state": PostingState.WAITING, "due_at": now + min(wait, timedelta(hours=1))}
        case Status.UNKNOWN:
            values |= {"state": PostingState.UNKNOWN, "ended_at": now}
        case _:
            values |= {"state": PostingState.FAILED, "ended_at": now}
    db.session.execute(
        update(Posting).where(Posting.id == due.id, Posting.state == PostingState.SENDING).values(**values)
    )


def say_again(posting_id: int) -> bool:
    """Let a posting that failed or is in doubt be said again, because somebody looked into the chat."""
    now = clock.now()
    return bool(
        changed(
            db.session.execute(
                update(Posting)
                .where(Posting.id == posting_id, Posting.state.in_([PostingState.FAILED, PostingState.UNKNOWN]))
                .values(state=PostingState.WAITING, due_at=now, made_at=now, tries=0, reason=None, ended_at=None)
            )
        )
    )
