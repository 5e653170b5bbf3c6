"""Reads of tickets: lists, the board, who has how much, what came of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Text, and_, cast, func, literal, or_, select, text
from sqlalchemy.dialects.postgresql import ARRAY

from community.desk import labels as desk_labels
from community.desk.models import Script
from kernel import clock, files
from kernel.auth import Role, holds
from kernel.db import db, escaped
from kernel.errors import NotFound
from kernel.pages import order_by
from kernel.staff.models import Staff
from membership.members import queries as members
from membership.members.models import CustomerType, Member
from membership.orders.models import Order, OrderLine

from . import rules
from .models import (
    AgentPresence,
    EntryKind,
    Macro,
    Ticket,
    TicketEntry,
    TicketKind,
    TicketSource,
    TicketState,
    TicketStep,
    Workflow,
)

NEVER = datetime(9999, 1, 1, tzinfo=UTC)
RECENT = timedelta(days=7)


def handles(role: Role) -> bool:
    """Whether somebody of a role may have tickets."""
    return holds(role, "tickets.handle")


def get_ticket(ticket_id: int) -> Ticket:
    """The ticket, or `NotFound`."""
    found = db.session.get(Ticket, ticket_id)
    if found is None:
        raise NotFound
    return found


def is_opened_for(source_key: str) -> bool:
    """Whether there is a ticket for this (`call:12`)."""
    return db.session.scalar(select(Ticket.id).where(Ticket.source_key == source_key)) is not None


def get_by_public_id(public_id: str) -> Ticket:
    """The ticket under the name that members read, or `NotFound`."""
    found = db.session.scalar(select(Ticket).where(Ticket.public_id == public_id))
    if found is None:
        raise NotFound
    return found


def entries(ticket_id: int, public: bool = False) -> Sequence[TicketEntry]:
    """What stands in a ticket, oldest first; `public` is what its customer reads."""
    found = select(TicketEntry).where(TicketEntry.ticket_id == ticket_id).order_by(TicketEntry.id)
    if public:
        found = found.where(TicketEntry.kind.in_((EntryKind.CUSTOMER, EntryKind.ANSWER)))
    return db.session.scalars(found).all()


def workflow_now(kind: TicketKind) -> Workflow | None:
    """The version of a kind's steps that counts now; None while it is the standard's."""
    last = db.session.scalar(select(Workflow).where(Workflow.kind == kind).order_by(Workflow.version.desc()).limit(1))
    return last if last is not None and last.steps else None


def workflow_versions(kind: TicketKind, most: int = 20) -> Sequence[Workflow]:
    """The versions of a kind's steps, newest first."""
    return db.session.scalars(
        select(Workflow).where(Workflow.kind == kind).order_by(Workflow.version.desc()).limit(most)
    ).all()


def steps_now(kind: TicketKind) -> tuple[rules.Step, ...]:
    """The steps of what is opened now."""
    return steps_by(workflow_now(kind), kind)


def steps_by(workflow: Workflow | None, kind: TicketKind) -> tuple[rules.Step, ...]:
    """The steps of a version of a kind, of the standard when there is none."""
    return rules.steps_from(workflow.steps) if workflow is not None else rules.WORKFLOWS[kind]


def steps_of(ticket: Ticket) -> tuple[rules.Step, ...]:
    """The steps of a ticket: those it was opened with."""
    if ticket.workflow_id is None:
        return rules.WORKFLOWS[ticket.kind]
    return rules.steps_from(db.session.get_one(Workflow, ticket.workflow_id).steps)


# What a customer may have been told of, and has seen once the page was before them: that it is put right is news as well.
NEWS = (EntryKind.ANSWER, EntryKind.STATE)
LOOKED_AT = (EntryKind.CUSTOMER, *NEWS)


def last_spoken(ticket_id: int, kinds: Sequence[EntryKind] = (EntryKind.CUSTOMER, EntryKind.ANSWER)) -> int:
    """The number of the last thing that customer or desk said, 0 when nothing was."""
    return (
        db.session.scalar(
            select(func.max(TicketEntry.id)).where(TicketEntry.ticket_id == ticket_id, TicketEntry.kind.in_(kinds))
        )
        or 0
    )


