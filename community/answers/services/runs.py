"""Learning a model when the knowledge has changed: claim, learn with no transaction open, record."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from sqlalchemy import and_, delete, func, not_, select, update
from sqlalchemy.dialects.postgresql import insert

from kernel import clock, shop
from kernel.db import changed, db

from .. import brain, rules, training
from ..models import AnswerModel, AskedQuestion, AskedState, Intent, Phrasing, TrainingState

# A run whose worker died is given up after so long; former models and questions are kept for so long.
GIVEN_UP, KEPT, REMEMBERED = timedelta(minutes=20), 10, timedelta(days=400)
DIED: Final = "its worker ended"


@dataclass(frozen=True)
class Claimed:
    """A run that is this worker's: its row, and what to learn from."""

    model_id: int
    mark: str
    taught: tuple[training.Taught, ...]


def claim() -> Claimed | None:
    """Begin to learn if the knowledge, or the way of learning, has changed since the last run and nobody else does.

    Of knowledge that failed to be learned the next try waits for a change; a run whose worker died says nothing about the
    knowledge, and is repeated once it is given up.
    """
    now = clock.now()
    db.session.execute(
        update(AnswerModel)
        .where(AnswerModel.state == TrainingState.TRAINING, AnswerModel.started_at < now - GIVEN_UP)
        .values(state=TrainingState.FAILED, error=DIED, finished_at=now)
    )
    knowledge, _model = brain.marks()
    mark = f"{training.LEARNER}:{knowledge}"
    last = db.session.scalar(
        select(AnswerModel.mark)
        .where(not_(and_(AnswerModel.state == TrainingState.FAILED, AnswerModel.error == DIED)))
        .order_by(AnswerModel.id.desc())
        .limit(1)
    )
    if not knowledge or last == mark:
        return None
    row_id = db.session.scalar(
        insert(AnswerModel)
        .values(state=TrainingState.TRAINING, mark=mark, started_at=now, intents=0, phrasings=0, trial={}, error="")
        .on_conflict_do_nothing()
        .returning(AnswerModel.id)
    )
    if row_id is None:
        return None
    rows = db.session.execute(
        select(Phrasing.intent_id, Phrasing.text)
        .add_columns(
            func.row_number().over(partition_by=Phrasing.intent_id, order_by=Phrasing.id.desc()).label("place")
        )
        .order_by(Phrasing.id)
    )
    taught = [training.Taught(i, text) for i, text, place in rows if place <= rules.MOST_PHRASINGS]
    titles = db.session.execute(select(Intent.id, Intent.question).order_by(Intent.id))
    taught += [training.Taught(i, question, title=True) for i, question in titles]
    return Claimed(row_id, mark, tuple(taught))


def record(claimed: Claimed, learned: training.Learned) -> None:
    """Keep what was learned and let it answer from now on."""
    fine = learned.trial is not None
    done = db.session.execute(
        update(AnswerModel)
        .where(AnswerModel.id == claimed.model_id, AnswerModel.state == TrainingState.TRAINING)
        .values(
            state=TrainingState.READY if fine else TrainingState.TOO_FEW,
            intents=len(learned.model.intents),
            phrasings=sum(1 for one in claimed.taught if not one.title),
            trial=learned.trial.dump() if learned.trial is not None else {},
            answer_from=learned.thresholds.answer,
            offer_from=learned.thresholds.offer,
            learned=learned.model.dump() if fine else None,
            finished_at=clock.now(),
        )
        .execution_options(synchronize_session="fetch")
    )
    if changed(done):
        shop.put(brain.MODEL, claimed.model_id if fine else 0)
        # Only the weights of the present model are needed; the trials of former ones are compared on the accuracy page.
        db.session.execute(
            update(AnswerModel)
            .where(AnswerModel.id < claimed.model_id)
            .values(learned=None)
            .execution_options(synchronize_session="fetch")
        )
        old = select(AnswerModel.id).order_by(AnswerModel.id.desc()).offset(KEPT)
        db.session.execute(
            delete(AnswerModel).where(AnswerModel.id.in_(old)).execution_options(synchronize_session="fetch")
        )


def record_failure(claimed: Claimed, error: str) -> None:
    """Keep that it failed, and why; the former model goes on answering."""
    done = db.session.execute(
        update(AnswerModel)
        .where(AnswerModel.id == claimed.model_id, AnswerModel.state == TrainingState.TRAINING)
        .values(state=TrainingState.FAILED, error=error[-500:], finished_at=clock.now())
        .execution_options(synchronize_session="fetch")
    )
    changed(done)


def forget_old(most: int = 5_000) -> int:
    """Delete questions that are older than is remembered and that nobody has still to look at; returns how many."""
    old = (
        select(AskedQuestion.id)
        .where(AskedQuestion.at < clock.now() - REMEMBERED, AskedQuestion.state != AskedState.OPEN)
        .order_by(AskedQuestion.at)
        .limit(most)
    )
    return changed(db.session.execute(delete(AskedQuestion).where(AskedQuestion.id.in_(old))))
