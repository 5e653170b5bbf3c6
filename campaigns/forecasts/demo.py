"""The demo shop's forecasts: a night's work on its real orders."""

from __future__ import annotations

from collections.abc import Callable

from . import services
from .abacus import Abacus


def look_ahead(progress: Callable[[float], None]) -> None:
    """Learn how long things last, work out who is due, and fit the forecasts."""
    services.start_learning(now=True)
    while services.learn_on():
        pass
    progress(0.5)
    services.start_fitting(now=True)
    with Abacus() as abacus:
        while services.fit_on(abacus):
            pass