def steps_done(ticket_id: int) -> dict[str, TicketStep]:
    """The steps of a ticket that are done, by key."""
    return {
        row.step: row
        for row in db.session.scalars(
            select(TicketStep).where(TicketStep.ticket_id == ticket_id).order_by(TicketStep.done_at)
        )
    }


def has_picture(ticket_id: int, key: str, public: bool) -> bool:
    """Whether a picture belongs to a ticket; with `public`, to what its customer reads."""
    return any(key in entry.pictures for entry in entries(ticket_id, public))


@files.private_in_use.fill
def pictures_in_use(keys: Sequence[str]) -> set[str]:
    """Which of these pictures stand in a ticket."""
    rows = db.session.scalars(
        select(TicketEntry.pictures).where(TicketEntry.pictures.op("?|")(cast(list(keys), ARRAY(Text))))
    )
    return {key for named in rows for key in named}.intersection(keys)


def parcel_of(ticket_id: int) -> str:
    """Carrier and number of the parcel that goes with a ticket, the last that was told; empty when none was."""
    for done in reversed(list(steps_done(ticket_id).values())):
        if done.answers and done.answers.get("parcel_number"):
            return " ".join(str(done.answers.get(key, "")) for key in ("carrier", "parcel_number")).strip()
    return ""


def product_of(member_id: int, order_id: int | None = None) -> str:
    """What was bought, as one says it: the dearest line of an order, else of the member's last one."""
    if order_id is None:
        order_id = db.session.scalar(
            select(Order.id)
            .where(Order.member_id == member_id)
            .order_by(Order.placed_at.desc(), Order.id.desc())
            .limit(1)
        )
    if order_id is None:
        return ""
    return (
        db.session.scalar(
            select(OrderLine.title)
            .where(OrderLine.order_id == order_id)
            .order_by(OrderLine.amount.desc(), OrderLine.position)
            .limit(1)
        )
        or ""
    )


def names(staff_ids: Sequence[int | None]) -> dict[int, str]:
    """The names of staff, in one statement."""
    wanted = {i for i in staff_ids if i is not None}
    if not wanted:
        return {}
    return {row.id: row.name for row in db.session.execute(select(Staff.id, Staff.name).where(Staff.id.in_(wanted)))}


def agents() -> Sequence[Staff]:
    """The staff who may have tickets, by name."""
    everyone = db.session.scalars(select(Staff).where(Staff.disabled_at.is_(None)).order_by(Staff.name, Staff.id))
    return [person for person in everyone if handles(person.role)]


# ── Lists ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Wanted:
    """What a list is narrowed to. `assignee` is a staff id, or 0 for tickets that nobody has."""

    view: str = "live"
    q: str = ""
    kind: TicketKind | None = None
    state: TicketState | None = None
    source: TicketSource | None = None
    assignee: int | None = None
    me: int | None = None


def _view(wanted: Wanted) -> ColumnElement[bool]:
    live = Ticket.state.in_(rules.LIVE)
    match wanted.view:
        case "mine":
            return live & (Ticket.assignee_id == wanted.me)
        case "nobody":
            return live & Ticket.assignee_id.is_(None)
        case "late":
            return live & (Ticket.due_at <= clock.now())
        case "resolved":
            return Ticket.state == TicketState.RESOLVED
        case "closed":
            return Ticket.state == TicketState.CLOSED
        case "all":
            return Ticket.id.is_not(None)
        case _:
            return live


def listing(wanted: Wanted) -> Any:
    """The tickets of a view, filtered. Rows: Ticket, Member, name of who has it."""
    found: Any = (
        select(Ticket, Member, Staff.name)
        .join(Member, Member.id == Ticket.member_id)
        .outerjoin(Staff, Staff.id == Ticket.assignee_id)
        .where(_view(wanted))
    )
    if wanted.q:
        said = wanted.q.removeprefix("#")
        pattern = f"%{escaped(said)}%"
        ways = [members.sought(wanted.q), Ticket.subject.ilike(pattern)]
        if said.isascii() and said.isdigit() and len(said) < 19:
            ways.append(Ticket.id == int(said))
        found = found.where(or_(*ways))
    if wanted.kind is not None:
        found = found.where(Ticket.kind == wanted.kind)
    if wanted.state is not None:
        found = found.where(Ticket.state == wanted.state)
    if wanted.source is not None:
        found = found.where(Ticket.source == wanted.source)
    if wanted.assignee is not None:
        found = found.where(Ticket.assignee_id == wanted.assignee if wanted.assignee else Ticket.assignee_id.is_(None))
    return found


