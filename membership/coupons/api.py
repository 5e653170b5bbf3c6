"""The checkout, for tills and shop systems: validate, reserve, release, redeem, roll back. Amounts are integer 分.

A refusal is a problem document (RFC 9457) with a stable `code`. Redeeming and rolling back are idempotent twice over: by
`Idempotency-Key`, and by nature, for a coupon is used once on an order however often that is said. Each call takes one
`code` or several `codes`; several are changed together or not at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import AliasChoices, ConfigDict, Field, model_validator

from kernel.auth import api_scope
from kernel.errors import Refusal
from kernel.http import Amount, Instant, Name, Strict, Words, api_blueprint, idempotent, operation
from kernel.i18n import gettext as _
from kernel.i18n import lazy_gettext as _l
from kernel.openapi import describe_tag
from membership.members.rules import EmailInvalid, PhoneInvalid
from membership.orders.feeds.standard import Number, Source

from . import codes, combination, rules, services
from .models import Coupon, CouponKind, CouponState, Redemption
from .services.buyers import find_buyer, find_or_make_buyer
from .services.checkout import Verdict
from .services.holding import NotReserved
from .services.undoing import RedemptionUnknown

bp = api_blueprint("coupons_api", __name__)
describe_tag("Coupons", _l("Offers, members' coupons, and coupons at the till or checkout."))

# The order's number at its source; feeds call the same thing `external_id`.
OrderNumber = Annotated[Number, Field(validation_alias=AliasChoices("order", "external_id", "order_no"))]
Codes = Annotated[list[Name], Field(min_length=1, max_length=50)]

REDEEM_REFUSALS: tuple[type[Refusal], ...] = (
    rules.UnknownCode, rules.AlreadyRedeemed, rules.Reserved, rules.Expired, rules.NotUsableYet, rules.Revoked,
    rules.Frozen, rules.Transferred, rules.WrongChannel, rules.NotInGroupNow, rules.BuyerNeeded, rules.CodeClosed,
    rules.CodeTaken, rules.CodeGivesNothing, rules.CouponsRefused,
)  # fmt: skip
BUYER_REFUSALS: tuple[type[Refusal], ...] = (PhoneInvalid, EmailInvalid)
BASKET_REFUSALS: tuple[type[Refusal], ...] = (
    rules.BelowMinimum, rules.WrongProduct, rules.LinesNeeded, rules.NotCombinable, rules.NothingToDiscount,
    rules.TierShipsFree, rules.BudgetSpent,
)  # fmt: skip


# ── What comes in ───────────────────────────────────────────────────────────────────────────────────────────────────


class LineIn(Strict):
    """One line of the basket; `amount` is what all its pieces cost before coupons, in 分."""

    sku: Name
    quantity: Annotated[int, Field(ge=1, le=1_000_000)]
    amount: Amount


class BuyerIn(Strict):
    """Who buys: what the shop knows of them. A phone may be spelt in any way."""

    id: Name | None = None
    phone: Name | None = None
    email: Name | None = None


class BasketIn(Strict):
    amount: Annotated[Amount, Field(description="What the goods cost before coupons, in 分.")]
    postage: Annotated[Amount, Field(description="What the buyer is to pay for it, in 分.")] = 0
    lines: Annotated[
        list[LineIn],
        Field(
            max_length=1_000, description="For coupons of certain goods; their amounts add up to that of the basket."
        ),
    ] = []
    buyer: BuyerIn | None = None
    tier_discount: Annotated[
        bool,
        Field(
            description="Whether the buyer's tier is still to be counted: its discount on `amount`, its free shipping."
        ),
    ] = False

    @model_validator(mode="after")
    def lines_add_up(self) -> BasketIn:
        if self.lines and sum(line.amount for line in self.lines) != self.amount:
            raise ValueError(_("The lines' amounts must add up to amount."))
        return self

    @property
    def basket(self) -> rules.Basket:
        lines = tuple(rules.Line(line.sku, line.quantity, line.amount) for line in self.lines)
        return rules.Basket(self.amount, self.postage, lines)


class ValidateIn(BasketIn):
    """`source` and `order` are those of the order that may hold some of the coupons already."""

    codes: Codes
    source: Source | None = None
    order: Number | None = None


class Chosen(Strict):
    """One `code` or several `codes`."""

    model_config = ConfigDict(json_schema_extra={"oneOf": [{"required": ["code"]}, {"required": ["codes"]}]})
    code: Name | None = None
    codes: Codes | None = None

    @model_validator(mode="after")
    def one_of_both(self) -> Chosen:
        if (self.code is None) == (self.codes is None):
            raise ValueError(_("Give either code or codes."))
        return self

    @property
    def wanted(self) -> list[str]:
        return [self.code] if self.code is not None else list(self.codes or [])


class OrderIn(Chosen):
    """One `code` or several `codes`, and the order that they are for, under the source and number that it is reported with."""

    source: Source
    order: OrderNumber


class ReserveIn(OrderIn):
    """One `code` or several `codes`, and the order that is to hold them. A code of a pool needs the buyer."""

    buyer: BuyerIn | None = None


class RedeemIn(OrderIn, BasketIn):
    """One `code` or several `codes`, the order that they are used on, and its basket. A code of a pool needs the buyer."""


class RollBackIn(OrderIn):
    """One `code` or several `codes`, and the order that they were used on."""

    reason: Words = ""


# ── What goes out ───────────────────────────────────────────────────────────────────────────────────────────────────


class RefusalOut(Strict):
    """Why a coupon cannot be used, or is better left; some reasons tell more (the order that used it, what is missing)."""

    code: str
    detail: str
    order: str | None = None
    source: str | None = None
    redeemed_at: str | None = None
    missing: int | None = None


class DiscountOut(Strict):
    """What is taken off, in 分: off the goods and off the postage, and off each line where lines were told. `item` is a gift."""

    discount: int
    goods_discount: int
    postage_discount: int
    line_discounts: list[int]
    item: str


class VerdictOut(Strict):
    """`alone` is what the coupon would take off by itself, `here` what it takes off among the others; `refusal` says why it is
    not used."""

    code: str
    usable: bool
    used: bool
    offer: str | None
    kind: CouponKind | None
    usable_until: Instant | None
    alone: DiscountOut | None
    here: DiscountOut | None
    refusal: RefusalOut | None


class ValidateOut(Strict):
    """`best` are the codes to use. `discount` is all that is taken off, with the tier's part; `payable` is what is left to pay."""

    amount: int
    postage: int
    coupons: list[VerdictOut]
    best: list[str]
    tier_discount: int
    tier_postage: int
    discount: int
    goods_discount: int
    postage_discount: int
    line_discounts: list[int]
    payable: int


