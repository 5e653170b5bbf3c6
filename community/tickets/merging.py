"""How a merge brings tickets along: they follow the person; each stays what it was."""

from __future__ import annotations

from kernel.i18n import lazy_gettext as _l
from membership.members.services import merge

from .models import Ticket


@merge.follower(Ticket.member_id)
def follow_tickets(merging: merge.Merging) -> None:
    merging.count(_l("Tickets"), merging.repoint(Ticket.member_id))
