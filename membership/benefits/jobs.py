"""Rounds by the clock: each month's coupons, birthdays, and what was missed."""

from __future__ import annotations

from kernel.db import transaction
from kernel.jobs import every, job

from . import services


@every(seconds=600)
@job(queue="bulk", own_transactions=True)
def give_monthly_coupons() -> None:
    """This calendar month's coupons to everybody whose tier has one, a slice a transaction."""
    going = True
    while going:
        with transaction():
            going = services.give_month_slice()


@every(seconds=3600)
@job(queue="bulk", own_transactions=True)
def give_birthday_gifts() -> None:
    """The gifts of birthdays that are near, a slice a transaction."""
    last: int | None = 0
    while last is not None:
        with transaction():
            last = services.give_birthday_slice(last)
