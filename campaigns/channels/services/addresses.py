"""Addresses that cannot be reached any more."""

from __future__ import annotations

from sqlalchemy import delete, select
from sqlalchemy.dialects.postgresql import insert

from kernel import audit, clock
from kernel.db import changed, db
from membership.members.models import Contact, Member

from .. import breaker
from ..models import DeadAddress


def give_up(member_id: int, address: str, reason: str, contact: Contact = Contact.EMAIL) -> bool:
    """Remember that an address of a member's is no good, with the reason; returns whether that is new.

    Nothing is sent to it any more. It says nothing about what they agreed to: with another address they are written to again.
    """
    if db.session.get(Member, member_id) is None:
        return False
    written = db.session.scalar(
        insert(DeadAddress)
        .values(
            member_id=member_id, contact=contact, address=address, reason=breaker.masked(reason)[:300], at=clock.now()
        )
        .on_conflict_do_nothing()
        .returning(DeadAddress.id)
    )
    if written is not None:
        audit.record("address.given_up", "member", member_id, after={"contact": contact.value})
    return written is not None


def owner_of(address: str) -> int | None:
    """The member whose present e-mail address this is."""
    return db.session.scalar(select(Member.id).where(Member.email == address))


def try_again(member_id: int, contact: Contact = Contact.EMAIL) -> bool:
    """Forget that a member's addresses were no good, because somebody says that they work again."""
    gone = changed(
        db.session.execute(
            delete(DeadAddress).where(DeadAddress.member_id == member_id, DeadAddress.contact == contact)
        )
    )
    if gone:
        audit.record("address.tried_again", "member", member_id, after={"contact": contact.value})
    return bool(gone)
