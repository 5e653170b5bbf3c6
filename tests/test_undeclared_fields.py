"""Check A4: whatever a form or a call carries beside its own fields changes nothing.

Each writing request is sent twice from the same state, once as its page sends it and once with every column of every table
and twenty words of an attacker beside it; the tables must hold the same afterwards.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask, request
from flask.testing import FlaskClient
from sqlalchemy import Connection, text

from community.groups import services as groups
from community.groups.models import GroupKind, GroupState
from kernel import api_keys
from kernel.auth import Role
from kernel.db import db as database
from membership.gifts import services as gifts
from membership.gifts.models import Gift, GiftKind
from membership.members import services as members
from membership.members.models import Channel, Member
from tests.conftest import bind

from .conftest import settle

UNKNOWN = (
    "is_admin", "admin", "role", "owner_id", "tenant_id", "shop_id", "permissions", "scopes", "price", "total", "__class__",
    "constructor", "_method", "state[]", "consent_marketing", "verified", "balance", "created", "version", "csrf",
)  # fmt: skip
# What is random by design differs between any two runs.
RANDOM = {"token", "token_hash", "public_id", "code", "key", "hint", "password_hash", "secret", "nonce"}


@pytest.fixture
def person(db: Any) -> Member:
    found, _made = members.find_or_make(
        [(Channel.SHOP, "a4"), (Channel.PHONE, "+8612600000044")], "青柠", source="shop"
    )
    return found


@pytest.fixture
def places(db: Any, person: Member) -> dict[str, int]:
    """The numbers that addresses below are filled in with."""
    gift = gifts.create(gifts.Draft("Tea", GiftKind.PHYSICAL, stock=9))
    claim = gifts.offer_gift(gift.id, person.id, "tier:1")
    assert claim is not None
    gifts.claim(claim.id, person.id, "青柠", "12600000044", "杭州市西湖区样例路一号")
    group = groups.create(GroupKind.REGULAR, groups.GroupDraft(name="Tea friends", capacity=50))
    groups.change_state(group, GroupState.OPEN)
    db.session.flush()
    return {"member": person.id, "gift": gift.id, "claim": claim.id, "group": group.id}


GIFT = {"name": "Cup", "kind": "physical", "stock": "5", "value": "1.00", "claim_days": "14", "active": "y"}
GROUP = {
    "kind": "regular", "name": "Readers", "capacity": "100", "seats_each": "50", "hold_minutes": "10",
    "invite_hours": "24", "mode": "all", "rank": "0", "successor_id": "0", "welcome_gift_id": "0",
}  # fmt: skip
STAFF = {"name": "Lime", "role": "viewer", "email": "lime@shop.example", "password": "long enough 1", "signature": ""}
WRITES: list[tuple[str, dict[str, str]]] = [
    ("/console/gifts/new", GIFT),
    ("/console/gifts/{gift}/edit", GIFT),
    ("/console/gift-claims/{claim}/ship", {"carrier": "Sample", "tracking_number": "SF1"}),
    ("/console/gift-claims/{claim}/cancel", {"cancel-reason": "called off"}),
    ("/console/members/{member}/notes", {"body": "Likes tea"}),
    ("/console/members/{member}/tags", {"name": "tea"}),
    ("/console/members/{member}/rights", {"channel": "email", "wish": "give", "told": "call"}),
    ("/console/groups/new?kind=regular", GROUP),
    ("/console/groups/{group}/announcement", {"announcement": "Hello"}),
    ("/console/groups/{group}/links", {"name": "Poster", "source": "shop window"}),
    ("/console/staff/new", STAFF),
]


def extras() -> dict[str, str]:
    """Every column of every table, and words that other systems have listened to."""
    names = {column.name for table in database.metadata.tables.values() for column in table.columns}
    return dict.fromkeys(sorted(names | set(UNKNOWN)), "1")


def contents() -> dict[str, list[str]]:
    """The rows of every table without what is random and without sessions and times of use."""
    found = {}
    for table in database.metadata.sorted_tables:
        if table.name in {"staff_session", "visitor_session", "idempotency_record", "alembic_version"}:
            continue
        rows = database.session.execute(text(f'SELECT to_jsonb(t) FROM "{table.name}" t')).scalars()
        found[table.name] = sorted(
            json.dumps({k: v for k, v in row.items() if k not in RANDOM and not k.endswith("_hash")}, sort_keys=True)
            for row in rows
        )
    return found


def after(act: Callable[[], Any]) -> tuple[int, dict[str, list[str]]]:
    """What an act answers and what the tables hold after it; everything is as before afterwards, sequences too."""
    settle()
    connection = database.session.get_bind()
    assert isinstance(connection, Connection)
    database.session.remove()
    sequences = connection.execute(
        text("SELECT schemaname || '.' || sequencename AS name, last_value FROM pg_sequences")
    ).all()
    nested = connection.begin_nested()
    status = act().status_code
    settle()
    found = contents()
    database.session.remove()
    nested.rollback()
    for name, last in sequences:
        connection.execute(
            text("SELECT setval(:name, :last, :called)"), {"name": name, "last": last or 1, "called": bool(last)}
        )
    return status, found


def differing(one: dict[str, list[str]], other: dict[str, list[str]]) -> dict[str, Any]:
    return {name: (one[name], other[name]) for name in one if one[name] != other[name]}


@pytest.mark.parametrize(("address", "fields"), WRITES, ids=[address for address, _fields in WRITES])
def test_check_a4_forms_read_their_own_fields_alone(
    db: Any,
    staff_client: Callable[..., FlaskClient],
    places: dict[str, int],
    clock: Any,
    address: str,
    fields: dict[str, str],
) -> None:
    browser, path = staff_client(Role.OWNER), address.format(**places)
    settle()
    before = contents()
    status, plain = after(lambda: browser.post(path, data=fields))
    assert status in (302, 303), f"{path} is answered with {status}: the check would compare nothing"
    assert differing(before, plain), f"{path} writes nothing"
    added = {name: value for name, value in extras().items() if name not in fields and name not in own_fields(address)}
    again, stuffed = after(lambda: browser.post(path, data={**added, **fields}))
    assert again == status
    assert differing(plain, stuffed) == {}


def own_fields(address: str) -> set[str]:
    """Fields that a page has and that were left empty on purpose: filling them is the page's own business."""
    return {
        "/console/gifts/new": {"description", "picture", "file", "drop_picture"},
        "/console/gifts/{gift}/edit": {"description", "picture", "file", "drop_picture"},
        "/console/groups/new?kind=regular": {
            "intro", "announcement", "welcome_post", "cover", "opens_at", "closes_at", "open_to_new", "spend", "orders",
            "sku", "tag", "password", "invitation",
        },
        "/console/groups/{group}/links": {"staff_id"},
        "/console/staff/new": {"voice"},
    }.get(address, set())  # fmt: skip


