"""Check A3: a member's browser reaches nothing of another member, whatever it puts into path, query or body.

Two members hold one of everything, told apart by canaries. The first one's browser opens every page that it can be led to,
and then sends the second one's numbers and tokens to every address of the portal.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest
from flask import Flask, request
from flask.testing import FlaskClient
from sqlalchemy import select, text

from campaigns.channels import services as channels
from community.conversations import services as conversations
from community.conversations.models import Conversation
from community.groups import services as groups
from community.groups.models import Group, GroupKind, GroupState
from community.tickets import services as tickets
from community.tickets.models import Ticket, TicketKind, TicketSource
from kernel import clock as kernel_clock
from kernel import links, visitors
from kernel.auth import policy_of
from membership.coupons import services as coupons
from membership.coupons.models import Coupon, CouponKind, OfferState
from membership.gifts import services as gifts
from membership.gifts.models import GiftClaim, GiftKind
from membership.members import services as members
from membership.members.models import Channel, Contact, Member
from membership.orders import services as orders
from membership.orders.formats.drafts import Buyer, LineDraft, OrderDraft
from membership.orders.models import OrderState
from tests.conftest import bind, english

from .test_undeclared_fields import contents

CANARIES = {"first": "青鸟", "second": "玄鱼"}
NUMBERS = {"first": "1111", "second": "9753"}


def furnish(db: Any, which: str, group: Group, offer_id: int, gift_id: int) -> Member:
    """A member with an order, a coupon, a gift under way, a seat, a ticket, a conversation and a message, each with the canary."""
    canary, tail = CANARIES[which], NUMBERS[which]
    person, _made = members.find_or_make(
        [(Channel.SHOP, f"buyer-{which}"), (Channel.PHONE, f"+861260000{tail}"), (Channel.EMAIL, f"{which}@example.com")],
        f"{canary}先生", source="shop",
    )  # fmt: skip
    person.nickname, person.address, person.enrolled_at = canary, f"{canary}路三号", kernel_clock.now()
    db.session.flush()
    placed = kernel_clock.now() - timedelta(days=20)
    orders.record(
        "shop",
        OrderDraft(
            external_id=f"{canary}-{tail}",
            buyer=Buyer(number=f"buyer-{which}"),
            state=OrderState.DELIVERED,
            placed_at=placed,
            version_at=placed + timedelta(days=3),
            paid_at=placed,
            delivered_at=placed + timedelta(days=3),
            paid_amount=12_345,
            lines=(LineDraft(sku=f"S-{which}", title=f"{canary}杯", quantity=1, unit_price=12_345),),
        ),
    )
    coupons.grant(offer_id, person.id, f"a3:{which}", "hand")
    claim = gifts.offer_gift(gift_id, person.id, "tier:1")
    assert claim is not None
    gifts.claim(claim.id, person.id, f"{canary}收", f"1260000{tail}", f"{canary}市样例区样例路九号")
    groups.join(group.id, person.id, together=True)
    complaint = tickets.Opening(person.id, TicketKind.COMPLAINT, f"{canary}的投诉", source=TicketSource.MEMBER)
    tickets.open_ticket(complaint)
    conversations.ask(person.id, f"{canary}来问一句")
    channels.put_into_inbox(person.id, f"a3:{which}", "service", f"{canary}的消息", f"只给{canary}看")
    return person


@pytest.fixture
def two(app: Flask, db: Any, clock: Any) -> dict[str, Member]:
    offer = coupons.create(
        coupons.Draft(name="Spring", kind=CouponKind.AMOUNT, value=2000, valid_days=14), OfferState.ACTIVE
    )
    gift = gifts.create(gifts.Draft("Tea", GiftKind.PHYSICAL, stock=9))
    found = {}
    for which in CANARIES:
        group = groups.create(GroupKind.REGULAR, groups.GroupDraft(name=f"{CANARIES[which]}群", capacity=50))
        groups.change_state(group, GroupState.OPEN)
        found[which] = furnish(db, which, group, offer.id, gift.id)
    return found


@pytest.fixture
def browser_of(app: Flask, db: Any) -> Callable[[Member], FlaskClient]:
    """A phone that has proved whose it is."""

    def make(person: Member) -> FlaskClient:
        return bind(english(app.test_client()), person.id, identified=True)

    return make


def readable(answer: Any) -> str:
    """What a page says, without the random texts in its addresses and tokens."""
    return re.sub(r"<[^>]+>", " ", answer.get_data(as_text=True))


def crawl(browser: FlaskClient, start: list[str], most: int = 200) -> dict[str, str]:
    """Every page of the portal that is reached by following links, with what it says."""
    waiting = list(start)
    seen: dict[str, str] = {}
    while waiting and len(seen) < most:
        path = waiting.pop(0)
        if path in seen or path.startswith(("/console", "/static", "/pictures")):
            continue
        answer = browser.get(path)
        assert answer.status_code < 500, path
        seen[path] = readable(answer)
        targets = re.findall(r'href="([^"#]+)', answer.get_data(as_text=True))
        if answer.status_code in (301, 302, 303):
            targets.append(answer.headers["Location"])
        for target in targets:
            parts = urlsplit(target.replace("&amp;", "&"))
            if not parts.netloc and parts.path.startswith("/"):
                waiting.append(parts.path + (f"?{parts.query}" if parts.query else ""))
    return seen


def pages_of_portal(app: Flask) -> list[str]:
    """The addresses without a variable part that members may open."""
    return [
        rule.rule
        for rule in app.url_map.iter_rules()
        if "GET" in (rule.methods or ())
        and not rule.arguments
        and (policy := policy_of(app.view_functions[rule.endpoint])) is not None
        and policy.kind == "member"
    ]


def test_check_a3_a_members_pages_hold_their_own_things_alone(
    app: Flask, db: Any, two: dict[str, Member], browser_of: Any
) -> None:
    for mine, theirs in (("first", "second"), ("second", "first")):
        said = crawl(browser_of(two[mine]), pages_of_portal(app))
        assert len(said) >= 10
        together = " ".join(said.values())
        # The crawl has seen what it should see, so that not seeing the other's means something.
        assert CANARIES[mine] in together
        assert {path for path, words in said.items() if CANARIES[theirs] in words} == set()
        for phone in (f"****{NUMBERS[theirs]}", f"1260000{NUMBERS[theirs]}"):
            assert {path for path, words in said.items() if phone in words} == set()


def foreign_values(db: Any, owner: Member) -> dict[str, str]:
    """What the other member's things are called, under every name that a field might have."""
    coupon = db.session.scalars(select(Coupon).where(Coupon.member_id == owner.id)).one()
    claim = db.session.scalars(select(GiftClaim).where(GiftClaim.member_id == owner.id)).one()
    numbers = {"member": owner.id, "member_id": owner.id, "id": owner.id, "user_id": owner.id, "owner": owner.id}
    numbers |= {"coupon": coupon.id, "coupon_id": coupon.id, "gift_id": claim.gift_id, "claim_id": claim.id}
    numbers |= {"order_id": db.session.scalar(text('SELECT id FROM "order" WHERE member_id = :m'), {"m": owner.id})}
    return {name: str(value) for name, value in numbers.items()} | {"code": coupon.code, "phone": owner.phone or ""}


