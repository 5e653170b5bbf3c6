"""Reads: the knowledge base and its list, what was asked and suggested, the models, and how answers went."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Select, and_, func, or_, select

from community.conversations.rules import Band
from kernel import clock, files
from kernel.db import db, escaped
from kernel.errors import NotFound
from kernel.pages import order_by

from . import words
from .models import (
    AnswerModel,
    AskedQuestion,
    AskedState,
    Intent,
    PackImport,
    PackPicture,
    Phrasing,
    PictureState,
    Suggestion,
    SuggestionState,
    TrainingState,
    WelcomeCard,
)


def get_intent(intent_id: int) -> Intent:
    """The intent, or `NotFound`."""
    found = db.session.get(Intent, intent_id)
    if found is None:
        raise NotFound
    return found


def find_intent(intent_id: int | None) -> Intent | None:
    return db.session.get(Intent, intent_id) if intent_id is not None else None


def find_by_key(key: str) -> Intent | None:
    return db.session.scalar(select(Intent).where(Intent.key == key))


def enabled(intent_ids: Sequence[int]) -> Sequence[Intent]:
    """Those of the intents that are switched on, in the order they were asked for."""
    found = {i.id: i for i in db.session.scalars(select(Intent).where(Intent.id.in_(intent_ids), Intent.enabled))}
    return [found[intent_id] for intent_id in intent_ids if intent_id in found]


def all_enabled() -> Sequence[Intent]:
    """Every intent that is switched on, by topic."""
    return db.session.scalars(select(Intent).where(Intent.enabled).order_by(Intent.topic, Intent.id)).all()


# So long the pictures of a file that somebody looked at wait for being taken in.
PACK_WAITS = timedelta(days=7)


@files.public_in_use.fill
def pictures_in_use(keys: Sequence[str]) -> set[str]:
    """Which of these pictures an answer has, or a file that was looked at lately and may still be taken in."""
    used = {key for key in db.session.scalars(select(Intent.picture).where(Intent.picture.in_(keys))) if key}
    waiting = select(PackImport.rows).where(
        PackImport.taken_at.is_(None), PackImport.created_at > clock.now() - PACK_WAITS
    )
    used |= {str(row["picture"]) for rows in db.session.scalars(waiting) for row in rows if row.get("picture")}
    return used & set(keys)


@files.private_in_use.fill
def raw_in_use(keys: Sequence[str]) -> set[str]:
    """Which of these are pictures of packs as they came that may still be taken in, or are still to be drawn."""
    needed = or_(PackImport.taken_at.is_not(None), PackImport.created_at > clock.now() - PACK_WAITS)
    return {key for key in db.session.scalars(select(PackImport.raw).where(PackImport.raw.in_(keys), needed)) if key}


def any_enabled() -> bool:
    return db.session.scalar(select(Intent.id).where(Intent.enabled).limit(1)) is not None


def find_public(public_id: str) -> Intent | None:
    return db.session.scalar(select(Intent).where(Intent.public_id == public_id))


def related_to(intent: Intent) -> Sequence[Intent]:
    """What people ask next."""
    return enabled(intent.related) if intent.related else []


def choices() -> list[tuple[int, str]]:
    """Every intent as a choice of a form."""
    return [(i, q) for i, q in db.session.execute(select(Intent.id, Intent.question).order_by(Intent.topic, Intent.id))]


def names(intent_ids: Sequence[int | None]) -> dict[int, str]:
    """What intents are called."""
    wanted = [one for one in intent_ids if one]
    rows = db.session.execute(select(Intent.id, Intent.question).where(Intent.id.in_(wanted)))
    return {row.id: row.question for row in rows}


def phrasings(intent_id: int) -> Sequence[Phrasing]:
    return db.session.scalars(select(Phrasing).where(Phrasing.intent_id == intent_id).order_by(Phrasing.id)).all()


def phrasings_of(intent_ids: Sequence[int]) -> dict[int, list[str]]:
    """The phrasings of many intents."""
    found: dict[int, list[str]] = defaultdict(list)
    rows = select(Phrasing.intent_id, Phrasing.text).where(Phrasing.intent_id.in_(intent_ids)).order_by(Phrasing.id)
    for intent_id, text in db.session.execute(rows):
        found[intent_id].append(text)
    return found


def topics() -> list[str]:
    return [one for one in db.session.scalars(select(Intent.topic).distinct().order_by(Intent.topic)) if one]


def packs() -> list[str]:
    return [one for one in db.session.scalars(select(Intent.pack).distinct().order_by(Intent.pack)) if one]


def _contains(words_sought: str) -> str:
    return f"%{escaped(words_sought)}%"


_SAID = select(Phrasing.intent_id, func.count().label("n")).group_by(Phrasing.intent_id).subquery("said")
_ASKED = (
    select(AskedQuestion.intent_id, func.count().label("n"))
    .where(AskedQuestion.intent_id.is_not(None))
    .group_by(AskedQuestion.intent_id)
    .subquery("asked")
)
SAID = func.coalesce(_SAID.c.n, 0).label("said")
ASKED = func.coalesce(_ASKED.c.n, 0).label("asked")


def listing(q: str = "", topic: str = "", pack: str = "", state: str = "", few: bool = False) -> Select[Any]:
    """The knowledge base, filtered. Rows: Intent, phrasings, how often it was the answer. `few`: under five phrasings."""
    found: Any = (
        select(Intent, SAID, ASKED)
        .outerjoin(_SAID, _SAID.c.intent_id == Intent.id)
        .outerjoin(_ASKED, _ASKED.c.intent_id == Intent.id)
    )
    if q:
        wanted = _contains(q)
        said = select(Phrasing.id).where(
            Phrasing.intent_id == Intent.id,
            or_(Phrasing.text.ilike(wanted), Phrasing.folded.ilike(_contains(words.fold(q) or q))),
        )
        found = found.where(
            or_(
                Intent.question.ilike(wanted),
                Intent.answer.ilike(wanted),
                Intent.question_en.ilike(wanted),
                said.exists(),
            )
        )
    if topic:
        found = found.where(Intent.topic == topic)
    if pack:
        found = found.where(Intent.pack == ("" if pack == "own" else pack))
    if state in ("on", "off"):
        found = found.where(Intent.enabled.is_(state == "on"))
    if few:
        found = found.where(func.coalesce(_SAID.c.n, 0) < 5)
    return found


def order_of(sort: str) -> list[Any]:
    """The columns of a sort such as `-asked`, the last one unique; whatever is unknown means by topic."""
    columns: dict[str, Any] = {
        "question": Intent.question,
        "topic": Intent.topic,
        "phrasings": func.coalesce(_SAID.c.n, 0, type_=Intent.id.type),
        "asked": func.coalesce(_ASKED.c.n, 0, type_=Intent.id.type),
        "updated": Intent.updated_at,
    }
    return order_by(sort, columns, [Intent.id], [Intent.topic, Intent.id])


def exported(intent_ids: Sequence[int] | None) -> Sequence[Intent]:
    """The intents for a file, all or those named."""
    found = select(Intent).order_by(Intent.topic, Intent.id)
    return db.session.scalars(found if intent_ids is None else found.where(Intent.id.in_(intent_ids))).all()


def listed(topic: str | None, on: bool | None) -> Select[Any]:
    """Intents for programs."""
    found = select(Intent)
    if topic is not None:
        found = found.where(Intent.topic == topic)
    return found if on is None else found.where(Intent.enabled.is_(on))


def cards() -> list[tuple[WelcomeCard, Intent]]:
    """The welcome cards in their order, with the intents they lead to."""
    rows = select(WelcomeCard, Intent).join(Intent, Intent.id == WelcomeCard.intent_id).order_by(WelcomeCard.place)
    return [(card, intent) for card, intent in db.session.execute(rows)]


def get_import(import_id: int) -> PackImport:
    """The file that was read, or `NotFound`."""
    found = db.session.get(PackImport, import_id, populate_existing=True)
    if found is None:
        raise NotFound
    return found


@dataclass(frozen=True)
class Drawing:
    """How far a pack's pictures are: `total` of them, `done` found their end, `failed` of these without being drawn."""

    total: int
    done: int
    failed: int

    @property
    def running(self) -> bool:
        return self.done < self.total


