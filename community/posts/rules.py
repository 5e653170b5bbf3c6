"""Pure decisions about posts: what a text may say, how it is drawn, and which state the clock puts it in."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from html import escape
from typing import Final
from urllib.parse import urlsplit

import nh3
from markdown_it import MarkdownIt

from community.moderation.rules import has_link, words_in

from .models import PostKind, PostState

LONGEST_TITLE: Final = 60
LONGEST_BODY: Final = 5_000
LONGEST_LINK: Final = 2_000
LONGEST_LABEL: Final = 20
LONGEST_COMMENT: Final = 500
LONGEST_CONTRIBUTION: Final = 1_000
# A poll has so many answers, each so long.
FEWEST_OPTIONS, MOST_OPTIONS, LONGEST_OPTION = 2, 8, 40
# Longer ones are cut off in the feed of most phones.
COMFORTABLE_TITLE: Final = 28
COMFORTABLE_BODY: Final = 800
QUIET_FROM, QUIET_UNTIL = 22, 8
MOST_PRODUCTS: Final = 4
# When members look, the best time to post: judged over so many weeks, in windows of so many hours, from so many looks on.
LOOKED_AT_WEEKS: Final = 8
WINDOW_HOURS: Final = 2
FEWEST_LOOKS, FEWEST_LOOKERS, FEWEST_POSTS = 60, 12, 5
BEST: Final = 3
# How long after a view or a click an order still counts as having followed it.
BOUGHT_WITHIN: Final = timedelta(days=5)

# Group platforms refuse an announcement with one of these: bait with free goods, cash for reviews, leading people away.
REFUSED_WORDS: Final = (
    "免单", "免费送", "白送", "刷单", "好评返现", "返现", "晒图返", "转发抽奖", "加微信", "加V", "微信号", "私下转账", "扫码付款",
)  # fmt: skip
# Article 9 (3) of the Advertising Law of the People's Republic of China forbids such superlatives in any advertisement.
SUPERLATIVES: Final = ("国家级", "最高级", "最佳", "第一品牌", "全网最低", "史上最低", "绝无仅有", "100%有效")


@dataclass(frozen=True)
class Finding:
    """One remark of the lint. `code` names the rule (its sentence is in labels), `stops` says that it must be mended."""

    code: str
    stops: bool
    field: str
    word: str = ""


def link_allowed(url: str) -> bool:
    """Whether a link may be stored: http or https with a host, no name and password, nothing unprintable."""
    if len(url) > LONGEST_LINK or not url.isprintable() or any(c.isspace() for c in url) or "\\" in url:
        return False
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.username is None


def lint(
    kind: PostKind,
    title: str,
    body: str,
    link_url: str = "",
    picture: str | None = None,
    groups: int = 1,
    local_hour: int | None = None,
    video: str | None = None,
) -> list[Finding]:
    """What is wrong with a post, the remarks that stop it first. `local_hour` is the hour it is to appear in the shop's time."""
    found = [*_announcement(kind, title, body, link_url), *_advice(kind, title, body, link_url, picture, video)]
    if not groups:
        found.append(Finding("no_group", False, "groups"))
    if local_hour is not None and (local_hour >= QUIET_FROM or local_hour < QUIET_UNTIL):
        found.append(Finding("quiet_hours", False, "publish_at"))
    return sorted(found, key=lambda f: not f.stops)


def _announcement(kind: PostKind, title: str, body: str, link_url: str) -> Iterator[Finding]:
    strict = kind == PostKind.ANNOUNCEMENT
    for name, text in (("title", title), ("body", body)):
        if strict and has_link(text):
            yield Finding("link_in_announcement", True, name)
        for word in words_in(text, REFUSED_WORDS):
            yield Finding("refused_word" if strict else "risky_word", strict, name, word)
        for word in words_in(text, SUPERLATIVES):
            yield Finding("superlative", False, name, word)
    if strict and link_url:
        yield Finding("link_in_announcement", True, "link_url")


def _advice(
    kind: PostKind, title: str, body: str, link_url: str, picture: str | None, video: str | None
) -> Iterator[Finding]:
    if len(title) > COMFORTABLE_TITLE:
        yield Finding("long_title", False, "title")
    if len(body) > COMFORTABLE_BODY:
        yield Finding("long_body", False, "body")
    if not picture and not video and kind in (PostKind.TIP, PostKind.NEW_PRODUCT, PostKind.PROMOTION):
        yield Finding("no_picture", False, "picture")
    if kind == PostKind.SHORT_VIDEO and not video and not link_url:
        yield Finding("no_video", False, "film")
    if video and not picture:
        yield Finding("no_poster", False, "picture")
    if not link_url and kind in (PostKind.LIVE, PostKind.SURVEY, PostKind.PROMOTION):
        yield Finding("no_link", False, "link_url")


def state_at(state: PostState, publish_at: datetime | None, now: datetime) -> PostState:
    """The state that the clock gives a post: a scheduled one past its time is published, sweep or no sweep."""
    if state == PostState.SCHEDULED and publish_at is not None and publish_at <= now:
        return PostState.PUBLISHED
    return state


def editable(state: PostState, publish_at: datetime | None, now: datetime) -> bool:
    """Whether the text may still be changed: until members can have read it."""
    return state_at(state, publish_at, now) in (PostState.DRAFT, PostState.SCHEDULED)


_markdown = MarkdownIt("commonmark", {"html": False, "breaks": True}).disable(["image", "html_block", "html_inline"])
_WEB = re.compile(r"https?://", re.IGNORECASE)
_TAGS = {"p", "br", "strong", "em", "ul", "ol", "li", "blockquote", "h3", "h4", "a", "hr", "code"}


