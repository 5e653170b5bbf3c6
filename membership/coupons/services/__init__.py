"""The verbs of coupons: offers, claiming, granting, one coupon's states, the checkout."""

from .checkout import validate
from .claims import claim, claim_with_phone, group_membership, in_group, newcomer, note_link_reuse, refuse_unqualified
from .grants import NothingToGrant, grant, grant_many
from .holding import release, release_all, reserve, reserve_all
from .offers import (
    Draft,
    archive,
    create,
    create_once,
    edit,
    get_offer,
    raise_stock,
    set_state,
    unarchive,
)
from .redemptions import Redeemed, Use, redeem, redeem_all
from .shelves import Claimed
from .states import freeze, revoke, revoke_all_of, sweep, transfer, unfreeze
from .transfers import cancel_all_of
from .undoing import roll_back, roll_back_all, roll_back_order
from .ways import (
    claim_by_link,
    claim_while_closed,
    find_link,
    make_link,
    personal_path,
    read_personal,
    revoke_link,
)

__all__ = [
    "Claimed",
    "Draft",
    "NothingToGrant",
    "Redeemed",
    "Use",
    "archive",
    "cancel_all_of",
    "claim",
    "claim_by_link",
    "claim_while_closed",
    "claim_with_phone",
    "create",
    "create_once",
    "edit",
    "find_link",
    "freeze",
    "get_offer",
    "grant",
    "grant_many",
    "group_membership",
    "in_group",
    "make_link",
    "newcomer",
    "note_link_reuse",
    "personal_path",
    "raise_stock",
    "read_personal",
    "redeem",
    "redeem_all",
    "refuse_unqualified",
    "release",
    "release_all",
    "reserve",
    "reserve_all",
    "revoke",
    "revoke_all_of",
    "revoke_link",
    "roll_back",
    "roll_back_all",
    "roll_back_order",
    "set_state",
    "sweep",
    "transfer",
    "unarchive",
    "unfreeze",
    "validate",
]
