"""The fixtures that tests of pushes under faults share."""

from __future__ import annotations

from tests.faults.sending import shop_floor, sink, workers

__all__ = ["shop_floor", "sink", "workers"]
