"""Which pushes speak of a saved audience by name, so that it is not removed under them."""

from __future__ import annotations

from collections.abc import Collection

from flask import url_for
from sqlalchemy import String, and_, cast, exists, or_, select

from campaigns.audiences.queries import Use, uses
from campaigns.audiences.rules import AudienceInvalid, parse
from kernel.db import db

from .models import Push, Run, RunState

_OVER = (RunState.COMPLETED, RunState.CANCELLED, RunState.EXPIRED, RunState.FAILED)


@uses.fill
def pushes_of(audience_ids: Collection[int]) -> dict[int, list[Use]]:
    """The pushes that are still to ask who is in each of these audiences, oldest first."""
    ahead = exists().where(Run.push_id == Push.id, Run.state.not_in(_OVER))
    again = and_(Push.rrule.is_not(None), Push.stopped_at.is_(None))
    rows = db.session.execute(
        select(Push.id, Push.name, Push.audience)
        .where(or_(ahead, again), cast(Push.audience, String).contains('"saved"'))
        .order_by(Push.id)
    )
    found: dict[int, list[Use]] = {}
    for row in rows:
        for audience_id in _named(row.audience).intersection(audience_ids):
            found.setdefault(audience_id, []).append(Use(row.name, url_for("pushes_console.show", push_id=row.id)))
    return found


def _named(stored: object) -> set[int]:
    try:
        return parse(stored).named()
    except AudienceInvalid:
        return set()
