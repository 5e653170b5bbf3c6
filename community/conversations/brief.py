"""What conversations put on the console's first page."""

from __future__ import annotations

from flask import url_for

from kernel import today
from kernel.auth import current_staff, may
from kernel.i18n import gettext as _
from kernel.i18n import ngettext

from . import queries


def tasks() -> list[today.Task]:
    """Customers who wait for a person, and one's own conversations without an answer."""
    who = current_staff()
    if who is None or not may("talks.view"):
        return []
    found = []
    if waiting := queries.waiting_count():
        found.append(
            today.Task(
                weight=95,
                text=ngettext("%(num)s customer waits for a person", "%(num)s customers wait for a person", waiting),
                url=url_for("conversations_console.index", view="waiting"),
                action=_("Answer them"),
                icon="messages",
            )
        )
    if mine := queries.unanswered(who.id):
        found.append(
            today.Task(
                weight=85,
                text=ngettext("%(num)s question to you is unanswered", "%(num)s questions to you are unanswered", mine),
                url=url_for("conversations_console.index"),
                action=_("Answer them"),
                icon="message-2",
            )
        )
    return found


def init() -> None:
    """Register with the kernel's ports."""
    today.tasks.fill(tasks)
