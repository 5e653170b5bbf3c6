"""The ways in and the group's page, as a phone sees them."""

from __future__ import annotations

import gzip
import re
from datetime import timedelta
from zlib import crc32

import pytest
from sqlalchemy import func, select

from community.conversations import ports
from community.conversations import services as talks
from community.conversations.models import Ending
from community.conversations.queries import live_of
from community.conversations.rules import Choice, Welcome
from community.groups import queries, services
from community.groups import queries as group_queries
from community.groups.models import GroupKind, GroupState, JoinLink, Seat, SeatRole, SeatState, Waiting
from community.posts import services as posts
from community.posts.models import PostKind
from kernel import clock as kernel_clock
from kernel.events import EventRecord
from kernel.visitors import VisitorSession
from membership.gifts.models import Gift, GiftClaim, GiftKind, GiftState
from membership.members.models import Channel, Consent, Contact, Member, MemberIdentity
from membership.members.services import find_or_make, identify, tag

TABLES = (Seat, Waiting, Consent, GiftClaim, VisitorSession, EventRecord, Member)


@pytest.fixture
def gift(db):
    found = Gift(name="Tea cup", kind=GiftKind.PHYSICAL, stock=5, created_at=kernel_clock.now())
    db.session.add(found)
    db.session.flush()
    return found


@pytest.fixture
def english(client):
    client.environ_base["HTTP_ACCEPT_LANGUAGE"] = "en"
    return client


def rows(db):
    return {table.__tablename__: db.session.scalar(select(func.count()).select_from(table)) for table in TABLES}


def text(answer):
    return answer.get_data(as_text=True)


def page_of(group):
    return f"/groups/{group.public_id}"


def link_of(db, group, **values):
    link = JoinLink(
        group_id=group.id, token=f"tok{group.id}", source="leaflet", created_at=kernel_clock.now(), **values
    )
    db.session.add(link)
    db.session.flush()
    return link


def bind(client, group, member, **fields):
    """Let a browser come in by a member's own invitation."""
    return client.post(services.invitation_path(member.id, group.id), data=fields)


# ── A personal invitation ───────────────────────────────────────────────────────────────────────────────────────────


def test_opening_an_invitation_changes_nothing(db, clock, english, make_group, make_member, make_staff, gift):
    group, member = make_group(intro="Tea every day.", welcome_gift_id=gift.id), make_member()
    path = services.invitation_path(member.id, group.id, make_staff(name="Lin").id)
    before = rows(db)
    for _ in range(2):
        answer = english.get(path)
    assert answer.status_code == 200
    assert rows(db) == before
    assert "Set-Cookie" not in answer.headers or "visitor" not in answer.headers["Set-Cookie"]
    page = text(answer)
    for words in ("Tea every day.", "Lin of", "A welcome gift: Tea cup", "10 seats left", "Join the group"):
        assert words in page
    assert 'name="marketing"' in page
    assert "checked" not in page


def test_one_tap_seats_enrols_gives_and_shows_the_group(db, clock, english, make_group, make_member, make_staff, gift):
    group = make_group(welcome_gift_id=gift.id, welcome_post="Glad you came.", announcement="Friday at eight.")
    member, staff = make_member(), make_staff(name="Lin")
    answer = english.post(services.invitation_path(member.id, group.id, staff.id, "call"), data={"marketing": "y"})
    assert (answer.status_code, answer.location) == (303, page_of(group))
    seat = queries.find_seat(group.id, member.id)
    assert (seat.source, seat.staff_id, seat.state) == ("call", staff.id, SeatState.TAKEN)
    assert member.enrolled_at == clock.now()
    consents = db.session.execute(select(Consent.channel, Consent.granted, Consent.source)).all()
    assert sorted(tuple(row) for row in consents) == sorted(
        (channel, True, f"group:{group.id}") for channel in (Contact.EMAIL, Contact.INBOX, Contact.SMS)
    )
    (claim,) = db.session.scalars(select(GiftClaim)).all()
    assert (claim.member_id, claim.benefit, claim.state) == (member.id, f"welcome:{group.id}", GiftState.OFFERED)
    page = text(english.get(page_of(group)))
    for words in (
        "You are in.",
        "Glad you came.",
        "Friday at eight.",
        "Your welcome gift: Tea cup",
        "1 person is here",
    ):
        assert words in page


