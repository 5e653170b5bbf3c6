"""Which events are told to the outside, under which type, and as what."""

from __future__ import annotations

import typing
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, TypeVar

from pydantic import BaseModel

from .. import events, openapi
from ..events import Event
from .spreading import spread

E = TypeVar("E", bound=Event)


@dataclass(frozen=True)
class Exposed:
    """A public type: the event behind it, what makes its `data`, the model of that (None where it is a plain object)."""

    name: str
    event: type[Event]
    payload: Callable[[Any], Any]
    about: Any
    model: type[BaseModel] | None


_types: dict[str, Exposed] = {}
_by_event: dict[str, Exposed] = {}


def expose(
    event_type: type[E],
    type_name: str,
    payload: type[BaseModel] | Callable[[E], BaseModel | dict[str, Any] | None],
    about: Any = "",
) -> None:
    """Let endpoints subscribe to an event under a public type (`noun.past_participle`; a changed meaning is `….v2`).

    `payload` makes the `data` of the message when the event is delivered, in that transaction; None tells nobody. Give its
    return type as a pydantic model, so that the OpenAPI document describes it. A model in its place takes the event's own
    fields by their names. `about` is a sentence for the settings page.
    It names people by `member_id` alone: whoever needs more asks the REST interface, where reading is scoped and audited.
    """
    if isinstance(payload, type):
        found = Exposed(type_name, event_type, _as_it_is(event_type, payload), about, payload)
    else:
        hint = typing.get_type_hints(payload).get("return")
        models = [one for one in (hint, *typing.get_args(hint)) if isinstance(one, type) and issubclass(one, BaseModel)]
        found = Exposed(type_name, event_type, payload, about, models[0] if models else None)
    known = _types.get(type_name) or _by_event.get(event_type.__name__)
    if known is not None and (known.name, known.event) != (type_name, event_type):
        raise TypeError(f"{type_name} or {event_type.__name__} is exposed already")
    _types[type_name] = _by_event[event_type.__name__] = found
    events.subscribe(event_type)(spread)


def _as_it_is(event_type: type[Event], model: type[BaseModel]) -> Callable[[Any], BaseModel]:
    names = list(model.model_fields)
    unknown = set(names) - {field.name for field in fields(event_type)}
    if unknown:
        raise TypeError(f"{event_type.__name__} has no {', '.join(sorted(unknown))} to tell")
    return lambda event: model(**{name: getattr(event, name) for name in names})


def exposed_types() -> dict[str, Exposed]:
    """Every public type with what is behind it, by name."""
    return dict(sorted(_types.items()))


def find_exposed(event_name: str) -> Exposed | None:
    """What an event of that class name is to the outside, or None."""
    return _by_event.get(event_name)


def listens_to(types: list[str]) -> list[str]:
    """The class names of the events behind public types; types that are no longer known are left out."""
    return sorted(_types[name].event.__name__ for name in types if name in _types)


def describe() -> None:
    """Let the OpenAPI document tell of the types."""
    openapi.webhooks.fill(_described)


def _described() -> dict[str, tuple[Any, Any]]:
    return {name: (one.about, one.model) for name, one in exposed_types().items()}
