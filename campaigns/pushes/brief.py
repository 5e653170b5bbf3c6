"""What the room says elsewhere: on the console's first page, in its search, and on a member's page."""

from __future__ import annotations

from datetime import timedelta

from flask import render_template, url_for
from markupsafe import Markup

from kernel import clock, today
from kernel.auth import acting_staff, may
from kernel.i18n import date_time, ngettext
from kernel.i18n import gettext as _
from kernel.ports import fill_slot
from membership.members.models import Member

from . import labels, operations, queries
from .models import RunState


def tasks() -> list[today.Task]:
    """Drafts whose moment has come unscheduled, pushes that stand still or failed, and messages in doubt."""
    if not may("pushes.view"):
        return []
    found = [
        today.Task(
            weight=60,
            text=_(
                "“%(name)s” was meant for %(time)s and is still a draft",
                name=push.name,
                time=date_time(run.scheduled_at),
            ),
            url=url_for("pushes_console.edit", push_id=push.id),
            action=_("Schedule it"),
            icon="calendar-time",
        )
        for push, run in queries.waiting_drafts()
    ]
    if may("pushes.approve"):
        found += [
            today.Task(
                weight=65,
                text=_("“%(name)s” waits for your approval", name=push.name),
                url=url_for("pushes_console.show", push_id=push.id, run=run.id),
                action=_("Look at it"),
                icon="check",
                name=f"pushes.approval:{run.id}",
            )
            for push, run in queries.waiting_approvals(acting_staff().id)
        ]
    found += [
        today.Task(
            weight=70,
            text=_("“%(name)s” stands still", name=push.name),
            url=url_for("pushes_console.show", push_id=push.id),
            action=_("Look at it"),
            icon="player-pause",
            name=f"pushes.paused:{run.id}",
        )
        for run, push in queries.running()
        if run.state is RunState.PAUSED
    ]
    found += [
        today.Task(
            weight=50,
            text=ngettext(
                "%(num)s message of “%(name)s” is in doubt",
                "%(num)s messages of “%(name)s” are in doubt",
                people,
                name=push.name,
            ),
            url=url_for("pushes_console.show", push_id=push.id),
            action=_("See whom"),
            icon="help-circle",
            name=f"pushes.doubt:{push.id}",
        )
        for push, people in queries.in_doubt(clock.now() - timedelta(days=7))
    ]
    found += [
        today.Task(
            weight=78,
            text=_("“%(name)s” could not be sent", name=push.name),
            url=url_for("pushes_console.show", push_id=push.id, run=run.id),
            action=_("See why"),
            icon="alert-triangle",
            about=run.failure or "",
            name=f"pushes.failed:{run.id}",
        )
        for run, push in queries.failed(clock.now() - timedelta(days=7))
    ]
    return found


def running() -> list[today.Running]:
    """The pushes under way, each with its bar."""
    if not may("pushes.view"):
        return []
    rows = queries.running()
    progress = queries.progress_of([run for run, _push in rows])
    return [
        today.Running(
            label=push.name,
            url=url_for("pushes_console.show", push_id=push.id),
            done=progress[run.id].done,
            total=progress[run.id].total,
            state=labels.RUN_STATES[run.state],
        )
        for run, push in rows
    ]


def find(wanted: str) -> list[today.Hit]:
    """Pushes by name or title."""
    if len(wanted) < 2 or not may("pushes.view"):
        return []
    return [
        today.Hit(
            kind=_("Push"),
            title=push.name,
            url=url_for("pushes_console.show", push_id=push.id),
            about=str(labels.RUN_STATES[run.state]),
        )
        for run, push in queries.found(wanted)
    ]


def side_card(member: Member) -> Markup:
    """The latest pushes that concerned a member, on their page in the console."""
    if not may("pushes.view"):
        return Markup("")
    rows = queries.of_member(member.id)
    if not rows:
        return Markup("")
    return Markup(render_template("pushes/_member.html", rows=rows, labels=labels))  # noqa: S704


def init() -> None:
    """Fill the ports and slots of the floors below."""
    today.tasks.fill(tasks)
    today.running.fill(running)
    today.search.fill(find)
    operations.init()
    fill_slot("member.side", order=70)(side_card)
