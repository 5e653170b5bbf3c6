"""Figures that are kept in a large shop, and estimates from a part of its members: the same numbers, said to be what they are."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import func, select

from campaigns.touchpoints import counts, jobs, queries, rules, services
from campaigns.touchpoints.models import CountKind, Stage, TouchKind, TouchpointCount
from kernel import clock as kernel_clock
from kernel.db import db as database
from kernel.pages import TooSlow, instants
from membership.members.models import Member


@pytest.fixture
def large(monkeypatch):
    """The database says that the shop is one in which figures are kept."""
    monkeypatch.setattr(queries, "size_of_shop", lambda: rules.KEPT_FROM)
    monkeypatch.setattr(rules, "SURVEYED", 10**9)


def spans():
    today = kernel_clock.today()
    return [instants(today - timedelta(days=days - 1), today) for days in (1, 7, 30, 90)]


def kept():
    return database.session.scalar(select(func.count()).select_from(TouchpointCount))


def test_what_is_kept_says_what_counting_says(
    db, clock, browse, large, make_member, make_order, make_seat, send, call, talk
):
    people = [make_member(f"M{n}") for n in range(4)]
    for days in (0, 1, 6, 7, 29, 40, 80):
        send(people[: 1 + days % 3], days_ago=days + 0.01, clicked=people[:1])
    call(people[0], 0.5, stars=4)
    talk(people[1], 33, stars=2)
    make_seat(people[2], 12)
    make_order(people[0], 0.2)
    make_order(people[1], 20)
    counted = [(queries.tallies(*span), queries.shares(*span)) for span in spans()]
    matrix = queries.matrix(*spans()[3])
    assert kept() == 0
    jobs.count_meetings.direct()
    assert kept() == rules.KEPT_DAYS + len(rules.OPENED)
    clock.move(minutes=1)
    # What is kept answers: a message that came since is not there yet.
    send(people, days_ago=2)
    assert [(queries.tallies(*span), queries.shares(*span)) for span in spans()] == counted
    assert queries.matrix(*spans()[3]) == matrix
    assert queries.tallies(*spans()[2], ["call_back"]).keys() == {"call_back"}
    assert "Counted" in browse().get("/console/touchpoints").text
    assert "Counted" in browse().get("/console/touchpoints/matrix").text
    # Half a day is none of the shop's days, and is counted.
    since, until = spans()[2]
    assert queries.counted_at(since + timedelta(hours=1), until) is None
    before = counted[2][0]["push_inbox"][-1].met
    jobs.count_meetings.direct()
    assert queries.tallies(*spans()[2])["push_inbox"][-1].met == before
    clock.move(minutes=31)
    jobs.count_meetings.direct()
    assert queries.tallies(*spans()[2])["push_inbox"][-1].met == before + 4
    # The latest days were counted now; those before them half an hour ago, and are once a day.
    assert queries.counted_at(*spans()[3]) == kernel_clock.now()
    today = kernel_clock.today()
    long_ago = instants(today - timedelta(days=60), today - timedelta(days=40))
    assert queries.counted_at(*long_ago) == kernel_clock.now() - timedelta(minutes=32)


def test_what_is_kept_is_used_while_it_is_fresh_and_the_links_are_the_same(db, clock, large, make_member, send, call):
    people = [make_member(f"M{n}") for n in range(3)]
    send(people, days_ago=1)
    jobs.count_meetings.direct()
    span = spans()[2]
    assert queries.counted_at(*span) == kernel_clock.now()
    services.add(services.Draft("门店海报", TouchKind.PRINT, Stage.AD, sources=("海报",)))
    assert queries.counted_at(*span) is None
    jobs.count_meetings.direct()
    assert queries.counted_at(*span) is not None
    call(people[0])
    clock.move(minutes=91)
    assert queries.counted_at(*span) is None
    assert sum(week.met for week in queries.tallies(*span)["call_back"]) == 1
    # Tomorrow the day before yesterday's rows are still there, and tomorrow's own is not.
    clock.move(days=1)
    assert queries.counted_at(*spans()[0]) is None
    assert [first for first, _last in counts.stale(counts.mark_of(queries.ways()))][:1] == [
        kernel_clock.today() - timedelta(days=rules.RECENT - 1)
    ]


def test_a_shop_that_is_not_large_keeps_nothing(db, clock, monkeypatch, make_member, send):
    monkeypatch.setattr(queries, "size_of_shop", lambda: rules.KEPT_FROM)
    jobs.count_meetings.direct()
    assert kept() > 0
    monkeypatch.setattr(queries, "size_of_shop", lambda: rules.KEPT_FROM - 1)
    jobs.count_meetings.direct()
    assert kept() == 0
    counts.keep(CountKind.BEFORE, kernel_clock.today() - timedelta(9), kernel_clock.today() - timedelta(1), "", {})
    counts.forget()
    assert kept() == 0


def test_a_stretch_that_takes_too_long_keeps_no_other_back(db, clock, large, monkeypatch):
    count_days, slow = counts.count_days, []

    def first_is_slow(first, last, ways):
        if not slow:
            slow.append(first)
            raise TooSlow
        count_days(first, last, ways)

    monkeypatch.setattr(counts, "count_days", first_is_slow)
    jobs.count_meetings.direct()
    days = set(database.session.scalars(select(TouchpointCount.first).where(TouchpointCount.kind == CountKind.DAY)))
    assert days
    assert slow[0] not in days
    assert database.session.scalar(
        select(func.count()).select_from(TouchpointCount).where(TouchpointCount.kind == CountKind.BEFORE)
    ) == len(rules.OPENED)
    # The next time it is counted.
    jobs.count_meetings.direct()
    days = set(database.session.scalars(select(TouchpointCount.first).where(TouchpointCount.kind == CountKind.DAY)))
    assert slow[0] in days


def test_an_estimate_follows_an_even_part_and_says_so(db, clock, browse, monkeypatch, make_order, send, call):
    now = kernel_clock.now()
    people = [Member(nickname=f"P{n}", created_at=now, stage_since=now) for n in range(400)]
    db.session.add_all(people)
    db.session.flush()
    send(people)
    call(people[0])
    span = spans()[2]
    ids = list(db.session.scalars(queries.met_by("push_inbox", *span, one_in=4)))
    assert set(ids) < {one.id for one in people}
    # Numbers in a row are spread evenly, to within a few of the hundred.
    assert abs(len(ids) - 100) <= 5
    assert ids == list(db.session.scalars(queries.met_by("push_inbox", *span, one_in=4)))
    steps = queries.steps("push_inbox", *span, one_in=4)
    assert steps[0].people == 4 * len(ids) == queries.after("push_inbox", *span, one_in=4).people
    assert "An estimate" not in browse().get("/console/touchpoints/push_inbox").text
    monkeypatch.setattr(rules, "FOLLOWED", 100)
    page = browse().get("/console/touchpoints/push_inbox").text
    assert "An estimate: one in 4 of these members was followed" in page
    assert "9.8 percentage points" in page
    assert "An estimate" not in browse().get("/console/touchpoints/call_back").text
    monkeypatch.setattr(queries, "size_of_shop", lambda: 10 * rules.SURVEYED)
    assert queries.shares(*span).one_in == 10
    assert "one member in 10" in browse().get("/console/touchpoints/matrix").text


def test_a_funnel_that_takes_too_long_says_how_to_narrow_it(db, clock, browse, monkeypatch, make_member, send):
    send([make_member()])

    def slow(*_asked):
        raise TooSlow

    monkeypatch.setattr(queries, "steps", slow)
    page = browse().get("/console/touchpoints/push_inbox")
    today = kernel_clock.today()
    assert page.status_code == 200
    assert "Narrow it" in page.text
    assert f"from={(today - timedelta(days=6)).isoformat()}" in page.text
    assert "Week by week" in page.text
    week = f"?from={(today - timedelta(days=6)).isoformat()}&to={today.isoformat()}"
    assert "Choose fewer days" in browse().get(f"/console/touchpoints/push_inbox{week}").text


@given(people=st.integers(0, 10**8), enough=st.integers(1, 10**5))
def test_so_many_are_followed_that_it_says_enough(people, enough):
    one_in = rules.one_in(people, enough)
    assert one_in == 1 or people / one_in >= enough
    assert people // (one_in + 1) < 2 * enough or people < enough


def test_how_far_an_estimate_may_be_off():
    assert round(rules.off_by(20_000), 4) == 0.0069
    assert rules.off_by(0) == 0.0
