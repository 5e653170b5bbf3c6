"""Pure values and decisions of conversations: what a bot is asked and answers, who writes next, how fast somebody may ask."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final


class Band(enum.StrEnum):
    """How sure an answer is: say it, offer the likeliest, or hand over to a person."""

    ANSWER = "answer"
    OFFER = "offer"
    HAND_OVER = "hand_over"


@dataclass(frozen=True)
class Choice:
    """Something the member may tap: `key` comes back as `Asked.picked`, `label` is what they read."""

    key: str
    label: str


@dataclass(frozen=True)
class Crowd:
    """The desk at a moment: how many of the staff are on, how many of them have room, how many conversations wait for one."""

    on: int = 0
    free: int = 0
    waiting: int = 0


@dataclass(frozen=True)
class Asked:
    """What a member said, with all that an answer may be chosen by.

    `picked` is the key of the choice they tapped, empty when they typed. `tries` is how often the bot has offered or handed
    back in this conversation without an answer. `locale` is the member's language.
    """

    text: str
    conversation_id: int
    member_id: int
    at: datetime
    picked: str = ""
    tries: int = 0
    locale: str = "zh_Hans"
    crowd: Crowd = field(default_factory=Crowd)


@dataclass(frozen=True)
class Reply:
    """What the bot says. With `HAND_OVER` people take the conversation; `text` is then said before, when there is any.

    `answer_key` names what was answered with, so that whoever keeps the answers can count how it went. `picture` is one of the
    shop's own (`kernel.files.picture_url`), `link_url` with `link_label` where the answer leads on.
    """

    band: Band
    text: str = ""
    choices: tuple[Choice, ...] = ()
    answer_key: str = ""
    picture: str | None = None
    link_url: str = ""
    link_label: str = ""


@dataclass(frozen=True)
class Welcome:
    """What the Ask page shows before the first word: a greeting and up to nine cards."""

    text: str = ""
    cards: tuple[Choice, ...] = ()


@dataclass(frozen=True)
class Suggestion:
    """What a person at the desk may send with one tap: the question it answers, the text, how sure (0–1)."""

    title: str
    text: str
    sureness: float = 0.0


MOST_CARDS: Final = 9
MOST_CHOICES: Final = 4
LONGEST_MESSAGE: Final = 1_000
MOST_TRIES: Final = 3
# A member's words in a minute and in a day, and conversations in a day.
A_MINUTE, A_DAY, TALKS_A_DAY = 12, 200, 20
# Nobody has written for so long: a conversation with a person, or with the bot, is over.
SILENCE: Final = timedelta(hours=24)
BOT_SILENCE: Final = timedelta(hours=2)
# So long a conversation that is over is pointed out to its member.
LATELY: Final = timedelta(days=7)


def hands_over(reply: Reply | None, tries: int) -> bool:
    """Whether people take the conversation: no bot answers, it says so itself, or it has offered often enough in vain."""
    if reply is None or reply.band is Band.HAND_OVER:
        return True
    return reply.band is Band.OFFER and tries + 1 >= MOST_TRIES
