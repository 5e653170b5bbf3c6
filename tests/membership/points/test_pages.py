"""The pages of points: staff and members, each works, each field refused, role refused, GET changes nothing."""

from __future__ import annotations

import csv
import io
import re
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import func, select, text

from kernel import clock as kernel_clock
from kernel.audit import AuditEntry
from kernel.auth import Role
from membership.coupons import services as coupons
from membership.coupons.models import Coupon, CouponKind, CouponState, OfferState
from membership.gifts import services as gifts
from membership.gifts.models import GiftClaim, GiftKind, GiftState
from membership.members.models import Channel, Member, MemberIdentity
from membership.points import queries, services
from membership.points.models import (
    Kind,
    PointsBatch,
    PointsProgram,
    PointsRedemption,
    PointsReward,
    PointsTransaction,
)
from tests.conftest import bind

from .conftest import active


def give(member: Any, points: int, source: str = "a") -> None:
    services.award(member.id, points, type=Kind.AWARD, source_type="test", source_id=source, reason="Thanks")


@pytest.fixture
def browser_of(app: Any, db: Any):
    """`browser_of(member, identified=True)` is a phone that is bound to a member."""

    def make(member: Any, identified: bool = True) -> Any:
        return bind(app.test_client(), member.id, identified)

    return make


@pytest.fixture
def make_reward(db: Any, clock: Any):
    """`make_reward(points=100, stock=1)` makes a reward that gives a coupon; with `gift=True` a gift."""

    def make(points: int = 100, stock: int | None = 10, gift: bool = False, **more: Any) -> PointsReward:
        if gift:
            thing = gifts.create(gifts.Draft(name="Bag", kind=GiftKind.PHYSICAL, stock=stock))
            return services.create_reward(services.RewardDraft(name="A bag", points=points, gift_id=thing.id, **more))
        offer = coupons.create(
            coupons.Draft(
                name="Ten off", kind=CouponKind.AMOUNT, value=10_00, valid_days=14, stock=stock or 1, per_member=None
            ),
            OfferState.ACTIVE,
        )
        if stock == 0:
            now = kernel_clock.now()
            friend = Member(stage_since=now, created_at=now)
            db.session.add(friend)
            db.session.flush()
            coupons.grant(offer.id, friend.id, "taken", "test")
        return services.create_reward(services.RewardDraft(name="¥10", points=points, offer_id=offer.id, **more))

    return make


PAGES = [
    "/console/points",
    "/console/points/ledger",
    "/console/points/ledger?kind=award&q=1234&since=2026-01-01&until=2026-12-31&sort=at",
    "/console/points/ledger?kind=nonsense&since=x&until=9999-99-99&cursor=zzz",
    "/console/points/rewards",
    "/console/points/redemptions",
    "/console/points/redemptions?state=undone&reward=1",
    "/console/points/liability",
    "/console/points/trial-balance",
    "/console/points/batches",
]


@pytest.mark.parametrize("path", PAGES)
def test_pages_open_before_anything_is_there(db, clock, staff_client, path):
    assert staff_client(Role.VIEWER).get(path).status_code == 200


@pytest.fixture
def busy(db, program, make_member, make_order, make_reward):
    """A shop in which everything has happened once."""
    member = make_member(name="青柠", phone="+8612600001234")
    order = make_order(member, 500_00, completed=1)
    pending = make_order(member, 80_00, delivered=2)
    services.settle_orders([order.id, pending.id])
    reward = make_reward()
    services.redeem(member.id, reward.id, "token-0001")
    services.adjust(member.id, 7, "Late parcel", key="k1")
    order.refunded_amount = 500_00
    db.session.flush()
    services.settle_order(order.id)
    return member, reward


@pytest.mark.parametrize("path", [*PAGES, "/console/members/{member}/points", "/console/members/{member}"])
@pytest.mark.parametrize("language", ["zh_Hans", "en"])
def test_pages_open_when_everything_has_happened(busy, staff_client, path, language):
    browser = staff_client(Role.MANAGER)
    browser.set_cookie("lang", language)
    answer = browser.get(path.format(member=busy[0].id))
    assert answer.status_code == 200


