"""An audience as one parametrised statement over the live members: its people, how many, some of them, who uses it."""

from __future__ import annotations

import json
import random
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from flask import url_for
from psycopg.errors import QueryCanceled
from sqlalchemy import ColumnElement, Select, exists, func, literal, select, tablesample, text
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import OperationalError

from community.groups.models import Group
from kernel.db import db
from kernel.errors import NotFound
from kernel.ports import Port
from membership.members import queries as members
from membership.members.models import Member, Tag
from membership.members.queries import plain_words

from . import clauses, rules
from .clauses import EVERYBODY, Scope
from .models import Audience, AudienceMember

# How long people wait for an exact count and then for an estimate (two seconds together), and for the rest of what a page
# shows. What is not counted in half a second at a million members takes many.
LIMIT_MS, ESTIMATE_MS = 500, 1_500
ASIDE_MS = 1_000
# Of so many members an estimate asks which belong.
SAMPLE = 10_000


@dataclass(frozen=True)
class Use:
    """Something that speaks of a saved audience by name; while `holds`, the audience cannot be removed."""

    label: str
    url: str
    holds: bool = True


# Who uses each of these saved audiences beside other audiences; filled by the rooms above.
uses: Port[[Collection[int]], Mapping[int, Sequence[Use]]] = Port("audiences.uses")


class OutOfTime(Exception):
    """The server stopped a statement at its time limit; what stood before it in the transaction stands."""


@contextmanager
def time_limit(milliseconds: int) -> Iterator[None]:
    """Let no statement of the block run longer: `OutOfTime` is raised, and the transaction goes on as before the block.

    Sets of members are hashed in memory where that is possible, and no time goes into compiling plans.
    """
    try:
        with db.session.begin_nested():
            before = db.session.execute(_LIMITED, {"limit": f"{milliseconds}ms"}).one()
            yield
            db.session.execute(_AS_BEFORE, {"limit": before[0], "memory": before[1], "jit": before[2]})
    except OperationalError as error:
        if isinstance(error.orig, QueryCanceled):
            raise OutOfTime from None
        raise


_LIMITED = text(
    "SELECT current_setting('statement_timeout'), current_setting('work_mem'), current_setting('jit'),"
    " set_config('statement_timeout', :limit, true), set_config('work_mem', '64MB', true), set_config('jit', 'off', true)"
)
_AS_BEFORE = text(
    "SELECT set_config('statement_timeout', :limit, true), set_config('work_mem', :memory, true),"
    " set_config('jit', :jit, true)"
)


# ── An audience as a statement ──────────────────────────────────────────────────────────────────────────────────────


def clause(rule: Any) -> ColumnElement[bool]:
    """One rule as a condition on `member`."""
    return clauses.clause(rule)


def conditions(definition: rules.Definition, scope: Scope = EVERYBODY) -> list[ColumnElement[bool]]:
    """Every rule as a condition on `member`, and that the member is live.

    A statement that asks only about some members says so with `scope` (`clauses.between`, `clauses.these`) beside its own
    conditions: what the rules ask of orders and messages is then read for those alone.
    """
    live = [Member.merged_into_id.is_(None), Member.erased_at.is_(None)]
    if definition.match == "all":
        return [*live, *(clauses.clause(rule, scope) for rule in definition.rules)]
    return [*live, clauses.joined(definition, scope)]


def member_ids(definition: rules.Definition) -> Select[Any]:
    """The statement that an audience is: ids of the members who are in it now."""
    return select(Member.id).where(*conditions(definition))


def matches(definition: rules.Definition, member_id: int) -> bool:
    """Whether one member is in an audience now; reads no more than that member's rows."""
    there = select(Member.id).where(Member.id == member_id, *conditions(definition, clauses.these([member_id])))
    return bool(db.session.scalar(select(exists(there))))


# ── How many ────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Reach:
    """How many members an audience has now; `estimated` when counting would have taken too long."""

    people: int
    estimated: bool = False


