"""Claims keep their books right while web processes are killed -9 at each moment of the writer's work, and at random.

Two processes serve real claims over HTTP. After every kill: stock + claims = constant, whoever was told that a coupon is
theirs has it, and whoever was told nothing taps again and is shown one, never two.
"""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import func, select

from kernel import visitors
from kernel.db import db, transaction
from membership.coupons import rules, services
from membership.coupons.models import Coupon, CouponEvent, CouponKind, Offer, OfferState
from tests.faults.dying import HOOKS
from tests.live import children, eventually
from tests.strays import strays
from tests.webshop import Visitor, WebShop, ask, outcome, post

pytestmark = pytest.mark.fault
CROWD, STOCK, HANDS = 40, 30, 8


@pytest.fixture(scope="module")
def shop() -> Iterator[WebShop]:
    with WebShop("tests.faults.dying") as found:
        yield found


@pytest.fixture(scope="module")
def crowd(shop: WebShop) -> list[Visitor]:
    return shop.members(CROWD)


def make_offer(shop: WebShop, stock: int = STOCK) -> tuple[int, str]:
    assert shop.app is not None
    with shop.app.app_context(), transaction():
        draft = services.Draft(name="Crash", kind=CouponKind.AMOUNT, value=2000, valid_days=14, stock=stock)
        offer = services.create(draft, OfferState.ACTIVE)
        return offer.id, f"/o/{services.make_link(offer.id, 'crash').token}"


class Crowd:
    """People who tap until they are answered, a few at a time; what each was told is written down."""

    def __init__(self, shop: WebShop, people: list[Visitor], path: str) -> None:
        self.shop, self.path = shop, path
        self.left = list(people)
        random.shuffle(self.left)
        self.lock = threading.Lock()
        self.told: dict[int, str] = {}
        self.taps: Counter[int] = Counter()
        self.threads = [threading.Thread(target=self.tap, daemon=True) for _ in range(HANDS)]

    def __enter__(self) -> Crowd:
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        for thread in self.threads:
            thread.join(120)
        assert not self.left

    def tap(self) -> None:
        while True:
            with self.lock:
                if not self.left:
                    return
                person = self.left.pop()
            while True:
                self.taps[person.member_id] += 1
                answer = ask(self.shop, person.post(self.path, n="1"))
                if answer is not None and answer.status < 500:
                    break
                time.sleep(0.02)
            self.told[person.member_id] = outcome(answer)


def books(shop: WebShop, offer_id: int) -> tuple[Counter[int], int, int]:
    """(coupons by member, what the offer's row counts, its stock)."""
    assert shop.app is not None
    with shop.app.app_context():
        held = Counter(db.session.scalars(select(Coupon.member_id).where(Coupon.offer_id == offer_id)))
        offer = db.session.get_one(Offer, offer_id)
        events = db.session.execute(
            select(CouponEvent.coupon_id, func.count())
            .join(Coupon, Coupon.id == CouponEvent.coupon_id)
            .where(Coupon.offer_id == offer_id)
            .group_by(CouponEvent.coupon_id)
        ).all()
        # A coupon and its first event were committed together.
        assert [row[1] for row in events] == [1] * held.total()
        assert strays(db) == []
        return held, offer.claimed, offer.stock or 0


def deaths(shop: WebShop) -> int:
    return len(list(shop.folder.glob("died-*")))


def workers(shop: WebShop) -> list[int]:
    assert shop.process is not None
    return children().get(shop.process.pid, [])


def one_round(shop: WebShop, crowd: list[Visitor], kill: str) -> tuple[int, int]:
    """A crowd at one offer with a kill among them; how many processes died, and how many taps were not answered."""
    offer_id, path = make_offer(shop)
    before, killed = deaths(shop), 0
    asked = shop.folder / f"die-{kill}"
    if kill in HOOKS:
        asked.touch()
    with Crowd(shop, crowd, path) as people:
        if kill == "random":
            time.sleep(random.uniform(0.0, 0.15))
            unlucky = random.choice(workers(shop))
            os.kill(unlucky, signal.SIGKILL)
            killed = 1
    asked.unlink(missing_ok=True)
    held, claimed, stock = books(shop, offer_id)
    # Stock + claims = constant, and one each.
    assert claimed == held.total() == STOCK == stock
    assert set(held.values()) == {1}
    told = people.told
    assert set(told.values()) <= {"fresh", "again", "409"}
    # Whoever was told that it is theirs has it, and whoever has one was told so.
    assert {member for member, said in told.items() if said in ("fresh", "again")} == set(held)
    # A repeat tap of everybody shows it as theirs, and moves nothing.
    person = next(visitor for visitor in crowd if visitor.member_id in held)
    again = eventually(lambda: ask(shop, person.post(path, n="1")))
    assert outcome(again) == "again"
    assert books(shop, offer_id) == (held, claimed, stock)
    return deaths(shop) - before + killed, people.taps.total() - len(crowd)


