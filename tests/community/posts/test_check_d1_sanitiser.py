"""Check D1 for posts: whatever somebody writes, nothing that runs is ever drawn, and cleaning twice changes nothing.

Posts are put together from what broke sanitisers elsewhere; a number with its seed names each, so that a failure comes again.
"""

from __future__ import annotations

import html
import random
from html.parser import HTMLParser

import pytest

from community.posts import rules

TAGS = [
    "p", "a", "b", "img", "svg", "math", "script", "style", "iframe", "object", "embed", "form", "input", "button", "textarea", "title",
    "noscript", "template", "table", "td", "select", "option", "details", "video", "audio", "source", "base", "link", "meta", "body",
    "html", "mtext", "mglyph", "malignmark", "annotation-xml", "foreignObject", "desc", "use", "animate", "set", "xmp", "plaintext",
    "listing", "frameset", "marquee", "x-y", "a:b", "ScRiPt", "h1", "h3", "code", "blockquote",
]  # fmt: skip
NAMES = [
    "onerror", "onload", "onclick", "ONMOUSEOVER", "onfocus", "onanimationend", "on\x00error", "/onerror", "href", "HREF", "xlink:href",
    "src",
    "srcdoc", "srcset", "style", "formaction", "action", "data", "background", "poster", "id", "name", "class", "target", "rel", "is",
    "slot",
]  # fmt: skip
SCHEMES = [
    "javascript:alert(1)", "JaVaScRiPt:alert(1)", "java\tscript:alert(1)", "java\nscript:alert(1)", " javascript:alert(1)",
    "\x01javascript:alert(1)", "javascript&colon;alert(1)", "&#106;avascript:alert(1)", "&#x6A;avascript&#58;alert(1)", "vbscript:msgbox",
    "data:text/html,<script>alert(1)</script>", "data:text/html;base64,PHNjcmlwdD4=", "DATA:TEXT/HTML,x", "feed:javascript:alert(1)",
    "//evil.example", "http://e.example/\" onclick=alert(1) x=\"", "https://shop.example", "file:///etc/passwd", "blob:x", "about:blank",
    "jav&#x09;ascript:alert(1)", "javascript\uff1aalert(1)", "\u202ejavascript:alert(1)", "https://a.example?x=javascript:alert(1)",
]  # fmt: skip
TEXTS = [
    "八十五度", "<!--", "-->", "<![CDATA[", "]]>", "<?xml ?>", "<!DOCTYPE html>", "&lt;script&gt;", "&#60;script&#62;", "\x00", "</", "<",
    ">",
    "\"", "'", "`", "```", "**", "> ", "- ", "# ", "\n\n", "\n", "    ", "|", "\\", "\u2028", "{{7*7}}", "</p><script>",
    "</textarea><img src=x onerror=alert(1)>",
    "</style><script>alert(1)</script>", "<a href=\"x\" ", "alert(1)",
]  # fmt: skip
KNOWN = rules._TAGS


def piece(chance: random.Random, depth: int = 0) -> str:
    """One piece of a hostile post: a tag with attributes, a mark with a link, or words."""
    kind = chance.randrange(6 if depth < 3 else 3)
    if kind == 0:
        return chance.choice(TEXTS)
    if kind == 1:
        words, to = piece(chance, depth + 1), chance.choice(SCHEMES)
        return chance.choice(
            [f"[{words}]({to})", f"![{words}]({to})", f"<{to}>", f"[x]: {to}\n[x]", f"[{words}](<{to}>)"]
        )
    if kind == 2:
        return chance.choice(SCHEMES)
    tag = chance.choice(TAGS)
    said = "".join(
        f"{chance.choice([' ', '/', chr(9), chr(10)])}{chance.choice(NAMES)}={chance.choice(['', chr(34), chr(39)])}"
        f"{chance.choice([*SCHEMES, 'alert(1)'])}{chance.choice(['', chr(34), chr(39)])}"
        for _n in range(chance.randrange(3))
    )
    inside = "".join(piece(chance, depth + 1) for _n in range(chance.randrange(3)))
    return f"<{tag}{said}{chance.choice(['>', '/>', '', ' >'])}{inside}{chance.choice([f'</{tag}>', '', '</', f'</{tag} x>'])}"


class Reader(HTMLParser):
    """Every tag and attribute of a piece of HTML."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[tuple[str, list[tuple[str, str | None]]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, attrs))

    handle_startendtag = handle_starttag

    def handle_comment(self, data: str) -> None:
        self.found.append(("comment", []))

    def handle_decl(self, decl: str) -> None:
        self.found.append(("declaration", []))


def fault(drawn: str) -> str | None:
    """What in a piece of HTML could run or lead where no post may, or None."""
    reader = Reader()
    reader.feed(drawn)
    reader.close()
    for tag, attributes in reader.found:
        if tag not in KNOWN:
            return tag
        for name, value in attributes:
            if name.startswith("on") or name not in ("href", "rel") or tag != "a":
                return f"{tag} {name}"
            address = "".join(html.unescape(value or "").split()).lower()
            if name == "href" and not address.startswith(("http://", "https://")):
                return f"{tag} {name}={value}"
    return None


def examine(numbers: range) -> None:
    for number in numbers:
        chance = random.Random(number)
        written = "".join(piece(chance) for _n in range(chance.randrange(1, 5)))
        for drawn in (rules.html_of.__wrapped__(written), rules.clean(written)):
            assert fault(drawn) is None, (number, written, drawn)
            assert rules.clean(drawn) == drawn, (number, written, drawn)


def test_check_d1_generated_posts_are_harmless_and_stay_as_they_are() -> None:
    examine(range(1_500))


@pytest.mark.long
def test_check_d1_a_hundred_thousand_generated_posts() -> None:
    examine(range(1_500, 101_500))


@pytest.mark.parametrize(
    "careless",
    [
        "<a onclick=x>",
        "<a href='javascript:x'>",
        "<a href='DATA:text/html,x'>",
        "<svg>",
        "<img src=x>",
        "<p style=x>",
        "<!-- x -->",
    ],
)
def test_check_d1_has_teeth(careless: str) -> None:
    assert fault(careless) is not None


def test_check_d1_the_generator_writes_what_a_careless_page_would_run() -> None:
    posts = [piece(random.Random(n)) for n in range(400)]
    assert sum(fault(post) is not None for post in posts) > 100
