"""Proving on a browser who one is: a phone with the number of an order of theirs, or a code sent by SMS or e-mail.

Known and unknown people get the same answer from the same statements; tries are counted per phone or address and per
network address, in the database, so that every web process knows of them.
"""

from __future__ import annotations

import hmac
import math
import secrets
import unicodedata
from datetime import datetime, timedelta

from flask import current_app
from sqlalchemy import delete, func, select, update

from kernel import clock, links, visitors
from kernel.db import db
from kernel.errors import Refusal
from kernel.events import publish
from kernel.i18n import current_locale
from kernel.i18n import lazy_gettext as _l
from kernel.ports import Port
from membership.limits import services as limits
from membership.limits.models import LimitCounter
from membership.orders.models import Order

from .. import queries
from ..events import MemberIdentified
from ..models import Channel, Member, MemberIdentity, SignInCode
from . import rights

PERSON_TRIES = 5
NETWORK_TRIES = 60
NETWORK_GUESSES = 20
WINDOW = timedelta(minutes=15)
DAY = timedelta(days=1)
CODE_LIFE = timedelta(minutes=10)
CODE_TRIES = 5
LIMIT = "sign-in"

# Seconds between two codes for one phone or address.
CODE_PAUSE = timedelta(seconds=60)

# Codes for one phone or address in a day of UTC, so that whoever guesses has fifty tries a day at the most.
PERSON_CODES = 10

# Sends (way, address, code, locale): by SMS to a phone, by e-mail to an address; filled by campaigns.channels.
send_code: Port[[Channel, str, str, str], None] = Port("members.send_code")
# By which of these two ways a code can be sent at this moment; filled by campaigns.channels.
code_ways: Port[[], frozenset[Channel]] = Port("members.code_ways")


class TooManyTries(Refusal):
    status = 429
    title = _l("Too many tries")
    label = _l("To keep your account safe we wait a little after several tries. Please try again in 15 minutes.")
    icon = "clock"


class CodeJustSent(Refusal):
    status = 429
    label = _l(
        "A code was asked for a moment ago. It can take a minute to arrive; another can be sent in %(seconds)s seconds."
    )


class CodeRefused(Refusal):
    status = 422
    label = _l("This code is wrong, has been used or is older than 10 minutes. You can have a new one sent.")


def ways() -> frozenset[Channel]:
    """By which ways a code can be sent: to a phone, to an e-mail address; empty where no account is configured."""
    return frozenset().union(*code_ways.call()) if send_code.filled else frozenset()


def _count(person: str, network: str) -> None:
    """Count one try; refuses with `TooManyTries`. The window is a quarter of an hour of the clock."""
    window = _window()
    try:
        limits.take(
            [
                (f"{LIMIT}:person", rights.address_hash(person)[:32], window, 1, PERSON_TRIES),
                (f"{LIMIT}:network", rights.address_hash(network)[:32], window, 1, NETWORK_TRIES),
            ]
        )
    except limits.LimitReached:
        raise TooManyTries from None


def _count_code(person: str) -> None:
    """Count one code that was asked for; refuses with `TooManyTries` what is too much for a day, and with `CodeJustSent`."""
    # The counters that `_count` has taken keep two requests for one address apart.
    latest = db.session.scalar(
        select(func.max(SignInCode.created_at)).where(SignInCode.address_hash == rights.address_hash(person))
    )
    wait = latest + CODE_PAUSE - clock.now() if latest is not None else timedelta()
    if wait > timedelta():
        raise CodeJustSent(seconds=math.ceil(wait.total_seconds()))
    try:
        limits.take([(f"{LIMIT}:codes", rights.address_hash(person)[:32], _window(DAY), 1, PERSON_CODES)])
    except limits.LimitReached:
        raise TooManyTries from None


