"""The caps of an offer beside its stock: counters of `membership.limits`, under names that are made here and nowhere else.

Stock and the day's number lie in the offer's own row, which the writer holds locked. Money that may be given, coupons a
natural person and coupons through a group are counters: what a claim takes of them is decided by the conditional upsert.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from hashlib import sha256

from flask import current_app
from sqlalchemy import Connection, select

from kernel.db import db
from membership.limits import services as limits
from membership.limits.models import LimitCounter
from membership.limits.services import Usage
from membership.members.models import Member

from .. import rules
from ..models import Offer

GROUP_SOURCE = "group:"


def budget_name(offer_id: int) -> str:
    """The counter of what an offer's coupons have taken off (分)."""
    return f"offer:{offer_id}:budget"


def person_name(offer_id: int) -> str:
    """The counter of the coupons that one natural person has had of an offer."""
    return f"offer:{offer_id}:person"


def group_name(offer_id: int) -> str:
    """The counter of the coupons of an offer that went out through one group."""
    return f"offer:{offer_id}:group"


def budget_used(connection: Connection, offer_id: int) -> int:
    """What an offer's coupons have taken off so far (分), read over a given connection."""
    wanted = select(LimitCounter.used).where(LimitCounter.limit == budget_name(offer_id))
    return connection.execute(wanted).scalar() or 0


def person_key(member_id: int, phone: str | None, email: str | None) -> str:
    """Under what a natural person is counted: a keyed hash of the phone, else of the e-mail, else the record itself.

    The hash outlives the record, so that somebody who was erased and comes again is still the same person, and tells
    nobody the number.
    """
    said = f"phone {phone}" if phone else f"email {email}" if email else ""
    if not said:
        return limits.subject_of(member_id)
    secret: bytes = current_app.extensions["settings"].secret_key
    return hmac.digest(secret, f"coupon person {said}".encode(), sha256).hex()[:24]


def person_keys(member_ids: Sequence[int]) -> dict[int, str]:
    """`person_key` of many members."""
    rows = db.session.execute(select(Member.id, Member.phone, Member.email).where(Member.id.in_(member_ids)))
    return {row[0]: person_key(row[0], row[1], row[2]) for row in rows}


def group_of(source: str) -> str:
    """The group that a coupon's source names (`group:7`), or an empty text."""
    return source.split("/")[0] if source.startswith(GROUP_SOURCE) else ""


def take_budget(spent: Sequence[tuple[Offer, int]]) -> None:
    """Take what coupons take off (分) from their offers' budgets, lowest offer first, all or nothing.

    Counted without a budget too, so that one set later knows what was given before. Refuses with `BudgetSpent`.
    """
    wanted: dict[int, tuple[Offer, int]] = {}
    for offer, amount in spent:
        before = wanted.get(offer.id, (offer, 0))[1]
        wanted[offer.id] = (offer, before + amount)
    usages = [
        Usage(budget_name(offer.id), "", "", amount, offer.budget)
        for _id, (offer, amount) in sorted(wanted.items())
        if amount
    ]
    if not usages:
        return
    try:
        limits.take(usages)
    except limits.LimitReached as reached:
        short = next(usage for usage in usages if usage.limit == reached.limit)
        raise rules.BudgetSpent((short.cap or 0) - limits.used(short.limit), short.amount) from None


def give_budget_back(offer_id: int, amount: int) -> None:
    """A redemption was undone; whoever calls this sees to it that it happens once.

    What was redeemed before budgets were counted is not in the counter, and cannot come out of it.
    """
    counted = min(amount, limits.used(budget_name(offer_id)))
    if counted:
        limits.give_back(budget_name(offer_id), amount=counted)
