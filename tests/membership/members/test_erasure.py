"""Erasure and the dossier: what is kept of a person is known column by column, given on request, and goes on request."""

from __future__ import annotations

import io
import json
import zipfile
from typing import Any

import pytest
from sqlalchemy import func, select

from kernel.auth import Role
from kernel.db import db as database
from kernel.errors import NotFound
from membership.gifts import services as gifts
from membership.members import queries, services
from membership.members.models import Channel, Contact, Member, OptOut, RightsWish
from membership.members.services import dossier, erasure, merge, personal
from membership.orders.models import Order
from membership.tiers import services as tiers
from tests.conftest import NOON

from .whole import person, row, snapshot

MARK = "zqx"
OVER: dict[str, dict[str, Any]] = {
    "gift_claim": {"state": "delivered"},
    "seat": {"state": "left", "ended_at": NOON},
    "waiting": {"state": "lapsed", "ended_at": NOON},
}
PHONE, EMAIL = "+8612600007788", f"{MARK}@example.com"


def test_every_column_is_declared_personal_or_plain(app: Any) -> None:
    """A new column must say whether it tells something of a person: add it to its room's `personal.py`."""
    declared = personal.register()
    undeclared, gone, both = [], [], []
    for table in database.metadata.sorted_tables:
        entry = declared.get(table.name)
        names = {column.name for column in table.columns}
        known = (entry.plain | entry.personal) if entry else frozenset()
        undeclared += [f"{table.name}.{name}" for name in sorted(names - known)]
        gone += [f"{table.name}.{name}" for name in sorted(known - names)]
        both += [f"{table.name}.{name}" for name in sorted(entry.plain & entry.personal)] if entry else []
    assert (undeclared, gone, both) == ([], [], [])
    assert set(declared) == {table.name for table in database.metadata.sorted_tables}


def test_personal_columns_go_or_say_why_they_stay(app: Any) -> None:
    kept = {
        name
        for name, entry in personal.register().items()
        if entry.personal - entry.forgotten and not entry.drop and not entry.blanks and len(entry.why) < 20
    }
    assert kept == set()
    unreachable = {
        name
        for name, entry in personal.register().items()
        if entry.personal - entry.forgotten and entry.rows is None and not entry.why
    }
    assert unreachable == set()


def somebody() -> int:
    """A person whose every word in every table holds the mark, and a record that was merged into theirs."""
    tiers.ensure_policy()
    old = person(
        name=f"{MARK} 王", phone=PHONE, email=EMAIL, address=f"{MARK} 上海市虹口区四川北路", nickname=MARK, hobbies=MARK
    )
    new = person(name=f"{MARK} 小明", city=MARK)
    words = {"phone": PHONE, "address": f"{MARK} 上海市虹口区四川北路"}
    for member_id in (old["id"], new["id"]):
        for table, entry in personal.register().items():
            owner = entry.table.c.get("member_id")
            if owner is None or table in ("member_tier", "consent"):
                continue
            values = {
                name: words.get(name, MARK)
                for name in entry.personal - entry.forgotten
                if str(entry.table.c[name].type) == "TEXT" and entry.table.c[name].unique is not True
            }
            # Whatever is under way has a test of its own; here everything is over.
            values |= OVER.get(table, {})
            if table == "member_identity":
                values["external_id"] = f"{MARK}-{member_id}"
            row(table, member_id=member_id, **values)
    for channel, name in ((Channel.PHONE, PHONE), (Channel.EMAIL, EMAIL)):
        row("member_identity", member_id=old["id"], channel=channel.value, external_id=name)
    order = row("order", member_id=old["id"], buyer=f"{MARK}-1", source="shop")
    row("order_line", order_id=order["id"])
    entry = row("feed_entry", source="shop", buyer=f"{MARK}-1")
    row("returned_line", entry_id=entry["id"], source="shop", buyer=f"{MARK}-1")
    row("import_reject", row=[EMAIL, PHONE], value=PHONE)
    row("idempotency_record", body=f'{{"phone": "{PHONE}"}}')
    merge.merge(old["id"], new["id"])
    return int(old["id"])


def everything() -> str:
    return "\n".join(line for lines in snapshot(frozenset()).values() for line in lines)


def test_erasure_leaves_no_word_of_the_person_anywhere(db: Any, clock: Any) -> None:
    member_id = somebody()
    assert everything().count(MARK) > 30
    erasure.erase(member_id, str(member_id))
    database.session.flush()
    left = [
        f"{name}: {line}" for name, lines in snapshot(frozenset()).items() for line in lines
        if MARK in line or PHONE.removeprefix("+86") in line
    ]  # fmt: skip
    assert left == []


def test_an_erased_persons_page_says_what_happened_and_asks_for_nothing(db: Any, browse: Any) -> None:
    member_id = services.find_or_make([(Channel.PHONE, PHONE)], name=MARK)[0].id
    services.give_consent(member_id, Contact.EMAIL, source="test")
    tiers.set_manually(member_id, 3, "A friend of the shop")
    page = browse(Role.OWNER).get(f"/console/members/{member_id}").get_data(as_text=True)
    assert all(mark in page for mark in ('id="strategy"', 'id="rights"', 'id="notes"', "page-actions"))
    erasure.erase(member_id, str(member_id))
    # Nobody judges their tier any more, and no reason is given for a change that never was.
    assert tiers.reassess() == 0
    page = browse(Role.OWNER).get(f"/console/members/{member_id}").get_data(as_text=True)
    assert 'id="timeline"' in page
    assert "ended" not in page[page.index('id="timeline"') :]
    assert not [mark for mark in ('id="strategy"', 'id="rights"', 'id="notes"', "page-actions") if mark in page]


