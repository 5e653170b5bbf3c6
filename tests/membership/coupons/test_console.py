"""The console of coupons, for each role: offers, links, granting, one coupon, and the counter."""

from __future__ import annotations

import csv
import html
import io
import re
from datetime import timedelta

import pytest
from sqlalchemy import func, select

from kernel import clock as kernel_clock
from kernel.auth import Role, holds
from membership.coupons import brief, codes, labels, queries, rules, services
from membership.coupons.models import (
    ClaimLink,
    Coupon,
    CouponKind,
    CouponState,
    Offer,
    OfferState,
    OfferVersion,
    Redemption,
)
from membership.coupons.rules import Basket
from membership.coupons.services.offers import draft_of
from tests.conftest import english, everything

PHONE = "+8612600001234"
AMOUNT = {"name": "Spring", "kind": "amount", "value": "20", "min_spend": "99", "validity": "days", "valid_days": "14",
          "stock": "1000", "per_member": "1", "min_rank": "2", "group_id": "0"}  # fmt: skip
SENTENCE = "¥20 off from ¥99, VIP2+, 14 days from the claim, 1,000 pieces"


def said(page):
    return page.get_data(as_text=True)


def followed(browser, page):
    """Where an act leads."""
    assert page.status_code == 303, said(page)
    return browser.get(page.location)


def names_on(page):
    return re.findall(r'<a href="/console/offers/\d+">([^<]+)</a>', said(page))


def count_of(db, model):
    return db.session.scalar(select(func.count()).select_from(model))


@pytest.fixture
def member(make_member, clock):
    return make_member(name="青柠", phone=PHONE, rank=2)


@pytest.fixture
def offer(make_offer, clock):
    return make_offer(min_spend=9_900, stock=10)


@pytest.fixture
def coupon(offer, member):
    coupon_id = services.grant(offer.id, member.id, "test", "console").coupon_id
    return queries.coupon_row(coupon_id).coupon


# ── The list ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_empty_shop_leads_to_the_first_offer(browse):
    assert "Make the first offer" in said(browse().get("/console/offers"))
    assert "Make the first offer" not in said(browse(Role.VIEWER).get("/console/offers"))


@pytest.fixture
def shelf(make_offer, make_member, clock):
    spring = make_offer(name="Spring", min_spend=9_900, stock=10)
    percent = make_offer(OfferState.PAUSED, name="100% Tea", kind=CouponKind.PERCENT, value=850, stock=100)
    draft = make_offer(OfferState.DRAFT, name="Autumn", kind=CouponKind.FREE_SHIPPING, value=0)
    for number in range(3):
        person = make_member(rank=0)
        code = services.grant(spring.id, person.id, f"s{number}", "console").code
        if number < 2:
            services.redeem(code, "shop", f"A-{number}", Basket(10_000))
    return {"Spring": spring, "100% Tea": percent, "Autumn": draft}


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", ["Autumn", "100% Tea", "Spring"]),
        ("q=tea", ["100% Tea"]),
        ("q=%25", ["100% Tea"]),
        ("q=winter", []),
        ("q=%00", ["Autumn", "100% Tea", "Spring"]),
        ("state=active", ["Spring"]),
        ("state=paused", ["100% Tea"]),
        ("state=nonsense", ["Autumn", "100% Tea", "Spring"]),
        ("kind=percent", ["100% Tea"]),
        ("kind=amount&state=draft", []),
        ("sort=name", ["100% Tea", "Autumn", "Spring"]),
        ("sort=-name", ["Spring", "Autumn", "100% Tea"]),
        ("sort=-claimed", ["Spring", "Autumn", "100% Tea"]),
        ("sort=-redeemed", ["Spring", "Autumn", "100% Tea"]),
        ("sort=-cost", ["Spring", "Autumn", "100% Tea"]),
        ("sort=cost", ["100% Tea", "Autumn", "Spring"]),
        ("sort=nonsense", ["Autumn", "100% Tea", "Spring"]),
        ("cursor=nonsense", ["Autumn", "100% Tea", "Spring"]),
    ],
)
def test_the_list_filters_and_sorts(browse, shelf, query, expected):
    page = browse().get(f"/console/offers?{query}")
    assert page.status_code == 200
    assert names_on(page) == expected


def test_the_list_tells_terms_stock_use_and_cost(browse, shelf):
    page = said(browse().get("/console/offers"))
    assert "¥20 off from ¥99, 14 days from the claim, 10 pieces" in page
    assert "15% off, 14 days from the claim, 100 pieces" in page
    assert "3 / 10" in page
    assert "¥40.00" in page


@pytest.mark.parametrize("sort", ["", "-claimed", "cost"])
def test_the_list_pages_without_a_gap(browse, make_offer, clock, sort):
    for number in range(70):
        make_offer(name=f"Offer {number:02}")
    seen, url = [], f"/console/offers?sort={sort}"
    while url:
        page = browse().get(url)
        seen += names_on(page)
        found = re.search(r'rel="next" href="([^"]+)"', said(page))
        url = found[1].replace("&amp;", "&") if found else None
    assert len(seen) == 70
    assert len(set(seen)) == 70


