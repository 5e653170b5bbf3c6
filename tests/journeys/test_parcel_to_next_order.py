"""The main job from the parcel to the next order, through HTTP and jobs alone: what a person types, taps and reads."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from flask import Flask
from flask.testing import FlaskClient
from PIL import Image
from sqlalchemy import text

from campaigns.pushes.rules import held_out, quarter_of
from kernel import clock as kernel_clock
from kernel import jobs, shop
from membership.members import services as members
from membership.members.models import Contact, Purpose
from tests.conftest import HeldClock
from tests.journeys.reader import Page, Reader, read

LIME = "+8610012345678"
OTHERS = 12
AGREED = 5
# What is noted of a visit itself: when somebody was last here, and how often a public link was opened.
OF_VISITS = ["seen_at", "last_seen_at", "last_used_at", "last_visit_at", "visited_at"]


# ── The database from outside ───────────────────────────────────────────────────────────────────────────────────────


def fingerprint(db: Any) -> dict[str, str]:
    """Every table's rows as one hash each, without what is noted of a visit itself."""
    with db.engine.connect() as connection:
        names = connection.execute(
            text("SELECT table_name FROM information_schema.tables WHERE table_schema = 'public' ORDER BY 1")
        ).scalars()
        tables = [name for name in names if name != "alembic_version"]
    found = {}
    for name in tables:
        row = db.session.execute(
            text(
                f"SELECT count(*), md5(coalesce(string_agg(one, ',' ORDER BY one), '')) "
                f'FROM (SELECT (to_jsonb(t) - CAST(:left_out AS text[]))::text AS one FROM "{name}" t) AS rows'
            ),
            {"left_out": OF_VISITS},
        ).one()
        found[name] = f"{row[0]} rows, {row[1]}"
    return found


@contextmanager
def nothing_changes(db: Any) -> Iterator[None]:
    db.session.commit()
    before = fingerprint(db)
    yield
    after = fingerprint(db)
    assert after == before, {name: (before[name], after[name]) for name in before if before[name] != after[name]}


def count(db: Any, statement: str, **values: Any) -> Any:
    return db.session.execute(text(statement), values).scalar_one()


# ── People and programs ─────────────────────────────────────────────────────────────────────────────────────────────


@dataclass
class Till:
    """Another program with an API key."""

    client: FlaskClient
    token: str
    answers: list[Any] = field(default_factory=list)

    def post(self, path: str, body: dict[str, Any], key: str | None = None, expect: int = 201) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {self.token}"} | ({"Idempotency-Key": key} if key else {})
        response = self.client.post(f"/api/v1/{path}", json=body, headers=headers)
        assert response.status_code == expect, (path, response.status_code, response.get_data(as_text=True))
        return dict(json.loads(response.get_data(as_text=True)))


def order(number: str, amount: int, placed: datetime, state: str = "completed", **values: Any) -> dict[str, Any]:
    """An order of the web shop as its system sends it; `amount` in 分 is what the goods cost, ¥10 postage come on top."""
    whole = {
        "source": "shop",
        "order": number,
        "state": state,
        "placed_at": placed.isoformat(),
        "paid_at": placed.isoformat(),
        "paid_amount": amount + 1_000,
        "postage": 1_000,
        "lines": [{"sku": "TEA-01", "title": "白毫银针 50g", "quantity": 1, "unit_price": amount}],
    }
    if state in ("delivered", "completed"):
        whole["delivered_at"] = (placed + timedelta(days=3)).isoformat()
    if state == "completed":
        whole["completed_at"] = (placed + timedelta(days=10)).isoformat()
    return whole | values


def picture() -> bytes:
    made = io.BytesIO()
    Image.new("RGB", (640, 480), "#c96f4a").save(made, "JPEG")
    return made.getvalue()


