"""Pages for staff: the tiers and their rules, drafts and what they would do, coming falls, and tiers set by hand."""

from __future__ import annotations

from apiflask import APIBlueprint

bp = APIBlueprint(
    "tiers_console", __name__, url_prefix="/console", template_folder="../templates", enable_openapi=False
)

from . import drafts, falls, manual, overview  # noqa: E402, F401  They put their pages on the blueprint.
