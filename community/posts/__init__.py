"""Posts: content, schedule, reactions."""

from __future__ import annotations

from flask import Flask

from community.moderation import subjects
from kernel import navigation
from kernel.i18n import lazy_gettext as _l
from kernel.ports import fill_slot
from membership.members import queries as members


def init_app(app: Flask) -> None:
    """Load the room's tables and jobs, open its pages, and put its feed, brief and timeline sentences in their places."""
    from . import brief, console, handover, jobs, merging, models, moderated, personal, portal, queries  # noqa: F401
    from .services import comments, contributions

    app.register_blueprint(console.bp)
    app.register_blueprint(portal.bp)
    fill_slot("group.feed", order=10)(portal.render_feed)
    fill_slot("group.tabs", order=30)(console.writing.group_tab)
    subjects.register(comments.KIND, moderated.COMMENTS)
    subjects.register(contributions.KIND, moderated.POSTS)
    navigation.add("posts", _l("Posts"), "posts_console.index", "posts.view", order=10)
    navigation.add("posts", _l("Library"), "posts_console.shelf", "posts.view", order=15)
    navigation.add("posts", _l("Results of posts"), "posts_console.results", "posts.view", order=25)
    navigation.add("posts", _l("Content calendar"), "posts_console.calendar", "posts.view", order=20)
    members.acts_of.fill(queries.acts_of)
    brief.init()
