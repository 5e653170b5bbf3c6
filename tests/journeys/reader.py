"""Somebody who reads pages and fills in forms over HTTP, knowing nothing but what the pages show."""

from __future__ import annotations

import io
import re
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urldefrag, urljoin, urlsplit

from flask.testing import FlaskClient

SITE = "http://localhost"
_VOID = {"input", "br", "img", "meta", "link", "hr", "wbr", "source", "use", "path"}
_UNREAD = {"script", "style", "template", "svg"}


@dataclass
class Box:
    """One control of a form. `on` is whether it would be sent as it stands."""

    name: str
    kind: str
    value: str = ""
    on: bool = True
    words: str = ""


@dataclass
class Form:
    """A form as its page shows it; `boxes` in the order of the page."""

    action: str
    method: str
    boxes: list[Box] = field(default_factory=list)
    words: str = ""

    @property
    def buttons(self) -> list[Box]:
        return [box for box in self.boxes if box.kind == "button"]

    def button(self, press: str | None) -> Box | None:
        """The button with these words or this value, or the first."""
        return next((b for b in self.buttons if press is None or press in (b.words.strip(), b.value)), None)

    def choices(self, name: str) -> dict[str, str]:
        """What can be chosen for a field: value by its words."""
        return {box.words.strip(): box.value for box in self.boxes if box.name == name and box.kind == "option"}

    def filled(self, press: str | None, values: dict[str, Any]) -> dict[str, Any]:
        """What a browser would send after somebody typed `values` and pressed the button with these words or this value."""
        known = {box.name for box in self.boxes}
        assert set(values) <= known, f"this form has no field {sorted(set(values) - known)}; it has {sorted(known)}"
        sent: dict[str, Any] = {}
        for box in self.boxes:
            if not box.name or box.name in values or box.kind == "button" or not box.on:
                continue
            sent.setdefault(box.name, []).append(box.value)
        for name, value in values.items():
            offered = [b.value for b in self.boxes if b.name == name and b.kind in ("option", "radio", "checkbox")]
            for one in value if isinstance(value, list) else [value]:
                assert not offered or one is None or str(one) in offered, f"{name}={one} is not among {offered}"
            if value is not None:
                sent[name] = [
                    v if isinstance(v, tuple) else str(v) for v in (value if isinstance(value, list) else [value])
                ]
        button = self.button(press)
        if button is not None and button.name:
            sent[button.name] = [button.value]
        return {
            name: [(io.BytesIO(v[0]), v[1], v[2]) if isinstance(v, tuple) else v for v in each]
            for name, each in sent.items()
        }


