"""Reads about people."""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import ColumnElement, Select, false, func, literal, literal_column, or_, select, text, union
from sqlalchemy.dialects.postgresql import aggregate_order_by, distinct_on

from kernel import clock, shop
from kernel.db import db
from kernel.errors import NotFound
from kernel.pages import Count, Page, capped_count, keyset
from kernel.ports import Port
from membership.orders.models import Order, OrderLine

from . import rules
from .models import Channel, Consent, Contact, Member, MemberIdentity, MemberTag, Note, Purpose, Stage, Tag

# The groups that the list can be narrowed to, as (id, name), and whether `Member` sits in one; filled by community.groups.
group_choices: Port[[], list[tuple[int, str]]] = Port("members.group_choices")
in_group: Port[[int], ColumnElement[bool]] = Port("members.in_group")

# The list's order by last order; spelt as in the index. Whoever never ordered comes last.
LAST_ORDER = func.coalesce(Member.last_order_at, literal_column("'epoch'::timestamptz"))


def live() -> Select[Member]:
    """Every person once: neither merged into another nor erased."""
    return select(Member).where(Member.merged_into_id.is_(None), Member.erased_at.is_(None))


def find_member(member_id: int) -> Member | None:
    """The member with this id, or the one they were merged into."""
    found = db.session.get(Member, member_id)
    while found is not None and found.merged_into_id is not None:
        found = db.session.get(Member, found.merged_into_id)
    return found


def get_member(member_id: int) -> Member:
    """`find_member`; refuses with `NotFound` when there is none."""
    found = find_member(member_id)
    if found is None:
        raise NotFound
    return found


def find_by_identity(channel: Channel, external_id: str) -> Member | None:
    """The member whom a channel knows under this name (phones and e-mail addresses in canonical form)."""
    owner = db.session.scalar(
        select(MemberIdentity.member_id).where(
            MemberIdentity.channel == channel, MemberIdentity.external_id == external_id
        )
    )
    return find_member(owner) if owner is not None else None


def find_by_phone(canonical: str) -> Member | None:
    """The member with this phone in E.164."""
    return find_by_identity(Channel.PHONE, canonical)


def owners_of(keys: Collection[rules.Key]) -> dict[rules.Key, int]:
    """The member of each identity that has one, merged members replaced by the one they became."""
    if not keys:
        return {}
    by_channel: dict[Channel, list[str]] = {}
    for channel, external_id in keys:
        by_channel.setdefault(channel, []).append(external_id)
    owners: dict[rules.Key, int] = {}
    survivors: dict[int, int] = {}
    for channel, names in by_channel.items():
        rows = db.session.execute(
            select(MemberIdentity.external_id, Member.id, Member.merged_into_id)
            .join(Member, Member.id == MemberIdentity.member_id)
            .where(MemberIdentity.channel == channel, MemberIdentity.external_id == func.any(names))
        )
        for name, member_id, merged_into in rows:
            owners[channel, name] = member_id
            if merged_into is not None:
                survivors[member_id] = find_member(merged_into).id  # type: ignore[union-attr]
    return {key: survivors.get(owner, owner) for key, owner in owners.items()}


def consented(channel: Contact, purpose: Purpose) -> ColumnElement[bool]:
    """Whether the latest consent row of `Member` grants; a boolean to put into a statement that selects from `member`.

    Opting out writes a row too, so nothing else has to be asked.
    """
    latest = (
        select(Consent.granted)
        .where(Consent.member_id == Member.id, Consent.channel == channel, Consent.purpose == purpose)
        .order_by(Consent.id.desc())
        .limit(1)
        .correlate(Member)
        .scalar_subquery()
    )
    return func.coalesce(latest, false())


def has_consent(member_id: int, channel: Contact, purpose: Purpose = Purpose.MARKETING) -> bool:
    """Whether one member agreed, by the same rule as `consented`."""
    return bool(db.session.scalar(select(consented(channel, purpose)).where(Member.id == member_id)))


def had_consent(member_id: int, channel: Contact, purpose: Purpose = Purpose.MARKETING) -> bool:
    """Whether a member ever agreed, so that taking it back can be undone."""
    agreed = select(Consent.id).where(
        Consent.member_id == member_id, Consent.channel == channel, Consent.purpose == purpose, Consent.granted
    )
    return bool(db.session.scalar(select(agreed.exists())))