def test_the_list_downloads_as_it_is_filtered(browse, shelf):
    page = browse(Role.VIEWER).get("/console/offers/export?state=active")
    rows = list(csv.reader(io.StringIO(page.get_data(as_text=True).lstrip("\ufeff"))))
    assert len(rows) == 2
    assert rows[1][:8] == [
        "Spring", "Amount off", "¥20 off from ¥99, 14 days from the claim, 10 pieces", "Running", "10", "3", "2", "40.00",
    ]  # fmt: skip


# ── Making and changing ─────────────────────────────────────────────────────────────────────────────────────────────


def test_an_offer_is_made_as_a_draft_and_said_in_one_sentence(browse, db):
    browser = browse()
    page = followed(browser, browser.post("/console/offers/new", data=AMOUNT))
    assert page.status_code == 200
    assert said(page).count(SENTENCE) == 2
    made = db.session.scalars(select(Offer)).one()
    assert (made.name, made.state, made.stock, made.per_member) == ("Spring", OfferState.DRAFT, 1_000, 1)
    terms = db.session.scalars(select(OfferVersion)).one()
    assert (terms.kind, terms.value, terms.min_spend, terms.min_rank, terms.valid_days) == (
        "amount",
        2_000,
        9_900,
        2,
        14,
    )


def test_an_offer_can_be_started_at_once(browse, db):
    browse(Role.MARKETER).post("/console/offers/new", data={**AMOUNT, "start": "1"})
    assert db.session.scalars(select(Offer)).one().state == OfferState.ACTIVE


@pytest.mark.parametrize(
    ("change", "kind", "value", "more"),
    [
        ({"kind": "percent", "percent": "85", "discount_cap": "200"}, "percent", 850, {"discount_cap": 20_000}),
        ({"kind": "percent", "percent": "８．５折"}, "percent", 850, {"discount_cap": None}),
        ({"kind": "percent", "percent": "5%"}, "percent", 50, {"discount_cap": None}),
        (
            {"kind": "fixed_price", "price": "9.9", "skus": "A1, A2\nA3"},
            "fixed_price",
            990,
            {"skus": ["A1", "A2", "A3"]},
        ),
        ({"kind": "gift_item", "item_title": "Tote"}, "gift_item", 0, {"item_title": "Tote"}),
        ({"kind": "free_shipping", "discount_cap": "10"}, "free_shipping", 0, {"discount_cap": 1_000}),
    ],
)
def test_every_kind_can_be_made_and_edited(browse, db, change, kind, value, more):
    browser = browse()
    page = browser.post("/console/offers/new", data={**AMOUNT, **change})
    assert page.status_code == 303
    terms = db.session.scalars(select(OfferVersion)).one()
    assert (terms.kind, terms.value) == (kind, value)
    assert {name: getattr(terms, name) for name in more} == more
    form = said(browser.get(f"{page.location}/edit"))
    assert re.search(rf'value="{kind}"[^>]*checked|checked[^>]*value="{kind}"', form)


@pytest.mark.parametrize(
    ("change", "field", "words"),
    [
        ({"name": " "}, "name", ""),
        ({"name": "x" * 61}, "name", ""),
        ({"kind": "nonsense"}, "kind", ""),
        ({"value": ""}, "value", "Say how much it takes off."),
        ({"value": "-5"}, "value", "Write an amount in yuan"),
        ({"value": "a lot"}, "value", "Write an amount in yuan"),
        ({"value": "100"}, "value", "more than the minimum"),
        ({"kind": "percent", "percent": "0"}, "percent", "85 or 8.5折"),
        ({"kind": "percent", "percent": "nan"}, "percent", "85 or 8.5折"),
        ({"kind": "percent", "percent": "1e999"}, "percent", "85 or 8.5折"),
        ({"kind": "percent", "percent": "8.5"}, "percent", "85 or 8.5折"),
        ({"kind": "percent", "percent": "85.55"}, "percent", "85 or 8.5折"),
        ({"kind": "fixed_price", "price": "9.9"}, "skus", "needs the goods"),
        ({"kind": "fixed_price", "skus": "A1"}, "price", "Say what one piece costs"),
        ({"kind": "gift_item"}, "item_title", "Say what is put into the parcel."),
        ({"kind": "percent", "percent": "85", "discount_cap": "0"}, "discount_cap", "more than nothing"),
        ({"min_spend": "99.999"}, "min_spend", "Write an amount in yuan"),
        ({"valid_days": "0"}, "valid_days", ""),
        ({"valid_days": "soon"}, "valid_days", ""),
        ({"valid_days": ""}, "valid_days", "Say how long"),
        ({"validity": "dates"}, "valid_days", "Say how long"),
        ({"validity": "dates", "usable_from": "2026-04-02T00:00", "usable_until": "2026-04-01T00:00"}, "usable_until",
         "ends before it begins"),
        ({"validity": "dates", "usable_until": "someday"}, "usable_until", "Write a date and time"),
        ({"claim_from": "2026-04-02T00:00", "claim_until": "2026-04-01T00:00"}, "claim_until", "ends before it begins"),
        ({"validity": "dates", "usable_until": "2026-04-01T00:00", "claim_until": "2026-04-02T00:00"}, "claim_until",
         "no longer be used"),
        ({"validity": "dates", "usable_until": "2020-02-01T00:00"}, "usable_until", "has passed already"),
        ({"claim_until": "2020-02-01T00:00"}, "claim_until", "has passed already"),
        ({"stock": "0"}, "stock", ""),
        ({"stock": "1.5"}, "stock", ""),
        ({"per_member": "-1"}, "per_member", ""),
        ({"per_day": "0"}, "per_day", ""),
        ({"min_rank": "7"}, "min_rank", ""),
        ({"group_id": "99"}, "group_id", ""),
        ({"open_to_new": "y"}, "open_to_new", "New people have no tier"),
        ({"terms": "x" * 501}, "terms", ""),
    ],
)  # fmt: skip
def test_each_field_is_refused_beside_itself_and_what_was_typed_stays(browse, db, change, field, words):
    page = browse().post("/console/offers/new", data={**AMOUNT, **change})
    assert page.status_code == 422
    text = said(page)
    assert f'href="#{field}"' in text
    assert words in text
    for typed in change.values():
        assert len(typed) > 60 or not typed.strip() or typed in text or change == {"kind": "nonsense"}
    assert count_of(db, Offer) == 0