class _Parser(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.words: list[str] = []
        self.links: list[tuple[str, str]] = []
        self.forms: list[Form] = []
        self.addresses: list[str] = []
        self.inputs: dict[str, str] = {}
        self._form: Form | None = None
        self._link: list[str] | None = None
        self._href = ""
        self._button: Box | None = None
        self._area: Box | None = None
        self._select: tuple[str, bool, list[Box]] | None = None
        self._option: Box | None = None
        self._silent = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        said = {name: value or "" for name, value in attrs}
        for name in ("href", "src", "hx-get"):
            if said.get(name):
                self.addresses.append(said[name])
        if tag in _UNREAD:
            self._silent += 1
        elif tag == "a" and "href" in said:
            self._href, self._link = said["href"], []
        elif tag == "form":
            self._form = Form(said.get("action", ""), said.get("method", "get").lower())
            self.forms.append(self._form)
        elif tag == "input":
            self._input(said)
        elif tag == "button" and said.get("type", "submit") == "submit":
            self._button = Box(said.get("name", ""), "button", said.get("value", ""), False)
            self._add(self._button)
        elif tag == "textarea":
            self._area = Box(said.get("name", ""), "text")
            self._add(self._area)
        elif tag == "select":
            self._select = (said.get("name", ""), "multiple" in said, [])
        elif tag == "option" and self._select is not None:
            self._option = Box(self._select[0], "option", said.get("value", ""), "selected" in said)
            self._select[2].append(self._option)
        if tag not in ("a", "span", "b", "strong", "em", "small", "kbd"):
            self.words.append(" ")

    def _add(self, box: Box) -> None:
        if self._form is not None:
            self._form.boxes.append(box)

    def _input(self, said: dict[str, str]) -> None:
        kind = said.get("type", "text")
        if "id" in said:
            self.inputs[said["id"]] = said.get("value", "")
        if "readonly" in said:
            self.inputs[said.get("name", "") or f"readonly-{len(self.inputs)}"] = said.get("value", "")
        if kind in ("checkbox", "radio"):
            self._add(Box(said.get("name", ""), kind, said.get("value", "on"), "checked" in said))
        elif kind == "submit":
            self._add(Box(said.get("name", ""), "button", said.get("value", ""), False, said.get("value", "")))
        elif "disabled" not in said:
            self._add(
                Box(said.get("name", ""), "file" if kind == "file" else "text", said.get("value", ""), kind != "file")
            )

    def handle_endtag(self, tag: str) -> None:
        if tag in _UNREAD:
            self._silent -= 1
        elif tag == "a" and self._link is not None:
            self.links.append((self._href, "".join(self._link).strip()))
            self._link = None
        elif tag == "form":
            self._form = None
        elif tag == "button":
            self._button = None
        elif tag == "textarea" and self._area is not None:
            # HTML drops one line break at a text area's very beginning.
            self._area.value = re.sub(r"\A\r?\n", "", self._area.value)
            self._area = None
        elif tag == "option":
            self._option = None
        elif tag == "select" and self._select is not None:
            _name, several, options = self._select
            if options and not several and not any(option.on for option in options):
                options[0].on = True
            for option in options:
                self._add(option)
            self._select = None
        if tag in ("p", "div", "li", "td", "th", "h1", "h2", "h3", "dd", "dt", "label", "button", "option"):
            self.words.append(" ")

    def handle_data(self, data: str) -> None:
        if self._silent:
            return
        if self._area is not None:
            self._area.value += data
        for box in (self._button, self._option):
            if box is not None:
                box.words += data
        if self._link is not None:
            self._link.append(data)
        if self._form is not None:
            self._form.words += data
        if self._option is None and self._area is None:
            self.words.append(data)


@dataclass
class Page:
    """A page as it was read: its words in one line, its links, its forms."""

    status: int
    path: str
    html: str
    words: str
    links: list[tuple[str, str]]
    forms: list[Form]
    addresses: list[str]
    inputs: dict[str, str]

    def link(self, words: str) -> str:
        """Where the first link with these words leads."""
        found = [href for href, text in self.links if words in text]
        assert found, f"no link {words!r} on {self.path}: {[text for _href, text in self.links]}"
        return found[0]

    def link_to(self, part: str) -> str:
        """The first link whose address holds `part`."""
        found = [href for href, _text in self.links if part in href]
        assert found, f"no link to {part} on {self.path}: {[href for href, _text in self.links]}"
        return found[0]

    def form(self, part: str, press: str | None = None) -> Form:
        """The first form whose address holds `part`, with a button that says `press` or sends it."""
        found = [form for form in self.forms if part in urljoin(self.path, form.action) and form.button(press)]
        shown = [(form.action, [button.words.strip() for button in form.buttons]) for form in self.forms]
        assert found, f"no form to {part} with a button {press!r} on {self.path}: {shown}"
        return found[0]

    def says(self, *words: str) -> None:
        for one in words:
            assert one in self.words, f"{self.path} does not say {one!r}: {self.words}"

    def internal(self) -> set[str]:
        """The addresses of this site that the page names, without fragments."""
        found = set()
        for address in self.addresses:
            parts = urlsplit(urljoin(SITE + self.path, urldefrag(address)[0]))
            if parts.scheme in ("http", "https") and f"{parts.scheme}://{parts.netloc}" == SITE:
                found.add(parts.path + (f"?{parts.query}" if parts.query else ""))
        return found


class Reader:
    """A browser without scripts. A server error fails at once, whatever the test looks at."""

    def __init__(self, client: FlaskClient, language: str = "en") -> None:
        self.client = client
        self.client.set_cookie("lang", language)

    def open(self, address: str, expect: int | None = 200) -> Page:
        """GET an address of this site, following redirects."""
        return self._read(self.client.get(self.path_of(address)), expect)

    def submit(
        self, page: Page, form: Form | str, press: str | None = None, expect: int | None = 200, **values: Any
    ) -> Page:
        """Fill in a form of the page, press a button, and follow redirects."""
        chosen = page.form(form, press) if isinstance(form, str) else form
        data = chosen.filled(press, values)
        target = urljoin(page.path, chosen.action)
        if chosen.method == "get":
            return self._read(self.client.get(target, query_string=data), expect)
        kind = "multipart/form-data" if any(not isinstance(v, str) for each in data.values() for v in each) else None
        return self._read(self.client.post(target, data=data, content_type=kind), expect)

    @staticmethod
    def path_of(address: str) -> str:
        """An address of this site as its path."""
        parts = urlsplit(urljoin(SITE, address))
        assert f"{parts.scheme}://{parts.netloc}" == SITE, f"{address} leads away"
        return parts.path + (f"?{parts.query}" if parts.query else "")

    def _read(self, response: Any, expect: int | None) -> Page:
        for _hop in range(5):
            if response.status_code not in (301, 302, 303, 307, 308):
                break
            response = self.client.get(self.path_of(urljoin(SITE + response.request.path, response.location)))
        request = response.request
        path = request.path + (f"?{request.query_string.decode()}" if request.query_string else "")
        html = response.get_data(as_text=True) if response.mimetype.startswith(("text/", "application/")) else ""
        page = read(path, response.status_code, html)
        assert response.status_code < 500, f"{path}: {response.status_code} {page.words[:500]}"
        assert expect is None or response.status_code == expect, f"{path}: {response.status_code} {page.words[:1500]}"
        return page


def read(path: str, status: int, html: str) -> Page:
    parser = _Parser()
    parser.feed(html)
    words = re.sub(r"\s+", " ", "".join(parser.words)).strip()
    return Page(status, path, html, words, parser.links, parser.forms, parser.addresses, parser.inputs)
