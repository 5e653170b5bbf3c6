"""BG/NBD and Gamma-Gamma: how often customers come back, for how long, and what they spend.

Sources: Fader, Hardie, Lee (2005), "Counting Your Customers the Easy Way", Marketing Science 24(2), for the likelihood, the
probability of being alive and the expected orders; Fader, Hardie (2013), "The Gamma-Gamma Model of Monetary Value", for
spend.

This file stands by itself: numpy and scipy are large, so that `abacus.Abacus` runs it as a program of its own and neither the
web server nor a worker ever loads them. Of each customer the models know three numbers, in one unit of time (weeks here): x, the
repeat purchases (the first one apart); t_x, the age at the last of them (0 without any); T, the age at the end of the time
looked at.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy.optimize import minimize
from scipy.special import betaln, expit, gammaln, roots_genlaguerre, roots_jacobi

Numbers = np.ndarray[Any, np.dtype[np.float64]]
# Logarithms of the parameters are looked for within these; beyond, the data say nothing of them.
LOG_LOW, LOG_HIGH = -8.0, 12.0
# Points at which an integral over dropouts is taken; with a larger a or b the weights of the exact rule overflow.
NODES, LARGEST_A, LARGEST_B = 96, 150.0, 600.0
# Nothing is divided by less.
SMALLEST = 1e-12
# Half of what chi-squared with one degree of freedom exceeds in one case of twenty: what leaving must add to the likelihood.
LEAVING_SEEN = 1.92


@dataclass(frozen=True)
class Buying:
    """A fitted BG/NBD model. `edge`: a parameter ran to the end of what is looked at, so that it means little.

    `leaving`: customers are seen to leave. Without that the orders look just as likely if everybody stays and some only come
    rarely, and the probability of being alive, near 1 for everybody, says nothing of anybody.
    """

    r: float
    alpha: float
    a: float
    b: float
    log_likelihood: float
    edge: bool
    leaving: bool = True


@dataclass(frozen=True)
class Spending:
    """A fitted Gamma-Gamma model; amounts in the unit they were given in."""

    p: float
    q: float
    gamma: float
    log_likelihood: float
    edge: bool


def _array(values: Any) -> Numbers:
    return np.asarray(values, dtype=np.float64)


def buying_likelihood(logs: Numbers, x: Numbers, recency: Numbers, age: Numbers, people: Numbers) -> float:
    """The log-likelihood of customers under BG/NBD (Fader, Hardie, Lee 2005, equation 6), each row standing for `people`.
    `logs` are the logarithms of r, α, a, b."""
    r, alpha, a, b = np.exp(logs)
    shared = gammaln(r + x) - gammaln(r) + r * np.log(alpha) + betaln(a, b + x) - betaln(a, b)
    alive = -(r + x) * np.log(alpha + age)
    gone = np.where(
        x > 0, np.log(a) - np.log(b + np.maximum(x, 1.0) - 1.0) - (r + x) * np.log(alpha + recency), -np.inf
    )
    return float(np.sum(people * (shared + np.logaddexp(alive, gone))))


def staying_likelihood(logs: Numbers, x: Numbers, age: Numbers, people: Numbers) -> float:
    """The log-likelihood of the same customers if nobody ever leaves, which BG/NBD becomes as a goes to 0: purchases at gamma
    distributed rates. `logs` are the logarithms of r, α."""
    r, alpha = np.exp(logs)
    found = gammaln(r + x) - gammaln(r) + r * np.log(alpha) - (r + x) * np.log(alpha + age)
    return float(np.sum(people * found))


def _best(loss: Any, starts: Any) -> tuple[Numbers, float, bool]:
    """The least value of a loss over the logarithms of positive parameters: by slopes from several starts, then without."""
    bounds = [(LOG_LOW, LOG_HIGH)] * len(starts[0])
    found = [minimize(loss, _array(start), method="L-BFGS-B", bounds=bounds) for start in starts]
    best = min(found, key=lambda one: float(one.fun))
    exact = minimize(
        loss,
        best.x,
        method="Nelder-Mead",
        bounds=bounds,
        options={"xatol": 1e-7, "fatol": 1e-9, "maxiter": 4_000, "maxfev": 4_000, "adaptive": True},
    )
    if exact.fun <= best.fun:
        best = exact
    edge = bool(np.any(best.x <= LOG_LOW + 0.01) or np.any(best.x >= LOG_HIGH - 0.01))
    return best.x, float(best.fun), edge


def fit_buying(x: Any, recency: Any, age: Any, people: Any = None) -> Buying:
    """Fit BG/NBD by maximum likelihood. `people`: how many customers a row stands for (one each)."""
    x, recency, age = _array(x), _array(recency), _array(age)
    people = np.ones_like(x) if people is None else _array(people)
    size = float(np.sum(people))

    def loss(logs: Numbers) -> float:
        found = -buying_likelihood(logs, x, recency, age, people) / size
        return found if np.isfinite(found) else 1e12

    middle = max(float(np.average(age, weights=people)), 1e-3)
    starts = [np.log([0.5, middle / 4, 0.5, 2.0]), np.log([1.0, middle / 2, 1.0, 5.0]), np.log([0.2, 3.0, 1.0, 3.0])]
    logs, least, edge = _best(loss, starts)
    r, alpha, a, b = (float(one) for one in np.exp(logs))

    def staying(few: Numbers) -> float:
        found = -staying_likelihood(few, x, age, people) / size
        return found if np.isfinite(found) else 1e12

    _few, stays, few_edge = _best(staying, [logs[:2], starts[0][:2], starts[1][:2]])
    leaving = (stays - least) * size > LEAVING_SEEN
    return Buying(r, alpha, a, b, -least * size, edge if leaving else few_edge, leaving)


def alive(model: Buying, x: Any, recency: Any, age: Any) -> Numbers:
    """The probability that a customer still buys (Fader, Hardie, Lee 2005, the denominator of equation 10; spelt out in
    Fader, Hardie 2008, "Computing P(alive) Using the BG/NBD Model"). One who came once counts as alive: the model lets
    nobody go before their second purchase."""
    x, recency, age = _array(x), _array(recency), _array(age)
    odds = (
        np.log(model.a)
        - np.log(model.b + np.maximum(x, 1.0) - 1.0)
        + (model.r + x) * (np.log(model.alpha + age) - np.log(model.alpha + recency))
    )
    return np.where(x > 0, expit(-odds), 1.0)


def expected_orders(model: Buying, horizon: float, x: Any, recency: Any, age: Any) -> Numbers:
    """The purchases expected of each customer in the next `horizon` (Fader, Hardie, Lee 2005, equation 10).

    Not by the closed form, whose hypergeometric function loses its digits near whole parameters, but by the integral behind it:
    given the dropout p after a purchase, somebody alive is expected to make (1 - ((α+T)/(α+T+pt))^(r+x)) / p of them, and p
    is beta distributed with a and b+x. The rule of Gauss and Jacobi takes that mean with positive weights, so that more
    days never expect less.
    """
    x, recency, age = _array(x), _array(recency), _array(age)
    found = np.empty_like(age)
    for repeats in np.unique(x):
        here = x == repeats
        dropout, weights = _dropouts(model.a, model.b + repeats)
        rest = -np.expm1(-(model.r + repeats) * np.log1p(dropout * horizon / (model.alpha + age[here])[:, None]))
        found[here] = (rest / dropout) @ weights
    return found * alive(model, x, recency, age)


def _dropouts(a: float, b: float) -> tuple[Numbers, Numbers]:
    """Points and weights that stand for a beta distribution."""
    if a > LARGEST_A:
        # So narrow that its mean stands for it.
        return _array([a / (a + b)]), np.ones(1)
    if b > LARGEST_B:
        # So near to nought that it is a gamma distribution of the same mean.
        nodes, weights = roots_genlaguerre(NODES, a - 1.0)
        dropout = nodes / (a + b)
    else:
        nodes, weights = roots_jacobi(NODES, b - 1.0, a - 1.0)
        dropout = (nodes + 1.0) / 2.0
    return np.maximum(dropout, SMALLEST), weights / np.sum(weights)


def spending_likelihood(logs: Numbers, x: Numbers, mean: Numbers, people: Numbers) -> float:
    """The log-likelihood of mean spends under Gamma-Gamma (Fader, Hardie 2013, equation 1a); x purchases each, x > 0."""
    p, q, gamma = np.exp(logs)
    found = (
        gammaln(p * x + q)
        - gammaln(p * x)
        - gammaln(q)
        + q * np.log(gamma)
        + (p * x - 1.0) * np.log(mean)
        + p * x * np.log(x)
        - (p * x + q) * np.log(gamma + mean * x)
    )
    return float(np.sum(people * found))


def fit_spending(x: Any, mean: Any, people: Any = None) -> Spending:
    """Fit Gamma-Gamma to customers with repeat purchases (x > 0) and the mean of what they paid at those (> 0)."""
    x, mean = _array(x), _array(mean)
    people = np.ones_like(x) if people is None else _array(people)
    size = float(np.sum(people))
    # Amounts are taken as shares of their mean, so that yuan and dollars start alike.
    unit = float(np.average(mean, weights=people))
    shares = mean / unit

    def loss(logs: Numbers) -> float:
        found = -spending_likelihood(logs, x, shares, people) / size
        return found if np.isfinite(found) else 1e12

    logs, _least, edge = _best(loss, [np.log([2.0, 3.0, 1.0]), np.log([6.0, 4.0, 0.5]), np.log([1.0, 8.0, 5.0])])
    p, q, gamma = (float(one) for one in np.exp(logs))
    gamma *= unit
    found = spending_likelihood(np.log([p, q, gamma]), x, mean, people)
    return Spending(p, q, gamma, found, edge)


def expected_spend(model: Spending, x: Any, mean: Any) -> Numbers:
    """What a customer is expected to pay at a purchase (Fader, Hardie 2013, equation 5): between their own mean and
    everybody's, nearer to their own the more often they have bought. Needs q > 1."""
    x, mean = _array(x), _array(mean)
    return model.p * (model.gamma + x * mean) / (model.p * x + model.q - 1.0)


