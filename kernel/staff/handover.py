"""Handing over: what somebody of the staff has in hand goes to colleagues, because they leave or are away.

The kernel knows no tickets and no groups: each room says through the port which of its rows somebody can have in hand
(`Area`), and which only name who did something and stay (`Stays`). A test holds that no foreign key to the staff is forgotten.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import ColumnElement, Select, Table, and_, func, insert, or_, select, update
from sqlalchemy.orm import InstrumentedAttribute

from .. import audit, clock
from ..auth import ROLE_LABELS, Role, holds
from ..bulk import BulkRun
from ..db import changed, db
from ..errors import NotFound, Refusal
from ..forms import one_line
from ..i18n import gettext as _
from ..i18n import lazy_gettext as _l
from ..ports import Port
from ..today import PutOffTask
from ..views import DefaultView, SavedView
from . import services
from .models import HandOver, HandOverItem, Staff, StaffSession

LONGEST_NOTE = 200


@dataclass(frozen=True)
class Area:
    """Rows of one kind that somebody can have in hand, and how a colleague takes them over.

    `column` holds whose a row is, `live` narrows to the rows that still need somebody, `asks` is the permission without which
    nobody can take over. `also` are further columns that change with it, `moved` is told the numbers of the rows, who has them
    now and who had it done. `address` leads to the rows of a person, where a list can be narrowed to one. What `waits` is work
    to be done, the rest only stands under somebody's name.
    """

    key: str
    label: Any
    column: InstrumentedAttribute[Any]
    live: Callable[[], Sequence[ColumnElement[bool]]]
    asks: str
    icon: str = "list"
    note: Any = ""
    also: Callable[[], dict[str, Any]] = dict
    moved: Callable[[Sequence[int], int, int | None], None] | None = None
    address: Callable[[int], str | None] = field(default=lambda staff_id: None)
    waits: bool = True

    @property
    def number(self) -> Any:
        """The column of the rows' numbers."""
        return self.rows.id

    @property
    def rows(self) -> Any:
        """The class of the rows."""
        return self.column.class_


@dataclass(frozen=True)
class Stays:
    """A column that goes on naming the person, and why."""

    column: InstrumentedAttribute[Any]
    why: str


handover: Port[[], Sequence[Area | Stays]] = Port("staff.handover")


class SuccessorRefused(Refusal):
    status = 422
    label = _l("%(name)s cannot take over “%(area)s”: the account is closed, or the role does not allow it.")


class HandedToThemselves(Refusal):
    status = 422
    label = _l("Choose somebody else: this is the person who hands over.")


class ReturnedAlready(Refusal):
    title = _l("It is back already")
    label = _l("This hand-over has been moved back. Nothing was changed.")
    icon = "users"


class CannotHaveItBack(Refusal):
    title = _l("They cannot sign in")
    label = _l("Let %(name)s sign in again first; then what they had can be moved back.")
    icon = "users"


def areas() -> list[Area]:
    """Everything that can be handed over, the lowest room first."""
    return [one for answer in handover.call() for one in answer if isinstance(one, Area)]


def stays() -> list[Stays]:
    """The columns that name somebody of the staff for ever."""
    return [one for answer in handover.call() for one in answer if isinstance(one, Stays)]


@dataclass(frozen=True)
class InHand:
    """How much somebody has of one area."""

    area: Area
    count: int


def _held(area: Area, staff_id: int) -> list[ColumnElement[bool]]:
    return [area.column == staff_id, *area.live()]


def in_hand(staff_id: int, waiting: bool = False) -> list[InHand]:
    """What somebody has, area by area (empty ones too), in one statement; with `waiting` only work that is to be done."""
    found = [area for area in areas() if area.waits or not waiting]
    if not found:
        return []
    counts = [select(func.count()).where(*_held(area, staff_id)).scalar_subquery() for area in found]
    row = db.session.execute(select(*counts)).one()
    return [InHand(area, count) for area, count in zip(found, row, strict=True)]


def left_behind() -> dict[int, int]:
    """How much of what waits is with people who cannot sign in or whose role does not allow it, by their ids, in one statement."""
    pieces = [
        select(area.column.label("staff_id"), func.count().label("n"))
        .where(area.column.in_(_unable(area)), *area.live())
        .group_by(area.column)
        for area in areas()
        if area.waits
    ]
    if not pieces:
        return {}
    every = pieces[0].union_all(*pieces[1:]).subquery()
    rows = db.session.execute(select(every.c.staff_id, func.sum(every.c.n)).group_by(every.c.staff_id))
    return {row[0]: int(row[1]) for row in rows}


def _unable(area: Area) -> Select[int]:
    """The ids of the staff who can do nothing with an area: the account is closed, or the role does not allow it."""
    roles = [role for role in Role if holds(role, area.asks)]
    return select(Staff.id).where(or_(Staff.disabled_at.is_not(None), Staff.role.not_in(roles)))


