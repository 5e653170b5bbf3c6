"""The list of members and a member's page, for each role."""

from __future__ import annotations

import csv
import io
import re
from datetime import date, timedelta

import pytest
from sqlalchemy import func, select, text
from werkzeug.datastructures import MultiDict

from kernel import clock as kernel_clock
from kernel.audit import AuditEntry
from kernel.auth import Role, holds
from membership.members import listing, services
from membership.members import queries as members
from membership.members.forms import filter_from
from membership.members.models import Channel, Contact, CustomerType, Note, Purpose, Stage
from tests.conftest import everything

from .conftest import PHONE


def names_on(page):
    return re.findall(r'<a href="/console/members/\d+">([^<]+)</a>', page.get_data(as_text=True))


# ── The list ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_empty_shop_leads_to_the_import(browse):
    page = browse().get("/console/members").get_data(as_text=True)
    assert "No members yet" in page
    assert 'href="/console/imports"' in page
    assert 'href="/console/imports"' not in browse(Role.VIEWER).get("/console/members").get_data(as_text=True)


@pytest.mark.parametrize(
    ("known", "shown", "beside"),
    [
        ({"phone": "+8612600001234"}, "126****1234", True),
        ({"email": "lime.012@example.com"}, "l****@example.com", True),
        ({"phone": "+8612600001234", "name": "青柠"}, "青柠", False),
        ({}, None, False),
    ],
)
def test_who_has_no_name_is_called_by_what_is_known(browse, make_member, known, shown, beside):
    member = make_member(**{"name": "", **known})
    assert member.shown_name == (shown or f"#{member.id}")
    assert (member.shown_beside == f"#{member.id}") is beside
    for address in ("/console/members", f"/console/members/{member.id}"):
        page = browse(Role.VIEWER).get(address).text
        assert member.shown_name in page
        assert "12600001234" not in page
        assert "lime.012" not in page


def test_the_list_masks_phones_for_every_role(browse, make_member):
    make_member(phone=PHONE, name="青柠")
    for role in Role:
        page = browse(role).get("/console/members").get_data(as_text=True)
        assert "青柠" in page
        assert "126****1234" in page
        assert "12600001234" not in page


@pytest.fixture
def crowd(make_member, make_order):
    now = kernel_clock.now()
    lime = make_member(phone=PHONE, name="青柠", shop="b-lime", rank=3, orders_count=4, spend=250_000,
                       first_order_at=now - timedelta(days=300), last_order_at=now - timedelta(days=10))  # fmt: skip
    fig = make_member(phone="+8612600005678", name="无花果", nickname="Fig100%", rank=1, orders_count=1, spend=9_900,
                      first_order_at=now - timedelta(days=200), last_order_at=now - timedelta(days=200))  # fmt: skip
    pear = make_member(name="梨", source="douyin")
    merged = make_member(name="并入的", merged_into_id=lime.id)
    services.reassess_stages()
    services.tag([fig.id], "送礼")
    services.give_consent(lime.id, Contact.INBOX)
    services.give_consent(fig.id, Contact.INBOX)
    services.withdraw_consent(fig.id, Contact.INBOX)
    make_order(lime, "A-536001")
    return {"青柠": lime, "Fig100%": fig, "梨": pear, "并入的": merged}


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", {"青柠", "Fig100%", "梨"}),
        ("q=1234", {"青柠"}),
        ("q=5678", {"Fig100%"}),
        ("q=12600001234", {"青柠"}),
        ("q=%2B86 126 0000 1234", {"青柠"}),
        ("q=青", {"青柠"}),
        ("q=fig", {"Fig100%"}),
        ("q=100%25", {"Fig100%"}),
        ("q=%25", {"Fig100%"}),
        ("q=b-lime", {"青柠"}),
        ("q=A-536001", {"青柠"}),
        ("q=%23A-536001", {"青柠"}),
        ("q=nobody", set()),
        ("tier=3", {"青柠"}),
        ("tier=0", {"梨"}),
        ("stage=active", {"青柠"}),
        ("stage=dormant", {"Fig100%"}),
        ("tag=送礼", {"Fig100%"}),
        ("source=douyin", {"梨"}),
        ("consent=inbox", {"青柠"}),
        ("consent=none", {"Fig100%", "梨"}),
        ("ordered=0-30", {"青柠"}),
        ("ordered=180-", {"Fig100%"}),
        ("spend=0-100", {"Fig100%", "梨"}),
        ("spend=2000-", {"青柠"}),
        ("tier=1&stage=dormant&tag=送礼", {"Fig100%"}),
        ("tier=3&stage=dormant", set()),
        ("group=7", set()),
    ],
)
def test_filters_find_exactly(browse, crowd, query, expected):
    page = browse().get(f"/console/members?{query}")
    assert page.status_code == 200
    assert set(names_on(page)) == expected


