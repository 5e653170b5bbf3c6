"""Reads: the manager's list and calendar, a group's feed, and the numbers of each post."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cache
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Select,
    and_,
    bindparam,
    case,
    cast,
    exists,
    func,
    literal,
    literal_column,
    or_,
    select,
    true,
    tuple_,
    union_all,
)
from sqlalchemy.dialects.postgresql import aggregate_order_by
from sqlalchemy.orm import aliased

from community.groups.models import Group, GroupState, Seat, SeatState
from kernel import clock
from kernel.db import UtcDateTime, db
from kernel.errors import NotFound
from kernel.pages import order_by
from kernel.staff.models import Staff
from membership.members.models import Member
from membership.orders import queries as orders
from membership.orders.models import Order

from . import rules
from .models import (
    Comment,
    CommentState,
    GroupVoice,
    MemberPosts,
    Poll,
    PollOption,
    PollVote,
    Post,
    PostGroup,
    PostKind,
    PostProduct,
    PostState,
    Reaction,
    ReactionKind,
)


def find_post(post_id: int) -> Post | None:
    return db.session.get(Post, post_id)


def get_post(post_id: int) -> Post:
    """The post, or `NotFound`."""
    found = find_post(post_id)
    if found is None:
        raise NotFound
    return found


def in_state(state: PostState, now: datetime) -> ColumnElement[bool]:
    """Posts that the clock puts into a state (see `rules.state_at`)."""
    due = and_(Post.state == PostState.SCHEDULED, Post.publish_at <= now)
    match state:
        case PostState.SCHEDULED:
            return and_(Post.state == state, Post.publish_at > now)
        case PostState.PUBLISHED:
            return or_(Post.state == state, due)
        case _:
            return Post.state == state


def was_shown(post: Any = Post) -> ColumnElement[bool]:
    """Posts that do appear at the time that their groups name, or did: what was archived before its time never has."""
    return or_(post.published_at.is_not(None), post.state == PostState.SCHEDULED)


def acts_of(member_ids: Sequence[int]) -> Select[int, str, int]:
    """SQL: how many posts each member liked and how many comments of theirs show, for `members.queries.acts_of`."""
    liked = select(Reaction.member_id).where(
        Reaction.member_id == func.any(list(member_ids)), Reaction.kind == ReactionKind.LIKED
    )
    said = select(Comment.member_id).where(
        Comment.member_id == func.any(list(member_ids)), Comment.state == CommentState.SHOWN
    )
    both = union_all(liked, said).subquery()
    return select(both.c.member_id, literal("took_part").label("kind"), func.count().label("n")).group_by(
        both.c.member_id
    )


@dataclass(frozen=True)
class Numbers:
    """What members did with a post, over its groups; whoever is in two of them counts in both. `bought` ordered after it."""

    seen: int
    liked: int
    clicked: int
    commented: int
    bought: int


@dataclass(frozen=True)
class Row:
    """A post in the manager's list."""

    post: Post
    state: PostState
    groups: list[str]
    numbers: Numbers


COUNTED = ("seen", "liked", "clicked", "commented", "bought")
_SUMS = (
    select(
        PostGroup.post_id,
        *(cast(func.sum(getattr(PostGroup, name)), BigInteger).label(name) for name in COUNTED),
    )
    .group_by(PostGroup.post_id)
    .subquery()
)


def shown_time() -> ColumnElement[Any]:
    """When a post shows, or was written while it has no time."""
    return func.coalesce(Post.published_at, Post.publish_at, Post.created_at, type_=Post.created_at.type)


def every_post() -> Select[Any]:
    """All posts with their numbers. Rows: Post, seen, liked, clicked, commented, bought."""
    sums = [func.coalesce(_SUMS.c[name], 0).label(name) for name in COUNTED]
    found: Any = select(Post, *sums)
    return found.outerjoin(_SUMS, _SUMS.c.post_id == Post.id)


def says(q: str) -> ColumnElement[bool]:
    """Posts with these words in their title or text."""
    return or_(Post.title.icontains(q, autoescape=True), Post.body.icontains(q, autoescape=True))


