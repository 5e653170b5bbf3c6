"""How a merge adds up what two records of one person have used of their limits."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert as upsert

from kernel.db import db
from membership.members.services import merge

from .models import LimitCounter
from .services import subject_of


@merge.followers.fill
def follow_counters(merging: merge.Merging) -> None:
    """Limits are counted for the person: what both have used is used."""
    add_up(merging, [subject_of(merging.absorbed)], subject_of(merging.survivor))


def add_up(merging: merge.Merging, sources: list[str], target: str, limit_like: str = "%") -> None:
    """Add what some subjects have used to another one's counters; `limit_like` is a LIKE pattern of the limits' names."""
    counters = LimitCounter.__table__
    subjects = sorted({*sources, target})
    concerned = (counters.c.subject.in_(subjects), counters.c.limit_name.like(limit_like))
    gone = (counters.c.subject.in_([s for s in subjects if s != target]), counters.c.limit_name.like(limit_like))
    found = db.session.execute(select(counters).where(*gone).order_by(*counters.primary_key.columns).with_for_update())
    rows = found.all()
    if not rows:
        return
    with merging.watching(LimitCounter, *concerned):
        db.session.execute(counters.delete().where(*gone))
        for row in rows:
            values = {"limit_name": row.limit_name, "subject": target, "window_name": row.window_name, "used": row.used}
            fresh = upsert(counters).values(values)
            db.session.execute(
                fresh.on_conflict_do_update(
                    index_elements=list(counters.primary_key.columns),
                    set_={"used": counters.c.used + fresh.excluded.used},
                )
            )


__all__ = ["add_up", "follow_counters"]