def test_without_the_tick_there_is_no_consent(db, clock, client, make_group, make_member):
    group, member = make_group(), make_member()
    bind(client, group, member)
    assert db.session.scalars(select(Consent)).all() == []
    assert queries.in_group(member.id, group.id)


def test_a_second_tap_two_tabs_and_the_back_button(db, clock, english, make_group, make_member, gift):
    group, member = make_group(welcome_gift_id=gift.id), make_member()
    path = services.invitation_path(member.id, group.id)
    english.post(path)
    before = rows(db)
    assert english.get(path).location == page_of(group)
    assert english.post(path).location == page_of(group)
    assert rows(db) == before
    assert "You were in already." in text(english.get(page_of(group)))


def test_the_event_gives_the_welcome_once_more_should_it_have_been_lost(
    db, clock, make_group, make_member, gift, run_jobs
):
    group, member = make_group(welcome_gift_id=gift.id), make_member()
    services.join(group.id, member.id)
    assert db.session.scalars(select(GiftClaim)).all() == []
    from kernel.events import deliver_events

    deliver_events.direct()
    assert [claim.member_id for claim in db.session.scalars(select(GiftClaim))] == [member.id]


@pytest.mark.parametrize("change", [lambda t: t[:-2] + "xx", lambda t: t.replace(".", "-", 1), lambda t: "abc"])
def test_a_changed_invitation_is_a_kind_dead_end(db, clock, english, make_group, make_member, change):
    token = services.invitation_path(make_member().id, make_group().id)[3:]
    for answer in (english.get(f"/g/{change(token)}"), english.post(f"/g/{change(token)}")):
        assert answer.status_code == 404
        assert "This link does not work" in text(answer)


def test_an_expired_invitation(db, clock, english, make_group, make_member):
    path = services.invitation_path(make_member().id, make_group().id)
    clock.move(days=40)
    answer = english.post(path)
    assert answer.status_code == 410
    assert "expired" in text(answer)
    assert rows(db)["seat"] == 0


@pytest.mark.parametrize(
    ("values", "status", "words"),
    [
        ({"state": GroupState.PAUSED}, 200, "Joining is paused"),
        ({"state": GroupState.WARM_UP}, 200, "Opens soon"),
        ({"state": GroupState.DRAFT}, 200, "Not open yet"),
        ({"state": GroupState.CLOSED}, 410, "is closed"),
        ({"state": GroupState.ARCHIVED}, 410, "is closed"),
    ],
)
def test_each_state_has_its_own_page_and_lets_nobody_in(
    db, clock, english, make_group, make_member, values, status, words
):
    group, member = make_group(**values), make_member()
    path = services.invitation_path(member.id, group.id)
    answer = english.get(path)
    assert answer.status_code == status
    assert words in text(answer)
    assert english.post(path).status_code in (409, 410)
    assert rows(db)["seat"] == 0
    # A refusal binds nothing.
    assert rows(db)["visitor_session"] == 0


def test_a_closed_flash_group_leads_on_to_its_successor(db, clock, english, make_group, make_member):
    after = make_group(name="Tea yard")
    flash = make_group(kind=GroupKind.FLASH, closes_at=clock.now() + timedelta(hours=1), successor_id=after.id)
    member, late = make_member(), make_member()
    bind(english, flash, member)
    assert "Closes in" in text(english.get(page_of(flash)))
    clock.move(hours=1)
    page = text(english.get(page_of(flash)))
    assert "This group has closed" in page
    assert f'action="{page_of(flash)}/move-on"' in page
    answer = english.get(services.invitation_path(late.id, flash.id))
    assert answer.status_code == 410
    assert "On to “Tea yard”" in text(answer)
    assert "Join the group" in text(english.get(page_of(after)))
    english.post(f"{page_of(after)}/join")
    assert queries.in_group(member.id, after.id)


