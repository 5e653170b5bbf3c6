"""What the room says elsewhere: on a member's page, to journeys and to audiences."""

from __future__ import annotations

from typing import Any

from flask import render_template
from markupsafe import Markup

from campaigns.audiences import clauses
from campaigns.journeys import queries as journeys
from kernel import clock
from kernel.auth import may
from kernel.ports import fill_slot
from membership.members.models import Member

from . import labels, queries, rules


def need_card(member: Member) -> Any:
    """What a member is likely to need again, on their page in the console."""
    rows = queries.needed_again(member.id) if may("forecasts.view") else []
    if not rows:
        return ""
    return Markup(render_template("forecasts/_member_due.html", rows=rows, today=clock.today()))  # noqa: S704


def forecast_card(member: Member) -> Any:
    """What is expected of a member, as estimates."""
    if not may("forecasts.view"):
        return ""
    found = queries.forecast_of(member.id)
    model = queries.shown_model()
    if found is None and (model is None or not member.orders_count):
        return ""
    return Markup(  # noqa: S704
        render_template(
            "forecasts/_member_forecast.html",
            forecast=found,
            model=model,
            orders=found.orders_90 if found is not None else None,
            horizon=rules.SHOWN_HORIZON,
            labels=labels,
        )
    )


def init() -> None:
    """Fill the ports and slots of the rooms below."""
    journeys.due_members.fill(queries.due_members)
    clauses.foreseen.fill(queries.foreseen)
    fill_slot("member.side", order=60)(need_card)
    fill_slot("member.side", order=62)(forecast_card)
