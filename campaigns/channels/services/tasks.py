"""Messages that people of the staff give: taken on, done, not reached, refused."""

from __future__ import annotations

from sqlalchemy import select, update

from kernel import audit, clock
from kernel.db import changed, db
from kernel.errors import NotFound, Refusal
from kernel.events import publish
from kernel.i18n import lazy_gettext as _l
from membership.members.models import Contact
from membership.members.services import rights

from ..events import MessageConfirmed
from ..models import ContactTask, TaskState


class TaskEnded(Refusal):
    title = _l("Somebody was faster")
    label = _l("This task has been ended already. Nothing was changed.")


def get_task(task_id: int) -> ContactTask:
    """One task; refuses with `NotFound`."""
    found = db.session.get(ContactTask, task_id)
    if found is None:
        raise NotFound
    return found


def take_task(task_id: int, staff_id: int) -> bool:
    """Take a task on; returns False when somebody else has it, or it is ended."""
    moved = db.session.execute(
        update(ContactTask)
        .where(
            ContactTask.id == task_id,
            ContactTask.state == TaskState.OPEN,
            (ContactTask.staff_id.is_(None)) | (ContactTask.staff_id == staff_id),
        )
        .values(staff_id=staff_id)
    )
    return bool(changed(moved))


def end_task(task_id: int, state: TaskState, note: str, staff_id: int) -> None:
    """Say what became of a task: done, not reached, or refused, which also withdraws the agreement to be called.

    Refuses with `NotFound` and `TaskEnded`.
    """
    if state is TaskState.OPEN:
        raise ValueError("a task ends by being done, not reached or refused")
    task = get_task(task_id)
    moved = db.session.execute(
        update(ContactTask)
        .where(ContactTask.id == task_id, ContactTask.state == TaskState.OPEN)
        .values(state=state, note=" ".join(note.split())[:500], staff_id=staff_id, ended_at=clock.now())
    )
    if not changed(moved):
        raise TaskEnded
    if state is TaskState.REFUSED:
        rights.withdraw_consent(task.member_id, Contact.CALL, source="call")
    if task.delivery_id:
        publish(
            MessageConfirmed(
                delivery_id=task.delivery_id, done=state is TaskState.DONE, reason=state.value, staff_id=staff_id
            )
        )
    audit.record("contact_task.ended", "contact_task", task_id, after={"state": state.value})


def reopen_task(task_id: int) -> None:
    """Put a task that nobody was reached with on the list again. Refuses with `NotFound` and `TaskEnded`."""
    get_task(task_id)
    moved = db.session.execute(
        update(ContactTask)
        .where(ContactTask.id == task_id, ContactTask.state == TaskState.NOT_REACHED)
        .values(state=TaskState.OPEN, ended_at=None, staff_id=None)
    )
    if not changed(moved):
        raise TaskEnded
    audit.record("contact_task.reopened", "contact_task", task_id)


def open_tasks_of(member_id: int) -> int:
    """How many tasks about a member are open."""
    return len(
        db.session.scalars(
            select(ContactTask.id).where(ContactTask.member_id == member_id, ContactTask.state == TaskState.OPEN)
        ).all()
    )
