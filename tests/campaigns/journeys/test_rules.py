"""The plan as a tree: ways through it, editing it, what is wrong with it. Nothing here needs a database."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from campaigns.journeys import recipes, rules
from campaigns.journeys.rules import Fault, Known, Spot, Wrong
from tests.campaigns.journeys.conftest import numbered

ZONE = ZoneInfo("Asia/Shanghai")
NOON = datetime(2026, 3, 3, 12, 0, tzinfo=ZONE)
SAY = {"kind": "message", "subject": "Hi", "body": "There"}


def plan(*steps: dict[str, Any], **more: Any) -> rules.Plan:
    return rules.parse({"trigger": {"kind": "enrolled"}, "steps": numbered(list(steps)), **more})


def test_ways_join_again_after_a_condition() -> None:
    found = plan(
        {"kind": "wait", "days": 1},
        {"kind": "condition", "audience": {"rules": []}, "yes": [SAY, {"kind": "end"}], "no": []},
        SAY,
    )
    assert rules.routes(found) == {
        ("s1", ""): "s2",
        ("s2", "yes"): "s3",
        ("s3", ""): "s4",
        ("s4", ""): None,
        ("s2", "no"): "s5",
        ("s5", ""): None,
    }


@pytest.mark.parametrize(
    ("steps", "why"),
    [
        ([{"kind": "wait", "id": "s1"}, {"kind": "wait", "id": "s1"}], "a number twice"),
        ([{"kind": "jump", "id": "s1"}], "no such kind"),
        ([{"kind": "wait", "id": "s1", "days": "2"}], "a text for a number"),
        ([{"kind": "wait", "id": "s1", "weeks": 2}], "an unknown field"),
        ([{"kind": "wait", "id": "1"}], "no number of ours"),
        ([{"kind": "points", "id": "s1", "points": 0}], "out of bounds"),
    ],
)
def test_what_is_none_of_ours_is_refused(steps: list[dict[str, Any]], why: str) -> None:
    with pytest.raises(rules.PlanInvalid):
        rules.parse({"trigger": {"kind": "enrolled"}, "steps": steps})


def test_a_plan_has_an_end_to_its_length() -> None:
    with pytest.raises(rules.TooManySteps):
        plan(*[{"kind": "wait", "days": 1}] * (rules.MOST_STEPS + 1))


# ── Waiting ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("wait", "until"),
    [
        ({"days": 2, "hours": 3}, NOON + timedelta(days=2, hours=3)),
        ({"until_hour": 19}, NOON.replace(hour=19)),
        ({"until_hour": 12}, NOON),
        ({"until_hour": 10}, NOON.replace(hour=10) + timedelta(days=1)),
        ({"days": 1, "until_hour": 10}, NOON.replace(hour=10) + timedelta(days=2)),
    ],
)
def test_waits(wait: dict[str, int], until: datetime) -> None:
    assert rules.due_at(rules.Wait(id="s1", **wait), NOON) == until


def test_a_trial_hardly_waits_and_other_steps_are_due_at_once() -> None:
    assert rules.due_at(rules.Wait(id="s1", days=9), NOON, trial=True) == NOON + rules.TRIAL_WAIT
    assert rules.due_at(rules.End(id="s1"), NOON) == NOON


def test_the_birthday_of_the_29th_of_february() -> None:
    born = date(2000, 2, 29)
    assert [rules.birthday_in(born, year) for year in (2026, 2028)] == [date(2026, 2, 28), date(2028, 2, 29)]


def test_a_split_sends_about_its_share_and_everybody_the_same_way() -> None:
    step = rules.Split(id="s1", weights=(30, 70))
    ways = [rules.way_of(step, "x", member) for member in range(10_000)]
    assert 2_800 < ways.count("a") < 3_200
    assert ways == [rules.way_of(step, "x", member) for member in range(10_000)]
    other = [rules.way_of(rules.Split(id="s2", weights=(30, 70)), "x", member) for member in range(10_000)]
    assert other != ways


@given(st.lists(st.integers(1, rules.MOST_WEIGHT), min_size=2, max_size=6), st.integers(1, 2**63 - 1))
def test_inv_the_ways_of_a_split_share_everybody_out(weights: list[int], member: int) -> None:
    step = rules.Split(id="s1", weights=tuple(weights))
    assert rules.way_of(step, "x", member) in step.ways
    assert sum(step.percents.values()) == pytest.approx(100)
    # The same proportions are the same ways.
    doubled = step.model_copy(update={"weights": tuple(2 * weight for weight in weights)})
    assert rules.way_of(doubled, "x", member) == rules.way_of(step, "x", member)


def test_six_ways_get_their_shares() -> None:
    step = rules.Split(id="s1", weights=(1, 1, 2, 1, 3, 2))
    ways = [rules.way_of(step, "x", member) for member in range(20_000)]
    for way, percent in step.percents.items():
        assert abs(ways.count(way) / 200 - percent) < 1.5


def test_a_split_of_the_time_of_two_ways_sends_everybody_as_it_did() -> None:
    old = rules.step_of({"kind": "split", "id": "s1", "percent": 30, "a": [{**SAY, "id": "s2"}], "b": []})
    assert (old.weights, len(old.a)) == ((30, 70), 1)
    # Worked out with the rule of that time: SHA-256 below the share or not.
    assert "".join(rules.way_of(old, "journey:1", member) for member in range(1, 21)) == "bbbbbbbababbabbabbba"


@pytest.mark.parametrize(
    "more", [{"weights": [1]}, {"weights": [1] * 7}, {"weights": [0, 1]}, {"weights": [1, 2], "c": [SAY]}, {"percent": 0},
             {"percent": "30"}, {"percent": 30, "weights": [1, 2]}],
)  # fmt: skip
def test_a_split_that_is_none_is_refused(more: dict[str, Any]) -> None:
    with pytest.raises(rules.PlanInvalid):
        plan({"kind": "split", **more})


# ── Editing ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_editing_finds_its_place_inside_ways() -> None:
    found = plan({"kind": "split", "a": [SAY], "b": []}, SAY)
    found = rules.added(found, Spot("s1", "b", 0), rules.Wait(id="s9", hours=2))
    assert [step.id for step in rules.walk(found.steps)] == ["s1", "s2", "s9", "s3"]
    assert rules.spot_of(found, "s9") == Spot("s1", "b", 0)
    assert rules.next_id(found) == "s10"
    found = rules.replaced(found, rules.Split(id="s1", weights=(10, 90, 100)))
    assert (found.steps[0].weights, len(found.steps[0].a), len(found.steps[0].b)) == ((10, 90, 100), 1, 1)
    found = rules.added(found, Spot("s1", "c", 0), rules.End(id="s8"))
    with pytest.raises(rules.WayHoldsSteps):
        rules.replaced(found, rules.Split(id="s1"))
    found = rules.replaced(rules.removed(found, "s8"), rules.Split(id="s1"))
    assert list(found.steps[0].ways) == ["a", "b"]
    found = rules.moved(found, "s1", 1)
    assert [step.id for step in found.steps] == ["s3", "s1"]
    assert [step.id for step in rules.walk(rules.removed(found, "s1").steps)] == ["s3"]


@pytest.mark.parametrize("spot", [Spot("s9", "a", 0), Spot("s1", "yes", 0)])
def test_a_place_that_is_none_is_refused(spot: Spot) -> None:
    with pytest.raises(rules.StepUnknown):
        rules.added(plan({"kind": "split", "a": [SAY]}), spot, rules.End(id="s7"))


STEP = st.deferred(
    lambda: st.one_of(
        st.builds(lambda days: {"kind": "wait", "days": days}, st.integers(0, 9)),
        st.just({"kind": "end"}),
        st.just(SAY),
        st.builds(lambda a, b, c: {"kind": "split", "weights": [1, 2, 3], "a": a, "b": b, "c": c}, STEPS, STEPS, STEPS),
        st.builds(lambda a, b: {"kind": "condition", "audience": {"rules": []}, "yes": a, "no": b}, STEPS, STEPS),
    )
)
STEPS = st.lists(STEP, max_size=3)


@given(STEPS, st.data())
def test_inv_everybody_comes_to_an_end_whatever_the_plan(steps: list[dict[str, Any]], data: st.DataObject) -> None:
    try:
        found = plan(*steps)
    except rules.TooManySteps:
        return
    lead = rules.routes(found)
    # Each way of each step leads on or ends, and no step is come to twice on any way.
    assert {step for step, _way in lead} == {step.id for step in rules.walk(found.steps)}
    here, passed = (found.steps[0].id if found.steps else None), []
    while here is not None:
        assert here not in passed
        passed.append(here)
        ways = sorted(way for step, way in lead if step == here)
        here = lead[here, data.draw(st.sampled_from(ways))]


@given(STEPS, st.data())
def test_inv_editing_keeps_every_other_step(steps: list[dict[str, Any]], data: st.DataObject) -> None:
    try:
        found = plan(*steps)
    except rules.TooManySteps:
        return
    before = [step.id for step in rules.walk(found.steps)]
    if not before or len(before) == rules.MOST_STEPS:
        return
    one = data.draw(st.sampled_from(before))
    moved = rules.moved(found, one, data.draw(st.integers(-3, 3)))
    assert sorted(step.id for step in rules.walk(moved.steps)) == sorted(before)
    spot = rules.spot_of(found, one)
    more = rules.added(found, spot, rules.End(id=rules.next_id(found)))
    assert sorted({step.id for step in rules.walk(more.steps)} - set(before)) == [rules.next_id(found)]
    assert rules.removed(more, rules.next_id(found)) == found


# ── Faults ──────────────────────────────────────────────────────────────────────────────────────────────────────────

KNOWN = Known(accounts=frozenset({1}), offers=frozenset({2}), groups=frozenset({3}))


@pytest.mark.parametrize(
    ("step", "wrong"),
    [
        ({"kind": "wait"}, [Wrong.NO_WAIT]),
        ({"kind": "message", "subject": "", "body": "x"}, [Wrong.NO_WORDS]),
        ({**SAY, "subject_en": "only"}, [Wrong.NO_WORDS]),
        ({**SAY, "body": "{who}"}, [Wrong.PLACEHOLDER]),
        ({**SAY, "body": "{link}"}, [Wrong.EMPTY_PLACEHOLDER]),
        ({**SAY, "body": "{link}", "link_url": "/me/"}, []),
        ({**SAY, "link_url": "//evil.example"}, [Wrong.LINK]),
        ({**SAY, "link_url": "javascript:alert(1)"}, [Wrong.LINK]),
        ({**SAY, "account_id": 9}, [Wrong.ACCOUNT]),
        ({**SAY, "offer_id": 9}, [Wrong.OFFER]),
        ({"kind": "coupon"}, [Wrong.OFFER]),
        ({"kind": "coupon", "offer_id": 2}, []),
        ({"kind": "invite", "subject": "a", "body": "{link}", "group_id": 9}, [Wrong.GROUP]),
        ({"kind": "invite", "subject": "a", "body": "{link}", "group_id": 3}, []),
        ({"kind": "tag", "name": " "}, [Wrong.TAG]),
        ({"kind": "task"}, [Wrong.ABOUT]),
        ({"kind": "split"}, [Wrong.NO_WAYS]),
        ({"kind": "condition", "audience": {}, "yes": [SAY]}, [Wrong.AUDIENCE]),
    ],
)
def test_what_is_wrong_with_a_step(step: dict[str, Any], wrong: list[Wrong]) -> None:
    assert [fault.wrong for fault in rules.faults(plan(step), KNOWN)] == wrong


def test_what_is_wrong_with_a_plan() -> None:
    assert rules.faults(plan(), KNOWN) == [Fault(Wrong.NO_STEPS)]
    lacking = rules.parse({"trigger": {"kind": "delivered"}, "steps": numbered([SAY])})
    assert rules.faults(lacking, KNOWN) == [Fault(Wrong.TRIGGER)]
    assert rules.faults(plan({"kind": "end"}, SAY), KNOWN) == [Fault(Wrong.UNREACHABLE, "s2")]
    both = plan({"kind": "split", "a": [{"kind": "end"}], "b": [{"kind": "end"}]}, SAY)
    assert rules.faults(both, KNOWN) == [Fault(Wrong.UNREACHABLE, "s4")]


def test_ready_made_journeys_lack_at_most_the_coupon() -> None:
    assert len({recipe.key for recipe in recipes.RECIPES}) == len(recipes.RECIPES) >= 15
    begun = {recipe.plan.trigger.kind for recipe in recipes.RECIPES}
    # A closed ticket says more than a closed call, and has the ready-made journey.
    assert begun == set(rules.Kind) - {rules.Kind.EVENT, rules.Kind.CALL_CLOSED}
    for recipe in recipes.RECIPES:
        assert {fault.wrong for fault in rules.faults(recipe.plan, Known())} <= {Wrong.OFFER}, recipe.key
