"""What the pages are made of: everybody's figures beside one another, and one person's against the team and their own past."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from kernel import audit
from kernel.auth import Role
from kernel.errors import Refusal
from kernel.i18n import lazy_gettext as _l
from kernel.pages import instants
from kernel.staff import handover
from kernel.staff.models import Staff

from . import queries, rules
from .queries import Line, Stretch
from .rules import NOTHING, Against, Figure, Part


class PeriodTooLong(Refusal):
    status = 422
    label = _l("At most %(most)s days can be counted at once. Choose a shorter period.")
    title = _l("Choose fewer days")
    icon = "calendar"


def stretch_of(first: date, last: date) -> Stretch:
    """The instants of days of the shop, the last one included. Refuses with `PeriodTooLong` more than `rules.MOST_DAYS`."""
    if rules.too_long(first, last):
        raise PeriodTooLong(most=rules.MOST_DAYS)
    return queries.stretch(*instants(first, last))


@dataclass(frozen=True)
class Standing:
    """Somebody on the board: their parts, their places where there is enough to compare, and their days with work."""

    person: Staff
    parts: Mapping[Figure, Part]
    places: Mapping[Figure, int]
    days: int

    @property
    def counted(self) -> bool:
        """Whether anything of theirs was counted."""
        return any(part.n for part in self.parts.values())


@dataclass(frozen=True)
class Board:
    """Everybody who is compared, and how many have enough of each figure."""

    rows: Sequence[Standing]
    compared: Mapping[Figure, int]


def board(
    first: date, last: date, role: Role | None = None, by: Figure | None = None, backwards: bool = False
) -> Board:
    """The staff beside one another, only those of a role when one is named; by name, or by their place in one figure."""
    over = stretch_of(first, last)
    every = queries.every_part(over)
    days = queries.days_with_work(over)
    active = {staff_id for found in every.values() for staff_id in found}
    people = [one for one in queries.people(sorted(active)) if role is None or one.role is role]
    known = {one.id for one in people}
    parts = {figure: {i: part for i, part in found.items() if i in known} for figure, found in every.items()}
    places = {figure: rules.places(figure, found) for figure, found in parts.items()}
    if by is not None:
        order = rules.ordered(by, parts[by], {one.id: one.name for one in people})
        people.sort(key=lambda one: order.index(one.id))
    if backwards:
        people.reverse()
    return Board(
        [
            Standing(
                one,
                {figure: parts[figure].get(one.id, NOTHING) for figure in Figure},
                {figure: found[one.id] for figure, found in places.items() if one.id in found},
                days.get(one.id, 0),
            )
            for one in people
        ],
        {figure: len(found) for figure, found in places.items()},
    )


@dataclass(frozen=True)
class Own:
    """One figure of somebody: theirs, their last period's, the team's median (none when it would tell on a colleague)."""

    figure: Figure
    part: Part
    before: Part
    team: float | None
    well: Against | None


@dataclass(frozen=True)
class OwnPage:
    """Everything on somebody's own page. `waits` is what they still have to do."""

    figures: Sequence[Own]
    days: int
    waits: Sequence[handover.InHand]


def own_page(staff_id: int, first: date, last: date) -> OwnPage:
    """What somebody did, against the team and against the period before."""
    over, past = stretch_of(first, last), stretch_of(*rules.preceding(first, last))
    now, before = queries.every_part(over), queries.every_part(past)
    figures = []
    for figure in Figure:
        part, was = now[figure].get(staff_id, NOTHING), before[figure].get(staff_id, NOTHING)
        team = rules.team_median(figure, now[figure])
        figures.append(Own(figure, part, was, team, rules.went_well(figure, part, was, team)))
    waits = [one for one in handover.in_hand(staff_id, waiting=True) if one.count]
    return OwnPage(figures, queries.days_with_work(over).get(staff_id, 0), waits)


def export(figure: Figure, staff_id: int, first: date, last: date) -> list[Line]:
    """The rows behind somebody's number for a file, and a line in the audit trail about it."""
    audit.record(
        "staff_results.exported",
        "staff",
        staff_id,
        after={"figure": figure.value, "from": first.isoformat(), "to": last.isoformat()},
    )
    return queries.export_of(figure, staff_id, stretch_of(first, last))
