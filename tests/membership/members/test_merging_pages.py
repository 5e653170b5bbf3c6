"""Pages around one person, one record: adding, likely duplicates, merging, what people may ask for, and looking at phones."""

from __future__ import annotations

import re
from typing import Any

import pytest
from sqlalchemy import func, select

from kernel.audit import AuditEntry
from kernel.auth import Role
from kernel.db import db as database
from membership.members import services
from membership.members.models import Channel, Dossier, Member, MemberIdentity, Merge, RightsRequest, RightsWish
from membership.members.services import duplicates, erasure, reveals
from tests.conftest import english, sign_in

from .whole import person, row, snapshot

PHONE = "+8612600003344"


@pytest.fixture
def manager(staff_client: Any) -> Any:
    return english(staff_client(Role.MANAGER))


def two(**values: Any) -> tuple[int, int]:
    """Two records of one person, the older first."""
    a, b = person(name="王小明", phone=PHONE, **values), person(name="小明", city="上海")
    row("member_identity", member_id=a["id"], channel="taobao", external_id="lemon_cat")
    row("member_identity", member_id=b["id"], channel="tmall", external_id="lemon_cat")
    duplicates.find_all()
    return a["id"], b["id"]


# ── Adding ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_adding_makes_a_member(db: Any, manager: Any) -> None:
    assert manager.get("/console/members/new").status_code == 200
    said = {
        "name": "王小明",
        "phone": "126 0000 9911",
        "channel": "taobao",
        "account": "lemon",
        "source": "counter",
        "tags": "茶，猫",
    }
    answer = manager.post("/console/members/new", data=said)
    member = database.session.scalars(select(Member)).one()
    assert answer.location == f"/console/members/{member.id}"
    assert (member.name, member.phone, member.source) == ("王小明", "+8612600009911", "counter")
    assert services.find_or_make([(Channel.TAOBAO, "lemon")])[0].id == member.id
    assert "猫" in manager.get(answer.location).text


def test_adding_finds_whoever_is_known_and_says_so(db: Any, manager: Any) -> None:
    known, _made = services.find_or_make([(Channel.PHONE, PHONE)], "王小明")
    answer = manager.post("/console/members/new", data={"name": "小明", "phone": PHONE[3:], "source": "shop"})
    assert "was known already" in manager.get(answer.location).text
    assert database.session.scalar(select(func.count()).select_from(Member)) == 1
    assert database.session.get_one(Member, known.id).name == "王小明"


def test_details_of_two_records_lead_to_merging(db: Any, manager: Any) -> None:
    one, _made = services.find_or_make([(Channel.PHONE, PHONE)], "王小明")
    other, _made = services.find_or_make([(Channel.EMAIL, "ming@example.com")], "小明")
    answer = manager.post(
        "/console/members/new", data={"name": "王", "phone": PHONE, "email": "ming@example.com", "source": "shop"}
    )
    assert answer.location == f"/console/members/merge?first={one.id}&other={other.id}"


@pytest.mark.parametrize(
    ("said", "field"),
    [
        ({"name": " "}, "name"),
        ({"phone": "138****0000"}, "phone"),
        ({"phone": ""}, "phone"),
        ({"email": "nobody"}, "email"),
        ({"channel": "taobao"}, "account"),
        ({"account": "lemon"}, "account"),
        ({"tags": "x" * 201}, "tags"),
    ],
)
def test_each_field_of_adding_is_checked(db: Any, manager: Any, said: dict[str, str], field: str) -> None:
    answer = manager.post("/console/members/new", data={"name": "王", "phone": PHONE, "source": "shop"} | said)
    assert answer.status_code == 422
    assert f'href="#{field}"' in answer.text
    assert database.session.scalar(select(func.count()).select_from(Member)) == 0


# ── Duplicates and merging ──────────────────────────────────────────────────────────────────────────────────────────


