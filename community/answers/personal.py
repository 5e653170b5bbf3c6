"""What this room keeps of people, column by column: see `membership.members.services.personal`."""

from __future__ import annotations

from sqlalchemy import update

from kernel import clock
from kernel.db import db
from kernel.i18n import lazy_gettext as _l
from membership.members.services import erasure
from membership.members.services.personal import Person, by, declare

from .models import (
    AnswerModel,
    AskedQuestion,
    AskedState,
    Intent,
    PackImport,
    PackPicture,
    Phrasing,
    Suggestion,
    SuggestionState,
    WelcomeCard,
)

declare(
    Intent,
    "id public_id key topic question question_en answer answer_en picture link_url link_label related voices pack enabled"
    " created_at updated_at",
)
declare(Phrasing, "id intent_id text folded source created_at")
declare(
    AnswerModel,
    "id state mark intents phrasings trial answer_from offer_from learned error started_at finished_at",
)
declare(
    AskedQuestion,
    "id member_id conversation_id channel band intent_id candidates likely model_id helpful handed_over state at",
    "text folded",
    rows=by(AskedQuestion.member_id),
    label=_l("Questions to the bot"),
)
declare(
    Suggestion,
    "id member_id message_id guess_id intent_id likely state answered_by_id decided_by_id at decided_at",
    "text answer",
    rows=by(Suggestion.member_id),
    label=_l("Suggested phrasings"),
)
declare(WelcomeCard, "place intent_id label label_en")
declare(PackImport, "id name filename rows errors raw drawing_until staff_id created_at taken_at")
declare(PackPicture, "id import_id intent_id begins size state reason tries picture")


@erasure.forgetters.fill
def settle_questions(person: Person) -> None:
    """What has no words left is nothing to learn from: nobody is asked to look at an empty card."""
    db.session.execute(
        update(AskedQuestion)
        .where(AskedQuestion.member_id.in_(person.ids), AskedQuestion.state == AskedState.OPEN)
        .values(state=AskedState.DISMISSED)
        .execution_options(synchronize_session=False)
    )
    db.session.execute(
        update(Suggestion)
        .where(Suggestion.member_id.in_(person.ids), Suggestion.state == SuggestionState.OPEN)
        .values(state=SuggestionState.REJECTED, decided_at=clock.now())
        .execution_options(synchronize_session=False)
    )
