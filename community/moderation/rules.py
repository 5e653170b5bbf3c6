"""Pure decisions: what a text may say, and what follows when somebody goes on."""

from __future__ import annotations

import enum
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from .models import WordEffect

LONGEST_WORD: Final = 30
LONGEST_NOTE: Final = 300
# As many different people's reports hide something until staff have looked.
HOLD_AFTER: Final = 3
# What was upheld against somebody counts for so long, and so often until they are silenced, for so long.
REMEMBERED: Final = timedelta(days=30)
STRIKES: Final = 3
SILENCED_FOR: Final = timedelta(days=7)
# Being silenced by the rule so often within this time ends in a ban.
SILENCES_REMEMBERED: Final = timedelta(days=180)
SILENCES: Final = 3

LINK: Final = re.compile(r"(?:https?|ftp)://|\bwww\.|\b[a-z0-9-]+\.(?:com|cn|net|shop|top|vip|xyz|me|io)\b|\]\(", re.I)
_FILLER = re.compile(r"[\s\u200b-\u200f\u2060\ufeff\-_.·•*~|/\\,，。、'\"“”‘’!！?？+＋]+")


def plain(text: str) -> str:
    """The text as a filter reads it: width and case folded, and no filler between the letters of a word."""
    return _FILLER.sub("", unicodedata.normalize("NFKC", text).casefold())


def words_in(text: str, words: Iterable[str]) -> list[str]:
    """Which of the words a text holds, spaced out or written in full width included."""
    bare = plain(text)
    return [word for word in words if (wanted := plain(word)) and wanted in bare]


def has_link(text: str) -> bool:
    """Whether a text leads somewhere, written in full width included."""
    return bool(LINK.search(unicodedata.normalize("NFKC", text)))


class Ruling(enum.StrEnum):
    CLEAR = "clear"
    HOLD = "hold"
    REFUSE = "refuse"


@dataclass(frozen=True)
class Verdict:
    """What becomes of a text; `word` is the one that decided, empty for a link."""

    ruling: Ruling
    word: str = ""


def judge(text: str, words: Sequence[tuple[str, WordEffect]]) -> Verdict:
    """What a member's text is let do: a refused word stops it, a held word or a link lets staff look first."""
    for effect, ruling in ((WordEffect.REFUSE, Ruling.REFUSE), (WordEffect.HOLD, Ruling.HOLD)):
        if found := words_in(text, [word for word, its_effect in words if its_effect is effect]):
            return Verdict(ruling, found[0])
    return Verdict(Ruling.HOLD) if has_link(text) else Verdict(Ruling.CLEAR)


class Consequence(enum.StrEnum):
    NOTHING = "nothing"
    SILENCE = "silence"
    BAN = "ban"


def consequence(upheld: Sequence[datetime], silences: Sequence[datetime], now: datetime) -> Consequence:
    """What follows a case that was just upheld.

    `upheld` are the times of all cases upheld against the person (this one included), `silences` of those that the rule
    gave them. A silence wipes the slate: only what was upheld after the last one counts.
    """
    since = max([now - REMEMBERED, *silences])
    if sum(at > since for at in upheld) < STRIKES:
        return Consequence.NOTHING
    recent = sum(at > now - SILENCES_REMEMBERED for at in silences)
    return Consequence.BAN if recent + 1 >= SILENCES else Consequence.SILENCE