@pytest.mark.parametrize(
    "query",
    ["tier=9", "tier=x", "stage=nobody", "consent=pigeon", "ordered=30-1", "ordered=-", "spend=a-b", "group=x", "cursor=zzz",
     "sort=name", "q=%00", "spend=99999999999999-", "tag=%00", "source=%00"],
)  # fmt: skip
def test_what_an_address_says_wrongly_narrows_nothing(browse, crowd, query):
    assert set(names_on(browse().get(f"/console/members?{query}"))) == {"青柠", "Fig100%", "梨"}


def test_each_filter_is_a_chip_that_takes_it_off(browse, crowd):
    page = (
        browse()
        .get("/console/members?tier=1&stage=dormant&ordered=180-365&spend=0-100&tag=送礼")
        .get_data(as_text=True)
    )
    for words in ("Tier: VIP1", "Stage: Dormant", "Last order: 180 to 365 days ago", "Spend: below ¥100", "Tag: 送礼"):
        assert words in page


@pytest.mark.parametrize(
    ("sort", "expected"),
    [
        ("-spend", ["青柠", "Fig100%", "梨"]),
        ("spend", ["梨", "Fig100%", "青柠"]),
        ("-last_order", ["青柠", "Fig100%", "梨"]),
        ("last_order", ["梨", "Fig100%", "青柠"]),
    ],
)
def test_the_list_sorts(browse, crowd, sort, expected):
    assert names_on(browse().get(f"/console/members?sort={sort}")) == expected


@pytest.mark.parametrize("sort", ["", "-spend", "last_order"])
def test_every_member_is_on_exactly_one_page(browse, db, sort):
    people = [services.Person(((Channel.SHOP, f"n{n}"),), f"人{n:03}") for n in range(120)]
    ids = services.find_or_make_many(people)
    db.session.execute(text("UPDATE member SET spend = (id % 3) * 100"))
    browser, seen, address = browse(), [], f"/console/members?sort={sort}"
    for _ in range(3):
        page = browser.get(address)
        seen += names_on(page)
        following = re.search(r'rel="next" href="([^"]+)"', page.get_data(as_text=True))
        address = following[1].replace("&amp;", "&") if following else ""
    assert not following
    assert sorted(seen) == [f"人{n:03}" for n in range(120)]
    assert len(ids) == 120


def test_a_group_filter_is_answered_from_above(db, crowd, monkeypatch):
    from membership.members.models import Member

    monkeypatch.setattr(
        members.seated_in,
        "_answers",
        [lambda group: select(Member.id).where(Member.name == "梨" if group == 7 else Member.id < 0)],
    )
    found = db.session.scalars(listing.listed(filter_from(MultiDict({"group": "7"})))).all()
    assert [m.name for m in found] == ["梨"]


