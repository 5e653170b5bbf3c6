"""Details of a person: what is taken, who may see and write what, and two who edit at once."""

from __future__ import annotations

import re
from html import unescape

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select

from kernel.audit import AuditEntry
from kernel.auth import Role
from membership.members import rules
from membership.members.models import CustomerType, Member

FIELDS = st.dictionaries(st.sampled_from("abc"), st.sampled_from(["", "1", "2", "3"]))


def edit_form(browser, path):
    """The form's fields as a browser would send them back."""
    page = browser.get(path).get_data(as_text=True)
    before = re.search(r'name="before" type="hidden" value="([^"]*)"', page) or re.search(
        r'<input[^>]*name="before"[^>]*value="([^"]*)"', page
    )
    return {"before": unescape(before[1])}


@pytest.fixture
def lime(make_member):
    return make_member(name="青柠", city="北京", address="示例路 1 号", hobbies="茶")


@given(FIELDS, FIELDS)
def test_without_a_second_editor_what_i_wrote_is_written(now, mine):
    now = {**dict.fromkeys(mine, ""), **now}
    found = rules.reconcile(now, mine, now)
    assert (found.values, found.clashes, found.theirs) == (mine, (), ())


@given(st.lists(st.tuples(*[st.sampled_from(["", "1", "2"])] * 3), min_size=1, max_size=4))
def test_no_change_is_lost(fields):
    before, mine, now = ({str(i): one[k] for i, one in enumerate(fields)} for k in range(3))
    found = rules.reconcile(before, mine, now)
    for name in mine:
        if now[name] != before[name] and mine[name] not in (before[name], now[name]):
            assert name in found.clashes
        elif mine[name] != before[name]:
            assert found.values[name] == mine[name]
        else:
            assert found.values[name] == now[name]


WHOLE = {
    "name": "青柠", "nickname": "小青", "birthday": "1990-02-28", "customer_type": "haggler", "hobbies": "猫", "city": "上海",
    "address": "示例路 2 号", "locale": "en",
}  # fmt: skip


def test_staff_edit_every_detail(db, browse, lime):
    path = f"/console/members/{lime.id}/edit"
    browser = browse(Role.SERVICE)
    assert browser.post(path, data={**edit_form(browser, path), **WHOLE}).status_code == 302
    found = db.session.get(Member, lime.id)
    assert (found.nickname, str(found.birthday), found.customer_type) == ("小青", "1990-02-28", CustomerType.HAGGLER)
    assert (found.city, found.hobbies, found.address, found.locale) == ("上海", "猫", "示例路 2 号", "en")
    entry = db.session.scalars(select(AuditEntry).where(AuditEntry.action == "member.edited")).one()
    assert "示例路" not in str(entry.after)


@pytest.mark.parametrize(
    ("field", "wrong", "sentence"),
    [
        ("birthday", "1899-12-31", "A birthday lies between 1900 and today."),
        ("birthday", "2999-01-01", "A birthday lies between 1900 and today."),
        ("birthday", "2026-02-30", "Not a valid date value."),
        ("customer_type", "wizard", "Not a valid choice."),
        ("locale", "xx", "Not a valid choice."),
        ("name", "长" * 81, "80"),
        ("hobbies", "长" * 201, "200"),
        ("address", "长" * 301, "300"),
    ],
)
def test_what_is_no_detail_is_refused_with_a_sentence(db, browse, lime, field, wrong, sentence):
    answer = browse().post(f"/console/members/{lime.id}/edit", data={**WHOLE, field: wrong})
    assert answer.status_code == 422
    assert sentence in answer.get_data(as_text=True)
    assert db.session.get(Member, lime.id).city == "北京"


def test_whoever_may_not_see_the_address_neither_gets_nor_changes_it(db, browse, lime):
    browser, path = browse(Role.ASSISTANT), f"/console/members/{lime.id}/edit"
    assert "示例路" not in browser.get(path).get_data(as_text=True)
    browser.post(path, data={**edit_form(browser, path), **WHOLE})
    found = db.session.get(Member, lime.id)
    assert (found.city, found.address) == ("上海", "示例路 1 号")


