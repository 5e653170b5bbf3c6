"""Pages for staff: the list of members, and one member."""

from __future__ import annotations

from apiflask import APIBlueprint

bp = APIBlueprint(
    "members_console", __name__, url_prefix="/console", template_folder="../templates", enable_openapi=False
)

from . import merging, people, profile, rights, stages  # noqa: E402

__all__ = ["bp", "merging", "people", "profile", "rights", "stages"]
