"""What a rise, a month and a birthday give."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

from hypothesis import given
from hypothesis import strategies as st

from membership.benefits import rules
from membership.benefits.models import Benefit
from membership.tiers import rules as tiers
from membership.tiers.rules import STANDARD

GIVING = replace(
    STANDARD,
    levels=tuple(
        replace(
            level,
            entry_gift_id=level.rank * 10,
            entry_offer_id=level.rank * 100,
            monthly_offer_id=level.rank + 1000,
            birthday_gift_id=level.rank + 2000,
        )
        for level in STANDARD.levels
    ),
)


def test_a_rise_gives_every_level_on_the_way():
    dues = rules.entry_dues(GIVING, 7, 1, 3)
    assert [(due.benefit, due.rank, due.thing_id) for due in dues] == [
        (Benefit.ENTRY_GIFT, 2, 20),
        (Benefit.ENTRY_COUPON, 2, 200),
        (Benefit.ENTRY_GIFT, 3, 30),
        (Benefit.ENTRY_COUPON, 3, 300),
    ]
    assert rules.entry_dues(GIVING, 7, 3, 1) == []
    assert rules.entry_dues(STANDARD, 7, 0, 4) == []


@given(st.lists(st.integers(0, 4), min_size=1, max_size=6))
def test_the_way_up_makes_no_difference(way):
    """However the ranks were reached, one after another or at once, the keys given are those of every level up to the top."""
    keys = set()
    before = 0
    for rank in way:
        keys |= {(due.benefit, due.rank) for due in rules.entry_dues(GIVING, 7, before, rank)}
        before = rank
    assert keys == {(due.benefit, due.rank) for due in rules.entry_dues(GIVING, 7, 0, max(way))}


def test_month_and_birthday_are_of_the_tier_but_not_of_its_key():
    vip2 = rules.monthly_due(GIVING, 7, 2, date(2026, 11, 30))
    vip3 = rules.monthly_due(GIVING, 7, 3, date(2026, 11, 1))
    assert (vip2.rank, vip2.period, vip2.given_rank) == (vip3.rank, vip3.period, 2) == (0, "2026-11", 2)
    assert rules.monthly_due(STANDARD, 7, 2, date(2026, 11, 30)) is None
    assert rules.monthly_due(GIVING, 7, 0, date(2026, 11, 30)) is None
    due = rules.birthday_due(GIVING, 7, 3, date(1990, 1, 3), date(2026, 12, 30))
    assert (due.rank, due.period, due.thing_id) == (0, "2027", 2003)
    assert rules.birthday_due(GIVING, 7, 3, date(1990, 6, 3), date(2026, 12, 30)) is None
    assert rules.birthday_due(GIVING, 7, 3, None, date(2026, 12, 30)) is None


@given(
    st.dates(date(1930, 1, 1), date(2020, 12, 31)), st.dates(date(2020, 1, 1), date(2032, 12, 31)), st.integers(0, 60)
)
def test_the_list_of_birthdays_is_the_rule(birthday, today, days_before):
    near = dict(rules.birthdays_near(today, days_before))
    assert near.get(f"{birthday.month:02}-{birthday.day:02}") == tiers.birthday_period(birthday, today, days_before)
    assert len(near) == len(rules.birthdays_near(today, days_before))
