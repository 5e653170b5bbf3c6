"""A draw that several workers come to at once, tickets under many thumbs, and a shelf with fewer pieces than people."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import func, select, text

from community.activities import jobs, queries, rules, services
from community.activities.models import Lottery, LotteryEntry, LotteryState, PrizeState, SaleKind
from community.activities.services import draws
from community.groups.models import Group, GroupKind, GroupState, Seat, SeatState, SubGroup
from kernel import clock
from kernel.db import db, transaction
from membership.coupons import rules as coupon_rules
from membership.coupons import services as coupons
from membership.coupons.models import Coupon, CouponKind, OfferState
from membership.members.models import Member
from membership.members.services import merge
from membership.products.models import Product
from tests.committed import at_once

pytestmark = pytest.mark.race
PEOPLE = 12


def furnish(app: Flask, people: int = PEOPLE) -> tuple[int, list[int]]:
    """A group, and the members who sit in it."""
    with app.app_context(), transaction():
        now = clock.now()
        group = Group(
            public_id="acts", name="Acts", kind=GroupKind.REGULAR, state=GroupState.OPEN, seated=people, created_at=now,
            join_rule={},
        )  # fmt: skip
        members = [Member(stage_since=now, created_at=now) for _ in range(people)]
        db.session.add_all([group, *members])
        db.session.flush()
        part = SubGroup(group_id=group.id, number=1, seats=500, seated=people)
        db.session.add(part)
        db.session.flush()
        db.session.add_all(
            Seat(
                group_id=group.id, sub_group_id=part.id, member_id=member.id, state=SeatState.TAKEN, held_at=now,
                joined_at=now, barred=False,
            )
            for member in members
        )  # fmt: skip
        db.session.flush()
        return group.id, [member.id for member in members]


def announce(app: Flask, group_id: int, prizes: int = 3) -> int:
    with app.app_context(), transaction():
        offer = coupons.create(
            coupons.Draft(name="Prize", kind=CouponKind.AMOUNT, value=100, valid_days=7), OfferState.ACTIVE
        )
        draft = services.LotteryDraft(
            "Race", clock.now() + timedelta(days=1), (services.PrizeDraft(prizes, offer_id=offer.id),)
        )
        made = services.create(db.session.get_one(Group, group_id), draft, "race")
        return services.announce(made.id).id


def close(app: Flask, lottery_id: int) -> None:
    """Let entry be over by the clock."""
    with app.app_context(), transaction():
        db.session.get_one(Lottery, lottery_id).closes_at = clock.now() - timedelta(seconds=1)


def enter_all(app: Flask, lottery_id: int, members: list[int]) -> None:
    with app.app_context():
        for member_id in members:
            with transaction():
                services.enter(queries.get_lottery(lottery_id), member_id)


def came_of(app: Flask) -> tuple[int, int, int]:
    """Places given, prizes given, coupons there are."""
    with app.app_context():
        places = db.session.scalar(select(func.count()).where(LotteryEntry.place.is_not(None))) or 0
        given = db.session.scalar(select(func.count()).where(LotteryEntry.prize_state == PrizeState.GIVEN)) or 0
        return places, given, db.session.scalar(select(func.count()).select_from(Coupon)) or 0


def test_six_workers_hold_one_draw_and_give_each_prize_once(committed: Flask) -> None:
    group_id, members = furnish(committed)
    lottery_id = announce(committed, group_id)
    enter_all(committed, lottery_id, members)
    close(committed, lottery_id)
    assert at_once(committed, [jobs.settle.direct] * 6) == []
    with committed.app_context():
        jobs.settle.direct()
        lottery = queries.get_lottery(lottery_id)
        seed = services.seed_shown(lottery)
        assert seed is not None
        won = [entry.ticket for entry, _member, _prize in queries.winners_of(lottery_id)]
        assert won == rules.winners(seed, lottery.tickets, 3)
    assert came_of(committed) == (3, 3, 3)


@pytest.mark.parametrize("guarded", [True, False])
def test_a_draw_is_held_once_and_without_the_guard_twice(
    committed: Flask, monkeypatch: pytest.MonkeyPatch, guarded: bool
) -> None:
    """Both have read that it is still to be done; that the `UPDATE … WHERE state` met no row is what stops the second."""
    if not guarded:
        monkeypatch.setattr(draws, "changed", lambda done: 1)
    group_id, members = furnish(committed)
    lottery_id = announce(committed, group_id)
    enter_all(committed, lottery_id, members)
    close(committed, lottery_id)
    with committed.app_context(), transaction():
        services.freeze(lottery_id)
    looked, drawn = threading.Barrier(2), []

    def draw() -> None:
        with transaction():
            assert queries.get_lottery(lottery_id).state == "frozen"
            looked.wait(30)
            drawn.append(services.draw(lottery_id))

    assert at_once(committed, [draw, draw]) == []
    assert sorted(drawn) == ([False, True] if guarded else [True, True])


def test_a_prize_that_fails_holds_up_no_other(committed: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    group_id, members = furnish(committed)
    lottery_id = announce(committed, group_id)
    enter_all(committed, lottery_id, members)
    close(committed, lottery_id)
    give = services.hand_over
    tried: list[int] = []

    def give_but_the_first(entry_id: int) -> object:
        tried.append(entry_id)
        if entry_id == min(tried):
            raise RuntimeError("no room on the disk")
        return give(entry_id)

    with monkeypatch.context() as patched, committed.app_context():
        patched.setattr(services, "hand_over", give_but_the_first)
        jobs.settle.direct()
    assert came_of(committed) == (3, 2, 2)
    with committed.app_context():
        jobs.settle.direct()
    assert came_of(committed) == (3, 3, 3)


def somebody_waits(done: threading.Event) -> bool:
    """Whether a statement comes to wait for a lock before something is done."""
    waits = text(
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    )
    for _look in range(600):
        with transaction():
            waiting = bool(db.session.scalar(waits))
        if waiting or done.wait(0.1):
            return waiting
    return False


class Halt:
    """A place on the way of a first piece of work, where it stays until a second one waits for it, or has not waited."""

    def __init__(self) -> None:
        self._reached, self._go_on, self._done = threading.Event(), threading.Event(), threading.Event()
        self.waited: bool | None = None

    def stay(self) -> None:
        self._reached.set()
        assert self._go_on.wait(60)

    def cross(self, app: Flask, first: Callable[[], Any], second: Callable[[], Any]) -> list[BaseException]:
        """Do the first, and the second once that stays; what went wrong with either. `waited` says whether the second waited."""

        def begin() -> None:
            with transaction():
                first()

        def follow() -> None:
            assert self._reached.wait(60)
            with transaction():
                second()
            self._done.set()

        def look() -> None:
            assert self._reached.wait(60)
            self.waited = somebody_waits(self._done)
            self._go_on.set()

        return at_once(app, [begin, follow, look])


def test_a_merge_during_a_draw_keeps_the_ticket_that_wins(committed: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    """The draw has looked who holds which ticket and has not given the place yet: the merge waits, and keeps the winner's."""
    group_id, (survivor, absorbed) = furnish(committed, 2)
    lottery_id = announce(committed, group_id, prizes=1)
    enter_all(committed, lottery_id, [survivor, absorbed])
    close(committed, lottery_id)
    with committed.app_context(), transaction():
        services.freeze(lottery_id)
        wins = db.session.scalars(select(LotteryEntry.ticket).where(LotteryEntry.member_id == absorbed)).one()
    halt = Halt()

    def hold(*_asked: Any) -> list[str]:
        halt.stay()
        return [wins]

    monkeypatch.setattr(rules, "winners", hold)
    assert halt.cross(committed, lambda: services.draw(lottery_id), lambda: merge.merge(survivor, absorbed)) == []
    with committed.app_context():
        left = db.session.execute(select(LotteryEntry.member_id, LotteryEntry.ticket, LotteryEntry.place)).all()
        assert (halt.waited, left) == (True, [(survivor, wins, 1)])