def test_many_members_are_tagged_and_untagged_at_once(browse, crowd):
    ids = [crowd["青柠"].id, crowd["梨"].id]
    browser = browse(Role.ASSISTANT)
    answer = browser.post(
        "/console/members/tags", data={"ids": ids, "tag": "爱喝茶", "act": "tag", "next": "/console/members?tier=3"}
    )
    assert (answer.status_code, answer.location) == (302, "/console/members?tier=3")
    assert members.tags_of_many(ids) == {i: ["爱喝茶"] for i in ids}
    browser.post("/console/members/tags", data={"ids": ids, "tag": "爱喝茶", "act": "untag"})
    assert members.tags_of_many(ids) == {}


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        ({"tag": "x"}, "Select members first"),
        ({"ids": ["1"], "tag": " "}, "Write which tag"),
        ({"ids": ["x"], "tag": "x"}, "Select"),
    ],
)
def test_tagging_without_members_or_words_changes_nothing(browse, crowd, sent, said):
    browser = browse()
    browser.post("/console/members/tags", data=sent)
    assert said in browser.get("/console/members").get_data(as_text=True)
    assert [tag.name for tag in members.tags()] == ["送礼"]


def test_a_tag_that_is_too_long_is_refused(browse, crowd):
    sent = {"ids": [crowd["梨"].id], "tag": "长" * 41}
    assert browse().post("/console/members/tags", data=sent).status_code == 422


def test_the_way_back_leads_nowhere_else(browse, crowd):
    sent = {"ids": [crowd["梨"].id], "tag": "x", "next": "https://elsewhere.example/"}
    assert browse().post("/console/members/tags", data=sent).location == "/console/members"


def exported(answer):
    return list(csv.reader(io.StringIO(answer.get_data(as_text=True).removeprefix("\ufeff")), strict=True))


@pytest.mark.parametrize(("role", "phone"), [(Role.MARKETER, "126****1234"), (Role.MANAGER, "'+8612600001234")])
def test_the_export_shows_what_the_role_may_see_and_is_audited(browse, db, crowd, role, phone):
    answer = browse(role).post("/console/members/export?tier=3")
    assert answer.status_code == 200
    header, *rows = exported(answer)
    assert header[:3] == ["Full name", "Nickname", "Phone"]
    assert [[*row[:5], *row[7:9]] for row in rows] == [["青柠", "", phone, "VIP3", "Active buyer", "4", "2500.00"]]
    entry = db.session.scalars(select(AuditEntry).where(AuditEntry.action == "members.exported")).one()
    assert entry.after == {"filter": "tier=3", "phones": role is Role.MANAGER, "number": 1}


def test_the_export_guards_formula_cells(browse, make_member):
    make_member(name="=1+1")
    assert exported(browse().post("/console/members/export"))[1][0] == "'=1+1"


def test_the_export_is_not_for_viewers_and_not_a_link(browse, crowd):
    assert browse(Role.VIEWER).post("/console/members/export").status_code == 403
    assert browse().get("/console/members/export").status_code in (404, 405)


# ── One member ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_page_shows_orders_and_events_in_one_line_of_time(browse, db, clock, make_member, make_order):
    member = make_member(name="青柠")
    make_order(member, "A-1", days_ago=3)
    services.enrol(member.id, "group:1")
    clock.move(hours=1)
    services.tag([member.id], "爱喝茶")
    page = browse().get(f"/console/members/{member.id}").get_data(as_text=True)
    found = re.findall(r'class="timeline-title">(?:<a[^>]*>)?([^<]+)<', page)
    assert found == [
        "Tagged “爱喝茶”",
        "Stage: Lead → Member",
        "Became a member of the shop",
        "Order ¥123.00 · Delivered",
    ]
    assert "三层蛋糕架 × 2" in page
    assert "Has accepted an invitation or a link." in page


def test_the_timeline_narrows_and_pages(browse, make_member, make_order):
    member, other = make_member(), make_member()
    for n in range(40):
        make_order(member, f"A-{n:02}", days_ago=n)
    make_order(other, "B-1")
    services.tag([member.id], "爱喝茶")
    browser = browse()
    first = browser.get(f"/console/members/{member.id}?kind=orders").get_data(as_text=True)
    following = re.search(r'rel="next" href="([^"]+)"', first)[1].replace("&amp;", "&")
    second = browser.get(following).get_data(as_text=True)
    numbers = [n for page in (first, second) for n in re.findall(r'<span class="num">([AB]-\d+)</span>', page)]
    assert numbers == [f"A-{n:02}" for n in range(40)]
    assert "Tagged" not in first
    tags = browser.get(f"/console/members/{member.id}?kind=staff").get_data(as_text=True)
    assert "Tagged “爱喝茶”" in tags
    assert re.findall(r'<span class="num">A-\d+</span>', tags) == []


