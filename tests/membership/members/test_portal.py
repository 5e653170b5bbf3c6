"""A member's own pages: who they are, what they agreed to, their orders, and the way out of messages."""

from __future__ import annotations

import re
from datetime import date, timedelta

import pytest
from sqlalchemy import select

from kernel import links
from kernel.events import EventRecord
from kernel.visitors import VisitorSession
from membership.members import queries as members
from membership.members import services
from membership.members.models import Channel, Contact, Purpose, SignInCode
from membership.members.services import identify
from tests.conftest import english, everything

from .conftest import PHONE


@pytest.fixture
def phone(client):
    return english(client)


def said(answer):
    return answer.get_data(as_text=True)


def alike(answer):
    """The page without what is random on every page."""
    text = re.sub(r'name="csrf_token" value="[^"]+"', "", said(answer))
    return re.sub(r"/me/sign-in/code/[\w.-]+", "", text)


# ── Sign-in ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("path", ["/me/", "/me/choices", "/me/orders", "/me/profile"])
def test_an_unknown_browser_is_asked_who_it_is(phone, path):
    answer = phone.get(path)
    assert (answer.status_code, answer.location) == (302, f"/me/sign-in?next={path}")


@pytest.mark.parametrize(
    ("typed", "number"),
    [
        (PHONE, "536001"),
        ("126 0000 1234", " #536001 "),
        ("'１２６００００１２３４", "５３６００１"),
        ("00 86 12600001234", "536 001"),
    ],
)
def test_phone_and_order_number_identify(phone, db, make_member, make_order, typed, number):
    member = make_member(phone=PHONE, name="青柠")
    make_order(member, "536001")
    answer = phone.post("/me/sign-in", data={"phone": typed, "order_number": number, "next": "/me/orders"})
    assert (answer.status_code, answer.location) == (302, "/me/orders")
    assert "536001" in said(phone.get("/me/orders"))
    assert db.session.scalars(select(EventRecord.name)).all() == ["MemberIdentified"]


def test_the_next_page_is_on_this_site(phone, make_member, make_order):
    make_order(make_member(phone=PHONE), "536001")
    sent = {"phone": PHONE, "order_number": "536001", "next": "//elsewhere.example/"}
    assert phone.post("/me/sign-in", data=sent).location == "/me/"


def test_known_and_unknown_people_get_the_same_answer(app, db, make_member, make_order):
    mine, theirs = make_member(phone=PHONE), make_member(phone="+8612600005678")
    make_order(mine, "536001")
    make_order(theirs, "536002")
    answers = []
    for number, order in [
        (PHONE, "999999"),
        (PHONE, "536002"),
        ("+8612600009999", "536001"),
        ("+8612600009999", "999999"),
    ]:
        browser = app.test_client()
        browser.set_cookie("lang", "en")
        answer = browser.post("/me/sign-in", data={"phone": number, "order_number": order})
        assert browser.get("/me/orders").status_code == 302
        body = alike(answer).replace(number, "PHONE").replace(order, "ORDER")
        answers.append((answer.status_code, body, dict(answer.headers).get("Set-Cookie", "")[:10]))
    assert len(set(answers)) == 1
    assert "do not go together" in answers[0][1]


def test_known_and_unknown_people_cost_the_same_statements(app, db, queries, make_member, make_order):
    make_order(make_member(phone=PHONE), "536001")
    for number in (PHONE, "+8612600009999"):
        # One savepoint, two counters, one look-up.
        with app.test_request_context(), queries(3):
            assert identify.by_order(number, "999999", "192.0.2.1") is None


@pytest.mark.parametrize(
    ("field", "value"),
    [("phone", ""), ("phone", "126****1234"), ("phone", "1234"), ("order_number", ""), ("order_number", "9" * 101)],
)
def test_each_field_of_the_sign_in_is_refused_and_kept(phone, field, value):
    sent = {"phone": "12600001234", "order_number": "536001"} | {field: value}
    answer = phone.post("/me/sign-in", data=sent)
    assert answer.status_code == 422
    assert f'id="{field}-error"' in said(answer)
    assert all(f'value="{v}"' in said(answer) for v in sent.values() if v)


