"""How often the FAQ bot understands: 40 after-sale intents of real customers' questions.

    .venv/bin/python -m benchmarks.answers [--seeds 3] [--data ../shared/data]

Reads the labelled questions of `jddc_shop40_*_visible.tsv.gz` (Apache-2.0, JDDC/JD.com, DialogueCSE); says so where they are
absent.
Each seed deals every intent's questions into five folds by a permutation of its own; a fold is answered by a model that has
learned from the other four and from the intents' names, through the same program and the same scoring as in the shop. Beside it
runs what is to be beaten, logistic regression on character n-grams (its figures in the goal are .81/.92/.97), where
scikit-learn is installed, and the nearest neighbour that serves a shop before anything was learned. Questions about 27 other
subjects show what becomes of strangers. Accuracy is the same on every machine; only the milliseconds are not.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

from community.answers import rules, scoring, training, words

FOLDS = 5
Pair = tuple[int, str]
Answerer = Callable[[list[Pair], Sequence[str]], list[list[float]]]


def read(folder: Path) -> tuple[list[str], list[Pair], int]:
    """The intents' names, the labelled questions, and how many of them are those of the knowledge base."""
    rows = []
    sizes = []
    for name in ("kb", "tune"):
        with gzip.open(folder / f"jddc_shop40_{name}_visible.tsv.gz", "rt", encoding="utf-8") as opened:
            found = [line.rstrip("\n").split("\t", 1) for line in opened][1:]
        rows += found
        sizes.append(len(found))
    names = sorted({intent for intent, _text in rows})
    return names, [(names.index(intent), text) for intent, text in rows], sizes[0]


def strangers(folder: Path, names: list[str]) -> list[str]:
    """Questions about what none of the intents is about."""
    with gzip.open(folder / "jddc_dev_visible.jsonl.gz", "rt", encoding="utf-8") as opened:
        found = [json.loads(line) for line in opened]
    return [row["text"] for row in found if row["intent"] not in names]


def folds(pairs: list[Pair], seed: int) -> list[int]:
    """A fold for each question, an intent's questions dealt out evenly."""
    chance = random.Random(seed)
    places = defaultdict(list)
    for row, (intent, _text) in enumerate(pairs):
        places[intent].append(row)
    found = [0] * len(pairs)
    turn = 0
    for intent in sorted(places):
        chance.shuffle(places[intent])
        for i, row in enumerate(places[intent]):
            found[row] = (i + turn) % FOLDS
        turn += len(places[intent])
    return found


def ours(names: list[str]) -> Answerer:
    def answer(known: list[Pair], asked: Sequence[str]) -> list[list[float]]:
        taught = [training.Taught(intent, text) for intent, text in known]
        taught += [training.Taught(i, name, title=True) for i, name in enumerate(names)]
        learned = training.fit(taught, measured=True)
        found = []
        for text in asked:
            likely = {one.intent_id: one.likely for one in learned.model.likely(text)}
            found.append([likely.get(i, 0.0) for i in range(len(names))])
        return found

    return answer


def nearest(names: list[str]) -> Answerer:
    def answer(known: list[Pair], asked: Sequence[str]) -> list[list[float]]:
        index = scoring.Neighbours([*known, *enumerate(names)])
        found = []
        for text in asked:
            likely = {one.intent_id: one.likely for one in index.likely(text, range(len(names)))}
            found.append([likely.get(i, 0.0) for i in range(len(names))])
        return found

    return answer


def regression(_names: list[str]) -> Answerer | None:
    """The method to be beaten, as it was measured when the goal was set."""
    try:
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import LogisticRegression
    except ImportError:
        return None

    def answer(known: list[Pair], asked: Sequence[str]) -> list[list[float]]:
        vectors = TfidfVectorizer(analyzer="char", ngram_range=(1, 3), sublinear_tf=True)
        seen = vectors.fit_transform([text for _intent, text in known])
        model = LogisticRegression(C=10, max_iter=200).fit(seen, [intent for intent, _text in known])
        found: list[list[float]] = model.predict_proba(vectors.transform(asked)).tolist()
        return found

    return answer


