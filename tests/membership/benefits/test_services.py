"""Benefits are given once under their keys: whatever rises, falls, months, birthdays and empty stocks come in between."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, func, select

from kernel import events
from kernel.events import EventDelivery, EventRecord
from membership.benefits import jobs, queries, services
from membership.benefits.models import Benefit, BenefitGrant, BenefitRound, BenefitState
from membership.coupons import services as coupons
from membership.coupons.models import Coupon, Offer
from membership.gifts import services as gifts
from membership.gifts.models import GiftClaim
from membership.members import services as members
from membership.members.models import Member
from membership.members.services import erasure
from membership.orders import services as orders
from membership.orders.formats.drafts import Buyer, OrderDraft
from membership.orders.models import OrderState
from membership.tiers import rules
from membership.tiers import services as tiers
from membership.tiers.events import TierChanged
from membership.tiers.models import TierPolicy
from tests.conftest import NOON


def grants(db, member_id=None) -> list[tuple]:
    found = select(BenefitGrant).order_by(BenefitGrant.id)
    if member_id is not None:
        found = found.where(BenefitGrant.member_id == member_id)
    return [(one.benefit.value, one.rank, one.period, one.state.value) for one in db.session.scalars(found)]


def count(db, model, **where) -> int:
    return db.session.scalar(select(func.count()).select_from(model).filter_by(**where))


# ── Reaching a tier ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_reaching_a_tier_gives_its_gift_and_its_coupon(db, run_jobs, give_levels, make_person, make_offer, box):
    offer = make_offer()
    give_levels({1: {"entry_offer_id": offer}, 2: {"entry_gift_id": box.id}})
    member = make_person(rank=2)
    run_jobs()
    assert grants(db, member.id) == [("entry_coupon", 1, "", "given"), ("entry_gift", 2, "", "given")]
    claim = db.session.scalars(select(GiftClaim)).one()
    assert (claim.member_id, claim.benefit, claim.period) == (member.id, "tier:2", "")
    coupon = db.session.scalars(select(Coupon)).one()
    assert (coupon.member_id, coupon.source) == (member.id, "tier")
    row = db.session.scalars(select(BenefitGrant).where(BenefitGrant.benefit == Benefit.ENTRY_COUPON)).one()
    assert (row.coupon_id, row.given_rank) == (coupon.id, 1)


def test_a_rise_is_delivered_only_for_those_who_have_enrolled(db, give_levels, make_person, box):
    """The condition of `only_if` looks at the event's own member, in both ways of publishing."""
    give_levels({1: {"entry_gift_id": box.id}})
    waiting, enrolled = make_person(rank=1, enrolled=False), make_person(rank=1)
    db.session.execute(delete(EventDelivery))
    told = select(EventRecord.member_id).join(EventDelivery, EventDelivery.event_id == EventRecord.id)
    events.publish_all(
        TierChanged(member_id=who.id, from_rank=0, to_rank=1, reason="earned") for who in (waiting, enrolled)
    )
    assert db.session.scalars(told).all() == [enrolled.id]
    sql = events.publishing(TierChanged, "rows")
    db.session.connection().connection.cursor().execute(
        "WITH rows AS (SELECT m AS member_id, 0 AS from_rank, 1 AS to_rank, 'earned' AS reason"
        f" FROM unnest(%(ids)s::bigint[]) m), {sql} SELECT 1",
        {"now": NOON, "subscribers": events.subscribers_of(TierChanged), "ids": [waiting.id, enrolled.id]},
    )
    assert db.session.scalars(told).all() == [enrolled.id] * 2


def test_benefits_count_from_enrolment(db, run_jobs, give_levels, make_person, box):
    give_levels({1: {"entry_gift_id": box.id}, 2: {"entry_gift_id": box.id}})
    member = make_person(rank=2, enrolled=False)
    run_jobs()
    assert grants(db) == []
    members.enrol(member.id, "link")
    run_jobs()
    assert [one[1] for one in grants(db, member.id)] == [1, 2]
    assert count(db, GiftClaim) == 2


