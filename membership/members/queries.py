"""Reads about people."""

from __future__ import annotations

import time
import unicodedata
from collections.abc import Collection, Iterable, Sequence
from functools import cache
from typing import Any

from sqlalchemy import (
    ColumnElement,
    CompoundSelect,
    Select,
    Subquery,
    and_,
    bindparam,
    false,
    func,
    literal,
    literal_column,
    or_,
    select,
    text,
    union,
    union_all,
)
from sqlalchemy.dialects.postgresql import array, distinct_on

from kernel import shop
from kernel.audit import AuditEntry
from kernel.copying import among
from kernel.db import db, escaped
from kernel.errors import NotFound
from kernel.pages import Page, keyset, row_or_none
from kernel.ports import Port
from membership.orders.models import Order, OrderLine

from . import rules
from .models import (
    Channel,
    Consent,
    Contact,
    Member,
    MemberIdentity,
    MemberTag,
    Note,
    Purpose,
    Stage,
    Tag,
    name_pieces,
    names_of,
)

# The groups that the list can be narrowed to, as (id, name), and the ids of those who sit in one, each once; filled by
# community.groups.
group_choices: Port[[], list[tuple[int, str]]] = Port("members.group_choices")
seated_in: Port[[int], Select[int]] = Port("members.seated_in")


def group_names() -> dict[int, str]:
    """The names of the groups that can be chosen, by their ids."""
    return dict(choice for answer in group_choices.call() for choice in answer)


# What members do with the shop beside buying, each answer a statement with the columns `member_id`, `kind` (one of `ACTS`)
# and `n`, for the given members; filled by whoever keeps such acts.
ACTS = ("groups", "brought", "took_part")
acts_of: Port[[Sequence[int]], Select[int, str, int]] = Port("members.acts_of")


# How many last digits of a phone find its owner; fewer fit too many people to be of use.
TAIL = 4
# A pair that more than so large a share of names hold is no help: reading where it stands costs more than it rules out.
OFTEN = 0.03
# So many rare pairs are enough, however the word is covered.
ENOUGH = 4
COMMON_SECONDS = 600.0
_PIECES: ColumnElement[Any] = literal_column(name_pieces("member."))
_NAMES: ColumnElement[str] = literal_column(names_of("member."))

# Where everybody is worked out, so many are in one transaction.
CHUNK = 20_000


def live() -> Select[Member]:
    """Every person once: neither merged into another nor erased."""
    return select(Member).where(Member.merged_into_id.is_(None), Member.erased_at.is_(None))


def chunk_after(member_id: int) -> list[int]:
    """The ids of the next members beyond one, to be worked out in one transaction."""
    found = live().with_only_columns(Member.id).where(Member.id > member_id).order_by(Member.id).limit(CHUNK)
    return list(db.session.scalars(found))


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
            .where(MemberIdentity.channel == channel, among(MemberIdentity.external_id, names))
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


def accounts_of_many(member_ids: Collection[int]) -> dict[int, list[tuple[Channel, str]]]:
    """By which names on which channels each of some members is known, oldest first, in one statement."""
    found: dict[int, list[tuple[Channel, str]]] = {member_id: [] for member_id in member_ids}
    if found:
        rows = db.session.execute(
            select(MemberIdentity.member_id, MemberIdentity.channel, MemberIdentity.external_id)
            .where(MemberIdentity.member_id.in_(found))
            .order_by(MemberIdentity.id)
        )
        for member_id, channel, external_id in rows:
            found[member_id].append((channel, external_id))
    return found


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


def strategies() -> dict[Stage, str]:
    """What the shop does at each stage of life, as it wrote it down; stages of which it wrote nothing are not in it."""
    said = {stage: str(shop.get(f"stage.strategy.{stage.value}", "")) for stage in Stage}
    return {stage: text for stage, text in said.items() if text}


def plain_words(q: str) -> str:
    """What somebody typed, in one spelling (NFKC, no blanks around)."""
    return unicodedata.normalize("NFKC", q).replace("\x00", "").strip()


# What the database has counted when it last looked at the names: read again by each process after ten minutes.
_common: tuple[float, dict[str, float]] = (0.0, {})

COMMON = text(
    "SELECT CAST(CAST(most_common_elems AS text) AS text[]), most_common_elem_freqs FROM pg_stats"
    " WHERE schemaname = current_schema() AND tablename = 'ix_member_list_names'"
)


def common_pieces() -> dict[str, float]:
    """The share of names (0–1) that hold a character or a pair, for those that very many hold; empty in a young shop."""
    global _common
    if _common[0] < time.monotonic():
        row = db.session.execute(COMMON).first()
        pieces, shares = (row[0] or [], row[1] or []) if row is not None else ([], [])
        # Behind the shares of the pieces stand the smallest, the largest and that of nulls.
        _common = (time.monotonic() + COMMON_SECONDS, dict(zip(pieces, shares, strict=False)))
    return _common[1]


