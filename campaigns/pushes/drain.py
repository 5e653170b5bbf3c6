"""Sending: a worker leases a slice of a run, claims its deliveries and hands them over, batch by batch.

Three short steps around each batch: commit the intent (`submitting`), call with no transaction open, commit the outcome
fenced by the lease. The outcome of one batch and the intent of the next are one commit. Whatever a crash leaves behind is
told apart afterwards: claimed was never handed over, submitting may have been.
"""

from __future__ import annotations

import logging
import os
import secrets
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from flask import current_app
from sqlalchemy import Connection, func, or_, select, update

from campaigns.channels import registry
from campaigns.channels import rules as channel_rules
from campaigns.channels import services as channels
from campaigns.channels.adapters import Adapter, Message, Outcome, Status
from campaigns.channels.models import Account, ContactClass
from campaigns.channels.pace import Rates
from kernel import clock, restoring
from kernel.db import db, transaction
from membership.coupons.models import Offer, OfferVersion
from membership.coupons.services.grants import grant_many

from . import ledger, rules
from .ledger import Lease, LeaseLost
from .message import Wording, wording
from .models import CouponMode, Delivery, DeliveryState, Push, Run, RunState, Slice

log = logging.getLogger(__name__)

# A job hands over for so long and then lets others have their turn.
BUDGET_SECONDS = 12.0
# What a lease lasts beyond the longest that handing over one batch can take.
MARGIN = timedelta(seconds=5)
# Where batches grow gradually, the first has so many messages.
FIRST_BATCH = 10
# What the other side has taken, be it to bring it to the member later.
TAKEN = (Status.ACCEPTED, Status.ASSIGNED)
# So long one lane may keep the interpreter while another wants it.
SWITCH_SECONDS = 0.0005
# Shorter waits for tokens are sat out; for longer ones the slice is given back.
LONGEST_WAIT = 2.0


def teeth(name: str) -> bool:
    """Whether a guard is switched off on purpose. Only the tests that show what the guard is for set this."""
    return name in os.environ.get("SIYU_TEST_TEETH", "").split(",")


@dataclass(frozen=True)
class Work:
    """Everything about a run that sending needs, read once a slice, as plain values."""

    run_id: int
    account_id: int
    account_rate: Rates | None
    push_rate: int | None
    troubled: bool
    adapter: Adapter
    contact_class: ContactClass
    wording: Wording
    # Whether some wait for the winning wording, which is not known yet; and which one it is.
    competing: bool
    winner: int | None
    granted_offer_id: int | None
    bought_since: datetime | None
    caps: channel_rules.Budget
    quiet: channel_rules.Quiet

    @property
    def hold(self) -> timedelta:
        """How long a lease lasts between two signs of life."""
        return self.adapter.abilities.longest + MARGIN

    @property
    def intent(self) -> Any:
        """The statement that moves deliveries on; a transactional medium goes from claimed to accepted in one step."""
        to = DeliveryState.ACCEPTED if self.adapter.abilities.transactional else DeliveryState.SUBMITTING
        return ledger.intent_statement(self.basis, to)

    @property
    def basis(self) -> ledger.Basis:
        """The consent that its messages need."""
        return ledger.basis_of(self.adapter.abilities.contact, self.contact_class)

    def quiet_until(self) -> datetime | None:
        """When sending may go on if it must be quiet now, else None."""
        if self.adapter.abilities.silent or self.contact_class is ContactClass.TRANSACTIONAL:
            return None
        return channel_rules.quiet_end(clock.local(clock.now()), self.quiet)


