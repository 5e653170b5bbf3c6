"""Rates: tokens taken before a claim and put back when it did not use them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from sqlalchemy import func, select, update

from kernel import clock
from kernel.db import db

from .. import pace, rules
from ..models import Account

# After so long nothing that was taken on the day before can still be on its way back.
_DAY_IS_YOUNG = timedelta(minutes=10)


def rates_of(account: Account) -> pace.Rates | None:
    """The rates of an account, or None when it has none."""
    rates = pace.Rates(account.rate_per_second, account.rate_per_minute, account.rate_per_hour, account.rate_per_day)
    return rates if rates else None


def take_tokens(row: Any, rate: int | pace.Rates | None, wanted: int) -> rules.Draught:
    """Take up to `wanted` messages from what an account or a run may send now, its row locked for the moment.

    `row` is a mapped class with its id, such as `(Account, 3)`; `rate` is so many a second, or for an account its `rates_of`.
    Without a rate everything is granted and nothing locked.
    """
    if rate is None:
        return rules.Draught(wanted, 0.0, 0.0)
    if isinstance(rate, pace.Rates):
        return _draw(row[1], rate, wanted)
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


def _draw(account_id: int, rates: pace.Rates, wanted: int) -> rules.Draught:
    held = db.session.execute(
        select(Account.tokens, Account.tokens_at, Account.taken).where(Account.id == account_id).with_for_update()
    ).one()
    now = clock.now()
    day = clock.local(now).date()
    drawn = pace.draw(
        rates, held.tokens, held.tokens_at, held.taken, now, day.isoformat(), clock.day_bounds(day)[1], wanted
    )
    # A bucket that nothing was taken from is left to fill from where it stood.
    bucket = {"tokens": drawn.tokens, "tokens_at": now} if rates.second is not None and drawn.granted else {}
    db.session.execute(
        update(Account)
        .where(Account.id == account_id)
        .values(taken=drawn.taken, **bucket)
        .execution_options(synchronize_session=False)
    )
    return rules.Draught(drawn.granted, drawn.tokens, drawn.wait)


def return_tokens(row: Any, rate: int | pace.Rates | None, unused: int) -> None:
    """Put back what a claim did not use; a bucket never holds more than its size."""
    if rate is None or unused <= 0:
        return
    model, row_id = row
    values: dict[str, Any] = {}
    second: int | pace.Rates | None = rate
    if isinstance(rate, pace.Rates):
        second = rate.second
        taken = db.session.scalars(select(Account.taken).where(Account.id == row_id).with_for_update()).one()
        now = clock.now()
        young = now - clock.day_bounds(clock.local(now).date())[0] < _DAY_IS_YOUNG
        values["taken"] = pace.give_back(taken, unused, not young)
    if isinstance(second, int):
        values["tokens"] = func.least(model.tokens + unused, float(max(second, 1)))
    db.session.execute(
        update(model).where(model.id == row_id).values(**values).execution_options(synchronize_session=False)
    )
