"""The verbs of gifts: the catalogue, offering, claiming, and the way of each gift to its member."""

from .catalogue import Draft, StockBelowGiven, check, count_by_state, create, edit, get_gift, given, stock_limit
from .offering import PURPOSE, get_claim, offer_gift, path_of, read_path
from .way import (
    GiftChanged,
    cancel,
    claim,
    come_back,
    deliver,
    fail,
    forfeit_due,
    give_address,
    kept_address,
    move,
    queue_again,
    ship,
)

__all__ = [
    "PURPOSE",
    "Draft",
    "GiftChanged",
    "StockBelowGiven",
    "cancel",
    "check",
    "claim",
    "come_back",
    "count_by_state",
    "create",
    "deliver",
    "edit",
    "fail",
    "forfeit_due",
    "get_claim",
    "get_gift",
    "give_address",
    "given",
    "kept_address",
    "move",
    "offer_gift",
    "path_of",
    "queue_again",
    "read_path",
    "ship",
    "stock_limit",
]
