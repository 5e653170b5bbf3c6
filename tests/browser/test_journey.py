"""The main job by hand: the console on a desk, the member on a phone, everything else by the shop's own workers and ticker."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import pytest
from PIL import Image
from sqlalchemy import text

from kernel import clock
from kernel import shop as settings
from kernel.db import db, transaction
from tests.browser.screen import Screen
from tests.live import LiveServer, eventually

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def shop() -> Iterator[LiveServer]:
    """An empty shop of this module's own, whose numbers nobody else changes."""
    with LiveServer() as server:
        yield server
        assert server.process is not None
        assert server.process.poll() is None, server.said()


@dataclass(frozen=True)
class Words:
    """What a reader of one language is told at the turning points."""

    reached: str
    joined: str
    mine: str
    already: str
    finished: str


ZH = Words("已接通", "您已进群", "领取成功", "您已经领过了", "已完成")
EN = Words("Reached", "You are in.", "It is yours", "Already yours", "Finished")


# ── What comes from outside ─────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Customer:
    """Somebody whose first order is long done and whose second parcel arrived yesterday."""

    nickname: str
    phone: str
    number: str


LIME = Customer("青柠", "+8610023450001", "LIME")
MANGO = Customer("芒果", "+8610023450002", "MANGO")
PLUM = Customer("Plum", "+8610023450003", "PLUM")


def order_file(*customers: Customer) -> bytes:
    """A file in Siyu's own format, in GBK as a spreadsheet in China saves it: two orders for each customer."""
    today = clock.local(clock.now()).replace(hour=9, minute=30)
    lines = [
        "order_no,placed_at,state,paid_amount,sku,quantity,unit_price,paid_at,delivered_at,completed_at,postage,buyer_phone,buyer_nickname,title"
    ]

    def at(days: int) -> str:
        return (today - timedelta(days=days)).strftime("%Y-%m-%d %H:%M")

    for one in customers:
        tail = f"{one.phone},{one.nickname},白毫银针 50g"
        lines.append(
            f"{one.number}-1,{at(60)},completed,530.00,TEA-01,1,520.00,{at(60)},{at(57)},{at(50)},10.00,{tail}"
        )
        lines.append(f"{one.number}-2,{at(4)},delivered,178.00,TEA-01,1,168.00,{at(4)},{at(1)},,10.00,{tail}")
    return ("\n".join(lines) + "\n").encode("gb18030")


def picture() -> bytes:
    made = io.BytesIO()
    Image.new("RGB", (960, 720), "#5e8c61").save(made, "JPEG")
    return made.getvalue()


class Till:
    """The web shop's own program, which holds an API key."""

    def __init__(self, screen: Screen, token: str) -> None:
        self.requests = screen.context.request
        self.site = screen.site
        self.headers = {"Authorization": f"Bearer {token}"}

    def post(self, path: str, body: dict[str, Any], expect: int = 200) -> dict[str, Any]:
        answer = self.requests.post(f"{self.site}/api/v1/{path}", data=body, headers=self.headers)
        assert answer.status == expect, (path, answer.status, answer.text())
        return dict(answer.json())


def tomorrow() -> datetime:
    """Noon of tomorrow, on the shop's clock."""
    return clock.local(clock.now() + timedelta(days=1)).replace(hour=12, minute=0, second=0, microsecond=0)


def come(shop: LiveServer, post: str, push: str) -> None:
    """The hour for which a post and a push are scheduled is there."""
    posted, pushed = post.rsplit("/", 1)[1], push.rsplit("/", 1)[1]
    with shop.app.app_context():
        for statement, number in (
            ("UPDATE post SET publish_at = now() WHERE id = :id", posted),
            ("UPDATE post_group SET published_at = now() WHERE post_id = :id", posted),
            ("UPDATE push_run SET scheduled_at = now() WHERE push_id = :id", pushed),
        ):
            assert db.session.execute(text(statement), {"id": int(number)}).rowcount == 1
        db.session.commit()


def calling_hour(shop: LiveServer, customer: Customer) -> None:
    """The hour at which a customer is to be called is there. At night and before ten it would be hours away."""

    def due() -> bool:
        with shop.app.app_context():
            found = db.session.execute(
                text("""UPDATE call_task SET due_at = least(due_at, now()) WHERE state = 'open'
                        AND member_id = (SELECT id FROM member WHERE nickname = :nickname)"""),
                {"nickname": customer.nickname},
            )
            db.session.commit()
            return bool(found.rowcount)

    eventually(due)


