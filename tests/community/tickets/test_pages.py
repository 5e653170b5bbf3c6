"""The pages of staff and members, and the REST interface: they work, refuse what they should, and GET changes nothing."""

from __future__ import annotations

import csv
import io
import re
from datetime import timedelta

import pytest
from PIL import Image
from sqlalchemy import select

from community.desk.models import Script
from community.desk.services import ScriptDraft, add_script
from community.tickets import queries, services
from community.tickets.models import EntryKind, Macro, Ticket, TicketKind, TicketState
from kernel import clock as kernel_clock
from kernel.auth import Role
from tests.api.conftest import program
from tests.community.tickets.conftest import ticket_of
from tests.conftest import bind, english, everything

__all__ = ["program"]


def picture(size: int = 40) -> tuple[io.BytesIO, str]:
    stream = io.BytesIO()
    Image.new("RGB", (size, size), "red").save(stream, "PNG")
    stream.seek(0)
    return stream, "cup.png"


@pytest.fixture
def phone(app, db):
    """`phone(member, identified=True)` is a member's browser."""
    return lambda member, identified=True: bind(english(app.test_client()), member.id, identified)


def words(answer) -> str:
    return answer.get_data(as_text=True)


def test_a_return_from_the_phone_to_the_desk_and_back(db, clock, browse, phone, make_member, delivered, settings):
    member = make_member("小满")
    bought = delivered(member)
    theirs, desk = phone(member), browse(Role.SERVICE)
    assert bought.external_id in words(theirs.get("/tickets/new/return"))
    refused = theirs.post("/tickets/new/return", data={"order": "nobody's", "body": "坏了", "ask_why": "broken"})
    assert refused.status_code == 422
    assert "No order of this customer" in words(refused)
    assert theirs.post("/tickets/new/return", data={"body": "坏了"}).status_code == 422
    assert theirs.get("/tickets/new/survey").status_code == 404
    answer = theirs.post(
        "/tickets/new/return",
        data={"order": bought.external_id, "body": "杯口有缺口", "ask_why": "broken", "pictures": [picture()]},
        content_type="multipart/form-data",
    )
    ticket = db.session.scalars(select(Ticket)).one()
    assert answer.location == f"/tickets/{ticket.public_id}"
    key = queries.entries(ticket.id)[0].pictures[0]
    assert theirs.get(f"/tickets/{ticket.public_id}/pictures/{key}").mimetype == "image/webp"
    assert desk.get(f"/console/tickets/{ticket.id}/pictures/{key}").status_code == 200
    assert theirs.get(f"/pictures/{key}").status_code == 404
    assert ticket.order_id == bought.id
    assert ticket.step == "approved"

    before = everything(db)
    console, theirs_too = f"/console/tickets/{ticket.id}", f"/tickets/{ticket.public_id}"
    for path in ("/console/tickets", "/console/tickets/board", console, "/tickets", theirs_too):
        answer = (theirs if path.startswith("/tickets") else desk).get(path)
        assert answer.status_code == 200
        assert "杯口有缺口" in words(answer)
    assert everything(db) == before

    base = f"/console/tickets/{ticket.id}"
    assert desk.post(f"{base}/steps/approved", data={"ask_return_address": "样例路一号"}).status_code == 302
    assert desk.post(f"{base}/answers", data={"body": "", "then": "waiting"}).status_code == 422
    assert (
        desk.post(f"{base}/answers", data={"body": "这是内部的", "internal": "y", "then": "waiting"}).status_code == 302
    )
    desk.post(f"{base}/answers", data={"body": "请寄到样例路一号", "then": "waiting"})
    page = words(theirs.get(f"/tickets/{ticket.public_id}"))
    assert "请寄到样例路一号" in page
    assert "这是内部的" not in page
    theirs.post(f"/tickets/{ticket.public_id}/steps/sent", data={"ask_carrier": "样板快递", "ask_parcel_number": "D1"})
    assert "样板快递" in words(desk.get(base))
    assert desk.post(f"{base}/steps/received", data={"ask_parcel_state": "lost"}).status_code == 422
    desk.post(f"{base}/steps/received", data={"skip": "1"})
    # The same step from a window that stood open: what was typed there is given back to be copied.
    late = desk.post(f"{base}/steps/received", data={"ask_parcel_state": "杯沿有缺口"})
    assert late.status_code == 409
    assert 'id="unsent"' in words(late)
    assert "杯沿有缺口" in words(late)
    desk.post(f"{base}/state", data={"to": "resolved", "from": "open"})
    assert ticket_of(db, ticket.id).state is TicketState.RESOLVED
    assert theirs.post(f"/tickets/{ticket.public_id}/rating", data={"stars": "9"}).status_code == 422
    theirs.post(f"/tickets/{ticket.public_id}/rating", data={"stars": "4", "note": "快"})
    assert ticket_of(db, ticket.id).satisfaction == 4
    assert "4 of 5" in words(desk.get(base))


