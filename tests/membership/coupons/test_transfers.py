"""Giving a coupon to a friend: nothing is minted or lost on the way, and the friend's own limits hold."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy import func, select

from kernel import links
from kernel.errors import NotFound
from kernel.events import EventRecord
from membership.coupons import reports, rules, services
from membership.coupons.models import Coupon, CouponEvent, CouponState, CouponTransfer, Offer, TransferState
from membership.coupons.portal import page_path
from membership.coupons.rules import Basket
from membership.coupons.services import caps, transfers
from membership.limits import services as limits
from membership.members.services import erasure, merge
from tests.conftest import bind, english

S = CouponState


@pytest.fixture
def give(db: Any, make_member: Callable, make_offer: Callable) -> Callable[..., tuple[Coupon, CouponTransfer]]:
    """`give(per_member=1)` puts a fresh coupon of a transferable offer into a link."""

    def make(**changes: Any) -> tuple[Coupon, CouponTransfer]:
        offer = make_offer(**{"transferable": True, **changes})
        owner = make_member(rank=4)
        coupon = db.session.get_one(Coupon, services.claim(offer.id, owner.id).coupon_id)
        return coupon, transfers.offer_transfer(coupon.id, owner.id)

    return make


def usable(db: Any) -> int:
    return db.session.scalar(select(func.count()).where(Coupon.state == S.ISSUED)) or 0


def test_inv_c8_a_gift_moves_the_coupon_and_conserves_it(db: Any, give: Callable, make_member: Callable) -> None:
    coupon, gift = give()
    friend = make_member()
    fresh = transfers.accept(gift.id, friend.id)
    db.session.refresh(coupon)
    assert (coupon.state, fresh.state, fresh.member_id, fresh.parent_id) == (
        S.TRANSFERRED,
        S.ISSUED,
        friend.id,
        coupon.id,
    )
    assert (fresh.version_id, fresh.usable_from, fresh.usable_until) == (
        coupon.version_id,
        coupon.usable_from,
        coupon.usable_until,
    )
    assert fresh.code != coupon.code
    assert usable(db) == 1
    assert db.session.scalar(select(Offer.claimed).where(Offer.id == coupon.offer_id)) == 1
    with pytest.raises(rules.Transferred):
        services.redeem(coupon.code, "shop", "A-1", Basket(9900))
    assert services.redeem(fresh.code, "shop", "A-1", Basket(9900)).redemption.discount == 2000
    # The same friend tapping again is shown the same coupon.
    assert transfers.accept(gift.id, friend.id).id == fresh.id
    assert usable(db) == 0
    told = db.session.scalars(select(EventRecord.payload).where(EventRecord.name == "CouponTransferred")).one()
    assert (told["member_id"], told["to_member_id"]) == (coupon.member_id, friend.id)


def test_what_a_merged_record_accepts_is_the_survivors(db: Any, give: Callable, make_member: Callable) -> None:
    _coupon, gift = give()
    friend, absorbed = make_member(), make_member()
    merge.merge(friend.id, absorbed.id)
    fresh = transfers.accept(gift.id, absorbed.id)
    assert fresh.member_id == friend.id
    assert transfers.accept(gift.id, absorbed.id).id == fresh.id
    _coupon, gift = give()
    erasure.erase(friend.id, str(friend.id))
    with pytest.raises(rules.ClaimantUnknown):
        transfers.accept(gift.id, friend.id)


def test_until_it_is_accepted_the_owner_may_use_it_or_call_it_back(
    db: Any, give: Callable, make_member: Callable
) -> None:
    coupon, gift = give()
    assert transfers.offer_transfer(coupon.id, coupon.member_id).id == gift.id
    transfers.cancel(coupon.id, coupon.member_id)
    with pytest.raises(transfers.TransferOver):
        transfers.accept(gift.id, make_member().id)
    with pytest.raises(transfers.TransferOver):
        transfers.cancel(coupon.id, coupon.member_id)
    again = transfers.offer_transfer(coupon.id, coupon.member_id)
    services.redeem(coupon.code, "shop", "A-1", Basket(9900))
    with pytest.raises(transfers.TransferOver):
        transfers.accept(again.id, make_member().id)


def test_whose_coupon_it_is_decides_who_may_give_it(give: Callable, make_member: Callable) -> None:
    coupon, _gift = give()
    stranger = make_member()
    with pytest.raises(NotFound):
        transfers.offer_transfer(coupon.id, stranger.id)
    with pytest.raises(NotFound):
        transfers.cancel(coupon.id, stranger.id)


def test_what_cannot_be_given(db: Any, give: Callable, make_member: Callable, make_offer: Callable, clock: Any) -> None:
    plain = services.claim(make_offer().id, (owner := make_member()).id)
    with pytest.raises(transfers.NotTransferable):
        transfers.offer_transfer(plain.coupon_id, owner.id)
    coupon, gift = give(valid_days=3)
    with pytest.raises(transfers.OwnGift):
        transfers.accept(gift.id, coupon.member_id)
    # The gift ends with the coupon, at the latest after a week.
    assert gift.expires_at == coupon.usable_until
    clock.move(days=3)
    with pytest.raises(transfers.TransferOver):
        transfers.accept(gift.id, make_member().id)


def test_inv_i16_a_coupon_never_comes_back_and_passes_few_hands(db: Any, give: Callable, make_member: Callable) -> None:
    coupon, gift = give(per_member=None)
    owners = [coupon.member_id]
    for _ in range(transfers.MOST_HANDS):
        with pytest.raises((transfers.HadItBefore, transfers.OwnGift)):
            transfers.accept(gift.id, owners[0])
        friend = make_member()
        fresh = transfers.accept(gift.id, friend.id)
        owners.append(friend.id)
        if len(owners) <= transfers.MOST_HANDS:
            gift = transfers.offer_transfer(fresh.id, friend.id)
    assert transfers.hands_of(fresh) == owners[::-1]
    with pytest.raises(transfers.NotTransferable):
        transfers.offer_transfer(fresh.id, owners[-1])


def test_the_friends_limits_hold(db: Any, give: Callable, make_member: Callable) -> None:
    coupon, gift = give(min_rank=2, per_person=1)
    offer_id = coupon.offer_id
    has_one = make_member(rank=2)
    services.claim(offer_id, has_one.id)
    with pytest.raises(transfers.FriendHasTheirs):
        transfers.accept(gift.id, has_one.id)
    with pytest.raises(rules.TierTooLow):
        transfers.accept(gift.id, make_member(rank=1).id)
    known = make_member(rank=2, phone="+8612600007777")
    limits.take([(caps.person_name(offer_id), caps.person_keys([known.id])[known.id], "", 1, None)])
    with pytest.raises(transfers.FriendHasTheirs):
        transfers.accept(gift.id, known.id)
    assert db.session.get_one(CouponTransfer, gift.id).state == TransferState.OPEN
    assert transfers.accept(gift.id, make_member(rank=2).id).state == S.ISSUED


def test_a_trade_is_slowed_down(give: Callable, make_member: Callable, make_offer: Callable, clock: Any) -> None:
    offer, owner = make_offer(transferable=True, per_member=None), make_member()
    for number in range(transfers.A_DAY + 1):
        coupon_id = services.claim(offer.id, owner.id, ordinal=number + 1).coupon_id
        if number < transfers.A_DAY:
            transfers.offer_transfer(coupon_id, owner.id)
    with pytest.raises(transfers.TooManyGifts):
        transfers.offer_transfer(coupon_id, owner.id)
    clock.move(days=1)
    transfers.offer_transfer(coupon_id, owner.id)


# ── Pages ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def browser_of(app: Any, db: Any) -> Callable[..., FlaskClient]:
    """A browser that is bound to a member, or to nobody."""

    def make(member_id: int | None = None) -> FlaskClient:
        browser = english(app.test_client())
        return browser if member_id is None else bind(browser, member_id)

    return make


def text_of(page: Any) -> str:
    return page.get_data(as_text=True)


def test_the_whole_way_on_two_phones(
    app: Any, db: Any, make_offer: Callable, make_member: Callable, browser_of: Callable, clock: Any
) -> None:
    offer, owner, friend = make_offer(transferable=True), make_member(nickname="青柠"), make_member()
    coupon_id = services.claim(offer.id, owner.id).coupon_id
    with app.test_request_context():
        path = page_path(coupon_id)
    mine = browser_of(owner.id)
    assert "Give it to a friend" in text_of(mine.get(path))
    # Somebody else who holds the coupon's link may look at it, and gets no button.
    assert "Give it to a friend" not in text_of(browser_of().get(path))
    token = path.rsplit("/", 1)[1]
    assert mine.post("/me/coupons/gifts", data={"coupon": token}).status_code == 303
    page = text_of(mine.get(path))
    gift = db.session.scalars(select(CouponTransfer)).one()
    with app.test_request_context():
        link = transfers.path_of(gift)
    assert link in page
    before = db.session.scalar(select(func.count()).select_from(CouponEvent))
    for visitor in (browser_of(), browser_of(friend.id)):
        for _ in range(3):
            shown = text_of(visitor.get(link))
            assert "A friend gives you a coupon" in shown
            assert "青柠" not in shown
    assert db.session.scalar(select(func.count()).select_from(CouponEvent)) == before
    assert "/me/sign-in" in browser_of().post(link).location
    theirs = browser_of(friend.id)
    answer = theirs.post(link)
    assert "It is yours" in text_of(theirs.get(answer.location))
    assert "You gave it to a friend" in text_of(mine.get(path))
    assert mine.get(link).status_code == 410


def test_calling_back_and_dead_links(
    app: Any, db: Any, give: Callable, make_member: Callable, browser_of: Callable, clock: Any
) -> None:
    coupon, gift = give()
    with app.test_request_context():
        link, path = transfers.path_of(gift), page_path(coupon.id)
    owner = browser_of(coupon.member_id)
    assert "That is your own gift" in text_of(owner.get(link))
    stranger = browser_of(make_member().id)
    assert stranger.post("/me/coupons/gifts/call-back", data={"coupon": path.rsplit("/", 1)[1]}).status_code == 404
    assert owner.post("/me/coupons/gifts/call-back", data={"coupon": path.rsplit("/", 1)[1]}).status_code == 303
    assert stranger.get(link).status_code == 410
    assert stranger.post(link).status_code == 410
    assert stranger.get(link[:-1] + ("a" if link[-1] != "a" else "b")).status_code == 404
    clock.move(days=8)
    assert stranger.get(link).status_code == 410
    assert owner.post("/me/coupons/gifts", data={"coupon": "nonsense"}).status_code == 404


def test_a_new_friend_gives_a_phone_where_the_offer_is_open_to_new_people(
    app: Any, db: Any, give: Callable, make_member: Callable, browser_of: Callable
) -> None:
    _coupon, gift = give(open_to_new=True)
    with app.test_request_context():
        link = transfers.path_of(gift)
    visitor = browser_of()
    assert visitor.post(link, data={"phone": "1"}).status_code == 422
    answer = visitor.post(link, data={"phone": "126 0000 7777"})
    assert answer.status_code == 303
    assert "It is yours" in text_of(visitor.get(answer.location))
    known = make_member(phone="+8612600008888")
    from membership.members.models import Channel, MemberIdentity

    db.session.add(
        MemberIdentity(member_id=known.id, channel=Channel.PHONE, external_id=known.phone, created_at=known.created_at)
    )
    _coupon, second = give(open_to_new=True)
    with app.test_request_context():
        link = transfers.path_of(second)
    page = browser_of().post(link, data={"phone": "126 0000 8888"})
    # Whose phone it is stays unsaid, and the coupon is with its owner.
    assert "claimed already" in text_of(page)
    assert db.session.get_one(CouponTransfer, second.id).to_member_id == known.id


def test_a_gifts_token_is_good_for_nothing_else(app: Any, give: Callable, browser_of: Callable) -> None:
    coupon, gift = give()
    with app.test_request_context():
        token = transfers.path_of(gift).rsplit("/", 1)[1]
        other = links.make("coupon", coupon.member_id, coupon.offer_id)
    for path in (f"/coupon/{token}", f"/c/{token}", f"/coupon-gifts/{other}"):
        assert browser_of().get(path).status_code == 404
    assert gift.expires_at - gift.created_at <= timedelta(days=7)


# ── Erased people ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_erasing_takes_unused_coupons_back_and_calls_gifts_back(
    db: Any, give: Callable, make_member: Callable, make_offer: Callable
) -> None:
    coupon, gift = give()
    owner, friend = coupon.member_id, make_member()
    offer = make_offer(value=2000)
    others = services.claim(offer.id, friend.id)
    states = {}
    for state in (S.ISSUED, S.RESERVED, S.FROZEN, S.REDEEMED):
        one = make_offer(value=2000, name=state.value)
        states[state] = services.claim(one.id, owner)
    services.reserve(states[S.RESERVED].code, "shop", "A-1")
    services.freeze(states[S.FROZEN].coupon_id, "odd")
    services.redeem(states[S.REDEEMED].code, "shop", "A-2", Basket(10_000))
    before = sum(book.most for book in reports.liabilities())
    erasure.erase(owner, str(owner))
    db.session.expire_all()
    assert before - sum(book.most for book in reports.liabilities()) == 4 * 2000
    held = dict(db.session.execute(select(Coupon.id, Coupon.state).where(Coupon.member_id == owner)).all())
    assert held.pop(states[S.REDEEMED].coupon_id) == S.REDEEMED
    assert set(held.values()) == {S.REVOKED}
    assert len(held) == 4
    assert db.session.get_one(Coupon, states[S.RESERVED].coupon_id).reserved_order is None
    assert db.session.get_one(Coupon, others.coupon_id).state == S.ISSUED
    assert db.session.get_one(CouponTransfer, gift.id).state == TransferState.CANCELLED
    with pytest.raises(transfers.TransferOver):
        transfers.accept(gift.id, friend.id)
    for coupon_id in (*held, states[S.REDEEMED].coupon_id):
        events = db.session.execute(
            select(CouponEvent.from_state, CouponEvent.to_state)
            .where(CouponEvent.coupon_id == coupon_id)
            .order_by(CouponEvent.id)
        ).all()
        assert rules.folded([tuple(one) for one in events]) == db.session.get_one(Coupon, coupon_id).state
    # The order is undone later: its coupon comes back to nobody.
    services.roll_back_order("shop", "A-2", "refund")
    assert db.session.get_one(Coupon, states[S.REDEEMED].coupon_id, populate_existing=True).state == S.REVOKED
    assert sum(book.outstanding for book in reports.liabilities()) == 1
