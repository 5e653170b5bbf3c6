"""What a message says and where its links lead."""

from __future__ import annotations

import random
import re
from datetime import timedelta
from typing import Any

import pytest

from campaigns.channels.models import InboxMessage
from campaigns.pushes import jobs, message, rules, services
from campaigns.pushes.models import Push
from campaigns.results import letters
from campaigns.results import services as results
from campaigns.results.models import ReportPlan, Rhythm
from kernel import clock, links, shop
from membership.members.models import Contact
from membership.products.models import Product
from tests.conftest import bind, english

PAYLOADS = [
    "{{7*7}}",
    "{0.__class__}",
    "%(x)s",
    "${7*7}",
    "{nickname}",
    "{{ config }}",
    "<%= 7*7 %>",
    "#{7*7}",
    "{%x%}",
]


@pytest.fixture(autouse=True)
def noon_with_nobody_held_out(db: Any, clock: Any) -> None:
    shop.put("holdout.percent", 0)


def sent(db: Any) -> list[InboxMessage]:
    return list(db.session.query(InboxMessage).order_by(InboxMessage.id))


def go(run: Any, run_jobs: Any) -> None:
    services.schedule(run)
    jobs.wake.direct()
    run_jobs()


def test_check_d3_payloads_are_printed_literally(db: Any, make_member: Any, make_push: Any, run_jobs: Any) -> None:
    """In a name, and in a text where they are no placeholder; 1,000 of them, and none is read as anything."""
    chance = random.Random(3)
    people = []
    for n in range(1_000):
        payload = chance.choice(PAYLOADS) + "".join(chance.choices("{}%$()_.*|abc7", k=chance.randint(0, 12)))
        people.append((make_member(payload.strip() or f"P{n}", consents=(Contact.INBOX,)), payload.strip()))
    _push, run = make_push(subject="Hi {nickname}", body="%(x)s ${{7*7}} costs 7 % – {nickname}")
    go(run, run_jobs)
    told = {m.member_id: m for m in sent(db)}
    assert len(told) == 1_000
    for person, name in people:
        shown = rules.one_line(name)
        assert told[person.id].title == rules.one_line(f"Hi {shown}")
        assert told[person.id].body == f"%(x)s ${{7*7}} costs 7 % – {shown}"


@pytest.mark.parametrize("payload", ["{0.__class__}", "{x}", "{nickname.upper}", "{nickname!r}", "{", "}", "{{{x}}}"])
def test_check_d3_what_is_no_placeholder_blocks_saving(payload: str) -> None:
    with pytest.raises(rules.PlaceholderUnknown):
        rules.check(payload, True, True)


def test_members_read_their_language(db: Any, make_member: Any, make_push: Any, run_jobs: Any) -> None:
    lime, plum = make_member("Lime", locale="zh_Hans"), make_member("Plum", locale="en")
    _push, run = make_push(subject="你好 {nickname}", body="茶", subject_en="Hello {nickname}", body_en="Tea")
    go(run, run_jobs)
    assert {(m.member_id, m.title, m.body) for m in sent(db)} == {
        (lime.id, "你好 Lime", "茶"),
        (plum.id, "Hello Plum", "Tea"),
    }


def test_addresses_in_a_text_are_counted_and_marked(db: Any, make_member: Any, make_push: Any, run_jobs: Any) -> None:
    make_member("Lime")
    utm = {"source": "siyu", "campaign": "茶"}
    _push, run = make_push(
        body="See https://shop.example/tea?a=1, or https://shop.example/new?utm_source=own. {nickname}", utm=utm
    )
    go(run, run_jobs)
    body = sent(db)[0].body
    tokens = re.findall(r"/l/([\w.-]*[\w-])", body)
    assert "shop.example" not in body
    assert len(tokens) == 2
    assert results.visit(tokens[0], counted=True) == (
        "https://shop.example/tea?a=1&utm_source=siyu&utm_campaign=%E8%8C%B6"
    )
    assert results.visit(tokens[1], counted=False) == ("https://shop.example/new?utm_source=own&utm_campaign=%E8%8C%B6")
    assert services.deliveries_of(run.id)[0].clicked_at is not None


def test_what_a_member_is_called_is_never_made_a_link(db: Any, make_member: Any, make_push: Any, run_jobs: Any) -> None:
    make_member("https://evil.example/x")
    _push, run = make_push(body="Dear {nickname} !")
    go(run, run_jobs)
    assert sent(db)[0].body == "Dear https://evil.example/x !"


def test_an_sms_keeps_addresses_as_they_are(db: Any, make_push: Any) -> None:
    push, _run = make_push(body="https://shop.example/tea")
    found = message.wording(push, 1, Contact.SMS, None, None)
    assert found.message(message.Example(1, 1, "Lime", 0, "en", "+8613800138000")).body == "https://shop.example/tea"
    found = message.wording(push, 1, Contact.INBOX, None, None)
    assert found.message(message.Example(1, 1, "Lime", 0, "en", "")).body.startswith(links.absolute("/l/"))


