"""Ports and slots: how a lower floor asks a higher one, and how a higher room shows something on a lower page."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any, Generic, ParamSpec, TypeVar

from markupsafe import Markup

P = ParamSpec("P")
R = TypeVar("R")


class Port(Generic[P, R]):
    """A question declared on a lower floor and answered on a higher one.

    `fill` registers an answer (usable as a decorator); `call` asks every one, in the order they were filled.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._answers: list[Callable[P, R]] = []

    def fill(self, answer: Callable[P, R]) -> Callable[P, R]:
        if answer not in self._answers:
            self._answers.append(answer)
        return answer

    @property
    def filled(self) -> bool:
        """Whether anybody answers."""
        return bool(self._answers)

    def call(self, *args: P.args, **kwargs: P.kwargs) -> list[R]:
        return [answer(*args, **kwargs) for answer in self._answers]


Renderer = Callable[..., Markup | str]
_slots: dict[str, list[tuple[int, Renderer]]] = defaultdict(list)


def fill_slot(name: str, order: int = 100) -> Callable[[Renderer], Renderer]:
    """Register a renderer for a named place in a lower room's template; it returns markup or an empty string."""

    def register(render: Renderer) -> Renderer:
        if all(known is not render for _, known in _slots[name]):
            _slots[name].append((order, render))
            _slots[name].sort(key=lambda pair: pair[0])
        return render

    return register


def slot(name: str, **values: Any) -> Markup:
    """What the higher rooms put into a place, joined (a template function)."""
    # A renderer gives back a rendered template, which has escaped what it was given.
    return Markup("").join(Markup(render(**values)) for _, render in _slots[name])  # noqa: S704
