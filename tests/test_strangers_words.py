"""Check D1 by the doors that strangers have: what members type, what a file brings and what a web shop posts is shown as the
words that it is.

The same words stand in the database of a live shop in `tests/browser/planted.py`, where a browser looks at every page. Here
they come in by the forms, an order file and the orders API, and what is looked at is the text of the pages."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urlsplit

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import select
from werkzeug.exceptions import HTTPException
from werkzeug.routing import RequestRedirect

from community.conversations.models import Conversation
from community.groups import services as groups
from community.groups.models import Group, GroupKind, GroupState
from community.posts import services as posts
from community.posts.models import PostKind
from community.tickets.models import Ticket
from kernel import api_keys, links
from membership.gifts import services as gifts
from membership.gifts.models import GiftKind
from membership.members.models import Member
from tests.conftest import bind, english

from .membership.orders.files import line, text_of

# Leaves whatever a text may stand in, and brings an element along.
HOSTILE = "{}'\"></script></title></textarea><i data-planted>"
# Without a slash, before which a file's name is cut off.
NAME = "{}'\"><i data-planted>.csv"
# In texts with room for it: addresses that must not become links, of which some mark what is written there as suspicious.
LINKS = HOSTILE + " [x](javascript:ran()) <javascript:ran()> javascript:ran()//"
# The places that they are brought into.
MARKS = (
    "file-name", "file-number", "file-nickname", "file-title", "file-sku", "file-reject", "api-number", "api-nickname", "api-title",
    "my-name", "my-hobbies", "my-city", "my-address", "parcel-name", "parcel-address", "comment", "comment-with-links", "contribution",
    "complaint", "ticket", "ticket-entry", "ticket-note", "talk", "talk-note",
)  # fmt: skip
# Of these one has come by the file and one from the web shop.
MOST = {"members_console.show": 2, "orders_console.show": 2}
DEAD = re.compile(r"\s*(javascript|vbscript|data:text)", re.IGNORECASE)


class Reader(HTMLParser):
    """Reads a page as a browser does: what can be read there, and what hostile words have become."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.said: list[str] = []
        self.leads: list[str] = []
        self.alive: list[str] = []
        self.feed(page)
        self.close()

    def handle_data(self, data: str) -> None:
        self.said.append(data)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            self.said.append(value or "")
            if (tag, name) == ("a", "href"):
                self.leads.append(value or "")
            leads = name in ("href", "src", "action", "formaction", "data") and DEAD.match(value or "")
            if name == "data-planted" or leads:
                self.alive.append(self.get_starttag_text() or tag)


@pytest.fixture
def group(db: Any, clock: Any) -> Group:
    made = groups.create(GroupKind.REGULAR, groups.GroupDraft(name="茶友群", capacity=50))
    groups.change_state(made, GroupState.OPEN)
    return made


def by_file(owner: FlaskClient, run_jobs: Callable[[], list[str]]) -> None:
    """An order file whose every text is hostile, in one line of which the time cannot be read."""
    told = {"title": "file-title", "sku": "file-sku", "buyer_nickname": "file-nickname", "order_no": "file-number"}
    hostile = {column: HOSTILE.format(mark) for column, mark in told.items()}
    content = text_of([line(**hostile, buyer_phone="10023450001"), line(placed_at=HOSTILE.format("file-reject"))])
    sent = {"file": (io.BytesIO(content.encode()), NAME.format("file-name")), "source": "shop"}
    address = owner.post("/console/imports", data=sent | {"format": "auto"}).location
    assert owner.post(f"{address}/start").status_code == 303
    run_jobs()


