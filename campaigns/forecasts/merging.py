"""A merge leaves what was worked out of either record as it is: it is worked out anew from the orders, which follow."""

from __future__ import annotations

from membership.members.services import merge

from .models import MemberForecast, Repurchase

merge.stays(Repurchase.member_id, "Worked out anew from the orders right after the merge, for both records.")
merge.stays(MemberForecast.member_id, "Worked out anew from the orders every night, for living records only.")
