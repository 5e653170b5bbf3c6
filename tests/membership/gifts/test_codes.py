"""Digital gifts from a pool of codes, red packets with a payout list, gifts given by hand, and what members hear of them."""

from __future__ import annotations

import csv
import io
import re
import zipfile

import pytest
from sqlalchemy import func, select

from kernel.auth import Role
from kernel.notices import Notice
from membership.gifts import fulfilment, queries, rules, services
from membership.gifts.jobs import remind_of_gifts
from membership.gifts.models import Gift, GiftClaim, GiftCode, GiftKind, GiftState
from membership.orders.formats.sheet import FileUnreadable, Wrong
from tests.membership.orders.formats.test_xlsx import book

from .conftest import state_of, words


@pytest.fixture
def pooled(make_gift):
    """A digital gift with three codes."""
    gift = make_gift(GiftKind.DIGITAL, name="Music, a month", stock=None)
    assert services.add_codes(gift.id, ["AAA-1", "AAA-2", "AAA-3"]).added == 3
    return gift


def offer(gift, member, benefit="tier:3"):
    return services.offer_gift(gift.id, member.id, benefit)


# ── The pool ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_claim_hands_the_next_code_out_at_once(db, pooled, make_member, phone):
    member = make_member()
    claim = offer(pooled, member)
    browser = phone()
    path = services.path_of(claim)
    browser.get(path)
    browser.post(path)
    found = services.get_claim(claim.id, lock=True)
    assert (found.state, found.content) == (GiftState.DELIVERED, "AAA-1")
    assert "AAA-1" in words(browser.get(path))
    # Claiming again changes nothing and hands out no second one.
    services.claim(claim.id, member.id)
    assert queries.pool(pooled.id) == queries.Pool(free=2, set_aside=0, handed_out=1)


def test_the_stock_is_what_the_codes_can_cover(db, pooled, make_member):
    assert pooled.stock == 3
    claims = [offer(pooled, make_member()) for _ in range(3)]
    assert offer(pooled, make_member()) is None
    assert queries.pool(pooled.id) == queries.Pool(free=0, set_aside=3, handed_out=0)
    for claim in claims:
        services.claim(claim.id, claim.member_id)
    assert {services.get_claim(c.id, lock=True).content for c in claims} == {"AAA-1", "AAA-2", "AAA-3"}
    assert services.add_codes(pooled.id, ["BBB-1"]).added == 1
    assert pooled.stock == 4
    assert offer(pooled, make_member()) is not None


def test_a_handed_out_code_never_goes_to_somebody_else(db, pooled, make_member):
    first, second = make_member(), make_member()
    claim = offer(pooled, first)
    services.claim(claim.id, first.id)
    services.come_back(claim.id, "wrong region")
    services.cancel(claim.id, "wrong region")
    # Its piece is back in the count, and the stock has become one smaller: what is left equals the free codes.
    assert (pooled.stock, services.given(pooled.id)) == (2, 0)
    other = offer(pooled, second)
    services.claim(other.id, second.id)
    assert services.get_claim(other.id, lock=True).content == "AAA-2"


def test_each_bad_line_is_named_and_stops_no_other(db, pooled):
    outcome = services.add_codes(pooled.id, ["\ufeffNEW-1", "", "aaa-1", "new-1", "x" * 501, "bad\x00one", " NEW-2 "])
    assert outcome.added == 2
    assert [(line, value[:5]) for line, _why, value in outcome.rejects] == [
        (3, "aaa-1"), (4, "new-1"), (5, "xxxxx"), (6, "bad\x00o"),
    ]  # fmt: skip
    assert pooled.stock == 5
    assert services.add_codes(pooled.id, ["NEW-1", "NEW-2"]).added == 0


def test_a_workbook_with_a_cell_beyond_all_measure_is_refused_and_not_a_fault(tmp_path):
    made, path = book(tmp_path / "codes.xlsx", [["A-1"], ["LONG"]]), tmp_path / "long.xlsx"
    with zipfile.ZipFile(made) as old, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as parts:
        for one in old.namelist():
            parts.writestr(one, old.read(one).replace(b"LONG", b"x" * 140_000))
    with path.open("rb") as file, pytest.raises(FileUnreadable) as refused:
        services.lines_in(file)
    assert (refused.value.wrong, refused.value.values) == (Wrong.CELL_TOO_LONG, {"line": 2})


