"""Two windows on one form, and one form sent twice: nothing is undone in silence, and nothing is made a second time."""

from __future__ import annotations

import io
import re
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image
from sqlalchemy import event, func, select

from community.activities import services
from community.activities.models import Lottery, Sale, SaleKind
from community.groups import services as groups
from community.groups.models import Group, GroupKind, GroupState, JoinLink, LiveDrop, LiveSession, OutsideCode
from community.moderation.models import Sanction
from community.posts import services as posts
from community.posts.models import Comment, Post, PostKind
from kernel import clock as kernel_clock
from kernel.auth import Role
from membership.coupons import services as coupons
from membership.coupons.models import Coupon, CouponKind, OfferState
from tests.campaigns.test_two_tabs import Sent, fields_of
from tests.conftest import english


def wall(instant: Any) -> str:
    return kernel_clock.local(instant).strftime("%Y-%m-%dT%H:%M")


@pytest.fixture
def live(db: Any, clock: Any, scene: SimpleNamespace) -> LiveSession:
    """A session of tomorrow."""
    scene.group.kind = GroupKind.LIVE
    at = clock.now() + timedelta(days=1)
    return groups.save_session(scene.group, None, "First flush", at, at + timedelta(hours=2))


def test_saves_over_a_colleagues_save(
    db: Any, browse: Any, scene: SimpleNamespace, live: LiveSession, draft: Any, sale_draft: Any
) -> None:
    lottery = services.create(scene.group, draft())
    sale = services.create_sale(scene.group, SaleKind.FLASH_SALE, sale_draft())
    db.session.commit()
    mine, theirs = browse(Role.OWNER), browse(Role.MANAGER)
    group = f"/console/groups/{scene.group.id}"
    # Where it is shown, where it is sent, and what the quicker and the later one type into which field.
    things = [
        (f"{group}/sessions/{live.id}", "", "title", "Quick", "Late"),
        (f"/console/lotteries/{lottery.id}/edit", "", "title", "Quick", "Late"),
        (f"/console/lotteries/{lottery.id}/edit", "", "number_1", "1", "3"),
        (f"/console/sales/{sale.id}/edit", "", "price", "55", "66"),
        (f"/console/sales/{sale.id}/edit", "", "note", "Quick", "Late"),
        ("/console/check-ins", "", "points", "3", "4"),
        ("/console/groups/opening", "", "orders", "20", "40"),
        (f"{group}/friends", "", "days", "3", "9"),
        (group, f"{group}/announcement", "announcement", "Quick", "Late"),
        (f"{group}/voice", "", "member_posts", "off", "open"),
        ("/console/moderation/words", "", "held", "Quick", "Late"),
    ]
    for shown_at, sent_to, name, quick, late in things:
        shown, sent_to = fields_of(mine.get(shown_at).text), sent_to or shown_at
        if shown_at.endswith("/friends"):
            shown |= {"kind": "points", "points": "50"}
        colleague = theirs.post(sent_to, data=shown | {name: quick})
        assert colleague.status_code in (302, 303), (shown_at, colleague.text)
        refused = mine.post(sent_to, data=shown | {name: late})
        assert refused.status_code == 409, shown_at
        assert "Saved meanwhile by Manager." in refused.text, shown_at
        kept = fields_of(refused.text)
        assert (kept[name], fields_of(theirs.get(shown_at).text)[name]) == (late, quick), shown_at
        # Who has seen it and saves once more means it.
        again = mine.post(sent_to, data=shown | {name: late, "edition": kept["edition"]})
        assert again.status_code in (302, 303), shown_at
        assert fields_of(mine.get(shown_at).text)[name] == late, shown_at


