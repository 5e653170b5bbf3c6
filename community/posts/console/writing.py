"""Pages for staff: the list, the calendar, the editor with its preview, and a post's numbers."""

from __future__ import annotations

from dataclasses import astuple
from datetime import date, timedelta
from functools import partial
from typing import Any

from flask import Response, flash, make_response, redirect, render_template, request, url_for

from community.groups import queries as groups
from community.groups.models import Group
from kernel import audit, clock, editions, once
from kernel.auth import acting_staff, staff
from kernel.errors import NotFound, Refusal
from kernel.files import FileRefused, VideoCodeRefused, VideoRefused, VideoTells, VideoTooLarge
from kernel.i18n import gettext as _
from kernel.pages import capped_count, chosen, csv_response, keyset, row_or_none, search_chip, searched

from .. import hours, labels, library, queries, rules, services
from ..forms import CommentForm, PostForm, VoiceForm
from ..models import MemberPosts, Post, PostKind, PostState
from . import bp

COMMENTS = 30


UPLOAD_REFUSED = (FileRefused, VideoRefused, VideoTooLarge, VideoCodeRefused, VideoTells)


def _group_id() -> int | None:
    return row_or_none(request.args.get("group"))


def _product_id() -> int | None:
    return row_or_none(request.args.get("product"))


def _by_members() -> bool:
    return request.args.get("by") == "members"


def _listing() -> Any:
    return queries.listing(
        searched(),
        chosen(PostKind, "kind"),
        chosen(PostState, "state"),
        _group_id(),
        _by_members(),
        _product_id(),
    )


def _chips(places: list[Any], products: list[tuple[int, str]]) -> list[tuple[str, str, str]]:
    chips = []
    if title := dict(products).get(_product_id() or 0):
        chips.append(("product", str(_product_id()), _("About %(product)s", product=title)))
    if kind := chosen(PostKind, "kind"):
        chips.append(("kind", kind.value, _("Kind: %(kind)s", kind=labels.KINDS[kind])))
    if state := chosen(PostState, "state"):
        chips.append(("state", state.value, _("State: %(state)s", state=labels.STATES[state])))
    if name := next((g.name for g in places if g.id == _group_id()), None):
        chips.append(("group", str(_group_id()), _("Posted to %(group)s", group=name)))
    return chips + search_chip(searched())


@bp.get("/posts")
@staff("posts.view")
def index() -> Any:
    found, places, products = _listing(), queries.writable_groups(), library.product_choices()
    page = keyset(found, queries.order_of(request.args.get("sort", "")), request.args.get("cursor"))
    return render_template(
        "posts/index.html",
        page=page,
        rows=queries.rows_of(page.rows),
        count=capped_count(found),
        group_choices=[(group.id, group.name) for group in places],
        product_choices=products,
        chosen=_chips(places, products),
        by_members=_by_members(),
        writers=queries.writers_of([row[0] for row in page.rows]),
        labels=labels,
    )


@bp.get("/posts.csv")
@staff("posts.view")
def export() -> Any:
    header = [
        _("Title"),
        _("Kind"),
        _("State"),
        _("Groups"),
        _("Time"),
        _("Seen"),
        _("Likes"),
        _("Clicked"),
        _("Comments"),
        _("Bought within five days"),
    ]
    rows = queries.export(_listing(), queries.order_of(request.args.get("sort", "")))
    return csv_response(
        "posts.csv",
        header,
        [
            (
                row.post.title,
                labels.KINDS[row.post.kind],
                labels.STATES[row.state],
                " / ".join(row.groups),
                clock.wall_text(row.post.published_at or row.post.publish_at),
                *astuple(row.numbers),
            )
            for row in rows
        ],
    )


def _day(text: str | None) -> date:
    try:
        found = date.fromisoformat(text or "")
    except ValueError:
        return clock.today()
    return found if 2000 <= found.year < 2100 else clock.today()


@bp.get("/posts/calendar")
@staff("posts.view")
def calendar() -> Any:
    on, places, kind = _day(request.args.get("on")), library.calendar_groups(), chosen(PostKind, "kind")
    by_month = request.args.get("view") == "month"
    if by_month:
        first = on.replace(day=1)
        after = (first + timedelta(days=32)).replace(day=1)
        before = (first - timedelta(days=1)).replace(day=1)
    else:
        first = on - timedelta(days=on.weekday())
        before, after = first - timedelta(days=7), first + timedelta(days=7)
    return render_template(
        "posts/calendar.html",
        days=queries.calendar(first, (after - first).days, _group_id(), kind),
        first=first,
        last=after - timedelta(days=1),
        before=before,
        after=after,
        by_month=by_month,
        today=clock.today(),
        on=on,
        group_choices=places,
        labels=labels,
    )


