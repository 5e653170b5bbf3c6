"""The list of members: what it can be narrowed to, in which order it comes, and its pages.

Every filter by itself is answered from an index that also holds the order, so that any page costs what the first does. A
filter that lives in another table (a tag, a group, a consent) leads: its own column of member ids is the list's key, since
PostgreSQL carries an equality over to the other side of a join, but no "less than". A range (spend, last order, value)
brings its own order. Combinations are left to the planner, under a time limit.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from sqlalchemy import (
    ARRAY,
    BigInteger,
    ColumnElement,
    Select,
    Subquery,
    bindparam,
    exists,
    extract,
    false,
    func,
    literal,
    literal_column,
    or_,
    select,
    text,
    union,
)
from sqlalchemy.dialects.postgresql import aggregate_order_by, distinct_on

from kernel import clock
from kernel.db import db
from kernel.pages import Count, Page, TooSlow, capped_count, keyset, time_limit

from .models import (
    Consent,
    Contact,
    Member,
    MemberTag,
    Purpose,
    Stage,
    Tag,
    ValueLabel,
)
from .queries import live, plain_words, seated_in, sought

# The list's order by last order; spelt as in the index. Whoever never ordered comes last.
LAST_ORDER = func.coalesce(Member.last_order_at, literal_column("'epoch'::timestamptz"))
_NEVER: ColumnElement[Any] = literal_column("'epoch'::timestamptz")
SECONDS = 2.0


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
    never_ordered: bool = False
    spend: tuple[int, int | None] | None = None
    group: int | None = None
    value: tuple[int, int | None] | None = None
    label: ValueLabel | None = None
    birthday_month: int | None = None

    @property
    def own_columns_only(self) -> bool:
        """Whether no other table leads the list."""
        return not self.tag and self.group is None and self.consent in ("", "none")

    @property
    def count_cap(self) -> int:
        """How far the list is counted: less far where an index alone cannot count, and each person has to be looked up.

        0 is not at all: a single character fits too many to be worth it.
        """
        if len(plain_words(self.q)) == 1:
            return 0
        looked_up = self.q or self.tag or self.consent or self.group is not None
        worked_out = self.birthday_month is not None or self.never_ordered or self.last_order_days is not None
        return 1_000 if looked_up or worked_out else 10_000


SORTS: dict[str, list[Any]] = {
    "": [Member.id.desc()],
    "last_order": [LAST_ORDER, Member.id],
    "-last_order": [LAST_ORDER.desc(), Member.id.desc()],
    "spend": [Member.spend, Member.id],
    "-spend": [Member.spend.desc(), Member.id.desc()],
    "value": [Member.value_index, Member.id],
    "-value": [Member.value_index.desc(), Member.id.desc()],
}


def agreed(contact: Contact) -> Any:
    """The ids of members whose last word on offers by a channel is yes, as a subquery with a column `member_id`.

    Read from the index member by member, newest first, and only as far as a page needs.
    """
    return (
        select(Consent.member_id, Consent.granted)
        .where(Consent.channel == contact, Consent.purpose == Purpose.MARKETING)
        .ext(distinct_on(Consent.member_id))
        .order_by(Consent.member_id.desc(), Consent.id.desc())
        .subquery("last_word")
    )


def _nowhere_agreed() -> ColumnElement[bool]:
    """Whether `Member` agreed to offers by no channel at all: none of their last words on the channels is yes."""
    last = (
        select(Consent.granted)
        .where(Consent.member_id == Member.id, Consent.purpose == Purpose.MARKETING)
        .ext(distinct_on(Consent.channel))
        .order_by(Consent.channel, Consent.id.desc())
        .correlate(Member)
        .subquery("last_words")
    )
    # A value, not an EXISTS: looked up member by member as far as a page needs, never joined as a whole.
    return ~func.coalesce(select(func.bool_or(last.c.granted)).scalar_subquery(), false())


def _between(column: Any, span: tuple[int, int | None]) -> list[ColumnElement[bool]]:
    least, most = span
    return [column >= least] if most is None else [column >= least, column < most]


def _own_columns(wanted: MemberFilter) -> list[ColumnElement[bool]]:
    """The filters that the row of a member answers by itself."""
    where: list[ColumnElement[bool]] = []
    if wanted.tier is not None:
        where.append(Member.rank == wanted.tier)
    if wanted.stage is not None:
        where.append(Member.stage == wanted.stage)
    if wanted.source:
        where.append(Member.source == wanted.source)
    if wanted.label is not None:
        where.append(Member.value_label == wanted.label)
    if wanted.birthday_month is not None:
        where.append(extract("month", Member.birthday) == wanted.birthday_month)
    if wanted.never_ordered:
        where.append(LAST_ORDER == _NEVER)
    elif wanted.last_order_days is not None:
        least, most = wanted.last_order_days
        where += [clock.now() - timedelta(days=least) >= LAST_ORDER, LAST_ORDER > _NEVER]
        if most is not None:
            where.append(clock.now() - timedelta(days=most) < LAST_ORDER)
    if wanted.spend is not None:
        where += _between(Member.spend, wanted.spend)
    if wanted.value is not None:
        where += _between(Member.value_index, wanted.value)
    if wanted.consent == "none":
        where.append(_nowhere_agreed())
    if wanted.q:
        where.append(sought(wanted.q))
    return where


def arranged(wanted: MemberFilter, sort: str = "") -> tuple[Select[Member], list[Any]]:
    """The people who fit a filter, and the order in which the list shows them (see `kernel.pages.keyset`)."""
    return _arranged(wanted, _leading(wanted), sort)


def _leading(wanted: MemberFilter) -> list[Subquery]:
    """What the filters that live in other tables lead the list by: each a subquery of member ids alone, each once."""
    leads: list[Any] = []
    if wanted.tag:
        tag_id = db.session.scalar(select(Tag.id).where(Tag.name == wanted.tag))
        leads.append(select(MemberTag.member_id).where(MemberTag.tag_id == (tag_id if tag_id else -1)))
    if wanted.group is not None:
        answers = seated_in.call(wanted.group) or [select(Member.id).where(false())]
        leads.append(answers[0] if len(answers) == 1 else union(*answers))
    if wanted.consent and wanted.consent != "none":
        last = agreed(Contact(wanted.consent))
        leads.append(select(last.c.member_id).where(last.c.granted))
    return [ids.subquery() for ids in leads]


def _arranged(wanted: MemberFilter, leads: Sequence[Subquery], sort: str) -> tuple[Select[Member], list[Any]]:
    statement: Select[Any] = live().where(*_own_columns(wanted))
    keys: list[Any] = []
    for lead in leads:
        (member_id,) = lead.c
        statement = statement.join(lead, member_id == Member.id)
        keys.append(member_id)
    if not sort:
        # A range has its own order, so that one index answers both.
        if wanted.never_ordered or wanted.last_order_days is not None:
            sort = "-last_order"
        elif wanted.spend is not None:
            sort = "-spend"
        elif wanted.value is not None:
            sort = "-value"
    order = SORTS.get(sort, SORTS[""])
    if keys and order is SORTS[""]:
        order = [keys[0].desc()]
    return statement, order


def listed(wanted: MemberFilter) -> Select[Member]:
    """The people who fit a filter, in no order."""
    return arranged(wanted)[0]


def ids_after(wanted: MemberFilter, after: int | None, size: int) -> list[int]:
    """The ids of up to `size` people who fit a filter, newest first, beyond `after`; for work on all of them in pieces."""
    statement = listed(wanted).with_only_columns(Member.id, maintain_column_froms=True)
    if after is not None:
        statement = statement.where(Member.id < after)
    return list(db.session.scalars(statement.order_by(Member.id.desc()).limit(size)))


def number_of(wanted: MemberFilter) -> int:
    """How many people fit a filter, exactly; for work on all of them."""
    return capped_count(listed(wanted), 100_000_000).n


# Everybody's last word on offers by each channel, in the order of the members.
_LAST_WORDS = (
    select(Consent.member_id, Consent.granted)
    .where(Consent.purpose == Purpose.MARKETING)
    .ext(distinct_on(Consent.member_id, Consent.channel))
    .order_by(Consent.member_id, Consent.channel, Consent.id.desc())
    .subquery("last_words")
)
_SILENT = select(Member.id).where(~exists().where(_LAST_WORDS.c.member_id == Member.id, _LAST_WORDS.c.granted))
_GONE = Member.__table__.alias("gone")


def _without_gone(ids: Select[int], member_id: Any) -> Select[int]:
    """Ids without those of records that were merged or erased, who are looked up among their like: they are few."""
    gone = or_(_GONE.c.merged_into_id.is_not(None), _GONE.c.erased_at.is_not(None))
    return ids.where(~exists().where(_GONE.c.id == member_id, gone))


def _counted(wanted: MemberFilter, leads: Sequence[Subquery], statement: Select[Member]) -> Count:
    """How many fit a filter, whose whole statement is given, up to its cap.

    Where their own rows have nothing to answer, people are counted by their ids alone; looking each of them up would take
    longer than the page does.
    """
    by_ids_alone = replace(wanted, tag="", group=None, consent="") == MemberFilter()
    silent = wanted.consent == "none"
    if by_ids_alone and silent and not leads:
        return capped_count(_without_gone(_SILENT, Member.id), wanted.count_cap, side_by_side=True)
    if by_ids_alone and leads and not silent:
        first, *others = (lead.c[0] for lead in leads)
        ids = select(first)
        for other in others:
            ids = ids.join(other.table, other == first)
        return capped_count(_without_gone(ids, first), wanted.count_cap)
    return capped_count(statement, wanted.count_cap)


_THESE = select(Member).where(Member.id == func.any(bindparam("ids", type_=ARRAY(BigInteger))))


def page_of(wanted: MemberFilter, sort: str, cursor: str | None) -> tuple[Page | None, Count | None]:
    """One page of the list, and how many there are in all.

    The page is None when a combination of filters takes longer than two seconds, the count when only counting does and when
    it is not worth it.
    """
    page: Page | None = None
    count: Count | None = None
    with suppress(TooSlow):
        # What names somebody exactly is looked up in here, before plans are made for the values at hand alone.
        leads = _leading(wanted)
        statement, order = _arranged(wanted, leads, sort)
        with time_limit(SECONDS):
            if wanted.q and wanted.count_cap and wanted.own_columns_only:
                # Looking a name up costs more than anything else, and so it is done once for the count and the page; with the
                # ids in its hands the planner cannot take them for more than they are.
                found = db.session.scalars(statement.with_only_columns(Member.id).limit(wanted.count_cap + 1)).all()
                count = Count(min(len(found), wanted.count_cap), len(found) > wanted.count_cap)
                if not count.capped:
                    page = keyset(_THESE, order, cursor, values={"ids": list(found)})
            if page is None:
                page = keyset(statement, order, cursor)
            if count is None and wanted.count_cap:
                count = _counted(wanted, leads, statement)
    return page, count


_SOURCES = text(
    """
    WITH RECURSIVE found AS (
        (SELECT source FROM member WHERE merged_into_id IS NULL AND erased_at IS NULL ORDER BY source LIMIT 1)
        UNION ALL
        SELECT (SELECT source FROM member WHERE source > found.source AND merged_into_id IS NULL AND erased_at IS NULL
                ORDER BY source LIMIT 1)
        FROM found WHERE found.source IS NOT NULL
    )
    SELECT source FROM found WHERE source <> '' LIMIT 100
    """
)


def sources() -> Sequence[str]:
    """Where members came from, each once; reads the index from one value to the next instead of every row."""
    return db.session.scalars(_SOURCES).all()


def rows_of(member_ids: Sequence[int]) -> list[tuple[Member, str]]:
    """Members in the order of their ids as given, with their tags as one text."""
    names = (
        select(func.string_agg(Tag.name, aggregate_order_by(literal("; "), Tag.name)))
        .join(MemberTag, MemberTag.tag_id == Tag.id)
        .where(MemberTag.member_id == Member.id)
        .correlate(Member)
        .scalar_subquery()
    )
    found = {
        member.id: (member, tags or "")
        for member, tags in db.session.execute(select(Member, names).where(Member.id == func.any(list(member_ids))))
    }
    return [found[member_id] for member_id in member_ids if member_id in found]


def export_of(wanted: MemberFilter, sort: str) -> Iterator[tuple[Member, str]]:
    """Everybody who fits a filter, with their tags, in the list's order; for a number that a reader can wait for."""
    statement, order = arranged(wanted, sort)
    ids = db.session.scalars(statement.with_only_columns(Member.id, maintain_column_froms=True).order_by(*order)).all()
    for start in range(0, len(ids), 500):
        yield from rows_of(ids[start : start + 500])
