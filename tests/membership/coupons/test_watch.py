"""Watching over offers: what is odd about coupons, what they cost, prices below the floor, reminders, grants to many."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import func, select, update

from kernel.audit import AuditEntry
from kernel.auth import Role
from kernel.errors import InputInvalid
from kernel.notices import Notice
from membership.coupons import jobs, margin, reports, services
from membership.coupons.models import Coupon, CouponKind, CouponState, GrantRun, Offer, OfferState
from membership.coupons.rules import Basket
from membership.coupons.services import claims, granting, guard, leaks, reminders
from membership.coupons.signs import Sign
from membership.members.models import Channel, MemberIdentity
from membership.members.rules import masked_phone
from membership.products.models import Product

S = CouponState


def text_of(page: Any) -> str:
    return page.get_data(as_text=True)


# ── Oddities ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def crowd(db: Any, make_member: Callable, clock: Any) -> Callable[..., list[Coupon]]:
    """`crowd(offer, 4, device="x")` lets so many people claim; columns of their coupons or records can be set."""

    def make(
        offer: Offer, number: int, network: str | None = None, device: str | None = None, **of_member: Any
    ) -> list[Coupon]:
        found = []
        for i in range(number):
            member = make_member(**{k: v(i) if callable(v) else v for k, v in of_member.items()})
            member.created_at = clock.now() - timedelta(days=30)
            coupon_id = services.claim(offer.id, member.id).coupon_id
            db.session.execute(update(Coupon).where(Coupon.id == coupon_id).values(network=network, device=device))
            found.append(db.session.get_one(Coupon, coupon_id, populate_existing=True))
        return found

    return make


def signs(offer: Offer) -> dict[Sign, int]:
    return {one.sign: one.people for one in leaks.findings(offer.id)}


def test_each_sign_is_found_from_its_number_on(
    db: Any, make_offer: Callable, crowd: Callable, make_member: Callable
) -> None:
    for columns, sign in (
        ({"device": "d1"}, Sign.DEVICE),
        ({"network": "n1"}, Sign.NETWORK),
        ({"address": lambda i: " 一号 楼" if i % 2 else "一号楼"}, Sign.ADDRESS),
        ({"phone": lambda i: f"+86126000011{i:02}"}, Sign.PHONES),
    ):
        offer, enough = make_offer(), leaks.PEOPLE[sign.value]
        crowd(offer, enough - 1, **columns)
        assert signs(offer) == {}
        one_more = {k: (lambda i, v=v: v(i + 50)) if callable(v) else v for k, v in columns.items()}
        crowd(offer, 1, **one_more)
        assert signs(offer) == {sign: enough}


def test_a_burst_of_new_people(db: Any, make_offer: Callable, make_member: Callable, clock: Any) -> None:
    offer = make_offer()
    for _ in range(10):
        services.claim(offer.id, make_member().id)
    assert signs(offer) == {Sign.BURST: 10}
    regulars = make_offer()
    for _ in range(10):
        services.claim(regulars.id, make_member(orders_count=3).id)
    assert signs(regulars) == {}


def test_owners_who_do_not_meet_the_condition(db: Any, make_offer: Callable, make_member: Callable, clock: Any) -> None:
    from sqlalchemy import false

    offer, member = make_offer(min_rank=3), make_member(rank=3)
    services.claim(offer.id, member.id)
    assert signs(offer) == {}
    member.rank = 1
    db.session.flush()
    assert signs(offer) == {Sign.TIER: 1}
    grouped = make_offer(group_id=7)
    services.grant(grouped.id, member.id, "k", "console")
    before = list(claims.in_group._answers)
    claims.in_group._answers[:] = [lambda group_id: false()]
    try:
        assert signs(grouped) == {Sign.GROUP: 1}
    finally:
        claims.in_group._answers[:] = before


def test_where_a_claim_came_from_is_kept_as_hashes_alone(
    app: Any, db: Any, make_offer: Callable, make_member: Callable
) -> None:
    offer, member = make_offer(), make_member()
    with app.test_request_context(environ_base={"REMOTE_ADDR": "203.0.113.9"}, headers={"User-Agent": "Phone"}):
        first = claims.trace_of_request()
        services.claim(offer.id, member.id)
    with app.test_request_context(environ_base={"REMOTE_ADDR": "203.0.113.9"}, headers={"User-Agent": "Tablet"}):
        second = claims.trace_of_request()
    assert first.network == second.network
    assert first.device != second.device
    coupon = db.session.scalars(select(Coupon).where(Coupon.offer_id == offer.id)).one()
    assert (coupon.network, coupon.device) == first
    assert "203" not in (coupon.network or "")[:3]
    assert claims.trace_of_request() == (None, None)


def test_many_are_frozen_freed_and_cleared_at_once(
    db: Any, browse: Callable, make_offer: Callable, crowd: Callable
) -> None:
    offer = make_offer()
    coupons = crowd(offer, 4, device="d1")
    services.redeem(coupons[0].code, "shop", "A-1", Basket(9900))
    browser = browse()
    page = text_of(browser.get(f"/console/offers/{offer.id}/oddities"))
    assert "One browser for several people" in page
    path = f"/console/offers/{offer.id}/oddities/device"
    assert text_of(browser.get(f"{path}?key=d1")).count('name="ids"') == 4
    browser.post(path, data={"key": "d1", "act": "freeze", "ids": [coupons[1].id, 987654321]})
    browser.post(path, data={"key": "d1", "act": "freeze"})
    states = [db.session.get_one(Coupon, c.id, populate_existing=True).state for c in coupons]
    assert states == [S.REDEEMED, S.FROZEN, S.FROZEN, S.FROZEN]
    frozen = select(AuditEntry.after).where(AuditEntry.action == "offer.coupons_frozen").order_by(AuditEntry.id)
    audited = db.session.scalars(frozen).all()
    assert [entry["coupons"] for entry in audited] == [1, 2]
    browser.post(path, data={"key": "d1", "act": "unfreeze", "ids": [coupons[1].id]})
    assert db.session.get_one(Coupon, coupons[1].id, populate_existing=True).state == S.ISSUED
    browser.post(path, data={"key": "d1", "act": "clear"})
    assert leaks.findings(offer.id) == []
    assert {db.session.get_one(Coupon, c.id, populate_existing=True).state for c in coupons[1:]} == {S.ISSUED}
    assert browser.post(path, data={"key": "d1", "act": "freeze"}).status_code == 404
    assert "Nothing looks odd" in text_of(browser.get(f"/console/offers/{offer.id}/oddities"))


def test_who_may_act_on_oddities(browse: Callable, make_offer: Callable, crowd: Callable) -> None:
    offer = make_offer()
    crowd(offer, 3, device="d1")
    path = f"/console/offers/{offer.id}/oddities/device"
    viewer = browse(Role.VIEWER)
    assert viewer.get(f"{path}?key=d1").status_code == 200
    assert viewer.post(path, data={"key": "d1", "act": "freeze"}).status_code == 403
    assert browse().post(path, data={"key": "d1", "act": "burn"}).status_code == 404
    assert browse().get(f"{path}?key=zz").status_code == 404


# ── The report ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_liability_is_what_the_coupons_that_are_out_may_still_take_off(
    db: Any, make_offer: Callable, make_member: Callable, clock: Any
) -> None:
    amount = make_offer(value=2000)
    codes = [services.claim(amount.id, make_member().id).code for _ in range(5)]
    services.redeem(codes[0], "shop", "A-1", Basket(10_000))
    services.redeem(codes[1], "shop", "A-2", Basket(6_000))
    services.freeze(db.session.scalars(select(Coupon.id).where(Coupon.code == codes[2])).one(), "odd")
    services.revoke(db.session.scalars(select(Coupon.id).where(Coupon.code == codes[3])).one(), "odd")
    book = reports.liabilities([amount.id])[0]
    assert (book.issued, book.redeemed, book.revoked, book.outstanding, book.most) == (5, 2, 1, 2, 4000)
    assert (book.given, book.orders, book.revenue, book.average) == (4000, 2, 12_000, 6_000)
    clock.move(days=15)
    late = reports.liabilities([amount.id])[0]
    assert (late.outstanding, late.most, late.expired) == (0, 0, 2)
    services.roll_back(codes[0], "shop", "A-1")
    assert reports.liabilities([amount.id])[0].given == 2000


def test_each_kinds_bound(db: Any, make_offer: Callable, make_member: Callable, clock: Any) -> None:
    db.session.add(Product(source="shop", sku="TEA", title="Tea", list_price=9900, created_at=clock.now()))
    bounds = [
        ({"kind": CouponKind.PERCENT, "value": 800, "discount_cap": 5000}, (5000, 0)),
        ({"kind": CouponKind.PERCENT, "value": 800}, (0, 1)),
        ({"kind": CouponKind.PERCENT, "value": 800, "budget": 700}, (700, 0)),
        ({"kind": CouponKind.FIXED_PRICE, "value": 6000, "skus": ["tea"]}, (3900, 0)),
        ({"kind": CouponKind.FIXED_PRICE, "value": 6000, "skus": ["POT"]}, (0, 1)),
        ({"kind": CouponKind.FREE_SHIPPING, "value": 0}, (0, 1)),
        ({"kind": CouponKind.GIFT_ITEM, "value": 0, "item_title": "Strainer"}, (0, 0)),
        ({"value": 3000, "budget": 1000}, (1000, 0)),
    ]
    for terms, expected in bounds:
        offer = make_offer(**terms)
        services.claim(offer.id, make_member().id)
        book = reports.liabilities([offer.id])[0]
        assert (book.most, book.unbounded) == expected, terms


def test_a_transferred_coupon_is_issued_once(db: Any, make_offer: Callable, make_member: Callable) -> None:
    offer = make_offer(transferable=True)
    coupon = services.claim(offer.id, make_member().id)
    services.transfer(coupon.coupon_id, make_member().id)
    book = reports.liabilities([offer.id])[0]
    assert (book.issued, book.outstanding, book.most) == (1, 1, 2000)


def test_report_pages_and_curve(browse: Callable, make_offer: Callable, make_member: Callable, clock: Any) -> None:
    assert "No coupon offers yet" in text_of(browse().get("/console/offers/report"))
    offer = make_offer(name="Spring")
    code = services.claim(offer.id, make_member().id).code
    services.redeem(code, "shop", "A-1", Basket(10_000))
    page = text_of(browse(Role.VIEWER).get("/console/offers/report"))
    assert "Spring" in page
    assert "¥20.00" in page
    lines = text_of(browse().get("/console/offers/report/export")).splitlines()
    assert lines[1] == "Spring,1,1,0,0,0,0.00,0,20.00,1,80.00,80.00"
    days = reports.curve(offer.id)
    assert (len(days), days[-1].claimed, days[-1].redeemed) == (30, 1, 1)
    assert "Coupons used per day in the last 30 days: 1 in all." in text_of(browse().get(f"/console/offers/{offer.id}"))


# ── The margin guard ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def goods(db: Any, clock: Any) -> Callable[..., Product]:
    def make(sku: str, price: int | None, cost: int | None = None) -> Product:
        found = Product(source="shop", sku=sku, title=sku.title(), list_price=price, cost=cost, created_at=clock.now())
        db.session.add(found)
        db.session.flush()
        return found

    return make


@pytest.mark.parametrize(
    ("terms", "cost", "tier", "final"),
    [
        # 100.00 at the tier's 9折, then ¥20: 70.00 against a cost of 75.00.
        ({"value": 2000}, 7500, 900, 7000),
        ({"value": 2000}, 7000, 900, None),
        ({"value": 2000, "with_tier": False}, 7500, 900, None),
        # ¥20 from ¥99 meets two pieces at ¥90 each.
        ({"value": 2000, "min_spend": 9900}, 8500, 900, 8000),
        ({"value": 2000, "min_spend": 9900}, 8000, 900, None),
        ({"kind": CouponKind.PERCENT, "value": 500}, None, 1000, None),
        ({"kind": CouponKind.PERCENT, "value": 399}, None, 1000, 3990),
        ({"kind": CouponKind.PERCENT, "value": 500, "discount_cap": 1000}, 9000, 1000, None),
        ({"kind": CouponKind.FIXED_PRICE, "value": 3900}, None, 1000, 3900),
        ({"kind": CouponKind.FREE_SHIPPING, "value": 0}, 9000, 850, 8500),
    ],
)  # fmt: skip
def test_the_worst_price_of_a_piece(terms: dict[str, Any], cost: int | None, tier: int, final: int | None) -> None:
    draft = services.Draft(**{"name": "x", "kind": CouponKind.AMOUNT, **terms})
    case = margin.worst(draft, margin.Goods("TEA", "Tea", 10_000, cost), tier)
    assert (case.final if case else None) == final


def test_a_group_price_that_goes_together_counts(db: Any, make_offer: Callable, goods: Callable) -> None:
    goods("TEA", 10_000, 6000)
    make_offer(name="Group tea", kind=CouponKind.FIXED_PRICE, value=7000, skus=["tea"], stack_group="group price")
    alone = services.Draft(name="x", kind=CouponKind.AMOUNT, value=500, with_tier=False)
    together = services.Draft(name="x", kind=CouponKind.AMOUNT, value=1500, with_tier=False, stack_group="goods")
    assert guard.weigh(alone) == ([], 0)
    cases, number = guard.weigh(together)
    assert (number, cases[0].final, cases[0].goods.group_offer) == (1, 5500, "Group tea")


def test_starting_below_the_floor_asks_for_the_name_and_is_audited(
    db: Any, browse: Callable, make_offer: Callable, goods: Callable
) -> None:
    goods("TEA", 10_000, 9000)
    form = {"name": "Deep", "kind": "amount", "value": "50", "validity": "days", "valid_days": "7", "per_member": "1",
            "min_rank": "0", "group_id": "0", "priority": "100", "with_tier": "y", "form_key": "form-key-1"}  # fmt: skip
    browser = browse()
    page = browser.post("/console/offers/new", data={**form, "start": "1"})
    assert page.status_code == 422
    assert "1 product could be sold below its floor" in text_of(page)
    assert "Type the offer" in text_of(page)
    assert db.session.scalar(select(func.count()).select_from(Offer)) == 0
    assert browser.post("/console/offers/new", data={**form, "start": "1", "confirmation": "deep"}).status_code == 422
    assert browser.post("/console/offers/new", data={**form, "start": "1", "confirmation": "Deep"}).status_code == 303
    offer = db.session.scalars(select(Offer)).one()
    assert offer.state == OfferState.ACTIVE
    entry = db.session.scalars(select(AuditEntry).where(AuditEntry.action == "offer.margin_confirmed")).one()
    assert entry.after == {"goods": 1, "worst": [{"sku": "TEA", "price": "¥35.00", "floor": "¥90.00"}]}
    # A draft is kept without a word, and starting it asks.
    draft = make_offer(OfferState.DRAFT, name="Also deep", value=5000)
    url = f"/console/offers/{draft.id}/state"
    assert "could be sold below its floor" in text_of(browser.get(f"/console/offers/{draft.id}"))
    assert browser.post(url, data={"to": "active"}).status_code == 422
    assert db.session.get_one(Offer, draft.id, populate_existing=True).state == OfferState.DRAFT
    assert browser.post(url, data={"to": "active", "confirmation": "Also deep"}).status_code == 303
    # Changed terms of a running offer are published at once, so they ask too.
    safe = make_offer(name="Safe", value=100)
    edit = form | {"name": "Safe", "value": "60", "form_key": ""}
    assert browser.post(f"/console/offers/{safe.id}/edit", data=edit).status_code == 422
    assert browser.post(f"/console/offers/{safe.id}/edit", data=edit | {"confirmation": "Safe"}).status_code == 303


# ── Making, doubling and putting aside ──────────────────────────────────────────────────────────────────────────────

FORM = {"name": "Twice", "kind": "amount", "value": "5", "validity": "days", "valid_days": "7", "per_member": "1",
        "min_rank": "0", "group_id": "0", "priority": "100", "form_key": "form-key-2"}  # fmt: skip


def test_a_double_click_makes_one_offer(db: Any, browse: Callable) -> None:
    browser = browse()
    answers = [browser.post("/console/offers/new", data={**FORM, "start": "1"}) for _ in range(2)]
    assert answers[0].location == answers[1].location
    assert db.session.scalar(select(func.count()).select_from(Offer)) == 1
    browser.post("/console/offers/new", data={**FORM, "form_key": "form-key-3"})
    assert db.session.scalar(select(func.count()).select_from(Offer)) == 2
    assert browser.post("/console/offers/new", data={**FORM, "form_key": "<script>"}).status_code == 422


def test_an_offer_is_doubled_put_aside_and_taken_back(db: Any, browse: Callable, make_offer: Callable) -> None:
    offer, browser = make_offer(name="Old one", value=1234), browse()
    page = text_of(browser.get(f"/console/offers/new?from={offer.id}"))
    assert 'value="12.34"' in page
    assert browser.post(f"/console/offers/{offer.id}/archive").status_code == 409
    services.set_state(offer.id, OfferState.ENDED)
    assert browser.post(f"/console/offers/{offer.id}/archive").status_code == 303
    browser.get("/console/offers")
    assert "Old one" not in text_of(browser.get("/console/offers?q=Old"))
    assert "Old one" in text_of(browser.get("/console/offers?archived=1"))
    assert reports.liabilities() == []
    assert browser.post(f"/console/offers/{offer.id}/unarchive").status_code == 303
    assert "Old one" in text_of(browser.get("/console/offers?q=Old"))
    assert browse(Role.VIEWER).post(f"/console/offers/{offer.id}/archive").status_code == 403


def test_versions_are_shown_with_what_changed(browse: Callable, make_offer: Callable) -> None:
    offer = make_offer(value=2000)
    services.edit(
        offer.id,
        services.Draft(
            name="Spring", kind=CouponKind.AMOUNT, value=1500, valid_days=14, transferable=True, skus=["TEA"]
        ),
    )
    page = text_of(browse().get(f"/console/offers/{offer.id}"))
    assert "It gives: <del>¥20 off</del> → <ins>¥15 off</ins>" in page
    assert "May be given to a friend: <del>No</del> → <ins>Yes</ins>" in page
    assert "Only for these goods: <del>all goods</del> → <ins>only for TEA</ins>" in page


# ── Reminders ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_owners_are_reminded_once_before_the_end(
    db: Any, make_offer: Callable, make_member: Callable, clock: Any
) -> None:
    offer, silent = make_offer(remind_hours=48), make_offer()
    reminded, used, frozen = (make_member(locale="en") for _ in range(3))
    code = services.claim(offer.id, used.id).code
    for member in (reminded, frozen):
        services.claim(offer.id, member.id)
    services.claim(silent.id, reminded.id)
    services.redeem(code, "shop", "A-1", Basket(9900))
    services.freeze(db.session.scalars(select(Coupon.id).where(Coupon.member_id == frozen.id)).one(), "odd")
    clock.move(days=11, hours=23)
    assert reminders.remind() == 0
    clock.move(hours=1)
    assert reminders.remind() == 1
    assert reminders.remind() == 0
    notice = db.session.scalars(select(Notice)).one()
    assert (notice.member_id, notice.kind, notice.title) == (
        reminded.id,
        "coupon.ending",
        "A coupon of yours ends soon",
    )
    assert "¥20 off (“Spring”) can be used until" in notice.body
    # A coupon that is claimed inside the span, or is over, is left alone.
    short = make_offer(valid_days=1, remind_hours=48)
    services.claim(short.id, reminded.id)
    assert reminders.remind() == 0
    clock.move(days=2)
    assert reminders.remind() == 0


def test_reminders_go_in_slices(db: Any, make_offer: Callable, make_member: Callable, clock: Any) -> None:
    offer = make_offer(remind_hours=24)
    for _ in range(5):
        services.claim(offer.id, make_member().id)
    clock.move(days=13)
    assert [reminders.remind(2), reminders.remind(2), reminders.remind(2)] == [2, 2, 1]
    jobs.remind_owners.direct()
    assert db.session.scalar(select(func.count()).select_from(Notice)) == 5


def test_the_list_of_those_that_end_soon(
    browse: Callable, make_offer: Callable, make_member: Callable, clock: Any
) -> None:
    assert "No coupon ends within a week" in text_of(browse().get("/console/coupons/ending"))
    offer = make_offer(remind_hours=24)
    services.claim(offer.id, make_member(nickname="Lime").id)
    clock.move(days=8)
    page = text_of(browse(Role.VIEWER).get("/console/coupons/ending"))
    assert "Lime" in page
    assert "not told yet" in page


def test_those_that_end_soon_are_searched_and_downloaded(
    db: Any, browse: Callable, make_offer: Callable, make_member: Callable, clock: Any
) -> None:
    spring, autumn = make_offer(name="=Spring"), make_offer(name="50%_off")
    lime, plum = make_member(nickname="@Lime", phone="+8610000001234"), make_member(nickname="Plum")
    services.claim(spring.id, lime.id)
    services.claim(autumn.id, plum.id)
    clock.move(days=8)
    browser, address = browse(), "/console/coupons/ending"
    for q, found in (
        ("lime", [1, 0]),
        ("1234", [1, 0]),
        ("spri", [1, 0]),
        ("%25_", [0, 1]),
        ("Plum", [0, 1]),
        ("", [1, 1]),
    ):
        page = text_of(browser.get(f"{address}?q={q}"))
        assert [f"/console/members/{member.id}" in page for member in (lime, plum)] == found, q
    assert "No coupon matches" in text_of(browser.get(f"{address}?q=zzz"))

    def lines(query: str) -> list[list[str]]:
        answer = browser.post(f"{address}/export?{query}", buffered=True)
        return list(csv.reader(io.StringIO(text_of(answer).removeprefix("\ufeff"))))

    assert sorted((row[0], row[1], row[2], len(row)) for row in lines("")[1:]) == [
        ("'@Lime", "100****1234", "'=Spring", 6), ("Plum", masked_phone(plum.phone), "50%_off", 6),
    ]  # fmt: skip
    assert [row[0] for row in lines("q=spring")[1:]] == ["'@Lime"]
    kept = select(AuditEntry.after).where(AuditEntry.action == "coupons.ending_exported").order_by(AuditEntry.id)
    assert list(db.session.scalars(kept)) == [{"filter": {}}, {"filter": {"q": "spring"}}]
    assert browse(Role.VIEWER).post(f"{address}/export").status_code == 403


# ── Grants to many ──────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def known(db: Any, make_member: Callable) -> Callable[..., Any]:
    def make(phone: str, **columns: Any) -> Any:
        member = make_member(phone=phone, **columns)
        db.session.add(
            MemberIdentity(member_id=member.id, channel=Channel.PHONE, external_id=phone, created_at=member.created_at)
        )
        db.session.flush()
        return member

    return make


def test_a_file_names_members_and_every_line_is_accounted_for(db: Any, known: Callable) -> None:
    first, second = known("+8612600000001"), known("+8612600000002")
    body = "手机号,备注\n126 0000 0001,a\n12600000002\n+86 126-0000-0001\n12699999999\nabc\n\nno@x@y\n"
    people, wrong = granting.people_in(body.encode("gb18030"))
    assert people == [first.id, second.id]
    assert [(line, why) for line, _text, why in wrong] == [
        (4, "repeated"),
        (5, "unknown"),
        (6, "malformed"),
        (8, "malformed"),
    ]


def test_a_run_gives_one_each_and_goes_on_after_a_crash(
    db: Any, make_offer: Callable, make_member: Callable, run_jobs: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(granting, "SLICE", 3)
    offer = make_offer(stock=6)
    people = [make_member().id for _ in range(8)]
    services.claim(offer.id, people[0])
    run = granting.start(offer.id, "All", [*people, people[1]], "key-12345678")
    assert granting.start(offer.id, "All", people, "key-12345678").id == run.id
    assert granting.work(run.id)
    assert (run.done, run.granted, run.had_already) == (3, 2, 1)
    jobs.resume_coupon_work.direct()
    run_jobs()
    run = db.session.get_one(GrantRun, run.id)
    assert (run.total, run.done, run.granted, run.had_already, run.without) == (8, 8, 5, 1, 2)
    assert db.session.scalar(select(Offer.claimed).where(Offer.id == offer.id)) == 6
    assert not granting.work(run.id)


def test_audiences(db: Any, make_member: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    low, high = make_member(rank=1), make_member(rank=3)
    assert granting.people_of("tier:2") == [high.id]
    assert granting.people_of("tier:1") == [low.id, high.id]
    asked: list[str] = []
    monkeypatch.setattr(granting.audiences, "_answers", [lambda: [("audience:7", "Tea lovers")]])
    monkeypatch.setattr(granting.audience_members, "_answers", [lambda key: asked.append(key) or [high.id, high.id]])
    assert ("audience:7", "Tea lovers") in granting.choices()
    assert (granting.people_of("audience:7"), asked) == ([high.id], ["audience:7"])
    for nonsense in ("", "tier:9", "tier:x", "group:", "audience:1"):
        with pytest.raises(InputInvalid):
            granting.people_of(nonsense)


def test_the_page_gives_to_many(
    db: Any, browse: Callable, make_offer: Callable, make_member: Callable, known: Callable, run_jobs: Callable
) -> None:
    offer, browser = make_offer(), browse()
    make_member(rank=3)
    known("+8612600000001")
    url = f"/console/offers/{offer.id}/grants"
    assert "Not given to anybody at once yet" in text_of(browser.get(url))
    answer = browser.post(url, data={"audience": "tier:2", "key": "abcdefgh1"})
    assert answer.status_code == 303
    browser.post(url, data={"audience": "tier:2", "key": "abcdefgh1"})
    assert "Under way" in text_of(browser.get(url))
    file = (io.BytesIO(b"12600000001\nnobody@example.org\n"), "vip.csv")
    assert browser.post(url, data={"audience": "", "file": file, "key": "abcdefgh2"}).status_code == 303
    run_jobs()
    page = text_of(browser.get(url))
    assert "vip.csv" in page
    assert "1 line names nobody" in page
    assert db.session.scalar(select(func.count()).select_from(Coupon)) == 2
    for wrong in (
        {"audience": "tier:7", "key": "abcdefgh3"},
        {"audience": "tier:4", "key": "abcdefgh4"},
        {"key": "abcdefgh5"},
    ):
        assert browser.post(url, data=wrong).status_code == 422, wrong
    assert browse(Role.VIEWER).post(url, data={"audience": "tier:2", "key": "abcdefgh6"}).status_code == 403


def test_the_floor_is_set_on_its_page(db: Any, browse: Callable, goods: Callable) -> None:
    goods("TEA", 10_000)
    goods("CUP", 10_000, 4_000)
    draft = services.Draft(name="x", kind=CouponKind.PERCENT, value=500, with_tier=False, skus=["tea"])
    browser = browse()
    assert guard.weigh(draft)[1] == 0
    page = text_of(browser.get("/console/offers/floor"))
    assert 'value="40"' in page
    assert "It counts for one product at present" in page
    assert browser.post("/console/offers/floor", data={"percent": "60"}).status_code == 303
    assert guard.weigh(draft)[1] == 1
    assert 'value="60"' in text_of(browser.get("/console/offers/floor"))
    # The same again is no change.
    browser.post("/console/offers/floor", data={"percent": "60"})
    entry = db.session.scalars(select(AuditEntry).where(AuditEntry.action == "margin_floor.changed")).one()
    assert (entry.before, entry.after) == ({"share": 400}, {"share": 600})


@pytest.mark.parametrize("percent", ["", "-1", "101", "40.5", "x"])
def test_a_floor_that_is_none_is_refused_at_its_field(db: Any, browse: Callable, percent: str) -> None:
    answer = browse().post("/console/offers/floor", data={"percent": percent})
    assert answer.status_code == 422
    assert "is-invalid" in text_of(answer)
    assert guard.floor_share() == margin.FLOOR


@pytest.mark.parametrize("role", [Role.SERVICE, Role.ASSISTANT, Role.VIEWER])
def test_the_floor_is_set_by_those_who_edit_offers(db: Any, browse: Callable, role: Role) -> None:
    assert browse(role).get("/console/offers/floor").status_code == 403
    assert browse(role).post("/console/offers/floor", data={"percent": "1"}).status_code == 403