def rounds(shop: WebShop, crowd: list[Visitor], kills: int) -> None:
    """Kill so many processes, at every hook in turn and at random."""
    died = unanswered = 0
    kinds = (*HOOKS, "random")
    number = 0
    while died < kills:
        dead, lost = one_round(shop, crowd, kinds[number % len(kinds)])
        died, unanswered, number = died + dead, unanswered + lost, number + 1
        assert number < 3 * kills, f"only {died} of {kills} processes died in {number} rounds"
        eventually(lambda: len(workers(shop)) >= 2)
    # They were killed at work: answers were lost, and the claims behind them were not.
    assert unanswered > 0


def test_check_g5_thirty_kills_lose_and_repeat_no_claim(shop: WebShop, crowd: list[Visitor]) -> None:
    rounds(shop, crowd, 30)


@pytest.mark.long
def test_check_g5_five_hundred_kills_lose_and_repeat_no_claim(shop: WebShop, crowd: list[Visitor]) -> None:
    rounds(shop, crowd, 500)


@pytest.mark.parametrize("hook", HOOKS)
def test_a_stranger_whose_answer_was_lost_taps_again_and_finds_it_theirs(shop: WebShop, hook: str) -> None:
    """On a personal link nobody is bound beforehand: the token that the page has put into the browser is what tells."""
    assert shop.app is not None
    owner = shop.members(1)[0]
    offer_id, _path = make_offer(shop)
    with shop.app.test_request_context():
        path = services.personal_path(owner.member_id, offer_id)
    cookies, token = shop.form_token(path)
    (shop.folder / f"die-{hook}").touch()
    request = post(path, cookies, {"csrf_token": token, "n": "1"})
    assert ask(shop, request) is None
    held, claimed, _stock = books(shop, offer_id)
    assert claimed == held.total() == (1 if hook == "after-commit" else 0)
    again = eventually(lambda: (answer := ask(shop, request)) and answer.status == 303 and answer)
    assert outcome(again) == ("again" if hook == "after-commit" else "fresh")
    assert f"{visitors.cookie_name(shop.url)}=" in again.headers["set-cookie"]
    assert books(shop, offer_id)[1] == 1
    # Another browser with the same link is shown nothing of it.
    stranger, stranger_token = shop.form_token("/me/sign-in")
    other = ask(shop, post(path, stranger, {"csrf_token": stranger_token, "n": "1"}))
    assert other is not None
    assert (other.status, "visitor=" in other.headers.get("set-cookie", "")) == (200, False)


def test_a_claim_that_was_told_is_a_fold_of_its_events(shop: WebShop, crowd: list[Visitor]) -> None:
    offer_id, _path = make_offer(shop)
    one_round(shop, crowd, "after-insert")
    assert shop.app is not None
    with shop.app.app_context():
        rows = db.session.execute(
            select(Coupon.state, CouponEvent.from_state, CouponEvent.to_state).join(
                CouponEvent, CouponEvent.coupon_id == Coupon.id
            )
        ).all()
        assert all(rules.folded([(row[1], row[2])]) == row[0] for row in rows)
        assert db.session.scalar(select(Offer.claimed).where(Offer.id == offer_id)) == 0


def test_teeth_a_claim_told_before_its_commit_is_lost(shop: WebShop) -> None:
    """The kill between the insert and the commit really falls there: nothing of the claim is left."""
    owner = shop.members(1)[0]
    offer_id, path = make_offer(shop)
    (Path(shop.folder) / "die-after-insert").touch()
    assert ask(shop, owner.post(path, n="1")) is None
    assert books(shop, offer_id)[0].total() == 0
    eventually(lambda: (answer := ask(shop, owner.post(path, n="1"))) and outcome(answer) == "fresh")
