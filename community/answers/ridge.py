"""The model that knows one question from another: ridge regression on what texts have in common, with its own trial.

This file stands by itself: numpy and scipy are large, so that `training.fit` runs it as a program of its own and neither the web
server nor a worker ever loads them. It reads one JSON object from its input and writes one.

Texts come as lists of feature numbers, in two blocks (characters, notions). A feature counts by how rare it is (inverse document
frequency, to the power of its block), each block has length 1, and the blocks are weighted. Each intent has a column of ones and
zeros; the weights of a text in the loss are those of a balanced shop, so that an intent of which people ask seldom is not
crowded out. The dual (K + λ D) A = B is solved by conjugate gradients with nothing but products of the sparse matrix, and the
weights of features are XᵀA. A text's scores become probabilities by a softmax whose steepness is chosen on held-out texts.
"""

from __future__ import annotations

import base64
import json
import sys
from typing import Any

import numpy as np
from scipy import sparse
from scipy.optimize import minimize_scalar

Numbers = np.ndarray[Any, np.dtype[np.float64]]
# Powers of the rareness and weights of the two blocks, and how much a large weight costs.
POWERS, WEIGHTS, LAMBDA = (0.5, 1.0), (0.8, 0.2), 0.3
FOLDS = 5
# Weights are kept as whole numbers of two bytes, no more of them than this: the rest are of features that matter least.
MOST_WEIGHTS, LARGEST = 8_000_000, 32_767
# Conjugate gradients end here.
STEPS, CLOSE = 200, 1e-6


def matrix(rows: list[list[int]], width: int) -> Any:
    """A sparse matrix with a row a text and a one for each of its features."""
    ends = np.cumsum([0, *(len(row) for row in rows)])
    places = np.fromiter((i for row in rows for i in row), dtype=np.int64, count=int(ends[-1]))
    return sparse.csr_matrix((np.ones(len(places)), places, ends), shape=(len(rows), width))


def rareness(known: Any, power: float) -> Numbers:
    """How much each feature counts: ln((1+n)/(1+df)) + 1, to a power; one that no text has counts most."""
    n = known.shape[0]
    df = np.asarray(known.sum(axis=0)).ravel()
    return np.asarray((np.log((1 + n) / (1 + df)) + 1) ** power)


def weighted(block: Any, counts: Numbers, weight: float) -> Any:
    """The block's rows with features weighted and length √weight."""
    found = block @ sparse.diags(counts)
    length = np.sqrt(np.asarray(found.multiply(found).sum(axis=1)).ravel())
    return sparse.diags(np.sqrt(weight) / np.maximum(length, 1e-12)) @ found


def solved(x: Any, y: Numbers, of_text: Numbers) -> Numbers:
    """A with (XXᵀ + λ D⁻¹) A = Y, all columns side by side by conjugate gradients."""
    penalty = (LAMBDA / of_text)[:, None]
    transposed = x.T.tocsr()
    found = np.zeros_like(y)
    rest = y.copy()
    way = rest.copy()
    size = (rest * rest).sum(axis=0)
    first = np.maximum(size, 1e-30)
    for _step in range(STEPS):
        pushed = x @ (transposed @ way) + penalty * way
        along = (way * pushed).sum(axis=0)
        step = np.divide(size, along, out=np.zeros_like(size), where=along > 0)
        found += step * way
        rest -= step * pushed
        after = (rest * rest).sum(axis=0)
        if float(np.max(after / first)) < CLOSE**2:
            break
        way = rest + np.divide(after, size, out=np.zeros_like(size), where=size > 0) * way
        size = after
    return found


class Fit:
    """Weights of features for each intent, learned from the texts of `blocks` in `rows`."""

    def __init__(self, blocks: list[Any], labels: Any, rows: Any, intents: int) -> None:
        self.counts = [rareness(block[rows], power) for block, power in zip(blocks, POWERS, strict=True)]
        x = self.shown([block[rows] for block in blocks])
        owners = labels[rows]
        each = np.bincount(owners, minlength=intents).astype(float)
        of_text = 1.0 / each[owners]
        of_text *= len(owners) / of_text.sum()
        y = np.zeros((len(owners), intents))
        y[np.arange(len(owners)), owners] = 1.0
        self.weights = np.asarray(x.T @ solved(x, y, of_text))

    def shown(self, blocks: list[Any]) -> Any:
        return sparse.hstack(
            [weighted(b, c, w) for b, c, w in zip(blocks, self.counts, WEIGHTS, strict=True)], format="csr"
        )

    def scores(self, blocks: list[Any]) -> Numbers:
        return np.asarray(self.shown(blocks) @ self.weights)


