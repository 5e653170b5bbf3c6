"""What was begun in a form and not sent (static/js/drafts.js): there again for whoever wrote it, and for nobody else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.browser

STATIC = Path(__file__).parents[2] / "static"
SITE = "http://shop.example"
PAGE = """<!doctype html><script type="module">
import {{ forgetDrafts, keepDrafts }} from "/static/js/drafts.js";
keepDrafts(document); forgetDrafts(document); document.body.dataset.ready = "1";
</script><body>{form}<form method="post" action="/console/sign-out"><button id="out">Out</button></form>"""
FORM = """<form method="post" action="/{ticket}" data-draft-of="{who}" data-draft="{mark}" data-draft-said="Here again">
<textarea name="body"></textarea><button id="send">Send</button></form>"""


@pytest.fixture
def words(open_page: Callable[..., Any]) -> Callable[..., Any]:
    """`words(ticket, who, mark)` is what stands in the form of a ticket for somebody; `words.tab` is the tab."""
    tab = open_page()

    def serve(route: Any) -> None:
        parts = route.request.url.removeprefix(SITE + "/").split("/")
        if parts[0] == "static":
            route.fulfill(path=STATIC.joinpath(*parts[1:]), content_type="text/javascript")
        elif route.request.method == "POST":
            route.fulfill(status=204)
        else:
            form = FORM.format(ticket=parts[0], who=parts[1], mark=parts[2]) if len(parts) == 3 else ""
            route.fulfill(body=PAGE.format(form=form), content_type="text/html")

    tab.route("**/*", serve)

    def look(ticket: int, who: int, mark: int = 0) -> str:
        tab.goto(f"{SITE}/{ticket}/{who}/{mark}")
        tab.wait_for_selector("[data-ready]")
        return str(tab.input_value("textarea"))

    look.tab = tab  # type: ignore[attr-defined]
    return look


def test_a_draft_is_there_again_for_its_writer_until_it_has_arrived(words: Any) -> None:
    assert words(1, who=7) == ""
    words.tab.fill("textarea", "half a thought")
    assert (words(2, who=7), words(1, who=7)) == ("", "half a thought")
    assert words.tab.inner_text("[role=status]") == "Here again"
    words.tab.click("#send")
    # Sent, and not taken: nothing has changed there. Then it has.
    assert words(1, who=7) == "half a thought"
    words.tab.click("#send")
    assert (words(1, who=7, mark=1), words(1, who=7, mark=1)) == ("", "")


def test_nobody_else_finds_a_draft_and_signing_out_leaves_none(words: Any) -> None:
    words(1, who=7)
    words.tab.fill("textarea", "not for you")
    # The session of the first one ran out, and a colleague signed in.
    assert words(1, who=8) == ""
    assert "not for you" not in words.tab.evaluate("JSON.stringify(sessionStorage)")
    words.tab.fill("textarea", "mine")
    # From a page without any such form.
    words.tab.goto(f"{SITE}/")
    words.tab.wait_for_selector("[data-ready]")
    words.tab.click("#out")
    assert words(1, who=8) == ""
