"""What operations put on the console's first page."""

from __future__ import annotations

from flask import url_for

from .. import events, failures, journal, restoring, today
from ..auth import may
from ..i18n import date_time, ngettext
from ..i18n import gettext as _


def tasks() -> list[today.Task]:
    """A restore that nobody has looked at, a journal that is not written, and work that was given up."""
    if not may("operations.view"):
        return []
    return [*_restored(), *_journal(), *_given_up()]


def _restored() -> list[today.Task]:
    if not restoring.held():
        return []
    return [
        today.Task(
            weight=100,
            text=_("The shop was restored from a backup and writes to nobody until you have looked"),
            url=url_for("operations_console.restored"),
            action=_("See what waits"),
            icon="history",
            about=_("Pushes, journeys, notices and reports wait. Orders, sign-in codes, replies and webhooks go on."),
        )
    ]


def _journal() -> list[today.Task]:
    since = journal.late()
    if since is None:
        return []
    return [
        today.Task(
            weight=92,
            text=_("Refusals have not been written to the journal since %(time)s", time=date_time(since)),
            url=url_for("operations_console.index", _anchor="backup"),
            action=_("See what waits"),
            icon="alert-triangle",
            about=_("If the shop had to be restored now, they would be forgotten."),
        )
    ]


def _given_up() -> list[today.Task]:
    given_up = failures.counts()[1] + events.backlog().dead
    if not given_up:
        return []
    return [
        today.Task(
            weight=80,
            text=ngettext("%(num)s piece of work was given up", "%(num)s pieces of work were given up", given_up),
            url=url_for("operations_console.index", _anchor="given-up"),
            action=ngettext("Look at it", "Look at them", given_up),
            icon="alert-triangle",
        )
    ]


def init() -> None:
    today.tasks.fill(tasks)
