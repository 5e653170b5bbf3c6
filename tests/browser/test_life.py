"""Issue 5's paths by hand, in the demo shop: members on phones, in Chinese, and the shop's people on a desk, in English.

A group from a template to the archive."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from sqlalchemy import text

from community.posts import services as posts
from community.posts.models import PostKind
from kernel.db import db
from tests.browser.screen import Screen
from tests.live import LiveServer, eventually

pytestmark = pytest.mark.browser


@dataclass(frozen=True)
class Customer:
    name: str
    phone: str
    order_number: str


@pytest.fixture
def customers(demo_shop: LiveServer) -> list[Customer]:
    """Members of the demo shop who sit in no group and have asked nothing."""
    with demo_shop.app.app_context():
        found = db.session.execute(text(_QUIET_PEOPLE)).all()
    return [Customer(*one) for one in found]


def at_the_desk(shop: LiveServer, screen: Screen) -> Screen:
    screen.open("/console/sign-in").fill(email=shop.email, password=shop.password)
    return screen.press("main form[action$='/sign-in'] button")


def in_hand(screen: Screen, customer: Customer) -> Screen:
    """A phone on which a customer has shown who they are."""
    screen.open("/me/sign-in").fill(phone=customer.phone, order_number=customer.order_number)
    screen.press("main form[action$='/me/sign-in'] button[type=submit]")
    assert screen.path == "/me/"
    return screen


def test_a_group_from_a_template_to_the_archive(
    demo_shop: LiveServer, windows: Callable[..., Screen], customers: list[Customer]
) -> None:
    desk = at_the_desk(demo_shop, windows(demo_shop.url, "desktop", "en-GB"))
    first = in_hand(windows(demo_shop.url, "phone", "zh-CN"), customers[0])
    second = in_hand(windows(demo_shop.url, "phone", "zh-CN"), customers[1])

    # A group becomes a template, and a new group is made from it: one seat, and what members write is looked at first.
    desk.open("/console/groups").press("main a:has-text('杂货铺老友群')")
    desk.tap("main .page-header details.menu summary, main details.menu summary").press("main button[name=template]")
    desk.open("/console/groups/new").press("main a.choice-card[href$='/copy']:has-text('杂货铺老友群')")
    desk.fill(name="春茶小群").press("main form[action$='/copy'] button[type=submit]")
    group = re.sub(r"/settings$", "", desk.path)
    desk.open(f"{group}/settings").fill(capacity="1", seats_each="1")
    desk.press("main form[enctype] button[type=submit]")
    desk.open(f"{group}/voice").check("member_posts", "approval").press("main form button[type=submit]")
    desk.open(group).press("main form[action$='/state']:has(input[value=open]) button")
    poll(demo_shop, int(group.rsplit("/", 1)[1]))
    link = desk.open(f"{group}/links").page.locator("main input[value*='/j/']").first.input_value()

    # The first one in takes the only seat; the next gets a number.
    first.open(link).press("main .act-bar .btn-primary").shows("春茶小群")
    home = first.path
    second.open(link).shows("排").press("main .act-bar .btn-primary")
    assert second.page.locator(".waiting-number").inner_text() == "1"

    # What there is to do: the daily check-in, a vote, a word, a heart, a post of one's own.
    first.press("#check-in form button").shows("连续 1 天")
    first.page.locator("article.post .poll-choice").first.click()
    first.press("article.post .poll button").shows("1 人")
    first.open(home).press("article.post form[action$='/like'] button")
    assert first.page.locator("article.post button[aria-pressed=true]").count() == 1
    first.press("article.post a[href$='#comments']").fill(body="水温八十五度最好。")
    first.press("#comments form.say button").shows("水温八十五度最好。")
    first.open(home).press("main .feed-write a").fill(body="我家的茶席，一点心得。").press(
        "main form button[type=submit]"
    )

    # The shop lets the post show, and puts a member's word away after a complaint.
    case = "main tr:has-text('我家的茶席')"
    desk.open("/console/moderation").press(f"{case} button[formaction$='/dismiss']")
    first.open(home).shows("我家的茶席")
    first.press("#seat ~ .buttons form[action$='/leave'] button")
    eventually(lambda: "为您留" in second.open(link).words(), 60, 1)
    second.press("main .act-bar .btn-primary").shows("春茶小群", "我家的茶席")
    second.press("article.post:has-text('我家的茶席') a.post-report")
    second.page.locator("main input[name=ground]").first.check(force=True)
    second.fill(note="这是广告").press("main form button[type=submit]")
    desk.open("/console/moderation").press(f"{case} button[formaction$='/uphold']")
    assert "我家的茶席" not in second.open(home).words()

    # Closed with its name typed, archived, and kept in the calendar.
    for state in ("closed", "archived"):
        panel = f"main details.confirm:has(input[name=to][value={state}])"
        desk.open(group).tap(f"{panel} summary")
        desk.page.locator(f"{panel} input[name=confirmation]").fill("春茶小群")
        desk.press(f"{panel} button[type=submit]")
    second.open(home).shows("已关闭")
    desk.open("/console/groups/calendar").look()


def poll(shop: LiveServer, group_id: int) -> None:
    """A post with a question in the group."""
    with shop.app.app_context():
        post = posts.write(posts.Draft(PostKind.SURVEY, "喝什么茶？", "选一个。", None, "", "", (group_id,)))
        posts.save_poll(post.id, posts.PollDraft(("白茶", "红茶")))
        posts.publish_now(post.id)
        db.session.commit()


_QUIET_PEOPLE = """
SELECT m.nickname, m.phone, (SELECT external_id FROM "order" o WHERE o.member_id = m.id ORDER BY o.id LIMIT 1)
FROM member m WHERE m.phone IS NOT NULL AND m.enrolled_at IS NOT NULL AND m.merged_into_id IS NULL
  AND EXISTS (SELECT 1 FROM "order" WHERE member_id = m.id) AND NOT EXISTS (SELECT 1 FROM seat WHERE member_id = m.id)
  AND NOT EXISTS (SELECT 1 FROM conversation WHERE member_id = m.id) AND NOT EXISTS (SELECT 1 FROM ticket WHERE member_id = m.id)
ORDER BY m.id LIMIT 3
"""