def test_a_merged_member_leads_to_the_survivor_and_a_missing_one_nowhere(browse, crowd):
    browser = browse()
    answer = browser.get(f"/console/members/{crowd['并入的'].id}")
    assert answer.location == f"/console/members/{crowd['青柠'].id}"
    assert browser.get("/console/members/987654321").status_code == 404


PRIVATE = {"phone": PHONE, "email": "lime@example.com", "address": "示例市样板路12号"}


def test_private_details_are_masked_until_somebody_who_may_asks(browse, db, make_member):
    member = make_member(**PRIVATE)
    secrets = ("12600001234", "lime@example.com", "样板路12号")
    for role in Role:
        browser = browse(role)
        before = browser.get(f"/console/members/{member.id}").get_data(as_text=True)
        assert not any(secret in before for secret in secrets)
        assert ("Show phone and address" in before) == holds(role, "members.reveal")
        answer = browser.post(f"/console/members/{member.id}/reveal", data={"reason": "call"})
        if holds(role, "members.reveal"):
            assert all(secret in answer.get_data(as_text=True) for secret in secrets)
        else:
            assert answer.status_code == 403
    looked = db.session.scalars(select(AuditEntry).where(AuditEntry.action == "member.revealed")).all()
    assert {entry.actor for entry in looked} == {"Owner", "Manager", "Service"}
    assert {entry.object_id for entry in looked} == {member.id}


def details(**changed):
    return {
        "name": "青柠", "nickname": "爱笑的青柠", "birthday": "1990-05-06", "customer_type": "haggler", "hobbies": "烘焙",
        "city": "示例市", "address": "样板路12号",
    } | changed  # fmt: skip


def test_details_are_saved_and_the_audit_keeps_no_address(browse, db, make_member):
    member = make_member()
    answer = browse(Role.SERVICE).post(f"/console/members/{member.id}/edit", data=details())
    assert answer.status_code == 302
    assert (member.name, member.birthday, member.customer_type, member.address) == (
        "青柠", date(1990, 5, 6), CustomerType.HAGGLER, "样板路12号",
    )  # fmt: skip
    entry = db.session.scalars(select(AuditEntry).where(AuditEntry.action == "member.edited")).one()
    assert "address" in entry.after["fields"]
    assert "样板路" not in str(entry.after)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", "长" * 81),
        ("nickname", "长" * 81),
        ("birthday", "2999-01-01"),
        ("birthday", "1899-12-31"),
        ("birthday", "yesterday"),
        ("customer_type", "martian"),
        ("hobbies", "长" * 201),
        ("city", "长" * 81),
        ("address", "长" * 301),
    ],
)
def test_each_detail_is_refused_and_what_was_typed_is_kept(browse, make_member, field, value):
    member = make_member(name="梨")
    answer = browse().post(f"/console/members/{member.id}/edit", data=details(**{field: value}))
    assert answer.status_code == 422
    page = answer.get_data(as_text=True)
    assert f'id="{field}-error"' in page
    assert "烘焙" in page or field == "hobbies"
    assert member.name == "梨"


def test_an_assistant_neither_sees_nor_wipes_the_address(browse, make_member):
    member = make_member(address="样板路12号")
    browser = browse(Role.ASSISTANT)
    assert "样板路12号" not in browser.get(f"/console/members/{member.id}/edit").get_data(as_text=True)
    browser.post(f"/console/members/{member.id}/edit", data=details(address="别处"))
    assert (member.name, member.address) == ("青柠", "样板路12号")


