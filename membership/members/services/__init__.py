"""The verbs of members, by family."""

from __future__ import annotations

from .people import Person, enrol, find_or_make, find_or_make_counted, find_or_make_many
from .profile import Edited, ProfileChange, edit_profile, plain_tag, set_customer_type, tag, untag, write_note
from .rights import (
    give_consent,
    give_consent_many,
    read_unsubscribe,
    unsubscribe_path,
    withdraw_consent,
    withdraw_marketing,
)
from .stages import reassess_stages, set_stages
from .value import revalue

__all__ = [
    "Edited",
    "Person",
    "ProfileChange",
    "edit_profile",
    "enrol",
    "find_or_make",
    "find_or_make_counted",
    "find_or_make_many",
    "give_consent",
    "give_consent_many",
    "plain_tag",
    "read_unsubscribe",
    "reassess_stages",
    "revalue",
    "set_customer_type",
    "set_stages",
    "tag",
    "unsubscribe_path",
    "untag",
    "withdraw_consent",
    "withdraw_marketing",
    "write_note",
]
