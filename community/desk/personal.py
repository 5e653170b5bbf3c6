"""What this room keeps of people, column by column: see `membership.members.services.personal`."""

from __future__ import annotations

from sqlalchemy import delete

from kernel.db import db
from kernel.i18n import lazy_gettext as _l
from membership.members.services import erasure
from membership.members.services.personal import Person, by, declare

from .models import CallTask, CallTaskOrder, Script
from .rules import LIVE

declare(
    CallTask,
    "id member_id order_id reason state due_at assignee_id tries called_at satisfaction invited_group_id "
    "invited_at invited_by_id closed_at closed_by_id opened_by_id created_at",
    "about outcome_note",
    rows=by(CallTask.member_id),
    label=_l("Call-backs"),
)
declare(
    CallTaskOrder,
    "order_id reason task_id at",
)
declare(
    Script,
    "id title reason customer_type voice body owner_id used created_at",
)


@erasure.forgetters.fill
def drop_calls(person: Person) -> None:
    """Nobody is called any more; what came of former calls stays counted."""
    db.session.execute(
        delete(CallTask)
        .where(CallTask.member_id.in_(person.ids), CallTask.state.in_(LIVE))
        .execution_options(synchronize_session=False)
    )
