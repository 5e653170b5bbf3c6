"""What staff do with a post: write, schedule, publish, archive."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from sqlalchemy import case, delete, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert

from kernel import audit, clock
from kernel.db import changed, db
from kernel.errors import Refusal
from kernel.events import publish, publish_all
from kernel.i18n import lazy_gettext as _l

from .. import queries, rules
from ..events import PostPublished
from ..labels import sentence
from ..models import Post, PostGroup, PostKind, PostState
from .polls import PollDraft, PostLocked, save_poll

FURTHEST = timedelta(days=366)


class PostMoved(Refusal):
    title = _l("Somebody was faster")
    label = _l("The post has changed its state in the meantime. Nothing was changed; look at it again.")


class PostRefused(Refusal):
    """A remark of the lint that stops a post; `field` is the input it concerns."""

    status = 422
    label = "%(sentence)s"

    def __init__(self, finding: rules.Finding) -> None:
        super().__init__(sentence=sentence(finding))
        self.field = finding.field


class LinkRefused(Refusal):
    status = 422
    field = "link_url"
    label = _l("Write a whole address that begins with https:// or http://.")


class NoGroupChosen(Refusal):
    status = 422
    field = "groups"
    label = _l("Choose at least one group.")


class GroupUnknown(Refusal):
    status = 422
    field = "groups"
    label = _l("One of the groups has been closed in the meantime. Choose again.")


class TimeRefused(Refusal):
    status = 422
    field = "publish_at"
    label = _l("Choose a time in the future, within a year.")


@dataclass(frozen=True)
class Draft:
    """What is written of a post, before it has a state."""

    kind: PostKind
    title: str
    body: str = ""
    picture: str | None = None
    link_url: str = ""
    link_label: str = ""
    group_ids: tuple[int, ...] = ()

    def tidy(self) -> Draft:
        return replace(
            self,
            title=" ".join(self.title.split()),
            body=self.body.replace("\r\n", "\n").strip(),
            link_url=self.link_url.strip(),
            link_label=self.link_label.strip(),
            group_ids=tuple(sorted(set(self.group_ids))),
        )


def _check(draft: Draft) -> None:
    if draft.link_url and not rules.link_allowed(draft.link_url):
        raise LinkRefused
    known = {group.id for group in queries.writable_groups()}
    if not set(draft.group_ids) <= known:
        raise GroupUnknown


def _check_publishable(draft: Draft) -> None:
    if not draft.group_ids:
        raise NoGroupChosen
    stops = [f for f in rules.lint(draft.kind, draft.title, draft.body, draft.link_url, draft.picture) if f.stops]
    if stops:
        raise PostRefused(stops[0])


def _put_groups(post_id: int, group_ids: Iterable[int], shows_at: datetime | None) -> None:
    wanted = list(group_ids)
    db.session.execute(delete(PostGroup).where(PostGroup.post_id == post_id, PostGroup.group_id.not_in(wanted)))
    if wanted:
        statement = insert(PostGroup).values(
            [{"post_id": post_id, "group_id": group_id, "published_at": shows_at} for group_id in wanted]
        )
        db.session.execute(
            statement.on_conflict_do_update(
                index_elements=["post_id", "group_id"], set_={"published_at": statement.excluded.published_at}
            )
        )


def write(draft: Draft, author_id: int | None = None, automatic: bool = False) -> Post:
    """Write a post as a draft.

    Refuses with `LinkRefused` and `GroupUnknown`; the lint stops a post only when it is to be shown.
    """
    draft = draft.tidy()
    _check(draft)
    post = Post(
        kind=draft.kind,
        title=draft.title,
        body=draft.body,
        picture=draft.picture,
        link_url=draft.link_url,
        link_label=draft.link_label,
        state=PostState.DRAFT,
        author_id=author_id,
        automatic=automatic,
        created_at=clock.now(),
    )
    db.session.add(post)
    db.session.flush()
    _put_groups(post.id, draft.group_ids, None)
    audit.record("post.written", "post", post.id, after={"title": post.title, "groups": list(draft.group_ids)})
    return post


def edit(post_id: int, draft: Draft) -> None:
    """Change the text, picture, link and groups of a draft or a scheduled post.

    Refuses with `PostLocked` once it shows, with `LinkRefused`, `GroupUnknown`, and for a scheduled one with whatever
    stops it from being shown.
    """
    draft = draft.tidy()
    _check(draft)
    now = clock.now()
    row = db.session.execute(
        update(Post)
        .where(
            Post.id == post_id,
            or_(Post.state == PostState.DRAFT, (Post.state == PostState.SCHEDULED) & (Post.publish_at > now)),
        )
        .values(
            kind=draft.kind,
            title=draft.title,
            body=draft.body,
            picture=draft.picture,
            link_url=draft.link_url,
            link_label=draft.link_label,
        )
        .returning(Post.state, Post.publish_at)
    ).one_or_none()
    if row is None:
        queries.get_post(post_id)
        raise PostLocked
    state, publish_at = row
    if state == PostState.SCHEDULED:
        _check_publishable(draft)
    _put_groups(post_id, draft.group_ids, publish_at if state == PostState.SCHEDULED else None)
    audit.record("post.edited", "post", post_id, after={"title": draft.title, "groups": list(draft.group_ids)})


def draft_of(post: Post) -> Draft:
    """What is written of a post."""
    return Draft(
        kind=post.kind,
        title=post.title,
        body=post.body,
        picture=post.picture,
        link_url=post.link_url,
        link_label=post.link_label,
        group_ids=tuple(queries.group_ids(post.id)),
    )


def schedule(post_id: int, at: datetime) -> None:
    """Let a draft, or a post scheduled for another time, appear in its groups at an instant.

    Refuses with `TimeRefused`, `NoGroupChosen`, `PostRefused` (the lint) and `PostLocked`.
    """
    now = clock.now()
    if not now < at <= now + FURTHEST:
        raise TimeRefused
    _check_publishable(draft_of(queries.get_post(post_id)))
    moved = db.session.execute(
        update(Post)
        .where(
            Post.id == post_id,
            or_(Post.state == PostState.DRAFT, (Post.state == PostState.SCHEDULED) & (Post.publish_at > now)),
        )
        .values(state=PostState.SCHEDULED, publish_at=at)
    )
    if not changed(moved):
        raise PostLocked
    db.session.execute(update(PostGroup).where(PostGroup.post_id == post_id).values(published_at=at))
    audit.record("post.scheduled", "post", post_id, after={"at": at.isoformat()})


def unschedule(post_id: int) -> None:
    """Make a scheduled post a draft again. Refuses with `PostMoved` when it is none, or shows already."""
    moved = db.session.execute(
        update(Post)
        .where(Post.id == post_id, Post.state == PostState.SCHEDULED, Post.publish_at > clock.now())
        .values(state=PostState.DRAFT, publish_at=None)
    )
    if not changed(moved):
        raise PostMoved
    db.session.execute(update(PostGroup).where(PostGroup.post_id == post_id).values(published_at=None))
    audit.record("post.unscheduled", "post", post_id)


def publish_now(post_id: int) -> None:
    """Let a draft or a scheduled post appear at once.

    Refuses with `NoGroupChosen`, `PostRefused` (the lint) and `PostMoved` (a second tap included).
    """
    now = clock.now()
    draft = draft_of(queries.get_post(post_id))
    _check_publishable(draft)
    moved = db.session.execute(
        update(Post)
        .where(
            Post.id == post_id,
            or_(Post.state == PostState.DRAFT, (Post.state == PostState.SCHEDULED) & (Post.publish_at > now)),
        )
        .values(state=PostState.PUBLISHED, publish_at=now, published_at=now)
    )
    if not changed(moved):
        raise PostMoved
    db.session.execute(update(PostGroup).where(PostGroup.post_id == post_id).values(published_at=now))
    publish(PostPublished(post_id=post_id, group_ids=list(draft.group_ids)))
    audit.record("post.published", "post", post_id)


def publish_due() -> int:
    """Record that the posts whose time has come are published, all at once; returns how many.

    Each is told exactly once: a second sweep waits for the row and then finds it published.
    """
    due = (
        db.session.execute(
            update(Post)
            .where(Post.state == PostState.SCHEDULED, Post.publish_at <= clock.now())
            .values(state=PostState.PUBLISHED, published_at=Post.publish_at)
            .returning(Post.id)
            .execution_options(synchronize_session=False)
        )
        .scalars()
        .all()
    )
    if not due:
        return 0
    groups: dict[int, list[int]] = {post_id: [] for post_id in sorted(due)}
    for post_id, group_id in db.session.execute(
        select(PostGroup.post_id, PostGroup.group_id)
        .where(PostGroup.post_id.in_(due))
        .order_by(PostGroup.post_id, PostGroup.group_id)
    ):
        groups[post_id].append(group_id)
    publish_all([PostPublished(post_id=post_id, group_ids=ids) for post_id, ids in groups.items()])
    return len(due)


def archive(post_id: int) -> None:
    """Take a post out of every feed and list. Refuses with `PostMoved` when it has been already."""
    # A post that the clock has published keeps that it was, though no sweep has come by yet.
    shown = case((queries.in_state(PostState.PUBLISHED, clock.now()), Post.publish_at), else_=Post.published_at)
    moved = db.session.execute(
        update(Post)
        .where(Post.id == post_id, Post.state != PostState.ARCHIVED)
        .values(state=PostState.ARCHIVED, published_at=func.coalesce(Post.published_at, shown))
        .execution_options(synchronize_session=False)
    )
    if not changed(moved):
        queries.get_post(post_id)
        raise PostMoved
    audit.record("post.archived", "post", post_id)


def restore(post_id: int) -> None:
    """Bring an archived post back: into the feeds if it was published, else as a draft. Refuses with `PostMoved`."""
    back = db.session.execute(
        update(Post)
        .where(Post.id == post_id, Post.state == PostState.ARCHIVED, Post.published_at.is_not(None))
        .values(state=PostState.PUBLISHED)
    )
    if not changed(back):
        back = db.session.execute(
            update(Post)
            .where(Post.id == post_id, Post.state == PostState.ARCHIVED)
            .values(state=PostState.DRAFT, publish_at=None)
        )
        if not changed(back):
            queries.get_post(post_id)
            raise PostMoved
        db.session.execute(update(PostGroup).where(PostGroup.post_id == post_id).values(published_at=None))
    audit.record("post.restored", "post", post_id)


def use_again(post_id: int, author_id: int | None) -> Post:
    """A new draft with the same text, for those of its groups that can still be posted to."""
    draft, poll = draft_of(queries.get_post(post_id)), queries.poll_of(post_id)
    known = {group.id for group in queries.writable_groups()}
    copy = write(replace(draft, group_ids=tuple(g for g in draft.group_ids if g in known)), author_id)
    if poll is not None:
        # Its end lay in the former post's time.
        save_poll(copy.id, PollDraft(tuple(choice.words for choice in poll.choices), poll.several))
    return copy


class Act(enum.StrEnum):
    """What is to become of a post that is being saved."""

    DRAFT = "draft"
    SCHEDULE = "schedule"
    PUBLISH = "publish"


def save(
    draft: Draft,
    act: Act,
    at: datetime | None,
    author_id: int | None,
    post_id: int | None = None,
    poll: PollDraft | None = None,
) -> int:
    """Write or change a post with its poll and give it the state that is asked for; returns its id.

    `at` is the instant to appear, for `Act.SCHEDULE`. Refuses as `write`, `edit`, `save_poll`, `schedule` and `publish_now`
    do.
    """
    if post_id is None:
        post_id = write(draft, author_id).id
    else:
        if act == Act.DRAFT and queries.get_post(post_id).state == PostState.SCHEDULED:
            unschedule(post_id)
        edit(post_id, draft)
    if poll is not None:
        save_poll(post_id, poll)
    if act == Act.SCHEDULE:
        if at is None:
            raise TimeRefused
        schedule(post_id, at)
    elif act == Act.PUBLISH:
        publish_now(post_id)
    return post_id