def test_check_a3_their_numbers_in_query_and_body_lead_nowhere(
    app: Flask, db: Any, two: dict[str, Member], browser_of: Any
) -> None:
    browser = browser_of(two["first"])
    values = foreign_values(db, two["second"])
    tried = 0
    for path in pages_of_portal(app):
        for name, value in values.items():
            answer = browser.get(path, query_string={name: value})
            tried += 1
            assert answer.status_code < 500, path
            words = readable(answer)
            assert CANARIES["second"] not in words, (path, name)
            assert f"****{NUMBERS['second']}" not in words, (path, name)
    assert tried >= 80


def theirs_only(rows: dict[str, list[str]], person: Member) -> dict[str, list[str]]:
    """The rows that speak of a member: what nobody else's browser may change."""
    mark = f'"member_id": {person.id}'
    return {
        name: [row for row in found if mark in row and (mark + "," in row or mark + "}" in row)]
        for name, found in rows.items()
    } | {"member": [row for row in rows["member"] if f'"id": {person.id},' in row]}


def test_check_a3_posts_with_their_numbers_change_nothing_of_theirs(
    app: Flask, db: Any, two: dict[str, Member], browser_of: Any
) -> None:
    browser, owner = browser_of(two["first"]), two["second"]
    values = foreign_values(db, owner)
    claim = db.session.scalars(select(GiftClaim).where(GiftClaim.member_id == owner.id)).one()
    gift = gifts.path_of(claim).rsplit("/", 1)[1]
    other_group = db.session.scalars(select(Group).where(Group.name == f"{CANARIES['second']}群")).one()
    with app.test_request_context():
        unknown = links.make("probe", owner.id, 1)
    tokens = {"gift": gift, "unsubscribe": None, "other": unknown}
    named = {
        "tickets": db.session.scalars(select(Ticket.public_id).where(Ticket.member_id == owner.id)).one(),
        "ask": db.session.scalars(select(Conversation.public_id).where(Conversation.member_id == owner.id)).one(),
    }
    before = theirs_only(contents(), owner)
    tried = 0
    for rule in list(app.url_map.iter_rules()):
        policy = policy_of(app.view_functions[rule.endpoint])
        if policy is None or policy.kind not in ("member", "public") or "POST" not in (rule.methods or ()):
            continue
        if rule.rule.startswith(("/console", "/api", "/u/", "/hooks")) or "sign-out" in rule.rule:
            continue
        for token in filter(None, tokens.values()):
            public_id = named.get(rule.rule.split("/")[1], other_group.public_id)
            arguments: dict[str, Any] = {
                "token": token, "public_id": public_id, "channel": Contact.EMAIL.value, "key": "nothing",
            }  # fmt: skip
            path = rule.build({k: arguments.get(k, "1") for k in rule.arguments}, append_unknown=False)
            assert path is not None
            answer = browser.post(path[1], data=values)
            tried += 1
            assert answer.status_code < 500, path
            assert CANARIES["second"] not in readable(answer).replace(other_group.name, ""), path
    assert tried >= 30
    assert theirs_only(contents(), owner) == before


def test_check_a3_has_teeth(
    app: Flask, db: Any, two: dict[str, Member], browser_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page that shows whomever the address names would be found."""
    mine = visitors.member_id
    monkeypatch.setattr(
        visitors, "member_id", lambda identified=False: request.args.get("member", type=int) or mine(identified)
    )
    answer = browser_of(two["first"]).get("/me/", query_string={"member": two["second"].id})
    assert CANARIES["second"] in readable(answer)
