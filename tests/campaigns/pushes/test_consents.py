"""Whoever is written to has agreed, whatever their history is, and each message says on what it relied."""

from __future__ import annotations

import random
from typing import Any

from sqlalchemy import insert, select

from campaigns.pushes import drain, services
from campaigns.pushes.models import Delivery, DeliveryState, Run
from kernel import clock as kernel_clock
from kernel import shop
from membership.members.models import Consent, Contact, Member, Purpose

PEOPLE, ROUNDS = 13_500, 3


def test_check_f1_nobody_is_written_to_without_a_live_consent(db: Any, make_push: Any, clock: Any) -> None:
    """20,000 messages of three pushes over random histories, which go on between the pushes."""
    chance = random.Random(1)
    for key in ("contact.per_day", "contact.per_month"):
        shop.put(key, None)
    shop.put("holdout.percent", 0)
    now = kernel_clock.now()
    people = [{"nickname": f"P{n}", "created_at": now, "stage_since": now} for n in range(PEOPLE)]
    ids = list(db.session.scalars(insert(Member).returning(Member.id), people))
    ruling: dict[int, tuple[int, bool]] = {}
    sent = 0
    for _round in range(ROUNDS):
        said = [
            {
                "member_id": member_id,
                "channel": chance.choice([Contact.INBOX, Contact.INBOX, Contact.INBOX, Contact.EMAIL, Contact.SMS]),
                "purpose": chance.choice([Purpose.MARKETING, Purpose.MARKETING, Purpose.SERVICE]),
                "granted": chance.random() < 0.75,
                "source": "test",
                "text_version": "1",
                "at": now,
            }
            for member_id in ids
            for _word in range(chance.choice([0, 1, 1, 2, 3]))
        ]
        chance.shuffle(said)
        numbers = list(db.session.scalars(insert(Consent).returning(Consent.id, sort_by_parameter_order=True), said))
        for number, word in zip(numbers, said, strict=True):
            if (word["channel"], word["purpose"]) == (Contact.INBOX, Purpose.MARKETING):
                ruling[word["member_id"]] = (number, word["granted"])
        run = _send(db, make_push)
        rows = db.session.execute(
            select(Delivery.member_id, Delivery.state, Delivery.consent_id).where(Delivery.run_id == run.id)
        ).all()
        assert len(rows) == PEOPLE
        written = {member_id: consent for member_id, state, consent in rows if state is DeliveryState.ACCEPTED}
        assert written == {member_id: number for member_id, (number, granted) in ruling.items() if granted}
        sent += len(written)
    assert sent >= 20_000


def _send(db: Any, make_push: Any) -> Run:
    _push, run = make_push(stop_when_bought=False)
    services.schedule(run)
    services.start(run)
    while not services.fan_out(run.id).done:
        pass
    while drain.drain(run.id):
        pass
    assert services.finish(run.id)
    return run  # type: ignore[no-any-return]