def test_check_a4_members_cannot_raise_themselves(
    app: Flask, db: Any, person: Member, phone_of: Any, clock: Any
) -> None:
    browser = phone_of(person)
    fields = {"name": "Lime", "birthday": "", "hobbies": "tea", "city": "", "address": "", "locale": "zh_Hans"}
    settle()
    status, plain = after(lambda: browser.post("/me/profile", data=fields))
    assert status in (302, 303)
    added = {name: value for name, value in extras().items() if name not in fields and name not in {"before"}}
    again, stuffed = after(lambda: browser.post("/me/profile", data={**added, **fields}))
    assert again == status
    assert differing(plain, stuffed) == {}


@pytest.fixture
def phone_of(app: Flask, db: Any) -> Callable[[Member], FlaskClient]:
    """A phone that has proved whose it is."""

    def make(person: Member) -> FlaskClient:
        return bind(app.test_client(), person.id, identified=True)

    return make


ORDER = {
    "source": "shop", "order": "A4-1", "state": "paid", "placed_at": "2026-03-01T10:00:00+08:00",
    "paid_at": "2026-03-01T10:01:00+08:00", "paid_amount": 12800, "lines": [],
}  # fmt: skip


def test_check_a4_rest_refuses_what_it_does_not_know(app: Flask, db: Any, clock: Any) -> None:
    _key, token = api_keys.create("a4", ["orders:write"])
    settle()
    headers = {"Authorization": f"Bearer {token}"}
    client = app.test_client()
    before = contents()
    wrong = []
    for name in extras():
        if name in ORDER:
            continue
        answer = client.post("/api/v1/orders", json={**ORDER, name: 1}, headers=headers)
        if answer.status_code not in (400, 422):
            wrong.append((name, answer.status_code))
    declared = {name for name, _status in wrong}
    # Fields that an order does have are taken or judged on their own.
    assert declared <= {"external_id", "order_no", "postage", "discount", "refunded_amount"}, declared
    assert {name: rows for name, rows in contents().items() if name == "member"} == {"member": before["member"]}


def test_check_a4_has_teeth(
    db: Any,
    staff_client: Callable[..., FlaskClient],
    places: dict[str, int],
    clock: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A service that copied whatever the request carries would be found."""
    create = gifts.create

    def copying(draft: gifts.Draft) -> Gift:
        gift = create(draft)
        if "created_at" in request.form:
            gift.created_at -= timedelta(days=1)
        return gift

    monkeypatch.setattr("membership.gifts.console.services.create", copying)
    browser = staff_client(Role.OWNER)
    own = own_fields("/console/gifts/new")
    added = {name: value for name, value in extras().items() if name not in GIFT and name not in own}
    _status, plain = after(lambda: browser.post("/console/gifts/new", data=GIFT))
    _again, stuffed = after(lambda: browser.post("/console/gifts/new", data={**added, **GIFT}))
    assert set(differing(plain, stuffed)) == {"gift"}