def test_tags_notes_and_rights_are_written_by_staff(browse, db, make_member):
    member = make_member()
    browser, at = browse(Role.SERVICE), f"/console/members/{member.id}"
    browser.post(f"{at}/tags", data={"name": "爱喝茶"})
    browser.post(f"{at}/notes", data={"body": "喜欢上午接电话\n<b>不</b>发短信"})
    browser.post(f"{at}/rights", data={"channel": "call", "wish": "give", "told": "call"})
    page = browser.get(at).get_data(as_text=True)
    assert "爱喝茶" in page
    assert "&lt;b&gt;不&lt;/b&gt;发短信" in page
    row = members.rights(member.id)[Contact.CALL, Purpose.MARKETING]
    assert (row.granted, row.source, row.author) == (True, "call", "Service")
    assert [note.author for note in members.notes_of(member.id)] == ["Service"]
    browser.post(f"{at}/tags/remove", data={"name": "爱喝茶"})
    browser.post(f"{at}/rights", data={"channel": "call", "wish": "withdraw", "told": "chat"})
    assert members.tags_of(member.id) == []
    assert not members.has_consent(member.id, Contact.CALL)


@pytest.mark.parametrize(
    ("part", "sent"),
    [
        ("tags", {"name": ""}),
        ("tags", {"name": "长" * 41}),
        ("notes", {"body": ""}),
        ("notes", {"body": " \n "}),
        ("notes", {"body": "长" * 4001}),
        ("rights", {"channel": "pigeon", "wish": "give", "told": "call"}),
        ("rights", {"channel": "inbox", "wish": "maybe", "told": "call"}),
        ("rights", {"channel": "inbox", "wish": "give", "told": "dream"}),
    ],
)
def test_each_input_of_the_side_cards_is_refused(browse, db, make_member, part, sent):
    member = make_member()
    assert browse().post(f"/console/members/{member.id}/{part}", data=sent).status_code == 422
    assert members.tags_of(member.id) == []
    assert db.session.scalar(select(func.count(Note.id))) == 0
    assert members.rights(member.id) == {}


@pytest.mark.parametrize("part", ["edit", "tags", "tags/remove", "notes", "rights"])
def test_viewers_change_nothing(browse, db, make_member, part):
    member = make_member()
    browser = browse(Role.VIEWER)
    before = everything(db)
    sent = {"name": "x", "body": "x", "channel": "inbox", "wish": "give", "told": "call"}
    assert browser.post(f"/console/members/{member.id}/{part}", data=sent).status_code == 403
    assert everything(db) == before
    assert "Edit details" not in browser.get(f"/console/members/{member.id}").get_data(as_text=True)


def test_opening_pages_changes_nothing(browse, db, crowd):
    browser, member = browse(), crowd["青柠"]
    browser.get("/console/members")
    before = everything(db)
    for path in ("", "?q=1234&sort=-spend", f"/{member.id}", f"/{member.id}?kind=orders", f"/{member.id}/edit"):
        assert browser.get(f"/console/members{path}").status_code == 200
    assert everything(db) == before


# ── Today ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_search_over_everything_finds_a_phone_tail(browse, crowd):
    answer = browse().get("/console/search?q=1234")
    assert answer.location == f"/console/members/{crowd['青柠'].id}"


def test_the_brief_counts_this_week_against_the_last(db, clock, make_member, app):
    from membership.members import brief

    first, second = make_member(), make_member()
    services.enrol(first.id, "x")
    services.give_consent(first.id, Contact.INBOX)
    services.give_consent(first.id, Contact.EMAIL)
    services.give_consent(second.id, Contact.INBOX)
    services.withdraw_consent(second.id, Contact.INBOX)
    clock.move(days=8)
    services.withdraw_marketing(first.id, "unsubscribe")
    services.enrol(second.id, "x")
    clock.move(minutes=1)
    with app.test_request_context():
        found = {str(n.label): (n.value, n.before) for n in brief.numbers()}
    assert list(found.values()) == [(1, 1), (1, 1)]
    assert second.stage == Stage.MEMBER
