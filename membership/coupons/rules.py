"""Pure decisions about coupons: which changes of state there are, who may claim, what a coupon takes off a basket."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Protocol

from kernel.errors import Refusal
from kernel.i18n import lazy_gettext as _l
from kernel.money import percent_of, share, yuan

from .models import CouponKind, CouponState, OfferState

S = CouponState

# domain.md, "Coupons": the only changes of state there are. `None` is a coupon that did not exist before.
TRANSITIONS: frozenset[tuple[CouponState | None, CouponState]] = frozenset(
    {
        (None, S.ISSUED),
        (S.ISSUED, S.RESERVED),
        (S.ISSUED, S.REDEEMED),
        (S.ISSUED, S.EXPIRED),
        (S.ISSUED, S.REVOKED),
        (S.ISSUED, S.TRANSFERRED),
        (S.ISSUED, S.FROZEN),
        (S.FROZEN, S.ISSUED),
        (S.RESERVED, S.REDEEMED),
        (S.RESERVED, S.ISSUED),
        (S.RESERVED, S.EXPIRED),
        (S.REDEEMED, S.ISSUED),
        (S.REDEEMED, S.EXPIRED),
    }
)


# ── Refusals of a claim ─────────────────────────────────────────────────────────────────────────────────────────────


class ClaimRefused(Refusal):
    """A claim was not granted; each reason is a class of its own, with the step that helps."""

    step: tuple[str, Any] = ("/me/coupons", _l("My coupons"))

    def __init__(self, *, next_step: tuple[str, Any] | None = None, **values: Any) -> None:
        super().__init__(next_step=next_step or self.step, **values)


class SoldOut(ClaimRefused):
    title = _l("All of them are taken")
    label = _l(
        "The last coupon of this offer has just found its owner. If you claimed one before, it is among your coupons."
    )
    icon = "ticket"


class DayLimitReached(ClaimRefused):
    title = _l("Today's coupons are all taken")
    label = _l("This offer gives out a number of coupons each day, and today's are gone. New ones come after midnight.")
    icon = "clock-off"


class NotYet(ClaimRefused):
    title = _l("It has not begun yet")
    label = _l("This offer opens on %(opens)s. The same link works then.")
    undated = _l("The shop is still preparing this offer. The same link works once it is open.")
    icon = "clock"

    @property
    def message(self) -> str:
        return super().message if self.values.get("opens") else str(self.undated)


class TooLate(ClaimRefused):
    title = _l("This offer has ended")
    label = _l(
        "Coupons of this offer can no longer be claimed. Those claimed before stay valid until the day they say."
    )
    icon = "calendar"


class OfferPaused(ClaimRefused):
    title = _l("This offer is taking a break")
    label = _l("The shop has paused it for a moment. Keep the link and try again later.")
    icon = "player-pause"


class TierTooLow(ClaimRefused):
    title = _l("This one is for a higher tier")
    label = _l("It is for %(tier)s and above, and %(missing)s more would take you there.")
    plain = _l("It is for %(tier)s and above.")
    icon = "crown"
    step = ("/me/", _l("See my tier"))

    @property
    def message(self) -> str:
        return super().message if self.values.get("missing") else str(self.plain) % self.values


class NotInGroup(ClaimRefused):
    title = _l("This one is for the members of a group")
    label = _l(
        "Only people in the group can claim and use this coupon. Join the group first, then open this link again."
    )
    icon = "users"
    step = ("/me/", _l("My page"))


class PersonHasTheirs(ClaimRefused):
    title = _l("You have had yours")
    label = _l("This offer gives each person only so many, over all their accounts, and yours have been given out.")
    icon = "user-check"


class GroupShareTaken(ClaimRefused):
    title = _l("Your group's share is taken")
    label = _l("Each group has a share of this offer, and the members of yours have taken all of it.")
    icon = "users"


class ClaimantUnknown(ClaimRefused):
    status = 404
    title = _l("This link does not work any more")
    label = _l("The person that it was made for is no longer with the shop.")
    icon = "link-off"
    step = ("/me/", _l("My page"))


class TooManyNewcomers(ClaimRefused):
    status = 429
    title = _l("Very many people at once")
    label = _l("Many people have claimed from this network in the last hour. Wait a little, or sign in.")
    icon = "clock"
    step = ("/me/sign-in", _l("Sign in"))


# ── Claiming ────────────────────────────────────────────────────────────────────────────────────────────────────────


class ClaimTerms(Protocol):
    """What an offer's row says about claiming."""

    @property
    def state(self) -> str: ...
    @property
    def claim_from(self) -> datetime | None: ...
    @property
    def claim_until(self) -> datetime | None: ...