def test_an_offer_whose_time_is_over_is_put_right_before_it_starts(browse, db, make_offer):
    until = kernel_clock.now() - timedelta(days=1)
    over = make_offer(OfferState.DRAFT, valid_days=None, usable_until=until)
    browser = browse()
    assert browser.post(f"/console/offers/{over.id}/state", data={"to": "active"}).status_code == 409
    db.session.refresh(over)
    assert over.state == OfferState.DRAFT
    # What it says already may stay while something else is changed.
    for days, status in ((0, 303), (-1, 422), (2, 303)):
        said = kernel_clock.local(until + timedelta(days=days)).strftime("%Y-%m-%dT%H:%M")
        typed = {**AMOUNT, "validity": "dates", "usable_until": said}
        assert browser.post(f"/console/offers/{over.id}/edit", data=typed).status_code == status
    assert browser.post(f"/console/offers/{over.id}/state", data={"to": "active"}).status_code == 303


@pytest.mark.parametrize("field", ["name", "skus", "terms", "stack_group", "percent", "item_title"])
def test_characters_that_cannot_be_kept_are_no_fault(browse, db, field):
    page = browse().post("/console/offers/new", data={**AMOUNT, field: "a\x00b"})
    assert page.status_code < 500


def test_any_number_each_is_kept(browse, db):
    browse().post("/console/offers/new", data={**AMOUNT, "per_member": "", "stock": ""})
    made = db.session.scalars(select(Offer)).one()
    assert (made.per_member, made.stock) == (None, None)


def test_the_sentence_is_told_while_writing_and_changes_nothing(browse, db):
    browser, before = browse(), everything(db)
    assert SENTENCE in said(browser.post("/console/offers/sentence", data=AMOUNT))
    assert SENTENCE not in said(browser.post("/console/offers/sentence", data={**AMOUNT, "value": ""}))
    assert everything(db) == before


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"min_spend": ""}, "an order of ¥20 would cost nothing"),
        ({"value": "60"}, "It takes up to 60.7% off"),
        ({"skus": "KNOWN-NOT, ALSO-NOT"}, "No product has the numbers KNOWN-NOT, ALSO-NOT yet"),
        ({"kind": "percent", "percent": "40", "discount_cap": "50"}, "It takes up to 60% off"),
        ({"kind": "percent", "percent": "85"}, "no limit to what it takes off"),
    ],
)
def test_a_deep_discount_is_pointed_out(browse, change, words):
    assert words in said(browse().post("/console/offers/sentence", data={**AMOUNT, **change}))
    assert "no limit" not in said(browse().post("/console/offers/sentence", data=AMOUNT))


@pytest.mark.parametrize(
    ("terms", "share"),
    [
        ({"kind": CouponKind.AMOUNT, "value": 2_000, "min_spend": 10_000}, 200),
        ({"kind": CouponKind.AMOUNT, "value": 2_000, "min_spend": 9_900}, 203),
        ({"kind": CouponKind.AMOUNT, "value": 2_000, "min_spend": 0}, 1_000),
        ({"kind": CouponKind.PERCENT, "value": 850}, 150),
        ({"kind": CouponKind.FREE_SHIPPING}, None),
    ],
)
def test_deepest_share(terms, share):
    assert rules.deepest_share(services.Draft(name="x", **terms)) == share


def form_of(offer, version, **change):
    """What the edit form posts for an offer of ¥20 off."""
    return {
        "name": offer.name, "kind": "amount", "value": f"{version.value / 100:g}", "min_spend": f"{version.min_spend / 100:g}",
        "validity": "days", "valid_days": "14", "stock": str(offer.stock or ""), "per_member": str(offer.per_member or ""),
        "min_rank": "0", "group_id": "0", **change,
    }  # fmt: skip


def test_editing_an_active_offer_makes_a_version_and_coupons_keep_theirs(browse, db, offer, coupon):
    browser, old = browse(), coupon.version_id
    _offer, version = services.get_offer(offer.id)
    assert "1 coupon is out and keeps its terms" in said(browser.get(f"/console/offers/{offer.id}/edit"))
    page = followed(browser, browser.post(f"/console/offers/{offer.id}/edit", data=form_of(offer, version, value="30")))
    assert "Saved as version 2: ¥30 off from ¥99" in said(page)
    assert "keeps its terms" in said(page)
    found, fresh = services.get_offer(offer.id)
    assert (fresh.number, fresh.value, found.claimed) == (2, 3_000, 1)
    assert db.session.get(Coupon, coupon.id).version_id == old
    # The same form once more (a double click) is no third version.
    browser.post(f"/console/offers/{offer.id}/edit", data=form_of(offer, version, value="30"))
    assert services.get_offer(offer.id)[1].number == 2


