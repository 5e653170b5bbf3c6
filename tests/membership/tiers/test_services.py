"""Tiers of members in the database: the same decisions set-wise, policies in versions, tiers set by hand."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from itertools import pairwise

import pytest
from flask import g
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select, text

from kernel import shop
from kernel.events import EventRecord
from membership.gifts import services as gifts
from membership.gifts.models import GiftKind
from membership.members.models import Member
from membership.orders import services as order_services
from membership.orders.formats.drafts import Buyer, LineDraft, OrderDraft
from membership.orders.models import Order, OrderState, Payment
from membership.tiers import jobs, queries, rules, services
from membership.tiers.models import Downgrade, MemberTier, Metric, RefundEffect, TierChange, TierPolicy, Window
from membership.tiers.rules import STANDARD, Mistake, tier_for
from membership.tiers.services import reviews
from membership.tiers.services.policies import written

from .stored import foreseen, make_member, store
from .strategies import NOW, order_lists, policies, standings


@pytest.fixture(autouse=True)
def noon(clock):
    clock.at(NOW)
    return clock


def draft(number: str, spend: int, days_ago: float = 10, buyer: str = "7", refunded: int = 0, **values) -> OrderDraft:
    at = NOW - timedelta(days=days_ago)
    completed_at = values.pop("completed_at", at)
    values.setdefault("version_at", completed_at or at)
    return OrderDraft(
        external_id=number,
        state=values.pop("state", OrderState.COMPLETED),
        placed_at=at,
        paid_at=at,
        completed_at=completed_at,
        paid_amount=spend,
        refunded_amount=refunded,
        buyer=Buyer(number=buyer) if buyer else None,
        lines=(LineDraft("CUP", "Cup", 1, spend),),
        **values,
    )


def member_of(db, number="7") -> Member:
    return db.session.scalars(
        text("SELECT member_id FROM member_identity WHERE external_id = :n").bindparams(n=number)
    ).one()


def ranks(db) -> dict[int, int]:
    return dict(db.session.execute(select(Member.id, Member.rank)).all())


def changes(db, member_id) -> list[tuple[int, int, str]]:
    rows = db.session.scalars(select(TierChange).where(TierChange.member_id == member_id).order_by(TierChange.id))
    return [(row.from_rank, row.to_rank, row.reason) for row in rows]


# ── Set-wise and one by one ─────────────────────────────────────────────────────────────────────────────────────────


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(policies(), st.lists(st.tuples(order_lists, standings(), st.booleans()), min_size=1, max_size=12))
def test_inv_t1_stored_rank_is_what_the_rule_says(db, policy, people):
    """The statement that judges everybody and the function that judges one agree, in every field."""
    with db.session.begin_nested() as attempt:
        g.pop("tier_policy", None)
        policy = written(policy, None)
        ids = [store(db, policy, *person) for person in people]
        db.session.flush()
        services.reassess()
        for member_id, (held, current, _known) in zip(ids, people, strict=True):
            wanted, why = tier_for(policy, held, NOW, current)
            row = db.session.get(MemberTier, member_id)
            found = queries.current_standing(row)
            assert found == wanted
            assert db.session.get(Member, member_id).rank == wanted.rank
            assert changes(db, member_id) == ([(current.rank, wanted.rank, why.value)] if why else [])
            assert foreseen(row) == rules.outlook(policy, held, wanted, NOW)
            if row is not None:
                sums = rules.totals(policy, held, NOW)
                assert (row.spend, row.orders) == (sums.spend, sums.orders)
            assert rules.rank_for(
                policy, rules.totals(policy, queries.counted_orders(member_id), NOW)
            ) == rules.rank_for(policy, rules.totals(policy, held, NOW))
        before = [tuple(row) for row in db.session.execute(text("SELECT * FROM member_tier ORDER BY member_id"))]
        services.reassess()
        assert before == [
            tuple(row) for row in db.session.execute(text("SELECT * FROM member_tier ORDER BY member_id"))
        ]
        attempt.rollback()


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(policies(), policies(), st.lists(st.tuples(order_lists, standings(), st.booleans()), min_size=1, max_size=12))
def test_inv_t1_after_a_new_policy(db, former, policy, people):
    with db.session.begin_nested() as attempt:
        former = written(former, None)
        ids = [store(db, former, *person) for person in people]
        policy = written(policy, None)
        services.reassess(ids)
        for member_id, (held, current, _known) in zip(ids, people, strict=True):
            wanted, _why = tier_for(policy, held, NOW, rules.rebased(policy, held, current, former.grace_days, NOW))
            row = db.session.get(MemberTier, member_id)
            assert queries.current_standing(row) == wanted
            assert foreseen(row) == rules.outlook(policy, held, wanted, NOW)
        attempt.rollback()


# ── From orders to ranks ────────────────────────────────────────────────────────────────────────────────────────────


def test_first_judgement_writes_the_standard_policy_once(db):
    assert queries.policy() == STANDARD
    services.reassess()
    services.reassess()
    assert len(db.session.scalars(select(TierPolicy)).all()) == 1
    assert replace(queries.policy(), id=None) == STANDARD


def test_order_gives_a_tier_and_tells(db, run_jobs):
    order_services.record("shop", draft("1", 600_00))
    run_jobs()
    member_id = member_of(db)
    assert db.session.get(Member, member_id).rank == 2
    assert changes(db, member_id) == [(0, 2, "earned")]
    told = db.session.scalars(select(EventRecord).where(EventRecord.name == "TierChanged")).all()
    assert [row.payload for row in told] == [{"member_id": member_id, "from_rank": 0, "to_rank": 2, "reason": "earned"}]


def test_delivered_order_counts_after_the_after_sale_window(db, clock, run_jobs):
    jobs.review_due()
    order = draft("1", 600_00, days_ago=5, state=OrderState.DELIVERED, completed_at=None)
    order = replace(order, delivered_at=NOW - timedelta(days=3), version_at=NOW - timedelta(days=3))
    order_services.record("shop", order)
    run_jobs()
    member_id = member_of(db)
    assert ranks(db)[member_id] == 0
    clock.move(days=3, hours=23)
    jobs.review_due()
    assert ranks(db)[member_id] == 0
    clock.move(hours=1)
    jobs.review_due()
    db.session.expire_all()
    assert ranks(db)[member_id] == 2


def test_full_refund_takes_the_tier_back_and_partial_only_the_spend(db, clock, run_jobs):
    order_services.record("shop", draft("1", 600_00))
    order_services.record("shop", draft("2", 100_00))
    run_jobs()
    member_id = member_of(db)
    order_services.refund("shop", "R1", "2", 40_00)
    run_jobs()
    row = db.session.get(MemberTier, member_id)
    assert (row.rank, row.spend, row.orders) == (2, 660_00, 2)
    order_services.refund("shop", "R2", "1", 600_00)
    run_jobs()
    row = db.session.get(MemberTier, member_id)
    assert (row.rank, row.spend, row.orders) == (1, 60_00, 1)
    assert changes(db, member_id) == [(0, 2, "earned"), (2, 1, "refund")]


def test_newer_report_of_an_order_is_judged_too(db, run_jobs):
    order_services.record("shop", draft("1", 100_00))
    run_jobs()
    order_services.record("shop", draft("1", 600_00, version_at=NOW))
    run_jobs()
    assert ranks(db)[member_of(db)] == 2
    order_services.record("shop", replace(draft("1", 600_00, buyer="8"), version_at=NOW + timedelta(hours=1)))
    run_jobs()
    assert (ranks(db)[member_of(db, "7")], ranks(db)[member_of(db, "8")]) == (0, 2)


def test_inv_t7_each_change_begins_where_the_last_ended(db, clock, run_jobs):
    order_services.record("shop", draft("1", 600_00))
    run_jobs()
    member_id = member_of(db)
    services.set_manually(member_id, 4, "partner", NOW + timedelta(days=10))
    order_services.refund("shop", "R", "1", 600_00)
    run_jobs()
    clock.move(days=11)
    jobs.review_due()
    order_services.record("shop", draft("2", 2_500_00, days_ago=1))
    run_jobs()
    steps = changes(db, member_id)
    assert steps == [(0, 2, "earned"), (2, 4, "manual"), (4, 0, "manual_ended"), (0, 3, "earned")]
    assert all(before[1] == after[0] for before, after in pairwise(steps))


def test_inv_t6_down_and_up_again_gives_one_entry_gift(db, clock, run_jobs):
    """An entry gift is keyed by member and level, so that whoever rises twice is given it once."""
    gift = gifts.create(gifts.Draft(name="Tote bag", kind=GiftKind.PHYSICAL, description="", stock=5, claim_days=30))
    order_services.record("shop", draft("1", 600_00))
    run_jobs()
    order_services.refund("shop", "R", "1", 600_00)
    run_jobs()
    order_services.record("shop", draft("2", 700_00, days_ago=1))
    run_jobs()
    rises = db.session.scalars(
        select(TierChange).where(TierChange.to_rank > TierChange.from_rank).order_by(TierChange.id)
    ).all()
    assert [(row.from_rank, row.to_rank) for row in rises] == [(0, 2), (0, 2)]
    given = {gifts.offer_gift(gift.id, row.member_id, f"tier:{row.to_rank}").id for row in rises}
    assert len(given) == 1


def test_inv_t4_and_t5_over_the_years(db, clock, run_jobs):
    """A tier holds to its end and through the grace, then falls one level, and a review twice changes nothing."""
    order_services.record("shop", draft("1", 2_500_00))
    run_jobs()
    member_id = member_of(db)
    clock.move(days=365 + 29)
    jobs.review_due()
    assert ranks(db)[member_id] == 3
    clock.move(days=1)
    jobs.review_due()
    db.session.expire_all()
    assert ranks(db)[member_id] == 2
    until = db.session.get(MemberTier, member_id).valid_until
    jobs.review_due()
    db.session.expire_all()
    assert (ranks(db)[member_id], db.session.get(MemberTier, member_id).valid_until) == (2, until)
    assert changes(db, member_id) == [(0, 3, "earned"), (3, 2, "expired")]


def test_merged_members_are_left_alone(db):
    survivor = make_member(db)
    gone = make_member(db, rank=0, merged_into_id=survivor.id)
    store_policy = services.ensure_policy()
    db.session.add(
        Order(
            source="shop", external_id="X", member_id=gone.id, state=OrderState.COMPLETED, payment=Payment.ONLINE,
            placed_at=NOW, paid_at=NOW, completed_at=NOW, paid_amount=900_00, version_at=NOW, version_mark="", created_at=NOW,
        )
    )  # fmt: skip
    services.reassess()
    assert ranks(db) == {survivor.id: 0, gone.id: 0}
    assert store_policy.id is not None


# ── The policy ──────────────────────────────────────────────────────────────────────────────────────────────────────


def dearer(factor: int) -> rules.Policy:
    return replace(
        STANDARD,
        levels=tuple(
            replace(level, spend=level.spend * factor, orders=level.orders * factor) for level in STANDARD.levels
        ),
    )


def test_saving_a_policy_lowers_nobody_and_raises_who_reaches_more(db, run_jobs):
    order_services.record("shop", draft("1", 600_00))
    order_services.record("shop", draft("2", 400_00, buyer="8"))
    run_jobs()
    rich, poor = member_of(db, "7"), member_of(db, "8")
    services.save_policy(dearer(10))
    run_jobs()
    assert ranks(db) | {} == {rich: 2, poor: 1}
    order_services.refund("shop", "R", "1", 500_00)
    run_jobs()
    assert ranks(db)[rich] == 2
    cheap = replace(
        STANDARD, levels=tuple(replace(level, spend=level.spend // 5 + level.rank) for level in STANDARD.levels)
    )
    services.save_policy(cheap)
    run_jobs()
    assert ranks(db) == {rich: 2, poor: 2}


def test_equal_policy_makes_no_version(db, run_jobs):
    first = services.save_policy(dearer(2))
    assert services.save_policy(dearer(2)) == first
    assert services.save_policy(dearer(3)).id != first.id
    assert [row.id for row in queries.versions()] == sorted((row.id for row in queries.versions()), reverse=True)


def test_unsound_policy_is_refused_and_changes_nothing(db):
    with pytest.raises(services.PolicyInvalid) as refused:
        services.save_policy(replace(STANDARD, levels=(replace(STANDARD.levels[0], spend=0), *STANDARD.levels[1:])))
    assert Mistake.SPEND_RANGE in {one.mistake for one in refused.value.mistakes}
    assert db.session.scalars(select(TierPolicy)).all() == []


def test_everybody_is_judged_in_pieces(db, run_jobs, monkeypatch):
    for number in range(5):
        order_services.record("shop", draft(str(number), 600_00, buyer=f"b{number}"))
    monkeypatch.setattr(reviews, "CHUNK", 2)
    jobs.review_everybody()
    assert sorted(ranks(db).values()) == [2] * 5
    shop.forget_read()
    assert services.reviewed_until() == NOW


def test_review_begins_with_everybody_when_the_policy_was_not_applied(db, run_jobs, app):
    order_services.record("shop", draft("1", 300_00))
    run_jobs()
    jobs.review_due()
    services.save_policy(
        replace(STANDARD, levels=tuple(replace(x, spend=x.spend // 2 + x.rank) for x in STANDARD.levels))
    )
    # The queue is lost with the job in it.
    app.extensions["collected_jobs"].clear()
    jobs.review_due()
    assert list(ranks(db).values()) == [2]


# ── By hand ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_tier_by_hand_lifts_until_its_end(db, clock):
    member = make_member(db)
    services.set_manually(member.id, 3, "partner", NOW + timedelta(days=30), staff_id=None)
    assert ranks(db)[member.id] == 3
    clock.move(days=30)
    jobs.review_due()
    row = db.session.get(MemberTier, member.id)
    assert (row.rank, row.manual_rank, row.manual_reason, row.manual_until) == (0, None, None, None)
    assert changes(db, member.id) == [(0, 3, "manual"), (3, 0, "manual_ended")]


def test_tier_by_hand_can_be_ended(db):
    member = make_member(db)
    services.set_manually(member.id, 3, "partner")
    services.set_manually(member.id, 0, "")
    assert ranks(db)[member.id] == 0


def test_tier_by_hand_refuses_unknown_ranks_and_past_ends(db):
    member = make_member(db)
    with pytest.raises(services.RankUnknown):
        services.set_manually(member.id, 5, "")
    with pytest.raises(services.ManualEndPast):
        services.set_manually(member.id, 2, "", NOW)
    assert ranks(db)[member.id] == 0


# ── The explanation ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_explanation_says_what_counts_and_what_is_missing(db, run_jobs):
    order_services.record("shop", draft("old", 900_00, days_ago=400))
    order_services.record("shop", draft("half", 600_00, days_ago=20, refunded=100_00))
    order_services.record("shop", draft("gone", 50_00, days_ago=15, refunded=50_00))
    waiting = draft("new", 70_00, days_ago=1, state=OrderState.PAID, completed_at=None)
    order_services.record("shop", waiting)
    run_jobs()
    told = queries.explanation(member_of(db))
    assert (told.rank, told.totals) == (2, rules.Totals(500_00, 1))
    assert [one.external_id for one in told.counted] == ["gone", "half"]
    assert [one.external_id for one in told.waiting] == ["new"]
    assert told.refunded == 150_00
    assert told.missing == rules.Missing(3, 1_500_00, 7, either=True)
    assert told.progress == 250
    assert told.to_keep is None
    assert told.valid_until == NOW + timedelta(days=365)
    assert [(row.from_rank, row.to_rank) for row in told.history] == [(0, 2)]


def test_explanation_of_somebody_without_orders(db):
    told = queries.explanation(make_member(db).id)
    assert (told.rank, told.counted, told.valid_until, told.missing.rank) == (0, (), None, 1)


def test_explanation_names_what_is_missing_for_keeping(db, clock, run_jobs):
    order_services.record("shop", draft("1", 600_00))
    run_jobs()
    clock.move(days=364)
    told = queries.explanation(member_of(db))
    assert told.to_keep == rules.Missing(2, 500_00, 3, either=True)
    assert told.grace_until == told.valid_until + timedelta(days=30)


@pytest.mark.parametrize("metric", list(Metric))
def test_every_metric_and_window_is_judged(db, run_jobs, metric):
    for window in Window:
        for downgrade in Downgrade:
            policy = replace(
                STANDARD, metric=metric, window=window, downgrade=downgrade, refund_effect=RefundEffect.AT_REVIEW
            )
            services.save_policy(policy)
    run_jobs()
    assert services.reassess() == 0
