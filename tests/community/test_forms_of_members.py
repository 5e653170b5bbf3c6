"""Forms of members that are sent twice: pressed twice without script, or again because the answer was lost on the way."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pytest
from flask.testing import FlaskClient
from PIL import Image
from sqlalchemy import Select, func, select

from community.conversations import ports
from community.conversations.models import Conversation, Message, Sender
from community.conversations.rules import Asked, Band, Choice, Reply, Welcome
from community.posts import services as posts
from community.posts.models import Comment, MemberPosts, Post
from community.tickets import services as tickets
from community.tickets.models import EntryKind, Ticket, TicketEntry, TicketKind, TicketSource, TicketStep
from kernel import links
from kernel.auth import Role
from kernel.idempotency import IdempotencyRecord
from membership.gifts import services as gifts
from membership.gifts.models import GiftKind
from tests.campaigns.test_two_tabs import Sent
from tests.community.posts.conftest import draft, make_group, make_member, published
from tests.conftest import bind, english

__all__ = ["draft", "make_group", "make_member", "published"]
DONE = "This had been sent before"


def form_with(page: str, *names: str) -> dict[str, Any]:
    """What the first form of a page that carries a key and has these fields sends as it stands."""
    reader = Sent()
    reader.feed(page)
    found = next(form for form in reader.forms if {"once", *names} <= form.keys())
    return {name: values[0] if len(values) == 1 else values for name, values in found.items()}


@pytest.fixture
def phone(app: Any, db: Any) -> Callable[..., FlaskClient]:
    return lambda member, identified=True: bind(english(app.test_client()), member.id, identified)


@pytest.fixture
def cards(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bot that offers two cards, and answers everything with two choices."""
    for port in (ports.answer, ports.welcome, ports.suggest):
        monkeypatch.setattr(port, "_answers", [])
    offered = (Choice("parcel", "Where is my parcel?"), Choice("return", "How do I send it back?"))
    ports.welcome.fill(lambda locale: Welcome("Hello", offered))

    def answer(asked: Asked) -> Reply:
        return Reply(Band.OFFER, "Which of these?", offered)

    ports.answer.fill(answer)


def picture() -> tuple[io.BytesIO, str]:
    file = io.BytesIO()
    Image.new("RGB", (40, 30), "teal").save(file, "PNG")
    file.seek(0)
    return file, "cup.png"


def test_form_sent_twice_makes_one_thing(
    db: Any, phone: Any, cards: None, make_member: Any, make_group: Any, published: Any
) -> None:
    ann = make_member("Ann")
    mine, group = phone(ann), make_group("Tea", members=[ann])
    posts.set_voice(group.id, True, MemberPosts.OPEN)
    post = f"/groups/{group.public_id}/posts/{links.make('post', published(group).id, group.id)}"
    ticket = tickets.open_ticket(tickets.Opening(ann.id, TicketKind.RETURN, text="Torn", source=TicketSource.MEMBER))
    db.session.commit()
    own = select(Message.id).where(Message.sender == Sender.MEMBER)
    written = select(TicketEntry.id).where(TicketEntry.kind == EntryKind.CUSTOMER)
    steps = select(TicketStep.ticket_id).where(TicketStep.done_at.is_not(None))
    home = f"/tickets/{ticket.public_id}"
    moved = {"body": "It moved", "ask_right_address": "Sample Road 2"}
    forms: list[tuple[str, str, tuple[str, ...], dict[str, Any], Any]] = [
        (post, f"{post}/comments", ("body",), {"body": "Eighty degrees"}, Comment),
        (f"/groups/{group.public_id}/write", "", ("body",), {"body": "My own way", "file": picture}, Post),
        ("/tickets/new/wrong_address", "", ("body",), moved, Ticket),
        (home, f"{home}/messages", ("body",), {"body": "And?", "pictures": picture}, written),
        (home, f"{home}/steps/reason", (), {"ask_why": "broken"}, steps),
        ("/ask", "", (), {"picked": "parcel"}, own),
        ("/ask", "", (), {"picked": "return"}, own),
        ("/ask", "", ("words",), {"words": "Where is it?", "picture": picture}, own),
    ]
    for shown, to, names, typed, table in forms:
        form, url = form_with(mine.get(shown).text, *names), to or shown
        count = select(func.count()).select_from((table if isinstance(table, Select) else select(table.id)).subquery())
        before = db.session.scalar(count)

        def send(form: dict[str, Any] = form | typed, url: str = url, **more: str) -> Any:
            return mine.post(url, data={k: v() if callable(v) else v for k, v in (form | more).items() if v != ""})

        # What was refused is not done: the form keeps its key and may be sent again.
        if "body" in names:
            refused = send(**{name: " " if name == "body" else "" for name in typed})
            if refused.status_code == 422:
                assert form_with(refused.text, "body")["once"] == form["once"], url
        answers = [send(), send()]
        assert [one.status_code for one in answers] == [303, 303], (url, answers[0].text[:3000])
        assert answers[1].location == answers[0].location, url
        assert DONE in mine.get(answers[1].location.split("#")[0]).text, url
        assert db.session.scalar(count) == before + 1, url
        # Gone back to and written otherwise, it is meant.
        if "body" in names:
            assert send(body="Something else").status_code == 303, url
            assert db.session.scalar(count) == before + 2, url


