"""The register of personal data: for every table, which columns tell something of a member and what becomes of them.

Each room declares its tables in `personal.py`. A test walks all tables: a column that nobody has declared fails it. The
dossier is read from the same register, so that what is kept of a person is also what they are given.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import ColumnElement, Table, Text, cast, false, or_, select
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import InstrumentedAttribute

from kernel.db import db

from ..models import Channel, Member, MemberIdentity
from .merge import table_of

# Shorter words would be found in everything.
SHORTEST_WORD = 6


@dataclass(frozen=True)
class Person:
    """Somebody with every record of theirs: the living one and those that were merged into it."""

    ids: tuple[int, ...]
    # What names them unmistakably wherever it stands: phones, e-mail addresses, accounts, the address.
    words: tuple[str, ...] = ()


Rows = Callable[[Person], ColumnElement[bool]]


@dataclass(frozen=True)
class Declared:
    """A table's columns: `plain` tells nothing of a member, `personal` does; `why` is given where personal ones stay."""

    table: Table
    plain: frozenset[str]
    personal: frozenset[str] = frozenset()
    rows: Rows | None = None
    label: Any = None
    drop: bool = False
    # Written by a room's forgetter, not by blanking.
    forgotten: frozenset[str] = frozenset()
    hidden: frozenset[str] = frozenset()
    why: str = ""
    blanks: dict[str, Any] = field(default_factory=dict)


_register: dict[str, Declared] = {}


def declare(
    target: Any, plain: str, personal: str = "", *, rows: Rows | None = None, label: Any = None, drop: bool = False,
    forgotten: str = "", hidden: str = "", why: str = "",
) -> None:  # fmt: skip
    """Enter a table into the register; column names are given in one text, parted by spaces.

    `rows` finds a person's rows. `label` is the chapter's title in the dossier (none: it is not shown); `hidden` columns are
    left out of it. On erasure `personal` columns are blanked, or with `drop` the rows go; `forgotten` ones a room's forgetter
    sees to; with `why` they stay.
    """
    table = table_of(target)
    _register[table.name] = Declared(
        table,
        frozenset(plain.split()),
        frozenset((*personal.split(), *forgotten.split())),
        rows,
        label,
        drop,
        frozenset(forgotten.split()),
        frozenset(hidden.split()),
        why,
        {name: _blank(table.c[name]) for name in personal.split()} if not (drop or why) else {},
    )


def _blank(column: Any) -> Any:
    if column.nullable:
        return None
    return [] if isinstance(column.type, JSONB) else ""


def register() -> dict[str, Declared]:
    """Every declared table by name."""
    return dict(_register)


def by(*columns: Any) -> Rows:
    """Rows in which one of these columns names a record of the person."""

    def rows(person: Person) -> ColumnElement[bool]:
        return or_(*(table_of(column).c[_name(column)].in_(person.ids) for column in columns))

    return rows


def through(column: Any, key: Any, owner: Any) -> Rows:
    """Rows that point at a row of the person's: `through(OrderLine.order_id, Order.id, Order.member_id)`."""

    def rows(person: Person) -> ColumnElement[bool]:
        theirs = select(table_of(key).c[_name(key)]).where(table_of(owner).c[_name(owner)].in_(person.ids))
        return table_of(column).c[_name(column)].in_(theirs)

    return rows


def mentioning(*columns: Any) -> Rows:
    """Rows whose text holds a phone, an e-mail address, an account or the address of the person."""

    def rows(person: Person) -> ColumnElement[bool]:
        places = [cast(table_of(column).c[_name(column)], Text) for column in columns]
        return or_(false(), *(place.contains(word, autoescape=True) for place in places for word in person.words))

    return rows


def _name(column: Any) -> str:
    return str(column.property.columns[0].name) if isinstance(column, InstrumentedAttribute) else str(column.name)


def person_of(member_id: int) -> Person:
    """A member with all their records, and the words that name them."""
    ids = record_ids(member_id)
    said: set[str] = set()
    for channel, external_id in db.session.execute(
        select(MemberIdentity.channel, MemberIdentity.external_id).where(MemberIdentity.member_id.in_(ids))
    ):
        said.add(external_id)
        if channel is Channel.PHONE:
            said.add(external_id.removeprefix("+86"))
    for row in db.session.execute(select(Member.phone, Member.email, Member.address).where(Member.id.in_(ids))):
        said.update(word for word in row if word)
    words = sorted(word for word in said if len(word) >= SHORTEST_WORD)
    return Person(tuple(ids), tuple(words))


def record_ids(member_id: int) -> list[int]:
    """A record and all that were merged into it, the record itself first."""
    found = [member_id]
    fresh: Sequence[int] = found
    while fresh:
        fresh = db.session.scalars(
            select(Member.id).where(Member.merged_into_id.in_(fresh), Member.id.not_in(found)).order_by(Member.id)
        ).all()
        found = [*found, *fresh]
    return found


__all__ = [
    "Declared",
    "Person",
    "Rows",
    "by",
    "declare",
    "mentioning",
    "person_of",
    "record_ids",
    "register",
    "through",
]
