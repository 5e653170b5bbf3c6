"""Learning when the knowledge has changed, and forgetting what was asked long ago."""

from __future__ import annotations

import logging

from kernel.db import transaction
from kernel.jobs import every, job

from . import services, training

log = logging.getLogger(__name__)


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


@every(3_600)
@job(queue="bulk")
def forget_questions() -> None:
    """Delete a stretch of questions that are too old."""
    services.forget_old()
