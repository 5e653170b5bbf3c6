"""Merges that meet each other and an import (check I4): nobody points at nobody, no circle, and the proof that this could fail."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import select, text

from kernel.db import db, transaction
from kernel.errors import Refusal
from membership.members import services as members
from membership.members.models import Channel, Member
from membership.members.services import merge
from membership.orders import services as orders
from membership.orders.formats.drafts import Buyer, LineDraft, OrderDraft
from membership.orders.models import OrderState
from membership.tiers import services as tiers
from tests.committed import at_once, clear
from tests.conftest import NOON

pytestmark = pytest.mark.race
PEOPLE, ORDERS = 12, 40


def crowd(app: Flask) -> list[int]:
    with app.app_context(), transaction():
        tiers.ensure_policy()
        people = [members.Person(((Channel.SHOP, f"shop:{n}"),), name=f"青柠 {n}") for n in range(PEOPLE)]
        return members.find_or_make_many(people)


def bring(seed: int) -> None:
    """A shop system that sends orders of everybody while records are being merged."""
    chance = random.Random(seed)
    at = NOON - timedelta(days=30)
    for number in range(ORDERS):
        draft = OrderDraft(
            external_id=f"{seed}-{number}", state=OrderState.COMPLETED, placed_at=at, paid_at=at, completed_at=at,
            version_at=at, paid_amount=100_00, postage=0, buyer=Buyer(number=f"shop:{chance.randrange(PEOPLE)}"),
            lines=(LineDraft("CUP", "Cup", 1, 100_00),),
        )  # fmt: skip
        with transaction():
            orders.record("shop", draft)


def merging(pairs: list[tuple[int, int]]) -> Callable[[], None]:
    def work() -> None:
        for survivor, absorbed in pairs:
            try:
                with transaction():
                    merge.merge(survivor, absorbed)
            except Refusal:
                # Somebody else was faster with one of the two; that is an answer.
                continue

    return work


def pairs_of(ids: list[int], seed: int) -> list[tuple[int, int]]:
    chance = random.Random(seed)
    return [tuple(chance.sample(ids, 2)) for _ in range(10)]  # type: ignore[misc]


WRONG = {
    "orders of records that are no more": """
        SELECT count(*) FROM "order" o JOIN member m ON m.id = o.member_id WHERE m.merged_into_id IS NOT NULL
    """,
    "identities of records that are no more": """
        SELECT count(*) FROM member_identity i JOIN member m ON m.id = i.member_id WHERE m.merged_into_id IS NOT NULL
    """,
    "records that lead to one that leads on": """
        SELECT count(*) FROM member a JOIN member b ON b.id = a.merged_into_id WHERE b.merged_into_id IS NOT NULL
    """,
    "sums that are not those of the orders": """
        SELECT count(*) FROM member m LEFT JOIN LATERAL (
            SELECT count(*) AS n, COALESCE(sum(paid_amount), 0) AS spend FROM "order" WHERE member_id = m.id) o ON true
        WHERE m.orders_count <> o.n OR m.spend <> o.spend
    """,
    "orders of nobody": 'SELECT count(*) FROM "order" WHERE member_id IS NULL',
}


def faults(app: Flask) -> dict[str, int]:
    with app.app_context():
        return {said: n for said, statement in WRONG.items() if (n := db.session.scalar(text(statement)))}


def round_of_merges(app: Flask, seed: int) -> list[BaseException]:
    ids = crowd(app)
    works: list[Callable[[], Any]] = [
        merging(pairs_of(ids, seed)),
        merging(pairs_of(ids, seed + 1)),
        lambda: bring(seed),
    ]
    return at_once(app, works)


@pytest.mark.parametrize("seed", range(3))
def test_merges_and_an_import_at_once_leave_nobody_pointing_at_nobody(committed: Flask, seed: int) -> None:
    assert round_of_merges(committed, seed) == []
    assert faults(committed) == {}
    with committed.app_context():
        assert db.session.scalar(text('SELECT count(*) FROM "order"')) == ORDERS
        living = db.session.scalars(select(Member.id).where(Member.merged_into_id.is_(None))).all()
        assert 1 <= len(living) < PEOPLE


def test_a_chain_of_merges_at_once_makes_no_circle(committed: Flask) -> None:
    a, b, c, *_rest = crowd(committed)
    works: list[Callable[[], Any]] = [merging([(b, a)]), merging([(c, b)]), merging([(a, c)])]
    assert at_once(committed, works) == []
    assert faults(committed) == {}
    with committed.app_context():
        living = db.session.scalars(
            select(Member.id).where(Member.merged_into_id.is_(None), Member.id.in_((a, b, c)))
        ).all()
        assert len(living) == 1


def test_the_race_has_teeth_without_the_wait_for_writers(committed: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    """With neither the writers' lock nor the members' own, an order lands at a record that has just become another one."""
    monkeypatch.setattr(merge.guards, "_answers", [])
    unlocked = merge.lock

    def look_only(ids: Any) -> dict[int, Member]:
        rows = db.session.scalars(
            select(Member).where(Member.id.in_(sorted(ids))).execution_options(populate_existing=True)
        )
        return {row.id: row for row in rows}

    monkeypatch.setattr(merge, "lock", look_only)
    for seed in range(100, 112):
        raised = round_of_merges(committed, seed)
        if raised or faults(committed):
            break
        clear(committed)
    else:
        pytest.fail("no fault without the locks: the test above proves nothing")
    assert unlocked is not look_only
