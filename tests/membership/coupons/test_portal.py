"""The pages of a coupon on the phone: what each shows, what each POST does, and what GET never does."""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import event, func, select

from kernel import visitors
from kernel.audit import AuditEntry
from kernel.db import Session
from membership.coupons import codes, services
from membership.coupons.models import Coupon, CouponState, Offer, OfferState
from membership.coupons.services import claims
from membership.members.models import Member
from tests.conftest import bind

EN = {"Accept-Language": "en"}


@pytest.fixture
def phone(app: Flask, db: Any) -> Callable[..., FlaskClient]:
    """`phone()` is a browser nobody knows, `phone(member)` one that is bound to a member."""

    def make(member: Member | None = None) -> FlaskClient:
        return app.test_client() if member is None else bind(app.test_client(), member.id)

    return make


@pytest.fixture
def personal(app: Flask) -> Callable[..., str]:
    def path(member: Member, offer: Offer, source: str = "") -> str:
        with app.test_request_context():
            return services.personal_path(member.id, offer.id, source)

    return path


def public(offer: Offer) -> str:
    return f"/o/{services.make_link(offer.id, 'poster').token}"


def coupons(db: Any, offer: Offer) -> int:
    return db.session.scalar(select(func.count()).select_from(Coupon).where(Coupon.offer_id == offer.id)) or 0


def said(answer: Any) -> str:
    """The words of a page."""
    words = re.sub(r"<[^>]+>", " ", answer.get_data(as_text=True).partition("<main")[2])
    return re.sub(r"\s+", " ", html.unescape(words))


def follow(browser: FlaskClient, answer: Any) -> Any:
    """The page that an answer leads to."""
    assert answer.status_code in (302, 303)
    return browser.get(answer.location, headers=EN)


def test_a_personal_link_shows_the_ticket_and_one_button(
    db: Any, phone: Callable, personal: Callable, make_member: Callable, make_offer: Callable
) -> None:
    member, offer = make_member(nickname="Lime"), make_offer(min_spend=9900)
    page = phone().get(personal(member, offer), headers=EN)
    assert page.status_code == 200
    words = said(page)
    assert "¥20" in words
    assert "¥20 off from ¥99" in words
    assert "Claim this coupon" in words
    assert "Lime" not in words
    assert page.get_data(as_text=True).count('class="btn btn-primary') == 1


def test_check_b5_opening_a_link_changes_nothing(
    db: Any, phone: Callable, personal: Callable, make_member: Callable, make_offer: Callable
) -> None:
    member, offer = make_member(), make_offer()
    for path in (personal(member, offer), public(offer)):
        for _ in range(10):
            browser = phone()
            assert browser.get(path).status_code == 200
            assert browser.head(path).status_code == 200
        page = browser.get(path)
        assert page.headers["Referrer-Policy"] == "no-referrer"
        assert page.headers["Cache-Control"] == "no-store"
    assert coupons(db, offer) == 0
    assert db.session.scalar(select(func.count()).select_from(visitors.VisitorSession)) == 0


def test_claiming_by_a_personal_link_binds_the_browser_and_shows_the_coupon(
    db: Any, phone: Callable, personal: Callable, make_member: Callable, make_offer: Callable
) -> None:
    member, offer = make_member(), make_offer()
    browser, path = phone(), personal(member, offer, "push:3")
    browser.get(path)
    answer = browser.post(path, data={"n": "1"})
    assert answer.status_code == 303
    page = browser.get(answer.location, headers=EN)
    coupon = db.session.scalars(select(Coupon).where(Coupon.offer_id == offer.id)).one()
    assert (coupon.member_id, coupon.source) == (member.id, "push:3")
    words = said(page)
    assert "It is yours" in words
    assert codes.spelt(coupon.code) in words
    assert "<svg" in page.get_data(as_text=True)
    assert browser.get("/me/coupons", headers=EN).status_code == 200
    # Again, by tap and by opening the link: theirs, said kindly, and no second one.
    again = follow(browser, browser.post(path, data={"n": "1"}))
    assert "Already yours" in said(again)
    assert "Already yours" in said(follow(browser, browser.get(path)))
    assert coupons(db, offer) == 1


