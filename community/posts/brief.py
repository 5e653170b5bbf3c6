"""What the room says elsewhere: on the console's first page and on a member's timeline."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from flask import url_for
from markupsafe import Markup, escape

from kernel import clock, today
from kernel.auth import may
from kernel.events import describes
from kernel.i18n import gettext as _
from kernel.i18n import ngettext
from kernel.pages import once_a_request

from . import queries
from .events import PostClicked

SILENCE = timedelta(days=7)
MOST = 5


def tasks() -> list[today.Task]:
    """Posts that appear today, and groups that have heard nothing for a week."""
    if not may("posts.view"):
        return []
    found: list[today.Task] = []
    now = clock.now()
    _start, end = clock.day_bounds(clock.today())
    if planned := queries.scheduled_between(now, end):
        found.append(
            today.Task(
                weight=20,
                text=ngettext("%(num)d post appears today", "%(num)d posts appear today", planned),
                url=url_for("posts_console.calendar"),
                action=_("See the calendar"),
                icon="calendar-event",
            )
        )
    for group in queries.silent_groups(now - SILENCE)[: MOST - len(found)]:
        found.append(
            today.Task(
                weight=30,
                text=_("%(group)s has had no post for a week", group=group.name),
                url=url_for("posts_console.new", group=group.id)
                if may("posts.edit")
                else url_for("posts_console.calendar"),
                action=_("Write a post"),
                icon="speakerphone",
                about=ngettext("%(num)d member", "%(num)d members", group.seated),
            )
        )
    return found


@once_a_request
def _title(post_id: int) -> str | None:
    post = queries.find_post(post_id)
    return post.title if post is not None else None


def clicked(event: PostClicked) -> Any:
    title = _title(event.post_id)
    if title is None:
        return _("Followed the link of a post")
    place = Markup('<a href="{}">{}</a>').format(url_for("posts_console.show", post_id=event.post_id), title)
    return escape(_("Followed the link of the post %(post)s")) % {"post": place}


def init() -> None:
    """Register with the kernel's ports."""
    today.tasks.fill(tasks)
    describes(PostClicked)(clicked)
