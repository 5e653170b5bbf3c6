"""Learning from the phrasings of a shop: the features are taken here, the arithmetic runs in a program of its own (`ridge`)."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from . import rules, words
from .scoring import Model

# The way of learning: whoever changes how features or bands are found adds one, and every shop learns anew.
LEARNER: Final = 2
PROGRAM: Final = Path(__file__).with_name("ridge.py")
# Two processors do not make these sums quicker, and each thread has memory of its own.
ONE_THREAD: Final = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
SEED: Final = 20_260
# A trial of fewer would say nothing.
LEAST_TEXTS, LEAST_INTENTS = 20, 2
SECONDS: Final = 600


class TrainingFailed(Exception):
    """The program ended instead of answering; the text is the end of what it said."""


@dataclass(frozen=True)
class Taught:
    """A phrasing to learn from. A `title` is always learned from and never held back: it is what staff wrote, not what was asked."""

    intent_id: int
    text: str
    title: bool = False


@dataclass(frozen=True)
class Learned:
    """A model with how it did on phrasings that were held back."""

    model: Model
    trial: rules.Trial | None
    thresholds: rules.Thresholds
    test: list[list[float]] = field(default_factory=list)


def _numbered(rows: list[list[str]]) -> tuple[list[list[int]], list[str]]:
    places: dict[str, int] = {}
    found = [[places.setdefault(name, len(places)) for name in row] for row in rows]
    return found, list(places)


def fit(taught: Sequence[Taught], seed: int = SEED, measured: bool = True, test: Sequence[str] = ()) -> Learned:
    """Learn from phrasings, and try it with a fifth of them held back, five times. Raises `TrainingFailed`.

    `measured=False` leaves the trial out; `test` asks for the probabilities of these texts (columns in the order of
    `model.intents`). Takes some seconds for thousands of phrasings.
    """
    intents = sorted({one.intent_id for one in taught})
    taken = [words.features(one.text) for one in taught]
    asked = [words.features(text) for text in test]
    blocks, names = [], []
    for block in (0, 1):
        rows, found = _numbered([*(parts[block] for parts in taken), *(parts[block] for parts in asked)])
        blocks.append(rows)
        names.append(found)
    tried = [not one.title and measured for one in taught]
    enough = sum(tried) >= LEAST_TEXTS and len(intents) >= LEAST_INTENTS
    said = _run(
        {
            "rows": [rows[: len(taught)] for rows in blocks],
            "test": [rows[len(taught) :] for rows in blocks] if test else None,
            "widths": [len(found) for found in names],
            "labels": [intents.index(one.intent_id) for one in taught],
            "tried": tried if enough else [False] * len(taught),
            "intents": len(intents),
            "seed": seed,
        }
    )
    model = _model(intents, names, said)
    if not enough:
        return Learned(model, None, rules.UNMEASURED, said.get("test") or [])
    tries = [
        rules.Try(taught[row].intent_id, tuple(intents[i] for i in best), tuple(likely))
        for row, best, likely in zip(said["rows"], said["best"], said["likely"], strict=True)
    ]
    thresholds = rules.thresholds_for(tries, said["outside"])
    return Learned(model, rules.trial_of(tries, said["outside"]), thresholds, said.get("test") or [])


def _run(asked: dict[str, Any]) -> dict[str, Any]:
    # -P: the folder of the program is no place to import from, or our `rules` would stand before a library's.
    try:
        done = subprocess.run(
            [sys.executable, "-P", str(PROGRAM)],
            input=json.dumps(asked),
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
            env={**os.environ, **ONE_THREAD},
        )
    except subprocess.TimeoutExpired as late:
        raise TrainingFailed(f"it took more than {SECONDS} seconds") from late
    if done.returncode:
        raise TrainingFailed(done.stderr[-2_000:])
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _model(intents: list[int], names: list[list[str]], said: dict[str, Any]) -> Model:
    first = len(names[0])
    everything = [*names[0], *names[1]]
    counts: tuple[dict[str, float], dict[str, float]] = ({}, {})
    places: tuple[dict[str, int], dict[str, int]] = ({}, {})
    for row, (kept, count) in enumerate(zip(said["kept"], said["counts"], strict=True)):
        block = int(kept >= first)
        counts[block][everything[kept]] = count
        places[block][everything[kept]] = row
    weights: array[int] = array("h")
    weights.frombytes(base64.b64decode(said["weights"]))
    if sys.byteorder != "little":
        weights.byteswap()
    unseen = (float(said["unseen"][0]), float(said["unseen"][1]))
    return Model(tuple(intents), said["steepness"], said["unit"], unseen, counts, places, weights)
