"""What people agreed to hear, and by which way. Rows are only added; the latest rules, and none means no."""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from flask import current_app
from sqlalchemy import delete, exists, func, insert, literal, select
from sqlalchemy.dialects.postgresql import insert as upsert

from kernel import clock, journal, links
from kernel.db import changed, db
from kernel.events import publish, publish_all

from .. import queries, rules
from ..events import ConsentChanged
from ..models import Channel, Consent, Contact, Member, MemberIdentity, OptOut, Purpose

# What was agreed to, word for word, is kept under a version; the portal's present words are these.
TEXT_VERSION = "2026-01"
KEPT_REFUSAL = "kept_opt_out"
_REACHED_BY = {
    Channel.PHONE: (Contact.INBOX, Contact.SMS, Contact.CALL),
    Channel.EMAIL: (Contact.INBOX, Contact.EMAIL),
}


def address_hash(address: str, secret: bytes | None = None) -> str:
    """The keyed hash (HMAC-SHA256, RFC 2104) of a canonical phone or e-mail address, as opt-outs keep it."""
    secret = secret or current_app.extensions["settings"].secret_key
    return hmac.new(secret, b"siyu opt-out " + address.encode(), "sha256").hexdigest()


def hashes_of(address: str) -> list[str]:
    """The hashes of an address under the present and the former keys."""
    settings = current_app.extensions["settings"]
    return [
        address_hash(address, secret)
        for secret in (settings.secret_key, *getattr(settings, "previous_secret_keys", ()))
    ]


def addresses_of(member_ids: Sequence[int]) -> list[str]:
    """The canonical phones and e-mail addresses of some members."""
    rows = db.session.scalars(
        select(MemberIdentity.external_id).where(
            MemberIdentity.member_id.in_(member_ids), MemberIdentity.channel.in_([Channel.PHONE, Channel.EMAIL])
        )
    )
    return sorted(rows)


def records_of(member_ids: Sequence[int]) -> list[list[str | int]]:
    """Records as the journal names them: the number, and when it was made, for numbers may be given out anew after a restore."""
    rows = db.session.execute(select(Member.id, Member.created_at).where(Member.id.in_(member_ids)).order_by(Member.id))
    return [[row.id, row.created_at.isoformat()] for row in rows]


def _known_as(member_id: int) -> tuple[list[list[str | int]], list[str]]:
    """What the journal names a member by, in one statement: `records_of` their records (`personal.record_ids`), and
    `addresses_of` the record itself."""
    first = select(Member.id, Member.created_at).where(Member.id == member_id).cte("record", recursive=True)
    merged = select(Member.id, Member.created_at).join(first, Member.merged_into_id == first.c.id)
    record = first.union(merged)
    addresses = (
        select(func.array_agg(MemberIdentity.external_id))
        .where(MemberIdentity.member_id == member_id, MemberIdentity.channel.in_([Channel.PHONE, Channel.EMAIL]))
        .scalar_subquery()
    )
    rows = db.session.execute(select(record.c.id, record.c.created_at, addresses).order_by(record.c.id)).all()
    return [[row[0], row[1].isoformat()] for row in rows], sorted((rows[0][2] if rows else None) or [])


CONSENT = "consent"


def _note(
    records: Sequence[list[str | int]],
    hashes: Sequence[str],
    channel: Contact,
    purpose: Purpose,
    granted: bool,
    *said: str,
) -> None:
    """Note somebody's word in the journal, so that no restore forgets it."""
    source, text_version, author = said
    journal.note(
        CONSENT,
        {
            "members": list(records),
            "addresses": list(hashes),
            "channel": channel.value,
            "purpose": purpose.value,
            "granted": granted,
            "source": source,
            "text_version": text_version,
            "author": author,
        },
    )


