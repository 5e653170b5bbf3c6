"""Reports by e-mail: who gets which, and each one's copy of it (`campaigns.channels.copies` hands it over once)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert

from campaigns.channels import copies
from campaigns.channels.adapters import Message
from campaigns.channels.copies import CopyState
from campaigns.channels.models import Account, ChannelKind
from kernel import audit, clock
from kernel.db import changed, db
from kernel.errors import NotFound, Refusal
from kernel.i18n import current_locale
from kernel.i18n import gettext as _
from kernel.i18n import lazy_gettext as _l
from kernel.staff.models import Staff

from . import letters, rules
from .models import ReportCopy, ReportPlan, Rhythm

# Nobody reads a report before.
MORNING = 8


class NobodyToTell(Refusal):
    status = 422
    label = _l("Choose at least one colleague who gets the report.")


class NoMailServer(Refusal):
    status = 422
    label = _l("Choose an e-mail account over which the report goes.")


def get_plan(plan_id: int) -> ReportPlan:
    """One report; refuses with `NotFound`."""
    found = db.session.get(ReportPlan, plan_id)
    if found is None:
        raise NotFound
    return found


def plans() -> Sequence[ReportPlan]:
    """Every report, the newest first; a shop has a handful."""
    return db.session.scalars(select(ReportPlan).order_by(ReportPlan.id.desc()).limit(200)).all()


def mail_accounts() -> Sequence[Account]:
    """The accounts over which a report can go."""
    return db.session.scalars(select(Account).where(Account.kind == ChannelKind.EMAIL).order_by(Account.id)).all()


def copies_of(plan_ids: Sequence[int], limit: int = 100) -> Sequence[ReportCopy]:
    """The latest copies of some reports."""
    return db.session.scalars(
        select(ReportCopy)
        .where(ReportCopy.plan_id.in_(plan_ids))
        .order_by(ReportCopy.period.desc(), ReportCopy.plan_id, ReportCopy.staff_id)
        .limit(limit)
    ).all()


def save(
    plan: ReportPlan | None,
    name: str,
    rhythm: Rhythm,
    account_id: int,
    locale: str,
    staff_ids: Sequence[int],
    by: int | None,
) -> ReportPlan:
    """Write a report or change one. Refuses with `NobodyToTell`, and with `NoMailServer` an account that sends no e-mail."""
    wanted = sorted(set(staff_ids))
    known = set(db.session.scalars(select(Staff.id).where(Staff.id.in_(wanted), Staff.disabled_at.is_(None))))
    if not wanted or set(wanted) - known:
        raise NobodyToTell
    if account_id not in {account.id for account in mail_accounts()}:
        raise NoMailServer
    before = None if plan is None else {"name": plan.name, "rhythm": plan.rhythm.value, "people": len(plan.staff_ids)}
    if plan is None:
        plan = ReportPlan(staff_id=by, created_at=clock.now())
        db.session.add(plan)
    plan.name, plan.rhythm, plan.account_id = name, rhythm, account_id
    plan.locale, plan.staff_ids = locale, wanted
    db.session.flush()
    audit.record(
        "report.saved", "report_plan", plan.id, before, {"name": name, "rhythm": rhythm.value, "people": len(wanted)}
    )
    return plan


def pause(plan: ReportPlan, paused: bool) -> None:
    """Let a report rest, or go on; a period that ended meanwhile is left out, but for the last one."""
    plan.paused_at = clock.now() if paused else None
    audit.record("report.paused" if paused else "report.resumed", "report_plan", plan.id)


def remove(plan: ReportPlan) -> None:
    """Take a report away, with the list of what was sent."""
    audit.record("report.removed", "report_plan", plan.id, {"name": plan.name})
    db.session.delete(plan)
    db.session.flush()


# ── Sending ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def write_copies() -> int:
    """Write the copies of every period that has ended; each exists once. Returns how many are new."""
    now, written = clock.now(), 0
    for plan in db.session.scalars(select(ReportPlan).where(ReportPlan.paused_at.is_(None)).order_by(ReportPlan.id)):
        first, until = rules.period_before(clock.today(), plan.rhythm is Rhythm.WEEKLY)
        # Periods that were over before the report was wished for are not sent.
        if now < clock.at(until, MORNING) or clock.at(until) <= plan.created_at:
            continue
        rows = [
            {
                "plan_id": plan.id,
                "period": first,
                "staff_id": staff_id,
                "state": CopyState.WAITING,
                "attempts": 0,
                "changed_at": now,
            }
            for staff_id in plan.staff_ids
        ]
        fresh = insert(ReportCopy).values(rows).on_conflict_do_nothing()
        written += changed(db.session.execute(fresh))
    return written


def take_due() -> copies.Due | None:
    """Take the next copy in hand: its intent is committed with the caller's transaction. None when nothing is due."""
    now = clock.now()
    while True:
        row = db.session.execute(
            select(ReportCopy, ReportPlan, Staff)
            .join(ReportPlan, ReportPlan.id == ReportCopy.plan_id)
            .outerjoin(Staff, Staff.id == ReportCopy.staff_id)
            .where(
                ReportCopy.state == CopyState.WAITING,
                ReportPlan.paused_at.is_(None),
                func.coalesce(ReportCopy.retry_at, now) <= now,
            )
            .order_by(ReportCopy.period, ReportCopy.plan_id, ReportCopy.staff_id)
            .limit(1)
            .with_for_update(of=ReportCopy, skip_locked=True)
        ).one_or_none()
        if row is None:
            return None
        copy, plan, person = row
        if person is None or person.disabled_at is not None:
            copies.move(copy, CopyState.WAITING, CopyState.FAILED, failure="disabled")
            continue
        first, until = _days(plan, copy.period)
        letter = letters.compose(plan, first, until)
        key = f"report:{plan.id}.{first.isoformat()}.{person.id}"
        message = Message(key, 0, 0, person.email, letter.subject, letter.body, kind="report")
        return copies.begin(copy, plan.account_id, message)


def _days(plan: ReportPlan, first: date) -> tuple[date, date]:
    weekly = plan.rhythm is Rhythm.WEEKLY
    return first, first + timedelta(days=7) if weekly else rules.month_after(first)


def preview(plan: ReportPlan) -> letters.Letter:
    """The report of the last period that has ended, as it would go."""
    return letters.compose(plan, *rules.period_before(clock.today(), plan.rhythm is Rhythm.WEEKLY))


def sample() -> letters.Letter:
    """The report of the last week as it would go if one were set up."""
    plan = ReportPlan(name=_("What pushes brought"), rhythm=Rhythm.WEEKLY, locale=current_locale(), staff_ids=[])
    return preview(plan)
