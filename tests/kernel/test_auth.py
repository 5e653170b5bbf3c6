"""Signing in and out, and that a session which ended has ended."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable
from datetime import timedelta

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import func, select

from kernel import clock as kernel_clock
from kernel.audit import AuditEntry
from kernel.auth import Role, grant, holds, safe_next
from kernel.staff import services
from kernel.staff.models import SignInTry, Staff, StaffSession
from tests.conftest import PASSWORD

COOKIE = "siyu"
WRONG = {"email": "viewer@shop.example", "password": "wrong"}


def sign_in(browser: FlaskClient, email="viewer@shop.example", password=PASSWORD, **values):
    return browser.post("/console/sign-in", data={"email": email, "password": password, **values})


def cookie_of(browser: FlaskClient) -> str:
    found = browser.get_cookie(COOKIE)
    assert found is not None
    return found.value


@pytest.fixture
def signed_in(app: Flask, db) -> Callable[[Staff], FlaskClient]:
    """`signed_in(person)` is a browser in which the person has typed e-mail and password."""

    def make(person: Staff) -> FlaskClient:
        browser = app.test_client()
        assert sign_in(browser, person.email).status_code == 302
        return browser

    return make


@pytest.fixture
def thief(app: Flask) -> Callable[[str], FlaskClient]:
    """`thief(cookie)` is another browser that carries a captured cookie."""

    def make(cookie: str) -> FlaskClient:
        browser = app.test_client()
        browser.set_cookie(COOKIE, cookie)
        return browser

    return make


def inside(browser: FlaskClient) -> bool:
    return browser.get("/console/").status_code == 200


# ── Signing in ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("email", ["viewer@shop.example", " VIEWER@Shop.Example "])
def test_the_right_words_lead_in(client, make_staff, email):
    make_staff(Role.VIEWER)
    answer = sign_in(client, email)
    assert (answer.status_code, answer.location) == (302, "/console/")
    assert inside(client)


def test_signing_in_goes_on_to_where_one_wanted_to_be(client, make_staff):
    make_staff(Role.VIEWER)
    assert client.get("/console/members?q=1").location == "/console/sign-in?next=/console/members?q%3D1"
    assert sign_in(client, next="/console/members?q=1").location == "/console/members?q=1"


def test_it_never_leads_elsewhere(client, make_staff):
    make_staff(Role.VIEWER)
    assert sign_in(client, next="https://elsewhere.example/").location == "/console/"


@pytest.mark.parametrize(
    ("email", "password"),
    [("viewer@shop.example", "wrong"), ("nobody@shop.example", PASSWORD), ("", PASSWORD), ("viewer@shop.example", "")],
)
def test_wrong_words_do_not(client, make_staff, email, password):
    make_staff(Role.VIEWER)
    answer = sign_in(client, email, password)
    assert answer.status_code == 422
    assert not inside(client)


def test_known_and_unknown_accounts_get_the_same_answer(client, make_staff):
    make_staff(Role.VIEWER)
    answers = set()
    for email in ("viewer@shop.example", "nobody@shop.example"):
        page = sign_in(client, email, "wrong").text.replace(email, "")
        answers.add(re.sub(r'name="csrf_token"[^>]*', "", page))
    assert len(answers) == 1


def test_a_disabled_account_does_not_lead_in_though_the_password_is_right(db, client, make_staff, clock):
    make_staff(Role.VIEWER).disabled_at = clock.now()
    assert sign_in(client).status_code == 422
    assert not inside(client)


@pytest.mark.parametrize("email", ["viewer@shop.example", "nobody@shop.example"])
def test_five_failures_ask_for_patience(db, client, make_staff, clock, email):
    make_staff(Role.VIEWER)
    assert [sign_in(client, email, "wrong").status_code for _ in range(6)] == [422] * 5 + [429]
    # The right password does not help before the time is over.
    assert sign_in(client, email).status_code == 429
    assert db.session.scalar(select(func.count()).select_from(SignInTry)) == 5
    clock.move(minutes=15)
    assert sign_in(client, email, "wrong").status_code == 422


def test_patience_is_asked_of_one_account_however_it_is_spelled(client, make_staff, clock):
    make_staff(Role.VIEWER)
    make_staff(Role.MANAGER)
    for email in (
        "viewer@shop.example",
        "VIEWER@shop.example",
        " viewer@shop.example",
        "Viewer@Shop.Example",
        "viewer@SHOP.example",
    ):
        sign_in(client, email, "wrong")
    assert sign_in(client).status_code == 429
    assert sign_in(client, "manager@shop.example").status_code == 302


def test_getting_in_forgets_the_failures_before(db, client, make_staff, clock):
    make_staff(Role.VIEWER)
    for _ in range(4):
        sign_in(client, password="wrong")
    assert sign_in(client).status_code == 302
    assert db.session.scalar(select(func.count()).select_from(SignInTry)) == 0


def test_check_e1_guesses_from_everywhere_are_ten_a_day(app, client, make_staff, clock):
    """Ten thousand guesses would be answered like these: the address that asks changes nothing."""
    make_staff(Role.VIEWER)
    answers = []
    for i in range(24 * 4):
        for _ in range(7):
            clock.move(seconds=1)
            at = {"REMOTE_ADDR": f"10.{i}.{_}.9"}
            answers.append(client.post("/console/sign-in", data=WRONG, environ_overrides=at).status_code)
        clock.move(minutes=14, seconds=50)
    assert answers.count(422) == 10
    assert answers.count(429) == len(answers) - 10
    assert answers[:7] == [422] * 5 + [429] * 2


def test_check_e1_a_stranger_shuts_nobody_out_of_their_own_browser(app, client, make_staff):
    """No lock-out weapon: a browser that has been in the account is counted apart."""
    person = make_staff(Role.VIEWER)
    assert sign_in(client).status_code == 302
    client.post("/console/sign-out")
    stranger = app.test_client()
    assert [sign_in(stranger, password="wrong").status_code for _ in range(6)] == [422] * 5 + [429]
    assert sign_in(client).status_code == 302
    # The device cookie is no way around the count, and none for another account.
    client.post("/console/sign-out")
    assert [sign_in(client, password="wrong").status_code for _ in range(6)] == [422] * 5 + [429]
    other = make_staff(Role.MANAGER)
    assert [sign_in(client, other.email, "wrong").status_code for _ in range(6)] == [422] * 5 + [429]
    assert sign_in(app.test_client(), other.email).status_code == 429
    # A new password from the owner lets them in everywhere at once.
    for someone in (person, other):
        services.set_password(someone, "a quite new one")
        assert sign_in(app.test_client(), someone.email, "a quite new one").status_code == 302


@pytest.mark.parametrize("cookie", ["", "x", "a.b.c.d", "z" * 500, "é"])
def test_a_made_up_device_cookie_is_no_device(app, make_staff, cookie):
    make_staff(Role.VIEWER)
    browser = app.test_client()
    browser.set_cookie("device", cookie)
    assert [sign_in(browser, password="wrong").status_code for _ in range(6)] == [422] * 5 + [429]
    assert sign_in(app.test_client()).status_code == 429


# ── Sessions ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_check_a6_signing_out(signed_in, thief, make_staff):
    browser = signed_in(make_staff(Role.VIEWER))
    old = thief(cookie_of(browser))
    assert inside(old)
    browser.post("/console/sign-out")
    assert not inside(old)


def test_check_a6_a_new_password_ends_every_other_session(signed_in, thief, make_staff):
    person = make_staff(Role.VIEWER)
    browser, elsewhere = signed_in(person), signed_in(person)
    old = thief(cookie_of(elsewhere))
    answer = browser.post("/console/password", data={"current": PASSWORD, "fresh": "another-long-password"})
    assert answer.status_code == 302
    assert (inside(old), inside(elsewhere), inside(browser)) == (False, False, True)


def test_check_a6_disabling(signed_in, thief, make_staff, owner_client):
    person = make_staff(Role.VIEWER)
    old = thief(cookie_of(signed_in(person)))
    owner_client.post(f"/console/staff/{person.id}/disable")
    assert not inside(old)
    owner_client.post(f"/console/staff/{person.id}/enable")
    assert not inside(old)


def test_check_a6_another_role(signed_in, thief, make_staff, owner_client):
    person = make_staff(Role.MANAGER)
    old = thief(cookie_of(signed_in(person)))
    owner_client.post(f"/console/staff/{person.id}", data={"name": "M", "role": "viewer", "signature": ""})
    assert not inside(old)


def test_check_a6_signed_out_everywhere(db, signed_in, thief, make_staff):
    person = make_staff(Role.VIEWER)
    old = [thief(cookie_of(signed_in(person))) for _ in range(3)]
    services.close_all_sessions(person.id)
    assert [inside(browser) for browser in old] == [False] * 3


def test_check_a6_has_teeth(db, signed_in, thief, make_staff):
    """A cookie alone would let the thief in again: it is the row that decides."""
    browser = signed_in(make_staff(Role.VIEWER))
    cookie = cookie_of(browser)
    row = db.session.scalars(select(StaffSession)).one()
    kept = {c.name: getattr(row, c.name) for c in StaffSession.__table__.columns}
    browser.post("/console/sign-out")
    assert not inside(thief(cookie))
    db.session.execute(StaffSession.__table__.insert().values(kept))
    db.session.commit()
    assert inside(thief(cookie))


def test_each_signing_in_is_a_session_of_its_own(db, client, make_staff):
    make_staff(Role.VIEWER)
    client.get("/console/sign-in")
    sign_in(client)
    first = cookie_of(client)
    client.post("/console/sign-out")
    sign_in(client)
    assert cookie_of(client) != first
    hashes = db.session.scalars(select(StaffSession.token_hash)).all()
    assert len(hashes) == 1
    assert all(len(h) == 64 for h in hashes)


@pytest.mark.parametrize(("days", "still"), [(2, True), (3.1, False)])
def test_an_idle_session_ends(signed_in, make_staff, clock, days, still):
    browser = signed_in(make_staff(Role.VIEWER))
    clock.move(days=days)
    assert inside(browser) is still


def test_even_a_busy_session_ends_after_two_weeks(signed_in, make_staff, clock):
    browser = signed_in(make_staff(Role.VIEWER))
    for _ in range(13):
        clock.move(days=1)
        assert inside(browser)
    clock.move(days=1)
    assert not inside(browser)


def test_a_made_up_cookie_leads_nowhere(db, thief):
    assert not inside(thief("made-up"))
    assert not inside(thief(""))


# ── Where to go on to ───────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "target",
    [
        "/",
        "/console/",
        "/console/members?q=%E8%8C%B6&sort=-spend",
        "/groups/x?cursor=a#feed",
        "/a//b",
        "/?next=https://x.example",
    ],
)
def test_a_path_of_this_site_is_gone_on_to(target):
    assert safe_next(target, "/fallback") == target


@pytest.mark.parametrize(
    "target",
    [
        None, "", " ", "console", "https://elsewhere.example", "//elsewhere.example", "///elsewhere.example", "////elsewhere.example",
        "/\\elsewhere.example", "\\\\elsewhere.example", "/\\/elsewhere.example", "\\/elsewhere.example", "javascript:alert(1)",
        "JavaScript:alert(1)", "data:text/html,x", "http:elsewhere.example", "http:/elsewhere.example", " //elsewhere.example",
        "/ /elsewhere.example", "/\t/elsewhere.example", "\t//elsewhere.example", "/\n/elsewhere.example", "/\r\nSet-Cookie: a=b",
        "/\x00", "\x00//elsewhere.example", "ftp://elsewhere.example", "@elsewhere.example", "?x", "#x", "./x", "../x",
        "//elsewhere.example/%2f..", "/x\\y", "//user:word@elsewhere.example/", "http:///elsewhere.example", "://elsewhere.example",
    ],
)  # fmt: skip
def test_anything_that_could_lead_elsewhere_is_not(target):
    assert safe_next(target, "/fallback") == "/fallback"


# ── Roles ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_owner_holds_every_permission_and_others_what_they_were_given():
    grant("probe.auth", Role.SERVICE)
    assert {role for role in Role if holds(role, "probe.auth")} == {Role.OWNER, Role.SERVICE}
    assert not any(holds(role, "probe.unheard_of") for role in Role)


def test_the_last_owner_stays_one(make_staff, owner_client, db):
    owner = services.find_staff("owner@shop.example")
    assert owner_client.post(f"/console/staff/{owner.id}/disable").status_code == 409
    assert owner_client.post(f"/console/staff/{owner.id}", data={"name": "O", "role": "viewer"}).status_code == 409
    db.session.refresh(owner)
    assert (owner.role, owner.disabled_at) == (Role.OWNER, None)


# ── The list of the staff ───────────────────────────────────────────────────────────────────────────────────────────


def test_the_staff_are_searched_narrowed_sorted_and_downloaded(db, browse, staff_client, make_staff, clock):
    browser = browse()
    lin = make_staff(Role.ASSISTANT, email="lin@tea.example", name="Lin_100%")
    wu = make_staff(Role.MANAGER, email="wu@tea.example", name="Wu <b>")
    now = kernel_clock.now()
    lin.signature, wu.disabled_at, wu.created_at = "=小编", now, now - timedelta(days=9)
    db.session.flush()

    def shown(query: str) -> list[str]:
        page = browser.get(f"/console/staff?{query}")
        assert page.status_code == 200
        return re.findall(r"<small>([^<]*@[^<]*)</small>", page.text)

    everybody = [lin.email, "owner@shop.example", wu.email]
    for query, found in (
        ("", everybody),
        ("sort=-name", everybody[::-1]),
        ("sort=since", [wu.email]),
        ("sort=nothing&cursor=nothing&role=nothing&state=nothing", everybody),
        ("role=manager", [wu.email]),
        ("state=disabled", [wu.email]),
        ("state=active&q=tea.example", [lin.email]),
        ("q=n_100%25", [lin.email]),
        ("q=%E5%B0%8F%E7%BC%96+lin", [lin.email]),
        ("q=_____________", []),
        ("q=%00%5C", []),
    ):
        assert shown(query)[: len(found) or None] == found, query
    assert "No colleague matches" in browser.get("/console/staff?q=nobody").text
    assert "Wu &lt;b&gt;" in browser.get("/console/staff").text
    before = db.session.scalar(select(func.count()).select_from(AuditEntry))
    answer = browser.post("/console/staff/export?role=assistant", buffered=True)
    rows = list(csv.reader(io.StringIO(answer.text.removeprefix("\ufeff"))))
    assert [row[:5] for row in rows] == [
        ["Name", "E-mail", "Role", "Signature under messages", "State"],
        ["Lin_100%", lin.email, "Assistant", "'=小编", "Can sign in"],
    ]
    assert db.session.scalar(select(func.count()).select_from(AuditEntry)) == before + 1
    viewer = staff_client(Role.VIEWER)
    assert (viewer.get("/console/staff").status_code, viewer.post("/console/staff/export").status_code) == (403, 403)
