"""The catalogue and members' gifts, for each role."""

from __future__ import annotations

import csv
import io
import re

import pytest
from PIL import Image
from sqlalchemy import select

from kernel import today
from kernel.audit import AuditEntry
from kernel.auth import Role, holds
from membership.gifts import services
from membership.gifts.models import Gift, GiftClaim, GiftKind, GiftState

from .conftest import ADDRESS, state_of

DRAFT = {"name": "帆布袋", "kind": "physical", "stock": "5", "value": "18", "claim_days": "30", "active": "y"}


def picture():
    out = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(out, "PNG")
    out.seek(0)
    return out


def rows_of(answer):
    return list(csv.reader(io.StringIO(answer.get_data(as_text=True).removeprefix("\ufeff"))))


def names_on(page):
    return re.findall(r'<a href="/console/gifts/\d+">([^<]+)</a>', page.get_data(as_text=True))


def claims_on(page):
    return [
        int(i) for i in re.findall(r'person-words"><a href="/console/gift-claims/(\d+)">', page.get_data(as_text=True))
    ]


# ── The catalogue ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_empty_catalogue_leads_to_the_first_gift(browse):
    assert 'href="/console/gifts/new"' in browse().get("/console/gifts").get_data(as_text=True)
    page = browse(Role.VIEWER).get("/console/gifts").get_data(as_text=True)
    assert "No gift yet" in page
    assert 'href="/console/gifts/new"' not in page


def test_a_gift_is_made_with_its_picture_and_shown(browse, db):
    browser = browse()
    answer = browser.post("/console/gifts/new", data={**DRAFT, "file": (picture(), "p.png")})
    gift = db.session.scalars(select(Gift)).one()
    assert (answer.status_code, answer.location) == (302, f"/console/gifts/{gift.id}")
    assert (gift.name, gift.kind, gift.stock, gift.value, gift.claim_days, gift.active) == (
        "帆布袋", GiftKind.PHYSICAL, 5, 1_800, 30, True,
    )  # fmt: skip
    assert gift.picture
    page = browser.get(answer.location).get_data(as_text=True)
    assert "帆布袋" in page
    assert f"/pictures/{gift.picture}" in page
    assert f"/pictures/{gift.picture}" in browser.get("/console/gifts").get_data(as_text=True)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"name": " "}, "This field is required."),
        ({"name": "x" * 61}, "Field cannot be longer than 60"),
        ({"kind": "castle"}, "Not a valid choice."),
        ({"description": "x" * 501}, "Field cannot be longer than 500"),
        ({"stock": "-1"}, "Number must be between 0"),
        ({"stock": "many"}, "Not a valid integer value."),
        ({"value": "-2"}, "Write an amount in yuan"),
        ({"claim_days": "0"}, "Number must be between 1"),
        ({"claim_days": ""}, "This field is required."),
        ({"file": (io.BytesIO(b"%PDF"), "p.png")}, "This is not a picture"),
    ],
)
def test_each_field_is_refused_beside_it_and_the_rest_kept(browse, db, change, sentence):
    answer = browse().post("/console/gifts/new", data={**DRAFT, "description": "入群就有", **change})
    assert answer.status_code == 422
    page = answer.get_data(as_text=True)
    assert sentence in page
    assert "入群就有" in page or "description" in change
    assert 'value="帆布袋"' in page or "name" in change
    assert db.session.scalars(select(Gift)).all() == []


def test_a_picture_is_kept_while_the_form_is_put_right(browse, db):
    browser = browse()
    page = browser.post("/console/gifts/new", data={**DRAFT, "name": "", "file": (picture(), "p.png")}).get_data(
        as_text=True
    )
    key = re.search(r'name="picture"[^>]*value="([^"]+)"', page)
    assert key
    browser.post("/console/gifts/new", data={**DRAFT, "picture": key[1]})
    assert db.session.scalars(select(Gift.picture)).one() == key[1]


def test_an_edit_keeps_the_stock_above_what_is_given_and_the_kind(browse, give, make_gift, db):
    gift = make_gift(stock=3)
    give(gift=gift)
    give(gift=gift)
    browser, path = browse(), f"/console/gifts/{gift.id}/edit"
    assert 'value="3"' in browser.get(path).get_data(as_text=True)
    refused = browser.post(path, data={**DRAFT, "stock": "1"})
    assert refused.status_code == 422
    assert "2 pieces are given out" in refused.get_data(as_text=True)
    assert browser.post(path, data={**DRAFT, "stock": "2", "kind": "digital", "active": ""}).status_code == 302
    db.session.refresh(gift)
    assert (gift.stock, gift.kind, gift.active) == (2, GiftKind.PHYSICAL, False)
    assert browser.post(path, data={**DRAFT, "stock": ""}).status_code == 302
    db.session.refresh(gift)
    assert gift.stock is None


