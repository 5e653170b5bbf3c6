"""Accounts and their health, rates, the contact budget, and the inbox."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from typing import Any

from sqlalchemy import BigInteger, Date, bindparam, case, func, select, update
from sqlalchemy.dialects.postgresql import ARRAY, insert

from kernel import audit, clock, shop
from kernel.db import changed, db
from kernel.i18n import gettext as _

from . import rules
from .models import Account, ChannelKind, ContactLedger, InboxMessage

# ── The inbox ───────────────────────────────────────────────────────────────────────────────────────────────────────


def inbox_account() -> Account:
    """The account of the inbox; it is always there."""
    found = db.session.scalar(select(Account).where(Account.kind == ChannelKind.INBOX))
    if found is None:
        db.session.execute(
            insert(Account)
            .values(
                name="inbox", kind=ChannelKind.INBOX, settings={}, tokens=0.0, errors_in_row=0, created_at=clock.now()
            )
            .on_conflict_do_nothing()
        )
        found = db.session.scalars(select(Account).where(Account.kind == ChannelKind.INBOX)).one()
    return found


def put_into_inbox(member_id: int, key: str, kind: str, title: str, body: str, path: str | None = None) -> bool:
    """Write one message to a member's page; returns False when one with this key lies there already."""
    written = db.session.scalar(
        insert(InboxMessage)
        .values(member_id=member_id, key=key, kind=kind, title=title, body=body, path=path, sent_at=clock.now())
        .on_conflict_do_nothing(index_elements=[InboxMessage.key])
        .returning(InboxMessage.id)
    )
    return written is not None


def mark_read(member_id: int, message_ids: Iterable[int] | None = None) -> int:
    """Mark a member's messages as read, all of them or those given; returns how many were unread."""
    statement = (
        update(InboxMessage)
        .where(InboxMessage.member_id == member_id, InboxMessage.read_at.is_(None))
        .values(read_at=clock.now())
        .execution_options(synchronize_session=False)
    )
    if message_ids is not None:
        statement = statement.where(InboxMessage.id.in_(list(message_ids)))
    return changed(db.session.execute(statement))


# ── Rates ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def take_tokens(row: Any, rate: int | None, wanted: int) -> rules.Draught:
    """Take up to `wanted` messages from the bucket of an account or a run, a row locked for the moment.

    `row` is a mapped class with its id, such as `(Account, 3)`. Without a rate everything is granted and nothing locked.
    """
    if rate is None:
        return rules.Draught(wanted, 0.0, 0.0)
    model, row_id = row
    held = db.session.execute(select(model.tokens, model.tokens_at).where(model.id == row_id).with_for_update()).one()
    now = clock.now()
    taken = rules.draw(held.tokens, held.tokens_at, rate, now, wanted)
    db.session.execute(
        update(model)
        .where(model.id == row_id)
        .values(tokens=taken.tokens, tokens_at=now)
        .execution_options(synchronize_session=False)
    )
    return taken


def return_tokens(row: Any, rate: int | None, unused: int) -> None:
    """Put back what a claim did not use; the bucket never holds more than its size."""
    if rate is None or unused <= 0:
        return
    model, row_id = row
    db.session.execute(
        update(model)
        .where(model.id == row_id)
        .values(tokens=func.least(model.tokens + unused, float(max(rate, 1))))
        .execution_options(synchronize_session=False)
    )


# ── Health ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def note_accepted(account_id: int) -> None:
    """A message was taken: whatever went wrong before is over."""
    db.session.execute(
        update(Account)
        .where(Account.id == account_id)
        .values(errors_in_row=0, retry_at=None, last_accepted_at=clock.now())
        .execution_options(synchronize_session=False)
    )


def note_errors(account_id: int, errors: int, reason: str, down: bool = False, after: timedelta | None = None) -> bool:
    """Count errors in a row; at twenty the account is paused with the reason. Returns whether it is paused now.

    With `down` the account could not be reached at all and rests for a while, longer each time or as long as `after` says.
    """
    now = clock.now()
    row = db.session.execute(
        update(Account)
        .where(Account.id == account_id)
        .values(errors_in_row=Account.errors_in_row + errors, last_error=reason[:500], last_error_at=now)
        .returning(Account.errors_in_row, Account.paused_at)
        .execution_options(synchronize_session=False)
    ).one()
    values: dict[str, Any] = {}
    if down:
        values["retry_at"] = now + (after or rules.backoff(row.errors_in_row))
    if row.errors_in_row >= rules.BREAKER and row.paused_at is None:
        values["paused_at"] = now
        values["pause_reason"] = reason[:500]
        audit.record("channel_account.paused", "channel_account", account_id, after={"reason": reason[:500]})
    if values:
        db.session.execute(
            update(Account)
            .where(Account.id == account_id)
            .values(**values)
            .execution_options(synchronize_session=False)
        )
    return row.paused_at is not None or "paused_at" in values


# ── The contact budget ──────────────────────────────────────────────────────────────────────────────────────────────


