"""Files and programs that bring the same orders at the same moment (check I4): one state, and the proof that this could fail."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from flask import Flask
from sqlalchemy import text

from kernel.db import db, transaction
from membership.orders import queries, services
from membership.orders.formats.drafts import Buyer, LineDraft, OrderDraft
from membership.orders.models import OrderState
from membership.orders.services import intake, runs
from membership.tiers import services as tiers
from membership.tiers.models import Window
from membership.tiers.rules import STANDARD
from tests.committed import at_once, clear
from tests.conftest import NOON
from tests.membership.orders.files import line, write
from tests.strays import strays

pytestmark = pytest.mark.race
ORDERS, PEOPLE = 240, 30


def files(folder: Path, seed: int) -> list[Path]:
    """Two files with the same orders, each in an order of its own; the second knows some of them in a newer version."""
    chance = random.Random(seed)
    old = [line(order_no=f"N{n}", buyer_id=str(n % PEOPLE)) for n in range(ORDERS)]
    new = [
        line(order_no=f"N{n}", buyer_id=str(n % PEOPLE), refunded_amount="10.00" if n % 3 == 0 else "0")
        for n in range(ORDERS // 4, ORDERS + ORDERS // 4)
    ]
    chance.shuffle(old)
    chance.shuffle(new)
    return [write(folder / f"{seed}-old.csv", old), write(folder / f"{seed}-new.csv", new)]


def program() -> None:
    """A shop system that sends the same orders one by one."""
    at = NOON - timedelta(days=57)
    for number in range(0, ORDERS, 12):
        draft = OrderDraft(
            external_id=f"N{number}", state=OrderState.PAID, placed_at=at, paid_at=at, version_at=at, paid_amount=100_00,
            postage=8_00, buyer=Buyer(number=str(number % PEOPLE)), lines=(LineDraft("CUP", "Cup", 1, 92_00),),
        )  # fmt: skip
        with transaction():
            services.record("shop", draft)


SUMS = """
    SELECT count(*), sum(refunded_amount), (SELECT count(*) FROM order_line), (SELECT count(*) FROM member),
           (SELECT sum(orders_count) FROM member), (SELECT sum(spend) FROM member), (SELECT count(*) FROM product)
    FROM "order"
"""


def sums(app: Flask) -> tuple[int, ...]:
    with app.app_context():
        return tuple(db.session.execute(text(SUMS)).one())


def expected() -> tuple[int, ...]:
    total = ORDERS + ORDERS // 4
    refunds = sum(1 for n in range(ORDERS // 4, total) if n % 3 == 0)
    return (total, refunds * 10_00, total, PEOPLE, total, total * 92_00 - refunds * 10_00, 1)


def reports(app: Flask) -> list[tuple[int, int, int]]:
    with app.app_context():
        return [(run.rows_in, run.accepted + run.duplicate, run.orders_new) for run in queries.runs()]


def round_of_imports(app: Flask, folder: Path, seed: int) -> list[BaseException]:
    old, new = files(folder, seed)
    works = [lambda: services.run_inline(old, "shop"), lambda: services.run_inline(new, "shop"), program]
    return at_once(app, works)


def test_check_i4_two_files_and_a_program_at_once_end_right(
    committed: Flask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "BATCH_ROWS", 40)
    # Members are settled in parts, two at a time.
    monkeypatch.setattr(runs, "MEMBERS_AT_ONCE", 7)
    for seed in range(5):
        assert round_of_imports(committed, tmp_path, seed) == []
        assert sums(committed) == expected(), f"round {seed}"
        with committed.app_context():
            assert strays(db) == []
        assert all(rows == told == ORDERS for rows, told, _new in reports(committed))
        clear(committed)


def test_check_i4_without_the_guard_it_goes_wrong(
    committed: Flask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "BATCH_ROWS", 40)
    monkeypatch.setattr(runs, "TRIES", 1)
    monkeypatch.setattr(intake, "lock_writers", lambda: None)
    wrong = 0
    for seed in range(6):
        raised = round_of_imports(committed, tmp_path, seed)
        wrong += bool(raised) or sums(committed) != expected()
        clear(committed)
    assert wrong >= 3, f"only {wrong} of 6 rounds went wrong: this race has no teeth"


def test_one_order_fifty_times_at_once_is_one_order(committed: Flask) -> None:
    at = NOON - timedelta(days=57)
    draft = OrderDraft(
        external_id="N1", state=OrderState.COMPLETED, placed_at=at, paid_at=at, version_at=at, paid_amount=100_00,
        buyer=Buyer(number="1", phone="+8613800000000"), lines=(LineDraft("CUP", "Cup", 1, 100_00),),
    )  # fmt: skip

    def send() -> None:
        for _ in range(10):
            with transaction():
                services.record("shop", draft)

    assert at_once(committed, [send] * 5) == []
    assert sums(committed) == (1, 0, 1, 1, 1, 100_00, 1)


def test_a_run_started_by_five_workers_is_done_by_one(
    committed: Flask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "BATCH_ROWS", 10)
    path = write(tmp_path / "a.csv", [line(order_no=f"N{n}", buyer_id=str(n)) for n in range(60)])
    with committed.app_context(), transaction(), path.open("rb") as stream:
        run_id = services.keep(stream, path.name, "shop").id
        runs._begin(run_id)
    ended: list[bool] = []
    assert at_once(committed, [lambda: ended.append(services.work(run_id))] * 5) == []
    assert sorted(ended) == [False] * 4 + [True]
    assert reports(committed) == [(60, 60, 60)]
    assert sums(committed)[0] == 60


def test_reviews_at_once_change_each_tier_once(committed: Flask, tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.csv", [line(order_no=f"N{n}", buyer_id=str(n % 20), unit_price="92.00") for n in range(60)]
    )
    with committed.app_context():
        services.run_inline(path, "shop")

    def review() -> None:
        with transaction():
            tiers.reassess()

    # Orders of January 2026: the held clock would have to be held in every thread, so the window is all of time.
    with committed.app_context(), transaction():
        tiers.save_policy(replace(STANDARD, window=Window.LIFETIME, rolling_days=None))
    assert at_once(committed, [review] * 6) == []
    with committed.app_context():
        changes = db.session.execute(text("SELECT member_id, count(*), max(to_rank) FROM tier_change GROUP BY 1")).all()
    assert [tuple(row)[1:] for row in changes] == [(1, 2)] * 20