def test_the_list_is_searched_filtered_and_sorted(browse, give, make_gift):
    tea, bag, code = (
        make_gift(name="茶", stock=4),
        make_gift(name="袋 100%", stock=100),
        make_gift(GiftKind.DIGITAL, name="码", stock=None),
    )
    make_gift(name="旧款", active=False, stock=1)
    give(gift=tea)
    give(gift=bag)
    give(gift=bag)
    browser = browse(Role.VIEWER)
    assert names_on(browser.get("/console/gifts")) == ["旧款", "码", "袋 100%", "茶"]
    assert names_on(browser.get("/console/gifts?q=100%25")) == ["袋 100%"]
    assert names_on(browser.get("/console/gifts?kind=digital")) == ["码"]
    assert names_on(browser.get("/console/gifts?active=stopped")) == ["旧款"]
    assert names_on(browser.get("/console/gifts?stock=low")) == ["茶"]
    assert names_on(browser.get("/console/gifts?sort=-given"))[:2] == ["袋 100%", "茶"]
    assert names_on(browser.get("/console/gifts?kind=castle&sort=nonsense&cursor=x")) == ["旧款", "码", "袋 100%", "茶"]
    assert "Show all gifts" in browser.get("/console/gifts?q=nothing").get_data(as_text=True)
    assert [row[0] for row in rows_of(browser.get("/console/gifts.csv?sort=-given"))][:3] == ["Gift", "袋 100%", "茶"]
    assert code.stock is None


# ── Members' gifts: the list ────────────────────────────────────────────────────────────────────────────────────────


def test_the_claims_are_searched_filtered_and_masked_for_every_role(browse, give, make_gift, make_member, clock):
    lime = make_member("青柠", "+8612600001234")
    tea, bag = make_gift(name="茶"), make_gift(name="袋")
    one, two = give(GiftState.SHIPPED, tea, lime), give(GiftState.QUEUED, bag)
    three = give(gift=tea)
    for role in Role:
        page = browse(role).get("/console/gift-claims")
        assert claims_on(page) == [three.id, two.id, one.id]
        assert "126****1234" in page.get_data(as_text=True)
        assert "12600001234" not in page.get_data(as_text=True)
        assert "样例路" not in page.get_data(as_text=True)
    browser = browse()
    wanted = {
        "q=1234": [one.id], "q=青柠1": [], f"q={one.tracking_number}": [one.id], "state=queued": [two.id],
        f"gift={tea.id}": [three.id, one.id], "sort=offered": [one.id, two.id, three.id], "state=nonsense": [three.id, two.id, one.id],
        "group=1": [],
    }  # fmt: skip
    found = {query: claims_on(browser.get(f"/console/gift-claims?{query}")) for query in wanted}
    # The recipient's name on the parcel is searched too.
    assert found.pop("q=青柠1") != [lime.id]
    wanted.pop("q=青柠1")
    assert found == wanted
    clock.move(days=20)
    browser = browse()
    assert claims_on(browser.get("/console/gift-claims?state=forfeited")) == [three.id]
    assert claims_on(browser.get("/console/gift-claims?state=offered")) == []


def test_a_long_list_is_paged(browse, give, make_gift):
    gift = make_gift(stock=None)
    ids = [give(gift=gift).id for _ in range(55)]
    browser = browse()
    first = browser.get("/console/gift-claims")
    assert claims_on(first) == ids[:4:-1]
    following = re.search(r'rel="next" href="([^"]+)"', first.get_data(as_text=True))
    assert following
    assert claims_on(browser.get(following[1].replace("&amp;", "&"))) == ids[4::-1]


def test_the_pick_list_goes_out_and_comes_back_filled_in(browse, give, db):
    queued, other = give(GiftState.QUEUED), give(GiftState.QUEUED)
    give(GiftState.SHIPPED)
    browser = browse(Role.SERVICE)
    answer = browser.post("/console/gift-claims/pick-list")
    header, *rows = rows_of(answer)
    assert [(int(row[0]), row[2], row[3], row[4]) for row in rows] == [
        (claim.id, *ADDRESS.values()) for claim in (queued, other)
    ]
    audit = db.session.scalars(select(AuditEntry).where(AuditEntry.action == "gift.pick_list_exported")).one()
    assert audit.after == {"filter": {}, "gifts": 2, "addresses": True}
    rows[0][-2:] = ["样板快递", "SF1"]
    out = io.StringIO()
    csv.writer(out).writerows([header, *rows])
    back = browser.post(
        "/console/gift-claims/tracking", data={"file": (io.BytesIO(("\ufeff" + out.getvalue()).encode()), "pick.csv")}
    )
    assert back.status_code == 302
    assert (state_of(queued), state_of(other)) == (GiftState.SHIPPED, GiftState.QUEUED)


