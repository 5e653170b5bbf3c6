"""What members see and do: the feed of a group, one post with what is said under it, likes, votes, posts of their own, and
the way out through a post's link."""

from __future__ import annotations

from typing import Any

from apiflask import APIBlueprint
from flask import Response, flash, make_response, redirect, render_template, request, url_for
from markupsafe import Markup

from community.groups import queries as groups
from community.groups import services as seats
from community.groups.models import Group
from community.groups.rules import SeatNeeded
from community.moderation import services as moderation
from kernel import clock, links, once, visitors
from kernel.auth import member_only, public, safe_next
from kernel.errors import NotFound, Refusal
from kernel.files import FileRefused
from kernel.i18n import gettext as _
from kernel.pages import keyset

from . import drawing, labels, queries, rules, services
from .forms import CommentForm, ContributionForm
from .models import CommentState, MemberPosts, PostState

bp = APIBlueprint("posts_portal", __name__, template_folder="templates", enable_openapi=False)
PAGE, COMMENTS = 10, 20


def render_feed(group: Group, member: Any = None, seat: Any = None, **_values: Any) -> str:
    """The posts of a group for one of its members (slot `group.feed`); nothing for anybody without a seat."""
    if member is None or seat is None:
        return ""
    asked = queries.line_values(group.id, member.id, clock.now())
    page = keyset(queries.lines(), queries.FEED_ORDER, request.args.get("cursor"), PAGE, asked)
    members_post, waiting = queries.what_members_post(group.id, member.id)
    newest = queries.mark_at(page.rows[0]) if page.rows else queries.NO_MARK
    return render_template(
        "posts/_feed.html",
        group=group,
        page=page,
        posts=drawing.draw(group, member.id, page.rows, first=True),
        own=queries.contributions_of(group.id, member.id) if waiting else [],
        members_post=MemberPosts.OFF if groups.is_over(group) else members_post,
        mark=newest if page.previous_url is None else "",
    )


@bp.get("/groups/<public_id>/news")
@member_only()
def news(public_id: str) -> Any:
    """The posts that show since the one that a page has on top; 304 when there is none, as for most of the phones that ask."""
    member_id, now = visitors.member_id() or 0, clock.now()
    group = queries.asking(public_id, member_id, now)
    if not group.seated:
        raise SeatNeeded(public_id)
    if request.if_none_match.contains_weak(group.mark):
        return Response(status=304, headers={"ETag": f'W/"{group.mark}"', "Cache-Control": "private, no-cache"})
    rows = queries.since(group.id, member_id, request.args.get("after", ""), now, PAGE)
    response = make_response(Markup("\n").join(drawing.draw(group, member_id, rows)))
    response.set_etag(group.mark, weak=True)
    response.headers["Cache-Control"] = "private, no-cache"
    return response


def _places(purpose: str, token: str) -> tuple[int, int]:
    post_id, group_id = links.read(purpose, token)
    return int(post_id), int(group_id)


def _member_in(group: Group) -> int:
    """The member of this browser, who must have a seat in the group. Refuses with `SeatNeeded`."""
    member_id = visitors.member_id()
    if member_id is None or not groups.in_group(member_id, group.id):
        raise SeatNeeded(group.public_id)
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


def _shown(public_id: str, token: str) -> tuple[Group, Any]:
    """The group and the feed's row of a post that it shows to this browser's member. Refuses with `NotFound`, `SeatNeeded`."""
    group = groups.get_by_public_id(public_id)
    post_id, group_id = _places("post", token)
    _member_in(group)
    row = queries.row_in(post_id, group.id, clock.now())
    if group_id != group.id or row is None:
        raise NotFound
    return group, row


def _post_page(group: Group, row: Any, form: CommentForm, status: int = 200, answers: str = "") -> Any:
    member_id = _member_in(group)
    post, place = row[:2]
    page = keyset(
        queries.comments(post.id, group.id, member_id), queries.COMMENT_ORDER, request.args.get("cursor"), COMMENTS
    )
    said = queries.said(page.rows)
    (drawn,) = drawing.draw(group, member_id, [queries.line_of(post.id, group.id, member_id)], short=False, first=True)
    return render_template(
        "posts/post.html",
        group=group,
        post=post,
        token=links.make("post", post.id, group.id),
        drawn=drawn,
        commented=place.commented,
        voice=queries.voice_of(group.id),
        silenced=moderation.silenced(member_id, group.id),
        over=groups.is_over(group),
        page=page,
        said=said,
        answered=queries.answers_to(said),
        tokens={one.comment.id: links.make("comment", one.comment.id, group.id) for one in said},
        report_of=lambda said: moderation.report_path("comment", said.id, group.id, said.member_id),
        member_id=member_id,
        form=form,
        answers=answers,
        labels=labels,
    ), status


