"""What this room keeps of people, column by column: see `membership.members.services.personal`."""

from __future__ import annotations

from sqlalchemy import update

from kernel import clock
from kernel.db import db
from kernel.i18n import lazy_gettext as _l
from membership.members.services import erasure
from membership.members.services.personal import Person, by, declare

from .models import Case, CaseState, Complaint, Sanction, StopWord

declare(
    Case,
    "id kind subject_id group_id member_id reason word held state opened_at decided_at decided_by_id",
    "note",
    rows=by(Case.member_id),
    label=_l("Cases about what they wrote"),
    # What colleagues tell one another of a person.
    hidden="note",
)
declare(
    Complaint,
    "id case_id member_id ground at",
    "note",
    rows=by(Complaint.member_id),
    label=_l("What they reported"),
)
declare(
    Sanction,
    "id kind member_id group_id until staff_id at lifted_at lifted_by_id",
    "reason",
    rows=by(Sanction.member_id),
    label=_l("Silences and bans"),
    hidden="reason",
)
declare(
    StopWord,
    "id word effect created_at",
)


@erasure.forgetters.fill
def close_cases(person: Person) -> None:
    """Nobody decides any more about what is blanked; whoever reported it reported something that is gone."""
    db.session.execute(
        update(Case)
        .where(Case.member_id.in_(person.ids), Case.state == CaseState.OPEN)
        .values(state=CaseState.DISMISSED, decided_at=clock.now())
        .execution_options(synchronize_session=False)
    )