def test_a_browser_that_only_opened_a_link_reads_what_it_opened_itself(db, clock, phone, make_member, ticket):
    member, other = make_member("甲"), make_member("乙")
    older = ticket(member, text="从前的事")
    bound = phone(member, identified=False)
    assert bound.get(f"/tickets/{older.public_id}").status_code == 302
    assert "从前的事" not in words(bound.get("/tickets"))
    assert bound.post(f"/tickets/{older.public_id}/messages", data={"body": "x"}).status_code == 302
    bound.post("/tickets/new/feedback", data={"body": "刚写的"})
    assert "刚写的" in words(bound.get("/tickets"))
    assert phone(other).get(f"/tickets/{older.public_id}").status_code == 404
    assert [e.body for e in queries.entries(older.id)] == ["从前的事"]


def test_check_e2_a_browser_that_is_only_bound_is_not_told_whether_an_order_is_theirs(
    db, clock, phone, make_member, delivered
):
    member, other = make_member("甲"), make_member("乙")
    theirs, foreign = delivered(member), delivered(other)
    bound = phone(member, identified=False)
    pages = []
    for number in (theirs.external_id, foreign.external_id, "NOBODY-1"):
        answer = bound.post("/tickets/new/feedback", data={"body": "问一下", "order": number})
        assert answer.status_code == 303
        shown = words(bound.get(answer.location))
        varying = r"/tickets/[\w-]+|(?:csrf_token|once)\W+value=\S+|entry-\d+|data-shown=\S+"
        pages.append(re.sub(varying, "", shown).replace(number, "#"))
    assert len(set(pages)) == 1
    made = db.session.scalars(select(Ticket).order_by(Ticket.id)).all()
    assert [one.order_id for one in made] == [theirs.id, None, None]
    # The desk reads what was typed.
    assert foreign.external_id in queries.entries(made[1].id)[0].body


def test_a_personal_link_rates_and_shows_nothing_else(app, db, clock, client, browse, ticket, make_staff):
    opened = ticket(text="很私密的话")
    services.answer(opened.id, make_staff(Role.ASSISTANT).id, "好了", then=TicketState.RESOLVED)
    page = words(browse(Role.SERVICE).get(f"/console/tickets/{opened.id}"))
    link = re.search(r"http://localhost(/rate/[\w.-]+)", page)
    assert link
    shown = english(client).get(link[1])
    assert shown.status_code == 200
    assert "很私密的话" not in words(shown)
    assert client.post(link[1], data={}).status_code == 422
    assert client.post(link[1], data={"stars": "4", "note": "回得慢"}).status_code == 303
    # The page keeps to itself what was written, and other stars do not take it back.
    assert "回得慢" not in words(client.get(link[1]))
    assert client.post(link[1], data={"stars": "5"}).status_code == 303
    rated = ticket_of(db, opened.id)
    assert (rated.satisfaction, rated.satisfaction_note) == (5, "回得慢")
    assert client.get(link[1] + "x").status_code == 404
    clock.move(days=61)
    assert client.get(link[1]).status_code == 410


