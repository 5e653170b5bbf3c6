"""Eight hands in one pool of codes: nobody gets a code that somebody else has, and no free code is left behind."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import select, text, update
from sqlalchemy.exc import IntegrityError

from kernel import clock
from kernel.db import db, transaction
from kernel.errors import InputInvalid
from membership.gifts import services
from membership.gifts.models import Gift, GiftClaim, GiftCode, GiftKind, GiftState
from membership.gifts.services import codes
from membership.members.models import Member
from tests.committed import at_once, clear

pytestmark = pytest.mark.race
HANDS, CODES = 8, 6


@pytest.fixture
def pool(app: Flask) -> Iterator[list[tuple[int, int]]]:
    """(claim, member) of eight offered gifts, and six codes for them: two were taken out behind the stock's back."""
    with app.app_context(), transaction():
        now = clock.now()
        people = [Member(stage_since=now, created_at=now) for _ in range(HANDS)]
        db.session.add_all(people)
        gift = services.create(services.Draft("Code", GiftKind.DIGITAL))
        services.add_codes(gift.id, [f"C{n}" for n in range(HANDS)])
        found = []
        for person in people:
            claim = services.offer_gift(gift.id, person.id, "tier:1")
            assert claim is not None
            found.append((claim.id, person.id))
        db.session.execute(text("DELETE FROM gift_code WHERE code IN ('C6', 'C7')"))
    yield found
    clear(app)


def claims(app: Flask, pool: list[tuple[int, int]]) -> list[BaseException]:
    """Everybody claims at once; what went wrong."""

    def claim(claim_id: int, member_id: int) -> None:
        with transaction():
            services.claim(claim_id, member_id)

    return at_once(app, [partial(claim, *one) for one in pool])


def outcome(app: Flask) -> tuple[Counter[GiftState], list[str]]:
    with app.app_context():
        rows = db.session.execute(select(GiftClaim.state, GiftClaim.content)).all()
    return Counter(row.state for row in rows), [row.content for row in rows if row.content]


def test_inv_g1_every_code_goes_to_one_claim(app: Flask, pool: list[tuple[int, int]]) -> None:
    assert claims(app, pool) == []
    states, contents = outcome(app)
    assert states == {GiftState.DELIVERED: CODES, GiftState.CLAIMED: HANDS - CODES}
    assert sorted(contents) == [f"C{n}" for n in range(CODES)]


def test_without_the_lock_and_the_guard_codes_go_out_twice_or_the_claim_fails(
    app: Flask, pool: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The teeth: whoever reads the first free code without locking it, and writes without looking, gives it out twice."""
    met = threading.Barrier(HANDS)

    def careless(claim: GiftClaim) -> Any:
        free = db.session.execute(
            select(GiftCode.id, GiftCode.code).where(GiftCode.claim_id.is_(None)).order_by(GiftCode.id).limit(1)
        ).one()
        met.wait(10)
        db.session.execute(update(GiftCode).where(GiftCode.id == free.id).values(claim_id=claim.id))
        return free.code

    monkeypatch.setattr(codes, "hand_out", careless)
    faults = claims(app, pool)
    _states, contents = outcome(app)
    assert len(set(contents)) < len(contents) or any(isinstance(fault, IntegrityError) for fault in faults)


def test_what_is_in_a_red_packet_waits_for_whoever_is_just_promised_it(committed: Flask) -> None:
    with committed.app_context(), transaction():
        now = clock.now()
        person = Member(stage_since=now, created_at=now)
        db.session.add(person)
        gift_id, member_id = services.create(services.Draft("Packet", GiftKind.RED_PACKET, value=880)).id, person.id
    refused: list[BaseException] = []

    def edit() -> None:
        with committed.app_context():
            try:
                with transaction():
                    services.edit(gift_id, services.Draft("Packet", GiftKind.RED_PACKET, value=8800))
            except InputInvalid as error:
                refused.append(error)

    late = threading.Thread(target=edit)
    with committed.app_context(), transaction():
        services.offer_gift(gift_id, member_id, "tier:1")
        late.start()
        # The edit has come to the promise before this is committed, or would have gone past it.
        while late.is_alive() and not db.session.scalar(text("SELECT count(*) FROM pg_locks WHERE NOT granted")):
            late.join(0.01)
    late.join(60)
    assert len(refused) == 1
    with committed.app_context():
        assert db.session.get_one(Gift, gift_id).value == 880