def test_reading_changes_nothing(db, busy, staff_client, clock):
    clock.move(days=400)
    browser = staff_client(Role.OWNER)
    before = db.session.scalar(select(func.count()).select_from(PointsTransaction))
    for path in (
        *PAGES,
        f"/console/members/{busy[0].id}/points",
        "/console/points/settings",
        "/console/points/rewards/new",
    ):
        assert browser.get(path).status_code == 200
    assert db.session.scalar(select(func.count()).select_from(PointsTransaction)) == before


def test_the_ledger_is_narrowed_and_downloaded(db, busy, make_member, staff_client):
    other = make_member(name="芒果", phone="+8612600009999")
    give(other, 5)
    browser = staff_client(Role.VIEWER)
    page = browser.get("/console/points/ledger?q=9999").text
    assert "芒果" in page
    assert "青柠" not in page.split("<table")[1]
    assert "ledger/export" not in page
    assert browser.post("/console/points/ledger/export?kind=adjust").status_code == 403
    browser = staff_client(Role.MARKETER)
    assert "ledger/export" in browser.get("/console/points/ledger").text
    answer = browser.post("/console/points/ledger/export?kind=adjust")
    lines = answer.text.strip().splitlines()
    assert len(lines) == 2
    assert "Late parcel" in lines[1]
    assert "1234" in lines[1]
    assert "12600001234" not in answer.text
    [kept] = db.session.scalars(select(AuditEntry).where(AuditEntry.action == "points.exported"))
    assert kept.after == {"filter": {"kind": "adjust"}, "phones": False}


def test_the_liability_report_adds_up(busy, staff_client):
    page = staff_client(Role.VIEWER).get("/console/points/liability").text
    assert "2026年3月" in page
    assert len(staff_client(Role.VIEWER).get("/console/points/liability.csv").text.strip().splitlines()) == 37


def test_the_trial_balance_names_an_account_that_does_not_reconcile(db, busy, staff_client):
    browser = staff_client(Role.VIEWER)
    browser.set_cookie("lang", "en")
    assert "The books are right" in browser.get("/console/points/trial-balance").text
    db.session.execute(
        text("UPDATE points_lot SET remaining = remaining - 1 WHERE state = 'pending' AND remaining > 0")
    )
    page = browser.get("/console/points/trial-balance").text
    assert "The books do not agree" in page
    assert f"#{busy[0].id}" in page
    assert [(one.member_id, one.booked_pending - one.lots_pending) for one in queries.unreconciled()] == [
        (busy[0].id, 1)
    ]


# ── Settings ────────────────────────────────────────────────────────────────────────────────────────────────────────

SETTINGS = {
    "enabled": "y", "rate": "1.5", "rounding": "nearest", "worth": "10", "pending_days": "7", "lot_days": "365",
    "notice_days": "30", "clawback": "within_balance", "late": "lost", "reopen_days": "7", "adjust_cap": "500",
    "effective_from": "2026-01-01T00:00",
}  # fmt: skip


def test_settings_are_previewed_and_saved_as_a_version(db, clock, make_member, make_order, owner_client):
    make_order(make_member(), 100_00, days=20)
    owner_client.set_cookie("lang", "en")
    page = owner_client.post("/console/points/settings", data={**SETTINGS, "act": "preview"})
    assert page.status_code == 200
    assert "What this would have brought in Feb 2026" in page.text
    assert ">150<" in page.text.replace("\n", "")
    assert db.session.scalar(select(func.count()).select_from(PointsProgram)) == 0
    answer = owner_client.post("/console/points/settings", data={**SETTINGS, "act": "save"})
    assert answer.status_code == 302
    row = db.session.scalars(select(PointsProgram)).one()
    assert (row.rate, row.worth, row.enabled, row.lot_days) == (1500, 1000, True, 365)
    assert row.effective_from.isoformat() == "2025-12-31T16:00:00+00:00"
    owner_client.post("/console/points/settings", data={**SETTINGS, "act": "save"})
    assert db.session.scalar(select(func.count()).select_from(PointsProgram)) == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"rate": "0"}, {"rate": "x"}, {"rate": "1,5"}, {"rate": "1.2345"}, {"rate": "NaN"}, {"rate": "1e99"}, {"worth": "-1"},
        {"pending_days": "-1"}, {"pending_days": ""}, {"lot_days": "0"}, {"lot_days": "99999"}, {"notice_days": "400"},
        {"reopen_days": "0"}, {"adjust_cap": "-1"}, {"effective_from": "soon"}, {"effective_from": ""},
        {"clawback": "allow_negative"}, {"clawback": "x"}, {"rounding": "x"}, {"late": "x"},
    ],
)  # fmt: skip
def test_settings_refuse(db, clock, owner_client, changes):
    answer = owner_client.post("/console/points/settings", data={**SETTINGS, **changes, "act": "save"})
    assert answer.status_code == 422
    assert db.session.scalar(select(func.count()).select_from(PointsProgram)) == 0