def typed_in(page):
    """What a browser would post of a form as it stands."""
    form = re.search(r'<form[^>]*class="form offer-form".*?</form>', said(page), re.S)[0]
    values = {}
    for tag in re.findall(r"<input[^>]*>", form):
        found = dict(re.findall(r'([a-z-]+)="([^"]*)"', tag))
        if found.get("type") not in ("radio", "checkbox") or " checked" in tag:
            values[found.get("name", "")] = html.unescape(
                found.get("value", "y" if found.get("type") == "checkbox" else "")
            )
    for name, body in re.findall(r'<textarea[^>]*name="([^"]+)"[^>]*>\s*(.*?)</textarea>', form, re.S):
        values[name] = html.unescape(body)
    for name, body in re.findall(r'<select[^>]*name="([^"]+)"[^>]*>(.*?)</select>', form, re.S):
        chosen = re.search(r'<option selected value="([^"]*)"', body)
        values[name] = chosen[1] if chosen else ""
    return values


def test_the_edit_form_shows_everything_and_posting_it_changes_nothing(browse, make_offer, clock):
    offer = make_offer(
        channels=["shop", "counter"], exclusive=True, priority=7, with_tier=False, transferable=True, budget=500_00,
        per_person=2, per_group=30, remind_hours=48, min_rank=2, per_day=9, terms="Not with sale goods.", skus=["A", "B"],
    )  # fmt: skip
    before = draft_of(*services.get_offer(offer.id))
    browser = browse()
    values = typed_in(browser.get(f"/console/offers/{offer.id}/edit"))
    page = browser.post(f"/console/offers/{offer.id}/edit", data=values)
    assert page.status_code == 303, said(page)
    assert draft_of(*services.get_offer(offer.id)) == before
    assert services.get_offer(offer.id)[1].number == 1


def test_only_channels_that_an_order_can_come_from_are_taken(browse, make_offer, clock):
    offer, browser = make_offer(), browse()
    url = f"/console/offers/{offer.id}/edit"
    values = typed_in(browser.get(url))
    refused = browser.post(url, data=values | {"channels": "shop, Till 1"})
    assert refused.status_code == 422
    assert "A source is 1 to 32 small letters" in said(refused)
    assert browser.post(url, data=values | {"channels": "Shop、counter，own-shop,"}).status_code == 303
    assert draft_of(*services.get_offer(offer.id)).channels == ["shop", "counter", "own-shop"]


def test_the_stock_cannot_go_below_what_is_out(browse, make_offer, make_member, clock):
    offer = make_offer(stock=5)
    for number in range(3):
        services.grant(offer.id, make_member().id, f"k{number}", "console")
    _offer, version = services.get_offer(offer.id)
    page = browse().post(f"/console/offers/{offer.id}/edit", data=form_of(offer, version, stock="2"))
    assert page.status_code == 422
    assert "3 coupons are out already" in said(page)
    assert services.get_offer(offer.id)[0].stock == 5


def test_a_new_one_like_an_old_one_starts_from_its_terms(browse, offer):
    page = said(browse().get(f"/console/offers/new?from={offer.id}"))
    assert 'value="99"' in page
    assert browse().get("/console/offers/new?from=999999").status_code == 404


# ── States and stock ────────────────────────────────────────────────────────────────────────────────────────────────


def test_pause_resume_and_end_with_consequences_in_numbers(browse, offer, coupon):
    browser, url = browse(), f"/console/offers/{offer.id}"
    page = said(browser.get(url))
    assert "1 coupon that is out stays usable." in page
    assert "9 pieces are never given out." in page
    browser.post(f"{url}/state", data={"to": "paused"})
    assert services.get_offer(offer.id)[0].state == OfferState.PAUSED
    assert "Resume claiming" in said(browser.get(url))
    # A double click on pause stays paused.
    browser.post(f"{url}/state", data={"to": "paused"})
    browser.post(f"{url}/state", data={"to": "active"})
    assert services.get_offer(offer.id)[0].state == OfferState.ACTIVE
    assert browser.post(f"{url}/state", data={"to": "ended"}).status_code == 422
    assert browser.post(f"{url}/state", data={"to": "ended", "confirmation": "spring"}).status_code == 422
    assert services.get_offer(offer.id)[0].state == OfferState.ACTIVE
    assert browser.post(f"{url}/state", data={"to": "ended", "confirmation": offer.name}).status_code == 303
    # A stale tab cannot open it again.
    assert browser.post(f"{url}/state", data={"to": "active"}).status_code == 409
    assert services.get_offer(offer.id)[0].state == OfferState.ENDED
    assert queries.coupon_row(coupon.id).state == CouponState.ISSUED


@pytest.mark.parametrize("to", ["", "draft", "nonsense"])
def test_unknown_states_are_refused(browse, offer, to):
    assert browse().post(f"/console/offers/{offer.id}/state", data={"to": to}).status_code == 404


def test_the_stock_is_raised_once_by_a_double_click(browse, offer):
    browser, url = browse(), f"/console/offers/{offer.id}"
    assert 'name="seen" value="10"' in said(browser.get(url))
    for _click in range(2):
        page = followed(browser, browser.post(f"{url}/stock", data={"more": "5", "seen": "10"}))
    assert "The stock had changed already: there are 15 pieces." in said(page)
    assert services.get_offer(offer.id)[0].stock == 15