def order_of(sort: str, view: str) -> list[Any]:
    """The columns of a sort such as `-due`, the last one unique. Unknown: what is due first; of what is over, the newest."""
    columns: dict[str, Any] = {
        "due": func.coalesce(Ticket.due_at, literal(NEVER, Ticket.due_at.type), type_=Ticket.due_at.type),
        "opened": Ticket.opened_at,
        "name": func.coalesce(func.nullif(Member.nickname, ""), Member.name, type_=Member.name.type),
        "last": Ticket.last_entry_at,
    }
    over = [Ticket.last_entry_at.desc(), Ticket.id.desc()]
    return order_by(sort, columns, [Ticket.id], over if view in ("resolved", "closed") else [columns["due"], Ticket.id])


def export(found: Any, order: list[Any]) -> Sequence[Any]:
    """Every row of a listing (no more than 20,000), for a file."""
    return db.session.execute(found.order_by(*order).limit(20_000)).all()


def board(wanted: Wanted, each: int = 50) -> dict[TicketState, tuple[list[Any], int]]:
    """The columns of the board: the first tickets of each state and how many there are; what is closed, of the last days."""
    found: dict[TicketState, tuple[list[Any], int]] = {}
    for state in TicketState:
        rows = listing(Wanted("all", wanted.q, wanted.kind, state, wanted.source, wanted.assignee))
        if state is TicketState.CLOSED:
            rows = rows.where(Ticket.closed_at > clock.now() - RECENT)
        count = db.session.scalar(select(func.count()).select_from(rows.with_only_columns(Ticket.id).subquery())) or 0
        order = order_of("", "closed" if state in (TicketState.RESOLVED, TicketState.CLOSED) else "live")
        found[state] = (list(db.session.execute(rows.order_by(*order).limit(each))), count)
    return found


def of_member(member_id: int, limit: int = 5) -> Sequence[Ticket]:
    """A member's tickets, newest first."""
    return db.session.scalars(
        select(Ticket).where(Ticket.member_id == member_id).order_by(Ticket.id.desc()).limit(limit)
    ).all()


def of_member_seen(member_id: int, public_ids: Sequence[str] | None) -> Sequence[Ticket]:
    """A member's tickets, newest first; with `public_ids` only those among them."""
    found = select(Ticket).where(Ticket.member_id == member_id).order_by(Ticket.id.desc()).limit(100)
    if public_ids is not None:
        found = found.where(Ticket.public_id.in_(list(public_ids)))
    return db.session.scalars(found).all()


def order_of_member(member_id: int, number: str) -> int | None:
    """The id of a member's order by its number, None when no order of theirs has it."""
    return db.session.scalar(
        select(Order.id)
        .where(Order.member_id == member_id, Order.external_id == number.strip().removeprefix("#"))
        .order_by(Order.placed_at.desc())
        .limit(1)
    )


@dataclass(frozen=True)
class Tallies:
    """How many live tickets there are: of somebody, of nobody, late ones, and returns that are not back in time."""

    mine: int
    nobody: int
    late: int
    live: int
    returns: int
    resolved: int


def tallies(staff_id: int | None) -> Tallies:
    now = clock.now()
    live = Ticket.state.in_(rules.LIVE)
    row = db.session.execute(
        select(
            func.count().filter(live, Ticket.assignee_id == staff_id),
            func.count().filter(live, Ticket.assignee_id.is_(None)),
            func.count().filter(live, Ticket.due_at <= now),
            func.count().filter(live),
            func.count().filter(live, Ticket.return_due_at <= now),
            func.count().filter(Ticket.state == TicketState.RESOLVED),
        ).where(Ticket.state != TicketState.CLOSED)
    ).one()
    return Tallies(*row)


# ── Who is on ───────────────────────────────────────────────────────────────────────────────────────────────────────


def presence_of(staff_id: int) -> AgentPresence | None:
    return db.session.get(AgentPresence, staff_id, populate_existing=True)