def test_the_list_is_searched_filtered_sorted_and_comes_as_a_file(db, clock, browse, ticket, make_member, make_staff):
    desk = browse(Role.SERVICE)
    one = ticket(make_member("小满"), text="第一件")
    clock.move(hours=3)
    two = ticket(make_member("阿青"), TicketKind.COMPLAINT, text="第二件")
    for query, shown in (
        ("", {"第一件", "第二件"}),
        ("?view=late", {"第一件"}),
        ("?view=nobody&kind=complaint", {"第二件"}),
        ("?view=mine", set()),
        ("?q=小满", {"第一件"}),
        (f"?q=%23{two.id}", {"第二件"}),
        ("?source=staff", set()),
        ("?who=me", set()),
    ):
        page = words(desk.get(f"/console/tickets{query}"))
        assert {w for w in ("第一件", "第二件") if w in page} == shown, query
    for sort in ("due", "-due", "opened", "-opened", "name", "last", "nonsense"):
        assert desk.get(f"/console/tickets?sort={sort}").status_code == 200
    rows = list(csv.reader(io.StringIO(desk.post("/console/tickets/export").get_data(as_text=True).lstrip("\ufeff"))))
    assert [row[0] for row in rows[1:]] == [str(one.id), str(two.id)]
    desk.post("/console/tickets/take", data={"ids": [one.id, two.id]})
    me = ticket_of(db, one.id).assignee_id
    assert me is not None
    colleague = make_staff(Role.ASSISTANT)
    said = desk.post("/console/tickets/assign", data={"ids": [one.id], "to": colleague.id})
    assert "Only tickets that nobody had" in words(desk.get(said.location))
    assert ticket_of(db, one.id).assignee_id == me
    desk.post(f"/console/tickets/{one.id}/assign", data={"to": colleague.id})
    assert ticket_of(db, one.id).assignee_id == colleague.id
    desk.post("/console/tickets/resolve", data={"ids": [two.id]})
    assert ticket_of(db, two.id).state is TicketState.RESOLVED
    board = words(desk.get("/console/tickets/board"))
    assert "第一件" in board
    assert desk.post(f"/console/tickets/{one.id}/state", data={"to": "closed", "from": "open"}).status_code == 409


def test_opened_by_staff_for_somebody_who_was_found(db, clock, browse, make_member, delivered):
    member = make_member("小满")
    bought, desk = delivered(member), browse(Role.SERVICE)
    assert f"member={member.id}" in words(desk.get("/console/tickets/new?q=小满"))
    form = {"member": member.id, "kind": "wrong_address", "body": "搬家了"}
    assert desk.post("/console/tickets/new", data={**form, "order": "x"}).status_code == 422
    assert desk.post("/console/tickets/new", data={**form, "body": ""}).status_code == 422
    assert desk.post("/console/tickets/new", data={**form, "order": bought.external_id}).status_code == 302
    found = db.session.scalars(select(Ticket)).one()
    assert queries.entries(found.id)[0].kind is EntryKind.NOTE
    for path in (f"/console/members/{member.id}", f"/console/orders/{bought.id}"):
        assert "/console/tickets" in words(desk.get(path))
    assert browse(Role.VIEWER).get("/console/tickets/new").status_code == 403


