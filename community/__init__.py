"""Floor 2: where members gather."""

from __future__ import annotations

from flask import Flask

from . import (
    activities,
    answers,
    checkins,
    conversations,
    desk,
    groups,
    moderation,
    permissions,
    posts,
    staff_results,
    tickets,
)

ROOMS = (groups, moderation, posts, checkins, activities, desk, tickets, conversations, answers, staff_results)


def init_app(app: Flask) -> None:
    """Grant the floor's permissions, then open its rooms from the lowest up."""
    permissions.init()
    for room in ROOMS:
        room.init_app(app)