def refusal_of(offer: ClaimTerms, now: datetime) -> type[ClaimRefused] | None:
    """Why nobody at all can claim at this instant, by the offer's state and its window `[claim_from, claim_until)`."""
    if offer.state == OfferState.ENDED or (offer.claim_until is not None and offer.claim_until <= now):
        return TooLate
    if offer.state == OfferState.PAUSED:
        return OfferPaused
    if offer.state != OfferState.ACTIVE or (offer.claim_from is not None and offer.claim_from > now):
        return NotYet
    return None


def usable_interval(
    usable_from: datetime | None, usable_until: datetime | None, valid_days: int | None, now: datetime
) -> tuple[datetime, datetime]:
    """`[from, until)` of a coupon issued now: n days from the claim, or the absolute interval of the terms.

    With both, the coupon ends at the earlier of the two. A coupon claimed after its absolute end is born expired.
    """
    begin = max(now, usable_from) if usable_from is not None else now
    ends = []
    if valid_days is not None:
        ends.append(begin + timedelta(days=valid_days))
    if usable_until is not None:
        ends.append(usable_until)
    end = min(ends) if ends else begin + timedelta(days=36_500)
    return min(begin, end), end


def state_at(state: CouponState, usable_until: datetime, reserved_until: datetime | None, now: datetime) -> CouponState:
    """What a coupon is at an instant, whether or not a sweep has written it down yet."""
    if state == S.RESERVED and reserved_until is not None and reserved_until <= now:
        state = S.ISSUED
    if state == S.ISSUED and usable_until <= now:
        return S.EXPIRED
    return state


def folded(changes: Sequence[tuple[CouponState | None, CouponState]]) -> CouponState | None:
    """The state to which a coupon's events lead. Raises `ValueError` for a change that is not listed or does not follow."""
    state: CouponState | None = None
    for before, after in changes:
        if before != state or (before, after) not in TRANSITIONS:
            raise ValueError(f"{state} cannot be followed by {before} → {after}")
        state = after
    return state


# ── Using ───────────────────────────────────────────────────────────────────────────────────────────────────────────


class RedeemRefused(Refusal):
    """A coupon cannot be used on a basket or an order; each reason is a class of its own with a stable code."""


class UnknownCode(RedeemRefused):
    status = 404
    title = _l("No such coupon")
    label = _l("There is no coupon with this code. Check it for typing mistakes.")


class AlreadyRedeemed(RedeemRefused):
    title = _l("Used already")
    label = _l("This coupon was used on order %(order)s (%(source)s) at %(at)s.")

    @property
    def members(self) -> dict[str, Any]:
        instant = self.values["instant"]
        return {
            "order": self.values["order"],
            "source": self.values["source"],
            "redeemed_at": instant.isoformat() if instant else None,
        }


class Reserved(RedeemRefused):
    title = _l("Held by another order")
    label = _l("Another order holds this coupon until %(until)s while its buyer pays.")


class Expired(RedeemRefused):
    title = _l("Expired")
    label = _l("This coupon could be used until %(until)s.")


class NotUsableYet(RedeemRefused):
    title = _l("Not usable yet")
    label = _l("This coupon can be used from %(begins)s.")

    @property
    def code(self) -> str:
        return "not_yet"


class Revoked(RedeemRefused):
    title = _l("Taken back")
    label = _l("The shop has taken this coupon back.")


class Frozen(RedeemRefused):
    title = _l("Frozen")
    label = _l("The shop has frozen this coupon while it looks into it.")


class Transferred(RedeemRefused):
    title = _l("Given away")
    label = _l("This coupon was given to somebody else, who has a new code.")


class BelowMinimum(RedeemRefused):
    title = _l("Below the minimum")
    label = _l("The goods it counts for come to %(eligible)s, and it needs %(minimum)s: %(missing)s more.")

    @property
    def members(self) -> dict[str, Any]:
        return {"missing": self.values["fen"]}


class WrongProduct(RedeemRefused):
    title = _l("Not for these goods")
    label = _l("Nothing in this order is among the goods that the coupon is for.")


class LinesNeeded(RedeemRefused):
    status = 422
    title = _l("The lines are needed")
    label = _l("This coupon is for certain goods: send the order's lines with their sku, quantity and amount.")


class WrongChannel(RedeemRefused):
    title = _l("Not for this channel")
    label = _l("This coupon cannot be used on the channel %(source)s.")