def listing(
    q: str = "",
    kind: PostKind | None = None,
    state: PostState | None = None,
    group_id: int | None = None,
    by_members: bool = False,
    product_id: int | None = None,
) -> Select[Any]:
    """The posts that staff wrote, or those of members, filtered; archived ones, and what staff took out, only when they are
    asked for. Rows: Post, seen, liked, clicked, commented, bought."""
    found: Any = every_post().where(
        Post.automatic.is_(False), Post.member_id.is_not(None) if by_members else Post.member_id.is_(None)
    )
    if q:
        found = found.where(says(q))
    if kind is not None:
        found = found.where(Post.kind == kind)
    hidden = (PostState.ARCHIVED, PostState.REFUSED)
    found = found.where(in_state(state, clock.now()) if state else Post.state.not_in(hidden))
    if group_id is not None:
        found = found.where(
            select(PostGroup.post_id).where(PostGroup.post_id == Post.id, PostGroup.group_id == group_id).exists()
        )
    if product_id is not None:
        found = found.where(about(product_id))
    return found


def about(product_id: int) -> ColumnElement[bool]:
    """Posts that name a product."""
    return (
        select(PostProduct.post_id).where(PostProduct.post_id == Post.id, PostProduct.product_id == product_id).exists()
    )


def order_of(sort: str) -> list[Any]:
    """The columns of a sort such as `-seen`, the last one unique; whatever is unknown means newest first."""
    columns: dict[str, Any] = {"time": shown_time(), "title": Post.title}
    columns |= {name: func.coalesce(_SUMS.c[name], 0, type_=PostGroup.seen.type) for name in COUNTED}
    return order_by(sort, columns, [Post.id], [columns["time"].desc(), Post.id.desc()])


def rows_of(found: Sequence[Any]) -> list[Row]:
    """Rows of `listing` with the names of their groups, in one more statement."""
    names = group_names([row[0].id for row in found])
    now = clock.now()
    return [
        Row(
            post,
            rules.state_at(post.state, post.publish_at, now),
            names.get(post.id, []),
            Numbers(*numbers),
        )
        for post, *numbers in (row[:6] for row in found)
    ]


def export(found: Select[Any], order: list[Any]) -> list[Row]:
    """Every row of a listing (no more than 20,000), for a file."""
    return rows_of(db.session.execute(found.order_by(*order).limit(20_000)).all())


def author_of(post: Post) -> str | None:
    """The name of whoever wrote the post."""
    return db.session.scalar(select(Staff.name).where(Staff.id == post.author_id)) if post.author_id else None


def group_names(post_ids: Sequence[int]) -> dict[int, list[str]]:
    """The names of each post's groups."""
    if not post_ids:
        return {}
    rows = db.session.execute(
        select(PostGroup.post_id, func.array_agg(aggregate_order_by(Group.name, Group.name)))
        .join(Group, Group.id == PostGroup.group_id)
        .where(PostGroup.post_id.in_(post_ids))
        .group_by(PostGroup.post_id)
    )
    return {post_id: list(names) for post_id, names in rows}


def group_ids(post_id: int) -> list[int]:
    return list(
        db.session.scalars(select(PostGroup.group_id).where(PostGroup.post_id == post_id).order_by(PostGroup.group_id))
    )


def writable_groups() -> list[Group]:
    """Groups that can be posted to: all but closed and archived ones, open ones first."""
    rank = case((Group.state == GroupState.OPEN, 0), (Group.state == GroupState.WARM_UP, 1), else_=2)
    return list(
        db.session.scalars(
            select(Group)
            .where(
                Group.state.not_in((GroupState.CLOSED, GroupState.ARCHIVED)),
                or_(Group.closes_at.is_(None), Group.closes_at > clock.now()),
            )
            .order_by(rank, Group.name, Group.id)
        )
    )


# ── Calendar ────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Day:
    """A day of the calendar with the posts that show on it, in the order of the clock."""

    on: date
    rows: list[Row]