def figures(likely: list[list[float]], meant: list[int]) -> tuple[float, float, float, float]:
    """Top-1, top-3, top-1 on the surest half, and the mean of the intents' own top-1."""
    best = [sorted(range(len(row)), key=lambda i, row=row: -row[i])[:3] for row in likely]
    right = [found[0] == one for found, one in zip(best, meant, strict=True)]
    among = [one in found for found, one in zip(best, meant, strict=True)]
    half = sorted(range(len(meant)), key=lambda i: -max(likely[i]))[: len(meant) // 2]
    by_intent = defaultdict(list)
    for hit, one in zip(right, meant, strict=True):
        by_intent[one].append(hit)
    return (
        statistics.fmean(right),
        statistics.fmean(among),
        statistics.fmean(right[i] for i in half),
        statistics.fmean(statistics.fmean(hits) for hits in by_intent.values()),
    )


def line(name: str, found: Sequence[float]) -> None:
    print(f"{name:44s}" + "  ".join(f"{one:.3f}" for one in found), flush=True)


def crossed(answer: Answerer, pairs: list[Pair], seeds: int) -> tuple[float, ...]:
    """The figures over the folds, the mean of the seeds."""
    found = []
    for seed in range(seeds):
        dealt = folds(pairs, seed)
        likely: list[list[float]] = [[] for _pair in pairs]
        for fold in range(FOLDS):
            rows = [i for i, one in enumerate(dealt) if one == fold]
            known = [pair for pair, one in zip(pairs, dealt, strict=True) if one != fold]
            for row, said in zip(rows, answer(known, [pairs[i][1] for i in rows]), strict=True):
                likely[row] = said
        found.append(figures(likely, [intent for intent, _text in pairs]))
    return tuple(statistics.fmean(column) for column in zip(*found, strict=True))


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--seeds", type=int, default=3, help="how often the folds are dealt out anew")
    asked.add_argument("--data", type=Path, default=Path(__file__).parents[1] / ".." / "shared" / "data")
    options = asked.parse_args()
    if not (options.data / "jddc_shop40_kb_visible.tsv.gz").is_file():
        raise SystemExit(f"The labelled questions are not in {options.data}: nothing was measured.")
    names, pairs, of_base = read(options.data)
    print(f"{len(pairs)} questions, {len(names)} intents, {FOLDS} folds × {options.seeds} seeds")
    print(f"{'':44s}top-1  top-3  half   mean of the intents' top-1")
    line("to be beaten, as published", (0.81, 0.92, 0.97))
    methods: list[tuple[str, Answerer | None]] = [
        ("logistic regression, characters 1–3", regression(names)),
        ("nearest neighbour (before training)", nearest(names)),
        ("ridge, characters and notions", ours(names)),
    ]
    for name, method in methods:
        if method is None:
            print(f"{name}: scikit-learn is not installed")
            continue
        line(name, crossed(method, pairs, options.seeds))
        likely = method(pairs[:of_base], [text for _intent, text in pairs[of_base:]])
        line("   knowledge base → tuning questions", figures(likely, [intent for intent, _text in pairs[of_base:]]))
    taught = [training.Taught(*pair) for pair in pairs]
    taught += [training.Taught(i, name, title=True) for i, name in enumerate(names)]
    began = time.perf_counter()
    learned = training.fit(taught)
    print(
        f"learning and trying all of it: {time.perf_counter() - began:.1f} s; stored in {len(learned.model.dump()) // 1024} KB"
    )
    if learned.trial is not None:
        print(f"bands of the trial: {learned.thresholds}\n  {learned.trial.answered=:.3f} {learned.trial.answered_right=:.3f}"
              f" {learned.trial.offered=:.3f} {learned.trial.offered_right=:.3f} {learned.trial.handed_over=:.3f}")  # fmt: skip
    others = strangers(options.data, names)
    likely_all = [learned.model.likely(text) for text in others]
    bands = [rules.band_of(found[0].likely if found else 0.0, learned.thresholds) for found in likely_all]
    print(
        f"{len(others)} questions about something else: "
        + ", ".join(f"{band} {bands.count(band) / len(bands):.3f}" for band in rules.Band)
    )
    began = time.perf_counter()
    for text in others:
        learned.model.likely(text)
    print(f"scoring one: {(time.perf_counter() - began) / len(others) * 1e3:.2f} ms; reading it alone: ", end="")
    began = time.perf_counter()
    for text in others:
        words.features(text)
    print(f"{(time.perf_counter() - began) / len(others) * 1e3:.2f} ms")


if __name__ == "__main__":
    main()
