"""The delivery ledger as a state machine under faults: invariants D1 to D4 against a model of plain Python.

Hypothesis plans, sends, kills the sender at any statement, commit or call, takes its lease away while it calls, lets the reaper
come, pauses, cancels, lets members opt out and buy. The gateway keeps its own ledger and answers, refuses, is silent after
taking, or cannot be reached. After every step the books are compared with what the gateway has.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from sqlalchemy import Engine, event, func, insert, select, update

from campaigns.channels import registry
from campaigns.channels.adapters import Abilities, Message, Outcome, Status
from campaigns.channels.models import Account, ChannelKind, ContactClass
from campaigns.pushes import drain, rules, services
from campaigns.pushes.models import OPEN_STATES, Delivery, DeliveryState, Run, RunState, Slice
from kernel import clock, shop
from kernel.db import Session, db, transaction
from membership.members.models import Consent, Contact, Member, Purpose
from tests.committed import clear
from tests.conftest import NOON
from tests.faults.midway import Killed

pytestmark = pytest.mark.fault
S = DeliveryState
PEOPLE, OF_A_SLICE, OF_A_BATCH = 9, 4, 2
NUMBERS = itertools.count()


class Doom:
    """Kills the sender at its nth hook: a statement, a commit, the gateway's door inwards or outwards. Whatever it still wants
    of the database or the gateway after that is refused, as after SIGKILL."""

    def __init__(self) -> None:
        self.left: int | None = None
        self.dead = False

    def hook(self, *_: Any) -> None:
        if self.dead:
            raise Killed
        if self.left is not None:
            self.left -= 1
            if self.left <= 0:
                self.dead = True
                raise Killed

    @contextmanager
    def after(self, hooks: int | None) -> Iterator[None]:
        self.left, self.dead = hooks, False
        try:
            yield
        except Killed:
            pass
        finally:
            self.left, self.dead = None, False
            db.session.rollback()


class Gateway:
    """An adapter without idempotence that keeps a ledger, and does with each batch what it was told to."""

    abilities = Abilities(
        ChannelKind.WEBHOOK, Contact.SMS, batch_size=OF_A_BATCH, longest=timedelta(seconds=5), silent=True
    )

    def __init__(self, doom: Doom) -> None:
        self.doom = doom
        self.taken: Counter[int] = Counter()
        self.by_member: Counter[int] = Counter()
        self.agreed: dict[int, bool] = {}
        self.answers: list[str] = []
        self.meanwhile: Callable[[], None] | None = None

    def submit(self, batch: Sequence[Message]) -> list[Outcome]:
        self.doom.hook()
        answer = self.answers.pop(0) if self.answers else "accept"
        if answer in ("accept", "silence", "stall"):
            for message in batch:
                # D2: nothing goes to somebody whose last word is no.
                assert self.agreed[message.member_id], "sent without consent"
                self.taken[message.delivery_id] += 1
                self.by_member[message.member_id] += 1
        self.doom.hook()
        if answer == "stall" and self.meanwhile is not None:
            self.meanwhile()
        match answer:
            case "accept" | "stall":
                return [Outcome(Status.ACCEPTED, provider_id="p") for _ in batch]
            case "refuse":
                return [Outcome(Status.REJECTED, "no such number") for _ in batch]
            case "silence":
                return [Outcome(Status.UNKNOWN, "timeout") for _ in batch]
            case "lost":
                return [Outcome(Status.UNKNOWN, "reset") for _ in batch]
            case _:
                return [Outcome(Status.RETRY, "busy", down=answer == "down") for _ in batch]

    def probe(self) -> str | None:
        return None

    def close(self) -> None:
        return None


ANSWERS = st.lists(
    st.sampled_from(["accept", "accept", "accept", "refuse", "silence", "lost", "busy", "down", "stall"]), max_size=6
)


class Ledger(RuleBasedStateMachine):
    """Two pushes to the same few people, of whom nobody may hear twice on one day."""

    app: Flask
    step: Callable[[timedelta], None]

    def __init__(self) -> None:
        super().__init__()
        self.doom = Doom()
        self.gateway = Gateway(self.doom)
        self.context = self.app.app_context()
        self.context.push()
        self.adapter_of, registry.adapter_of = registry.adapter_of, lambda _account: self.gateway  # type: ignore[assignment]
        event.listen(Engine, "before_cursor_execute", self.doom.hook)
        event.listen(Session, "before_commit", self.doom.hook)
        self.moved = timedelta()
        self.runs: list[int] = []
        self.members: list[int] = []

    def teardown(self) -> None:
        try:
            if self.runs:
                self.come_to_an_end()
        finally:
            event.remove(Engine, "before_cursor_execute", self.doom.hook)
            event.remove(Session, "before_commit", self.doom.hook)
            registry.adapter_of = self.adapter_of
            db.session.remove()
            self.context.pop()
            type(self).step(-self.moved)

    # ── What there is ───────────────────────────────────────────────────────────────────────────────────────────────

    @initialize(without=st.sets(st.integers(0, PEOPLE - 1), max_size=3))
    def begin(self, without: set[int]) -> None:
        now = clock.now()
        with transaction():
            rows = [
                {
                    "nickname": "Lime",
                    "phone": f"+86100{next(NUMBERS):08}",
                    "created_at": now,
                    "stage_since": now,
                }
                for _ in range(PEOPLE)
            ]
            self.members = list(db.session.scalars(insert(Member).returning(Member.id), rows))
            for number, member in enumerate(self.members):
                self.say(member, number not in without)
            account = Account(name="Gateway", kind=ChannelKind.WEBHOOK, settings={}, created_at=now)
            db.session.add(account)
            db.session.flush()
            for name in ("first", "second"):
                push = services.write(
                    None,
                    name=name,
                    account_id=account.id,
                    audience={"rules": []},
                    subject="Hello",
                    body="Tea",
                    contact_class=ContactClass.BROADCAST,
                )
                self.runs.append(services.run_for(push, "once", self.members).id)
            self.account_id = account.id
        with transaction():
            for run in services.due():
                services.start(run)

    def say(self, member: int, yes: bool) -> None:
        row = {"channel": Contact.SMS, "purpose": Purpose.MARKETING, "source": "test", "text_version": "1"}
        db.session.execute(insert(Consent), [{"member_id": member, "at": clock.now(), "granted": yes, **row}])
        self.gateway.agreed[member] = yes

    def run_at(self, which: int) -> Run:
        return db.session.get_one(Run, self.runs[which], populate_existing=True)

    # ── What happens ────────────────────────────────────────────────────────────────────────────────────────────────

    @rule(which=st.integers(0, 1), dies=st.none() | st.integers(1, 12))
    def plan(self, which: int, dies: int | None) -> None:
        with self.doom.after(dies), transaction():
            services.fan_out(self.runs[which])

    @rule(which=st.integers(0, 1), answers=ANSWERS, dies=st.none() | st.integers(1, 60), out=st.integers(0, PEOPLE - 1))
    def send(self, which: int, answers: list[str], dies: int | None, out: int) -> None:
        """A worker sends until it dies. While the gateway stalls it, its lease runs out and somebody opts out."""
        self.gateway.answers = list(answers)
        self.gateway.meanwhile = lambda: self.while_it_is_frozen(out)
        with self.doom.after(dies):
            drain.drain(self.runs[which], budget_seconds=20)
        self.gateway.answers = []

    def while_it_is_frozen(self, out: int) -> None:
        left, self.doom.left = self.doom.left, None
        with self.app.app_context():
            self.go_on(timedelta(seconds=30))
            with transaction():
                services.reap()
                self.say(self.members[out], False)
        self.doom.left = left

    def go_on(self, span: timedelta) -> None:
        # Caps are by the day, and the day is to stay the same.
        if self.moved + span < timedelta(hours=8):
            self.moved += span
            type(self).step(span)

    @rule(seconds=st.sampled_from([1, 12, 90, 600]))
    def wait(self, seconds: int) -> None:
        self.go_on(timedelta(seconds=seconds))

    @rule(dies=st.none() | st.integers(1, 12))
    def reap(self, dies: int | None) -> None:
        with self.doom.after(dies), transaction():
            services.reap()

    @rule(which=st.integers(0, 1))
    def pause(self, which: int) -> None:
        self.ask(lambda: services.pause(self.run_at(which)))

    @rule(which=st.integers(0, 1))
    def resume(self, which: int) -> None:
        self.ask(lambda: services.resume(self.run_at(which)))

    @rule(which=st.integers(0, 1), sure=st.integers(0, 4))
    def cancel(self, which: int, sure: int) -> None:
        if sure == 0:
            self.ask(lambda: services.cancel(self.run_at(which)))

    def ask(self, wish: Callable[[], object]) -> None:
        try:
            with transaction():
                wish()
        except services.TooLate:
            return

    @rule(who=st.integers(0, PEOPLE - 1), yes=st.booleans())
    def change_mind(self, who: int, yes: bool) -> None:
        with transaction():
            self.say(self.members[who], yes)

    @rule(who=st.integers(0, PEOPLE - 1))
    def buy(self, who: int) -> None:
        with transaction():
            db.session.execute(update(Member).where(Member.id == self.members[who]).values(last_order_at=clock.now()))

    # ── What always holds ───────────────────────────────────────────────────────────────────────────────────────────

    def books(self) -> list[Any]:
        with transaction():
            return list(
                db.session.execute(
                    select(Delivery.id, Delivery.run_id, Delivery.member_id, Delivery.state).where(
                        Delivery.run_id.in_(self.runs)
                    )
                )
            )

    @invariant()
    def inv_d1_everybody_is_counted_once(self) -> None:
        if not self.runs:
            return
        rows = self.books()
        assert len({(row.run_id, row.member_id) for row in rows}) == len(rows)
        with transaction():
            planned = dict(db.session.execute(select(Run.id, Run.planned).where(Run.id.in_(self.runs))).all())
            counted = db.session.execute(
                select(func.sum(Slice.accepted), func.sum(Slice.unknown), func.sum(Slice.total)).where(
                    Slice.run_id.in_(self.runs)
                )
            ).one()
        assert Counter(row.run_id for row in rows) == Counter({k: n for k, n in planned.items() if n})
        ends = Counter(row.state for row in rows)
        assert (counted[0] or 0, counted[1] or 0) == (ends[S.ACCEPTED], ends[S.UNKNOWN])

    @invariant()
    def inv_d3_nobody_hears_twice_a_day(self) -> None:
        assert all(n == 1 for n in self.gateway.by_member.values())

    @invariant()
    def inv_d4_the_books_are_those_of_the_gateway(self) -> None:
        taken = self.gateway.taken
        assert all(n == 1 for n in taken.values()), "taken twice"
        if not self.runs:
            return
        states = {row.id: row.state for row in self.books()}
        accepted = {i for i, state in states.items() if state is S.ACCEPTED}
        doubtful = {i for i, state in states.items() if state in (S.UNKNOWN, S.SUBMITTING)}
        assert accepted <= set(taken) <= accepted | doubtful
        assert not [i for i, state in states.items() if state is S.FAILED and i in taken]

    def come_to_an_end(self) -> None:
        """With a healthy gateway and live workers every run comes to its end, and everybody to one of theirs."""
        for which, run_id in enumerate(self.runs):
            self.ask(lambda which=which: services.resume(self.run_at(which)))  # type: ignore[misc]
            with transaction():
                while not services.fan_out(run_id).done:
                    continue
        for _turn in range(40):
            type(self).step(timedelta(minutes=5))
            self.moved += timedelta(minutes=5)
            with transaction():
                services.reap()
                db.session.execute(
                    update(Account)
                    .where(Account.id == self.account_id)
                    .values(paused_at=None, retry_at=None, tripped=False)
                )
            for run_id in self.runs:
                drain.drain(run_id, budget_seconds=20)
                with transaction():
                    if not services.close(run_id):
                        services.finish(run_id)
            with transaction():
                ended = [self.run_at(which).finished_at is not None for which in range(2)]
            if all(ended):
                break
        else:
            raise AssertionError("a run does not come to its end")
        rows = self.books()
        assert not [row for row in rows if row.state in OPEN_STATES]
        with transaction():
            for which, run_id in enumerate(self.runs):
                run = self.run_at(which)
                assert run.state in (RunState.COMPLETED, RunState.CANCELLED)
                assert sum((run.tally or {}).values()) == run.planned == sum(row.run_id == run_id for row in rows)
        self.inv_d1_everybody_is_counted_once()
        self.inv_d3_nobody_hears_twice_a_day()
        self.inv_d4_the_books_are_those_of_the_gateway()


@pytest.fixture
def ledger(app: Flask, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Ledger]]:
    """The machine on committed rows, the clock held, slices and batches small, one message a day."""
    monkeypatch.setattr(rules, "SLICE", OF_A_SLICE)
    monkeypatch.setitem(app.extensions, "collected_jobs", [])
    with app.app_context(), transaction():
        shop.put("contact.per_day", 1)
        shop.put("contact.per_week", None)
        shop.put("contact.per_month", 31)
        shop.put("holdout.percent", 0)
        shop.put("quiet.from", "00:00")
        shop.put("quiet.until", "00:00")
    with clock.frozen(NOON) as step:
        yield type("Held", (Ledger,), {"app": app, "step": staticmethod(step)})
    clear(app)


def examples(many: int, steps: int) -> settings:
    return settings(
        max_examples=many,
        stateful_step_count=steps,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )


@pytest.mark.parametrize(
    ("many", "steps"), [(25, 20), pytest.param(1_000, 40, marks=pytest.mark.long)], ids=["short", "long"]
)
def test_inv_d1_to_d4_under_faults(ledger: type[Ledger], many: int, steps: int) -> None:
    run_state_machine_as_test(ledger, settings=examples(many, steps))


def killed_after_the_gateway_took(ledger: type[Ledger]) -> Ledger:
    """A sender that dies when the gateway has taken its first batch, and another one after it."""
    machine = ledger()
    machine.begin(set())
    machine.plan(0, None)
    for hooks in range(1, 200):
        machine.send(0, [], hooks, 0)
        machine.wait(90)
        machine.reap(None)
        if machine.gateway.taken:
            break
    machine.send(0, [], None, 0)
    return machine


def test_inv_d4_a_sender_killed_at_the_call_leaves_its_batch_in_doubt(ledger: type[Ledger]) -> None:
    machine = killed_after_the_gateway_took(ledger)
    machine.inv_d4_the_books_are_those_of_the_gateway()
    # Killed at the gateway's door on the way in, then on the way out: from here the two look alike.
    ends = Counter(row.state for row in machine.books())
    assert ends == {S.UNKNOWN: 2 * OF_A_BATCH, S.ACCEPTED: PEOPLE - 2 * OF_A_BATCH}
    machine.teardown()


def test_teeth_without_the_intent_the_machine_finds_what_is_sent_twice(
    ledger: type[Ledger], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIYU_TEST_TEETH", "no-intent")
    machine = killed_after_the_gateway_took(ledger)
    with pytest.raises(AssertionError, match="taken twice"):
        machine.inv_d4_the_books_are_those_of_the_gateway()
    machine.runs = []
    machine.teardown()
