"""What the shop knows to answer, the model that tells questions apart, and what people asked."""

from __future__ import annotations

import enum
from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Index, LargeBinary
from sqlalchemy import text as sql
from sqlalchemy.orm import Mapped, deferred, mapped_column

from community.conversations.rules import Band
from kernel.db import db, pk


class Intent(db.Model):
    """A question with its answer. `question` and `answer` are in Chinese, `…_en` what is said in English, empty for none.

    `key` names it in files; `related` are ids of intents that people ask next; `voices` has, by channel, what is said there
    instead of `answer`.
    """

    __tablename__ = "intent"
    id: Mapped[pk]
    public_id: Mapped[str] = mapped_column(unique=True)
    key: Mapped[str] = mapped_column(unique=True)
    topic: Mapped[str] = mapped_column(default="")
    question: Mapped[str]
    question_en: Mapped[str] = mapped_column(default="")
    answer: Mapped[str]
    answer_en: Mapped[str] = mapped_column(default="")
    picture: Mapped[str | None]
    link_url: Mapped[str] = mapped_column(default="")
    link_label: Mapped[str] = mapped_column(default="")
    related: Mapped[list[int]] = mapped_column(default=list)
    voices: Mapped[dict[str, Any]] = mapped_column(default=dict)
    # The pack it came with; empty for the shop's own.
    pack: Mapped[str] = mapped_column(default="")
    enabled: Mapped[bool] = mapped_column(default=True)
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]

    __table_args__ = (Index("ix_intent_topic", "topic", "id"),)


class Source(enum.StrEnum):
    """Where a phrasing comes from: a pack or file, staff, or what customers asked."""

    PACK = "pack"
    STAFF = "staff"
    LEARNED = "learned"


class Phrasing(db.Model):
    """One way in which people ask for an intent. `folded` is how it is compared: no two intents share one."""

    __tablename__ = "phrasing"
    id: Mapped[pk]
    intent_id: Mapped[int] = mapped_column(ForeignKey("intent.id", ondelete="CASCADE"))
    text: Mapped[str]
    folded: Mapped[str] = mapped_column(unique=True)
    source: Mapped[Source]
    created_at: Mapped[datetime]

    __table_args__ = (Index("ix_phrasing_intent", "intent_id", "id"),)


class TrainingState(enum.StrEnum):
    TRAINING = "training"
    READY = "ready"
    TOO_FEW = "too_few"
    FAILED = "failed"


class AnswerModel(db.Model):
    """A version of what was learned. `mark` is the way of learning and the state of the knowledge; `trial` holds a `rules.Trial`."""

    __tablename__ = "answer_model"
    id: Mapped[pk]
    state: Mapped[TrainingState] = mapped_column(default=TrainingState.TRAINING)
    mark: Mapped[str]
    intents: Mapped[int] = mapped_column(default=0)
    phrasings: Mapped[int] = mapped_column(default=0)
    trial: Mapped[dict[str, Any]] = mapped_column(default=dict)
    answer_from: Mapped[float | None]
    offer_from: Mapped[float | None]
    learned: Mapped[bytes | None] = deferred(mapped_column(LargeBinary))
    error: Mapped[str] = mapped_column(default="")
    started_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]

    __table_args__ = (
        Index("uq_answer_model_training", "state", unique=True, postgresql_where=sql("state = 'training'")),
    )


class AskedState(enum.StrEnum):
    """Whether somebody has still to look at a question that was not answered."""

    NONE = "none"
    OPEN = "open"
    SETTLED = "settled"
    DISMISSED = "dismissed"


class AskedQuestion(db.Model):
    """A question that came to the bot and what it said. `candidates` are pairs of intent and probability, the likeliest first."""

    __tablename__ = "asked_question"
    id: Mapped[pk]
    member_id: Mapped[int | None] = mapped_column(ForeignKey("member.id"))
    conversation_id: Mapped[int | None]
    channel: Mapped[str]
    text: Mapped[str]
    folded: Mapped[str]
    band: Mapped[Band]
    # What was answered with, or chosen from the three.
    intent_id: Mapped[int | None] = mapped_column(ForeignKey("intent.id", ondelete="SET NULL"))
    candidates: Mapped[list[Any]] = mapped_column(default=list)
    likely: Mapped[float] = mapped_column(default=0.0)
    model_id: Mapped[int | None]
    helpful: Mapped[bool | None]
    # People had to take the conversation after it.
    handed_over: Mapped[bool] = mapped_column(default=False)
    state: Mapped[AskedState] = mapped_column(default=AskedState.NONE)
    at: Mapped[datetime]

    __table_args__ = (
        CheckConstraint("likely BETWEEN 0 AND 1", name="likely"),
        Index("ix_asked_question_at", sql("at DESC"), sql("id DESC")),
        Index("ix_asked_question_open", sql("at DESC"), sql("id DESC"), postgresql_where=sql("state = 'open'")),
        Index("ix_asked_question_conversation", "conversation_id", "id"),
        Index("ix_asked_question_member", "member_id"),
    )


