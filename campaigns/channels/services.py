"""Accounts and their health, rates, the contact budget, and the inbox."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from typing import Any
from urllib.parse import urlsplit

from flask import current_app
from sqlalchemy import BigInteger, Date, bindparam, case, func, select, update
from sqlalchemy.dialects.postgresql import ARRAY, insert

from kernel import audit, clock, links, shop
from kernel.db import changed, db
from kernel.errors import NotFound
from kernel.i18n import gettext as _

from . import rules
from .adapters import Message, Outcome, Status
from .adapters.email import Email, parse_url
from .models import Account, ChannelKind, ContactLedger, InboxMessage
from .sealing import seal

_LINK = re.compile(r"https?://[^\s<>\"'，。！？；：、）】》]+")

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


def accounts() -> Sequence[Account]:
    """Every account, the inbox first; a mail server that the environment names has one too."""
    inbox_account()
    if current_app.extensions["settings"].smtp_url:
        environment_account()
    return db.session.scalars(select(Account).order_by(Account.kind != ChannelKind.INBOX, Account.id)).all()


def environment_account() -> Account:
    """The account of the mail server that `SMTP_URL` names."""
    found = db.session.scalar(select(Account).where(Account.settings["environment"].as_boolean()))
    if found is None:
        found = Account(name="SMTP_URL", kind=ChannelKind.EMAIL, settings={"environment": True}, created_at=clock.now())
        db.session.add(found)
        db.session.flush()
    return found


def get_account(account_id: int) -> Account:
    """One account; refuses with `NotFound`."""
    found = db.session.get(Account, account_id)
    if found is None:
        raise NotFound
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


def in_parts(text: str) -> list[tuple[str, str | None]]:
    """A message's text in pieces: (words, None), and (words, address) for each link in it.

    A link of the message's own says what it is; its address is long and means nothing to anybody.
    """
    own = links.absolute("/l/")
    pieces: list[tuple[str, str | None]] = []
    at = 0
    for found in _LINK.finditer(text):
        if found.start() > at:
            pieces.append((text[at : found.start()], None))
        pieces.append((str(_("Open the link")) if found[0].startswith(own) else found[0], found[0]))
        at = found.end()
    if at < len(text):
        pieces.append((text[at:], None))
    return pieces


# ── Accounts ────────────────────────────────────────────────────────────────────────────────────────────────────────


def save_account(
    kind: ChannelKind,
    name: str,
    settings: dict[str, Any],
    rate_per_second: int | None,
    secret: str | None,
    account: Account | None = None,
) -> Account:
    """Set an account up, or change one; a secret of None keeps the present one. The secret never goes into the audit."""
    before = {"name": account.name, **account.settings} if account is not None else None
    if account is None:
        account = Account(kind=kind, created_at=clock.now())
        db.session.add(account)
    account.name = " ".join(name.split())
    account.settings = settings
    account.rate_per_second = rate_per_second
    if secret is not None:
        account.secret = seal(secret)
    db.session.flush()
    audit.record("channel_account.saved", "channel_account", account.id, before, {"name": account.name, **settings})
    return account


def pause_account(account: Account, reason: str) -> None:
    """Send nothing over an account until it is let go on."""
    if account.paused_at is None:
        account.paused_at, account.pause_reason = clock.now(), reason
        audit.record("channel_account.paused", "channel_account", account.id, after={"reason": reason})


def resume_account(account: Account) -> None:
    """Let an account go on, with its errors forgotten."""
    account.paused_at = account.pause_reason = account.retry_at = None
    account.errors_in_row = 0
    audit.record("channel_account.resumed", "channel_account", account.id)


def ask_test(account: Account, address: str) -> None:
    """Note that a test is to be sent; a job sends it."""
    account.tested_at, account.tested_to = clock.now(), address
    account.test_outcome = account.test_passed = None
    audit.record("channel_account.tested", "channel_account", account.id)


def test_key(account: Account) -> str:
    """The key of an account's latest test."""
    return f"test:{account.id}.{int(account.tested_at.timestamp()) if account.tested_at else 0}"


def note_test(account_id: int, outcome: Outcome) -> None:
    """Write down what became of a test. One that was taken ends a rest, but no pause: somebody decides that."""
    account = get_account(account_id)
    account.test_passed = outcome.status is Status.ACCEPTED
    account.test_outcome = str(outcome.reason or outcome.provider_id or outcome.status.value)[:500]
    if account.test_passed:
        account.retry_at = None
        if account.paused_at is None:
            account.errors_in_row = 0


