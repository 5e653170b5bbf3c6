"""What a process keeps in memory to answer with: the model of the shop, or the phrasings themselves until there is one.

The knowledge carries a mark (a shop setting that every change renews), read with the other settings of the transaction; only when it
has changed is anything loaded anew.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Final

from sqlalchemy import select
from sqlalchemy.orm import undefer

from kernel import shop
from kernel.db import db

from . import rules
from .models import AnswerModel, Intent, Phrasing, TrainingState
from .scoring import Model, Neighbours, Scored

MARK: Final = "answers.mark"
MODEL: Final = "answers.model"


@dataclass(frozen=True)
class Brain:
    """Everything that scoring needs. `model` is None while the neighbours answer."""

    marks: tuple[str, int]
    enabled: frozenset[int]
    thresholds: rules.Thresholds
    model: Model | None
    neighbours: Neighbours | None
    model_id: int | None

    def likely(self, text: str) -> list[Scored]:
        """The enabled intents by how likely each is meant, the likeliest first."""
        if self.model is not None:
            return self.model.likely(text, self.enabled)
        return self.neighbours.likely(text, self.enabled) if self.neighbours is not None else []

    def reasons(self, text: str, intent_id: int) -> list[tuple[str, float]]:
        """What in the text speaks for the intent; nothing while the neighbours answer."""
        return self.model.shares(text, intent_id) if self.model is not None else []


_lock = threading.Lock()
_kept: dict[str, Brain] = {}


def marks() -> tuple[str, int]:
    """The state of the knowledge, and the model that counts (0 for none)."""
    return str(shop.get(MARK, "")), int(shop.get(MODEL, 0))


def think() -> Brain:
    """The brain for the present state of the knowledge."""
    now = marks()
    found = _kept.get("brain")
    if found is not None and found.marks == now:
        return found
    with _lock:
        found = _kept.get("brain")
        if found is None or found.marks != now:
            found = _kept["brain"] = _load(now, found)
    return found


def _load(now: tuple[str, int], former: Brain | None) -> Brain:
    enabled = frozenset(db.session.scalars(select(Intent.id).where(Intent.enabled)))
    row = db.session.scalar(
        select(AnswerModel)
        .where(AnswerModel.id == now[1], AnswerModel.state == TrainingState.READY)
        .options(undefer(AnswerModel.learned))
    )
    if row is not None and row.learned:
        same = former is not None and former.model_id == row.id
        model = former.model if same and former is not None and former.model is not None else Model.load(row.learned)
        # Whatever was written after the model was learned is found by likeness until the next one is there.
        if enabled <= set(model.intents):
            thresholds = rules.Thresholds(
                row.answer_from if row.answer_from is not None else rules.UNMEASURED.answer,
                row.offer_from if row.offer_from is not None else rules.UNMEASURED.offer,
            )
            return Brain(now, enabled, thresholds, model, None, row.id)
    texts = [
        (intent_id, text)
        for intent_id, text in db.session.execute(
            select(Phrasing.intent_id, Phrasing.text).where(Phrasing.intent_id.in_(enabled)).order_by(Phrasing.id)
        )
    ]
    titles = db.session.execute(select(Intent.id, Intent.question).where(Intent.enabled).order_by(Intent.id))
    texts += [(intent_id, question) for intent_id, question in titles]
    return Brain(now, enabled, rules.UNMEASURED, None, Neighbours(texts), None)