def test_a_long_job_goes_by_the_rules_that_hold_now(db, give_levels, make_person, box):
    """One application context may deliver events for minutes; rules saved by somebody else meanwhile count at once."""
    member = make_person()
    assert services.welcome(member.id, 0, 1) == services.Given()
    levels = [dict(level) for level in rules.as_terms(rules.STANDARD)["levels"]]
    levels[0]["entry_gift_id"] = box.id
    row = TierPolicy(**(rules.as_terms(rules.STANDARD) | {"levels": levels}), created_at=NOON)
    db.session.add(row)
    db.session.flush()
    assert services.welcome(member.id, 0, 1) == services.Given(1, 0)


def test_erased_and_unknown_people_are_given_nothing(db, give_levels, make_person, box):
    give_levels({1: {"entry_gift_id": box.id}})
    gone = make_person(erased_at=NOON)
    assert services.welcome(gone.id, 0, 4) == services.Given()
    assert services.welcome(987_654, 0, 4) == services.Given()
    assert grants(db) == []


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(0, 4), min_size=1, max_size=8))
def test_inv_t6_one_entry_gift_a_key_whatever_the_oscillation(db, give_levels, make_person, make_offer, box, way):
    with db.session.begin_nested() as attempt:
        offer = make_offer()
        give_levels({rank: {"entry_gift_id": box.id, "entry_offer_id": offer} for rank in (1, 2, 3, 4)})
        member = make_person()
        before = 0
        for rank in way:
            services.welcome(member.id, before, rank)
            # The same event again, as after a crash.
            services.welcome(member.id, before, rank)
            before = rank
        wanted = max(way)
        assert count(db, GiftClaim, member_id=member.id) == wanted
        assert count(db, Coupon, member_id=member.id) == wanted
        assert gifts.given(box.id) == wanted
        assert sorted(grants(db, member.id)) == sorted(
            (kind, rank, "", "given") for rank in range(1, wanted + 1) for kind in ("entry_gift", "entry_coupon")
        )
        attempt.rollback()


def test_inv_t6_down_by_a_refund_and_up_again(db, run_jobs, give_levels, box):
    give_levels({2: {"entry_gift_id": box.id}})
    draft = OrderDraft(
        external_id="1", state=OrderState.COMPLETED, placed_at=NOON, paid_at=NOON, completed_at=NOON, version_at=NOON,
        paid_amount=600_00, buyer=Buyer(number="7"),
    )  # fmt: skip
    orders.record("shop", draft)
    run_jobs()
    member = db.session.scalars(select(Member)).one()
    members.enrol(member.id, "link")
    run_jobs()
    assert count(db, GiftClaim) == 1
    orders.refund("shop", "R", "1", 600_00)
    run_jobs()
    assert db.session.get(Member, member.id).rank == 0
    orders.record("shop", replace(draft, external_id="2"))
    run_jobs()
    assert db.session.get(Member, member.id).rank == 2
    assert count(db, GiftClaim) == 1


def test_empty_stock_is_missed_and_given_later(db, run_jobs, give_levels, make_person, make_offer, box):
    offer = make_offer(stock=1)
    gifts.edit(box.id, gifts.Draft(name="Box", kind=box.kind, stock=1))
    give_levels({1: {"entry_gift_id": box.id, "entry_offer_id": offer}})
    first, second = make_person(), make_person()
    assert services.welcome(first.id, 0, 1) == services.Given(2, 0)
    assert services.welcome(second.id, 0, 1) == services.Given(0, 2)
    assert services.give_missed() == services.Given(0, 2)
    gifts.edit(box.id, gifts.Draft(name="Box", kind=box.kind, stock=5))
    db.session.get(Offer, offer).stock = 5
    db.session.flush()
    assert services.give_missed() == services.Given(2, 0)
    assert services.give_missed() == services.Given(0, 0)
    assert {state for *_rest, state in grants(db)} == {"given"}
    assert (count(db, GiftClaim), count(db, Coupon)) == (2, 2)


def test_a_coupon_of_before_is_not_passed_off_as_the_benefit(db, give_levels, make_person, make_offer):
    offer = make_offer(per_member=1)
    member = make_person()
    coupons.grant(offer, member.id, "by-hand", "staff")
    give_levels({1: {"entry_offer_id": offer}})
    assert services.welcome(member.id, 0, 1) == services.Given(0, 1)
    assert count(db, Coupon) == 1


