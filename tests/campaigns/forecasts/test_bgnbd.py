"""The models against what was published of them, and against what must hold whatever the orders are."""

from __future__ import annotations

import csv
import gzip
import math
import subprocess
import sys
from collections import defaultdict
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import hyp2f1

from campaigns.forecasts import bgnbd, rules
from campaigns.forecasts.abacus import Abacus, AbacusBroken

CDNOW = Path(__file__).resolve().parents[4] / "shared" / "data" / "cdnow_sample_2357.csv.gz"
# Fader, Hardie, Lee (2005), table 2.
PUBLISHED = bgnbd.Buying(0.2426, 4.4136, 0.7929, 2.4259, -9582.43, False)


@pytest.fixture(scope="module")
def cdnow() -> dict[str, Any]:
    """The customers of CDNOW in weeks up to 30 September 1997, and their orders in the 39 weeks after it."""
    if not CDNOW.exists():
        pytest.skip("the shared data is not here: the published table cannot be reproduced")
    people: dict[str, dict[date, float]] = defaultdict(dict)
    with gzip.open(CDNOW, "rt") as lines:
        for row in csv.DictReader(lines):
            day = date.fromisoformat(row["date"])
            people[row["customer_id"]][day] = people[row["customer_id"]].get(day, 0.0) + float(row["spend"])
    end = date(1997, 9, 30)
    found: dict[str, list[Any]] = {"x": [], "recency": [], "age": [], "mean": [], "later": []}
    for days in people.values():
        early = sorted(day for day in days if day <= end)
        found["x"].append(len(early) - 1)
        found["recency"].append((early[-1] - early[0]).days / 7)
        found["age"].append((end - early[0]).days / 7)
        found["mean"].append(sum(days[day] for day in early[1:]) / max(1, len(early) - 1))
        found["later"].append(len(days) - len(early))
    return found


@pytest.fixture(scope="module")
def fitted(cdnow: dict[str, Any]) -> bgnbd.Buying:
    return bgnbd.fit_buying(cdnow["x"], cdnow["recency"], cdnow["age"])


def test_the_published_table_of_bg_nbd_to_the_printed_digits(cdnow: dict[str, Any], fitted: bgnbd.Buying) -> None:
    assert len(cdnow["x"]) == 2_357
    shown = (f"{fitted.r:.4f}", f"{fitted.alpha:.4f}", f"{fitted.a:.4f}", f"{fitted.b:.4f}")
    assert shown == ("0.2426", "4.4136", "0.7929", "2.4259")
    assert f"{fitted.log_likelihood:.2f}" == "-9582.43"
    assert not fitted.edge
    assert fitted.leaving


def test_where_nobody_leaves_the_fit_says_so() -> None:
    chance = np.random.default_rng(7)
    age = chance.uniform(10, 60, 1_500)
    x = chance.poisson(chance.gamma(0.9, 1 / 12, 1_500) * age)
    # Where nobody leaves, the last of x purchases lies where the greatest of x even draws does.
    recency = np.where(x > 0, age * chance.beta(np.maximum(x, 1), 1), 0.0)
    found = bgnbd.fit_buying(x, recency, age)
    assert not found.leaving
    assert found.r == pytest.approx(0.9, rel=0.2)


def test_the_published_table_of_gamma_gamma_to_the_printed_digits(cdnow: dict[str, Any]) -> None:
    back = [(x, mean) for x, mean in zip(cdnow["x"], cdnow["mean"], strict=True) if x > 0]
    assert len(back) == 946
    found = bgnbd.fit_spending([x for x, _mean in back], [mean for _x, mean in back])
    assert (f"{found.p:.2f}", f"{found.q:.2f}", f"{found.gamma:.2f}") == ("6.25", "3.74", "15.44")
    assert f"{found.log_likelihood:.2f}" == "-4055.92"


