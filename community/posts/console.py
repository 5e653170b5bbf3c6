"""Pages for staff: the list, the calendar, the editor with its preview, and a post's numbers."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

from apiflask import APIBlueprint
from flask import Response, flash, make_response, redirect, render_template, request, url_for

from kernel import clock
from kernel.auth import acting_staff, staff
from kernel.errors import Refusal
from kernel.files import FileRefused
from kernel.i18n import gettext as _
from kernel.pages import capped_count, csv_response, keyset

from . import labels, queries, rules, services
from .forms import PostForm
from .models import PostKind, PostState

bp = APIBlueprint("posts_console", __name__, url_prefix="/console", template_folder="templates", enable_openapi=False)


def _chosen(kind: type[Any], name: str) -> Any:
    """An enum value from the query string, or None for none and for nonsense."""
    text = request.args.get(name, "")
    return kind(text) if text in {member.value for member in kind} else None


def _group_id() -> int | None:
    text = request.args.get("group", "")
    return int(text) if text.isdecimal() and len(text) < 19 else None


def _listing() -> Any:
    return queries.listing(
        request.args.get("q", "").strip()[:100], _chosen(PostKind, "kind"), _chosen(PostState, "state"), _group_id()
    )


def _chips(groups: list[Any]) -> list[tuple[str, str, str]]:
    chips = []
    if kind := _chosen(PostKind, "kind"):
        chips.append(("kind", kind.value, _("Kind: %(kind)s", kind=labels.KINDS[kind])))
    if state := _chosen(PostState, "state"):
        chips.append(("state", state.value, _("State: %(state)s", state=labels.STATES[state])))
    if name := next((g.name for g in groups if g.id == _group_id()), None):
        chips.append(("group", str(_group_id()), _("Posted to %(group)s", group=name)))
    if words := request.args.get("q", "").strip():
        chips.append(("q", words, _("Search: %(words)s", words=words)))
    return chips


@bp.get("/posts")
@staff("posts.view")
def index() -> Any:
    found, groups = _listing(), queries.writable_groups()
    page = keyset(found, queries.order_of(request.args.get("sort", "")), request.args.get("cursor"))
    return render_template(
        "posts/index.html",
        page=page,
        rows=queries.rows_of(page.rows),
        count=capped_count(found),
        group_choices=[(group.id, group.name) for group in groups],
        chosen=_chips(groups),
        labels=labels,
    )


@bp.get("/posts.csv")
@staff("posts.view")
def export() -> Any:
    header = [_("Title"), _("Kind"), _("State"), _("Groups"), _("Time"), _("Seen"), _("Likes"), _("Clicked")]
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
                row.numbers.seen,
                row.numbers.liked,
                row.numbers.clicked,
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
    on, groups = _day(request.args.get("on")), queries.writable_groups()
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
        days=queries.calendar(first, (after - first).days, _group_id()),
        first=first,
        last=after - timedelta(days=1),
        before=before,
        after=after,
        by_month=by_month,
        today=clock.today(),
        group_choices=[(group.id, group.name) for group in groups],
        labels=labels,
    )


def _remarks(form: PostForm) -> list[tuple[rules.Finding, str]]:
    draft = form.draft
    hour = clock.local(form.publish_at.data).hour if form.publish_at.data else None
    found = rules.lint(draft.kind, draft.title, draft.body, draft.link_url, draft.picture, len(draft.group_ids), hour)
    return [(finding, labels.sentence(finding)) for finding in found]


def _editor(form: PostForm, post: Any = None, status: int = 200) -> Any:
    return render_template(
        "posts/edit.html",
        form=form,
        post=post,
        draft=form.draft,
        remarks=_remarks(form),
        html=rules.html_of(form.draft.body),
        labels=labels,
        rules=rules,
    ), status


def _submitted(post: Any = None) -> Any:
    """What an editor page sends: a preview, or the post saved, or the page again with what is wrong."""
    form = PostForm().offer(queries.writable_groups())
    complete = form.validate()
    try:
        form.keep_picture()
    except FileRefused as refusal:
        form.refuse("file", refusal)
        return _editor(form, post, 422)
    if form.act is None:
        return _editor(form, post)
    if not complete:
        return _editor(form, post, 422)
    try:
        post_id = services.save(
            form.draft, form.act, form.publish_at.data, acting_staff().id, post.id if post else None
        )
    except Refusal as refusal:
        if refusal.status != 422:
            raise
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
    form.kind.data = (_chosen(PostKind, "kind") or PostKind.TIP).value
    if (group_id := _group_id()) is not None:
        form.groups.data = [group_id]
    if "on" in request.args:
        at = clock.at(_day(request.args["on"]), 10)
        form.publish_at.data = at if at > clock.now() else None
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
    form = PostForm().offer([])
    try:
        form.keep_picture()
    except FileRefused as refusal:
        form.refuse("file", refusal)
    response: Response = make_response(render_template("posts/_picture.html", form=form))
    response.headers["HX-Trigger-After-Swap"] = "picture-changed"
    return response


@bp.get("/posts/<int:post_id>")
@staff("posts.view")
def show(post_id: int) -> Any:
    post = queries.get_post(post_id)
    now = clock.now()
    return render_template(
        "posts/show.html",
        post=post,
        state=rules.state_at(post.state, post.publish_at, now),
        editable=rules.editable(post.state, post.publish_at, now),
        numbers=queries.numbers_by_group(post_id),
        author=queries.author_of(post),
        html=rules.html_of(post.body),
        labels=labels,
    )


@bp.get("/posts/<int:post_id>/edit")
@staff("posts.edit")
def edit(post_id: int) -> Any:
    post = queries.get_post(post_id)
    if not rules.editable(post.state, post.publish_at, clock.now()):
        raise services.PostLocked(next_step=(url_for(".show", post_id=post_id), _("See the post")))
    form = PostForm().offer(queries.writable_groups())
    return _editor(form.show(post, queries.group_ids(post_id)), post)


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
    copy = services.use_again(post_id, acting_staff().id)
    return _done(_("A new draft with the same text."), copy.id, ".edit")
