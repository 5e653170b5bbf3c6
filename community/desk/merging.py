"""How a merge brings call-backs along: one live call a person, about the orders of both."""

from __future__ import annotations

from typing import Any

from sqlalchemy import delete, select, update

from kernel.db import db
from kernel.i18n import gettext as _
from kernel.i18n import lazy_gettext as _l
from membership.members.services import merge

from .models import CallState, CallTask, CallTaskOrder
from .rules import LIVE


@merge.follower(CallTask.member_id)
def follow_calls(merging: merge.Merging) -> None:
    tasks = db.session.scalars(
        select(CallTask)
        .where(CallTask.member_id.in_(merging.pair), CallTask.state.in_(LIVE))
        .order_by(CallTask.id)
        .with_for_update()
        .execution_options(populate_existing=True)
    ).all()
    if len(tasks) == 2:
        _join(merging, *sorted(tasks, key=_worth))
    moved = merging.repoint(CallTask.member_id)
    merging.count(_l("Call-backs"), moved)


def _worth(task: CallTask) -> tuple[bool, bool, Any]:
    """The call that somebody has begun with goes on, else the one that is due first."""
    return task.assignee_id is None, task.state is not CallState.RETRY, (task.due_at, task.id)


def _join(merging: merge.Merging, kept: CallTask, spare: CallTask) -> None:
    ids, unit = (kept.id, spare.id), f"call:{spare.id}:{kept.id}"
    # Undoing goes backwards: the task comes back before the orders that point at it.
    with merging.watching(CallTaskOrder, CallTaskOrder.task_id.in_(ids), unit=unit):
        db.session.execute(
            update(CallTaskOrder)
            .where(CallTaskOrder.task_id == spare.id)
            .values(task_id=kept.id)
            .execution_options(synchronize_session=False)
        )
    with merging.watching(CallTask, CallTask.id.in_(ids), unit=unit, apart=True):
        if kept.state is CallState.OPEN:
            kept.due_at = min(kept.due_at, spare.due_at)
        kept.about = "\n".join(part for part in (kept.about, spare.about) if part)
        kept.order_id = kept.order_id or spare.order_id
        db.session.flush()
        db.session.execute(delete(CallTask).where(CallTask.id == spare.id).execution_options(synchronize_session=False))
        db.session.expunge(spare)
    merging.conflict(_("Both records are to be called: one call is left, about the orders of both."))


@merge.before_undoing.fill
def look_at_calls(undoing: merge.Undoing) -> None:
    """A call that has been held was held with the person: it is not asked for a second time."""
    for move in undoing.moves(CallTask, "delete"):
        kept = db.session.get(CallTask, int(move.unit.split(":")[-1]), populate_existing=True)
        if kept is not None and kept.state not in LIVE:
            undoing.keep(move.unit, _("The call of both has been held since; it is not asked for again."))
