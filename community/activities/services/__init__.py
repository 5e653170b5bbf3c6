"""The verbs of activities: draws, and prices of a group."""

from .draws import draw, due, freed_tickets, freeze, hand_over, owed, seed_shown, try_again
from .lotteries import LotteryDraft, PrizeDraft, announce, cancel, create, draft_of, edit, enter
from .sales import (
    SaleDraft,
    adopt_copies,
    claim,
    create_sale,
    edit_sale,
    sale_draft_of,
    start_sale,
    stop_sale,
    stop_sales_of,
    weigh,
)

__all__ = [
    "LotteryDraft",
    "PrizeDraft",
    "SaleDraft",
    "adopt_copies",
    "announce",
    "cancel",
    "claim",
    "create",
    "create_sale",
    "draft_of",
    "draw",
    "due",
    "edit",
    "edit_sale",
    "enter",
    "freed_tickets",
    "freeze",
    "hand_over",
    "owed",
    "sale_draft_of",
    "seed_shown",
    "start_sale",
    "stop_sale",
    "stop_sales_of",
    "try_again",
    "weigh",
]
