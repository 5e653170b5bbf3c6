"""Answering: which intents a question may mean, what is said, and keeping what was asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import select, update

from community.conversations.rules import MOST_CHOICES, Asked, Band, Choice, Reply, Suggestion, Welcome
from community.tickets import rules as desk_rules
from community.tickets import services as desk
from kernel import clock
from kernel.db import changed, db
from kernel.i18n import LOCALES, forced_locale
from kernel.i18n import gettext as _
from kernel.pages import row_or_none

from .. import brain, queries, rules, words
from ..models import AskedQuestion, AskedState, Intent, Phrasing
from ..scoring import Scored
from .knowledge import settings

# Keys of what a member may tap: an intent, that an answer helped, that it did not.
INTENT, HELPED, MISSED = "q:", "y:", "n:"
# How likely an answer is at least that is shown to a person at the desk, who judges it.
SUGGESTED_FROM = 0.02


@dataclass(frozen=True)
class Found:
    """What a question comes to: its band, the likeliest intents with their probabilities, and why."""

    band: Band
    likely: tuple[Scored, ...]
    exact: bool = False
    people: bool = False
    model_id: int | None = None


def reply(text: str) -> Found:
    """What a question comes to, without keeping it. The very words of a phrasing are understood whatever the model thinks; a
    question that names what only people answer is handed over. Two questions in one are both offered, and so is the one that
    stands in a long letter."""
    folded = words.fold(text[:1_000])
    mind = brain.think()
    people = rules.wants_people(text[:1_000], settings().people_words)
    exact = None
    if folded:
        exact = db.session.scalar(
            select(Phrasing.intent_id)
            .join(Intent, Intent.id == Phrasing.intent_id)
            .where(Phrasing.folded == folded, Intent.enabled)
        )
    scored = mind.likely(text[:1_000]) if folded else []
    if exact is not None:
        scored = [Scored(exact, 1.0), *(one for one in scored if one.intent_id != exact)]
    if people or not scored:
        band = Band.HAND_OVER
    else:
        band = Band.ANSWER if exact is not None else rules.band_of(scored[0].likely, mind.thresholds)
        sure = _sure_parts(text[:1_000], mind) if exact is None else []
        if len(sure) > 1 or (sure and band is not Band.ANSWER):
            band, named = Band.OFFER, {one.intent_id for one in sure}
            scored = [*sure, *(one for one in scored if one.intent_id not in named)]
    return Found(band, tuple(scored[: rules.MOST_RELATED]), exact is not None, people, mind.model_id)


def _sure_parts(text: str, mind: brain.Brain) -> list[Scored]:
    """What the clauses of a text would be answered with, each by itself."""
    found: dict[int, Scored] = {}
    for clause in words.clauses(text):
        first = next(iter(mind.likely(clause)), None)
        if first is not None and rules.band_of(first.likely, mind.thresholds) is Band.ANSWER:
            found.setdefault(first.intent_id, first)
    return list(found.values())


def keep(
    text: str, found: Found, channel: str, member_id: int | None = None, conversation_id: int | None = None
) -> AskedQuestion:
    """Keep a question and what was made of it, so that the shop sees how it went."""
    first = found.likely[0] if found.likely else None
    row = AskedQuestion(
        member_id=member_id,
        conversation_id=conversation_id,
        channel=channel,
        text=text[:1_000],
        folded=words.fold(text[:1_000]),
        band=found.band,
        intent_id=first.intent_id if first and found.band is Band.ANSWER else None,
        candidates=[[one.intent_id, round(one.likely, 4)] for one in found.likely],
        likely=first.likely if first else 0.0,
        model_id=found.model_id,
        handed_over=found.band is Band.HAND_OVER,
        state=AskedState.OPEN if found.band is Band.HAND_OVER and not found.people else AskedState.NONE,
        at=clock.now(),
    )
    db.session.add(row)
    db.session.flush()
    return row


def said(intent: Intent, locale: str, channel: str = "") -> tuple[str, str]:
    """The question and the answer of an intent in a language, and as a channel says it."""
    if locale.startswith("en"):
        return intent.question_en or intent.question, intent.answer_en or intent.answer
    return intent.question, intent.voices.get(channel) or intent.answer


def _says(intent: Intent, asked: AskedQuestion, locale: str, also: Sequence[int] = ()) -> Reply:
    """An answer with what may be tapped after it: whether it helped, what else was in the same question, and what people ask
    next."""
    _question, text = said(intent, locale)
    with forced_locale(locale):
        after = [
            Choice(f"{HELPED}{asked.id}", str(_("That helped"))),
            Choice(f"{MISSED}{asked.id}", str(_("Not what I meant"))),
        ]
    asked_too = queries.enabled(also) if also else ()
    next_ones = {other.id: other for other in (*asked_too, *queries.related_to(intent))}
    more = [Choice(f"{INTENT}{other.id}", said(other, locale)[0]) for other in next_ones.values()]
    return Reply(
        Band.ANSWER,
        text,
        tuple([*after, *more][:MOST_CHOICES]),
        str(asked.id),
        picture=intent.picture,
        link_url=intent.link_url,
        link_label=intent.link_label,
    )


def _offers(asked: AskedQuestion, intent_ids: Sequence[int], locale: str) -> Reply:
    found = {intent.id: intent for intent in queries.enabled(intent_ids)}
    choices = tuple(
        Choice(f"{INTENT}{intent_id}", said(found[intent_id], locale)[0])
        for intent_id in intent_ids
        if intent_id in found
    )[: rules.OFFERED]
    if not choices:
        return Reply(Band.HAND_OVER, answer_key=str(asked.id))
    with forced_locale(locale):
        text = str(_("Did you mean one of these? Tap it, or say it in other words."))
    return Reply(Band.OFFER, text, choices, str(asked.id))


def speaks(asked: Asked) -> bool:
    """Whether the bot answers a member at this hour and load; one that knows nothing leaves people to it."""
    chosen = settings()
    if chosen.mode is not rules.Mode.FULL or not brain.think().enabled:
        return False
    in_hours = desk_rules.open_at(clock.local(asked.at), desk.desk_settings().hours)
    return rules.bot_first(chosen.routing, in_hours, asked.crowd.free, asked.crowd.waiting, chosen.most_waiting)


def answer(asked: Asked) -> Reply | None:
    """What the bot says to a member in a conversation (port `conversations.answer`); None when people come first."""
    row = None
    number = row_or_none(asked.picked[2:])
    if asked.picked[:2] in (HELPED, MISSED) and number is not None:
        # Whoever says that an answer helped wants nobody, whether or not people come first by now.
        helped = asked.picked[:2] == HELPED
        row = _judge(number, asked.conversation_id, helped)
        if helped:
            return _glad(asked)
    if not speaks(asked):
        return None
    if row is not None:
        return _others(row, asked)
    if asked.picked.startswith(INTENT) and number is not None:
        chosen = queries.enabled([number])
        if chosen:
            also = _note_choice(asked.conversation_id, chosen[0].id)
            found = Found(Band.ANSWER, (Scored(chosen[0].id, 1.0),), exact=True, model_id=brain.think().model_id)
            row = keep(asked.text, found, "card", asked.member_id, asked.conversation_id)
            return _says(chosen[0], row, asked.locale, also)
    found = reply(asked.text)
    if not found.exact and not found.people and (chat := _chat(asked)) is not None:
        return chat
    row = keep(asked.text, found, "ask", asked.member_id, asked.conversation_id)
    if found.band is Band.ANSWER and (intents := queries.enabled([found.likely[0].intent_id])):
        return _says(intents[0], row, asked.locale)
    if found.band is Band.OFFER:
        return _offers(row, [one.intent_id for one in found.likely[: rules.OFFERED]], asked.locale)
    return Reply(Band.HAND_OVER, answer_key=str(row.id))


def _chat(asked: Asked) -> Reply | None:
    """What is said to somebody who only greets or thanks, or who sends nothing that can be read: none of these is a question,
    and none needs a person."""
    said_so, readable = rules.small_talk(asked.text), bool(words.fold(asked.text))
    if said_so is None and readable:
        return None
    shown = welcome(asked.locale)
    cards = shown.cards[:MOST_CHOICES] if shown is not None else ()
    with forced_locale(asked.locale):
        if said_so is rules.SmallTalk.THANKS:
            return Reply(Band.ANSWER, str(_("You are welcome. Write whenever there is more.")))
        if readable:
            greeting = shown.text if shown is not None else ""
            return Reply(Band.ANSWER, greeting or str(_("Hello. What would you like to know?")), cards)
        if not cards:
            return Reply(Band.OFFER, str(_("There are no words in this. Say it in a few.")))
        return Reply(Band.OFFER, str(_("There are no words in this. Say it in a few, or tap one of these.")), cards)


def _judge(asked_id: int, conversation_id: int, helped: bool) -> AskedQuestion | None:
    """Keep what the member says of an answer in their conversation."""
    row = db.session.get(AskedQuestion, asked_id)
    if row is None or row.conversation_id != conversation_id:
        return None
    row.helpful = helped
    if not helped and row.state is AskedState.NONE:
        row.state = AskedState.OPEN
    db.session.flush()
    return row


def _glad(asked: Asked) -> Reply:
    with forced_locale(asked.locale):
        text = str(_("Good to hear. Write whenever there is more."))
    return Reply(Band.ANSWER, text, answer_key=asked.picked[len(HELPED) :])


def _others(row: AskedQuestion, asked: Asked) -> Reply:
    """What else a question may have meant whose answer was not it. A card that was tapped meant one thing: then what people ask
    next, and what its words come near to."""
    others = [intent_id for intent_id, _likely in row.candidates if intent_id != row.intent_id]
    if not others and (intent := queries.find_intent(row.intent_id)) is not None:
        told = queries.told_in(asked.conversation_id)
        near = [*intent.related, *(one.intent_id for one in reply(row.text).likely)]
        others = [intent_id for intent_id in dict.fromkeys(near) if intent_id not in told]
    return _offers(row, others, asked.locale)


def _note_choice(conversation_id: int, intent_id: int) -> list[int]:
    """Of three that were offered one was chosen: that is what the question was about. Returns what else it surely asked."""
    last = db.session.scalar(
        select(AskedQuestion)
        .where(AskedQuestion.conversation_id == conversation_id, AskedQuestion.channel == "ask")
        .order_by(AskedQuestion.id.desc())
        .limit(1)
    )
    if last is None or last.intent_id is not None or last.band is not Band.OFFER:
        return []
    done = db.session.execute(
        update(AskedQuestion)
        .where(AskedQuestion.id == last.id, AskedQuestion.intent_id.is_(None))
        .values(intent_id=intent_id)
        .execution_options(synchronize_session="fetch")
    )
    changed(done)
    from_here = brain.think().thresholds.answer
    return [other for other, likely in last.candidates if other != intent_id and likely >= from_here]


def welcome(locale: str) -> Welcome | None:
    """What the Ask page shows before the first word (port `conversations.welcome`); None where the bot does not answer."""
    chosen = settings()
    if chosen.mode is not rules.Mode.FULL:
        return None
    english = locale.startswith("en")
    cards = tuple(
        Choice(f"{INTENT}{intent.id}", (card.label_en if english else card.label) or said(intent, locale)[0])
        for card, intent in queries.cards()
        if intent.enabled
    )
    return Welcome(chosen.greeting_en if english else chosen.greeting, cards)


def _judgements() -> set[str]:
    """How what a member taps after an answer reads in a conversation, in each language."""
    read = set()
    for locale in LOCALES:
        with forced_locale(locale):
            read |= {str(_("That helped")), str(_("Not what I meant"))}
    return read


def suggestions(texts: Sequence[str], conversation_id: int = 0) -> list[Suggestion]:
    """What a person at the desk may send (port `conversations.suggest`), the likeliest first.

    Who asks for a person has one by now: what they had asked before counts. What the bot has said in the conversation did not
    do, or nobody would have come.
    """
    text = next((one for one in texts if not rules.only_wants_person(one) and one not in _judgements()), "")
    if settings().mode is rules.Mode.OFF or not text or rules.small_talk(text) is not None:
        return []
    found = reply(text)
    told = queries.told_in(conversation_id) if conversation_id else set()
    # What comes after an answer that was understood and did not do is worth showing only if it might be meant.
    least = brain.think().thresholds.offer if told & {one.intent_id for one in found.likely} else SUGGESTED_FROM
    intents = {
        intent.id: intent
        for intent in queries.enabled([one.intent_id for one in found.likely[: rules.OFFERED]])
        if intent.id not in told
    }
    return [
        Suggestion(
            intents[one.intent_id].question,
            rules.spoken(
                said(intents[one.intent_id], "zh_Hans", "agent")[1],
                intents[one.intent_id].link_label,
                intents[one.intent_id].link_url,
            ),
            round(one.likely, 4),
        )
        for one in found.likely[: rules.OFFERED]
        if one.intent_id in intents and one.likely >= least
    ]
