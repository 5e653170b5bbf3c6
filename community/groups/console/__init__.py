"""Pages for staff: the list, one group with its tabs, what came of it, and what needs a decision."""

from __future__ import annotations

from apiflask import APIBlueprint

bp = APIBlueprint(
    "groups_console", __name__, url_prefix="/console", template_folder="../templates", enable_openapi=False
)

from . import friends, groups, live, outside, plans, results, standing  # noqa: E402

__all__ = ["bp", "friends", "groups", "live", "outside", "plans", "results", "standing"]