def figures(page: Page, *labels: str) -> list[int]:
    """The whole numbers that stand right after words on a page."""
    found = []
    for label in labels:
        seen = re.search(re.escape(label) + r"\s*([\d,]+)", page.words)
        assert seen, f"no number after {label!r}: {page.words}"
        found.append(int(seen[1].replace(",", "")))
    return found


def recur(run_jobs: Callable[[], list[str]], *names: str) -> list[str]:
    """What the ticker does: queue the recurring jobs with these names, and let the workers run."""
    for recurring in jobs.registered():
        if recurring.name in names:
            recurring.job.later()
    return run_jobs()


# ── The journey ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_parcel_to_next_order(
    app: Flask,
    db: Any,
    clock: HeldClock,
    owner_client: FlaskClient,
    run_jobs: Callable[[], list[str]],
) -> None:
    owner = Reader(owner_client)
    phone = Reader(app.test_client())
    noon = clock.now()

    # Another program is let in: the owner makes a key, which is shown once.
    keys = owner.submit(
        owner.open("/console/api-keys"), "api-keys", name="Web shop", scopes=["orders:write", "coupons:redeem"]
    )
    token = re.search(r"siyu_[\w-]{40,}", keys.html)
    assert token
    assert token[0] not in owner.open("/console/api-keys").html
    till = Till(app.test_client(), token[0])

    # What the console prepared before: a gift, a group with that gift as its welcome, two offers.
    gift = make_gift(owner, "茶样三泡", stock=3)
    group_page = make_group(owner, "春茶群", gift)
    welcome, repurchase = make_offer(owner, "新人券", 20, 99), make_offer(owner, "回购券", 30, 100)

    # Orders in. The others bought long ago; Lime bought in January, and a second parcel has just arrived.
    past = noon - timedelta(days=70)
    crowd = [
        order(
            f"C{n}", 10_000, past, buyer={"id": f"buyer-{n}", "phone": f"+861001111{n:04d}", "nickname": f"Guest {n}"}
        )
        for n in range(OTHERS)
    ]
    answer = till.post("orders", {"orders": crowd})
    assert [one["result"] for one in answer["orders"]] == ["new"] * OTHERS
    buyer = {"id": "lime", "phone": LIME, "nickname": "Lime", "city": "杭州"}
    first = order("A1", 52_000, noon - timedelta(days=45), buyer=buyer)
    parcel = order("A2", 16_800, noon - timedelta(days=5), "delivered", buyer=buyer)
    assert till.post("orders", first)["result"] == "new"
    assert till.post("orders", parcel, key="a2")["result"] == "new"
    assert till.post("orders", parcel, key="a2")["result"] == "new", "an equal key gives the first answer again"
    assert till.post("orders", parcel, expect=200)["result"] == "duplicate"
    run_jobs()
    assert count(db, "SELECT count(*) FROM event_delivery WHERE error IS NOT NULL") == 0

    # The person was made once, with both orders, and judged: ¥520.00 count, the parcel's ¥168.00 wait for seven days.
    lime = count(db, "SELECT id FROM member WHERE phone = :phone", phone=LIME)
    assert count(db, "SELECT count(*) FROM member") == OTHERS + 1
    assert count(db, "SELECT spend FROM member WHERE id = :id", id=lime) == 68_800
    found = owner.open(f"/console/members?q={LIME[-4:]}")
    page = owner.open(found.link_to(f"/console/members/{lime}"))
    page.says("Lime", "VIP2", "¥688.00", "¥520.00")
    assert LIME not in page.html, "the number is masked until somebody asks for it"

    # The call-back: the agent sees the past and a script, speaks with Lime, and writes down what was said.
    calls = owner.open("/console/calls")
    calls.says("Lime")
    assert "Guest" not in calls.words, "nobody is called about a parcel of two months ago"
    call = owner.open(calls.link_to("/console/calls/"))
    call.says("白毫银针 50g", "¥168.00", "¥520.00", "Lime")
    wrong = owner.submit(
        call, "/outcome", "Record the call", expect=422, outcome="reached", offers="yes", note="会再来"
    )
    wrong.says("Tick at least one way that they agreed to.")
    assert "会再来" in wrong.html
    spoken = owner.submit(
        wrong, "/outcome", "Record the call", outcome="reached", offers="yes", ways=["inbox", "email"], satisfaction="5"
    )
    spoken.says("Recorded.", "Reached", "5 of 5")
    stale = owner.submit(call, "/outcome", "Record the call", expect=409, outcome="refused")
    stale.says("Nothing of yours was written over theirs")
    invited = owner.submit(spoken, "/invite", "Make the personal link", group=group_id(spoken, "春茶群"))
    link = next(value for value in invited.inputs.values() if "/g/" in value)
    run_jobs()

    # The link on a phone. Looking changes nothing, a tap does.
    with nothing_changes(db):
        door = phone.open(link)
        door.says("春茶群", "茶样三泡", "2 seats left", "This invitation is for L")
        Reader(app.test_client()).open(link)
    inside = phone.submit(door, "/g/", "Join the group", marketing="y")
    inside.says("You are in.", "欢迎来到春茶群", "茶样三泡", "1 person is here")
    run_jobs()
    seat = "SELECT count(*) FROM seat WHERE member_id = :id AND state = 'taken'"
    assert count(db, seat, id=lime) == 1
    phone.open(link).says("春茶群")
    again = phone.submit(door, "/g/", "Join the group")
    again.says("You were in already.")
    assert count(db, seat, id=lime) == 1
    assert count(db, "SELECT count(*) FROM gift_claim WHERE member_id = :id", id=lime) == 1
    db.session.expire_all()
    group_path = inside.path

    # The gift that waited inside: one tap claims it, then Lime says where it goes.
    with nothing_changes(db):
        gift_page = phone.open(inside.link_to("/gift/"))
        gift_page.says("茶样三泡")
    taken = phone.submit(gift_page, "/gift/", "Claim this gift")
    missing = phone.submit(taken, "/address", expect=422, recipient="青柠", phone="", address="杭州市西湖区某路一号")
    assert "杭州市西湖区某路一号" in missing.html
    sent = phone.submit(missing, "/address", phone=LIME)
    sent.says("Thank you. The shop packs it and sends it there.")
    assert count(db, "SELECT state FROM gift_claim WHERE member_id = :id", id=lime) == "queued"
    assert count(db, "SELECT used FROM limit_counter WHERE limit_name = :name", name=f"gift:{gift}:stock") == 1
    owner.open("/console/gift-claims").says("Lime", "茶样三泡")
    phone.open("/me/gifts").says("茶样三泡")

    # A coupon by Lime's own link: looking changes nothing, a tap claims it, and once is once.
    give = owner.open(owner.open(f"/console/members/{lime}").link("Give a coupon"))
    give = owner.open(give.link_to(f"offer={welcome}"))
    path = Reader.path_of(next(value for value in give.inputs.values() if "/c/" in value))
    with nothing_changes(db):
        ticket = phone.open(path)
        ticket.says("新人券", "¥20")
        Reader(app.test_client()).open(path)
    claimed = phone.submit(ticket, "/c/", "Claim this coupon")
    claimed.says("It is yours", "新人券")
    repeated = phone.submit(ticket, "/c/", "Claim this coupon")
    repeated.says("Already yours")
    assert phone.open(path).words.count("Already yours") == 1
    stranger = Reader(app.test_client()).open(path)
    stranger.says("This coupon has been claimed already")
    assert count(db, "SELECT count(*) FROM coupon WHERE member_id = :id", id=lime) == 1
    assert count(db, "SELECT claimed FROM offer WHERE id = :id", id=welcome) == 1
    phone.open("/me/coupons").says("新人券")

    # A tip for the group, with a picture and a link, for tomorrow at ten.
    tomorrow = kernel_clock.local(noon + timedelta(days=1)).replace(hour=10, minute=0)
    form = owner.open("/console/posts/new")
    groups = {box.words: box.value for box in form.form("").boxes if box.name == "groups"}
    scheduled = owner.submit(
        form,
        "",
        "schedule",
        kind="tip",
        title="水温八十五度",
        body="先温杯,**再投茶**。",
        file=(picture(), "tea.jpg", "image/jpeg"),
        link_url="https://shop.example/tea",
        link_label="看看茶叶",
        groups=list(groups.values()) or [number_of(group_page)],
        publish_at=tomorrow.strftime("%Y-%m-%dT%H:%M"),
    )
    scheduled.says("Scheduled. It appears by itself.", "水温八十五度")
    recur(run_jobs, "community.posts.jobs.publish_due_posts")
    assert "水温八十五度" not in phone.open(group_path).words
    clock.at(tomorrow)
    feed = phone.open(group_path)
    feed.says("水温八十五度", "再投茶", "看看茶叶")
    recur(run_jobs, "community.posts.jobs.publish_due_posts")
    with nothing_changes(db):
        phone.open(group_path)
    shown = next(address for address in feed.internal() if address.startswith("/pictures/"))
    assert phone.client.get(shown).mimetype == "image/webp"
    post_token = re.search(r'data-seen="([^"]+)"', feed.html)
    assert post_token
    seen = phone.client.post(f"{group_path}/posts/seen", data={"post": post_token[1]})
    assert seen.status_code == 204
    way = feed.link("看看茶叶")
    for _twice in range(2):
        assert phone.client.get(way).location == "https://shop.example/tea"
    phone.submit(feed, "/like", "Like").says("Liked")
    numbers = owner.open(scheduled.path)
    assert figures(numbers, "Seen", "Likes", "Clicked") == [1, 1, 1]

    # A repurchase push to whoever bought that tea, with a coupon of their own, for the day after at noon.
    agreed = agree(db, AGREED)
    spared = salted(db, agreed, lime)
    at = kernel_clock.local(noon + timedelta(days=2))
    plan = owner.open("/console/pushes/new")
    for kind in ("bought", "last_order"):
        plan = owner.submit(plan, "/pushes/new", "add:", **{"rules-add": kind})
    typed: dict[str, Any] = {
        "name": "春茶回购",
        "rules-0-words": "TEA-01",
        "rules-1-to_days": 90,
        "subject": "{nickname},春茶到了",
        "body": "为您留了一张{coupon_name}。",
        "offer_id": repurchase,
        "moment": "at",
        "scheduled_at": at.strftime("%Y-%m-%dT%H:%M"),
    }
    checked = owner.submit(plan, "/pushes/new", "check", **typed)
    planned = OTHERS + 1
    sent = 1 + AGREED - 1
    checked.says(f"{sent} of {planned} in the audience", ",春茶到了")
    push = owner.submit(checked, "/pushes/new", "schedule", **typed)
    push.says("The push is scheduled.", "春茶回购")
    recur(run_jobs, "campaigns.pushes.jobs.wake")
    assert count(db, "SELECT count(*) FROM delivery") == 0, "nothing goes out before its time"
    clock.at(at)
    recur(run_jobs, "campaigns.pushes.jobs.wake")
    clock.move(seconds=10)
    recur(run_jobs, "campaigns.pushes.jobs.wake")
    push = owner.open(push.path)
    push.says("Finished")
    assert figures(push, "Message sent", "Held out", "Planned") == [sent, 1, planned]
    assert figures(push, "No consent to offers by this channel") == [planned - sent - 1]
    for state, people in (("accepted", sent), ("control", 1), ("suppressed", planned - sent - 1)):
        assert owner.open(f"{push.path}/deliveries?state={state}").html.count("/console/members/") == people
    assert count(db, "SELECT count(*) FROM inbox_message WHERE member_id = :id", id=spared) == 0
    assert count(db, "SELECT count(*) FROM inbox_message WHERE member_id = :id", id=lime) == 1

    # In Lime's messages: opening them sends nothing and takes nothing, the tap leads to the coupon.
    clock.move(hours=2)
    with nothing_changes(db):
        messages = phone.open("/me/messages")
        messages.says("Lime,春茶到了", "为您留了一张回购券")
    ticket = phone.open(messages.link("Have a look"))
    ticket.says("回购券", "¥30")
    mine = phone.submit(ticket, "/c/", "Claim this coupon")
    mine.says("It is yours")
    code = re.search(r'class="ticket-code[^"]*"[^>]*>([^<]+)<', mine.html)
    assert code

    # At the checkout of a new order, for ¥238.00: ¥30.00 less, however often it is said.
    basket = {"code": code[1], "source": "shop", "order": "A3", "amount": 23_800, "postage": 1_000}
    redeemed = till.post("coupons/redeem", basket, key="redeem-a3", expect=200)
    assert (redeemed["discount"], redeemed["payable"], redeemed["replayed"]) == (3_000, 21_800, False)
    assert till.post("coupons/redeem", basket, key="redeem-a3", expect=200) == redeemed
    assert till.post("coupons/redeem", basket, expect=200)["replayed"] is True
    other = till.post("coupons/redeem", basket | {"order": "A4"}, expect=409)
    assert other["code"] == "already_redeemed", other
    phone.open(mine.path).says("¥30.00")
    placed = kernel_clock.now()
    second = order("A3", 20_800, placed, "paid", buyer={"phone": LIME}, discount=3_000)
    assert till.post("orders", second)["result"] == "new"
    run_jobs()
    assert count(db, "SELECT count(*) FROM event_delivery WHERE error IS NOT NULL") == 0
    assert count(db, "SELECT member_id FROM \"order\" WHERE external_id = 'A3'") == lime

    # What came of it, for the marketer and for the agent.
    push = owner.open(push.path)
    assert figures(push, "Clicked", "Coupons taken", "Coupons used") == [1, 1, 1]
    push.says(
        "Direct ¥208.00 1 order used its coupon",
        "Influenced ¥208.00 1 order within 5 days of a click",
        "not enough data",
    )
    funnel = owner.open("/console/funnel")
    steps = [
        "Parcel delivered",
        "Called",
        "Reached",
        "Invited to a group",
        "Joined a group",
        "Claimed the gift",
        "Ordered again",
    ]
    assert figures(funnel, *steps) == [1, 1, 1, 1, 1, 1, 1]
    page = owner.open(f"/console/members/{lime}")
    page.says("¥896.00")

    # The money goes back: the order no longer counts, and the coupon is Lime's again.
    refund = {"source": "shop", "refund": "R1", "order": "A3", "amount": 21_800}
    assert till.post("refunds", refund)["result"] == "new"
    assert till.post("refunds", refund, expect=200)["result"] == "duplicate"
    run_jobs()
    phone.open(mine.path).says("回购券", code[1])
    assert count(db, "SELECT state FROM coupon WHERE offer_id = :id", id=repurchase) == "issued"
    assert count(db, "SELECT count(*) FROM redemption WHERE rolled_back_at IS NULL") == 0
    push = owner.open(push.path)
    assert figures(push, "Coupons taken", "Coupons used") == [1, 0]
    push.says("Direct ¥0.00 0 orders used its coupon")
    assert figures(owner.open("/console/funnel"), "Ordered again") == [0]
    owner.open(f"/console/members/{lime}").says("¥688.00")

    # Wherever a link of the console or of Lime's pages leads: no error, and not one row is another one.
    assert crawl(db, owner, ["/console/"]) > 150
    assert crawl(db, phone, ["/me/", group_path, link, path, mine.path]) > 10


