"""What staff and members write down about a person: details, tags, notes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any

from sqlalchemy import delete, func, literal, select, update
from sqlalchemy.dialects.postgresql import insert as upsert

from kernel import audit, clock
from kernel.auth import acting_staff
from kernel.db import db
from kernel.errors import Refusal
from kernel.events import publish, publish_all
from kernel.i18n import lazy_gettext as _l

from .. import queries, rules
from ..events import MemberTagged, MemberUntagged, NoteWritten
from ..models import CustomerType, Member, MemberTag, Note, Tag

TAG_LENGTH = 40


class TagInvalid(Refusal):
    status = 422
    label = _l("A tag is one to %(most)s characters on one line.")


class NoteEmpty(Refusal):
    status = 422
    label = _l("Write something first.")


# The details that are edited by hand, and how their plain text becomes what is stored.
STORED: dict[str, Callable[[str], Any]] = {
    "name": str,
    "nickname": str,
    "birthday": lambda said: date.fromisoformat(said) if said else None,
    "customer_type": lambda said: CustomerType(said) if said else None,
    "hobbies": str,
    "city": str,
    "address": str,
    "locale": str,
}


@dataclass(frozen=True)
class ProfileChange:
    """The details of a person as another room or a program gives them; an address of None stays as it is."""

    name: str
    nickname: str
    birthday: date | None
    hobbies: str
    customer_type: CustomerType | None
    city: str
    address: str | None

    @property
    def plain(self) -> dict[str, str]:
        said = asdict(self)
        return {name: _text(value) for name, value in said.items() if name != "address" or value is not None}


@dataclass(frozen=True)
class Edited:
    """What came of an edit. Where fields clashed nothing was written; `theirs` is what somebody else changed meanwhile."""

    changed: tuple[str, ...] = ()
    clashes: tuple[str, ...] = ()
    theirs: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.changed)


def hold_profile(member: Member) -> Member:
    """A member as they are now, held until the end of the transaction, so that two edits come one after the other."""
    return db.session.scalars(
        select(Member)
        .where(Member.id == member.id)
        .with_for_update(key_share=True)
        .execution_options(populate_existing=True)
    ).one()


def edit_profile(
    member: Member, change: ProfileChange | Mapping[str, str], seen: Mapping[str, str] | None = None
) -> Edited:
    """Write details that somebody changed who had seen `seen` (plain text, keys of `STORED`); see `rules.reconcile`.

    Nothing is written when a field clashes. Without `seen` nothing clashes. The audit names the fields and not what they
    hold.
    """
    mine = change.plain if isinstance(change, ProfileChange) else change
    member = hold_profile(member)
    now = {name: _text(getattr(member, name)) for name in mine}
    found = rules.reconcile(seen or {}, mine, now)
    if found.clashes:
        return Edited(clashes=found.clashes, theirs=found.theirs)
    changed = tuple(sorted(name for name, value in found.values.items() if value != now[name]))
    if changed:
        audit.record("member.edited", "member", member.id, after={"fields": list(changed)})
        for name in changed:
            setattr(member, name, STORED[name](found.values[name]))
        db.session.flush()
    return Edited(changed=changed, theirs=found.theirs)


def _text(value: Any) -> str:
    return str(value).replace("\r\n", "\n").strip() if value is not None else ""


def plain_tag(name: str) -> str:
    """A tag's name in one spelling. Refuses with `TagInvalid` an empty one and one of more than 40 characters."""
    plain = " ".join(name.split())
    if not plain or len(plain) > TAG_LENGTH:
        raise TagInvalid(most=TAG_LENGTH)
    return plain


def tag(member_ids: Collection[int], name: str) -> int:
    """Put a tag on members, made if it is new; returns on how many it was not before.

    Refuses with `TagInvalid` an empty name or one of more than 40 characters.
    """
    name = plain_tag(name)
    db.session.execute(upsert(Tag).values(name=name).on_conflict_do_nothing())
    tag_id = db.session.scalars(select(Tag.id).where(Tag.name == name)).one()
    rows = (
        queries.live()
        .with_only_columns(Member.id, literal(tag_id), literal(clock.now()))
        .where(Member.id.in_(list(member_ids)))
        .order_by(Member.id)
    )
    added = db.session.scalars(
        upsert(MemberTag)
        .from_select(["member_id", "tag_id", "at"], rows)
        .on_conflict_do_nothing()
        .returning(MemberTag.member_id)
    ).all()
    publish_all(MemberTagged(member_id=member_id, tag=name) for member_id in added)
    return len(added)


def untag(member_ids: Collection[int], name: str) -> int:
    """Take a tag off members; returns off how many. A tag that nobody has any more stays in the list."""
    tag_id = db.session.scalar(select(Tag.id).where(Tag.name == " ".join(name.split())))
    if tag_id is None:
        return 0
    removed = db.session.scalars(
        delete(MemberTag)
        .where(MemberTag.tag_id == tag_id, MemberTag.member_id.in_(list(member_ids)))
        .returning(MemberTag.member_id)
        .execution_options(synchronize_session=False)
    ).all()
    publish_all(MemberUntagged(member_id=member_id, tag=" ".join(name.split())) for member_id in removed)
    return len(removed)


def set_customer_type(member_ids: Collection[int], wanted: CustomerType | None) -> int:
    """Set how customers like to be answered, or that it is not known; of how many that changed anything."""
    ids = sorted(set(member_ids))
    rows = (
        queries.live()
        .with_only_columns(Member.id)
        .where(Member.id == func.any(ids), Member.customer_type.is_distinct_from(wanted))
        .order_by(Member.id)
        .with_for_update(key_share=True)
    )
    touched = set(
        db.session.scalars(
            update(Member)
            .where(Member.id.in_(rows))
            .values(customer_type=wanted)
            .returning(Member.id)
            .execution_options(synchronize_session=False)
        )
    )
    for found in db.session.identity_map.values():
        if isinstance(found, Member) and found.id in touched:
            db.session.expire(found, ["customer_type"])
    return len(touched)


def write_note(member_id: int, body: str) -> Note:
    """Keep a note of the signed-in staff member. Refuses with `NoteEmpty` when there are no words in it."""
    body = body.strip()
    if not body:
        raise NoteEmpty
    who = acting_staff()
    note = Note(member_id=member_id, staff_id=who.id, author=who.name, body=body, at=clock.now())
    db.session.add(note)
    db.session.flush()
    publish(NoteWritten(member_id=member_id, note_id=note.id, author=who.name))
    return note
