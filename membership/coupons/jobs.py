"""Long work in slices, and sweeps that write down what the clock has decided already."""

from __future__ import annotations

from kernel.db import transaction
from kernel.jobs import every, job

from . import services
from .services import granting, pools, reminders
from .services.states import SWEEP_SIZE


@every(60)
@job(own_transactions=True)
def expire_coupons() -> None:
    """Write down expired coupons and ended reservations, a slice a transaction."""
    while True:
        with transaction():
            swept = services.sweep()
        if swept < SWEEP_SIZE:
            return


@every(300)
@job(own_transactions=True)
def remind_owners() -> None:
    """Tell owners of coupons that are about to end, a slice a transaction."""
    while True:
        with transaction():
            told = reminders.remind()
        if told < reminders.SLICE:
            return


@job(queue="bulk", own_transactions=True)
def fill_pool(pool_id: int) -> None:
    """Make or read in a pool's codes, a slice a transaction."""
    more = True
    while more:
        with transaction():
            more = pools.fill(pool_id)


@job(queue="bulk", own_transactions=True)
def give_coupons(run_id: int) -> None:
    """Give the coupons of a run, a slice a transaction."""
    more = True
    while more:
        with transaction():
            more = granting.work(run_id)


@every(15)
@job()
def resume_coupon_work() -> None:
    """Find pools and runs that nobody works on any more, and have them gone on with."""
    for pool_id in pools.unfinished():
        fill_pool.later(pool_id=pool_id)
    for run_id in granting.unfinished():
        give_coupons.later(run_id=run_id)