@pytest.mark.parametrize("more", ["", "0", "-3", "many", "999999999999"])
def test_a_senseless_rise_is_refused(browse, offer, more):
    page = browse().post(f"/console/offers/{offer.id}/stock", data={"more": more, "seen": "10"})
    assert page.status_code == 422
    assert services.get_offer(offer.id)[0].stock == 10


# ── The offer's page ────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_page_tells_the_numbers(browse, make_offer, make_member, clock):
    offer = make_offer(min_spend=9_900, stock=10)
    held = [services.grant(offer.id, make_member().id, f"n{n}", "call") for n in range(4)]
    for number, one in enumerate(held[:2]):
        services.redeem(one.code, "shop", f"A-{number}", Basket(20_000))
    services.roll_back(held[1].code, "shop", "A-1")
    page = re.sub(r"\s+", " ", said(browse(Role.VIEWER).get(f"/console/offers/{offer.id}")))
    assert "4 / 10" in page
    assert "25.0% of those claimed" in page
    assert "3 can still be used" in page
    assert "10.0% of goods worth ¥200" in page
    assert "Call-back" in page
    clock.move(days=15)
    page = re.sub(r"\s+", " ", said(browse().get(f"/console/offers/{offer.id}")))
    assert re.search(r"Expired unused</a></div> <div class=\"stat-value num\">3</div>", page)


def test_who_claimed_filters_masks_and_pages(browse, db, make_offer, make_member, clock):
    offer = make_offer(stock=200)
    people = [make_member(name=f"P{n:03}", phone=f"+861260000{n:04}") for n in range(60)]
    services.grant_many(offer.id, [(person.id, f"g{person.id}") for person in people], "push:3")
    used = db.session.scalars(select(Coupon).where(Coupon.member_id == people[7].id)).one()
    services.redeem(used.code, "shop", "A-1", Basket(20_000))
    seen, url = [], f"/console/offers/{offer.id}/claims"
    while url:
        page = said(browse(Role.SERVICE).get(url))
        assert "+8612600" not in page
        seen += re.findall(r">(P\d{3})</a>", page)
        found = re.search(r'rel="next" href="([^"]+)"', page)
        url = found[1].replace("&amp;", "&") if found else None
    assert sorted(seen) == [person.name for person in people]
    page = said(browse().get(f"/console/offers/{offer.id}/claims?state=redeemed"))
    assert re.findall(r">(P\d{3})</a>", page) == ["P007"]
    assert "126****0007" in page
    assert "Push 3" in page
    assert "No coupon matches" in said(browse().get(f"/console/offers/{offer.id}/claims?state=frozen"))
    page = browse(Role.MARKETER).post(f"/console/offers/{offer.id}/claims/export?state=redeemed")
    rows = list(csv.reader(io.StringIO(page.get_data(as_text=True).lstrip("\ufeff"))))
    assert [row[:4] for row in rows[1:]] == [["P007", "126****0007", "", "Used"]]
    assert used.code not in said(page)


# ── Links ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_links_are_made_once_counted_and_withdrawn(browse, db, app, offer, member):
    browser, url = browse(), f"/console/offers/{offer.id}/links"
    for _click in range(2):
        page = followed(browser, browser.post(url, data={"name": "Poster"}))
    assert "There is a link of this name already" in said(page)
    link = db.session.scalars(select(ClaimLink)).one()
    assert f"http://localhost/o/{link.token}" in said(page)
    services.claim(offer.id, member.id, f"link:{link.id}")
    page = re.sub(r"\s+", " ", said(browser.get(url)))
    assert '<td class="num" data-label="Claimed">1</td>' in page
    assert "Link “Poster”" in said(browser.get(f"/console/offers/{offer.id}"))
    assert browser.get(f"{url}/{link.id}/qr.svg").mimetype == "image/svg+xml"
    assert browser.get(f"{url}/{link.id}/qr.png").get_data()[:4] == b"\x89PNG"
    for _click in range(2):
        assert browser.post(f"{url}/{link.id}/revoke").status_code == 303
    assert db.session.get(ClaimLink, link.id).revoked_at is not None
    assert link.token not in said(browser.get(url))
    assert app.test_client().get(f"/o/{link.token}").status_code == 410


@pytest.mark.parametrize("name", ["", " ", "x" * 61])
def test_a_link_needs_a_name(browse, db, offer, name):
    assert browse().post(f"/console/offers/{offer.id}/links", data={"name": name}).status_code == 422
    assert count_of(db, ClaimLink) == 0


def test_a_link_of_another_offer_is_not_found(browse, make_offer, offer):
    link = services.make_link(make_offer(name="Other").id, "Poster")
    for path in ("qr.svg", "qr.png"):
        assert browse().get(f"/console/offers/{offer.id}/links/{link.id}/{path}").status_code == 404
    assert browse().post(f"/console/offers/{offer.id}/links/{link.id}/revoke").status_code == 404


# ── Giving one to a member ──────────────────────────────────────────────────────────────────────────────────────────


def key_on(page):
    return re.search(r'name="key" value="([^"]+)"', said(page))[1]


