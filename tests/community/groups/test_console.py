"""The console's pages about groups."""

from __future__ import annotations

import csv
import io
from datetime import timedelta

import pytest
from PIL import Image
from sqlalchemy import select

from community.groups import queries, services
from community.groups.models import Group, GroupKind, GroupState, JoinLink, LiveSession, Seat, SeatRole, SeatState
from community.groups.services.posters import chinese_font
from kernel import clock as kernel_clock
from kernel.audit import AuditEntry
from kernel.auth import Role
from membership.gifts.models import Gift, GiftKind

PLAIN = {
    "name": "Tea yard", "intro": "Tea every day.", "capacity": "20", "seats_each": "10", "hold_minutes": "10",
    "invite_hours": "24", "mode": "all", "rank": "0", "welcome_gift_id": "0", "successor_id": "0", "spend": "", "orders": "",
}  # fmt: skip


@pytest.fixture
def console(staff_client):
    browser = staff_client(Role.MANAGER)
    browser.environ_base["HTTP_ACCEPT_LANGUAGE"] = "en"
    return browser


def text(answer):
    return answer.get_data(as_text=True)


def newest(db):
    return db.session.scalar(select(Group).order_by(Group.id.desc()).limit(1))


def picture(size=(1200, 900)):
    out = io.BytesIO()
    Image.new("RGB", size, "#c8402f").save(out, "JPEG")
    out.seek(0)
    return out


# ── The list ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_list_shows_and_narrows(db, clock, console, make_group, make_member):
    full = make_group(name="Full house", capacity=1, kind=GroupKind.INTEREST)
    services.join_many(full.id, [make_member().id for _ in range(3)])
    make_group(name="Tea yard", closes_at=clock.now() + timedelta(hours=3), kind=GroupKind.FLASH)
    make_group(name="Old one", state=GroupState.ARCHIVED)
    page = text(console.get("/console/groups"))
    assert "Full house" in page
    assert "1 / 1" in page
    assert "Closing" in page
    assert "Old one" not in page
    for query, shown, hidden in (
        ("q=tea", "Tea yard", "Full house"),
        ("kind=interest", "Full house", "Tea yard"),
        ("full=1", "Full house", "Tea yard"),
        ("waiting=1", "Full house", "Tea yard"),
        ("state=archived", "Old one", "Tea yard"),
    ):
        page = text(console.get(f"/console/groups?{query}"))
        assert shown in page
        assert hidden not in page
    clock.move(hours=4)
    assert "Tea yard" in text(console.get("/console/groups?state=closed"))
    assert "No group matches" in text(console.get("/console/groups?q=zzz"))


def test_the_list_sorts_and_pages_by_keyset(db, clock, console, make_group):
    for number in range(60):
        make_group(name=f"Group {number:02}")
    page = text(console.get("/console/groups?sort=name"))
    assert page.index("Group 00") < page.index("Group 49")
    assert "Group 50" not in page
    following = page.split('rel="next" href="')[1].split('"')[0].replace("&amp;", "&")
    assert "Group 59" in text(console.get(following))
    assert "Group 59" in text(console.get("/console/groups?sort=-name"))


def test_the_list_as_csv(db, clock, console, make_group):
    make_group(name="=cmd()", capacity=7)
    answer = console.get("/console/groups/export")
    found = list(csv.reader(io.StringIO(text(answer).removeprefix("\ufeff"))))
    assert found[1][:5] == ["'=cmd()", "Regular group", "Open", "0", "7"]


def test_an_empty_list_says_what_to_do(db, clock, console, staff_client):
    assert "Make the first group" in text(console.get("/console/groups"))


# ── Making ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_every_kind_can_be_chosen(db, clock, console):
    page = text(console.get("/console/groups/new"))
    for kind in GroupKind:
        assert f"kind={kind.value}" in page
        assert console.get(f"/console/groups/new?kind={kind.value}").status_code == 200


