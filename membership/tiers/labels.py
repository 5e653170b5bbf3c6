"""How tiers and their rules are called."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from kernel.events import describes
from kernel.i18n import current_locale, day, ngettext
from kernel.i18n import gettext as _
from kernel.i18n import lazy_gettext as _l
from kernel.money import yuan

from . import queries
from .events import TierChanged, TierFallAnnounced
from .models import Downgrade, Metric, RefundEffect, SimulationState, Window
from .queries import Explanation, Thing
from .rules import Difference, Level, Missing, Mistake, Policy, Totals, Why

METRICS = {
    Metric.ANY: _l("Spend or number of orders, whichever is reached first"),
    Metric.ALL: _l("Spend and number of orders, both"),
    Metric.SPEND: _l("Spend only"),
    Metric.ORDERS: _l("Number of orders only"),
}
WINDOWS = {
    Window.ROLLING: _l("A number of past days"),
    Window.CALENDAR: _l("This calendar year"),
    Window.LIFETIME: _l("All orders ever"),
}
DOWNGRADES = {
    Downgrade.NONE: _l("Keep the tier"),
    Downgrade.ONE_LEVEL: _l("Down one level"),
    Downgrade.REASSESS: _l("Down to what the orders give"),
}
REFUND_EFFECTS = {
    RefundEffect.IMMEDIATE: _l("At once: a tier whose own orders are refunded is taken back"),
    RefundEffect.AT_REVIEW: _l("At the next review: the tier stays until it expires"),
}
# What the two settings come to, as sentences among the rules.
DOWNGRADE_SENTENCES = {
    Downgrade.NONE: _l("A tier that is not reached again by then is kept."),
    Downgrade.ONE_LEVEL: _l("A tier that is not reached again by then falls by one level."),
    Downgrade.REASSESS: _l("A tier that is not reached again by then falls to what the orders give."),
}
REFUND_SENTENCES = {
    RefundEffect.IMMEDIATE: _l("When its own orders are refunded, a tier is taken back at once."),
    RefundEffect.AT_REVIEW: _l("When its own orders are refunded, a tier stays until it expires."),
}
WHYS = {
    Why.EARNED: _l("Reached by orders"),
    Why.REFUND: _l("Orders behind it were refunded"),
    Why.EXPIRED: _l("Expired and not reached again"),
    Why.MANUAL: _l("Set by hand"),
    Why.MANUAL_ENDED: _l("The tier set by hand ended"),
    Why.MERGED: _l("Two records of one person were merged"),
}
MISTAKES = {
    Mistake.NO_LEVEL: _l("Switch on one level at least."),
    Mistake.NAME_EMPTY: _l("Give the level a name."),
    Mistake.SPEND_RANGE: _l("Write an amount between ¥0.01 and ¥100,000,000."),
    Mistake.ORDERS_RANGE: _l("Write a number between 1 and 100,000."),
    Mistake.SPEND_ORDER: _l("The amount must be greater than that of the level below."),
    Mistake.ORDERS_ORDER: _l("The number of orders must be greater than that of the level below."),
    Mistake.DISCOUNT_RANGE: _l("Members pay between 70 % and 100 % of the price."),
    Mistake.DISCOUNT_ORDER: _l("A higher level must pay a smaller part of the price than the level below."),
    Mistake.ROLLING_DAYS: _l("Write between 1 and 3,650 days."),
    Mistake.VALID_DAYS: _l("Write between 1 and 3,650 days."),
    Mistake.GRACE_DAYS: _l("Write between 0 and 365 days."),
    Mistake.MULTIPLIER_RANGE: _l("Points are multiplied by 0 to 10."),
    Mistake.BIRTHDAY_DAYS: _l("Write between 0 and 60 days."),
    Mistake.BENEFIT_UNKNOWN: _l("This cannot be given any more. Choose another one."),
    Mistake.ONE_EACH: _l(
        "Of this coupon a member may have one only, so that no second month could give it. Choose another one."
    ),
}
FIELDS = {
    "metric": _l("What is counted"),
    "window": _l("From when"),
    "rolling_days": _l("Days that count"),
    "valid_days": _l("Days a tier holds"),
    "grace_days": _l("Days of grace"),
    "downgrade": _l("When it has ended"),
    "refund_effect": _l("When orders are refunded"),
    "birthday_days": _l("Birthday gift, days before"),
    "on": _l("Level"),
    "name": _l("Name"),
    "name_en": _l("Name in English"),
    "spend": _l("From a spend of"),
    "orders": _l("From a number of orders"),
    "discount": _l("Members pay, of the price"),
    "benefits": _l("In words"),
    "multiplier": _l("Points"),
    "entry_gift_id": _l("Gift on reaching it"),
    "entry_offer_id": _l("Coupon on reaching it"),
    "birthday_gift_id": _l("Birthday gift"),
    "monthly_offer_id": _l("Coupon every month"),
    "free_shipping": _l("Free shipping"),
    "priority_service": _l("Served first"),
    "group_ids": _l("Groups of their own"),
}
FALL_DAYS = {
    1: _l("Within one day"),
    7: _l("Within 7 days"),
    30: _l("Within 30 days"),
    90: _l("Within 90 days"),
}
ENDS = {"soon": _l("within 30 days"), "never": _l("with no end")}
SIMULATIONS = {
    SimulationState.NONE: _l("Not tried yet"),
    SimulationState.RUNNING: _l("Being tried"),
    SimulationState.DONE: _l("Tried"),
}
SIMULATION_TONES = {
    SimulationState.NONE: "neutral",
    SimulationState.RUNNING: "running",
    SimulationState.DONE: "positive",
}


def level_name(level: Level) -> str:
    """A level's name in the reader's language."""
    return level.name_en if current_locale() == "en" and level.name_en else level.name


def tier_name(rank: int, policy: Policy | None = None) -> str:
    """The name of a rank in the reader's language; VIP3 and so on for a level that is off, a sentence for rank 0.

    Who names many of them reads the `policy` in force once; without it, it is read here.
    """
    if rank == 0:
        return str(_("No tier yet"))
    level = (policy or queries.policy()).level(rank)
    return level_name(level) if level is not None else f"VIP{rank}"


def missing_text(missing: Missing) -> str:
    """`¥38.00 or 1 order`: what is missing, as part of a sentence."""
    parts = []
    if missing.spend:
        parts.append(yuan(missing.spend))
    if missing.orders:
        parts.append(ngettext("%(num)s order", "%(num)s orders", missing.orders))
    if len(parts) < 2:
        return "".join(parts)
    if missing.either:
        return str(_("%(spend)s or %(orders)s", spend=parts[0], orders=parts[1]))
    return str(_("%(spend)s and %(orders)s", spend=parts[0], orders=parts[1]))


def discount_text(per_mille: int) -> str:
    """`9.5折` or `5% off`: what members pay, in the reader's way."""
    if per_mille >= 1000:
        return str(_("No discount"))
    if current_locale() == "en":
        off = 1000 - per_mille
        return f"{off // 10}% off" if off % 10 == 0 else f"{off / 10:.1f}% off"
    return f"{per_mille / 100:.2f}".rstrip("0").rstrip(".") + "折"