def test_tries_are_counted_for_the_phone_over_all_browsers(app, db, clock, make_member, make_order):
    make_order(make_member(phone=PHONE), "536001")
    statuses = []
    for _ in range(identify.PERSON_TRIES + 1):
        statuses.append(app.test_client().post("/me/sign-in", data={"phone": PHONE, "order_number": "1"}).status_code)
    assert statuses == [422] * identify.PERSON_TRIES + [429]
    right = {"phone": PHONE, "order_number": "536001"}
    assert app.test_client().post("/me/sign-in", data=right).status_code == 429
    assert app.test_client().post("/me/sign-in", data={"phone": "12600005678", "order_number": "1"}).status_code == 422
    clock.move(minutes=16)
    assert app.test_client().post("/me/sign-in", data=right).status_code == 302


def test_tries_are_counted_for_the_network_too(app, db, clock, monkeypatch):
    monkeypatch.setattr(identify, "NETWORK_TRIES", 3)
    tries = [
        app.test_client().post("/me/sign-in", data={"phone": f"1260000{n:04}", "order_number": "1"}) for n in range(4)
    ]
    assert [t.status_code for t in tries] == [422, 422, 422, 429]


def test_old_tries_and_codes_are_forgotten(db, clock):
    from membership.limits.models import LimitCounter
    from membership.members import jobs

    identify._count(PHONE, "192.0.2.1")
    db.session.add(SignInCode(nonce="x", created_at=clock.now(), expires_at=clock.now()))
    db.session.flush()
    clock.move(hours=23)
    jobs.forget_tries.direct()
    assert db.session.query(LimitCounter).count() == 2
    clock.move(hours=2)
    jobs.forget_tries.direct()
    assert (db.session.query(LimitCounter).count(), db.session.query(SignInCode).count()) == (0, 0)


# ── Codes by e-mail ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def mailbox(app, monkeypatch):
    sent: list[tuple[str, ...]] = []
    monkeypatch.setattr(identify.send_code, "_answers", [lambda way, *mail: sent.append(mail)])
    monkeypatch.setattr(identify.code_ways, "_answers", [lambda: frozenset({Channel.EMAIL, Channel.PHONE})])
    return sent


def test_without_a_mail_server_no_code_is_offered(phone, monkeypatch):
    monkeypatch.setattr(identify.send_code, "_answers", [])
    assert "Send me a code" not in said(phone.get("/me/sign-in"))
    assert phone.post("/me/sign-in/code", data={"address": "lime@example.com"}).status_code == 404


def test_a_code_identifies_once(app, phone, db, clock, run_jobs, mailbox, make_member):
    member = make_member(email="lime@example.com")
    assert "Send me a code" in said(phone.get("/me/sign-in"))
    asked = phone.post("/me/sign-in/code", data={"address": " Lime@Example.com", "next": "/me/profile"})
    run_jobs()
    [(address, code, locale)] = mailbox
    assert (address, locale, len(code), code.isdigit()) == ("lime@example.com", "en", 6, True)
    assert phone.get(asked.location).status_code == 200
    answer = phone.post(asked.location.split("?")[0], data={"code": f" {code[:3]} {code[3:]}", "next": "/me/profile"})
    assert answer.location == "/me/profile"
    assert phone.get("/me/profile").status_code == 200
    again = app.test_client().post(asked.location.split("?")[0], data={"code": code})
    assert again.status_code == 422
    assert db.session.scalars(select(VisitorSession.member_id)).all() == [member.id]


