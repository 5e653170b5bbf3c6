"""People in a vip group who no longer qualify: found, told, given time; then staff decide, and may take it back.

Nobody loses a seat by a job. The sweep only finds and tells; moving and removing is an act of staff, after the time that the
member was given, and it can be undone.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import exists, func, insert, select, update

from kernel import audit, clock
from kernel.db import changed, db
from kernel.events import publish_all
from kernel.i18n import day, forced_locale
from kernel.i18n import gettext as _
from kernel.notices import Notice, NoticeWritten
from membership.members.models import Member

from .. import labels, queries, rules, standing
from ..events import MemberDrifted
from ..models import Drift, DriftState, Group, GroupKind, GroupState, Seat, SeatRole, SeatState
from .book import Ask, Book
from .entry import before_entering, facts_of, facts_of_many

SLICE = 500
REASON = "drift"


class Decision(enum.StrEnum):
    """What staff may decide about somebody who no longer qualifies."""

    KEEP = "keep"
    MOVE = "move"
    REMOVE = "remove"


def swept_groups() -> list[int]:
    """The groups whose people have to go on meeting the rules."""
    return list(
        db.session.scalars(
            select(Group.id)
            .where(Group.kind == GroupKind.VIP, Group.state.in_([GroupState.OPEN, GroupState.PAUSED]))
            .order_by(Group.id)
        )
    )


def sweep(group_id: int) -> int:
    """Write down who recovered, left or ran out of time, and find and tell those who no longer qualify; how many of these.

    In slices: whoever is beyond the first five hundred is found by the next sweep. Owners and admins of the group are left
    alone, and so is whoever staff let stay, until that is over.
    """
    # One sweep of a group after the other: the ticker's, and that of staff who ask for one.
    db.session.execute(select(Group.id).where(Group.id == group_id).with_for_update(key_share=True))
    group = queries.get_group(group_id)
    now = clock.now()
    mine = (Drift.group_id == group.id, Drift.state.in_(standing.OPEN_DRIFT))
    sits = exists().where(Seat.id == Drift.seat_id, Seat.state == SeatState.TAKEN)
    qualifies = exists().where(Member.id == Drift.member_id, standing.meets(group))
    for condition, values in (
        (~sits, {"state": DriftState.GONE, "decided_at": now}),
        (qualifies, {"state": DriftState.RECOVERED, "decided_at": now}),
    ):
        db.session.execute(
            update(Drift).where(*mine, condition).values(**values).execution_options(synchronize_session=False)
        )
    db.session.execute(
        update(Drift)
        .where(Drift.group_id == group.id, Drift.state == DriftState.GRACE, Drift.grace_until <= now)
        .values(state=DriftState.DUE)
        .execution_options(synchronize_session=False)
    )
    return _find(group)


def _find(group: Group) -> int:
    now = clock.now()
    known = exists().where(Drift.seat_id == Seat.id, Drift.state.in_(standing.OPEN_DRIFT) | (Drift.kept_until > now))
    people = db.session.execute(
        select(Seat, Member)
        .join(Member, Member.id == Seat.member_id)
        .where(
            Seat.group_id == group.id,
            Seat.state == SeatState.TAKEN,
            Seat.role == SeatRole.MEMBER,
            Member.erased_at.is_(None),
            ~standing.meets(group),
            ~known,
        )
        .order_by(Seat.id)
        .limit(SLICE)
    ).all()
    if not people:
        return 0
    until = clock.day_bounds(clock.today() + timedelta(days=group.grace_days))[1]
    facts = facts_of_many([member for _seat, member in people], group)
    missing = {
        member_id: [dict(miss.rule) for miss in rules.drifted(known, group.kind, group.join_rule)]
        for member_id, known in facts.items()
    }
    db.session.execute(
        insert(Drift),
        [
            {
                "group_id": group.id,
                "member_id": member.id,
                "seat_id": seat.id,
                "state": DriftState.GRACE,
                "missing": missing[member.id],
                "rank": member.rank,
                "found_at": now,
                "grace_until": until,
            }
            for seat, member in people
        ],
    )
    _tell(group, [member for _seat, member in people], missing, until)
    publish_all(MemberDrifted(member_id=member.id, group_id=group.id, grace_until=until) for _seat, member in people)
    return len(people)


def _tell(
    group: Group, people: Sequence[Member], missing: Mapping[int, Sequence[Mapping[str, Any]]], until: datetime
) -> None:
    notices = []
    for member in people:
        with forced_locale(member.locale):
            notices.append(
                {
                    "member_id": member.id,
                    "kind": "group.drift",
                    "title": _("Your seat in “%(group)s”", group=group.name),
                    "body": _(
                        "The group asks for: %(asked)s. You do not have that any more; your seat is kept until %(day)s. The "
                        "group's page says what would keep it.",
                        asked=_(", ").join(labels.rule_sentence(rule) for rule in missing[member.id]),
                        day=day(until - timedelta(seconds=1)),
                    ),
                    "path": f"/groups/{group.public_id}",
                    "created_at": clock.now(),
                }
            )
    ids = db.session.execute(insert(Notice).returning(Notice.id), notices).scalars().all()
    publish_all(NoticeWritten(notice_id=notice_id) for notice_id in ids)


def drift_state(drift: Drift) -> DriftState:
    """The state of a drift by the clock."""
    return rules.drift_state_at(drift.state, drift.grace_until, clock.now())


def lacks(group: Group, member: Member) -> list[rules.Miss]:
    """What somebody inside lacks of the group's lasting rules now."""
    return rules.drifted(facts_of(member, group), group.kind, group.join_rule)