def _remarks(form: PostForm) -> list[tuple[rules.Finding, str]]:
    draft = form.draft
    hour = clock.local(form.publish_at.data).hour if form.publish_at.data else None
    found = rules.lint(
        draft.kind, draft.title, draft.body, draft.link_url, draft.picture, len(draft.group_ids), hour, draft.video
    )
    return [(finding, labels.sentence(finding)) for finding in found]


def _editor(form: PostForm, post: Any = None, status: int = 200) -> Any:
    return render_template(
        "posts/edit.html",
        form=form,
        post=post,
        draft=form.draft,
        remarks=_remarks(form),
        html=rules.html_of(form.draft.body),
        advice=hours.advice(form.draft.group_ids),
        product_suggestions=library.product_suggestions(),
        labels=labels,
        rules=rules,
    ), status


def _keep_files(form: PostForm) -> bool:
    """Store the picture and the video that came along; False when one of them is refused, which stands beside its field."""
    fine = True
    for name, keep in (("file", form.keep_picture), ("film", form.keep_video)):
        try:
            keep()
        except UPLOAD_REFUSED as refusal:
            form.refuse(name, refusal)
            fine = False
    return fine


def _submitted(post: Any = None) -> Any:
    """What an editor page sends: a preview, or the post saved, or the page again with what is wrong."""
    form = PostForm().offer(queries.writable_groups())
    complete = form.validate()
    if not _keep_files(form):
        return _editor(form, post, 422)
    if form.take_time():
        return _editor(form, post, 422 if form.publish_at.errors else 200)
    if form.act is None:
        return _editor(form, post)
    if not complete:
        return _editor(form, post, 422)
    if post is None and once.done_before():
        return redirect(url_for(".index"))
    if post is not None and editions.overtaken(form, partial(_shown, post), post, by=("post.written", "post.edited")):
        return _editor(form, post, 409)
    try:
        post_id = services.save(
            form.draft,
            form.act,
            form.publish_at.data,
            acting_staff().id,
            post.id if post else None,
            form.poll,
            bool(form.kept.data),
        )
    except Refusal as refusal:
        if refusal.status != 422:
            raise
        if isinstance(refusal, services.PostRefused):
            for finding in refusal.findings:
                form.refuse(finding.field, labels.sentence(finding))
        else:
            form.refuse(getattr(refusal, "field", "title"), refusal)
        return _editor(form, post, 422)
    flash(
        {
            services.Act.DRAFT: _("Saved as a draft."),
            services.Act.SCHEDULE: _("Scheduled. It appears by itself."),
            services.Act.PUBLISH: _("Published. The groups can read it now."),
        }[form.act],
        "positive",
    )
    return redirect(url_for(".show", post_id=post_id))


@bp.get("/posts/new")
@staff("posts.edit")
def new() -> Any:
    form = PostForm().offer(queries.writable_groups())
    form.kind.data = (chosen(PostKind, "kind") or PostKind.TIP).value
    if (group_id := _group_id()) is not None:
        form.groups.data = [group_id]
    if "on" in request.args:
        at = clock.at(_day(request.args["on"]), 10)
        form.publish_at.data = at if at > clock.now() else None
    once.show(form)
    return _editor(form)


@bp.post("/posts/new")
@staff("posts.edit")
def new_post() -> Any:
    return _submitted()


@bp.post("/posts/preview")
@staff("posts.edit")
def preview() -> Any:
    form = PostForm().offer(queries.writable_groups())
    form.validate()
    return render_template(
        "posts/_preview.html",
        form=form,
        draft=form.draft,
        remarks=_remarks(form),
        html=rules.html_of(form.draft.body),
        labels=labels,
    )


@bp.post("/posts/picture")
@staff("posts.edit")
def picture() -> Any:
    return _piece("posts/_picture.html")


@bp.post("/posts/video")
@staff("posts.edit")
def video() -> Any:
    return _piece("posts/_video.html")


