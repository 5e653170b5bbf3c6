"""Scoring a question, in plain Python: a few thousand additions, so that the web server needs no library and answers at once."""

from __future__ import annotations

import json
import math
import sys
import zlib
from array import array
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from . import words

BLOCK_WEIGHTS: Final = (0.8, 0.2)
POWERS: Final = (0.5, 1.0)
# Where nothing was learned yet: how many texts of an intent speak for it, how steeply likeness becomes sureness, and the likeness
# that anything has by chance, which is the weight of meaning none of them.
NEIGHBOURS, NEIGHBOUR_STEEPNESS, BY_CHANCE = 3, 12.0, 0.2


@dataclass(frozen=True)
class Scored:
    """An intent with the probability that it is meant."""

    intent_id: int
    likely: float


def softmax(scores: Mapping[int, float], steepness: float) -> list[Scored]:
    """Probabilities, the likeliest first."""
    if not scores:
        return []
    top = max(scores.values())
    weights = {key: math.exp((value - top) * steepness) for key, value in scores.items()}
    total = sum(weights.values())
    return sorted(
        (Scored(key, weight / total) for key, weight in weights.items()), key=lambda one: (-one.likely, one.intent_id)
    )


def _lengths(
    parts: Sequence[Sequence[str]], counts: Sequence[Mapping[str, float]], unseen: Sequence[float]
) -> list[float]:
    """By what each block's features are divided, so that its length is the root of its weight. What no text ever had
    counts into the length: a question in strange words is not sure of anything."""
    found = []
    for part, known, other, weight in zip(parts, counts, unseen, BLOCK_WEIGHTS, strict=True):
        square = sum(known.get(name, other) ** 2 for name in part)
        found.append(math.sqrt(weight / square) if square else 0.0)
    return found


@dataclass(frozen=True)
class Model:
    """What was learned: of each feature how much it counts, and of each intent how much it speaks for it (see `ridge`)."""

    intents: tuple[int, ...]
    steepness: float
    unit: float
    unseen: tuple[float, float]
    counts: tuple[dict[str, float], dict[str, float]]
    # The row of a feature in `weights`, which has a column an intent.
    places: tuple[dict[str, int], dict[str, int]]
    weights: array[int] = field(repr=False)

    def scores(self, text: str) -> dict[int, float]:
        """How much a text speaks for each intent."""
        width = len(self.intents)
        sums = [0.0] * width
        parts = words.features(text)
        lengths = _lengths(parts, self.counts, self.unseen)
        for part, places, counts, length in zip(parts, self.places, self.counts, lengths, strict=True):
            for name in part:
                place = places.get(name)
                if place is not None:
                    much = counts[name] * length * self.unit
                    start = place * width
                    for i, weight in enumerate(self.weights[start : start + width]):
                        sums[i] += much * weight
        return dict(zip(self.intents, sums, strict=True))

    def likely(self, text: str, among: Iterable[int] | None = None) -> list[Scored]:
        """The intents by how likely each is meant; `among` leaves out what is switched off."""
        found = self.scores(text)
        wanted = found if among is None else {key: found[key] for key in among if key in found}
        # A text of which nothing is known means nothing, and not everything a little.
        return softmax(wanted, self.steepness) if any(wanted.values()) else []

    def shares(self, text: str, intent_id: int) -> list[tuple[str, float]]:
        """What in a text speaks for an intent, and how much, the strongest first: the reason that staff are shown."""
        if intent_id not in self.intents:
            return []
        column, width = self.intents.index(intent_id), len(self.intents)
        parts = words.features(text)
        lengths = _lengths(parts, self.counts, self.unseen)
        found = [
            (name, counts[name] * length * self.unit * self.weights[places[name] * width + column])
            for part, places, counts, length in zip(parts, self.places, self.counts, lengths, strict=True)
            for name in part
            if name in places
        ]
        return sorted(found, key=lambda one: -one[1])

    def dump(self) -> bytes:
        """The model as it is stored."""
        head = {
            "intents": self.intents,
            "steepness": self.steepness,
            "unit": self.unit,
            "unseen": self.unseen,
            "features": [list(places) for places in self.places],
            "counts": [
                [counts[name] for name in places] for counts, places in zip(self.counts, self.places, strict=True)
            ],
        }
        written = json.dumps(head, ensure_ascii=False).encode()
        return zlib.compress(len(written).to_bytes(4, "little") + written + _little(self.weights).tobytes(), 6)

    @classmethod
    def load(cls, stored: bytes) -> Model:
        """The model as it was stored by `dump`."""
        whole = zlib.decompress(stored)
        size = int.from_bytes(whole[:4], "little")
        head = json.loads(whole[4 : 4 + size])
        weights: array[int] = array("h")
        weights.frombytes(whole[4 + size :])
        characters, notions = head["features"]
        places = (
            {name: i for i, name in enumerate(characters)},
            {name: i for i, name in enumerate(notions, len(characters))},
        )
        first, second = (
            dict(zip(names, counts, strict=True))
            for names, counts in zip(head["features"], head["counts"], strict=True)
        )
        return cls(
            tuple(head["intents"]),
            head["steepness"],
            head["unit"],
            tuple(head["unseen"]),
            (first, second),
            places,
            _little(weights),
        )