def able(area: Area, but: int) -> list[Staff]:
    """Who can take over an area."""
    return [one for one in services.signing_in() if one.id != but and holds(one.role, area.asks)]


def _lock(staff_ids: Sequence[int]) -> dict[int, Staff]:
    """Hold people's rows, lowest first, so that two hand-overs, or one and a closing account, come one after the other."""
    found = db.session.scalars(
        select(Staff)
        .where(Staff.id.in_(staff_ids))
        .order_by(Staff.id)
        .with_for_update(key_share=True)
        .execution_options(populate_existing=True)
    )
    return {person.id: person for person in found}


def hand_over(
    from_id: int, to: Mapping[str, int], by_id: int | None, note: str = "", disable: bool = False
) -> HandOver | None:
    """Give what somebody has in hand to colleagues: `to` says for the key of an area who takes it over; others stay.

    With `disable` their account is closed in the same transaction. Returns what was moved, or None when there was nothing
    left to move: doing it twice moves once. Nobody's limit of work at a time is looked at.

    Refuses with `NotFound` for a person or an area that is none, `HandedToThemselves`, `SuccessorRefused`, and as
    `services.disable` does.
    """
    known = {area.key: area for area in areas()}
    people = _lock(sorted({from_id, *to.values()}))
    if from_id not in people or not set(to) <= set(known):
        raise NotFound
    for key, staff_id in to.items():
        _check(known[key], people.get(staff_id), from_id)
    made = HandOver(from_id=from_id, by_id=by_id, note=one_line(note)[:LONGEST_NOTE], at=clock.now())
    db.session.add(made)
    db.session.flush()
    moved = {key: _move(known[key], made.id, from_id, staff_id, by_id) for key, staff_id in to.items()}
    if disable and people[from_id].disabled_at is None:
        services.disable(people[from_id])
    if not any(moved.values()):
        db.session.delete(made)
        db.session.flush()
        return None
    names = {key: people[staff_id].name for key, staff_id in to.items() if moved[key]}
    audit.record(
        "staff.handed_over",
        "staff",
        from_id,
        after={
            "hand_over": made.id,
            "moved": {key: f"{count} → {names[key]}" for key, count in moved.items() if count},
        },
    )
    return made


def _check(area: Area, person: Staff | None, from_id: int) -> None:
    if person is None:
        raise NotFound
    if person.id == from_id:
        raise HandedToThemselves
    if person.disabled_at is not None or not holds(person.role, area.asks):
        raise SuccessorRefused(name=person.name, area=area.label)


def _move(area: Area, hand_over_id: int, from_id: int, to_id: int, by_id: int | None) -> int:
    ids = _rename(area, select(area.number).where(*_held(area, from_id)), to_id, by_id)
    if ids:
        db.session.execute(
            insert(HandOverItem),
            [{"hand_over_id": hand_over_id, "area": area.key, "row_id": i, "to_id": to_id} for i in ids],
        )
    return len(ids)


def _rename(area: Area, which: Select[int], to_id: int, by_id: int | None) -> Sequence[int]:
    """Put rows under another name, and tell their room; returns their numbers.

    They are locked lowest first, as whoever locks many does, and looked at again under the lock.
    """
    ids = db.session.scalars(which.order_by(area.number).with_for_update(key_share=True, of=area.rows)).all()
    if not ids:
        return ids
    renamed = db.session.execute(
        update(area.rows)
        .where(area.number.in_(ids))
        .values({area.column.key: to_id, **area.also()})
        .execution_options(synchronize_session=False)
    )
    if changed(renamed) != len(ids):
        raise RuntimeError("rows that were locked are gone")
    if area.moved is not None:
        area.moved(ids, to_id, by_id)
    _forget(area, ids)
    return ids


def _forget(area: Area, ids: Sequence[int]) -> None:
    """Rows that the session holds are read anew when they are next looked at."""
    touched = set(ids)
    for held in list(db.session.identity_map.values()):
        if isinstance(held, area.rows) and held.id in touched:
            db.session.expire(held)


def give_back(hand_over_id: int, by_id: int | None) -> int:
    """Move back what went with a hand-over, as far as it is still with whoever took it and still needs somebody.

    What the person's role no longer allows stays with whoever took it (`not_theirs`). Returns how much came back. Refuses with
    `NotFound`, `ReturnedAlready`, and with `CannotHaveItBack` while the account is closed.
    """
    made = get(hand_over_id)
    person = _lock([made.from_id])[made.from_id]
    if person.disabled_at is not None:
        raise CannotHaveItBack(name=person.name)
    done = db.session.execute(
        update(HandOver)
        .where(HandOver.id == hand_over_id, HandOver.returned_at.is_(None))
        .values(returned_at=clock.now(), returned_by_id=by_id)
        .execution_options(synchronize_session="fetch")
    )
    if not changed(done):
        raise ReturnedAlready
    back = 0
    for area in areas():
        if not holds(person.role, area.asks):
            continue
        ids = _give_back(area, made, by_id)
        back += len(ids)
    audit.record("staff.hand_over_returned", "staff", person.id, after={"hand_over": made.id, "rows": back})
    return back