# ── Every month ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_everybody_of_the_tier_has_one_coupon_a_month(
    db, clock, run_jobs, give_levels, make_person, make_offer, monkeypatch
):
    monkeypatch.setattr(services, "SLICE", 2)
    offer = make_offer()
    give_levels({2: {"monthly_offer_id": offer}, 3: {"monthly_offer_id": offer}})
    people = [make_person(rank=rank) for rank in (2, 2, 3, 2, 3)]
    make_person(rank=1)
    make_person(rank=2, enrolled=False)
    make_person(rank=2, erased_at=NOON)
    db.session.flush()
    for _ in range(2):
        jobs.give_monthly_coupons()
    held = dict(db.session.execute(select(Coupon.member_id, func.count()).group_by(Coupon.member_id)).all())
    assert held == {one.id: 1 for one in people}
    found = db.session.get(BenefitRound, "2026-03")
    assert (found.given, found.missed, found.total, found.finished_at is not None) == (5, 0, 5, True)
    clock.at(datetime(2026, 3, 31, 16, 0, tzinfo=UTC))
    jobs.give_monthly_coupons()
    assert count(db, Coupon) == 10
    assert count(db, BenefitRound) == 2


def test_a_round_goes_on_where_a_dead_worker_left_it(db, give_levels, make_person, make_offer, monkeypatch):
    monkeypatch.setattr(services, "SLICE", 2)
    give_levels({1: {"monthly_offer_id": make_offer()}})
    for _ in range(5):
        make_person(rank=1)
    assert services.give_month_slice()
    assert count(db, Coupon) == 2
    jobs.give_monthly_coupons()
    assert count(db, Coupon) == 5


def test_rising_or_enrolling_in_the_month_gives_its_coupon_too_and_only_one(
    db, run_jobs, give_levels, make_person, make_offer
):
    offer = make_offer()
    give_levels({1: {"monthly_offer_id": offer}, 2: {"monthly_offer_id": offer}})
    run_jobs()
    jobs.give_monthly_coupons()
    member = make_person(rank=1)
    run_jobs()
    assert count(db, Coupon) == 1
    tiers.set_manually(member.id, 2, "up")
    run_jobs()
    jobs.give_monthly_coupons()
    assert grants(db) == [("monthly_coupon", 0, "2026-03", "given")]
    stranger = make_person(rank=1, enrolled=False)
    run_jobs()
    members.enrol(stranger.id, "link")
    run_jobs()
    assert count(db, Coupon) == 2


def test_new_rules_in_the_month_begin_the_round_anew(db, give_levels, make_person, make_offer):
    offer = make_offer()
    give_levels({2: {"monthly_offer_id": offer}})
    make_person(rank=2)
    late = make_person(rank=1)
    jobs.give_monthly_coupons()
    assert count(db, Coupon) == 1
    give_levels({1: {"monthly_offer_id": offer}, 2: {"monthly_offer_id": offer}})
    jobs.give_monthly_coupons()
    assert count(db, Coupon) == 2
    assert count(db, Coupon, member_id=late.id) == 1


def test_a_month_that_is_over_is_not_made_up_for(db, clock, give_levels, make_person, make_offer):
    offer = make_offer(stock=1)
    give_levels({1: {"monthly_offer_id": offer}})
    coupons.grant(offer, make_person().id, "the last one", "staff")
    make_person(rank=1)
    jobs.give_monthly_coupons()
    assert grants(db) == [("monthly_coupon", 0, "2026-03", "missed")]
    db.session.get(Offer, offer).stock = 9
    clock.move(days=31)
    assert queries.count_missed() == 0
    assert services.give_missed() == services.Given(0, 0)
    jobs.give_monthly_coupons()
    assert count(db, Coupon) == 2