def test_codes_of_another_gift_may_be_equal(db, pooled, make_gift):
    other = make_gift(GiftKind.DIGITAL, stock=None)
    assert services.add_codes(other.id, ["AAA-1"]).added == 1


def test_only_digital_gifts_take_codes(db, make_gift):
    with pytest.raises(services.NoPlaceForCodes):
        services.add_codes(make_gift().id, ["A"])


def test_too_many_lines_are_refused_whole(db, pooled, monkeypatch):
    monkeypatch.setattr("membership.gifts.services.codes.MOST_CODES", 2)
    with pytest.raises(services.TooManyCodes):
        services.add_codes(pooled.id, ["C1", "C2", "C3"])
    assert services.free_codes(pooled.id) == 3


def test_free_codes_can_be_taken_out_and_promised_ones_stay(db, pooled, make_member):
    claim = offer(pooled, make_member())
    assert services.remove_free(pooled.id) == 2
    assert (pooled.stock, services.free_codes(pooled.id)) == (1, 1)
    services.claim(claim.id, claim.member_id)
    assert services.get_claim(claim.id, lock=True).content == "AAA-1"


def test_whoever_waits_for_a_code_gets_one_of_the_new_ones(db, make_gift, make_member, browse, run_jobs):
    gift = make_gift(GiftKind.DIGITAL, stock=None)
    claims = [offer(gift, make_member()) for _ in range(3)]
    for claim in claims:
        services.claim(claim.id, claim.member_id)
    assert {state_of(c) for c in claims} == {GiftState.CLAIMED}
    answer = browse(Role.MARKETER).post(f"/console/gifts/{gift.id}/codes", data={"text": "K-1\nK-2\n"})
    assert answer.status_code == 303
    assert "membership.gifts.jobs.serve_waiting" in run_jobs()
    contents = [services.get_claim(c.id, lock=True).content for c in claims]
    assert contents == ["K-1", "K-2", ""]
    # The two hear of it, because nobody was looking at the page.
    told = db.session.scalars(select(Notice.member_id).where(Notice.kind == "gift.handed_over")).all()
    assert sorted(told) == [c.member_id for c in claims[:2]]


def test_the_stock_of_a_pool_cannot_be_typed(db, pooled, browse):
    browser = browse()
    page = browser.get(f"/console/gifts/{pooled.id}/edit")
    assert 'name="stock"' not in page.get_data(as_text=True)
    data = {"name": "Renamed", "kind": "digital", "stock": "99", "value": "0", "claim_days": "7", "active": "y"}
    browser.post(f"/console/gifts/{pooled.id}/edit", data=data)
    gift = db.session.get(Gift, pooled.id)
    assert (gift.name, gift.stock) == ("Renamed", 3)


def test_the_page_of_codes_takes_a_file_and_says_what_it_left(db, pooled, browse, tmp_path):
    browser = browse()
    path = f"/console/gifts/{pooled.id}/codes"
    assert "Add the codes" in words(browser.get(path))
    answer = browser.post(path, data={"file": (io.BytesIO("\ufeffF-1\r\naaa-2\r\n".encode()), "codes.txt")})
    assert answer.status_code == 200
    assert "One line was not taken" in words(answer)
    assert "This gift has the code already." in words(answer)
    assert services.free_codes(pooled.id) == 4
    assert browser.post(path, data={"text": " \n"}).status_code == 422
    # Encodings in the order of order files, never guessed: one that mixes them is refused whole, with the line.
    for number, encoding in enumerate(("gb18030", "utf-16", "utf-8-sig")):
        file = io.BytesIO(f"卡号甲{number}\r\n卡号乙{number}\r\n".encode(encoding))
        assert browser.post(path, data={"file": (file, "codes.txt")}).status_code == 303
    assert services.free_codes(pooled.id) == 10
    mixed = "卡号一\n".encode() + "卡号二\n".encode("gb18030")
    wrong = browser.post(path, data={"file": (io.BytesIO(mixed), "codes.txt")})
    assert (wrong.status_code, "Line 2 is in no encoding" in words(wrong)) == (422, True)
    made = book(tmp_path / "codes.xlsx", [["B-1, with a comma", "a note"], [], ["B-2"]]).read_bytes()
    assert browser.post(path, data={"file": (io.BytesIO(made), "codes.xlsx")}).status_code == 303
    assert "B-1, with a comma" in db.session.scalars(select(GiftCode.code)).all()
    empty = browser.post(path, data={"file": (io.BytesIO(b""), "codes.txt")})
    assert (empty.status_code, "The file is empty." in words(empty)) == (422, True)
    assert browse(Role.VIEWER).get(path).status_code == 403
    assert browser.post(f"{path}/remove").status_code == 303
    assert services.free_codes(pooled.id) == 0