def test_a_full_group_gives_a_number_and_then_a_seat(db, clock, english, app, make_group, make_member):
    group, first, second = make_group(capacity=1), make_member(), make_member()
    bind(app.test_client(), group, first)
    path = services.invitation_path(second.id, group.id)
    assert "Put me on the waiting list" in text(english.get(path))
    assert english.post(path).location == page_of(group)
    page = text(english.get(page_of(group)))
    assert "Your number on the waiting list" in page
    assert "You are the next." in page
    services.leave(group.id, first.id)
    assert "A seat is kept for you" in text(english.get(page_of(group)))
    assert "Take my seat" in text(english.get(path))
    english.post(f"{page_of(group)}/join")
    assert queries.in_group(second.id, group.id)


def test_leaving_a_full_group_says_what_it_costs(db, clock, english, make_group, make_member):
    group, me = make_group(capacity=2), make_member()
    bind(english, group, me)
    assert "Leave all the same" not in text(english.get(page_of(group)))
    services.join(group.id, make_member().id)
    assert "Leave all the same" in text(english.get(page_of(group)))
    services.join(group.id, make_member().id)
    english.post(f"{page_of(group)}/leave")
    assert "Your seat has gone to somebody else" in text(english.get(page_of(group)))
    page = english.post(f"{page_of(group)}/check-in")
    assert (page.status_code, "for people who have a seat" in text(page), "Your role" in text(page)) == (
        403,
        True,
        False,
    )


def test_giving_the_number_up(db, clock, english, app, make_group, make_member):
    group, first, second = make_group(capacity=1), make_member(), make_member()
    bind(app.test_client(), group, first)
    bind(english, group, second)
    assert english.post(f"{page_of(group)}/leave").status_code == 303
    assert queries.find_place(group.id, second.id) is None
    assert "Put me on the waiting list" in text(english.get(page_of(group)))


# ── Rules ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_not_qualified_says_why_and_the_shortest_way(db, clock, english, make_group, make_member):
    rule = {"mode": "any", "rules": [{"kind": "tier", "rank": 3}, {"kind": "spend", "fen": 10_000}]}
    group, member = make_group(kind=GroupKind.VIP, join_rule=rule), make_member(rank=1, spend=6_200)
    path = services.invitation_path(member.id, group.id)
    page = text(english.get(path))
    for words in ("One of these is enough", "¥38.00 more.", "to VIP3"):
        assert words in page
    answer = english.post(path)
    assert answer.status_code == 403
    assert "¥38.00 more." in text(answer)
    assert rows(db)["seat"] == 0
    member.rank = 3
    assert english.post(path).status_code == 303


def test_a_password(db, clock, english, make_group, make_member):
    group = make_group(join_rule={"mode": "all", "rules": [{"kind": "password", "password": "小院88"}]})
    member = make_member()
    path = services.invitation_path(member.id, group.id)
    assert 'name="password"' in text(english.get(path))
    answer = english.post(path, data={"password": "nope"})
    assert answer.status_code == 403
    assert "This is not the group" in text(answer)
    assert 'value="nope"' in text(answer)
    assert english.post(path, data={"password": " 小院88 "}).status_code == 303
    assert queries.in_group(member.id, group.id)


def test_wrong_passwords_are_counted_by_group_and_network(db, clock, english, make_group, make_member, monkeypatch):
    monkeypatch.setattr(identify, "NETWORK_GUESSES", 3)
    rule = {"mode": "all", "rules": [{"kind": "password", "password": "小院88"}]}
    group, other, member, friend = make_group(join_rule=rule), make_group(join_rule=rule), make_member(), make_member()
    path = services.invitation_path(member.id, group.id)
    for n in range(3):
        assert "This is not the group" in text(english.post(path, data={"password": f"guess {n}"}))
    # Even the right one has to wait, or the next guess would be the answer; no password at all says only what is missing.
    refused = english.post(path, data={"password": "小院88"})
    assert refused.status_code == 429
    assert "Too many wrong passwords" in text(refused)
    assert english.post(path).status_code == 403
    assert rows(db)["seat"] == 0
    elsewhere = services.invitation_path(friend.id, other.id)
    assert english.post(elsewhere, data={"password": "小院88"}).status_code == 303
    clock.move(minutes=15)
    assert english.post(path, data={"password": "小院88"}).status_code == 303
    assert queries.in_group(member.id, group.id)


