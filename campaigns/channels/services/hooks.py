"""What the other side calls back with: its addresses and secrets, answers to text messages, delivery receipts, returned mail.

Whoever knows an address but has no signature can take rights away (an answer that says stop does), and can give none: what an
unsigned call says of a delivery is kept, marked as such, and never a reason to send anything again.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flask import current_app
from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert

from kernel import clock
from kernel.db import db
from kernel.errors import NotFound, Refusal
from kernel.events import publish
from kernel.i18n import lazy_gettext as _l
from membership.members.models import Contact
from membership.members.rules import canonical_email, canonical_phone
from membership.members.services import rights

from .. import bounces, breaker, sms
from ..events import MessageReported
from ..models import Account, Callback, Receipt, Reply
from . import addresses

SKEW_SECONDS = 300
_SIGNED = re.compile(r"t=(\d{1,12}),v1=([0-9a-f]{64})")
_PHONES = ("phone_number", "phone", "mobile", "from", "tel")
_WORDS = ("content", "text", "message", "msg", "body")
_IDS = ("sequence_id", "id", "msgid", "message_id")
_KEYS = ("out_id", "key", "custom_id")
_NUMBERS = ("biz_id", "provider_id", "msgid", "id")


class NotReadable(Refusal):
    status = 400
    label = _l("The request cannot be read.")


def find_account(token: str) -> Account:
    """The account of a callback's address; refuses with `NotFound`."""
    found = db.session.scalar(select(Account).where(Account.hook_token == token)) if 20 <= len(token) <= 64 else None
    if found is None:
        raise NotFound
    return found


def open_hooks(account: Account) -> str:
    """What the addresses of an account's callbacks end with, made when it is first asked for."""
    if account.hook_token is None:
        account.hook_token = secrets.token_urlsafe(24)
        db.session.flush()
    return account.hook_token


def _secrets(account: Account) -> list[str]:
    settings = current_app.extensions["settings"]
    return [
        hmac.new(key, b"siyu channel hook " + (account.hook_token or "").encode(), "sha256").hexdigest()
        for key in (settings.secret_key, *getattr(settings, "previous_secret_keys", ()))
    ]


def hook_secret(account: Account) -> str:
    """The secret with which the other side signs what it posts to an account's addresses."""
    return _secrets(account)[0]


def signed(account: Account, header: str | None, body: bytes) -> bool:
    """Whether a body carries a valid `Siyu-Signature: t=<seconds>,v1=<hex HMAC-SHA256 of "<t>.<body>">` of the last five minutes."""
    found = _SIGNED.fullmatch(header or "")
    if found is None or abs(int(found[1]) - clock.now().timestamp()) > SKEW_SECONDS:
        return False
    wanted = [hmac.new(key.encode(), f"{found[1]}.".encode() + body, "sha256").hexdigest() for key in _secrets(account)]
    return sum(hmac.compare_digest(one, found[2]) for one in wanted) > 0


def first_time(account_id: int, key: str, kind: str, is_signed: bool) -> bool:
    """Note a call under what tells it from others; False when it has been acted on already."""
    written = db.session.scalar(
        insert(Callback)
        .values(account_id=account_id, key=key, kind=kind, signed=is_signed, at=clock.now())
        .on_conflict_do_nothing()
        .returning(Callback.key)
    )
    return written is not None


def _said(row: Mapping[str, Any], names: Sequence[str]) -> str:
    for name in names:
        value = row.get(name)
        if isinstance(value, str | int) and not isinstance(value, bool) and str(value).strip():
            return str(value).strip()[:1_000]
    return ""


def rows_of(content: Any) -> list[Mapping[str, Any]]:
    """The entries of a callback: an array, one object, or an object with an array in it. Refuses with `NotReadable`."""
    if isinstance(content, dict):
        inner = next((v for v in content.values() if isinstance(v, list)), None)
        content = [content] if inner is None else inner
    if not isinstance(content, list) or not content or len(content) > 1_000:
        raise NotReadable
    if not all(isinstance(row, dict) for row in content):
        raise NotReadable
    return content