def load(run_id: int) -> Work | None:
    """Read a run for sending; None when it does not run, its account rests, or the shop was restored and holds everything back."""
    if restoring.held():
        return None
    found = db.session.execute(
        select(Run, Push, Account)
        .join(Push, Push.id == Run.push_id)
        .join(Account, Account.id == Push.account_id)
        .where(Run.id == run_id, Run.state == RunState.RUNNING)
        .execution_options(populate_existing=True)
    ).one_or_none()
    if found is None:
        return None
    run, push, account = found
    if account.paused_at is not None or channels.rests_until(account, clock.now()) is not None:
        return None
    if gives_way(run, push, account):
        return None
    winner = decide(run, push)
    adapter = registry.adapter_of(account)
    offer = db.session.get(Offer, push.offer_id, populate_existing=True) if push.offer_id else None
    version = db.session.get(OfferVersion, offer.version_id) if offer is not None and offer.version_id else None
    caps, quiet = channels.in_force()
    return Work(
        run_id=run_id,
        account_id=account.id,
        account_rate=channels.rates_of(account),
        push_rate=push.rate_per_second,
        troubled=account.errors_in_row > 0 or account.retry_at is not None,
        adapter=adapter,
        contact_class=push.contact_class,
        competing=run.decide_at is not None and winner is None,
        winner=winner,
        wording=wording(push, run_id, adapter.abilities.contact, offer, version),
        granted_offer_id=push.offer_id if push.coupon_mode is CouponMode.GRANT else None,
        bought_since=run.bought_since if push.stop_when_bought else None,
        caps=caps,
        quiet=quiet,
    )


def gives_way(run: Run, push: Push, account: Account) -> bool:
    """Whether a push with a higher priority has something to send over the same account at this moment.

    Where the account has a rate, what others have leased counts too: they wait for the same tokens.
    """
    now = clock.now()
    states = ("ready",) if channels.rates_of(account) is None else ("ready", "leased")
    ahead = (
        select(Slice.id)
        .join(Run, Run.id == Slice.run_id)
        .join(Push, Push.id == Run.push_id)
        .where(
            Push.account_id == account.id,
            Push.priority > push.priority,
            Run.id != run.id,
            Run.state == RunState.RUNNING,
            or_(Run.expires_at.is_(None), Run.expires_at > now),
            Slice.state.in_(states),
            or_(Slice.due_at.is_(None), Slice.due_at <= now),
        )
    )
    return bool(db.session.scalar(select(ahead.exists())))


def decide(run: Run, push: Push) -> int | None:
    """The winning wording of a run, chosen now if its moment has come; None while it is open or nothing competes."""
    if run.winner is not None or run.decide_at is None or run.decide_at > clock.now():
        return run.winner
    rows = db.session.execute(
        select(Delivery.variant, func.count(), func.count(Delivery.clicked_at))
        .where(Delivery.run_id == run.id, Delivery.state == DeliveryState.ACCEPTED, Delivery.variant.is_not(None))
        .group_by(Delivery.variant)
    )
    results = dict.fromkeys(range(1 + len(push.variants)), (0, 0))
    results |= {int(row[0] or 0): (int(row[1]), int(row[2])) for row in rows}
    db.session.execute(
        update(Run)
        .where(Run.id == run.id, Run.winner.is_(None))
        .values(winner=rules.winner_of(results))
        .execution_options(synchronize_session=False)
    )
    db.session.refresh(run)
    return run.winner


class Stop(Exception):
    """The slice is to be given back; not before `due` if that is given."""

    def __init__(self, due: datetime | None = None) -> None:
        super().__init__()
        self.due = due


def drain(run_id: int, budget_seconds: float = BUDGET_SECONDS, lanes: int = 1) -> bool:
    """Hand over deliveries of a run until nothing is left to lease or the time is up. Returns whether to come again.

    With two lanes the next slice is claimed and its messages are written while the present one is handed over; only one
    lane hands over at a time, so that no more is ever in doubt than one batch.
    """
    until = time.monotonic() + budget_seconds
    turn = threading.Lock()
    if lanes == 1:
        return _lane(run_id, until, turn)
    app = current_app._get_current_object()  # type: ignore[attr-defined]
    # Whoever has an answer in hand is not to wait 5 ms, the interpreter's own measure, for the lane that writes messages.
    sys.setswitchinterval(SWITCH_SECONDS)

    def lane() -> bool:
        with app.app_context():
            return _lane(run_id, until, turn)

    with ThreadPoolExecutor(lanes, thread_name_prefix="lane") as pool:
        started = [pool.submit(lane) for _ in range(lanes)]
        ended = [one.result() for one in started]  # A lane's fault is raised here, once both have come to rest.
    return any(ended)


