"""The verbs of points."""

from __future__ import annotations

from .earning import orders_of_run, settle_order, settle_orders, slices_of_run
from .expiry import due_count, settle_due, tell_expiring
from .program import ProgramInvalid, backlog_after, earn_next, preview, save_program
from .spending import adjust, award, give_back, left_to_return, spend

__all__ = [
    "ProgramInvalid",
    "adjust",
    "award",
    "backlog_after",
    "due_count",
    "earn_next",
    "give_back",
    "left_to_return",
    "orders_of_run",
    "preview",
    "save_program",
    "settle_due",
    "settle_order",
    "settle_orders",
    "slices_of_run",
    "spend",
    "tell_expiring",
]