def calendar(first: date, days: int, group_id: int | None = None, kind: PostKind | None = None) -> list[Day]:
    """Scheduled and published posts of all groups (or one), of all kinds (or one), by shop day, from `first` for so many days."""
    since, until = clock.at(first), clock.at(first + timedelta(days=days))
    found = listing(group_id=group_id, kind=kind).where(
        Post.state.in_((PostState.SCHEDULED, PostState.PUBLISHED)), shown_time() >= since, shown_time() < until
    )
    rows = rows_of(db.session.execute(found.order_by(shown_time(), Post.id).limit(1_000)).all())
    by_day: dict[date, list[Row]] = {first + timedelta(days=i): [] for i in range(days)}
    for row in rows:
        by_day[clock.local(row.post.published_at or row.post.publish_at or row.post.created_at).date()].append(row)
    return [Day(on, found_rows) for on, found_rows in by_day.items()]


# ── Numbers ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class GroupNumbers:
    """What the members of one group did with a post. `bought_*` are members who ordered within five days after it."""

    group_id: int
    name: str
    members: int
    published_at: datetime | None
    seen: int
    liked: int
    clicked: int
    commented: int
    bought_seen: int
    bought_clicked: int


def _bought(kind: ReactionKind) -> Any:
    ordered = (
        select(Order.id)
        .where(
            Order.member_id == Reaction.member_id,
            Order.placed_at > Reaction.at,
            Order.placed_at <= Reaction.at + rules.BOUGHT_WITHIN,
            orders.counts(),
        )
        .exists()
    )
    return (
        select(func.count())
        .select_from(Reaction)
        .where(
            Reaction.post_id == PostGroup.post_id,
            Reaction.group_id == PostGroup.group_id,
            Reaction.kind == kind,
            ordered,
        )
        .correlate(PostGroup)
        .scalar_subquery()
    )


def bought_after(post_ids: Sequence[int]) -> dict[tuple[int, int], int]:
    """In which places (post, group) another number of members ordered after they saw the post than was last counted."""
    counted = (
        select(PostGroup.post_id, PostGroup.group_id, PostGroup.bought, _bought(ReactionKind.SEEN).label("fresh"))
        .where(PostGroup.post_id.in_(post_ids))
        .subquery()
    )
    rows = db.session.execute(
        select(counted.c.post_id, counted.c.group_id, counted.c.fresh).where(counted.c.fresh != counted.c.bought)
    )
    return {(post_id, group_id): fresh for post_id, group_id, fresh in rows}


def numbers_by_group(post_id: int) -> list[GroupNumbers]:
    """A post's numbers in each of its groups, in one statement."""
    members = (
        select(func.count())
        .select_from(Seat)
        .where(Seat.group_id == PostGroup.group_id, Seat.state == SeatState.TAKEN)
        .correlate(PostGroup)
        .scalar_subquery()
    )
    found = db.session.execute(
        select(
            Group.id,
            Group.name,
            members,
            PostGroup.published_at,
            PostGroup.seen,
            PostGroup.liked,
            PostGroup.clicked,
            PostGroup.commented,
            _bought(ReactionKind.SEEN),
            _bought(ReactionKind.CLICKED),
        )
        .join(Group, Group.id == PostGroup.group_id)
        .where(PostGroup.post_id == post_id)
        .order_by(Group.name, Group.id)
    )
    return [GroupNumbers(*row) for row in found]


# ── Feed ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def feed(group_id: Any, now: Any) -> Select[Any]:
    """The posts that a group shows at an instant. Rows: Post, PostGroup."""
    shown: Any = select(Post, PostGroup)
    return shown.join(Post, Post.id == PostGroup.post_id).where(
        PostGroup.group_id == group_id,
        PostGroup.published_at <= now,
        Post.state.in_((PostState.SCHEDULED, PostState.PUBLISHED)),
    )


FEED_ORDER = (PostGroup.published_at.desc(), PostGroup.post_id.desc())


def shown_in(post_id: int, group_id: int, now: datetime) -> Post | None:
    """The post, if the group shows it at the instant."""
    row = db.session.execute(feed(group_id, now).where(PostGroup.post_id == post_id)).one_or_none()
    return row[0] if row else None


# The mark of a group that shows nothing.
NO_MARK = "0-0"