def test_the_list_shows_pairs_with_reasons_and_no_phone(db: Any, manager: Any) -> None:
    one, other = two()
    page = manager.get("/console/members/duplicates")
    assert "Same account name on two channels" in page.text
    assert f"first={one}&amp;other={other}" in page.text
    assert PHONE not in page.text
    assert PHONE[3:] not in page.text
    assert "No pair matches" in manager.get("/console/members/duplicates?sign=email").text
    for words, found in (
        ("小明", True),
        ("lemon_cat", True),
        (f"%23{other}", True),
        (PHONE[-4:], True),
        ("%25", False),
        ("zzz", False),
    ):
        searched = manager.get(f"/console/members/duplicates?q={words}").text
        assert (f"first={one}&amp;other={other}" in searched, "No pair matches" in searched) == (found, not found), (
            words
        )
    assert "Likely duplicates" in manager.get("/console/members").text
    assert f"first={one}&amp;other={other}" in manager.get(f"/console/members/{one}").text


def test_setting_aside_and_taking_up_again(db: Any, manager: Any) -> None:
    one, other = two()
    pair = {"first": one, "other": other}
    assert manager.post("/console/members/duplicates/dismiss", data=pair).location == "/console/members/duplicates"
    assert "No likely duplicates" in manager.get("/console/members/duplicates").text
    assert "王小明" in manager.get("/console/members/duplicates/set-aside").text
    manager.post("/console/members/duplicates/take-up-again", data=pair)
    assert "lemon_cat" in manager.get("/console/members/duplicates").text
    for wrong in ({}, {"first": "x", "other": "1"}, {"first": one, "other": one}, {"first": one, "other": 10**9}):
        assert manager.post("/console/members/duplicates/dismiss", data=wrong).status_code == 404


def test_looking_again_is_work_for_a_job(db: Any, manager: Any, run_jobs: Any) -> None:
    address = "/console/members/duplicates"
    assert "Nobody has looked yet" in manager.get(address).text
    manager.post(f"{address}/look")
    waiting = manager.get(address).text
    assert "is being looked at" in waiting
    # Nothing is said about what there is while it is being looked for; the page asks again by itself, with scripts or without.
    assert "No likely duplicates" not in waiting
    assert "Looking for duplicates" in waiting
    assert f'hx-get="{address}"' in waiting
    assert '<noscript><meta http-equiv="refresh"' in waiting
    run_jobs()
    done = manager.get(address).text
    assert "Every record was looked at" in done
    assert "No likely duplicates" in done
    assert 'http-equiv="refresh"' not in done


def test_a_merge_is_shown_done_and_undone(db: Any, manager: Any) -> None:
    one, other = two()
    before = snapshot(frozenset({"staff_session", "event", "event_delivery", "shop_setting"}))
    page = manager.get(f"/console/members/merge?first={other}&other={one}")
    assert page.status_code == 200
    assert snapshot(frozenset({"staff_session", "event", "event_delivery", "shop_setting"})) == before
    assert f'name="survivor" value="{one}" checked' in page.text
    assert PHONE[3:] not in page.text
    answer = manager.post(
        "/console/members/merge",
        data={"first": one, "other": other, "keep_name": "absorbed", "reason": " same  person "},
    )
    made = database.session.scalars(select(Merge)).one()
    assert answer.location == f"/console/members/merges/{made.id}"
    assert (made.survivor_id, made.absorbed_id, made.reason) == (one, other, "same person")
    assert database.session.get_one(Member, one).name == "小明"
    assert manager.get(f"/console/members/{other}").location == f"/console/members/{one}"
    shown = manager.get(answer.location)
    assert "Take it back" in shown.text
    assert "Identities on channels" in shown.text
    for words, found in (("", True), ("小明", True), (f"%23{other}", True), (str(one), True), ("zzz", False)):
        listed = manager.get(f"/console/members/merges?q={words}").text
        assert (answer.location in listed, "No merge matches" in listed) == (found, not found), words
    undone = manager.post(f"/console/members/merges/{made.id}/undo")
    assert "Two records again, as they were." in manager.get(undone.location).text
    assert database.session.get_one(Member, one).name == "王小明"
    assert manager.post(f"/console/members/merges/{made.id}/undo").status_code == 409


