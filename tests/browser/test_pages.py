"""Every page of the console's navigation and the members' pages of the demo shop: whole, light enough, and in one language."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import pytest
from sqlalchemy import text

from community.groups import services as groups
from kernel.db import db
from membership.coupons import services as coupons
from membership.gifts import services as gifts
from membership.gifts.models import GiftClaim
from membership.members import services as members
from membership.members.models import Contact
from tests.browser.screen import Screen
from tests.live import LiveServer

pytestmark = pytest.mark.browser

KB = 1024
CONSOLE_MOST, PORTAL_MOST = 300 * KB, 100 * KB
PUSHES = r"/console/pushes/\d+"
# Details behind the lists: the first link on a page to such an address is opened too.
BEHIND = [
    r"/console/members/\d+", r"/console/orders/\d+", r"/console/imports/\d+", r"/console/products/\d+",
    r"/console/tiers/edit", r"/console/groups/\d+", r"/console/groups/\d+/members", r"/console/groups/\d+/links",
    r"/console/groups/\d+/settings", r"/console/groups/new", r"/console/groups/new\?kind=flash",
    r"/console/posts/\d+", r"/console/posts/new", r"/console/posts/calendar", r"/console/offers/\d+",
    r"/console/offers/new", r"/console/gifts/\d+", r"/console/gifts/new", r"/console/calls/\d+",
    r"/console/scripts/\d+", r"/console/scripts/new", r"/console/audiences/new", r"/console/pushes/new",
    PUSHES, r"/console/pushes/\d+/deliveries(\?.*)?", r"/console/channels/\d+", r"/console/staff/new",
    r"/console/staff/\d+", r"/console/password",
]  # fmt: skip
# Latin words that stand on Chinese pages as they are.
SAME = re.compile(
    r"^(VIP\d?|CSV|SVG|PNG|QR|SKU|API|URL|SMTP|Webhook|English|EN|OK|Siyu|GB18030|UTF-8|JSON|"
    r"WeCom|Owner|owner|Esc|Enter|[a-z]|[A-Z]|[A-Z0-9 .,'’&/+*()\-–:%\"#!?]+)$"
)


def sign_in(screen: Screen, shop: LiveServer) -> Screen:
    screen.open("/console/sign-in")
    screen.fill(email=shop.email, password=shop.password)
    return screen.press("main form[action$='/sign-in'] button")


def english(screen: Screen) -> list[str]:
    """Words of the interface that are still English on a Chinese page: those that stand alone, or make a sentence."""
    found = []
    for said in screen.page.evaluate(_TEXTS):
        one = said.strip()
        if not re.search(r"[A-Za-z]{2}", one) or SAME.match(one):
            continue
        alone = not re.search(r"[\u3400-\u9fff]", one) and re.fullmatch(r"[A-Z][a-z]+(?: [A-Za-z’'“”\-]+)*[.:…]?", one)
        sentence = re.search(r"\b[A-Za-z]?[a-z]+(?:,? [a-z]{2,}){2,}", one)
        if alone or sentence:
            found.append(one)
    return found


# Every text and label that a reader meets, except what the shop itself has typed or an order brought along.
_TEXTS = """() => {
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const found = [];
  const kept = "script, style, code, textarea, [lang=en], [translate=no], .as-typed, .brand, kbd, datalist, time, noscript";
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const holder = node.parentElement;
    if (holder.closest(kept)) continue;
    if (node.data.trim()) found.push(node.data);
  }
  for (const one of document.querySelectorAll("[placeholder], [aria-label], [title]"))
    if (!one.closest("[lang=en]"))
      for (const name of ["placeholder", "aria-label", "title"]) if (one.getAttribute(name)) found.push(one.getAttribute(name));
  return found;
}"""


class Scales:
    """What a page costs to load with nothing kept from before, as it comes over the wire."""

    def __init__(self, screen: Screen) -> None:
        self.page = screen.page
        self.bytes = 0
        self.wire = screen.context.new_cdp_session(screen.page)
        self.wire.send("Network.enable")
        self.wire.send("Network.setCacheDisabled", {"cacheDisabled": True})
        self.wire.on("Network.loadingFinished", self._add)

    def _add(self, said: dict[str, Any]) -> None:
        self.bytes += int(said["encodedDataLength"])

    def weigh(self, open_page: Callable[[], object]) -> int:
        self.bytes = 0
        open_page()
        self.page.wait_for_load_state("networkidle")
        return self.bytes


def visit(screen: Screen, scales: Scales | None, address: str, most: int, name: str = "") -> list[str]:
    """Open a page and say what is wrong with it, with scales also whether it weighs too much."""
    wrong = []
    try:
        if scales is None:
            screen.open(address)
        elif (size := scales.weigh(lambda: screen.open(address))) > most:
            wrong.append(f"{address} weighs {size / KB:.0f} KB")
    except AssertionError as error:
        wrong.append(str(error).splitlines()[0])
        screen.wrong.clear()
    if screen.locale.startswith("zh") and (left := english(screen)):
        wrong.append(f"{address} says in English: {sorted(set(left))[:8]}")
    screen.shot(name or re.sub(r"\W+", "-", re.sub(r"\d+", "n", address)).strip("-") or "root")
    return wrong


def links_of(screen: Screen, selector: str = "a[href]") -> list[str]:
    found = screen.page.eval_on_selector_all(selector, "found => found.map((one) => one.href)")
    here = urlsplit(screen.page.url).netloc
    parts = [urlsplit(one) for one in found]
    return [p.path + (f"?{p.query}" if p.query else "") for p in parts if p.netloc == here]


@pytest.mark.parametrize("locale", ["zh-CN", "en-GB"])
@pytest.mark.parametrize("shape", ["desktop", "phone"])
def test_console_pages(demo_shop: LiveServer, windows: Callable[..., Screen], shape: str, locale: str) -> None:
    screen = windows(demo_shop.url, shape, locale)
    screen.open("/console/sign-in")
    screen.shot("console-sign-in")
    sign_in(screen, demo_shop)
    # A page weighs the same in every language and shape, so one is put on the scales.
    scales = Scales(screen) if (shape, locale) == ("desktop", "zh-CN") else None
    waiting, known, behind = ["/console/"], {"/console/"}, list(BEHIND)
    wrong: list[str] = []
    while waiting:
        address = waiting.pop(0)
        wrong += visit(screen, scales, address, CONSOLE_MOST)
        fresh = links_of(screen, ".rail-link, .rail-sublink")
        everything = links_of(screen)
        for pattern in list(behind):
            # Of pushes several: only one that has begun leads on to its deliveries.
            if hits := [one for one in everything if re.fullmatch(pattern, one)]:
                behind.remove(pattern)
                fresh += dict.fromkeys(hits) if pattern == PUSHES else hits[:1]
        for one in fresh:
            if one not in known:
                known.add(one)
                waiting.append(one)
    assert len(known) > 30
    assert not wrong, "\n".join(wrong)
    assert behind == [], f"no page leads to {behind}"


@pytest.mark.parametrize("locale", ["zh-CN", "en-GB"])
@pytest.mark.parametrize("shape", ["desktop", "phone"])
def test_member_pages(demo_shop: LiveServer, windows: Callable[..., Screen], shape: str, locale: str) -> None:
    screen = windows(demo_shop.url, shape, locale)
    with demo_shop.app.app_context():
        member, phone, number, group, offer = db.session.execute(text(_SOMEBODY)).one()
        other = db.session.execute(text(_OUTSIDER), {"group": group}).scalar_one()
        gift = db.session.get_one(GiftClaim, db.session.execute(text(_GIFT), {"member": member}).scalar_one())
        addresses = {
            "join": groups.invitation_path(other, group),
            "link": "/j/"
            + db.session.execute(text("SELECT token FROM join_link WHERE group_id = :g"), {"g": group}).scalar_one(),
            "group": "/groups/"
            + db.session.execute(text('SELECT public_id FROM "group" WHERE id = :g'), {"g": group}).scalar_one(),
            "coupon": coupons.personal_path(other, offer),
            "gift": gifts.path_of(gift),
            "unsubscribe": members.unsubscribe_path(member, Contact.INBOX),
        }
    scales, wrong = Scales(screen) if (shape, locale) == ("phone", "zh-CN") else None, []
    for name in ("join", "link", "coupon", "gift", "unsubscribe"):
        wrong += visit(screen, scales, addresses[name], PORTAL_MOST, f"member-{name}-stranger")
    wrong += visit(screen, scales, "/me/sign-in", PORTAL_MOST, "member-sign-in")
    screen.open("/me/sign-in").fill(phone=phone, order_number=number)
    screen.press("main form[action$='/me/sign-in'] button[type=submit]")
    assert screen.path == "/me/", screen.words()
    for path in (
        "/me/",
        "/me/coupons",
        "/me/gifts",
        "/me/messages",
        "/me/orders",
        "/me/profile",
        "/me/choices",
        "/me/tier",
    ):
        if path in ("/me/gifts", "/me/tier") and path not in links_of(screen.open("/me/")):
            continue
        wrong += visit(screen, scales, path, PORTAL_MOST, "member" + path.replace("/", "-").rstrip("-"))
    for name in ("group", "join", "gift"):
        wrong += visit(screen, scales, addresses[name], PORTAL_MOST, f"member-{name}")
    own = next(one for one in links_of(screen.open("/me/coupons")) if one.startswith("/coupon/"))
    wrong += visit(screen, scales, own, PORTAL_MOST, "member-coupon-own")
    for name, dead in (("tampered", addresses["join"][:-2] + "xx"), ("nowhere", "/nowhere")):
        answer = screen.page.goto(dead)
        assert answer is not None
        assert 400 <= answer.status < 500, dead
        screen.look()
        if locale.startswith("zh"):
            wrong += [f"{name} says in English: {left}" for left in english(screen)]
        screen.shot(f"member-{name}")
    assert not wrong, "\n".join(wrong)


# A member with a seat, a gift of that group and a coupon; an offer that anybody may claim.
_SOMEBODY = """
SELECT m.id, m.phone, (SELECT external_id FROM "order" o WHERE o.member_id = m.id ORDER BY o.id LIMIT 1), s.group_id,
       (SELECT min(o.id) FROM offer o JOIN offer_version v ON v.id = o.version_id
        WHERE o.state = 'active' AND v.min_rank = 0 AND v.group_id IS NULL)
FROM member m JOIN seat s ON s.member_id = m.id AND s.state = 'taken' JOIN gift_claim c ON c.member_id = m.id AND c.group_id = s.group_id
WHERE m.phone IS NOT NULL AND EXISTS (SELECT 1 FROM coupon WHERE member_id = m.id)
  AND EXISTS (SELECT 1 FROM "order" WHERE member_id = m.id)
ORDER BY m.id LIMIT 1
"""
_OUTSIDER = """
SELECT m.id FROM member m WHERE m.merged_into_id IS NULL AND m.rank > 0
  AND NOT EXISTS (SELECT 1 FROM seat WHERE member_id = m.id AND group_id = :group)
  AND NOT EXISTS (SELECT 1 FROM coupon WHERE member_id = m.id)
ORDER BY m.id LIMIT 1
"""
_GIFT = "SELECT id FROM gift_claim WHERE member_id = :member ORDER BY id LIMIT 1"