def test_right_passwords_of_a_whole_room_are_not_counted(db, clock, app, make_group, make_member, monkeypatch):
    monkeypatch.setattr(identify, "NETWORK_GUESSES", 1)
    group = make_group(join_rule={"mode": "all", "rules": [{"kind": "password", "password": "小院88"}]})
    for _ in range(4):
        path = services.invitation_path(make_member().id, group.id)
        assert app.test_client().post(path, data={"password": "小院88"}).status_code == 303


def test_a_newcomer_with_a_wrong_password_is_nobody_yet_but_counted(db, clock, english, make_group, monkeypatch):
    monkeypatch.setattr(identify, "NETWORK_GUESSES", 2)
    group = make_group(
        open_to_new=True, join_rule={"mode": "all", "rules": [{"kind": "password", "password": "小院88"}]}
    )
    path = f"/j/{link_of(db, group).token}"
    before = db.session.scalar(select(func.count(Member.id)))
    visit = services.new_visit()
    for _ in range(2):
        answer = english.post(path, data={"phone": "10000000001", "visit": visit, "password": "nope"})
        assert answer.status_code == 403
    assert db.session.scalar(select(func.count(Member.id))) == before
    answer = english.post(path, data={"phone": "10000000001", "visit": visit, "password": "小院88"})
    assert answer.status_code == 429


def test_a_members_group_enrols_with_the_tap(db, clock, english, make_group, make_member):
    group, member = make_group(kind=GroupKind.MEMBER), make_member()
    path = services.invitation_path(member.id, group.id)
    page = text(english.get(path))
    assert "Become a member and join" in page
    assert english.post(path).status_code == 403
    assert english.post(path, data={"enrol": "1"}).status_code == 303
    assert member.enrolled_at is not None
    assert queries.in_group(member.id, group.id)


def test_a_tag_and_an_invitation(db, clock, english, make_group, make_member):
    rule = {"mode": "all", "rules": [{"kind": "tag", "tag": "茶"}, {"kind": "invitation"}]}
    group, member = make_group(kind=GroupKind.INTEREST, join_rule=rule), make_member()
    tag([member.id], "茶")
    other = make_group()
    bind(english, other, member)
    assert "Has a personal invitation" in text(english.get(page_of(group)))
    assert english.post(f"{page_of(group)}/join").status_code == 403
    assert bind(english, group, member).status_code == 303


# ── Somebody else's invitation ──────────────────────────────────────────────────────────────────────────────────────


def test_a_passed_on_invitation_lets_a_friend_in_as_who_they_are(db, clock, english, make_group, make_member):
    group, other = make_group(), make_group()
    invited, friend = make_member("Lin"), make_member("Moss")
    bind(english, other, friend)
    path = services.invitation_path(invited.id, group.id)
    page = text(english.get(path))
    assert "This invitation was made for L**" in page
    assert "Join as myself" in page
    assert "Lin" not in page
    assert english.post(path, data={"as": "me"}).status_code == 303
    assert queries.find_seat(group.id, friend.id).inviter_id == invited.id
    assert not queries.in_group(invited.id, group.id)


# ── A public link ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_public_link_asks_who_you_are(db, clock, english, make_group):
    group = make_group()
    link = link_of(db, group)
    before = rows(db)
    page = text(english.get(f"/j/{link.token}"))
    assert "Say who I am, then join" in page
    assert f"next=/j/{link.token}" in page.replace("%2F", "/")
    assert 'name="phone"' not in page
    answer = english.post(f"/j/{link.token}", data={"phone": "13800000000"})
    assert answer.status_code == 303
    assert answer.location.startswith("/me/sign-in")
    assert rows(db) == before