@pytest.mark.parametrize("text", ["https://shop.example/{nickname}", "{tier}https://shop.example/"])
def test_an_address_and_a_placeholder_keep_apart(text: str) -> None:
    with pytest.raises(rules.LinkBroken):
        rules.check(text, False, False)


def test_a_link_that_the_push_does_not_hold_leads_home(db: Any, make_push: Any) -> None:
    push = Push(subject="", body="", link_url=None, variants=[], utm={})
    assert message.destination(push, "u000000000000") is None
    push.link_url = "/me/"
    assert message.destination(push, message.LINK) == "/me/"


def test_products_stand_below_the_text_with_their_pictures(
    db: Any, client: Any, make_member: Any, make_order: Any, make_push: Any, run_jobs: Any
) -> None:
    lime = make_member("Lime")
    make_order(lime, sku="T1", title="Green tea")
    product = db.session.query(Product).one()
    product.list_price, product.picture = 3_900, "demo/shelf.webp"
    cards = [
        {"product_id": product.id, "url": "https://shop.example/t1"},
        {"product_id": 0, "url": "https://x.example"},
    ]
    _push, run = make_push(cards=cards, stop_when_bought=False)
    go(run, run_jobs)
    (told,) = sent(db)
    (card,) = told.cards
    assert (card["title"], card["price"], card["picture"]) == ("Green tea", "¥39.00", "demo/shelf.webp")
    assert card["url"] not in told.body
    bind(client, lime.id)
    page = client.get("/me/messages").text
    assert card["url"] in page
    assert "img/demo/shelf" in page
    assert results.visit(card["url"].split("/l/")[1], counted=True) == "https://shop.example/t1"


@pytest.mark.parametrize("contact", message.CONSTANT_LINKS)
def test_a_text_goes_out_without_products_so_that_it_stays_as_it_is_approved(
    db: Any, make_member: Any, make_order: Any, make_push: Any, contact: Contact
) -> None:
    make_order(make_member("Lime"), sku="T1", title="Green tea")
    card = {"product_id": db.session.query(Product).one().id, "url": "https://shop.example/t1"}
    push, _run = make_push(body="A new tea is here.", cards=[card])
    someone = message.Example(1, 1, "Lime", 0, "en", "+8613800138000")
    assert message.wording(push, 1, contact, None, None).message(someone).text == "A new tea is here."
    written = message.wording(push, 1, Contact.EMAIL, None, None).message(someone)
    # In words too, and above the way out.
    assert re.search(r"A new tea is here\.\n\nGreen tea\nhttp\S+/l/\S+\n\n.+\nhttp\S+/u/", written.text)


def test_clicks_are_counted_where_a_link_is_the_members_own(
    db: Any, owner_client: Any, make_member: Any, make_push: Any, run_jobs: Any
) -> None:
    def counts(contact: Contact, **fields: Any) -> bool:
        return message.counts_clicks(Push(**({"subject": "Tea", "body": "Water at 85 degrees"} | fields)), contact)

    card = {"product_id": 1, "url": "https://shop.example/tea"}
    own: list[dict[str, Any]] = [
        {"offer_id": 1}, {"link_url": "/me/"}, {"cards": [card]}, {"body": "See https://shop.example/tea"},
        {"variants": [{"subject": "Tea", "body": "Or https://shop.example/tea", "share": 50}]},
    ]  # fmt: skip
    assert not counts(Contact.INBOX)
    assert all(counts(Contact.EMAIL, **fields) for fields in own)
    # A text message keeps its addresses as they are; only the way to the coupon is the member's own.
    assert not any(counts(Contact.SMS, **fields) for fields in own)
    assert counts(Contact.SMS, offer_id=1, body="Take it: {coupon_link}")

    make_member("Lime")
    pages = []
    other = {"subject": "Or tea", "body": "Water at 80 degrees", "share": 50}
    for fields in ({}, {"link_url": "/me/"}):
        push, run = make_push(variants=[other], **fields)
        go(run, run_jobs)
        pages += [english(owner_client).get(url).text for url in (
            f"/console/pushes/{push.id}", f"/console/results/runs/{run.id}", f"/console/results/runs/{run.id}.csv",
        )]  # fmt: skip
    said = ["no link of the member" in page or ("Clicked" not in page and page.startswith("\ufeff")) for page in pages]
    assert said == [True, True, True, False, False, False]
    # Nor are clicks that nobody could make counted by wording.
    column = r'</small></th><td class="num">\d+</td><td class="num">(.)|data-label="Clicked">(.)'
    by_wording = [[a or b for a, b in re.findall(column, page)] for page in (*pages[:2], *pages[3:5])]
    assert by_wording == [["–", "–"], ["–", "–"], ["0", "0"], ["0", "0"]]
    plan = ReportPlan(name="W", rhythm=Rhythm.WEEKLY, locale="en", staff_ids=[], account_id=0, created_at=clock.now())
    letter = letters.compose(plan, clock.today(), clock.today() + timedelta(days=1))
    assert sorted(re.findall(r"sent, (.) clicked", letter.body)) == ["0", "–"]
