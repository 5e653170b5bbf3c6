"""The verbs of points."""

from __future__ import annotations

from .batches import TooManyAwards, award_file
from .earning import orders_of_run, settle_order, settle_orders, settle_orders_of, slices_of_run
from .expiry import due_count, settle_due, tell_expiring
from .forgetting import write_off
from .program import Preview, ProgramInvalid, backlog_after, earn_next, preview, save_program
from .rewards import (
    RewardDraft,
    RewardGone,
    RewardLimitReached,
    RewardSoldOut,
    RewardTierTooLow,
    create_reward,
    edit_reward,
    get_redemption,
    get_reward,
    redeem,
    undo_redemption,
)
from .spending import adjust, award, give_back, left_to_return, spend

__all__ = [
    "Preview",
    "ProgramInvalid",
    "RewardDraft",
    "RewardGone",
    "RewardLimitReached",
    "RewardSoldOut",
    "RewardTierTooLow",
    "TooManyAwards",
    "adjust",
    "award",
    "award_file",
    "backlog_after",
    "create_reward",
    "due_count",
    "earn_next",
    "edit_reward",
    "get_redemption",
    "get_reward",
    "give_back",
    "left_to_return",
    "orders_of_run",
    "preview",
    "redeem",
    "save_program",
    "settle_due",
    "settle_order",
    "settle_orders",
    "settle_orders_of",
    "slices_of_run",
    "spend",
    "tell_expiring",
    "undo_redemption",
    "write_off",
]