def test_a_known_browser_joins_by_a_public_link_with_one_tap(db, clock, english, make_group, make_member):
    group, member = make_group(), make_member()
    link = link_of(db, group, staff_id=7)
    bind(english, make_group(), member)
    for _ in range(2):
        english.get(f"/j/{link.token}")
    assert english.post(f"/j/{link.token}").location == page_of(group)
    seat = queries.find_seat(group.id, member.id)
    assert (seat.source, seat.staff_id) == ("leaflet", 7)
    db.session.refresh(link)
    assert (link.opened, link.joined) == (2, 1)
    english.post(f"/j/{link.token}")
    db.session.refresh(link)
    assert link.joined == 1


def test_a_new_person_joins_with_a_phone_alone_where_the_group_is_open_to_them(db, clock, english, make_group, gift):
    group = make_group(open_to_new=True, welcome_gift_id=gift.id)
    link = link_of(db, group)
    page = text(english.get(f"/j/{link.token}"))
    visit = page.split('name="visit" value="')[1].split('"')[0]
    before = rows(db)["member"]
    for _ in range(2):
        answer = english.post(f"/j/{link.token}", data={"phone": "100 0000 0001", "visit": visit})
        assert (answer.status_code, answer.location) == (303, page_of(group))
    assert rows(db)["member"] == before + 1
    (seat,) = db.session.scalars(select(Seat)).all()
    member = db.session.get(Member, seat.member_id)
    # Nothing that the group reads tells the phone: the same phone is somebody else by another visit.
    assert (member.phone, member.nickname) == ("+8610000000001", f"Guest {crc32(visit.encode()) % 10_000:04d}")
    assert english.get(page_of(group)).status_code == 200


def test_tapping_twice_without_a_cookie_is_one_person(db, clock, app, make_group):
    link = link_of(db, make_group(open_to_new=True))
    for _ in range(2):
        app.test_client().post(f"/j/{link.token}", data={"phone": "10000000001", "visit": "v" * 22})
    assert rows(db)["seat"] == 1


def test_typing_somebody_elses_phone_opens_nothing_of_theirs(db, clock, english, make_group):
    known, _ = find_or_make([(Channel.PHONE, "10000000002")], nickname="Owner of it")
    group = make_group(open_to_new=True)
    link = link_of(db, group)
    answer = english.post(f"/j/{link.token}", data={"phone": "10000000002", "visit": "w" * 22})
    # The same answer as for an unknown phone; the seat is a stranger's.
    assert (answer.status_code, answer.location) == (303, page_of(group))
    (seat,) = db.session.scalars(select(Seat)).all()
    assert seat.member_id != known.id
    assert db.session.scalars(
        select(MemberIdentity.channel).where(MemberIdentity.member_id == seat.member_id)
    ).all() == [Channel.SHOP]
    assert db.session.scalars(select(VisitorSession.member_id)).all() == [seat.member_id]


@pytest.mark.parametrize("phone", ["", "12", "138****0000", "abc"])
def test_a_phone_that_is_none_is_refused_and_kept(db, clock, english, make_group, phone):
    link = link_of(db, make_group(open_to_new=True))
    answer = english.post(f"/j/{link.token}", data={"phone": phone, "visit": "v" * 22})
    assert answer.status_code == 422
    assert "phone" in text(answer)
    assert rows(db)["member"] == 0


def test_a_crowd_of_newcomers_from_one_address_is_slowed_down(db, clock, app, english, make_group, monkeypatch):
    from community.groups.services import entry

    monkeypatch.setattr(entry, "NEWCOMERS_AN_HOUR", 2)
    link = link_of(db, make_group(open_to_new=True))
    statuses = [
        app.test_client().post(f"/j/{link.token}", data={"phone": f"1000000000{n}", "visit": f"{n}" * 20}).status_code
        for n in range(3)
    ]
    assert statuses == [303, 303, 429]
    assert rows(db)["seat"] == 2


def test_unknown_and_withdrawn_links(db, clock, english, make_group):
    link = link_of(db, make_group(), revoked_at=clock.now())
    assert english.get("/j/nothing").status_code == 404
    for answer in (english.get(f"/j/{link.token}"), english.post(f"/j/{link.token}")):
        assert answer.status_code == 410
        assert "not in use any more" in text(answer)