def score(asked: dict[str, Any]) -> dict[str, Any]:
    """Of each customer: the probability of being alive, the orders expected in each of `horizons`, the spend at one."""
    model = Buying(**asked["buying"])
    x, recency, age = _array(asked["x"]), _array(asked["recency"]), _array(asked["age"])
    found: dict[str, Any] = {"alive": alive(model, x, recency, age).tolist(), "orders": []}
    for horizon in asked["horizons"]:
        found["orders"].append(expected_orders(model, horizon, x, recency, age).tolist())
    if asked.get("spending"):
        found["spend"] = expected_spend(Spending(**asked["spending"]), x, asked["mean"]).tolist()
    return found


def answer(asked: dict[str, Any]) -> dict[str, Any]:
    """Do what a line of JSON asks for."""
    match asked["do"]:
        case "buying":
            return asdict(fit_buying(asked["x"], asked["recency"], asked["age"], asked.get("people")))
        case "spending":
            return asdict(fit_spending(asked["x"], asked["mean"], asked.get("people")))
        case "score":
            return score(asked)
    raise ValueError(f"nobody knows how to do {asked['do']!r}")


def main() -> None:
    """Answer line by line until there are no more."""
    for line in sys.stdin:
        sys.stdout.write(json.dumps(answer(json.loads(line)), allow_nan=False) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