class MailFailed(Exception):
    """The mail server did not take a message."""


def mail_code(address: str, code: str) -> None:
    """Send a one-time sign-in code to an address, over the mail server of the environment.

    Raises `MailFailed` when it is not taken; no transaction may be open, for the mail server may be slow.
    """
    site = urlsplit(current_app.extensions["settings"].site_url).hostname or "localhost"
    server = parse_url(current_app.extensions["settings"].smtp_url or "", site)
    name = shop.shop_name()
    message = Message(
        key=f"code:{secrets.token_hex(12)}",
        delivery_id=0,
        member_id=0,
        address=address,
        subject=str(_("%(code)s is your code for %(shop)s", code=code, shop=name)),
        body=str(
            _("Your code is %(code)s. It is good for 10 minutes. If you did not ask for it, do nothing.", code=code)
        ),
        kind="code",
    )
    adapter = Email(replace(server, sender_name=server.sender_name or name))
    outcome = adapter.submit([message])[0]
    adapter.close()
    if outcome.status is not Status.ACCEPTED:
        raise MailFailed(outcome.reason)


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


def holdout_percent() -> float:
    """How many percent of all members are held out of every push."""
    return float(shop.get("holdout.percent", 5))


def set_budget(per_day: int | None, per_month: int | None, quiet_from: str, quiet_until: str, holdout: float) -> None:
    """Set the contact budget (None is no cap), the quiet hours (`22:00`) and the hold-out (percent)."""
    values = {
        "contact.per_day": per_day,
        "contact.per_month": per_month,
        "quiet.from": quiet_from,
        "quiet.until": quiet_until,
        "holdout.percent": holdout,
    }
    before = {key: shop.get(key) for key in values}
    for key, value in values.items():
        shop.put(key, value)
    audit.record("contact_budget.changed", "shop", None, before, values)


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
).returning(ContactLedger.member_id, ContactLedger.day_on)
_REFUSED = select(ContactLedger.member_id, ContactLedger.total).where(
    ContactLedger.month_on == _month, ContactLedger.member_id == func.any(_members)
)
_UNLIMITED = 2**62


@dataclass(frozen=True)
class Reserved:
    """What came of a reservation: the date on which each granted contact counts, and why others were refused."""

    granted: dict[int, date]
    refused: dict[int, str]  # day | month


def reserve_contacts(member_ids: Sequence[int], today: date, caps: rules.Budget) -> Reserved:
    """Take one contact of each member's budget for a business date.

    The rows are locked in the order of member ids until the caller's transaction ends, whatever several claimers do at
    once: no cap is ever passed, and none of them waits for another in a circle. Ids must be distinct.
    """
    if not member_ids:
        return Reserved({}, {})
    if caps.per_day == 0 or caps.per_month == 0:
        return Reserved({}, dict.fromkeys(member_ids, "day" if caps.per_day == 0 else "month"))
    window = {"member_ids": sorted(member_ids), "month": rules.month_of(today)}
    limits = {
        "per_day": _UNLIMITED if caps.per_day is None else caps.per_day,
        "per_month": _UNLIMITED if caps.per_month is None else caps.per_month,
    }
    granted = {row.member_id: row.day_on for row in db.session.execute(_RESERVE, {**window, "today": today, **limits})}
    refused = [m for m in member_ids if m not in granted]
    if not refused:
        return Reserved(granted, {})
    totals = {row.member_id: row.total for row in db.session.execute(_REFUSED, {**window, "member_ids": refused})}
    full = limits["per_month"]
    return Reserved(granted, {m: "month" if totals.get(m, 0) >= full else "day" for m in refused})


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
    """Give back what `reserve_contacts` granted, with the dates it said. The caller knows from its own rows that they hold it."""
    if taken:
        members = sorted(taken)
        db.session.execute(_RELEASE, {"member_ids": members, "days": [taken[m] for m in members]})


def shown_name(account: Account) -> str:
    """An account's name as staff read it."""
    return str(_("Inbox on the member's page")) if account.kind == ChannelKind.INBOX else account.name


def makes_no_sound(account: Account) -> bool:
    """Whether quiet hours do not concern an account."""
    return account.kind == ChannelKind.INBOX


def rests_until(account: Account, now: datetime) -> datetime | None:
    """Until when an account tries nothing after failed connections, or None."""
    return account.retry_at if account.retry_at is not None and account.retry_at > now else None
