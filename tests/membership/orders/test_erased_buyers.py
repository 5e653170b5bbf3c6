"""Check I4: an order of somebody who was erased comes once more, by file, by REST and as a push."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import func, select

from kernel import api_keys
from membership.members import queries as members
from membership.members import services as people
from membership.members.models import Consent, Contact, Member, MemberIdentity
from membership.members.services import erasure
from membership.orders import services
from membership.orders.feeds.signatures import Kind, signed_standard
from membership.orders.models import Order, OrderState
from membership.orders.services import connections

from .files import line, write

PHONE = "+8613800000077"
SECRET = "whsec_" + "YSBzZWNyZXQgb2YgdGhpcnR5LXR3byBieXRlcy4uLi4="
Again = Callable[[str], None]


@pytest.fixture(autouse=True)
def noon(clock):
    return clock


def by_file(tmp_path: Any, app: Any, clock: Any, run_jobs: Any) -> Again:
    def again(changed_at: str) -> None:
        rows = [line(order_no="A1", buyer_phone=PHONE, buyer_nickname="小满", updated_at=f"{changed_at} 10:00")]
        path = write(tmp_path / "orders.csv", rows)
        services.run_inline(path, "shop")
        run_jobs()

    return again


def told(changed_at: str) -> dict[str, Any]:
    return {
        "order": "A1",
        "state": "completed",
        "placed_at": "2026-01-05T10:00:00+08:00",
        "completed_at": "2026-01-15T10:00:00+08:00",
        "updated_at": f"{changed_at}T10:00:00+08:00",
        "paid_amount": 10000,
        "postage": 800,
        "buyer": {"id": "77", "phone": PHONE, "nickname": "小满"},
        "lines": [{"sku": "CUP", "title": "青瓷茶杯", "quantity": 1, "unit_price": 9200}],
    }


def by_rest(tmp_path: Any, app: Any, clock: Any, run_jobs: Any) -> Again:
    _key, token = api_keys.create("shop", ["orders:write"])

    def again(changed_at: str) -> None:
        answer = app.test_client().post(
            "/api/v1/orders",
            json=told(changed_at) | {"source": "shop"},
            headers={"Authorization": f"Bearer {token}"},
        )
        assert answer.status_code in (200, 201), answer.get_json()

    return again


def by_push(tmp_path: Any, app: Any, clock: Any, run_jobs: Any) -> Again:
    connection, _secret = connections.set_up("till", Kind.STANDARD, "shop", SECRET, "")
    numbers = iter(range(100))

    def again(changed_at: str) -> None:
        body = json.dumps(
            {"type": "order.updated", "timestamp": f"{changed_at}T10:00:00+08:00", "data": told(changed_at)}
        ).encode()
        headers = signed_standard(SECRET, f"msg_{next(numbers)}", clock.now(), body)
        answer = app.test_client().post(
            f"/hooks/orders/{connection.token}", data=body, headers={"Content-Type": "application/json"} | headers
        )
        assert answer.status_code == 200
        run_jobs()

    return again


@pytest.mark.parametrize("way", [by_file, by_rest, by_push])
def test_check_i4_an_erased_buyer_stays_erased(db, app, clock, run_jobs, tmp_path, way) -> None:
    again = way(tmp_path, app, clock, run_jobs)
    again("2026-01-16")
    order = db.session.scalars(select(Order)).one()
    first = order.member_id
    assert first is not None
    people.give_consent_many([first], Contact.SMS)
    erasure.erase(first, str(first))
    db.session.commit()

    # The same report once more is known already: nobody is made, the order stays nobody's.
    again("2026-01-16")
    db.session.expire_all()
    assert db.session.scalars(select(Order.member_id)).one() is None
    assert db.session.scalar(select(func.count()).select_from(Member)) == 1
    assert db.session.scalars(select(MemberIdentity.id)).all() == []

    # A newer one names a buyer who is new to the shop: a record of their own, and the refusal of their number holds.
    again("2026-01-20")
    db.session.expire_all()
    order = db.session.scalars(select(Order)).one()
    assert (order.state, order.paid_amount) == (OrderState.COMPLETED, 10000)
    assert order.member_id not in (None, first)
    assert db.session.get_one(Member, first).erased_at is not None
    assert db.session.scalars(select(MemberIdentity.id).where(MemberIdentity.member_id == first)).all() == []
    assert db.session.scalar(select(func.count()).where(Consent.granted, Consent.member_id != first)) == 0
    people.give_consent_many([order.member_id], Contact.SMS)
    assert not members.has_consent(order.member_id, Contact.SMS)
    old = db.session.get_one(Member, first)
    assert (old.name, old.nickname, old.phone, old.orders_count, old.spend) == ("", "", None, 0, 0)