@pytest.mark.parametrize("guarded", [True, False])
def test_a_prize_and_a_merge_of_its_winner_do_not_deadlock(
    committed: Flask, monkeypatch: pytest.MonkeyPatch, guarded: bool
) -> None:
    """The prize is about to be given as its winner's record is merged: the merge waits for it, and takes the coupon along.

    Where the ticket is held before the winner, the merge has the one record already and waits for the other: one is ended.
    """
    group_id, (survivor, absorbed) = furnish(committed, 2)
    lottery_id = announce(committed, group_id, prizes=1)
    enter_all(committed, lottery_id, [absorbed])
    close(committed, lottery_id)
    with committed.app_context(), transaction():
        services.freeze(lottery_id)
        services.draw(lottery_id)
        (entry_id,) = services.owed()
    halt, grant = Halt(), draws.coupons.grant_many

    def hold(*asked: Any) -> Any:
        halt.stay()
        return grant(*asked)

    if not guarded:
        monkeypatch.setattr(draws, "_held_winner", lambda member_id, _prize: db.session.get_one(Member, member_id))
    monkeypatch.setattr(draws.coupons, "grant_many", hold)
    ended = halt.cross(committed, lambda: services.hand_over(entry_id), lambda: merge.merge(survivor, absorbed))
    assert (halt.waited, ["deadlock detected" in str(fault) for fault in ended]) == (True, [] if guarded else [True])
    if guarded:
        with committed.app_context():
            owners = (
                db.session.scalars(select(Coupon.member_id)).all(),
                db.session.scalars(
                    select(LotteryEntry.member_id).where(LotteryEntry.prize_state == PrizeState.GIVEN)
                ).all(),
            )
            assert owners == ([survivor], [survivor])


