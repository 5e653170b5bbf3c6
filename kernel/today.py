"""The console's first page: what needs doing today, four numbers, and what is running. The rooms fill it through ports."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from apiflask import APIBlueprint
from flask import Flask, redirect, render_template, request, url_for

from . import clock, navigation
from .auth import Role, grant, public, staff
from .i18n import lazy_gettext as _l
from .ports import Port


@dataclass(frozen=True)
class Task:
    """One thing to do today: a sentence, where it is done, what the button says; heavier ones come first."""

    weight: int
    text: Any
    url: str
    action: Any
    icon: str = "chevron-right"
    about: Any = ""


@dataclass(frozen=True)
class Number:
    """A number of the last seven days against the seven before."""

    label: Any
    value: int
    before: int
    url: str | None = None
    good_when_up: bool = True


@dataclass(frozen=True)
class Running:
    """Long work that is under way."""

    label: Any
    url: str
    done: int
    total: int
    state: Any = ""


@dataclass(frozen=True)
class Hit:
    """One finding of the search over everything."""

    kind: Any
    title: str
    url: str
    about: Any = ""


tasks: Port[[], list[Task]] = Port("today.tasks")
numbers: Port[[], list[Number]] = Port("today.numbers")
running: Port[[], list[Running]] = Port("today.running")
search: Port[[str], list[Hit]] = Port("today.search")

bp = APIBlueprint("today", __name__, enable_openapi=False)


@bp.get("/")
@public("leads staff to the console")
def root() -> Any:
    return redirect(url_for(".index"))


@bp.get("/console/")
@staff("today.view")
def index() -> Any:
    todo = sorted((t for answer in tasks.call() for t in answer), key=lambda t: -t.weight)
    return render_template(
        "today/index.html",
        today=clock.today(),
        tasks=todo,
        numbers=[n for answer in numbers.call() for n in answer],
        running=[r for answer in running.call() for r in answer],
    )


@bp.get("/console/search")
@staff("today.view")
def find() -> Any:
    wanted = request.args.get("q", "").strip()[:100]
    hits = [hit for answer in search.call(wanted) for hit in answer] if wanted else []
    if len(hits) == 1:
        return redirect(hits[0].url)
    return render_template("today/search.html", q=wanted, hits=hits)


def init_app(app: Flask) -> None:
    grant("today.view", *Role)
    app.register_blueprint(bp)
    navigation.add("today", _l("Today"), "today.index", "today.view")
