"""The gift on the phone: its link, the address, where it is, and what others see."""

from __future__ import annotations

import re

import pytest

from kernel import links, visitors
from membership.gifts import services
from membership.gifts.models import GiftKind, GiftState
from membership.members.models import Member

from .conftest import ADDRESS, state_of, words


def test_opening_the_link_changes_nothing(give, phone, contents):
    claim = give()
    path, before = services.path_of(claim), contents()
    browser = phone()
    for _ in range(3):
        answer = browser.get(path)
        assert answer.status_code == 200
        assert "Claim this gift" in words(answer)
        assert browser.head(path).status_code == 200
    assert contents() == before


def test_the_tap_claims_binds_the_browser_and_asks_for_the_address(give, phone):
    claim = give()
    path, browser = services.path_of(claim), phone()
    browser.get(path)
    answer = browser.post(path)
    assert (answer.status_code, answer.location) == (303, path)
    assert state_of(claim) == GiftState.ADDRESS_PENDING
    page = browser.get(path)
    assert "Where may we send it?" in words(page)
    # The answer to a second tap is the same page; nothing happens twice.
    assert browser.post(path).location == path
    assert services.given(claim.gift_id) == 1
    answer = browser.post(f"{path}/address", data=ADDRESS)
    assert (answer.status_code, answer.location) == (303, path)
    found = services.get_claim(claim.id, lock=True)
    assert (found.state, found.recipient, found.phone, found.address) == (GiftState.QUEUED, *ADDRESS.values())
    assert "Being packed" in words(browser.get(path))


def test_a_lost_answer_leaves_the_same_browser_its_gift(give, phone, app):
    path, browser = services.path_of(give()), phone()
    browser.get(path)
    session = app.config["SESSION_COOKIE_NAME"]
    before = browser.get_cookie(session)
    browser.post(path)
    # The answer never came: the browser holds the cookie of the page before, and none of its own.
    browser.delete_cookie(visitors.cookie_name(app.extensions["settings"].site_url))
    browser.set_cookie(session, before.value)
    assert "Where may we send it?" in words(browser.get(path))


@pytest.mark.parametrize("state", [GiftState.ADDRESS_PENDING, GiftState.QUEUED, GiftState.SHIPPED, GiftState.FAILED])
def test_a_claimed_gift_shows_others_nothing_personal(give, phone, make_member, state):
    claim = give(state)
    path = services.path_of(claim)
    for browser in (phone(), phone(make_member(), identified=True)):
        for answer in (browser.get(path), browser.post(path), browser.post(f"{path}/address", data=ADDRESS)):
            page = answer.get_data(as_text=True)
            assert answer.status_code == 200
            assert "claimed already" in page or "belongs to somebody else" in page
            # Tokens are random and may hold any digits: what a person could read is what counts.
            readable = words(answer) + " ".join(re.findall(r'(?:placeholder|title|alt|aria-label)="([^"]*)"', page))
            for secret in ("青柠", "1234", "样例路", "DEMO", "126"):
                assert secret not in readable
    assert state_of(claim) == state


def test_a_phone_of_somebody_else_is_asked_before_it_claims(give, phone, make_member):
    claim, other = give(), make_member()
    path, browser = services.path_of(claim), phone(other)
    assert "waits for somebody else" in words(browser.get(path))
    assert "waits for somebody else" in words(browser.post(path))
    assert state_of(claim) == GiftState.OFFERED
    assert browser.post(path, data={"mine": "1"}).status_code == 303
    assert state_of(claim) == GiftState.ADDRESS_PENDING
    assert "Where may we send it?" in words(browser.get(path))


def test_an_expired_gift_has_its_own_page_even_before_the_sweep(clock, give, phone, db):
    claim = give()
    path = services.path_of(claim)
    clock.move(days=15)
    for answer in (phone().get(path), phone().post(path)):
        assert answer.status_code == 410
        assert "could be claimed until" in words(answer)
    mine = phone(db.session.get(Member, claim.member_id)).get(path)
    assert 'href="/me/gifts"' in mine.get_data(as_text=True)


def test_an_address_after_the_deadline_is_refused(clock, give, phone, db):
    claim = give(GiftState.ADDRESS_PENDING)
    browser = phone(db.session.get(Member, claim.member_id))
    clock.move(days=15)
    assert browser.post(f"{services.path_of(claim)}/address", data=ADDRESS).status_code == 410


def test_a_gift_that_was_called_off_says_so(give, phone):
    claim = give()
    services.cancel(claim.id, "内部原因")
    answer = phone().get(services.path_of(claim))
    assert answer.status_code == 410
    assert "called off" in words(answer)
    assert "内部原因" not in words(answer)


@pytest.mark.parametrize("spoil", [lambda t: t[:-2] + "xx", lambda t: t[:-6], lambda t: "nonsense"])
def test_a_link_that_was_changed_leads_nowhere(give, phone, spoil):
    token = services.path_of(give()).removeprefix("/gift/")
    for answer in (phone().get(f"/gift/{spoil(token)}"), phone().post(f"/gift/{spoil(token)}")):
        assert answer.status_code == 404


def test_a_link_to_another_members_gift_leads_nowhere(give, phone, app):
    claim, other = give(), give()
    assert phone().get("/gift/" + links.make(services.PURPOSE, other.member_id, claim.id)).status_code == 404


def test_an_erased_members_link_leads_nowhere(give, phone, db):
    claim = give()
    db.session.get(Member, claim.member_id).erased_at = claim.offered_at
    assert phone().get(services.path_of(claim)).status_code == 404


