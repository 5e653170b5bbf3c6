"""REST for the answers: programs read what the shop knows, and ask."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from community.conversations.rules import Band
from kernel.auth import api_scope
from kernel.http import (
    Instant,
    Listed,
    PageQuery,
    Strict,
    Text,
    Words,
    api_blueprint,
    cursor_page,
    idempotent,
    operation,
)
from kernel.i18n import lazy_gettext as _l
from kernel.openapi import describe_tag

from . import queries, rules, services
from .models import Intent

bp = api_blueprint("answers_api", __name__)
describe_tag("Answers", _l("The shop's questions and answers, and which of them a customer means."))


class IntentOut(Strict):
    """A question with its answer. `related` are the ids of what people ask next; the English texts are empty where there are none."""

    id: int
    key: str
    topic: str
    question: str
    question_en: str
    answer: str
    answer_en: str
    link_url: str
    link_label: str
    related: list[int]
    pack: str
    enabled: bool
    updated_at: Instant


class IntentWithPhrasingsOut(IntentOut):
    phrasings: list[str]


class IntentsQuery(PageQuery):
    topic: Annotated[Words, Field(max_length=40)] | None = None
    enabled: bool | None = None


class QuestionIn(Strict):
    """`keep` counts the question among those of customers: leave it out for trying."""

    text: Annotated[Text, Field(min_length=1, max_length=1_000)]
    channel: Literal["group", "wecom", "agent", "api"] = "api"
    keep: bool = False


class LikelyOut(Strict):
    intent_id: int
    question: str
    likely: float


class AnsweredOut(Strict):
    """`band` says what to do: answer with `answer`, offer the three of `likely`, or hand over to a person (both may be empty)."""

    band: Band
    answer: str
    link_url: str
    likely: list[LikelyOut]


def _intent(intent: Intent) -> IntentOut:
    return IntentOut(**{name: getattr(intent, name) for name in IntentOut.model_fields})


@bp.get("/answers")
@api_scope("answers:read")
@operation(_l("List the questions that the shop answers"), tag="Answers", query=IntentsQuery, answers=Listed[IntentOut])
def index(query: IntentsQuery) -> Any:
    return cursor_page(queries.listed(query.topic, query.enabled), [Intent.id.desc()], query, _intent)


@bp.get("/answers/<int:intent_id>")
@api_scope("answers:read")
@operation(_l("Read one question with its phrasings"), tag="Answers", answers=IntentWithPhrasingsOut)
def show(intent_id: int) -> IntentWithPhrasingsOut:
    intent = queries.get_intent(intent_id)
    said = [row.text for row in queries.phrasings(intent.id)]
    return IntentWithPhrasingsOut(**_intent(intent).model_dump(), phrasings=said)


@bp.post("/answers/ask")
@api_scope("answers:ask")
@idempotent()
@operation(_l("Ask a question"), tag="Answers", takes=QuestionIn, answers=AnsweredOut)
def ask(body: QuestionIn) -> AnsweredOut:
    found = services.reply(body.text)
    if body.keep:
        services.keep(body.text, found, body.channel)
    likely = found.likely[: rules.OFFERED]
    intents = {intent.id: intent for intent in queries.enabled([one.intent_id for one in likely])}
    first = intents.get(likely[0].intent_id) if likely and found.band is Band.ANSWER else None
    return AnsweredOut(
        band=found.band,
        answer=services.said(first, "zh_Hans", body.channel)[1] if first else "",
        link_url=first.link_url if first else "",
        likely=[
            LikelyOut(intent_id=one.intent_id, question=intents[one.intent_id].question, likely=round(one.likely, 4))
            for one in likely
            if one.intent_id in intents
        ],
    )
