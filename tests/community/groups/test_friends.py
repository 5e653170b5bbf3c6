"""Members who bring friends: their link, what counts as a friend, and a reward that is given once."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select

from community.groups import jobs, queries, rules, services
from community.groups.models import FriendLink, FriendReward, GroupState, RewardState, Seat
from community.groups.rules import Farming, Reward, Trace
from community.groups.services.book import Book
from kernel.auth import Role
from kernel.notices import Notice
from membership.coupons import services as coupons
from membership.coupons.models import Coupon, CouponKind, OfferState
from membership.limits.models import LimitCounter
from membership.members.models import Member
from membership.members.services import merge
from membership.points.models import PointsTransaction
from tests.community.posts.conftest import order
from tests.conftest import bind, english

__all__ = ["order"]
POINTS = {"kind": "points", "offer_id": 0, "points": 50, "after": "stay", "days": 3, "cap": 2}


def text(answer):
    return answer.get_data(as_text=True)


@pytest.fixture
def phone(app, db):
    """`phone(member)` is a browser of theirs, in English."""
    return lambda member: english(bind(app.test_client(), member.id))


@pytest.fixture
def tea(make_group, make_member):
    """A group that thanks for friends, and somebody who sits in it."""
    group, inviter = make_group(name="Tea", capacity=50, reward=POINTS, open_to_new=True), make_member("Anna")
    services.join(group.id, inviter.id, together=True)
    return group, inviter


def bring(db, group, inviter, friend, network=None, device=None):
    """A friend comes by the member's link, as a request would bring them."""
    link = services.make_friend_link(group, inviter.id)
    services.note_friend(link, group, friend.id)
    services.join(group.id, friend.id, "friend", inviter_id=inviter.id, together=True)
    row = db.session.scalar(
        select(FriendReward).where(FriendReward.friend_id == friend.id, FriendReward.group_id == group.id)
    )
    if row is not None:
        row.network, row.device = network, device
        db.session.flush()
    return row


def settle():
    return [services.settle_reward(reward_id) for reward_id in services.due_rewards()]


def test_a_friend_comes_by_the_link_and_the_member_is_thanked_once(db, clock, client, phone, make_member, tea):
    """The whole way on the phone: link, QR, a newcomer's tap, nothing before three days, then points, once."""
    group, inviter = tea
    mine = phone(inviter)
    page = text(mine.get(f"/groups/{group.public_id}/friends"))
    assert "50 points for each friend who stays 3 days" in page
    assert mine.post(f"/groups/{group.public_id}/friends").status_code == 303
    assert mine.post(f"/groups/{group.public_id}/friends").status_code == 303
    link = db.session.scalars(select(FriendLink)).one()
    assert f"/f/{link.token}" in text(mine.get(f"/groups/{group.public_id}/friends"))
    poster = mine.get(f"/groups/{group.public_id}/friends/poster.png")
    assert poster.data.startswith(b"\x89PNG")
    assert phone(make_member()).get(f"/groups/{group.public_id}/friends/poster.png").status_code == 404
    stranger = english(client)
    page = text(stranger.get(f"/f/{link.token}"))
    assert "Your friend A** invites you" in page
    visit = page.split('name="visit" value="')[1].split('"')[0]
    answer = stranger.post(f"/f/{link.token}", data={"phone": "13900001234", "visit": visit})
    assert answer.status_code == 303
    row = db.session.scalars(select(FriendReward)).one()
    seat = queries.find_seat(group.id, row.friend_id)
    assert (seat.source, seat.inviter_id, row.inviter_id) == ("friend", inviter.id, inviter.id)
    assert settle() == []
    clock.move(days=4)
    jobs.settle_friends()
    jobs.settle_friends()
    db.session.expire_all()
    assert row.state is RewardState.GIVEN
    given_points = db.session.scalars(select(PointsTransaction).where(PointsTransaction.source_type == "friend")).all()
    assert [(t.points, t.source_id) for t in given_points] == [(50, f"{group.id}:{row.friend_id}")]
    assert db.session.scalar(select(Notice.member_id).where(Notice.kind == "group.friend")) == inviter.id
    assert "Rewarded" in text(phone(inviter).get(f"/groups/{group.public_id}/friends"))


def test_the_members_own_tap_is_no_friend(db, clock, phone, tea):
    group, inviter = tea
    browser = phone(inviter)
    browser.post(f"/groups/{group.public_id}/friends")
    link = db.session.scalars(select(FriendLink)).one()
    services.leave(group.id, inviter.id)
    # Without a seat of the member's own the link leads nowhere.
    assert browser.post(f"/f/{link.token}").status_code == 410
    services.join(group.id, inviter.id, together=True)
    assert browser.get(f"/f/{link.token}").status_code == 302
    assert browser.post(f"/f/{link.token}").status_code == 303
    assert db.session.scalars(select(FriendReward)).all() == []
    assert browser.get("/f/unknown").status_code == 404


