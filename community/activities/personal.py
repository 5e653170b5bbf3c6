"""What this room keeps of people, column by column: see `membership.members.services.personal`."""

from __future__ import annotations

from kernel.i18n import lazy_gettext as _l
from membership.members.services.personal import by, declare

from .models import Lottery, LotteryEntry, LotteryPrize, LotterySeed, Sale

declare(
    Lottery,
    "id public_id group_id title note state opens_at closes_at commitment tickets listed void_tickets author_id form_key created_at "
    "announced_at frozen_at drawn_at cancelled_at cancel_reason",
)
declare(LotterySeed, "lottery_id commitment seed")
declare(LotteryPrize, "id lottery_id position gift_id offer_id number")
declare(
    LotteryEntry,
    "id lottery_id commitment member_id ticket at left_out place prize_id prize_state coupon_id claim_id settled_at",
    rows=by(LotteryEntry.member_id),
    label=_l("Tickets of draws"),
)
declare(Sale, "id public_id group_id kind offer_id product_id list_price note author_id created_at")