def test_a_coupon_is_given_once_by_a_double_click_and_again_on_purpose(browse, db, make_offer, member):
    offer = make_offer(per_member=None, stock=10)
    browser, url = browse(Role.SERVICE), f"/console/offers/grants/{member.id}"
    shown = browser.get(url)
    assert count_of(db, Coupon) == 0
    for _click in range(2):
        page = followed(browser, browser.post(url, data={"offer_id": offer.id, "key": key_on(shown)}))
    assert "青柠 has the coupon of “Spring”." in said(page)
    assert count_of(db, Coupon) == 1
    page = followed(browser, browser.post(url, data={"offer_id": offer.id, "key": key_on(browser.get(url))}))
    assert count_of(db, Coupon) == 2
    assert db.session.scalars(select(Coupon.source).distinct()).all() == ["console"]


@pytest.mark.parametrize("form", [{}, {"offer_id": "x"}, {"offer_id": "999999"}, {"key": ""}, {"key": "a b"}])
def test_what_cannot_be_given_is_refused(browse, db, make_offer, member, form):
    good = {"offer_id": str(make_offer().id), "key": "k" * 16}
    page = browse().post(f"/console/offers/grants/{member.id}", data={**good, **form} if form else {})
    assert page.status_code == 409
    assert "Choose another offer" in said(page)
    assert count_of(db, Coupon) == 0


@pytest.mark.parametrize("state", [OfferState.DRAFT, OfferState.PAUSED, OfferState.ENDED])
def test_only_running_offers_can_be_given(browse, db, make_offer, member, state):
    offer = make_offer(state)
    assert "No offer is running" in said(browse().get(f"/console/offers/grants/{member.id}"))
    page = browse().post(f"/console/offers/grants/{member.id}", data={"offer_id": offer.id, "key": "k" * 16})
    assert page.status_code == 409
    assert count_of(db, Coupon) == 0


def test_a_personal_link_claims_as_the_member(app, browse, db, offer, member):
    page = said(browse().get(f"/console/offers/grants/{member.id}?offer={offer.id}"))
    path = re.search(r"http://localhost(/c/[^\"]+)", page)[1]
    assert "<svg" in page
    assert count_of(db, Coupon) == 0
    phone = app.test_client()
    assert phone.get(path).status_code == 200
    assert phone.post(path).status_code == 303
    assert db.session.scalars(select(Coupon.member_id)).one() == member.id
    assert "has this coupon already" in said(browse().get(f"/console/offers/grants/{member.id}?offer={offer.id}"))


def test_nobody_unknown_can_be_given_one(browse, offer):
    assert browse().get("/console/offers/grants/999999").status_code == 404
    assert browse().post("/console/offers/grants/999999").status_code == 404


# ── One coupon, and the counter ─────────────────────────────────────────────────────────────────────────────────────


def test_a_code_is_found_however_it_is_typed(browse, coupon):
    browser = browse(Role.ASSISTANT)
    spelt = codes.spelt(coupon.code)
    for typed in (coupon.code, spelt, spelt.lower(), f" {spelt.replace('-', ' ')} "):
        page = browser.get("/console/coupons", query_string={"code": typed})
        assert page.location == f"/console/coupons/{coupon.id}"
    for typed in ("nothing", "0" * 13, "<b>"):
        page = browser.get("/console/coupons", query_string={"code": typed})
        assert page.status_code == 404
        assert "<b>" not in said(page)
    assert browser.get("/console/coupons").status_code == 200
    assert browser.get("/console/coupons", query_string={"code": "\x00"}).status_code == 200
    assert browser.get("/console/coupons/999999").status_code == 404


def test_a_coupon_tells_what_whose_and_whether(browse, coupon):
    page = said(browse(Role.ASSISTANT).get(f"/console/coupons/{coupon.id}"))
    assert codes.spelt(coupon.code) in page
    assert "126****1234" in page
    assert PHONE not in page
    assert "It can be used" in page
    # Who neither issues nor redeems sees no code that could be used.
    page = said(browse(Role.VIEWER).get(f"/console/coupons/{coupon.id}"))
    assert codes.spelt(coupon.code) not in page
    assert coupon.code not in page
    assert codes.masked(coupon.code) in page


def test_the_counter_redeems_once_and_rolls_back_once(browse, db, coupon):
    browser, url = browse(Role.ASSISTANT), f"/console/coupons/{coupon.id}"
    for _click in range(2):
        page = followed(browser, browser.post(f"{url}/redeem", data={"order": " R-17 ", "amount": "120"}))
    assert "Used: ¥20 off, ¥100 to pay." in said(page)
    used = db.session.scalars(select(Redemption)).one()
    assert (used.source, used.order_external_id, used.amount, used.discount) == ("counter", "R-17", 12_000, 2_000)
    page = browser.post(f"{url}/redeem", data={"order": "R-18", "amount": "120"})
    assert page.status_code == 422
    assert "was used on order R-17" in said(page)
    back = f"{url}/redemptions/{used.id}/roll-back"
    assert browser.post(back, data={"reason": ""}).status_code == 422
    for _click in range(2):
        page = followed(browser, browser.post(back, data={"reason": "Wrong till"}))
    assert "the coupon is good again" in said(page)
    assert queries.coupon_row(coupon.id).state == CouponState.ISSUED
    assert db.session.get(Redemption, used.id).rollback_reason == "Wrong till"
    # A stale tab undoes nothing of a later use.
    browser.post(f"{url}/redeem", data={"order": "R-19", "amount": "120"})
    browser.post(back, data={"reason": "Late"})
    assert queries.coupon_row(coupon.id).state == CouponState.REDEEMED
    assert browser.post(f"{url}/redemptions/999999/roll-back", data={"reason": "x"}).status_code == 404