def _mark(at: datetime | None, post_id: int | None) -> str:
    return NO_MARK if at is None else f"{round(at.timestamp() * 1_000_000)}-{post_id}"


def mark_of(group_id: int, now: datetime) -> str:
    """Names the newest post that a group shows at the instant, for `since`; one look-up in the feed's index."""
    newest = db.session.execute(_newest(group_id, now)).one_or_none()
    return _mark(newest[0], newest[1]) if newest is not None else _mark(None, None)


def mark_at(line: Any) -> str:
    """The mark of a row of `lines`."""
    return _mark(line.published_at, line.post_id)


def _newest(group_id: Any, now: Any) -> Select[Any]:
    found: Any = feed(group_id, now)
    return found.with_only_columns(PostGroup.published_at, PostGroup.post_id).order_by(*FEED_ORDER).limit(1)


# Written out, because no plan that is made for any state uses an index of one state.
_SHOWN: ColumnElement[Any] = literal_column(f"'{CommentState.SHOWN}'")
_TAKEN: ColumnElement[Any] = literal_column(f"'{SeatState.TAKEN}'")


@dataclass(frozen=True)
class Asking:
    """Who asks for news: the group, whether the member sits in it, and the mark of the newest post there."""

    id: int
    public_id: str
    seated: bool
    mark: str


_GROUP: ColumnElement[int] = bindparam("group_id", type_=BigInteger())
_READER: ColumnElement[int] = bindparam("member_id", type_=BigInteger())
_NOW: ColumnElement[datetime] = bindparam("now", type_=UtcDateTime())


@cache
def _asking() -> Select[Any]:
    newest = _newest(Group.id, _NOW).lateral()
    seated = exists().where(Seat.group_id == Group.id, Seat.member_id == _READER, Seat.state == _TAKEN)
    found: Any = select(Group.id, seated, newest.c.published_at, newest.c.post_id).select_from(Group)
    return found.outerjoin(newest, true()).where(Group.public_id == bindparam("public_id"))


def asking(public_id: str, member_id: int, now: datetime) -> Asking:
    """What a phone that asks for a group's news needs to be answered, in one statement, or 404."""
    values = {"public_id": public_id, "member_id": member_id, "now": now}
    row = db.session.execute(_asking(), values).one_or_none()
    if row is None:
        raise NotFound
    return Asking(row[0], public_id, row[1], _mark(row[2], row[3]))


def line_values(group_id: int, member_id: int, now: datetime) -> dict[str, Any]:
    """The values of the parameters of `lines`: whose posts, for whom, at which instant."""
    return {"group_id": group_id, "member_id": member_id, "now": now}


@cache
def lines() -> Select[Any]:
    """What a page has to know of each post that a group shows, to draw it or to see that it is drawn already.

    Made once, for making it costs more than asking it: `line_values` are its parameters.
    Rows: post_id, published_at, liked, commented, writer_id, mine (the member likes it), polled, comments_open, and `versions`:
    a text that is another one as soon as the post, who wrote it, or one of the last comments with who said it was written anew.
    """
    speaker = Member.__table__.alias("speaker")
    last = (
        select(func.concat(Comment.id, ":", literal_column("comment.xmin"), ":", literal_column("speaker.xmin")))
        .select_from(Comment)
        .outerjoin(speaker, speaker.c.id == Comment.member_id)
        .where(Comment.post_id == PostGroup.post_id, Comment.group_id == _GROUP, Comment.state == _SHOWN)
        .order_by(Comment.id.desc())
        .limit(LAST_SAID)
        .correlate(PostGroup)
        .scalar_subquery()
    )
    writer = (
        select(literal_column("writer.xmin::text"))
        .select_from(Member.__table__.alias("writer"))
        .where(literal_column("writer.id") == Post.member_id)
        .correlate(Post)
        .scalar_subquery()
    )
    mine = exists().where(
        Reaction.post_id == PostGroup.post_id,
        Reaction.group_id == _GROUP,
        Reaction.member_id == _READER,
        Reaction.kind == ReactionKind.LIKED,
    )
    voice = select(GroupVoice.comments).where(GroupVoice.group_id == _GROUP).scalar_subquery()
    shown: Any = feed(_GROUP, _NOW)
    return shown.with_only_columns(
        PostGroup.post_id.label("post_id"),
        PostGroup.published_at.label("published_at"),
        PostGroup.liked.label("liked"),
        PostGroup.commented.label("commented"),
        Post.member_id.label("writer_id"),
        mine.correlate(PostGroup).label("mine"),
        exists().where(Poll.post_id == PostGroup.post_id).correlate(PostGroup).label("polled"),
        func.coalesce(voice, true()).label("comments_open"),
        func.concat(literal_column("post.xmin"), " ", writer, " ", func.array_to_string(func.array(last), ",")).label(
            "versions"
        ),
    )