def by_program(app: Flask) -> None:
    """An order of the web shop, of a buyer with a hostile name."""
    _key, token = api_keys.create("shop", ["orders:write"])
    order = {
        "source": "shop", "order": HOSTILE.format("api-number"), "state": "completed", "placed_at": "2026-02-01T10:00:00+08:00",
        "completed_at": "2026-02-10T10:00:00+08:00", "paid_amount": 10_000, "postage": 800,
        "buyer": {"id": "78", "phone": "10023450002", "nickname": HOSTILE.format("api-nickname")},
        "lines": [{"sku": "CUP-2", "title": HOSTILE.format("api-title"), "quantity": 1, "unit_price": 9_200}],
    }  # fmt: skip
    answer = app.test_client().post("/api/v1/orders", json=order, headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code == 201, answer.text


def by_hand(db: Any, phone: FlaskClient, member: Member, group: Group) -> None:
    """A member types into every form that takes words."""

    def send(path: str, expect: int = 303, **said: Any) -> None:
        answer = phone.post(path, data=said)
        assert answer.status_code in (302, expect), (path, Reader(answer.text).said)

    gift = gifts.create(gifts.Draft("Tea", GiftKind.PHYSICAL, stock=9))
    claim = gifts.offer_gift(gift.id, member.id, "tier:1")
    assert claim is not None
    post = posts.write(posts.Draft(PostKind.TIP, "白茶这样泡不涩", "水温八十五度。", None, "", "", (group.id,)))
    posts.publish_now(post.id)
    db.session.commit()

    send(
        "/me/profile", name=HOSTILE.format("my-name"), hobbies=HOSTILE.format("my-hobbies"),
        city=HOSTILE.format("my-city"), address=LINKS.format("my-address"), locale="en",
    )  # fmt: skip
    send(gifts.path_of(claim))
    send(
        f"{gifts.path_of(claim)}/address", recipient=HOSTILE.format("parcel-name")[:60], phone="10023450009",
        address=LINKS.format("parcel-address"),
    )  # fmt: skip
    groups.join(group.id, member.id, together=True)
    home = f"/groups/{group.public_id}"
    said = f"{home}/posts/{links.make('post', post.id, group.id)}/comments"
    send(said, body=HOSTILE.format("comment"))
    send(said, body=LINKS.format("comment-with-links"))
    send(f"{home}/write", body=LINKS.format("contribution"))
    send("/tickets/new/feedback", body=LINKS.format("ticket"))
    ticket = db.session.scalars(select(Ticket)).one()
    send(f"/tickets/{ticket.public_id}/messages", body=LINKS.format("ticket-entry"))
    send(f"/tickets/{ticket.public_id}/resolve")
    send(f"/tickets/{ticket.public_id}/rating", stars="1", note=LINKS.format("ticket-note"))
    send("/ask", words=LINKS.format("talk"))
    talk = db.session.scalars(select(Conversation)).one()
    send(f"/ask/{talk.public_id}/close")
    send(f"/ask/{talk.public_id}/stars", stars="1", note=LINKS.format("talk-note"))


def complain(phone: FlaskClient, group: Group) -> None:
    """Another member reports a word of the first, in hostile words of their own."""
    page = phone.get(f"/groups/{group.public_id}").text
    post = next(one for one in re.findall(r'href="([^"#]+)#comments"', page))
    found = re.search(r'href="(/report/[^"]+)"', phone.get(post).text)
    assert found, page
    answer = phone.post(found[1], data={"ground": "abuse", "note": LINKS.format("complaint")})
    assert answer.status_code == 303, answer.text


def walk(app: Flask, browser: FlaskClient, starts: list[str], inside: str) -> dict[str, Reader]:
    """A page of every kind that the links of others lead to, and two that show a member or an order, read."""
    known = app.url_map.bind("localhost")
    waiting, seen, often = list(starts), dict[str, Reader](), dict[str, int]()
    while waiting:
        address = waiting.pop(0)
        parts = urlsplit(address)
        try:
            kind = str(known.match(parts.path, method="GET")[0])
        except (HTTPException, RequestRedirect):
            continue
        if address in seen or often.get(kind, 0) >= MOST.get(kind, 1) or not re.match(inside, parts.path):
            continue
        answer = browser.get(address)
        assert answer.status_code < 500, address
        if answer.mimetype != "text/html":
            continue
        often[kind] = often.get(kind, 0) + 1
        seen[address] = Reader(answer.text)
        found = [urlsplit(one) for one in [*seen[address].leads, answer.location or ""]]
        waiting += [f"{one.path}?{one.query}" if one.query else one.path for one in found if one.path.startswith("/")]
    return seen


def test_check_d1_what_strangers_bring_in_is_words_wherever_it_is_shown(
    app: Flask, db: Any, group: Group, browse: Callable[..., FlaskClient], run_jobs: Callable[[], list[str]]
) -> None:
    owner = browse()
    by_file(owner, run_jobs)
    by_program(app)
    run_jobs()
    shopper, reader = (
        db.session.scalars(select(Member).where(Member.phone == phone)).one()
        for phone in ("+8610023450002", "+8610023450001")
    )
    phone, other = (bind(english(app.test_client()), one.id, identified=True) for one in (shopper, reader))
    by_hand(db, phone, shopper, group)
    groups.join(group.id, reader.id, together=True)
    complain(other, group)
    run_jobs()

    pages = walk(app, owner, ["/console/", "/console/audit", "/console/imports"], "/console/(?!sign-out)")
    theirs = walk(
        app, phone, ["/me/", f"/groups/{group.public_id}", "/ask", "/ask/past", "/tickets"], "/(?!console|static)"
    )
    alive = {address: page.alive for address, page in (pages | theirs).items() if page.alive}
    assert alive == {}
    together = " ".join(" ".join(page.said) for page in (pages | theirs).values())
    assert {mark for mark in MARKS if f"{mark}'" not in together} == set()
    assert (len(pages) > 120, len(theirs) > 20) == (True, True), (len(pages), len(theirs))


def test_a_page_that_believed_them_would_be_found() -> None:
    assert Reader(f"<p>{HOSTILE}</p>").alive == ["<i data-planted>"]
    assert Reader(f"<input value='{HOSTILE}'>").alive
    assert Reader(f"<textarea>{HOSTILE}</textarea>").alive
    assert Reader(f"<script>say('{HOSTILE}')</script>").alive
    assert Reader('<a href=" JavaScript:ran()">x</a>').alive
    assert not Reader("<p>&lt;i data-planted&gt; javascript:ran()</p>").alive
