"""What programs do with people through the REST interface, beyond the verbs that everybody shares."""

from __future__ import annotations

from collections.abc import Sequence

from flask import g
from sqlalchemy import select, update
from sqlalchemy.dialects.postgresql import insert as upsert

from kernel import audit, clock
from kernel.db import db
from kernel.errors import Refusal
from kernel.i18n import lazy_gettext as _l

from .. import queries, rules
from ..models import Channel, Member, MemberIdentity
from . import rights


class MemberGone(Refusal):
    label = _l("This person's data was erased. Nothing can be added to it.")


class IdentityTaken(Refusal):
    label = _l("Another member is known by this already. If they are one person, merge the two on the console.")


class IdentityEmpty(Refusal):
    status = 422
    label = _l("An identity has letters or digits that can be seen.")


def canonical(channel: Channel, external_id: str) -> rules.Key:
    """An identity as it is stored. Refuses with `IdentityEmpty`, `PhoneInvalid`, `EmailInvalid`."""
    try:
        return rules.canonical_identity(channel, external_id)
    except ValueError:
        raise IdentityEmpty from None


def get_present(member_id: int) -> Member:
    """A member who can still be changed, or the one they were merged into. Refuses with `NotFound` and `MemberGone`."""
    member = queries.get_member(member_id)
    if member.erased_at is not None:
        raise MemberGone
    return member


def add_identity(member_id: int, channel: Channel, external_id: str) -> bool:
    """Let a channel know a member under a name as well; returns whether that is new.

    A first phone or e-mail address becomes the member's own. Refuses with `IdentityTaken` and as `canonical` does.
    """
    key = canonical(channel, external_id)
    fresh = db.session.scalar(
        upsert(MemberIdentity)
        .values(member_id=member_id, channel=key[0], external_id=key[1], created_at=clock.now())
        .on_conflict_do_nothing()
        .returning(MemberIdentity.id)
    )
    if fresh is None:
        owner = queries.find_by_identity(*key)
        if owner is None or owner.id != member_id:
            raise IdentityTaken
        return False
    column = {Channel.PHONE: Member.phone, Channel.EMAIL: Member.email}.get(key[0])
    if column is not None:
        taken = select(Member.id).where(column == key[1]).exists()
        db.session.execute(
            update(Member)
            .where(Member.id == member_id, column.is_(None), ~taken)
            .values({column.key: key[1]})
            .execution_options(synchronize_session="fetch")
        )
    rights.carry_over_opt_outs({key: member_id})
    audit.record("member.identity_added", "member", member_id, after={"channel": key[0].value})
    return True


def note_revealed(member_ids: Sequence[int]) -> None:
    """Leave in the audit trail whose personal fields a program was shown."""
    if member_ids:
        audit.record("members.revealed", "api_key", g.api_key.id, after={"members": list(member_ids)})