def _window(span: timedelta = WINDOW) -> str:
    seconds = int(span.total_seconds())
    return str(int(clock.now().timestamp()) // seconds * seconds)


def guessed_too_often(secret: str, network: str) -> bool:
    """Whether a network address has guessed wrong at a secret so often that it has to wait for the next quarter of an hour."""
    return limits.used(f"{LIMIT}:guess:{secret}", rights.address_hash(network)[:32], _window()) >= NETWORK_GUESSES


def note_wrong_guess(secret: str, network: str) -> None:
    """Count a wrong guess at a secret (`group:7`); right ones cost nothing, for many may come from one address."""
    limits.take([(f"{LIMIT}:guess:{secret}", rights.address_hash(network)[:32], _window(), 1, None)])


def order_number(text: str) -> str:
    """An order number as people copy it: without a leading # or spaces around."""
    return "".join(unicodedata.normalize("NFKC", text).split()).removeprefix("#")[:100]


def by_order(phone: str, number: str, network: str) -> Member | None:
    """The member whose phone this is and who has an order with this number, or None.

    `phone` is canonical, `network` the visitor's address. Refuses with `TooManyTries`.
    """
    _count(phone, network)
    found = db.session.scalar(
        select(MemberIdentity.member_id)
        .join(Member, Member.id == MemberIdentity.member_id)
        .join(Order, Order.member_id == Member.id)
        .where(
            MemberIdentity.channel == Channel.PHONE,
            MemberIdentity.external_id == phone,
            Order.external_id == order_number(number),
            Member.erased_at.is_(None),
        )
        .limit(1)
    )
    return queries.find_member(found) if found is not None else None


def identify(member: Member, means: str) -> None:
    """Identify this browser as a member's from now on. Publishes `MemberIdentified`."""
    visitors.bind(member.id, identified=True)
    publish(MemberIdentified(member_id=member.id, means=means))


# ── Codes ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def code_of(row: SignInCode) -> str:
    """The six digits of a row: HMAC-SHA256 under the shop's key, cut as RFC 4226 does."""
    secret: bytes = current_app.extensions["settings"].secret_key
    digest = hmac.digest(secret, f"sign-in code {row.nonce}".encode(), "sha256")
    offset = digest[-1] & 15
    return f"{(int.from_bytes(digest[offset : offset + 4]) & 0x7FFFFFFF) % 1_000_000:06}"


def ask_code(way: Channel, address: str, network: str) -> str:
    """Make a code for a phone or an e-mail address and have it sent if it is somebody's; returns the token of the next page.

    `address` is canonical. Refuses with `TooManyTries`, and with `CodeJustSent` within a minute of the one before.
    """
    from ..jobs import send_sign_in_code  # The job calls back into this module.

    _count(address, network)
    _count_code(address)
    owner = db.session.execute(
        select(MemberIdentity.id, MemberIdentity.member_id)
        .join(Member, Member.id == MemberIdentity.member_id)
        .where(
            MemberIdentity.channel == way,
            MemberIdentity.external_id == address,
            Member.erased_at.is_(None),
        )
    ).one_or_none()
    now = clock.now()
    row = SignInCode(
        member_id=owner.member_id if owner else None,
        address_hash=rights.address_hash(address),
        nonce=secrets.token_urlsafe(16),
        tries=0,
        created_at=now,
        expires_at=now + CODE_LIFE,
    )
    db.session.add(row)
    db.session.flush()
    send_sign_in_code.later(code_id=row.id, identity_id=owner.id if owner else None, locale=current_locale())
    return links.make("sign-in-code", row.nonce, expires_at=row.expires_at + WINDOW)


def read_code_token(token: str) -> str:
    """The nonce of the row behind the page where a code is typed. Refuses with `LinkInvalid` and `LinkExpired`."""
    parts = links.read("sign-in-code", token)
    if len(parts) != 1:
        raise links.LinkInvalid
    return parts[0]


def by_code(token: str, code: str) -> Member | None:
    """The member to whom the code of this page was sent, or None when it is wrong, old, used or tried five times.

    Each call is a try. Refuses with `LinkInvalid` and `LinkExpired`.
    """
    nonce = read_code_token(token)
    now = clock.now()
    row = db.session.scalar(
        update(SignInCode)
        .where(
            SignInCode.nonce == nonce,
            SignInCode.tries < CODE_TRIES,
            SignInCode.used_at.is_(None),
            SignInCode.expires_at > now,
        )
        .values(tries=SignInCode.tries + 1)
        .returning(SignInCode)
        .execution_options(synchronize_session=False, populate_existing=True)
    )
    if row is None:
        return None
    typed = "".join(c for c in unicodedata.normalize("NFKC", code) if c.isdigit())
    right = hmac.compare_digest(code_of(row).encode(), typed.encode())
    if not right or row.member_id is None:
        return None
    row.used_at = now
    return queries.find_member(row.member_id)


def clean_up(before: datetime) -> None:
    """Drop codes and counted tries of before an instant."""
    db.session.execute(
        delete(SignInCode).where(SignInCode.created_at < before).execution_options(synchronize_session=False)
    )
    db.session.execute(
        delete(LimitCounter)
        .where(LimitCounter.limit.startswith(f"{LIMIT}:"), LimitCounter.window < str(int(before.timestamp())))
        .execution_options(synchronize_session=False)
    )