def budget() -> rules.Budget:
    """The contact budget in force."""
    standard = rules.Budget()
    return rules.Budget(
        shop.get("contact.per_day", standard.per_day), shop.get("contact.per_month", standard.per_month)
    )


def quiet_hours() -> rules.Quiet:
    """The quiet hours in force."""
    standard = rules.Quiet()
    return rules.Quiet(
        time.fromisoformat(shop.get("quiet.from", standard.since.isoformat("minutes"))),
        time.fromisoformat(shop.get("quiet.until", standard.until.isoformat("minutes"))),
    )


def quiet_until(now: datetime) -> datetime | None:
    """When the quiet hours that hold at an instant end, or None when it is not quiet."""
    return rules.quiet_end(clock.local(now), quiet_hours())


_members = bindparam("member_ids", type_=ARRAY(BigInteger))
_today = bindparam("today", type_=Date)
_month = bindparam("month", type_=Date)
_wanted = select(func.unnest(_members).label("member_id")).cte("wanted")
_ledger = ContactLedger.__table__
_new = insert(_ledger).from_select(
    ["member_id", "month_on", "total", "day_on", "day_total"],
    select(_wanted.c.member_id, _month, 1, _today, 1).order_by(_wanted.c.member_id),
)
_day_total = case((ContactLedger.day_on >= _today, ContactLedger.day_total), else_=0)
# One statement takes both caps. A claimer whose clock is a day behind another's counts on the later day.
_RESERVE = _new.on_conflict_do_update(
    index_elements=[ContactLedger.member_id, ContactLedger.month_on],
    set_={
        "total": ContactLedger.total + 1,
        "day_on": func.greatest(ContactLedger.day_on, _today),
        "day_total": _day_total + 1,
    },
    where=(ContactLedger.total < bindparam("per_month", type_=BigInteger))
    & (_day_total < bindparam("per_day", type_=BigInteger)),
).returning(ContactLedger.member_id)
_REFUSED = select(ContactLedger.member_id, ContactLedger.total).where(
    ContactLedger.month_on == _month, ContactLedger.member_id == func.any(_members)
)
_UNLIMITED = 2**62


def reserve_contacts(member_ids: Sequence[int], today: date, caps: rules.Budget) -> dict[int, str]:
    """Take one contact of each member's budget for a business date; returns those refused with `day` or `month`.

    The rows are locked in the order of member ids until the caller's transaction ends, whatever several claimers do at
    once: no cap is ever passed, and none of them waits for another in a circle. Ids must be distinct.
    """
    if not member_ids or (caps.per_day == 0 or caps.per_month == 0):
        return dict.fromkeys(member_ids, "day" if caps.per_day == 0 else "month")
    window = {"member_ids": sorted(member_ids), "month": rules.month_of(today)}
    limits = {
        "per_day": _UNLIMITED if caps.per_day is None else caps.per_day,
        "per_month": _UNLIMITED if caps.per_month is None else caps.per_month,
    }
    granted = set(db.session.execute(_RESERVE, {**window, "today": today, **limits}).scalars())
    refused = [m for m in member_ids if m not in granted]
    if not refused:
        return {}
    totals = dict(db.session.execute(_REFUSED, {**window, "member_ids": refused}).all())
    return {m: "month" if totals.get(m, 0) >= limits["per_month"] else "day" for m in refused}


_given = (
    select(func.unnest(_members).label("member_id"), func.unnest(bindparam("days", type_=ARRAY(Date))).label("day_on"))
).subquery("given")
_locked = (
    select(ContactLedger.member_id, ContactLedger.month_on, _given.c.day_on)
    .join(
        _given,
        (_given.c.member_id == ContactLedger.member_id)
        & (ContactLedger.month_on == func.date_trunc("month", _given.c.day_on).cast(Date)),
    )
    .order_by(ContactLedger.member_id, ContactLedger.month_on)
    .with_for_update(of=ContactLedger)
    .cte("locked")
)
_RELEASE = (
    update(_ledger)
    .where(ContactLedger.member_id == _locked.c.member_id, ContactLedger.month_on == _locked.c.month_on)
    .values(
        total=ContactLedger.total - 1,
        day_total=ContactLedger.day_total - case((ContactLedger.day_on == _locked.c.day_on, 1), else_=0),
    )
)


def release_contacts(taken: Mapping[int, date]) -> None:
    """Give back what `reserve_contacts` took for members on a date. The caller knows from its own rows that they hold it."""
    if taken:
        members = sorted(taken)
        db.session.execute(_RELEASE, {"member_ids": members, "days": [taken[m] for m in members]})


def shown_name(account: Account) -> str:
    """An account's name as staff read it."""
    return str(_("Inbox on the member's page")) if account.kind == ChannelKind.INBOX else account.name


def rests_until(account: Account, now: datetime) -> datetime | None:
    """Until when an account tries nothing after failed connections, or None."""
    return account.retry_at if account.retry_at is not None and account.retry_at > now else None
