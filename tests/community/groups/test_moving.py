"""A flash group that leads on, what a live session brings with it, and codes of groups elsewhere."""

from __future__ import annotations

import io
from datetime import timedelta

import pytest
from PIL import Image
from sqlalchemy import func, select

from community.groups import labels, queries, results, rules, services
from community.groups.models import (
    GroupKind,
    GroupState,
    LiveDrop,
    OutsideCode,
    OutsideView,
    Platform,
    Seat,
    SeatState,
)
from kernel.audit import AuditEntry
from kernel.auth import Role
from kernel.notices import Notice
from membership.coupons import services as coupons
from membership.coupons.models import Coupon, CouponKind, OfferState
from tests.conftest import bind, english, everything, published


def text(answer):
    return answer.get_data(as_text=True)


def picture():
    out = io.BytesIO()
    Image.new("RGB", (200, 200), "#000").save(out, "PNG")
    out.seek(0)
    return out


@pytest.fixture
def phone(app, db):
    """`phone(member)` is a browser of theirs, in English."""
    return lambda member: english(bind(app.test_client(), member.id))


@pytest.fixture
def flash_sale(make_group, clock):
    regular = make_group(name="Regular", capacity=2, seats_each=2)
    return make_group(
        name="618", kind=GroupKind.FLASH, closes_at=clock.now() + timedelta(days=1), successor_id=regular.id
    ), regular


def test_moving_on_with_one_tap_is_counted_in_both(db, clock, browse, phone, run_jobs, flash_sale, make_member):
    """Told when it closes; the tap moves the seat; the third finds the next group full and keeps the old seat to read."""
    flash, regular = flash_sale
    people = [make_member() for _ in range(4)]
    services.join_many(flash.id, [person.id for person in people])
    early = phone(people[0]).post(f"/groups/{flash.public_id}/move-on")
    assert early.status_code == 409
    clock.move(days=1)
    services.catch_up(flash.id)
    run_jobs()
    notices = db.session.scalars(select(Notice).where(Notice.kind == "group.moved_on")).all()
    assert {notice.member_id for notice in notices} == {person.id for person in people}
    assert "“618” is over" in text(browse(Role.MANAGER).get("/console/"))
    page = text(phone(people[0]).get(f"/groups/{flash.public_id}"))
    assert "On to “Regular”" in page
    for person in people[:3]:
        answer = phone(person).post(f"/groups/{flash.public_id}/move-on")
        assert answer.headers["Location"] == f"/groups/{regular.public_id}"
    again = phone(people[0]).post(f"/groups/{flash.public_id}/move-on")
    assert again.status_code == 404
    assert [queries.in_group(p.id, regular.id) for p in people] == [True, True, False, False]
    assert [queries.in_group(p.id, flash.id) for p in people] == [False, False, True, True]
    assert queries.find_place(regular.id, people[2].id).waiting.number == 1
    found = results.result_of(queries.get_group(flash.id))
    assert (found.all.joined, found.all.moved_on, found.all.left) == (4, 2, 0)
    ways = results.result_of(queries.get_group(regular.id)).sources
    assert [(way.name, way.tally.joined) for way in ways] == [(labels.source_name("successor"), 2)]
    assert [(e["member_id"], e["to_group_id"]) for e in published(db, "MemberMovedGroup")] == [
        (person.id, regular.id) for person in people[:2]
    ]
    ended = db.session.scalars(select(Seat).where(Seat.group_id == flash.id, Seat.state == SeatState.MOVED)).all()
    assert {seat.end_reason for seat in ended} == {"successor"}


def test_moving_on_asks_the_next_groups_rules(db, clock, phone, flash_sale, make_member):
    flash, regular = flash_sale
    regular.join_rule = {"mode": "all", "rules": [{"kind": "orders", "count": 2}]}
    member = make_member(orders_count=1)
    services.join(flash.id, member.id, together=True)
    clock.move(days=1)
    refused = phone(member).post(f"/groups/{flash.public_id}/move-on")
    assert refused.status_code == 403
    assert "1 more order" in text(refused)
    assert queries.in_group(member.id, flash.id)


def test_whoever_waits_for_the_opening_is_told_once(db, clock, app, phone, run_jobs, make_group, make_member):
    group = make_group(name="618", state=GroupState.WARM_UP, opens_at=clock.now() + timedelta(hours=2))
    anna, bert = make_member(), make_member()
    path = f"/groups/{group.public_id}/opening"
    assert "Tell me when it opens" in text(phone(anna).get(f"/groups/{group.public_id}"))
    for person, wanted in ((anna, "1"), (anna, "1"), (bert, "1"), (bert, "0")):
        assert phone(person).post(path, data={"wanted": wanted}).status_code == 303
    assert "Do not tell me" in text(phone(anna).get(f"/groups/{group.public_id}"))
    clock.move(hours=2)
    assert phone(bert).post(path, data={"wanted": "1"}).status_code == 409
    services.catch_up(group.id)
    run_jobs()
    services.tell_opened(queries.get_group(group.id))
    told = db.session.scalars(select(Notice.member_id).where(Notice.kind == "group.opened")).all()
    assert told == [anna.id]