def find_drift(seat_id: int) -> Drift | None:
    """What was found about somebody who sits here, while nothing is decided; None for whoever qualifies."""
    return db.session.scalar(select(Drift).where(Drift.seat_id == seat_id, Drift.state.in_(standing.OPEN_DRIFT)))


def count_due() -> list[tuple[Group, int]]:
    """The groups in which staff have to decide, with how many people that is about."""
    rows = db.session.execute(
        select(Group, func.count())
        .join(Drift, Drift.group_id == Group.id)
        .where(standing.due_now())
        .group_by(Group.id)
        .order_by(func.count().desc(), Group.id)
        .limit(10)
    )
    return [(group, count) for group, count in rows]


def decide(group: Group, drift_ids: Sequence[int], decision: Decision, staff_id: int | None) -> int:
    """Let people stay for another time of grace, move them to the group that follows, or remove them; how many.

    Whoever was decided about meanwhile is passed over, and so is whoever left. Refuses with `StillInGrace` when nobody's
    time is over, with `NoSuccessor` when there is no open group to move them to.
    """
    now = clock.now()
    if decision is Decision.KEEP:
        kept = changed(
            db.session.execute(
                update(Drift)
                .where(Drift.group_id == group.id, Drift.id.in_(drift_ids), Drift.state.in_(standing.OPEN_DRIFT))
                .values(
                    state=DriftState.KEPT,
                    decided_at=now,
                    staff_id=staff_id,
                    kept_until=now + timedelta(days=max(1, group.grace_days)),
                )
                .execution_options(synchronize_session=False)
            )
        )
        _note(group, decision, kept)
        return kept
    successor = queries.find_group(group.successor_id) if group.successor_id else None
    if decision is Decision.MOVE and (successor is None or queries.state_of(successor) is not GroupState.OPEN):
        raise rules.NoSuccessor
    db.session.flush()
    book = Book(
        db.session.connection(), [group.id, *([successor.id] if decision is Decision.MOVE and successor else [])]
    )
    rows = db.session.execute(
        update(Drift)
        .where(Drift.group_id == group.id, Drift.id.in_(drift_ids), standing.due_now())
        .values(
            state=DriftState.MOVED if decision is Decision.MOVE else DriftState.REMOVED,
            decided_at=now,
            staff_id=staff_id,
        )
        .returning(Drift.id, Drift.member_id, Drift.seat_id)
        .execution_options(synchronize_session=False)
    ).all()
    if not rows:
        raise rules.StillInGrace
    seats = book.seats_of([(group.id, row.member_id) for row in rows])
    there = [row for row in rows if (found := seats.get((group.id, row.member_id))) and found.id == row.seat_id]
    gone = [row.id for row in rows if row not in there]
    for row in there:
        seat = seats[group.id, row.member_id]
        if decision is Decision.MOVE and successor is not None:
            book.move(seat, successor.id, REASON)
        else:
            book.end(seat, SeatState.REMOVED, _("no longer meets the group's rules"))
    book.invite()
    asks = (
        [Ask(successor.id, row.member_id, source="moved", staff_id=staff_id) for row in there]
        if successor and decision is Decision.MOVE
        else []
    )
    answers = book.answer(asks)
    # Whoever may not sit in the other group (barred there) is then in neither: staff said that they leave this one.
    book.write()
    for row, answer in zip(there, answers, strict=False):
        if answer.seat_id:
            db.session.execute(
                update(Drift)
                .where(Drift.id == row.id)
                .values(moved_seat_id=answer.seat_id)
                .execution_options(synchronize_session=False)
            )
    if gone:
        db.session.execute(
            update(Drift)
            .where(Drift.id.in_(gone))
            .values(state=DriftState.GONE)
            .execution_options(synchronize_session=False)
        )
    db.session.expire_all()
    _note(group, decision, len(there))
    return len(there)