@pytest.mark.parametrize(
    ("kind", "fields", "rule"),
    [
        ("regular", {"open_to_new": "y"}, {}),
        ("flash", {"opens_at": "2026-03-04T10:00", "closes_at": "2026-03-06T10:00"}, {}),
        ("live", {}, {}),
        ("member", {}, {}),
        ("vip", {"rank": "3"}, {"mode": "all", "rules": [{"kind": "tier", "rank": 3}]}),
        ("interest", {"tag": "茶"}, {"mode": "all", "rules": [{"kind": "tag", "tag": "茶"}]}),
        (
            "regular",
            {"spend": "99.5", "orders": "2", "sku": "85123A", "password": "ｘ1", "invitation": "y", "mode": "any"},
            {
                "mode": "any",
                "rules": [
                    {"kind": "spend", "fen": 9950},
                    {"kind": "orders", "count": 2},
                    {"kind": "product", "sku": "85123A"},
                    {"kind": "password", "password": "x1"},
                    {"kind": "invitation"},
                ],
            },
        ),
    ],
)
def test_making_a_group_of_each_kind(db, clock, console, kind, fields, rule):
    answer = console.post(f"/console/groups/new?kind={kind}", data={**PLAIN, **fields})
    assert answer.status_code == 303, text(answer)
    group = newest(db)
    assert (group.kind, group.state, group.join_rule) == (kind, GroupState.DRAFT, rule)
    assert (group.capacity, group.seats_each, group.open_to_new) == (20, 10, "open_to_new" in fields)
    assert len(queries.links_of(group.id)) == 1
    page = text(console.get(answer.location))
    assert "Tea yard" in page
    assert "A draft: nobody sees it yet" in page


@pytest.mark.parametrize(
    ("kind", "field", "value", "words"),
    [
        ("regular", "name", "", "required"),
        ("regular", "name", "x" * 41, "40"),
        ("regular", "intro", "x" * 301, "300"),
        ("regular", "announcement", "今晚免单", "免单"),
        ("regular", "announcement", "see www.tea.com", "carry no links"),
        ("regular", "capacity", "0", "between 1"),
        ("regular", "capacity", "many", "integer"),
        ("regular", "seats_each", "", "required"),
        ("regular", "seats_each", "0", "between 1"),
        ("regular", "capacity", "100000", "more than 200 sub-groups"),
        ("regular", "hold_minutes", "0", "between 1"),
        ("regular", "invite_hours", "9999", "between 1"),
        ("regular", "opens_at", "soon", "date and time"),
        ("regular", "spend", "-5", "amount in yuan"),
        ("regular", "orders", "0", "between 1"),
        ("regular", "rank", "9", "valid choice"),
        ("regular", "welcome_gift_id", "77", "valid choice"),
        ("flash", "closes_at", "", "say when"),
        ("flash", "closes_at", "2026-03-01T10:00", "closes after it opens"),
        ("vip", "rank", "0", "choose it"),
        ("interest", "tag", "", "name it"),
    ],
)
def test_each_field_is_refused_and_what_was_typed_is_kept(db, clock, console, kind, field, value, words):
    typed = {
        **PLAIN,
        "opens_at": "2026-03-04T10:00",
        "closes_at": "2026-03-06T10:00",
        "rank": "3",
        "tag": "茶",
        field: value,
    }
    answer = console.post(f"/console/groups/new?kind={kind}", data=typed)
    assert answer.status_code == 422
    page = text(answer)
    assert words in page
    if field != "name":
        assert 'value="Tea yard"' in page
    assert newest(db) is None


def test_a_cover_is_cut_to_shape_and_no_picture_is_refused(db, clock, console, settings):
    answer = console.post("/console/groups/new?kind=regular", data={**PLAIN, "cover": (picture(), "a.jpg")})
    assert answer.status_code == 303
    key = newest(db).cover
    with Image.open(settings.files_dir / key[:2] / key) as stored:
        assert (stored.size, stored.format) == ((960, 540), "WEBP")
    answer = console.post(
        "/console/groups/new?kind=regular",
        data={**PLAIN, "name": "Other", "cover": (io.BytesIO(b"no picture"), "a.jpg")},
    )
    assert answer.status_code == 422
    assert "not a picture" in text(answer)