@pytest.mark.parametrize(
    ("form", "words"),
    [
        ({"order": ""}, 'href="#order"'),
        ({"order": "x" * 61}, 'href="#order"'),
        ({"amount": ""}, 'href="#amount"'),
        ({"amount": "-120"}, 'href="#amount"'),
        ({"amount": "12 apples"}, 'href="#amount"'),
        ({"amount": "98.99"}, "¥0.01 more"),
    ],
)
def test_the_counter_says_why_not_and_keeps_what_was_typed(browse, db, coupon, form, words):
    page = browse().post(f"/console/coupons/{coupon.id}/redeem", data={"order": "R-17", "amount": "120", **form})
    assert page.status_code == 422
    assert words in said(page)
    assert all(f'value="{typed}"' in said(page) for typed in form.values() if typed)
    assert count_of(db, Redemption) == 0
    assert queries.coupon_row(coupon.id).state == CouponState.ISSUED


def test_a_coupon_for_certain_goods_asks_for_them(browse, db, make_offer, member):
    offer = make_offer(kind=CouponKind.FIXED_PRICE, value=900, skus=["A1", "A2"])
    coupon_id = services.grant(offer.id, member.id, "k", "console").coupon_id
    url = f"/console/coupons/{coupon_id}"
    assert 'name="sku"' in said(browse().get(url))
    good = {"order": "R-1", "amount": "100", "sku": "A1", "quantity": "2", "share": "60"}
    for wrong in ({"sku": "B1"}, {"share": ""}, {"share": "0"}, {"share": "100.01"}, {"quantity": "0"}):
        assert browse().post(f"{url}/redeem", data={**good, **wrong}).status_code == 422
    page = followed(browser := browse(), browser.post(f"{url}/redeem", data=good))
    assert "Used: ¥21 off, ¥79 to pay." in said(page)
    assert db.session.scalars(select(Redemption.shares)).one() == [2_100, 0]


def test_free_shipping_asks_for_the_postage(browse, make_offer, member):
    offer = make_offer(kind=CouponKind.FREE_SHIPPING, value=0)
    coupon_id = services.grant(offer.id, member.id, "k", "console").coupon_id
    url = f"/console/coupons/{coupon_id}/redeem"
    assert browse().post(url, data={"order": "R-1", "amount": "100"}).status_code == 422
    page = followed(browser := browse(), browser.post(url, data={"order": "R-1", "amount": "100", "postage": "12"}))
    assert "Used: ¥12 off, ¥100 to pay." in said(page)


def test_a_gift_says_what_goes_into_the_bag(browse, make_offer, member):
    offer = make_offer(kind=CouponKind.GIFT_ITEM, value=0, item_title="Tote")
    coupon_id = services.grant(offer.id, member.id, "k", "console").coupon_id
    browser = browse()
    page = followed(
        browser, browser.post(f"/console/coupons/{coupon_id}/redeem", data={"order": "R-1", "amount": "100"})
    )
    assert "Put Tote into the bag." in said(page)


def test_an_expired_coupon_offers_no_counter(browse, clock, coupon):
    clock.move(days=14)
    page = said(browse().get(f"/console/coupons/{coupon.id}"))
    assert "Expired" in page
    assert 'id="redeem"' not in page
    page = browse().post(f"/console/coupons/{coupon.id}/redeem", data={"order": "R-17", "amount": "120"})
    assert page.status_code == 422


def test_freeze_and_give_free_and_take_back(browse, coupon):
    browser, url = browse(Role.SERVICE), f"/console/coupons/{coupon.id}"
    for act in ("freeze", "revoke"):
        assert browser.post(f"{url}/{act}", data={"reason": " "}).status_code == 422
    assert browser.post(f"{url}/freeze", data={"reason": "Looks odd"}).status_code == 303
    assert queries.coupon_row(coupon.id).state == CouponState.FROZEN
    page = said(browser.get(url))
    assert "Looks odd" in page
    assert "Unfreeze it" in page
    assert browser.post(f"{url}/freeze", data={"reason": "Again"}).status_code == 409
    assert browser.post(f"{url}/unfreeze").status_code == 303
    assert browser.post(f"{url}/unfreeze").status_code == 409
    for _click in range(2):
        assert browser.post(f"{url}/revoke", data={"reason": "By mistake"}).status_code == 303
    assert queries.coupon_row(coupon.id).state == CouponState.REVOKED
    assert [event.to_state for event in queries.events_of(coupon.id)].count(CouponState.REVOKED) == 1
    assert browser.post(f"{url}/redeem", data={"order": "1", "amount": "120"}).status_code == 422


def test_giving_free_what_has_ended_meanwhile_promises_no_use(browse, coupon, clock):
    browser, url = browse(Role.SERVICE), f"/console/coupons/{coupon.id}"
    assert browser.post(f"{url}/freeze", data={"reason": "Looks odd"}).status_code == 303
    clock.move(days=400)
    browser = browse(Role.SERVICE)
    assert browser.post(f"{url}/unfreeze").status_code == 303
    page = said(browser.get(url))
    assert "its time was over meanwhile" in page
    assert "can be used again" not in page
    assert queries.coupon_row(coupon.id).state == CouponState.EXPIRED


