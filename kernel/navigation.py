"""The console's left rail: nine sections in a fixed order, filled by the rooms."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from flask import Flask, request, url_for

from .auth import may
from .i18n import lazy_gettext as _l


@dataclass(frozen=True)
class Item:
    label: Any
    endpoint: str
    permission: str
    order: int

    @property
    def url(self) -> str:
        return url_for(self.endpoint)

    @property
    def blueprint(self) -> str:
        return self.endpoint.rpartition(".")[0]

    @property
    def reach(self) -> int:
        """How much of the present address lies under this page's own."""
        url = self.url
        return len(url) if f"{request.path}/".startswith(f"{url}/") else 0

    @property
    def active(self) -> bool:
        """Whether the reader is on this page or one under it; of pages of one blueprint the nearest."""
        if request.endpoint is None or request.endpoint.rpartition(".")[0] != self.blueprint:
            return False
        kin = [item for section in SECTIONS for item in section.items if item.blueprint == self.blueprint]
        return self.reach == max(item.reach for item in kin)


@dataclass
class Section:
    key: str
    label: Any
    icon: str
    items: list[Item] = field(default_factory=list)

    @property
    def visible(self) -> list[Item]:
        return [item for item in self.items if may(item.permission)]

    @property
    def url(self) -> str:
        return self.visible[0].url

    @property
    def active(self) -> bool:
        return any(item.active for item in self.visible)


SECTIONS = [
    Section("today", _l("Today"), "sun"),
    Section("members", _l("Members"), "users"),
    Section("groups", _l("Groups"), "messages"),
    Section("posts", _l("Posts"), "article"),
    Section("coupons", _l("Coupons & gifts"), "ticket"),
    Section("campaigns", _l("Campaigns"), "send"),
    Section("desk", _l("Desk"), "headset"),
    Section("results", _l("Results"), "chart-bar"),
    Section("settings", _l("Settings"), "settings"),
]


def add(section: str, label: Any, endpoint: str, permission: str, order: int = 100) -> None:
    """Put a page into a section; the section leads to its first page that the reader may open."""
    found = next(s for s in SECTIONS if s.key == section)
    item = Item(label, endpoint, permission, order)
    if item not in found.items:
        found.items.append(item)
        found.items.sort(key=lambda i: i.order)


def nav_sections() -> list[Section]:
    """The sections that the signed-in staff member can open, each with its pages (a template function)."""
    return [section for section in SECTIONS if section.visible]


def init_app(app: Flask) -> None:
    app.jinja_env.globals.update(nav_sections=nav_sections)