# ── Changing ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_settings_show_and_keep_what_is_there(db, clock, console, make_group):
    gift = Gift(name="Cup", kind=GiftKind.PHYSICAL, created_at=kernel_clock.now())
    db.session.add(gift)
    db.session.flush()
    rule = {"mode": "any", "rules": [{"kind": "tier", "rank": 2}, {"kind": "spend", "fen": 5000}]}
    group = make_group(join_rule=rule, intro="Before", welcome_gift_id=gift.id, cover="demo/tea.png")
    page = text(console.get(f"/console/groups/{group.id}/settings"))
    assert "Before" in page
    assert 'value="50"' in page
    fields = {**PLAIN, "intro": "After", "rank": "2", "spend": "50", "mode": "any", "welcome_gift_id": str(gift.id)}
    answer = console.post(f"/console/groups/{group.id}/settings", data=fields)
    assert answer.status_code == 303, text(answer)
    db.session.refresh(group)
    assert (group.intro, group.join_rule, group.cover) == ("After", rule, "demo/tea.png")
    assert db.session.scalars(select(AuditEntry.action)).all()[-1] == "group.edited"


def test_a_lower_capacity_is_refused_beside_its_field(db, clock, console, make_group, make_member):
    group = make_group(capacity=20, seats_each=10)
    services.join(group.id, make_member().id)
    answer = console.post(f"/console/groups/{group.id}/settings", data={**PLAIN, "capacity": "19"})
    assert answer.status_code == 422
    assert "can only be raised" in text(answer)
    db.session.refresh(group)
    assert (group.capacity, group.name == "Tea yard") == (20, False)


def test_announcing(db, clock, console, make_group):
    group = make_group()
    answer = console.post(f"/console/groups/{group.id}/announcement", data={"announcement": "全网最低，免单"})
    assert answer.status_code == 422
    assert "advertising law" in text(answer)
    assert "luring with free orders" in text(answer)
    assert console.post(f"/console/groups/{group.id}/announcement", data={"announcement": "周五见"}).status_code == 303
    db.session.refresh(group)
    assert group.announcement == "周五见"


def test_the_life_of_a_group_by_hand(db, clock, console, make_group, make_member):
    group = make_group(state=GroupState.DRAFT, name="Tea yard")
    url = f"/console/groups/{group.id}/state"

    def to(state, **more):
        answer = console.post(url, data={"to": state, **more})
        db.session.refresh(group)
        return answer.status_code, group.state

    assert to("warm_up") == (303, GroupState.WARM_UP)
    assert to("open") == (303, GroupState.OPEN)
    services.join(group.id, make_member().id)
    assert to("paused") == (303, GroupState.PAUSED)
    assert to("open") == (303, GroupState.OPEN)
    assert "1 member keeps reading" in text(console.get(f"/console/groups/{group.id}"))
    assert to("closed", confirmation="Tea") == (422, GroupState.OPEN)
    assert to("closed", confirmation="Tea yard") == (303, GroupState.CLOSED)
    assert to("open") == (409, GroupState.CLOSED)
    assert to("archived", confirmation="Tea yard") == (303, GroupState.ARCHIVED)
    assert console.post(url, data={"to": "nonsense"}).status_code == 404


# ── People ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_roster_narrows_masks_and_removes(db, clock, console, make_group, make_member):
    group = make_group(capacity=3, seats_each=2)
    lin = make_member("Xiaoman", phone="+8610000001234")
    others = [make_member(f"Other {n}") for n in range(3)]
    services.join_many(group.id, [lin.id, *(o.id for o in others)], source="leaflet")
    page = text(console.get(f"/console/groups/{group.id}/members"))
    assert "Xiaoman" in page
    assert "0000001234" not in page
    assert "leaflet" in page
    assert "Xiaoman" in text(console.get(f"/console/groups/{group.id}/members?q=1234"))
    assert "Xiaoman" not in text(console.get(f"/console/groups/{group.id}/members?sub-group=2"))
    url = f"/console/groups/{group.id}/members/{lin.id}/remove"
    assert console.post(url, data={"reason": ""}).status_code == 422
    assert queries.in_group(lin.id, group.id)
    assert console.post(url, data={"reason": "spam", "barred": "y"}).status_code == 303
    assert queries.find_hold(group.id, others[2].id)
    page = text(console.get(f"/console/groups/{group.id}/members?seats=removed"))
    assert "spam" in page
    assert "Let them back" in page
    assert console.post(f"/console/groups/{group.id}/members/{lin.id}/let-back").status_code == 303
    assert queries.barred_people(group.id) == []


