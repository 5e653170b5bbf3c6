"""Finding people by how the channels know them, and making those that nobody knows yet."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy import delete, func, or_, select, text, update
from sqlalchemy.exc import IntegrityError

from kernel import clock
from kernel.copying import NULL, among, copied, copy_text, draw_ids
from kernel.db import changed, db
from kernel.events import publish

from .. import queries, rules
from ..events import MemberEnrolled
from ..models import Channel, Member, Stage
from . import rights, stages

log = logging.getLogger(__name__)

# From so many on members are written together with their phones, as files bring them. A few wait for their identities, which
# settle without waiting whose a phone is.
MANY = 20
_PHONE = Channel.PHONE
# What a person's record gains from a later sighting, if it was empty.
FILLED = ("name", "nickname", "city", "address")


@dataclass(unsafe_hash=True, slots=True)
class Person:
    """Somebody as an order or a form shows them: one identity at least, and what else it says. Never changed; made without
    the lock that would keep it from it, because files make one for each order."""

    identities: tuple[tuple[Channel, str], ...]
    name: str = ""
    nickname: str = ""
    source: str = ""
    city: str = ""
    address: str = ""
    _keys: tuple[rules.Key, ...] | None = field(default=None, init=False, repr=False, compare=False)
    _words: dict[str, str] | None = field(default=None, init=False, repr=False, compare=False)

    @property
    def keys(self) -> tuple[rules.Key, ...]:
        """The identities in the spelling in which they are stored. Refuses as `rules.canonical_identity` does."""
        if self._keys is None:
            if not self.identities:
                raise ValueError("a person is known by one identity at least")
            keys = [rules.canonical_identity(channel, name) for channel, name in self.identities]
            self._keys = tuple(keys) if len(keys) == 1 else tuple(dict.fromkeys(keys))
        return self._keys

    @property
    def words(self) -> dict[str, str]:
        """What the sighting says that a record may lack."""
        if self._words is None:
            said = zip(FILLED, (self.name, self.nickname, self.city, self.address), strict=True)
            self._words = {name: word for name, found in said if found and (word := found.strip())}
        return self._words


def find_or_make(
    identities: Sequence[tuple[Channel, str]], name: str = "", nickname: str = "", source: str = ""
) -> tuple[Member, bool]:
    """The member with one of these identities, made if there is none; and whether they were made now.

    Phones and e-mail addresses may come in any spelling. Refuses with `PhoneInvalid` and `EmailInvalid`; `ValueError`
    without an identity. See `find_or_make_many` for several.
    """
    members, made = _resolve([Person(tuple(identities), name, nickname, source)])
    member = queries.get_member(members[0])
    db.session.refresh(member)
    return member, members[0] in made


def find_or_make_many(people: Sequence[Person]) -> list[int]:
    """The member ids of many people, in their order, made where nobody has one of their identities yet.

    Exact under several calls at once: the unique index on identities decides, keys are inserted in one order so that two
    calls never wait for each other crosswise, and whoever loses a key gives the person's other keys to the one who won.
    That holds for one call a transaction; a transaction that calls several times may meet a deadlock and is to be repeated.

    Empty names, places and phones of known members are filled, never overwritten. Somebody whose phone or e-mail address
    has opted out is made with that refusal. Refuses with `PhoneInvalid` and `EmailInvalid`; `ValueError` for a person
    without an identity.
    """
    return _resolve(people)[0]


def find_or_make_counted(people: Sequence[Person]) -> tuple[list[int], set[int]]:
    """As `find_or_make_many`, and the ids of those who were made by this call."""
    return _resolve(people)


def _resolve(people: Sequence[Person]) -> tuple[list[int], set[int]]:
    """The member of each person, and which of them were made here."""
    keyed = [person.keys for person in people]
    wanted = {key for keys in keyed for key in keys}
    known = queries.owners_of(wanted)
    found, attached = rules.assign(keyed, known)
    if (new := {member for member in found if member < 0}) and _wait_turn(len(new) >= MANY):
        known = queries.owners_of(wanted)
        found, attached = rules.assign(keyed, known)
    ids = _make(people, keyed, found)
    made = set(ids.values())
    if attached:
        owners = {key: ids.get(owner, owner) for key, owner in attached.items()}
        lost = owners.keys() - _insert_identities(owners)
        if lost:
            # Another transaction was first with some keys: judge anew with what it wrote.
            before = found
            found, attached = rules.assign(keyed, {**known, **queries.owners_of(lost)})
            # Whoever is still to be made was to be made before, by the same sighting.
            ids = {after: ids[first] for after, first in zip(found, before, strict=True) if after < 0 and first < 0}
            moved = {key: ids.get(owner, owner) for key, owner in attached.items() if key not in lost}
            _move_identities({key: owner for key, owner in moved.items() if owners[key] != owner})
            _unmake(made - set(ids.values()))
            made = set(ids.values())
            owners = moved
        rights.carry_over_opt_outs(owners)
    else:
        owners = {}
    members = [ids.get(member, member) for member in found]
    _fill(people, members, owners)
    return members, made


# Any number will do, as long as nothing else in the product waits at it.
_TURN = 0x7065_6F70_6C65


def _wait_turn(alone: bool) -> bool:
    """Wait until nobody else makes many people at this moment, or nobody any at all; True when there was a wait.

    Whoever makes many writes members with their phones and then identities, and another who does the same with one phone
    in common could wait for them crosswise. The lock ends with the transaction.
    """
    kind = "" if alone else "_shared"
    if db.session.scalar(text(f"SELECT pg_try_advisory_xact_lock{kind}(:turn)"), {"turn": _TURN}):
        return False
    db.session.execute(text(f"SELECT pg_advisory_xact_lock{kind}(:turn)"), {"turn": _TURN})
    return True


_MEMBER_COLUMNS = (
    "id", "name", "nickname", "city", "address", "source", "phone", "hobbies", "locale", "stage", "stage_since", "rank",
    "orders_count", "spend", "created_at",
)  # fmt: skip


def _make(people: Sequence[Person], keyed: Sequence[Sequence[rules.Key]], found: Sequence[int]) -> dict[int, int]:
    """Insert the members that are to be made; the id of each placeholder.

    The ids are drawn before the rows are written, so that each person is known to have theirs. The rows are written in the
    order of their phones, so that two calls never wait for each other crosswise.
    """
    first: dict[int, tuple[str, str]] = {}
    for person, keys, member in zip(people, keyed, found, strict=True):
        if member < 0 and member not in first:
            phone = next((name for channel, name in keys if channel is _PHONE), "")
            words = "\t".join([copied(person.words.get(name, "")) for name in FILLED])
            first[member] = f"{words}\t{copied(person.source.strip())}", phone
    if not first:
        return {}
    ids = dict(zip(first, draw_ids("member", len(first)), strict=True))
    now = clock.now()
    end = f"\t\tzh_Hans\t{Stage.LEAD.value}\t{now}\t0\t0\t0\t{now}\n"

    def write(phones: bool) -> None:
        rows = sorted((phone, ids[member], words) for member, (words, phone) in first.items())
        # A canonical phone holds nothing that would have to be escaped.
        lines = [f"{member}\t{words}\t{phone if phones and phone else NULL}{end}" for phone, member, words in rows]
        copy_text("member", _MEMBER_COLUMNS, lines)

    if len(first) >= MANY:
        try:
            # With their phones at once: writing a member's row a second time costs as much as the first.
            with db.session.begin_nested():
                write(phones=True)
            return ids
        except IntegrityError:
            # Somebody else is just writing one of these phones; the identities, which follow, decide whose it is.
            log.info("a phone of %s new members was taken meanwhile", len(first))
    write(phones=False)
    return ids


def _unmake(members: set[int]) -> None:
    if members:
        db.session.execute(delete(Member).where(Member.id.in_(members)).execution_options(synchronize_session=False))


_INSERT_IDENTITIES = text(
    """
    INSERT INTO member_identity (member_id, channel, external_id, created_at)
    SELECT member_id, channel, external_id, :now
    FROM unnest(CAST(:members AS bigint[]), CAST(:channels AS text[]), CAST(:names AS text[]))
         AS t (member_id, channel, external_id)
    ORDER BY channel COLLATE "C", external_id COLLATE "C"
    ON CONFLICT (channel, external_id) DO NOTHING
    RETURNING channel, external_id
    """
)
_MOVE_IDENTITIES = text(
    """
    UPDATE member_identity SET member_id = t.member_id
    FROM unnest(CAST(:members AS bigint[]), CAST(:channels AS text[]), CAST(:names AS text[]))
         AS t (member_id, channel, external_id)
    WHERE member_identity.channel = t.channel AND member_identity.external_id = t.external_id
    """
)


def _by_key(owned: tuple[rules.Key, int]) -> rules.Key:
    return owned[0]


def _columns(owners: Mapping[rules.Key, int]) -> dict[str, list[int] | list[str]]:
    return {
        "members": list(owners.values()),
        "channels": [channel.value for channel, _ in owners],
        "names": [name for _, name in owners],
    }


_IDENTITY_COLUMNS = ("member_id", "channel", "external_id", "created_at")


def _insert_identities(owners: Mapping[rules.Key, int]) -> set[rules.Key]:
    """Insert identities where they are free; the keys that were."""
    if len(owners) >= MANY:
        end = f"\t{clock.now()}\n"
        lines = [
            f"{member}\t{channel.value}\t{copied(name)}{end}"
            for (channel, name), member in sorted(owners.items(), key=_by_key)
        ]
        try:
            # They were free a moment ago, and nearly always they still are.
            with db.session.begin_nested():
                copy_text("member_identity", _IDENTITY_COLUMNS, lines)
            return set(owners)
        except IntegrityError:
            log.info("one of %s new identities was taken meanwhile", len(owners))
    rows = db.session.execute(_INSERT_IDENTITIES, {**_columns(owners), "now": clock.now()})
    return {(Channel(channel), name) for channel, name in rows}


def _move_identities(owners: Mapping[rules.Key, int]) -> None:
    if owners:
        db.session.execute(_MOVE_IDENTITIES, _columns(owners))


_FILL = text(
    """
    UPDATE member SET
        name = CASE WHEN member.name = '' THEN t.name ELSE member.name END,
        nickname = CASE WHEN member.nickname = '' THEN t.nickname ELSE member.nickname END,
        city = CASE WHEN member.city = '' THEN t.city ELSE member.city END,
        address = CASE WHEN member.address = '' THEN t.address ELSE member.address END,
        phone = COALESCE(member.phone, t.phone),
        email = COALESCE(member.email, t.email)
    FROM unnest(CAST(:ids AS bigint[]), CAST(:name AS text[]), CAST(:nickname AS text[]), CAST(:city AS text[]),
                CAST(:address AS text[]), CAST(:phone AS text[]), CAST(:email AS text[]))
         AS t (id, name, nickname, city, address, phone, email)
    WHERE member.id = t.id
    """
)


def _fill(people: Sequence[Person], members: Sequence[int], fresh: Mapping[rules.Key, int]) -> None:
    """Give members what their record lacks: words of the sightings, and the phone and e-mail that became theirs."""
    said: dict[int, dict[str, str]] = {}
    for person, member in zip(people, members, strict=True):
        if words := person.words:
            before = said.get(member)
            if before is None:
                said[member] = words
            elif words.keys() - before.keys():
                # What was said first stands.
                said[member] = words | before
    contacts = {Channel.PHONE: "phone", Channel.EMAIL: "email"}
    for (channel, external_id), member in fresh.items():
        if channel in contacts:
            said[member] = {contacts[channel]: external_id} | said.get(member, {})
    if not said:
        return
    # Only what somebody says anything about is looked at: nearly every record lacks an address, and few sightings have one.
    named = {name for words in said.values() for name in words}
    empty = [getattr(Member, name) == "" for name in FILLED if name in named]
    empty += [getattr(Member, name).is_(None) for name in contacts.values() if name in named]
    lacking = db.session.execute(
        select(Member.id, Member.name, Member.nickname, Member.city, Member.address, Member.phone, Member.email).where(
            among(Member.id, said, numbers=True), or_(*empty)
        )
    )
    wanted: dict[int, dict[str, str]] = {}
    for row in lacking:
        gains = {key: word for key, word in said[row.id].items() if not getattr(row, key)}
        if gains:
            wanted[row.id] = gains
    if not wanted:
        return
    ids = sorted(wanted)
    # In one order, so that two imports that meet do not wait for each other crosswise.
    db.session.execute(select(Member.id).where(Member.id == func.any(ids)).order_by(Member.id).with_for_update()).all()
    columns = {name: [wanted[i].get(name, "") for i in ids] for name in FILLED}
    columns |= {name: [wanted[i].get(name) for i in ids] for name in contacts.values()}  # type: ignore[misc]
    db.session.execute(_FILL, {"ids": ids, **columns})


def enrol(member_id: int, source: str) -> bool:
    """Let a member's benefits count from now; returns whether this was the first time. Publishes `MemberEnrolled` then."""
    first = changed(
        db.session.execute(
            update(Member)
            .where(Member.id == member_id, Member.enrolled_at.is_(None))
            .values(enrolled_at=clock.now())
            .execution_options(synchronize_session="fetch")
        )
    )
    if first:
        publish(MemberEnrolled(member_id=member_id, source=source))
        stages.reassess_stages([member_id])
    return bool(first)