def test_a_merged_members_link_still_works(give, phone, db, make_member):
    claim = give()
    path, older = services.path_of(claim), db.session.get(Member, claim.member_id)
    survivor = make_member()
    older.merged_into_id = survivor.id
    claim.member_id = survivor.id
    browser = phone()
    assert browser.post(path).status_code == 303
    assert "Where may we send it?" in words(browser.get(path))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"recipient": ""}, "Whose name stands on the parcel"),
        ({"phone": "abc"}, "The courier needs a phone number"),
        ({"address": "短"}, "so that the parcel arrives"),
        ({"address": "\x00" * 20}, "so that the parcel arrives"),
    ],
)
def test_each_field_of_the_address_is_refused_beside_it_and_kept(give, phone, db, change, sentence):
    claim = give(GiftState.ADDRESS_PENDING)
    browser = phone(db.session.get(Member, claim.member_id))
    answer = browser.post(f"{services.path_of(claim)}/address", data={**ADDRESS, **change})
    assert answer.status_code == 422
    page = answer.get_data(as_text=True)
    assert sentence in page
    for key, value in ADDRESS.items():
        if key not in change:
            assert value in page
    assert state_of(claim) == GiftState.ADDRESS_PENDING


def test_the_address_of_last_time_is_offered_masked_and_taken_with_one_tap(give, phone, db):
    first = give(GiftState.QUEUED)
    member = db.session.get(Member, first.member_id)
    second = give(GiftState.ADDRESS_PENDING, member=member)
    browser, path = phone(member), services.path_of(second)
    page = browser.get(path).get_data(as_text=True)
    assert "Send it there again" in page
    assert "杭州市西****" in page
    # A link alone does not show where somebody lives.
    assert ADDRESS["address"] not in page
    assert ADDRESS["phone"] not in page
    browser.post(f"{path}/address", data={"kept": "1"})
    found = services.get_claim(second.id, lock=True)
    assert (found.state, found.address) == (GiftState.QUEUED, ADDRESS["address"])


def test_who_is_identified_finds_the_address_filled_in(give, phone, db):
    first = give(GiftState.QUEUED)
    member = db.session.get(Member, first.member_id)
    page = phone(member, identified=True).get(services.path_of(give(GiftState.ADDRESS_PENDING, member=member)))
    for value in ADDRESS.values():
        assert value in page.get_data(as_text=True)


def test_the_address_can_be_changed_while_it_is_packed_and_not_after(give, phone, db):
    claim = give(GiftState.QUEUED)
    browser, path = phone(db.session.get(Member, claim.member_id)), services.path_of(claim)
    other = {**ADDRESS, "address": "上海市样例区另一条路二号"}
    assert browser.post(f"{path}/address", data=other).status_code == 303
    assert services.get_claim(claim.id, lock=True).address == other["address"]
    services.ship(claim.id, "样板快递", "SF1")
    assert "Change the address" not in words(browser.get(path))
    assert browser.post(f"{path}/address", data=ADDRESS).status_code == 409
    assert services.get_claim(claim.id, lock=True).address == other["address"]


def test_a_parcel_on_its_way_shows_its_number(give, phone, db):
    claim = give(GiftState.SHIPPED)
    page = words(phone(db.session.get(Member, claim.member_id)).get(services.path_of(claim)))
    assert claim.tracking_number in page
    assert "样板快递" in page


def test_a_digital_gift_shows_its_code_to_its_member_alone(give, make_gift, phone, db):
    claim = give(GiftState.CLAIMED, make_gift(GiftKind.DIGITAL))
    browser, path = phone(db.session.get(Member, claim.member_id)), services.path_of(claim)
    assert "The shop sends the code" in words(browser.get(path))
    services.deliver(claim.id, "READ-7KQ2")
    assert "READ-7KQ2" in words(browser.get(path))
    assert "READ-7KQ2" not in words(phone().get(path))


def test_a_red_packet_says_when_it_is_paid(give, make_gift, phone, db):
    claim = give(GiftState.CLAIMED, make_gift(GiftKind.RED_PACKET))
    browser, path = phone(db.session.get(Member, claim.member_id)), services.path_of(claim)
    assert "The shop pays it out" in words(browser.get(path))
    services.deliver(claim.id)
    assert "Paid out" in words(browser.get(path))


def test_my_gifts_are_mine_and_nobody_elses(give, make_gift, phone, db):
    claim = give(gift=make_gift(name="帆布袋"))
    give(gift=make_gift(name="别人的茶"))
    member = db.session.get(Member, claim.member_id)
    for state, name in ((GiftState.SHIPPED, "路上的茶"), (GiftState.ADDRESS_PENDING, "缺地址的茶")):
        give(state, make_gift(name=name), member)
    browser = phone(member)
    page = browser.get("/me/gifts").get_data(as_text=True)
    assert [name in page for name in ("帆布袋", "路上的茶", "缺地址的茶", "别人的茶")] == [True, True, True, False]
    assert services.path_of(claim) in page
    home = browser.get("/me/").get_data(as_text=True)
    assert 'href="/me/gifts"' in home
    assert services.path_of(claim) in home
    assert phone().get("/me/gifts").status_code == 302


def test_without_a_gift_the_page_says_where_one_comes_from(make_member, phone):
    assert "No gift yet" in words(phone(make_member()).get("/me/gifts"))