def since(group_id: int, member_id: int, mark: str, now: datetime, most: int) -> Sequence[Any]:
    """Rows of `lines` that came after a mark, newest first; all of them when the mark is none."""
    found = lines().order_by(*FEED_ORDER).limit(most)
    stamp, _dash, number = mark.partition("-")
    if stamp.isdecimal() and number.isdecimal() and len(stamp) < 18 and len(number) < 19:
        at = datetime.fromtimestamp(0, UTC) + timedelta(microseconds=int(stamp))
        found = found.where(tuple_(PostGroup.published_at, PostGroup.post_id) > (at, int(number)))
    return db.session.execute(found, line_values(group_id, member_id, now)).all()


def line_of(post_id: int, group_id: int, member_id: int) -> Any:
    """The row of `lines` of a post, or 404."""
    found = lines().where(PostGroup.post_id == post_id)
    row = db.session.execute(found, line_values(group_id, member_id, clock.now())).one_or_none()
    if row is None:
        raise NotFound
    return row


def posts_of(post_ids: Sequence[int]) -> dict[int, Post]:
    """These posts by their id, as they are in the database now."""
    found = select(Post).where(Post.id.in_(post_ids)).execution_options(populate_existing=True)
    return {post.id: post for post in db.session.scalars(found)}


def row_in(post_id: int, group_id: int, now: datetime) -> Any:
    """The feed's row (Post, PostGroup) of a post that the group shows at the instant, or None."""
    return db.session.execute(feed(group_id, now).where(PostGroup.post_id == post_id)).one_or_none()


# ── What members say ────────────────────────────────────────────────────────────────────────────────────────────────


def voice_of(group_id: int) -> GroupVoice:
    """What members of the group may write, as set or as it is without a setting."""
    found = db.session.get(GroupVoice, group_id)
    return found or GroupVoice(group_id=group_id, comments=True, member_posts=MemberPosts.APPROVAL)


@cache
def _what_members_post() -> Any:
    own = _contributions(_GROUP, _READER).with_only_columns(literal(1)).exists()
    return select(select(GroupVoice.member_posts).where(GroupVoice.group_id == _GROUP).scalar_subquery(), own)


def what_members_post(group_id: int, member_id: int) -> tuple[MemberPosts, bool]:
    """Whether members of a group may write posts, and whether the member has some there that wait or were taken out."""
    row = db.session.execute(_what_members_post(), {"group_id": group_id, "member_id": member_id}).one()
    return row[0] or MemberPosts.APPROVAL, row[1]


def find_comment(comment_id: int) -> Comment | None:
    return db.session.get(Comment, comment_id)


@dataclass(frozen=True)
class Said:
    """A comment with the member who wrote it, or the name of whoever of the shop did."""

    comment: Comment
    member: Member | None
    staff_name: str | None


def _said(row: Any) -> Said:
    return Said(*row[:3])


def comments(post_id: int, group_id: int | None = None, member_id: int | None = None) -> Select[Any]:
    """What was said under a post. Rows: Comment, Member or None, the staff member's name or None.

    In a group: what shows there, and what `member_id` wrote and waits or was taken down. Without a group, for staff:
    everything but what its author took back.
    """
    found: Any = (
        select(Comment, Member, Staff.name)
        .outerjoin(Member, Member.id == Comment.member_id)
        .outerjoin(Staff, Staff.id == Comment.staff_id)
        .where(Comment.post_id == post_id)
    )
    if group_id is None:
        return found.where(Comment.state != CommentState.WITHDRAWN)
    waits = and_(Comment.state.in_((CommentState.HELD, CommentState.HIDDEN)), Comment.member_id == member_id)
    return found.where(Comment.group_id == group_id, or_(Comment.state == CommentState.SHOWN, waits))


