"""Posts as members read them, drawn once a process for everybody who reads the same.

A drawing holds nothing of its reader. Where their own things go it has a hole, marked by a NUL, which no text of the database
can have: the form's token, the way back after a tap, the poll with their vote. Which drawing somebody gets is decided by one
row of `queries.lines`, read from the database for each page: the versions in it change with the post, its comments and their
authors, so that nothing is read after it was taken down, and nobody under a name that was taken away.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flask import current_app, render_template, request
from flask_wtf.csrf import generate_csrf
from markupsafe import Markup, escape

from community.moderation import services as moderation
from kernel import clock, links
from kernel.i18n import current_locale
from kernel.pages import page_address
from kernel.shop import shop_name
from membership.members.models import Member

from . import labels, queries, rules
from .models import Post
from .services.contributions import KIND

# So many drawings a process keeps, some thousand characters each; then it begins anew.
MOST_KEPT = 600
_KEPT = "drawn_posts"


@dataclass(frozen=True)
class Entry:
    """What a drawing shows: a post with what stands under it, for a reader who likes it or not, who wrote it or not."""

    post: Post
    line: Any
    token: str
    said: list[queries.Said]
    writer: Member | None
    report_url: str


def hole(name: str) -> Markup:
    """The mark of a place that is filled for each reader (a template's function)."""
    return Markup("\0{}\0").format(name)


def draw(group: Any, member_id: int, rows: Sequence[Any], short: bool = True, first: bool = False) -> list[Markup]:
    """Rows of `queries.lines` as the member reads them: a fixed number of statements, none for what is drawn already.

    `group` has an `id` and a `public_id`; `short` is how a feed shows a post, and `first` says that the page begins with these.
    """
    kept: dict[Any, list[str]] = current_app.extensions.setdefault(_KEPT, {})
    about = (current_locale(), shop_name(), short, int(clock.now().timestamp() // 60))
    firsts = [first and not place for place in range(len(rows))]
    keys = [
        (*about, group.id, leads, row.writer_id == member_id, *row) for leads, row in zip(firsts, rows, strict=True)
    ]
    # Asked for once each: another thread may empty what is kept at any moment.
    drawn = {key: pieces for key in keys if (pieces := kept.get(key)) is not None}
    missing = [place for place, key in enumerate(keys) if key not in drawn]
    if missing:
        made = _drawn(group, member_id, [(rows[place], firsts[place]) for place in missing], short)
        fresh = dict(zip([keys[place] for place in missing], made, strict=True))
        if len(kept) + len(fresh) > MOST_KEPT:
            kept.clear()
        kept.update(fresh)
        drawn |= fresh
    polls = _polls(group, member_id, rows, short)
    own = {"token": escape(generate_csrf()), "back": escape(_back(group))} if rows else {}
    return [
        _filled(drawn[key], {**own, "poll": polls.get(row.post_id, Markup())})
        for key, row in zip(keys, rows, strict=True)
    ]


def _drawn(group: Any, member_id: int, missing: Sequence[tuple[Any, bool]], short: bool) -> list[list[str]]:
    """The drawings of rows, each with whether a page begins with it, as pieces between the holes."""
    ids = [row.post_id for row, _leads in missing]
    posts = queries.posts_of(ids)
    said = queries.last_said(group.id, ids) if short else {}
    writers = queries.writers_of(list(posts.values()))
    made = []
    for row, leads in missing:
        entry = Entry(
            posts[row.post_id],
            row,
            links.make("post", row.post_id, group.id),
            said.get(row.post_id, []),
            writers.get(row.writer_id),
            moderation.report_path(KIND, row.post_id, group.id, row.writer_id)
            if row.writer_id is not None and row.writer_id != member_id
            else "",
        )
        made.append(
            render_template(
                "posts/_drawn.html",
                group=group,
                entry=entry,
                short=short,
                first=leads,
                hole=hole,
                link=links.make("post.link", row.post_id, group.id),
                html_of=rules.html_of,
                labels=labels,
            ).split("\0")
        )
    return made


def _polls(group: Any, member_id: int, rows: Sequence[Any], short: bool) -> dict[int, Markup]:
    """The polls under these posts, with what the member chose."""
    polled = [row.post_id for row in rows if row.polled]
    found = {}
    for post_id, poll in (queries.polls_of(polled, member_id) if polled else {}).items():
        token = links.make("post", post_id, group.id)
        drawn = render_template("posts/_poll.html", group=group, poll=poll, token=token, short=short, now=clock.now())
        # A template has escaped what it was given.
        found[post_id] = Markup(drawn)  # noqa: S704
    return found


def _back(group: Any) -> str:
    """Where a tap leads back to: the page itself, and from a piece of the feed to the page that it goes into."""
    return f"/groups/{group.public_id}" if request.path.endswith("/news") else page_address()


def _filled(pieces: Sequence[str], own: Mapping[str, Markup]) -> Markup:
    # Every other piece is the name of a hole.
    return Markup("".join(own[piece] if place % 2 else piece for place, piece in enumerate(pieces)))  # noqa: S704
