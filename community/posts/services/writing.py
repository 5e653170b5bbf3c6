"""What staff do with a post: write, schedule, publish, archive."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from sqlalchemy import case, delete, exists, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert

from kernel import audit, clock, files
from kernel.db import changed, db
from kernel.errors import NotFound, Refusal
from kernel.events import publish, publish_all
from kernel.i18n import lazy_gettext as _l

from .. import library, queries, rules
from ..events import PostPublished
from ..labels import sentence
from ..models import Post, PostGroup, PostKind, PostProduct, PostState
from .polls import PollDraft, PostLocked, save_poll

FURTHEST = timedelta(days=366)


class PostMoved(Refusal):
    title = _l("Somebody was faster")
    label = _l("The post has changed its state in the meantime. Nothing was changed; look at it again.")


class PostRefused(Refusal):
    """A remark of the lint that stops a post; `field` is the input it concerns, `findings` are all that stop it."""

    status = 422
    label = "%(sentence)s"

    def __init__(self, findings: list[rules.Finding]) -> None:
        super().__init__(sentence=sentence(findings[0]))
        self.field = findings[0].field
        self.findings = findings


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


class MembersOwn(Refusal):
    status = 409
    label = _l("A member wrote this post. It is theirs, and is not used again.")


class VideoGone(Refusal):
    status = 422
    field = "film"
    label = _l("The video is not kept any more, because nothing was saved with it for a day. Choose it once more.")


@dataclass(frozen=True)
class Draft:
    """What is written of a post, before it has a state. `video` is a key of `kernel.files`."""

    kind: PostKind
    title: str
    body: str = ""
    picture: str | None = None
    link_url: str = ""
    link_label: str = ""
    group_ids: tuple[int, ...] = ()
    video: str | None = None
    product_ids: tuple[int, ...] = ()

    def tidy(self) -> Draft:
        return replace(
            self,
            title=" ".join(self.title.split()),
            body=self.body.replace("\r\n", "\n").strip(),
            link_url=self.link_url.strip(),
            link_label=self.link_label.strip(),
            group_ids=tuple(sorted(set(self.group_ids))),
            product_ids=tuple(sorted(set(self.product_ids))),
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
    found = rules.lint(draft.kind, draft.title, draft.body, draft.link_url, draft.picture, video=draft.video)
    stops = [f for f in found if f.stops]
    if stops:
        raise PostRefused(stops)


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


def _put_products(post_id: int, product_ids: Iterable[int]) -> None:
    wanted = list(product_ids)
    db.session.execute(delete(PostProduct).where(PostProduct.post_id == post_id, PostProduct.product_id.not_in(wanted)))
    if wanted:
        db.session.execute(
            insert(PostProduct)
            .values([{"post_id": post_id, "product_id": product_id} for product_id in wanted])
            .on_conflict_do_nothing()
        )


def _size_of(video: str | None) -> int | None:
    """The length of a video's file. Refuses with `VideoGone` when there is none."""
    if video is None:
        return None
    size = files.video_size(video)
    if size is None:
        raise VideoGone
    return size


def _let_go(video: str | None) -> None:
    """Remove a video that no post names any more, once this is committed."""
    if video is not None and not db.session.scalar(select(exists().where(Post.video == video))):
        files.drop_video(video)


def write(
    draft: Draft,
    author_id: int | None = None,
    automatic: bool = False,
    origin_id: int | None = None,
    kept: bool = False,
) -> Post:
    """Write a post as a draft. `origin_id` is the piece that it is a use of, `kept` puts it into the library.

    Refuses with `LinkRefused`, `GroupUnknown` and `VideoGone`; the lint stops a post only when it is to be shown.
    """
    draft = draft.tidy()
    _check(draft)
    now = clock.now()
    post = Post(
        kind=draft.kind,
        title=draft.title,
        body=draft.body,
        picture=draft.picture,
        video=draft.video,
        video_bytes=_size_of(draft.video),
        link_url=draft.link_url,
        link_label=draft.link_label,
        state=PostState.DRAFT,
        author_id=author_id,
        automatic=automatic,
        created_at=now,
        origin_id=origin_id,
        kept_at=now if kept else None,
    )
    db.session.add(post)
    db.session.flush()
    _put_groups(post.id, draft.group_ids, None)
    _put_products(post.id, draft.product_ids)
    audit.record("post.written", "post", post.id, after={"title": post.title, "groups": list(draft.group_ids)})
    return post