def give_consent(
    member_id: int,
    channel: Contact,
    purpose: Purpose = Purpose.MARKETING,
    source: str = "",
    text_version: str = TEXT_VERSION,
    author: str = "",
    at: datetime | None = None,
) -> bool:
    """Write that a member agreed, by an act of their own; returns whether that changed anything.

    `author` names the staff member who writes it down for them, `at` when they said so if it was not just now. It ends an
    opt-out of the same channel. For agreements that a file reports, see `give_consent_many`.
    """
    written, _changes = _write(member_id, channel, purpose, True, source, text_version, author, at)
    if not written:
        return False
    records, addresses = _known_as(member_id)
    _note(records, now_hashed(addresses), channel, purpose, True, source, text_version, author)
    if purpose is Purpose.MARKETING:
        hashes = [h for address in addresses for h in hashes_of(address)]
        if hashes:
            db.session.execute(
                delete(OptOut)
                .where(OptOut.address_hash.in_(hashes), OptOut.channel == channel)
                .execution_options(synchronize_session=False)
            )
    return True


def withdraw_consent(
    member_id: int,
    channel: Contact,
    purpose: Purpose = Purpose.MARKETING,
    source: str = "",
    text_version: str = TEXT_VERSION,
    author: str = "",
    at: datetime | None = None,
    heard: bool = True,
) -> bool:
    """Write that a member wants to hear nothing of a kind by a channel; returns whether that changed anything.

    For marketing a keyed hash of their phone and e-mail address remembers it for longer than the row of the person lives.
    `at` is when they said so if it was not just now. What was not `heard` from anybody but follows from other words, and
    ends with its reason, stays out of the journal: those words are in it.
    """
    records, addresses = _known_as(member_id)
    hashes = now_hashed(addresses)
    news = purpose is Purpose.MARKETING and refuse_hashes(hashes, [channel], at) > 0
    written, changes = _write(member_id, channel, purpose, False, source, text_version, author, at)
    if heard and (news or written):
        _note(records, hashes, channel, purpose, False, source, text_version, author)
    return changes


def refuse_hashes(hashes: Sequence[str], channels: Iterable[Contact], at: datetime | None = None) -> int:
    """Remember refusals of marketing for addresses by their keyed hashes; returns how many were not known."""
    rows = [
        {"address_hash": one, "channel": channel, "at": at or clock.now()} for channel in channels for one in hashes
    ]
    if not rows:
        return 0
    return changed(db.session.execute(upsert(OptOut).values(rows).on_conflict_do_nothing()))


def now_hashed(addresses: Iterable[str]) -> list[str]:
    """The hashes of addresses under the present key."""
    return [address_hash(address) for address in addresses]


def refuse_address(address: str, channel: Contact, source: str) -> int | None:
    """Write that whoever has a canonical phone or e-mail address wants no marketing by a channel; returns their id if known.

    The refusal is kept for the address even when nobody with it is known yet, or nobody is any more.
    """
    member_id = owner_of_address(address)
    if member_id is not None:
        withdraw_consent(member_id, channel, Purpose.MARKETING, source)
    # Withdrawing has remembered every address of theirs; this one is news only where nobody has it.
    own = [address_hash(address)]
    if refuse_hashes(own, [channel]):
        _note([], own, channel, Purpose.MARKETING, False, source, "", "")
    return member_id


def owner_of_address(address: str) -> int | None:
    """The member whose canonical phone or e-mail address this is."""
    return db.session.scalar(
        select(MemberIdentity.member_id).where(
            MemberIdentity.channel.in_([Channel.PHONE, Channel.EMAIL]), MemberIdentity.external_id == address
        )
    )


def withdraw_marketing(member_id: int, source: str) -> list[Contact]:
    """Take back every agreement to marketing, on all channels; the channels on which there was one."""
    return [channel for channel in Contact if withdraw_consent(member_id, channel, Purpose.MARKETING, source)]