# ── Live ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def live(db, clock, make_group):
    group = make_group(name="Live", kind=GroupKind.LIVE)
    start = clock.now() + timedelta(hours=1)
    session = services.save_session(
        group, None, "Unboxing", start, start + timedelta(hours=1), "", "https://replay.example/1"
    )
    return group, session


def offer_for(group, name="¥20 off", **values):
    return coupons.create(
        coupons.Draft(name=name, kind=CouponKind.AMOUNT, value=2_000, valid_days=14, group_id=group.id, **values),
        OfferState.ACTIVE,
    )


def test_a_drop_is_there_while_the_session_runs(db, clock, browse, phone, live, make_member):
    group, session = live
    member, manager = make_member(), browse(Role.MANAGER)
    services.join(group.id, member.id, together=True)
    own, drop_offer = offer_for(group, "Always"), offer_for(group, "Only live", stock=1)
    path = f"/console/groups/{group.id}/sessions/{session.id}/drops"
    good = {"title": "Now", "minute": "10", "offer_id": str(drop_offer.id)}
    for field, value in (("title", ""), ("minute", "-1"), ("url", "nowhere"), ("offer_id", "999999")):
        assert manager.post(path, data={**good, field: value}).status_code == 422
    assert manager.post(path, data=good).status_code == 303
    manager.post(path, data={"title": "Recipe", "minute": "0", "offer_id": "0", "url": "https://shop.example/recipe"})
    drop = db.session.scalar(select(LiveDrop).where(LiveDrop.offer_id == drop_offer.id))
    browser, tap = phone(member), f"/groups/{group.public_id}/drops/{drop.token}"

    def shown():
        before = everything(db)
        page = text(browser.get(f"/groups/{group.public_id}"))
        assert everything(db) == before
        return ["Recipe" in page, "Only live" in page, "Watch again" in page]

    assert shown() == [False, False, False]
    assert "Always" in text(browser.get(f"/groups/{group.public_id}"))
    assert browser.post(tap).status_code == 410
    clock.move(hours=1, minutes=1)
    assert shown() == [True, False, False]
    assert browser.post(tap).status_code == 410
    clock.move(minutes=10)
    assert shown() == [True, True, False]
    assert phone(make_member()).post(tap).status_code == 404
    assert browser.post(tap).status_code == 303
    assert browser.post(tap).status_code == 303
    coupon = db.session.scalar(select(Coupon).where(Coupon.offer_id == drop_offer.id))
    assert (coupon.member_id, coupon.source) == (member.id, f"group:{group.id}/drop:{drop.id}")
    assert '<td class="num" data-label="Claimed">1</td>' in text(manager.get(f"/console/groups/{group.id}/sessions"))
    # The last one is gone: whoever comes later is told so, not given one more.
    late = make_member()
    services.join(group.id, late.id, together=True)
    assert phone(late).post(tap).status_code == 409
    clock.move(hours=1)
    assert shown() == [False, False, True]
    assert phone(late).post(tap).status_code == 410
    assert browser.post(f"/groups/{group.public_id}/drops/wrong").status_code == 410
    manager = browse(Role.MANAGER)
    assert manager.post(f"{path}/{drop.id}/delete").status_code == 303
    assert own.claimed == 0


def test_a_coupon_of_the_group_is_claimed_on_its_page(db, clock, phone, make_group, make_member):
    group, other, member = make_group(), make_group(), make_member()
    services.join(group.id, member.id, together=True)
    # Several each are allowed, and yet a second tap on the page is no second coupon.
    offer = offer_for(group, per_member=3)
    browser = phone(member)
    page = text(browser.get(f"/groups/{group.public_id}"))
    tap = page.split(f'action="/groups/{group.public_id}/coupons/')[1].split('"')[0]
    for _tap in range(2):
        assert browser.post(f"/groups/{group.public_id}/coupons/{tap}").status_code == 303
    assert db.session.scalars(select(Coupon.source).where(Coupon.offer_id == offer.id)).all() == [f"group:{group.id}"]
    assert "Yours: see it" in text(browser.get(f"/groups/{group.public_id}"))
    services.join(other.id, member.id, together=True)
    assert browser.post(f"/groups/{other.public_id}/coupons/{tap}").status_code == 404
    services.leave(group.id, member.id)
    assert browser.post(f"/groups/{group.public_id}/coupons/{tap}").status_code == 404


