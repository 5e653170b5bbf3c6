"""Pages for staff: orders, and the files they come in."""

from __future__ import annotations

from apiflask import APIBlueprint

bp = APIBlueprint(
    "orders_console", __name__, url_prefix="/console", template_folder="../templates", enable_openapi=False
)
imports_bp = APIBlueprint("imports_console", __name__, url_prefix="/console", enable_openapi=False)

from . import imports, mappings, orders  # noqa: E402

__all__ = ["bp", "imports", "imports_bp", "mappings", "orders"]