def test_roles_in_a_group(db, clock, console, make_group, make_member):
    group, lin = make_group(), make_member("Lin")
    services.join(group.id, lin.id)
    url = f"/console/groups/{group.id}/members/{lin.id}/role"
    assert console.post(url, data={"role": "admin"}).status_code == 303
    assert queries.find_seat(group.id, lin.id).role is SeatRole.ADMIN
    assert console.post(url, data={"role": "king"}).status_code == 404
    assert console.post(f"/console/groups/{group.id}/members/999/role", data={"role": "admin"}).status_code == 404


def test_the_roster_as_csv(db, clock, console, make_group, make_member):
    group, lin = make_group(), make_member("Lin", phone="+8610000001234", rank=2)
    services.join(group.id, lin.id, source="call")
    answer = console.post(f"/console/groups/{group.id}/members/export")
    found = list(csv.reader(io.StringIO(text(answer).removeprefix("\ufeff"))))
    assert found[1] == ["Lin", "100****1234", "VIP2", "1", "Group member", "a call-back", "2026-03-03 12:00"]


def test_the_waiting_list(db, clock, console, make_group, make_member):
    group, people = make_group(capacity=1), [make_member(f"P{n}") for n in range(3)]
    services.join_many(group.id, [p.id for p in people])
    url = f"/console/groups/{group.id}/waiting-list"
    page = text(console.get(url))
    assert page.index("P1") < page.index("P2")
    services.leave(group.id, people[0].id)
    assert "Invited" in text(console.get(url))
    console.post(f"/console/groups/{group.id}/members/{people[2].id}/remove", data={"reason": "wrong person"})
    assert queries.find_place(group.id, people[2].id) is None
    assert "Nobody waits" in text(console.get(f"/console/groups/{make_group().id}/waiting-list"))


def test_the_waiting_list_is_searched_and_downloaded(db, clock, console, staff_client, make_group, make_member):
    group = make_group(capacity=1)
    waiting = [make_member("=Lin", phone="+8610000001234", rank=2), make_member("50%_off", phone="+8610000005678")]
    services.join_many(group.id, [make_member().id, *(member.id for member in waiting)])
    url = f"/console/groups/{group.id}/waiting-list"
    for q, found in (("=l", (True, False)), ("%25_", (False, True)), ("5678", (False, True)), ("", (True, True))):
        page = text(console.get(f"{url}?q={q}"))
        assert tuple(name in page for name in ("=Lin</a>", "50%_off</a>")) == found, q
    assert "Nobody matches" in text(console.get(f"{url}?q=zzz"))

    def lines(query):
        answer = console.post(f"{url}/export?{query}", buffered=True)
        return list(csv.reader(io.StringIO(text(answer).removeprefix("\ufeff"))))

    rows = lines("")
    assert [len(row) for row in rows] == [7, 7, 7]
    assert rows[1] == ["1", "'=Lin", "100****1234", "VIP2", "Waiting", "2026-03-03 12:00", ""]
    assert [row[0] for row in lines("q=off")[1:]] == ["2"]
    after = db.session.scalars(
        select(AuditEntry.after).where(AuditEntry.action == "group.exported").order_by(AuditEntry.id)
    )
    assert list(after) == [{"list": "waiting", "filter": {}}, {"list": "waiting", "filter": {"q": "off"}}]
    assert staff_client(Role.VIEWER).post(f"{url}/export").status_code == 403


