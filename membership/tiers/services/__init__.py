"""The verbs of tiers: judge members set-wise, change the policy, set a tier by hand, show what a policy would do."""

from .manual import ManualEndPast, RankUnknown, set_manually
from .policies import PolicyInvalid, ensure_policy, save_policy
from .previews import LevelPreview, Preview, preview
from .reviews import CHUNK, chunk_after, due, note_review, reassess, reviewed_until

__all__ = [
    "CHUNK",
    "LevelPreview",
    "ManualEndPast",
    "PolicyInvalid",
    "Preview",
    "RankUnknown",
    "chunk_after",
    "due",
    "ensure_policy",
    "note_review",
    "preview",
    "reassess",
    "reviewed_until",
    "save_policy",
    "set_manually",
]
