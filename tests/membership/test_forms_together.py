"""What two colleagues write at once, where a row is and where none is; forms that are sent twice; and what no form takes."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import Select, func, select

from kernel import clock as kernel_clock
from kernel.audit import AuditEntry
from kernel.auth import Role
from kernel.forms import is_visible
from membership.coupons.models import ClaimLink, CodePool, CouponKind
from membership.coupons.services import offers
from membership.gifts import services as gifts
from membership.gifts.models import GiftKind
from membership.members import services as members
from membership.members.models import Channel, Member, Note
from membership.orders.feeds.signatures import Kind
from membership.orders.formats import mapped
from membership.orders.formats.siyu import TEMPLATE
from membership.orders.models import ImportRun, OrderConnection
from membership.orders.services import connections, mappings
from membership.points import rules as points_rules
from membership.points import services as points
from membership.points.models import PointsBatch, PointsReward
from membership.products.models import Product
from membership.tiers import rules as tier_rules
from membership.tiers import services as tiers
from membership.tiers.models import TierDraft
from tests.campaigns.test_two_tabs import Sent
from tests.conftest import english

HEADING = ("Number", "Paid", "When")
COLUMNS = {"order_no": "Number", "paid_amount": "Paid", "placed_at": "When"}


def form_with(page: str, *names: str) -> dict[str, Any]:
    """What the first form of a page that has these fields sends as it stands."""
    reader = Sent()
    reader.feed(page)
    found = next(form for form in reader.forms if set(names) <= form.keys())
    return {name: values[0] if len(values) == 1 else values for name, values in found.items()}


def made(action: str) -> Select[Any]:
    return select(AuditEntry.id).where(AuditEntry.action == action)


@pytest.fixture
def person(db: Any) -> Member:
    found, _fresh = members.find_or_make([(Channel.PHONE, "+8612600001234")], "Lin", source="counter")
    return found


def test_what_colleagues_write_together_is_never_undone_in_silence(
    db: Any, staff_client: Any, make_staff: Any, person: Member
) -> None:
    colleague = make_staff(Role.OWNER, email="xiao-lin@shop.example", name="Xiao Lin")
    mine, theirs = english(staff_client(Role.OWNER)), english(staff_client(person=colleague))
    product = Product(source="jd", sku="TEA-1", title="Green tea", created_at=kernel_clock.now())
    db.session.add(product)
    connection, _secret = connections.set_up("Shop", Kind.STANDARD, "shop")
    mapping = mappings.save("List", HEADING, mapped.plan_of({"columns": COLUMNS, "state": "paid"}))
    points.save_program(replace(points_rules.STANDARD, enabled=True, effective_from=kernel_clock.now()))
    gift = gifts.create(gifts.Draft("Cup", GiftKind.PHYSICAL, stock=9))
    claim = gifts.offer_gift(gift.id, person.id, "hand:1")
    assert claim is not None
    gifts.claim(claim.id, person.id, "Lin", "12600001234", "Hangzhou, Sample Road 1")
    db.session.commit()
    shared = {
        f"/console/products/{product.id}": ("", "category", "Tea", "Leaves"),
        f"/console/order-connections/{connection.id}": ("", "name", "The shop", "Our shop"),
        f"/console/imports/mappings/{mapping.id}": ("", "name", "A list", "The list"),
        "/console/points/settings": ("", "notice_days", "8", "9"),
        "/console/stages": ("", "member", "Say hello.", "Say thank you."),
        "/console/offers/floor": ("", "percent", "31", "42"),
        f"/console/gift-claims/{claim.id}": (f"/console/gift-claims/{claim.id}/ship", "carrier", "SF", "YTO"),
        f"/console/members/{person.id}/tier": ("", "reason", "A friend of the shop", "Has waited long"),
    }
    typed = {"act": "save", "tracking_number": "SF1", "rank": "3"}
    for shown, (to, name, quicker, later) in shared.items():
        url, opened = to or shown, form_with(mine.get(shown).text, "edition", name)
        sent = opened | {key: value for key, value in typed.items() if key != name}
        assert theirs.post(url, data=sent | {name: quicker}).status_code in (302, 303), url
        refused = mine.post(url, data=sent | {name: later})
        assert refused.status_code == 409, url
        assert "Saved meanwhile by Xiao Lin" in refused.text, url
        kept = form_with(refused.text, "edition", name)
        assert kept[name] == later, url
        # The former words stand; whoever has seen them and saves once more means it.
        db.session.expire_all()
        now = form_with(mine.get(shown).text, "edition", name)
        assert now["edition"].split("-")[0] == kept["edition"].split("-")[0], url
        assert now[name] == quicker, url
        assert mine.post(url, data=sent | {name: later, "edition": kept["edition"]}).status_code in (302, 303), url
        assert form_with(theirs.get(shown).text, "edition", name)[name] == later, url
        # A page that carries no mark is based on what is there.
        bare = {key: value for key, value in sent.items() if key not in ("edition", "once")}
        assert mine.post(url, data=bare | {name: quicker}).status_code in (302, 303), url


def test_form_sent_twice_makes_one_thing(db: Any, staff_client: Any, person: Member) -> None:
    mine = english(staff_client(Role.OWNER))
    connection, _secret = connections.set_up("Shop", Kind.STANDARD, "shop")
    offer = offers.create(offers.Draft(name="¥20 off", kind=CouponKind.AMOUNT, value=2_000, valid_days=14))
    voucher = gifts.create(gifts.Draft("Voucher", GiftKind.DIGITAL))
    policy = tiers.save_policy(tier_rules.STANDARD)
    db.session.commit()
    thing = f"gift:{voucher.id}"
    home, codes = f"/console/members/{person.id}", f"/console/offers/{offer.id}/codes"
    forms: list[tuple[str, str, dict[str, Any], str, Any]] = [
        ("/console/order-connections/new", "", {"kind": "standard", "name": "Till"}, "", OrderConnection),
        (
            f"/console/order-connections/{connection.id}", f"/console/order-connections/{connection.id}/rotate",
            {"new_secret": "long enough for a secret"}, "", made("order_connection.secret_changed"),
        ),
        ("/console/imports", "", {"source": "shop"}, TEMPLATE, ImportRun),
        (f"/console/gifts/{voucher.id}/codes", "", {"text": "AAA-1\nAAA-2"}, "", made("gift.codes_added")),
        ("/console/points/rewards/new", "", {"name": "A cup", "points": "9", "thing": thing, "min_rank": "0"}, "", PointsReward),
        ("/console/points/batches/new", "", {}, "member,points,reason\n12600001234,5,Thanks\n", PointsBatch),
        (f"/console/offers/{offer.id}/links", "", {"name": "Parcel card"}, "", ClaimLink),
        (codes, f"{codes}/generate", {"name": "Cards", "number": "3"}, "", CodePool),
        (codes, f"{codes}/import", {"file-name": "Partner"}, "code\nSPRING0001\n", CodePool),
        (codes, f"{codes}/shared", {"shared-name": "Radio", "shared-code": "RADIO20"}, "", CodePool),
        ("/console/members/new", "", {"name": "Bai", "phone": "12600005678"}, "", Member),
        (home, f"{home}/notes", {"body": "Likes green tea."}, "", Note),
        (home, f"{home}/rights", {"channel": "sms", "wish": "give", "told": "counter"}, "", made("consent.recorded")),
        ("/console/tiers/edit", "", {"act": "keep"}, "", TierDraft),
        (f"/console/tiers/versions/{policy.id}", f"/console/tiers/versions/{policy.id}/draft", {}, "", TierDraft),
        (f"{home}/tier", "", {"rank": "3", "reason": "A friend"}, "", made("tier.set_manually")),
    ]  # fmt: skip
    for shown, to, words, file, table in forms:
        page, url = mine.get(shown).text, to or shown
        names = [name for name in words if name not in ("channel", "wish", "told", "file-name", "number")]
        form = form_with(page, "once", *(names if to else []))
        count = select(func.count()).select_from((table if isinstance(table, Select) else select(table.id)).subquery())
        before = db.session.scalar(count)

        def send(content: str = file, form: dict[str, Any] = form | words, url: str = url) -> Any:
            place = "file-file" if url.endswith("/import") else "file"
            upload = {place: (io.BytesIO(content.encode()), "list.csv")} if content else {}
            return mine.post(url, data={key: value for key, value in form.items() if value != ""} | upload)

        answers = [send(), send()]
        assert answers[0].status_code in (200, 302, 303), (url, answers[0].text[:3000])
        assert answers[1].status_code in (302, 303), url
        assert "This had been sent before" in mine.get(answers[1].location.split("#")[0]).text, url
        assert db.session.scalar(count) == before + 1, url
        if file:
            # The same name chosen again after the file was put right is another file.
            assert send(file.replace("1", "2")).status_code in (302, 303), url
            assert db.session.scalar(count) == before + 2, url


@pytest.mark.parametrize("nothing", ["\u200b", "\u2060\ufeff\u200d", "\u3164", "\u2800 \u00ad", "\u202e\u200f"])
def test_name_that_nobody_sees_is_none(db: Any, owner_client: Any, nothing: str) -> None:
    assert not is_visible(nothing)
    assert is_visible(nothing + "茶")
    page = english(owner_client).post(
        "/console/gifts/new", data={"name": nothing, "kind": "physical", "claim_days": "9"}
    )
    assert page.status_code == 422
    assert "This field is required." in page.text
