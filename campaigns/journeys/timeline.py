"""What the events of journeys say on a member's timeline."""

from __future__ import annotations

from typing import Any

from flask import url_for
from markupsafe import Markup, escape

from kernel.auth import may
from kernel.db import db
from kernel.events import describes
from kernel.i18n import gettext as _

from . import labels
from .events import EventReceived, JourneyEnded, JourneyEntered
from .models import Journey, PlaceState


def _name(journey_id: int) -> Any:
    journey = db.session.get(Journey, journey_id)
    if journey is None:
        return _("a journey")
    if not may("journeys.view"):
        return journey.name
    return Markup('<a href="{}">{}</a>').format(url_for("journeys_console.show", journey_id=journey.id), journey.name)


@describes(JourneyEntered)
def entered(event: JourneyEntered) -> Any:
    return escape(_("Entered the journey %(name)s")) % {"name": _name(event.journey_id)}


@describes(JourneyEnded)
def ended(event: JourneyEnded) -> Any:
    if event.state == PlaceState.DONE:
        return escape(_("Came to the end of the journey %(name)s")) % {"name": _name(event.journey_id)}
    if event.state == PlaceState.FAILED:
        return escape(_("The journey %(name)s stopped with an error")) % {"name": _name(event.journey_id)}
    return escape(_("Left the journey %(name)s: %(reason)s")) % {
        "name": _name(event.journey_id),
        "reason": labels.reason(event.reason),
    }


@describes(EventReceived)
def received(event: EventReceived) -> Any:
    return _("Another program reports “%(type)s”", type=event.type)
