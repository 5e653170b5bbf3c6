"""How the shop runs: queues, workers, the ticker, what has failed; a page for people and numbers for Prometheus.

Rooms of higher floors say what they send, what they are unsure of and what stands still through the ports here.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from flask import Flask

from ..ports import Port


@dataclass(frozen=True)
class Sending:
    """Messages on their way: `rate` is messages a second."""

    label: str
    url: str
    done: int
    total: int
    rate: float = 0.0
    left: timedelta | None = None
    state: Any = ""


@dataclass(frozen=True)
class Concern:
    """Something that a person has to look at: how many messages are in doubt, or that an account stands still."""

    label: Any
    url: str
    about: Any = ""
    count: int = 0


@dataclass(frozen=True)
class Family:
    """Numbers of one name for Prometheus; `kind` is gauge or counter, each sample its labels and its value."""

    name: str
    kind: str
    about: str
    samples: list[tuple[dict[str, str], float]] = field(default_factory=list)


sendings: Port[[], list[Sending]] = Port("operations.sendings")
doubts: Port[[], list[Concern]] = Port("operations.doubts")
halted: Port[[], list[Concern]] = Port("operations.halted")
families: Port[[], Iterable[Family]] = Port("operations.families")


def init_app(app: Flask) -> None:
    """Count requests, and open the page and the numbers."""
    from .. import restoring
    from . import brief, console, metrics, requests

    restoring.init_app(app)
    requests.init_app(app)
    console.init_app(app)
    metrics.init_app(app)
    brief.init()
