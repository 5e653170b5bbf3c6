"""What members of the demo shop say under its posts, vote, and share themselves; a short video, and a tip that is used twice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

from sqlalchemy import select, text

from community.groups.models import Seat, SeatState
from community.moderation import services as moderation
from community.moderation.models import Ground
from kernel import clock, files
from kernel.db import db
from membership.demo import share_of
from membership.products.models import Product

from . import services
from .models import MemberPosts, Post, PostGroup, PostKind, PostProduct, PostState

POLL = ("餐桌", "书桌", "阳台")
SAID: dict[PostKind, Sequence[str]] = {
    PostKind.TIP: ("小苏打真的管用，我的白瓷杯终于亮了。", "柠檬片泡一晚也可以。", "请问紫砂壶能这样洗吗？"),
    PostKind.MISTAKE: ("原来要等融成一层，难怪我的总是挖洞。", "剪烛芯用指甲刀就行。"),
    PostKind.NEW_PRODUCT: ("蓝色那只还有吗？", "花真的每只都不一样，喜欢。"),
    PostKind.SURVEY: ("阳台！想看多肉的搭法。",),
}
ANSWERS = {
    "请问紫砂壶能这样洗吗？": "紫砂别用小苏打，热水多冲几遍就好。",
    "蓝色那只还有吗？": "蓝色还剩三只，在链接里。",
}
SHARED = "周末把阳台收拾出来了，\n用的就是上次那两个搪瓷杯。"
WAITS = "有人要拼单吗？我在 tuan.example 开了一个。"


def _people(group_id: int, purpose: str) -> list[int]:
    """The members of a group, in an order that is the same on every machine."""
    seated = db.session.scalars(select(Seat.member_id).where(Seat.group_id == group_id, Seat.state == SeatState.TAKEN))
    return sorted(seated, key=lambda member_id: (share_of(member_id, purpose), member_id))


def talk(staff_id: int | None) -> None:
    """Let members comment, vote, share and report, and the shop answer."""
    places = db.session.execute(
        select(Post, PostGroup.group_id)
        .join(PostGroup, PostGroup.post_id == Post.id)
        .where(PostGroup.published_at <= clock.now(), Post.kind.in_(SAID))
        .order_by(Post.id, PostGroup.group_id)
    ).all()
    for post, group_id in places:
        people = _people(group_id, f"said {post.id}")
        if post.kind is PostKind.SURVEY:
            for member_id in people[: len(people) // 3]:
                services.vote(post.id, group_id, member_id, [1 + int(share_of(member_id, "vote") * len(POLL))])
        for member_id, words in zip(people, SAID[post.kind], strict=False):
            made = services.comment(post.id, group_id, member_id, words)
            if words in ANSWERS and staff_id is not None:
                services.answer(post.id, group_id, staff_id, ANSWERS[words], made.id)
    if places:
        _share(places[0][1])


def _share(group_id: int) -> None:
    writer, asker, reporter, *_others = _people(group_id, "shared")
    services.set_voice(group_id, True, MemberPosts.OPEN)
    post = services.contribute(group_id, writer, SHARED)
    services.set_voice(group_id, True, MemberPosts.APPROVAL)
    services.contribute(group_id, asker, WAITS)
    said = services.comment(post.id, group_id, asker, "杯子哪里买的，私聊我")
    moderation.complain("comment", said.id, group_id, asker, reporter, Ground.ADVERTISING, "到处问人私聊")


# A word in the title of the product that a post of this kind is about.
ABOUT = {PostKind.TIP: "MUG", PostKind.MISTAKE: "CANDLE", PostKind.NEW_PRODUCT: "ENAMEL"}
CLIP = Path(__file__).parents[2] / "static" / "video" / "demo-tea.webm"


def fill_library(staff_id: int | None) -> None:
    """Write a short video, name products, use the first tip a second time, and let members have looked over the weeks."""
    shown = list(
        db.session.scalars(
            select(Post)
            .where(Post.state == PostState.PUBLISHED, Post.member_id.is_(None), Post.automatic.is_(False))
            .order_by(Post.published_at, Post.id)
        )
    )
    if not shown:
        return
    for post in shown:
        product = _product(ABOUT.get(post.kind, ""))
        if product is not None:
            db.session.add(PostProduct(post_id=post.id, product_id=product))
    db.session.flush()
    tip = next((post for post in shown if post.kind is PostKind.TIP), shown[0])
    services.keep(tip.id, True)
    again = services.use_again(tip.id, staff_id)
    services.publish_now(again.id)
    _show_since(again.id, clock.at(clock.today() - timedelta(days=2), 20))
    groups = services.draft_of(tip).group_ids
    with CLIP.open("rb") as clip:
        video = files.save_video(clip)
    film = services.write(
        services.Draft(
            PostKind.SHORT_VIDEO,
            "半分钟：白茶这样泡不涩",
            "水温八十五度，第一泡十秒就出汤。\n\n看完试试，回来说说味道。",
            "demo/tea.webp",
            group_ids=groups,
            video=video.key,
            product_ids=tuple(filter(None, [_product("TEAPOT")])),
        ),
        author_id=staff_id,
    )
    services.publish_now(film.id)
    _show_since(film.id, clock.at(clock.today() - timedelta(days=1), 20))
    for post_id, purpose in ((again.id, "again"), (film.id, "film")):
        for group_id in groups:
            people = _people(group_id, purpose)
            for i, member_id in enumerate(people[: len(people) * 11 // 20]):
                services.see(group_id, member_id, [post_id])
                if i % 4 == 0:
                    services.like(post_id, group_id, member_id, True)
    piece = replace(
        services.draft_of(tip), title="放假发货时间（换上日期再发）", group_ids=(), picture=None, product_ids=()
    )
    services.write(replace(piece, body="**{假期}期间照常接单**，{日期}起按顺序发出。"), staff_id, kept=True)
    # Members of this shop open the group after supper, within three hours of a post.
    db.session.execute(
        text(
            "UPDATE reaction SET at = least(:now, place.published_at + (reaction.member_id * 37 % 170) * interval '1 minute')"
            " FROM post_group AS place WHERE place.post_id = reaction.post_id AND place.group_id = reaction.group_id"
        ),
        {"now": clock.now()},
    )
    services.count_orders(services.recent_posts())


def _product(word: str) -> int | None:
    """The first product of the shop with a word in its title."""
    if not word:
        return None
    return db.session.scalar(select(Product.id).where(Product.title.icontains(word)).order_by(Product.id).limit(1))


def _show_since(post_id: int, at: datetime) -> None:
    for statement in (
        "UPDATE post SET created_at = :at, publish_at = :at, published_at = :at WHERE id = :id",
        "UPDATE post_group SET published_at = :at WHERE post_id = :id",
    ):
        db.session.execute(text(statement), {"at": at, "id": post_id})