def not_theirs(made: HandOver, role: Role) -> list[Area]:
    """Of what went with a hand-over, the areas that somebody of this role may not have back."""
    went = set(db.session.scalars(select(HandOverItem.area).where(HandOverItem.hand_over_id == made.id).distinct()))
    return [area for area in areas() if area.key in went and not holds(role, area.asks)]


def _give_back(area: Area, made: HandOver, by_id: int | None) -> Sequence[int]:
    item = HandOverItem.hand_over_id == made.id, HandOverItem.area == area.key
    still = (
        select(area.number)
        .join(HandOverItem, and_(HandOverItem.row_id == area.number, HandOverItem.to_id == area.column))
        .where(*item, *area.live())
    )
    ids = _rename(area, still, made.from_id, by_id)
    if ids:
        db.session.execute(
            update(HandOverItem)
            .where(*item, HandOverItem.row_id.in_(ids))
            .values(returned=True)
            .execution_options(synchronize_session=False)
        )
    return ids


def get(hand_over_id: int) -> HandOver:
    """One hand-over; refuses with `NotFound`."""
    found = db.session.get(HandOver, hand_over_id, populate_existing=True)
    if found is None:
        raise NotFound
    return found


@dataclass(frozen=True)
class Moved:
    """What went of one area to one colleague, and how much of it came back."""

    label: Any
    to_id: int
    count: int
    returned: int


def moved_with(hand_over_id: int) -> list[Moved]:
    """What went with a hand-over, in the order of the areas."""
    labels = {area.key: area.label for area in areas()}
    rows = db.session.execute(
        select(
            HandOverItem.area,
            HandOverItem.to_id,
            func.count(),
            func.count().filter(HandOverItem.returned),
        )
        .where(HandOverItem.hand_over_id == hand_over_id)
        .group_by(HandOverItem.area, HandOverItem.to_id)
        .order_by(HandOverItem.area, HandOverItem.to_id)
    ).all()
    order = {key: place for place, key in enumerate(labels)}
    shown = sorted(rows, key=lambda row: (order.get(row[0], len(order)), row[1]))
    return [Moved(labels.get(key, key), to_id, count, back) for key, to_id, count, back in shown]


def of_person(staff_id: int, most: int = 20) -> list[tuple[HandOver, int]]:
    """The hand-overs of somebody with how many rows went, newest first."""
    rows = db.session.execute(
        select(
            HandOver,
            select(func.count()).where(HandOverItem.hand_over_id == HandOver.id).correlate(HandOver).scalar_subquery(),
        )
        .where(HandOver.from_id == staff_id)
        .order_by(HandOver.id.desc())
        .limit(most)
    )
    return [(row[0], row[1]) for row in rows]


def staff_columns(tables: Sequence[Table]) -> set[str]:
    """The columns that refer to the staff by a foreign key, as `table.column`."""
    return {
        f"{table.name}.{key.parent.name}"
        for table in tables
        for key in table.foreign_keys
        if key.target_fullname == "staff.id"
    }


# What a column is called that says whose something is, or who did it.
STAFF_NAMES = ("staff_id", "staff_ids", "assignee_id", "owner_id", "author_id")


def plain_staff_columns(tables: Sequence[Table]) -> set[str]:
    """The columns that by their names speak of the staff and have no foreign key, as `table.column`."""
    return {
        f"{table.name}.{column.name}"
        for table in tables
        for column in table.columns
        if column.name.endswith(STAFF_NAMES) and not column.foreign_keys
    }


def column_name(column: InstrumentedAttribute[Any]) -> str:
    """A column as `staff_columns` names it."""
    return f"{column.class_.__tablename__}.{column.key}"


def who_can(area: Area) -> str:
    """The roles that can take over an area, for a page that has nobody to offer."""
    return _(", ").join(str(label) for role, label in ROLE_LABELS.items() if holds(role, area.asks))


@handover.fill
def of_kernel() -> list[Area | Stays]:
    """The kernel's own tables."""
    return [
        Stays(StaffSession.staff_id, "A browser that somebody is signed in with is theirs alone."),
        Stays(SavedView.staff_id, "A view that is shared shows to everybody as before; the others are habits."),
        Stays(DefaultView.staff_id, "How a list opens for somebody is a habit of theirs."),
        Stays(BulkRun.staff_id, "Who had a long work done."),
        Stays(PutOffTask.staff_id, "What somebody does not want to see today."),
        Stays(HandOver.from_id, "Whose things went."),
    ]