@lru_cache(maxsize=512)
def html_of(body: str) -> str:
    """The text's Markdown as safe HTML: no raw HTML, no pictures from elsewhere, links to http and https alone."""
    # A post stands under its own title, so that its headings are the third and fourth of the page.
    return clean(re.sub(r"(</?)h([1-6])>", lambda m: f"{m[1]}h{3 if m[2] in '123' else 4}>", _markdown.render(body)))


# Four times is more than was ever needed; what then still changes is no text.
ROUNDS: Final = 4
_cleaner = nh3.Cleaner(
    tags=_TAGS,
    attributes={"a": {"href"}},
    # An address without a scheme would lead to a page of ours that nobody meant; titles and languages are let through otherwise.
    attribute_filter=lambda _tag, name, value: (
        value if name == "rel" or (name == "href" and _WEB.match(value)) else None
    ),
    url_schemes={"http", "https"},
    link_rel="noopener noreferrer nofollow",
)


def clean(html: str) -> str:
    """HTML with nothing left but the marks of a text and links to http and https. Cleaning it again changes nothing.

    A browser reads what is written anew: where the parts of a broken nesting fall into other places at the second reading, it
    is cleaned until they stay.
    """
    for _round in range(ROUNDS):
        cleaned = _cleaner.clean(html)
        if cleaned == html:
            return html
        html = cleaned
    return html if _cleaner.clean(html) == html else escape(html, quote=False)


def excerpt(body: str, length: int = 60) -> str:
    """The beginning of a text in one line, without its marks."""
    plain = re.sub(r"\s+", " ", re.sub(r"[*_>#`]+|\[([^\]]*)\]\([^)]*\)", r"\1", body)).strip()
    return plain if len(plain) <= length else plain[: length - 1].rstrip() + "…"


def options_of(text: str) -> list[str]:
    """The answers of a poll as they are typed, one a line: folded, each once, empty lines left out."""
    return list(dict.fromkeys(option for line in text.splitlines() if (option := " ".join(line.split()))))


@dataclass(frozen=True)
class Looks:
    """What was seen of some groups' members: looks by hour of the week (0 is Monday 00:00 on the shop's clock), each member
    once an hour, by so many members, at so many posts."""

    by_hour: Mapping[int, int]
    members: int
    posts: int

    @property
    def total(self) -> int:
        return sum(self.by_hour.values())

    @property
    def enough(self) -> bool:
        """Whether anything can be said."""
        return self.total >= FEWEST_LOOKS and self.members >= FEWEST_LOOKERS and self.posts >= FEWEST_POSTS


@dataclass(frozen=True)
class Window:
    """Two hours of the week, from `hour` of `weekday` (0 is Monday), into which `looks` of `total` fell."""

    weekday: int
    hour: int
    looks: int
    total: int


def wilson_low(hits: int, tries: int, z: float) -> float:
    """The lower end of Wilson's score interval for a share of `hits` in `tries`, `z` standard deviations wide to each side.

    E. B. Wilson, Probable Inference, the Law of Succession, and Statistical Inference, JASA 22 (1927), 209–212.
    """
    if not tries:
        return 0.0
    share, square = hits / tries, z * z
    middle = share + square / (2 * tries)
    spread = z * math.sqrt(share * (1 - share) / tries + square / (4 * tries * tries))
    return (middle - spread) / (1 + square / tries)


def best_windows(looks: Looks) -> list[Window]:
    """The windows of daytime (08:00–22:00) into which clearly more looks fall than if all were alike, the surest first.

    Each pair of hours is judged by the lower end of Wilson's interval of its share, so that a few looks at an odd hour do not
    win. It must lie above the even share, with z = 3.29: of the 91 windows that are compared, chance alone lets one stand out
    in 5 of 100 groups at the most (Bonferroni). Of two alike the one that begins fuller comes first; windows do not overlap. Too
    little seen, or all hours alike: none.
    """
    if not looks.enough:
        return []
    daytime = {h: n for h, n in looks.by_hour.items() if QUIET_UNTIL <= h % 24 < QUIET_FROM}
    total = sum(daytime.values())
    found = []
    for weekday in range(7):
        for hour in range(QUIET_UNTIL, QUIET_FROM - WINDOW_HOURS + 1):
            hits = sum(daytime.get(24 * weekday + hour + i, 0) for i in range(WINDOW_HOURS))
            low = wilson_low(hits, total, 3.29)
            if low > WINDOW_HOURS / (7 * (QUIET_FROM - QUIET_UNTIL)):
                found.append((low, Window(weekday, hour, hits, total)))
    best: list[Window] = []
    for _low, window in sorted(
        found,
        key=lambda one: (-one[0], -daytime.get(24 * one[1].weekday + one[1].hour, 0), one[1].weekday, one[1].hour),
    ):
        if all(window.weekday != other.weekday or abs(window.hour - other.hour) >= WINDOW_HOURS for other in best):
            best.append(window)
    return best[:BEST]


def next_day_of(weekday: int, hour: int, today_weekday: int, now_hour: int) -> int:
    """In how many days an hour of the week comes next, from one day and hour of it; within this hour it is a week away."""
    days = (weekday - today_weekday) % 7
    return days if days or hour > now_hour else 7


def title_of(body: str) -> str:
    """What a member's post is called in lists: the beginning of its first line."""
    first = next((line.strip() for line in body.splitlines() if line.strip()), "")
    return excerpt(first, COMFORTABLE_TITLE)
