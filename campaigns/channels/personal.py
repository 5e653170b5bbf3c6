"""What this room keeps of people, column by column: see `membership.members.services.personal`."""

from __future__ import annotations

from kernel.i18n import lazy_gettext as _l
from membership.members.services.personal import by, declare

from .models import Account, ContactLedger, InboxMessage

declare(
    Account,
    "id name kind settings secret rate_per_second tokens tokens_at errors_in_row last_error last_error_at "
    "last_accepted_at retry_at paused_at pause_reason tested_at test_outcome test_passed created_at",
    "tested_to",
    why="Where staff had a test sent to.",
)
declare(
    ContactLedger,
    "member_id month_on total day_on day_total",
    rows=by(ContactLedger.member_id),
    label=_l("How often they were written to"),
)
declare(
    InboxMessage,
    "id member_id key kind sent_at read_at",
    "title body path",
    rows=by(InboxMessage.member_id),
    label=_l("Messages"),
    drop=True,
)
