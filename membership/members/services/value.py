"""Keeping everybody's value right, set-wise."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import ColumnElement, Integer, case, cast, func, literal, null, or_, select, update

from kernel import clock
from kernel.db import db

from .. import queries, rules
from ..models import Member, MemberIdentity, ValueLabel


def _climbed(n: Any, steps: Sequence[tuple[int, int]]) -> ColumnElement[int]:
    """`rules._climbed` as SQL."""
    return case(*((n >= least, literal(points)) for least, points in reversed(steps)), else_=literal(0))


def revalue(member_ids: Sequence[int]) -> int:
    """Work out the value of members anew; returns of how many it changed. The same decision as `rules.value_of`."""
    ids = sorted(set(member_ids))
    if not ids:
        return 0
    db.session.flush()
    now = clock.now()
    known = (
        select(MemberIdentity.member_id, func.count(MemberIdentity.channel.distinct()).label("n"))
        .where(MemberIdentity.member_id == func.any(ids))
        .group_by(MemberIdentity.member_id)
        .subquery("known")
    )
    facts = queries.live().with_only_columns(Member.id, Member.value_index, Member.value_label)
    facts = facts.outerjoin(known, known.c.member_id == Member.id).where(Member.id == func.any(ids))
    done: dict[str, ColumnElement[int]] = dict.fromkeys(queries.ACTS, literal(0))
    if (act := queries.acts(ids)) is not None:
        sums = (
            select(
                act.c.member_id,
                *(func.sum(act.c.n).filter(act.c.kind == kind).label(kind) for kind in queries.ACTS),
            )
            .group_by(act.c.member_id)
            .subquery("done")
        )
        facts = facts.outerjoin(sums, sums.c.member_id == Member.id)
        done = {kind: func.coalesce(sums.c[kind], 0) for kind in queries.ACTS}
    frequency = _climbed(Member.orders_count, rules.FREQUENCY_STEPS)
    money = _climbed(Member.spend, rules.MONEY_STEPS)
    points = facts.add_columns(
        (
            _climbed(func.coalesce(known.c.n, 0), rules.CHANNEL_STEPS)
            + case(
                *((Member.last_order_at > now - timedelta(days=days), literal(p)) for days, p in rules.RECENCY_STEPS),
                else_=literal(0),
            )
            + frequency
            + money
        ).label("worth"),
        (frequency + money).label("transaction"),
        (
            _climbed(done["groups"], rules.GROUP_STEPS)
            + _climbed(done["brought"], rules.BROUGHT_STEPS)
            + _climbed(done["took_part"], rules.TOOK_PART_STEPS)
        ).label("relation"),
    ).subquery("points")
    worth = select(
        points.c.id,
        points.c.value_index,
        points.c.value_label,
        cast(points.c.worth, Integer).label("worth"),
        case(
            (func.greatest(points.c.transaction, points.c.relation) < rules.LEAST_TIE, null()),
            (func.abs(points.c.transaction - points.c.relation) <= rules.ALIKE, ValueLabel.BOTH.value),
            (points.c.transaction > points.c.relation, ValueLabel.TRANSACTION.value),
            else_=ValueLabel.RELATION.value,
        ).label("tie"),
    ).subquery("worth")
    differs = or_(worth.c.value_index != worth.c.worth, worth.c.value_label.is_distinct_from(worth.c.tie))
    # Locked in one order, so that two who meet do not wait for each other crosswise.
    moved = (
        select(Member.id, worth.c.worth, worth.c.tie)
        .join(worth, worth.c.id == Member.id)
        .where(differs)
        .order_by(Member.id)
        .with_for_update(of=Member, key_share=True)
        .cte("moved")
    )
    changed = set(
        db.session.scalars(
            update(Member)
            .where(Member.id == moved.c.id)
            .values(value_index=moved.c.worth, value_label=moved.c.tie)
            .returning(Member.id)
            .execution_options(synchronize_session=False)
        )
    )
    for found in db.session.identity_map.values():
        if isinstance(found, Member) and found.id in changed:
            db.session.expire(found, ["value_index", "value_label"])
    return len(changed)


__all__ = ["revalue"]
