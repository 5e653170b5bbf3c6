"""Writing what the shop knows: intents with their phrasings, welcome cards, and what the bot may do."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import delete as sql_delete
from sqlalchemy import select, update
from sqlalchemy.dialects.postgresql import insert

from community.posts.rules import link_allowed
from kernel import audit, clock, shop
from kernel.db import db
from kernel.errors import Refusal
from kernel.i18n import lazy_gettext as _l

from .. import brain, queries, rules, words
from ..models import (
    AskedQuestion,
    AskedState,
    Intent,
    Phrasing,
    Source,
    Suggestion,
    SuggestionState,
    WelcomeCard,
)
from . import pictures

SETTINGS = "answers.settings"


class IntentInvalid(Refusal):
    status = 422
    label = _l("A question needs its words and an answer, and its link must begin with https:// or http://.")
    field = "question"


class KeyTaken(Refusal):
    status = 422
    label = _l("Another question has this name in files already.")
    field = "key"


class PhrasingTaken(Refusal):
    status = 409
    label = _l("“%(text)s” is a phrasing of “%(question)s” already. Move it there, or say it differently.")
    field = "phrasings"


class NothingKnown(Refusal):
    status = 422
    label = _l("This phrasing has no words in it.")
    field = "phrasings"


@dataclass(frozen=True)
class Draft:
    """A question as it is typed or read from a file. `key` may be empty: it then gets one."""

    question: str
    answer: str
    question_en: str = ""
    answer_en: str = ""
    topic: str = ""
    key: str = ""
    picture: str | None = None
    link_url: str = ""
    link_label: str = ""
    related: tuple[int, ...] = ()
    voices: dict[str, str] = field(default_factory=dict)
    enabled: bool = True
    phrasings: tuple[str, ...] = ()


def touch() -> None:
    """Say that the knowledge has changed, so that every process reads it anew and a model is learned from it."""
    shop.put(brain.MARK, secrets.token_hex(8))


def _check(draft: Draft) -> None:
    if not draft.question.strip() or not draft.answer.strip():
        raise IntentInvalid
    if draft.link_url and not link_allowed(draft.link_url.strip()):
        raise IntentInvalid


def _values(draft: Draft) -> dict[str, Any]:
    return {
        "topic": draft.topic.strip(),
        "question": draft.question.strip(),
        "question_en": draft.question_en.strip(),
        "answer": draft.answer.strip(),
        "answer_en": draft.answer_en.strip(),
        "picture": draft.picture or None,
        "link_url": draft.link_url.strip(),
        "link_label": draft.link_label.strip(),
        "related": list(dict.fromkeys(draft.related))[: rules.MOST_RELATED],
        "voices": {k: v.strip() for k, v in draft.voices.items() if k in rules.CHANNELS and v.strip()},
        "enabled": draft.enabled,
    }


def _columns(draft: Draft, key: str, pack: str = "") -> dict[str, Any]:
    now = clock.now()
    return {
        "public_id": secrets.token_urlsafe(9),
        "key": key,
        "pack": pack,
        "created_at": now,
        "updated_at": now,
        **_values(draft),
    }


def new_intent(draft: Draft) -> Intent:
    """A row for a draft, without its phrasings. Refuses with `IntentInvalid` and `KeyTaken`."""
    _check(draft)
    key = draft.key.strip() or f"q-{secrets.token_hex(4)}"
    if queries.find_by_key(key) is not None:
        raise KeyTaken
    intent = Intent(**_columns(draft, key))
    db.session.add(intent)
    db.session.flush()
    return intent


def new_intents(drafts: Sequence[Draft], pack: str) -> dict[str, int]:
    """Rows for the drafts of a pack, each with a key of its own and without its phrasings; returns their ids by their keys.

    One whose key somebody has already is left out. Refuses with `IntentInvalid`.
    """
    for draft in drafts:
        _check(draft)
    if not drafts:
        return {}
    put = insert(Intent.__table__).on_conflict_do_nothing(index_elements=["key"])
    made = db.session.execute(
        put.returning(Intent.key, Intent.id), [_columns(draft, draft.key.strip(), pack) for draft in drafts]
    )
    return {row.key: row.id for row in made}


def add(draft: Draft) -> Intent:
    """Write a new question. Refuses with `IntentInvalid`, `KeyTaken`, `PhrasingTaken`."""
    intent = new_intent(draft)
    _settle_asked(intent.id, draft.phrasings)
    set_phrasings(intent, draft.phrasings)
    touch()
    audit.record("intent.added", "intent", intent.id, after={"question": intent.question})
    return intent


def edit(intent_id: int, draft: Draft) -> Intent:
    """Change a question and its phrasings. Refuses as `add` does."""
    intent = queries.get_intent(intent_id)
    _check(draft)
    before = {name: getattr(intent, name) for name in ("question", "answer", "enabled")}
    if draft.key.strip() and draft.key.strip() != intent.key:
        if queries.find_by_key(draft.key.strip()) is not None:
            raise KeyTaken
        intent.key = draft.key.strip()
    for name, value in _values(draft).items():
        setattr(intent, name, value)
    intent.related = [other for other in intent.related if other != intent.id]
    intent.updated_at = clock.now()
    _settle_asked(intent.id, draft.phrasings)
    set_phrasings(intent, draft.phrasings)
    touch()
    after = {name: getattr(intent, name) for name in before}
    audit.record("intent.edited", "intent", intent.id, before=before, after=after)
    return intent


def _settle_asked(intent_id: int, phrasings: Sequence[str]) -> None:
    """What waits to be learned in the very words of a question's phrasings has found its answer.

    To be called before these are written down: who learns from people closes what was asked first, too, so that two people at
    the same words never wait for each other.
    """
    folded = [one for text in phrasings if (one := words.fold(text))]
    db.session.execute(
        update(AskedQuestion)
        .where(AskedQuestion.folded.in_(folded), AskedQuestion.state == AskedState.OPEN)
        .values(state=AskedState.SETTLED)
        .execution_options(synchronize_session="fetch")
    )
    db.session.execute(
        update(Suggestion)
        .where(Suggestion.text.in_(phrasings), Suggestion.state == SuggestionState.OPEN)
        .values(state=SuggestionState.APPROVED, intent_id=intent_id, decided_at=clock.now())
        .execution_options(synchronize_session="fetch")
    )


def set_phrasings(intent: Intent, texts: Sequence[str], source: Source = Source.STAFF) -> int:
    """Let an intent have exactly these phrasings; those that stay keep where they came from. Returns how many are new.

    Refuses with `PhrasingTaken` one that another intent has; what has no words is left out.
    """
    wanted = {folded: text for text in texts if (folded := words.fold(text))}
    known = {row.folded: row for row in queries.phrasings(intent.id)}
    gone = [row.id for folded, row in known.items() if folded not in wanted]
    if gone:
        db.session.execute(sql_delete(Phrasing).where(Phrasing.id.in_(gone)))
    for folded, row in known.items():
        if folded in wanted:
            row.text = wanted[folded]
    fresh = [(folded, text) for folded, text in wanted.items() if folded not in known]
    _insert(intent.id, fresh, source)
    return len(fresh)


def _insert(intent_id: int, rows: Sequence[tuple[str, str]], source: Source) -> None:
    if not rows:
        return
    now = clock.now()
    put = insert(Phrasing).values(
        [
            {
                "intent_id": intent_id,
                "text": text[: rules.LONGEST_PHRASING],
                "folded": folded,
                "source": source,
                "created_at": now,
            }
            for folded, text in rows
        ]
    )
    done = set(
        db.session.scalars(put.on_conflict_do_nothing(index_elements=[Phrasing.folded]).returning(Phrasing.folded))
    )
    refused = next((pair for pair in rows if pair[0] not in done), None)
    if refused is not None:
        owner = db.session.scalar(
            select(Intent.question).join(Phrasing, Phrasing.intent_id == Intent.id).where(Phrasing.folded == refused[0])
        )
        raise PhrasingTaken(text=refused[1], question=owner or "–")


def add_phrasing(intent_id: int, text: str, source: Source) -> None:
    """Let an intent be asked in one more way; one that it has already changes nothing. Refuses with `PhrasingTaken`,
    `NothingKnown`."""
    intent = queries.get_intent(intent_id)
    folded = words.fold(text)
    if not folded:
        raise NothingKnown
    if db.session.scalar(select(Phrasing.intent_id).where(Phrasing.folded == folded)) == intent.id:
        return
    _insert(intent.id, [(folded, text.strip())], source)
    touch()


def change_many(intent_ids: Sequence[int], enabled: bool) -> int:
    """Switch questions on or off; returns how many were changed."""
    rows = db.session.scalars(
        select(Intent).where(Intent.id.in_(intent_ids), Intent.enabled.is_not(enabled)).with_for_update()
    ).all()
    for intent in rows:
        intent.enabled, intent.updated_at = enabled, clock.now()
    if rows:
        db.session.flush()
        touch()
        audit.record("intent.switched", "intent", None, after={"count": len(rows), "enabled": enabled})
    return len(rows)


def delete(intent_ids: Sequence[int]) -> int:
    """Delete questions with their phrasings; what was asked stays counted. Returns how many."""
    rows = db.session.scalars(select(Intent).where(Intent.id.in_(intent_ids))).all()
    if not rows:
        return 0
    ids = [intent.id for intent in rows]
    audit.record(
        "intent.deleted",
        "intent",
        ids[0] if len(ids) == 1 else None,
        before={"questions": [i.question for i in rows][:50]},
    )
    pictures.let_go(ids)
    db.session.execute(sql_delete(Intent).where(Intent.id.in_(ids)).execution_options(synchronize_session="fetch"))
    touch()
    return len(ids)


def settings() -> rules.BotSettings:
    """What the bot may do."""
    return rules.settings_from(shop.get(SETTINGS))


def save_settings(chosen: rules.BotSettings) -> None:
    """Keep what the bot may do from now on."""
    before = rules.settings_to(settings())
    after = rules.settings_to(chosen)
    shop.put(SETTINGS, after)
    audit.record("answers.settings_saved", "answers", None, before=before, after=after)


def save_cards(cards: Sequence[tuple[int, str, str]]) -> None:
    """Show these welcome cards in this order: pairs of an intent with its label in Chinese and English (empty: the question
    itself). No more than nine are kept, each intent once."""
    db.session.execute(sql_delete(WelcomeCard))
    known = set(db.session.scalars(select(Intent.id).where(Intent.id.in_([intent_id for intent_id, *_ in cards]))))
    seen: set[int] = set()
    for intent_id, label, label_en in cards:
        if intent_id in known and intent_id not in seen and len(seen) < 9:
            seen.add(intent_id)
            db.session.add(
                WelcomeCard(place=len(seen), intent_id=intent_id, label=label.strip(), label_en=label_en.strip())
            )
    db.session.flush()
    audit.record("answers.cards_saved", "answers", None, after={"count": len(seen)})
