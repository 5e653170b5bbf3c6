"""The verbs of looking ahead."""

from .clocks import learn_on, needs_night, refresh_stale, reset_days, resolve, set_days, spot_changed, start_learning
from .due import mark, watch
from .fitting import fit_on, start_fitting

__all__ = [
    "fit_on",
    "learn_on",
    "mark",
    "needs_night",
    "refresh_stale",
    "reset_days",
    "resolve",
    "set_days",
    "spot_changed",
    "start_fitting",
    "start_learning",
    "watch",
]
