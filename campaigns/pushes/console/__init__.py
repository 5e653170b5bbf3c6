"""Pages for staff: pushes from the draft to the result, trying one out, the calendar, the contact budget."""

from __future__ import annotations

from apiflask import APIBlueprint

bp = APIBlueprint(
    "pushes_console", __name__, url_prefix="/console", template_folder="../templates", enable_openapi=False
)

from . import budget, months, pushes, trying  # noqa: E402

__all__ = ["bp", "budget", "months", "pushes", "trying"]
