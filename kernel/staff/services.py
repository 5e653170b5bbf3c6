"""Signing in and out, and keeping the list of staff."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Collection, Sequence
from datetime import timedelta
from threading import BoundedSemaphore
from typing import Any

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from sqlalchemy import Select, delete, func, or_, select

from .. import audit, clock
from ..auth import Role
from ..db import db, escaped
from ..errors import NotFound, Refusal
from ..i18n import lazy_gettext as _l
from ..pages import once_a_request, order_by
from . import guessing
from .models import Staff, StaffSession

LIFETIME = timedelta(days=14)
IDLE = timedelta(days=3)
SHORTEST_PASSWORD = 10
_hasher = PasswordHasher()
# One hash costs a good part of a second of CPU: a flood of sign-ins must not take every thread.
_hashing = BoundedSemaphore(2)
# Verified against when no such account exists, so that the answer takes as long.
_NOBODY = _hasher.hash(secrets.token_hex(16))


class SignInRefused(Refusal):
    status = 422
    label = _l("E-mail and password do not fit together.")


class PasswordTooShort(Refusal):
    status = 422
    label = _l("A password needs at least %(shortest)s characters.")


class EmailTaken(Refusal):
    status = 422
    label = _l("Somebody on the staff has this e-mail address already.")


class LastOwner(Refusal):
    label = _l("The shop needs one owner. Make somebody else an owner first.")


def _hash_token(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _hash_password(password: str) -> str:
    if len(password) < SHORTEST_PASSWORD:
        raise PasswordTooShort(shortest=SHORTEST_PASSWORD)
    with _hashing:
        return _hasher.hash(password)


def find_staff(email: str) -> Staff | None:
    return db.session.scalar(select(Staff).where(func.lower(Staff.email) == email.strip().lower()))


def get_staff(staff_id: int) -> Staff:
    found = db.session.get(Staff, staff_id)
    if found is None:
        raise NotFound
    return found


def names(ids: Collection[int] | None = None) -> dict[int, str]:
    """What colleagues are called, by their ids: these, or everybody, those who have left too."""
    if ids is not None and not ids:
        return {}
    asked = select(Staff.id, Staff.name)
    return dict(db.session.execute(asked if ids is None else asked.where(Staff.id.in_(ids))).all())


def everyone() -> list[Staff]:
    return list(db.session.scalars(select(Staff).order_by(Staff.disabled_at.is_not(None), Staff.name, Staff.id)))


def listing(q: str = "", role: Role | None = None, disabled: bool | None = None) -> Select[*tuple[Any, ...]]:
    """The staff, narrowed by words that name, e-mail and signature hold, by role, and by whether they can sign in."""
    found: Select[*tuple[Any, ...]] = select(Staff)
    for word in q.split()[:8]:
        wanted = f"%{escaped(word)}%"
        found = found.where(or_(Staff.name.ilike(wanted), Staff.email.ilike(wanted), Staff.signature.ilike(wanted)))
    if role is not None:
        found = found.where(Staff.role == role)
    if disabled is not None:
        found = found.where(Staff.disabled_at.is_not(None) if disabled else Staff.disabled_at.is_(None))
    return found


def order_of(sort: str) -> list[Any]:
    """The columns of a sort (`name`, `since`, each with a minus for the other way), the last one unique.

    Unknown ones mean: who can sign in first, then by name.
    """
    columns: dict[str, Any] = {"name": Staff.name, "since": Staff.created_at}
    return order_by(sort, columns, [Staff.id], [Staff.disabled_at.is_not(None), Staff.name, Staff.id])


def exported(found: Select[*tuple[Any, ...]], order: list[Any]) -> Sequence[Staff]:
    """Every row of a listing (no more than 20,000), for a file; that it was made is recorded."""
    rows = db.session.scalars(found.order_by(*order).limit(20_000)).all()
    audit.record("staff.exported", "staff", None, after={"rows": len(rows)})
    return rows


@once_a_request
def signing_in() -> list[Staff]:
    """The staff who can sign in, by name."""
    return [person for person in everyone() if person.disabled_at is None]


def add(name: str, email: str, role: Role, password: str, signature: str = "") -> Staff:
    """Add somebody to the staff.

    Refuses with `EmailTaken` and `PasswordTooShort`.
    """
    if find_staff(email) is not None:
        raise EmailTaken
    staff = Staff(
        name=name.strip(),
        email=email.strip(),
        role=role,
        signature=signature.strip(),
        password_hash=_hash_password(password),
        created_at=clock.now(),
    )
    db.session.add(staff)
    db.session.flush()
    audit.record("staff.added", "staff", staff.id, after={"email": staff.email, "role": role.value})
    return staff


def random_password() -> str:
    """64 random bits, in four groups that can be read over the phone."""
    return "-".join(secrets.token_hex(2) for _ in range(4))


def make_owner(email: str = "owner@shop.example") -> tuple[str, str] | None:
    """Make the first owner with a random password; returns (e-mail, password), or None when there is an owner."""
    if db.session.scalar(select(Staff.id).where(Staff.role == Role.OWNER).limit(1)) is not None:
        return None
    password = random_password()
    add("Owner", email, Role.OWNER, password)
    return email, password


def check_password(email: str, password: str) -> Staff | None:
    """The staff member that e-mail and password name, or None. A failure is remembered (the caller commits it).

    Refuses with `TooManyTries` after five failures in fifteen minutes or ten in a day, and with `AlreadyTrying`.
    """
    account = email.strip().lower()[:200]
    staff = find_staff(account)
    counted = guessing.counted_as(account, staff)
    guessing.refuse_guessing(counted)
    try:
        with _hashing:
            _hasher.verify(staff.password_hash if staff else _NOBODY, password)
    except (VerificationError, InvalidHashError):
        guessing.note_failure(counted)
        return None
    if staff is None or staff.disabled_at is not None:
        guessing.note_failure(counted)
        return None
    guessing.forget(counted)
    return staff


def open_session(staff: Staff, address: str) -> str:
    """Open a session and return its token, which only the browser keeps."""
    token = secrets.token_urlsafe(32)
    now = clock.now()
    db.session.add(
        StaffSession(
            token_hash=_hash_token(token),
            staff_id=staff.id,
            created_at=now,
            seen_at=now,
            expires_at=now + LIFETIME,
            address=address,
        )
    )
    audit.record("staff.signed_in", "staff", staff.id, by=staff)
    return token


def staff_of_session(token: str) -> Staff | None:
    """Whose live session a token is, or None."""
    now = clock.now()
    found = db.session.execute(
        select(StaffSession, Staff)
        .join(Staff, Staff.id == StaffSession.staff_id)
        .where(
            StaffSession.token_hash == _hash_token(token),
            StaffSession.expires_at > now,
            StaffSession.seen_at > now - IDLE,
            Staff.disabled_at.is_(None),
        )
    ).one_or_none()
    if found is None:
        return None
    session, staff = found
    if now - session.seen_at > timedelta(minutes=10):
        session.seen_at = now
    return staff


def close_session(token: str) -> None:
    db.session.execute(delete(StaffSession).where(StaffSession.token_hash == _hash_token(token)))


def close_all_sessions(staff_id: int, but: str | None = None) -> None:
    """End every session of somebody, except the one whose token is given."""
    statement = delete(StaffSession).where(StaffSession.staff_id == staff_id)
    if but is not None:
        statement = statement.where(StaffSession.token_hash != _hash_token(but))
    db.session.execute(statement)


def set_password(staff: Staff, password: str, keep_session: str | None = None) -> None:
    """Set a password and end all other sessions. Refuses with `PasswordTooShort`."""
    staff.password_hash = _hash_password(password)
    guessing.forget_all(staff.email)
    close_all_sessions(staff.id, but=keep_session)
    audit.record("staff.password_changed", "staff", staff.id)


def give_new_password(staff: Staff) -> str:
    """Give somebody a random password, sign them out everywhere, and return it to be told once."""
    password = random_password()
    set_password(staff, password)
    return password


def _owners_but(staff: Staff) -> int:
    return (
        db.session.scalar(
            select(func.count()).where(Staff.role == Role.OWNER, Staff.disabled_at.is_(None), Staff.id != staff.id)
        )
        or 0
    )


def edit(staff: Staff, name: str, role: Role, signature: str) -> None:
    """Change name, role and signature; a changed role ends the sessions. Refuses with `LastOwner`."""
    if staff.role == Role.OWNER and role != Role.OWNER and not _owners_but(staff):
        raise LastOwner
    before = {"name": staff.name, "role": staff.role.value, "signature": staff.signature}
    if role != staff.role:
        close_all_sessions(staff.id)
    staff.name, staff.role, staff.signature = name.strip(), role, signature.strip()
    audit.record(
        "staff.changed",
        "staff",
        staff.id,
        before,
        {"name": staff.name, "role": role.value, "signature": staff.signature},
    )


def disable(staff: Staff) -> None:
    """Shut somebody out at once. Refuses with `LastOwner`."""
    if staff.role == Role.OWNER and not _owners_but(staff):
        raise LastOwner
    staff.disabled_at = clock.now()
    close_all_sessions(staff.id)
    audit.record("staff.disabled", "staff", staff.id)


def enable(staff: Staff) -> None:
    staff.disabled_at = None
    audit.record("staff.enabled", "staff", staff.id)
