"""The demo shop's repurchase push: real workers send it to those who agreed, as soon as the shop is loaded."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import select

from campaigns.audiences import demo as audiences
from campaigns.channels import services as channels
from campaigns.channels import starter as channels_shown
from campaigns.forecasts import demo as forecasts
from campaigns.journeys import demo as journeys
from campaigns.pushes import demo as push_demo
from campaigns.pushes import services as pushes
from campaigns.results import demo as results
from campaigns.touchpoints import demo as touchpoints
from kernel.db import db
from kernel.demo import Progress, Step
from kernel.staff.models import Staff
from membership.coupons.models import Offer


def steps() -> Iterator[Step]:
    """What this floor brings, in order."""
    yield Step("channels", "Ways to reach members", 0.1, _show_channels)
    yield Step("audience", "Saved audiences", 0.1, _save_audience)
    yield Step("results", "What a push of last month brought", 0.5, _show_results)
    yield Step("push", "A repurchase push", 1, _schedule_push)
    yield Step("pushes", "Festivals, a series and two wordings", 0.2, _plan_pushes)
    yield Step("journeys", "Journeys with people inside", 1, _begin_journeys)
    yield Step("touchpoints", "Touchpoints", 0.1, _enter_touchpoints)
    yield Step("forecasts", "Forecasts from real orders", 12, forecasts.look_ahead)


def _enter_touchpoints(progress: Progress) -> None:
    touchpoints.begin()


def _begin_journeys(progress: Progress) -> None:
    journeys.begin()


def _show_channels(progress: Progress) -> None:
    channels_shown.show()


def _plan_pushes(progress: Progress) -> None:
    push_demo.begin()


def _save_audience(progress: Progress) -> None:
    audiences.begin()


def _show_results(progress: Progress) -> None:
    results.begin()


def _schedule_push(progress: Progress) -> None:
    offer_id = db.session.scalar(select(Offer.id).order_by(Offer.id).limit(1))
    marketer = db.session.scalar(select(Staff.id).where(Staff.email == "marketer@shop.example"))
    _push, run = pushes.draft(
        marketer,
        name="30–180 天没回来的老朋友",
        account_id=channels.inbox_account().id,
        audience={"rules": [{"kind": "last_order", "from_days": 30, "to_days": 180}]},
        subject="{nickname}，好久不见",
        body="给您留了一张券：{coupon_value}，十四天内都能用。",
        offer_id=offer_id,
    )
    pushes.schedule(run)