def test_looking_at_codes_changes_nothing(pooled, browse, contents):
    browser = browse()
    before = contents()
    for page in (f"/console/gifts/{pooled.id}/codes", f"/console/gifts/{pooled.id}", "/console/gift-claims/payments"):
        assert browser.get(page).status_code == 200
    assert contents() == before


# ── Red packets ─────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def packets(make_gift, make_member):
    """Two claimed red packets of ¥8.80."""
    gift = make_gift(GiftKind.RED_PACKET, name="红包", value=880)
    claims = [offer(gift, make_member(phone=f"+8612600000{n:03}")) for n in (1, 2)]
    for claim in claims:
        services.claim(claim.id, claim.member_id)
    return claims


def test_a_payout_list_comes_back_with_its_references(db, packets, browse):
    browser = browse(Role.MANAGER)
    answer = browser.post("/console/gift-claims/payout-list")
    rows = list(csv.reader(io.StringIO(answer.get_data().decode("utf-8-sig"))))
    assert rows[0] == ["Claim number", "Gift", "Member", "Phone", "Amount", "Claimed", "Payment reference"]
    assert [row[4] for row in rows[1:]] == ["8.80", "8.80"]
    assert rows[1][3] == "12600000001"
    rows[1][6] = "TX-1"
    out = io.StringIO()
    csv.writer(out).writerows(rows)
    upload = {"file": (io.BytesIO(out.getvalue().encode()), "paid.csv")}
    assert browser.post("/console/gift-claims/payments", data=upload).status_code == 302
    assert [state_of(claim) for claim in packets] == [GiftState.DELIVERED, GiftState.CLAIMED]
    assert services.get_claim(packets[0].id).content == "TX-1"
    # The same file again changes nothing; another reference for a paid one is refused by name.
    outcome = fulfilment.take_in_payments(io.BytesIO(out.getvalue().encode()))
    assert (outcome.shipped, outcome.unchanged, outcome.rejects) == (0, 1, [])
    outcome = fulfilment.take_in_payments(io.BytesIO(out.getvalue().replace("TX-1", "TX-9").encode()))
    assert [(reject.line, reject.column) for reject in outcome.rejects] == [(2, "Payment reference")]


def test_an_assistant_sees_no_phone_in_the_payout_list(packets, browse):
    text = browse(Role.ASSISTANT).post("/console/gift-claims/payout-list").get_data(as_text=True)
    assert "12600000001" not in text
    assert "126****0001" in text
    assert browse(Role.VIEWER).post("/console/gift-claims/payout-list").status_code == 403


def test_a_parcel_is_no_red_packet(give):
    claim = give(GiftState.QUEUED)
    outcome = fulfilment.take_in_payments(io.BytesIO(f"claim,reference\n{claim.id},TX\n999999,TX\n".encode()))
    assert len(outcome.rejects) == 2
    assert state_of(claim) == GiftState.QUEUED


def test_one_red_packet_is_confirmed_with_its_reference(packets, browse):
    browser = browse(Role.SERVICE)
    path = f"/console/gift-claims/{packets[0].id}"
    assert browser.post(f"{path}/deliver", data={"content": "x" * 61}).status_code == 422
    assert browser.post(f"{path}/deliver", data={"content": "TX-7"}).status_code == 302
    assert "TX-7" in words(browser.get(path))


# ── By hand ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_staff_give_a_gift_once_however_often_they_click(db, make_member, make_gift, browse):
    member, gift, browser = make_member("青柠"), make_gift(stock=5), browse(Role.SERVICE)
    page = browser.get(f"/console/gifts/grants/{member.id}").get_data(as_text=True)
    key = re.search(r'name="key" value="([^"]+)"', page)[1]
    for _ in range(2):
        answer = browser.post(f"/console/gifts/grants/{member.id}", data={"gift_id": gift.id, "key": key})
        assert answer.status_code == 303
    assert services.given(gift.id) == 1
    claim = db.session.scalars(select(GiftClaim)).one()
    assert "Given by staff" in words(browser.get(f"/console/gift-claims/{claim.id}"))
    assert browse(Role.ASSISTANT).get(f"/console/gifts/grants/{member.id}").status_code == 403