def typed(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M")


# ── The console ─────────────────────────────────────────────────────────────────────────────────────────────────────


class Console:
    """Staff at a desk."""

    def __init__(self, screen: Screen, words: Words) -> None:
        self.screen = screen
        self.words = words
        self.page = screen.page

    def sign_in_by_keyboard(self, email: str, password: str) -> None:
        """Sign in without touching the mouse; every place where the focus rests can be seen."""
        keys = self.page.keyboard
        self.screen.open("/console/sign-in")
        assert self.focused()["name"] == "email"
        keys.type(email)
        keys.press("Tab")
        assert self.focused()["name"] == "password"
        keys.type(password)
        keys.press("Tab")
        here = self.focused()
        assert here["tag"] == "BUTTON"
        assert here["ring"], "nothing shows where the focus is"
        assert self.screen.enter().path == "/console/"
        # The first key leads past the menu, and a letter after g leads to a page.
        keys.press("Tab")
        assert self.focused()["href"].endswith("#content")
        with self.page.expect_navigation():
            # Both at once: the second counts only for a moment after the first.
            keys.type("gd")
        assert self.screen.look().path == "/console/calls"
        keys.press("/")
        assert self.focused()["name"] == "q"

    def focused(self) -> dict[str, Any]:
        return dict(
            self.page.evaluate(
                """() => { const one = document.activeElement, style = getComputedStyle(one);
                return {tag: one.tagName, name: one.name ?? "", href: one.href ?? "",
                        ring: style.outlineStyle !== "none" || style.boxShadow !== "none"}; }"""
            )
        )

    def make_key(self) -> str:
        self.screen.open("/console/api-keys").fill(name="Web shop")
        for scope in ("orders:write", "coupons:redeem"):
            self.screen.check("scopes", scope)
        self.screen.press("main form[action$='/api-keys'] button[type=submit]")
        found = re.search(r"siyu_[\w-]{40,}", self.page.content())
        assert found
        return found[0]

    def take_in(self, name: str, content: bytes) -> Screen:
        """Upload an order file, look at what was understood, and let it be taken in."""
        self.screen.open("/console/imports")
        self.page.set_input_files("main input[name=file]", {"name": name, "mimeType": "text/csv", "buffer": content})
        self.screen.fill(source="shop")
        self.screen.press("main form[enctype] button[type=submit]")
        self.screen.shows("GB18030", "白毫银针 50g") if b"\xb0" in content else None
        self.screen.press("main form[action$='/start'] button")
        self.page.locator("main a[href*='/console/orders?']").wait_for()
        return self.screen.look()

    def figures(self) -> list[int]:
        """The numbers of the row of figures on a page."""
        texts = self.page.locator("main .stats").first.locator(".stat-value").all_inner_texts()
        return [int(re.sub(r"[^\d]", "", text) or 0) for text in texts]

    def make_gift(self, name: str) -> None:
        self.screen.open("/console/gifts/new").fill(name=name, stock="3", value="15")
        self.screen.press("main form[enctype] .form-foot .btn-primary")
        self.screen.shows(name).shot("gift")

    def make_offer(self, name: str, value: str) -> None:
        """An offer of so many yuan off, from 99 on, running at once; the sentence follows what is typed."""
        self.screen.open("/console/offers/new")
        self.screen.fill(name=name, value=value, min_spend="99", valid_days="14", stock="100")
        self.page.locator("#sentence").get_by_text(f"¥{value}").first.wait_for()
        self.screen.shot("offer-new")
        self.screen.press("main button[name=start]")
        self.screen.shows(name).shot("offer")

    def personal_link(self, customer: Customer, offer: str) -> str:
        """Find a customer by the tail of their phone, and make their own link to a coupon."""
        self.screen.open("/console/members").fill(q=customer.phone[-4:])
        self.screen.enter()
        self.screen.press(f"main table a:has-text('{customer.nickname}')")
        self.screen.press("main a[href*='/offers/grants/']")
        self.screen.press(f"main tr:has-text('{offer}') a[href*='offer=']")
        return str(self.page.locator("main input[readonly]").input_value())

    def make_group(self, name: str, gift: str) -> str:
        """Make a regular group and open it; returns its page."""
        self.screen.open("/console/groups/new")
        self.screen.press("main a[href*='kind=regular']")
        self.screen.fill(
            name=name, intro="每周一条泡茶心得。", welcome_post="欢迎，先看置顶。", capacity="3", seats_each="2"
        )
        self.screen.choose("welcome_gift_id", label=gift)
        self.screen.press("main form[enctype] button[type=submit]")
        self.screen.press("main form[action$='/state']:has(input[value=open]) button")
        self.page.locator("main form[action$='/state'] input[value=paused]").wait_for(state="attached")
        return self.screen.path

    def call(self, customer: Customer, group: str) -> str:
        """Call a customer, record that they agreed to hear of offers, and invite them; returns their personal link."""
        self.screen.open("/console/calls")
        self.screen.press(f"main table a:has-text('{customer.nickname}')")
        self.screen.shows("白毫银针 50g", "¥178.00")
        self.screen.shot("call")
        self.screen.check("outcome", "reached").check("offers", "yes").check("ways", "inbox")
        self.screen.choose("satisfaction", "5")
        self.screen.press("main form[action$='/outcome'] button[type=submit]")
        self.screen.shows(self.words.reached)
        self.screen.choose("group", label=group)
        self.screen.press("main form[action$='/invite'] button[type=submit]")
        self.screen.shot("invitation")
        return str(self.page.locator("main #invite input[readonly]").input_value())

    def schedule_post(self, title: str, link: str, groups: list[str], at: datetime) -> str:
        """Write a tip with a picture, watch its preview, and schedule it; returns its page."""
        self.screen.open("/console/posts/new")
        self.screen.check("kind", "tip")
        self.screen.fill(title=title, body="先温杯，**再投茶**。", link_url=link)
        self.screen.quiet().page.set_input_files(
            "main input[name=file]", {"name": "tea.jpg", "mimeType": "image/jpeg", "buffer": picture()}
        )
        self.page.locator("#picture-field .picture-kept img").wait_for()
        for group in groups:
            self.screen.quiet().page.locator("main label.check", has_text=group).locator("input").check()
        self.screen.fill(publish_at=typed(at))
        self.page.locator("#preview img").wait_for()
        self.page.locator("#preview").get_by_text(title).first.wait_for()
        self.screen.shot("post-editor")
        self.screen.press("main .btn[name=act][value=schedule]")
        return self.screen.path

    def schedule_push(self, name: str, bought: str, offer: str, at: datetime) -> str:
        """Write a repurchase push with a coupon, read whom it reaches, and schedule it; returns its page."""
        self.screen.open("/console/pushes/new")
        self.screen.fill(name=name, subject="{nickname}，春茶到了", body="为您留了一张{coupon_name}。")
        for place, (kind, field, value) in enumerate((("bought", "words", bought), ("last_order", "to_days", "90"))):
            self.screen.choose("rules-add", kind).tap("main .btn[name=build][value='add:']")
            # A new rule takes the cursor once it has settled; whoever types sooner finds the words in another field.
            self.page.locator(f"main [name=rules-{place}-{field}]").wait_for()
            self.screen.fill(**{f"rules-{place}-{field}": value})
        self.screen.choose("offer_id", label=offer).check("moment", "at").fill(scheduled_at=typed(at))
        self.page.locator("#check .message-preview").get_by_text("春茶到了").first.wait_for()
        # The count follows what is typed, without a button.
        self.page.locator("#check .reach-count strong").filter(has_text=re.compile(r"^\s*1\s*$")).wait_for()
        # Enter in a field looks again and sends nothing.
        self.screen.quiet().page.locator("main [name=name]").focus()
        assert self.screen.enter().path == "/console/pushes/new"
        self.screen.shot("push-editor")
        self.screen.press("main .btn[name=act][value=schedule]")
        return self.screen.path

    def wait_for_push(self, path: str) -> None:
        """Stay on the page of a push until it says by itself that it is finished."""
        self.screen.open(path)
        progress = self.page.locator("#progress .progress-head").get_by_text(self.words.finished)
        progress.wait_for()
        self.screen.look()


# ── The phone ───────────────────────────────────────────────────────────────────────────────────────────────────────


class Phone:
    """A member on the bus."""

    def __init__(self, screen: Screen, words: Words) -> None:
        self.screen = screen
        self.words = words
        self.page = screen.page

    def join(self, link: str, group: str, gift: str) -> str:
        """Open an invitation and join with one tap; returns the group's address."""
        self.screen.open(link).shows(group, gift)
        self.big_enough()
        self.screen.shot("join")
        self.screen.press("main form[action*='/g/'] .btn-primary")
        self.screen.shows(self.words.joined, gift)
        self.screen.shot("group")
        return self.screen.path

    def big_enough(self) -> None:
        """What is to be tapped can be hit with a thumb."""
        for button in self.page.locator("main .btn-primary >> visible=true").all():
            box = button.bounding_box()
            assert box, button
            assert box["height"] >= 44, button

    def claim_gift(self, customer: Customer) -> None:
        """Claim the gift that waits in the group and say where it goes."""
        self.screen.press("main a[href*='/gift/']")
        self.screen.shot("gift-offered")
        self.screen.press("main form[action*='/gift/'] .btn-primary")
        self.screen.fill(recipient=customer.nickname, phone=customer.phone, address="样例省演示市某路一号")
        self.screen.press("main form[action$='/address'] .btn-primary")
        self.screen.shot("gift-on-its-way")

    def claim_coupon(self, link: str) -> str:
        """Open a personal link to a coupon and claim it, twice; returns the code."""
        self.screen.open(link)
        self.big_enough()
        self.screen.shot("coupon-offer")
        self.screen.press("main form[action*='/c/'] .btn-primary")
        self.screen.shows(self.words.mine)
        code = str(self.page.locator(".ticket-code").inner_text())
        self.screen.shot("coupon")
        self.page.go_back()
        self.screen.open(link).shows(self.words.already)
        assert self.page.locator(".ticket-code").inner_text() == code
        return code


# ── The journeys ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_job_by_hand(shop: LiveServer, windows: Callable[..., Screen]) -> None:
    console = Console(windows(shop.url, "desktop", "zh-CN"), ZH)
    phone = Phone(windows(shop.url, "phone", "zh-CN"), ZH)
    desk, hand = console.screen, phone.screen
    # Of two people nobody is to be held out: who is follows from the shop's key, and with it one journey in twenty.
    with shop.app.app_context(), transaction():
        settings.put("holdout.percent", 0)
    console.sign_in_by_keyboard(shop.email, shop.password)
    desk.open("/console/").shot("today-empty")
    till = Till(desk, console.make_key())

    # Orders in, and the same file again.
    file = order_file(LIME, MANGO)
    console.take_in("四月订单.csv", file)
    assert console.figures() == [4, 0, 0, 4, 2]
    desk.shot("import")
    console.take_in("四月订单.csv", file)
    assert console.figures() == [0, 4, 0, 0, 0]

    # Tiers: what a change would do, before it is done.
    desk.open("/console/tiers/edit").fill(spend_2="500", spend_3="1500")
    desk.press("main .btn[name=act][value=preview]")
    desk.page.locator("#preview").wait_for()
    desk.shot("tiers-preview")
    desk.press("main #preview button[name=act][value=save]")
    assert desk.path == "/console/tiers"

    # A gift, two offers and a group, then the call, the tap and what is claimed by it.
    console.make_gift("茶样三泡")
    console.make_offer("新人券", "20")
    console.make_offer("回购券", "30")
    console.make_group("春茶群", "茶样三泡")
    calling_hour(shop, LIME)
    group = phone.join(console.call(LIME, "春茶群"), "春茶群", "茶样三泡")
    phone.claim_gift(LIME)
    phone.claim_coupon(console.personal_link(LIME, "新人券"))

    # A post and a push, both for tomorrow. When it is there, the shop's own ticker and workers do the rest, and the feed
    # that is open in the hand shows the post without being loaded anew.
    post = console.schedule_post("水温八十五度", f"{shop.url}/me/", ["春茶群"], tomorrow())
    push = console.schedule_push("春茶回购", "TEA-01", "回购券", tomorrow())
    assert "水温八十五度" not in hand.open(group).words()
    come(shop, post, push)
    hand.shows("水温八十五度")
    seen = hand.page.locator("article.post", has_text="水温八十五度")
    seen.scroll_into_view_if_needed()
    # The phone tells by itself that it was looked at, maybe before anybody could listen.
    eventually(lambda: desk.open(post) and console.figures()[0] == 1, 60, 0.5)
    hand.press("article.post:has-text('水温八十五度') form[action$='/like'] button")
    hand.press("article.post:has-text('水温八十五度') a.btn[href*='/p/']")
    assert hand.path == "/me/"
    desk.open(post)
    assert console.figures()[:3] == [1, 1, 1]
    desk.shot("post")

    # The push: to Lime, who agreed; not to Mango, who was never asked.
    console.wait_for_push(push)
    hand.open("/me/messages").shows("春茶到了", "为您留了一张回购券")
    hand.shot("messages")
    hand.press("main article a.btn-primary[href*='/l/']")
    hand.press("main form[action*='/c/'] .btn-primary")
    code = hand.page.locator(".ticket-code").inner_text()
    basket = {"code": code, "source": "shop", "order": "LIME-3", "amount": 23_800, "postage": 1_000}
    assert till.post("coupons/redeem", basket)["payable"] == 21_800
    assert till.post("coupons/redeem", basket)["replayed"] is True
    now = clock.now().isoformat()
    order = {
        "source": "shop", "order": "LIME-3", "state": "paid", "placed_at": now, "paid_at": now, "paid_amount": 21_800,
        "postage": 1_000, "discount": 3_000, "buyer": {"phone": LIME.phone},
        "lines": [{"sku": "TEA-01", "title": "白毫银针 50g", "quantity": 1, "unit_price": 23_800}],
    }  # fmt: skip
    till.post("orders", order, 201)

    # What came of it.
    eventually(lambda: "¥208.00" in desk.open(push).words(), 120, 1)
    desk.shot("push-result")
    sums = [int(text) for text in desk.page.locator(".sums-table td.num").all_inner_texts()]
    assert sums[-1] == sum(sums[:-1]) == 2
    eventually(lambda: funnel(desk)[-1] == 1, 120, 1)
    assert funnel(desk)[:5] == [2, 1, 1, 1, 1]
    desk.shot("funnel")
    desk.open("/console/").shot("today")

    # The order goes back, and the coupon with it.
    till.post("refunds", {"source": "shop", "refund": "R1", "order": "LIME-3", "amount": 21_800}, 201)
    eventually(
        lambda: code in hand.open("/me/coupons").words() or hand.page.locator("a[href*='/coupon/']").count() == 2,
        120,
        1,
    )
    eventually(lambda: "¥208.00" not in desk.open(push).words(), 120, 1)
    desk.open("/console/members")
    for _again in range(2):
        with desk.page.expect_download() as file_sent:
            desk.tap("main form[action*='/members/export'] button")
        assert file_sent.value.suggested_filename.endswith(".csv")
    desk.press("main table a:has-text('青柠')")
    desk.shot("member")


def funnel(desk: Screen) -> list[int]:
    """The steps of the after-sale funnel."""
    desk.open("/console/funnel")
    cells = desk.page.locator("main .chart-funnel td.num:not(.chart-share)").all_inner_texts()
    return [int(text) for text in cells]


def test_the_job_in_english_without_script(shop: LiveServer, windows: Callable[..., Screen]) -> None:
    """A shorter run in English; the member's phone runs no script at all."""
    console = Console(windows(shop.url, "desktop", "en-GB"), EN)
    phone = Phone(windows(shop.url, "phone", "en-GB", script=False), EN)
    console.sign_in_by_keyboard(shop.email, shop.password)
    console.take_in("orders.csv", order_file(PLUM))
    console.make_gift("Three sips of tea")
    console.make_offer("For newcomers", "20")
    console.make_group("Tea friends", "Three sips of tea")
    calling_hour(shop, PLUM)
    group = phone.join(console.call(PLUM, "Tea friends"), "Tea friends", "Three sips of tea")
    phone.claim_gift(PLUM)
    phone.claim_coupon(console.personal_link(PLUM, "For newcomers"))
    phone.screen.open("/me/choices").shot("choices")
    phone.screen.open(group)
    console.screen.open("/console/funnel").shot("funnel")