class NotInGroupNow(RedeemRefused):
    title = _l("Only while in the group")
    label = _l("This coupon counts only while its owner is in the group that it belongs to.")

    @property
    def code(self) -> str:
        return "not_in_group"


class NotCombinable(RedeemRefused):
    title = _l("Not together")
    label = _l("Another coupon is used on this order, and the two do not go together.")


class Beaten(RedeemRefused):
    title = _l("Another takes off more")
    label = _l("It does not go together with %(others)s, and what is used instead takes off more.")


class TierIsBetter(RedeemRefused):
    title = _l("The tier takes off more")
    label = _l("It does not go together with the tier's discount, which takes off more here.")


class TierShipsFree(RedeemRefused):
    title = _l("The tier ships free")
    label = _l("The buyer's tier pays no postage here, so this coupon is kept.")


class NoEffect(RedeemRefused):
    title = _l("No further effect")
    label = _l("Beside the coupons that are used it would take nothing more off, so it is kept.")


class ListedTwice(RedeemRefused):
    status = 422
    title = _l("Listed twice")
    label = _l("This coupon is in the list already.")


class BudgetSpent(RedeemRefused):
    """`left` (分) is what all coupons of the offer may still take off together, `wanted` what was asked for."""

    title = _l("The offer's budget is used up")
    label = _l("What all coupons of this offer may take off together is used up.")

    def __init__(self, left: int, wanted: int) -> None:
        super().__init__(left=yuan(left), wanted=yuan(wanted))
        if left > 0:
            self.title = _l("The offer's budget does not cover it")
            self.label = _l(
                "It would take off %(wanted)s. All coupons of this offer together may take off %(left)s more, and no coupon "
                "is used in part."
            )


class BuyerNeeded(RedeemRefused):
    status = 422
    title = _l("Whose is it?")
    label = _l("This code gives its coupon to a person: send the order's buyer with a phone, an e-mail or an id.")


class CodeClosed(RedeemRefused):
    title = _l("Not in use any more")
    label = _l("The shop has taken this code back.")


class CodeTaken(RedeemRefused):
    title = _l("This code has an owner")
    label = _l("Somebody else has used this code for their coupon.")


class CodeGivesNothing(RedeemRefused):
    title = _l("Nothing left behind this code")
    label = _l("The offer is not running, has nothing left, or this person has as many of it as one may have.")


class CouponsRefused(Refusal):
    """Several coupons were to be used together and are not, none of them; `refusals` says why, by code."""

    title = _l("Not these together")
    label = _l("None of the coupons was changed: %(number)s of them cannot be used here.")

    def __init__(self, refusals: dict[str, Refusal]) -> None:
        super().__init__(number=len(refusals))
        self.refusals = refusals

    @property
    def members(self) -> dict[str, Any]:
        return {
            "coupons": [
                {"code": code, "refusal": {"code": why.code, "detail": why.message, **why.members}}
                for code, why in self.refusals.items()
            ]
        }


class NothingToDiscount(RedeemRefused):
    title = _l("Nothing to take off")
    label = _l("On this order the coupon would take nothing off, so it was not used up.")


@dataclass(frozen=True)
class Line:
    """One line of a basket: `amount` is what all its pieces cost together, in 分."""

    sku: str
    quantity: int
    amount: int


@dataclass(frozen=True)
class Basket:
    """What is being bought. `amount` (分) is what the goods cost before coupons; `postage` comes on top.

    `taken` is what the tier discount and other coupons already take off the goods, `taken_lines` the same line by line
    (worked out from `taken` by the lines' amounts where it is not told).
    """

    amount: int
    postage: int = 0
    lines: tuple[Line, ...] = ()
    taken: int = 0
    taken_lines: tuple[int, ...] = ()

    @property
    def parts(self) -> tuple[Line, ...]:
        """The lines, or all goods as one line where none are told."""
        return self.lines or (Line("", 1, self.amount),)

    def running(self) -> list[int]:
        """What each part still costs once what is taken already has been taken off."""
        taken = self.taken_lines if len(self.taken_lines) == len(self.parts) else None
        if taken is None:
            taken = tuple(share(min(self.taken, self.amount), [part.amount for part in self.parts]))
        return [max(0, part.amount - off) for part, off in zip(self.parts, taken, strict=True)]

    def after(self, discount: Discount) -> Basket:
        """The same basket once a coupon has been taken off as well."""
        left = self.running()
        shares = discount.shares or (discount.goods,)
        taken = [part.amount - rest + off for part, rest, off in zip(self.parts, left, shares, strict=True)]
        return Basket(
            self.amount, self.postage - discount.postage, self.lines, self.taken + discount.goods, tuple(taken)
        )


