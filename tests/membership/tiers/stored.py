"""Members, orders and standings as rows."""

from __future__ import annotations

from membership.members.models import Member, Stage
from membership.orders.models import Order, OrderState, Payment
from membership.tiers import rules
from membership.tiers.models import MemberTier
from membership.tiers.rules import CountedOrder, Standing

from .strategies import NOW


def make_member(db, **values) -> Member:
    member = Member(stage=Stage.CUSTOMER, stage_since=NOW, created_at=NOW, **values)
    db.session.add(member)
    db.session.flush()
    return member


def foreseen(row: MemberTier | None) -> rules.Outlook | None:
    """What is stored about a member's next fall, as the rule's value."""
    if row is None or row.falls_at is None:
        return None
    return rules.Outlook(row.falls_at, row.falls_to, row.keep_spend, row.keep_orders)


def store(db, policy: rules.Policy, held: list[CountedOrder], current: Standing, known: bool) -> int:
    member = make_member(db, rank=current.rank)
    place(db, member.id, held)
    if current.rank or known:
        db.session.add(
            MemberTier(
                member_id=member.id,
                rank=current.rank,
                own_rank=current.rank,
                since=NOW,
                valid_until=current.valid_until,
                backed_at=current.backed_at,
                spend=0,
                orders=0,
                policy_id=policy.id,
                reviewed_at=NOW,
            )
        )
    return member.id


def place(db, member_id: int, held: list[CountedOrder]) -> None:
    for number, one in enumerate(held):
        db.session.add(
            Order(
                source="shop",
                external_id=f"{member_id}-{number}",
                member_id=member_id,
                state=OrderState.COMPLETED,
                payment=Payment.ONLINE,
                placed_at=one.at,
                paid_at=one.at,
                completed_at=one.at,
                paid_amount=one.spend if one.whole else 7_00,
                refunded_amount=0 if one.whole else 7_00,
                version_at=one.at,
                version_mark="",
                created_at=NOW,
            )
        )