def test_browser_that_lost_the_answer_finds_what_it_made(
    app: Any, db: Any, phone: Any, cards: None, make_member: Any
) -> None:
    """What was made was kept by the cookie of an answer that never arrived: sent again, the form leads there all the same."""
    ann, bob = make_member("Ann"), make_member("Bob")
    forms = {
        "/tickets/new/wrong_address": {"body": "It moved", "ask_right_address": "Sample Road 2"},
        "/ask": {"words": "Where is it?"},
    }
    for url, typed in forms.items():
        mine, again, other = phone(ann, identified=False), phone(ann, identified=False), phone(bob, identified=False)
        form = form_with(mine.get(url).text, next(iter(typed))) | typed
        there = mine.post(url, data=form).location
        assert again.post(url, data=form).location == there, url
        page = again.get(there)
        assert page.status_code == 200, url
        assert DONE in page.text, url
        assert next(iter(typed.values())) in page.text, url
        # The key is the sender's own: the same one in somebody else's hands opens and stops nothing.
        answer = other.post(url, data=form)
        assert answer.status_code == 303, url
        assert DONE not in other.get(answer.location).text, url
    for table, column in ((Ticket, Ticket.member_id), (Conversation, Conversation.member_id)):
        assert sorted(db.session.scalars(select(column).select_from(table))) == [ann.id, bob.id]


def test_gift_goes_where_it_was_last_told_to(db: Any, phone: Any, make_member: Any) -> None:
    ann = make_member("Ann")
    claim = gifts.offer_gift(gifts.create(gifts.Draft("Cup", GiftKind.PHYSICAL, stock=3)).id, ann.id, "hand:1")
    assert claim is not None
    path, mine = gifts.path_of(claim), phone(ann)
    db.session.commit()
    mine.post(path)
    first = form_with(mine.get(path).text, "address") | {"recipient": "Ann", "phone": "12600001234"}
    old, new = "Hangzhou, Sample Road 1", "Hangzhou, Sample Road 2"
    assert mine.post(f"{path}/address", data=first | {"address": ""}).status_code == 422
    assert mine.post(f"{path}/address", data=first | {"address": old}).status_code == 303
    second = form_with(mine.get(path).text, "address") | {"address": new}
    assert mine.post(f"{path}/address", data=second).status_code == 303
    # The first form comes once more, late, and after the parcel has left.
    for _time in range(2):
        assert mine.post(f"{path}/address", data=first | {"address": old}).status_code == 303
        assert DONE in mine.get(path).text
        assert gifts.get_claim(claim.id, lock=True).address == new
        if claim.shipped_at is None:
            gifts.ship(claim.id, "SF", "SF1")
            db.session.commit()


def test_browser_of_a_colleague_who_is_a_member_too_is_told_apart_by_the_page(
    db: Any, staff_client: Any, make_member: Any
) -> None:
    ann, browser = make_member("Ann"), english(staff_client(Role.OWNER))
    bind(browser, ann.id, identified=True)
    form = form_with(browser.get("/ask").text, "words") | {"words": "Is it open?"}
    assert [browser.post("/ask", data=form).status_code for _time in range(2)] == [303, 303]
    (record,) = db.session.scalars(select(IdempotencyRecord))
    assert record.route == f"/ask member {ann.id}"
    reward = form_with(browser.get("/console/gifts/new").text, "name")
    typed = {"name": "Cup", "kind": "physical", "stock": "5", "value": "1", "claim_days": "14", "active": "y"}
    assert browser.post("/console/gifts/new", data=reward | typed).status_code == 302
    assert sum("member" in route for route in db.session.scalars(select(IdempotencyRecord.route))) == 1