def test_staff_choose_which_record_stays(db: Any, manager: Any) -> None:
    one, other = two()
    page = manager.get(f"/console/members/merge?first={one}&other={other}&survivor={other}")
    assert f'name="survivor" value="{other}" checked' in page.text
    manager.post("/console/members/merge", data={"first": one, "other": other, "survivor": other})
    assert database.session.scalars(select(Merge.survivor_id)).one() == other


def test_merging_from_a_member_finds_the_other(db: Any, manager: Any) -> None:
    one, other = two()
    assert f"first={one}&amp;other={other}" in manager.get(f"/console/members/{one}/merge").text
    found = manager.get(f"/console/members/{other}/merge?q={PHONE[-4:]}")
    assert f"first={other}&amp;other={one}" in found.text
    assert "Nobody found" in manager.get(f"/console/members/{one}/merge?q=nobody-here").text


@pytest.mark.parametrize("address", ["first=1", "first=0&other=0", "first=x&other=y"])
def test_unknown_records_are_not_found(db: Any, manager: Any, address: str) -> None:
    assert manager.get(f"/console/members/merge?{address}").status_code == 404


def test_one_record_is_not_merged_with_itself(db: Any, manager: Any) -> None:
    one, _other = two()
    assert manager.get(f"/console/members/merge?first={one}&other={one}").status_code == 422


WRITING = [
    "members/new", "members/merge", "members/duplicates/dismiss", "members/duplicates/take-up-again",
    "members/duplicates/look", "members/{one}/dossier", "members/{one}/erase",
]  # fmt: skip


@pytest.mark.parametrize("path", WRITING)
def test_check_a3_viewers_change_nothing(db: Any, staff_client: Any, path: str) -> None:
    one, other = two()
    viewer = staff_client(Role.VIEWER)
    before = snapshot(frozenset({"staff_session"}))
    answer = viewer.post(
        f"/console/{path.format(one=one)}", data={"first": one, "other": other, "confirmation": f"#{one}"}
    )
    assert answer.status_code == 403
    assert snapshot(frozenset({"staff_session"})) == before


@pytest.mark.parametrize(
    "path",
    [
        "members/merge?first={one}&other={other}",
        "members/{one}/merge",
        "members/{one}/personal-data",
        "members/rights-requests",
    ],
)
def test_check_a3_what_shows_more_than_the_list_is_closed_to_viewers(db: Any, staff_client: Any, path: str) -> None:
    one, other = two()
    assert staff_client(Role.VIEWER).get(f"/console/{path.format(one=one, other=other)}").status_code == 403


# ── Rights ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_file_is_for_who_asked(db: Any, staff_client: Any, make_staff: Any, app: Any) -> None:
    one, _other = two()
    asked = staff_client(Role.SERVICE)
    assert asked.post(f"/console/members/{one}/dossier").status_code == 302
    token = database.session.scalars(select(Dossier.token)).one()
    page = asked.get(f"/console/members/{one}/personal-data")
    assert token in page.text
    file = asked.get(f"/console/members/dossiers/{token}")
    assert (file.status_code, file.mimetype) == (200, "application/zip")
    assert "no-store" in file.headers["Cache-Control"]
    other = sign_in(app.test_client(), make_staff(Role.OWNER, email="other@shop.example"))
    assert other.get(f"/console/members/dossiers/{token}").status_code == 404
    assert token not in other.get(f"/console/members/{one}/personal-data").text
    made = AuditEntry.action.startswith("member.")
    actions = database.session.scalars(select(AuditEntry.action).where(made).order_by(AuditEntry.id)).all()
    assert actions == ["member.dossier_made", "member.dossier_fetched"]


def test_erasing_is_typed_and_for_owner_and_manager(db: Any, manager: Any, staff_client: Any) -> None:
    one, _other = two()
    assert (
        staff_client(Role.SERVICE).post(f"/console/members/{one}/erase", data={"confirmation": f"#{one}"}).status_code
        == 403
    )
    wrong = manager.post(f"/console/members/{one}/erase", data={"confirmation": "yes"})
    assert wrong.status_code == 422
    assert "Nothing was erased" in wrong.text
    assert manager.post(f"/console/members/{one}/erase", data={"confirmation": f"#{one}"}).status_code == 302
    assert database.session.get_one(Member, one).erased_at is not None
    assert (
        database.session.scalar(select(func.count()).select_from(MemberIdentity).where(MemberIdentity.member_id == one))
        == 0
    )
    entry = database.session.scalars(select(AuditEntry).where(AuditEntry.action == "member.erased")).one()
    assert (entry.object_id, entry.before, entry.after) == (one, None, {"records": 1})
    assert manager.get(f"/console/members/{one}").status_code == 200


