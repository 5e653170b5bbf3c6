"""Carrying the journal out after a restore: whoever said no stays unasked, whoever was erased stays erased.

A line names records by number and the moment they were made, and phones and e-mail addresses by keyed hashes. A refusal finds
a person by either; an agreement finds records alone, so that a line can never give one to somebody else; an erasure looks for
the addresses only where none of its records is here, for a phone may have been somebody else's at the backup.
Whatever somebody has said since the line was noted rules.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from sqlalchemy import delete, select

from kernel import journal
from kernel.db import db
from kernel.i18n import lazy_gettext as _l

from .. import queries
from ..models import Channel, Consent, Contact, Member, MemberIdentity, OptOut, Purpose, RightsWish
from . import erasure, rights

REFUSED, AGREED, KEPT, ERASED, GONE, ASKED, UNMATCHED = (
    "refused", "agreed", "kept_for_address", "erased", "erased_none_here", "asked", "unmatched",
)  # fmt: skip

journal.outcomes.update(
    {
        REFUSED: _l("Refusals written down again"),
        AGREED: _l("Agreements written down again"),
        KEPT: _l("Refusals kept for an address that nobody has here yet"),
        ERASED: _l("People erased again"),
        GONE: _l("Erased people who are not in this backup; their addresses stay refused"),
        ASKED: _l("Wishes about their own data, and what became of them"),
        UNMATCHED: _l("Lines about nobody in this backup, or overtaken by a later word"),
    }
)


@journal.replays(rights.CONSENT)
def say_again(body: dict[str, Any], at: datetime) -> Iterator[journal.Came]:
    """A consent or refusal."""
    channel, purpose, hashes = Contact(body["channel"]), Purpose(body["purpose"]), [str(h) for h in body["addresses"]]
    said = str(body["source"]), str(body["text_version"]), str(body["author"]), at
    records = _records(body["members"])
    if body["granted"]:
        since = [one for one in records if not _spoke_since(one, channel, purpose, at)]
        for member_id in since:
            rights.give_consent(member_id, channel, purpose, *said)
        if purpose is Purpose.MARKETING and (since or not records):
            db.session.execute(
                delete(OptOut)
                .where(OptOut.address_hash.in_(hashes), OptOut.channel == channel, OptOut.at <= at)
                .execution_options(synchronize_session=False)
            )
        yield journal.Came(AGREED if since else UNMATCHED)
        return
    owners = {*records, *_owners(hashes)}
    since = [one for one in sorted(owners) if not _spoke_since(one, channel, purpose, at)]
    for member_id in since:
        rights.withdraw_consent(member_id, channel, purpose, *said)
    if purpose is Purpose.MARKETING and (since or not owners):
        rights.refuse_hashes(hashes, [channel], at)
    if since:
        yield journal.Came(REFUSED)
    else:
        yield journal.Came(UNMATCHED if owners or not hashes else KEPT)


@journal.replays(erasure.ERASURE)
def erase_again(body: dict[str, Any], at: datetime) -> Iterator[journal.Came]:
    """An erasure: of every record of the person, also of those that were one with it only later."""
    hashes = [str(h) for h in body["addresses"]]
    erased = 0
    for member_id in _records(body["members"]) or _owners(hashes, at):
        # One erasure takes all that were merged along.
        root = queries.find_member(member_id)
        if root is not None and root.erased_at is None:
            erasure.erase(root.id, str(root.id))
            erased += 1
    rights.refuse_hashes(hashes, Contact, at)
    yield journal.Came(ERASED, erased) if erased else journal.Came(GONE)


@journal.replays(erasure.RIGHTS)
def ask_again(body: dict[str, Any], at: datetime) -> Iterator[journal.Came]:
    """A wish to see or to erase, taken back, or carried out."""
    wish, what = RightsWish(body["wish"]), body["what"]
    records = _records(body["members"])[:1]
    for member_id in records:
        if what == erasure.ASKED:
            erasure.ask(member_id, wish, at)
        elif what == erasure.TAKEN_BACK:
            erasure.take_back(member_id, wish, at)
        else:
            erasure.done(member_id, wish, None, at)
    yield journal.Came(ASKED if records else UNMATCHED)


def _records(named: list[list[Any]]) -> list[int]:
    """The living records that these have become; a number that was given to somebody else since is not theirs."""
    found: list[int] = []
    for number, made_at in named:
        made = db.session.scalar(select(Member.created_at).where(Member.id == int(number)))
        if made is None or made != datetime.fromisoformat(made_at):
            continue
        root = queries.find_member(int(number))
        if root is not None and root.erased_at is None and root.id not in found:
            found.append(root.id)
    return found


def _owners(hashes: list[str], until: datetime | None = None) -> list[int]:
    """The living records that have one of these addresses, made by `until` if that is given."""
    replaying = journal.replaying()
    if "owners" not in replaying.kept:
        wanted = {str(h) for line in replaying.lines for h in line.body.get("addresses", ())}
        replaying.kept["owners"] = _scan(wanted) if wanted else {}
    keys = [key for one in hashes for key in replaying.kept["owners"].get(one, ())]
    found: list[int] = []
    for channel, address in keys:
        # Asked anew: an erasure that was carried out meanwhile has taken it away.
        member = queries.find_by_identity(channel, address)
        if member is not None and member.erased_at is None and (until is None or member.created_at <= until):
            found.append(member.id)
    return found


def _scan(wanted: set[str]) -> dict[str, list[tuple[Channel, str]]]:
    """Which addresses of all members have one of the hashes, under any key of the shop."""
    found: dict[str, list[tuple[Channel, str]]] = {}
    rows = db.session.execute(
        select(MemberIdentity.channel, MemberIdentity.external_id)
        .where(MemberIdentity.channel.in_([Channel.PHONE, Channel.EMAIL]))
        .execution_options(yield_per=5_000)
    )
    for channel, address in rows:
        for one in rights.hashes_of(address):
            if one in wanted:
                found.setdefault(one, []).append((channel, address))
    return found


def _spoke_since(member_id: int, channel: Contact, purpose: Purpose, at: datetime) -> bool:
    """Whether somebody has given or taken back this agreement after a moment."""
    return bool(
        db.session.scalar(
            select(
                select(Consent.id)
                .where(
                    Consent.member_id == member_id,
                    Consent.channel == channel,
                    Consent.purpose == purpose,
                    Consent.at > at,
                )
                .exists()
            )
        )
    )
