"""Work in the background: lists written down once and found again, numbers kept up to date."""

from __future__ import annotations

from typing import Any

from sqlalchemy import func, select

from campaigns.audiences import jobs, queries, rules, services
from campaigns.audiences.models import AudienceMember

HIGH = rules.Definition(rules=(rules.TierRule(ranks=[3]),))


def listed(db: Any) -> int:
    return db.session.scalar(select(func.count()).select_from(AudienceMember)) or 0


def test_a_list_whose_job_was_lost_is_found_again(db: Any, make_member: Any, run_jobs: Any) -> None:
    make_member("Lime", rank=3)
    audience = services.save("High", HIGH)
    services.freeze(audience)
    db.session.commit()
    assert listed(db) == 0
    jobs.write_down_waiting.direct()
    db.session.commit()
    run_jobs()
    db.session.refresh(audience)
    assert (listed(db), audience.refresh_asked_at, audience.people) == (1, None, 1)


def test_writing_down_twice_writes_once(db: Any, make_member: Any) -> None:
    make_member("Lime", rank=3)
    audience = services.save("High", HIGH)
    services.freeze(audience)
    services.write_down(audience.id)
    make_member("Plum", rank=3)
    # Nobody asked for it again, and so the list stays.
    services.write_down(audience.id)
    assert listed(db) == 1
    services.refresh(audience)
    services.write_down(audience.id)
    assert listed(db) == 2
    assert queries.waiting_lists() == []


def test_the_numbers_of_the_list_are_counted_again(db: Any, make_member: Any, run_jobs: Any) -> None:
    audience = services.save("High", HIGH)
    waiting = services.save("Waiting", rules.Definition())
    services.freeze(waiting)
    make_member("Lime", rank=3)
    db.session.commit()
    assert audience.people == 0
    jobs.keep_counts.direct()
    db.session.commit()
    run_jobs()
    db.session.expire_all()
    assert audience.people == 1
    # One that cannot be asked keeps the number that was known.
    assert waiting.people == 0


def test_a_list_that_is_removed_meanwhile_is_no_mistake(db: Any) -> None:
    services.write_down(10**9)
    assert listed(db) == 0