class HeldOut(Strict):
    """A coupon as it stands; `reserved_until` is null while no order holds it."""

    code: str
    state: CouponState
    usable_until: Instant
    reserved_until: Instant | None


class HeldAllOut(Strict):
    coupons: list[HeldOut]


class UsedOut(DiscountOut):
    code: str
    state: CouponState
    usable_until: Instant
    offer: str
    kind: CouponKind
    redeemed_at: Instant
    replayed: bool


class RedeemOut(Strict):
    """`discount` is what the coupons take off, beside `tier_discount` and `tier_postage`; `payable` is what is left to pay. With
    `replayed` the order had used them before: `amount` and what was taken off are those of then."""

    source: str
    order: str
    amount: int
    postage: int
    coupons: list[UsedOut]
    tier_discount: int
    tier_postage: int
    discount: int
    payable: int
    replayed: bool


class UndoneOut(Strict):
    """A coupon whose use was undone; `discount` is what it had taken off."""

    code: str
    state: CouponState
    usable_until: Instant
    discount: int
    rolled_back_at: Instant | None


class RollBackOut(Strict):
    source: str
    order: str
    coupons: list[UndoneOut]


def _refusal(refusal: Refusal) -> RefusalOut:
    return RefusalOut(code=refusal.code, detail=refusal.message, **refusal.members)


def _discount(discount: rules.Discount | None) -> DiscountOut | None:
    if discount is None:
        return None
    return DiscountOut(
        discount=discount.total,
        goods_discount=discount.goods,
        postage_discount=discount.postage,
        line_discounts=list(discount.shares),
        item=discount.item,
    )


def _verdict(verdict: Verdict) -> VerdictOut:
    found = verdict.found
    return VerdictOut(
        code=verdict.code,
        usable=verdict.usable,
        used=verdict.used,
        offer=found.offer.name if found is not None else None,
        kind=found.version.kind if found is not None else None,
        usable_until=found.usable_until if found is not None else None,
        alone=_discount(verdict.discount),
        here=_discount(verdict.taken),
        refusal=_refusal(verdict.refusal) if verdict.refusal is not None else None,
    )


def _lines(best: combination.Combination) -> list[int]:
    """What everything takes off each line."""
    sums = [0] * len(best.basket.lines)
    for discount in (best.tier, *(one.discount for one in best.used)):
        for i, part in enumerate(discount.shares):
            sums[i] += part
    return sums


def _held(coupons: Sequence[Coupon]) -> HeldAllOut:
    return HeldAllOut(
        coupons=[
            HeldOut(
                code=codes.spelt(coupon.code),
                state=coupon.state,
                usable_until=coupon.usable_until,
                reserved_until=coupon.reserved_until,
            )
            for coupon in coupons
        ]
    )


def _used(done: services.Redeemed) -> UsedOut:
    used: Redemption = done.redemption
    free_post = done.version.kind == CouponKind.FREE_SHIPPING
    return UsedOut(
        code=codes.spelt(done.coupon.code),
        state=done.coupon.state,
        usable_until=done.coupon.usable_until,
        offer=done.offer_name,
        kind=done.version.kind,
        discount=used.discount,
        goods_discount=0 if free_post else used.discount,
        postage_discount=used.discount if free_post else 0,
        line_discounts=used.shares,
        item=done.version.item_title if done.version.kind == CouponKind.GIFT_ITEM else "",
        redeemed_at=used.redeemed_at,
        replayed=done.replayed,
    )


