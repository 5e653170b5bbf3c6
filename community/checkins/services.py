"""The verbs: check in, and say what it is worth."""

from __future__ import annotations

from sqlalchemy.dialects.postgresql import insert

from community.groups import services as groups
from kernel import audit, clock, shop
from kernel.db import db
from kernel.errors import Refusal
from kernel.events import publish
from kernel.i18n import lazy_gettext as _l
from membership.points import services as points
from membership.points.models import Kind

from . import queries, rules
from .events import MemberCheckedIn
from .models import CheckIn


class CheckInsClosed(Refusal):
    title = _l("Check-in is paused")
    label = _l("The shop gives nothing for checking in at the moment. The points that you have stay yours.")


class PointsRefused(Refusal):
    status = 422
    field = "points"
    label = _l("Give between 0 and 1,000 points a day.")


class BonusesRefused(Refusal):
    status = 422
    field = "bonuses"
    label = _l(
        "“%(line)s” is no bonus: write the days (2 to 366), a blank and the points (1 to 1,000), at most six lines."
    )

    def __init__(self, line: str) -> None:
        super().__init__(line=line)


def check_in(member_id: int, group_id: int) -> CheckIn:
    """Check a member in for today; a second tap, from whichever group or phone, gives the same one and no more points.

    Publishes `MemberCheckedIn`. Refuses with `CheckInsClosed`, and with `GroupOver` in a group that has closed.
    """
    groups.refuse_over(group_id)
    program = queries.program()
    if not program.enabled:
        raise CheckInsClosed
    today = clock.today()
    last = queries.last_of(member_id)
    if last is not None and last.on == today:
        return last
    length = rules.streak(last.on, last.streak, today) if last is not None else 1
    worth = rules.points_for(program, length)
    fresh = db.session.scalar(
        insert(CheckIn)
        .values(member_id=member_id, on=today, group_id=group_id, streak=length, points=worth, at=clock.now())
        .on_conflict_do_nothing()
        .returning(CheckIn.streak)
    )
    if fresh is None:
        # The other tap has committed by now: the conflict waited for it.
        return db.session.get_one(CheckIn, (member_id, today), populate_existing=True)
    if worth:
        points.award(member_id, worth, type=Kind.CHECK_IN, source_type="check_in", source_id=today.isoformat())
    publish(MemberCheckedIn(member_id=member_id, group_id=group_id, streak=length))
    return db.session.get_one(CheckIn, (member_id, today))


def save_program(enabled: bool, a_day: int, bonuses: str) -> rules.Program:
    """Set what checking in is worth from now on; `bonuses` is typed, a line each. Refuses `PointsRefused`, `BonusesRefused`."""
    if not 0 <= a_day <= rules.MOST_POINTS:
        raise PointsRefused
    try:
        program = rules.Program(enabled, a_day, rules.bonuses_of(bonuses))
    except rules.BonusesUnreadable as fault:
        raise BonusesRefused(fault.args[0]) from None
    before = queries.program()
    shop.put(queries.SETTING, program.dump())
    audit.record("checkins.saved", "shop", None, before.dump(), program.dump())
    return program
