"""Points given, spent, given back and changed by hand: what is booked, what is published, what is refused."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.exc import IntegrityError

from kernel.audit import AuditEntry
from kernel.errors import NotFound
from kernel.events import EventRecord
from membership.members.services import erasure
from membership.points import queries, rules, services
from membership.points.models import (
    AccountKind,
    Clawback,
    Kind,
    Late,
    LotState,
    PointsAccount,
    PointsLot,
    PointsTransaction,
)

from .conftest import active


def give(member: Any, points: int, source: str = "a", **more: Any) -> PointsTransaction:
    return services.award(member.id, points, type=Kind.AWARD, source_type="test", source_id=source, **more)


def pay(member: Any, points: int, source: str = "order-1") -> PointsTransaction:
    return services.spend(member.id, points, source_type="till", source_id=source)


def names(db: Any) -> list[str]:
    return list(db.session.scalars(select(EventRecord.name).order_by(EventRecord.id)))


def test_award_can_be_spent_at_once(db, program, make_member, books):
    member = make_member()
    transaction = give(member, 50, reason=" Thanks ")
    assert (transaction.points, transaction.reason) == (50, "Thanks")
    balance = queries.balance_of(member.id)
    assert (balance.active, balance.pending, balance.locked) == (50, 0, 0)
    assert balance.next_expiry_points == 50
    # A year on, at the end of the shop's day.
    assert balance.next_expiry_at.isoformat() == "2027-03-03T16:00:00+00:00"
    assert names(db) == ["PointsEarned"]
    books()


def test_inv_p4_award_is_booked_once_a_type_and_source(db, program, make_member, books):
    member, other = make_member(), make_member()
    first = give(member, 50)
    assert give(member, 50).id == first.id
    assert give(other, 50).id != first.id
    assert services.award(member.id, 50, type=Kind.PLAY, source_type="test", source_id="a").id != first.id
    assert active(member) == 100
    with pytest.raises(rules.SourceUsed):
        give(member, 51)
    books()


def test_a_daily_check_in_is_an_award_keyed_by_its_day(db, program, make_member, clock):
    member = make_member()
    for _click in range(3):
        services.award(member.id, 5, type="check_in", source_type="check_in", source_id="2026-03-03")
    services.award(member.id, 5, type="check_in", source_type="check_in", source_id="2026-03-04")
    assert active(member) == 10


@pytest.mark.parametrize("points", [0, -1, rules.MOST_POINTS + 1])
def test_award_refuses_a_number_that_is_none(db, program, make_member, points):
    with pytest.raises(rules.PointsInvalid):
        give(make_member(), points)


def test_award_refuses_what_is_no_award_and_nobody(db, program, make_member, clock):
    with pytest.raises(ValueError, match="no award"):
        services.award(make_member().id, 5, type=Kind.EXPIRE, source_type="x", source_id="1")
    with pytest.raises(NotFound):
        services.award(987_654, 5, type=Kind.AWARD, source_type="x", source_id="1")
    with pytest.raises(NotFound):
        give(make_member(erased_at=clock.now()), 5)


def test_points_of_a_merged_record_go_to_the_survivor(db, program, make_member, books):
    older = make_member()
    younger = make_member()
    give(younger, 30)
    db.session.execute(
        text("UPDATE points_account SET member_id = :to WHERE member_id = :was"), {"to": older.id, "was": younger.id}
    )
    younger.merged_into_id = older.id
    db.session.flush()
    give(younger, 20, "b")
    assert active(older) == 50
    # What was booked for either of them is booked for the person.
    assert give(older, 30).points == 30
    assert active(older) == 50
    pay(older, 45)
    assert active(older) == 5
    books()


def test_inv_i29_spending_takes_the_earliest_expiring_lots(db, program, make_member, clock, books):
    member = make_member()
    late = give(member, 10, "late", expires_at=clock.now() + timedelta(days=90))
    never = give(member, 10, "never", expires_at=clock.now() + timedelta(days=3000))
    soon = give(member, 10, "soon", expires_at=clock.now() + timedelta(days=5))
    pay(member, 15)
    left = dict(db.session.execute(select(PointsLot.transaction_id, PointsLot.remaining)).all())
    assert left == {soon.id: 0, late.id: 5, never.id: 10}
    assert names(db)[-1] == "PointsSpent"
    books()


def test_spending_more_than_there_is_changes_nothing(db, program, make_member, books):
    member = make_member()
    give(member, 10)
    with pytest.raises(rules.NotEnoughPoints) as refused:
        pay(member, 11)
    assert "10" in refused.value.message
    assert "11" in refused.value.message
    assert active(member) == 10
    assert db.session.scalar(select(func.count()).select_from(PointsTransaction)) == 1
    books()


def test_spending_is_booked_once_a_source(db, program, make_member, books):
    member = make_member()
    give(member, 10)
    first = pay(member, 4)
    assert pay(member, 4).id == first.id
    assert active(member) == 6
    with pytest.raises(rules.SourceUsed):
        pay(member, 5)
    with pytest.raises(ValueError, match="spends nothing"):
        services.spend(member.id, 1, source_type="x", source_id="1", type=Kind.AWARD)
    books()


def test_expired_points_cannot_be_spent_even_if_no_sweep_ran(db, program, make_member, clock, books):
    member = make_member()
    give(member, 10, "soon", expires_at=clock.now() + timedelta(days=1))
    give(member, 5, "later")
    clock.move(days=2)
    assert queries.balance_of(member.id).active == 5
    with pytest.raises(rules.NotEnoughPoints):
        pay(member, 6)
    pay(member, 5, "order-2")
    assert active(member) == 0
    assert "PointsExpired" in names(db)
    books()


def test_returned_points_go_back_to_their_own_lots(db, program, make_member, clock, books):
    member = make_member()
    soon = give(member, 10, "soon", expires_at=clock.now() + timedelta(days=5))
    late = give(member, 10, "late", expires_at=clock.now() + timedelta(days=90))
    spent = pay(member, 15)
    back = services.give_back(spent, 7, source_type="till", source_id="return-1")
    # The last taken is filled first: what comes back is worth most.
    left = dict(db.session.execute(select(PointsLot.transaction_id, PointsLot.remaining)).all())
    assert left == {soon.id: 2, late.id: 10}
    assert services.give_back(spent, 7, source_type="till", source_id="return-1").id == back.id
    assert services.left_to_return(spent.id) == 8
    with pytest.raises(rules.NothingToReturn):
        services.give_back(spent, 9, source_type="till", source_id="return-2")
    services.give_back(spent)
    assert services.left_to_return(spent.id) == 0
    with pytest.raises(rules.NothingToReturn):
        services.give_back(spent, source_type="till", source_id="return-3")
    assert active(member) == 20
    expiries = {lot.transaction_id: lot.expires_at for lot in db.session.scalars(select(PointsLot))}
    assert expiries == {
        soon.id: clock.now() + timedelta(days=5),
        late.id: clock.now() + timedelta(days=90),
    }
    books()


def test_returned_points_that_lapsed_are_lost(db, set_program, make_member, clock, books):
    set_program(late=Late.LOST)
    member = make_member()
    give(member, 10, "soon", expires_at=clock.now() + timedelta(days=1))
    give(member, 10, "later")
    spent = pay(member, 12)
    clock.move(days=3)
    services.give_back(spent)
    assert active(member) == 10
    event = db.session.scalars(select(EventRecord).where(EventRecord.name == "PointsReturned")).one()
    assert (event.payload["points"], event.payload["lost"]) == (12, 10)
    books()


def test_returned_points_that_lapsed_are_opened_again(db, set_program, make_member, clock, books):
    set_program(late=Late.REOPENED, reopen_days=7)
    member = make_member()
    give(member, 10, "soon", expires_at=clock.now() + timedelta(days=1))
    spent = pay(member, 10)
    clock.move(days=3)
    services.give_back(spent)
    balance = queries.balance_of(member.id)
    assert (balance.active, balance.next_expiry_at) == (10, rules.expires_at(clock.now(), 7))
    clock.move(days=9)
    assert active(member) == 0
    services.settle_due()
    books()


def test_give_back_refuses_what_was_no_spending(db, program, make_member):
    with pytest.raises(ValueError, match="spent nothing"):
        services.give_back(give(make_member(), 5))


def test_adjusting_writes_reason_and_audit(db, program, make_member, books):
    member = make_member()
    given = services.adjust(member.id, 30, "Parcel was late", key="k1", staff_id=7)
    assert services.adjust(member.id, 30, "Parcel was late", key="k1", staff_id=7).id == given.id
    services.adjust(member.id, -10, "Counted twice", key="k2", staff_id=7)
    assert active(member) == 20
    rows = db.session.scalars(
        select(AuditEntry).where(AuditEntry.action == "points.adjusted").order_by(AuditEntry.id)
    ).all()
    assert [row.after for row in rows] == [
        {"points": 30, "change": 30, "reason": "Parcel was late"},
        {"points": 20, "change": -10, "reason": "Counted twice"},
    ]
    with pytest.raises(rules.ReasonMissing):
        services.adjust(member.id, 5, "  ", key="k3")
    with pytest.raises(rules.NotEnoughPoints):
        services.adjust(member.id, -21, "Too many", key="k4")
    with pytest.raises(rules.PointsInvalid):
        services.adjust(member.id, 0, "Nothing", key="k5")
    with pytest.raises(rules.SourceUsed):
        services.adjust(member.id, 31, "Other", key="k1")
    books()


def test_adjusting_stays_under_the_days_cap(db, program, make_member, clock):
    member = make_member()
    services.adjust(member.id, 60, "Sorry", key="k1", staff_id=7, cap=100)
    with pytest.raises(rules.AdjustCapReached):
        services.adjust(member.id, 41, "Sorry", key="k2", staff_id=7, cap=100)
    services.adjust(member.id, -40, "Oh", key="k3", staff_id=7, cap=100)
    services.adjust(member.id, 100, "Other colleague", key="k4", staff_id=8, cap=100)
    clock.move(days=1)
    services.adjust(member.id, 100, "Next day", key="k5", staff_id=7, cap=100)
    assert active(member) == 220


def test_inv_p1_the_database_refuses_an_unbalanced_transaction(db, program, make_member):
    """The teeth of P1: a leg alone, however it is written, fails in the statement that writes it."""
    give(make_member(), 5)
    transaction, account = db.session.execute(
        select(PointsTransaction.id, PointsAccount.id).join(
            PointsAccount, PointsAccount.id == PointsTransaction.account_id
        )
    ).one()
    with pytest.raises(IntegrityError, match="sum to zero"), db.session.begin_nested():
        db.session.execute(
            text("INSERT INTO points_entry (transaction_id, account_id, bucket, amount) VALUES (:t, :a, 'active', 1)"),
            {"t": transaction, "a": account},
        )


def test_a_member_opens_one_account_and_the_shop_one_of_each_kind(db, program, make_member):
    member = make_member()
    give(member, 5)
    pay(member, 2)
    give(member, 5, "b")
    rows = db.session.execute(select(PointsAccount.kind, func.count()).group_by(PointsAccount.kind)).all()
    opened = [("breakage", 1), ("liability", 1), ("member", 1), ("promotion", 1)]
    assert sorted((kind.value, number) for kind, number in rows) == opened


def test_a_negative_balance_is_made_up_for_before_anything_can_be_spent(
    db, set_program, make_member, make_order, books
):
    set_program(clawback=Clawback.ALLOW_NEGATIVE, lot_days=None)
    member = make_member()
    order = make_order(member, completed=0.5)
    services.settle_order(order.id)
    pay(member, 80)
    order.refunded_amount = 100_00
    services.settle_order(order.id)
    assert active(member) == -80
    with pytest.raises(rules.NotEnoughPoints):
        pay(member, 1, "x")
    give(member, 50)
    assert active(member) == -30
    give(member, 50, "b")
    assert active(member) == 20
    pay(member, 20, "y")
    assert db.session.scalars(select(PointsLot.state).where(PointsLot.remaining > 0)).all() == []
    assert {lot.state for lot in db.session.scalars(select(PointsLot))} == {LotState.ACTIVE}
    books()


# ── Erased people ───────────────────────────────────────────────────────────────────────────────────────────────────


def owed() -> tuple[int, int]:
    """What the trial balance says that members hold, and what has gone to the breakage."""
    lines = {line.kind: line.total for line in queries.trial_balance()}
    return lines[AccountKind.MEMBER], lines[AccountKind.BREAKAGE]


def test_erasing_writes_points_off_in_one_balanced_transaction(db, program, make_member, make_order, books):
    member, other = make_member(), make_member()
    give(member, 70)
    give(other, 5)
    services.settle_order(make_order(member, 100_00).id)
    assert owed() == (175, 0)
    erasure.erase(member.id, str(member.id))
    assert owed() == (5, 170)
    [one] = db.session.scalars(select(PointsTransaction).where(PointsTransaction.type == Kind.ERASE))
    assert one.points == -170
    assert not queries.unreconciled()
    assert sum(month.expired for month in queries.by_month()) == 170
    books()
    assert services.write_off([member.id]) == 0
    assert services.write_off([10**9]) == 0


def test_a_refund_after_the_erasure_moves_no_points(db, program, make_member, make_order, books):
    member = make_member()
    order = make_order(member, 100_00, delivered=30)
    services.settle_order(order.id)
    spent = pay(member, 40)
    erasure.erase(member.id, str(member.id))
    db.session.refresh(order)
    order.refunded_amount = 100_00
    db.session.flush()
    services.settle_order(order.id)
    services.settle_orders([order.id])
    assert owed() == (0, 60)
    # What a till gives back for them can be spent by nobody.
    services.give_back(spent)
    assert owed() == (0, 100)
    assert db.session.execute(
        select(PointsAccount.shortfall, PointsAccount.overdrawn).where(PointsAccount.member_id == member.id)
    ).one() == (0, 0)
    books()


def test_what_an_erased_member_owed_is_let_go(db, set_program, make_member, make_order, books):
    set_program(clawback=Clawback.ALLOW_NEGATIVE, lot_days=None)
    member = make_member()
    order = make_order(member, 100_00, completed=1)
    services.settle_order(order.id)
    pay(member, 80)
    order.refunded_amount = 100_00
    db.session.flush()
    services.settle_order(order.id)
    assert owed() == (-80, 0)
    erasure.erase(member.id, str(member.id))
    assert owed() == (0, -80)
    assert not queries.unreconciled()
    books()