# ── What the console is asked for ───────────────────────────────────────────────────────────────────────────────────


def make_gift(owner: Reader, name: str, stock: int) -> int:
    made = owner.submit(
        owner.open("/console/gifts/new"), "/gifts/new", name=name, kind="physical", stock=stock, value="15"
    )
    made.says(name)
    return number_of(made)


def make_offer(owner: Reader, name: str, value: int, least: int) -> int:
    form = owner.open("/console/offers/new")
    made = owner.submit(
        form, "/offers/new", "Save and start", name=name, value=value, min_spend=least, valid_days=14, stock=100
    )
    made.says(name, f"¥{value}")
    return number_of(made)


def make_group(owner: Reader, name: str, gift: int) -> Page:
    kinds = owner.open("/console/groups/new")
    form = owner.open(kinds.link_to("kind=regular"))
    made = owner.submit(
        form,
        "/console/groups/new",
        "Make the group",
        name=name,
        intro="每周一条泡茶心得。",
        welcome_post="欢迎来到春茶群，\n先看置顶。",
        capacity=2,
        seats_each=1,
        welcome_gift_id=gift,
    )
    made.says(name)
    opened = owner.submit(made, "/state", "Open now")
    opened.says(name)
    return opened


def group_id(page: Page, name: str) -> str:
    return page.form("/invite").choices("group")[name]