@pytest.mark.parametrize("role", [Role.MARKETER, Role.SERVICE, Role.VIEWER])
def test_settings_are_not_for_everybody(db, staff_client, role):
    assert staff_client(role).get("/console/points/settings").status_code == 403
    assert staff_client(role).post("/console/points/settings", data=SETTINGS).status_code == 403


# ── By hand ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_service_changes_points_by_hand_up_to_the_cap(db, set_program, make_member, staff_client):
    set_program(adjust_cap=50)
    member = make_member()
    browser = staff_client(Role.SERVICE)
    path = f"/console/members/{member.id}/points"
    data = {"way": "give", "points": "30", "reason": "Late parcel", "key": "key-00001"}
    for _click in range(2):
        assert browser.post(path, data=data).status_code == 302
    assert active(member) == 30
    assert browser.post(path, data={**data, "way": "take", "points": "10", "key": "key-00002"}).status_code == 302
    assert active(member) == 20
    assert browser.post(path, data={**data, "points": "11", "key": "key-00003"}).status_code == 422
    owner = staff_client(Role.OWNER)
    assert owner.post(path, data={**data, "points": "5000", "key": "key-00004"}).status_code == 302
    assert active(member) == 5020


@pytest.mark.parametrize(
    "changes",
    [
        {"points": "0"}, {"points": "x"}, {"points": ""}, {"reason": ""}, {"reason": " "}, {"key": ""}, {"key": "short"},
        {"way": "steal"}, {"way": "take"}, {"reason": "x" * 301},
    ],
)  # fmt: skip
def test_changing_by_hand_refuses(db, program, make_member, owner_client, changes):
    member = make_member()
    data = {"way": "give", "points": "30", "reason": "Late parcel", "key": "key-00001"}
    answer = owner_client.post(f"/console/members/{member.id}/points", data={**data, **changes})
    assert answer.status_code == 422
    assert active(member) == 0


@pytest.mark.parametrize("role", [Role.MARKETER, Role.ASSISTANT, Role.VIEWER])
def test_changing_by_hand_is_not_for_everybody(db, program, make_member, staff_client, role):
    member = make_member()
    data = {"way": "give", "points": "30", "reason": "Late parcel", "key": "key-00001"}
    assert staff_client(role).post(f"/console/members/{member.id}/points", data=data).status_code == 403
    assert active(member) == 0


# ── By file ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def upload(browser: Any, content: str | bytes) -> Any:
    raw = content.encode() if isinstance(content, str) else content
    return browser.post("/console/points/batches/new", data={"file": (io.BytesIO(raw), "thanks.csv")})


@pytest.fixture
def known(db, make_member):
    member = make_member(name="青柠")
    for channel, name in ((Channel.PHONE, "+8612600001234"), (Channel.TAOBAO, "qingning")):
        db.session.add(
            MemberIdentity(member_id=member.id, channel=channel, external_id=name, created_at=kernel_clock.now())
        )
    db.session.flush()
    return member


def test_a_file_gives_points_and_names_the_lines_it_cannot_take(db, program, known, staff_client, books):
    browser = staff_client(Role.MANAGER)
    content = (
        "手机号,渠道,积分,原因\n"
        "126 0000 1234,,50,谢谢\n"
        "qingning,淘宝,20,谢谢\n"
        "126 0000 1234,,50,谢谢\n"
        "126 0000 9999,,50,谁\n"
        "12,,50,x\n"
        "126 0000 1234,,0,x\n"
        "126 0000 1234,,1.5,x\n"
        "126 0000 1234,,5,\n"
        ",,5,x\n"
        "abc,mars,5,x\n"
        "126 0000 1234,,5,x,more\n"
    )
    answer = upload(browser, content)
    assert answer.status_code == 302
    batch = db.session.scalars(select(PointsBatch)).one()
    # Equal lines are two awards: somebody may be thanked twice.
    assert (batch.rows_in, batch.accepted, batch.duplicate, batch.rejected, batch.points) == (11, 3, 0, 8, 120)
    assert [reject["line"] for reject in batch.rejects] == [5, 6, 7, 8, 9, 10, 11, 12]
    assert active(known) == 120
    assert upload(browser, content).status_code == 302
    again = db.session.scalars(select(PointsBatch).order_by(PointsBatch.id.desc())).first()
    assert again is not None
    assert (again.accepted, again.duplicate, again.rejected) == (0, 3, 8)
    assert active(known) == 120
    # Whoever looks reads the reasons in their own language, whoever uploaded the file.
    assert "这里没有这个手机号或账号的会员" in browser.get(answer.location, headers={"Accept-Language": "zh-CN"}).text
    assert "Nobody here is known" in browser.get(answer.location, headers={"Accept-Language": "en"}).text
    assert len(browser.post(f"{answer.location}/rejects").text.strip().splitlines()) == 9
    books()