def test_members_ask_and_the_brief_says_so(db: Any, manager: Any, browser_of: Any) -> None:
    one, _other = two()
    member = database.session.get_one(Member, one)
    phone = browser_of(member, identified=True)
    assert "/me/data" in phone.get("/me/").text
    assert "Ask to be erased" in phone.get("/me/data").text
    phone.post("/me/data/erasure")
    phone.post("/me/data/erasure")
    assert database.session.scalar(select(func.count()).select_from(RightsRequest)) == 1
    assert "One member asked for their data or to be erased" in manager.get("/console/").text
    assert "wants to be erased" in manager.get("/console/members/rights-requests").text
    assert "wants to be erased" in manager.get(f"/console/members/{one}/personal-data").text
    phone.post("/me/data/erasure/take-back")
    assert erasure.open_requests() == []
    erasure.ask(one, RightsWish.DOSSIER)
    manager.post(f"/console/members/rights-requests/{one}/dossier/done")
    assert erasure.open_requests() == []
    assert browser_of(member).get("/me/data").status_code == 302
    assert phone.post("/me/data/everything").status_code == 404


# ── Looking at what is masked ───────────────────────────────────────────────────────────────────────────────────────


def test_a_phone_is_shown_for_a_reason_and_on_record(db: Any, manager: Any) -> None:
    one, _other = two()
    for reason in ("", "because"):
        refused = manager.post(f"/console/members/{one}/reveal", data={"reason": reason})
        assert refused.status_code == 422
        assert PHONE not in refused.text
    shown = manager.post(f"/console/members/{one}/reveal", data={"reason": "call"})
    assert PHONE in shown.text
    entry = database.session.scalars(select(AuditEntry).where(AuditEntry.action == "member.revealed")).one()
    assert (entry.object_id, entry.after) == (one, {"reason": "call"})


def test_looking_by_the_dozen_raises_an_alarm(
    db: Any, manager: Any, staff_client: Any, make_staff: Any, clock: Any
) -> None:
    one, _other = two()
    curious = staff_client(Role.SERVICE)
    for _ in range(reveals.MOST_AN_HOUR):
        curious.post(f"/console/members/{one}/reveal", data={"reason": "call"})
    assert "masked phones" not in manager.get("/console/").text
    curious.post(f"/console/members/{one}/reveal", data={"reason": "call"})
    assert "Service looked at 51 masked phones or addresses within an hour" in manager.get("/console/").text
    assert "masked phones" not in curious.get("/console/").text
    clock.move(hours=1, seconds=1)
    assert "masked phones" not in manager.get("/console/").text


PAGES = [
    "members",
    "members/{one}",
    "members/duplicates",
    "orders",
    "orders/{order}",
    "gift-claims",
    "calls",
    "members/merge?first={one}&other={other}",
]


@pytest.mark.parametrize("path", PAGES)
def test_no_page_shows_a_phone_unasked(db: Any, staff_client: Any, path: str) -> None:
    """Even to the owner: looking is an act of its own, on every page."""
    one, other = two(address="上海市虹口区四川北路1234号")
    order = row("order", member_id=one)
    claim = row(
        "gift_claim",
        member_id=one,
        state="queued",
        phone=PHONE,
        recipient="王小明",
        address="上海市虹口区四川北路1234号",
    )
    row("call_task", member_id=one)
    page = staff_client(Role.OWNER).get(
        f"/console/{path.format(one=one, other=other, order=order['id'], claim=claim['id'])}"
    )
    assert page.status_code == 200
    digits = re.sub(r"\D", "", page.text)
    assert PHONE[1:] not in digits
    assert PHONE[3:] not in digits
    assert "四川北路1234号" not in page.text