def test_unknown_addresses_look_the_same_and_get_no_mail(phone, run_jobs, mailbox, make_member):
    make_member(email="lime@example.com")
    pages = []
    for address in ("lime@example.com", "nobody@example.com"):
        asked = phone.post("/me/sign-in/code", data={"address": address})
        page = phone.get(asked.location)
        wrong = phone.post(asked.location, data={"code": "000000"})
        pages.append((asked.status_code, page.status_code, alike(page), wrong.status_code, alike(wrong)))
    run_jobs()
    assert [mail[0] for mail in mailbox] == ["lime@example.com"]
    assert pages[0] == pages[1]


@pytest.mark.parametrize("late", [timedelta(0), timedelta(minutes=11)])
def test_a_code_dies_after_five_tries_or_ten_minutes(phone, db, clock, run_jobs, mailbox, make_member, late):
    make_member(email="lime@example.com")
    place = phone.post("/me/sign-in/code", data={"address": "lime@example.com"}).location
    run_jobs()
    code = mailbox[0][1]
    if late:
        clock.move(seconds=late.total_seconds())
    else:
        wrong = f"{(int(code) + 1) % 1_000_000:06}"
        for _ in range(identify.CODE_TRIES):
            assert "wrong" in said(phone.post(place, data={"code": wrong}))
    assert phone.post(place, data={"code": code}).status_code == 422
    assert phone.get("/me/").status_code == 302


def test_wrong_codes_are_counted_for_the_network(phone, run_jobs, mailbox, make_member, monkeypatch):
    monkeypatch.setattr(identify, "NETWORK_GUESSES", 2)
    make_member(email="lime@example.com")
    place = phone.post("/me/sign-in/code", data={"address": "lime@example.com"}).location
    run_jobs()
    code = mailbox[0][1]
    wrong = f"{(int(code) + 1) % 1_000_000:06}"
    assert [phone.post(place, data={"code": wrong}).status_code for _ in range(3)] == [422, 422, 429]
    # Another code asked for makes no new tries, and a right one has to wait as well; from elsewhere it is taken.
    assert phone.post(place, data={"code": code}).status_code == 429
    away = {"REMOTE_ADDR": "198.51.100.9"}
    assert phone.post(place, data={"code": code}, environ_base=away).status_code == 302


@pytest.mark.parametrize("typed", ["", "x" * 21])
def test_the_code_field_is_refused(phone, mailbox, make_member, typed):
    place = phone.post("/me/sign-in/code", data={"address": "lime@example.com"}).location
    assert phone.post(place, data={"code": typed}).status_code == 422


@pytest.mark.parametrize("typed", ["", "lime", "a@b"])
def test_the_address_field_is_refused(phone, mailbox, typed):
    answer = phone.post("/me/sign-in/code", data={"address": typed})
    assert answer.status_code == 422
    assert 'id="address-error"' in said(answer)


def test_a_tampered_code_page_is_refused(phone, db):
    assert phone.get("/me/sign-in/code/nothing").status_code == 404
    assert phone.post("/me/sign-in/code/nothing", data={"code": "1"}).status_code == 404


# ── My page ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_bound_browser_sees_its_page_but_not_orders_or_details(make_member, browser_of):
    phone = browser_of(make_member(name="青柠"))
    assert "Hello, 青柠" in said(phone.get("/me/"))
    assert phone.get("/me/choices").status_code == 200
    for path in ("/me/orders", "/me/profile"):
        assert phone.get(path).location == f"/me/sign-in?next={path}"


def test_being_identified_lasts_thirty_days(clock, make_member, browser_of):
    phone = browser_of(make_member(), identified=True)
    assert phone.get("/me/orders").status_code == 200
    assert phone.get("/me/sign-in?next=/me/orders").location == "/me/orders"
    clock.move(days=30)
    assert phone.get("/me/orders").status_code == 302
    assert phone.get("/me/").status_code == 200