def test_two_answers_at_once_and_saved_answers_in_the_form(db, clock, browse, ticket, make_member):
    opened, desk = ticket(make_member("小满")), browse(Role.SERVICE)
    desk.post("/console/macros/new", data={"title": "问候", "body": "{nickname}您好", "kind": "return"})
    assert desk.post("/console/macros/new", data={"title": "x", "body": "{price}"}).status_code == 422
    macro = db.session.scalars(select(Macro)).one()
    base = f"/console/tickets/{opened.id}"
    assert "小满您好" in words(desk.get(f"{base}?say=macro-{macro.id}"))
    assert "小满您好" in words(desk.get(f"{base}/phrases?phrases=您好"))
    assert "小满您好" not in words(desk.get(f"{base}/phrases?phrases=再见"))
    seen = queries.last_spoken(opened.id)
    services.member_write(opened.id, "还有")
    clash = desk.post(f"{base}/answers", data={"body": "好的", "then": "waiting", "seen": seen})
    assert clash.status_code == 409
    assert "好的" in words(clash)
    desk.post(f"{base}/answers", data={"body": "好的", "then": "waiting", "macro": macro.id})
    assert db.session.get(Macro, macro.id, populate_existing=True).used == 1
    script = add_script(ScriptDraft("安抚", "您先别急"))
    assert 'value="script-' in words(desk.get(f"{base}?say=script-{script.id}"))
    desk.post(f"{base}/answers", data={"body": "别急", "then": "waiting", "macro": f"script-{script.id}"})
    assert db.session.get(Script, script.id, populate_existing=True).used == 1
    assert desk.post(f"/console/macros/{macro.id}/delete").status_code == 302


def test_hours_promises_and_who_is_on(db, clock, browse, make_staff):
    desk, agent = browse(Role.MANAGER), make_staff(Role.ASSISTANT)
    promises = {f"{name}_{kind.value}": "3" for kind in TicketKind for name in ("answer", "resolve")}
    form = {
        "days": ["0", "1"], "opens": "08:00", "closes": "20:00", "off": "2026-10-01", "hand_out": "y", "ticket_cap": "5",
        "talk_cap": "4", "close_days": "2", "reopen_days": "9", "return_days": "6", "upset_at": "1", **promises,
    }  # fmt: skip
    wrongs = (
        {"closes": "07:00"},
        {"opens": "soon"},
        {"off": "x"},
        {"days": []},
        {"answer_return": "0"},
        {"ticket_cap": "0"},
    )
    for wrong in wrongs:
        assert desk.post("/console/desk-settings", data={**form, **wrong}).status_code == 422, wrong
    assert desk.post("/console/desk-settings", data=form).status_code == 302
    kept = services.desk_settings()
    assert (kept.hours.days, kept.promises[TicketKind.RETURN].resolve, kept.upset_at) == (frozenset({0, 1}), 180, 1)
    desk.post(f"/console/desk-settings/{agent.id}", data={"on": "1", "ticket_cap": "2"})
    assert queries.presence_of(agent.id).ticket_cap == 2
    desk.post("/console/tickets/presence", data={"on": "1"})
    assert len(queries.agents_on()) == 2
    assert "08:00" in words(desk.get("/console/desk-settings"))
    assert browse(Role.SERVICE).post("/console/desk-settings", data=form).status_code == 403


def test_results_and_the_first_page(db, clock, browse, ticket, make_staff):
    agent, opened = make_staff(Role.SERVICE), ticket()
    clock.move(minutes=90)
    services.answer(opened.id, agent.id, "好了", then=TicketState.RESOLVED)
    services.rate(opened.id, 5)
    ticket()
    clock.move(hours=3)
    desk = browse(Role.SERVICE)
    page = words(desk.get("/console/ticket-results"))
    assert "1 h 30 min" in page
    rows = list(
        csv.reader(io.StringIO(desk.get("/console/ticket-results.csv").get_data(as_text=True).lstrip("\ufeff")))
    )
    assert rows[1][2:5] == ["2", "1", "90.0"]
    assert desk.get("/console/ticket-results?from=2020-01-01&to=2020-01-02").status_code == 200
    first = words(desk.get("/console/"))
    assert "1 ticket is late" in first


