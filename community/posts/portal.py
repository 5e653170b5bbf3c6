"""What members see and do: the feed of a group, likes, seen posts, and the way out through a post's link."""

from __future__ import annotations

from typing import Any

from apiflask import APIBlueprint
from flask import Response, redirect, render_template, request

from community.groups import queries as groups
from community.groups.models import Group
from kernel import clock, links, visitors
from kernel.auth import member_only, public, safe_next
from kernel.errors import Forbidden, NotFound
from kernel.pages import keyset

from . import labels, queries, rules, services

bp = APIBlueprint("posts_portal", __name__, template_folder="templates", enable_openapi=False)
PAGE = 10


def render_feed(group: Group, member: Any = None, seat: Any = None, **_values: Any) -> str:
    """The posts of a group for one of its members (slot `group.feed`); nothing for anybody without a seat."""
    if member is None or seat is None:
        return ""
    page = keyset(queries.feed(group.id, clock.now()), queries.FEED_ORDER, request.args.get("cursor"), PAGE)
    liked = queries.liked_among(member.id, group.id, [row[0].id for row in page.rows])
    return render_template(
        "posts/_feed.html",
        group=group,
        page=page,
        posts=[
            (post, links.make("post", post.id, group.id), place.published_at, place.liked, post.id in liked)
            for post, place in (row[:2] for row in page.rows)
        ],
        link_of=lambda post: links.make("post.link", post.id, group.id),
        html_of=rules.html_of,
        labels=labels,
    )


def _places(purpose: str, token: str) -> tuple[int, int]:
    post_id, group_id = links.read(purpose, token)
    return int(post_id), int(group_id)


def _member_in(group: Group) -> int:
    """The member of this browser, who must have a seat in the group. Refuses with `Forbidden`."""
    member_id = visitors.member_id()
    if member_id is None or not groups.in_group(member_id, group.id):
        raise Forbidden
    return member_id


@bp.post("/groups/<public_id>/posts/<token>/like")
@member_only()
def like(public_id: str, token: str) -> Any:
    group = groups.get_by_public_id(public_id)
    post_id, group_id = _places("post", token)
    if group_id != group.id:
        raise NotFound
    services.like(post_id, group.id, _member_in(group), request.form.get("liked") != "0")
    back = safe_next(request.form.get("next"), f"/groups/{group.public_id}")
    return redirect(f"{back}#post-{token[-22:]}", 303)


@bp.post("/groups/<public_id>/posts/seen")
@member_only()
def seen(public_id: str) -> Any:
    group = groups.get_by_public_id(public_id)
    read = [_places("post", token) for token in request.form.getlist("post")[: 5 * PAGE]]
    services.see(group.id, _member_in(group), [post_id for post_id, group_id in read if group_id == group.id])
    return Response(status=204)


@bp.get("/p/<token>")
@public("a post's link; it leads on for everybody and counts only for a browser of the group")
def follow(token: str) -> Any:
    """On to the address that is stored with the post, and to no other.

    The one GET that writes: a click is counted once a member. Whoever merely fetches links (previews, prefetching) carries
    no member's cookie or says so, and counts nothing.
    """
    post_id, group_id = _places("post.link", token)
    post = queries.shown_in(post_id, group_id, clock.now())
    if post is None or not rules.link_allowed(post.link_url):
        raise NotFound
    member_id = visitors.member_id()
    fetched_ahead = "prefetch" in (request.headers.get("Sec-Purpose", "") + request.headers.get("Purpose", ""))
    if member_id is not None and request.method == "GET" and not fetched_ahead and groups.in_group(member_id, group_id):
        services.click(post_id, group_id, member_id)
    return redirect(post.link_url, 302)
