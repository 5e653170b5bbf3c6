"""Names of states and senders, and the sentences of the timeline."""

from __future__ import annotations

from typing import Any

from flask import url_for
from markupsafe import Markup, escape

from kernel.events import describes
from kernel.i18n import gettext as _
from kernel.i18n import lazy_gettext as _l
from kernel.i18n import ngettext

from .events import ConversationClosed, ConversationHandedOver, ConversationOpened, ConversationRated
from .models import Ending, TalkState
from .rules import Band

STATES: dict[TalkState, Any] = {
    TalkState.BOT: _l("With the bot"),
    TalkState.QUEUED: _l("Waiting for a person"),
    TalkState.OPEN: _l("With a person"),
    TalkState.CLOSED: _l("Over"),
}
STATE_TONES: dict[TalkState, str] = {
    TalkState.BOT: "info",
    TalkState.QUEUED: "caution",
    TalkState.OPEN: "positive",
    TalkState.CLOSED: "neutral",
}
VIEWS: dict[str, Any] = {
    "mine": _l("Mine"),
    "waiting": _l("Waiting"),
    "all": _l("All"),
    "bot": _l("With the bot"),
    "closed": _l("Over"),
}
BANDS: dict[Band, Any] = {
    Band.ANSWER: _l("The bot answered"),
    Band.OFFER: _l("The bot offered"),
    Band.HAND_OVER: _l("The bot handed over"),
}
ENDINGS: dict[Ending, Any] = {
    Ending.MEMBER: _l("ended by the customer"),
    Ending.STAFF: _l("ended by the desk"),
    Ending.SILENCE: _l("nobody wrote any more"),
}


def waited(seconds: float | None) -> str:
    """A number of seconds, as people say it."""
    if seconds is None:
        return "–"
    whole = round(seconds)
    if whole < 120:
        return str(ngettext("%(num)s s", "%(num)s s", whole))
    if whole < 7_200:
        return str(ngettext("%(num)s min", "%(num)s min", round(whole / 60)))
    return str(ngettext("%(num)s h", "%(num)s h", round(whole / 3_600)))


def _sentence(event: Any, sentence: str, words: str, **values: Any) -> Markup:
    link = Markup('<a href="{}">{}</a>').format(
        url_for("conversations_console.show", conversation_id=event.conversation_id), words
    )
    return escape(sentence) % {"conversation": link, **values}


@describes(ConversationOpened)
def opened(event: ConversationOpened) -> Any:
    return _sentence(event, _("Asked something: %(conversation)s"), _("conversation"))


@describes(ConversationHandedOver)
def handed_over(event: ConversationHandedOver) -> Any:
    if event.asked_for:
        return _sentence(event, _("Asked for a person: %(conversation)s"), _("conversation"))
    return _sentence(event, _("Came to the desk: %(conversation)s"), _("conversation"))


@describes(ConversationClosed)
def closed(event: ConversationClosed) -> Any:
    ending = ENDINGS[Ending(event.ending)]
    return _sentence(event, _("Conversation over (%(ending)s): %(conversation)s"), _("conversation"), ending=ending)


@describes(ConversationRated)
def rated(event: ConversationRated) -> Any:
    return _sentence(event, _("Gave %(stars)s of 5: %(conversation)s"), _("conversation"), stars=event.stars)
