"""Loading the demo shop: every floor brings its steps, each runs once, and an interrupted load goes on where it stopped."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import click
from flask.cli import with_appcontext

from . import shop
from .db import transaction

Progress = Callable[[float], None]


@dataclass(frozen=True)
class Step:
    """One part of the demo shop.

    `run` is given a function to report a share 0–1 of the step. It runs in one transaction, unless `own_transactions`.
    `weight` is its rough share of the whole, in seconds.
    """

    key: str
    label: str
    weight: float
    run: Callable[[Progress], None]
    own_transactions: bool = False


def steps() -> Iterator[Step]:
    """The steps of every floor, from the lowest up."""
    from .app import PACKAGES

    for name in PACKAGES:
        yield from import_module(f"{name}.demo").steps()


def load(report: Callable[[float, str], None]) -> None:
    """Load what is not there yet; `report` is given a share 0–1 of the whole and the label of the present step."""
    todo = list(steps())
    whole, done = sum(step.weight for step in todo), 0.0
    for step in todo:
        with transaction():
            loaded = shop.get(f"demo.{step.key}", False)
        if not loaded:

            def progress(share: float, step: Step = step, done: float = done) -> None:
                report((done + step.weight * min(max(share, 0.0), 1.0)) / whole, step.label)

            progress(0.0)
            if step.own_transactions:
                step.run(progress)
                with transaction():
                    shop.put(f"demo.{step.key}", True)
            else:
                with transaction():
                    step.run(progress)
                    shop.put(f"demo.{step.key}", True)
        done += step.weight
        report(done / whole, step.label)


def _bar(share: float, label: str) -> None:
    """A bar on a terminal, a line a tenth elsewhere."""
    if sys.stderr.isatty():
        filled = round(share * 30)
        click.echo(f"\r  [{'#' * filled}{'.' * (30 - filled)}] {share:4.0%}  {label:<42}", nl=share >= 1, err=True)
    elif int(share * 10) > _bar.tenth:  # type: ignore[attr-defined]
        _bar.tenth = int(share * 10)  # type: ignore[attr-defined]
        click.echo(f"  {share:4.0%}  {label}", err=True)


_bar.tenth = -1  # type: ignore[attr-defined]


@click.group("demo")
def demo() -> None:
    """The demo shop."""


@demo.command("load")
@with_appcontext
def load_command() -> None:
    """Load the demo shop into an empty one; what is there already is kept."""
    load(_bar)
    click.echo("The demo shop is loaded.", err=True)


def init_app(app: Any) -> None:
    app.cli.add_command(demo)
