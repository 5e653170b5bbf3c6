"""How tiers and their rules are called."""

from __future__ import annotations

from typing import Any

from kernel.events import describes
from kernel.i18n import current_locale, day, ngettext
from kernel.i18n import gettext as _
from kernel.i18n import lazy_gettext as _l
from kernel.money import yuan

from . import queries
from .events import TierChanged
from .models import Downgrade, Metric, RefundEffect, Window
from .queries import Explanation
from .rules import Level, Missing, Mistake, Policy, Totals, Why

METRICS = {
    Metric.ANY: _l("Spend or number of orders, whichever is reached first"),
    Metric.ALL: _l("Spend and number of orders, both"),
    Metric.SPEND: _l("Spend only"),
    Metric.ORDERS: _l("Number of orders only"),
}
WINDOWS = {
    Window.ROLLING: _l("The last so many days"),
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
WHYS = {
    Why.EARNED: _l("Reached by orders"),
    Why.REFUND: _l("Orders behind it were refunded"),
    Why.EXPIRED: _l("Expired and not reached again"),
    Why.MANUAL: _l("Set by hand"),
    Why.MANUAL_ENDED: _l("The tier set by hand ended"),
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
}


def level_name(level: Level) -> str:
    """A level's name in the reader's language."""
    return level.name_en if current_locale() == "en" and level.name_en else level.name


def tier_name(rank: int) -> str:
    """The name of a rank in the reader's language; VIP3 and so on for a level that is off, a sentence for rank 0."""
    if rank == 0:
        return str(_("No tier yet"))
    level = queries.policy().level(rank)
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
