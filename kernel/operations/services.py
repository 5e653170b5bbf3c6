"""What people do about what has failed: try it again, or let it be."""

from __future__ import annotations

from flask import current_app
from redis import RedisError

from .. import audit, events, failures, jobs
from ..db import db
from ..errors import NotFound, Refusal
from ..failures import FailedJob
from ..i18n import lazy_gettext as _l


class JobGone(Refusal):
    status = 409
    label = _l("This version of the program has no such work any more. Drop it from the list.")


class QueueSilent(Refusal):
    status = 503
    label = _l("The queue server does not answer, so nothing was changed. Try again when it is back.")
    title = _l("The queue is away")


def _get(failed_id: int) -> FailedJob:
    found = db.session.get(FailedJob, failed_id)
    if found is None or found.dropped_at is not None:
        raise NotFound
    return found


def redrive(failed_id: int) -> None:
    """Queue a failed job again with all its tries. Refuses with `JobGone` one that this version does not know."""
    found = _get(failed_id)
    job = jobs.find(found.name)
    if job is None:
        raise JobGone
    try:
        failures.forget(found, jobs.connection(current_app.extensions["settings"]))
    except RedisError:
        raise QueueSilent from None
    job.later(**found.arguments)
    audit.record("failed_job.redriven", "failed_job", found.id, before={"job": found.name, "error": found.error})


def drop(failed_id: int) -> None:
    """Take a failed job off the list; under these arguments it is never begun again, unless it is one that always is."""
    found = _get(failed_id)
    job = jobs.find(found.name)
    if job is not None and job.goes_on:
        db.session.delete(found)
    else:
        failures.drop(found)
    audit.record("failed_job.dropped", "failed_job", found.id, before={"job": found.name, "error": found.error})


def redrive_delivery(event_id: int, subscriber: str) -> None:
    """Hand an event over again to a subscriber that it was given up for."""
    if not events.revive(event_id, subscriber):
        raise NotFound
    audit.record("event_delivery.redriven", "event", event_id, before={"subscriber": subscriber})


def drop_delivery(event_id: int, subscriber: str) -> None:
    """Let a subscriber never hear of an event that it was given up for."""
    if not events.drop(event_id, subscriber):
        raise NotFound
    audit.record("event_delivery.dropped", "event", event_id, before={"subscriber": subscriber})


def redrive_all_deliveries() -> int:
    """Hand every given-up delivery over again; returns how many there were."""
    people = 0
    for delivery in events.dead():
        people += events.revive(delivery.event_id, delivery.subscriber)
    if people:
        audit.record("event_delivery.redriven", "event", None, after={"deliveries": people})
    return people
