"""Mass sends over WeCom: asking what the staff have sent, and what WeCom calls back with."""

from __future__ import annotations

import hashlib
import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import func, or_, select, update

from kernel import clock
from kernel.db import db
from kernel.errors import Refusal
from kernel.events import publish
from kernel.i18n import lazy_gettext as _l
from membership.members.models import Channel, Contact, MemberIdentity
from membership.members.services import rights

from ..adapters import wecom, wecom_crypto
from ..events import MessageConfirmed
from ..models import Account, WecomRecipient, WecomSend
from ..sealing import unseal
from . import hooks

EVERY = timedelta(minutes=10)
# WeCom lets the staff confirm a task for a while; after so long nobody will.
GIVE_UP = timedelta(days=7)
LARGEST = 64 * 1024
SKEW_SECONDS = 300
_ENCRYPT = re.compile(rb"<Encrypt>\s*<!\[CDATA\[([A-Za-z0-9+/=]{1,65536})\]\]>\s*</Encrypt>")
_OUTSIDE = re.compile(rb"\s*(?:<\?xml\s[^>]*\?>\s*)?<xml>[\t\n\r -~]*</xml>\s*")
_LEFT = frozenset({"del_external_contact", "del_follow_user"})


class CallbackRefused(Refusal):
    status = 403
    label = _l("The signature does not fit.")


class CallbackUnreadable(Refusal):
    status = 400
    label = _l("The request cannot be read.")


# ── Asking ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def due_sends(limit: int = 20) -> list[WecomSend]:
    """The mass sends to ask about now."""
    now = clock.now()
    return list(
        db.session.scalars(
            select(WecomSend)
            .where(WecomSend.closed_at.is_(None), or_(WecomSend.polled_at.is_(None), WecomSend.polled_at < now - EVERY))
            .order_by(WecomSend.polled_at.nulls_first(), WecomSend.id)
            .limit(limit)
        )
    )


def note_polled(send_id: int) -> None:
    """Note that WeCom was asked about a mass send, before the answer, so that one which always fails holds nobody up."""
    db.session.execute(update(WecomSend).where(WecomSend.id == send_id).values(polled_at=clock.now()))


def note_results(send_id: int, results: Iterable[tuple[str, int]]) -> int:
    """Write down what became of a mass send; each customer is told upward once. Returns how many were decided.

    One whom nobody has sent anything for a week is given up; the send is closed when all are decided.
    """
    send = db.session.scalars(select(WecomSend).where(WecomSend.id == send_id).with_for_update()).one()
    decided = 0
    for external_id, status in results:
        if status == wecom.NOT_SENT:
            continue
        reason = {wecom.NO_FRIEND: "wecom_no_customer", wecom.TOO_MANY: "wecom_quota"}.get(status)
        decided += _decide(
            send_id, external_id, status == wecom.SENT, None if status == wecom.SENT else reason or "wecom"
        )
    if clock.now() >= send.made_at + GIVE_UP:
        for external_id in db.session.scalars(
            select(WecomRecipient.external_id).where(WecomRecipient.send_id == send_id, WecomRecipient.sent.is_(None))
        ).all():
            decided += _decide(send_id, external_id, False, "not_confirmed")
    left = db.session.scalar(
        select(func.count())
        .select_from(WecomRecipient)
        .where(WecomRecipient.send_id == send_id, WecomRecipient.sent.is_(None))
    )
    if not left:
        send.closed_at = clock.now()
    return decided


def _decide(send_id: int, external_id: str, sent: bool, reason: str | None) -> int:
    row = db.session.execute(
        update(WecomRecipient)
        .where(
            WecomRecipient.send_id == send_id,
            WecomRecipient.external_id == external_id,
            WecomRecipient.sent.is_(None),
        )
        .values(sent=sent, reason=reason)
        .returning(WecomRecipient.delivery_id)
        .execution_options(synchronize_session=False)
    ).one_or_none()
    if row is None:
        return 0
    if row.delivery_id:
        publish(MessageConfirmed(delivery_id=row.delivery_id, done=sent, reason=reason or "sent", staff_id=None))
    return 1


# ── Callbacks ───────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Door:
    """What the callback of an account is guarded with."""

    token: str
    key: bytes
    receive_id: str


