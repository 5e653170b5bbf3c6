"""Random policies, orders and standings."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import strategies as st

from membership.tiers.models import Downgrade, Metric, RefundEffect, Window
from membership.tiers.rules import CountedOrder, Level, Policy, Standing

# Close to the turn of a year of the shop's calendar, so that calendar windows matter.
NOW = datetime(2026, 1, 20, 4, 0, tzinfo=UTC)
DAYS = st.integers(-500, 5)


def instants(days=DAYS):
    return days.map(lambda n: NOW + timedelta(days=n))


@st.composite
def policies(draw) -> Policy:
    ranks = sorted(draw(st.sets(st.integers(1, 4), min_size=1)))
    spends = sorted(draw(st.sets(st.integers(1, 40), min_size=len(ranks), max_size=len(ranks))))
    counts = sorted(draw(st.sets(st.integers(1, 12), min_size=len(ranks), max_size=len(ranks))))
    return Policy(
        metric=draw(st.sampled_from(Metric)),
        window=draw(st.sampled_from(Window)),
        rolling_days=draw(st.sampled_from([1, 30, 200, 400])),
        valid_days=draw(st.sampled_from([1, 30, 365])),
        grace_days=draw(st.sampled_from([0, 7, 30])),
        downgrade=draw(st.sampled_from(Downgrade)),
        refund_effect=draw(st.sampled_from(RefundEffect)),
        levels=tuple(
            Level(rank, f"VIP{rank}", f"VIP{rank}", spend * 100, count, 990 - 50 * i)
            for i, (rank, spend, count) in enumerate(zip(ranks, spends, counts, strict=True))
        ),
        id=1,
    )


orders = st.builds(
    lambda at, spend, whole: CountedOrder(at, spend * 100 if whole else 0, whole),
    instants(),
    st.integers(0, 30),
    st.booleans() | st.just(True),
)
order_lists = st.lists(orders, max_size=8)


@st.composite
def standings(draw) -> Standing:
    rank = draw(st.integers(0, 4))
    if rank == 0:
        return Standing()
    return Standing(
        rank,
        draw(st.none() | instants(st.integers(-60, 400))),
        draw(st.none() | instants(st.integers(-400, 0))),
    )
