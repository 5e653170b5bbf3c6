"""How a merge brings along what this room and the kernel keep of a person: identities, consents, tags, notes, browsers."""

from __future__ import annotations

from sqlalchemy import Text, cast, func, literal, select, update
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.dialects.postgresql import insert as upsert

from kernel import clock
from kernel.db import db
from kernel.events import EventDelivery, EventRecord
from kernel.i18n import gettext as _
from kernel.i18n import lazy_gettext as _l
from kernel.notices import Notice
from kernel.visitors import VisitorSession

from . import queries, services
from .models import (
    Channel,
    Consent,
    Contact,
    Dossier,
    DuplicatePair,
    Member,
    MemberIdentity,
    MemberTag,
    Merge,
    NotDuplicate,
    Note,
    OptOut,
    Purpose,
    RightsRequest,
    SignInCode,
)
from .services import merge, rights

MERGED = "merge"


@merge.follower(
    MemberIdentity.member_id, Note.member_id, SignInCode.member_id, Dossier.member_id, Member.merged_into_id
)
def follow_identities(merging: merge.Merging) -> None:
    merging.repoint(MemberIdentity.member_id, label=_l("Identities on channels"))
    merging.repoint(Note.member_id, label=_l("Notes"))
    merging.repoint(SignInCode.member_id)
    merging.repoint(Dossier.member_id)


@merge.follower(MemberTag.member_id)
def follow_tags(merging: merge.Merging) -> None:
    """A tag that both have is kept once."""
    merging.join(MemberTag.member_id, MemberTag.tag_id, label=_l("Tags"))


def _latest(member_id: int) -> dict[tuple[Contact, Purpose], bool]:
    return {key: row.granted for key, row in queries.rights(member_id).items()}


@merge.follower(Consent.member_id)
def follow_consents(merging: merge.Merging) -> None:
    """Every word given and taken back follows; where one of the two has said no, no rules, whichever came later."""
    own, others = _latest(merging.survivor), _latest(merging.absorbed)
    refused = sorted({key for said in (own, others) for key, granted in said.items() if not granted})
    if not own and not others:
        return
    addresses = db.session.scalars(
        select(MemberIdentity.external_id).where(
            MemberIdentity.member_id.in_(merging.pair), MemberIdentity.channel.in_((Channel.PHONE, Channel.EMAIL))
        )
    ).all()
    hashes = [rights.address_hash(address) for address in addresses]
    with (
        merging.watching(OptOut, OptOut.address_hash.in_(hashes)),
        merging.watching(Consent, Consent.member_id.in_(merging.pair)),
    ):
        db.session.execute(
            update(Consent)
            .where(Consent.member_id == merging.absorbed)
            .values(member_id=merging.survivor)
            .execution_options(synchronize_session=False)
        )
        for channel, purpose in refused:
            services.withdraw_consent(merging.survivor, channel, purpose, MERGED, heard=False)
        # A refusal of offers holds for every phone and e-mail address of the person.
        rows = [
            {"address_hash": one, "channel": channel, "at": clock.now()}
            for one in sorted(hashes)
            for channel, purpose in refused
            if purpose is Purpose.MARKETING
        ]
        if rows:
            db.session.execute(upsert(OptOut).values(rows).on_conflict_do_nothing())
    merging.count(_l("Consents and refusals"), len(others))
    for channel, purpose in refused:
        if own.get((channel, purpose)) or others.get((channel, purpose)):
            merging.conflict(
                _("One record agreed and the other refused (%(channel)s): the refusal holds.", channel=_said(channel))
            )


def _said(channel: Contact) -> str:
    from .labels import CONTACTS  # The words need the events of orders, which are loaded later.

    return str(CONTACTS[channel])


@merge.follower(RightsRequest.member_id)
def follow_requests(merging: merge.Merging) -> None:
    """What both have asked for is asked for once."""
    requests = RightsRequest.__table__
    still_open = (requests.c.done_at.is_(None), requests.c.taken_back_at.is_(None))
    own = select(requests.c.wish).where(requests.c.member_id == merging.survivor, *still_open)
    with merging.watching(RightsRequest, RightsRequest.member_id.in_(merging.pair)):
        twice = (requests.c.member_id == merging.absorbed, *still_open, requests.c.wish.in_(own))
        db.session.execute(requests.delete().where(*twice))
        db.session.execute(
            update(requests).where(requests.c.member_id == merging.absorbed).values(member_id=merging.survivor)
        )


@merge.follower(VisitorSession.member_id, Notice.member_id, EventRecord.member_id)
def follow_kernel(merging: merge.Merging) -> None:
    """Browsers, notices and the timeline; what subscribers have not been told yet names the survivor."""
    merging.repoint(VisitorSession.member_id, label=_l("Browsers that know them"))
    merging.repoint(Notice.member_id)
    waiting = select(EventDelivery.event_id).where(
        EventDelivery.delivered_at.is_(None), EventDelivery.dead_at.is_(None)
    )
    events = EventRecord.__table__
    mine = (
        events.c.member_id == merging.absorbed,
        events.c.id.in_(waiting),
        events.c.payload["member_id"].as_string() == str(merging.absorbed),
    )
    if db.session.scalar(select(events.c.id).where(*mine).limit(1)) is not None:
        with merging.watching(EventRecord, *mine):
            named = func.jsonb_set(events.c.payload, cast(["member_id"], ARRAY(Text)), literal(merging.survivor, JSONB))
            db.session.execute(update(events).where(*mine).values(payload=named))
    merging.repoint(EventRecord.member_id, label=_l("Entries of the timeline"))


merge.stays(Merge.survivor_id, "The log of merges tells what was, for each record.")
merge.stays(Merge.absorbed_id, "The log of merges tells what was, for each record.")
merge.stays(DuplicatePair.low_id, "Pairs are found anew, among living records only.")
merge.stays(DuplicatePair.high_id, "Pairs are found anew, among living records only.")
merge.stays(NotDuplicate.low_id, "What staff said about two records is said about the records.")
merge.stays(NotDuplicate.high_id, "What staff said about two records is said about the records.")


@merge.after_undoing.fill
def keep_refusals(undoing: merge.Undoing) -> None:
    """Whoever has said no since the merge has said it for both records, for nobody can tell for which."""
    rows = db.session.execute(
        select(Consent.channel, Consent.purpose)
        .where(Consent.member_id == undoing.survivor, Consent.at > undoing.merged_at, Consent.granted.is_(False))
        .where(Consent.source != MERGED)
        .distinct()
    ).all()
    for channel, purpose in rows:
        if not _latest(undoing.survivor).get((channel, purpose), True):
            services.withdraw_consent(undoing.absorbed, channel, purpose, MERGED, heard=False)