def test_held_back_time_of_cdnow(cdnow: dict[str, Any], fitted: bgnbd.Buying) -> None:
    expected = bgnbd.expected_orders(fitted, 39, cdnow["x"], cdnow["recency"], cdnow["age"]).tolist()
    trial = rules.calibrate(date(1997, 9, 30), 273, cdnow["x"], cdnow["age"], expected, cdnow["later"])
    # Nearer in every bucket together than each customer's own rate, which counts whoever came once for nothing.
    off = sum(one.people * abs(one.expected - one.actual) for one in trial.buckets)
    assert off < sum(one.people * abs(one.naive - one.actual) for one in trial.buckets)
    assert trial.error is not None
    assert abs(trial.error) < 0.15


def test_the_published_customer_and_the_published_curve() -> None:
    assert f"{bgnbd.expected_orders(PUBLISHED, 39, [2], [30.43], [38.86])[0]:.3f}" == "1.226"
    assert f"{bgnbd.alive(PUBLISHED, [2], [30.43], [38.86])[0]:.4f}" == "0.7266"
    # Somebody of whom nothing is known has made no repeat purchase at the age of nought.
    born = [float(bgnbd.expected_orders(PUBLISHED, age, [0], [0], [0])[0]) for age in (0.1429, 1, 3, 31.8571, 32, 78)]
    assert np.allclose(born, [0.0078, 0.0532, 0.1506, 1.0405, 1.0437, 1.8576], atol=5e-4)


@pytest.mark.parametrize("x", [0, 1, 2, 7, 40, 300])
@pytest.mark.parametrize("horizon", [1.0, 13.0, 52.0])
def test_the_integral_and_the_closed_form_say_the_same(x: int, horizon: float) -> None:
    recency = 30.43 if x else 0.0
    r, alpha, a, b = PUBLISHED.r, PUBLISHED.alpha, PUBLISHED.a, PUBLISHED.b
    z = horizon / (alpha + 38.86 + horizon)
    # Fader, Hardie, Lee (2005), equation 10, by Euler's transformation, whose x overflows nothing.
    gone = (1 - z) ** (a - 1) * hyp2f1(a + b - 1 - r, a - 1, a + b + x - 1, z)
    closed = (a + b + x - 1) / (a - 1) * (1 - gone) * bgnbd.alive(PUBLISHED, [x], [recency], [38.86])
    assert np.allclose(bgnbd.expected_orders(PUBLISHED, horizon, [x], [recency], [38.86]), closed, rtol=1e-9)


def test_rows_that_stand_for_many_say_the_same() -> None:
    one = [(0, 0.0, 20.0), (2, 9.0, 21.0), (1, 3.0, 30.0), (4, 25.0, 26.0)] * 8
    x, recency, age = (list(part) for part in zip(*one, strict=True))
    alone = bgnbd.fit_buying(x, recency, age)
    together = bgnbd.fit_buying(x[:4], recency[:4], age[:4], [8, 8, 8, 8])
    assert math.isclose(alone.log_likelihood, together.log_likelihood, rel_tol=1e-6)


# Everything that a fit can come to, up to the ends of what is looked at.
_parameters = st.one_of(st.floats(bgnbd.LOG_LOW, bgnbd.LOG_HIGH).map(math.exp), st.floats(0.05, 20), st.just(1.0))
_models = st.builds(
    bgnbd.Buying,
    r=_parameters,
    alpha=_parameters,
    a=_parameters,
    b=_parameters,
    log_likelihood=st.just(0.0),
    edge=st.just(False),
)


@settings(max_examples=300, deadline=None)
@given(model=_models, x=st.integers(0, 400), recency=st.floats(0.1, 100), ages=st.lists(st.floats(0, 200), min_size=2))
def test_probability_alive_falls_with_the_time_since_the_last_purchase(
    model: bgnbd.Buying, x: int, recency: float, ages: list[float]
) -> None:
    ages = [recency + one for one in sorted(ages)]
    found = bgnbd.alive(model, [x] * len(ages), [recency] * len(ages), ages)
    assert np.all((found >= 0) & (found <= 1))
    assert np.all(np.diff(found) <= 1e-12)
    if x == 0:
        assert np.all(found == 1.0)