# ── Rights ──────────────────────────────────────────────────────────────────────────────────────────────────────────

GETS = {
    "/console/offers": "coupons.view",
    "/console/offers/export": "coupons.view",
    "/console/offers/{offer}": "coupons.view",
    "/console/offers/{offer}/claims": "coupons.view",
    "/console/offers/{offer}/links": "coupons.view",
    "/console/offers/{offer}/links/{link}/qr.svg": "coupons.view",
    "/console/offers/{offer}/links/{link}/qr.png": "coupons.view",
    "/console/offers/new": "coupons.edit",
    "/console/offers/{offer}/edit": "coupons.edit",
    "/console/offers/grants/{member}?offer={offer}": "coupons.issue",
    "/console/coupons": "coupons.view",
    "/console/coupons?code={code}": "coupons.view",
    "/console/coupons/{coupon}": "coupons.view",
}
POSTS = {
    "/console/offers/new": "coupons.edit",
    "/console/offers/sentence": "coupons.edit",
    "/console/offers/{offer}/edit": "coupons.edit",
    "/console/offers/{offer}/state": "coupons.edit",
    "/console/offers/{offer}/stock": "coupons.edit",
    "/console/offers/{offer}/claims/export": "members.export",
    "/console/offers/{offer}/links": "coupons.edit",
    "/console/offers/{offer}/links/{link}/revoke": "coupons.edit",
    "/console/offers/grants/{member}": "coupons.issue",
    "/console/coupons/{coupon}/redeem": "coupons.redeem",
    "/console/coupons/{coupon}/redemptions/{redemption}/roll-back": "coupons.redeem",
    "/console/coupons/{coupon}/revoke": "coupons.issue",
    "/console/coupons/{coupon}/freeze": "coupons.issue",
    "/console/coupons/{coupon}/unfreeze": "coupons.issue",
}


@pytest.fixture
def places(db, offer, member, coupon):
    link = services.make_link(offer.id, "Poster")
    used = services.redeem(coupon.code, "counter", "R-1", Basket(20_000)).redemption
    return {"offer": offer.id, "member": member.id, "coupon": coupon.id, "link": link.id, "redemption": used.id,
            "code": coupon.code}  # fmt: skip


@pytest.mark.parametrize("role", list(Role))
def test_get_changes_nothing_and_each_role_sees_what_is_its_own(browse, db, places, role):
    browser, before = browse(role), None
    for path, permission in GETS.items():
        before = before or everything(db)
        page = browser.get(path.format(**places))
        assert page.status_code in ((200, 302) if holds(role, permission) else (403,)), path
    assert everything(db) == before


@pytest.mark.parametrize("role", [Role.VIEWER, Role.ASSISTANT, Role.SERVICE, Role.MARKETER])
def test_posts_are_refused_to_who_may_not(browse, db, places, role):
    browser = browse(role)
    before = everything(db)
    for path, permission in POSTS.items():
        if not holds(role, permission):
            assert browser.post(path.format(**places)).status_code == 403, path
    assert everything(db) == before


def test_strangers_are_led_to_the_door(client, places):
    for path in GETS:
        assert "/console/sign-in" in client.get(path.format(**places)).location


# ── In other rooms ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_members_page_shows_their_coupons_and_the_button(browse, places, member, coupon):
    page = said(browse(Role.SERVICE).get(f"/console/members/{member.id}"))
    assert f'href="/console/coupons/{coupon.id}"' in page
    assert f'href="/console/offers/grants/{member.id}"' in page
    assert f'href="/console/offers/grants/{member.id}"' not in said(
        browse(Role.VIEWER).get(f"/console/members/{member.id}")
    )


def test_the_search_finds_a_code_and_an_offer(browse, coupon, offer):
    page = browse().get("/console/search", query_string={"q": codes.spelt(coupon.code)})
    assert page.location == f"/console/coupons/{coupon.id}"
    assert browse().get("/console/search?q=Spri").location == f"/console/offers/{offer.id}"


def test_the_brief_names_what_runs_out_and_what_ends(app, db, staff_client, make_offer, make_member, clock):
    low = make_offer(name="Low", stock=20)
    services.grant_many(low.id, [(make_member().id, f"l{n}") for n in range(18)], "console")
    full = make_offer(name="Full", stock=20)
    services.grant_many(full.id, [(make_member().id, f"f{n}") for n in range(17)], "console")
    ends = make_offer(name="Ends", usable_until=kernel_clock.now() + timedelta(days=2), valid_days=None)
    services.grant_many(ends.id, [(make_member().id, f"e{n}") for n in range(12)], "console")
    page = said(english(staff_client(Role.VIEWER)).get("/console/"))
    assert "“Low” has 2 pieces left" in page
    assert "“Full”" not in page
    assert "12 coupons of “Ends” end within three days" in page
    with app.test_request_context("/console/"):
        assert brief.tasks() == []
        assert brief.find("Low") == []


def test_a_members_own_page_shows_what_they_can_use(app, make_member, make_offer, clock):
    person = make_member(name="青柠", enrolled_at=kernel_clock.now())
    offer = make_offer(name="Spring")
    path = services.personal_path(person.id, offer.id)
    phone = english(app.test_client())
    phone.post(path)
    page = said(phone.get("/me/"))
    assert "My coupons" in page
    assert "Spring" in page


def test_every_source_has_words():
    assert labels.source_words("call")
    assert labels.source_words("") == "–"