@pytest.mark.parametrize(
    "content", ["", "a,b\n1,2\n", "phone,points\n1,2\n", b"\xff\xfe\x00", "phone,phone,points,reason\n"]
)
def test_a_file_is_refused_as_a_whole(db, program, owner_client, content):
    assert upload(owner_client, content).status_code == 422
    assert db.session.scalar(select(func.count()).select_from(PointsBatch)) == 0


def test_a_file_without_a_file(db, program, owner_client):
    assert owner_client.post("/console/points/batches/new", data={}).status_code == 422


# ── Rewards ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_reward_is_made_and_changed(db, program, make_reward, owner_client):
    offer_id = make_reward().offer_id
    data = {
        "name": "Ten yuan",
        "points": "300",
        "thing": f"offer:{offer_id}",
        "min_rank": "2",
        "per_member": "1",
        "active": "y",
    }
    assert owner_client.post("/console/points/rewards/new", data=data).status_code == 302
    reward = db.session.scalars(select(PointsReward).order_by(PointsReward.id.desc())).first()
    assert (reward.name, reward.points, reward.offer_id, reward.min_rank, reward.per_member) == (
        "Ten yuan",
        300,
        offer_id,
        2,
        1,
    )
    coupons.set_state(offer_id, OfferState.ENDED)
    path = f"/console/points/rewards/{reward.id}/edit"
    assert "Ten yuan" in owner_client.get(path).text
    assert owner_client.post(path, data={**data, "points": "250"}).status_code == 302
    db.session.refresh(reward)
    assert reward.points == 250


@pytest.mark.parametrize(
    "changes",
    [
        {"name": ""},
        {"points": "0"},
        {"points": "x"},
        {"thing": "offer:987654"},
        {"thing": ""},
        {"min_rank": "9"},
        {"per_member": "0"},
    ],
)
def test_a_reward_refuses(db, program, make_reward, owner_client, changes):
    data = {"name": "Ten", "points": "300", "thing": f"offer:{make_reward().offer_id}", "min_rank": "0", **changes}
    assert owner_client.post("/console/points/rewards/new", data=data).status_code == 422
    assert db.session.scalar(select(func.count()).select_from(PointsReward)) == 1


def token_in(page: str) -> str:
    found = re.search(r'name="token"[^>]*value="([^"]+)"', page) or re.search(r'value="([^"]+)"[^>]*name="token"', page)
    assert found, page
    return found[1]


def test_a_member_takes_a_coupon_for_points_once_however_often_they_press(
    db, program, make_member, make_reward, browser_of, books
):
    member, reward = make_member(), make_reward(points=100)
    give(member, 150)
    browser = browser_of(member)
    path = f"/me/points/rewards/{reward.code}"
    token = token_in(browser.get(path).text)
    assert active(member) == 150
    for _press in range(3):
        answer = browser.post(path, data={"token": token})
        assert answer.status_code == 303
    assert browser.get(answer.location).status_code == 200
    assert active(member) == 50
    assert db.session.scalar(select(func.count()).select_from(Coupon)) == 1
    # Another press from a page of its own is another reward, and there are not enough points for it.
    assert browser.post(path, data={"token": "another-token"}).status_code == 409
    assert active(member) == 50
    assert db.session.scalar(select(func.count()).select_from(Coupon)) == 1
    books()