# What fits of real shops come to: from hardly ever coming back to hardly ever leaving.
_real = st.builds(
    bgnbd.Buying, r=st.floats(0.05, 8), alpha=st.floats(0.5, 80), a=st.floats(0.003, 5), b=st.floats(0.4, 500),
    log_likelihood=st.just(0.0), edge=st.just(False),
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(model=_real, x=st.integers(0, 30), days=st.integers(7, 729), age=st.floats(1, 200), share=st.floats(0, 1))
def test_orders_of_any_horizon_are_read_off_within_three_percent(
    model: bgnbd.Buying, x: int, days: int, age: float, share: float
) -> None:
    def expected(ahead: int) -> float:
        return float(bgnbd.expected_orders(model, ahead / 7, [x], [age * share if x else 0.0], [age])[0])

    def read(ahead: int) -> float:
        low, high = rules.around(ahead)
        return float(rules.read_off(ahead, low, high, expected(low), expected(high)))

    if expected(7) > 1e-9:
        assert read(days) == pytest.approx(expected(days), rel=0.03)
        assert read(days) <= read(days + 1) * (1 + 1e-9)


@settings(max_examples=300, deadline=None)
@given(model=_models, x=st.integers(0, 400), recency=st.floats(0, 100), rest=st.floats(0, 100))
def test_expected_orders_rise_with_the_horizon_and_are_numbers(
    model: bgnbd.Buying, x: int, recency: float, rest: float
) -> None:
    recency = recency if x else 0.0
    found = [float(bgnbd.expected_orders(model, h, [x], [recency], [recency + rest])[0]) for h in (0.1, 1, 4, 13, 52)]
    assert all(math.isfinite(one) and one >= 0 for one in found)
    assert all(later >= sooner - 1e-9 * max(1, later) for sooner, later in pairwise(found))
    # Nobody buys more often than at the rate of one who stays for ever.
    assert found[-1] <= 52 * (model.r + x) / (model.alpha + recency + rest) * (1 + 1e-6) + 1e-9


@settings(max_examples=200, deadline=None)
@given(p=st.floats(0.5, 20), q=st.floats(1.2, 20), gamma=st.floats(0.5, 500), mean=st.floats(0.1, 10_000))
def test_expected_spend_lies_between_their_own_mean_and_everybodys(
    p: float, q: float, gamma: float, mean: float
) -> None:
    model = bgnbd.Spending(p, q, gamma, 0.0, False)
    everybody = p * gamma / (q - 1)
    found = bgnbd.expected_spend(model, [0, 1, 5, 50], [mean] * 4)
    assert math.isclose(found[0], everybody, rel_tol=1e-9)
    distance = np.abs(found - mean)
    assert np.all(np.diff(distance) <= 1e-9 * max(mean, everybody))
    assert np.all(found <= max(mean, everybody) * (1 + 1e-9))


# ── The program ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_program_answers_as_the_module_does() -> None:
    with Abacus() as abacus:
        said = abacus.ask(
            "score", buying=bgnbd.asdict(PUBLISHED), x=[2, 0], recency=[30.43, 0], age=[38.86, 38.86], horizons=[39, 1]
        )
    assert f"{said['orders'][0][0]:.3f}" == "1.226"
    assert said["alive"][1] == 1.0
    assert "spend" not in said


def test_what_the_program_cannot_do_is_told() -> None:
    with Abacus() as abacus, pytest.raises(AbacusBroken, match="nobody knows"):
        abacus.ask("dance")


def test_the_application_loads_neither_numpy_nor_scipy() -> None:
    words = (
        "import sys; import campaigns.forecasts.jobs, campaigns.forecasts.services, campaigns.forecasts.console;"
        " print(sorted({'numpy', 'scipy'} & set(sys.modules)))"
    )
    root = Path(__file__).resolve().parents[3]
    done = subprocess.run([sys.executable, "-c", words], capture_output=True, text=True, cwd=root)
    assert done.stdout.strip() == "[]", done.stderr
