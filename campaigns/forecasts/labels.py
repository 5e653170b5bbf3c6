"""Words of looking ahead: where days of use come from, what a fit came to, numbers as people read them."""

from __future__ import annotations

import math
from datetime import date
from typing import Any

from kernel.i18n import gettext as _
from kernel.i18n import lazy_gettext as _l
from kernel.i18n import ngettext, number

from .models import Basis, ModelState, ProductClock
from .rules import BINS, BUCKETS, Calibration

BASES: dict[Any, Any] = {
    Basis.SET: _l("set by staff"),
    Basis.LEARNED: _l("learned from real gaps"),
    Basis.CATEGORY: _l("from its category"),
    Basis.SHOP: _l("from the whole shop"),
}
FILTERS: dict[str, Any] = {**{basis.value: words for basis, words in BASES.items()}, "none": _l("no clock")}
STATES: dict[ModelState, Any] = {
    ModelState.FITTING: _l("being fitted"),
    ModelState.SCORING: _l("working members out"),
    ModelState.DONE: _l("fitted"),
    ModelState.TOO_FEW: _l("not enough data"),
    ModelState.FAILED: _l("failed"),
}


def days(value: float) -> str:
    """So many days, with one decimal below ten."""
    shown = round(value, 1) if value < 10 else round(value)
    if shown == int(shown):
        return str(ngettext("one day", "%(num)s days", int(shown)))
    return str(_("%(days)s days", days=number(shown)))


def bins(found: ProductClock) -> list[dict[str, Any]]:
    """The histogram of a product as rows of a chart."""
    width = found.bin_days
    rows = []
    for place, n in enumerate(found.histogram):
        low, high = place * width, (place + 1) * width
        label = (
            _("%(low)s to %(high)s days", low=low, high=high) if place < BINS else _("%(low)s days or more", low=low)
        )
        rows.append({"label": str(label), "value": n, "text": number(n)})
    # Empty bins at the long end say nothing.
    while len(rows) > 1 and not rows[-1]["value"]:
        rows.pop()
    return rows


def repeats(x: int) -> str:
    """A bucket of the trial: customers by how often they had come back."""
    return str(_("%(num)s or more", num=x)) if x >= BUCKETS else str(x)


def signed(share: float | None) -> str:
    """An error as a share with its sign."""
    return "–" if share is None else f"{share * 100:+.1f}%"


def iso_day(text: str) -> date:
    """A business date as it is stored."""
    return date.fromisoformat(text)


# The room of the picture, in its own units: left and right edge, ceiling and floor.
LEFT, RIGHT, CEILING, FLOOR = 44, 636, 12, 210


def plot(trial: Calibration) -> dict[str, Any]:
    """Where everything of the calibration's picture stands: a bar a bucket for what came, points and a line for what was
    expected, a broken line for each customer's own rate."""
    highest = max([max(one.actual, one.expected, one.naive) for one in trial.buckets] + [0.1])
    step = next(one for one in (0.1, 0.25, 0.5, 1, 2, 5, 10, 25, 50, 100, 1_000, 10_000) if highest / one <= 5)
    top = math.ceil(highest / step) * step

    def at(value: float) -> float:
        return round(FLOOR - (FLOOR - CEILING) * value / top, 1)

    room = (RIGHT - LEFT) / max(len(trial.buckets), 1)
    bars = [
        {
            "x": round(LEFT + room * place + room * 0.25, 1),
            "middle": round(LEFT + room * (place + 0.5), 1),
            "top": at(one.actual),
            "height": round(FLOOR - at(one.actual), 1),
            "expected": at(one.expected),
            "naive": at(one.naive),
            "label": repeats(one.repeats),
        }
        for place, one in enumerate(trial.buckets)
    ]
    return {
        "bars": bars,
        "width": round(room * 0.5, 1),
        "lines": [(at(step * line), f"{step * line:g}") for line in range(round(top / step) + 1)],
        "expected": " ".join(f"{bar['middle']},{bar['expected']}" for bar in bars),
        "naive": " ".join(f"{bar['middle']},{bar['naive']}" for bar in bars),
    }