def agents_on() -> Sequence[Any]:
    """Who is on: staff_id, open (tickets in hand that wait for the desk), cap (their own or None), last_at (last given)."""
    in_hand = (
        select(
            Ticket.assignee_id.label("staff_id"),
            func.count().filter(Ticket.state == TicketState.OPEN).label("open"),
            func.max(Ticket.assigned_at).label("last_at"),
        )
        .where(Ticket.state.in_(rules.LIVE))
        .group_by(Ticket.assignee_id)
        .subquery()
    )
    roles = [role for role in Role if handles(role)]
    return db.session.execute(
        select(
            AgentPresence.staff_id,
            func.coalesce(in_hand.c.open, 0).label("open"),
            AgentPresence.ticket_cap.label("cap"),
            in_hand.c.last_at,
        )
        .join(Staff, Staff.id == AgentPresence.staff_id)
        .outerjoin(in_hand, in_hand.c.staff_id == AgentPresence.staff_id)
        .where(AgentPresence.is_on, Staff.disabled_at.is_(None), Staff.role.in_(roles))
        .order_by(AgentPresence.staff_id)
    ).all()


def roster() -> Sequence[Any]:
    """The staff who may have tickets: Staff, AgentPresence or None, open, waiting."""
    return db.session.execute(
        select(
            Staff,
            AgentPresence,
            func.count(Ticket.id).filter(Ticket.state == TicketState.OPEN),
            func.count(Ticket.id).filter(Ticket.state == TicketState.WAITING),
        )
        .outerjoin(AgentPresence, AgentPresence.staff_id == Staff.id)
        .outerjoin(Ticket, and_(Ticket.assignee_id == Staff.id, Ticket.state.in_(rules.LIVE)))
        .where(Staff.disabled_at.is_(None), Staff.role.in_([role for role in Role if handles(role)]))
        .group_by(Staff.id, AgentPresence.staff_id)
        .order_by(Staff.name, Staff.id)
    ).all()


# ── Saved answers ───────────────────────────────────────────────────────────────────────────────────────────────────


def _own(staff_id: int) -> ColumnElement[bool]:
    return or_(Macro.owner_id.is_(None), Macro.owner_id == staff_id)


def get_macro(macro_id: int, staff_id: int) -> Macro:
    """A saved answer that is everybody's or one's own, or `NotFound`."""
    found = db.session.scalar(select(Macro).where(Macro.id == macro_id, _own(staff_id)))
    if found is None:
        raise NotFound
    return found


def _said(words: str, *columns: Any) -> list[ColumnElement[bool]]:
    found = []
    for word in words.split()[:8]:
        pattern = f"%{escaped(word)}%"
        found.append(or_(*(column.ilike(pattern) for column in columns)))
    return found


def macros(staff_id: int, q: str = "", kind: TicketKind | None = None) -> Any:
    """Saved answers that are everybody's or one's own, searched in title and text."""
    found: Any = select(Macro).where(_own(staff_id), *_said(q, Macro.title, Macro.body))
    if kind is not None:
        found = found.where(Macro.kind == kind)
    return found


@dataclass(frozen=True)
class Phrase:
    """Something to say, found while typing: a saved answer or a script."""

    title: str
    body: str
    macro_id: int | None = None
    script_id: int | None = None
    customer_type: CustomerType | None = None


def phrases(
    staff_id: int,
    role: Role,
    q: str = "",
    kind: TicketKind | None = None,
    customer_type: CustomerType | None = None,
    most: int = 8,
) -> list[Phrase]:
    """Saved answers first (those of the kind, then the most used), then scripts of the type of customer and one's voice.

    Without words, what fits the case at hand; with words, whatever holds all of them.
    """
    saved = macros(staff_id, q)
    if not q:
        saved = saved.where(or_(Macro.kind.is_(None), Macro.kind == kind))
    fits = (Macro.kind == kind).is_(True) if kind is not None else Macro.kind.is_(None)
    found = [
        Phrase(macro.title, macro.body, macro.id)
        for macro in db.session.scalars(saved.order_by(fits.desc(), Macro.used.desc(), Macro.id).limit(most))
    ]
    told = select(Script).where(
        Script.voice.in_(("", role.value)),
        or_(Script.owner_id.is_(None), Script.owner_id == staff_id),
        *_said(q, Script.title, Script.body),
    )
    if customer_type is not None:
        told = told.where(or_(Script.customer_type.is_(None), Script.customer_type == customer_type))
        own = (Script.customer_type == customer_type).is_(True)
    else:
        own = Script.customer_type.is_(None)
    scripts = db.session.scalars(
        told.order_by(own.desc(), (Script.voice == role.value).desc(), Script.used.desc(), Script.id).limit(most)
    )
    found += [Phrase(script.title, script.body, None, script.id, script.customer_type) for script in scripts]
    return found[: 2 * most] if q else found[:most]