def count(definition: rules.Definition, *more: ColumnElement[bool]) -> Reach:
    """Count an audience within two seconds, else estimate it from a sample of the members and say so."""
    statement = select(func.count()).select_from(Member).where(*conditions(definition), *more)
    try:
        with time_limit(LIMIT_MS):
            return Reach(db.session.scalar(statement) or 0)
    except OutOfTime:
        return Reach(_estimate(definition, *more), estimated=True)


def more_than(definition: rules.Definition, people: int, milliseconds: int) -> bool | None:
    """Whether an audience has more than so many members now, counted and never estimated, and no further than that takes;
    None when it takes longer than the time given."""
    some = member_ids(definition).limit(people + 1).subquery()
    try:
        with time_limit(milliseconds):
            return (db.session.scalar(select(func.count()).select_from(some)) or 0) > people
    except OutOfTime:
        return None


def _some() -> list[int]:
    """Ids of about `SAMPLE` live members from random pages of the table; of everybody in a small shop."""
    rows = db.session.scalar(text("SELECT reltuples::bigint FROM pg_class WHERE oid = 'member'::regclass")) or 0
    percent = min(100.0, 100.0 * SAMPLE / rows) if rows > SAMPLE else 100.0
    part = tablesample(Member, func.system(percent), name="part")
    live = select(part.c.id).where(part.c.merged_into_id.is_(None), part.c.erased_at.is_(None))
    return list(db.session.scalars(live.limit(2 * SAMPLE)))


@dataclass(frozen=True)
class Sampled:
    """A sample of the live members: their ids, and of how many it was taken."""

    ids: list[int]
    live: int

    def all_of(self, people: int) -> int:
        """As many of all members as these are of the sample."""
        return round(people / max(len(self.ids), 1) * self.live)


def sampled() -> Sampled:
    """Some members at random, to estimate by them what takes too long to count; belongs into a `time_limit`."""
    return Sampled(_some(), _live())


def _live() -> int:
    return db.session.scalar(select(func.count()).select_from(members.live().subquery())) or 0


def _estimate(definition: rules.Definition, *more: ColumnElement[bool]) -> int:
    """The share of a sample, by the members that there are; the planner's guess if even that takes too long."""
    try:
        with time_limit(ESTIMATE_MS):
            some = sampled()
            within = conditions(definition, clauses.these(some.ids))
            found = db.session.scalar(
                select(func.count()).select_from(Member).where(Member.id == func.any(some.ids), *within, *more)
            )
            return some.all_of(found or 0)
    except OutOfTime:
        return guess(definition, *more)


def guess(definition: rules.Definition, *more: ColumnElement[bool]) -> int:
    """How many people the planner expects in an audience; it reads no member for that."""
    statement = member_ids(definition).where(*more)
    compiled = statement.compile(dialect=postgresql.dialect(), compile_kwargs={"render_postcompile": True})
    connection = db.session.connection()
    plan: Any = connection.exec_driver_sql(f"EXPLAIN (FORMAT JSON) {compiled}", compiled.params).scalar()
    plan = json.loads(plan) if isinstance(plan, str) else plan
    return int(plan[0]["Plan"]["Plan Rows"])


def line_counts(definition: rules.Definition) -> list[Reach]:
    """How many members each rule holds for by itself, rules of groups right after their group, in one statement.

    Estimated from a sample when counting takes too long; empty when that does too.
    """
    wanted = [one for rule in definition.rules for one in _flat(rule)]
    if not wanted:
        return []
    try:
        with time_limit(ASIDE_MS):
            return [Reach(n) for n in _count_lines(wanted, EVERYBODY)]
    except OutOfTime:
        pass
    try:
        with time_limit(ASIDE_MS):
            some = sampled()
            rows = _count_lines(wanted, clauses.these(some.ids), Member.id == func.any(some.ids))
            return [Reach(some.all_of(n), True) for n in rows]
    except OutOfTime:
        return []


