"""The seat book: the one place where seats are counted, given out and taken back.

Everything here happens while the rows of the groups concerned are locked, so that one act after the other sees the whole
truth. A book is opened for some groups, told what to do, and written down once, with a handful of statements however many
acts it holds: a thousand people who tap at once are a few books, gathered by `kernel.group_commit`.

Within one book the order is: holds that ran out end, stays that end free their seats, the first of the waiting list are
invited to whatever is free, and only then newcomers are looked at. Nobody is passed over that way, and a hold needs no
sweep to end.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache
from typing import Any

from sqlalchemy import Connection, TextClause, insert, text

from kernel import clock, events
from kernel.errors import Refusal
from kernel.events import Event
from kernel.group_commit import More, nothing_more
from kernel.i18n import date_time, forced_locale
from kernel.i18n import gettext as _
from kernel.notices import Notice, NoticeWritten

from .. import rules
from ..events import MemberInvitedFromQueue, MemberJoinedGroup, MemberLeftGroup, MemberMovedGroup, MemberQueued
from ..models import GroupState, SeatState

# Not the stronger FOR UPDATE: rows that only point at a group, such as posts, need not wait for its seats.
LOCK_GROUPS = text(
    "SELECT id, public_id, name, state, opens_at, closes_at, capacity, seats_each, seated, queued, last_number, hold_minutes, "
    'invite_hours FROM "group" WHERE id = ANY(CAST(:ids AS bigint[])) ORDER BY id FOR NO KEY UPDATE'
)
# Most of the time no hold has run out: a look at the index says so, and nothing is written.
SUB_GROUPS = text(
    "SELECT id, group_id, number, seats, seated, group_id IN (SELECT seat.group_id FROM seat "
    "WHERE seat.group_id = ANY(CAST(:ids AS bigint[])) AND state = 'held' AND held_until <= :now) AS holds_over "
    "FROM sub_group WHERE group_id = ANY(CAST(:ids AS bigint[])) ORDER BY group_id, number"
)
LAPSE_HOLDS = text(
    "UPDATE seat SET state = 'lapsed', ended_at = held_until, end_reason = 'lapsed' "
    "WHERE group_id = ANY(CAST(:ids AS bigint[])) AND state = 'held' AND held_until <= :now "
    "RETURNING group_id, sub_group_id, member_id"
)
LAPSE_INVITATIONS = text(
    "UPDATE waiting SET state = 'lapsed', ended_at = :now "
    "FROM unnest(CAST(:groups AS bigint[]), CAST(:members AS bigint[])) AS gone (group_id, member_id) "
    "WHERE waiting.group_id = gone.group_id AND waiting.member_id = gone.member_id AND state = 'invited'"
)
_SEATS = (
    "SELECT seat.id, seat.group_id, seat.sub_group_id, seat.member_id, state, role, held_until, barred, CAST(NULL AS bigint) AS number "
    "FROM seat JOIN unnest(CAST(:groups AS bigint[]), CAST(:members AS bigint[])) AS asked (group_id, member_id) "
    "ON seat.group_id = asked.group_id AND seat.member_id = asked.member_id "
    "WHERE (state IN ('held', 'taken') OR barred)"
)
SEATS_OF = text(f"{_SEATS} ORDER BY seat.id")
# Where somebody waits, the numbers of those who ask come with their seats.
SEATS_AND_NUMBERS_OF = text(
    f"{_SEATS} UNION ALL SELECT waiting.id, waiting.group_id, NULL, waiting.member_id, 'queued', NULL, NULL, false, number FROM waiting "  # noqa: S608
    "JOIN unnest(CAST(:groups AS bigint[]), CAST(:members AS bigint[])) AS asked (group_id, member_id) "
    "ON waiting.group_id = asked.group_id AND waiting.member_id = asked.member_id WHERE state = 'queued' ORDER BY 1"
)
WAITING_OF = text(
    "SELECT waiting.id, waiting.group_id, waiting.member_id, number FROM waiting "
    "JOIN unnest(CAST(:groups AS bigint[]), CAST(:members AS bigint[])) AS asked (group_id, member_id) "
    "ON waiting.group_id = asked.group_id AND waiting.member_id = asked.member_id WHERE state = 'queued'"
)
FIRST_WAITING = text(
    "SELECT waiting.id, member_id, number, locale FROM waiting JOIN member ON member.id = member_id "
    "WHERE group_id = :group AND state = 'queued' ORDER BY number LIMIT :count"
)
INVITE = text(
    "UPDATE waiting SET state = 'invited', invited_at = :now, invited_until = asked.until "
    "FROM unnest(CAST(:ids AS bigint[]), CAST(:untils AS timestamptz[])) AS asked (id, until) "
    "WHERE waiting.id = asked.id AND state = 'queued'"
)
OPEN_SUB_GROUPS = text(
    "INSERT INTO sub_group (group_id, number, seats, seated) "
    "SELECT * FROM unnest(CAST(:groups AS bigint[]), CAST(:numbers AS bigint[]), CAST(:seats AS bigint[]), CAST(:seated AS bigint[])) "
    "RETURNING id, group_id, number"
)
# Counters and new seats, which every join writes, go over in one statement.
WRITE_SEATS = text(
    "WITH sub_groups AS ("
    "UPDATE sub_group SET seated = seated + change, seats = sub_group.seats + more "
    "FROM unnest(CAST(:sub_group_ids AS bigint[]), CAST(:changes AS bigint[]), CAST(:mores AS bigint[])) "
    "AS counted (id, change, more) WHERE sub_group.id = counted.id RETURNING 1"
    "), groups AS ("
    'UPDATE "group" SET seated = seated + change, queued = queued + queue, last_number = greatest(last_number, last) '
    "FROM unnest(CAST(:group_ids AS bigint[]), CAST(:group_changes AS bigint[]), CAST(:queues AS bigint[]), "
    "CAST(:lasts AS bigint[])) "
    'AS counted (id, change, queue, last) WHERE "group".id = counted.id RETURNING 1'
    "), seats AS ("
    "INSERT INTO seat (group_id, sub_group_id, member_id, state, role, source, inviter_id, staff_id, link_id, held_until, held_at, "
    "joined_at, barred) SELECT group_id, sub_group_id, member_id, state, 'member', source, inviter_id, staff_id, link_id, held_until, "
    ":now, CASE WHEN state = 'taken' THEN CAST(:now AS timestamptz) END, false "
    "FROM unnest(CAST(:groups AS bigint[]), CAST(:sub_groups AS bigint[]), CAST(:members AS bigint[]), CAST(:states AS text[]), "
    "CAST(:sources AS text[]), CAST(:inviters AS bigint[]), CAST(:staff AS bigint[]), CAST(:links AS bigint[]), "
    "CAST(:untils AS timestamptz[])) "
    "AS fresh (group_id, sub_group_id, member_id, state, source, inviter_id, staff_id, link_id, held_until) "
    "RETURNING id, group_id, member_id, state, source, staff_id, inviter_id) /* telling */"
    "SELECT id, group_id, member_id FROM seats "
    "UNION ALL SELECT NULL, (SELECT count(*) FROM sub_groups), (SELECT count(*) FROM groups)"
)
# Who has taken a fresh seat, for the event that says so.
JOINED = "SELECT seats.*, id AS seat_id FROM seats WHERE state = 'taken'"
TAKE_SEATS = text(
    "UPDATE seat SET state = 'taken', joined_at = :now, source = CASE WHEN asked.source = '' THEN seat.source ELSE asked.source END, "
    "inviter_id = coalesce(asked.inviter_id, seat.inviter_id), staff_id = coalesce(asked.staff_id, seat.staff_id), "
    "link_id = coalesce(asked.link_id, seat.link_id) "
    "FROM unnest(CAST(:ids AS bigint[]), CAST(:sources AS text[]), CAST(:inviters AS bigint[]), CAST(:staff AS bigint[]), "
    "CAST(:links AS bigint[])) AS asked (id, source, inviter_id, staff_id, link_id) WHERE seat.id = asked.id AND state = 'held'"
)
SEAT_INVITED = text(
    "UPDATE waiting SET state = 'seated', ended_at = :now "
    "FROM unnest(CAST(:groups AS bigint[]), CAST(:members AS bigint[])) AS taken (group_id, member_id) "
    "WHERE waiting.group_id = taken.group_id AND waiting.member_id = taken.member_id AND state = 'invited'"
)
_INSERT_WAITING = (
    "INSERT INTO waiting (group_id, member_id, number, state, queued_at) SELECT group_id, member_id, number, 'queued', :now "
    "FROM unnest(CAST(:groups AS bigint[]), CAST(:members AS bigint[]), CAST(:numbers AS bigint[])) AS fresh (group_id, member_id, number)"
)
INSERT_WAITING = text(_INSERT_WAITING)
# What a full group writes when many tap at once: numbers, and no seat.
WRITE_NUMBERS = text(
    "WITH groups AS ("  # noqa: S608
    'UPDATE "group" SET queued = queued + queue, last_number = greatest(last_number, last) '
    "FROM unnest(CAST(:group_ids AS bigint[]), CAST(:queues AS bigint[]), CAST(:lasts AS bigint[])) AS counted (id, queue, last) "
    'WHERE "group".id = counted.id RETURNING 1'
    f"), waits AS ({_INSERT_WAITING} RETURNING group_id, member_id, number) /* telling */"
    "SELECT (SELECT count(*) FROM groups), (SELECT count(*) FROM waits)"
)
END_SEATS = text(
    "UPDATE seat SET state = asked.state, ended_at = :now, end_reason = asked.reason, barred = asked.barred "
    "FROM unnest(CAST(:ids AS bigint[]), CAST(:states AS text[]), CAST(:reasons AS text[]), CAST(:bars AS boolean[])) "
    "AS asked (id, state, reason, barred) WHERE seat.id = asked.id AND seat.state IN ('held', 'taken')"
)
END_WAITING = text(
    "UPDATE waiting SET state = 'lapsed', ended_at = :now WHERE id = ANY(CAST(:ids AS bigint[])) AND state = 'queued'"
)
HOLDS = text(
    "SELECT id, group_id, sub_group_id, member_id, state, role, held_until, barred FROM seat "
    "WHERE group_id = :group AND state = 'held'"
)
DISSOLVE_QUEUE = text(
    "UPDATE waiting SET state = 'lapsed', ended_at = :now FROM member "
    "WHERE member.id = waiting.member_id AND group_id = :group AND state = 'queued' RETURNING waiting.member_id, member.locale"
)
COUNT_LINKS = text(
    "UPDATE join_link SET joined = joined + n FROM unnest(CAST(:ids AS bigint[]), CAST(:counts AS bigint[])) AS counted (id, n) "
    "WHERE join_link.id = counted.id"
)


@cache
def _telling(statement: TextClause, event_type: type[Event], rows: str) -> TextClause:
    """A statement with the part that publishes an event for each of some rows: only once the program runs is it known who
    listens to what."""
    told = events.publishing(
        event_type, "of_these", now="CAST(:now AS timestamptz)", subscribers="CAST(:subscribers AS text[])"
    )
    return text(statement.text.replace("/* telling */", f", of_these AS ({rows}), {told} "))


def _array(values: list[Any]) -> str:
    """A list as the text of an array, for statements that say the type: the driver would write it value by value."""
    return "{" + ",".join([_item(value) for value in values]) + "}"


def _item(value: Any) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, int):
        return str(value)
    words = value.isoformat() if isinstance(value, datetime) else value
    if not words.isalnum():
        words = words.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{words}"'


class BookDisagrees(Exception):
    """A statement under the lock touched another number of rows than the book foresaw: the transaction must not commit."""


@dataclass(frozen=True)
class Ask:
    """Somebody wants a seat: to take it at once, or with `only_hold` to have it kept for the group's hold time."""

    group_id: int
    member_id: int
    only_hold: bool = False
    source: str = ""
    inviter_id: int | None = None
    staff_id: int | None = None
    link_id: int | None = None


