"""Issue 5's paths by hand, in the demo shop: members on phones, in Chinese, and the shop's people on a desk.

A group from a template to the archive; the desk's inbox by keyboard; a ticket from the phone over the board."""

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
    """Members of the demo shop who have no seat in any group and have asked nothing."""
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
    first.tap("#seat ~ details.confirm summary").press("#seat ~ details.confirm form[action$='/leave'] button")
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


class Keys:
    """Somebody at a desk who uses no mouse. Wherever the focus rests it can be seen."""

    def __init__(self, screen: Screen) -> None:
        self.screen = screen
        self.press = screen.page.keyboard.press
        self.type = screen.page.keyboard.type

    def to(self, selector: str, back: bool = False) -> Keys:
        """Go on with Tab, or back, until the focus is on something, and see it at every stop."""
        self.screen.quiet()
        sought = self.screen.page.locator(selector).first
        for _step in range(60):
            self.press("Shift+Tab" if back else "Tab")
            # What is focused below the edge is scrolled to, and that may take a moment.
            self.screen.page.wait_for_function(_FOCUS_SEEN)
            if sought.evaluate("one => one === document.activeElement"):
                return self
        raise AssertionError(f"{self.screen.path}: no Tab leads to {selector}")

    def past_the_menu(self) -> Keys:
        """The first stop of every page leads to its content."""
        self.to("a[href='#content']")
        self.press("Enter")
        return self

    def enter(self) -> Screen:
        """Follow the link or press the button that has the focus."""
        return self.screen.enter()


def test_a_conversation_from_the_bot_to_five_stars(
    demo_shop: LiveServer, windows: Callable[..., Screen], customers: list[Customer]
) -> None:
    """Nobody of the demo shop is on, at no hour: the bot speaks first, and what people are asked waits for whoever takes it."""
    desk = at_the_desk(demo_shop, windows(demo_shop.url, "desktop", "zh-CN"))
    phone, keys = in_hand(windows(demo_shop.url, "phone", "zh-CN"), customers[2]), Keys(desk)

    # The bot answers what it knows; then the customer would rather have a person.
    phone.open("/ask").fill(words="什么时候发货").press("#write button[type=submit]").shows("店铺机器人")
    phone.press("form[action$='/person'] button").fill(words="抱枕套能寄到月球背面吗")
    phone.press("#write button[type=submit]").shows("抱枕套能寄到月球背面吗")

    # From the queue into the answer with the keyboard alone: the words begun, then a saved one where the cursor stood.
    desk.open("/console/inbox?view=waiting")
    keys.past_the_menu().to(f".queue-item:has-text('{customers[2].name}')").enter().shows("抱枕套能寄到月球背面吗")
    keys.past_the_menu().to("form[action$='/take'] button").enter()
    keys.past_the_menu().to("#phrase-words").type("照片")
    # The scripts of every type of customer, whatever this one is.
    keys.to("#phrase-type").press("Home")
    answer = "form[data-answer] textarea"
    keys.to(answer).type("月球暂时不送。急的话")
    for _letter in "急的话":
        keys.press("ArrowLeft")
    keys.to("#phrases a.phrase:has-text('请拍照片')", back=True).press("Enter")
    assert desk.page.locator(answer).evaluate("one => one === document.activeElement")
    keys.type("（不急）")
    words = desk.page.locator(answer).input_value()
    assert re.fullmatch("月球暂时不送。.+您好，麻烦拍一张全貌.+（不急）急的话", words), words
    keys.to("form[data-answer] button[type=submit]").enter()
    phone.shows("月球暂时不送。", "（不急）急的话")

    # Somebody else writes while the keyboard is in the queue: it is drawn anew, and the focus stays where it was.
    desk.open("/console/inbox?view=all")
    here = f".queue-item:has-text('{customers[2].name}')"
    keys.past_the_menu().to(here)
    phone.fill(words="好的，谢谢").press("#write button[type=submit]")
    desk.shows("好的，谢谢")
    assert desk.page.locator(here).evaluate("one => one === document.activeElement")

    # Ended, which the phone says by itself, and judged.
    keys.enter()
    keys.past_the_menu().to("form[action$='/close'] button").enter()
    phone.shows("已结束，说说感受吧。").press("main .talk-system a").check("stars", "5")
    phone.press("main form[action$='/stars'] button[type=submit]").shows("您评了 5 分")
    assert "5" in desk.open("/console/inbox?view=closed").page.locator(here).inner_text()


def test_a_ticket_from_the_phone_over_the_board(
    demo_shop: LiveServer, windows: Callable[..., Screen], customers: list[Customer]
) -> None:
    desk = at_the_desk(demo_shop, windows(demo_shop.url, "desktop", "zh-CN"))
    phone = in_hand(windows(demo_shop.url, "phone", "zh-CN"), customers[2])
    words = f"{customers[2].name}的盒子压坏了。"
    phone.open("/tickets/new").press("main a[href*='/tickets/new/feedback']").fill(body=words)
    phone.press("main form .btn-big").shows(words)

    # Over the board: dragged, then chosen below the card, which needs no mouse.
    card, column = f".board-card:has-text('{words}')", ".board-column[data-column={}]"
    desk.open("/console/tickets/board?kind=feedback")
    assert desk.page.locator(column.format("open")).locator(card).count() == 1
    with desk.page.expect_navigation():
        desk.page.locator(card).drag_to(desk.page.locator(column.format("waiting")))
    assert desk.look().page.locator(column.format("waiting")).locator(card).count() == 1
    desk.page.locator(f"{card} select[name=to]").select_option("open")
    desk.press(f"{card} form button")
    assert desk.page.locator(column.format("open")).locator(card).count() == 1

    # Through the steps of its kind, the first of which asks for something.
    desk.press(f"{card} a.board-title").press("main .step-form .btn-primary")
    assert desk.page.locator("#ask_about[aria-invalid=true]").count() == 1
    desk.choose("ask_about", "parcel").press("main .step-form .btn-primary").fill(ask_to_whom="仓库")
    desk.press("main .step-form .btn-primary")
    assert desk.page.locator("main .ticket-steps .step-done").count() == 2
    desk.press("main form[action$='/state']:has(input[value=resolved]) button")
    phone.open(phone.path).check("stars", "4").press("#rating button[type=submit]").shows("您评了 4 分")
    assert desk.open("/console/tickets/board").page.locator(column.format("resolved")).locator(card).count() == 1


# Something on the screen shows where the focus is.
_FOCUS_SEEN = """() => {
  const one = document.activeElement, style = getComputedStyle(one), box = one.getBoundingClientRect();
  const ring = style.outlineStyle !== "none" || style.boxShadow !== "none";
  return one === document.body || ring && box.width > 0 && box.bottom > 0 && box.top < innerHeight;
}"""
_QUIET_PEOPLE = """
SELECT m.nickname, m.phone, (SELECT external_id FROM "order" o WHERE o.member_id = m.id ORDER BY o.id LIMIT 1)
FROM member m WHERE m.phone IS NOT NULL AND m.enrolled_at IS NOT NULL AND m.merged_into_id IS NULL
  AND EXISTS (SELECT 1 FROM "order" WHERE member_id = m.id) AND NOT EXISTS (SELECT 1 FROM seat WHERE member_id = m.id)
  AND NOT EXISTS (SELECT 1 FROM conversation WHERE member_id = m.id) AND NOT EXISTS (SELECT 1 FROM ticket WHERE member_id = m.id)
ORDER BY m.id LIMIT 3
"""