def test_an_answer_that_comes_with_another_second_picture_is_meant(db, browse, make_member):
    member, desk = make_member("小满"), browse(Role.SERVICE)
    ticket = services.open_ticket(services.Opening(member.id, TicketKind.RETURN, "坏了"))

    def sent(*sizes):
        pictures = [picture(size) for size in sizes]
        return desk.post(
            f"/console/tickets/{ticket.id}/answers",
            data={"body": "这样修", "then": "waiting", "once": "k" * 16, "pictures": pictures},
            content_type="multipart/form-data",
        )

    for sizes, answers in (((20, 30), 1), ((20, 30), 1), ((20, 31), 2)):
        assert sent(*sizes).status_code == 302
        kept = [entry for entry in queries.entries(ticket.id) if entry.kind is EntryKind.ANSWER]
        assert (len(kept), {len(entry.pictures) for entry in kept}) == (answers, {2})


def test_programs_open_answer_and_read(db, clock, program, make_member, delivered):
    member = make_member("小满")
    bought, call = delivered(member), program("tickets:read", "tickets:write")
    body = {
        "member_id": member.id,
        "kind": "return",
        "text": "坏了",
        "reference": "HD-1",
        "order_number": bought.external_id,
    }
    made = call("POST", "/tickets", json=body, key="a")
    assert made.status_code == 201
    assert call("POST", "/tickets", json=body, key="a").json == made.json
    known = call("POST", "/tickets", json={**body, "text": "x"}, key="b")
    assert (known.status_code, known.json["id"]) == (200, made.json["id"])
    assert call("POST", "/tickets", json={**body, "order_number": "x", "reference": "2"}).status_code == 422
    assert call("POST", "/tickets", json={"member_id": member.id, "kind": "return"}).status_code == 422
    taken = call("POST", "/tickets", json={**body, "member_id": make_member("乙").id, "order_number": ""})
    assert (taken.status_code, taken.json["errors"][0]["param"]) == (409, "reference")
    number = made.json["id"]
    call("POST", f"/tickets/{number}/answers", json={"text": "内部", "internal": True})
    answered = call("POST", f"/tickets/{number}/answers", json={"text": "寄回来吧"})
    assert answered.json["state"] == "waiting"
    assert [e["kind"] for e in answered.json["entries"]] == ["customer", "note", "answer"]
    assert call("POST", f"/tickets/{number}/state", json={"state": "closed"}).status_code == 409
    assert call("POST", f"/tickets/{number}/state", json={"state": "resolved"}).json["state"] == "resolved"
    assert [one["id"] for one in call("GET", f"/tickets?state=resolved&member_id={member.id}").json["items"]] == [
        number
    ]
    assert call("GET", "/tickets/999999").status_code == 404
    assert program("tickets:read")("POST", "/tickets", json=body).status_code == 403


def test_a_ticket_is_found_beside_a_call(db, clock, browse, make_member):
    from community.desk import services as calls
    from community.desk.models import CallReason

    member, desk = make_member("小满"), browse(Role.SERVICE)
    task = calls.open_by_hand(member.id, CallReason.WRONG_ADDRESS, kernel_clock.now() + timedelta(hours=1), "", 1)
    assert f"call={task}" in words(desk.get(f"/console/calls/{task}"))
    form = {"member": member.id, "call": task, "kind": "wrong_address", "body": "新地址是样例路二号"}
    assert desk.get(f"/console/tickets/new?member={member.id}&call={task}&kind=wrong_address").status_code == 200
    desk.post("/console/tickets/new", data=form)
    again = desk.post("/console/tickets/new", data={**form, "body": "门牌三号"})
    opened = db.session.scalars(select(Ticket)).one()
    assert opened.source_key == f"call:{task}"
    assert "This call has a ticket already" in words(desk.get(again.location))
    assert [(e.kind, e.body) for e in queries.entries(opened.id)] == [
        (EntryKind.NOTE, "新地址是样例路二号"), (EntryKind.NOTE, "门牌三号"),
    ]  # fmt: skip
    other = make_member("乙")
    assert desk.post("/console/tickets/new", data={**form, "member": other.id}).status_code == 404
