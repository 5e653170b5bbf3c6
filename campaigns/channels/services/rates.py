"""Rates: tokens taken before a claim and put back when it did not use them."""

from __future__ import annotations

from typing import Any

from sqlalchemy import func, select, update

from kernel import clock
from kernel.db import db

from .. import rules


def take_tokens(row: Any, rate: int | None, wanted: int) -> rules.Draught:
    """Take up to `wanted` messages from the bucket of an account or a run, a row locked for the moment.

    `row` is a mapped class with its id, such as `(Account, 3)`. Without a rate everything is granted and nothing locked.
    """
    if rate is None:
        return rules.Draught(wanted, 0.0, 0.0)
    model, row_id = row
    held = db.session.execute(select(model.tokens, model.tokens_at).where(model.id == row_id).with_for_update()).one()
    now = clock.now()
    taken = rules.draw(held.tokens, held.tokens_at, rate, now, wanted)
    db.session.execute(
        update(model)
        .where(model.id == row_id)
        .values(tokens=taken.tokens, tokens_at=now)
        .execution_options(synchronize_session=False)
    )
    return taken


def return_tokens(row: Any, rate: int | None, unused: int) -> None:
    """Put back what a claim did not use; the bucket never holds more than its size."""
    if rate is None or unused <= 0:
        return
    model, row_id = row
    db.session.execute(
        update(model)
        .where(model.id == row_id)
        .values(tokens=func.least(model.tokens + unused, float(max(rate, 1))))
        .execution_options(synchronize_session=False)
    )
