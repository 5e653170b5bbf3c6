"""Reads: the queue, a person's sanctions, the words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Select, bindparam, exists, func, or_, select, text, union

from community.groups.models import Group, Seat, SeatState, Waiting, WaitingState
from kernel import clock
from kernel.db import db
from kernel.errors import NotFound
from kernel.staff.models import Staff
from membership.members import queries as members
from membership.members.models import Member

from . import subjects
from .models import Case, CaseReason, CaseState, Complaint, Sanction, StopWord, WordEffect
from .subjects import Shown


def get_case(case_id: int) -> Case:
    """The case, or 404."""
    found = db.session.get(Case, case_id)
    if found is None:
        raise NotFound
    return found


def get_sanction(sanction_id: int) -> Sanction:
    """The sanction, or 404."""
    found = db.session.get(Sanction, sanction_id)
    if found is None:
        raise NotFound
    return found


def find_open_case(kind: str, subject_id: int) -> Case | None:
    return db.session.scalar(
        select(Case).where(Case.kind == kind, Case.subject_id == subject_id, Case.state == CaseState.OPEN)
    )


def taken_down(kind: str, subject_id: int) -> bool:
    """Whether staff have taken the subject down."""
    return bool(
        db.session.scalar(
            select(exists().where(Case.kind == kind, Case.subject_id == subject_id, Case.state == CaseState.UPHELD))
        )
    )


def listing(
    state: CaseState, kind: str = "", reason: CaseReason | None = None, group_id: int | None = None, q: str = ""
) -> Select[Any]:
    """Cases in a state, filtered; `q` finds their author, or is in the group's name. Rows: Case, Member, Group."""
    found: Any = (
        select(Case, Member, Group)
        .join(Member, Member.id == Case.member_id)
        .join(Group, Group.id == Case.group_id)
        .where(Case.state == state)
    )
    if kind:
        found = found.where(Case.kind == kind)
    if reason is not None:
        found = found.where(Case.reason == reason)
    if group_id is not None:
        found = found.where(Case.group_id == group_id)
    if q:
        found = found.where(or_(members.sought(q), Group.name.icontains(q, autoescape=True)))
    return found


def case_rows(listed: Select[Any], state: CaseState) -> list[Row]:
    """Rows of `listing` in its order (no more than 20,000), for a file."""
    found = db.session.execute(listed.order_by(*order_of(state)).limit(20_000)).all()
    return [row for at in range(0, len(found), 1_000) for row in rows_of(found[at : at + 1_000])]


def order_of(state: CaseState) -> list[Any]:
    """Open cases oldest first, decided ones newest first."""
    if state is CaseState.OPEN:
        return [Case.id]
    return [func.coalesce(Case.decided_at, Case.opened_at, type_=Case.opened_at.type).desc(), Case.id.desc()]


@dataclass(frozen=True)
class Row:
    """A case with who wrote what and where; `shown` is None when the text is gone."""

    case: Case
    member: Member
    group: Group
    shown: Shown | None
    complaints: list[Complaint]


def rows_of(found: Sequence[Any]) -> list[Row]:
    """Rows of `listing` with their texts and reports, one statement a kind and one for the reports."""
    cases = [row[0] for row in found]
    texts: dict[tuple[str, int], Shown] = {}
    for kind in {case.kind for case in cases}:
        ids = [case.subject_id for case in cases if case.kind == kind]
        texts |= {(kind, subject_id): shown for subject_id, shown in subjects.get(kind).show(ids).items()}
    reports: dict[int, list[Complaint]] = {}
    if cases:
        for complaint in db.session.scalars(
            select(Complaint).where(Complaint.case_id.in_([case.id for case in cases])).order_by(Complaint.id)
        ):
            reports.setdefault(complaint.case_id, []).append(complaint)
    return [
        Row(case, member, group, texts.get((case.kind, case.subject_id)), reports.get(case.id, []))
        for case, member, group in (row[:3] for row in found)
    ]


