"""Learning from people: what they answered after the bot could not becomes a phrasing, once somebody has approved it."""

from __future__ import annotations

from sqlalchemy import update
from sqlalchemy.dialects.postgresql import insert

from community.conversations import queries as talks
from kernel import audit, clock
from kernel.db import changed, db
from kernel.errors import NotFound, Refusal
from kernel.i18n import lazy_gettext as _l

from .. import queries, rules, words
from ..models import AskedQuestion, AskedState, Source, Suggestion, SuggestionState
from . import asking
from .knowledge import add_phrasing


class DecidedAlready(Refusal):
    status = 409
    label = _l("Somebody has decided this already.")


def note_answer(member_id: int, staff_id: int, question_id: int, message_id: int) -> Suggestion | None:
    """A person has answered a member's message: suggest the words as a phrasing. What the shop knows already, what has
    nothing but a picture, and what only greets, thanks or wants a person, is not suggested; the same message is suggested once."""
    question, said = talks.get_message(question_id), talks.get_message(message_id)
    if question is None or said is None or len(words.fold(question.body)) < 2:
        return None
    if rules.small_talk(question.body) is not None or rules.only_wants_person(question.body):
        return None
    found = asking.reply(question.body)
    if found.exact:
        return None
    guess = found.likely[0] if found.likely else None
    row_id = db.session.scalar(
        insert(Suggestion)
        .values(
            member_id=member_id,
            message_id=question_id,
            text=question.body[:200],
            answer=said.body[:1_000],
            guess_id=guess.intent_id if guess else None,
            likely=guess.likely if guess else 0.0,
            state=SuggestionState.OPEN,
            answered_by_id=staff_id,
            at=clock.now(),
        )
        .on_conflict_do_nothing(index_elements=[Suggestion.message_id])
        .returning(Suggestion.id)
    )
    return db.session.get(Suggestion, row_id) if row_id else None


def note_handed_over(conversation_id: int) -> int:
    """People have the conversation now: its answers did not settle it. Returns how many questions that concerns."""
    done = db.session.execute(
        update(AskedQuestion)
        .where(AskedQuestion.conversation_id == conversation_id, AskedQuestion.handed_over.is_(False))
        .where(AskedQuestion.helpful.is_not(True))
        .values(handed_over=True)
        .execution_options(synchronize_session="fetch")
    )
    return changed(done)


def _decide(suggestion_id: int, state: SuggestionState, staff_id: int, intent_id: int | None) -> Suggestion:
    done = db.session.execute(
        update(Suggestion)
        .where(Suggestion.id == suggestion_id, Suggestion.state == SuggestionState.OPEN)
        .values(state=state, decided_by_id=staff_id, decided_at=clock.now(), intent_id=intent_id)
        .execution_options(synchronize_session="fetch")
    )
    if not changed(done):
        if queries.find_suggestion(suggestion_id) is None:
            raise NotFound
        raise DecidedAlready
    found = queries.get_suggestion(suggestion_id)
    db.session.refresh(found)
    return found


def approve(suggestion_id: int, intent_id: int, text: str, staff_id: int) -> None:
    """Let a suggestion, its words perhaps changed, be a phrasing of an intent. Refuses with `DecidedAlready`, `PhrasingTaken`,
    `NothingKnown`, `NotFound`."""
    queries.get_intent(intent_id)
    _decide(suggestion_id, SuggestionState.APPROVED, staff_id, intent_id)
    add_phrasing(intent_id, text, Source.LEARNED)
    audit.record("suggestion.approved", "intent", intent_id, after={"phrasing": text[:200]})


def reject(suggestion_id: int, staff_id: int) -> None:
    """Leave a suggestion out. Refuses with `DecidedAlready`, `NotFound`."""
    _decide(suggestion_id, SuggestionState.REJECTED, staff_id, None)


def settle(asked_id: int, intent_id: int, text: str) -> None:
    """An unanswered question is about this intent: its words, perhaps changed, become a phrasing. Refuses as `approve`."""
    _close(asked_id, AskedState.SETTLED)
    add_phrasing(intent_id, text, Source.LEARNED)
    audit.record("question.settled", "intent", intent_id, after={"phrasing": text[:200]})


def dismiss(asked_id: int) -> None:
    """An unanswered question is nothing to learn from. Refuses with `DecidedAlready`, `NotFound`."""
    _close(asked_id, AskedState.DISMISSED)


def _close(asked_id: int, state: AskedState) -> None:
    """Close the question, and with it everything else that was asked in the same words."""
    row = queries.get_asked(asked_id)
    done = db.session.execute(
        update(AskedQuestion)
        .where(AskedQuestion.folded == row.folded, AskedQuestion.state == AskedState.OPEN)
        .values(state=state)
        .execution_options(synchronize_session="fetch")
    )
    if not changed(done):
        raise DecidedAlready