def rank_word(rank: int) -> str:
    """`VIP3`, or words for having none."""
    return f"VIP{rank}" if rank else str(_("no tier"))


def threshold_text(policy: Policy, level: Level) -> str:
    """`¥500.00 or 3 orders`: what a level asks for."""
    return missing_text(
        Missing(
            rank=level.rank,
            spend=level.spend if policy.asks_spend else None,
            orders=level.orders if policy.asks_orders else None,
            either=policy.metric is Metric.ANY,
        )
    )


def window_text(policy: Policy) -> str:
    """From when orders count, as part of a sentence."""
    if policy.window is Window.ROLLING:
        return str(ngettext("of the last day", "of the last %(num)s days", policy.rolling_days or 0))
    if policy.window is Window.CALENDAR:
        return str(_("of this calendar year"))
    return str(_("of all time"))


def totals_text(sums: Totals) -> str:
    """`¥462.00 in 2 orders`."""
    orders = ngettext("%(num)s order", "%(num)s orders", sums.orders)
    return str(_("%(spend)s in %(orders)s", spend=yuan(sums.spend), orders=orders))


def next_text(told: Explanation) -> str:
    """`¥38.00 or 1 order to VIP3`."""
    if told.missing is None:
        return str(_("The highest tier there is"))
    missing = missing_text(told.missing)
    if not missing:
        return str(_("%(tier)s follows with the next review", tier=rank_word(told.missing.rank)))
    return str(_("%(missing)s to %(tier)s", missing=missing, tier=rank_word(told.missing.rank)))


def kept_text(told: Explanation) -> str:
    """Until when the tier holds, and what is missing for keeping it; empty where there is nothing to lose."""
    if told.rank == 0:
        return ""
    if told.manual_rank is not None and told.manual_rank > told.own_rank:
        if told.manual_until is None:
            return str(_("set by hand"))
        return str(_("set by hand until %(day)s", day=day(told.manual_until)))
    if told.valid_until is None:
        return ""
    kept = str(_("kept until %(day)s", day=day(told.valid_until)))
    lacks = missing_text(told.to_keep) if told.to_keep is not None else ""
    if not lacks:
        return kept
    return _both(kept, str(_("%(missing)s more by then keep it longer", missing=lacks)))