def test_a_sale_is_held_after_its_offer(db: Any, browse: Any, scene: SimpleNamespace, sale_draft: Any) -> None:
    sale = services.create_sale(scene.group, SaleKind.FLASH_SALE, sale_draft())
    db.session.commit()
    browser, held = browse(Role.OWNER), []
    address = f"/console/sales/{sale.id}/edit"
    shown = fields_of(browser.get(address).text)

    def note(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        if found := re.search(r'FROM "?(\w+)"?.* FOR NO KEY UPDATE', statement, re.DOTALL):
            held.append(found[1])

    event.listen(db.engine, "before_cursor_execute", note)
    try:
        assert browser.post(address, data=shown | {"price": "55"}).status_code in (302, 303)
    finally:
        event.remove(db.engine, "before_cursor_execute", note)
    # As where it is started: else the two could wait for each other.
    assert list(dict.fromkeys(held)) == ["offer", "sale"]


def picture() -> tuple[io.BytesIO, str]:
    out = io.BytesIO()
    Image.new("RGB", (200, 200), "#000").save(out, "PNG")
    return io.BytesIO(out.getvalue()), "code.png"


def test_forms_sent_twice_make_one(db: Any, clock: Any, browse: Any, scene: SimpleNamespace, live: LiveSession) -> None:
    post = posts.write(posts.Draft(PostKind.TIP, "Tea", "Water at 85 degrees.", group_ids=(scene.group.id,)))
    posts.publish_now(post.id)
    db.session.commit()
    group, browser = f"/console/groups/{scene.group.id}", browse(Role.OWNER)
    later = wall(clock.now() + timedelta(hours=5))
    sale = {"title": "Mug", "product_id": str(scene.mug.id), "price": "60", "ends_at": later, "stock": "3"}
    # What is made; where its form is shown and sent; what is typed, and what makes it another one.
    forms: list[tuple[Any, str, str, dict[str, Any], dict[str, str]]] = [
        (
            LiveSession,
            f"{group}/sessions",
            "",
            {"title": "Second flush", "starts_at": wall(clock.now()), "ends_at": later},
            {"title": "Third"},
        ),
        (
            LiveDrop,
            f"{group}/sessions",
            f"{group}/sessions/{live.id}/drops",
            {"title": "Mug", "minute": "3", "offer_id": str(scene.offer.id)},
            {"minute": "9"},
        ),
        (
            Lottery,
            f"{group}/lotteries/new",
            "",
            {"title": "Draw", "closes_at": later, "prize_1": f"gift:{scene.gift.id}", "number_1": "1"},
            {"title": "Another"},
        ),
        (Sale, f"{group}/sales/new?kind=flash_sale", "", sale, {"title": "Another"}),
        (Sale, f"{group}/sales/new?kind=group_price", "", sale | {"stock": "", "start": "1"}, {"price": "70"}),
        (JoinLink, f"{group}/links", "", {"name": "Parcel", "source": "parcel"}, {"name": "Till"}),
        (OutsideCode, f"{group}/codes", "", {"platform": "wecom", "name": "One"}, {"name": "Two"}),
        (Group, f"{group}/copy", "", {"name": "Copy"}, {"name": "Second copy"}),
        (
            Sanction,
            f"/console/members/{scene.ann.id}/sanction",
            "",
            {"kind": "silence", "reason": "Noise"},
            {"days": "1"},
        ),
        (Comment, f"/console/posts/{post.id}", f"/console/posts/{post.id}/comments", {"body": "Yes"}, {"body": "No"}),
        (Post, f"/console/posts/{post.id}", f"/console/posts/{post.id}/use-again", {}, {"why": "meant"}),
    ]
    for table, shown_at, sent_to, typed, other in forms:
        page, sent_to = Sent(), sent_to or shown_at
        page.feed(browser.get(shown_at).text)
        # Of several forms of a page, the one that has what is typed.
        shown = max((form for form in page.forms if "once" in form), key=lambda form: len(form.keys() & typed.keys()))

        def send(values: dict[str, Any], url: str = sent_to, table: Any = table) -> Any:
            files = {"picture": picture()} if table is OutsideCode else {}
            return browser.post(url, data={**values, **files})

        count = select(func.count()).select_from(table)
        before, sent = db.session.scalar(count), shown | typed
        refused = send(sent | dict.fromkeys(typed, "")) if typed else None
        assert refused is None or refused.status_code == 422, shown_at
        first, second = send(sent), send(sent)
        assert (first.status_code in (302, 303), second.status_code) == (True, 302), (shown_at, first.text)
        assert db.session.scalar(count) == before + 1, shown_at
        assert "Nothing was done a second time" in browser.get(second.location).text, shown_at
        # Gone back to and filled in otherwise, it is meant.
        assert send(sent | other).status_code in (302, 303), shown_at
        assert db.session.scalar(count) == before + 2, shown_at


def test_a_coupon_with_time_of_its_own_is_claimed_in_a_closed_group_and_staff_see_it(
    db: Any, clock: Any, browse: Any, scene: SimpleNamespace
) -> None:
    until = clock.now() + timedelta(days=1)
    terms: dict[str, Any] = {"kind": CouponKind.AMOUNT, "value": 500, "valid_days": 7, "group_id": scene.group.id}
    coupons.create(coupons.Draft(name="Promised", claim_until=until, **terms), OfferState.ACTIVE)
    coupons.create(coupons.Draft(name="Not begun", claim_from=until, **terms), OfferState.ACTIVE)
    groups.change_state(scene.group, GroupState.CLOSED)
    console, page = f"/console/groups/{scene.group.id}", f"/groups/{scene.group.public_id}"
    said = "1 coupon can still be claimed by its members"
    owner, phone = browse(Role.OWNER), english(scene.phone)
    assert said in owner.get(console).text
    shown = phone.get(page).text
    assert "Claim it until" in shown
    (address,) = re.findall(rf'action="({page}/coupons/[^"]+)"', shown)
    assert phone.post(address).status_code == 303
    clock.at(until)
    # The other one runs by now.
    assert said in owner.get(console).text
    assert phone.post(address).status_code == 303
    assert db.session.scalar(select(func.count()).select_from(Coupon)) == 1
