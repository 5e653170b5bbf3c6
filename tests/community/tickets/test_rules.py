"""The desk's hours and clocks, who takes the next ticket, steps, settings and saved answers."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from community.tickets import rules
from community.tickets.models import TicketKind, TicketState
from community.tickets.rules import Hours, Load, Promise

ZONE = ZoneInfo("Asia/Shanghai")
WEEK = Hours(days=frozenset(range(5)), opens=time(9), closes=time(18), off=frozenset({date(2026, 10, 1)}))


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=ZONE)


@pytest.mark.parametrize(
    ("start", "minutes", "due"),
    [
        ("2026-03-03 10:00", 60, "2026-03-03 11:00"),
        ("2026-03-03 17:30", 60, "2026-03-04 09:30"),
        # Friday afternoon goes on on Monday.
        ("2026-03-06 17:30", 60, "2026-03-09 09:30"),
        ("2026-03-07 03:00", 30, "2026-03-09 09:30"),
        # The day before a holiday goes on after it.
        ("2026-09-30 17:00", 120, "2026-10-02 10:00"),
        ("2026-03-03 08:00", 9 * 60, "2026-03-03 18:00"),
    ],
)
def test_a_promise_runs_in_the_hours_of_the_desk(start: str, minutes: int, due: str) -> None:
    assert rules.after_minutes(at(start), minutes, WEEK) == at(due)


def test_a_desk_that_never_opens_counts_plain_time() -> None:
    shut = Hours(days=frozenset())
    assert rules.after_minutes(at("2026-03-03 10:00"), 90, shut) == at("2026-03-03 11:30")
    assert not rules.open_at(at("2026-03-03 10:00"), shut)
    assert rules.open_at(at("2026-03-03 09:00"), WEEK)
    assert not rules.open_at(at("2026-03-03 18:00"), WEEK)


moments = st.datetimes(datetime(2026, 1, 1), datetime(2026, 12, 31)).map(
    lambda d: d.replace(second=0, microsecond=0, tzinfo=ZONE)
)
hours = st.builds(
    lambda days, opens, length: Hours(frozenset(days), time(opens), time(opens + length)),
    st.sets(st.integers(0, 6), min_size=1), st.integers(0, 12), st.integers(1, 11),
)  # fmt: skip


@given(moments, st.integers(1, 20_000), hours)
def test_what_was_promised_is_what_has_passed_when_it_is_due(start: datetime, minutes: int, desk: Hours) -> None:
    due = rules.after_minutes(start, minutes, desk)
    assert rules.minutes_between(start, due, desk) == minutes
    assert rules.after_minutes(start, minutes + 1, desk) > due


@given(moments, moments, moments, hours)
def test_working_time_adds_up(a: datetime, b: datetime, c: datetime, desk: Hours) -> None:
    first, middle, last = sorted((a, b, c))
    parts = rules.minutes_between(first, middle, desk) + rules.minutes_between(middle, last, desk)
    assert rules.minutes_between(first, last, desk) == parts
    assert parts <= (last - first) / timedelta(minutes=1)


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(1, 30)), max_size=6))
def test_the_next_ticket_goes_to_who_has_the_least_and_never_beyond_a_cap(loads: list[tuple[int, int]]) -> None:
    found = [Load(n, opened, cap) for n, (opened, cap) in enumerate(loads)]
    chosen = rules.next_agent(found)
    free = [load for load in found if load.open < load.cap]
    if chosen is None:
        assert not free
    else:
        assert found[chosen] in free
        assert found[chosen].open == min(load.open for load in free)


def test_of_equals_who_has_waited_longest_goes_first() -> None:
    early, late = at("2026-03-03 09:00"), at("2026-03-03 11:00")
    assert rules.next_agent([Load(1, 2, 9, late), Load(2, 2, 9, early)]) == 2
    assert rules.next_agent([Load(1, 2, 9, early), Load(2, 2, 9, None)]) == 2


@pytest.mark.parametrize("kind", list(TicketKind))
def test_the_steps_of_a_kind_lead_from_first_to_last(kind: TicketKind) -> None:
    key, seen = rules.first_step(rules.WORKFLOWS[kind]), []
    while key:
        seen.append(key)
        key = rules.step_after(rules.WORKFLOWS[kind], key)
    assert seen == [step.key for step in rules.WORKFLOWS[kind]]
    assert len(set(seen)) == len(seen)


def test_what_a_step_asks_is_read_and_refused() -> None:
    sent = rules.step_of(rules.WORKFLOWS[TicketKind.RETURN], "sent")
    refunded = rules.step_of(rules.WORKFLOWS[TicketKind.RETURN], "refunded")
    reason = rules.step_of(rules.WORKFLOWS[TicketKind.RETURN], "reason")
    assert sent
    assert refunded
    assert reason
    assert rules.read_answers(sent, {"carrier": " 样板 ", "parcel_number": "A 1\n2"}) == (
        {"carrier": "样板", "parcel_number": "A 1 2"},
        [],
    )
    assert rules.read_answers(sent, {"carrier": "x" * 201})[1] == [("carrier", "long"), ("parcel_number", "needed")]
    assert rules.read_answers(refunded, {"amount": "99.5"}) == ({"amount": 9950}, [])
    assert rules.read_answers(refunded, {"amount": "much"})[1] == [("amount", "yuan")]
    assert rules.read_answers(reason, {"why": "because"})[1] == [("why", "choice")]


def test_settings_come_back_as_they_were_kept() -> None:
    settings = rules.DeskSettings(
        hours=WEEK, promises={**rules.STANDARD_PROMISES, TicketKind.RETURN: Promise(15, 90)}, hand_out=False, upset_at=0
    )
    assert rules.settings_from(rules.settings_to(settings)) == settings
    assert rules.settings_from(None) == rules.DeskSettings()


def test_places_of_a_saved_answer() -> None:
    assert rules.fill("{nickname}，{parcel}", {"nickname": "{shop}", "parcel": ""}) == "{shop}，{parcel}"
    assert rules.unknown_places("{nickname} {price} { x }") == ["price"]
    assert rules.subject_from("a\n" + "b" * 80) == "a " + "b" * 57 + "…"


def test_only_listed_moves() -> None:
    assert rules.MOVES[TicketState.CLOSED] == (TicketState.OPEN,)
    assert all(frm not in to for frm, to in rules.MOVES.items())
