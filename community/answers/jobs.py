"""Learning when the knowledge has changed, drawing the pictures of packs, and forgetting what was asked long ago."""

from __future__ import annotations

import logging
from datetime import timedelta

from kernel import clock
from kernel.db import transaction
from kernel.jobs import every, job

from . import services, training
from .services import pictures

log = logging.getLogger(__name__)
SLICE_SECONDS = 20.0


@every(30)
@job(queue="bulk", own_transactions=True)
def learn_answers() -> None:
    """Learn a model if the knowledge has changed since the last one: claim, learn with no transaction open, record."""
    with transaction():
        claimed = services.claim()
    if claimed is None:
        return
    try:
        learned = training.fit(claimed.taught) if claimed.taught else None
    except training.TrainingFailed as failed:
        log.exception("the answers could not be learned")
        with transaction():
            services.record_failure(claimed, str(failed))
        return
    with transaction():
        if learned is None:
            services.record_failure(claimed, "there are no phrasings")
        else:
            services.record(claimed, learned)


@job(queue="bulk", own_transactions=True, endless=True)
def draw_pictures(import_id: int) -> None:
    """Draw pictures of a pack for a slice of time, each between two transactions, and hand on what is left."""
    with transaction():
        ours = pictures.begin(import_id)
    until = clock.now() + timedelta(seconds=SLICE_SECONDS)
    while ours:
        with transaction():
            taken = pictures.take_next(import_id)
            if taken is None:
                pictures.finish(import_id)
        if taken is None:
            return
        drawn = pictures.draw(taken)
        with transaction():
            pictures.record(taken, drawn)
        if clock.now() >= until:
            with transaction():
                pictures.give_back(import_id)
                draw_pictures.later(import_id=import_id)
            return


@every(30)
@job()
def resume_pictures() -> None:
    """Find packs whose pictures nobody draws any more, or that the queue forgot."""
    for import_id in pictures.left_undrawn():
        draw_pictures.later(import_id=import_id)


@every(3_600)
@job(queue="bulk")
def forget_questions() -> None:
    """Delete a stretch of questions that are too old."""
    services.forget_old()
