"""Two records of one person become one, and can be told apart again.

Every row that a merge changes is written down (`MergeMove`) with what it was and what it became. A preview is the merge
itself inside a savepoint that is rolled back; undoing walks the moves backwards and takes back whatever is still as the
merge left it. Each room moves its own rows: see `follower`. docs/decisions/0006-merging-people.md has the reasons.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any

from sqlalchemy import (
    BigInteger,
    Table,
    Text,
    bindparam,
    cast,
    func,
    insert,
    literal,
    literal_column,
    or_,
    select,
    text,
    tuple_,
    update,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import InstrumentedAttribute

from kernel import audit, clock
from kernel.db import changed, db
from kernel.errors import NotFound, Refusal
from kernel.events import publish
from kernel.i18n import lazy_gettext as _l
from kernel.pages import Page, keyset
from kernel.ports import Port
from kernel.staff import services as staff

from .. import queries
from ..events import MembersMerged, MergeUndone
from ..models import Member, Merge, MergeMove
from . import stages, value

# What the two records say about the person, in the order of the form; staff may choose field by field.
FIELDS = (
    "name",
    "nickname",
    "phone",
    "email",
    "birthday",
    "customer_type",
    "hobbies",
    "city",
    "address",
    "locale",
    "source",
)
# Only one record may have them at a time.
UNIQUE_FIELDS = ("phone", "email")
REASON_LENGTH = 300


class SameRecord(Refusal):
    status = 422
    label = _l("These are one record already. Choose two different ones.")


class RecordGone(Refusal):
    title = _l("Somebody was faster")
    label = _l("One of the two records has been merged or erased in the meantime. Look at the list again.")


class UndoneAlready(Refusal):
    title = _l("Somebody was faster")
    label = _l("This merge has been undone in the meantime.")


class MergedFurther(Refusal):
    label = _l("The record has been merged again since then. Undo that later merge first.")


class PersonErased(Refusal):
    label = _l("The person has been erased since then, so there is nothing to bring back.")


@dataclass
class Moved:
    """What a merge did to one kind of thing: how many rows, under a name that staff understand."""

    label: Any
    count: int = 0


def table_of(target: Any) -> Table:
    """The table of a model or of one of its columns."""
    if isinstance(target, InstrumentedAttribute):
        return target.property.columns[0].table
    return target if isinstance(target, Table) else target.__table__


def _key_of(table: Table, source: Any = None) -> Any:
    """The primary key of a row as a JSON object."""
    columns = source if source is not None else table.c
    parts: list[Any] = []
    for column in table.primary_key.columns:
        parts += [literal(column.name, Text), columns[column.name]]
    return func.jsonb_build_object(*parts)


class Merging:
    """A merge under way, with what rooms need to bring their rows along. Every change goes through one of its verbs."""

    def __init__(self, merge: Merge, start: int = 0) -> None:
        self.id = merge.id
        self.survivor = merge.survivor_id
        self.absorbed = merge.absorbed_id
        self.pair = (merge.survivor_id, merge.absorbed_id)
        self.at = merge.at
        # Phone and e-mail of the two records as they were before, under which counters of natural persons may be kept.
        self.contacts: dict[int, tuple[str | None, str | None]] = {}
        self.moved: dict[str, Moved] = {}
        self.conflicts: list[Any] = []
        self._position = start
        self._watched: list[tuple[Table, Any, dict[str, dict[str, Any]], str, bool]] = []

    # ── What the preview tells ──────────────────────────────────────────────────────────────────────────────────────

    def count(self, label: Any, number: int) -> None:
        """Tell the preview that so many things of a kind move."""
        if number:
            self.moved.setdefault(str(label), Moved(label)).count += number

    def conflict(self, sentence: Any) -> None:
        """Tell staff about something that both records have and only one person can."""
        self.conflicts.append(sentence)

    # ── Verbs ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def repoint(self, column: Any, *where: Any, label: Any = None, unit: str = "") -> int:
        """Let rows that name the absorbed record name the survivor; returns how many.

        `column` holds a member id (`Order.member_id`), `where` narrows the rows, `label` counts them in the preview.
        """
        db.session.flush()
        table = table_of(column)
        name = column.property.columns[0].name if isinstance(column, InstrumentedAttribute) else column.name
        moved = (
            update(table)
            .where(table.c[name] == self.absorbed, *where)
            .values({name: self.survivor})
            .returning(*table.primary_key.columns)
            .cte("moved")
        )
        rows = select(
            literal(self.id, BigInteger),
            literal(self._position, BigInteger) + func.row_number().over(order_by=list(moved.c)),
            literal("change"),
            literal(table.name),
            _key_of(table, moved.c),
            literal({name: self.absorbed}, JSONB),
            literal({name: self.survivor}, JSONB),
            literal(unit),
        )
        written = insert(MergeMove.__table__).from_select(
            ["merge_id", "position", "act", "table_name", "key", "before", "after", "unit"],
            rows,
            include_defaults=False,
        )
        number = len(db.session.execute(written.returning(MergeMove.__table__.c.position)).all())
        self._position += number
        if label is not None:
            self.count(label, number)
        return number

    def join(self, column: Any, *same: Any, label: Any = None) -> int:
        """`repoint`, where a person has one row for each value of the columns `same`: what both have is kept once, the
        survivor's; returns how many rows of the absorbed record were dropped (undoing brings them back)."""
        table = table_of(column)
        mine = table.c[column.property.columns[0].name]
        named = [table.c[one.property.columns[0].name] for one in same]
        taken = select(*named).where(mine == self.survivor)
        with self.watching(table, mine.in_(self.pair)):
            dropped = changed(
                db.session.execute(table.delete().where(mine == self.absorbed, tuple_(*named).in_(taken)))
            )
            moved = changed(
                db.session.execute(update(table).where(mine == self.absorbed).values({mine.name: self.survivor}))
            )
        if label is not None:
            self.count(label, moved)
        return dropped

    @contextmanager
    def watching(
        self, target: Any, *where: Any, unit: Callable[[dict[str, Any]], str] | str = "", apart: bool = False
    ) -> Iterator[None]:
        """Write down whatever the block does to some rows of a table: changed, new and deleted ones.

        `where` finds the rows before and after; rows that were found before are looked at afterwards wherever they went.
        `unit` names what is undone together; with `apart` each column of a changed row is undone by itself.
        """
        table = table_of(target)
        before = self._image(table, where)
        yield
        self._write_down(table, where, before, unit, apart)

    def watch(self, target: Any, *where: Any, unit: str = "", apart: bool = False) -> None:
        """As `watching`, until the end of the merge: for sums and standings that are worked out last."""
        table = table_of(target)
        self._watched.append((table, where, self._image(table, where), unit, apart))

    def _image(self, table: Table, where: Any, keys: Collection[str] = ()) -> dict[str, dict[str, Any]]:
        """Rows as JSON, by their key as text."""
        db.session.flush()
        key = _key_of(table)
        row = func.to_jsonb(literal_column(f'"{table.name}"'))
        found = select(cast(key, Text), cast(row, JSONB)).select_from(table).where(*where)
        image: dict[str, dict[str, Any]] = dict(db.session.execute(found).all())
        missing = [name for name in keys if name not in image]
        if missing:
            again = select(cast(key, Text), cast(row, JSONB)).select_from(table).where(cast(key, Text).in_(missing))
            for column in table.primary_key.columns:
                if column.type.python_type is int:
                    # The text is compared exactly, the column lets the primary key's index find the rows.
                    again = again.where(column.in_([_plain(name)[column.name] for name in missing]))
            image |= dict(db.session.execute(again).all())
        return image

    def _write_down(
        self,
        table: Table,
        where: Any,
        before: Mapping[str, dict[str, Any]],
        unit: Callable[[dict[str, Any]], str] | str,
        apart: bool,
    ) -> None:
        after = self._image(table, where, before)
        named = unit if callable(unit) else lambda row: unit
        # Rows that went are written first: undoing then brings them back last, when their place is free again.
        for name in sorted(before.keys() - after.keys()):
            self._note("delete", table, name, before[name], {}, named(before[name]))
        for name in sorted(after.keys() - before.keys()):
            self._note("insert", table, name, {}, after[name], named(after[name]))
        for name in sorted(before.keys() & after.keys()):
            old, new = before[name], after[name]
            columns = [column for column in new if old[column] != new[column]]
            for some in [[column] for column in columns] if apart else [columns] if columns else []:
                was, now = {c: old[c] for c in some}, {c: new[c] for c in some}
                self._note("change", table, name, was, now, named(old))

    def _note(
        self, act: str, table: Table, key: str, before: dict[str, Any], after: dict[str, Any], unit: str = ""
    ) -> None:
        self._position += 1
        db.session.execute(
            insert(MergeMove.__table__).values(
                merge_id=self.id,
                position=self._position,
                act=act,
                table_name=table.name,
                key=_plain(key),
                before=before,
                after=after,
                unit=unit,
            )
        )

    def add_to(self, column: Any, row: Mapping[str, Any], by: int, unit: str = "") -> None:
        """Move a counter (`PostGroup.seen`) of the row with this key; undoing moves it back by the same number."""
        table = table_of(column)
        name = column.property.columns[0].name
        where = [table.c[key] == value for key, value in row.items()]
        db.session.execute(update(table).where(*where).values({name: table.c[name] + by}))
        self._position += 1
        db.session.execute(
            insert(MergeMove.__table__).values(
                merge_id=self.id,
                position=self._position,
                act="count",
                table_name=table.name,
                key=dict(row),
                before={},
                after={name: by},
                unit=unit,
            )
        )

    def close(self) -> None:
        """Write down what happened to the rows that were watched to the end."""
        for watched in reversed(self._watched):
            table, where, before, unit, apart = watched
            self._write_down(table, where, before, unit, apart)
        self._watched.clear()


