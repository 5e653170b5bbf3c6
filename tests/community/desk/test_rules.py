"""Pure decisions of the desk."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from community.desk import rules
from community.desk.models import CallReason
from community.desk.starter import STARTERS, Starter
from kernel.auth import Role
from kernel.clock import ZONE
from membership.members.models import CustomerType


def at(text: str) -> datetime:
    return datetime.fromisoformat(f"2026-{text}").replace(tzinfo=ZONE)


@pytest.mark.parametrize(
    ("arrived", "known", "due"),
    [
        # Known at once: ten o'clock of the next day, whatever the hour of the delivery.
        ("03-03 09:00", "03-03 09:00", "03-04 10:00"),
        ("03-03 23:59", "03-03 23:59", "03-04 10:00"),
        ("03-03 00:00", "03-03 00:00", "03-04 10:00"),
        # Known later, but before that time.
        ("03-03 09:00", "03-04 09:59", "03-04 10:00"),
        # Known after it: as soon as people may be called.
        ("03-03 09:00", "03-04 10:00", "03-04 10:00"),
        ("03-01 09:00", "03-04 15:30", "03-04 15:30"),
        ("03-01 09:00", "03-04 20:00", "03-05 10:00"),
        ("03-01 09:00", "03-04 03:00", "03-04 10:00"),
    ],
)
def test_a_delivery_is_called_about_the_next_morning(arrived, known, due):
    assert rules.due_at(CallReason.DELIVERED, at(arrived), at(known)) == at(due)


@pytest.mark.parametrize(
    ("known", "due"),
    [
        ("03-03 12:00", "03-03 13:00"),
        ("03-03 19:30", "03-04 10:00"),
        ("03-03 07:00", "03-03 10:00"),
        ("03-03 09:30", "03-03 10:30"),
    ],
)
@pytest.mark.parametrize("reason", [CallReason.REFUSED_PARCEL, CallReason.WRONG_ADDRESS])
def test_what_is_urgent_is_called_about_within_the_hour(reason, known, due):
    assert rules.due_at(reason, at(known), at(known)) == at(due)


# Making an example takes no time; a machine that is busy with other things may hold it up.
@settings(suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(CallReason), st.integers(0, 20 * 24 * 60), st.integers(0, 20 * 24 * 60))
def test_nobody_is_due_before_it_is_known_or_outside_the_hours(reason, arrived, later):
    start = at("03-01 00:00")
    known = start + timedelta(minutes=arrived + later)
    due = rules.due_at(reason, start + timedelta(minutes=arrived), known)
    assert due >= known
    assert rules.CALL_FROM <= due.time() < rules.CALL_UNTIL


@pytest.mark.parametrize("fresh", CallReason)
@pytest.mark.parametrize("present", CallReason)
def test_only_urgent_reasons_take_over_others(fresh, present):
    urgent = {CallReason.REFUSED_PARCEL, CallReason.WRONG_ADDRESS}
    assert rules.takes_over(fresh, present) is (fresh in urgent and present not in urgent)


def script(reason=None, kind=None, voice="", title=""):
    return Starter(reason, kind, title, "", voice)


def test_the_script_that_names_the_case_comes_first():
    wanted = [
        script(CallReason.DELIVERED, CustomerType.HAGGLER, "service", "all"),
        script(CallReason.DELIVERED, CustomerType.HAGGLER, "", "reason and type"),
        script(CallReason.DELIVERED, None, "service", "reason and voice"),
        script(CallReason.DELIVERED, None, "", "reason"),
        script(None, CustomerType.HAGGLER, "", "type"),
        script(None, None, "", "any"),
    ]
    others = [
        script(CallReason.FOLLOW_UP, CustomerType.HAGGLER),
        script(CallReason.DELIVERED, CustomerType.IRRITABLE),
        script(CallReason.DELIVERED, None, "assistant"),
    ]
    found = rules.fitting([*others, *reversed(wanted)], CallReason.DELIVERED, CustomerType.HAGGLER, "service")
    assert [s.title for s in found] == [s.title for s in wanted]


def test_an_unknown_type_gets_no_script_of_a_type():
    assert rules.fitting([script(None, CustomerType.HAGGLER)], CallReason.DELIVERED, None, "service") == []


@pytest.mark.parametrize("reason", CallReason)
@pytest.mark.parametrize("kind", [None, *CustomerType])
@pytest.mark.parametrize("role", [Role.SERVICE, Role.ASSISTANT, Role.MANAGER])
def test_the_starters_have_one_for_every_reason_and_type(reason, kind, role):
    best = rules.fitting(STARTERS, reason, kind, role.value)[0]
    assert (best.reason, best.customer_type) == (reason, kind)
    assert rules.unknown_places(best.body) == []
    assert len(best.title) <= 60


def test_titles_of_the_starters_tell_them_apart():
    assert len({starter.title for starter in STARTERS}) == len(STARTERS) == 24


def test_places_are_filled_in():
    values = {"nickname": "小满", "product": "白茶", "shop": "茶铺", "agent": "客服小林"}
    assert rules.fill("{nickname}，{shop}的{agent}问{product}", values) == "小满，茶铺的客服小林问白茶"


@pytest.mark.parametrize(
    ("body", "filled"),
    [
        ("{unknown}", "{unknown}"),
        ("{nickname", "{nickname"),
        ("{product}", "{product}"),
        ("{nickname.__class__}", "{nickname.__class__}"),
        ("{{nickname}}", "{{agent}}"),
    ],
)
def test_what_cannot_be_filled_in_stays_and_nothing_is_read_twice(body, filled):
    assert rules.fill(body, {"nickname": "{agent}", "product": "", "agent": "客服"}) == filled


def test_unknown_places_are_named():
    assert rules.unknown_places("{nickname} {name} {price} { x }") == ["name", "price"]