def test_nothing_is_given_where_nothing_is_left(db, make_member, make_gift, browse):
    member, gift, browser = make_member(), make_gift(stock=0), browse()
    assert "No gift is left to give" in words(browser.get(f"/console/gifts/grants/{member.id}"))
    data = {"gift_id": gift.id, "key": "abcdefgh"}
    browser.post(f"/console/gifts/grants/{member.id}", data=data)
    browser.post(f"/console/gifts/grants/{member.id}", data={"key": "abcdefgh"})
    assert db.session.scalar(select(func.count()).select_from(GiftClaim)) == 0


# ── Notices ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def notices(db, member_id):
    return db.session.scalars(select(Notice.kind).where(Notice.member_id == member_id).order_by(Notice.id)).all()


def test_members_hear_that_a_gift_waits_and_is_sent(db, make_gift, make_member, run_jobs):
    member, gift = make_member(), make_gift()
    claim = offer(gift, member)
    run_jobs()
    services.claim(claim.id, member.id, "青柠", "12600001234", "杭州市西湖区样例路一号三楼")
    services.ship(claim.id, "样板快递", "DEMO0001")
    run_jobs()
    assert notices(db, member.id) == ["gift.waiting", "gift.shipped"]


def test_a_welcome_gift_needs_no_notice_of_its_own(db, give, run_jobs):
    claim = give()
    run_jobs()
    assert notices(db, claim.member_id) == []


def test_a_gift_is_called_to_mind_once_before_it_lapses(db, make_gift, make_member, clock, run_jobs):
    kept, short, done = make_gift(claim_days=14), make_gift(claim_days=3), make_gift(claim_days=14)
    member = make_member()
    claims = [services.offer_gift(gift.id, member.id, f"welcome:{gift.id}") for gift in (kept, short, done)]
    services.claim(claims[2].id, member.id, "青柠", "12600001234", "杭州市西湖区样例路一号三楼")
    clock.move(days=2)
    remind_of_gifts()
    assert notices(db, member.id) == []
    clock.move(days=10, hours=1)
    remind_of_gifts()
    remind_of_gifts()
    assert notices(db, member.id) == ["gift.lapsing"]


def test_the_steps_of_the_rule_are_all_that_happens(db, pooled, make_member):
    claim = offer(pooled, make_member())
    services.claim(claim.id, claim.member_id)
    with pytest.raises(rules.GiftStepNotListed):
        services.cancel(claim.id, "too late")
    assert db.session.scalar(select(func.count()).where(GiftCode.claim_id == claim.id)) == 1


def test_what_failed_before_it_had_a_code_still_needs_one(db, make_gift, make_member):
    gift = make_gift(GiftKind.DIGITAL, stock=5)
    claim = offer(gift, make_member())
    # Nobody but its member claims it.
    with pytest.raises(rules.GiftStepNotListed):
        services.queue_again(claim.id)
    services.claim(claim.id, claim.member_id)
    services.fail(claim.id, "no code at hand")
    services.add_codes(gift.id, ["C1", "C2"])
    db.session.refresh(gift)
    # One of the two codes is for the one that failed, and only the other may be promised.
    assert (gift.stock, services.given(gift.id)) == (2, 1)
    assert offer(gift, make_member()) is not None
    assert offer(gift, make_member()) is None


def test_no_parcel_is_packed_before_its_member_says_where_it_goes(give):
    for state in (GiftState.OFFERED, GiftState.ADDRESS_PENDING):
        claim = give(state)
        with pytest.raises(rules.GiftStepNotListed):
            services.queue_again(claim.id)


def test_the_code_of_what_failed_is_no_free_one(make_gift, make_member):
    gift = make_gift(GiftKind.DIGITAL, stock=5)
    claim = offer(gift, make_member())
    services.claim(claim.id, claim.member_id)
    services.fail(claim.id, "no code at hand")
    services.add_codes(gift.id, ["C1", "C2"])
    assert queries.pool(gift.id) == queries.Pool(free=1, set_aside=1, handed_out=0)
    assert services.remove_free(gift.id) == 1
    assert (gift.stock, services.given(gift.id)) == (1, 1)
    services.queue_again(claim.id)
    assert services.serve(claim.id)