# ── Answers ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Heard:
    """What came of a call: how many answers were new, and how many of them stopped messages."""

    new: int
    stopped: int


def take_replies(account: Account, content: Any, is_signed: bool) -> Heard:
    """Take answers to text messages in. One that says stop withdraws the agreement at once; no answer ever gives one.

    Refuses with `NotReadable`. An entry whose phone cannot be read is left out.
    """
    new = stopped = 0
    for row in rows_of(content):
        words = _said(row, _WORDS)
        try:
            phone = canonical_phone(_said(row, _PHONES))
        except Refusal:
            continue
        told = _said(row, _IDS) or f"{phone} {words} {_said(row, ('send_time', 'time', 'at'))}"
        key = "reply:" + hashlib.sha256(f"{_said(row, _IDS) and 'id'} {phone} {told}".encode()).hexdigest()
        if not first_time(account.id, key, "reply", is_signed):
            continue
        new += 1
        stops = sms.stops(words, _letters(account))
        member_id = rights.refuse_address(phone, Contact.SMS, "sms_reply") if stops else _owner(phone)
        stopped += stops
        db.session.execute(
            insert(Reply).values(
                account_id=account.id,
                member_id=member_id,
                words=breaker.one_line(words)[:500] if member_id is not None else "",
                stopped=stops,
                signed=is_signed,
                at=clock.now(),
            )
        )
    return Heard(new, stopped)


def _letters(account: Account) -> str:
    found = re.findall(r"[A-Za-z0-9]{1,5}", account.settings.get("opt_out", ""))
    return found[-1] if found else ""


def _owner(phone: str) -> int | None:
    return rights.owner_of_address(phone)


# ── Receipts ────────────────────────────────────────────────────────────────────────────────────────────────────────


def take_receipts(account: Account, content: Any, is_signed: bool) -> int:
    """Take delivery receipts in; returns how many were new. The same one again changes nothing. Refuses with `NotReadable`."""
    new = 0
    for row in rows_of(content):
        key = _said(row, _KEYS) or _said(row, _NUMBERS)
        success = row.get("success", row.get("delivered"))
        if isinstance(success, str):
            success = success.strip().lower() in ("true", "1", "ok", "delivered")
        if not key or not isinstance(success, bool | int):
            continue
        code = breaker.one_line(_said(row, ("err_code", "code", "status")))[:100]
        written = db.session.scalar(
            insert(Receipt)
            .values(
                account_id=account.id,
                key=key[:200],
                delivered=bool(success),
                code=code,
                signed=is_signed,
                at=clock.now(),
            )
            .on_conflict_do_nothing()
            .returning(Receipt.id)
        )
        if written is not None:
            new += 1
            publish(
                MessageReported(
                    account_id=account.id, key=key[:200], delivered=bool(success), code=code, signed=is_signed
                )
            )
    return new


# ── Returned mail ───────────────────────────────────────────────────────────────────────────────────────────────────


def take_mail(account: Account, content: bytes) -> int:
    """Take a message in that a mail server sent back; returns how many addresses it ended.

    An address that does not exist is given up; a complaint counts as a refusal of e-mails. Anything else is left alone.
    """
    key = "mail:" + hashlib.sha256(content).hexdigest()
    if not first_time(account.id, key, "mail", True):
        return 0
    ended = 0
    for report in bounces.read(content):
        try:
            address = canonical_email(report.address)
        except Refusal:
            continue
        if report.complaint:
            rights.refuse_address(address, Contact.EMAIL, "complaint")
            ended += 1
            continue
        owner = addresses.owner_of(address) if report.hard else None
        if owner is not None:
            ended += addresses.give_up(owner, address, report.reason)
    return ended