def _plain(key: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(key)
    return found


class Undoing:
    """An undoing under way. Rooms look at the moves of theirs and may keep a unit as it is, with the reason."""

    def __init__(self, merge: Merge) -> None:
        self.id = merge.id
        self.survivor = merge.survivor_id
        self.absorbed = merge.absorbed_id
        self.merged_at = merge.at
        self.left: list[dict[str, Any]] = []
        self._kept: set[str] = set()

    def moves(self, target: Any, act: str | None = None) -> Sequence[MergeMove]:
        """The moves of a table, first to last."""
        statement = select(MergeMove).where(
            MergeMove.merge_id == self.id, MergeMove.table_name == table_of(target).name
        )
        if act is not None:
            statement = statement.where(MergeMove.act == act)
        return db.session.scalars(statement.order_by(MergeMove.position)).all()

    def keep(self, unit: str, sentence: Any) -> None:
        """Leave a unit as the merge made it, and tell staff why."""
        self._kept.add(unit)
        self.tell(sentence)

    def keep_quietly(self, unit: str) -> None:
        """Leave a unit as it is where there is nothing to tell."""
        self._kept.add(unit)

    def keeps(self, unit: str) -> bool:
        return unit in self._kept

    def tell(self, sentence: Any) -> None:
        """Tell staff what the undoing could not bring back."""
        self.left.append({"text": str(sentence)})


# ── What rooms fill in ──────────────────────────────────────────────────────────────────────────────────────────────

# Called before the two members are locked: locks that come earlier in the order (offers, groups, the writers of orders).
guards: Port[[Sequence[int]], None] = Port("members.merge.guards")
# Called with both members locked: bring the rows of a room along. Running it again finds nothing left to do.
followers: Port[[Merging], None] = Port("members.merge.followers")
# Called after merging and after undoing: work out anew what is derived from the rows that moved.
settlers: Port[[Sequence[int]], None] = Port("members.merge.settlers")
# Called before the moves are taken back.
before_undoing: Port[[Undoing], None] = Port("members.merge.before_undoing")
# Called when they have been: give what came since to whom it belongs.
after_undoing: Port[[Undoing], None] = Port("members.merge.after_undoing")

_followed: set[tuple[str, str]] = set()
_staying: dict[tuple[str, str], str] = {}


def _named(column: Any) -> tuple[str, str]:
    return table_of(column).name, column.property.columns[0].name


def follower(*columns: Any) -> Callable[[Callable[[Merging], None]], Callable[[Merging], None]]:
    """Register a function that brings the rows along in which these columns name a member."""

    def register(follow: Callable[[Merging], None]) -> Callable[[Merging], None]:
        _followed.update(_named(column) for column in columns)
        return followers.fill(follow)

    return register


def stays(column: Any, why: str) -> None:
    """Declare that a column which names a member is left as it is by a merge, and why."""
    _staying[_named(column)] = why


def followed() -> frozenset[tuple[str, str]]:
    """The (table, column) pairs that follow a merge."""
    return frozenset(_followed)


def staying() -> dict[tuple[str, str], str]:
    """The (table, column) pairs that a merge leaves alone, with the reason."""
    return dict(_staying)


# ── Merging ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def elder_first(one: Member, other: Member) -> tuple[Member, Member]:
    """The record that survives by default, the older one, and the other."""
    first, second = sorted((one, other), key=lambda m: (m.created_at, m.id))
    return first, second


def lock(ids: Collection[int]) -> dict[int, Member]:
    """Members by id, their rows locked lowest id first so that two merges never wait for each other crosswise.

    The lock is the strongest one: whoever inserts a row that points at one of them waits until the merge is through.
    """
    db.session.flush()
    rows = db.session.scalars(
        select(Member)
        .where(Member.id.in_(sorted(ids)))
        .order_by(Member.id)
        .with_for_update()
        .execution_options(populate_existing=True)
    ).all()
    return {row.id: row for row in rows}


def _choose(survivor: Member, absorbed: Member, choices: Mapping[str, str]) -> dict[str, Any]:
    """The value of each field afterwards: what staff chose, else the survivor's own, else what the other one knows."""
    values = {}
    for name in FIELDS:
        own, others = getattr(survivor, name), getattr(absorbed, name)
        values[name] = others if choices.get(name) == "absorbed" or (not own and others) else own
    return values


def _merge(
    survivor_id: int, absorbed_id: int, staff_id: int | None, reason: str, choices: Mapping[str, str]
) -> Merging:
    if survivor_id == absorbed_id:
        raise SameRecord
    guards.call(sorted((survivor_id, absorbed_id)))
    rows = lock((survivor_id, absorbed_id))
    if len(rows) < 2:
        raise NotFound
    survivor, absorbed = rows[survivor_id], rows[absorbed_id]
    if any(row.merged_into_id is not None or row.erased_at is not None for row in rows.values()):
        raise RecordGone
    merge = Merge(
        survivor_id=survivor_id,
        absorbed_id=absorbed_id,
        staff_id=staff_id,
        reason=" ".join(reason.split())[:REASON_LENGTH],
        at=clock.now(),
    )
    db.session.add(merge)
    db.session.flush()
    merging = Merging(merge)
    merging.contacts = {row.id: (row.phone, row.email) for row in rows.values()}
    merging.watch(Member, Member.id.in_(merging.pair), apart=True)
    # A record that became the absorbed one is the survivor now: one step leads to the living record, always.
    merging.repoint(Member.merged_into_id)
    values = _choose(survivor, absorbed, choices)
    for name in UNIQUE_FIELDS:
        setattr(absorbed, name, None)
    db.session.flush()
    for name, chosen in values.items():
        setattr(survivor, name, chosen)
    survivor.created_at = min(survivor.created_at, absorbed.created_at)
    survivor.enrolled_at = min(
        (at for at in (survivor.enrolled_at, absorbed.enrolled_at) if at is not None), default=None
    )
    absorbed.merged_into_id = survivor_id
    db.session.flush()
    followers.call(merging)
    db.session.flush()
    db.session.expire_all()
    _settle(merging.pair)
    merging.close()
    db.session.expire_all()
    return merging


def _settle(pair: Sequence[int]) -> None:
    """Sums first, then what is judged by them: the tier, the stage, the value."""
    settlers.call(pair)
    stages.reassess_stages(list(pair))
    value.revalue(list(pair))


def merge(
    survivor_id: int, absorbed_id: int, staff_id: int | None = None, reason: str = "",
    choices: Mapping[str, str] | None = None,
) -> int:  # fmt: skip
    """Make one record of two that are one person; returns the merge's id. Publishes `MembersMerged`.

    `choices` says for fields of `FIELDS` whose value stays: "survivor" or "absorbed"; an empty value never displaces a
    known one unless it was chosen. Refuses with `SameRecord`, `NotFound`, and `RecordGone` when one of the two is no
    living record any more.
    """
    merging = _merge(survivor_id, absorbed_id, staff_id, reason, choices or {})
    audit.record("member.merged", "member", survivor_id, after={"merge_id": merging.id, "absorbed_id": absorbed_id})
    publish(MembersMerged(member_id=survivor_id, absorbed_id=absorbed_id, merge_id=merging.id))
    return merging.id


@dataclass(frozen=True)
class Preview:
    """What a merge would do: the record as it would be, what would move, and what both have that one person cannot."""

    profile: dict[str, Any]
    moved: list[Moved]
    conflicts: list[str]
    orders_count: int = 0
    spend: int = 0
    rank: int = 0
    stage: Any = None
    enrolled_at: datetime | None = None


class _RollBack(Exception):
    """Ends the preview's savepoint."""


def preview(survivor_id: int, absorbed_id: int, choices: Mapping[str, str] | None = None) -> Preview:
    """The merge itself, carried out and taken back at once: what it shows is what will happen. Refuses as `merge` does."""
    shown: Preview | None = None
    try:
        with db.session.begin_nested():
            merging = _merge(survivor_id, absorbed_id, None, "", choices or {})
            survivor = db.session.get_one(Member, survivor_id)
            shown = Preview(
                profile={name: getattr(survivor, name) for name in FIELDS},
                moved=list(merging.moved.values()),
                conflicts=[str(sentence) for sentence in merging.conflicts],
                orders_count=survivor.orders_count,
                spend=survivor.spend,
                rank=survivor.rank,
                stage=survivor.stage,
                enrolled_at=survivor.enrolled_at,
            )
            raise _RollBack
    except _RollBack:
        db.session.expire_all()
    if shown is None:
        raise RecordGone
    return shown


# ── Undoing ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def get_merge(merge_id: int) -> Merge:
    """One merge. Refuses with `NotFound`."""
    found = db.session.get(Merge, merge_id)
    if found is None:
        raise NotFound
    return found


def merges_of(member_id: int) -> Sequence[Merge]:
    """The merges of a record, as survivor or absorbed, newest first."""
    return db.session.scalars(
        select(Merge)
        .where((Merge.survivor_id == member_id) | (Merge.absorbed_id == member_id))
        .order_by(Merge.id.desc())
    ).all()


def log_page(cursor: str | None, q: str = "") -> Page:
    """One page of all merges, newest first; `q` finds one of the two records (see `queries.sought`; its number too)."""
    statement = select(Merge)
    if q:
        fit = select(Member.id).where(queries.sought_or_numbered(q))
        statement = statement.where(or_(Merge.survivor_id.in_(fit), Merge.absorbed_id.in_(fit)))
    return keyset(statement, [Merge.id.desc()], cursor, 30)


def moved_rows(merge_id: int) -> list[tuple[str, int]]:
    """How many rows of which table a merge changed, the most first."""
    rows = db.session.execute(
        select(MergeMove.table_name, func.count())
        .where(MergeMove.merge_id == merge_id)
        .group_by(MergeMove.table_name)
        .order_by(func.count().desc(), MergeMove.table_name)
    )
    return [(row[0], row[1]) for row in rows]


def authors(rows: Sequence[Merge]) -> dict[int, str]:
    """The names of the staff who made or undid merges."""
    ids = {one for row in rows for one in (row.staff_id, row.undone_by) if one is not None}
    return staff.names(ids)


@dataclass
class _Group:
    act: str
    table: Table
    columns: tuple[str, ...]
    positions: list[int] = field(default_factory=list)


def _groups(undoing: Undoing) -> list[_Group]:
    """The moves that are to be taken back, last first, those of one kind together."""
    rows = db.session.execute(
        select(MergeMove.position, MergeMove.act, MergeMove.table_name, MergeMove.unit, MergeMove.after)
        .where(MergeMove.merge_id == undoing.id)
        .order_by(MergeMove.position.desc())
    ).all()
    wanted = [row for row in rows if not (row.unit and undoing.keeps(row.unit))]

    def kind(row: Any) -> tuple[str, str, tuple[str, ...]]:
        return row.act, row.table_name, tuple(sorted(row.after)) if row.act in ("change", "count") else ()

    return [
        _Group(act, db.metadata.tables[table], columns, [row.position for row in some])
        for (act, table, columns), some in groupby(wanted, key=kind)
    ]


def _statement(group: _Group) -> str:
    """How moves of one kind are taken back; identifiers come from the model, never from input."""
    name = f'"{group.table.name}"'
    keys = [f'"{column.name}"' for column in group.table.primary_key.columns]
    same_key = " AND ".join(f"t.{k} = k.{k}" for k in keys)
    source = f"""merge_move m CROSS JOIN LATERAL jsonb_populate_record(NULL::{name}, m.key) k
        CROSS JOIN LATERAL jsonb_populate_record(NULL::{name}, m.before) b
        CROSS JOIN LATERAL jsonb_populate_record(NULL::{name}, m.after) a"""
    mine = "m.merge_id = :merge AND m.position = ANY(CAST(:positions AS bigint[]))"
    columns = [f'"{column}"' for column in group.columns]
    match group.act:
        case "change":
            values = ", ".join(f"{c} = b.{c}" for c in columns)
            unchanged = " AND ".join(f"t.{c} IS NOT DISTINCT FROM a.{c}" for c in columns)
            return f"UPDATE {name} t SET {values} FROM {source} WHERE {mine} AND {same_key} AND {unchanged} RETURNING m.position"  # noqa: S608
        case "count":
            values = ", ".join(f"{c} = t.{c} - a.{c}" for c in columns)
            return f"UPDATE {name} t SET {values} FROM {source} WHERE {mine} AND {same_key} RETURNING m.position"  # noqa: S608
        case "insert":
            return f"DELETE FROM {name} t USING {source} WHERE {mine} AND {same_key} RETURNING m.position"  # noqa: S608
        case _:
            every = ", ".join(f'"{column.name}"' for column in group.table.columns)
            old = ", ".join(f'b."{column.name}"' for column in group.table.columns)
            return f"""WITH back AS (
                    INSERT INTO {name} ({every}) SELECT {old} FROM {source} WHERE {mine}
                    ON CONFLICT DO NOTHING RETURNING {", ".join(keys)}
                ) SELECT m.position FROM {source} JOIN back t ON {same_key} WHERE {mine}"""  # noqa: S608


def _take_back(undoing: Undoing, group: _Group) -> None:
    """Take moves of one kind back; those that stay in `group.positions` have changed since, or their place is taken."""
    statement = text(_statement(group))
    done: set[int] = set()
    try:
        with db.session.begin_nested():
            done.update(db.session.scalars(statement, {"merge": undoing.id, "positions": group.positions}))
    except IntegrityError:
        # One of them cannot go back; find out which by taking each by itself.
        done.clear()
        for position in group.positions:
            with suppress(IntegrityError), db.session.begin_nested():
                done.update(db.session.scalars(statement, {"merge": undoing.id, "positions": [position]}))
    group.positions = [position for position in group.positions if position not in done]


# Worked out anew from the rows themselves, so that nothing is lost when they have moved on.
_DERIVED = frozenset(
    {
        "orders_count", "spend", "first_order_at", "last_order_at", "rank", "stage", "stage_since", "value_index",
        "value_label",
    }
)  # fmt: skip


def undo(merge_id: int, staff_id: int | None = None) -> Merge:
    """Make two records again of one that was merged, as they were; what came since stays with whom it belongs.

    What has changed since the merge stays as it is now, and `Merge.left` says so. Publishes `MergeUndone`. Refuses with
    `UndoneAlready`, with `MergedFurther` when the survivor has been merged into a third record since, with `PersonErased`.
    """
    found = get_merge(merge_id)
    pair = (found.survivor_id, found.absorbed_id)
    guards.call(sorted(pair))
    rows = lock(pair)
    db.session.refresh(found, with_for_update=True)
    survivor, absorbed = rows[found.survivor_id], rows[found.absorbed_id]
    if found.undone_at is not None:
        raise UndoneAlready
    if survivor.erased_at is not None or absorbed.erased_at is not None:
        raise PersonErased
    if survivor.merged_into_id is not None or absorbed.merged_into_id != survivor.id:
        raise MergedFurther
    undoing = Undoing(found)
    before_undoing.call(undoing)
    db.session.flush()
    groups = _groups(undoing)
    # Twice, for a phone can go back to the one record only when the other has let go of it.
    for group in (*groups, *groups):
        if group.positions:
            _take_back(undoing, group)
    for group in groups:
        derived = group.table is Member.__table__ and set(group.columns) <= _DERIVED
        if group.positions and not derived:
            undoing.left.append({"table": group.table.name, "n": len(group.positions)})
    db.session.expire_all()
    after_undoing.call(undoing)
    db.session.flush()
    db.session.expire_all()
    _settle(pair)
    found.undone_at, found.undone_by, found.left = clock.now(), staff_id, undoing.left
    db.session.flush()
    audit.record("member.merge_undone", "member", survivor.id, after={"merge_id": found.id, "absorbed_id": absorbed.id})
    for member_id in pair:
        publish(MergeUndone(member_id=member_id, survivor_id=pair[0], absorbed_id=pair[1], merge_id=found.id))
    db.session.expire_all()
    return found


# ── Latecomers ──────────────────────────────────────────────────────────────────────────────────────────────────────


def bring_latecomers(since: timedelta) -> int:
    """Let rows follow that were written for a record while it was being merged (a claim in flight, an event on its way).

    Looks at merges that are no older than `since`; returns how many rows it moved. Each moves as if the merge had.
    """
    recent = db.session.scalars(
        select(Merge.id).where(Merge.undone_at.is_(None), Merge.at > clock.now() - since).order_by(Merge.id)
    ).all()
    return sum(_bring(merge_id) for merge_id in recent)


_LAST = select(func.coalesce(func.max(MergeMove.position), 0)).where(
    MergeMove.merge_id == bindparam("merge", type_=BigInteger)
)


def _bring(merge_id: int) -> int:
    found = get_merge(merge_id)
    survivor_id = _living(found.survivor_id)
    pair = (found.absorbed_id, survivor_id)
    guards.call(sorted(pair))
    rows = lock(pair)
    if rows[found.absorbed_id].merged_into_id != survivor_id:
        # Undone or merged further a moment ago: the next round looks again.
        return 0
    last = db.session.scalar(_LAST, {"merge": merge_id}) or 0
    merging = Merging(found, last)
    # Where the survivor has been merged further since, latecomers go on to the living record.
    merging.survivor, merging.pair = survivor_id, (survivor_id, found.absorbed_id)
    followers.call(merging)
    merging.close()
    number = (db.session.scalar(_LAST, {"merge": merge_id}) or 0) - last
    if number:
        db.session.expire_all()
        _settle(merging.pair)
    return number


def _living(member_id: int) -> int:
    """The record that one has become."""
    into = db.session.scalar(select(Member.merged_into_id).where(Member.id == member_id))
    return member_id if into is None else _living(into)


__all__ = [
    "FIELDS",
    "MergedFurther",
    "Merging",
    "PersonErased",
    "Preview",
    "RecordGone",
    "SameRecord",
    "authors",
    "log_page",
    "moved_rows",
    "UndoneAlready",
    "Undoing",
    "after_undoing",
    "before_undoing",
    "bring_latecomers",
    "elder_first",
    "followed",
    "follower",
    "followers",
    "get_merge",
    "guards",
    "lock",
    "merge",
    "merges_of",
    "preview",
    "settlers",
    "staying",
    "stays",
    "undo",
]
