"""The verbs of coupons: offers, claiming, granting, one coupon's states, the checkout."""

from .checkout import best_of, redeem, release, reserve, roll_back, roll_back_order, validate
from .claims import Claimed, claim, claim_with_phone, group_membership, note_link_reuse, refuse_unqualified
from .grants import grant, grant_many
from .offers import (
    Draft,
    claim_by_link,
    claim_while_closed,
    create,
    edit,
    find_link,
    get_offer,
    make_link,
    personal_path,
    raise_stock,
    read_personal,
    revoke_link,
    set_state,
)
from .states import freeze, revoke, sweep, transfer, unfreeze

__all__ = [
    "Claimed",
    "Draft",
    "best_of",
    "claim",
    "claim_by_link",
    "claim_while_closed",
    "claim_with_phone",
    "create",
    "edit",
    "find_link",
    "freeze",
    "get_offer",
    "grant",
    "grant_many",
    "group_membership",
    "make_link",
    "note_link_reuse",
    "personal_path",
    "raise_stock",
    "read_personal",
    "redeem",
    "refuse_unqualified",
    "release",
    "reserve",
    "revoke",
    "revoke_link",
    "roll_back",
    "roll_back_order",
    "set_state",
    "sweep",
    "transfer",
    "unfreeze",
    "validate",
]
