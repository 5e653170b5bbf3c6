"""Whoever the SQL finds is who the rules mean: random shops and nested definitions against plain Python."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from campaigns.audiences import clauses, labels, queries, rules, services
from campaigns.audiences.models import Audience, AudienceMember
from kernel import clock as kernel_clock
from kernel.db import db as database
from membership.members.models import Member

from . import oracle, shop


def _saved(around: shop.Shop, found: list[oracle.Person]) -> dict[int, Any]:
    """Audiences that others can speak of: one by rules, one on top of it, one list."""
    first = services.save("Low", rules.Definition(rules=(rules.TierRule(ranks=[0, 1]),)))
    second = services.save(
        "Not low in Hangzhou",
        rules.Definition(rules=(rules.SavedRule(audience_id=first.id, inside=False), rules.CityRule(names=["杭州"]))),
    )
    listed = {person.id for person in found[::2]}
    now = kernel_clock.now()
    third = Audience(name="List", definition={}, frozen=True, frozen_at=now, created_at=now)
    database.session.add(third)
    database.session.flush()
    database.session.add_all(AudienceMember(audience_id=third.id, member_id=member_id) for member_id in listed)
    database.session.flush()
    return {first.id: rules.parse(first.definition), second.id: rules.parse(second.definition), third.id: listed}


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(draw=st.data())
def test_sql_and_plain_python_agree_on_any_nested_definition(db: Any, clock: Any, draw: Any) -> None:
    step = db.session.begin_nested()
    try:
        found = draw.draw(st.lists(shop.people(), min_size=1, max_size=5))
        around = shop.Shop()
        around.put(found)
        saved = _saved(around, found)
        for definition in draw.draw(
            st.lists(shop.definitions(around.tag_ids, around.group_ids, list(saved)), min_size=4, max_size=8)
        ):
            meant = {person.id for person in found if oracle.belongs(definition, person, saved)}
            assert set(db.session.scalars(queries.member_ids(definition))) == meant
            assert queries.count(definition) == queries.Reach(len(meant))
            assert rules.parse(definition.dump()) == definition
            somebody = found[0]
            assert queries.matches(definition, somebody.id) is (somebody.id in meant)
            # Narrowed to some members, the statement finds the same ones among them.
            half = [person.id for person in found[: len(found) // 2 + 1]]
            narrowed = select(Member.id).where(
                Member.id.in_(half), *queries.conditions(definition, clauses.between(min(half) - 1, max(half)))
            )
            assert set(db.session.scalars(narrowed)) == meant & set(half)
            assert [line.reach.people for line in labels.lines(definition) if line.reach] == [
                sum(not person.gone and oracle.holds(rule, person, saved) for person in found)
                for top in definition.rules
                for rule in queries._flat(top)
            ]
    finally:
        step.rollback()
        db.session.expunge_all()
