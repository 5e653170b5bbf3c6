"""Pages for staff: offers, their codes and links, giving coupons, what is odd and what it costs, one coupon, the counter."""

from __future__ import annotations

from apiflask import APIBlueprint

bp = APIBlueprint(
    "coupons_console", __name__, url_prefix="/console", template_folder="../templates", enable_openapi=False
)

from . import coupons, floor, grants, links, offers, pools, report, suspicions  # noqa: E402

__all__ = ["bp", "coupons", "floor", "grants", "links", "offers", "pools", "report", "suspicions"]