def test_what_becomes_of_a_reward(db, clock, make_member, tea):
    """Left, never seated, been here before, over the cap: each has its end, and none is given twice."""
    group, inviter = tea
    gone, stays, second, third = (make_member() for _ in range(4))
    old = make_member()
    services.join(group.id, old.id, together=True)
    services.leave(group.id, old.id)
    assert bring(db, group, inviter, old) is None
    rows = [bring(db, group, inviter, friend) for friend in (gone, stays, second, third)]
    assert services.note_friend(services.find_friend_link(group.id, inviter.id), group, stays.id) is False
    services.leave(group.id, gone.id)
    clock.move(days=3)
    settle()
    db.session.expire_all()
    assert [(row.state, row.reason) for row in rows] == [
        (RewardState.LAPSED, "left"),
        (RewardState.GIVEN, ""),
        (RewardState.GIVEN, ""),
        (RewardState.LAPSED, "cap"),
    ]
    assert settle() == []


def test_a_coupon_after_an_order(db, clock, make_member, tea, order):
    group, inviter = tea
    offer = coupons.create(
        coupons.Draft(name="Thanks", kind=CouponKind.AMOUNT, value=500, valid_days=30, stock=1, per_member=5),
        OfferState.ACTIVE,
    )
    services.set_reward(group, Reward("coupon", offer.id, 0, "order", 1, 5))
    buys, waits, late = (make_member() for _ in range(3))
    rows = [bring(db, group, inviter, friend) for friend in (buys, waits, late)]
    # Later terms are for later friends.
    services.set_reward(group, None)
    order(buys, clock.now() + timedelta(hours=1))
    clock.move(days=1)
    assert settle() == [RewardState.GIVEN, RewardState.WAITING, RewardState.WAITING]
    coupon = db.session.scalar(select(Coupon).where(Coupon.offer_id == offer.id))
    assert (coupon.member_id, coupon.grant_key, coupon.source) == (
        inviter.id, f"friend:{group.id}:{buys.id}", f"friend:{group.id}",
    )  # fmt: skip
    assert settle() == []
    order(late, clock.now())
    clock.move(days=2)
    assert settle() == [RewardState.WAITING, RewardState.LAPSED]
    clock.move(days=40)
    assert settle() == [RewardState.LAPSED]
    db.session.expire_all()
    assert [row.reason for row in rows] == ["", "no_order", "nothing_left"]


def test_a_friend_who_turns_out_to_be_the_member_brings_nothing(db, clock, make_member, tea):
    group, inviter = tea
    row = bring(db, group, inviter, make_member())
    merge.merge(inviter.id, row.friend_id)
    clock.move(days=3)
    settle()
    db.session.expire_all()
    assert [(r.state, r.reason) for r in db.session.scalars(select(FriendReward))] == [(RewardState.REFUSED, "self")]


def test_staff_see_farming_and_may_decide_otherwise(db, clock, browse, make_member, tea):
    group, inviter = tea
    rows = [bring(db, group, inviter, make_member(), device="same") for _ in range(2)]
    clock.move(days=3)
    settle()
    db.session.expire_all()
    assert [(row.state, row.reason) for row in rows] == [(RewardState.GIVEN, ""), (RewardState.REFUSED, "device")]
    manager = browse(Role.MANAGER)
    page = text(manager.get(f"/console/groups/{group.id}/friends?state=refused"))
    assert "known already" in page
    path = f"/console/groups/{group.id}/friends"
    assert browse(Role.ASSISTANT).post(f"{path}/{rows[1].id}/give").status_code == 403
    assert manager.post(f"{path}/{rows[1].id}/give").status_code == 303
    assert manager.post(f"{path}/{rows[1].id}/give").status_code == 409
    assert (
        len(db.session.scalars(select(PointsTransaction).where(PointsTransaction.source_type == "friend")).all()) == 2
    )
    manager.post(f"{path}/{inviter.id}/link", data={"revoked": "1"})
    with pytest.raises(rules.LinkRevoked):
        services.make_friend_link(group, inviter.id)
    for field, value in (("points", ""), ("days", "91"), ("cap", "0"), ("kind", "gold")):
        good = {"kind": "points", "points": "5", "days": "3", "cap": "5", "after": "stay", "offer_id": "0"}
        assert manager.post(path, data={**good, field: value}).status_code == 422
    assert manager.post(path, data={**good, "kind": "coupon"}).status_code == 422
    assert manager.post(path, data=good).status_code == 303
    assert queries.get_group(group.id).reward["points"] == 5
    lines = text(browse(Role.OWNER).post(f"{path}/export")).splitlines()
    assert len(lines) == 3