def _little(numbers: array[int]) -> array[int]:
    """The numbers with their bytes in the order in which they are stored."""

    if sys.byteorder == "little":
        return numbers
    turned = array("h", numbers)
    turned.byteswap()
    return turned


class Neighbours:
    """The likeness of a question to each known phrasing, which needs no learning: how a shop that has just written its first
    answers is served, and how intents newer than the model are."""

    def __init__(self, texts: Sequence[tuple[int, str]]) -> None:
        """`texts` are pairs of an intent and one of its phrasings."""
        self._owners = [owner for owner, _text in texts]
        taken = [words.features(text) for _owner, text in texts]
        n = len(taken)
        self._counts: list[dict[str, float]] = []
        self._unseen = tuple((math.log(1 + n) + 1) ** power for power in POWERS)
        self._found: list[dict[str, list[tuple[int, float]]]] = []
        for block, power in enumerate(POWERS):
            df = Counter(name for parts in taken for name in parts[block])
            self._counts.append({name: (math.log((1 + n) / (1 + many)) + 1) ** power for name, many in df.items()})
            self._found.append(defaultdict(list))
        for row, parts in enumerate(taken):
            lengths = _lengths(parts, self._counts, self._unseen)
            for part, counts, found, length in zip(parts, self._counts, self._found, lengths, strict=True):
                for name in part:
                    found[name].append((row, counts[name] * length))

    def scores(self, text: str) -> dict[int, float]:
        """The likeness of a text to each intent: its nearest phrasing, the next two with less weight."""
        parts = words.features(text)
        lengths = _lengths(parts, self._counts, self._unseen)
        like: dict[int, float] = defaultdict(float)
        for part, counts, found, length in zip(parts, self._counts, self._found, lengths, strict=True):
            for name in part:
                if name in counts:
                    much = counts[name] * length
                    for row, weight in found[name]:
                        like[row] += much * weight
        nearest: dict[int, list[float]] = defaultdict(list)
        for row, value in like.items():
            nearest[self._owners[row]].append(value)
        shares = [1 / (i + 1) for i in range(NEIGHBOURS)]
        return {
            owner: sum(value * share for value, share in zip(sorted(values, reverse=True), shares, strict=False))
            / sum(shares)
            for owner, values in nearest.items()
        }

    def likely(self, text: str, among: Iterable[int] | None = None) -> list[Scored]:
        """As `Model.likely`."""
        found = self.scores(text)
        wanted = found if among is None else {key: found[key] for key in among if key in found}
        # No intent has this number.
        return (
            [one for one in softmax({**wanted, -1: BY_CHANCE}, NEIGHBOUR_STEEPNESS) if one.intent_id >= 0]
            if wanted
            else []
        )
