"""Pure decisions of the answers: which band a question falls into, what a trial came to, when people come first."""

from __future__ import annotations

import enum
import re
from collections import Counter, defaultdict, deque
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import time
from itertools import groupby
from typing import Any, Final

from community.conversations.rules import Band

from . import words

# Of the questions that are answered at once, so many are to be answered right; of those that are offered three, so many are to
# find theirs among them.
ANSWERED_RIGHT, OFFERED_RIGHT = 0.95, 0.5
# Of all that people ask, so much is taken to be about something that nobody has written an answer to.
OUTSIDE: Final = 0.2
# Of those about something else, no more than so many are answered: whoever is offered three instead taps once, and whoever is
# answered past the point stops asking.
OUTSIDE_ANSWERED: Final = 0.03
OFFERED: Final = 3
MOST_PHRASINGS: Final = 2_000
LONGEST_QUESTION, LONGEST_ANSWER, LONGEST_PHRASING = 80, 4_000, 200
MOST_RELATED: Final = 5
# After so many tries without an answer a person is asked.
MOST_TRIES: Final = 2


class Mode(enum.StrEnum):
    """What the bot does: answer members itself, only help the agent, or nothing."""

    FULL = "full"
    ASSIST = "assist"
    OFF = "off"


class Routing(enum.StrEnum):
    """Who answers first."""

    HUMAN_FIRST = "human_first"
    BOT_FIRST = "bot_first"
    MIXED = "mixed"


@dataclass(frozen=True)
class Thresholds:
    """Probabilities from which a question is answered, and from which three are offered."""

    answer: float
    offer: float


# Of a shop with too few phrasings to measure anything by.
UNMEASURED: Final = Thresholds(0.6, 0.2)


@dataclass(frozen=True)
class Try:
    """A held-back phrasing: what it was about, the three that were taken for likeliest, and how likely each."""

    intent_id: int
    best: tuple[int, ...]
    likely: tuple[float, ...]


