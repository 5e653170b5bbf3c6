"""Trying a channel out with one message, whatever its kind."""

from __future__ import annotations

from sqlalchemy import select

from kernel import audit, clock
from kernel.db import db
from kernel.errors import Refusal
from kernel.i18n import gettext as _
from kernel.i18n import lazy_gettext as _l
from membership.members.models import Channel, Member, MemberIdentity
from membership.members.rules import canonical_email, canonical_phone

from ..adapters import Message, Outcome, Status
from ..models import Account, ChannelKind
from . import texts
from .accounts import get_account

# Where a trial goes to a chat or a feed, and nobody's address is asked for.
NO_ADDRESS = frozenset({ChannelKind.ROBOT, ChannelKind.GROUP_POST})
# Where a trial goes to a member of the shop, who is named by their phone.
TO_A_MEMBER = frozenset({ChannelKind.INBOX, ChannelKind.TASK})


class NobodyThere(Refusal):
    status = 422
    field = "address"
    label = _l("No member has this phone. A test of this channel goes to a member, such as yourself.")


class AddressMissing(Refusal):
    status = 422
    field = "address"
    label = _l("Say where the test goes.")


def default_words(account: Account) -> str:
    """What a trial says unless somebody writes something else."""
    return (
        texts.sample(account) if account.kind is ChannelKind.SMS else str(_("If you can read this, the channel works."))
    )


def ask_test(account: Account, address: str, words: str = "") -> None:
    """Note that a test is to be sent; a job sends it.

    Refuses an address that is none for this kind with `AddressMissing`, `NobodyThere`, `PhoneInvalid` or `EmailInvalid`, and a text
    message that carriers would drop as `sms.check` does.
    """
    address, words = address.strip(), words.strip() or default_words(account)
    if account.kind in NO_ADDRESS:
        address = account.name
    elif not address:
        raise AddressMissing
    elif account.kind is ChannelKind.EMAIL:
        address = canonical_email(address)
    elif account.kind is ChannelKind.SMS or account.kind in TO_A_MEMBER:
        address = canonical_phone(address)
    if account.kind in TO_A_MEMBER and _member_with(address) is None:
        raise NobodyThere
    if account.kind is ChannelKind.SMS:
        texts.check(account, words)
    account.tested_at, account.tested_to, account.tested_words = clock.now(), address, words
    account.test_outcome = account.test_passed = None
    audit.record("channel_account.tested", "channel_account", account.id)


def _member_with(phone: str) -> Member | None:
    return db.session.scalar(
        select(Member)
        .join(MemberIdentity, MemberIdentity.member_id == Member.id)
        .where(MemberIdentity.channel == Channel.PHONE, MemberIdentity.external_id == phone, Member.erased_at.is_(None))
    )


def test_key(account: Account) -> str:
    """The key of an account's latest test."""
    return f"test:{account.id}.{int(account.tested_at.timestamp()) if account.tested_at else 0}"


def test_message(account: Account) -> Message | None:
    """The message of a test that is still to be sent, or None."""
    if account.tested_to is None or account.test_outcome is not None:
        return None
    member = _member_with(account.tested_to) if account.kind in TO_A_MEMBER else None
    return Message(
        key=test_key(account),
        delivery_id=0,
        member_id=member.id if member is not None else 0,
        address=account.tested_to,
        subject=str(_("A test from Siyu")),
        body=account.tested_words or default_words(account),
        kind="test",
    )


def note_test(account_id: int, outcome: Outcome) -> None:
    """Write down what became of a test.

    One that was taken ends a rest, and a pause by the breaker; a pause by hand stays, for somebody decided that.
    """
    account = get_account(account_id)
    account.test_passed = outcome.status in (Status.ACCEPTED, Status.ASSIGNED)
    account.test_outcome = str(outcome.reason or outcome.provider_id or outcome.status.value)[:500]
    if not account.test_passed:
        return
    account.retry_at = None
    if account.paused_at is not None and account.tripped:
        account.paused_at = account.pause_reason = account.probe_at = None
        account.tripped, account.probes = False, 0
        audit.record("channel_account.resumed", "channel_account", account_id, after={"by": "test"})
    if account.paused_at is None:
        account.errors_in_row = 0
