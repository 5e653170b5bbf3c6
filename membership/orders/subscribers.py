"""What orders do when something else happens."""

from __future__ import annotations

from kernel.events import subscribe
from membership.members import services as members

from . import queries
from .events import OrdersImported


@subscribe(OrdersImported)
def reassess_stages_of_run(event: OrdersImported) -> None:
    """Members whose orders a file changed may be at another stage of life."""
    ids = queries.members_of_run(event.run_id)
    if ids:
        members.reassess_stages(ids)
