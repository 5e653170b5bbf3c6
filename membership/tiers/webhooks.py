"""What other programs are told of tiers."""

from __future__ import annotations

from kernel.http import Strict
from kernel.i18n import lazy_gettext as _l
from kernel.webhooks import expose

from .events import TierChanged


class TierChangedMessage(Strict):
    """Ranks are 0 (below VIP1) to 4; `reason` says what moved it."""

    member_id: int
    from_rank: int
    to_rank: int
    reason: str


def changed(event: TierChanged) -> TierChangedMessage:
    return TierChangedMessage(
        member_id=event.member_id, from_rank=event.from_rank, to_rank=event.to_rank, reason=event.reason
    )


expose(TierChanged, "tier.changed", changed, _l("A member has another tier."))
