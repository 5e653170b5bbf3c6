"""What the room says elsewhere: on the console's first page, in its search, and on a member's page."""

from __future__ import annotations

from collections.abc import Collection
from datetime import timedelta

from flask import render_template, url_for
from markupsafe import Markup

from campaigns.audiences import queries as audiences
from kernel import clock, today
from kernel.auth import may
from kernel.i18n import gettext as _
from kernel.i18n import ngettext
from kernel.ports import fill_slot
from membership.members.models import Member

from . import labels, queries


def tasks() -> list[today.Task]:
    """Journeys in which people met an error this week."""
    if not may("journeys.view"):
        return []
    return [
        today.Task(
            weight=45,
            text=ngettext(
                "%(num)s member was stopped by an error in “%(name)s”",
                "%(num)s members were stopped by an error in “%(name)s”",
                people,
                name=journey.name,
            ),
            url=url_for("journeys_console.people", journey_id=journey.id, state="failed"),
            action=_("See whom"),
            icon="alert-triangle",
        )
        for journey, people in queries.stuck(clock.now() - timedelta(days=7))
    ]


def find(wanted: str) -> list[today.Hit]:
    """Journeys by name."""
    if len(wanted) < 2 or not may("journeys.view"):
        return []
    return [
        today.Hit(
            kind=_("Journey"),
            title=journey.name,
            url=url_for("journeys_console.show", journey_id=journey.id),
            about=str(labels.STATES[journey.state]),
        )
        for journey in queries.found(wanted)
    ]


def uses_of_audiences(audience_ids: Collection[int]) -> dict[int, list[audiences.Use]]:
    """The journeys that follow saved audiences by name: these cannot be removed while they do."""
    return {
        audience_id: [
            audiences.Use(journey.name, url_for("journeys_console.show", journey_id=journey.id)) for journey in journeys
        ]
        for audience_id, journeys in queries.following(audience_ids).items()
    }


def side_card(member: Member) -> Markup:
    """The latest journeys of a member, on their page in the console."""
    if not may("journeys.view"):
        return Markup("")
    rows = queries.of_member(member.id)
    if not rows:
        return Markup("")
    return Markup(render_template("journeys/_member.html", rows=rows, labels=labels))  # noqa: S704


def init() -> None:
    """Fill the ports and slots of the floors below."""
    today.tasks.fill(tasks)
    today.search.fill(find)
    audiences.uses.fill(uses_of_audiences)
    fill_slot("member.side", order=75)(side_card)
