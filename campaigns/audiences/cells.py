"""The shop as a grid of five by five: how recently people ordered, by how often; each cell is an audience to be made.

Recency and frequency as in RFM analysis (A. M. Hughes, "Strategic Database Marketing", 1994: quintiles of the customers); the
money of a cell is what its people spent on average. Each band is written as plain limits, so that the audience made from a
cell is made of ordinary rules and stays what it was when the shop grows.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Integer, cast, func

from kernel import clock
from kernel.db import db
from membership.members import queries as members
from membership.members.models import Member

from . import rules


@dataclass(frozen=True)
class Cell:
    """One field of the grid: recency 5 is the latest, frequency 5 the most orders; `spend` is their average in 分."""

    recency: int
    frequency: int
    people: int
    spend: int

    @property
    def key(self) -> str:
        return f"{self.recency}{self.frequency}"


@dataclass(frozen=True)
class Grid:
    """Every cell, recency 5 first; the limits of the bands as (first, last) days and orders, 5 first and 1 first."""

    cells: list[list[Cell]]
    days: list[tuple[int, int | None]]
    orders: list[tuple[int, int | None]]
    people: int
    most: int


# Everybody by days since the last order and by orders: few pairs, read in one pass.
def _pairs() -> list[tuple[int, int, int, int]]:
    begin = clock.day_bounds(clock.today())[1]
    days = cast(func.greatest(func.floor(func.extract("epoch", begin - Member.last_order_at) / 86_400), 0), Integer)
    statement = (
        members.live()
        .where(Member.last_order_at.is_not(None), Member.orders_count > 0)
        .with_only_columns(
            days.label("days"),
            Member.orders_count,
            func.count().label("people"),
            func.sum(Member.spend).label("spend"),
        )
        .group_by("days", Member.orders_count)
    )
    return [(row[0], row[1], row[2], int(row[3])) for row in db.session.execute(statement)]


def grid() -> Grid:
    """The shop of today; nobody who never ordered is in it."""
    pairs = _pairs()
    recency = rules.bands([(days, people) for days, _orders, people, _spend in pairs], 0)
    frequency = rules.bands([(orders, people) for _days, orders, people, _spend in pairs], 1)
    people = [[0] * 5 for _ in range(5)]
    spend = [[0] * 5 for _ in range(5)]
    for days, orders, n, money in pairs:
        row, column = recency.place(days), frequency.place(orders)
        people[row][column] += n
        spend[row][column] += money
    cells = [
        [
            Cell(5 - row, column + 1, people[row][column], spend[row][column] // max(people[row][column], 1))
            for column in range(5)
        ]
        for row in range(5)
    ]
    everybody = [cell.people for row in cells for cell in row]
    return Grid(
        cells,
        [recency.ends(band) for band in range(5)],
        [frequency.ends(band) for band in range(5)],
        sum(everybody),
        max(everybody),
    )


def definition_of(found: Grid, key: str) -> rules.Definition | None:
    """The rules that a cell ("53": recency 5, frequency 3) stands for; None for what is no cell."""
    if len(key) != 2 or not all(letter in "12345" for letter in key):
        return None
    since, until = found.days[5 - int(key[0])]
    least, most = found.orders[int(key[1]) - 1]
    return rules.Definition(
        rules=(
            rules.LastOrderRule(from_days=since, to_days=until),
            rules.OrdersRule(from_count=least, to_count=most),
        )
    )
