"""The demo shop's groups with their members, its posts and what members did with them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta

from sqlalchemy import select, text

from community.activities import demo as activities_demo
from community.answers import demo as answers_demo
from community.checkins import demo as checkins_demo
from community.conversations import demo as conversations
from community.groups import demo as groups_demo
from community.groups import services as groups
from community.groups.models import Group, GroupKind, GroupState
from community.posts import demo as posts_demo
from community.posts import services as posts
from community.posts.models import PostKind
from community.staff_results import demo as staff_results
from community.tickets import demo as tickets
from kernel import clock
from kernel.db import db
from kernel.demo import Progress, Step
from kernel.staff.models import Staff
from membership.demo import members_by_number, share_of
from membership.gifts import services as gifts
from membership.gifts.models import Gift, GiftClaim, GiftState
from membership.members.models import Member

SITE = "https://shop.example"

POSTS = (
    (
        PostKind.TIP, "茶垢三步去干净，不伤杯子", "demo/shelf.webp", 6,
        "1. 小苏打两勺，温水化开，浸十分钟。\n2. 软海绵顺着杯壁擦，**不要用钢丝球**。\n3. 清水冲净，倒扣晾干。\n\n"
        "一周一次，杯子三年都像新的。", ("/tips/tea-stains", "看图解"),
    ),
    (
        PostKind.MISTAKE, "避坑：香薰蜡烛别一口气点完", None, 4,
        "第一次点燃，请等表面全部融成一层再吹灭，不然会一直只烧中间一个洞。每次不超过三小时，点之前把烛芯剪到半厘米。", ("", ""),
    ),
    (
        PostKind.NEW_PRODUCT, "新到：手绘搪瓷马克杯", "demo/table.webp", 2,
        "每只的花都不太一样，到货 60 只，群里的朋友先挑。", ("/new/enamel-mugs", "去挑一只"),
    ),
    (
        PostKind.SURVEY, "下个月想看什么？", None, 1,
        "餐桌、书桌、阳台，选一个告诉小编，我们按票数准备上新。", ("", ""),
    ),
)  # fmt: skip


def steps() -> Iterator[Step]:
    """What this floor brings, in order."""
    yield Step("groups", "Three groups with their members", 8, _make_groups)
    yield Step("gifts", "Gifts on their way", 2, _claim_gifts)
    yield Step("posts", "Posts and what members did with them", 5, _write_posts)
    yield Step("answers", "Forty questions that the bot answers", 2, _give_answers)
    yield Step(
        "groups.past", "A flash group that is over, a live one, and who no longer qualifies", 3, _give_groups_past
    )
    yield Step("activities", "Draws and sales of two groups", 1, _give_activities)
    yield Step("tickets", "Tickets and what was said in them", 3, tickets.make)
    yield Step("conversations", "What customers asked the desk", 2, conversations.make)
    yield Step("staff_results", "A month of call-backs that were held", 2, staff_results.make)


def _manager_id() -> int | None:
    return db.session.scalar(select(Staff.id).where(Staff.email == "manager@shop.example"))


def _open(kind: GroupKind, draft: groups.GroupDraft) -> Group:
    group = groups.create(kind, draft)
    groups.change_state(group, GroupState.OPEN)
    return group


def _make_groups(progress: Progress) -> None:
    manager = _manager_id()
    gift_id = db.session.scalar(select(Gift.id).order_by(Gift.id).limit(1))
    regular = _open(
        GroupKind.REGULAR,
        groups.GroupDraft(
            name="杂货铺老友群",
            intro="买过东西的朋友都在这里：好物用法、上新先看、每周一次小福利。",
            announcement="每周三晚八点上新，每周五分享一个小技巧。有事直接找小满。",
            welcome_post="您好呀，我是小满。欢迎来到老友群，先收下给您留的小礼物，再翻翻最近的分享。",
            capacity=500,
            seats_each=100,
            welcome_gift_id=gift_id,
            owner_id=manager,
            cover="demo/table.webp",
        ),
    )
    vip = _open(
        GroupKind.VIP,
        groups.GroupDraft(
            name="VIP 品鉴群",
            intro="VIP会员和至尊VIP的小圈子：新品试用、专属客服、生日礼物。",
            announcement="本月试用品已寄出，收到后在群里说说感受吧。",
            welcome_post="欢迎，这里人不多，但都是最懂杂货铺的人。",
            capacity=200,
            seats_each=100,
            join_rule={"mode": "all", "rules": [{"kind": "tier", "rank": 3}]},
            owner_id=manager,
            cover="demo/tea.webp",
        ),
    )
    flash = _open(
        GroupKind.FLASH,
        groups.GroupDraft(
            name="周末快闪群",
            intro="三天就散的快闪群：尾货清仓、拆箱直播，抢到就是赚到。",
            announcement="周日晚上十点准时散群，没抢够的去老友群等下一场。",
            welcome_post="手慢无，先看第一条。",
            capacity=60,
            seats_each=20,
            closes_at=clock.now() + timedelta(days=3),
            successor_id=regular.id,
            owner_id=manager,
            cover="demo/parcels.webp",
        ),
    )
    people = sorted(members_by_number().items())
    ranks = {row.id: row.rank for row in db.session.execute(select(Member.id, Member.rank))}
    inside = {
        regular: [m for number, m in people if share_of(number, "regular") < 0.16],
        vip: [m for number, m in people if ranks.get(m, 0) >= 3 and share_of(number, "vip") < 0.4],
        flash: [m for number, m in people if share_of(number, "flash") < 0.06][:56],
    }
    for i, (group, members) in enumerate(inside.items()):
        groups.join_many(group.id, members, source="call", staff_id=manager)
        for member_id in members:
            groups.welcome(group, member_id, "call")
        progress((i + 1) / len(inside))


def _give_groups_past(progress: Progress) -> None:
    groups_demo.give_past(_manager_id())
    progress(1.0)


def _give_activities(progress: Progress) -> None:
    activities_demo.give(_manager_id())
    progress(1.0)


def _give_answers(progress: Progress) -> None:
    answers_demo.give()
    progress(1.0)


def _claim_gifts(progress: Progress) -> None:
    """Two in five have claimed the gift that waited in the group; some of the parcels are on their way or there."""
    waiting = list(
        db.session.scalars(select(GiftClaim).where(GiftClaim.state == GiftState.OFFERED).order_by(GiftClaim.id))
    )
    people = {m.id: m for m in db.session.scalars(select(Member).where(Member.id.in_([c.member_id for c in waiting])))}
    for i, claim in enumerate(waiting[: len(waiting) * 2 // 5]):
        person = people[claim.member_id]
        gifts.claim(claim.id, claim.member_id)
        if i % 4:
            gifts.give_address(gifts.get_claim(claim.id), person.name, person.phone or "", person.address)
        if i % 4 == 2:
            gifts.ship(claim.id, "样板快递", f"DEMO{claim.id:08d}")
        progress(i / max(len(waiting), 1))


def _shown(text_of: Sequence[str]) -> tuple[str, str]:
    path, label = text_of
    return (SITE + path if path else "", label)


def _write_posts(progress: Progress) -> None:
    manager = _manager_id()
    found = list(db.session.scalars(select(Group).order_by(Group.id)))
    regular, everywhere = (found[0].id,), tuple(g.id for g in found)
    for i, (kind, title, picture, days_ago, body, link) in enumerate(POSTS):
        url, label = _shown(link)
        targets = everywhere if i % 2 == 0 else regular
        post = posts.write(posts.Draft(kind, title, body, picture, url, label, targets), author_id=manager)
        if kind is PostKind.SURVEY:
            posts.save_poll(post.id, posts.PollDraft(posts_demo.POLL))
        posts.publish_now(post.id)
        # Shown in the past, so that the feed and the calendar have a history.
        shown_at = clock.at(clock.today() - timedelta(days=days_ago), 20 - i)
        for statement in (
            "UPDATE post SET created_at = :at, publish_at = :at, published_at = :at WHERE id = :id",
            "UPDATE post_group SET published_at = :at WHERE post_id = :id",
        ):
            db.session.execute(text(statement), {"at": shown_at, "id": post.id})
        _react(post.id, targets, bool(url))
        progress((i + 1) / (len(POSTS) + 1))
    coming = posts.write(
        posts.Draft(
            PostKind.TIP,
            "换季收纳：一个抽屉放下二十件",
            "先按季节分，再按颜色卷，深色在下浅色在上。",
            "demo/shelf.webp",
            "",
            "",
            everywhere,
        ),
        author_id=manager,
    )
    posts.schedule(coming.id, clock.at(clock.today() + timedelta(days=1), 20))
    posts_demo.talk(manager)
    posts_demo.fill_library(manager)
    checkins_demo.keep_coming()


def _react(post_id: int, group_ids: Sequence[int], linked: bool) -> None:
    seated = db.session.execute(
        text("SELECT group_id, member_id FROM seat WHERE state = 'taken' AND group_id = ANY(:ids) ORDER BY id"),
        {"ids": list(group_ids)},
    ).all()
    for group_id, member_id in seated:
        mood = share_of(member_id, f"post {post_id} {group_id}")
        if mood < 0.62:
            posts.see(group_id, member_id, [post_id])
        if mood < 0.21:
            posts.like(post_id, group_id, member_id, True)
        if linked and mood < 0.13:
            posts.click(post_id, group_id, member_id)
