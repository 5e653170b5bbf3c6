"""A group's life: announced, opened, paused, closed, archived; by staff, and by the clock."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import case, select, update

from kernel import audit, clock
from kernel.db import changed, db
from kernel.events import publish
from kernel.i18n import gettext as _

from .. import queries, rules
from ..events import GroupClosed, GroupOpened
from ..models import Group, GroupState
from . import opening
from .book import Book


def _move(group: Group, to: GroupState) -> Book:
    """Change the state under the group's lock; refuses with `Moved` when the clock or somebody else was faster."""
    db.session.flush()
    book = Book(db.session.connection(), [group.id])
    now = clock.now()
    stored = group.state
    values: dict[str, object] = {"state": to}
    if to is GroupState.OPEN and group.opened_at is None:
        values["opened_at"] = now
    if to is GroupState.CLOSED:
        values["closed_at"] = min(now, group.closes_at) if group.closes_at else now
    moved = changed(
        db.session.execute(
            update(Group)
            .where(Group.id == group.id, Group.state == stored)
            .values(**values)
            .execution_options(synchronize_session=False)
        )
    )
    if not moved:
        raise rules.Moved
    book.reopen(group.id, to)
    return book


def _finish(book: Book, group: Group) -> None:
    book.invite()
    book.write()
    db.session.expire_all()


def change_state(group: Group, to: GroupState) -> None:
    """Announce, open, pause, go on, close or archive a group by hand.

    Opening and going on invites from the waiting list; closing ends holds, invitations and the waiting list, and tells
    those who waited. Refuses with `Moved` when the present state, by the clock, does not lead there, and a draft with
    `NotEnoughOrders` while the shop has not sold what it takes to open a group.
    """
    present = queries.state_of(group)
    if to not in rules.ACTS[present] and not (present is GroupState.CLOSED and to is GroupState.CLOSED):
        raise rules.Moved
    if present is GroupState.DRAFT and to in (GroupState.WARM_UP, GroupState.OPEN):
        opening.refuse_early()
    if present is GroupState.CLOSED and group.state is not GroupState.CLOSED:
        close_by_clock(group)
        if to is GroupState.CLOSED:
            return
    before = group.state
    if to is GroupState.OPEN and group.opens_at is not None and group.opens_at > clock.now():
        # Opened before its time: the time that it announced would only confuse from here on.
        group.opens_at = None
    book = _move(group, to)
    if to is GroupState.CLOSED:
        book.dissolve(group.id, _("This group has closed; its waiting list ends with it."))
    _finish(book, group)
    audit.record(f"group.{to.value}", "group", group.id, {"state": before}, {"state": to})
    if to is GroupState.OPEN and before is not GroupState.PAUSED:
        publish(GroupOpened(group_id=group.id))
    if to is GroupState.CLOSED:
        publish(GroupClosed(group_id=group.id))


def refuse_over(group_id: int) -> None:
    """Refuse with `GroupOver` what people do in a group, once it has closed."""
    group = queries.get_group(group_id)
    if queries.is_over(group):
        raise rules.GroupOver(group.public_id)


def unarchive(group: Group) -> None:
    """Bring a group back from the archive, closed or a draft as it was. Refuses with `Moved` when it is not there."""
    moved = changed(
        db.session.execute(
            update(Group)
            .where(Group.id == group.id, Group.state == GroupState.ARCHIVED)
            .values(state=case((Group.closed_at.is_(None), GroupState.DRAFT), else_=GroupState.CLOSED))
            .execution_options(synchronize_session=False)
        )
    )
    if not moved:
        raise rules.Moved
    db.session.expire_all()
    audit.record("group.unarchived", "group", group.id)


def change_many(group_ids: Sequence[int], to: GroupState) -> tuple[int, int]:
    """Pause, let go on, or archive many groups; how many were, and how many are in a state that does not lead there."""
    done = 0
    for group in db.session.scalars(select(Group).where(Group.id.in_(group_ids)).order_by(Group.id)).all():
        if to in rules.ACTS[queries.state_of(group)] and (
            to is not GroupState.OPEN or group.state is GroupState.PAUSED
        ):
            change_state(group, to)
            done += 1
    return done, len(set(group_ids)) - done


def open_by_clock(group: Group) -> None:
    """Write down that the time to open has come."""
    _finish(_move(group, GroupState.OPEN), group)
    publish(GroupOpened(group_id=group.id))


def close_by_clock(group: Group) -> None:
    """Write down that the time to close has come, with all that closing does."""
    book = _move(group, GroupState.CLOSED)
    book.dissolve(group.id, _("This group has closed; its waiting list ends with it."))
    _finish(book, group)
    publish(GroupClosed(group_id=group.id))


def due() -> list[int]:
    """The groups whose stored state the clock has overtaken."""
    now = clock.now()
    rows = db.session.scalars(
        select(Group)
        .where(Group.state.in_([GroupState.WARM_UP, GroupState.OPEN, GroupState.PAUSED]))
        .where((Group.closes_at <= now) | ((Group.state == GroupState.WARM_UP) & (Group.opens_at <= now)))
        .order_by(Group.id)
    )
    return [group.id for group in rows]


def catch_up(group_id: int) -> None:
    """Bring one group's stored state up to the clock, if it is behind."""
    group = queries.get_group(group_id)
    present = queries.state_of(group)
    if present is group.state:
        return
    if present is GroupState.OPEN:
        open_by_clock(group)
    elif present is GroupState.CLOSED:
        close_by_clock(group)