class SuggestionState(enum.StrEnum):
    OPEN = "open"
    APPROVED = "approved"
    REJECTED = "rejected"


class Suggestion(db.Model):
    """What a customer asked and a person answered: a phrasing to be learned, once somebody has approved it.

    `guess_id` is the intent that the bot takes for likeliest, `intent_id` the one that it was given to.
    """

    __tablename__ = "suggestion"
    id: Mapped[pk]
    member_id: Mapped[int | None] = mapped_column(ForeignKey("member.id"))
    # The message that asked: the same one is suggested once.
    message_id: Mapped[int] = mapped_column(unique=True)
    text: Mapped[str]
    answer: Mapped[str] = mapped_column(default="")
    guess_id: Mapped[int | None] = mapped_column(ForeignKey("intent.id", ondelete="SET NULL"))
    intent_id: Mapped[int | None] = mapped_column(ForeignKey("intent.id", ondelete="SET NULL"))
    likely: Mapped[float] = mapped_column(default=0.0)
    state: Mapped[SuggestionState] = mapped_column(default=SuggestionState.OPEN)
    answered_by_id: Mapped[int | None]
    decided_by_id: Mapped[int | None]
    at: Mapped[datetime]
    decided_at: Mapped[datetime | None]

    __table_args__ = (
        CheckConstraint("(decided_at IS NULL) = (state = 'open')", name="decided"),
        Index("ix_suggestion_state", "state", sql("at DESC"), sql("id DESC")),
        Index("ix_suggestion_member", "member_id"),
    )


class WelcomeCard(db.Model):
    """A question that the Ask page offers before the first word, in a place from 1 to 9."""

    __tablename__ = "welcome_card"
    place: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    intent_id: Mapped[int] = mapped_column(ForeignKey("intent.id", ondelete="CASCADE"))
    label: Mapped[str] = mapped_column(default="")
    label_en: Mapped[str] = mapped_column(default="")

    __table_args__ = (CheckConstraint("place BETWEEN 1 AND 9", name="place"),)


class PackImport(db.Model):
    """A file of questions as it was read, before somebody has said to take it in. `rows` are intents, `errors` what was wrong
    (line, column, reason).

    `raw` is the key of the pictures as they came, one behind the other, until all of them are drawn; a row's own `raw` says
    where in it its picture begins and how many bytes it has. Somebody draws them until `drawing_until`.
    """

    __tablename__ = "pack_import"
    id: Mapped[pk]
    name: Mapped[str]
    filename: Mapped[str]
    rows: Mapped[list[Any]] = mapped_column(default=list)
    errors: Mapped[list[Any]] = mapped_column(default=list)
    raw: Mapped[str | None]
    drawing_until: Mapped[datetime | None]
    staff_id: Mapped[int | None]
    created_at: Mapped[datetime]
    taken_at: Mapped[datetime | None]

    __table_args__ = (Index("ix_pack_import_raw", "id", postgresql_where=sql("raw IS NOT NULL")),)


class PictureState(enum.StrEnum):
    """What became of a picture that came with a pack. `own`: the shop had chosen another one by then."""

    WAITING = "waiting"
    DRAWN = "drawn"
    OWN = "own"
    FAILED = "failed"


class PackPicture(db.Model):
    """A picture of a pack that was taken in: where it stands in the pack's `raw`, and what became of it. A question shows none
    before it is drawn. It goes with its question; `reason` is a key of `labels.PICTURE_FAULTS`.

    `picture` is the key that it is drawn under, written down before anybody draws: what a worker leaves that dies over it is
    drawn over by the next, or found and removed."""

    __tablename__ = "pack_picture"
    id: Mapped[pk]
    import_id: Mapped[int] = mapped_column(ForeignKey("pack_import.id", ondelete="CASCADE"))
    intent_id: Mapped[int] = mapped_column(ForeignKey("intent.id", ondelete="CASCADE"))
    begins: Mapped[int]
    size: Mapped[int]
    state: Mapped[PictureState] = mapped_column(default=PictureState.WAITING)
    reason: Mapped[str] = mapped_column(default="")
    tries: Mapped[int] = mapped_column(default=0)
    picture: Mapped[str | None]

    __table_args__ = (
        Index("ix_pack_picture_import", "import_id", "id"),
        Index("ix_pack_picture_intent", "intent_id"),
        Index("ix_pack_picture_waiting", "import_id", "tries", "id", postgresql_where=sql("state = 'waiting'")),
    )