def softmax(scores: Numbers) -> Numbers:
    found = np.exp(scores - scores.max(axis=1, keepdims=True))
    return np.asarray(found / found.sum(axis=1, keepdims=True))


def steepness(scores: Numbers, labels: Any) -> float:
    """The factor with which the softmax is least surprised by what held-out texts were about."""

    def surprise(log: float) -> float:
        found = softmax(scores * np.exp(log))
        return float(-np.log(np.maximum(found[np.arange(len(labels)), labels], 1e-12)).mean())

    return float(np.exp(minimize_scalar(surprise, bounds=(0.0, 5.0), method="bounded").x))


def parts(labels: Any, tried: Any, seed: int) -> Numbers:
    """A fold for each text that is tried, −1 for the others; each intent's texts are dealt out evenly."""
    chance = np.random.default_rng(seed)
    found = np.full(len(labels), -1)
    turn = 0
    for label in np.unique(labels):
        places = chance.permutation(np.flatnonzero((labels == label) & tried))
        found[places] = (np.arange(len(places)) + turn) % FOLDS
        turn += len(places)
    return found


def trial(blocks: list[Any], labels: Any, tried: Any, intents: int, seed: int) -> dict[str, Any]:
    """What comes out for texts that were held back: of each the three likeliest intents with their probabilities; and the
    same for texts whose whole intent was held back, which stand for questions about something else."""
    folds = parts(labels, tried, seed)
    scores = np.zeros((len(labels), intents))
    for fold in range(FOLDS):
        rows = np.flatnonzero(folds == fold)
        if len(rows):
            fit = Fit(blocks, labels, np.flatnonzero(folds != fold), intents)
            scores[rows] = fit.scores([block[rows] for block in blocks])
    rows = np.flatnonzero(folds >= 0)
    steep = steepness(scores[rows], labels[rows])
    likely = softmax(scores * steep)
    best = np.argsort(-likely, axis=1)[:, :3]
    outside = []
    if intents >= FOLDS:
        away = np.random.default_rng(seed).permutation(intents) % FOLDS
        for fold in range(FOLDS):
            gone = away[labels] == fold
            fit = Fit(blocks, labels, np.flatnonzero(~gone), intents)
            strange = fit.scores([block[gone & tried] for block in blocks])
            strange[:, away == fold] = -1e9
            outside += softmax(strange * steep).max(axis=1).round(5).tolist()
    return {
        "steepness": steep,
        "rows": rows.tolist(),
        "best": best[rows].tolist(),
        "likely": np.take_along_axis(likely, best, axis=1)[rows].round(5).tolist(),
        "outside": outside,
    }


def packed(fit: Fit, intents: int) -> dict[str, Any]:
    """The weights as bytes: which features are kept, what each counts, and a row of whole numbers for each."""
    counts = np.concatenate(fit.counts)
    strength = np.abs(fit.weights).max(axis=1)
    kept = np.sort(np.argsort(-strength, kind="stable")[: max(1, MOST_WEIGHTS // max(intents, 1))])
    kept = kept[strength[kept] > 0]
    unit = float(strength.max() / LARGEST) or 1.0
    whole = np.round(fit.weights[kept] / unit).astype("<i2")
    return {
        "kept": kept.tolist(),
        "counts": counts[kept].round(6).tolist(),
        "unit": unit,
        "weights": base64.b64encode(whole.tobytes()).decode(),
    }


def answer(asked: dict[str, Any]) -> dict[str, Any]:
    """Learn from `rows` (a text's features by block), `labels` (a number each) and `tried` (whether it may be held back).

    `widths` are the numbers of features of the blocks. With `test`, rows of the same form, their scores as probabilities are
    added, by the model learned from all: what a benchmark needs.
    """
    labels, tried = np.asarray(asked["labels"], dtype=np.int64), np.asarray(asked["tried"], dtype=bool)
    intents = asked["intents"]
    blocks = [matrix(rows, width) for rows, width in zip(asked["rows"], asked["widths"], strict=True)]
    fit = Fit(blocks, labels, np.arange(len(labels)), intents)
    found = trial(blocks, labels, tried, intents, asked["seed"]) if tried.any() else {}
    steep = found.get("steepness", 10.0)
    found.update(
        packed(fit, intents), steepness=steep, unseen=[float((np.log(1 + len(labels)) + 1) ** p) for p in POWERS]
    )
    if asked.get("test"):
        test = [matrix(rows, width) for rows, width in zip(asked["test"], asked["widths"], strict=True)]
        found["test"] = softmax(fit.scores(test) * steep).round(5).tolist()
    return found


if __name__ == "__main__":
    json.dump(answer(json.load(sys.stdin)), sys.stdout)