# ── The group's page ────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_stranger_is_asked_who_they_are(db, clock, client, make_group):
    answer = client.get(page_of(make_group()))
    assert answer.status_code == 302
    assert answer.location.startswith("/me/sign-in?next=")


def test_leaving_with_one_tap_and_coming_back(db, clock, english, make_group, make_member):
    group, member = make_group(), make_member()
    bind(english, group, member)
    assert english.post(f"{page_of(group)}/leave").location == page_of(group)
    page = text(english.get(page_of(group)))
    assert "You have left this group" in page
    assert "Come back" in page
    english.post(f"{page_of(group)}/join")
    assert [s.state for s in db.session.scalars(select(Seat).order_by(Seat.id))] == [SeatState.LEFT, SeatState.TAKEN]


def test_leaving_where_one_is_not(db, clock, english, make_group, make_member):
    bind(english, make_group(), make_member())
    assert english.post(f"{page_of(make_group())}/leave").status_code == 404


def test_reminders_off_and_on(db, clock, english, make_group, make_member):
    group, member = make_group(), make_member()
    bind(english, group, member)
    english.post(f"{page_of(group)}/mute", data={"quiet": "1"})
    assert "Remind me again" in text(english.get(page_of(group)))
    english.post(f"{page_of(group)}/mute", data={"quiet": "0"})
    assert "No reminders" in text(english.get(page_of(group)))


def test_a_barred_member_meets_a_plain_refusal(db, clock, english, make_group, make_member):
    group, member = make_group(), make_member()
    bind(english, group, member)
    services.remove(group.id, member.id, "spam", barred=True)
    # The door says it as the tap would, and offers nothing that the tap is refused.
    for answer in (english.get(page_of(group)), english.post(f"{page_of(group)}/join")):
        assert answer.status_code == 403
        assert "cannot come back" in text(answer)


def test_the_live_card_shows_the_next_session(db, clock, english, make_group, make_member):
    group, member = make_group(kind=GroupKind.LIVE), make_member()
    start = clock.now() + timedelta(days=1)
    services.save_session(group, None, "First flush", start, start + timedelta(hours=1), "https://live.example/1")
    bind(english, group, member)
    page = text(english.get(page_of(group)))
    assert "First flush" in page
    assert "https://live.example/1" in page
    clock.move(days=1, minutes=1)
    assert "Live now" in text(english.get(page_of(group)))
    clock.move(hours=2)
    assert "First flush" not in text(english.get(page_of(group)))


def test_my_groups_on_my_page(db, clock, english, make_group, make_member, app):
    group, full = make_group(name="Tea yard"), make_group(name="Full house", capacity=1)
    member = make_member()
    services.join(full.id, make_member().id)
    bind(english, group, member)
    english.post(f"{page_of(full)}/join")
    page = text(english.get("/me/"))
    assert "Tea yard" in page
    assert "Number 1 on the waiting list" in page


def test_the_first_view_is_small(db, clock, english, make_group, make_member, gift):
    """A group in full swing, whole: the page with a first page of long posts, styles, scripts and the cover."""
    values = {
        "welcome_gift_id": gift.id,
        "cover": "demo/tea.webp",
        "welcome_post": "欢迎。" * 40,
        "kind": GroupKind.LIVE,
    }
    group, member = make_group(announcement="周五晚上八点。" * 10, **values), make_member()
    for number in range(12):
        words = "".join(chr(0x4E00 + (number * 997 + n * 131) % 8_000) for n in range(300))
        made = posts.write(posts.Draft(PostKind.TIP, f"第 {number} 条", words, None, group_ids=(group.id,)))
        posts.publish_now(made.id)
    bind(english, group, member)
    page = english.get(page_of(group))
    body, total = text(page), len(gzip.compress(page.data))
    assert body.count("data-seen=") == 10
    for path in set(re.findall(r'(?:src|href)="(/static/[^"#?]+)', body)):
        answer = english.get(path)
        total += len(answer.data) if path.endswith(".webp") else len(gzip.compress(answer.data))
    assert total <= 100 * 1024
    # Without script everything is a link or a form: no button does nothing.
    assert not re.findall(r'<button[^>]*type="button"| on[a-z]+="', body)


