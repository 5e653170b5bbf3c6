"""Taking from a limit and giving back: one conditional upsert a counter, in the caller's transaction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import BigInteger, Connection, Text, bindparam, select, text

from kernel.db import changed, db
from kernel.errors import Refusal
from kernel.i18n import lazy_gettext as _l

from .models import LimitCounter


def subject_of(member_id: int) -> str:
    """Under what a limit counts a member; what two records have used is added up under it when they become one."""
    return f"member:{member_id}"


class Usage(NamedTuple):
    """What is to be taken: `amount` units of a limit for a subject in a window, up to `cap` (None is unlimited).

    The limit names the rule (`gift:3:stock`), the subject whom it is counted for (`member:7`, or empty when it is
    shared by all), the window the span that it holds for (`2026-03-03`, or empty when it never starts anew).
    """

    limit: str
    subject: str
    window: str
    amount: int
    cap: int | None


class LimitReached(Refusal):
    """A cap would be passed. Nothing of the attempt is left."""

    label = _l("The limit is reached: nothing is left of it for now.")
    title = _l("Limit reached")
    icon = "alert-circle"

    def __init__(self, limit: str, subject: str = "", window: str = "") -> None:
        super().__init__()
        self.limit, self.subject, self.window = limit, subject, window


class NothingToGiveBack(LookupError):
    """More was given back than had been taken: a mistake of the caller."""


# Every value carries its cast: PostgreSQL cannot tell the type of a bare parameter inside SELECT, and a cap of null must
# be a typed null. The first WHERE keeps the very first row under the cap as well, the second one every later row.
_TAKE = text(
    """
    INSERT INTO limit_counter (limit_name, subject, window_name, used)
    SELECT CAST(:limit AS text), CAST(:subject AS text), CAST(:window AS text), CAST(:amount AS bigint)
    WHERE CAST(:cap AS bigint) IS NULL OR CAST(:amount AS bigint) <= CAST(:cap AS bigint)
    ON CONFLICT (limit_name, subject, window_name) DO UPDATE SET used = limit_counter.used + excluded.used
    WHERE CAST(:cap AS bigint) IS NULL OR limit_counter.used + excluded.used <= CAST(:cap AS bigint)
    RETURNING used
    """
).bindparams(
    bindparam("limit", type_=Text), bindparam("subject", type_=Text), bindparam("window", type_=Text),
    bindparam("amount", type_=BigInteger), bindparam("cap", type_=BigInteger),
)  # fmt: skip

_GIVE_BACK = text(
    """
    UPDATE limit_counter SET used = used - CAST(:amount AS bigint)
    WHERE limit_name = :limit AND subject = :subject AND window_name = :window AND used >= CAST(:amount AS bigint)
    """
)


_CLEAR = text(
    "DELETE FROM limit_counter WHERE limit_name = :limit AND subject = :subject AND window_name = :window AND used = 0"
)


def take(usages: Sequence[Usage | tuple[str, str, str, int, int | None]], connection: Connection | None = None) -> None:
    """Take all of the usages, or none of them, in the session's transaction or in that of a given connection.

    They are taken in the given order: put the most widely shared counter last, so that its row is locked for the
    shortest time, and use the same order everywhere, so that no two callers wait for each other.

    Refuses with `LimitReached` (naming the limit) when a cap would be passed; the transaction goes on as if nothing had
    been asked. Raises `ValueError` for an amount below one.
    """
    wanted = [Usage(*usage) for usage in usages]
    if any(usage.amount < 1 for usage in wanted):
        raise ValueError("one unit is the least that can be taken")
    if connection is not None:
        _take_over(connection, wanted)
        return
    with db.session.begin_nested():
        for usage in wanted:
            if db.session.execute(_TAKE, usage._asdict()).scalar() is None:
                raise LimitReached(usage.limit, usage.subject, usage.window)


def _take_over(connection: Connection, wanted: Sequence[Usage]) -> None:
    """`take` without a savepoint: with the way back to one the driver lets the server forget all that is prepared on the
    connection, and with it what `kernel.wire` has prepared there."""
    for i, usage in enumerate(wanted):
        if connection.execute(_TAKE, usage._asdict()).scalar() is None:
            for taken in wanted[:i]:
                give_back(taken.limit, taken.subject, taken.window, taken.amount, connection)
                # A counter that nothing is left in says no more than none.
                connection.execute(_CLEAR, taken._asdict())
            raise LimitReached(usage.limit, usage.subject, usage.window)


def give_back(
    limit: str, subject: str = "", window: str = "", amount: int = 1, connection: Connection | None = None
) -> None:
    """Give units back that had been taken. Whoever calls this sees to it that it happens once.

    Raises `NothingToGiveBack` when fewer are in use, and `ValueError` for an amount below one.
    """
    if amount < 1:
        raise ValueError("one unit is the least that can be given back")
    values = {"limit": limit, "subject": subject, "window": window, "amount": amount}
    place = connection if connection is not None else db.session
    if changed(place.execute(_GIVE_BACK, values)) != 1:
        raise NothingToGiveBack(limit, subject, window, amount)


def used(limit: str, subject: str = "", window: str = "") -> int:
    """How many units of a limit are in use."""
    counter = (LimitCounter.limit == limit, LimitCounter.subject == subject, LimitCounter.window == window)
    return db.session.scalar(select(LimitCounter.used).where(*counter)) or 0


def used_of(limits: Sequence[str], subject: str = "", window: str = "") -> dict[str, int]:
    """How many units of several limits are in use, for one subject and window; limits never used count as 0."""
    rows = db.session.execute(
        select(LimitCounter.limit, LimitCounter.used).where(
            LimitCounter.limit.in_(limits), LimitCounter.subject == subject, LimitCounter.window == window
        )
    )
    return dict.fromkeys(limits, 0) | {row[0]: row[1] for row in rows}