def door_of(account: Account) -> Door:
    """The guard of an account's callback. Refuses with `CallbackRefused` while it has none."""
    try:
        said = json.loads(unseal(account.secret) or "{}")
        return Door(said["token"], wecom_crypto.key_of(said["aes_key"]), account.settings["corp_id"])
    except (ValueError, KeyError, TypeError, wecom_crypto.EnvelopeRefused):
        raise CallbackRefused from None


def _opened(account: Account, asked: Mapping[str, str], encrypted: str) -> bytes:
    door = door_of(account)
    stamp, nonce, given = (asked.get(name, "") for name in ("timestamp", "nonce", "msg_signature"))
    if (
        not re.fullmatch(r"\d{1,12}", stamp, re.ASCII)
        or not 1 <= len(nonce) <= 64
        or not re.fullmatch("[0-9a-f]{40}", given)
    ):
        raise CallbackRefused
    try:
        wecom_crypto.check(door.token, stamp, nonce, encrypted, given)
        if abs(int(stamp) - clock.now().timestamp()) > SKEW_SECONDS:
            raise CallbackRefused
        return wecom_crypto.opened(door.key, encrypted, door.receive_id)
    except wecom_crypto.EnvelopeRefused:
        raise CallbackRefused from None


def prove_address(account: Account, asked: Mapping[str, str]) -> bytes:
    """What WeCom wants to hear back when somebody saves the address. Refuses with `CallbackRefused`."""
    echo = asked.get("echostr", "")
    if not 1 <= len(echo) <= 4_096:
        raise CallbackRefused
    return _opened(account, asked, echo)


def take_callback(account: Account, asked: Mapping[str, str], body: bytes) -> bool:
    """Take a callback in, once; returns whether it was new. A customer who leaves withdraws their agreement.

    Size, signature and addressee are judged before any XML is read. Refuses with `CallbackRefused` and `CallbackUnreadable`.
    """
    if len(body) > LARGEST:
        raise CallbackUnreadable
    found = _ENCRYPT.findall(body)
    # The outside is never parsed, but must look like what WeCom sends.
    if len(found) != 1 or not _OUTSIDE.fullmatch(body) or b"<!DOCTYPE" in body or b"<!ENTITY" in body:
        raise CallbackUnreadable
    content = _opened(account, asked, found[0].decode())
    event = read_event(content)
    key = "wecom:" + (event.get("MsgId") or hashlib.sha256(content).hexdigest())
    if not hooks.first_time(account.id, key, "wecom", True):
        return False
    if event.get("Event") == "change_external_contact" and event.get("ChangeType") in _LEFT:
        member_id = db.session.scalar(
            select(MemberIdentity.member_id).where(
                MemberIdentity.channel == Channel.WECOM,
                MemberIdentity.external_id == event.get("ExternalUserID", ""),
            )
        )
        if member_id is not None:
            rights.withdraw_consent(member_id, Contact.WECOM, source="wecom")
    return True


def read_event(content: bytes) -> dict[str, str]:
    """The fields of a callback's message. Refuses with `CallbackUnreadable` what is no plain XML: no DOCTYPE, no entities."""
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        raise CallbackUnreadable from None
    outside = re.sub(r"<!\[CDATA\[.*?\]\]>", "", text, flags=re.DOTALL)
    if "<!" in outside or re.search(r"<\?(?!xml\s)", outside):
        raise CallbackUnreadable
    try:
        # Entities need a DOCTYPE, which has been refused.
        root = ET.fromstring(text)  # noqa: S314
    except (ET.ParseError, ValueError):
        raise CallbackUnreadable from None
    if root.tag != "xml":
        raise CallbackUnreadable
    return {child.tag: (child.text or "").strip() for child in root}


def unsent(account_id: int) -> int:
    """How many customers of an account's mass sends still wait for the staff."""
    return (
        db.session.scalar(
            select(func.count())
            .select_from(WecomRecipient)
            .join(WecomSend, WecomSend.id == WecomRecipient.send_id)
            .where(WecomSend.account_id == account_id, WecomRecipient.sent.is_(None))
        )
        or 0
    )