def test_check_b4_others_with_the_same_link_see_nothing_of_the_owner(
    db: Any, phone: Callable, personal: Callable, make_member: Callable, make_offer: Callable
) -> None:
    member, offer = make_member(nickname="Lime"), make_offer()
    path = personal(member, offer)
    phone().post(path)
    code = db.session.scalars(select(Coupon.code)).one()
    for browser in (phone(), phone(make_member())):
        for page in (browser.get(path, headers=EN), browser.post(path, headers=EN)):
            words = said(page)
            assert page.status_code == 200
            assert "claimed already" in words
            assert "Lime" not in words
            assert code not in words.replace("-", "")
    assert browser.get("/me/coupons", headers=EN).get_data(as_text=True).count("ticket-open") == 0
    assert db.session.scalar(select(func.count()).where(AuditEntry.action == "coupon.link_reused")) == 2


def test_a_forged_link_is_refused_before_any_look_up(
    phone: Callable, db: Any, queries: Callable, personal: Callable, make_member: Callable, make_offer: Callable
) -> None:
    member, offer = make_member(), make_offer()
    path = personal(member, offer)
    forged = path.replace(f".{member.id}.", f".{member.id + 1}.")
    browser = phone()
    for method in (browser.get, browser.post):
        assert method(forged).status_code == 404
        assert method(path[:-1]).status_code == 404
        assert method(path + "A").status_code == 404
    with queries(0):
        browser.get(forged)
        browser.post(forged)
    assert coupons(db, offer) == 0


def test_a_public_link_asks_who_one_is(db: Any, phone: Callable, make_offer: Callable) -> None:
    offer = make_offer()
    path, browser = public(offer), phone()
    page = browser.get(path, headers=EN)
    assert "Sign in and claim it" in said(page)
    assert "/me/sign-in?next=" in page.get_data(as_text=True)
    answer = browser.post(path)
    assert answer.status_code == 303
    assert "/me/sign-in" in answer.location
    assert coupons(db, offer) == 0


def test_a_bound_browser_claims_by_one_tap(
    db: Any, phone: Callable, make_member: Callable, make_offer: Callable
) -> None:
    member, offer = make_member(), make_offer(per_member=2)
    path, browser = public(offer), phone(member)
    page = browser.get(path, headers=EN)
    assert 'name="n" value="1"' in page.get_data(as_text=True)
    for _ in range(2):
        assert "It is yours" in said(follow(browser, browser.post(path, data={"n": "1"}))) or _ == 1
    assert coupons(db, offer) == 1
    assert 'name="n" value="2"' in browser.get(path).get_data(as_text=True)
    browser.post(path, data={"n": "2"})
    assert "Already yours" in said(follow(browser, browser.get(path)))
    assert coupons(db, offer) == 2
    assert db.session.scalars(select(Coupon.source).distinct()).one().startswith("link:")


@pytest.mark.parametrize("typed", ["126 0000 8000", "１２６００００８０００", "+86-126-0000-8000"])
def test_new_people_claim_what_is_open_to_them_with_a_phone(
    db: Any, phone: Callable, make_offer: Callable, typed: str
) -> None:
    offer = make_offer(open_to_new=True)
    path, browser = public(offer), phone()
    assert "Claim it with this number" in said(browser.get(path, headers=EN))
    page = follow(browser, browser.post(f"{path}/new", data={"phone": typed}))
    assert "It is yours" in said(page)
    member = db.session.get_one(Member, db.session.scalars(select(Coupon.member_id)).one())
    assert (member.phone, member.enrolled_at, member.orders_count) == ("+8612600008000", None, 0)
    # The browser is not bound: nobody has proved that the phone is theirs.
    assert browser.get("/me/coupons").status_code == 302
    again = phone().post(f"{path}/new", data={"phone": typed}, headers=EN)
    assert "claimed already" in said(again)
    assert coupons(db, offer) == 1


def test_a_known_members_phone_gets_the_same_answers_as_an_unknown_one(
    db: Any, phone: Callable, make_offer: Callable
) -> None:
    from membership.members import services as members
    from membership.members.models import Channel

    offer, known = make_offer(open_to_new=True), "+8612600008001"
    members.find_or_make([(Channel.PHONE, known)], nickname="Lime")
    path = public(offer)
    pages = []
    for number in (known, "+8612600008002"):
        browser = phone()
        first = browser.post(f"{path}/new", data={"phone": number})
        shown = browser.get(first.location, headers=EN)
        second = browser.post(f"{path}/new", data={"phone": number}, headers=EN)
        cookies = {name for name, _ in first.headers.items() if name == "Set-Cookie"}
        pages.append((first.status_code, cookies, re.sub(r"\w{4}-\w{5}-\w{4}", "CODE", said(shown)), said(second)))
    assert pages[0] == pages[1]
    assert "Lime" not in str(pages)


