"""Reads of the library: pieces with all their uses, the products that posts are about, and the table of results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Select, cast, func, select, union
from sqlalchemy.orm import aliased

from community.groups.models import Group, OutsideCode
from kernel import clock, files
from kernel.db import db
from kernel.pages import order_by
from membership.products.models import Product

from . import queries, rules
from .models import Post, PostGroup, PostKind, PostProduct, PostState

# ── Products ────────────────────────────────────────────────────────────────────────────────────────────────────────

MARK = " · "


def product_ids(post_id: int) -> list[int]:
    return list(
        db.session.scalars(
            select(PostProduct.product_id).where(PostProduct.post_id == post_id).order_by(PostProduct.product_id)
        )
    )


def products_of(post_ids: Sequence[int]) -> dict[int, list[Product]]:
    """The products that each of the posts is about."""
    found: dict[int, list[Product]] = {}
    if post_ids:
        for post_id, product in db.session.execute(
            select(PostProduct.post_id, Product)
            .join(Product, Product.id == PostProduct.product_id)
            .where(PostProduct.post_id.in_(post_ids))
            .order_by(PostProduct.post_id, Product.title, Product.id)
        ):
            found.setdefault(post_id, []).append(product)
    return found


def named(product: Product) -> str:
    """A product as it is typed and read in the editor: its number in the shop, and what it is called."""
    return f"{product.sku}{MARK}{product.title}" if product.title else product.sku


def find_product(typed: str) -> Product | None:
    """The product that somebody typed: by its number in the shop, by that and its title, or by its whole title."""
    text = typed.strip()
    sku = text.partition(MARK)[0].strip()
    wanted = select(Product).order_by(Product.id).limit(1)
    return db.session.scalar(wanted.where(Product.sku == sku)) or db.session.scalar(wanted.where(Product.title == text))


def product_suggestions(limit: int = 300) -> list[str]:
    """The latest products as they are typed, for the list that opens while typing."""
    latest = select(Product).order_by(Product.created_at.desc(), Product.id.desc()).limit(limit)
    return [named(product) for product in db.session.scalars(latest)]


def product_choices() -> list[tuple[int, str]]:
    """The products that posts are about, for a filter."""
    rows = db.session.execute(
        select(Product.id, Product.title, Product.sku)
        .where(select(PostProduct.post_id).where(PostProduct.product_id == Product.id).exists())
        .order_by(Product.title, Product.id)
        .limit(200)
    )
    return [(product_id, title or sku) for product_id, title, sku in rows]


# ── Pieces and their uses ───────────────────────────────────────────────────────────────────────────────────────────


def root_of(post: Any = Post) -> ColumnElement[int]:
    """The piece that a post is a use of: the first post with its text, which may be itself."""
    return func.coalesce(post.origin_id, post.id, type_=Post.id.type)


def _uses() -> Any:
    """What came of each piece over all its uses that were shown."""
    use = aliased(Post)
    return (
        select(
            root_of(use).label("root"),
            func.count(use.id.distinct()).label("uses"),
            func.max(PostGroup.published_at).label("last"),
            *(cast(func.sum(getattr(PostGroup, name)), BigInteger).label(name) for name in queries.COUNTED),
        )
        .join(PostGroup, PostGroup.post_id == use.id)
        .where(
            use.automatic.is_(False),
            use.member_id.is_(None),
            PostGroup.published_at <= clock.now(),
            queries.was_shown(use),
        )
        .group_by(root_of(use))
        .subquery()
    )


@dataclass(frozen=True)
class Piece:
    """A piece of the library: the post that it began with, how often it was shown, when last, and what came of it in all."""

    post: Post
    state: PostState
    uses: int
    last: datetime | None
    numbers: queries.Numbers
    products: list[Product]


@dataclass(frozen=True)
class Wanted:
    """What somebody looks for in the library, or among the results."""

    q: str = ""
    kind: PostKind | None = None
    product_id: int | None = None
    group_id: int | None = None
    state: PostState | None = None
    kept: bool = False


PIECE_SORTS = ("last", "title", "uses", "seen", "clicked", "bought")


def _narrowed(found: Any, wanted: Wanted) -> Any:
    """Posts narrowed to what both lists can be narrowed to: words, kind, product."""
    if wanted.q:
        found = found.where(queries.says(wanted.q))
    if wanted.kind is not None:
        found = found.where(Post.kind == wanted.kind)
    if wanted.product_id is not None:
        found = found.where(queries.about(wanted.product_id))
    return found


def pieces(wanted: Wanted, sort: str) -> tuple[Select[Any], list[Any]]:
    """The pieces that fit, archived ones too, and the order of a sort such as `-seen` (the latest used first otherwise)."""
    uses = _uses()
    columns: dict[str, Any] = {
        name: func.coalesce(uses.c[name], 0, type_=BigInteger()) for name in ("uses", *queries.COUNTED)
    }
    columns["last"] = func.coalesce(uses.c.last, Post.created_at, type_=Post.created_at.type)
    columns["title"] = Post.title
    found: Any = (
        select(Post, columns["uses"].label("uses"), uses.c.last, *(columns[n].label(n) for n in queries.COUNTED))
        .outerjoin(uses, uses.c.root == Post.id)
        .where(Post.origin_id.is_(None), Post.automatic.is_(False), Post.member_id.is_(None))
    )
    found = _narrowed(found, wanted)
    if wanted.state is not None:
        found = found.where(queries.in_state(wanted.state, clock.now()))
    if wanted.kept:
        found = found.where(Post.kept_at.is_not(None))
    if wanted.group_id is not None:
        use = aliased(Post)
        shown = select(PostGroup.post_id).join(use, use.id == PostGroup.post_id)
        found = found.where(shown.where(PostGroup.group_id == wanted.group_id, root_of(use) == Post.id).exists())
    sorts = {name: columns[name] for name in PIECE_SORTS}
    return found, order_by(sort, sorts, [Post.id], [columns["last"].desc(), Post.id.desc()])


def pieces_of(rows: Sequence[Any]) -> list[Piece]:
    """Rows of `pieces` with their products, in one more statement."""
    products, now = products_of([row[0].id for row in rows]), clock.now()
    return [
        Piece(
            post,
            rules.state_at(post.state, post.publish_at, now),
            uses,
            last,
            queries.Numbers(*numbers),
            products.get(post.id, []),
        )
        for post, uses, last, *numbers in (row[:8] for row in rows)
    ]


def first_of(found: Select[Any], order: Sequence[Any], most: int) -> Sequence[Any]:
    """The first rows of a list in its order, for a file."""
    return db.session.execute(found.order_by(*order).limit(most)).all()


def uses_of(post: Post) -> list[queries.Row]:
    """Every use of the piece that a post belongs to, in the order in which they were shown; drafts last."""
    root = post.origin_id or post.id
    found = queries.every_post().where(root_of() == root)
    rows = db.session.execute(
        found.order_by(func.coalesce(Post.published_at, Post.publish_at).nulls_last(), Post.id).limit(50)
    ).all()
    return queries.rows_of(rows)


# ── Results ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def results(since: datetime, until: datetime, wanted: Wanted) -> tuple[Select[Any], dict[str, Any]]:
    """Posts of the shop that were shown in `[since, until)`, archived ones too, with what came of each: rows Post, when it
    was first shown, seen, liked, clicked, commented, bought; and the columns to sort by.

    With a group, what came of them in that group alone.
    """
    places = select(
        PostGroup.post_id,
        func.min(PostGroup.published_at).label("shown_at"),
        *(cast(func.sum(getattr(PostGroup, name)), BigInteger).label(name) for name in queries.COUNTED),
    ).where(PostGroup.published_at >= since, PostGroup.published_at < until, PostGroup.published_at <= clock.now())
    if wanted.group_id is not None:
        places = places.where(PostGroup.group_id == wanted.group_id)
    sums = places.group_by(PostGroup.post_id).subquery()
    found: Any = (
        select(Post, sums.c.shown_at, *(sums.c[name] for name in queries.COUNTED))
        .join(sums, sums.c.post_id == Post.id)
        .where(Post.automatic.is_(False), Post.member_id.is_(None), queries.was_shown())
    )
    found = _narrowed(found, wanted)
    columns = {"time": sums.c.shown_at, "title": Post.title, **{name: sums.c[name] for name in queries.COUNTED}}
    return found, columns


def result_order(columns: dict[str, Any], sort: str) -> list[Any]:
    """The order of a sort such as `-bought`; whatever is unknown means newest first."""
    return order_by(sort, columns, [Post.id], [columns["time"].desc(), Post.id.desc()])


@dataclass(frozen=True)
class Result:
    """A post that was shown, when, and what came of it."""

    post: Post
    shown_at: datetime
    groups: list[str]
    numbers: queries.Numbers


def results_of(rows: Sequence[Any]) -> list[Result]:
    """Rows of `results` with the names of their groups, in one more statement."""
    names = queries.group_names([row[0].id for row in rows])
    return [
        Result(post, shown_at, names.get(post.id, []), queries.Numbers(*numbers))
        for post, shown_at, *numbers in (row[:7] for row in rows)
    ]


def totals(found: Select[Any]) -> tuple[int, queries.Numbers]:
    """How many posts a statement of `results` has, and what came of them in all."""
    inner = found.subquery()
    row = db.session.execute(
        select(func.count(), *(cast(func.coalesce(func.sum(inner.c[name]), 0), BigInteger) for name in queries.COUNTED))
    ).one()
    number, *sums = row
    return number, queries.Numbers(*sums)


def all_groups(planned: bool = False) -> list[tuple[int, str]]:
    """Every group in which a post was shown, for a filter; closed ones too. With `planned` also where one will show."""
    shown = (
        select(PostGroup.post_id)
        .join(Post, Post.id == PostGroup.post_id)
        .where(PostGroup.group_id == Group.id, queries.was_shown())
    )
    if not planned:
        shown = shown.where(PostGroup.published_at <= clock.now())
    rows = db.session.execute(
        select(Group.id, Group.name).where(shown.exists()).order_by(Group.name, Group.id).limit(500)
    )
    return [(group_id, name) for group_id, name in rows]


def calendar_groups() -> list[tuple[int, str]]:
    """Every group that has a post or can be posted to, for the calendar."""
    known = dict(all_groups(planned=True)) | {group.id: group.name for group in queries.writable_groups()}
    return sorted(known.items(), key=lambda one: (one[1], one[0]))


@files.public_in_use.fill
def pictures_in_use(keys: Sequence[str]) -> set[str]:
    """Which of these pictures a post has, or a group as its cover or as the code of one on another platform."""
    columns: tuple[Any, ...] = (Post.picture, Group.cover, OutsideCode.picture)
    return set(db.session.scalars(union(*(select(column).where(column.in_(keys)) for column in columns))))


@files.videos_in_use.fill
def videos_in_use(keys: Sequence[str]) -> set[str]:
    """Which of these videos a post has."""
    return {key for key in db.session.scalars(select(Post.video).where(Post.video.in_(keys))) if key}