def test_orders_are_kept_without_the_person_and_the_sums_hold(db: Any, clock: Any) -> None:
    member_id = somebody()
    before = database.session.execute(select(func.count(), func.sum(Order.paid_amount)).select_from(Order)).one()
    erasure.erase(member_id, f" #{member_id} ")
    assert (
        database.session.execute(select(func.count(), func.sum(Order.paid_amount)).select_from(Order)).one() == before
    )
    owned = select(func.count()).select_from(Order).where(Order.member_id == member_id)
    assert database.session.scalar(owned) == 0
    member = database.session.get_one(Member, member_id)
    assert (member.name, member.phone, member.orders_count, member.spend) == ("", None, 0, 0)
    assert member.erased_at == clock.now()
    assert queries.find_by_phone(PHONE) is None
    with pytest.raises(erasure.ErasedAlready):
        erasure.erase(member_id, str(member_id))


def test_erasure_must_be_typed(db: Any, clock: Any) -> None:
    member_id = int(person(name=MARK)["id"])
    for typed in ("", str(member_id + 1), "yes"):
        with pytest.raises(erasure.NotConfirmed):
            erasure.erase(member_id, typed)
    assert database.session.get_one(Member, member_id).name == MARK


def test_check_f4_a_refusal_survives_merge_erasure_and_import(db: Any, clock: Any) -> None:
    old, new = person(), person()
    row("member_identity", member_id=new["id"], channel="phone", external_id=PHONE)
    row("member_identity", member_id=old["id"], channel="email", external_id=EMAIL)
    services.withdraw_consent(new["id"], Contact.SMS)
    merge.merge(old["id"], new["id"])
    assert not queries.has_consent(old["id"], Contact.SMS)
    erasure.erase(old["id"], str(old["id"]))
    for key in ((Channel.PHONE, PHONE), (Channel.EMAIL, EMAIL)):
        again, made = services.find_or_make([key], "王小明", source="taobao")
        assert made
        assert again.id != old["id"]
        services.give_consent_many([again.id], Contact.SMS)
        services.give_consent_many([again.id], Contact.EMAIL)
        assert not queries.has_consent(again.id, Contact.SMS)
        assert not queries.has_consent(again.id, Contact.EMAIL)
    hashes = database.session.scalars(select(OptOut.address_hash)).all()
    assert hashes
    assert all(PHONE not in h and len(h) == 64 for h in hashes)


def test_what_is_under_way_ends(db: Any, clock: Any) -> None:
    gift = row("gift", stock=3)
    group = row("group", seated=1)
    place = row("sub_group", group_id=group["id"], number=1, seated=1)
    member_id = person()["id"]
    gifts.offer_gift(gift["id"], member_id, "welcome:1")
    row("seat", group_id=group["id"], sub_group_id=place["id"], member_id=member_id)
    row("call_task", member_id=member_id)
    erasure.erase(member_id, str(member_id))
    tables = database.metadata.tables
    assert gifts.given(gift["id"]) == 0
    assert database.session.scalar(select(tables["group"].c.seated)) == 0
    assert database.session.scalar(select(func.count()).select_from(tables["call_task"])) == 0
    assert database.session.scalar(select(tables["visitor_session"].c.id)) is None


# ── The dossier ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_dossier_holds_what_the_tables_hold(db: Any, clock: Any, make_staff: Any) -> None:
    member_id = somebody()
    made = dossier.make(member_id, make_staff().id)
    with zipfile.ZipFile(io.BytesIO(made.content)) as archive:
        kept = json.loads(archive.read("data.json"))["kept"]
        page = archive.read("index.html").decode()
    declared = personal.register()
    shown = {name for name, entry in declared.items() if entry.label is not None and "member_id" in entry.table.c}
    assert shown - kept.keys() <= {"member_tier", "consent", "delivery", "contact_count", "attribution", "click"}
    assert kept["member"][0]["phone"] == PHONE
    assert {one["external_id"] for one in kept["member_identity"]} >= {PHONE, EMAIL}
    for name, entry in declared.items():
        if entry.rows is not None and entry.label is not None and name in kept:
            assert entry.personal - entry.hidden <= kept[name][0].keys()
    assert PHONE in page
    assert "token_hash" not in json.dumps(kept)


def test_check_a5_the_dossier_is_for_who_asked_and_for_one_day(db: Any, clock: Any, make_staff: Any) -> None:
    member_id = person()["id"]
    asked, other = make_staff(email="a@shop.example"), make_staff(email="b@shop.example")
    erasure.ask(member_id, RightsWish.DOSSIER)
    made = dossier.make(member_id, asked.id)
    assert dossier.fetch(made.token, asked.id).id == made.id
    assert [d.id for d in dossier.waiting_for(member_id, asked.id)] == [made.id]
    assert dossier.waiting_for(member_id, other.id) == []
    for token, who in ((made.token, other.id), ("x", asked.id)):
        with pytest.raises(NotFound):
            dossier.fetch(token, who)
    assert erasure.open_requests(member_id) == []
    clock.move(hours=24)
    with pytest.raises(NotFound):
        dossier.fetch(made.token, asked.id)
    assert dossier.clean_up() == 1


def test_asking_twice_asks_once_and_can_be_taken_back(db: Any, clock: Any) -> None:
    member_id = person()["id"]
    assert erasure.ask(member_id, RightsWish.ERASURE)
    assert not erasure.ask(member_id, RightsWish.ERASURE)
    erasure.take_back(member_id, RightsWish.ERASURE)
    assert erasure.open_requests() == []
    assert erasure.ask(member_id, RightsWish.ERASURE)
    assert [r.wish for r in erasure.open_requests()] == [RightsWish.ERASURE]