def _telling(plain: str, places: list[int]) -> list[int]:
    """Of the places of a word's pairs those that narrow the search: the rare ones, or else the two that are least common.

    Pairs of Latin letters are in very many names, and each costs the index its time. Where few of those that cover the word
    are rare, the rare ones between them help: each person they leave out need not be looked up.
    """
    common = common_pieces()
    between = [place for place in range(len(plain) - 1) if place not in places]
    share = {place: common.get(plain[place : place + 2].lower(), 0.0) for place in (*places, *between)}
    rare = [place for place in share if share[place] <= OFTEN]
    return rare[: max(len(places), ENOUGH)] or sorted(places, key=lambda place: share[place])[:2]


def _named(words: str) -> ColumnElement[bool] | None:
    """Whether a name of `Member` holds the words; capital letters and spaces make no difference.

    One character and two are looked up as they are; of more, pairs are that cover them, and what is found is compared.
    """
    plain = words.replace(" ", "")
    if not plain:
        return None
    lower = func.lower(literal(plain))
    size = min(2, len(plain))
    # Every second pair and the last one cover the word.
    places = sorted({*range(0, len(plain) - size + 1, 2), len(plain) - size})
    if len(plain) > 2:
        # What is found is compared with the whole word, so that any of its pairs may be left out.
        places = _telling(plain, places)
    found = _PIECES.op("@>")(array([func.substr(lower, place + 1, size) for place in places]))
    if len(plain) == 1:
        # So many fit that people are looked at one by one until a page is full. This is decided at a fraction of the cost
        # of taking a name to pieces, and is looked at first.
        return and_(func.strpos(_NAMES, lower) > 0, found)
    if len(plain) == 2:
        return found
    return and_(found, _NAMES.like(f"%{escaped(plain).lower()}%"))


@cache
def _exactly(by_tail: bool) -> CompoundSelect[Any]:
    """The ids of members by one of the `names` of an account, by the `number` of an order and, with `by_tail`, by the last digits
    of a phone (`tail`, turned round); made once, for making it costs more than asking it."""
    exact: list[Select[Any]] = [
        select(MemberIdentity.member_id).where(
            MemberIdentity.channel.in_(list(Channel)),
            MemberIdentity.external_id.in_(bindparam("names", expanding=True)),
        ),
        select(Order.member_id).where(Order.external_id == bindparam("number"), Order.member_id.is_not(None)),
    ]
    if by_tail:
        exact.append(
            select(Member.id).where(literal_column("reverse(phone)").like(bindparam("tail")), Member.phone.is_not(None))
        )
    return union(*exact).limit(10_000)


def sought(q: str) -> ColumnElement[bool]:
    """Whether `Member` fits what somebody typed: a phone or its last four digits and more, a part of a name, a name on a
    channel, an order number. A single character is looked for in names alone.

    The exact ones are looked up here and now: they are few, and so the planner sees how few.
    """
    words = plain_words(q)
    if len(words) == 1:
        return named if (named := _named(words)) is not None else false()
    digits = "".join(c for c in words if c.isdigit())
    only_digits = len(digits) >= TAIL and not any(c.isalpha() for c in words)
    values: dict[str, Any] = {"names": sorted({words, words.lower()}), "number": words.removeprefix("#")}
    by_tail = only_digits and digits.isascii()
    if by_tail:
        values["tail"] = digits[:-12:-1] + "%"
    ids = sorted(id_ for id_ in db.session.scalars(_exactly(by_tail), values) if id_ is not None)
    parts: list[ColumnElement[bool]] = [Member.id == func.any(ids)] if ids else []
    if not only_digits and (named := _named(words)) is not None:
        parts.append(named)
    return or_(*parts) if parts else false()


def sought_or_numbered(q: str) -> ColumnElement[bool]:
    """As `sought`, or whether the words are the number of `Member`, with or without a #."""
    number = row_or_none(q.strip().removeprefix("#"))
    return sought(q) if number is None else or_(sought(q), Member.id == number)


def acts(member_ids: Sequence[int]) -> Subquery | None:
    """Everything that members did beside buying, as rows of (member_id, kind, n); None while nobody keeps such acts."""
    answers = acts_of.call(member_ids)
    if not answers:
        return None
    return (answers[0] if len(answers) == 1 else union_all(*answers)).subquery("act")


def value_facts(member: Member) -> rules.ValueFacts:
    """What the value of one member is worked out from."""
    channels = db.session.scalar(
        select(func.count(MemberIdentity.channel.distinct())).where(MemberIdentity.member_id == member.id)
    )
    done: dict[str, int] = {}
    act = acts([member.id])
    if act is not None:
        rows = select(act.c.kind, func.sum(act.c.n)).where(act.c.member_id == member.id).group_by(act.c.kind)
        done = {kind: int(n) for kind, n in db.session.execute(rows)}
    return rules.ValueFacts(
        channels=channels or 0,
        last_order_at=member.last_order_at,
        orders=member.orders_count,
        spend=member.spend,
        **{kind: done.get(kind, 0) for kind in ACTS},
    )


def last_edit(member_id: int) -> AuditEntry | None:
    """Who changed a member's details last."""
    return db.session.scalar(
        select(AuditEntry)
        .where(
            AuditEntry.object_kind == "member", AuditEntry.object_id == member_id, AuditEntry.action == "member.edited"
        )
        .order_by(AuditEntry.id.desc())
        .limit(1)
    )


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
