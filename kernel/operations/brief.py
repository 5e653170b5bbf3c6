"""What operations put on the console's first page."""

from __future__ import annotations

from flask import url_for

from .. import events, failures, today
from ..auth import may
from ..i18n import ngettext


def tasks() -> list[today.Task]:
    """Work that was given up: nobody does it until somebody looks."""
    if not may("operations.view"):
        return []
    given_up = failures.counts()[1] + events.backlog().dead
    if not given_up:
        return []
    return [
        today.Task(
            weight=80,
            text=ngettext("%(num)d piece of work was given up", "%(num)d pieces of work were given up", given_up),
            url=url_for("operations_console.index", _anchor="given-up"),
            action=ngettext("Look at it", "Look at them", given_up),
            icon="alert-triangle",
        )
    ]


def init() -> None:
    today.tasks.fill(tasks)
