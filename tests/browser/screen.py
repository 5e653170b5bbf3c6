"""A browser window that notes whatever a visitor should never meet: faults, refused resources, pages wider than the screen."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.live import ROOT

PICTURES = ROOT / "test-results" / "screenshots"
SHAPES: dict[str, dict[str, Any]] = {
    "desktop": {"viewport": {"width": 1440, "height": 900}},
    "tablet": {"viewport": {"width": 768, "height": 1024}, "has_touch": True},
    "phone": {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True},
}
# A refused form or a page that is not there is said so by the browser too; the status is looked at by itself. And htmx says
# so when a newer question takes the place of one under way (hx-sync); of a fault it says something else beside.
_EXPECTED = re.compile(
    r"Failed to load resource: the server responded with a status of 4\d\d"
    r"|htmx:(afterRequest|sendAbort)(, \[object HTML\w+\])?$"
)
# Waits are for something that comes, so a generous limit costs nothing; a busy machine may be ten times slower.
PATIENCE = 60_000


class Screen:
    """One window over a site, in a browser context of its own; `wrong` holds what went wrong since the last look."""

    def __init__(self, browser: Any, site: str, shape: str, locale: str, script: bool = True) -> None:
        self.site = site
        self.shape = shape
        self.locale = locale
        self.script = script
        self.wrong: list[str] = []
        self.statuses: dict[str, int] = {}
        self.context = browser.new_context(
            **SHAPES[shape],
            locale=locale,
            timezone_id="Asia/Shanghai",
            java_script_enabled=script,
            base_url=site,
            accept_downloads=True,
        )
        self.context.set_default_timeout(PATIENCE)
        self.context.add_init_script(_TIMERS)
        self.page = self.context.new_page()
        self.page.on("pageerror", lambda error: self.wrong.append(f"{self.page.url}: {error}"))
        self.page.on("console", self._said)
        self.page.on("response", self._answered)
        self.page.on("requestfailed", self._failed)

    def _said(self, message: Any) -> None:
        if message.type == "error" and not _EXPECTED.match(message.text):
            self.wrong.append(f"{self.page.url}: {message.text}")

    def _answered(self, response: Any) -> None:
        if response.status >= 500:
            self.wrong.append(f"{response.request.method} {response.url}: {response.status}")
        if response.request.is_navigation_request():
            self.statuses[urlsplit(response.url).path] = response.status

    def _failed(self, request: Any) -> None:
        # Whoever leaves a page ends what it was still asking for.
        if "ERR_ABORTED" not in (request.failure or ""):
            self.wrong.append(f"{request.url}: {request.failure}")

    @property
    def path(self) -> str:
        return urlsplit(self.page.url).path

    def quiet(self) -> Screen:
        """Wait until nothing is about to change by itself: what was typed has been sent, its answer stands on the page and
        has settled, and the cursor is where the page puts it. A page that looks again every few seconds is quiet between."""
        if self.script:
            # Unlike a single question, the wait outlives a page that gives way to another one in the middle of it.
            self.page.wait_for_function(_QUIET)
        return self

    def open(self, address: str, expect: int = 200) -> Screen:
        """Go to an address and look at the page."""
        answer = self.page.goto(address)
        assert answer is not None
        assert answer.status == expect, f"{address}: {answer.status}"
        return self.look()

    def press(self, selector: str) -> Screen:
        """Press or tap something that leads to another page, and look at that."""
        self.quiet()
        with self.page.expect_navigation():
            self._touch(selector)
        return self.look()

    def enter(self) -> Screen:
        """Press Enter where the typing is, and look at the page it leads to."""
        self.quiet()
        with self.page.expect_navigation():
            self.page.keyboard.press("Enter")
        return self.look()

    def tap(self, selector: str) -> Screen:
        """Press or tap something that stays on the page."""
        self.quiet()
        self._touch(selector)
        return self.quiet()

    def _touch(self, selector: str) -> None:
        target = self.page.locator(selector).locator("visible=true").first
        if self.shape == "phone":
            target.tap()
        else:
            target.click()

    def fill(self, **values: str) -> Screen:
        """Type into the fields with these names."""
        for name, value in values.items():
            self.quiet().page.locator(f"main [name={name}]").first.fill(value)
        return self

    def choose(self, name: str, value: str | None = None, label: str | None = None) -> Screen:
        """Choose in the select with this name, by its value or by what is read there."""
        field = self.quiet().page.locator(f"main select[name={name}]").first
        field.select_option(value) if label is None else field.select_option(label=label)
        return self

    def check(self, name: str, value: str) -> Screen:
        """Tick the box, or choose the button, with this name and value; its label may be drawn over it."""
        self.quiet().page.locator(f'main input[name={name}][value="{value}"]').first.check(force=True)
        return self

    def look(self) -> Screen:
        """Nothing has gone wrong so far, and the page is as wide as the screen."""
        wide = self.page.evaluate(_WIDER)
        assert not wide, f"{self.page.url} is wider than the screen: {wide}"
        wrong, self.wrong = self.wrong, []
        assert not wrong, wrong
        return self

    def shows(self, *words: str) -> Screen:
        """These words are on the page, or come within the time that pages are given."""
        for one in words:
            self.page.locator("body").get_by_text(one).locator("visible=true").first.wait_for()
        return self

    def words(self) -> str:
        """Everything that can be read on the page."""
        return str(self.page.locator("body").inner_text())

    def shot(self, name: str, always: bool = False) -> Screen:
        """Keep a picture of the whole page under `test-results/`, if SIYU_PICTURES is set: pictures take their time."""
        if always or os.environ.get("SIYU_PICTURES"):
            PICTURES.mkdir(parents=True, exist_ok=True)
            path: Path = PICTURES / f"{name}-{self.shape}-{self.locale[:2]}.png"
            self.page.screenshot(path=path, full_page=True)
        return self

    def close(self) -> None:
        self.context.close()


# Keeps count of what the page has put off for less than a second, such as sending what is being typed.
_TIMERS = """(() => {
  const waiting = new Set(), set = window.setTimeout, clear = window.clearTimeout;
  window.setTimeout = (act, delay, ...rest) => {
    const timer = set((...given) => { waiting.delete(timer); act(...given); }, delay, ...rest);
    if ((delay ?? 0) < 1000) waiting.add(timer);
    return timer;
  };
  window.clearTimeout = (timer) => { waiting.delete(timer); clear(timer); };
  window.putOff = waiting;
})()"""
_QUIET = """() => document.readyState === "complete" && !window.putOff?.size
  && !document.querySelector(".htmx-request, .htmx-added, .htmx-settling, .htmx-swapping")"""
# What sticks out of the window, if the page can be scrolled sideways; or nothing.
_WIDER = """() => {
  const width = document.documentElement.clientWidth;
  if (document.documentElement.scrollWidth <= width + 1) return null;
  const out = [...document.querySelectorAll("body *")].filter((one) => one.getBoundingClientRect().right > width + 1);
  const named = out.slice(0, 5).map((one) => one.tagName.toLowerCase() + "." + one.className);
  return `${document.documentElement.scrollWidth} > ${width}: ${named.join(", ")}`;
}"""
