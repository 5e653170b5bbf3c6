"""The steps of each kind as the shop wants them: a new version counts for what is opened from then on."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert

from kernel import audit, clock
from kernel.db import db
from kernel.errors import Refusal
from kernel.i18n import lazy_gettext as _l

from .. import rules
from ..models import TicketKind, Workflow


class WorkflowInvalid(Refusal):
    """`fault` is a key of `labels.WORKFLOW_FAULTS`."""

    status = 422
    label = _l("These steps cannot be kept. Look at them again.")

    def __init__(self, fault: str) -> None:
        super().__init__()
        self.fault = fault


class WorkflowChanged(Refusal):
    title = _l("Somebody was faster")
    label = _l(
        "A colleague has changed these steps in the meantime. Nothing of theirs was written over; look at them again."
    )
    icon = "users"


def workflow_version(kind: TicketKind) -> int:
    """The number of the last version of a kind's steps, 0 before the first."""
    return db.session.scalar(select(func.max(Workflow.version)).where(Workflow.kind == kind)) or 0


def save_workflow(kind: TicketKind, steps: Sequence[rules.Step], staff_id: int, seen: int) -> Workflow:
    """Let these steps count for what is opened from now on; without steps the standard's count again. Open tickets keep theirs.

    `seen` is the version on the writer's page. Refuses with `WorkflowInvalid`, and with `WorkflowChanged` when there is a newer one.
    """
    known = {step.key for step in rules.WORKFLOWS[kind]}
    if steps and (fault := rules.workflow_fault(steps, known)):
        raise WorkflowInvalid(fault)
    if workflow_version(kind) != seen:
        raise WorkflowChanged
    row_id = db.session.scalar(
        insert(Workflow)
        .values(kind=kind, version=seen + 1, steps=rules.steps_to(steps), made_by_id=staff_id, made_at=clock.now())
        .on_conflict_do_nothing(index_elements=[Workflow.kind, Workflow.version])
        .returning(Workflow.id)
    )
    if row_id is None:
        raise WorkflowChanged
    audit.record("workflow.saved", "ticket_workflow", row_id, after={"kind": kind.value, "version": seen + 1})
    return db.session.get_one(Workflow, row_id)