class Terms(Protocol):
    """What an offer's version says about using a coupon."""

    @property
    def kind(self) -> CouponKind: ...
    @property
    def value(self) -> int: ...
    @property
    def discount_cap(self) -> int | None: ...
    @property
    def min_spend(self) -> int: ...
    @property
    def skus(self) -> list[str]: ...
    @property
    def item_title(self) -> str: ...


@dataclass(frozen=True)
class Discount:
    """What a coupon does to a basket: `goods` and `postage` come off (分), `shares` is `goods` over the lines."""

    goods: int = 0
    postage: int = 0
    shares: tuple[int, ...] = field(default=())
    item: str = ""

    @property
    def total(self) -> int:
        return self.goods + self.postage


def _in_scope(terms: Terms, basket: Basket) -> list[bool]:
    wanted = {sku.strip().casefold() for sku in terms.skus}
    return [not wanted or part.sku.strip().casefold() in wanted for part in basket.parts]


def eligible_amount(terms: Terms, basket: Basket) -> int:
    """What the goods that a coupon counts for cost together, before anything is taken off.

    Refuses with `LinesNeeded` when it is for certain goods and the lines are not told, with `WrongProduct` when none of
    them is there.
    """
    if not terms.skus:
        return basket.amount
    if not basket.lines:
        raise LinesNeeded
    chosen = [line for line, inside in zip(basket.lines, _in_scope(terms, basket), strict=True) if inside]
    if not chosen:
        raise WrongProduct
    return min(sum(line.amount for line in chosen), basket.amount)


def discount_on(terms: Terms, basket: Basket) -> Discount:
    """What a coupon takes off a basket: never less than nothing, never more than the goods it counts for still cost.

    The minimum is held against the prices before anything was taken off, a percentage counts on the running amount.

    Refuses with `BelowMinimum`, `WrongProduct`, `LinesNeeded`, and with `NothingToDiscount` when it would be wasted.
    """
    eligible = eligible_amount(terms, basket)
    if eligible < terms.min_spend:
        raise BelowMinimum(
            eligible=yuan(eligible), minimum=yuan(terms.min_spend), missing=yuan(terms.min_spend - eligible),
            fen=terms.min_spend - eligible,
        )  # fmt: skip
    inside = _in_scope(terms, basket)
    running = [rest if chosen else 0 for rest, chosen in zip(basket.running(), inside, strict=True)]
    left = sum(running)
    goods = postage = 0
    shares = [0] * len(running)
    item = ""
    match terms.kind:
        case CouponKind.AMOUNT:
            goods = min(terms.value, left)
            shares = share(goods, running)
        case CouponKind.PERCENT:
            goods = max(0, left - percent_of(left, terms.value))
            goods = min(goods, terms.discount_cap if terms.discount_cap is not None else goods)
            shares = share(goods, running)
        case CouponKind.FIXED_PRICE:
            at = _dearest_piece(basket, running)
            goods = min(max(0, running[at] // basket.parts[at].quantity - terms.value), running[at])
            shares[at] = goods
        case CouponKind.FREE_SHIPPING:
            postage = min(basket.postage, terms.discount_cap if terms.discount_cap is not None else basket.postage)
        case CouponKind.GIFT_ITEM:
            item = terms.item_title
    if not goods and not postage and not item:
        raise NothingToDiscount
    return Discount(goods, postage, tuple(shares) if basket.lines else (), item)


def _dearest_piece(basket: Basket, running: Sequence[int]) -> int:
    """One piece is sold at the fixed price: of the line with the dearest one, which is what the buyer would choose."""
    return max(range(len(running)), key=lambda i: (running[i] // basket.parts[i].quantity, -i))


def tier_discount_on(basket: Basket, per_mille: int, ships_free: bool = False) -> Discount:
    """What a tier takes off: the goods cost `per_mille`/1000 of their price (950 = 9.5折), rounded half up.

    With `ships_free` the postage comes off as well.
    """
    left = basket.running()
    goods = max(0, sum(left) - percent_of(sum(left), per_mille))
    postage = basket.postage if ships_free else 0
    return Discount(goods, postage, tuple(share(goods, left)) if basket.lines else ())


def deepest_share(terms: Terms) -> int | None:
    """The largest part of the goods' price that a coupon can take off, per mille; None where the terms do not tell."""
    match terms.kind:
        case CouponKind.AMOUNT:
            return 1000 if terms.min_spend <= terms.value else -(-terms.value * 1000 // terms.min_spend)
        case CouponKind.PERCENT:
            return 1000 - terms.value
        case _:
            return None