def drawings(import_ids: Sequence[int]) -> dict[int, Drawing]:
    """How far the pictures of packs are; a pack that brought none is not in it."""
    state = PackPicture.state
    rows = db.session.execute(
        select(
            PackPicture.import_id,
            func.count(),
            func.count().filter(state != PictureState.WAITING),
            func.count().filter(state == PictureState.FAILED),
        )
        .where(PackPicture.import_id.in_(import_ids))
        .group_by(PackPicture.import_id)
    )
    return {row[0]: Drawing(*row[1:]) for row in rows}


def not_drawn(import_id: int) -> list[tuple[int, str, str]]:
    """The pictures of a pack that could not be drawn: the id and the words of their question, and the reason."""
    rows = (
        select(Intent.id, Intent.question, PackPicture.reason)
        .join(Intent, Intent.id == PackPicture.intent_id)
        .where(PackPicture.import_id == import_id, PackPicture.state == PictureState.FAILED)
        .order_by(PackPicture.id)
    )
    return [(intent_id, question, reason) for intent_id, question, reason in db.session.execute(rows)]


def picture_of_pack(intent_id: int) -> PackPicture | None:
    """What became of the picture that a question came with; None where it came without."""
    found = select(PackPicture).where(PackPicture.intent_id == intent_id)
    return db.session.scalar(found.order_by(PackPicture.id.desc()).limit(1))


def awaits_picture(intent_id: int) -> bool:
    """Whether the picture that a question came with is still to be drawn."""
    found = picture_of_pack(intent_id)
    return found is not None and found.state is PictureState.WAITING


def lately_read(limit: int = 10) -> Sequence[Any]:
    """The files that were looked at last, without what is in them: `questions` says how many."""
    found = select(
        PackImport.id,
        PackImport.filename,
        PackImport.created_at,
        PackImport.taken_at,
        func.jsonb_array_length(PackImport.rows).label("questions"),
    )
    return db.session.execute(found.order_by(PackImport.id.desc()).limit(limit)).all()


