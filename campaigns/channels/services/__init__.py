"""The verbs of channels: accounts and their health, rates, the inbox, the contact budget."""

from .accounts import (
    accounts,
    ask_test,
    environment_account,
    get_account,
    inbox_account,
    makes_no_sound,
    note_test,
    pause_account,
    rests_until,
    resume_account,
    save_account,
    shown_name,
    test_key,
)
from .budget import (
    Reserved,
    budget,
    holdout_percent,
    quiet_hours,
    quiet_until,
    release_contacts,
    reserve_contacts,
    set_budget,
)
from .codes import MailFailed, mail_code
from .health import note_accepted, note_errors
from .inbox import in_parts, mark_read, put_into_inbox
from .rates import return_tokens, take_tokens

__all__ = [
    "MailFailed",
    "Reserved",
    "accounts",
    "ask_test",
    "budget",
    "environment_account",
    "get_account",
    "holdout_percent",
    "in_parts",
    "inbox_account",
    "mail_code",
    "makes_no_sound",
    "mark_read",
    "note_accepted",
    "note_errors",
    "note_test",
    "pause_account",
    "put_into_inbox",
    "quiet_hours",
    "quiet_until",
    "release_contacts",
    "reserve_contacts",
    "rests_until",
    "resume_account",
    "return_tokens",
    "save_account",
    "set_budget",
    "shown_name",
    "take_tokens",
    "test_key",
]