def number_of(page: Page) -> int:
    return int(page.path.rsplit("/", 1)[1])


def agree(db: Any, people: int) -> list[int]:
    """So many of the others agree to offers in the inbox, as if they had said so on their own page; returns who."""
    ids = (
        db.session.execute(text("SELECT id FROM member WHERE phone <> :lime ORDER BY id"), {"lime": LIME})
        .scalars()
        .all()
    )
    for member in ids[:people]:
        members.give_consent(member, Contact.INBOX, Purpose.MARKETING, source="choices", text_version="1")
    db.session.commit()
    return list(ids[:people])


def salted(db: Any, agreed: list[int], lime: int) -> int:
    """Choose the salt of the hold-out so that one of those who agreed is held out and Lime is not; returns that one."""
    quarter = quarter_of(kernel_clock.today())
    for number in range(10_000):
        salt = f"salt-{number}"
        spared = [one for one in (*agreed, lime) if held_out(salt, quarter, one, 5)]
        if len(spared) == 1 and spared != [lime]:
            shop.put("holdout.salt", salt)
            db.session.commit()
            return spared[0]
    raise AssertionError("no such salt")


def crawl(db: Any, reader: Reader, begin: list[str]) -> int:
    """Follow every address of this site that pages name, up to three of a kind, filters one at a time; returns how many."""
    waiting, known = list(begin), set(begin)
    of_kind: dict[str, int] = {}
    visited = 0
    with nothing_changes(db):
        while waiting:
            address = waiting.pop(0)
            kind = re.sub(r"=[^&]*", "=", re.sub(r"/\d+(?=/|$|\.)", "/#", address))
            of_kind[kind] = of_kind.get(kind, 0) + 1
            if of_kind[kind] > 3 or address.count("=") > 1 or address.startswith(("/static/", "/pictures/")):
                continue
            # Those count visits of people; a browser that fetches ahead is nobody yet.
            ahead = {"Sec-Purpose": "prefetch"} if address.startswith(("/l/", "/p/", "/j/")) else {}
            response = reader.client.get(address, headers=ahead)
            assert response.status_code < 500, (address, response.get_data(as_text=True)[:2_000])
            assert response.status_code != 404, f"{address} leads nowhere"
            visited += 1
            found: set[str] = set()
            if response.status_code in (301, 302, 303, 307, 308):
                found = read(address, 0, f'<a href="{response.location}">').internal()
            elif response.mimetype == "text/html":
                found = read(address, response.status_code, response.get_data(as_text=True)).internal()
            for one in sorted(found - known):
                known.add(one)
                waiting.append(one)
    return visited
