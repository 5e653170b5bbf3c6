"""How a merge brings messages and the contact budget along: a person has one budget, and both have drawn on it."""

from __future__ import annotations

from sqlalchemy import case, func, select
from sqlalchemy.dialects.postgresql import insert as upsert

from kernel.db import db
from kernel.i18n import lazy_gettext as _l
from membership.members.services import merge

from .models import ContactLedger, InboxMessage


@merge.follower(InboxMessage.member_id)
def follow_messages(merging: merge.Merging) -> None:
    merging.repoint(InboxMessage.member_id, label=_l("Messages"))


@merge.follower(ContactLedger.member_id)
def follow_budget(merging: merge.Merging) -> None:
    ledger = ContactLedger.__table__
    rows = db.session.execute(
        select(ledger).where(ledger.c.member_id == merging.absorbed).order_by(ledger.c.month_on).with_for_update()
    ).all()
    if not rows:
        return
    with merging.watching(ContactLedger, ContactLedger.member_id.in_(merging.pair)):
        db.session.execute(ledger.delete().where(ledger.c.member_id == merging.absorbed))
        for row in rows:
            fresh = upsert(ledger).values(**{**row._mapping, "member_id": merging.survivor})
            theirs = fresh.excluded
            # The later of the two days is the latest; what was said on the same day adds up.
            today = case(
                (ledger.c.day_on == theirs.day_on, ledger.c.day_total + theirs.day_total),
                (ledger.c.day_on < theirs.day_on, theirs.day_total),
                else_=ledger.c.day_total,
            )
            db.session.execute(
                fresh.on_conflict_do_update(
                    index_elements=[ledger.c.member_id, ledger.c.month_on],
                    set_={
                        "total": ledger.c.total + theirs.total,
                        "day_total": today,
                        "day_on": func.greatest(ledger.c.day_on, theirs.day_on),
                    },
                )
            )
