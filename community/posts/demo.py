"""What members of the demo shop say under its posts, vote, and share themselves."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select

from community.groups.models import Seat, SeatState
from community.moderation import services as moderation
from community.moderation.models import Ground
from kernel import clock
from kernel.db import db
from membership.demo import share_of

from . import services
from .models import MemberPosts, Post, PostGroup, PostKind

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
