"""Limits: taking and giving back, and the seven laws as a state machine against a plain dictionary."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from sqlalchemy import select

from kernel import wire
from kernel.db import db as database
from membership.limits import services as limits
from membership.limits.models import LimitCounter


def counters(db: Any) -> dict[tuple[str, str, str], int]:
    return {(c.limit, c.subject, c.window): c.used for c in db.session.execute(select(LimitCounter)).scalars()}


def test_take_counts_up_to_the_cap_and_no_further(db: Any) -> None:
    for _ in range(3):
        limits.take([("offer:1", "member:1", "", 1, 3)])
    with pytest.raises(limits.LimitReached) as refused:
        limits.take([("offer:1", "member:1", "", 1, 3)])
    assert (refused.value.limit, refused.value.subject) == ("offer:1", "member:1")
    assert limits.used("offer:1", "member:1") == 3
    assert limits.used("offer:1", "member:2") == 0


def test_a_refusal_over_a_connection_leaves_its_prepared_statements_and_the_other_counters_alone(app: Any) -> None:
    # With a savepoint, whoever claimed next after somebody's cap was reached met a fault.
    asked = ("SELECT 1", dict[str, str | None]())
    with app.app_context(), database.engine.connect() as connection:
        connection.detach()
        line = wire.lay(connection)
        assert line.ask(asked) == [[["1"]]]
        connection.connection.dbapi_connection.execute("SELECT 2", prepare=True)  # type: ignore[union-attr]
        usages = [("offer:1:person", "member:1", "", 2, 5), ("offer:1:group", "group:1", "", 1, 0)]
        with pytest.raises(limits.LimitReached) as refused:
            limits.take(usages, connection)
        assert refused.value.limit == "offer:1:group"
        assert connection.execute(select(LimitCounter)).all() == []
        assert line.ask(asked) == [[["1"]]]
        connection.invalidate()


def test_inv_l2_the_very_first_row_is_under_the_cap_too(db: Any) -> None:
    with pytest.raises(limits.LimitReached):
        limits.take([("gift:1:stock", "", "", 5, 4)])
    with pytest.raises(limits.LimitReached):
        limits.take([("gift:1:stock", "", "", 1, 0)])
    assert counters(db) == {}


def test_a_cap_of_none_is_unlimited_from_the_first_row_on(db: Any) -> None:
    limits.take([("gift:2:stock", "", "", 1_000_000_000, None)])
    limits.take([("gift:2:stock", "", "", 1, None)])
    assert limits.used("gift:2:stock") == 1_000_000_001


def test_inv_l4_and_l5_a_miss_leaves_nothing_of_the_attempt(db: Any) -> None:
    limits.take([("a", "", "", 2, 2)])
    with pytest.raises(limits.LimitReached) as refused:
        limits.take([("b", "m", "d", 3, 9), ("c", "", "", 1, None), ("a", "", "", 1, 2)])
    assert refused.value.limit == "a"
    assert counters(db) == {("a", "", ""): 2}
    # The transaction goes on.
    limits.take([("b", "m", "d", 3, 9)])
    assert limits.used("b", "m", "d") == 3


def test_windows_and_subjects_are_counted_apart(db: Any) -> None:
    limits.take([("contact", "member:1", "2026-03-03", 1, 1), ("contact", "member:1", "2026-03", 1, 4)])
    limits.take([("contact", "member:1", "2026-03-04", 1, 1), ("contact", "member:1", "2026-03", 1, 4)])
    assert limits.used("contact", "member:1", "2026-03") == 2
    assert limits.used_of(["contact", "other"], "member:1", "2026-03-04") == {"contact": 1, "other": 0}


def test_inv_l7_a_lowered_cap_takes_nothing_back(db: Any) -> None:
    limits.take([("x", "", "", 5, 10)])
    with pytest.raises(limits.LimitReached):
        limits.take([("x", "", "", 1, 3)])
    assert limits.used("x") == 5
    limits.give_back("x", amount=3)
    limits.take([("x", "", "", 1, 3)])
    assert limits.used("x") == 3


def test_inv_l3_nothing_is_given_back_that_was_not_taken(db: Any) -> None:
    limits.take([("x", "", "", 1, 1)])
    with pytest.raises(limits.NothingToGiveBack):
        limits.give_back("x", amount=2)
    with pytest.raises(limits.NothingToGiveBack):
        limits.give_back("never")
    assert counters(db) == {("x", "", ""): 1}


@pytest.mark.parametrize("amount", [0, -1])
def test_less_than_one_unit_is_a_mistake(db: Any, amount: int) -> None:
    with pytest.raises(ValueError):
        limits.take([("x", "", "", amount, None)])
    with pytest.raises(ValueError):
        limits.give_back("x", amount=amount)


NAMES = st.sampled_from(["a", "b", "c"])
AMOUNTS = st.integers(1, 5)
CAPS = st.none() | st.integers(0, 12)


class Limits(RuleBasedStateMachine):
    """L1 to L7: the counters against a dictionary."""

    def __init__(self) -> None:
        super().__init__()
        self.used: Counter[str] = Counter()

    @rule(usages=st.lists(st.tuples(NAMES, AMOUNTS, CAPS), min_size=1, max_size=4))
    def take(self, usages: list[tuple[str, int, int | None]]) -> None:
        after, fits = Counter(self.used), True
        for name, amount, cap in usages:
            after[name] += amount
            fits = fits and (cap is None or after[name] <= cap)
        if fits:
            limits.take([(name, "", "", amount, cap) for name, amount, cap in usages])
            self.used = after
        else:
            with pytest.raises(limits.LimitReached):
                limits.take([(name, "", "", amount, cap) for name, amount, cap in usages])

    @rule(name=NAMES, amount=AMOUNTS)
    def give_back(self, name: str, amount: int) -> None:
        if self.used[name] >= amount:
            limits.give_back(name, amount=amount)
            self.used[name] -= amount
        else:
            with pytest.raises(limits.NothingToGiveBack):
                limits.give_back(name, amount=amount)

    @invariant()
    def the_books_agree(self) -> None:
        assert {name: limits.used(name) for name in "abc"} == {name: self.used[name] for name in "abc"}


def test_inv_l1_to_l7_hold_over_random_lives(db: Any) -> None:
    def fresh() -> Limits:
        with suppress(Exception):
            db.session.execute(LimitCounter.__table__.delete())
        return Limits()

    run_state_machine_as_test(
        fresh,
        settings=settings(
            max_examples=25, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