def rights(member_id: int) -> dict[tuple[Contact, Purpose], Consent]:
    """The consent row that rules for each channel and purpose that has one."""
    rows = db.session.scalars(
        select(Consent)
        .where(Consent.member_id == member_id)
        .ext(distinct_on(Consent.channel, Consent.purpose))
        .order_by(Consent.channel, Consent.purpose, Consent.id.desc())
    )
    return {(row.channel, row.purpose): row for row in rows}


def consent_history(member_id: int, limit: int = 50) -> Sequence[Consent]:
    """Every word given and taken back, newest first."""
    return db.session.scalars(
        select(Consent).where(Consent.member_id == member_id).order_by(Consent.id.desc()).limit(limit)
    ).all()


def identities_of(member_id: int) -> Sequence[MemberIdentity]:
    """How the channels know a member, oldest first."""
    return db.session.scalars(
        select(MemberIdentity).where(MemberIdentity.member_id == member_id).order_by(MemberIdentity.id)
    ).all()


def tags_of(member_id: int) -> Sequence[Tag]:
    return db.session.scalars(
        select(Tag)
        .join(MemberTag, MemberTag.tag_id == Tag.id)
        .where(MemberTag.member_id == member_id)
        .order_by(Tag.name)
    ).all()


def tags_of_many(member_ids: Collection[int]) -> dict[int, list[str]]:
    """The tags of each member of a page of a list, in one statement."""
    found: dict[int, list[str]] = {}
    if member_ids:
        rows = db.session.execute(
            select(MemberTag.member_id, Tag.name)
            .join(Tag, Tag.id == MemberTag.tag_id)
            .where(MemberTag.member_id.in_(member_ids))
            .order_by(Tag.name)
        )
        for member_id, name in rows:
            found.setdefault(member_id, []).append(name)
    return found


def tags() -> Sequence[Tag]:
    """Every tag by name."""
    return db.session.scalars(select(Tag).order_by(Tag.name)).all()


def notes_of(member_id: int, limit: int = 50) -> Sequence[Note]:
    """What staff wrote, newest first."""
    return db.session.scalars(
        select(Note).where(Note.member_id == member_id).order_by(Note.id.desc()).limit(limit)
    ).all()


def names(member_ids: Iterable[int]) -> dict[int, str]:
    """The shown name of each member, in one statement."""
    wanted = set(member_ids)
    if not wanted:
        return {}
    rows = db.session.scalars(select(Member).where(Member.id.in_(wanted)))
    return {member.id: member.shown_name for member in rows}


def stage_days() -> rules.StageDays:
    """The shop's days of the stages, each changeable under Settings (`stage.active_days` and so on)."""
    standard = rules.StageDays()
    return rules.StageDays(
        active=int(shop.get("stage.active_days", standard.active)),
        dormant=int(shop.get("stage.dormant_days", standard.dormant)),
        lost=int(shop.get("stage.lost_days", standard.lost)),
    )


# ── The list ────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class MemberFilter:
    """What the list is narrowed to; None and empty mean no narrowing. Days count back from now, amounts are 分."""

    q: str = ""
    tier: int | None = None
    stage: Stage | None = None
    tag: str = ""
    source: str = ""
    consent: str = ""  # a `Contact`, or "none" for nobody to be addressed
    last_order_days: tuple[int, int | None] | None = None
    spend: tuple[int, int | None] | None = None
    group: int | None = None


SORTS: dict[str, list[Any]] = {
    "": [Member.created_at.desc(), Member.id.desc()],
    "last_order": [LAST_ORDER, Member.id],
    "-last_order": [LAST_ORDER.desc(), Member.id.desc()],
    "spend": [Member.spend, Member.id],
    "-spend": [Member.spend.desc(), Member.id.desc()],
}


