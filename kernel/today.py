"""The console's first page: what needs doing today, four numbers, and what is running. The rooms fill it through ports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from apiflask import APIBlueprint
from flask import Flask, flash, redirect, render_template, request, url_for
from sqlalchemy import ForeignKey, delete, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Mapped, mapped_column

from . import clock, navigation
from .auth import Role, acting_staff, grant, public, staff
from .db import db
from .errors import NotFound
from .i18n import gettext as _
from .i18n import lazy_gettext as _l
from .pages import searched
from .ports import Port
from .shop import is_demo_shop

# So many stand on the first page before somebody asks for all.
MOST = 5


@dataclass(frozen=True)
class Place:
    """A part of the shop that a task is about, and who of the staff runs it; `key` is the same every day."""

    key: str
    name: str
    staff_id: int | None = None


@dataclass(frozen=True)
class Task:
    """One thing to do today: a sentence, where it is done, what the button says.

    `weight` says how pressing it is: from 90 somebody waits or something is broken, from 70 it is for today, from 50 for
    this week, below it is good to know. `name` is the same from day to day, so that it can be put off; a task that is the
    only one of its address needs none.
    """

    weight: int
    text: Any
    url: str
    action: Any
    icon: str = "chevron-right"
    about: Any = ""
    place: Place | None = None
    name: str = ""

    @property
    def key(self) -> str:
        return (self.name or self.url)[:300]


@dataclass(frozen=True)
class Number:
    """A number of the last seven days against the seven before.

    `position` 1 to 4 puts it among the four that stand on top; the others are folded away under them.
    """

    label: Any
    value: int
    before: int
    url: str | None = None
    good_when_up: bool = True
    position: int = 0


@dataclass(frozen=True)
class Running:
    """Long work that is under way."""

    label: Any
    url: str
    done: int
    total: int
    state: Any = ""


@dataclass(frozen=True)
class Step:
    """Something without which a shop that has just begun cannot go on; it is shown until all of them are done."""

    order: int
    done: bool
    text: Any
    about: Any
    url: str
    action: Any


@dataclass(frozen=True)
class Hit:
    """One finding of the search over everything."""

    kind: Any
    title: str
    url: str
    about: Any = ""


tasks: Port[[], list[Task]] = Port("today.tasks")
numbers: Port[[], list[Number]] = Port("today.numbers")
running: Port[[], list[Running]] = Port("today.running")
steps: Port[[], list[Step]] = Port("today.steps")
search: Port[[str], list[Hit]] = Port("today.search")

bp = APIBlueprint("today", __name__, enable_openapi=False)


class PutOffTask(db.Model):
    """A task that somebody wants to see again later. One that has become more pressing than it was then shows at once."""

    __tablename__ = "put_off_task"
    staff_id: Mapped[int] = mapped_column(ForeignKey("staff.id", ondelete="CASCADE"), primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    weight: Mapped[int]
    until: Mapped[datetime]


# ── What comes first ────────────────────────────────────────────────────────────────────────────────────────────────


def ranked(found: Sequence[Task], staff_id: int) -> list[Task]:
    """The tasks in the order in which somebody does them.

    What concerns a place that a colleague runs comes after everything else, for whoever runs places themselves; then the
    heavier comes first, and of equal ones the order is always the same. A key that comes twice is kept once, the heavier.
    """
    runs_any = any(task.place is not None and task.place.staff_id == staff_id for task in found)

    def others(task: Task) -> bool:
        return runs_any and task.place is not None and task.place.staff_id not in (None, staff_id)

    kept: dict[str, Task] = {}
    for task in sorted(found, key=lambda task: (-task.weight, others(task))):
        kept.setdefault(task.key, task)
    return sorted(kept.values(), key=lambda task: (others(task), -task.weight, task.key))


def put_off(task: Task, rows: Mapping[str, tuple[int, datetime]], now: datetime) -> bool:
    """Whether a task waits for a later day: `rows` are (weight then, until when) by key."""
    row = rows.get(task.key)
    return row is not None and now < row[1] and task.weight <= row[0]


@dataclass(frozen=True)
class Brief:
    """What somebody has to do today, the most pressing first, and what they put off."""

    open: list[Task]
    later: list[Task]

    @property
    def sections(self) -> list[tuple[Place | None, list[Task]]]:
        """The open tasks by the place that they are about, the place with the most pressing first."""
        by_place: dict[str, tuple[Place | None, list[Task]]] = {}
        for task in self.open:
            by_place.setdefault(task.place.key if task.place else "", (task.place, []))[1].append(task)
        return list(by_place.values())


def brief_of(staff_id: int) -> Brief:
    """The brief of the signed-in member of the staff."""
    rows = {
        row.key: (row.weight, row.until)
        for row in db.session.execute(
            select(PutOffTask.key, PutOffTask.weight, PutOffTask.until).where(PutOffTask.staff_id == staff_id)
        )
    }
    now = clock.now()
    shown: list[Task] = []
    later: list[Task] = []
    for task in ranked([task for answer in tasks.call() for task in answer], staff_id):
        (later if put_off(task, rows, now) else shown).append(task)
    return Brief(shown, later)


def put_task_off(staff_id: int, key: str) -> datetime:
    """Let a task wait until the shop's next day begins, for one person; says when. Refuses with `NotFound` what is no task."""
    same = [task for answer in tasks.call() for task in answer if task.key == key]
    if not same:
        raise NotFound
    # As it is shown: of a key that comes twice the heavier.
    task = max(same, key=lambda task: task.weight)
    until = clock.at(clock.today() + timedelta(days=1))
    values = {"weight": task.weight, "until": until}
    db.session.execute(
        insert(PutOffTask)
        .values(staff_id=staff_id, key=key, **values)
        .on_conflict_do_update(index_elements=["staff_id", "key"], set_=values)
    )
    db.session.execute(delete(PutOffTask).where(PutOffTask.staff_id == staff_id, PutOffTask.until <= clock.now()))
    return until


