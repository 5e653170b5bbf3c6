"""What a restore does to pushes: whatever was on its way may have arrived since the backup, and goes nowhere by itself."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import select, update

from kernel import restoring
from kernel.db import changed, db
from kernel.i18n import lazy_gettext as _l

from . import ledger, services
from .models import Origin, Push, Run, RunState
from .services import RESTORED

PAUSED, DRAFTS, SKIPPED, DOUBTS = "pushes_paused", "pushes_drafts", "pushes_skipped", "pushes_doubts"

restoring.words.update(
    {
        PAUSED: _l("Pushes under way that stand still now"),
        DOUBTS: _l("Messages in doubt: they may have been sent since the backup"),
        DRAFTS: _l("Scheduled pushes that are drafts again"),
        SKIPPED: _l("Times of series and messages of journeys that are skipped"),
    }
)
_NO_SYNC = {"synchronize_session": False}


@restoring.began.fill
def stand_still(now: datetime) -> list[restoring.TakenOut]:
    """Pause what was under way, with everything unsent in doubt; make drafts of what was scheduled, and skip what was due."""
    doubts, paused = 0, 0
    under_way = db.session.execute(
        select(Run.id, Push.origin)
        .join(Push, Push.id == Run.push_id)
        .where(
            Run.state.in_(
                [RunState.MATERIALISING, RunState.RUNNING, RunState.PAUSED, RunState.CANCELLED, RunState.EXPIRED]
            ),
            Run.finished_at.is_(None),
        )
        .order_by(Run.id)
    ).all()
    for run_id, origin in under_way:
        doubts += ledger.doubt_open(run_id, RESTORED)
        # A journey's messages have nobody who watches over them: such a run comes to its end by itself. Whoever had no row
        # yet when planning was under way gets none.
        to = RunState.RUNNING if origin is Origin.JOURNEY else RunState.PAUSED
        moved = db.session.execute(
            update(Run)
            .where(Run.id == run_id, Run.state.in_([RunState.MATERIALISING, RunState.RUNNING, RunState.PAUSED]))
            .values(state=to, failure=RESTORED, through_id=Run.cursor)
            .execution_options(**_NO_SYNC)
        )
        paused += changed(moved) if to is RunState.PAUSED else 0
    drafts = db.session.execute(
        update(Run)
        .where(Run.state == RunState.SCHEDULED, Run.push_id.in_(_of(Push.rrule.is_(None), marketer=True)))
        .values(state=RunState.DRAFT, failure=RESTORED, approved_by=None, approved_at=None)
        .execution_options(**_NO_SYNC)
    )
    cancelled = db.session.execute(
        update(Run)
        .where(Run.state == RunState.SCHEDULED, Run.push_id.in_(_of(marketer=False)))
        .values(state=RunState.CANCELLED, failure=RESTORED, finished_at=now)
        .execution_options(**_NO_SYNC)
    )
    db.session.expire_all()
    return [
        restoring.TakenOut(PAUSED, paused),
        restoring.TakenOut(DOUBTS, doubts),
        restoring.TakenOut(DRAFTS, changed(drafts)),
        restoring.TakenOut(SKIPPED, changed(cancelled) + _skip(now, now)),
    ]


@restoring.released.fill
def skip_what_was_due(now: datetime) -> list[restoring.TakenOut]:
    """Skip the times of series that lie before the restore: they went out then, or were missed."""
    services.plan_series()
    found = restoring.state()
    return [restoring.TakenOut(SKIPPED, _skip(datetime.fromisoformat(found["at"]), now) if found else 0)]


def _skip(until: datetime, now: datetime) -> int:
    skipped = db.session.execute(
        update(Run)
        .where(Run.state == RunState.SCHEDULED, Run.scheduled_at <= until)
        .where(Run.push_id.in_(_of(Push.rrule.is_not(None), marketer=True)))
        .values(state=RunState.EXPIRED, failure=RESTORED, finished_at=now)
        .execution_options(**_NO_SYNC)
    )
    return changed(skipped)


def _of(*more: Any, marketer: bool) -> Any:
    origin = Push.origin == Origin.MARKETER if marketer else Push.origin != Origin.MARKETER
    return select(Push.id).where(origin, *more)