def test_the_pick_list_masks_addresses_for_who_may_not_see_them(browse, give):
    give(GiftState.QUEUED)
    text = browse(Role.ASSISTANT).post("/console/gift-claims/pick-list").get_data(as_text=True)
    assert "杭州市西****" in text
    for secret in ADDRESS.values():
        assert secret not in text


def test_rejected_lines_come_back_to_be_put_right(browse, give):
    good, bad = give(GiftState.QUEUED), give()
    browser = browse()
    text = f"claim number,carrier,tracking number\n{good.id},Sample,SF1\n{bad.id},Sample,SF2\n"
    answer = browser.post("/console/gift-claims/tracking", data={"text": text})
    page = answer.get_data(as_text=True)
    assert answer.status_code == 200
    assert "One line was not taken" in page
    assert "its state is: Unclaimed" in page
    assert f"{bad.id},Sample,SF2" in page
    assert f"{good.id},Sample,SF1" not in page
    assert state_of(good) == GiftState.SHIPPED


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        ({}, "Choose a file, or paste the lines."),
        ({"text": "a,b\n1,2\n"}, "The heading lacks"),
        ({"file": (io.BytesIO(b"PK\x03\x04xl/"), "x.xlsx")}, "Excel workbook"),
        ({"file": (io.BytesIO(b"claim number,carrier\xff\xff\n1,\xe8\x8c\n"), "x.csv")}, "no encoding"),
    ],
)
def test_a_file_that_cannot_be_read_says_why(browse, data, sentence):
    answer = browse().post("/console/gift-claims/tracking", data=data)
    assert answer.status_code == 422
    assert sentence in answer.get_data(as_text=True)


def test_many_are_changed_at_once(browse, give, db):
    shipped, offered = give(GiftState.SHIPPED), give()
    browser = browse()
    form = {"ids": [shipped.id, offered.id], "next": "/console/gift-claims?state=shipped"}

    def said(data):
        answer = browser.post("/console/gift-claims", data=data)
        assert answer.location == (form["next"] if "next" in data else "/console/gift-claims")
        return browser.get("/console/gift-claims").get_data(as_text=True)

    page = said({**form, "act": "deliver"})
    assert "One gift changed." in page
    assert "One stays as it is" in page
    for nothing in ({**form, "act": "cancel"}, {**form, "act": "x"}, {"act": "deliver"}):
        assert "nothing was changed" in said(nothing)
    assert (state_of(shipped), state_of(offered)) == (GiftState.DELIVERED, GiftState.OFFERED)
    said({**form, "act": "cancel", "reason": "误发"})
    assert (state_of(shipped), state_of(offered)) == (GiftState.DELIVERED, GiftState.CANCELLED)


# ── Members' gifts: one ─────────────────────────────────────────────────────────────────────────────────────────────


def test_the_way_of_a_parcel_in_the_console(browse, give):
    claim = give(GiftState.QUEUED)
    browser, path = browse(Role.ASSISTANT), f"/console/gift-claims/{claim.id}"
    refused = browser.post(f"{path}/ship", data={"carrier": "", "tracking_number": "SF1"})
    assert refused.status_code == 422
    assert 'value="SF1"' in refused.get_data(as_text=True)
    assert state_of(claim) == GiftState.QUEUED
    for _ in range(2):
        assert browser.post(f"{path}/ship", data={"carrier": "样板快递", "tracking_number": "SF1"}).status_code == 302
    assert "SF1" in browser.get(path).get_data(as_text=True)
    assert browser.post(f"{path}/fail", data={"fail-reason": ""}).status_code == 422
    assert browser.post(f"{path}/fail", data={"fail-reason": "无人接听"}).status_code == 302
    assert "无人接听" in browser.get(path).get_data(as_text=True)
    assert browser.post(f"{path}/queue").status_code == 302
    assert state_of(claim) == GiftState.QUEUED
    browser.post(f"{path}/ship", data={"carrier": "样板快递", "tracking_number": "SF2"})
    assert browser.post(f"{path}/return", data={"return-reason": "查无此人"}).status_code == 302
    assert state_of(claim) == GiftState.RETURNED
    browser.post(f"{path}/queue")
    browser.post(f"{path}/ship", data={"carrier": "样板快递", "tracking_number": "SF3"})
    for _ in range(2):
        assert browser.post(f"{path}/deliver").status_code == 302
    assert state_of(claim) == GiftState.DELIVERED
    assert browser.post(f"{path}/ship", data={"carrier": "x", "tracking_number": "y"}).status_code == 409