def test_only_my_own_orders_are_shown(make_member, make_order, browser_of):
    mine, theirs = make_member(), make_member()
    make_order(mine, "536001", amount=8_800)
    make_order(theirs, "536002")
    page = said(browser_of(mine, identified=True).get("/me/orders"))
    assert "¥88.00" in page
    assert "三层蛋糕架" in page
    assert "536002" not in page


def test_no_order_is_said_kindly(make_member, browser_of):
    assert "No order yet" in said(browser_of(make_member(), identified=True).get("/me/orders"))


def test_my_details_are_saved(make_member, browser_of):
    member = make_member(phone=PHONE, nickname="小名", hobbies="烘焙")
    phone = browser_of(member, identified=True)
    assert "126****1234" in said(phone.get("/me/profile"))
    sent = {"name": "青柠", "birthday": "1990-05-06", "city": "示例市", "address": "样板路12号"}
    assert phone.post("/me/profile", data=sent).status_code == 302
    assert (member.name, member.birthday, member.city, member.address) == (
        "青柠",
        date(1990, 5, 6),
        "示例市",
        "样板路12号",
    )
    assert (member.nickname, member.hobbies) == ("小名", "烘焙")


@pytest.mark.parametrize(
    ("field", "value"),
    [("name", ""), ("name", "长" * 81), ("birthday", "2999-01-01"), ("city", "长" * 81), ("address", "长" * 301)],
)
def test_each_of_my_details_is_refused_and_kept(make_member, browser_of, field, value):
    member = make_member(name="梨")
    sent = {"name": "青柠", "birthday": "1990-05-06", "city": "示例市", "address": "样板路12号"} | {field: value}
    answer = browser_of(member, identified=True).post("/me/profile", data=sent)
    assert answer.status_code == 422
    assert f'id="{field}-error"' in said(answer)
    assert member.name == "梨"


# ── My choices ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_choices_are_given_and_taken_back(make_member, browser_of):
    member, other = make_member(), make_member()
    services.give_consent(other.id, Contact.SMS)
    phone = browser_of(member)
    assert "You have not agreed" in said(phone.get("/me/choices"))
    phone.post("/me/choices/sms", data={"wish": "give"})
    assert members.has_consent(member.id, Contact.SMS)
    assert "Agreed on" in said(phone.get("/me/choices"))
    phone.post("/me/choices/sms", data={"wish": "withdraw"})
    assert not members.has_consent(member.id, Contact.SMS)
    assert members.has_consent(other.id, Contact.SMS)
    assert members.rights(member.id)[Contact.SMS, Purpose.MARKETING].source == "portal"


def test_a_channel_that_does_not_exist_is_not_found(make_member, browser_of):
    assert browser_of(make_member()).post("/me/choices/pigeon", data={"wish": "give"}).status_code == 404


def test_anything_but_give_takes_back(make_member, browser_of):
    member = make_member()
    services.give_consent(member.id, Contact.SMS)
    browser_of(member).post("/me/choices/sms")
    assert not members.has_consent(member.id, Contact.SMS)


def test_signing_out_here_leaves_my_other_browsers(make_member, browser_of, db):
    member = make_member()
    here, there = browser_of(member), browser_of(member, identified=True)
    assert here.post("/me/sign-out").location == "/me/sign-in"
    assert here.get("/me/").status_code == 302
    assert there.get("/me/orders").status_code == 200


def test_signing_out_everywhere_leaves_nobody_but_others(make_member, browser_of):
    member, other = make_member(), make_member()
    here, there, foreign = browser_of(member), browser_of(member, identified=True), browser_of(other)
    here.post("/me/sign-out-everywhere")
    assert [b.get("/me/").status_code for b in (here, there, foreign)] == [302, 302, 200]


# ── Unsubscribing ───────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def subscribed(make_member):
    member = make_member(phone=PHONE)
    services.give_consent(member.id, Contact.EMAIL, source="portal")
    services.give_consent(member.id, Contact.INBOX, source="portal")
    return member


