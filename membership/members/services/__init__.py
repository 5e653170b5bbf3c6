"""The verbs of members, by family."""

from __future__ import annotations

from .people import Person, enrol, find_or_make, find_or_make_counted, find_or_make_many
from .profile import ProfileChange, edit_profile, tag, untag, write_note
from .rights import (
    give_consent,
    give_consent_many,
    read_unsubscribe,
    unsubscribe_path,
    withdraw_consent,
    withdraw_marketing,
)
from .stages import reassess_stages

__all__ = [
    "Person",
    "ProfileChange",
    "edit_profile",
    "enrol",
    "find_or_make",
    "find_or_make_counted",
    "find_or_make_many",
    "give_consent",
    "give_consent_many",
    "read_unsubscribe",
    "reassess_stages",
    "tag",
    "unsubscribe_path",
    "untag",
    "withdraw_consent",
    "withdraw_marketing",
    "write_note",
]
