"""The verbs of the answers: write what the shop knows, take packs in, learn, answer, and learn from people."""

from __future__ import annotations

from .asking import answer, keep, reply, said, suggestions, welcome
from .knowledge import (
    Draft,
    IntentInvalid,
    KeyTaken,
    NothingKnown,
    PhrasingTaken,
    add,
    add_phrasing,
    change_many,
    delete,
    edit,
    save_cards,
    save_settings,
    settings,
)
from .learning import DecidedAlready, approve, dismiss, note_answer, note_handed_over, reject, settle
from .packs import FileUnusable, TakenAlready, exported, preview, preview_shipped, shipped, take_in
from .runs import claim, forget_old, record, record_failure

__all__ = [
    "DecidedAlready",
    "Draft",
    "FileUnusable",
    "IntentInvalid",
    "KeyTaken",
    "NothingKnown",
    "PhrasingTaken",
    "TakenAlready",
    "add",
    "add_phrasing",
    "answer",
    "approve",
    "change_many",
    "claim",
    "delete",
    "dismiss",
    "edit",
    "exported",
    "forget_old",
    "keep",
    "note_answer",
    "note_handed_over",
    "preview",
    "preview_shipped",
    "record",
    "record_failure",
    "reject",
    "reply",
    "said",
    "save_cards",
    "save_settings",
    "settings",
    "settle",
    "shipped",
    "suggestions",
    "take_in",
    "welcome",
]
