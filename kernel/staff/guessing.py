"""How often a password may be guessed.

Failed tries are counted per account: five in fifteen minutes, ten in a day. A browser that has signed in before carries a
device cookie and is counted apart, so that a stranger who fails on purpose shuts nobody out of their own browser
(OWASP, "Slow Down Online Guessing Attacks with Device Cookies"). One try for an account is judged at a time: of a crowd of
simultaneous ones no more pass than of as many in a row.
"""

from __future__ import annotations

import secrets
from datetime import timedelta

from flask import current_app, request
from sqlalchemy import delete, func, select
from werkzeug import Response

from .. import clock, links
from ..db import db
from ..errors import Refusal
from ..i18n import lazy_gettext as _l
from .models import SignInTry, Staff

MOST = ((timedelta(minutes=15), 5), (timedelta(days=1), 10))
KEPT = timedelta(days=180)
PURPOSE = "staff-device"
# Names this lock among the advisory locks of the database.
_LOCK = 0x5160


class TooManyTries(Refusal):
    status = 429
    label = _l(
        "Too many failed tries for this account. Wait fifteen minutes, use a browser in which you have signed in before,"
        " or ask the owner for a new password."
    )


class AlreadyTrying(Refusal):
    status = 429
    label = _l("Somebody is signing in to this account at this very moment. Please try again.")


def _cookie_name() -> str:
    return "__Host-device" if current_app.extensions["settings"].secure else "device"


def counted_as(account: str, staff: Staff | None) -> str:
    """Under what a try of this browser is counted: the account, and the device if it has been in that account before."""
    try:
        owner, device = links.read(PURPOSE, request.cookies.get(_cookie_name(), "")) if request else ("", "")
    except (links.LinkInvalid, links.LinkExpired, ValueError):
        return account
    return f"{account}\n{device}" if staff is not None and owner == str(staff.id) else account


def refuse_guessing(counted: str) -> None:
    """Let one try through at a time, and none where there were too many. Refuses with `TooManyTries` and `AlreadyTrying`."""
    if not _alone(counted):
        raise AlreadyTrying
    now = clock.now()
    for span, most in MOST:
        asked = select(func.count()).where(SignInTry.account == counted, SignInTry.at > now - span)
        if (db.session.scalar(asked) or 0) >= most:
            raise TooManyTries


def _alone(counted: str) -> bool:
    """Whether nobody else is being judged under this count until the transaction ends."""
    return bool(db.session.scalar(select(func.pg_try_advisory_xact_lock(_LOCK, func.hashtext(counted)))))


def note_failure(counted: str) -> None:
    """Remember a failed try (the caller commits it)."""
    db.session.add(SignInTry(account=counted, at=clock.now()))


def forget(counted: str) -> None:
    """Somebody got in: what failed before under the same count was theirs."""
    db.session.execute(delete(SignInTry).where(SignInTry.account == counted))


def forget_all(account: str) -> None:
    """A new password makes what was guessed about the old one worth nothing."""
    lower = account.strip().lower()
    whose = func.split_part(SignInTry.account, "\n", 1) == lower
    db.session.execute(delete(SignInTry).where(SignInTry.account.startswith(lower, autoescape=True), whose))


def remember_browser(response: Response, staff: Staff) -> None:
    """Let the browser of this answer be known as one that has signed in to the account."""
    token = links.make(PURPOSE, staff.id, secrets.token_urlsafe(16), expires_at=clock.now() + KEPT)
    secure, seconds = current_app.extensions["settings"].secure, int(KEPT.total_seconds())
    response.set_cookie(_cookie_name(), token, max_age=seconds, secure=secure, httponly=True, samesite="Lax")
