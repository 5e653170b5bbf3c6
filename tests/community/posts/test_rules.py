"""Pure decisions about posts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from community.posts import rules
from community.posts.models import PostKind, PostState

NOON = datetime(2026, 3, 3, 4, tzinfo=UTC)


REL = ("rel", "noopener noreferrer nofollow")


def tags_of(html):
    """Every tag with its attributes, as a browser would read them."""
    found = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag, attrs):
            found.append((tag, tuple(attrs)))

    Reader().feed(html)
    return found


def codes(*args, **values):
    return [(f.code, f.field) for f in rules.lint(*args, **values) if f.stops]


@pytest.mark.parametrize(
    "text",
    [
        "看 https://shop.example/x",
        "看 HTTP://shop.example",
        "看 www.shop.example",
        "看 shop.com 就好",
        "看[这里](/x)",
        "全角 ｈｔｔｐｓ：//shop.example",
    ],
)
def test_an_announcement_carries_no_link(text):
    assert codes(PostKind.ANNOUNCEMENT, "公告", text) == [("link_in_announcement", "body")]
    assert codes(PostKind.TIP, "公告", text) == []


def test_an_announcement_has_no_link_button():
    assert codes(PostKind.ANNOUNCEMENT, "公告", "今晚八点", "https://shop.example") == [
        ("link_in_announcement", "link_url")
    ]


@pytest.mark.parametrize(
    "text", ["今晚免单", "今晚免 单", "今晚免-单", "今晚免\u200b单", "免·单", "加v领取", "加Ｖ领取", "好评 返现"]
)
def test_words_that_platforms_refuse_stop_an_announcement_however_they_are_spaced(text):
    assert {code for code, _ in codes(PostKind.ANNOUNCEMENT, "公告", text)} == {"refused_word"}


@pytest.mark.parametrize("text", ["今晚八点开播", "订单已发货", "单独包装，免洗"])
def test_harmless_words_pass(text):
    assert codes(PostKind.ANNOUNCEMENT, "公告", text) == []


def test_elsewhere_such_words_are_only_remarked():
    found = rules.lint(PostKind.TIP, "今晚免单", "全网最低", picture="x")
    assert [(f.code, f.stops, f.word) for f in found] == [
        ("risky_word", False, "免单"),
        ("superlative", False, "全网最低"),
    ]


def test_what_stops_a_post_comes_first():
    found = rules.lint(PostKind.ANNOUNCEMENT, "题" * 40, "免单", groups=0, local_hour=23)
    assert [f.code for f in found] == ["refused_word", "long_title", "no_group", "quiet_hours"]


@pytest.mark.parametrize(("hour", "quiet"), [(7, True), (8, False), (21, False), (22, True), (0, True)])
def test_the_night_is_remarked(hour, quiet):
    found = rules.lint(PostKind.ANNOUNCEMENT, "公告", "好", local_hour=hour)
    assert ("quiet_hours" in [f.code for f in found]) is quiet


@pytest.mark.parametrize("url", ["https://shop.example/a?b=c#d", "http://127.0.0.1:8000/x", "https://商店.example/茶"])
def test_a_whole_web_address_is_a_link(url):
    assert rules.link_allowed(url)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "shop.example",
        "//shop.example",
        "/console",
        "javascript:alert(1)",
        "data:text/html,x",
        "ftp://shop.example",
        "https://",
        "https:///x",
        "https://user:word@shop.example",
        "https://shop.example/a b",
        "https://shop.example/\nx",
        "https:\\\\shop.example",
        "https://shop.example:port/",
        "https://shop.example/" + "x" * 2_000,
    ],
)
def test_anything_else_is_none(url):
    assert not rules.link_allowed(url)


@pytest.mark.parametrize(
    ("state", "publish_at", "shown"),
    [
        (PostState.DRAFT, None, PostState.DRAFT),
        (PostState.SCHEDULED, NOON + timedelta(seconds=1), PostState.SCHEDULED),
        (PostState.SCHEDULED, NOON, PostState.PUBLISHED),
        (PostState.PUBLISHED, NOON, PostState.PUBLISHED),
        (PostState.ARCHIVED, NOON, PostState.ARCHIVED),
    ],
)
def test_the_clock_decides_the_state(state, publish_at, shown):
    assert rules.state_at(state, publish_at, NOON) == shown
    assert rules.editable(state, publish_at, NOON) is (shown in (PostState.DRAFT, PostState.SCHEDULED))


@pytest.mark.parametrize(
    ("body", "html"),
    [
        ("一\n二", "<p>一<br>\n二</p>\n"),
        ("**八十五度**", "<p><strong>八十五度</strong></p>\n"),
        ("# 大题", "<h3>大题</h3>\n"),
        ("###### 小题", "<h4>小题</h4>\n"),
        (
            "[看](https://shop.example)",
            '<p><a href="https://shop.example" rel="noopener noreferrer nofollow">看</a></p>\n',
        ),
    ],
)
def test_marks_become_html(body, html):
    assert rules.html_of(body) == html


@pytest.mark.parametrize(
    "body",
    [
        "<script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        "![x](https://a.example)",
        "[x](javascript:alert(1))",
        "[x](data:text/html,<script>)",
        "<a href=javascript:alert(1)>x</a>",
        "<style>*{display:none}</style>",
    ],
)
def test_nothing_dangerous_is_drawn(body):
    assert set(tags_of(rules.html_of(body))) <= {("p", ()), ("a", (("href", "https://a.example"), REL))}


@given(st.text(max_size=200))
def test_drawing_any_text_gives_known_tags_and_web_links_alone(text):
    for tag, attributes in tags_of(rules.html_of(text)):
        assert tag in rules._TAGS
        assert all(name == "rel" or value.startswith(("http://", "https://")) for name, value in attributes)


def test_an_excerpt_is_one_plain_line():
    assert rules.excerpt("# 题\n\n**水温** [看](https://x.example) 85 度") == "题 水温 看 85 度"
    assert rules.excerpt("长" * 80) == "长" * 59 + "…"
