"""Products, tiers and gifts by REST."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import select

from kernel.audit import AuditEntry
from membership.coupons import services as coupons
from membership.coupons.models import CouponKind, OfferState
from membership.gifts import services as gifts
from membership.gifts.models import GiftKind, GiftState
from membership.members.models import Member
from membership.products.models import Product
from membership.tiers import queries as tiers

ADDRESS = ("青柠", "126 0000 1234", "杭州市西湖区样例路一号三楼")


# ── Products ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_product_is_written_new_then_field_by_field(db, program):
    call = program("products:write", "products:read")
    body = {"source": "shop", "sku": "MUG-1", "title": "Mug", "list_price": 6000}
    made = call("POST", "/products", json=body)
    assert (made.status_code, made.json["list_price"], made.json["cost"]) == (201, 6000, None)
    again = call("POST", "/products", json={"source": "shop", "sku": "MUG-1", "cost": 2100})
    assert (again.status_code, again.json["title"], again.json["cost"]) == (200, "Mug", 2100)
    assert call("GET", f"/products/{made.json['id']}").json == again.json
    assert [one["sku"] for one in call("GET", "/products?source=shop&sku=MUG-1").json["items"]] == ["MUG-1"]
    assert call("GET", "/products?sku=MUG").json["items"] == []


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({}, 409, "title_missing"),
        ({"title": "Mug", "list_price": 1, "cost": 2}, 422, "cost_above_price"),
        ({"title": None}, 422, "input_invalid"),
        ({"title": "Mug", "cost": -1}, 422, "input_invalid"),
        ({"title": "Mug", "cost": "1"}, 422, "input_invalid"),
        ({"title": "Mug", "id": 1}, 422, "input_invalid"),
    ],
)
def test_what_is_no_product_is_refused(db, program, body, status, code):
    answer = program("products:write")("POST", "/products", json={"source": "shop", "sku": "MUG-1", **body})
    assert (answer.status_code, answer.json["code"]) == (status, code)
    assert db.session.scalars(select(Product)).all() == []


# ── Tiers ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_policy_and_a_standing_explain_themselves(db, program, make_person):
    call = program("tiers:read")
    policy = call("GET", "/tiers").json
    assert [level["rank"] for level in policy["levels"]] == [1, 2, 3, 4]
    standing = call("GET", f"/members/{make_person()}/tier").json
    assert (standing["rank"], standing["missing"]["rank"], standing["counted"]) == (0, 1, [])


def test_a_tier_set_by_hand_lasts_until_its_end(db, program, make_person, clock):
    number, call = make_person(), program("tiers:read", "tiers:write")
    until = (clock.now() + timedelta(days=30)).isoformat()
    answer = call("POST", f"/members/{number}/tier", json={"rank": 3, "reason": "Tasting panel", "until": until})
    assert (answer.status_code, answer.json["rank"], answer.json["manual_reason"]) == (200, 3, "Tasting panel")
    assert db.session.get(Member, number).rank == 3
    assert [one["to_rank"] for one in call("GET", f"/members/{number}/tier/changes").json["items"]] == [3]
    past = call("POST", f"/members/{number}/tier", json={"rank": 3, "reason": "x", "until": "2020-01-01T00:00:00Z"})
    assert (past.status_code, past.json["code"]) == (422, "manual_end_past")
    assert call("POST", f"/members/{number}/tier", json={"rank": 0, "reason": "over"}).json["rank"] == 0
    assert tiers.standing_of(number).manual_rank is None


# ── Gifts ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def queued(db, make_person):
    gift = gifts.create(gifts.Draft(name="Bowl", kind=GiftKind.PHYSICAL, stock=5))
    number = make_person()
    claim = gifts.offer_gift(gift.id, number, benefit="test")
    gifts.claim(claim.id, number, *ADDRESS)
    return claim


def test_the_catalogue_says_how_much_is_given(db, program, queued):
    call = program("gifts:read")
    [gift] = call("GET", "/gifts?kind=physical").json["items"]
    assert (gift["stock"], gift["given"]) == (5, 1)
    assert call("GET", f"/gifts/{gift['id']}").json == gift
    assert call("GET", "/gifts?active=false").json["items"] == []


def test_a_warehouse_reads_what_is_queued_ships_and_delivers_it(db, program, queued):
    reader = program("gifts:read", "members:reveal")
    [one] = reader("GET", "/gift-claims?state=queued").json["items"]
    assert (one["recipient"], one["phone"], one["masked"]) == ("青**", "126****1234", True)
    [full] = reader("GET", "/gift-claims?state=queued&reveal=true").json["items"]
    assert (full["recipient"], full["address"]) == (ADDRESS[0], ADDRESS[2])
    assert db.session.scalars(select(AuditEntry.action)).all().count("members.revealed") == 1
    writer = program("gifts:write")
    sent = {"carrier": "SF", "tracking_number": "SF123"}
    shipped = writer("POST", f"/gift-claims/{queued.id}/ship", json=sent)
    assert (shipped.json["state"], shipped.json["tracking_number"]) == ("shipped", "SF123")
    assert writer("POST", f"/gift-claims/{queued.id}/ship", json=sent).status_code == 200
    assert writer("POST", f"/gift-claims/{queued.id}/deliver", json={}).json["state"] == "delivered"
    refused = writer("POST", f"/gift-claims/{queued.id}/ship", json=sent)
    assert (refused.status_code, refused.json["code"]) == (409, "gift_step_not_listed")
    assert db.session.get(type(queued), queued.id).state is GiftState.DELIVERED


def test_an_address_is_not_shown_to_who_may_not_reveal(db, program, queued):
    call = program("gifts:read")
    assert call("GET", f"/gift-claims/{queued.id}?reveal=true").status_code == 403
    text = call("GET", f"/gift-claims/{queued.id}").text
    assert "样例路" not in text
    assert "12600001234" not in text.replace(" ", "")


def test_a_digital_gift_is_not_delivered_empty(db, program, make_person):
    gift = gifts.create(gifts.Draft(name="Card", kind=GiftKind.DIGITAL))
    number = make_person()
    claim = gifts.offer_gift(gift.id, number, benefit="test")
    gifts.claim(claim.id, number)
    call = program("gifts:write")
    assert call("POST", f"/gift-claims/{claim.id}/deliver", json={}).json["code"] == "content_missing"
    assert call("POST", f"/gift-claims/{claim.id}/deliver", json={"content": "CODE-1"}).json["state"] == "delivered"


# ── Offers and coupons ──────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def offer(db):
    made = coupons.create(
        coupons.Draft(name="Spring", kind=CouponKind.AMOUNT, value=2000, valid_days=14, stock=2), OfferState.ACTIVE
    )
    db.session.commit()
    return made


def test_offers_are_listed_with_their_terms(db, program, offer):
    call = program("coupons:read")
    [one] = call("GET", "/offers?state=active&kind=amount").json["items"]
    assert (one["name"], one["value"], one["stock"], one["claimed"]) == ("Spring", 2000, 2, 0)
    assert call("GET", f"/offers/{offer.id}").json == one
    assert call("GET", "/offers?state=paused").json["items"] == []


def test_a_grant_is_one_whoever_repeats_it_and_hands_over_the_code_alone(db, program, make_person, offer):
    number = make_person()
    write, read = program("coupons:write"), program("coupons:read")
    body = {"member_id": number, "key": "survey"}
    first, again = (write("POST", f"/offers/{offer.id}/grants", json=body) for _ in range(2))
    assert (first.status_code, again.status_code, first.json) == (201, 200, again.json)
    assert len(db.session.scalars(select(AuditEntry.id).where(AuditEntry.action == "coupon.granted")).all()) == 1
    code = first.json["code"]
    [shown] = read("GET", f"/coupons?member_id={number}&state=issued").json["items"]
    assert (shown["id"], shown["masked"], code in str(shown)) == (first.json["id"], True, False)
    assert read("GET", f"/coupons/{shown['id']}?reveal=true").status_code == 403
    revealed = program("coupons:read", "coupons:reveal")("GET", f"/coupons/{shown['id']}?reveal=true")
    assert revealed.json["code"] == code
    assert "coupons.revealed" in db.session.scalars(select(AuditEntry.action)).all()


def test_grants_end_with_the_stock(db, program, make_person, offer):
    call = program("coupons:write")
    answers = [
        call("POST", f"/offers/{offer.id}/grants", json={"member_id": make_person(), "key": "k"}) for _ in range(3)
    ]
    assert [answer.status_code for answer in answers] == [201, 201, 409]
    assert answers[2].json["code"] == "nothing_to_grant"


def test_a_coupon_is_listed_as_what_it_is_now(db, program, make_person, offer, clock):
    number, call = make_person(), program("coupons:read", "coupons:write")
    call("POST", f"/offers/{offer.id}/grants", json={"member_id": number, "key": "k"})
    clock.move(days=15)
    assert call("GET", "/coupons?state=issued").json["items"] == []
    assert [one["state"] for one in call("GET", f"/coupons?state=expired&offer_id={offer.id}").json["items"]] == [
        "expired"
    ]
