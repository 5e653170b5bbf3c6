"""Work of the channels that nobody waits for."""

from __future__ import annotations

import logging
import time

from kernel import restoring
from kernel.db import db, transaction
from kernel.jobs import every, job

from . import registry, services
from .adapters import Message, Outcome, Status
from .adapters.wecom import CallRefused, Wecom
from .adapters.wire import NoAnswer, NotSent
from .models import Account, ChannelKind
from .services import wecom

log = logging.getLogger(__name__)
# A job says what robots have to say for so long and then comes again.
SAYING_SECONDS = 20.0


@job(own_transactions=True)
def send_test(account_id: int) -> None:
    """Hand one test message over, and write down what the other side said."""
    with transaction():
        account = services.get_account(account_id)
        message = services.test_message(account)
        if message is None:
            return
        adapter = registry.adapter_of(account)
        if adapter.abilities.transactional:
            services.note_test(account_id, adapter.submit([message])[0])
            return
    outcome = _handed_over(account_id, message)
    with transaction():
        services.note_test(account_id, outcome)


def _handed_over(account_id: int, message: Message) -> Outcome:
    """Hand one message over, counted; a fault of the adapter's own leaves it in doubt."""
    with transaction():
        adapter = registry.adapter_of(services.get_account(account_id))
    began = time.monotonic()
    try:
        outcome = adapter.submit([message])[0]
    except Exception as error:
        log.exception("the adapter of account %s failed", account_id)
        outcome = Outcome(Status.UNKNOWN, f"{type(error).__name__}: {error}"[:300])
    services.note_call(account_id, [message], [outcome], time.monotonic() - began, flush=True)
    return outcome


def _held_back() -> bool:
    with transaction():
        return restoring.held()


@every(5)
@job(own_transactions=True)
def say() -> None:
    """Let the group robots say what they have to, at the pace that each of them is allowed."""
    if _held_back():
        return
    until = time.monotonic() + SAYING_SECONDS
    while time.monotonic() < until:
        with transaction():
            due = services.take_due()
        if due is None:
            return
        message = Message(due.key, 0, 0, "", due.title, due.body, path=due.path, kind="notice")
        outcome = _handed_over(due.account_id, message)
        with transaction():
            services.note_posting(due, outcome)
            if outcome.status is Status.ACCEPTED:
                services.note_accepted(due.account_id)
            else:
                services.note_errors(due.account_id, 1, outcome.reason, outcome.down, outcome.after)


@every(10)
@job(own_transactions=True)
def write_letters() -> None:
    """Tell members that something of theirs was answered, where they have not looked by themselves."""
    if _held_back():
        return
    until = time.monotonic() + SAYING_SECONDS
    while time.monotonic() < until:
        with transaction():
            letter = services.take_letter()
        if letter is services.Turn.OVER:
            return
        if not isinstance(letter, services.Letter):
            continue
        outcome = _handed_over(letter.account_id, letter.message)
        with transaction():
            services.note_letter(letter, outcome)
            if outcome.status is Status.ACCEPTED:
                services.note_accepted(letter.account_id)
            else:
                services.note_errors(letter.account_id, 1, outcome.reason, outcome.down, outcome.after)


@every(30)
@job(own_transactions=True)
def probe() -> None:
    """Try whether the accounts that the breaker paused are there again."""
    with transaction():
        waiting = services.to_probe()
    for account_id in waiting:
        with transaction():
            adapter = registry.adapter_of(services.get_account(account_id))
        try:
            wrong = adapter.probe()
        except Exception as error:
            log.exception("the probe of account %s failed", account_id)
            wrong = f"{type(error).__name__}: {error}"[:300]
        with transaction():
            services.note_probe(account_id, wrong)


@every(60)
@job(own_transactions=True)
def ask_wecom() -> None:
    """Ask WeCom what the staff have sent since."""
    with transaction():
        due = [(send.id, send.account_id, send.msgid) for send in wecom.due_sends()]
    for send_id, account_id, msgid in due:
        with transaction():
            wecom.note_polled(send_id)
            account = db.session.get_one(Account, account_id)
            adapter = registry.adapter_of(account) if account.kind is ChannelKind.WECOM else None
        found: list[tuple[str, int]] = []
        if isinstance(adapter, Wecom):
            try:
                found = list(adapter.results(msgid))
            except (NotSent, NoAnswer, CallRefused) as error:
                # Whatever is known already stays; the next round asks again.
                log.warning("WeCom does not say what became of a mass send: %s", error)
        with transaction():
            wecom.note_results(send_id, found)


@every(3600)
@job()
def forget() -> None:
    """Forget what the health pages show no more."""
    services.prune()
    services.forget_notices()