def test_a_phone_that_is_none_is_refused_beside_its_field(db: Any, phone: Callable, make_offer: Callable) -> None:
    offer = make_offer(open_to_new=True)
    path = public(offer)
    for typed in ("", "12", "126****0000", "abc"):
        page = phone().post(f"{path}/new", data={"phone": typed}, headers=EN)
        assert page.status_code == 422
        assert f'value="{typed}"' in page.get_data(as_text=True)
    assert coupons(db, offer) == 0
    closed = public(make_offer())
    assert phone().post(f"{closed}/new", data={"phone": "12600008000"}).status_code == 303
    assert db.session.scalar(select(func.count()).select_from(Coupon)) == 0


def test_every_refusal_has_its_own_page_with_a_next_step(
    clock: Any, phone: Callable, personal: Callable, make_member: Callable, make_offer: Callable
) -> None:
    member, soon = make_member(rank=1), clock.now() + timedelta(hours=3)
    sold_out = make_offer(stock=1)
    services.claim(sold_out.id, make_member().id)
    given_today = make_offer(per_day=1)
    services.claim(given_today.id, make_member().id)
    expected = {
        sold_out.id: "All of them are taken",
        given_today.id: "Today's coupons are all taken",
        make_offer(OfferState.PAUSED).id: "This offer is taking a break",
        make_offer(OfferState.ENDED).id: "This offer has ended",
        make_offer(claim_from=soon).id: "It has not begun yet",
        make_offer(min_rank=3).id: "This one is for a higher tier",
        make_offer(group_id=987_654).id: "This one is for the members of a group",
    }
    browser = phone(member)
    for offer_id, title in expected.items():
        path = f"/o/{services.make_link(offer_id, 'x').token}"
        for answer in (browser.post(path, headers=EN), browser.post(personal(member, Offer(id=offer_id)), headers=EN)):
            assert answer.status_code == 409, title
            assert title in said(answer)
            assert 'class="btn btn-primary btn-big" href="/me/' in answer.get_data(as_text=True)
        # Opening the link says the same, instead of offering a button that would refuse.
        if "begun" not in title and "Today" not in title:
            assert title in said(browser.get(path, headers=EN))