def _count_lines(wanted: Sequence[Any], scope: Scope, *more: ColumnElement[bool]) -> Sequence[int]:
    columns = [func.count().filter(clauses.clause(rule, scope)) for rule in wanted]
    live = (Member.merged_into_id.is_(None), Member.erased_at.is_(None))
    return list(db.session.execute(select(*columns).select_from(Member).where(*live, *more)).one())


def _flat(rule: Any) -> Iterator[Any]:
    yield rule
    if isinstance(rule, rules.Nested):
        for inner in rule.rules:
            yield from _flat(inner)


def sample(definition: rules.Definition, size: int = 10) -> Sequence[Member]:
    """Some members of the audience, taken from a random place on."""
    statement = select(Member).where(*conditions(definition)).order_by(Member.id).limit(size)
    newest = db.session.scalar(select(func.max(Member.id))) or 0
    start = random.randint(0, newest)
    try:
        with time_limit(ASIDE_MS):
            found = list(db.session.scalars(statement.where(Member.id > start)))
            if len(found) < size:
                found += db.session.scalars(statement.where(Member.id <= start).limit(size - len(found)))
            return found
    except OutOfTime:
        pass
    try:
        with time_limit(ASIDE_MS):
            some = _some()
            within = conditions(definition, clauses.these(some))
            return db.session.scalars(
                select(Member).where(Member.id == func.any(some), *within).order_by(Member.id).limit(size)
            ).all()
    except OutOfTime:
        return []


def people(definition: rules.Definition) -> Select[Any]:
    """The members of an audience, oldest first."""
    return select(Member).where(*conditions(definition)).order_by(Member.id)


def streamed(statement: Select[Any]) -> Iterator[Member]:
    """The members of a statement, fetched a thousand at a time."""
    yield from db.session.scalars(statement.execution_options(yield_per=1_000))


# ── Saved audiences ─────────────────────────────────────────────────────────────────────────────────────────────────


def saved(archived: bool = False) -> Sequence[Audience]:
    """Every saved audience that is in use, newest first; with `archived` those that were put away as well."""
    return all_of(_there(archived).order_by(Audience.id.desc()))


def _there(archived: bool) -> Select[Any]:
    return select(Audience) if archived else select(Audience).where(Audience.archived_at.is_(None))


ORDERS: dict[str, list[Any]] = {
    "": [Audience.id.desc()],
    "name": [Audience.name, Audience.id],
    "-name": [Audience.name.desc(), Audience.id.desc()],
    "people": [func.coalesce(Audience.people, -1), Audience.id],
    "-people": [func.coalesce(Audience.people, -1).desc(), Audience.id.desc()],
}


def listed(wanted: str = "", frozen: bool | None = None, archived: bool = False) -> Select[Any]:
    """The saved audiences whose name holds some words, of one kind; with `archived` those that were put away instead."""
    statement = select(Audience).where(
        Audience.archived_at.is_not(None) if archived else Audience.archived_at.is_(None)
    )
    if words := plain_words(wanted)[:100]:
        statement = statement.where(func.strpos(func.lower(Audience.name), func.lower(literal(words))) > 0)
    return statement if frozen is None else statement.where(Audience.frozen == frozen)


def some_of(ids: Sequence[int]) -> Sequence[Audience]:
    """Those of these audiences that are there, by name."""
    return db.session.scalars(select(Audience).where(Audience.id.in_(ids)).order_by(Audience.name, Audience.id)).all()


def all_of(statement: Select[Any]) -> Sequence[Audience]:
    """Every audience of a statement of `listed`."""
    return db.session.scalars(statement).all()


def find_audience(audience_id: int) -> Audience | None:
    """A saved audience, or None."""
    return db.session.get(Audience, audience_id)


def get_audience(audience_id: int) -> Audience:
    """A saved audience; refuses with `NotFound`."""
    found = find_audience(audience_id)
    if found is None:
        raise NotFound
    return found