def test_the_second_of_two_editors_is_told_and_nothing_is_lost(db, browse, lime):
    path = f"/console/members/{lime.id}/edit"
    first, second = browse(Role.MANAGER), browse(Role.SERVICE)
    seen_by_first, seen_by_second = edit_form(first, path), edit_form(second, path)
    now = {"name": "青柠", "nickname": "", "birthday": "", "customer_type": "", "hobbies": "茶", "city": "北京",
           "address": "示例路 1 号", "locale": "zh_Hans"}  # fmt: skip
    assert first.post(path, data={**now, **seen_by_first, "city": "上海"}).status_code == 302
    answer = second.post(path, data={**now, **seen_by_second, "city": "广州", "hobbies": "猫"})
    assert answer.status_code == 409
    page = answer.get_data(as_text=True)
    assert "Manager saved other details" in page
    assert "City: now “上海”, you wrote “广州”" in page
    assert 'value="猫"' in page
    assert (db.session.get(Member, lime.id).city, db.session.get(Member, lime.id).hobbies) == ("上海", "茶")
    # Having seen both, saving again is meant.
    before = unescape(re.search(r'name="before"[^>]*value="([^"]*)"', page)[1])
    assert second.post(path, data={**now, "before": before, "city": "广州", "hobbies": "猫"}).status_code == 302
    assert (db.session.get(Member, lime.id).city, db.session.get(Member, lime.id).hobbies) == ("广州", "猫")


def test_edits_of_different_details_are_both_kept_and_told(db, browse, lime):
    path = f"/console/members/{lime.id}/edit"
    first, second = browse(Role.MANAGER), browse(Role.SERVICE)
    seen = edit_form(second, path)
    now = {"name": "青柠", "hobbies": "茶", "city": "北京", "address": "示例路 1 号", "locale": "zh_Hans"}
    first.post(path, data={**now, **edit_form(first, path), "city": "上海"})
    assert second.post(path, data={**now, **seen, "hobbies": "猫"}).status_code == 302
    page = second.get(f"/console/members/{lime.id}").get_data(as_text=True)
    assert "Somebody else changed City meanwhile; that is kept too." in page
    assert (db.session.get(Member, lime.id).city, db.session.get(Member, lime.id).hobbies) == ("上海", "猫")


def test_a_broken_memory_of_the_form_breaks_nothing(db, browse, lime):
    for before in ("", "x", "[]", "{", '{"name": 1, "rank": 4}', "null"):
        sent = {**WHOLE, "before": before}
        assert browse().post(f"/console/members/{lime.id}/edit", data=sent).status_code in (302, 409)
    assert db.session.get(Member, lime.id).rank == 0


def test_members_change_their_own_details_but_not_how_staff_see_them(db, browser_of, lime):
    lime.customer_type = CustomerType.PRESSING
    phone = browser_of(lime, identified=True)
    sent = {**edit_form(phone, "/me/profile"), **WHOLE, "nickname": "X", "customer_type": "haggler"}
    assert phone.post("/me/profile", data=sent).status_code == 302
    found = db.session.get(Member, lime.id)
    assert (found.city, found.hobbies, found.locale, str(found.birthday)) == ("上海", "猫", "en", "1990-02-28")
    assert (found.nickname, found.customer_type) == ("", CustomerType.PRESSING)
    assert "haggler" not in phone.get("/me/profile").get_data(as_text=True).lower()


def test_a_member_is_told_when_the_shop_changed_the_same_detail(db, browser_of, browse, lime):
    phone = browser_of(lime, identified=True)
    seen = edit_form(phone, "/me/profile")
    staff = browse()
    path = f"/console/members/{lime.id}/edit"
    staff.post(path, data={**WHOLE, **edit_form(staff, path)})
    answer = phone.post(
        "/me/profile", data={**seen, "name": "青柠", "city": "广州", "address": "示例路 1 号", "hobbies": "茶"}
    )
    assert answer.status_code == 409
    assert "City: now “上海”, you wrote “广州”" in answer.get_data(as_text=True)