COMMENT_ORDER = (Comment.id.desc(),)


def said(rows: Sequence[Any]) -> list[Said]:
    """Rows of `comments`."""
    return [_said(row) for row in rows]


def answers_to(comments_shown: Sequence[Said]) -> dict[int, Said]:
    """The comments that these ones answer, by their id, as far as they still show."""
    wanted = {one.comment.answers_id for one in comments_shown} - {None}
    if not wanted:
        return {}
    rows = db.session.execute(
        select(Comment, Member, Staff.name)
        .outerjoin(Member, Member.id == Comment.member_id)
        .outerjoin(Staff, Staff.id == Comment.staff_id)
        .where(Comment.id.in_(wanted), Comment.state == CommentState.SHOWN)
    )
    return {row[0].id: _said(row) for row in rows}


# So many comments stand under a post in the feed.
LAST_SAID = 2


def last_said(group_id: int, post_ids: Sequence[int], each: int = LAST_SAID) -> dict[int, list[Said]]:
    """The last few comments that show under each of the posts in a group, oldest first, in one statement; with who said them as
    they are in the database now."""
    if not post_ids:
        return {}
    ranked = (
        select(Comment.id, func.row_number().over(partition_by=Comment.post_id, order_by=Comment.id.desc()).label("n"))
        .where(Comment.group_id == group_id, Comment.post_id.in_(post_ids), Comment.state == _SHOWN)
        .subquery()
    )
    rows = db.session.execute(
        select(Comment, Member, Staff.name)
        .join(ranked, ranked.c.id == Comment.id)
        .outerjoin(Member, Member.id == Comment.member_id)
        .outerjoin(Staff, Staff.id == Comment.staff_id)
        .where(ranked.c.n <= each)
        .order_by(Comment.id)
        .execution_options(populate_existing=True)
    )
    found: dict[int, list[Said]] = {}
    for row in rows:
        found.setdefault(row[0].post_id, []).append(_said(row))
    return found


@dataclass(frozen=True)
class Choice:
    """An answer of a poll with its votes; `mine` when the member asked about chose it."""

    number: int
    words: str
    votes: int
    mine: bool


@dataclass(frozen=True)
class PollShown:
    """A poll as members and staff see it. `people` have voted, over all groups of the post."""

    choices: list[Choice]
    several: bool
    closes_at: datetime | None
    people: int

    @property
    def draft(self) -> tuple[tuple[str, ...], bool, datetime | None]:
        return tuple(choice.words for choice in self.choices), self.several, self.closes_at

    def closed(self, now: datetime) -> bool:
        """Whether nobody can vote any more at the instant."""
        return self.closes_at is not None and self.closes_at <= now


def polls_of(post_ids: Sequence[int], member_id: int | None = None) -> dict[int, PollShown]:
    """The polls of several posts, with what a member chose, in two statements."""
    if not post_ids:
        return {}
    mine = (
        select(PollVote.option_id)
        .where(PollVote.option_id == PollOption.id, PollVote.member_id == (member_id or 0))
        .exists()
    )
    found: dict[int, tuple[Any, list[Choice]]] = {}
    for poll, number, words, votes, chosen in db.session.execute(
        select(Poll, PollOption.number, PollOption.words, PollOption.votes, mine)
        .join(PollOption, PollOption.post_id == Poll.post_id)
        .where(Poll.post_id.in_(post_ids))
        .order_by(Poll.post_id, PollOption.number)
    ):
        found.setdefault(poll.post_id, (poll, []))[1].append(Choice(number, words, votes, chosen))
    several = [post_id for post_id, (poll, _choices) in found.items() if poll.several]
    voters = (
        select(PollOption.post_id, func.count(PollVote.member_id.distinct()))
        .join(PollVote, PollVote.option_id == PollOption.id)
        .where(PollOption.post_id.in_(several))
        .group_by(PollOption.post_id)
    )
    people = dict(db.session.execute(voters).all()) if several else {}
    return {
        post_id: PollShown(
            choices,
            poll.several,
            poll.closes_at,
            people.get(post_id, 0) if poll.several else sum(choice.votes for choice in choices),
        )
        for post_id, (poll, choices) in found.items()
    }


