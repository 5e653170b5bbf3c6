"""Pages for staff: the list, the calendar, the editor with its preview, a post's numbers, the library and the results."""

from __future__ import annotations

from apiflask import APIBlueprint

bp = APIBlueprint(
    "posts_console", __name__, url_prefix="/console", template_folder="../templates", enable_openapi=False
)

from . import library, writing  # noqa: E402

__all__ = ["bp", "library", "writing"]