def test_a_ticket_is_on_the_list_or_was_never_given(committed: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tap that was found in time and is not committed yet: the freeze waits for it, and its ticket is on the list."""
    group_id, members = furnish(committed)
    lottery_id = announce(committed, group_id)
    after = clock.now() + timedelta(days=2)
    halt, phase_of = Halt(), rules.lottery_phase

    def hold(*facts: Any) -> rules.Phase:
        phase = phase_of(*facts)
        halt.stay()
        return phase

    def tap() -> None:
        services.enter(queries.get_lottery(lottery_id), members[0])

    # Only the freeze lives two days later, when entry is over.
    monkeypatch.setattr(draws, "clock", SimpleNamespace(now=lambda: after))
    monkeypatch.setattr(rules, "lottery_phase", hold)
    assert halt.cross(committed, tap, lambda: services.freeze(lottery_id)) == []
    with committed.app_context():
        ticket = db.session.scalars(select(LotteryEntry.ticket)).one()
        lottery = queries.get_lottery(lottery_id)
        assert (halt.waited, lottery.state, lottery.tickets) == (True, LotteryState.FROZEN, [ticket])


def test_a_hundred_claims_share_ten_pieces(committed: Flask) -> None:
    """The shelf is the offer's: what holds it is proved in `test_claims`; here, that a sale goes by it."""
    people, pieces = 25, 10
    group_id, members = furnish(committed, people)
    with committed.app_context(), transaction():
        product = Product(source="s", sku="MUG", title="Mug", list_price=10_000, cost=100, created_at=clock.now())
        db.session.add(product)
        db.session.flush()
        draft = services.SaleDraft("Mug", product.id, 6_000, clock.now() + timedelta(hours=1), stock=pieces)
        group = db.session.get_one(Group, group_id)
        sale = services.create_sale(group, SaleKind.FLASH_SALE, draft, "race")
        services.start_sale(sale.id)
        sale_id = sale.id
    got: list[int] = []

    def claim(member_id: int) -> None:
        try:
            with transaction():
                if services.claim(queries.get_sale(sale_id), member_id).fresh:
                    got.append(member_id)
        except coupon_rules.SoldOut:
            return

    assert at_once(committed, [partial(claim, member_id) for member_id in members * 4]) == []
    with committed.app_context():
        found = queries.on_sale(sale_id)
        coupons_out = db.session.scalar(select(func.count()).select_from(Coupon))
    assert (len(got), len(set(got)), coupons_out, found.left, found.offer.claimed) == (
        pieces,
        pieces,
        pieces,
        0,
        pieces,
    )
