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


expose(TierChanged, "tier.changed", TierChangedMessage, _l("A member has another tier."))