# ── Links and sessions ──────────────────────────────────────────────────────────────────────────────────────────────


def test_links_are_made_withdrawn_and_used_again(db, clock, console, make_group):
    group = make_group()
    url = f"/console/groups/{group.id}/links"
    assert console.post(url, data={"name": "", "source": ""}).status_code == 422
    assert console.post(url, data={"name": "Leaflet", "source": "leaflet"}).status_code == 303
    (link,) = queries.links_of(group.id)
    assert f"/j/{link.token}" in text(console.get(url))
    assert console.post(f"{url}/{link.id}/revoke").status_code == 303
    assert f"/j/{link.token}" not in text(console.get(url))
    assert console.post(f"{url}/{link.id}/restore").status_code == 303
    assert db.session.get(JoinLink, link.id).revoked_at is None
    assert console.post(f"/console/groups/{make_group().id}/links/{link.id}/revoke").status_code == 404


def test_qr_codes_and_poster(db, clock, console, make_group):
    group = make_group(name="茶友小院", intro="每天一条泡茶小窍门。" * 8, cover="demo/tea.png")
    link = services.add_link(group, "x", "x")
    url = f"/console/groups/{group.id}/links/{link.id}"
    svg = console.get(f"{url}/qr.svg")
    assert (svg.mimetype, b"<svg" in svg.data) == ("image/svg+xml", True)
    for path, least in (("qr.png", 300), ("poster.png", 1000)):
        answer = console.get(f"{url}/{path}")
        with Image.open(io.BytesIO(answer.data)) as image:
            assert (image.format, image.width >= least) == ("PNG", True)
        assert "attachment" in answer.headers["Content-Disposition"]


@pytest.mark.skipif(chinese_font() is None, reason="without a Chinese font a poster leaves such lines out")
def test_a_poster_leaves_out_what_its_font_cannot_draw(db, clock, make_group):
    group = make_group(name="茶友小院", intro="每天一条")
    link = services.add_link(group, "x", "x")
    plain = services.poster(group, link)
    group.name, group.intro = "茶友\U0001f375小院\ufe0f", "每天\u200d一条 \U0001f9c1"
    assert services.poster(group, link) == plain


def test_live_sessions(db, clock, console, make_group):
    group = make_group(kind=GroupKind.LIVE)
    url = f"/console/groups/{group.id}/sessions"
    fields = {
        "title": "First flush",
        "starts_at": "2026-03-05T20:00",
        "ends_at": "2026-03-05T22:00",
        "watch_url": "https://a.example/1",
    }
    for wrong, words in (
        ({"title": ""}, "required"),
        ({"starts_at": "x"}, "date and time"),
        ({"ends_at": "2026-03-05T19:00"}, "ends after it starts"),
        ({"watch_url": "javascript:alert(1)"}, "https://"),
        ({"watch_url": "https://["}, "https:// or http://"),
    ):
        answer = console.post(url, data={**fields, **wrong})
        assert answer.status_code == 422
        assert words in text(answer)
    assert console.post(url, data=fields).status_code == 303
    (session,) = queries.sessions_of(group.id)
    assert session.starts_at == clock.now() + timedelta(days=2, hours=8)
    assert "First flush" in text(console.get(f"{url}/{session.id}"))
    assert console.post(f"{url}/{session.id}", data={**fields, "title": "Second"}).status_code == 303
    assert db.session.get(LiveSession, session.id).title == "Second"
    assert console.post(f"{url}/{session.id}/delete").status_code == 303
    assert queries.sessions_of(group.id) == []


