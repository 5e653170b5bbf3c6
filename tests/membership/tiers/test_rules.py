"""The tier rule: what it says of one member, and the laws it keeps for all."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel import clock
from membership.tiers import rules
from membership.tiers.models import Downgrade, Metric, RefundEffect, Window
from membership.tiers.rules import (
    STANDARD,
    CountedOrder,
    Missing,
    Mistake,
    Standing,
    Totals,
    Why,
    missing_to,
    mistakes_in,
    progress_to,
    rank_for,
    rebased,
    shown_rank,
    tier_for,
    totals,
    window_start,
)

from .strategies import NOW, order_lists, orders, policies, standings

YEAR = timedelta(days=365)


def order(days_ago: float, spend: int, whole: bool = True) -> CountedOrder:
    return CountedOrder(NOW - timedelta(days=days_ago), spend, whole)


def judge(orders_, current=None, policy=STANDARD, now=NOW):
    return tier_for(policy, orders_, now, current or Standing())


# ── Single decisions ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("metric", "rank"), [(Metric.ANY, 3), (Metric.ALL, 1), (Metric.SPEND, 3), (Metric.ORDERS, 1)])
def test_metric_chooses_what_counts(metric, rank):
    assert rank_for(replace(STANDARD, metric=metric), Totals(2_500_00, 2)) == rank


@pytest.mark.parametrize(
    ("window", "start"),
    [
        (Window.LIFETIME, None),
        (Window.ROLLING, NOW - YEAR),
        # The first of January of the shop's calendar.
        (Window.CALENDAR, datetime(2025, 12, 31, 16, 0, tzinfo=UTC)),
    ],
)
def test_window_begins(window, start):
    assert window_start(replace(STANDARD, window=window), NOW) == start


def test_years_begin_by_the_shop_clock():
    assert rules.ZONE == clock.ZONE


def test_orders_outside_the_window_do_not_count():
    assert totals(STANDARD, [order(366, 100), order(365, 10), order(0, 1), order(-1, 1000)], NOW) == Totals(11, 2)


def test_wholly_refunded_order_counts_nothing():
    assert totals(STANDARD, [order(1, 0, whole=False), order(1, 5)], NOW) == Totals(5, 1)


def test_reaching_a_level_gives_it_at_once():
    assert judge([order(3, 600_00)]) == (Standing(2, NOW + YEAR, NOW), Why.EARNED)


def test_switched_off_level_is_passed_over():
    policy = replace(STANDARD, levels=tuple(level for level in STANDARD.levels if level.rank != 2))
    assert judge([order(3, 600_00)], policy=policy)[0].rank == 1
    assert judge([order(3, 2_000_00)], policy=policy)[0].rank == 3


def test_refund_of_what_reached_it_takes_it_back_at_once():
    current = Standing(3, NOW + YEAR, NOW - timedelta(days=2))
    # VIP3 was reached with 2,100; 1,500 of it went back, 600 are left.
    assert judge([order(3, 600_00)], current) == (Standing(2, NOW + YEAR, NOW), Why.REFUND)


def test_refund_waits_for_the_review_where_the_policy_says_so():
    policy = replace(STANDARD, refund_effect=RefundEffect.AT_REVIEW)
    current = Standing(3, NOW + YEAR, NOW - timedelta(days=2))
    assert judge([order(3, 600_00)], current, policy) == (current, None)
    late = NOW + YEAR + timedelta(days=policy.grace_days)
    assert judge([order(3, 600_00)], current, policy, late)[1] == Why.EXPIRED
    # Until then nothing tells them apart from somebody whose orders have left the window.
    assert judge([order(3, 600_00)], current, policy, late - timedelta(seconds=1))[1] is None


def test_orders_that_left_the_window_do_not_lower_before_the_end():
    current = Standing(3, NOW + timedelta(days=1), NOW - timedelta(days=364))
    assert judge([order(370, 2_500_00)], current) == (current, None)


def test_still_earned_is_renewed_from_the_old_end():
    until = NOW - timedelta(days=3)
    standing, why = judge([order(10, 2_500_00)], Standing(3, until, until - YEAR))
    assert (standing, why) == (Standing(3, until + YEAR, NOW), None)


@pytest.mark.parametrize(
    ("downgrade", "rank", "backed"),
    [(Downgrade.NONE, 4, False), (Downgrade.ONE_LEVEL, 3, False), (Downgrade.REASSESS, 1, True)],
)
def test_expired_rank_follows_the_policy(downgrade, rank, backed):
    policy = replace(STANDARD, downgrade=downgrade)
    current = Standing(4, NOW - timedelta(days=policy.grace_days), NOW - YEAR * 2)
    standing, why = judge([order(735, 9_000_00), order(10, 50_00)], current, policy)
    assert standing == Standing(rank, NOW + YEAR, NOW if backed else None)
    assert why == (None if rank == 4 else Why.EXPIRED)


def test_grace_keeps_the_rank():
    current = Standing(4, NOW - timedelta(days=29, hours=23), NOW - YEAR * 2)
    assert judge([order(735, 9_000_00)], current) == (current, None)


def test_new_policy_lowers_nobody_and_a_later_refund_neither():
    current = Standing(2, NOW + YEAR, NOW - timedelta(days=1))
    held = [order(2, 600_00)]
    dearer = replace(
        STANDARD,
        levels=tuple(replace(level, spend=level.spend * 10, orders=level.orders * 10) for level in STANDARD.levels),
    )
    kept = rebased(dearer, held, current, 30, NOW)
    assert kept == Standing(2, NOW + YEAR, None)
    assert judge(held, kept, dearer) == (kept, None)
    assert judge([order(2, 1_00)], kept, dearer) == (kept, None)
    assert rebased(STANDARD, held, current, 30, NOW) == current


def test_manual_tier_lifts_while_it_lasts():
    assert shown_rank(1, 3, None, NOW) == 3
    assert shown_rank(4, 3, None, NOW) == 4
    assert shown_rank(1, 3, NOW + timedelta(seconds=1), NOW) == 3
    assert shown_rank(1, 3, NOW, NOW) == 1
    assert shown_rank(1, None, None, NOW) == 1


def test_what_is_missing():
    level = STANDARD.level(3)
    assert missing_to(STANDARD, level, Totals(1_962_00, 7)) == Missing(3, 38_00, 1, either=True)
    assert missing_to(replace(STANDARD, metric=Metric.SPEND), level, Totals(1_962_00, 7)) == Missing(
        3, 38_00, None, False
    )
    assert progress_to(STANDARD, level, Totals(1_000_00, 2)) == 500
    assert progress_to(replace(STANDARD, metric=Metric.ALL), level, Totals(1_000_00, 2)) == 250


# ── Policies that are refused ───────────────────────────────────────────────────────────────────────────────────────


def with_level(rank, **changes):
    return replace(
        STANDARD, levels=tuple(replace(level, **changes) if level.rank == rank else level for level in STANDARD.levels)
    )


@pytest.mark.parametrize(
    ("policy", "mistake", "rank"),
    [
        (replace(STANDARD, levels=()), Mistake.NO_LEVEL, 0),
        (replace(STANDARD, rolling_days=0), Mistake.ROLLING_DAYS, 0),
        (replace(STANDARD, rolling_days=None), Mistake.ROLLING_DAYS, 0),
        (replace(STANDARD, valid_days=0), Mistake.VALID_DAYS, 0),
        (replace(STANDARD, grace_days=366), Mistake.GRACE_DAYS, 0),
        (replace(STANDARD, birthday_days=61), Mistake.BIRTHDAY_DAYS, 0),
        (with_level(2, multiplier=10_001), Mistake.MULTIPLIER_RANGE, 2),
        (with_level(2, name=" "), Mistake.NAME_EMPTY, 2),
        (with_level(1, spend=0), Mistake.SPEND_RANGE, 1),
        (with_level(1, orders=0), Mistake.ORDERS_RANGE, 1),
        (with_level(2, spend=2_000_00), Mistake.SPEND_ORDER, 3),
        (with_level(3, orders=3), Mistake.ORDERS_ORDER, 3),
        (with_level(4, discount=699), Mistake.DISCOUNT_RANGE, 4),
        (with_level(1, discount=1001), Mistake.DISCOUNT_RANGE, 1),
        (with_level(2, discount=980), Mistake.DISCOUNT_ORDER, 2),
    ],
)
def test_mistakes_are_found(policy, mistake, rank):
    assert [(one.mistake, one.rank) for one in mistakes_in(policy)] == [(mistake, rank)]


def test_standard_policy_and_one_at_the_limits_are_sound():
    assert mistakes_in(STANDARD) == []
    assert mistakes_in(with_level(4, discount=700)) == []
    # What the metric does not ask for may stand in any order.
    assert mistakes_in(replace(with_level(3, orders=1), metric=Metric.SPEND)) == []


# ── Laws ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@given(policies(), order_lists, standings(), orders)
def test_inv_t2_more_spend_never_lowers(policy, held, current, more):
    fewer, _ = tier_for(policy, held, NOW, current)
    with_more, _ = tier_for(policy, [*held, more], NOW, current)
    assert with_more.rank >= fewer.rank


@given(policies(), order_lists.filter(bool), standings(), st.data())
def test_inv_t2_a_refund_never_raises(policy, held, current, data):
    at = data.draw(st.integers(0, len(held) - 1))
    part = data.draw(st.integers(0, held[at].spend))
    whole = data.draw(st.booleans()) and held[at].whole and part > 0
    refunded = [*held]
    refunded[at] = replace(held[at], spend=part if whole else 0, whole=whole)
    assert tier_for(policy, refunded, NOW, current)[0].rank <= tier_for(policy, held, NOW, current)[0].rank


@given(policies(), order_lists, standings())
def test_inv_t4_never_lower_before_the_end_and_the_grace(policy, held, current):
    standing, why = tier_for(policy, held, NOW, current)
    if standing.rank < current.rank and why is not Why.REFUND:
        assert current.valid_until is not None
        assert current.valid_until + timedelta(days=policy.grace_days) <= NOW
    if why is Why.REFUND:
        assert policy.refund_effect is RefundEffect.IMMEDIATE
        assert rank_for(policy, totals(policy, held, current.backed_at)) < current.rank


@given(policies(), order_lists, standings())
def test_inv_t5_a_review_twice_changes_nothing(policy, held, current):
    once, _ = tier_for(policy, held, NOW, current)
    assert tier_for(policy, held, NOW, once) == (once, None)


@given(policies(), order_lists, st.randoms(use_true_random=False))
def test_inv_t3_any_arrival_order_gives_the_same_rank(policy, held, random):
    """Orders and their refunds arrive in any order, each judged when it arrives."""
    policy = replace(policy, refund_effect=RefundEffect.IMMEDIATE)
    ranks = set()
    for _ in range(4):
        events = [("order", i) for i in range(len(held))] + [
            ("refund", i) for i in range(len(held)) if not held[i].whole
        ]
        random.shuffle(events)
        known, refunded, current = set(), set(), Standing()
        for kind, i in events:
            (known if kind == "order" else refunded).add(i)
            seen = [
                held[k] if held[k].whole or k in refunded else replace(held[k], spend=5_00, whole=True) for k in known
            ]
            current, _ = tier_for(policy, seen, NOW, current)
        ranks.add(current.rank)
    assert ranks == {rank_for(policy, totals(policy, held, NOW))}


@given(policies(), policies(), order_lists, standings())
def test_saving_a_policy_never_lowers(before, after, held, current):
    standing, _ = tier_for(before, held, NOW, current)
    changed, why = tier_for(after, held, NOW, rebased(after, held, standing, before.grace_days, NOW))
    if standing.valid_until is None or standing.valid_until > NOW:
        assert changed.rank >= standing.rank
    assert why is not Why.REFUND


@given(policies(), order_lists, standings())
def test_outlook_is_what_the_reviews_will_say(policy, held, current):
    """If nothing more is bought, the review at the end of the grace days finds what the outlook promised, and none before."""
    standing, _ = tier_for(policy, held, NOW, current)
    ahead = rules.outlook(policy, held, standing, NOW)
    if ahead is None:
        return
    assert ahead.falls_at > NOW
    after, why = tier_for(policy, held, ahead.falls_at, standing)
    assert (after.rank, why) == (ahead.falls_to, Why.EXPIRED)
    assert ahead.falls_to < standing.rank
    last = ahead.falls_at - timedelta(seconds=1)
    for at in (min(standing.valid_until, last), last):
        between, _ = tier_for(policy, held, max(at, NOW), standing)
        assert between.rank >= standing.rank or policy.refund_effect is RefundEffect.IMMEDIATE


@given(policies(), order_lists, standings())
def test_who_has_nothing_ahead_is_kept_at_the_end(policy, held, current):
    standing, _ = tier_for(policy, held, NOW, replace(current, backed_at=None))
    if standing.rank == 0 or standing.valid_until is None or rules.outlook(policy, held, standing, NOW) is not None:
        return
    ended = max(standing.valid_until, NOW)
    renewed, _ = tier_for(policy, held, ended, replace(standing, backed_at=None))
    fall = ended + timedelta(days=policy.grace_days)
    assert tier_for(policy, held, fall, replace(renewed, backed_at=None))[0].rank >= standing.rank or (
        renewed.valid_until > standing.valid_until
    )


@given(policies(), order_lists, standings())
def test_buying_what_is_missing_keeps_the_tier(policy, held, current):
    standing, _ = tier_for(policy, held, NOW, current)
    ahead = rules.outlook(policy, held, standing, NOW)
    if ahead is None or policy.level(standing.rank) is None:
        return
    needed = [CountedOrder(ahead.falls_at, ahead.spend or 0)] + [CountedOrder(ahead.falls_at, 0)] * (
        max(0, (ahead.orders or 0) - 1)
    )
    after, why = tier_for(policy, [*held, *needed], ahead.falls_at, replace(standing, backed_at=None))
    assert after.rank >= standing.rank
    assert why in (None, Why.EARNED)


def test_shorter_grace_takes_nobody_the_days_they_were_promised():
    policy = replace(STANDARD, grace_days=0)
    current = Standing(2, NOW - timedelta(days=10), None)
    kept = rebased(policy, [], current, 30, NOW)
    assert kept == replace(current, valid_until=NOW + timedelta(days=20))
    assert tier_for(policy, [], NOW, kept) == (kept, None)
    # Who is not in the grace days yet has the new ones.
    later = Standing(2, NOW + timedelta(days=10), None)
    assert rebased(policy, [], later, 30, NOW) == later


# ── Birthdays and warnings ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("birthday", "today", "year"),
    [
        (date(1990, 5, 20), date(2026, 5, 12), None),
        (date(1990, 5, 20), date(2026, 5, 13), 2026),
        (date(1990, 5, 20), date(2026, 5, 20), 2026),
        (date(1990, 5, 20), date(2026, 5, 27), 2026),
        (date(1990, 5, 20), date(2026, 5, 28), None),
        # Over the turn of the year a gift belongs to the year of its birthday.
        (date(1990, 1, 3), date(2026, 12, 27), 2027),
        (date(1990, 12, 30), date(2027, 1, 2), 2026),
        # Born on a leap day: the 28th in common years.
        (date(2000, 2, 29), date(2026, 2, 21), 2026),
        (date(2000, 2, 29), date(2026, 3, 7), 2026),
        (date(2000, 2, 29), date(2026, 3, 8), None),
        (date(2000, 2, 29), date(2028, 3, 7), 2028),
    ],
)
def test_birthday_gift_is_due_around_the_day(birthday, today, year):
    assert rules.birthday_period(birthday, today, 7) == year


@given(st.dates(date(1930, 1, 1), date(2020, 12, 31)), st.integers(2020, 2032), st.integers(0, 60))
def test_every_year_has_one_birthday(birthday, year, days_before):
    days = [date(year, 1, 1) + timedelta(days=n) for n in range(-61, 372)]
    due = [day for day in days if rules.birthday_period(birthday, day, days_before) == year]
    assert len(due) == days_before + rules.BIRTHDAY_LATE_DAYS + 1
    assert rules.birthday_in(birthday, year) in due


@pytest.mark.parametrize(
    ("days", "step"), [(31, None), (30, 30), (8, 30), (7, 7), (2, 7), (1, 1), (0.01, 1), (0, None), (-3, None)]
)
def test_warnings_have_their_steps(days, step):
    assert rules.warning_step(NOW + timedelta(days=days), NOW) == step


# ── Versions ────────────────────────────────────────────────────────────────────────────────────────────────────────


@given(policies())
def test_a_policy_survives_storing(policy):
    assert rules.from_terms(json.loads(json.dumps(rules.as_terms(policy))), policy.id) == policy


def test_differences_name_every_setting_once():
    after = replace(
        STANDARD,
        grace_days=7,
        levels=(replace(STANDARD.levels[0], multiplier=1500, group_ids=(3,)), *STANDARD.levels[1:3]),
    )
    assert [(one.field, one.rank, one.before, one.after) for one in rules.differences(STANDARD, after)] == [
        ("grace_days", 0, 30, 7),
        ("multiplier", 1, 1000, 1500),
        ("group_ids", 1, (), (3,)),
        ("on", 4, True, False),
    ]
    assert rules.differences(STANDARD, STANDARD) == []


def test_a_level_has_the_rule_of_its_neighbours():
    assert STANDARD.next_level(0).rank == 1
    assert STANDARD.next_level(4) is None
    assert (STANDARD.rank_below(3), STANDARD.rank_below(1)) == (2, 0)
    assert rules.RANKS == (1, 2, 3, 4)
