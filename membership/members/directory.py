"""The members as programs read them: a list in the order of their numbers, narrowed by what programs ask for."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Select, select

from kernel.db import db

from . import queries
from .models import Channel, Consent, Contact, Member, MemberIdentity, MemberTag, Purpose, Stage, Tag

ORDER = [Member.id.desc()]


@dataclass(frozen=True)
class Wanted:
    """What narrows the list; None means no narrowing. `spend_from` in 分, ordered since an instant."""

    stage: Stage | None = None
    tier: int | None = None
    tag: str | None = None
    source: str | None = None
    enrolled: bool | None = None
    consent: Contact | None = None
    spend_from: int | None = None
    ordered_since: datetime | None = None
    identity: tuple[Channel, str] | None = None


def listed(wanted: Wanted) -> Select[Member]:
    """The people who fit, each once."""
    found = queries.live()
    plain = {Member.stage: wanted.stage, Member.rank: wanted.tier, Member.source: wanted.source}
    for column, value in plain.items():
        if value is not None:
            found = found.where(column == value)
    if wanted.tag is not None:
        tagged = select(MemberTag.member_id).join(Tag, Tag.id == MemberTag.tag_id).where(Tag.name == wanted.tag)
        found = found.where(Member.id.in_(tagged))
    if wanted.enrolled is not None:
        found = found.where(Member.enrolled_at.is_not(None) if wanted.enrolled else Member.enrolled_at.is_(None))
    if wanted.consent is not None:
        found = found.where(queries.consented(wanted.consent, Purpose.MARKETING))
    if wanted.spend_from is not None:
        found = found.where(Member.spend >= wanted.spend_from)
    if wanted.ordered_since is not None:
        found = found.where(Member.last_order_at >= wanted.ordered_since)
    if wanted.identity is not None:
        # By its owner, so that a name which a merged record still carries leads to the one person.
        member = queries.find_by_identity(*wanted.identity)
        found = found.where(Member.id == (member.id if member is not None else 0))
    return found


@dataclass(frozen=True)
class Particulars:
    """What stands beside a member's own row."""

    tags: list[str]
    identities: list[MemberIdentity]


def particulars(member_ids: list[int]) -> dict[int, Particulars]:
    """Tags and identities of the members of a page, in two statements."""
    tags = queries.tags_of_many(member_ids)
    identities: dict[int, list[MemberIdentity]] = {}
    rows = db.session.scalars(
        select(MemberIdentity).where(MemberIdentity.member_id.in_(member_ids)).order_by(MemberIdentity.id)
    )
    for row in rows:
        identities.setdefault(row.member_id, []).append(row)
    return {number: Particulars(sorted(tags.get(number, [])), identities.get(number, [])) for number in member_ids}


def consents(member_id: int) -> list[Consent]:
    """The word that rules for each channel and purpose."""
    found: dict[Any, Consent] = queries.rights(member_id)
    return [found[key] for key in sorted(found)]