def lanes_for(run_id: int) -> int:
    """How many lanes a run deserves: one where the database itself or a rate sets the pace."""
    with transaction():
        work = load(run_id)
    if work is None or work.adapter.abilities.transactional or work.account_rate or work.push_rate:
        return 1
    return int(current_app.config.get("SEND_LANES", 2))


def _lane(run_id: int, until: float, turn: threading.Lock) -> bool:
    holder = secrets.token_hex(12)
    while time.monotonic() < until:
        with transaction():
            work = load(run_id)
            if work is None or work.quiet_until() is not None:
                return False
            held = ledger.lease(run_id, holder, work.hold)
        if held is None:
            return False
        try:
            Sending(work, held, until, turn).run()
        except LeaseLost:
            # Whoever has it now has already put everything in order.
            log.warning("lease of slice %s of run %s lost", held.number, run_id)
    return True


class Sending:
    """The work on one leased slice."""

    # So many messages are claimed, and their tokens taken, at a time.
    most = rules.SLICE

    def __init__(self, work: Work, held: Lease, until: float, turn: threading.Lock) -> None:
        self.work = work
        self.held = held
        self.until = until
        self.turn = turn
        self.troubled = work.troubled
        self.sent_any = False

    def run(self) -> None:
        due: datetime | None = None
        try:
            while self.portion():
                if time.monotonic() >= self.until:
                    break
        except Stop as stop:
            due = stop.due
        with transaction():
            ledger.give_back(self.held, self.work.hold, self.work.contact_class, due)
            if self.sent_any and not self.troubled:
                channels.note_accepted(self.work.account_id)

    def portion(self) -> bool:
        """Claim what the rates allow, at most a slice, and hand it over. Returns whether there may be more."""
        work = self.work
        wanted = self.tokens()
        with transaction():
            self.lock_offer()
            claim = ledger.claim(
                self.held,
                work.hold,
                ledger.claim_statement(work.basis, work.competing),
                wanted,
                work.bought_since,
                work.caps,
                work.contact_class,
                work.winner,
            )
            rows = self.grant(claim.rows)
        if claim.looked_at == 0:
            self.put_back(wanted)
            return False
        self.put_back(wanted - len(rows))
        messages, attempts = self.rendered(rows)
        if work.adapter.abilities.transactional:
            self.write(messages)
        else:
            self.hand_over(messages, attempts)
        # Whoever has looked at as many as a slice holds has seen all that can go now.
        return claim.looked_at == wanted < self.most

    # ── Before: tokens, coupons, texts ──────────────────────────────────────────────────────────────────────────────

    def tokens(self) -> int:
        """How many messages the rates of the account and of the push allow now; waits a moment for the first one."""
        work = self.work
        wanted = self.most
        if work.account_rate is None and work.push_rate is None:
            return wanted
        while True:
            with transaction():
                first = channels.take_tokens((Account, work.account_id), work.account_rate, wanted)
                second = (
                    channels.take_tokens((Run, work.run_id), work.push_rate, first.granted) if first.granted else first
                )
                channels.return_tokens((Account, work.account_id), work.account_rate, first.granted - second.granted)
            if second.granted:
                return second.granted
            wait = max(first.wait, second.wait)
            if wait > LONGEST_WAIT or time.monotonic() + wait >= self.until:
                raise Stop(clock.now() + timedelta(seconds=wait))
            time.sleep(wait)

    def put_back(self, unused: int) -> None:
        """Tokens that the claim had no use for go back to their buckets."""
        work = self.work
        if unused > 0 and (work.account_rate or work.push_rate):
            with transaction():
                channels.return_tokens((Account, work.account_id), work.account_rate, unused)
                channels.return_tokens((Run, work.run_id), work.push_rate, unused)

    def lock_offer(self) -> None:
        """Where coupons are granted the offer is locked first, before any counter (the house's lock order)."""
        if self.work.granted_offer_id is not None:
            db.session.execute(select(Offer.id).where(Offer.id == self.work.granted_offer_id).with_for_update())

    def grant(self, rows: list[ledger.Claimed]) -> list[ledger.Claimed]:
        """Put each member's coupon into their hands in the transaction that claims the delivery.

        Keyed by the delivery: however often it is claimed, it brings one coupon. Who can be given none is not written to.
        """
        offer_id = self.work.granted_offer_id
        if offer_id is None or not rows:
            return rows
        keys = [(row.member_id, f"delivery:{row.id}") for row in rows]
        coupons = grant_many(offer_id, keys, f"push:{self.work.run_id}")
        without = [row.id for row in rows if row.member_id not in coupons]
        if without:
            ledger.free_contacts(without, self.work.contact_class)
            ledger.fence(self.held, self.work.hold, unsent=len(without))
            ledger.end(without, DeliveryState.CLAIMED, DeliveryState.SUPPRESSED, "no_coupon")
        given = {row.id: coupons[row.member_id][0] for row in rows if row.member_id in coupons}
        ledger.attach_coupons(given)
        return [row for row in rows if row.id in given]

    def rendered(self, rows: Sequence[ledger.Claimed]) -> tuple[list[Message], dict[int, int]]:
        """The messages of claimed deliveries; one that cannot be written comes to its end with the reason."""
        messages: list[Message] = []
        broken: dict[str, list[int]] = {}
        for row in rows:
            try:
                messages.append(self.work.wording.message(row))
            except rules.RenderFailed as failed:
                broken.setdefault(failed.name, []).append(row.id)
        if broken:
            with transaction():
                lost = sum(len(ids) for ids in broken.values())
                ledger.fence(self.held, self.work.hold, unsent=lost)
                ledger.free_contacts([i for ids in broken.values() for i in ids], self.work.contact_class)
                for name, ids in broken.items():
                    ledger.end(ids, DeliveryState.CLAIMED, DeliveryState.RENDER_FAILED, name)
        return messages, {row.id: row.attempts for row in rows}

    # ── The batches ─────────────────────────────────────────────────────────────────────────────────────────────────

    def write(self, messages: Sequence[Message]) -> None:
        """A transactional medium: the message and its mark in one transaction, truly once."""
        size = self.work.adapter.abilities.batch_size
        for start in range(0, len(messages), size):
            batch = messages[start : start + size]
            with transaction():
                ledger.fence(self.held, self.work.hold)
                going = ledger.intend(self.work.run_id, [m.delivery_id for m in batch], self.work.intent)
                self.work.adapter.submit([m for m in batch if m.delivery_id in going])
                dropped = self.fall_out([m for m in batch if m.delivery_id not in going])
                ledger.fence(self.held, self.work.hold, accepted=len(going), unsent=dropped)
            self.sent_any = self.sent_any or bool(going)

    def hand_over(self, messages: Sequence[Message], attempts: dict[int, int]) -> None:
        """A medium elsewhere: intent, call, outcome; the outcome of a batch is committed with the intent of the next."""
        while not self.turn.acquire(timeout=self.work.hold.total_seconds() / 4):
            with transaction():
                ledger.fence(self.held, self.work.hold)
        try:
            self.hand_over_in_turn(messages, attempts)
        finally:
            self.turn.release()
        if self.work.quiet_until() is not None:
            raise Stop(self.work.quiet_until())

    def hand_over_in_turn(self, messages: Sequence[Message], attempts: dict[int, int]) -> None:
        able = self.work.adapter.abilities
        size = min(FIRST_BATCH, able.batch_size) if able.gradual else able.batch_size
        state = DeliveryState.CLAIMED if teeth("no-intent") else DeliveryState.SUBMITTING
        handed: dict[int, Outcome] = {}
        at = 0
        try:
            with ledger.at_once() as connection:
                while at < len(messages) and self.work.quiet_until() is None and time.monotonic() < self.until:
                    batch = messages[at : at + size]
                    at += len(batch)
                    going = self.step(connection, handed, attempts, state, batch)
                    # From here on it is written down, whatever becomes of the next batch.
                    handed = {}
                    left = [m for m in batch if m.delivery_id not in going]
                    if left:
                        batch = [m for m in batch if m.delivery_id in going]
                    if batch:
                        began = time.monotonic()
                        outcomes = self.call(batch)
                        took = time.monotonic() - began
                        channels.note_call(self.work.account_id, batch, outcomes, took)
                        handed = {m.delivery_id: o for m, o in zip(batch, outcomes, strict=True)}
                        self.judge(outcomes)
                        if able.gradual:
                            size = rules.next_batch(size, took, able.batch_size)
                    # Only now: those who may go are not to wait, in doubt, for those who may not.
                    if left:
                        self.drop(left)
        finally:
            with transaction():
                self.note(handed, attempts, state)

    def step(
        self,
        connection: Connection | None,
        handed: dict[int, Outcome],
        attempts: dict[int, int],
        state: DeliveryState,
        batch: Sequence[Message],
    ) -> set[int]:
        """Commit the outcomes of one batch and the intent of the next; returns the deliveries that may go now."""
        ids = [m.delivery_id for m in batch]
        if teeth("no-intent") or any(o.status is not Status.ACCEPTED for o in handed.values()):
            with transaction():
                self.note(handed, attempts, state)
                return set(ids) if teeth("no-intent") else ledger.intend(self.work.run_id, ids, self.work.intent)
        accepted = {i: o.provider_id for i, o in handed.items()}
        return ledger.step(connection, self.held, self.work.hold, self.work.basis, accepted, ids)

    def drop(self, left: Sequence[Message]) -> None:
        """Bring those of a batch to their end that were not let through."""
        with transaction():
            ledger.fence(self.held, self.work.hold)
            ledger.fence(self.held, self.work.hold, unsent=self.fall_out(left))

    def fall_out(self, batch: Sequence[Message]) -> int:
        """Deliveries that were claimed and then not let through: the run stands still, or the member has said no."""
        if not batch:
            return 0
        state = db.session.scalar(select(Run.state).where(Run.id == self.work.run_id))
        if state is not RunState.RUNNING:
            raise Stop
        ids = [m.delivery_id for m in batch]
        ledger.free_contacts(ids, self.work.contact_class)
        return ledger.end(ids, DeliveryState.CLAIMED, DeliveryState.SUPPRESSED, "no_consent")

    def call(self, batch: Sequence[Message]) -> list[Outcome]:
        """Hand a batch over with no transaction open. A fault of the adapter's own leaves the whole batch in doubt."""
        try:
            outcomes = self.work.adapter.submit(batch)
            if len(outcomes) != len(batch):
                raise ValueError(f"{len(outcomes)} outcomes for {len(batch)} messages")
            return outcomes
        except Exception as error:
            log.exception("the adapter of account %s failed", self.work.account_id)
            return [Outcome(Status.UNKNOWN, f"{type(error).__name__}: {error}"[:300]) for _ in batch]

    def note(self, handed: dict[int, Outcome], attempts: dict[int, int], state: DeliveryState) -> None:
        """Write the outcomes of a batch down, under the lease."""
        now, idempotent = clock.now(), self.work.adapter.abilities.idempotent
        verdicts = {i: rules.verdict(outcome, attempts[i], now, idempotent) for i, outcome in handed.items()}
        ledger.record(self.held, self.work.hold, verdicts, state, self.work.contact_class)

    def judge(self, outcomes: Sequence[Outcome]) -> None:
        """Keep the account's health: errors in a row, a rest after a failed connection, the breaker."""
        errors, last, accepted = 0, None, False
        for outcome in outcomes:
            if outcome.status in TAKEN:
                errors, last, accepted = 0, None, True
            else:
                errors, last = errors + 1, outcome
        if accepted:
            self.sent_any = True
            if self.troubled:
                with transaction():
                    channels.note_accepted(self.work.account_id)
                self.troubled = False
        if last is None:
            return
        self.troubled = True
        down = last.down
        with transaction():
            paused = channels.note_errors(self.work.account_id, 1 if down else errors, last.reason, down, last.after)
        if down or paused:
            raise Stop