@bp.get("/groups/<public_id>/posts/<token>")
@member_only()
def show(public_id: str, token: str) -> Any:
    group, row = _shown(public_id, token)
    return _post_page(group, row, once.show(CommentForm(formdata=None)), answers=request.args.get("answers", ""))


def _back_to(group: Group, token: str, part: str) -> Any:
    return redirect(url_for(".show", public_id=group.public_id, token=token) + part, 303)


@bp.post("/groups/<public_id>/posts/<token>/comments")
@member_only()
def comment(public_id: str, token: str) -> Any:
    group, row = _shown(public_id, token)
    form, answers = CommentForm(), request.form.get("answers", "")
    answered = links.read("comment", answers)[0] if answers else None
    if once.done_before():
        return _back_to(group, token, "#comments")
    try:
        made = services.comment(
            row[0].id, group.id, _member_in(group), form.body.data or "", int(answered) if answered else None
        )
    except Refusal as refusal:
        if refusal.status != 422:
            raise
        form.refuse("body", refusal)
        return _post_page(group, row, form, 422, answers)
    if made.state is CommentState.HELD:
        flash(_("The shop looks at it first, then it shows."), "info")
    return _back_to(group, token, "#comments")


@bp.post("/groups/<public_id>/posts/<token>/comments/<comment_token>/withdraw")
@member_only()
def withdraw(public_id: str, token: str, comment_token: str) -> Any:
    group = groups.get_by_public_id(public_id)
    comment_id, group_id = links.read("comment", comment_token)
    if int(group_id) != group.id:
        raise NotFound
    services.withdraw_comment(int(comment_id), _member_in(group))
    flash(_("Taken back. Nobody reads it any more."), "positive")
    return _back_to(group, token, "#comments")


@bp.post("/groups/<public_id>/posts/<token>/vote")
@member_only()
def vote(public_id: str, token: str) -> Any:
    group, row = _shown(public_id, token)
    chosen = [
        int(text) for text in request.form.getlist("choice")[: rules.MOST_OPTIONS] if text.isdecimal() and len(text) < 4
    ]
    try:
        services.vote(row[0].id, group.id, _member_in(group), chosen)
    except services.ChoiceRefused as refusal:
        flash(str(refusal), "caution")
    return _back_to(group, token, "#poll")


# ── Posts of members ────────────────────────────────────────────────────────────────────────────────────────────────


def _writing(group: Group, form: ContributionForm, status: int = 200) -> Any:
    voice = queries.voice_of(group.id)
    if voice.member_posts is MemberPosts.OFF:
        raise services.ContributionsClosed
    return render_template("posts/write.html", group=group, form=form, voice=voice), status


@bp.get("/groups/<public_id>/write")
@member_only()
def write(public_id: str) -> Any:
    group = groups.get_by_public_id(public_id)
    moderation.refuse_silenced(_member_in(group), group.id)
    seats.refuse_over(group.id)
    return _writing(group, once.show(ContributionForm(formdata=None)))


def _to_feed(group: Group) -> Any:
    return redirect(url_for("groups_portal.show", public_id=group.public_id) + "#feed", 303)


@bp.post("/groups/<public_id>/write")
@member_only()
def contribute(public_id: str) -> Any:
    group = groups.get_by_public_id(public_id)
    member_id, form = _member_in(group), ContributionForm()
    if once.done_before():
        return _to_feed(group)
    try:
        form.keep_picture()
    except FileRefused as refusal:
        form.refuse("file", refusal)
        return _writing(group, form, 422)
    try:
        post = services.contribute(group.id, member_id, form.body.data or "", form.picture.data or None)
    except Refusal as refusal:
        if refusal.status != 422:
            raise
        form.refuse("body", refusal)
        return _writing(group, form, 422)
    if post.state is PostState.WAITING:
        flash(_("The shop looks at it first, then the group reads it."), "info")
    else:
        flash(_("The group can read it now."), "positive")
    return _to_feed(group)


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
