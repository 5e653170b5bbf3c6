"""What this room keeps of people, column by column: see `membership.members.services.personal`."""

from __future__ import annotations

from kernel.i18n import lazy_gettext as _l
from membership.members.services.personal import by, declare

from .models import ClockRun, ForecastModel, MemberForecast, ProductClock, Repurchase

declare(
    ProductClock,
    "product_id gaps people learned_days learned_spread histogram bin_days fallback_days fallback_spread fallback_basis"
    " set_days days spread basis stale stale_after learned_at",
)
declare(ClockRun, "id phase cursor products members started_at finished_at")
declare(
    ForecastModel,
    "id state observed_from observed_until customers repeaters one_in fitted cursor scored error started_at fitted_at"
    " finished_at",
)
declare(
    Repurchase,
    "member_id product_id order_id bought_at bought_on pieces due_on from_on until_on",
    rows=by(Repurchase.member_id),
    label=_l("Likely to need again"),
    drop=True,
)
declare(
    MemberForecast,
    "member_id model_id repeats alive orders_7 orders_30 orders_90 orders_180 orders_365 orders_730 order_value",
    rows=by(MemberForecast.member_id),
    label=_l("Forecasts"),
    drop=True,
)