# ── Elsewhere ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_codes_elsewhere_are_shown_in_turn(db, clock, browse, phone, make_group, make_member):
    """Two codes of one person each, then one that ends: each is counted once, the next takes over, staff are told."""
    group, manager = make_group(name="Tea"), browse(Role.MANAGER)
    people = [make_member() for _ in range(4)]
    services.join_many(group.id, [person.id for person in people])
    path = f"/console/groups/{group.id}/codes"
    ends = (clock.now() + timedelta(days=5)).strftime("%Y-%m-%dT%H:%M")
    assert manager.post(path, data={"platform": "wecom", "name": "A"}).status_code == 422
    assert manager.post(path, data={"platform": "qq", "name": "A", "picture": (picture(), "a.png")}).status_code == 422
    broken = {"platform": "wecom", "name": "A", "picture": (io.BytesIO(b"no"), "a.png")}
    assert manager.post(path, data=broken).status_code == 422
    over = {"platform": "wecom", "name": "A", "picture": (picture(), "a.png"), "expires_at": "2020-01-01T10:00"}
    assert "This moment has passed already." in text(manager.post(path, data=over))
    for name, more in (("A", {"seats": "1"}), ("B", {"seats": "1"}), ("C", {"expires_at": ends})):
        sent = {"platform": "wecom", "name": name, "picture": (picture(), "a.png"), **more}
        assert manager.post(path, data=sent).status_code == 303
    seen = []
    for person in people[:3]:
        browser = phone(person)
        for _ in range(2):
            assert browser.post(f"/groups/{group.public_id}/elsewhere").status_code == 303
        page = text(browser.get(f"/groups/{group.public_id}/elsewhere"))
        seen.append(next(name for name in "ABC" if f"WeCom: {name}" in page))
    assert seen == ["A", "B", "C"]
    codes = services.codes_of(group.id)
    assert [code.shown for code in codes] == [1, 1, 1]
    assert "“Tea”" not in text(manager.get("/console/"))
    clock.move(days=4)
    assert services.alarms() == [(group, rules.CodeAlarm.ENDS_SOON)]
    assert "The last code ends within two days" in text(browse(Role.MANAGER).get("/console/"))
    clock.move(days=2)
    assert phone(people[3]).post(f"/groups/{group.public_id}/elsewhere").status_code == 409
    assert services.alarms() == [(group, rules.CodeAlarm.NONE_LEFT)]
    # Whoever saw one that has ended is shown the new one.
    fresh = services.add_code(group, Platform.WECOM, "D", "x", None, None)
    assert services.show_code(group, people[2].id).id == fresh.id
    services.retire_code(db.session.get(OutsideCode, fresh.id))
    with pytest.raises(rules.NoCodeLeft):
        services.show_code(group, people[3].id)
    # Pressed by mistake: the code comes back, and whoever presses is told when none is left.
    manager = browse(Role.MANAGER)
    for _ in range(2):
        assert manager.post(f"{path}/{fresh.id}/resume").status_code == 303
        assert services.code_now(group.id).id == fresh.id
    assert db.session.scalar(select(func.count()).where(AuditEntry.action == "outside_code.resumed")) == 1
    manager.post(f"{path}/{fresh.id}/retire")
    assert "no code is left to show" in text(manager.get(path))
    assert len(db.session.scalars(select(OutsideView)).all()) == 4


@pytest.mark.parametrize(
    ("codes", "alarm"),
    [
        ([], None),
        ([(None, None, 5)], None),
        ([(None, 10, 10)], rules.CodeAlarm.NONE_LEFT),
        ([(1, None, 0)], rules.CodeAlarm.ENDS_SOON),
        ([(1, None, 0), (9, None, 0)], None),
        ([(-1, None, 0)], rules.CodeAlarm.NONE_LEFT),
        ([(None, 10, 9)], rules.CodeAlarm.NEARLY_FULL),
        ([(None, 10, 9), (None, 10, 0)], None),
    ],
)
def test_when_staff_are_told_about_codes(clock, codes, alarm):
    rows = [
        OutsideCode(
            id=n,
            position=n,
            expires_at=None if days is None else clock.now() + timedelta(days=days),
            seats=seats,
            shown=shown,
        )
        for n, (days, seats, shown) in enumerate(codes)
    ]
    assert rules.code_alarm(rows, clock.now()) is alarm


def test_who_may_change_codes_and_rewards(db, clock, browse, make_group):
    group = make_group(state=GroupState.OPEN)
    for role in (Role.VIEWER, Role.ASSISTANT):
        browser = browse(role)
        assert browser.get(f"/console/groups/{group.id}/codes").status_code == 200
        assert browser.post(f"/console/groups/{group.id}/codes", data={}).status_code == 403
        assert browser.post(f"/console/groups/{group.id}/friends", data={}).status_code == 403