def _write(
    member_id: int,
    channel: Contact,
    purpose: Purpose,
    granted: bool,
    source: str,
    text_version: str,
    author: str,
    at: datetime | None = None,
) -> tuple[bool, bool]:
    """Write a word of a member's; whether there was a row to write, and whether it changed anything for anybody."""
    # One writer a member: the row that rules is the latest, and two at once must not both think they changed it.
    db.session.execute(select(Member.id).where(Member.id == member_id).with_for_update(key_share=True))
    present = db.session.scalar(
        select(Consent.granted)
        .where(Consent.member_id == member_id, Consent.channel == channel, Consent.purpose == purpose)
        .order_by(Consent.id.desc())
        .limit(1)
    )
    if present is granted:
        return False, False
    db.session.execute(
        insert(Consent).values(
            member_id=member_id,
            channel=channel,
            purpose=purpose,
            granted=granted,
            source=source,
            text_version=text_version,
            author=author,
            at=at or clock.now(),
        )
    )
    if present is None and not granted:
        # Refusing what was never given is worth a row, but changes nothing for anybody.
        return True, False
    publish(
        ConsentChanged(
            member_id=member_id, channel=channel.value, purpose=purpose.value, granted=granted, source=source
        )
    )
    return True, True


def give_consent_many(
    member_ids: Sequence[int],
    channel: Contact,
    purpose: Purpose = Purpose.MARKETING,
    source: str = "import",
    text_version: str = "",
) -> int:
    """Take over agreements that a file or another system reports, set-wise; returns how many were new.

    They come second to the person's own word: whoever has ever given or taken back this agreement here, or has opted out
    under their phone or e-mail address, is left as they are.
    """
    spoken = exists().where(Consent.member_id == Member.id, Consent.channel == channel, Consent.purpose == purpose)
    rows = db.session.execute(
        insert(Consent)
        .from_select(
            ["member_id", "channel", "purpose", "granted", "source", "text_version", "author", "at"],
            queries.live()
            .with_only_columns(
                Member.id,
                literal(channel.value),
                literal(purpose.value),
                literal(True),
                literal(source),
                literal(text_version),
                literal(""),
                literal(clock.now()),
            )
            .where(Member.id == func.any(list(member_ids)), ~spoken)
            .order_by(Member.id),
            include_defaults=False,
        )
        .returning(Consent.member_id)
    ).scalars()
    given = list(rows)
    publish_all(
        ConsentChanged(member_id=member_id, channel=channel.value, purpose=purpose.value, granted=True, source=source)
        for member_id in given
    )
    return len(given)


def carry_over_opt_outs(owners: Mapping[rules.Key, int]) -> None:
    """Write the refusals that are remembered for addresses into the consents of the members who now have them."""
    if not db.session.scalar(select(select(OptOut.id).exists())):
        # Working out the hashes of many addresses takes its time.
        return
    of_hash: dict[str, list[int]] = {}
    for (channel, address), member_id in owners.items():
        if channel in _REACHED_BY:
            for one in hashes_of(address):
                of_hash.setdefault(one, []).append(member_id)
    if not of_hash:
        return
    now = clock.now()
    kept = db.session.execute(
        select(OptOut.address_hash, OptOut.channel).where(OptOut.address_hash == func.any(list(of_hash)))
    )
    rows: Iterable[tuple[int, Contact]] = sorted(
        {(member_id, channel) for one, channel in kept for member_id in of_hash[one]}
    )
    values = [
        {
            "member_id": member_id,
            "channel": channel,
            "purpose": Purpose.MARKETING,
            "granted": False,
            "source": KEPT_REFUSAL,
            "text_version": "",
            "at": now,
        }
        for member_id, channel in rows
    ]
    if values:
        db.session.execute(insert(Consent), values)


def unsubscribe_path(member_id: int, channel: Contact) -> str:
    """The path of the link under a message by which its reader stops marketing on that channel. It never expires."""
    return f"/u/{links.make('unsubscribe', member_id, channel.value)}"


def read_unsubscribe(token: str) -> tuple[Member, Contact]:
    """Whom and what an unsubscribe link is about. Refuses with `LinkInvalid`."""
    parts = links.read("unsubscribe", token)
    if len(parts) != 2 or not parts[0].isdigit() or parts[1] not in list(Contact):
        raise links.LinkInvalid
    member = queries.find_member(int(parts[0]))
    if member is None:
        raise links.LinkInvalid
    return member, Contact(parts[1])
