"""What staff see of benefits, what members see of theirs, and which rules are refused."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sqlalchemy import select, text

from kernel.auth import Role
from membership.benefits import services
from membership.benefits.models import BenefitGrant
from membership.gifts import services as gifts
from membership.tiers import queries as tiers
from membership.tiers import services as tier_services
from membership.tiers.rules import STANDARD, Mistake

ENGLISH = {"Accept-Language": "en"}


def mistakes(**level) -> list:
    levels = tuple(replace(one, **level) if one.rank == 2 else one for one in STANDARD.levels)
    with pytest.raises(tier_services.PolicyInvalid) as refused:
        tier_services.check(replace(STANDARD, levels=levels))
    return [(one.mistake, one.field, one.rank) for one in refused.value.mistakes]


def test_rules_are_refused_that_promise_what_cannot_be_given(db, make_offer, box):
    once = make_offer(per_member=1)
    assert mistakes(entry_gift_id=987_654) == [(Mistake.BENEFIT_UNKNOWN, "entry_gift_id", 2)]
    assert mistakes(monthly_offer_id=987_654) == [(Mistake.BENEFIT_UNKNOWN, "monthly_offer_id", 2)]
    assert mistakes(monthly_offer_id=once) == [(Mistake.ONE_EACH, "monthly_offer_id", 2)]
    gifts.edit(box.id, gifts.Draft(name="Box", kind=box.kind, active=False))
    assert mistakes(birthday_gift_id=box.id) == [(Mistake.BENEFIT_UNKNOWN, "birthday_gift_id", 2)]


def test_what_a_member_has_counts_from_enrolment(db, give_levels, make_person):
    give_levels({2: {"free_shipping": True, "priority_service": True, "multiplier": 1500}})
    member, stranger = make_person(rank=2), make_person(rank=2, enrolled=False)
    found = tiers.benefits_of(member.id)
    assert (found.discount, found.multiplier, found.free_shipping, found.priority_service) == (950, 1500, True, True)
    assert tiers.discount_for(member.id) == 950
    assert tiers.free_shipping_for(member.id)
    other = tiers.benefits_of(stranger.id)
    assert (other.rank, other.discount, other.multiplier, other.free_shipping, other.priority_service) == (
        2, 1000, 1000, False, False,
    )  # fmt: skip
    assert tiers.discount_for(make_person().id) == 1000
    assert tiers.priority_ranks() == [2]


@pytest.fixture
def given_one(db, give_levels, make_person, make_offer, box):
    give_levels({1: {"entry_gift_id": box.id}, 2: {"monthly_offer_id": make_offer(), "free_shipping": True}})
    member = make_person(rank=2, nickname="谷雨")
    services.welcome(member.id, 0, 2)
    return member


def test_page_lists_what_was_given(owner_client, given_one):
    page = owner_client.get("/console/tiers/benefits", headers=ENGLISH).text
    for words in ("谷雨", "Gift on reaching it", "Box", "Coupon every month", "2026-03"):
        assert words in page
    assert page.count("main-cell") == 2
    assert owner_client.get("/console/tiers/benefits?benefit=entry_gift").text.count("main-cell") == 1
    assert "No member matches" in owner_client.get("/console/tiers/benefits?state=missed", headers=ENGLISH).text
    for odd in ("?benefit=x&state=y", "?cursor=%00", "?q=%25"):
        assert owner_client.get("/console/tiers/benefits" + odd).status_code == 200
    file = owner_client.post("/console/tiers/benefits/export", headers=ENGLISH).text
    assert "Box" in file


def test_empty_page_says_what_to_do(owner_client, db):
    page = owner_client.get("/console/tiers/benefits", headers=ENGLISH).text
    assert "No benefit was given yet" in page


def test_missed_benefits_are_shown_and_given_after_all(owner_client, db, give_levels, make_person, box):
    gifts.edit(box.id, gifts.Draft(name="Box", kind=box.kind, stock=0))
    give_levels({1: {"entry_gift_id": box.id}})
    services.welcome(make_person().id, 0, 1)
    assert "One member waits for a benefit" in owner_client.get("/console/tiers/benefits", headers=ENGLISH).text
    assert "waits for a benefit of their tier" in owner_client.get("/console/", headers=ENGLISH).text
    assert owner_client.post("/console/tiers/benefits/missed", headers=ENGLISH).status_code == 303
    assert "Still nothing is left" in owner_client.get("/console/tiers/benefits", headers=ENGLISH).text
    gifts.edit(box.id, gifts.Draft(name="Box", kind=box.kind, stock=2))
    assert owner_client.post("/console/tiers/benefits/missed", headers=ENGLISH).status_code == 303
    assert "One benefit was given after all" in owner_client.get("/console/tiers/benefits", headers=ENGLISH).text
    assert db.session.scalars(select(BenefitGrant.state)).all() == ["given"]


@pytest.mark.parametrize("role", [Role.MANAGER, Role.SERVICE, Role.VIEWER])
def test_what_was_missed_is_given_by_the_owner(staff_client, given_one, role):
    client = staff_client(role)
    assert client.get("/console/tiers/benefits").status_code == 200
    assert client.post("/console/tiers/benefits/missed").status_code == 403
    assert client.post("/console/tiers/benefits/export").status_code == (200 if role is Role.MANAGER else 403)


def test_member_reads_their_tier_and_benefits(app, db, given_one, member_client):
    client = member_client(given_one.id)
    page = client.get("/me/tier", headers=ENGLISH).text
    for words in ("My tier", "My benefits", "Free shipping", "5% off", "a new one every month", "All tiers", "you are here",
                  "Given to you", "Box", "¥2,000.00 or 8 orders"):  # fmt: skip
        assert words in page
    chinese = client.get("/me/tier", headers={"Accept-Language": "zh"}).text
    assert "我的等级" in chinese
    before = [db.session.execute(text(f"SELECT count(*) FROM {name}")).scalar() for name in ("benefit_grant", "event")]
    client.get("/me/tier")
    assert before == [
        db.session.execute(text(f"SELECT count(*) FROM {name}")).scalar() for name in ("benefit_grant", "event")
    ]


def test_member_who_has_not_enrolled_reads_that_benefits_wait(app, db, give_levels, make_person, member_client):
    give_levels({2: {"free_shipping": True}})
    member = make_person(rank=2, enrolled=False)
    assert "Your benefits wait for you" in member_client(member.id).get("/me/tier", headers=ENGLISH).text


def test_nobody_reads_it_without_being_known(client, db):
    assert client.get("/me/tier").status_code in (302, 303, 401, 403)


def test_staff_see_who_is_served_first(owner_client, db, give_levels, make_person):
    give_levels({2: {"priority_service": True}})
    member = make_person(rank=2)
    assert "Served first" in owner_client.get(f"/console/members/{member.id}", headers=ENGLISH).text