def bring_task_back(staff_id: int, key: str) -> None:
    """Let a task that was put off stand among today's again; one that is there already stays."""
    db.session.execute(delete(PutOffTask).where(PutOffTask.staff_id == staff_id, PutOffTask.key == key))


def first_steps() -> list[Step]:
    """What leads from an empty shop to one that runs, done or not; empty once all is done, and in the demo shop."""
    if is_demo_shop():
        return []
    found = sorted((step for answer in steps.call() for step in answer), key=lambda step: step.order)
    return found if any(not step.done for step in found) else []


# ── Pages ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@bp.get("/")
@public("leads staff to the console")
def root() -> Any:
    return redirect(url_for(".index"))


@bp.get("/console/")
@staff("today.view")
def index() -> Any:
    found = [number for answer in numbers.call() for number in answer]
    return render_template(
        "today/index.html",
        today=clock.today(),
        steps=first_steps(),
        brief=brief_of(acting_staff().id),
        whole="all" in request.args,
        most=MOST,
        numbers=sorted((number for number in found if number.position), key=lambda number: number.position),
        more_numbers=[number for number in found if not number.position],
        running=[r for answer in running.call() for r in answer],
    )


def _to_brief() -> Any:
    return redirect(url_for(".index", all="1" if request.form.get("all") else None))


@bp.post("/console/today/later")
@staff("today.view")
def later() -> Any:
    put_task_off(acting_staff().id, request.form.get("key", ""))
    flash(_("Put off until tomorrow. It comes back earlier if it becomes more pressing."), "positive")
    return _to_brief()


@bp.post("/console/today/back")
@staff("today.view")
def back() -> Any:
    bring_task_back(acting_staff().id, request.form.get("key", "")[:300])
    return _to_brief()


@bp.get("/console/search")
@staff("today.view")
def find() -> Any:
    wanted = searched()
    hits = [hit for answer in search.call(wanted) for hit in answer] if wanted else []
    if len(hits) == 1:
        return redirect(hits[0].url)
    return render_template("today/search.html", q=wanted, hits=hits)


def init_app(app: Flask) -> None:
    grant("today.view", *Role)
    app.register_blueprint(bp)
    navigation.add("today", _l("Today"), "today.index", "today.view")