def keys_known(keys: Sequence[str]) -> set[str]:
    return set(db.session.scalars(select(Intent.key).where(Intent.key.in_(keys))))


# ── What was asked, what is suggested ───────────────────────────────────────────────────────────────────────────────


def get_asked(asked_id: int) -> AskedQuestion:
    found = db.session.get(AskedQuestion, asked_id)
    if found is None:
        raise NotFound
    return found


def unanswered(q: str = "") -> Select[Any]:
    """Questions that wait for somebody to look at them."""
    found: Any = select(AskedQuestion).where(AskedQuestion.state == AskedState.OPEN)
    return found.where(AskedQuestion.text.ilike(_contains(q))) if q else found


def told_in(conversation_id: int) -> set[int]:
    """The intents with which the bot has answered in a conversation."""
    return set(
        db.session.scalars(
            select(AskedQuestion.intent_id).where(
                AskedQuestion.conversation_id == conversation_id,
                AskedQuestion.band == Band.ANSWER,
                AskedQuestion.intent_id.is_not(None),
            )
        )
    )


def anything_asked() -> bool:
    """Whether the bot has ever been asked anything."""
    return db.session.scalar(select(AskedQuestion.id).limit(1)) is not None


def asked_alike(folded: Sequence[str]) -> dict[str, int]:
    """How often the same words wait."""
    rows = (
        select(AskedQuestion.folded, func.count().label("n"))
        .where(AskedQuestion.folded.in_(folded), AskedQuestion.state == AskedState.OPEN)
        .group_by(AskedQuestion.folded)
    )
    return {row.folded: row.n for row in db.session.execute(rows)}


def suggested(state: SuggestionState, q: str = "") -> Select[Any]:
    found: Any = select(Suggestion).where(Suggestion.state == state)
    return found.where(or_(Suggestion.text.ilike(_contains(q)), Suggestion.answer.ilike(_contains(q)))) if q else found


UNANSWERED_ORDER = [AskedQuestion.at.desc(), AskedQuestion.id.desc()]
SUGGESTED_ORDER = [Suggestion.at.desc(), Suggestion.id.desc()]


def file_of(statement: Select[Any], order: Sequence[Any]) -> Sequence[Any]:
    """The rows of one of these lists in its order (no more than 20,000), for a file."""
    return db.session.scalars(statement.order_by(*order).limit(20_000)).all()


def find_suggestion(suggestion_id: int) -> Suggestion | None:
    return db.session.get(Suggestion, suggestion_id)


def get_suggestion(suggestion_id: int) -> Suggestion:
    found = find_suggestion(suggestion_id)
    if found is None:
        raise NotFound
    return found


def waiting() -> tuple[int, int]:
    """How many suggestions and how many unanswered questions wait for somebody."""
    first = db.session.scalar(select(func.count()).where(Suggestion.state == SuggestionState.OPEN)) or 0
    second = db.session.scalar(select(func.count()).where(AskedQuestion.state == AskedState.OPEN)) or 0
    return first, second


# ── How it went ─────────────────────────────────────────────────────────────────────────────────────────────────────


def last_model(state: TrainingState | None = None) -> AnswerModel | None:
    """The newest model, of a state or of any."""
    found = select(AnswerModel).order_by(AnswerModel.id.desc()).limit(1)
    return db.session.scalar(found.where(AnswerModel.state == state) if state else found)


def models(limit: int = 10) -> Sequence[AnswerModel]:
    return db.session.scalars(select(AnswerModel).order_by(AnswerModel.id.desc()).limit(limit)).all()


@dataclass(frozen=True)
class Went:
    """How questions of a time went: by band, what members said of answers, and how many came to people after all."""

    asked: int
    answered: int
    offered: int
    handed_over: int
    chosen: int
    helped: int
    missed: int
    people_after: int


def _counts() -> list[Any]:
    band = AskedQuestion.band
    return [
        func.count(),
        func.count().filter(band == Band.ANSWER),
        func.count().filter(band == Band.OFFER),
        func.count().filter(band == Band.HAND_OVER),
        func.count().filter(and_(band == Band.OFFER, AskedQuestion.intent_id.is_not(None))),
        func.count().filter(AskedQuestion.helpful.is_(True)),
        func.count().filter(AskedQuestion.helpful.is_(False)),
        func.count().filter(and_(band != Band.HAND_OVER, AskedQuestion.handed_over)),
    ]


def went(since: datetime) -> Went:
    """How the questions of members since an instant went."""
    return Went(*db.session.execute(select(*_counts()).where(AskedQuestion.at >= since)).one())


def went_by_intent(since: datetime) -> dict[int, Went]:
    """The same for each intent that was answered with or chosen."""
    rows = db.session.execute(
        select(AskedQuestion.intent_id, *_counts())
        .where(AskedQuestion.at >= since, AskedQuestion.intent_id.is_not(None))
        .group_by(AskedQuestion.intent_id)
    )
    return {row[0]: Went(*row[1:]) for row in rows if row[0] is not None}