# ── Inviting ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_inviting_a_member(db, clock, console, client, make_group, make_member):
    group, vip = (
        make_group(name="Tea yard"),
        make_group(name="Gold", join_rule={"mode": "all", "rules": [{"kind": "tier", "rank": 4}]}),
    )
    lin = make_member("Lin")
    page = text(console.get(f"/console/groups/invitations/{lin.id}"))
    assert "Tea yard" in page
    assert "VIP4" in page
    page = text(console.get(f"/console/groups/invitations/{lin.id}?group={group.id}"))
    address = page.split('value="http://localhost/g/')[1].split('"')[0]
    assert "<svg" in page
    assert client.get(f"/g/{address}").status_code == 200
    hold = f"/console/groups/{group.id}/invitations/{lin.id}/hold"
    assert console.post(hold).status_code == 303
    assert queries.find_hold(group.id, lin.id).held_until == clock.now() + timedelta(minutes=10)
    assert "A seat is kept until" in text(console.get(f"/console/groups/invitations/{lin.id}?group={group.id}"))
    client.post(f"/g/{address}")
    seat = queries.find_seat(group.id, lin.id)
    assert (seat.source, seat.staff_id is not None) == ("invitation", True)
    assert f"/console/groups/invitations/{lin.id}" in text(console.get(f"/console/members/{lin.id}"))
    assert vip.id


# ── Roles ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("role", list(Role))
def test_each_role_does_what_it_may(db, clock, staff_client, make_group, make_member, role):
    browser = staff_client(role)
    group, lin = make_group(), make_member("Lin")
    services.join(group.id, lin.id)
    link = services.add_link(group, "x", "x")
    edits = role in (Role.OWNER, Role.MANAGER)
    moderates = edits or role is Role.ASSISTANT
    invites = role is not Role.VIEWER
    base = f"/console/groups/{group.id}"
    for path in (
        "/console/groups",
        base,
        f"{base}/members",
        f"{base}/waiting-list",
        f"{base}/links",
        f"{base}/sessions",
    ):
        assert browser.get(path).status_code == 200, path
    for method, path, allowed in (
        ("get", "/console/groups/new", edits),
        ("post", "/console/groups/new?kind=regular", edits),
        ("get", f"{base}/settings", edits),
        ("post", f"{base}/settings", edits),
        ("post", f"{base}/state", edits),
        ("post", f"{base}/links", edits),
        ("post", f"{base}/links/{link.id}/revoke", edits),
        ("post", f"{base}/sessions", edits),
        ("post", f"{base}/announcement", moderates),
        ("post", f"{base}/members/{lin.id}/remove", moderates),
        ("post", f"{base}/members/{lin.id}/role", moderates),
        ("get", f"/console/groups/invitations/{lin.id}", invites),
        ("post", f"{base}/members/export", edits or role is Role.MARKETER),
    ):
        status = getattr(browser, method)(path).status_code
        assert (status == 403) is not allowed, (path, status)
    seat = db.session.scalars(select(Seat).where(Seat.member_id == lin.id)).one()
    assert seat.state is SeatState.TAKEN


def test_nobody_signed_in_sees_nothing(db, clock, client, make_group):
    group = make_group()
    for path in ("/console/groups", f"/console/groups/{group.id}", f"/console/groups/{group.id}/members"):
        answer = client.get(path)
        assert (answer.status_code, "/console/sign-in" in answer.location) == (302, True)


# ── Elsewhere in the console ────────────────────────────────────────────────────────────────────────────────────────


def test_the_brief_the_search_and_the_members_list(db, clock, console, make_group, make_member):
    full, flash = (
        make_group(name="Full house", capacity=1),
        make_group(name="Flash", closes_at=clock.now() + timedelta(hours=5)),
    )
    nearly = make_group(name="Nearly", capacity=25, seats_each=25)
    services.join_many(full.id, [make_member().id for _ in range(3)])
    services.join_many(nearly.id, [make_member().id for _ in range(24)])
    page = text(console.get("/console/"))
    assert "2 people wait for a seat in “Full house”" in page
    assert "“Flash” closes within a day" in page
    assert "1 seat left in “Nearly”" in page
    assert "Joined a group" in page
    assert console.get("/console/search?q=Nearl").location == f"/console/groups/{nearly.id}"
    lin = make_member("Lin Xiaoman")
    services.join(flash.id, lin.id)
    page = text(console.get(f"/console/members?group={flash.id}"))
    assert "Lin Xiaoman" in page
    assert "Guest" not in page
    assert "Flash" in text(console.get(f"/console/members/{lin.id}"))
