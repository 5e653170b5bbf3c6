"""The kinds of things that cases are about. A higher room that lets members write registers its kind here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True)
class Shown:
    """A subject as staff look at it. `url` is the console page where it stands in context."""

    text: str
    at: datetime
    url: str
    picture: str | None = None


@dataclass(frozen=True)
class Subject:
    """A kind of thing: its name, how to read several at once, and what hides or releases one."""

    label: Any
    show: Callable[[Sequence[int]], dict[int, Shown]]
    hide: Callable[[int], None]
    release: Callable[[int], None]


_kinds: dict[str, Subject] = {}


def register(kind: str, subject: Subject) -> None:
    """Let cases be about this kind of thing."""
    _kinds[kind] = subject


def get(kind: str) -> Subject:
    """The kind, which a room has registered."""
    return _kinds[kind]


def labels() -> dict[str, Any]:
    """The names of all kinds."""
    return {kind: subject.label for kind, subject in _kinds.items()}
