"""Pure decisions about posts: what a text may say, how it is drawn, and which state the clock puts it in."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
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
) -> list[Finding]:
    """What is wrong with a post, the remarks that stop it first. `local_hour` is the hour it is to appear in the shop's time."""
    found = [*_announcement(kind, title, body, link_url), *_advice(kind, title, body, link_url, picture)]
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


def _advice(kind: PostKind, title: str, body: str, link_url: str, picture: str | None) -> Iterator[Finding]:
    if len(title) > COMFORTABLE_TITLE:
        yield Finding("long_title", False, "title")
    if len(body) > COMFORTABLE_BODY:
        yield Finding("long_body", False, "body")
    if not picture and kind in (PostKind.TIP, PostKind.NEW_PRODUCT, PostKind.PROMOTION):
        yield Finding("no_picture", False, "picture")
    if not link_url and kind in (PostKind.LIVE, PostKind.SHORT_VIDEO, PostKind.SURVEY, PostKind.PROMOTION):
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
_TAGS = {"p", "br", "strong", "em", "ul", "ol", "li", "blockquote", "h3", "h4", "a", "hr", "code"}


@lru_cache(maxsize=512)
def html_of(body: str) -> str:
    """The text's Markdown as safe HTML: no raw HTML, no pictures from elsewhere, links to http and https alone."""
    # A post stands under its own title, so that its headings are the third and fourth of the page.
    html = re.sub(r"(</?)h([1-6])>", lambda m: f"{m[1]}h{3 if m[2] in '123' else 4}>", _markdown.render(body))
    return nh3.clean(
        html,
        tags=_TAGS,
        attributes={"a": {"href"}},
        url_schemes={"http", "https"},
        link_rel="noopener noreferrer nofollow",
    )


def excerpt(body: str, length: int = 60) -> str:
    """The beginning of a text in one line, without its marks."""
    plain = re.sub(r"\s+", " ", re.sub(r"[*_>#`]+|\[([^\]]*)\]\([^)]*\)", r"\1", body)).strip()
    return plain if len(plain) <= length else plain[: length - 1].rstrip() + "…"


def options_of(text: str) -> list[str]:
    """The answers of a poll as they are typed, one a line: folded, each once, empty lines left out."""
    return list(dict.fromkeys(option for line in text.splitlines() if (option := " ".join(line.split()))))


def title_of(body: str) -> str:
    """What a member's post is called in lists: the beginning of its first line."""
    first = next((line.strip() for line in body.splitlines() if line.strip()), "")
    return excerpt(first, COMFORTABLE_TITLE)