def open_cases() -> int:
    """How many cases wait for a decision."""
    return db.session.scalar(select(func.count()).select_from(Case).where(Case.state == CaseState.OPEN)) or 0


def in_force(now: Any = None) -> ColumnElement[bool]:
    """SQL: sanctions that hold at an instant, sweep or no sweep."""
    return Sanction.lifted_at.is_(None) & or_(Sanction.until.is_(None), Sanction.until > (now or clock.now()))


def silence_of(member_id: int, group_id: int) -> Sanction | None:
    """What keeps a member from writing in a group: the sanction that holds longest, or None."""
    return db.session.scalar(
        select(Sanction)
        .where(
            Sanction.member_id == member_id,
            or_(Sanction.group_id.is_(None), Sanction.group_id == group_id),
            in_force(),
        )
        .order_by(Sanction.until.desc().nulls_first(), Sanction.id)
        .limit(1)
    )


# What `in_force` says, in plain words: it lies on the way of every join.
_BANNED = text(
    "SELECT EXISTS (SELECT FROM sanction WHERE member_id = :member AND kind = 'ban' AND lifted_at IS NULL "
    "AND (until IS NULL OR until > :now))"
).bindparams(bindparam("member", type_=BigInteger))


def is_banned(member_id: int) -> bool:
    """Whether a ban keeps a member out of every group at this moment."""
    return bool(db.session.connection().execute(_BANNED, {"member": member_id, "now": clock.now()}).scalar())


def sanctions(q: str = "", ended: bool = False, member_id: int | None = None) -> Select[Any]:
    """Sanctions in force, or those that have ended. Rows: Sanction, Member, Group or None, the staff member's name or None."""
    found: Any = (
        select(Sanction, Member, Group, Staff.name)
        .join(Member, Member.id == Sanction.member_id)
        .outerjoin(Group, Group.id == Sanction.group_id)
        .outerjoin(Staff, Staff.id == Sanction.staff_id)
        .where(~in_force() if ended else in_force())
    )
    if q:
        found = found.where(or_(Member.nickname.contains(q, autoescape=True), Member.name.contains(q, autoescape=True)))
    if member_id is not None:
        found = found.where(Sanction.member_id == member_id)
    return found


SANCTION_ORDER = (Sanction.id.desc(),)


def sanction_rows(q: str = "", ended: bool = False, member_id: int | None = None) -> list[Any]:
    """Rows of `sanctions`, newest first (no more than 20,000)."""
    found = sanctions(q, ended, member_id).order_by(*SANCTION_ORDER).limit(20_000)
    return [row[:4] for row in db.session.execute(found)]


def stop_words() -> list[StopWord]:
    """The shop's own words, in their order."""
    return list(db.session.scalars(select(StopWord).order_by(StopWord.word)))


def effects() -> list[tuple[str, WordEffect]]:
    """The words with their effects, for `rules.judge`."""
    return [(row.word, row.effect) for row in db.session.execute(select(StopWord.word, StopWord.effect))]


def history(member_id: int) -> tuple[int, int]:
    """How many cases were upheld against a member, and how many dismissed."""
    upheld, dismissed = db.session.execute(
        select(
            func.count().filter(Case.state == CaseState.UPHELD),
            func.count().filter(Case.state == CaseState.DISMISSED),
        ).where(Case.member_id == member_id)
    ).one()
    return upheld, dismissed


def groups_with(member_id: int) -> list[int]:
    """The groups in which a member has a seat, a kept one included, or a number on the waiting list."""
    seats = select(Seat.group_id).where(Seat.member_id == member_id, Seat.state.in_((SeatState.HELD, SeatState.TAKEN)))
    places = select(Waiting.group_id).where(
        Waiting.member_id == member_id, Waiting.state.in_((WaitingState.QUEUED, WaitingState.INVITED))
    )
    return sorted(db.session.scalars(union(seats, places)))