def sought(q: str) -> ColumnElement[bool]:
    """Whether `Member` fits what somebody typed: a phone or its last digits, a name, a name on a channel, an order number."""
    words = unicodedata.normalize("NFKC", q).strip()
    digits = "".join(c for c in words if c.isdigit())
    only_digits = len(digits) >= 3 and not any(c.isalpha() for c in words)
    parts = [
        select(MemberIdentity.member_id).where(
            MemberIdentity.channel.in_(list(Channel)), MemberIdentity.external_id.in_({words, words.lower()})
        ),
        select(Order.member_id).where(Order.external_id == words.removeprefix("#"), Order.member_id.is_not(None)),
    ]
    if only_digits:
        tail = digits[-11:]
        parts.append(
            select(Member.id).where(literal_column("reverse(phone)").like(tail[::-1] + "%"), Member.phone.is_not(None))
        )
    if not only_digits or len(digits) <= 3:
        parts.append(
            select(Member.id).where(
                or_(
                    Member.name.icontains(words, autoescape=True),
                    Member.nickname.icontains(words, autoescape=True),
                )
            )
        )
    return Member.id.in_(union(*parts))


def listed(wanted: MemberFilter) -> Select[Member]:
    """The people who fit a filter, in no order."""
    statement = live()
    if wanted.q:
        statement = statement.where(sought(wanted.q))
    if wanted.tier is not None:
        statement = statement.where(Member.rank == wanted.tier)
    if wanted.stage is not None:
        statement = statement.where(Member.stage == wanted.stage)
    if wanted.tag:
        tagged = select(MemberTag.member_id).join(Tag, Tag.id == MemberTag.tag_id).where(Tag.name == wanted.tag)
        statement = statement.where(Member.id.in_(tagged))
    if wanted.source:
        statement = statement.where(Member.source == wanted.source)
    if wanted.consent == "none":
        statement = statement.where(*(~consented(contact, Purpose.MARKETING) for contact in Contact))
    elif wanted.consent:
        statement = statement.where(consented(Contact(wanted.consent), Purpose.MARKETING))
    if wanted.last_order_days is not None:
        least, most = wanted.last_order_days
        statement = statement.where(Member.last_order_at <= clock.now() - timedelta(days=least))
        if most is not None:
            statement = statement.where(Member.last_order_at > clock.now() - timedelta(days=most))
    if wanted.spend is not None:
        least, most = wanted.spend
        statement = statement.where(Member.spend >= least)
        if most is not None:
            statement = statement.where(Member.spend < most)
    if wanted.group is not None:
        statement = statement.where(*in_group.call(wanted.group) or [false()])
    return statement


def page_of(wanted: MemberFilter, sort: str, cursor: str | None) -> tuple[Page, Count]:
    """One page of the list and how many there are in all."""
    statement = listed(wanted)
    return keyset(statement, SORTS.get(sort, SORTS[""]), cursor), capped_count(statement)


_SOURCES = text(
    """
    WITH RECURSIVE found AS (
        (SELECT source FROM member ORDER BY source LIMIT 1)
        UNION ALL
        SELECT (SELECT source FROM member WHERE source > found.source ORDER BY source LIMIT 1)
        FROM found WHERE found.source IS NOT NULL
    )
    SELECT source FROM found WHERE source <> '' LIMIT 100
    """
)


def sources() -> Sequence[str]:
    """Where members came from, each once; reads the index from one value to the next instead of every row."""
    return db.session.scalars(_SOURCES).all()


def export_of(wanted: MemberFilter, sort: str) -> Iterator[tuple[Member, str | None]]:
    """Everybody who fits a filter, with their tags as one text, read in portions while they are written out."""
    tags_as_text = (
        select(func.string_agg(Tag.name, aggregate_order_by(literal("; "), Tag.name)))
        .join(MemberTag, MemberTag.tag_id == Tag.id)
        .where(MemberTag.member_id == Member.id)
        .correlate(Member)
        .scalar_subquery()
    )
    statement = listed(wanted).add_columns(tags_as_text).order_by(*SORTS.get(sort, SORTS[""]))
    for row in db.session.execute(statement.execution_options(yield_per=1000)):
        yield row[0], row[1]


def orders_page(member_id: int, cursor: str | None) -> tuple[Page, dict[int, list[OrderLine]]]:
    """One page of a member's orders, newest first, and the lines of each."""
    page = keyset(
        select(Order).where(Order.member_id == member_id), [Order.placed_at.desc(), Order.id.desc()], cursor, size=20
    )
    lines: dict[int, list[OrderLine]] = {order.id: [] for order in page.rows}
    for line in db.session.scalars(
        select(OrderLine).where(OrderLine.order_id.in_(lines)).order_by(OrderLine.order_id, OrderLine.position)
    ):
        lines[line.order_id].append(line)
    return page, lines