# ── What came of them ───────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Row:
    """What tickets of a period came to. Times are working minutes, medians; `None` where there is nothing to count."""

    key: str
    opened: int
    resolved: int
    answer: float | None
    answer_kept: int
    answered: int
    resolution: float | None
    resolution_kept: int
    rated: int
    stars: float | None
    content: int
    reopened: int


_COUNTS = """
    count(*),
    count(*) FILTER (WHERE t.resolution_minutes IS NOT NULL),
    percentile_cont(0.5) WITHIN GROUP (ORDER BY t.answered_minutes) FILTER (WHERE t.answered_minutes IS NOT NULL),
    count(*) FILTER (WHERE t.answered_minutes <= t.answer_minutes),
    count(*) FILTER (WHERE t.answered_minutes IS NOT NULL),
    percentile_cont(0.5) WITHIN GROUP (ORDER BY t.resolution_minutes) FILTER (WHERE t.resolution_minutes IS NOT NULL),
    count(*) FILTER (WHERE t.resolution_minutes <= t.resolve_minutes),
    count(t.satisfaction), avg(t.satisfaction)::float, count(*) FILTER (WHERE t.satisfaction >= 4),
    count(*) FILTER (WHERE t.reopened > 0)
"""
_PERIOD = "FROM ticket t WHERE t.opened_at >= :since AND t.opened_at < :until"
_ALL = text(f"SELECT '' AS key, {_COUNTS} {_PERIOD}")
_BY_KIND = text(f"SELECT t.kind AS key, {_COUNTS} {_PERIOD} GROUP BY t.kind ORDER BY 2 DESC, 1")
_BY_STAFF = text(
    f"SELECT coalesce(t.resolved_by_id, t.assignee_id)::text AS key, {_COUNTS} {_PERIOD} "
    "AND coalesce(t.resolved_by_id, t.assignee_id) IS NOT NULL GROUP BY 1 ORDER BY 3 DESC, 1"
)


def results(since: datetime, until: datetime) -> tuple[Row, list[Row], list[Row]]:
    """What the tickets opened in `[since, until)` came to: all of them, by kind, and by who resolved (else has) them."""
    period = {"since": since, "until": until}
    return (
        Row(*db.session.execute(_ALL, period).one()),
        [Row(*row) for row in db.session.execute(_BY_KIND, period)],
        [Row(*row) for row in db.session.execute(_BY_STAFF, period)],
    )


def people(q: str, most: int = 10) -> Sequence[Member]:
    """Customers that fit what was typed, to open a ticket for one of them."""
    return db.session.scalars(members.live().where(members.sought(q)).order_by(Member.id.desc()).limit(most)).all()


def macro_order() -> list[Any]:
    """By kind, those of every kind first, then by title."""
    return [func.coalesce(cast(Macro.kind, Text), "", type_=Text()), Macro.title, Macro.id]


def listed(state: TicketState | None, kind: TicketKind | None, member_id: int | None) -> Any:
    """The tickets of the REST interface."""
    found = select(Ticket)
    if state is not None:
        found = found.where(Ticket.state == state)
    if kind is not None:
        found = found.where(Ticket.kind == kind)
    if member_id is not None:
        found = found.where(Ticket.member_id == member_id)
    return found


def signatures(staff_ids: Sequence[int | None], locale: str) -> dict[int, str]:
    """How staff sign before a customer, in one statement."""
    wanted = {i for i in staff_ids if i is not None}
    if not wanted:
        return {}
    everyone = db.session.scalars(select(Staff).where(Staff.id.in_(wanted)))
    return {person.id: desk_labels.agent_name(person, locale) for person in everyone}


def answered_for(member_id: int) -> int:
    """How many of a member's tickets were answered and wait for them."""
    return (
        db.session.scalar(
            select(func.count()).where(Ticket.member_id == member_id, Ticket.state == TicketState.WAITING)
        )
        or 0
    )
