"""The verbs of points."""

from __future__ import annotations

from .spending import adjust, award, give_back, left_to_return, spend

__all__ = ["adjust", "award", "give_back", "left_to_return", "spend"]