def _piece(template: str) -> Response:
    """The part of the editor that takes a file, with what came along."""
    form = PostForm().offer([])
    _keep_files(form)
    response: Response = make_response(render_template(template, form=form))
    response.headers["HX-Trigger-After-Swap"] = "picture-changed"
    return response


@bp.get("/posts/best-time")
@staff("posts.edit")
def best_time() -> Any:
    """The suggestion for the groups that are ticked in the editor; it asks again whenever they change."""
    known = {group.id for group in queries.writable_groups()}
    chosen_ids = [group_id for text in request.args.getlist("groups") if (group_id := row_or_none(text)) in known]
    return render_template("posts/_best_time.html", advice=hours.advice([i for i in chosen_ids if i]), labels=labels)


@bp.get("/posts/<int:post_id>")
@staff("posts.view")
def show(post_id: int) -> Any:
    return _page_of(queries.get_post(post_id), once.show(CommentForm(formdata=None)))


def _root_of(post: Post) -> Post:
    """The piece that a post is a use of."""
    return queries.get_post(post.origin_id) if post.origin_id else post


def _page_of(post: Post, form: CommentForm, status: int = 200) -> Any:
    now, post_id = clock.now(), post.id
    page = keyset(queries.comments(post_id), queries.COMMENT_ORDER, request.args.get("cursor"), COMMENTS)
    said, poll = queries.said(page.rows), queries.poll_of(post_id)
    return render_template(
        "posts/show.html",
        post=post,
        page=page,
        said=said,
        answered=queries.answers_to(said),
        poll=poll,
        poll_rows=[
            {"label": choice.words, "value": choice.votes, "text": str(choice.votes)}
            for choice in (poll.choices if poll else ())
        ],
        writer=queries.writers_of([post]).get(post.member_id or 0),
        form=form,
        now=now,
        state=rules.state_at(post.state, post.publish_at, now),
        editable=rules.editable(post.state, post.publish_at, now),
        numbers=queries.numbers_by_group(post_id),
        author=queries.author_of(post),
        products=library.products_of([post_id]).get(post_id, []),
        uses=library.uses_of(post) if post.member_id is None else [],
        root=_root_of(post),
        html=rules.html_of(post.body),
        labels=labels,
    ), status


@bp.post("/posts/<int:post_id>/comments")
@staff("posts.answer")
def answer(post_id: int) -> Any:
    post, form = queries.get_post(post_id), CommentForm()
    chosen = row_or_none(request.form.get("answers"))
    answered = queries.find_comment(chosen) if chosen is not None else None
    group_id = answered.group_id if answered is not None else row_or_none(request.form.get("group")) or 0
    if once.done_before():
        return redirect(url_for(".show", post_id=post_id) + "#comments")
    try:
        services.answer(post_id, group_id, acting_staff().id, form.body.data or "", chosen)
    except Refusal as refusal:
        if refusal.status != 422:
            raise
        form.refuse("body", refusal)
        return _page_of(post, form, 422)
    flash(_("Your answer shows under the post, in the shop's name."), "positive")
    return redirect(url_for(".show", post_id=post_id) + "#comments")


@bp.post("/posts/<int:post_id>/comments/<int:comment_id>/hide")
@staff("posts.answer")
def hide_comment(post_id: int, comment_id: int) -> Any:
    _comment_of(post_id, comment_id)
    services.hide_comment(comment_id)
    audit.record("comment.hidden", "post", post_id, after={"comment": comment_id})
    flash(_("Taken down. Nobody reads it any more, and it can be brought back."), "positive")
    return redirect(url_for(".show", post_id=post_id) + "#comments")


@bp.post("/posts/<int:post_id>/comments/<int:comment_id>/release")
@staff("posts.answer")
def release_comment(post_id: int, comment_id: int) -> Any:
    _comment_of(post_id, comment_id)
    services.release_comment(comment_id)
    audit.record("comment.released", "post", post_id, after={"comment": comment_id})
    flash(_("It shows again."), "positive")
    return redirect(url_for(".show", post_id=post_id) + "#comments")


def _comment_of(post_id: int, comment_id: int) -> None:
    """Refuse with `NotFound` a comment of another post."""
    found = queries.find_comment(comment_id)
    if found is None or found.post_id != post_id:
        raise NotFound


@bp.get("/groups/<int:group_id>/voice")
@staff("posts.view")
def voice(group_id: int) -> Any:
    group, found = groups.get_group(group_id), queries.voice_of(group_id)
    form = VoiceForm(formdata=None)
    form.comments.data, form.member_posts.data = found.comments, found.member_posts.value
    editions.show(form, _voice_shown(group_id))
    return render_template("posts/voice.html", group=group, form=form)


