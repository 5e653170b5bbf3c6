"""Erasing a person: what names them goes, what the shop must be able to add up stays without them.

An erased person has also refused: every phone and e-mail address of theirs is remembered as an opt-out under a keyed hash,
so that a file that brings them back brings no agreement along.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import delete, select, update
from sqlalchemy.dialects.postgresql import insert as upsert

from kernel import audit, clock, journal, visitors
from kernel.db import changed, db
from kernel.errors import Refusal
from kernel.events import publish
from kernel.i18n import lazy_gettext as _l
from kernel.ports import Port

from .. import queries
from ..events import MemberErased
from ..models import Contact, Member, RightsRequest, RightsWish
from . import merge, personal, rights

# Each room ends what is under way for a person (seats, gifts, calls) and hides what blanking columns cannot; the rows are
# still theirs when it is called.
forgetters: Port[[personal.Person], None] = Port("members.erasure.forgetters")


# Lines of the journal: see `services.remembering`.
ERASURE, RIGHTS = "erasure", "rights"
ASKED, TAKEN_BACK, DONE = "asked", "taken_back", "done"


class ErasedAlready(Refusal):
    title = _l("Erased already")
    label = _l("This person was erased before. Nothing is left to erase.")


class NotConfirmed(Refusal):
    status = 422
    label = _l("Type the number of the record exactly. Nothing was erased.")


def confirmed(member_id: int, typed: str) -> bool:
    """Whether what was typed is the number of the record. Refuses with `NotFound` when there is none."""
    return typed.strip().removeprefix("#") == str(queries.get_member(member_id).id)


def erase(member_id: int, typed: str, staff_id: int | None = None) -> None:
    """Erase a person with every record of theirs; it cannot be undone. Publishes `MemberErased`.

    `typed` must be the number of the record. Refuses with `NotFound`, `NotConfirmed`, `ErasedAlready`.
    """
    member = queries.get_member(member_id)
    if not confirmed(member_id, typed):
        raise NotConfirmed
    person = personal.person_of(member.id)
    merge.guards.call(sorted(person.ids))
    merge.lock(person.ids)
    if member.erased_at is not None:
        raise ErasedAlready
    _refuse_for_ever(person)
    forgetters.call(person)
    db.session.flush()
    db.session.expire_all()
    declared = personal.register()
    # Children first, so that no row is left that points at one that goes.
    for table in reversed(db.metadata.sorted_tables):
        entry = declared.get(table.name)
        if entry is None or entry.rows is None:
            continue
        if entry.drop:
            db.session.execute(delete(table).where(entry.rows(person)))
        elif entry.blanks:
            db.session.execute(update(table).where(entry.rows(person)).values(**entry.blanks))
    for one in person.ids:
        visitors.forget_everywhere(one)
    now = clock.now()
    db.session.execute(
        update(Member)
        .where(Member.id.in_(person.ids))
        .values(erased_at=now)
        .execution_options(synchronize_session=False)
    )
    db.session.execute(
        update(RightsRequest)
        .where(RightsRequest.member_id.in_(person.ids), RightsRequest.done_at.is_(None))
        .where(RightsRequest.taken_back_at.is_(None))
        .values(done_at=now, done_by=staff_id)
        .execution_options(synchronize_session=False)
    )
    db.session.expire_all()
    merge.settlers.call(person.ids)
    audit.record("member.erased", "member", member_id, after={"records": len(person.ids)})
    publish(MemberErased(member_id=member_id))
    db.session.expire_all()


def _refuse_for_ever(person: personal.Person) -> None:
    hashes = rights.now_hashed(rights.addresses_of(person.ids))
    rights.refuse_hashes(hashes, Contact)
    journal.note(ERASURE, {"members": rights.records_of(person.ids), "addresses": hashes})


# ── Asking for it ───────────────────────────────────────────────────────────────────────────────────────────────────


def ask(member_id: int, wish: RightsWish, at: datetime | None = None) -> bool:
    """Note that somebody asked for their data or for erasure, `at` if it was not just now; returns whether it was the first time.

    Asking again changes nothing.
    """
    made = db.session.scalar(
        upsert(RightsRequest)
        .values(member_id=member_id, wish=wish, asked_at=at or clock.now())
        .on_conflict_do_nothing()
        .returning(RightsRequest.id)
    )
    if made is not None:
        _note(member_id, wish, ASKED)
    return made is not None


def take_back(member_id: int, wish: RightsWish, at: datetime | None = None) -> None:
    """Let somebody take back what they asked for, while it has not been carried out."""
    taken = db.session.execute(
        update(RightsRequest)
        .where(RightsRequest.member_id == member_id, RightsRequest.wish == wish)
        .where(RightsRequest.done_at.is_(None), RightsRequest.taken_back_at.is_(None))
        .values(taken_back_at=at or clock.now())
        .execution_options(synchronize_session=False)
    )
    if changed(taken):
        _note(member_id, wish, TAKEN_BACK)


def _note(member_id: int, wish: RightsWish, what: str) -> None:
    ids = personal.record_ids(member_id)
    journal.note(RIGHTS, {"members": rights.records_of(ids), "wish": wish.value, "what": what})


def open_requests(member_id: int | None = None) -> list[RightsRequest]:
    """What has been asked for and waits, oldest first; of one member or of all, at most 200."""
    statement = select(RightsRequest).where(RightsRequest.done_at.is_(None), RightsRequest.taken_back_at.is_(None))
    if member_id is not None:
        statement = statement.where(RightsRequest.member_id == member_id)
    return list(db.session.scalars(statement.order_by(RightsRequest.id).limit(200)))


def done(member_id: int, wish: RightsWish, staff_id: int | None, at: datetime | None = None) -> None:
    """Note that what somebody asked for has been carried out."""
    finished = db.session.execute(
        update(RightsRequest)
        .where(RightsRequest.member_id == member_id, RightsRequest.wish == wish)
        .where(RightsRequest.done_at.is_(None), RightsRequest.taken_back_at.is_(None))
        .values(done_at=at or clock.now(), done_by=staff_id)
        .execution_options(synchronize_session=False)
    )
    if changed(finished):
        _note(member_id, wish, DONE)


__all__ = [
    "ErasedAlready",
    "NotConfirmed",
    "ask",
    "confirmed",
    "done",
    "erase",
    "forgetters",
    "open_requests",
    "take_back",
]
