"""The verbs of tiers: judge members set-wise, change the policy, try one out, set a tier by hand, warn before a fall."""

from .drafts import (
    DraftInForce,
    DraftNameless,
    create_draft,
    delete_draft,
    edit_draft,
    get_draft,
    policy_of,
    publish_draft,
    restore,
)
from .manual import ManualEndPast, RankUnknown, set_manually
from .policies import PolicyInvalid, check, ensure_policy, save_policy
from .reviews import CHUNK, chunk_after, due, note_review, reassess, reviewed_until
from .simulation import rested, simulate_slice, start_simulation
from .warnings import tag_falling, warn_slice

__all__ = [
    "CHUNK",
    "DraftInForce",
    "DraftNameless",
    "ManualEndPast",
    "PolicyInvalid",
    "RankUnknown",
    "check",
    "chunk_after",
    "create_draft",
    "delete_draft",
    "due",
    "edit_draft",
    "ensure_policy",
    "get_draft",
    "note_review",
    "policy_of",
    "publish_draft",
    "reassess",
    "rested",
    "restore",
    "reviewed_until",
    "save_policy",
    "set_manually",
    "simulate_slice",
    "start_simulation",
    "tag_falling",
    "warn_slice",
]