@dataclass(frozen=True)
class Trial:
    """How a model did on phrasings that were held back; shares between 0 and 1.

    `top1`: the likeliest was right; `top3`: the right one was among three; `half`: right on the half it was surest of.
    `outside_*` is what became of questions whose intent was held back altogether. `each`: intent → (phrasings, right);
    `confused`: (meant, taken for, how often), the most frequent first.
    """

    texts: int
    intents: int
    top1: float
    top3: float
    half: float
    answered: float
    answered_right: float
    offered: float
    offered_right: float
    handed_over: float
    outside: int = 0
    outside_answered: float = 0.0
    outside_handed_over: float = 0.0
    each: dict[str, list[int]] = field(default_factory=dict)
    confused: list[list[int]] = field(default_factory=list)

    def dump(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def load(cls, stored: dict[str, Any]) -> Trial:
        return cls(**stored)


def band_of(likely: float, thresholds: Thresholds) -> Band:
    """The band of a question whose likeliest intent has this probability."""
    if likely >= thresholds.answer:
        return Band.ANSWER
    return Band.OFFER if likely >= thresholds.offer else Band.HAND_OVER


def thresholds_for(tries: Sequence[Try], outside: Sequence[float]) -> Thresholds:
    """Where the bands begin, by what held-back phrasings came to and by how sure the model was of strange questions.

    Strange ones count for `OUTSIDE` of everything. Answers begin at the lowest probability from which on `ANSWERED_RIGHT` of
    them are right and at most `OUTSIDE_ANSWERED` of the strange ones are answered; offers at the lowest one from which on at
    least `OFFERED_RIGHT` of those offered find theirs, over each stretch of a tenth of the questions, so that a good stretch
    does not pay for a bad one.
    """
    if not tries:
        return UNMEASURED
    weight = OUTSIDE / (1 - OUTSIDE) * len(tries) / len(outside) if outside else 0.0
    seen = [
        (one.likely[0], float(one.best[0] == one.intent_id), float(one.intent_id in one.best), 1.0) for one in tries
    ]
    seen += [(likely, 0.0, 0.0, weight) for likely in outside]
    seen.sort(key=lambda row: -row[0])
    alike = [list(rows) for _likely, rows in groupby(seen, key=lambda row: row[0])]
    strange = sorted(outside, reverse=True)
    # From here on one more of them would be answered than may be.
    barred = strange[int(OUTSIDE_ANSWERED * len(strange))] if strange else -1.0
    answer = 1.0
    right = total = 0.0
    for rows in alike:
        right += sum(row[1] for row in rows)
        total += sum(row[3] for row in rows)
        if right >= ANSWERED_RIGHT * total and rows[0][0] > barred:
            answer = rows[0][0]
    offer = answer
    full = max(0.1 * len(tries), 1.0)
    stretch: deque[tuple[float, float]] = deque()
    hits = length = 0.0
    for rows in alike:
        if rows[0][0] >= answer:
            continue
        among, much = sum(row[2] for row in rows), sum(row[3] for row in rows)
        stretch.append((among, much))
        hits, length = hits + among, length + much
        while length - stretch[0][1] >= full:
            among, much = stretch.popleft()
            hits, length = hits - among, length - much
        if length >= full / 2 and hits < OFFERED_RIGHT * length:
            break
        offer = rows[0][0]
    return Thresholds(round(answer, 4), round(offer, 4))


def crossed_bands(tries: Sequence[Try], outside: Sequence[float]) -> tuple[list[Band], list[Band]]:
    """The band of each held-back phrasing and of each strange question, by thresholds that were chosen without it.

    Each of two halves is judged by the thresholds of the other: on the questions that they were chosen by, thresholds promise
    a little more than they keep.
    """
    bands = [Band.HAND_OVER] * len(tries)
    strange = [Band.HAND_OVER] * len(outside)
    for half in (0, 1):
        found = thresholds_for(tries[1 - half :: 2], outside[1 - half :: 2])
        bands[half::2] = [band_of(one.likely[0], found) for one in tries[half::2]]
        strange[half::2] = [band_of(likely, found) for likely in outside[half::2]]
    return bands, strange


def trial_of(tries: Sequence[Try], outside: Sequence[float]) -> Trial:
    """The measure of a model; what it answers and offers is counted by `crossed_bands`. `tries` is not empty."""
    n = len(tries)
    right = [one.best[0] == one.intent_id for one in tries]
    among = [one.intent_id in one.best for one in tries]
    surest = sorted(range(n), key=lambda i: -tries[i].likely[0])[: max(n // 2, 1)]
    bands, strange = crossed_bands(tries, outside)
    each: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for one, hit in zip(tries, right, strict=True):
        each[str(one.intent_id)][0] += 1
        each[str(one.intent_id)][1] += hit
    confused = Counter((one.intent_id, one.best[0]) for one, hit in zip(tries, right, strict=True) if not hit)

    def share(hits: Sequence[bool], band: Band | None = None) -> float:
        chosen = [hit for hit, found in zip(hits, bands, strict=True) if band in (None, found)]
        return round(sum(chosen) / len(chosen), 4) if chosen else 0.0

    def part(found: Sequence[Band], band: Band) -> float:
        return round(found.count(band) / len(found), 4) if found else 0.0

    return Trial(
        texts=n,
        intents=len({one.intent_id for one in tries}),
        top1=share(right),
        top3=share(among),
        half=round(sum(right[i] for i in surest) / len(surest), 4),
        answered=part(bands, Band.ANSWER),
        answered_right=share(right, Band.ANSWER),
        offered=part(bands, Band.OFFER),
        offered_right=share(among, Band.OFFER),
        handed_over=part(bands, Band.HAND_OVER),
        outside=len(outside),
        outside_answered=part(strange, Band.ANSWER),
        outside_handed_over=part(strange, Band.HAND_OVER),
        each=dict(each),
        confused=[[meant, taken, times] for (meant, taken), times in confused.most_common(30)],
    )


def within(moment: time, start: time, end: time) -> bool:
    """Whether a wall-clock time lies in [start, end), which may pass midnight; equal ends mean never."""
    if start <= end:
        return start <= moment < end
    return moment >= start or moment < end


def bot_first(routing: Routing, in_hours: bool, free: int, waiting: int, most_waiting: int) -> bool:
    """Whether the bot speaks before people do.

    With mixed routing people come first within their hours, as long as somebody has room and no more than `most_waiting`
    conversations wait; outside the hours the bot does. Human first lets the bot speak only when nobody is there to: outside the
    hours.
    """
    match routing:
        case Routing.BOT_FIRST:
            return True
        case Routing.HUMAN_FIRST:
            return not in_hours
        case _:
            return not in_hours or free < 1 or waiting > most_waiting


# Words after which a person answers whatever the bot may think: money, health and the law are no matter for a guess.
PEOPLE_WORDS: Final = (
    "投诉",
    "12315",
    "12345",
    "消协",
    "工商",
    "起诉",
    "律师",
    "曝光",
    "报警",
    "过敏",
    "受伤",
    "中毒",
    "人工",
    "真人",
    "转人工",
)
CHANNELS: Final = ("group", "wecom", "agent")


@dataclass(frozen=True)
class BotSettings:
    """What the bot may do. `most_waiting`: with mixed routing it speaks when more conversations than this wait."""

    mode: Mode = Mode.FULL
    routing: Routing = Routing.MIXED
    most_waiting: int = 5
    greeting: str = ""
    greeting_en: str = ""
    people_words: tuple[str, ...] = PEOPLE_WORDS


def settings_from(kept: Mapping[str, Any] | None) -> BotSettings:
    """The settings as the shop keeps them (plain JSON), the standard where it says nothing."""
    said, standard = dict(kept or {}), BotSettings()
    return BotSettings(
        mode=Mode(said.get("mode", standard.mode)),
        routing=Routing(said.get("routing", standard.routing)),
        most_waiting=int(said.get("most_waiting", standard.most_waiting)),
        greeting=said.get("greeting", ""),
        greeting_en=said.get("greeting_en", ""),
        people_words=tuple(said.get("people_words", standard.people_words)),
    )


def settings_to(settings: BotSettings) -> dict[str, Any]:
    """The settings as plain JSON; `settings_from` reads them back."""
    return {
        **asdict(settings),
        "mode": settings.mode.value,
        "routing": settings.routing.value,
        "people_words": list(settings.people_words),
    }


def wants_people(text: str, people_words: Sequence[str]) -> bool:
    """Whether a question names what only people answer, both read in plain characters: 12315 in full width, 訴 for 诉."""
    read = words.plain(text)
    return any(word and words.plain(word) in read for word in people_words)


class SmallTalk(enum.StrEnum):
    """What is said without a question in it."""

    GREETING = "greeting"
    THANKS = "thanks"


_GREETINGS: Final = (
    "你好 您好 你们好 老板好 客服好 哈喽 哈罗 嗨 在吗 在么 在嘛 在不在 在 早 早上好 上午好 中午好 下午好 晚上好 亲 亲亲 老板 "
    "hi hello hey"
)
_THANKS: Final = (
    "谢谢 谢谢你 谢谢您 多谢 谢 感谢 辛苦 好 好的 好滴 行 可以 嗯 嗯嗯 哦 噢 ok 知道 明白 懂 了解 没事 没问题 不用 "
    "再见 拜拜 晚安 thanks bye"
)
_CHAT: Final = {
    **dict.fromkeys(_THANKS.split(), SmallTalk.THANKS),
    **dict.fromkeys(_GREETINGS.split(), SmallTalk.GREETING),
}
_CALLED: Final = re.compile(r"^(?:亲亲|亲|老板|客服|掌柜|小二|美女|帅哥)(?=.)|(?<=.)(?:亲|老板|掌柜|小二|美女|帅哥)$")
_ENDED: Final = re.compile(r"(?<=.)[啊呀哦噢喔哟呢吧哈嘞啦了]+$")


def small_talk(text: str) -> SmallTalk | None:
    """What a text is that only greets, or only thanks, agrees and takes leave; None when it says anything else."""
    said = set()
    for part in words.fold(text).split():
        bare = _CALLED.sub("", part)
        said.add(next((_CHAT[one] for one in (part, bare, _ENDED.sub("", bare)) if one in _CHAT), None))
    if not said or None in said:
        return None
    return SmallTalk.THANKS if SmallTalk.THANKS in said else SmallTalk.GREETING


# What is left of the mere wish for a person once courtesy and the verb are taken away.
_WISH: Final = re.compile(
    r"(?:请|麻烦|帮我|给我|我要|我想要?|要|想)*(?:转|找|接|叫|换|来|联系|呼叫)*(?:一下|一?个|到|下)?"
    r"(?:人工|真人|客服|活人|人)+(?:客服|服务|坐席|回答|回复|处理|来)*"
    r"|(?:talk to |speak to |i want )?(?:an? )?(?:human|real person|person|agent)"
)


def only_wants_person(text: str) -> bool:
    """Whether a text asks for a person and for nothing else."""
    said = [part for part in _clean(text).split(".") if part]
    return bool(said) and all(_WISH.fullmatch(part) for part in said)


def _clean(text: str) -> str:
    """A text in plain characters, what stands between clauses as a full stop, particles at the end taken off."""
    parts = re.split(r"[^\w ]+", words.plain(text))
    return ".".join(_ENDED.sub("", part.strip()) for part in parts if part.strip())


def lines_of(text: str) -> list[str]:
    """Phrasings or words as they are typed, one a line: blanks folded, each once, empty lines left out."""
    return list(dict.fromkeys(line for raw in text.replace("\x00", "").splitlines() if (line := " ".join(raw.split()))))


def spoken(answer: str, link_label: str, link_url: str) -> str:
    """An answer as plain words for a conversation, its link below."""
    if not link_url:
        return answer
    return f"{answer}\n{link_label}: {link_url}" if link_label else f"{answer}\n{link_url}"
