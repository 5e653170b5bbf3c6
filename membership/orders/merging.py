"""How a merge brings a person's orders along, and how an undoing gives orders that came since to whom they belong."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select, update

from kernel.db import changed, db
from kernel.i18n import lazy_gettext as _l
from kernel.i18n import ngettext
from membership.members import queries as members
from membership.members.models import Channel
from membership.members.services import merge

from . import services
from .models import Order
from .services.intake import SALES_CHANNELS, lock_writers


@merge.guards.fill
def wait_for_writers(pair: Sequence[int]) -> None:
    """A batch of orders has looked up who is who already: it must be through before anybody becomes somebody else."""
    lock_writers()


@merge.follower(Order.member_id)
def follow_orders(merging: merge.Merging) -> None:
    merging.repoint(Order.member_id, label=_l("Orders"))


@merge.settlers.fill
def settle_sums(pair: Sequence[int]) -> None:
    services.refresh_members(list(pair))


@merge.after_undoing.fill
def return_orders(undoing: merge.Undoing) -> None:
    """An order that came since the merge goes to the record that the source knows its buyer by."""
    rows = db.session.execute(
        select(Order.id, Order.source, Order.buyer).where(
            Order.member_id == undoing.survivor, Order.created_at > undoing.merged_at
        )
    ).all()
    if not rows:
        return
    keys = {row.id: _identity(row.source, row.buyer) for row in rows if row.buyer}
    owners = members.owners_of(set(keys.values()))
    theirs = [order_id for order_id, key in keys.items() if owners.get(key) == undoing.absorbed]
    if theirs:
        moved = changed(
            db.session.execute(
                update(Order)
                .where(Order.id.in_(theirs), Order.member_id == undoing.survivor)
                .values(member_id=undoing.absorbed)
                .execution_options(synchronize_session=False)
            )
        )
        undoing.tell(
            ngettext(
                "One order that came since went to its own buyer.",
                "%(num)s orders that came since went to their own buyer.",
                moved,
            )
        )
    unsure = len(rows) - len([key for key in keys.values() if key in owners])
    if unsure:
        undoing.tell(
            ngettext(
                "One order that came since names no account and stays with the surviving record.",
                "%(num)s orders that came since name no account and stay with the surviving record.",
                unsure,
            )
        )


def _identity(source: str, buyer: str) -> tuple[Channel, str]:
    """The identity under which a source's own number of a buyer is kept (see `intake.person_of`)."""
    channel = SALES_CHANNELS.get(source)
    return (channel, buyer) if channel is not None else (Channel.SHOP, f"{source}:{buyer}")