@dataclass
class Answer:
    """What became of an ask: a refusal, a seat (`seat_id`), or a number on the waiting list (`number`)."""

    fresh: bool = False
    refusal: Refusal | None = None
    seat_id: int = 0
    sub_group_number: int = 0
    held_until: datetime | None = None
    number: int | None = None


@dataclass
class _SubGroup:
    id: int | None
    number: int
    seats: int
    seated: int
    change: int = 0
    more: int = 0

    @property
    def room(self) -> int:
        return self.seats - self.seated


@dataclass
class _Seat:
    group: _Group
    sub_group: _SubGroup
    member_id: int
    state: SeatState
    # 0 until the row has been written.
    id: int = 0
    held_until: datetime | None = None
    role: str = "member"
    source: str = ""
    inviter_id: int | None = None
    staff_id: int | None = None
    link_id: int | None = None


@dataclass
class _Group:
    id: int
    public_id: str
    name: str
    state: GroupState
    closes_at: datetime | None
    capacity: int
    seats_each: int
    seated: int
    queued: int
    last_number: int
    hold: timedelta
    invitation: timedelta
    sub_groups: list[_SubGroup] = field(default_factory=list)
    change: int = 0
    queue_change: int = 0
    lowest: int = 0

    def until(self, now: datetime, span: timedelta) -> datetime:
        """The end of a hold: it never outlives the group's own closing."""
        return min(now + span, self.closes_at) if self.closes_at else now + span

    def find_room(self) -> _SubGroup | None:
        """The lowest-numbered sub-group with room; a new one opens when all are full and the capacity allows it."""
        # Rooms only get fewer while seats are given out, so each search goes on from where the last one ended.
        while self.lowest < len(self.sub_groups):
            found = self.sub_groups[self.lowest]
            if found.room > 0:
                return found
            self.lowest += 1
        number = len(self.sub_groups) + 1
        seats = rules.sub_group_seats(number, self.capacity, self.seats_each)
        if seats == 0 or number > rules.MOST_SUB_GROUPS:
            return None
        opened = _SubGroup(id=None, number=number, seats=seats, seated=0)
        self.sub_groups.append(opened)
        return opened

    def free(self) -> int:
        return self.capacity - self.seated


