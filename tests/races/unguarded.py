"""The web server with one guard of coupons taken out, as `SIYU_TEST_TEETH` names it.

The race tests run against it to show that they would notice. Nothing of it is in the product: this program changes its
own copy. Each of the two races is broken in three ways: without the guard, with the number of changed rows ignored, and
with the value read before the lock.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

from flask import Flask
from sqlalchemy import event

from kernel.db import db
from membership.coupons.services import batch, redemptions, shelves, states
from tests.webshop import serve

COUNTED = "claimed = offer.claimed + f.n"
OF_INSERTED = "FROM (SELECT offer_id, count(*) AS n FROM fresh GROUP BY offer_id) AS f"
OF_ASKED = "FROM (SELECT u AS offer_id, count(*) AS n FROM unnest(%(offers)s::bigint[]) AS u GROUP BY u) AS f"
BY_STATE = " AND coupon.state = %(state_1)s"


def slowly(call: Callable[..., Any]) -> Callable[..., Any]:
    """As long as it takes where the database is on another machine and busy."""

    def wrapped(*arguments: Any, **named: Any) -> Any:
        found = call(*arguments, **named)
        time.sleep(0.1)
        return found

    return wrapped


def _forget_the_rows_own_check() -> None:
    # The count that another claim wrote while this one judged would break the row's own check, the second guard.
    assert COUNTED in shelves.WRITE
    shelves.WRITE = shelves.WRITE.replace(COUNTED, "claimed = LEAST(offer.claimed + f.n, offer.stock)")


def claim_without_lock(app: Flask) -> None:
    """No row lock, and a count that is written as it was read."""
    assert "FOR NO KEY UPDATE" in shelves.LOCK
    shelves.LOCK = shelves.LOCK.replace("FOR NO KEY UPDATE", "")
    batch.locked = slowly(batch.locked)
    _forget_the_rows_own_check()


def claim_with_count_ignored(app: Flask) -> None:
    """The stock is moved by what was asked for, not by what was inserted."""
    assert OF_INSERTED in shelves.WRITE
    shelves.WRITE = shelves.WRITE.replace(OF_INSERTED, OF_ASKED)
    # Without the lock two processes ask for the same coupon, and one of them inserts nothing.
    claim_without_lock(app)


def claim_read_before_lock(app: Flask) -> None:
    """The lock is there, and what is judged was read before it."""
    really, unlocked = batch.locked, shelves.LOCK.replace("FOR NO KEY UPDATE", "")

    def stale(connection: Any, offers: Any, now: Any) -> Any:
        with_lock, shelves.LOCK = shelves.LOCK, unlocked
        try:
            early = really(connection, offers, now)
        finally:
            shelves.LOCK = with_lock
        time.sleep(0.1)
        really(connection, offers, now)
        return early

    batch.locked = stale
    _forget_the_rows_own_check()


def _rewrite(app: Flask, *changes: tuple[str, str]) -> None:
    """Change statements on their way to the database."""
    with app.app_context():

        @event.listens_for(db.engine, "before_cursor_execute", retval=True)
        def change(connection: Any, cursor: Any, statement: str, parameters: Any, *rest: Any) -> tuple[str, Any]:
            for before, after in changes:
                statement = statement.replace(before, after)
            return statement, parameters


def redeem_without_lock(app: Flask) -> None:
    """No row lock, and an UPDATE by the primary key alone."""
    _rewrite(app, (" FOR UPDATE OF coupon", ""), (BY_STATE, ""))
    redemptions.refuse_state = slowly(redemptions.refuse_state)


def redeem_with_count_ignored(app: Flask) -> None:
    """The UPDATE names the state, and nobody looks whether it changed anything."""
    _rewrite(app, (" FOR UPDATE OF coupon", ""))
    states.changed = lambda result: 1
    redemptions.refuse_state = slowly(redemptions.refuse_state)


def redeem_read_before_lock(app: Flask) -> None:
    """The lock is there, and the state that is judged was read before it."""
    _rewrite(app, (BY_STATE, ""))
    really, find = redemptions.locked_all, __import__("membership.coupons.services.checkout", fromlist=["find"]).find

    def stale(wanted: Any, buyer: Any = None, claims: str = "") -> Any:
        early = {code: find(code) for code in wanted}
        seen = {code: (one.coupon.state, one.coupon.reserved_until) for code, one in early.items()}
        time.sleep(0.1)
        found = really(wanted, buyer, claims)
        for code, one in found.items():
            # What was seen before is believed, whatever the locked row says.
            db.session.expunge(one.coupon)
            one.coupon.state, one.coupon.reserved_until = seen[code]
        return found

    redemptions.locked_all = stale


MODES: dict[str, Callable[[Flask], None]] = {
    "claim-guard": claim_without_lock,
    "claim-count": claim_with_count_ignored,
    "claim-stale": claim_read_before_lock,
    "redeem-guard": redeem_without_lock,
    "redeem-count": redeem_with_count_ignored,
    "redeem-stale": redeem_read_before_lock,
}


def take_the_guard_out(app: Flask) -> None:
    mode = os.environ.get("SIYU_TEST_TEETH", "")
    if mode not in MODES:
        raise SystemExit("This program over-issues coupons on purpose and is for the race tests alone.")
    MODES[mode](app)


if __name__ == "__main__":
    serve(take_the_guard_out)
