"""What all pushes of a quarter brought, taken together."""

from __future__ import annotations

from datetime import date
from typing import Any

from apiflask import APIBlueprint
from flask import render_template, request

from campaigns.pushes import queries as pushes
from campaigns.pushes.models import Run
from kernel import clock
from kernel.auth import staff
from kernel.pages import capped_count, keyset

from . import queries, rules

bp = APIBlueprint(
    "results_console", __name__, url_prefix="/console/results", template_folder="templates", enable_openapi=False
)
QUARTERS = 6


def _quarters() -> list[tuple[str, str]]:
    """The latest quarters, as (key, name)."""
    today = clock.today()
    at, found = (today.year, (today.month - 1) // 3 + 1), []
    for _ in range(QUARTERS):
        found.append((f"{at[0]}Q{at[1]}", f"{at[0]} Q{at[1]}"))
        at = (at[0], at[1] - 1) if at[1] > 1 else (at[0] - 1, 4)
    return found


@bp.get("/pushes")
@staff("results.view")
def index() -> Any:
    quarters = _quarters()
    said = request.args.get("quarter", "")
    quarter = said if said in dict(quarters) else quarters[0][0]
    year, number = int(quarter[:4]), int(quarter[5:])
    since = clock.at(date(year, 3 * number - 2, 1))
    until = clock.at(date(year + number // 4, (3 * number) % 12 + 1, 1))
    statement = pushes.begun_between(since, until)
    page = keyset(statement, [Run.id.desc()], request.args.get("cursor"))
    runs = [run for run, _push in page.rows]
    treated, control = queries.pooled(since, until)
    return render_template(
        "results/index.html",
        page=page,
        count=capped_count(statement),
        quarters=quarters,
        quarter=quarter,
        chosen=said if said in dict(quarters) else "",
        progress=pushes.progress_of(runs),
        credits=queries.credits_of([run.id for run in runs]),
        clicked=queries.clicked_of([run.id for run in runs]),
        treated=treated,
        control=control,
        enough=rules.enough(treated, control),
        needed=rules.needed_in_control(treated, control),
        share=rules.share_difference(treated, control),
        orders=rules.orders_difference(treated, control),
        money=rules.money_difference(treated, control),
    )