def test_a_crowd_before_an_empty_shelf_rolls_nothing_back(
    db: Any, phone: Callable, make_member: Callable, make_offer: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a rollback the driver would have every statement of the next one planned anew."""
    # However slow the machine is, what was refused is still remembered at the second tap.
    monkeypatch.setattr(claims, "CLOSED_SECONDS", 3_600.0)
    offer, late = make_offer(stock=1), phone(make_member())
    path = public(offer)
    rolled_back: list[Any] = []
    note = rolled_back.append
    assert phone(make_member()).post(path).status_code == 303
    # The writer refuses the first; everybody after that is answered by one read.
    assert late.post(path).status_code == 409
    event.listen(Session, "after_rollback", note)
    try:
        assert late.post(path).status_code == 409
        assert rolled_back == []
        assert late.post("/o/no-such-link").status_code == 404
        assert len(rolled_back) == 1
    finally:
        event.remove(Session, "after_rollback", note)
        claims.forget_closed(offer.id)


def test_a_coming_offer_shows_its_ticket_and_counts_down(clock: Any, phone: Callable, make_offer: Callable) -> None:
    page = phone().get(public(make_offer(claim_from=clock.now() + timedelta(hours=3))), headers=EN)
    assert page.status_code == 200
    # Without script the time left is read as it was when the page was made.
    assert re.search(r"<time [^>]*data-countdown[^>]*>0[23]:\d\d:\d\d</time>", page.get_data(as_text=True))
    assert '<button class="btn btn-primary' not in page.get_data(as_text=True)


def test_a_revoked_link_says_so(phone: Callable, make_offer: Callable) -> None:
    offer = make_offer()
    link = services.make_link(offer.id, "Poster")
    services.revoke_link(offer.id, link.id)
    for answer in (phone().get(f"/o/{link.token}", headers=EN), phone().post(f"/o/{link.token}", headers=EN)):
        assert answer.status_code == 410
        assert "not in use any more" in said(answer)


def test_my_coupons_have_the_soonest_to_end_first_and_the_past_apart(
    clock: Any, db: Any, phone: Callable, make_member: Callable, make_offer: Callable
) -> None:
    member = make_member()
    names = {}
    for name, days in (("Later", 20), ("Sooner", 2), ("Used", 9), ("Gone", 1), ("Frozen", 30)):
        names[name] = services.claim(make_offer(name=name, valid_days=days).id, member.id)
    services.claim(make_offer(name="Somebody else").id, make_member().id)
    services.redeem(names["Used"].code, "shop", "A-1", services.checkout.rules.Basket(9900))
    services.freeze(names["Frozen"].coupon_id, "odd")
    clock.move(days=1)
    words = said(phone(member).get("/me/coupons", headers=EN))
    order = [
        words.index(name)
        for name in ("Sooner", "Later", "Frozen", "Used and expired", "Gone", "Used ¥" if "Used ¥" in words else "Used")
    ]
    assert order[:4] == sorted(order[:4])
    assert words.index("Gone") > words.index("Used and expired")
    assert "Ends soon" in words
    assert "Somebody else" not in words


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (CouponState.REDEEMED, "It took ¥20.00 off"),
        (CouponState.REVOKED, "has taken this coupon back"),
        (CouponState.FROZEN, "on hold"),
        (CouponState.TRANSFERRED, "gave it to a friend"),
        (CouponState.EXPIRED, "It could be used until"),
    ],
)
def test_a_coupon_that_cannot_be_used_shows_why_and_no_code(
    clock: Any,
    db: Any,
    app: Flask,
    phone: Callable,
    make_member: Callable,
    make_offer: Callable,
    state: CouponState,
    words: str,
) -> None:
    found = services.claim(make_offer().id, make_member().id)
    match state:
        case CouponState.REDEEMED:
            services.redeem(found.code, "shop", "A-1", services.checkout.rules.Basket(9900))
        case CouponState.REVOKED:
            services.revoke(found.coupon_id, "odd")
        case CouponState.FROZEN:
            services.freeze(found.coupon_id, "odd")
        case CouponState.TRANSFERRED:
            services.transfer(found.coupon_id, make_member().id)
        case _:
            clock.move(days=14)
    with app.test_request_context():
        from membership.coupons.portal import page_path

        path = page_path(found.coupon_id)
    page = phone().get(path, headers=EN)
    assert words in said(page)
    assert codes.spelt(found.code) not in said(page)


def test_coupon_pages_ask_for_their_own_token(
    app: Flask, phone: Callable, personal: Callable, make_member: Callable, make_offer: Callable
) -> None:
    member, offer = make_member(), make_offer()
    services.claim(offer.id, member.id)
    token = personal(member, offer).removeprefix("/c/")
    for path in (f"/coupon/{token}", f"/o/{token}", "/coupon/nothing", "/c/nothing", "/o/nothing"):
        assert phone().get(path).status_code == 404


def test_erased_people_and_ended_offers_end_their_links(
    clock: Any, db: Any, phone: Callable, personal: Callable, make_member: Callable, make_offer: Callable
) -> None:
    member, offer = make_member(), make_offer()
    path = personal(member, offer)
    member.erased_at = clock.now()
    for answer in (phone().get(path, headers=EN), phone().post(path, headers=EN)):
        assert answer.status_code == 404
        assert "does not work any more" in said(answer)
    assert coupons(db, offer) == 0


def test_a_form_without_its_token_claims_nothing(
    settings: Any, db: Any, phone: Callable, personal: Callable, app: Flask, make_member: Callable, make_offer: Callable
) -> None:
    member, offer = make_member(), make_offer()
    path = personal(member, offer)
    app.config["WTF_CSRF_ENABLED"] = True
    try:
        assert phone().post(path, data={"n": "1"}).status_code in (400, 403)
    finally:
        app.config["WTF_CSRF_ENABLED"] = False
    assert coupons(db, offer) == 0