def _said(buyer: BuyerIn | None) -> dict[str, str]:
    return {k: v for k, v in buyer.model_dump().items() if v is not None} if buyer is not None else {}


# ── The calls ───────────────────────────────────────────────────────────────────────────────────────────────────────


@bp.post("/coupons/validate")
@api_scope("coupons:redeem")
@operation(
    _l("Weigh coupons against a basket"),
    tag="Coupons",
    takes=ValidateIn,
    answers=ValidateOut,
    refusals=BUYER_REFUSALS,
    description=_l(
        "Changes nothing. Finds the combination that takes off most, whatever the order of the codes, and says of each code "
        "whether it is used, what it takes off, or why not."
    ),
    example={"codes": ["7F3K-9QWE2-2MNX"], "amount": 9900, "postage": 800},
)
def validate(body: ValidateIn) -> Any:
    source = body.source or ""
    buyer = find_buyer(source, _said(body.buyer))
    found = services.validate(body.codes, body.basket, source, body.order or "", buyer, body.tier_discount)
    best = found.best
    return ValidateOut(
        amount=body.amount,
        postage=body.postage,
        coupons=[_verdict(verdict) for verdict in found.verdicts],
        best=found.codes_used,
        tier_discount=best.tier.goods,
        tier_postage=best.tier.postage,
        discount=best.total,
        goods_discount=best.goods,
        postage_discount=best.postage,
        line_discounts=_lines(best),
        payable=best.payable,
    )


@bp.post("/coupons/reserve")
@api_scope("coupons:redeem")
@idempotent()
@operation(
    _l("Hold coupons for an order while its buyer pays"),
    tag="Coupons",
    takes=ReserveIn,
    answers=HeldAllOut,
    refusals=(*REDEEM_REFUSALS, *BUYER_REFUSALS),
    example={"codes": ["7F3K-9QWE2-2MNX"], "source": "shop", "order": "A-1001"},
)
def reserve(body: ReserveIn) -> Any:
    buyer = find_or_make_buyer(body.source, _said(body.buyer))
    return _held(services.reserve_all(body.wanted, body.source, body.order, buyer))


@bp.post("/coupons/release")
@api_scope("coupons:redeem")
@idempotent()
@operation(
    _l("Let go of coupons that an order holds"),
    tag="Coupons",
    takes=OrderIn,
    answers=HeldAllOut,
    refusals=(rules.UnknownCode, NotReserved, rules.CodeClosed, rules.CouponsRefused),
    example={"codes": ["7F3K-9QWE2-2MNX"], "source": "shop", "order": "A-1001"},
)
def release(body: OrderIn) -> Any:
    return _held(services.release_all(body.wanted, body.source, body.order))


@bp.post("/coupons/redeem")
@api_scope("coupons:redeem")
@idempotent()
@operation(
    _l("Use coupons on an order"),
    tag="Coupons",
    takes=RedeemIn,
    answers=RedeemOut,
    refusals=(*REDEEM_REFUSALS, *BASKET_REFUSALS, *BUYER_REFUSALS),
    description=_l(
        "All of them or none. The same order again gets the same answer. A code of a pool becomes a coupon of the buyer."
    ),
    example={"codes": ["7F3K-9QWE2-2MNX"], "source": "shop", "order": "A-1001", "amount": 9900, "postage": 800},
)
def redeem(body: RedeemIn) -> Any:
    buyer = find_or_make_buyer(body.source, _said(body.buyer))
    done = services.redeem_all(body.wanted, body.source, body.order, body.basket, buyer, body.tier_discount)
    amount = done.coupons[0].redemption.amount
    return RedeemOut(
        source=body.source,
        order=body.order,
        amount=amount,
        postage=body.postage,
        coupons=[_used(one) for one in done.coupons],
        tier_discount=done.tier,
        tier_postage=done.tier_postage,
        discount=sum(one.redemption.discount for one in done.coupons),
        payable=max(0, amount + body.postage - done.taken),
        replayed=done.replayed,
    )


@bp.post("/coupons/rollback")
@api_scope("coupons:redeem")
@idempotent()
@operation(
    _l("Undo the use of coupons on an order"),
    tag="Coupons",
    takes=RollBackIn,
    answers=RollBackOut,
    refusals=(rules.UnknownCode, RedemptionUnknown, rules.CodeClosed, rules.CouponsRefused),
    example={"codes": ["7F3K-9QWE2-2MNX"], "source": "shop", "order": "A-1001", "reason": "cancelled"},
)
def roll_back(body: RollBackIn) -> Any:
    undone = services.roll_back_all(body.wanted, body.source, body.order, body.reason)
    return RollBackOut(
        source=body.source,
        order=body.order,
        coupons=[
            UndoneOut(
                code=codes.spelt(coupon.code),
                state=coupon.state,
                usable_until=coupon.usable_until,
                discount=redemption.discount,
                rolled_back_at=redemption.rolled_back_at,
            )
            for redemption, coupon in undone
        ],
    )