def test_a_closed_group_says_so_before_it_speaks_of_rules(db, clock, english, make_group, make_member):
    rule = {"mode": "all", "rules": [{"kind": "tier", "rank": 4}]}
    group = make_group(state=GroupState.CLOSED, join_rule=rule)
    answer = english.post(services.invitation_path(make_member().id, group.id))
    assert answer.status_code == 410
    assert "This group is closed" in text(answer)


def test_a_tap_costs_few_statements(db, clock, english, make_group, make_member, queries):
    group, member = make_group(), make_member()
    bind(english, make_group(), member)
    path = f"{page_of(group)}/join"
    # The browser, group and person, whether they are kept out, and five for the seat, which a batch shares.
    with queries(8):
        english.post(path)


def test_a_number_on_the_waiting_list_costs_few_statements(db, clock, english, make_group, make_member, queries):
    """A full group writes its counter and the numbers at once, and looks seats and numbers up at once."""
    group = make_group(capacity=1, seats_each=1)
    services.join_many(group.id, [make_member().id, make_member().id])
    member = make_member()
    bind(english, make_group(), member)
    path = f"{page_of(group)}/join"
    # The browser, group and person, whether they are kept out, and four for the number, which a batch shares.
    with queries(7):
        english.post(path)
    place = group_queries.find_place(group.id, member.id)
    assert (place.waiting.number, place.ahead) == (2, 1)
    db.session.refresh(group)
    assert (group.seated, group.queued, group.last_number) == (1, 2, 2)


def test_who_is_here(db, clock, english, make_group, make_member):
    """Whoever looks after the group first, then everybody, by what others may read of them; a stranger sees nobody."""
    group = make_group(capacity=80, seats_each=80)
    me, owner, real = make_member("Anna"), make_member("Olga"), make_member()
    real.nickname, real.name, real.phone = "", "林小满", "+8613800001111"
    services.join_many(group.id, [me.id, owner.id, real.id, *(make_member().id for _ in range(50))])
    services.set_role(group.id, owner.id, SeatRole.OWNER)
    bind(english, group, me)
    path = f"{page_of(group)}/people"
    assert f'href="{path}"' in text(english.get(page_of(group)))
    before = rows(db)
    page = text(english.get(path))
    assert rows(db) == before
    assert "53 people are here" in page
    assert page.index("Olga") < page.index("Everybody else") < page.index("Who came before")
    assert "Anna" not in page
    older = page.split('rel="next"')[0].rsplit('href="', 1)[1].split('"')[0]
    page = text(english.get(older.replace("&amp;", "&")))
    assert "林**" in page
    assert "Anna" in page
    assert "小满" not in page
    assert "13800001111" not in page
    services.leave(group.id, me.id)
    assert english.get(path).status_code == 404


def test_somebody_new_is_offered_what_is_often_asked(db, clock, english, monkeypatch, make_group, make_member):
    """Up to nine questions, each one tap away, for a week and while nothing is being asked."""
    cards = tuple(Choice(f"intent:{number}", f"Question {number}?") for number in range(12))
    monkeypatch.setattr(ports.welcome, "_answers", [lambda locale: Welcome("Hello.", cards)])
    group, member = make_group(), make_member()
    bind(english, group, member)
    page = text(english.get(page_of(group)))
    offered = re.findall(r'name="picked" value="([^"]+)">([^<]+)<', page)
    assert offered == [(card.key, card.label) for card in cards[:9]]
    assert english.post("/ask", data={"picked": "intent:3"}).status_code == 303
    assert "Often asked" not in text(english.get(page_of(group)))
    talks.close(live_of(member.id).id, Ending.MEMBER)
    assert "Often asked" in text(english.get(page_of(group)))
    clock.move(days=8)
    assert "Often asked" not in text(english.get(page_of(group)))