def test_what_can_never_be_given_stands_in_nobodys_way(db, clock, give_levels, make_person, make_offer, box):
    offer = make_offer(stock=1)
    gifts.edit(box.id, gifts.Draft(name="Box", kind=box.kind, stock=0))
    give_levels({1: {"monthly_offer_id": offer, "entry_gift_id": box.id}})
    coupons.grant(offer, make_person().id, "the last one", "staff")
    late, gone = make_person(rank=1), make_person(rank=1)
    jobs.give_monthly_coupons()
    clock.move(days=31)
    services.welcome(gone.id, 0, 1)
    erasure.erase(gone.id, str(gone.id))
    services.welcome(late.id, 0, 1)
    gifts.edit(box.id, gifts.Draft(name="Box", kind=box.kind, stock=9))
    assert services.give_missed(size=1) == services.Given(1, 0)
    assert [claim.member_id for claim in db.session.scalars(select(GiftClaim))] == [late.id]


def test_what_fails_again_lets_the_others_come_to_their_turn(db, clock, give_levels, make_person, make_offer, box):
    offer = make_offer(stock=1)
    gifts.edit(box.id, gifts.Draft(name="Box", kind=box.kind, stock=0))
    give_levels({1: {"entry_gift_id": box.id}, 2: {"entry_offer_id": offer}})
    coupons.grant(offer, make_person().id, "the last one", "staff")
    first, second = make_person(), make_person(rank=2)
    services.welcome(first.id, 0, 1)
    services.welcome(second.id, 1, 2)
    db.session.get(Offer, offer).stock = 9
    tried = []
    for _ in range(2):
        clock.move(minutes=1)
        tried.append(services.give_missed(size=1))
    # The gift is still not there; the coupon is.
    assert tried == [services.Given(0, 1), services.Given(1, 0)]


# ── Birthdays ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_birthday_gift_comes_around_the_day_once_a_year(db, clock, give_levels, make_person, box):
    give_levels({1: {"birthday_gift_id": box.id}})
    today = date(2026, 3, 3)
    born = {
        days: make_person(
            rank=1,
            birthday=date(1990, 1, 1).replace(
                month=(today + timedelta(days=days)).month, day=(today + timedelta(days=days)).day
            ),
        )
        for days in (-8, -7, 0, 7, 8)
    }
    make_person(rank=1, enrolled=False, birthday=today)
    make_person(rank=0, birthday=today)
    for _ in range(2):
        jobs.give_birthday_gifts()
    assert {row.member_id for row in db.session.scalars(select(GiftClaim))} == {born[days].id for days in (-7, 0, 7)}
    assert {row.period for row in db.session.scalars(select(BenefitGrant))} == {"2026"}
    # Another birthday typed in gives no second one in the year.
    born[0].birthday = date(1990, 3, 5)
    clock.move(days=1)
    jobs.give_birthday_gifts()
    assert count(db, GiftClaim, member_id=born[0].id) == 1
    clock.move(days=365)
    jobs.give_birthday_gifts()
    assert count(db, GiftClaim, member_id=born[0].id) == 2


def test_born_on_a_leap_day_and_at_the_turn_of_the_year(db, clock, give_levels, make_person, box):
    give_levels({1: {"birthday_gift_id": box.id}}, birthday_days=7)
    leap, new_year = make_person(rank=1, birthday=date(2000, 2, 29)), make_person(rank=1, birthday=date(1990, 1, 3))
    jobs.give_birthday_gifts()
    assert [(row.member_id, row.period) for row in db.session.scalars(select(BenefitGrant))] == [(leap.id, "2026")]
    clock.at(datetime(2026, 12, 27, 16, 0, tzinfo=UTC))
    jobs.give_birthday_gifts()
    clock.at(datetime(2027, 1, 2, 16, 0, tzinfo=UTC))
    jobs.give_birthday_gifts()
    periods = db.session.scalars(select(BenefitGrant.period).where(BenefitGrant.member_id == new_year.id)).all()
    assert periods == ["2027"]


def test_missed_states_are_what_the_rows_say(db, give_levels, make_person, box):
    gifts.edit(box.id, gifts.Draft(name="Box", kind=box.kind, stock=0))
    give_levels({1: {"entry_gift_id": box.id}})
    services.welcome(make_person().id, 0, 1)
    assert count(db, BenefitGrant, state=BenefitState.MISSED) == 1
    assert count(db, GiftClaim) == 0
