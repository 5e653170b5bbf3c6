"""Walking through every page of a live shop, and what is looked at on each."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import cache
from importlib.resources import files
from time import monotonic
from typing import Any
from urllib.parse import urlsplit

from flask import Flask
from werkzeug.exceptions import HTTPException
from werkzeug.routing import RequestRedirect

from tests.browser import planted
from tests.browser.screen import PATIENCE, SHAPES, Screen

KB = 1024
# Answers that are no pages: files, pictures, and the pieces that a page asks for by itself.
NO_PAGE = re.compile(
    r"\.(csv|png|svg)$|/export$|^/(api|static|hooks|pictures|metrics|healthz)\b|/pictures/<|/file$|_file$|"
    r"/(progress|now|queue|messages|phrases|list-state|news|health)$|^/console/members/dossiers/"
)
# Latin words that stand on Chinese pages as they are.
SAME = re.compile(
    r"^(VIP\d?|CSV|SVG|PNG|QR|SKU|API|URL|SMTP|Webhook|English|EN|OK|Siyu|GB18030|UTF-8|JSON|"
    r"WeCom|Shopify|Client ID|Owner|owner|Esc|Enter|[a-z]|[A-Z]|[A-Z0-9 .,'’&/+*()\-–:%\"#!?]+)$"
)


class Walk:
    """Goes from page to page by their links, each kind of page once; `several` names the kinds (endpoints) of which every
    one that is linked is opened. `seen` holds the kinds met, `wrong` what is to be mended."""

    def __init__(self, app: Flask, screen: Screen, inside: str, several: Iterable[str] = ()) -> None:
        self.screen = screen
        self.inside = re.compile(inside)
        self.several = set(several)
        self.seen: dict[str, str] = {}
        self.wrong: list[str] = []
        self._map = app.url_map.bind(urlsplit(screen.site).netloc)
        self._rules = {rule.endpoint: rule.rule for rule in app.url_map.iter_rules() if "GET" in (rule.methods or ())}
        self._known: set[str] = set()

    def kinds(self) -> dict[str, str]:
        """The kinds of pages there are, by endpoint, and the pattern of their addresses."""
        return {
            name: rule for name, rule in self._rules.items() if self.inside.search(rule) and not NO_PAGE.search(rule)
        }

    def kind_of(self, address: str) -> str | None:
        """The kind of page at an address that is one of ours; None for what is no page."""
        try:
            found = str(self._map.match(urlsplit(address).path, method="GET")[0])
        except (HTTPException, RequestRedirect):
            return None
        return found if found in self.kinds() else None

    def go(self, starts: Iterable[str], look: Callable[[str], None]) -> None:
        """Open the pages at these addresses and whatever they lead to, and look at each."""
        waiting = list(starts)
        while waiting:
            address = waiting.pop(0)
            kind = self.kind_of(address)
            if kind is None or address in self._known or (kind in self.seen and kind not in self.several):
                continue
            self._known.add(address)
            self.seen.setdefault(kind, address)
            self.look_at(address, look)
            waiting += [one for one in links_of(self.screen) if one not in self._known]

    def look_at(self, address: str, look: Callable[[str], None]) -> None:
        """Look at one page, and go on if it is not as it should be."""
        try:
            look(address)
        except AssertionError as error:
            self.wrong.append(str(error).splitlines()[0])
            self.screen.wrong.clear()


def links_of(screen: Screen) -> list[str]:
    """The addresses on this site that the page leads to."""
    found = screen.page.eval_on_selector_all("a[href]", "found => found.map((one) => one.href)")
    here = urlsplit(screen.site).netloc
    parts = [urlsplit(one) for one in found]
    return list(dict.fromkeys(p.path + (f"?{p.query}" if p.query else "") for p in parts if p.netloc == here))


def as_wide_as(screen: Screen, shape: str) -> None:
    """Give the window the size of another shape; the page that is open follows."""
    screen.page.set_viewport_size(SHAPES[shape]["viewport"])


class Scales:
    """What a page costs to load with nothing kept from before, as it comes over the wire. Set up before the first page is
    opened: the browser keeps styles and pictures, and fetches them only once."""

    def __init__(self, screen: Screen) -> None:
        self.screen = screen
        # What the browser asks for, by the numbers of its requests, and which of that has not come yet.
        self.asked: dict[str, str] = {}
        self.coming: set[str] = set()
        # What each address has weighed at most: less means that it was not fetched again.
        self.sizes: dict[str, int] = {}
        self.wire = screen.context.new_cdp_session(screen.page)
        self.wire.send("Network.enable")
        self.frame = self.wire.send("Page.getFrameTree")["frameTree"]["frame"]["id"]
        self.wire.on("Network.requestWillBeSent", self._ask)
        self.wire.on("Network.loadingFinished", self._come)
        self.wire.on("Network.loadingFailed", lambda said: self.coming.discard(said["requestId"]))

    def _ask(self, said: dict[str, Any]) -> None:
        number, address = said["requestId"], said["request"]["url"]
        if said.get("type") == "Document" and said.get("frameId") == self.frame:
            # What the page before had begun to fetch when it was left belongs to no page, and its end is not always told.
            self.asked.clear()
            self.coming.clear()
        self.asked[number] = address
        # A video is fetched piece by piece as it is played, and nobody waits for what a page only tells.
        if said.get("type") not in ("Media", "Ping") and not address.startswith("data:"):
            self.coming.add(number)

    def _come(self, said: dict[str, Any]) -> None:
        number = said["requestId"]
        self.coming.discard(number)
        if address := self.asked.get(number):
            self.sizes[address] = max(self.sizes.get(address, 0), int(said["encodedDataLength"]))

    def weigh(self, open_page: Callable[[], object]) -> int:
        """The bytes that a page brings whom has nothing of it: itself, its pictures and scripts, and what these ask for."""
        self.asked.clear()
        self.coming.clear()
        open_page()
        until = monotonic() + PATIENCE / 1000
        while not self._all_here():
            assert monotonic() < until, f"{self.screen.page.url} still waits for {sorted(self.coming)}"
            self.screen.page.wait_for_timeout(10)
        return sum(self.sizes.get(address, 0) for address in set(self.asked.values()))

    def _all_here(self) -> bool:
        """Whether the page is quiet; asking it also lets in what the wire has said meanwhile."""
        self.screen.quiet()
        return not self.coming


@cache
def _axe() -> str:
    return (files("axe_playwright_python") / "axe.min.js").read_text(encoding="utf-8")


def barriers(screen: Screen, around: bool = False) -> list[str]:
    """What keeps somebody who reads with ears, fingers or weak eyes from using the page: axe's serious and critical findings
    in its main part, or `around` it as well: what surrounds it is the same on all pages. Of rows that are made alike the first is
    looked at."""
    screen.page.evaluate(_axe())
    found = screen.page.evaluate(_BARRIERS, "html" if around else "main")
    # The styles that axe tries on elements are refused by the page's policy, which is none of the page's faults.
    screen.wrong = [one for one in screen.wrong if "inline style" not in one]
    return [f"{urlsplit(screen.page.url).path} ({screen.page.viewport_size['width']} px): {one}" for one in found]


# Nothing is fetched anew for the sake of rules about sound and turned screens, which are no serious ones; and rules whose findings
# are never serious are not asked at all.
_BARRIERS = """async (where) => {
  const parts = (one) => [...one.attributes].map(({name, value}) => name + (name === "class" ? value : value ? "" : "!"));
  const grave = ({impact}) => ["serious", "critical"].includes(impact);
  const unasked = Object.fromEntries(axe._audit.rules.filter((rule) => !grave(rule)).map(({id}) => [id, {enabled: false}]));
  const made = new Set();
  for (const row of document.querySelectorAll("main tbody > tr, main li")) {
    const how = [row, ...row.querySelectorAll("*")].map((one) => [one.tagName, ...parts(one), !one.textContent.trim()]).join();
    if (made.has(how)) row.dataset.alike = "";
    made.add(how);
  }
  const said = await axe.run({include: [[where]], exclude: [["[data-alike]"]]},
    {preload: false, resultTypes: ["violations"], rules: {...unasked, "target-size": {enabled: true}}});
  return said.violations.filter(grave).map(({id, nodes}) =>
    `${id} ×${nodes.length}: ${nodes[0].html.slice(0, 160)} – ${nodes[0].failureSummary.replace(/\\s+/g, " ").slice(0, 260)}`);
}"""


def risen(screen: Screen) -> list[str]:
    """What of the hostile texts on the page has become more than a text."""
    return [f"{urlsplit(screen.page.url).path}: {one}" for one in screen.page.evaluate(planted.RISEN)]


def english(screen: Screen) -> list[str]:
    """Words of the interface that are still English on a Chinese page: those that stand alone, or make a sentence."""
    found = []
    for said in screen.page.evaluate(_TEXTS):
        one = said.strip()
        if not re.search(r"[A-Za-z]{2}", one) or SAME.match(one):
            continue
        alone = not re.search(r"[\u3400-\u9fff]", one) and re.fullmatch(r"[A-Z][a-z]+(?: [A-Za-z’'“”\-]+)*[.:…]?", one)
        sentence = re.search(r"\b[A-Za-z]?[a-z]+(?:,? [a-z]{2,}){2,}", one)
        if alone or sentence:
            found.append(one)
    return found


# Every text and label that a reader meets, except what the shop itself has typed or an order brought along.
_TEXTS = """() => {
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const found = [];
  const kept = "script, style, code, pre, textarea, [lang=en], [translate=no], .as-typed, .brand, kbd, datalist, time, noscript";
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const holder = node.parentElement;
    if (holder.closest(kept)) continue;
    if (node.data.trim()) found.push(node.data);
  }
  for (const one of document.querySelectorAll("[placeholder], [aria-label], [title]"))
    if (!one.closest("[lang=en]"))
      for (const name of ["placeholder", "aria-label", "title"]) if (one.getAttribute(name)) found.push(one.getAttribute(name));
  return found;
}"""
