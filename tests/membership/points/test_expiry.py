"""What the clock brings: lapses, the word before them, and what other rooms are told."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from sqlalchemy import select

from kernel.notices import Notice
from membership.points import jobs, queries, services
from membership.points.models import Kind, PointsLot, PointsTransaction
from tests.conftest import published


def give(member: Any, points: int, source: str, days: float, clock: Any) -> None:
    services.award(
        member.id,
        points,
        type=Kind.AWARD,
        source_type="t",
        source_id=source,
        expires_at=clock.now() + timedelta(days=days),
    )


def test_the_sweep_books_what_has_lapsed_to_the_breakage(db, program, make_member, clock, books):
    member, other = make_member(), make_member()
    give(member, 30, "a", 2, clock)
    give(member, 20, "b", 5, clock)
    give(other, 7, "a", 2, clock)
    clock.move(days=3)
    assert services.settle_due(1) == 1
    jobs.settle_due.direct()
    assert services.due_count() == 0
    assert queries.balance_of(member.id).active == 20
    assert published(db, "PointsExpired") == [
        {"member_id": member.id, "points": 30},
        {"member_id": other.id, "points": 7},
    ]
    line = next(line for line in queries.trial_balance() if line.kind == "breakage")
    assert line.total == 37
    assert sum(line.total for line in queries.trial_balance()) == 0
    books()


def test_inv_p5_pending_points_never_lapse(db, program, make_member, make_order, clock, books):
    member = make_member()
    services.settle_order(make_order(member, 100_00).id)
    clock.move(days=2000)
    jobs.settle_due.direct()
    assert queries.balance_of(member.id).pending == 100
    assert db.session.scalars(select(PointsTransaction.type)).all() == [Kind.EARN]
    books()


def test_a_member_is_told_once_about_each_lapse(db, program, make_member, clock):
    member, quiet = make_member(), make_member()
    give(member, 30, "a", 10, clock)
    give(member, 12, "b", 10, clock)
    give(member, 5, "c", 20, clock)
    give(quiet, 50, "a", 90, clock)
    for _run in range(2):
        jobs.tell_expiring.direct()
    told = db.session.scalars(select(Notice).order_by(Notice.id)).all()
    assert [(one.member_id, one.kind, one.path) for one in told] == [(member.id, "points_expiring", "/me/points")] * 2
    assert "42" in told[0].title
    assert [one["points"] for one in published(db, "PointsExpiring")] == [42, 5]
    clock.move(days=65)
    jobs.tell_expiring.direct()
    assert [one["member_id"] for one in published(db, "PointsExpiring")][2:] == [quiet.id]


def test_points_that_are_opened_again_are_told_again(db, program, make_member, clock):
    member = make_member()
    give(member, 30, "a", 10, clock)
    jobs.tell_expiring.direct()
    spent = services.spend(member.id, 30, source_type="t", source_id="1")
    clock.move(days=60)
    services.give_back(spent)
    jobs.tell_expiring.direct()
    assert len(published(db, "PointsExpiring")) == 2


def test_nobody_is_told_where_the_program_says_so(db, set_program, make_member, clock):
    set_program(notice_days=0)
    member = make_member()
    give(member, 30, "a", 1, clock)
    jobs.tell_expiring.direct()
    assert db.session.scalars(select(Notice)).all() == []


def test_a_notice_speaks_the_members_language(db, program, make_member, clock):
    member = make_member(locale="en")
    give(member, 30, "a", 10, clock)
    jobs.tell_expiring.direct()
    assert db.session.scalars(select(Notice.title)).one() == "30 points lapse on 13 Mar 2026"


def test_what_lapses_within_two_weeks_is_on_the_first_page(db, program, make_member, owner_client, clock):
    give(make_member(), 30, "a", 10, clock)
    owner_client.set_cookie("lang", "en")
    assert "1 member loses points within two weeks" in owner_client.get("/console/").text


def test_lots_keep_the_days_that_they_were_promised(db, set_program, make_member, make_order, clock):
    set_program(lot_days=100)
    member = make_member()
    order = make_order(member, 100_00)
    services.settle_order(order.id)
    set_program(lot_days=5)
    order.state, order.delivered_at = "delivered", clock.now()
    db.session.flush()
    services.settle_order(order.id)
    lot = db.session.scalars(select(PointsLot)).one()
    assert (lot.expires_at - lot.activates_at).days == 100