def edit(post_id: int, draft: Draft) -> None:
    """Change the text, picture, video, link, products and groups of a draft or a scheduled post.

    Refuses with `PostLocked` once it shows, with `LinkRefused`, `GroupUnknown`, `VideoGone`, and for a scheduled one with
    whatever stops it from being shown.
    """
    draft = draft.tidy()
    _check(draft)
    now = clock.now()
    before = db.session.scalar(select(Post.video).where(Post.id == post_id).with_for_update())
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
            video=draft.video,
            video_bytes=_size_of(draft.video),
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
    _put_products(post_id, draft.product_ids)
    if before != draft.video:
        _let_go(before)
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
        video=post.video,
        product_ids=tuple(library.product_ids(post.id)),
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
    """A new draft with the same text, pictures, links, products and poll, for those of its groups that can still be posted to.

    It remembers the piece that it is a use of. Refuses with `NotFound`, and with `MembersOwn` what a member wrote.
    """
    # Held, so that nobody takes the video away between reading its key and naming it a second time.
    post = db.session.scalars(select(Post).where(Post.id == post_id).with_for_update(read=True)).one_or_none()
    if post is None:
        raise NotFound
    if post.member_id is not None:
        raise MembersOwn
    draft, poll = draft_of(post), queries.poll_of(post_id)
    known = {group.id for group in queries.writable_groups()}
    if draft.video is not None and files.video_size(draft.video) is None:
        draft = replace(draft, video=None)
    copy = write(
        replace(draft, group_ids=tuple(g for g in draft.group_ids if g in known)),
        author_id,
        origin_id=post.origin_id or post.id,
    )
    if poll is not None:
        # Its end lay in the former post's time.
        save_poll(copy.id, PollDraft(tuple(choice.words for choice in poll.choices), poll.several))
    return copy


def keep(post_id: int, kept: bool) -> None:
    """Keep a post in the library as a piece that is worth using again, or no longer; the whole family's first post is meant.

    Refuses with `NotFound` and `MembersOwn`.
    """
    post = queries.get_post(post_id)
    if post.member_id is not None:
        raise MembersOwn
    root = post.origin_id or post.id
    moved = db.session.execute(
        update(Post)
        .where(Post.id == root, Post.kept_at.is_(None) if kept else Post.kept_at.is_not(None))
        .values(kept_at=clock.now() if kept else None)
    )
    if changed(moved):
        audit.record("post.kept" if kept else "post.let_go", "post", root)


def discard(post_id: int) -> None:
    """Delete a draft that was never shown, with its video if no other post has it. Refuses with `NotFound` and `PostMoved`.

    When others were made of it, the oldest of them takes its place as the piece's first post, and is kept if that was.
    """
    row = db.session.execute(
        select(Post.title, Post.video, Post.kept_at, Post.state, Post.published_at)
        .where(Post.id == post_id, Post.member_id.is_(None))
        .with_for_update()
    ).one_or_none()
    if row is None:
        raise NotFound
    if row.state is not PostState.DRAFT or row.published_at is not None:
        raise PostMoved
    # Held, so that none of them is deleted meanwhile.
    uses = db.session.scalars(
        select(Post.id).where(Post.origin_id == post_id).order_by(Post.id).with_for_update()
    ).all()
    if uses:
        db.session.execute(update(Post).where(Post.id.in_(uses[1:])).values(origin_id=uses[0]))
        db.session.execute(update(Post).where(Post.id == uses[0]).values(origin_id=None, kept_at=row.kept_at))
    db.session.execute(delete(Post).where(Post.id == post_id))
    _let_go(row.video)
    audit.record("post.discarded", "post", post_id, before={"title": row.title})


class Many(enum.StrEnum):
    """What can be done with several posts of a list at once."""

    AGAIN = "again"
    KEEP = "keep"
    LET_GO = "let_go"
    ARCHIVE = "archive"


def change_many(post_ids: Iterable[int], act: Many, author_id: int | None) -> int:
    """Do the same with several posts; returns with how many. What cannot take it (archived already, a member's) is left out."""
    done = 0
    for post_id in sorted(set(post_ids)):
        try:
            match act:
                case Many.AGAIN:
                    use_again(post_id, author_id)
                case Many.ARCHIVE:
                    archive(post_id)
                case _:
                    keep(post_id, act is Many.KEEP)
        except (NotFound, MembersOwn, PostMoved):
            continue
        done += 1
    return done


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
    kept: bool | None = None,
) -> int:
    """Write or change a post with its poll and give it the state that is asked for; returns its id. `kept` says whether the
    library keeps it; None leaves that as it is.

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
    if kept is not None:
        keep(post_id, kept)
    if act == Act.SCHEDULE:
        if at is None:
            raise TimeRefused
        schedule(post_id, at)
    elif act == Act.PUBLISH:
        publish_now(post_id)
    return post_id
