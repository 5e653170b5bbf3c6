"""REST for tiers: the policy in force, where a member stands and why, and a tier set by hand."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from kernel.auth import api_scope
from kernel.http import Instant, Listed, Name, PageQuery, Strict, api_blueprint, cursor_page, idempotent, operation
from kernel.i18n import lazy_gettext as _l
from kernel.openapi import describe_tag
from membership.members.services.programs import MemberGone, get_present

from . import queries, rules, services
from .models import Downgrade, Metric, RefundEffect, TierChange, Window

bp = api_blueprint("tiers_api", __name__)
describe_tag("Tiers", _l("The tiers VIP1–VIP4: the policy in force, and where each member stands."))

_OF_MEMBER = {"member": ("members.show", {"member_id": "$request.path.member_id"})}


class LevelOut(Strict):
    """`discount` is per mille paid (950 = 5 % off), `multiplier` points per mille, `spend` in 分."""

    rank: int
    name: str
    name_en: str
    spend: int
    orders: int
    discount: int
    multiplier: int
    free_shipping: bool
    priority_service: bool
    benefits: str


class PolicyOut(Strict):
    """`id` is null while the standard policy is in force, which nobody has saved."""

    id: int | None
    metric: Metric
    window: Window
    rolling_days: int | None
    valid_days: int
    grace_days: int
    downgrade: Downgrade
    refund_effect: RefundEffect
    levels: list[LevelOut]


class MissingOut(Strict):
    """What is missing to a rank: null where the policy does not ask for it. With `either`, one of the two is enough."""

    rank: int
    spend: int | None
    orders: int | None
    either: bool


class CountedOrderOut(Strict):
    """An order in the explanation; `at` is from when it counts, null while nobody knows."""

    source: str
    order: str
    placed_at: Instant
    at: Instant | None
    spend: int
    refunded: int


class StandingOut(Strict):
    """Where a member stands and why. `own_rank` is what the orders say, `rank` what counts; a tier set by hand lifts it."""

    member_id: int
    rank: int
    own_rank: int
    policy_id: int | None
    spend: int
    orders: int
    counted: list[CountedOrderOut]
    waiting: list[CountedOrderOut]
    missing: MissingOut | None
    to_keep: MissingOut | None
    progress: Annotated[int, Field(ge=0, le=1000, description="Per mille of the way to the next tier.")]
    valid_until: Instant | None
    grace_until: Instant | None
    window_from: Instant | None
    manual_rank: int | None
    manual_reason: str | None
    manual_until: Instant | None


class TierChangeOut(Strict):
    id: int
    from_rank: int
    to_rank: int
    reason: str
    spend: int
    orders: int
    at: Instant


class ManualTierIn(Strict):
    """Rank 0 ends a tier set by hand. Without `until` it is for good."""

    rank: Annotated[int, Field(ge=0, le=4)]
    reason: Annotated[Name, Field(max_length=300)]
    until: Instant | None = None


def _level(level: rules.Level) -> LevelOut:
    return LevelOut(
        rank=level.rank,
        name=level.name,
        name_en=level.name_en,
        spend=level.spend,
        orders=level.orders,
        discount=level.discount,
        multiplier=level.multiplier,
        free_shipping=level.free_shipping,
        priority_service=level.priority_service,
        benefits=level.benefits,
    )


def _missing(one: rules.Missing | None) -> MissingOut | None:
    return MissingOut(rank=one.rank, spend=one.spend, orders=one.orders, either=one.either) if one is not None else None


def _orders(found: tuple[queries.ExplainedOrder, ...]) -> list[CountedOrderOut]:
    return [
        CountedOrderOut(
            source=one.source,
            order=one.external_id,
            placed_at=one.placed_at,
            at=one.at,
            spend=one.spend,
            refunded=one.refunded,
        )
        for one in found
    ]


def _standing(member_id: int) -> StandingOut:
    found = queries.explanation(member_id)
    return StandingOut(
        member_id=member_id,
        rank=found.rank,
        own_rank=found.own_rank,
        policy_id=found.policy.id,
        spend=found.totals.spend,
        orders=found.totals.orders,
        counted=_orders(found.counted),
        waiting=_orders(found.waiting),
        missing=_missing(found.missing),
        to_keep=_missing(found.to_keep),
        progress=found.progress,
        valid_until=found.valid_until,
        grace_until=found.grace_until,
        window_from=found.window_from,
        manual_rank=found.manual_rank,
        manual_reason=found.manual_reason,
        manual_until=found.manual_until,
    )


@bp.get("/tiers")
@api_scope("tiers:read")
@operation(_l("Read the tier policy in force"), tag="Tiers", answers=PolicyOut)
def policy() -> PolicyOut:
    force = queries.policy()
    return PolicyOut(
        id=force.id,
        metric=force.metric,
        window=force.window,
        rolling_days=force.rolling_days,
        valid_days=force.valid_days,
        grace_days=force.grace_days,
        downgrade=force.downgrade,
        refund_effect=force.refund_effect,
        levels=[_level(level) for level in force.levels],
    )


@bp.get("/members/<int:member_id>/tier")
@api_scope("tiers:read")
@operation(_l("Read where a member stands, and why"), tag="Tiers", answers=StandingOut, links=_OF_MEMBER)
def standing(member_id: int) -> StandingOut:
    member = queries.member(member_id)
    return _standing(member.id)


@bp.get("/members/<int:member_id>/tier/changes")
@api_scope("tiers:read")
@operation(
    _l("List a member's changes of tier"), tag="Tiers", query=PageQuery, answers=Listed[TierChangeOut], links=_OF_MEMBER
)
def changes(member_id: int, query: PageQuery) -> Any:
    statement = queries.changes_of(queries.member(member_id).id)
    return cursor_page(statement, [TierChange.id.desc()], query, _change)


def _change(row: TierChange) -> TierChangeOut:
    return TierChangeOut(
        id=row.id,
        from_rank=row.from_rank,
        to_rank=row.to_rank,
        reason=row.reason,
        spend=row.spend,
        orders=row.orders,
        at=row.at,
    )


@bp.post("/members/<int:member_id>/tier")
@api_scope("tiers:write")
@idempotent()
@operation(
    _l("Set a member's tier by hand"),
    tag="Tiers",
    takes=ManualTierIn,
    answers=StandingOut,
    refusals=[services.RankUnknown, services.ManualEndPast, MemberGone],
    description=_l("It lifts and never lowers: orders can raise the member further."),
    example={"rank": 3, "reason": "Tasting panel", "until": "2027-01-01T00:00:00+08:00"},
    links=_OF_MEMBER,
)
def set_manually(member_id: int, body: ManualTierIn) -> StandingOut:
    member = get_present(member_id)
    services.set_manually(member.id, body.rank, body.reason, body.until)
    return _standing(member.id)