def test_a_member_takes_a_gift_for_points(db, program, make_member, make_reward, browser_of):
    member, reward = make_member(), make_reward(points=100, gift=True)
    give(member, 100)
    browser = browser_of(member)
    answer = browser.post(f"/me/points/rewards/{reward.code}", data={"token": "token-0001"})
    page = browser.get(answer.location).text
    claim = db.session.scalars(select(GiftClaim)).one()
    assert gifts.path_of(claim) in page
    assert active(member) == 0


@pytest.mark.parametrize(
    ("why", "changes"),
    [("points", {"points": 101}), ("tier", {"min_rank": 1}), ("stock", {"stock": 0}), ("off", {"active": False})],
)
@pytest.mark.parametrize("gift", [False, True])
def test_a_refused_reward_costs_nothing(db, program, make_member, make_reward, browser_of, why, changes, gift):
    member, reward = make_member(), make_reward(**{"points": 100, "gift": gift, **changes})
    give(member, 100)
    browser = browser_of(member)
    assert browser.get(f"/me/points/rewards/{reward.code}").status_code == 200
    assert browser.post(f"/me/points/rewards/{reward.code}", data={"token": "token-0001"}).status_code == 409
    assert active(member) == 100
    assert db.session.scalar(select(func.count()).select_from(PointsRedemption)) == 0
    assert db.session.scalar(select(func.count()).select_from(GiftClaim)) == 0
    assert db.session.scalar(select(func.count()).where(Coupon.member_id == member.id)) == 0


def test_a_reward_is_taken_as_often_as_it_says(db, program, make_member, make_reward, browser_of, books):
    member, reward = make_member(), make_reward(points=10, per_member=2)
    give(member, 100)
    browser = browser_of(member)
    said = [
        browser.post(f"/me/points/rewards/{reward.code}", data={"token": f"token-000{press}"}).status_code
        for press in range(3)
    ]
    assert said == [303, 303, 409]
    assert active(member) == 80
    books()


def test_nobody_pays_for_a_coupon_that_they_have_already(db, program, make_member, browser_of):
    offer = coupons.create(
        coupons.Draft(name="One each", kind=CouponKind.AMOUNT, value=10_00, valid_days=14, per_member=1),
        OfferState.ACTIVE,
    )
    reward = services.create_reward(services.RewardDraft(name="¥10", points=100, offer_id=offer.id))
    member = make_member()
    give(member, 100)
    coupons.grant(offer.id, member.id, "k", "test")
    assert browser_of(member).post(f"/me/points/rewards/{reward.code}", data={"token": "token-0001"}).status_code == 409
    assert active(member) == 100


def test_a_link_alone_does_not_spend_points(db, program, make_member, make_reward, browser_of):
    member, reward = make_member(), make_reward(points=100)
    give(member, 100)
    browser = browser_of(member, identified=False)
    assert browser.get("/me/points").status_code == 200
    for answer in (
        browser.get(f"/me/points/rewards/{reward.code}"),
        browser.post(f"/me/points/rewards/{reward.code}", data={"token": "token-0001"}),
    ):
        assert "/me/sign-in" in answer.location
    assert active(member) == 100


def test_a_stale_form_takes_nothing(db, program, make_member, make_reward, browser_of):
    member, reward = make_member(), make_reward(points=100)
    give(member, 100)
    browser = browser_of(member)
    assert browser.post(f"/me/points/rewards/{reward.code}", data={}).status_code == 302
    assert active(member) == 100
    assert browser.get("/me/points/rewards/nothing").status_code == 404
    assert browser.get(f"/me/points/rewards/{reward.code}/taken?token=unknown-token").status_code == 404


@pytest.mark.parametrize("gift", [False, True])
def test_staff_undo_a_taken_reward(db, program, make_member, make_reward, staff_client, books, gift):
    member, reward = make_member(), make_reward(points=100, per_member=1, gift=gift)
    give(member, 100)
    taken = services.redeem(member.id, reward.id, "token-0001")
    browser = staff_client(Role.SERVICE)
    path = f"/console/points/redemptions/{taken.id}/undo"
    assert browser.post(path, data={"reason": ""}).status_code == 302
    assert active(member) == 0
    for _press in range(2):
        assert browser.post(path, data={"reason": "Wrong colour"}).status_code == 302
    assert active(member) == 100
    if gift:
        assert db.session.scalars(select(GiftClaim.state)).all() == [GiftState.CANCELLED]
    else:
        assert db.session.scalars(select(Coupon.state)).all() == [CouponState.REVOKED]
    services.redeem(member.id, reward.id, "token-0002")
    assert active(member) == 0
    assert staff_client(Role.VIEWER).post(path, data={"reason": "x"}).status_code == 403
    books()