def _both(first: str, second: str) -> str:
    return str(_("%(first)s; %(second)s", first=first, second=second))


def sentence(told: Explanation) -> str:
    """`¥38.00 or 1 order to VIP3; kept until 1 Mar 2027`: where a member stands, in one sentence."""
    ahead, kept = next_text(told), kept_text(told)
    return _both(ahead, kept) if kept else ahead


def keep_sentence(missing: Missing, rank: int, to_rank: int) -> str:
    """What keeps a tier, and what comes else: for the member, in their language."""
    lacks = missing_text(missing)
    if not lacks:
        return str(_("The level is no longer given; you stand at %(tier)s then.", tier=rank_word(to_rank)))
    return str(
        _(
            "%(missing)s more by then keep %(tier)s; without it you stand at %(after)s.",
            missing=lacks,
            tier=rank_word(rank),
            after=rank_word(to_rank),
        )
    )


def multiplier_text(per_mille: int) -> str:
    """`1.5×`: how often points are given."""
    return f"{per_mille / 1000:g}×"


def thing_names(things: Iterable[Thing]) -> dict[tuple[str, int], str]:
    """Names of gifts and offers by kind and id."""
    return {(thing.kind, thing.id): thing.name for thing in things}


@dataclass(frozen=True)
class BenefitLine:
    """One thing that a level gives, for reading."""

    icon: str
    title: str
    text: str = ""


def benefit_lines(policy: Policy, level: Level, names: Mapping[tuple[str, int], str]) -> list[BenefitLine]:
    """Everything a level gives, the same for staff and members."""
    found: list[BenefitLine] = []
    if level.discount < 1000:
        found.append(BenefitLine("discount", discount_text(level.discount), str(_("on the whole shop"))))
    if level.multiplier != 1000:
        found.append(
            BenefitLine(
                "coin", str(_("%(times)s points", times=multiplier_text(level.multiplier))), str(_("on every order"))
            )
        )
    if (name := names.get(("gift", level.entry_gift_id or 0))) is not None:
        found.append(BenefitLine("gift", name, str(_("once, on reaching this tier"))))
    if (name := names.get(("offer", level.entry_offer_id or 0))) is not None:
        found.append(BenefitLine("ticket", name, str(_("once, on reaching this tier"))))
    if (name := names.get(("offer", level.monthly_offer_id or 0))) is not None:
        found.append(BenefitLine("calendar", name, str(_("a new one every month"))))
    if (name := names.get(("gift", level.birthday_gift_id or 0))) is not None:
        before = policy.birthday_days
        when = ngettext("from one day before your birthday", "from %(num)s days before your birthday", before)
        found.append(BenefitLine("heart", name, when if before else str(_("on your birthday"))))
    if level.free_shipping:
        found.append(BenefitLine("truck", str(_("Free shipping")), str(_("on every order"))))
    if level.priority_service:
        found.append(BenefitLine("headset", str(_("Served first")), str(_("when you ask us something"))))
    return found


def value_text(change: Difference, value: Any, names: Mapping[tuple[str, int], str], groups: Mapping[int, str]) -> str:
    """One side of a difference, in words."""
    match change.field:
        case "metric":
            return str(METRICS[value])
        case "window":
            return str(WINDOWS[value])
        case "downgrade":
            return str(DOWNGRADES[value])
        case "refund_effect":
            return str(REFUND_EFFECTS[value])
        case "on" | "free_shipping" | "priority_service":
            return str(_("on") if value else _("off"))
        case "spend":
            return yuan(value)
        case "discount":
            return discount_text(value)
        case "multiplier":
            return multiplier_text(value)
        case "group_ids":
            return ", ".join(groups.get(one, f"#{one}") for one in value) or "–"
        case "entry_gift_id" | "birthday_gift_id":
            return names.get(("gift", value), f"#{value}") if value else "–"
        case "entry_offer_id" | "monthly_offer_id":
            return names.get(("offer", value), f"#{value}") if value else "–"
        case _:
            return str(value) if value not in (None, "") else "–"


@describes(TierChanged)
def _changed(event: TierChanged) -> Any:
    why = WHYS[Why(event.reason)]
    if event.to_rank > event.from_rank:
        return _(
            "Rose from %(before)s to %(after)s: %(why)s",
            before=rank_word(event.from_rank),
            after=rank_word(event.to_rank),
            why=why,
        )
    return _(
        "Fell from %(before)s to %(after)s: %(why)s",
        before=rank_word(event.from_rank),
        after=rank_word(event.to_rank),
        why=why,
    )


@describes(TierFallAnnounced)
def _announced(event: TierFallAnnounced) -> Any:
    return ngettext(
        "Told that %(tier)s ends in one day",
        "Told that %(tier)s ends in %(num)s days",
        event.days,
        tier=rank_word(event.from_rank),
    )