def shown_rules(audience: Audience) -> rules.Definition:
    """The rules that staff see and change: of a frozen audience those it is refreshed from, none where a file named them."""
    if not audience.frozen:
        return rules.parse(audience.definition)
    return rules.parse(audience.source) if audience.source is not None else rules.Definition()


def uses_of(audience: Audience) -> list[Use]:
    """Everything that speaks of a saved audience by name: other audiences, and what the rooms above say."""
    return uses_of_each([audience])[audience.id]


def uses_of_each(audiences: Sequence[Audience], archived: bool = True) -> dict[int, list[Use]]:
    """The same for several at once: whatever may speak of them is read once for them all.

    Audiences that were put away speak of others as well, unless `archived` says otherwise.
    """
    found: dict[int, list[Use]] = {audience.id: [] for audience in audiences}
    for other in saved(archived):
        for audience_id in found.keys() & shown_rules(other).named() - {other.id}:
            found[audience_id].append(Use(other.name, url_for("audiences_console.edit", audience_id=other.id)))
    for answer in uses.call(found.keys()):
        for audience_id, said in answer.items():
            found[audience_id] += said
    return found


def in_a_circle(definition: rules.Definition, audience_id: int | None) -> bool:
    """Whether the audiences that a definition speaks of lead back to one of them, or to the one being saved."""
    open_ids, leads = list(definition.named()), {audience_id: definition.named()}
    while open_ids:
        found = db.session.get(Audience, open_ids.pop())
        if found is not None and found.id not in leads:
            leads[found.id] = shown_rules(found).named()
            open_ids += leads[found.id]

    def returns(node: int | None, path: frozenset[int | None]) -> bool:
        return node in path or any(returns(to, path | {node}) for to in leads.get(node, ()))

    return len(leads) > rules.MOST_BEHIND or returns(audience_id, frozenset())


def list_of(audience: Audience) -> Select[Any]:
    """The members on a frozen audience's list who are still there."""
    return members.live().where(
        Member.id.in_(select(AudienceMember.member_id).where(AudienceMember.audience_id == audience.id))
    )


def waiting_lists() -> list[int]:
    """Frozen audiences whose members are to be written down."""
    return list(
        db.session.scalars(
            select(Audience.id).where(Audience.refresh_asked_at.is_not(None)).order_by(Audience.refresh_asked_at)
        )
    )


# ── What the form offers, what the words need ───────────────────────────────────────────────────────────────────────


def tag_choices() -> list[tuple[int, str]]:
    return [(tag.id, tag.name) for tag in members.tags()]


def group_choices() -> list[tuple[int, str]]:
    return [
        (row.id, row.name) for row in db.session.execute(select(Group.id, Group.name).order_by(Group.name, Group.id))
    ]


def audience_choices() -> list[tuple[int, str]]:
    return [
        (row.id, row.name)
        for row in db.session.execute(
            _there(archived=False).with_only_columns(Audience.id, Audience.name).order_by(Audience.name, Audience.id)
        )
    ]


def tag_names(ids: Sequence[int]) -> list[str]:
    return list(db.session.scalars(select(Tag.name).where(Tag.id.in_(ids)).order_by(Tag.name)))


def group_name(group_id: int) -> str | None:
    return db.session.scalar(select(Group.name).where(Group.id == group_id))


def audience_name(audience_id: int) -> str | None:
    return db.session.scalar(select(Audience.name).where(Audience.id == audience_id))


def for_grants() -> list[tuple[str, str]]:
    """The saved audiences as coupons can be given to them: (key, name)."""
    return [(f"audience:{audience.id}", audience.name) for audience in saved()]


def members_for_grants(key: str) -> list[int]:
    """The members of an audience now; none for a key that is not an audience's."""
    kind, _colon, number = key.partition(":")
    if kind != "audience" or not (number.isascii() and number.isdigit()):
        return []
    return list(db.session.scalars(member_ids(rules.parse(get_audience(int(number)).definition))))