def test_giving_all_the_same_goes_no_further_than_the_cap(db, clock, browse, make_member, tea):
    """Staff overrule a suspicion, not the terms: two of a cap of two were given, and the third stays refused, with nothing booked."""
    group, inviter = tea
    rows = [bring(db, group, inviter, make_member(), device=device) for device in ("one", "two", "two")]
    clock.move(days=3)
    assert settle() == [RewardState.GIVEN, RewardState.GIVEN, RewardState.REFUSED]
    manager = browse(Role.MANAGER)
    answer = manager.post(f"/console/groups/{group.id}/friends/{rows[2].id}/give")
    assert answer.status_code == 409
    assert "as many thank-yous as one may" in text(answer)
    db.session.expire_all()
    assert (rows[2].state, rows[2].reason) == (RewardState.REFUSED, "device")
    given_points = db.session.scalars(
        select(PointsTransaction.points).where(PointsTransaction.source_type == "friend")
    ).all()
    assert given_points == [50, 50]
    counted = select(LimitCounter.used).where(LimitCounter.limit == f"group.friends:{group.id}")
    assert db.session.scalars(counted).all() == [2]


@pytest.mark.parametrize(("reason", "state"), [("successor", RewardState.GIVEN), ("drift", RewardState.LAPSED)])
def test_a_friend_who_moved_on_has_stayed(db, clock, make_group, make_member, tea, reason, state):
    """Whoever takes the shop's own way to the group that follows has stayed; whoever was moved out by staff has not."""
    group, inviter = tea
    friend, successor = make_member(), make_group(capacity=5)
    row = bring(db, group, inviter, friend)
    clock.move(days=2)
    if reason == "successor":
        group.successor_id = successor.id
        services.change_state(group, GroupState.CLOSED)
        services.move_on(queries.get_group(group.id), friend)
    else:
        book = Book(db.session.connection(), [group.id])
        book.move(book.seats_of([(group.id, friend.id)])[group.id, friend.id], successor.id, reason)
        book.write()
    assert not queries.in_group(friend.id, group.id)
    clock.move(days=1)
    settle()
    # Moved out in the meantime is not the same as left: it is looked at until the time for a reward is over.
    clock.move(days=40)
    settle()
    db.session.expire_all()
    assert row.state is state
    assert row.reason == ("" if state is RewardState.GIVEN else "left")


INVITER = Trace(1, "n1", "d1", "+8613812340001", "杭州市西湖区文三路1号")


@pytest.mark.parametrize(
    ("friend", "others", "found"),
    [
        (Trace(1), [], Farming.SELF),
        (Trace(2, device="d1"), [], Farming.DEVICE),
        (Trace(2, device="d2"), [Trace(3, device="d2")], Farming.DEVICE),
        (Trace(2, phone="+8613812340999"), [], Farming.PHONE),
        (Trace(2, phone="+8613812350001"), [], None),
        (Trace(2, address="杭州市西湖区文三路1号"), [], Farming.ADDRESS),
        (Trace(2, address="杭州"), [Trace(3, address="杭州")], None),
        (Trace(2, network="n1"), [Trace(n, "n1") for n in range(3, 7)], None),
        (Trace(2, network="n1"), [Trace(n, "n1") for n in range(3, 8)], Farming.NETWORK),
        (Trace(2), [Trace(3)], None),
    ],
)
def test_what_looks_made_up(friend, others, found):
    assert rules.farming(INVITER, friend, others) is found


@given(st.lists(st.sampled_from(["d1", "d2", "d3", None]), max_size=8))
def test_one_browser_counts_once_however_many_friends_it_makes(devices):
    """However the friends come, those who count differ in their device, and none has the member's own."""
    counted: list[Trace] = []
    for number, device in enumerate(devices, 2):
        friend = Trace(number, device=device)
        if rules.farming(INVITER, friend, counted) is None:
            counted.append(friend)
    known = [trace.device for trace in counted if trace.device is not None]
    assert len(known) == len(set(known))
    assert "d1" not in known


def test_a_seat_remembers_its_link(db, clock, make_group, make_member):
    group, member = make_group(), make_member()
    link = services.add_link(group, "Leaflet", "leaflet")
    services.hold(group.id, member.id, together=True)
    services.join(group.id, member.id, link.source, link_id=link.id, together=True)
    assert db.session.scalar(select(Seat.link_id).where(Seat.member_id == member.id)) == link.id
    assert db.session.get(Member, member.id) is not None