def agreed(member):
    return {channel for channel in Contact if members.has_consent(member.id, channel)}


def test_looking_at_the_link_changes_nothing(phone, db, subscribed):
    path = services.unsubscribe_path(subscribed.id, Contact.EMAIL)
    before = everything(db)
    assert "Stop offers" in said(phone.get(path))
    assert phone.head(path).status_code == 200
    assert everything(db) == before
    assert agreed(subscribed) == {Contact.EMAIL, Contact.INBOX}


def test_one_tap_stops_says_what_still_comes_and_can_be_undone(phone, subscribed):
    path = services.unsubscribe_path(subscribed.id, Contact.EMAIL)
    done = phone.post(path)
    assert done.status_code == 200
    assert "Done: no more offers" in said(done)
    assert "You still get offers by: Messages on your page." in said(done)
    assert "Messages about your own orders" in said(done)
    assert agreed(subscribed) == {Contact.INBOX}
    assert said(phone.post(path)) == said(done) or "Done: no more offers" in said(phone.post(path))
    assert len(members.consent_history(subscribed.id)) == 3
    phone.post(f"{path}/undo")
    assert agreed(subscribed) == {Contact.EMAIL, Contact.INBOX}


def test_everything_stops_at_once(phone, subscribed):
    path = services.unsubscribe_path(subscribed.id, Contact.EMAIL)
    phone.post(path)
    assert phone.post(f"{path}/all").location == path
    assert agreed(subscribed) == set()
    assert "You still get offers" not in said(phone.get(path))


def test_undo_gives_nothing_that_was_never_agreed_to(phone, make_member):
    member = make_member()
    path = services.unsubscribe_path(member.id, Contact.SMS)
    assert "That was a mistake" not in said(phone.post(path))
    phone.post(f"{path}/undo")
    assert agreed(member) == set()


def test_unsubscribing_binds_no_browser(phone, db, subscribed):
    phone.post(services.unsubscribe_path(subscribed.id, Contact.EMAIL))
    assert phone.get("/me/").status_code == 302
    assert db.session.scalars(select(VisitorSession)).all() == []


@pytest.mark.parametrize("tail", ["", "/all", "/undo"])
def test_a_tampered_link_stops_nothing(phone, subscribed, tail):
    path = services.unsubscribe_path(subscribed.id, Contact.EMAIL)
    wrong = path.replace(f".{subscribed.id}.", f".{subscribed.id + 1}.")
    assert phone.post(wrong + tail).status_code == 404
    assert phone.get(wrong).status_code == 404
    assert phone.post(f"/u/{links.make('claim', subscribed.id, 'email')}{tail}").status_code == 404
    assert agreed(subscribed) == {Contact.EMAIL, Contact.INBOX}


def test_a_mail_program_unsubscribes_without_a_page_but_cannot_undo(settings, db, subscribed):
    """RFC 8058: the post comes with no token of ours. Everything else keeps asking for one."""
    from kernel.app import create_app

    strict = create_app(settings, TESTING=True)
    with strict.app_context():
        path = services.unsubscribe_path(subscribed.id, Contact.EMAIL)
    db.session.commit()
    browser = strict.test_client()
    assert browser.post(f"{path}/undo").status_code in (400, 403)
    answer = browser.post(path, data={"List-Unsubscribe": "One-Click"})
    assert answer.status_code == 200
    db.session.expire_all()
    assert agreed(subscribed) == {Contact.INBOX}


def test_pages_hold_no_number_of_a_row(make_member, browser_of, make_order):
    member = make_member(phone=PHONE)
    order = make_order(member, "536001")
    phone = browser_of(member, identified=True)
    for path in ("/me/", "/me/choices", "/me/profile", "/me/orders"):
        assert not re.search(rf"/{member.id}\b|/{order.id}\b", said(phone.get(path)))