def poll_of(post_id: int, member_id: int | None = None) -> PollShown | None:
    """A post's poll, or None."""
    return polls_of([post_id], member_id).get(post_id)


def writers_of(found: Sequence[Post]) -> dict[int, Member]:
    """The members who wrote these posts, by their id, as they are in the database now."""
    wanted = {post.member_id for post in found} - {None}
    if not wanted:
        return {}
    people = select(Member).where(Member.id.in_(wanted)).execution_options(populate_existing=True)
    return {member.id: member for member in db.session.scalars(people)}


def _contributions(group_id: Any, member_id: Any) -> Select[Post]:
    return (
        select(Post)
        .join(PostGroup, PostGroup.post_id == Post.id)
        .where(
            Post.member_id == member_id,
            PostGroup.group_id == group_id,
            Post.state.in_((PostState.WAITING, PostState.REFUSED)),
        )
    )


def contributions_of(group_id: int, member_id: int) -> list[Post]:
    """The member's own posts in a group that wait for staff or were taken out, newest first."""
    return list(db.session.scalars(_contributions(group_id, member_id).order_by(Post.id.desc()).limit(5)))


# ── Morning brief ───────────────────────────────────────────────────────────────────────────────────────────────────


def scheduled_between(since: datetime, until: datetime) -> int:
    """How many posts are still to appear in `[since, until)`."""
    return (
        db.session.scalar(
            select(func.count()).where(
                Post.state == PostState.SCHEDULED, Post.publish_at >= since, Post.publish_at < until
            )
        )
        or 0
    )


def unanswered_questions(since: datetime, limit: int = 5) -> list[tuple[Post, Group, int]]:
    """Posts shown since an instant under which members asked something that nobody of the shop has answered, most first.

    A question is a member's comment with a question mark in it or a 吗 at its end; answered is one that somebody of the
    shop answered, or after which they said something under that post in that group.
    """
    reply = aliased(Comment)
    answered = exists().where(
        reply.post_id == Comment.post_id,
        reply.group_id == Comment.group_id,
        reply.staff_id.is_not(None),
        or_(reply.answers_id == Comment.id, reply.id > Comment.id),
    )
    rows = db.session.execute(
        select(Post, Group, func.count())
        .join(PostGroup, PostGroup.post_id == Post.id)
        .join(Group, Group.id == PostGroup.group_id)
        .join(Comment, and_(Comment.post_id == Post.id, Comment.group_id == PostGroup.group_id))
        .where(
            PostGroup.published_at >= since,
            PostGroup.published_at <= clock.now(),
            Group.state == GroupState.OPEN,
            Comment.state == CommentState.SHOWN,
            Comment.member_id.is_not(None),
            Comment.body.regexp_match("[?？]|吗[。！~～]?$"),
            ~answered,
        )
        .group_by(Post.id, Group.id)
        .order_by(func.count().desc(), Post.id.desc(), Group.id)
        .limit(limit)
    )
    return [(post, group, asked) for post, group, asked in rows]


def silent_groups(since: datetime) -> list[Group]:
    """Open groups with members in which no post has shown since the instant and none is planned, the fullest first."""
    recent = (
        select(PostGroup.post_id)
        .join(Post, Post.id == PostGroup.post_id)
        .where(
            PostGroup.group_id == Group.id,
            PostGroup.published_at >= since,
            Post.state.in_((PostState.SCHEDULED, PostState.PUBLISHED)),
        )
        .exists()
    )
    return list(
        db.session.scalars(
            select(Group)
            .where(
                Group.state == GroupState.OPEN,
                or_(Group.closes_at.is_(None), Group.closes_at > clock.now()),
                Group.seated > 0,
                ~recent,
            )
            .order_by(Group.seated.desc(), Group.id)
            .limit(50)
        )
    )
