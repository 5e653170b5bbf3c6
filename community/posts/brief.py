"""What the room says elsewhere: on the console's first page and on a member's timeline."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from flask import url_for
from markupsafe import Markup, escape

from community.groups import queries as groups
from kernel import clock, today
from kernel.auth import may
from kernel.events import describes
from kernel.i18n import gettext as _
from kernel.i18n import ngettext
from kernel.pages import once_a_request

from . import queries
from .events import MemberPosted, PostClicked, PostCommented

SILENCE = timedelta(days=7)
MOST = 5
# So many open questions under one post are not left for tomorrow.
MANY = 3


def tasks() -> list[today.Task]:
    """Posts that appear today, questions that nobody has answered, and groups that have heard nothing for a week."""
    if not may("posts.view"):
        return []
    found: list[today.Task] = []
    now = clock.now()
    _start, end = clock.day_bounds(clock.today())
    if planned := queries.scheduled_between(now, end):
        found.append(
            today.Task(
                weight=20,
                text=ngettext("%(num)s post appears today", "%(num)s posts appear today", planned),
                url=url_for("posts_console.calendar"),
                action=_("See the calendar"),
                icon="calendar-event",
            )
        )
    for post, group, asked in queries.unanswered_questions(now - 2 * SILENCE):
        found.append(
            today.Task(
                weight=76 if asked >= MANY else 68,
                text=ngettext(
                    "%(num)s question under “%(post)s” is unanswered",
                    "%(num)s questions under “%(post)s” are unanswered",
                    asked,
                    post=post.title,
                ),
                url=url_for("posts_console.show", post_id=post.id, _anchor="comments"),
                action=_("Answer them"),
                icon="message-2",
                about=_("Asked in %(group)s.", group=group.name),
                place=groups.place_of(group),
                name=f"posts.asked:{post.id}:{group.id}",
            )
        )
    for group in queries.silent_groups(now - SILENCE)[:MOST]:
        found.append(
            today.Task(
                weight=30,
                text=_("%(group)s has had no post for a week", group=group.name),
                url=url_for("posts_console.new", group=group.id)
                if may("posts.edit")
                else url_for("posts_console.calendar"),
                action=_("Write a post"),
                icon="speakerphone",
                about=ngettext("%(num)s member in the group", "%(num)s members in the group", group.seated),
                place=groups.place_of(group),
                name=f"posts.none:{group.id}",
            )
        )
    return found


@once_a_request
def _title(post_id: int) -> str | None:
    post = queries.find_post(post_id)
    return post.title if post is not None else None


def _place(post_id: int) -> Markup | None:
    """A post's title that leads to its page, or None when it is gone."""
    title = _title(post_id)
    if title is None:
        return None
    return Markup('<a href="{}">{}</a>').format(url_for("posts_console.show", post_id=post_id), title)


def clicked(event: PostClicked) -> Any:
    place = _place(event.post_id)
    if place is None:
        return _("Followed the link of a post")
    return escape(_("Followed the link of the post %(post)s")) % {"post": place}


def commented(event: PostCommented) -> Any:
    place = _place(event.post_id)
    return escape(_("Commented on %(post)s")) % {"post": place} if place else _("Commented on a post")


def posted(event: MemberPosted) -> Any:
    place = _place(event.post_id)
    return escape(_("Wrote %(post)s in a group")) % {"post": place} if place else _("Wrote a post in a group")


def init() -> None:
    """Register with the kernel's ports."""
    today.tasks.fill(tasks)
    describes(PostClicked)(clicked)
    describes(PostCommented)(commented)
    describes(MemberPosted)(posted)
