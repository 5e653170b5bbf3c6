"""How a merge brings messages and the contact budget along: a person has one budget, and both have drawn on it."""

from __future__ import annotations

from typing import Any

from sqlalchemy import case, func, select
from sqlalchemy.dialects.postgresql import insert as upsert

from kernel.db import db
from kernel.i18n import lazy_gettext as _l
from membership.members.services import merge

from . import rules
from .models import ContactCount, ContactTask, DeadAddress, InboxMessage, Reply, ServiceNotice, WecomRecipient


@merge.follower(InboxMessage.member_id)
def follow_messages(merging: merge.Merging) -> None:
    merging.repoint(InboxMessage.member_id, label=_l("Messages"))


@merge.follower(Reply.member_id)
def follow_replies(merging: merge.Merging) -> None:
    merging.repoint(Reply.member_id)


@merge.follower(ContactTask.member_id)
def follow_tasks(merging: merge.Merging) -> None:
    merging.repoint(ContactTask.member_id, label=_l("Contact tasks"))


@merge.follower(DeadAddress.member_id)
def follow_dead_addresses(merging: merge.Merging) -> None:
    merging.join(DeadAddress.member_id, DeadAddress.contact, DeadAddress.address)


@merge.follower(WecomRecipient.member_id)
def follow_mass_sends(merging: merge.Merging) -> None:
    merging.repoint(WecomRecipient.member_id)


@merge.follower(ServiceNotice.member_id)
def follow_service_notices(merging: merge.Merging) -> None:
    merging.repoint(ServiceNotice.member_id)


@merge.follower(ContactCount.member_id)
def follow_budget(merging: merge.Merging) -> None:
    rows = ContactCount.__table__
    lost = db.session.execute(select(rows).where(rows.c.member_id == merging.absorbed).with_for_update()).one_or_none()
    if lost is None:
        return
    with merging.watching(ContactCount, ContactCount.member_id.in_(merging.pair)):
        db.session.execute(rows.delete().where(rows.c.member_id == merging.absorbed))
        fresh = upsert(rows).values(**{**lost._mapping, "member_id": merging.survivor})
        theirs = fresh.excluded
        values: dict[str, Any] = {}
        for window in rules.WINDOWS:
            start = f"{window}_on"
            values[start] = func.greatest(rows.c[start], theirs[start])
            for column in rows.c:
                if column.name.startswith(f"{window}_") and column.name != start:
                    # The later window is the present one; what was said within the same one adds up.
                    values[column.name] = case(
                        (rows.c[start] == theirs[start], column + theirs[column.name]),
                        (rows.c[start] < theirs[start], theirs[column.name]),
                        else_=column,
                    )
        db.session.execute(fresh.on_conflict_do_update(index_elements=[rows.c.member_id], set_=values))
