"""Pages for staff: the list of draws and sales, of one group and of all, and each with what came of it."""

from __future__ import annotations

from apiflask import APIBlueprint

bp = APIBlueprint(
    "activities_console", __name__, url_prefix="/console", template_folder="../templates", enable_openapi=False
)

from . import lists, lotteries, sales  # noqa: E402

__all__ = ["bp", "lists", "lotteries", "sales"]
