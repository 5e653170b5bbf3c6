"""Looking at a phone, an e-mail address or an address that is shown masked: with a reason, on record, and not by the dozen."""

from __future__ import annotations

import enum
from datetime import timedelta

from sqlalchemy import func, select

from kernel import audit, clock
from kernel.audit import AuditEntry
from kernel.db import db
from kernel.errors import Refusal
from kernel.i18n import lazy_gettext as _l

HOUR = timedelta(hours=1)
# More than so many in an hour by one person is on the console's first page.
MOST_AN_HOUR = 50
ACTIONS = ("member.revealed", "gift.address_revealed", "member.dossier_made")


class RevealReason(enum.StrEnum):
    """Why somebody looks."""

    CALL = "call"
    PARCEL = "parcel"
    ASKED = "asked"
    IDENTITY = "identity"
    OTHER = "other"


REASONS = {
    RevealReason.CALL: _l("To call them"),
    RevealReason.PARCEL: _l("About a parcel or a gift"),
    RevealReason.ASKED: _l("They asked about their details"),
    RevealReason.IDENTITY: _l("To make sure who they are"),
    RevealReason.OTHER: _l("Something else"),
}


class ReasonMissing(Refusal):
    status = 422
    label = _l("Say why you look. Nothing was shown.")


def reveal(action: str, object_kind: str, object_id: int, reason: str) -> RevealReason:
    """Put on record that the signed-in person looks at what is masked, and why. Refuses with `ReasonMissing`."""
    if reason not in list(RevealReason):
        raise ReasonMissing
    audit.record(action, object_kind, object_id, after={"reason": reason})
    return RevealReason(reason)


def by_the_dozen() -> list[tuple[str, int]]:
    """Who looked at more than fifty people in the last hour, and how often: (name, number)."""
    rows = db.session.execute(
        select(AuditEntry.actor, func.count())
        .where(AuditEntry.action.in_(ACTIONS), AuditEntry.at > clock.now() - HOUR)
        .group_by(AuditEntry.staff_id, AuditEntry.actor)
        .having(func.count() > MOST_AN_HOUR)
        .order_by(func.count().desc())
    )
    return [(row[0], row[1]) for row in rows]


__all__ = ["MOST_AN_HOUR", "REASONS", "ReasonMissing", "RevealReason", "by_the_dozen", "reveal"]
