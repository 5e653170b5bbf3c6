"""The checkout, for tills and shop systems: validate, reserve, release, redeem, roll back. Amounts are integer 分.

A refusal is a problem document (RFC 9457) with a stable `code`. Redeeming and rolling back are idempotent twice over: by
`Idempotency-Key`, and by nature, for a coupon is used once on an order however often that is said.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, model_validator

from kernel.auth import api_scope
from kernel.http import api_blueprint, idempotent

from . import codes, rules, services
from .models import Coupon, CouponKind
from .services.checkout import Verdict

bp = api_blueprint("coupons_api", __name__)

LARGEST = 10_000_000_000_00
Text = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f]+$")]
Amount = Annotated[int, Field(ge=0, le=LARGEST)]
# The order's number at its source; feeds call the same thing `external_id`.
OrderNumber = Annotated[Text, Field(validation_alias=AliasChoices("order", "external_id", "order_no"))]


class Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")


class LineIn(Strict):
    sku: Text
    quantity: Annotated[int, Field(ge=1, le=1_000_000)]
    amount: Amount


class BasketIn(Strict):
    amount: Amount
    postage: Amount = 0
    lines: Annotated[list[LineIn], Field(max_length=1_000)] = []

    @model_validator(mode="after")
    def lines_add_up(self) -> BasketIn:
        if self.lines and sum(line.amount for line in self.lines) != self.amount:
            raise ValueError("the lines' amounts must add up to amount")
        return self

    @property
    def basket(self) -> rules.Basket:
        lines = tuple(rules.Line(line.sku, line.quantity, line.amount) for line in self.lines)
        return rules.Basket(self.amount, self.postage, lines)


class ValidateIn(BasketIn):
    codes: Annotated[list[Text], Field(min_length=1, max_length=50)]
    source: Annotated[str, Field(max_length=100, pattern=r"^[^\x00-\x1f\x7f]*$")] = ""


class OrderIn(Strict):
    code: Text
    source: Text
    order: OrderNumber


class RedeemIn(BasketIn):
    code: Text
    source: Text
    order: OrderNumber


class RollBackIn(OrderIn):
    reason: Annotated[str, Field(max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$")] = ""


def _verdict(verdict: Verdict) -> dict[str, Any]:
    answer: dict[str, Any] = {"code": verdict.code, "usable": verdict.discount is not None}
    if verdict.version is not None and verdict.coupon is not None:
        answer |= {
            "offer": verdict.offer_name,
            "kind": verdict.version.kind.value,
            "usable_until": verdict.coupon.usable_until.isoformat(),
        }
    if verdict.discount is not None:
        answer |= {
            "discount": verdict.discount.total,
            "goods_discount": verdict.discount.goods,
            "postage_discount": verdict.discount.postage,
            "line_discounts": list(verdict.discount.shares),
            "item": verdict.discount.item,
        }
    if verdict.refusal is not None:
        answer["refusal"] = {
            "code": verdict.refusal.code,
            "detail": verdict.refusal.message,
            **verdict.refusal.members,
        }
    return answer


def _coupon(coupon: Coupon) -> dict[str, Any]:
    return {
        "code": codes.spelt(coupon.code),
        "state": coupon.state.value,
        "usable_until": coupon.usable_until.isoformat(),
        "reserved_until": coupon.reserved_until.isoformat() if coupon.reserved_until else None,
    }


@bp.post("/coupons/validate")
@api_scope("coupons:redeem")
@bp.input(ValidateIn)
def validate(json_data: ValidateIn) -> Any:
    verdicts = services.validate(json_data.codes, json_data.basket, json_data.source)
    best = services.best_of(verdicts)
    whole = json_data.amount + json_data.postage
    return {
        "amount": json_data.amount,
        "postage": json_data.postage,
        "coupons": [_verdict(verdict) for verdict in verdicts],
        "best": best.code if best is not None else None,
        "payable": whole - (best.discount.total if best is not None and best.discount is not None else 0),
    }


@bp.post("/coupons/reserve")
@api_scope("coupons:redeem")
@idempotent()
@bp.input(OrderIn)
def reserve(json_data: OrderIn) -> Any:
    return _coupon(services.reserve(json_data.code, json_data.source, json_data.order))


@bp.post("/coupons/release")
@api_scope("coupons:redeem")
@idempotent()
@bp.input(OrderIn)
def release(json_data: OrderIn) -> Any:
    return _coupon(services.release(json_data.code, json_data.source, json_data.order))


@bp.post("/coupons/redeem")
@api_scope("coupons:redeem")
@idempotent()
@bp.input(RedeemIn)
def redeem(json_data: RedeemIn) -> Any:
    done = services.redeem(json_data.code, json_data.source, json_data.order, json_data.basket)
    used = done.redemption
    free_post = done.version.kind == CouponKind.FREE_SHIPPING
    return {
        **_coupon(done.coupon),
        "offer": done.offer_name,
        "kind": done.version.kind.value,
        "source": used.source,
        "order": used.order_external_id,
        "amount": used.amount,
        "postage": json_data.postage,
        "discount": used.discount,
        "goods_discount": 0 if free_post else used.discount,
        "postage_discount": used.discount if free_post else 0,
        "line_discounts": used.shares,
        "item": done.version.item_title if done.version.kind == CouponKind.GIFT_ITEM else "",
        "payable": max(0, used.amount + json_data.postage - done.taken),
        "redeemed_at": used.redeemed_at.isoformat(),
        "replayed": done.replayed,
    }


@bp.post("/coupons/rollback")
@api_scope("coupons:redeem")
@idempotent()
@bp.input(RollBackIn)
def roll_back(json_data: RollBackIn) -> Any:
    redemption, coupon = services.roll_back(json_data.code, json_data.source, json_data.order, json_data.reason)
    return {
        **_coupon(coupon),
        "source": redemption.source,
        "order": redemption.order_external_id,
        "discount": redemption.discount,
        "rolled_back_at": redemption.rolled_back_at.isoformat() if redemption.rolled_back_at else None,
    }