class Book:
    """The seats of some groups, locked until the end of the transaction of `connection`."""

    def __init__(self, connection: Connection, group_ids: Iterable[int]) -> None:
        self.connection = connection
        self.groups: dict[int, _Group] = {}
        self._ids = sorted(set(group_ids))
        self._fresh: list[_Seat] = []
        self._taken: list[tuple[_Seat, Ask]] = []
        self._ended: list[tuple[_Seat, SeatState, str, bool]] = []
        self._queued: list[tuple[_Group, int, int]] = []
        self._unqueued: list[tuple[_Group, int]] = []
        self._invited: list[tuple[_Group, int, int, int, datetime, str]] = []
        self._lapsed_invitations: list[tuple[int, int]] = []
        self._links: Counter[int] = Counter()
        self._events: list[Event] = []
        self._notices: list[dict[str, Any]] = []
        self._answers: list[tuple[Answer, _Seat]] = []
        self._open()

    # ── Reading ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def _run(self, statement: Any, **values: Any) -> Any:
        sent = {name: _array(value) if isinstance(value, list) else value for name, value in values.items()}
        return self.connection.execute(statement, sent)

    def _open(self) -> None:
        rows = self._run(LOCK_GROUPS, ids=self._ids).all()
        # Asked only once the lock is held: whoever waited for it past the closing comes too late.
        self.now = clock.now()
        for row in rows:
            self.groups[row.id] = _Group(
                id=row.id,
                public_id=row.public_id,
                name=row.name,
                state=rules.state_at(GroupState(row.state), row.opens_at, row.closes_at, self.now),
                closes_at=row.closes_at,
                capacity=row.capacity,
                seats_each=row.seats_each,
                seated=row.seated,
                queued=row.queued,
                last_number=row.last_number,
                hold=timedelta(minutes=row.hold_minutes),
                invitation=timedelta(hours=row.invite_hours),
            )
        self._by_sub_group: dict[int, tuple[_Group, _SubGroup]] = {}
        holds_over = False
        for row in self._run(SUB_GROUPS, ids=self._ids, now=self.now):
            group = self.groups[row.group_id]
            sub_group = _SubGroup(id=row.id, number=row.number, seats=row.seats, seated=row.seated)
            group.sub_groups.append(sub_group)
            self._by_sub_group[row.id] = (group, sub_group)
            holds_over = holds_over or row.holds_over
        if holds_over:
            self._lapse()

    def _lapse(self) -> None:
        """End the holds that ran out: the clock did, this writes it down and counts it."""
        for row in self._run(LAPSE_HOLDS, ids=self._ids, now=self.now):
            group, sub_group = self._by_sub_group[row.sub_group_id]
            self._give_back(group, sub_group)
            self._lapsed_invitations.append((row.group_id, row.member_id))
        if self._lapsed_invitations:
            groups, members = zip(*self._lapsed_invitations, strict=True)
            self._run(LAPSE_INVITATIONS, groups=list(groups), members=list(members), now=self.now)

    def _give_back(self, group: _Group, sub_group: _SubGroup) -> None:
        sub_group.seated -= 1
        sub_group.change -= 1
        group.seated -= 1
        group.change -= 1
        group.lowest = 0

    # ── Acts ────────────────────────────────────────────────────────────────────────────────────────────────────────

    def raise_capacity(self, group_id: int, capacity: int) -> None:
        """Let a group grow: its last sub-group fills up to the full size first, further ones open when they are needed."""
        group = self.groups[group_id]
        group.capacity = capacity
        for sub_group in group.sub_groups:
            seats = rules.sub_group_seats(sub_group.number, capacity, group.seats_each)
            sub_group.more += seats - sub_group.seats
            sub_group.seats = seats
        group.lowest = 0

    def reopen(self, group_id: int, state: GroupState) -> None:
        """Go on in a state that this same transaction gives the group."""
        self.groups[group_id].state = state

    def seats_of(self, pairs: Sequence[tuple[int, int]]) -> dict[tuple[int, int], _Seat]:
        """The live seat of each (group, member) that has one."""
        return self._seats(pairs)[0]

    def _seats(
        self, pairs: Sequence[tuple[int, int]], numbers: dict[tuple[int, int], int] | None = None
    ) -> tuple[dict[tuple[int, int], _Seat], set[tuple[int, int]]]:
        """The live seats of these people, and who of them is barred; `numbers` is given theirs on the waiting lists too."""
        live: dict[tuple[int, int], _Seat] = {}
        barred: set[tuple[int, int]] = set()
        if not pairs:
            return live, barred
        groups, members = zip(*pairs, strict=True)
        invited = {entry[3] for entry in self._invited}
        statement = SEATS_OF if numbers is None else SEATS_AND_NUMBERS_OF
        for row in self._run(statement, groups=list(groups), members=list(members)):
            key = (row.group_id, row.member_id)
            if numbers is not None and row.number is not None:
                if row.id not in invited:
                    numbers[key] = row.number
                continue
            if row.barred:
                barred.add(key)
            if row.state in (SeatState.HELD, SeatState.TAKEN):
                group, sub_group = self._by_sub_group[row.sub_group_id]
                live[key] = _Seat(
                    group, sub_group, row.member_id, SeatState(row.state), row.id, row.held_until, row.role
                )
        return live, barred

    def end(self, seat: _Seat, state: SeatState, reason: str, barred: bool = False) -> None:
        """End a stay; the seat is free from here on."""
        self._ended.append((seat, state, reason, barred))
        self._give_back(seat.group, seat.sub_group)
        if seat.state is SeatState.HELD:
            self._run(LAPSE_INVITATIONS, groups=[seat.group.id], members=[seat.member_id], now=self.now)
        elif state is not SeatState.MOVED:
            self._events.append(MemberLeftGroup(member_id=seat.member_id, group_id=seat.group.id, reason=reason))

    def move(self, seat: _Seat, to_group_id: int, reason: str) -> None:
        """End a stay for one in another group, which is asked for apart."""
        taken = seat.state is SeatState.TAKEN
        self.end(seat, SeatState.MOVED if taken else SeatState.LAPSED, reason)
        if taken:
            self._events.append(
                MemberMovedGroup(
                    member_id=seat.member_id, group_id=seat.group.id, to_group_id=to_group_id, reason=reason
                )
            )

    def leave_queue(self, group_id: int, member_id: int) -> bool:
        """Give up a number on the waiting list; whether there was one."""
        rows = self._run(WAITING_OF, groups=[group_id], members=[member_id]).all()
        for row in rows:
            self._unqueue(self.groups[group_id], row.id)
        return bool(rows)

    def dissolve(self, group_id: int, body: Any) -> None:
        """End every hold and the waiting list of a group that closes, and tell those who waited."""
        group = self.groups[group_id]
        for row in self._run(HOLDS, group=group_id).all():
            sub_group = self._by_sub_group[row.sub_group_id][1]
            self.end(_Seat(group, sub_group, row.member_id, SeatState.HELD, row.id), SeatState.LAPSED, "closed")
        gone = self._run(DISSOLVE_QUEUE, group=group_id, now=self.now).all()
        group.queued -= len(gone)
        group.queue_change -= len(gone)
        for row in gone:
            with forced_locale(row.locale):
                self._tell(
                    group, row.member_id, "group.closed", _("“%(group)s” has closed", group=group.name), str(body)
                )

    def _tell(self, group: _Group, member_id: int, kind: str, title: str, body: str) -> None:
        """Keep a notice for `write`: not through `kernel.notices.tell`, which needs the session."""
        self._notices.append(
            {
                "member_id": member_id,
                "kind": kind,
                "title": title,
                "body": body,
                "path": f"/groups/{group.public_id}",
                "created_at": self.now,
            }
        )

    def _unqueue(self, group: _Group, waiting_id: int) -> None:
        self._unqueued.append((group, waiting_id))
        group.queued -= 1
        group.queue_change -= 1

    def invite(self) -> None:
        """Keep every free seat for the first of the waiting list, and tell them.

        A group that lets nobody in keeps its list as it is.
        """
        gone = {waiting_id for _group, waiting_id in self._unqueued}
        for group in self.groups.values():
            count = min(group.free(), group.queued)
            if count <= 0 or group.state is not GroupState.OPEN:
                continue
            until = group.until(self.now, group.invitation)
            rows = self._run(FIRST_WAITING, group=group.id, count=count + len(gone)).all()
            for row in [row for row in rows if row.id not in gone][:count]:
                self._seat(group, row.member_id, SeatState.HELD, until, source="waiting-list")
                group.queued -= 1
                group.queue_change -= 1
                self._invited.append((group, row.member_id, row.number, row.id, until, row.locale))

    def _seat(
        self,
        group: _Group,
        member_id: int,
        state: SeatState,
        until: datetime | None,
        ask: Ask | None = None,
        source: str = "",
    ) -> _Seat | None:
        sub_group = group.find_room()
        if sub_group is None:
            return None
        seat = _Seat(group, sub_group, member_id, state, held_until=until, source=source)
        if ask is not None:
            seat.source, seat.inviter_id, seat.staff_id = ask.source, ask.inviter_id, ask.staff_id
            seat.link_id = ask.link_id
        sub_group.seated += 1
        sub_group.change += 1
        group.seated += 1
        group.change += 1
        self._fresh.append(seat)
        return seat

    def answer(self, asks: Sequence[Ask]) -> list[Answer]:
        """Look at each ask in order. The answers are whole once the book has been written."""
        pairs = list(dict.fromkeys((ask.group_id, ask.member_id) for ask in asks if ask.group_id in self.groups))
        numbers: dict[tuple[int, int], int] = {}
        live, barred = self._seats(pairs, numbers if any(group.queued for group in self.groups.values()) else None)
        live.update({(s.group.id, s.member_id): s for s in self._fresh})
        return [self._answer(ask, live, barred, numbers) for ask in asks]

    def _answer(
        self,
        ask: Ask,
        live: dict[tuple[int, int], _Seat],
        barred: set[tuple[int, int]],
        numbers: dict[tuple[int, int], int],
    ) -> Answer:
        group = self.groups.get(ask.group_id)
        if group is None:
            return Answer(refusal=rules.GroupClosed())
        key = (ask.group_id, ask.member_id)
        seat = live.get(key)
        if seat is not None and (seat.state is SeatState.TAKEN or ask.only_hold):
            return self._show(seat, fresh=False)
        if key in barred:
            return Answer(refusal=rules.Barred())
        if refusal := rules.entry_refusal(group.state, keeps_seat=seat is not None):
            return Answer(refusal=refusal)
        if seat is not None:
            return self._take(seat, ask)
        if key in numbers:
            return Answer(refusal=rules.GroupFull()) if ask.only_hold else Answer(number=numbers[key])
        # Whoever still waits here goes first: every free seat was offered to them before.
        if group.queued == 0:
            state = SeatState.HELD if ask.only_hold else SeatState.TAKEN
            until = group.until(self.now, group.hold) if ask.only_hold else None
            seat = self._seat(group, ask.member_id, state, until, ask)
            if seat is not None:
                live[key] = seat
                if state is SeatState.TAKEN and ask.link_id is not None:
                    self._links[ask.link_id] += 1
                return self._show(seat, fresh=True)
        if ask.only_hold:
            return Answer(refusal=rules.GroupFull())
        group.last_number += 1
        group.queued += 1
        group.queue_change += 1
        numbers[key] = group.last_number
        self._queued.append((group, ask.member_id, group.last_number))
        return Answer(fresh=True, number=group.last_number)

    def _take(self, seat: _Seat, ask: Ask) -> Answer:
        seat.state = SeatState.TAKEN
        if not seat.id:
            # Held and taken within one book: the row is written once, as taken.
            seat.held_until = None
            seat.source = ask.source or seat.source
            seat.inviter_id, seat.staff_id = ask.inviter_id or seat.inviter_id, ask.staff_id or seat.staff_id
            seat.link_id = ask.link_id or seat.link_id
        else:
            self._taken.append((seat, ask))
        if ask.link_id is not None:
            self._links[ask.link_id] += 1
        return self._show(seat, fresh=True)

    def _show(self, seat: _Seat, fresh: bool) -> Answer:
        held_until = seat.held_until if seat.state is SeatState.HELD else None
        answer = Answer(fresh=fresh, sub_group_number=seat.sub_group.number, held_until=held_until)
        self._answers.append((answer, seat))
        return answer

    # ── Writing ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def write(self) -> None:
        """Write everything down, and complete the answers."""
        self._write_ends()
        if self._queued and not (self._fresh or self._taken or self._invited or self._counts_seats()):
            self._write_numbers()
        else:
            self._write_seats()
            self._write_queue()
        if self._links:
            self._run(COUNT_LINKS, ids=list(self._links), counts=list(self._links.values()))
        self._write_notices()
        if self._events:
            events.write(self.connection, self._events)
        for answer, seat in self._answers:
            answer.seat_id = seat.id

    def _expect(self, result: Any, count: int) -> None:
        if result.rowcount != count:
            raise BookDisagrees(f"{result.rowcount} rows instead of {count}")

    def _write_ends(self) -> None:
        if self._ended:
            result = self._run(
                END_SEATS,
                ids=[seat.id for seat, *_rest in self._ended],
                states=[state.value for _seat, state, *_rest in self._ended],
                reasons=[reason for *_rest, reason, _barred in self._ended],
                bars=[barred for *_rest, barred in self._ended],
                now=self.now,
            )
            self._expect(result, len(self._ended))
        if self._unqueued:
            result = self._run(END_WAITING, ids=[waiting_id for _group, waiting_id in self._unqueued], now=self.now)
            self._expect(result, len(self._unqueued))

    def _open_sub_groups(self) -> None:
        opened = [(g, s) for g in self.groups.values() for s in g.sub_groups if s.id is None and s.seated]
        if opened:
            rows = self._run(
                OPEN_SUB_GROUPS,
                groups=[g.id for g, _ in opened],
                numbers=[s.number for _, s in opened],
                seats=[s.seats for _, s in opened],
                seated=[s.change for _, s in opened],
            )
            ids = {(row.group_id, row.number): row.id for row in rows}
            for group, sub_group in opened:
                sub_group.id = ids[group.id, sub_group.number]
                sub_group.change = 0

    def _write_seats(self) -> None:
        self._open_sub_groups()
        changed = [s for g in self.groups.values() for s in g.sub_groups if s.change or s.more]
        counted = [g for g in self.groups.values() if g.change or g.queue_change or self._queued]
        # What was said before comes first.
        telling = not self._events
        if changed or counted or self._fresh:
            rows = self._run(
                _telling(WRITE_SEATS, MemberJoinedGroup, JOINED) if telling else WRITE_SEATS,
                subscribers=events.subscribers_of(MemberJoinedGroup),
                sub_group_ids=[s.id for s in changed],
                changes=[s.change for s in changed],
                mores=[s.more for s in changed],
                group_ids=[g.id for g in counted],
                group_changes=[g.change for g in counted],
                queues=[g.queue_change for g in counted],
                lasts=[g.last_number for g in counted],
                groups=[s.group.id for s in self._fresh],
                sub_groups=[s.sub_group.id for s in self._fresh],
                members=[s.member_id for s in self._fresh],
                states=[s.state.value for s in self._fresh],
                sources=[s.source for s in self._fresh],
                inviters=[s.inviter_id for s in self._fresh],
                staff=[s.staff_id for s in self._fresh],
                links=[s.link_id for s in self._fresh],
                untils=[s.held_until for s in self._fresh],
                now=self.now,
            ).all()
            ids = {(row.group_id, row.member_id): row.id for row in rows if row.id is not None}
            wrote = next((row.group_id, row.member_id) for row in rows if row.id is None)
            foreseen = (len(changed), len(counted))
            if wrote != foreseen:
                raise BookDisagrees(f"{wrote} counters instead of {foreseen}")
            for seat in self._fresh:
                seat.id = ids[seat.group.id, seat.member_id]
        if self._taken:
            result = self._run(
                TAKE_SEATS,
                ids=[seat.id for seat, _ in self._taken],
                sources=[ask.source for _, ask in self._taken],
                inviters=[ask.inviter_id for _, ask in self._taken],
                staff=[ask.staff_id for _, ask in self._taken],
                links=[ask.link_id for _, ask in self._taken],
                now=self.now,
            )
            self._expect(result, len(self._taken))
            for seat, ask in self._taken:
                seat.source, seat.staff_id, seat.inviter_id = ask.source or seat.source, ask.staff_id, ask.inviter_id
        for seat in [*([] if telling else self._fresh), *(taken for taken, _ask in self._taken)]:
            if seat.state is SeatState.TAKEN:
                self._events.append(
                    MemberJoinedGroup(
                        member_id=seat.member_id,
                        group_id=seat.group.id,
                        seat_id=seat.id,
                        source=seat.source,
                        staff_id=seat.staff_id,
                        inviter_id=seat.inviter_id,
                    )
                )

    def _write_queue(self) -> None:
        if self._invited:
            result = self._run(
                INVITE,
                ids=[entry[3] for entry in self._invited],
                untils=[entry[4] for entry in self._invited],
                now=self.now,
            )
            self._expect(result, len(self._invited))
            self._events += [
                MemberInvitedFromQueue(member_id=member_id, group_id=group.id, number=number)
                for group, member_id, number, *_rest in self._invited
            ]
        seated = [seat for seat in [*(s for s, _ in self._taken), *self._fresh] if seat.state is SeatState.TAKEN]
        if seated and (self._taken or self._invited):
            self._run(
                SEAT_INVITED,
                groups=[seat.group.id for seat in seated],
                members=[seat.member_id for seat in seated],
                now=self.now,
            )
        if self._queued:
            self._run(INSERT_WAITING, **self._waits(), now=self.now)
            self._events += [
                MemberQueued(member_id=member_id, group_id=group.id, number=number)
                for group, member_id, number in self._queued
            ]

    def _waits(self) -> dict[str, list[int]]:
        return {
            "groups": [group.id for group, *_rest in self._queued],
            "members": [member_id for _group, member_id, _number in self._queued],
            "numbers": [number for *_rest, number in self._queued],
        }

    def _counts_seats(self) -> bool:
        """Whether a group or a sub-group has another number of seats than before."""
        return any(g.change or any(s.change or s.more for s in g.sub_groups) for g in self.groups.values())

    def _write_numbers(self) -> None:
        """Write down that some got numbers and nobody a seat, and tell it, in one statement."""
        counted = list(self.groups.values())
        wrote = self._run(
            _telling(WRITE_NUMBERS, MemberQueued, "SELECT * FROM waits"),
            subscribers=events.subscribers_of(MemberQueued),
            group_ids=[g.id for g in counted],
            queues=[g.queue_change for g in counted],
            lasts=[g.last_number for g in counted],
            **self._waits(),
            now=self.now,
        ).one()
        foreseen = (len(counted), len(self._queued))
        if tuple(wrote) != foreseen:
            raise BookDisagrees(f"{tuple(wrote)} counters and numbers instead of {foreseen}")

    def _write_notices(self) -> None:
        taken = {(s.group.id, s.member_id) for s in self._fresh if s.state is SeatState.TAKEN}
        for group, member_id, _number, _waiting_id, until, locale in self._invited:
            if (group.id, member_id) in taken:
                continue
            with forced_locale(locale):
                self._tell(
                    group,
                    member_id,
                    "group.seat_free",
                    _("A seat in “%(group)s” is yours", group=group.name),
                    _("It is kept for you until %(until)s. One tap takes it.", until=date_time(until)),
                )
        if self._notices:
            statement = insert(Notice).returning(Notice.id, sort_by_parameter_order=True)
            ids = self.connection.execute(statement, self._notices).scalars()
            self._events += [NoticeWritten(notice_id=notice_id) for notice_id in ids]


def run_batch(connection: Connection, items: Sequence[Ask], more: More[Ask] = nothing_more) -> list[Answer]:
    """Answer a batch of asks in one transaction (what `kernel.group_commit` calls).

    `more` hands over those that came for the same groups while this batch waited for the lock.
    """
    book = Book(connection, {ask.group_id for ask in items})
    asks = [*items, *more(lambda ask: ask.group_id in book.groups)]
    book.invite()
    answers = book.answer(asks)
    book.write()
    return answers