def _note(group: Group, decision: Decision, count: int) -> None:
    if count:
        audit.record("drift.decided", "group", group.id, after={"decision": decision.value, "members": count})


def undo(group: Group, drift_id: int) -> None:
    """Give somebody who was moved or removed their seat back, and let them stay for another time of grace.

    A seat that they were moved to is given up for it. Refuses with `Moved` when it was undone already, with `GroupFull` when
    the seat is somebody else's by now, and as `seats.join` does.
    """
    now = clock.now()
    db.session.flush()
    row = db.session.scalar(select(Drift).where(Drift.id == drift_id, Drift.group_id == group.id))
    if row is None or row.state not in (DriftState.MOVED, DriftState.REMOVED):
        raise rules.Moved
    if db.session.get_one(Member, row.member_id).erased_at is not None:
        raise rules.Moved
    before_entering.call(row.member_id)
    there = db.session.get(Seat, row.moved_seat_id) if row.moved_seat_id else None
    book = Book(db.session.connection(), [group.id, *([there.group_id] if there else [])])
    undone = changed(
        db.session.execute(
            update(Drift)
            .where(Drift.id == drift_id, Drift.state.in_([DriftState.MOVED, DriftState.REMOVED]))
            .values(state=DriftState.UNDONE, undone_at=now, kept_until=now + timedelta(days=max(1, group.grace_days)))
            .execution_options(synchronize_session=False)
        )
    )
    if not undone:
        raise rules.Moved
    if there is not None:
        moved = book.seats_of([(there.group_id, row.member_id)]).get((there.group_id, row.member_id))
        if moved is not None and moved.id == there.id:
            book.move(moved, group.id, REASON)
    book.invite()
    answer = book.answer([Ask(group.id, row.member_id, source="moved")])[0]
    if answer.refusal is not None:
        raise answer.refusal
    if answer.number is not None:
        raise rules.GroupFull
    book.write()
    # The time that they were given anew is kept with the seat that they have now.
    db.session.execute(
        update(Drift)
        .where(Drift.id == drift_id)
        .values(seat_id=answer.seat_id)
        .execution_options(synchronize_session=False)
    )
    db.session.expire_all()
    audit.record("drift.undone", "group", group.id, after={"member_id": row.member_id})
