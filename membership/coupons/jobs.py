"""Sweeps: they only write down what the clock has decided already."""

from __future__ import annotations

from kernel.db import transaction
from kernel.jobs import every, job

from . import services
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
