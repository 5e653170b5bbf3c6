"""What people agreed to hear, and by which way. Rows are only added; the latest rules, and none means no."""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Mapping, Sequence

from flask import current_app
from sqlalchemy import delete, exists, func, insert, literal, select
from sqlalchemy.dialects.postgresql import insert as upsert

from kernel import clock, links
from kernel.db import db
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


def _hashes(address: str) -> list[str]:
    """The hashes of an address under the present and the former keys."""
    settings = current_app.extensions["settings"]
    return [
        address_hash(address, secret)
        for secret in (settings.secret_key, *getattr(settings, "previous_secret_keys", ()))
    ]


def _addresses(member_id: int) -> list[str]:
    rows = db.session.scalars(
        select(MemberIdentity.external_id).where(
            MemberIdentity.member_id == member_id, MemberIdentity.channel.in_([Channel.PHONE, Channel.EMAIL])
        )
    )
    return sorted(rows)


def give_consent(
    member_id: int,
    channel: Contact,
    purpose: Purpose = Purpose.MARKETING,
    source: str = "",
    text_version: str = TEXT_VERSION,
    author: str = "",
) -> bool:
    """Write that a member agreed, by an act of their own; returns whether that changed anything.

    `author` names the staff member who writes it down for them. It ends an opt-out of the same channel. For agreements
    that a file reports, see `give_consent_many`.
    """
    if not _write(member_id, channel, purpose, True, source, text_version, author):
        return False
    if purpose is Purpose.MARKETING:
        hashes = [h for address in _addresses(member_id) for h in _hashes(address)]
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
) -> bool:
    """Write that a member wants to hear nothing of a kind by a channel; returns whether that changed anything.

    For marketing a keyed hash of their phone and e-mail address remembers it for longer than the row of the person lives.
    """
    if purpose is Purpose.MARKETING:
        now = clock.now()
        rows = [
            {"address_hash": address_hash(address), "channel": channel, "at": now} for address in _addresses(member_id)
        ]
        if rows:
            db.session.execute(upsert(OptOut).values(rows).on_conflict_do_nothing())
    return _write(member_id, channel, purpose, False, source, text_version, author)


def refuse_address(address: str, channel: Contact, source: str) -> int | None:
    """Write that whoever has a canonical phone or e-mail address wants no marketing by a channel; returns their id if known.

    The refusal is kept for the address even when nobody with it is known yet, or nobody is any more.
    """
    db.session.execute(
        upsert(OptOut)
        .values(address_hash=address_hash(address), channel=channel, at=clock.now())
        .on_conflict_do_nothing()
    )
    member_id = owner_of_address(address)
    if member_id is not None:
        withdraw_consent(member_id, channel, Purpose.MARKETING, source)
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
    member_id: int, channel: Contact, purpose: Purpose, granted: bool, source: str, text_version: str, author: str
) -> bool:
    # One writer a member: the row that rules is the latest, and two at once must not both think they changed it.
    db.session.execute(select(Member.id).where(Member.id == member_id).with_for_update(key_share=True))
    present = db.session.scalar(
        select(Consent.granted)
        .where(Consent.member_id == member_id, Consent.channel == channel, Consent.purpose == purpose)
        .order_by(Consent.id.desc())
        .limit(1)
    )
    if present is granted:
        return False
    db.session.execute(
        insert(Consent).values(
            member_id=member_id,
            channel=channel,
            purpose=purpose,
            granted=granted,
            source=source,
            text_version=text_version,
            author=author,
            at=clock.now(),
        )
    )
    if present is None and not granted:
        # Refusing what was never given is worth a row, but changes nothing for anybody.
        return False
    publish(
        ConsentChanged(
            member_id=member_id, channel=channel.value, purpose=purpose.value, granted=granted, source=source
        )
    )
    return True


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
            for one in _hashes(address):
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