def test_a_cancelled_gift_gives_its_piece_back_once(browse, give):
    claim = give(GiftState.QUEUED)
    browser, path = browse(), f"/console/gift-claims/{claim.id}/cancel"
    assert browser.post(path, data={"cancel-reason": " "}).status_code == 422
    assert services.given(claim.gift_id) == 1
    for _ in range(2):
        assert browser.post(path, data={"cancel-reason": "重复"}).status_code == 302
    assert services.given(claim.gift_id) == 0


def test_a_code_is_needed_before_it_is_handed_over(browse, give, make_gift):
    claim = give(GiftState.CLAIMED, make_gift(GiftKind.DIGITAL))
    browser, path = browse(), f"/console/gift-claims/{claim.id}"
    assert browser.post(f"{path}/deliver", data={"content": " "}).status_code == 422
    assert browser.post(f"{path}/deliver", data={"content": "READ-7KQ2"}).status_code == 302
    assert services.get_claim(claim.id, lock=True).content == "READ-7KQ2"
    assert "READ-7KQ2" not in browser.get(path).get_data(as_text=True)
    assert "READ-7KQ2" in browser.post(f"{path}/reveal", data={"reason": "parcel"}).get_data(as_text=True)


def test_a_red_packet_is_confirmed(browse, give, make_gift):
    claim = give(GiftState.CLAIMED, make_gift(GiftKind.RED_PACKET, value=880))
    browser, path = browse(), f"/console/gift-claims/{claim.id}"
    assert "Confirm that ¥8.80 is paid" in browser.get(path).get_data(as_text=True)
    browser.post(f"{path}/deliver")
    assert state_of(claim) == GiftState.DELIVERED


def test_what_is_in_a_red_packet_is_said_and_stays(browse, give, make_gift, db):
    browser = browse()
    typed = {"name": "开门红包", "kind": "red_packet", "claim_days": "14", "active": "y"}
    for value in ("", "0", "1e5"):
        assert browser.post("/console/gifts/new", data={**typed, "value": value}).status_code == 422
    assert "Say how much is in the red packet." in browser.post("/console/gifts/new", data=typed).text
    packet = make_gift(GiftKind.RED_PACKET, value=880)
    path = f"/console/gifts/{packet.id}/edit"
    # Nobody has it yet: more or less may still be in it.
    assert browser.post(path, data={**typed, "value": "6.66"}).status_code == 302
    claim = give(gift=packet)
    refused = browser.post(path, data={**typed, "value": "66.60"})
    assert refused.status_code == 422
    assert "promised ¥6.66" in refused.text
    assert browser.post(path, data={**typed, "name": "新名字", "value": "6.66"}).status_code == 302
    db.session.refresh(packet)
    assert (packet.name, packet.value) == ("新名字", 666)
    assert "¥6.66" in browser.get(f"/console/gift-claims/{claim.id}").text


def test_the_address_is_shown_only_on_asking_and_that_is_noted(browse, give, db):
    claim = give(GiftState.QUEUED)
    browser, path = browse(Role.SERVICE), f"/console/gift-claims/{claim.id}"
    page = browser.get(path).get_data(as_text=True)
    assert "杭州市西****" in page
    assert ADDRESS["address"] not in page
    assert db.session.scalars(select(AuditEntry).where(AuditEntry.action == "gift.address_revealed")).all() == []
    assert browser.post(f"{path}/reveal").status_code == 422
    assert ADDRESS["address"] in browser.post(f"{path}/reveal", data={"reason": "parcel"}).get_data(as_text=True)
    assert db.session.scalars(
        select(AuditEntry.object_id).where(AuditEntry.action == "gift.address_revealed")
    ).all() == [claim.id]


def test_looking_changes_nothing(browse, give, contents):
    claim = give(GiftState.SHIPPED)
    give()
    browser = browse()
    before = contents()
    for path in (
        "/console/gifts", "/console/gifts.csv", f"/console/gifts/{claim.gift_id}", f"/console/gifts/{claim.gift_id}/edit",
        "/console/gifts/new", "/console/gift-claims", f"/console/gift-claims/{claim.id}", "/console/gift-claims/tracking",
    ):  # fmt: skip
        assert browser.get(path).status_code == 200, path
    assert contents() == before