def _voice_shown(group_id: int) -> Any:
    found = queries.voice_of(group_id)
    return found.comments, found.member_posts.value


@bp.post("/groups/<int:group_id>/voice")
@staff("groups.edit")
def set_voice(group_id: int) -> Any:
    group, form = groups.get_group(group_id), VoiceForm()
    if not form.validate():
        return render_template("posts/voice.html", group=group, form=form), 422
    if editions.overtaken(form, partial(_voice_shown, group_id), group, by=("group.voice_set",)):
        return render_template("posts/voice.html", group=group, form=form), 409
    services.set_voice(group_id, bool(form.comments.data), MemberPosts(form.member_posts.data))
    flash(_("Saved."), "positive")
    return redirect(url_for(".voice", group_id=group_id))


def group_tab(group: Group, tab: str = "", **_values: Any) -> str:
    """The tab of a group's pages that says what its members may write (slot `group.tabs`)."""
    return render_template("posts/_tab.html", group=group, tab=tab)


@bp.get("/posts/<int:post_id>/edit")
@staff("posts.edit")
def edit(post_id: int) -> Any:
    post = queries.get_post(post_id)
    if not rules.editable(post.state, post.publish_at, clock.now()):
        raise services.PostLocked(next_step=(url_for(".show", post_id=post_id), _("See the post")))
    form = PostForm().offer(queries.writable_groups())
    form.show(post, queries.group_ids(post_id), queries.poll_of(post_id))
    form.name_products(library.products_of([post_id]).get(post_id, []))
    # It is the piece that is kept, whichever of its uses is being written.
    form.kept.data = _root_of(post).kept_at is not None
    editions.show(form, _shown(post))
    return _editor(form, post)


def _shown(post: Post) -> Any:
    poll = queries.poll_of(post.id)
    options = [choice.words for choice in poll.choices] if poll is not None else []
    return (
        services.draft_of(post),
        post.publish_at,
        options,
        (poll.several, poll.closes_at) if poll is not None else None,
    )


@bp.post("/posts/<int:post_id>/edit")
@staff("posts.edit")
def edit_post(post_id: int) -> Any:
    return _submitted(queries.get_post(post_id))


def _done(sentence: str, post_id: int, endpoint: str = ".show") -> Any:
    flash(sentence, "positive")
    return redirect(url_for(endpoint, post_id=post_id))


@bp.post("/posts/<int:post_id>/publish")
@staff("posts.edit")
def publish(post_id: int) -> Any:
    services.publish_now(post_id)
    return _done(_("Published. The groups can read it now."), post_id)


@bp.post("/posts/<int:post_id>/unschedule")
@staff("posts.edit")
def unschedule(post_id: int) -> Any:
    services.unschedule(post_id)
    return _done(_("It is a draft again and will not appear."), post_id)


@bp.post("/posts/<int:post_id>/archive")
@staff("posts.edit")
def archive(post_id: int) -> Any:
    services.archive(post_id)
    return _done(_("Taken out of the groups. Its numbers stay."), post_id)


@bp.post("/posts/<int:post_id>/restore")
@staff("posts.edit")
def restore(post_id: int) -> Any:
    services.restore(post_id)
    return _done(_("The post is back."), post_id)


@bp.post("/posts/<int:post_id>/use-again")
@staff("posts.edit")
def use_again(post_id: int) -> Any:
    if once.done_before():
        return redirect(url_for(".index"))
    copy = services.use_again(post_id, acting_staff().id)
    return _done(_("A new draft with the same text."), copy.id, ".edit")


@bp.post("/posts/<int:post_id>/keep")
@staff("posts.edit")
def keep(post_id: int) -> Any:
    services.keep(post_id, True)
    return _done(_("The library keeps it as a piece to use again."), post_id)


@bp.post("/posts/<int:post_id>/let-go")
@staff("posts.edit")
def let_go(post_id: int) -> Any:
    services.keep(post_id, False)
    return _done(_("No longer kept as a piece. The post itself stays as it is."), post_id)


@bp.post("/posts/<int:post_id>/discard")
@staff("posts.edit")
def discard(post_id: int) -> Any:
    services.discard(post_id)
    flash(_("The draft is deleted."), "positive")
    return redirect(url_for(".index"))