def test_taken_rewards_are_searched_and_downloaded(db, program, make_member, make_reward, staff_client):
    lime, plum = make_member(nickname="=Lime", phone="+8610000001234"), make_member(nickname="Plum")
    ten, bag = make_reward(points=100), make_reward(points=50, gift=True)
    ten.name = "50%_off"
    for member, reward in ((lime, ten), (plum, bag)):
        give(member, 100)
        services.redeem(member.id, reward.id, f"token-{member.id:04}")
    undone = db.session.scalars(select(PointsRedemption).where(PointsRedemption.member_id == plum.id)).one()
    services.undo_redemption(undone.id, "@wrong", None)
    browser, address = staff_client(Role.MANAGER), "/console/points/redemptions"
    for query, found in (
        ("q=lime", [1, 0]), ("q=1234", [1, 0]), ("q=%25_", [1, 0]), ("q=bag", [0, 1]), ("q=m&state=undone", [0, 1]), ("", [1, 1]),
    ):  # fmt: skip
        page = browser.get(f"{address}?{query}").text
        assert [f"/console/members/{member.id}/points" in page for member in (lime, plum)] == found, query
    answer = browser.post(f"{address}/export", buffered=True, headers={"Accept-Language": "en"})
    rows = list(csv.reader(io.StringIO(answer.text.removeprefix("\ufeff"))))
    assert [row[1:2] + row[3:6] + row[7:] for row in rows[1:]] == [
        ["Plum", "A bag", "50", "Undone", "'@wrong"],
        ["'=Lime", "50%_off", "100", "Redeemed", ""],
    ]
    assert rows[2][2] == "100****1234"
    narrowed = browser.post(f"{address}/export?q=lime", buffered=True).text
    assert ("Lime" in narrowed, "Plum" in narrowed) == (True, False)
    kept = select(AuditEntry.after).where(AuditEntry.action == "points.redemptions_exported").order_by(AuditEntry.id)
    assert list(db.session.scalars(kept)) == [{"filter": {}}, {"filter": {"q": "lime"}}]
    assert staff_client(Role.VIEWER).post(f"{address}/export").status_code == 403


def test_a_used_coupon_is_not_undone(db, program, make_member, make_reward, staff_client, books):
    from membership.coupons.rules import Basket

    member, reward = make_member(), make_reward(points=100)
    give(member, 100)
    taken = services.redeem(member.id, reward.id, "token-0001")
    code = db.session.scalars(select(Coupon.code)).one()
    coupons.redeem(code, "shop", "A-1", Basket(amount=100_00))
    answer = staff_client(Role.SERVICE).post(f"/console/points/redemptions/{taken.id}/undo", data={"reason": "x"})
    assert answer.status_code == 409
    assert active(member) == 0
    books()


# ── The member's own pages ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("language", ["zh_Hans", "en"])
@pytest.mark.parametrize("path", ["/me/points", "/me/points/history", "/me/"])
def test_a_members_pages_open(busy, browser_of, language, path, make_reward):
    make_reward(points=5)
    browser = browser_of(busy[0])
    browser.set_cookie("lang", language)
    assert browser.get(path).status_code == 200


@pytest.mark.parametrize("path", ["/me/points", "/me/points/history"])
def test_a_newcomers_pages_open(db, clock, make_member, browser_of, path):
    assert browser_of(make_member()).get(path).status_code == 200


def test_a_member_reads_what_they_have_and_until_when(db, program, make_member, make_order, browser_of, clock):
    member = make_member()
    order = make_order(member, 80_00, delivered=2)
    services.settle_order(order.id)
    services.award(
        member.id, 40, type=Kind.BIRTHDAY, source_type="t", source_id="1", expires_at=clock.now() + timedelta(days=3)
    )
    browser = browser_of(member)
    browser.set_cookie("lang", "en")
    page = browser.get("/me/points").text
    assert "40 points lapse after" in page
    assert "+80" in page
    assert "usable from" in page
    assert order.external_id in page
    assert "Birthday points" in page


def test_nobody_reads_anothers_points(db, program, make_member, browser_of):
    mine, other = make_member(), make_member()
    give(other, 7777)
    assert "7,777" not in browser_of(mine).get("/me/points").text