@pytest.mark.parametrize(
    ("path", "permission"),
    [
        ("/console/gifts/new", "gifts.edit"), ("/console/gifts/{gift}/edit", "gifts.edit"),
        ("/console/gift-claims", "gifts.fulfil"), ("/console/gift-claims/pick-list", "gifts.fulfil"),
        ("/console/gift-claims/tracking", "gifts.fulfil"), ("/console/gift-claims/{claim}/ship", "gifts.fulfil"),
        ("/console/gift-claims/{claim}/deliver", "gifts.fulfil"), ("/console/gift-claims/{claim}/fail", "gifts.fulfil"),
        ("/console/gift-claims/{claim}/return", "gifts.fulfil"), ("/console/gift-claims/{claim}/queue", "gifts.fulfil"),
        ("/console/gift-claims/{claim}/cancel", "gifts.fulfil"), ("/console/gift-claims/{claim}/reveal", "members.reveal"),
    ],
)  # fmt: skip
def test_roles_that_may_not_are_refused(browse, give, db, path, permission):
    claim = give(GiftState.QUEUED)
    address = path.format(gift=claim.gift_id, claim=claim.id)
    refused = [role for role in Role if not holds(role, permission)]
    assert Role.VIEWER in refused
    for role in refused:
        assert (
            browse(role).post(address, data={"cancel-reason": "x", "carrier": "x", "tracking_number": "y"}).status_code
            == 403
        )
    assert state_of(claim) == GiftState.QUEUED


def test_a_viewer_sees_no_button_that_would_be_refused(browse, give):
    claim = give(GiftState.QUEUED)
    browser = browse(Role.VIEWER)
    for path in (
        "/console/gifts",
        f"/console/gifts/{claim.gift_id}",
        "/console/gift-claims",
        f"/console/gift-claims/{claim.id}",
    ):
        page = browser.get(path).get_data(as_text=True)
        forms = re.findall(r'<form[^>]*method="post"[^>]*action="([^"]+)"', page)
        assert [f for f in forms if "/gift" in f and f != "/console/gift-claims"] == [], path


@pytest.mark.parametrize(
    "path", ["/console/gifts/999999999", "/console/gift-claims/999999999", "/console/gifts/999999999/edit"]
)
def test_what_is_not_there_is_not_found(browse, path):
    assert browse().get(path).status_code == 404


# ── On other pages ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_brief_names_what_is_to_do(browse, give, make_gift):
    give(GiftState.QUEUED, make_gift(name="茶", stock=100))
    give(GiftState.CLAIMED, make_gift(GiftKind.DIGITAL, name="码", stock=None))
    give(gift=make_gift(name="袋", stock=3))
    give(gift=make_gift(name="杯", stock=1))
    page = browse().get("/console/").get_data(as_text=True)
    for words in ("1 gift is to be packed", "1 code or red packet", "2 pieces left of “袋”", "Nothing is left of “杯”"):
        assert words in page
    assert "left of “茶”" not in page
    assert "left of “码”" not in page


def test_the_search_finds_a_gift_and_a_parcel(browse, give, make_gift):
    claim = give(GiftState.SHIPPED, make_gift(name="雨伞"))
    browser = browse()
    assert browser.get("/console/search?q=雨伞").location == f"/console/gifts/{claim.gift_id}"
    assert browser.get(f"/console/search?q={claim.tracking_number}").location == f"/console/gift-claims/{claim.id}"
    assert today.search.filled


def test_a_members_page_tells_of_their_gifts(browse, give, make_gift, clock, db):
    claim = give(GiftState.SHIPPED, make_gift(name="雨伞"))
    lapsed = give(gift=make_gift(name="袋"), member=None)
    page = browse().get(f"/console/members/{claim.member_id}").get_data(as_text=True)
    for words in ("waits for them", "Claimed <a", f"is on its way: 样板快递 {claim.tracking_number}"):
        assert words in page
    assert page.count(f'href="/console/gift-claims/{claim.id}"') >= 4
    clock.move(days=20)
    services.forfeit_due()
    page = browse().get(f"/console/members/{lapsed.member_id}").get_data(as_text=True)
    assert "Did not claim" in page
    assert db.session.get(GiftClaim, lapsed.id).state == GiftState.FORFEITED
