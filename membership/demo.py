"""The demo shop's customers: real, anonymous orders under invented people, a tier policy, coupons and a gift."""

from __future__ import annotations

import csv
import gzip
import hashlib
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import select, text

from kernel import clock, shop
from kernel.auth import Role
from kernel.db import db, transaction
from kernel.demo import Progress, Step
from kernel.staff import services as staff
from membership.benefits import services as benefits
from membership.coupons import services as coupons
from membership.coupons.models import CouponKind, OfferState
from membership.coupons.rules import Basket
from membership.gifts import services as gifts
from membership.gifts.models import GiftKind
from membership.members import invented
from membership.members import services as members
from membership.members.models import Channel, Contact, CustomerType, MemberIdentity
from membership.orders import services as orders
from membership.orders.formats.uci import LONDON
from membership.points import demo as points
from membership.tiers import services as tiers
from membership.tiers.rules import STANDARD, Level

# What is told of coupons began so long ago.
SEASON = timedelta(days=45)
# Who has become a member for the sake of the benefits, of those with a tier.
ENROLLED_SHARE = 0.5
FILE = Path(__file__).parent / "orders" / "demo" / "online_retail_ii.csv.gz"
SOURCE = "shop"
# Who agreed to hear of offers: the same two in five on every machine.
CONSENT_SHARE = 0.4
STAFF = (
    ("小满", "manager@shop.example", Role.MANAGER, "小编小满"),
    ("谷雨", "marketer@shop.example", Role.MARKETER, ""),
    ("立夏", "service@shop.example", Role.SERVICE, "客服立夏"),
    ("白露", "assistant@shop.example", Role.ASSISTANT, "小助手白露"),
    ("霜降", "viewer@shop.example", Role.VIEWER, ""),
)


def steps() -> Iterator[Step]:
    """What this floor brings, in order."""
    yield Step("staff", "Staff of each role", 1, _add_staff)
    yield Step("tiers", "Tiers VIP1–VIP4", 0.2, _set_tiers)
    yield Step("people", "People", 2, _invent_people)
    yield Step("orders", "Orders", 30, _import_orders, own_transactions=True)
    yield Step("consents", "Consents", 1, _give_consents)
    yield Step("offers", "Coupons and a gift", 1, _make_offers)
    yield Step("benefits", "What the tiers give", 1, _give_benefits)
    yield Step("claims", "Coupons claimed and used", 2, _claim_coupons)
    yield Step("points", "Points of ten months", 6, points.book)
    yield Step("rewards", "Rewards for points", 1, points.offer_rewards)
    yield Step("thanks", "Points by hand", 0.3, points.thank)


def rows() -> Iterator[list[str]]:
    """The rows of the file, heading first."""
    with gzip.open(FILE, "rt", encoding="utf-8", newline="") as file:
        yield from csv.reader(file, strict=True)


def customer_numbers() -> list[int]:
    """Every customer number of the file, in order."""
    heading, *lines = rows()
    column = heading.index("Customer ID")
    return sorted({int(float(line[column])) for line in lines if line[column]})


def share_of(number: int, purpose: str) -> float:
    """A number from 0 to 1 that follows from a customer number: who does what in the demo is the same everywhere."""
    return int.from_bytes(hashlib.sha256(f"{purpose} {number}".encode()).digest()[:4], "big") / 2**32


def members_by_number() -> dict[int, int]:
    """Which member a customer number has become."""
    found = db.session.execute(
        select(MemberIdentity.external_id, MemberIdentity.member_id).where(MemberIdentity.channel == Channel.SHOP)
    )
    return {int(number): member_id for number, member_id in found if number.isdecimal()}


def _add_staff(progress: Progress) -> None:
    shop.put("shop.name", "一间杂货铺")
    shop.put("shop.demo", True)
    for i, (name, email, role, signature) in enumerate(STAFF):
        if staff.find_staff(email) is None:
            # Nobody knows these passwords; the owner gives a new one on the staff page.
            staff.add(name, email, role, staff.random_password(), signature)
        progress(i / len(STAFF))


def _set_tiers(progress: Progress) -> None:
    levels = (
        Level(1, "普通会员", "Member", 1_00, 1, 990, "生日问候"),
        Level(2, "高级会员", "Advanced", 800_00, 4, 980, "新品提前一天知道"),
        Level(3, "VIP会员", "VIP", 2_000_00, 8, 950, "限量商品优先购"),
        Level(4, "至尊VIP", "Supreme VIP", 5_000_00, 15, 900, "一对一选品"),
    )
    # The orders span nine months: with a shorter window some tiers are about to end, and there is something to look at.
    rules = replace(STANDARD, levels=levels, rolling_days=270, valid_days=270, grace_days=7)
    tiers.save_policy(rules, note="开店规则")


def _give_benefits(progress: Progress) -> None:
    """What each tier gives, once there are gifts and offers to give; and a draft that somebody is thinking about."""
    monthly = coupons.create(
        coupons.Draft(
            name="会员月月券", kind=CouponKind.AMOUNT, value=10_00, min_spend=80_00, per_member=None, valid_days=31,
            terms="高级会员及以上，每月一张，当月有效。",
        ),
        OfferState.ACTIVE,
    ).id  # fmt: skip
    box = gifts.create(
        gifts.Draft(
            name="升级礼盒", kind=GiftKind.PHYSICAL, description="第一次升到这一级送一份。", stock=300, value=45_00,
            claim_days=60,
        )
    ).id  # fmt: skip
    birthday = gifts.create(
        gifts.Draft(name="生日茶礼", kind=GiftKind.PHYSICAL, description="生日快乐。", stock=300, value=28_00)
    ).id
    progress(0.5)
    given: dict[int, dict[str, Any]] = {
        2: {"multiplier": 1200, "monthly_offer_id": monthly},
        3: {"multiplier": 1500, "monthly_offer_id": monthly, "entry_gift_id": box, "priority_service": True},
        4: {
            "multiplier": 2000, "monthly_offer_id": monthly, "entry_gift_id": box, "birthday_gift_id": birthday,
            "free_shipping": True, "priority_service": True,
        },
    }  # fmt: skip
    policy = tiers.ensure_policy()
    levels = tuple(replace(level, **given.get(level.rank, {})) for level in policy.levels)
    saved = tiers.save_policy(replace(policy, levels=levels), note="加上权益")
    easier = tuple(replace(level, spend=level.spend * 3 // 4) if level.rank == 3 else level for level in saved.levels)
    tiers.create_draft("放宽 VIP3 门槛", replace(saved, levels=easier))
    # What the clock would have given by now.
    while benefits.give_month_slice():
        pass
    last: int | None = 0
    while last is not None:
        last = benefits.give_birthday_slice(last)


def _invent_people(progress: Progress) -> None:
    numbers = customer_numbers()
    people = []
    for number in numbers:
        place = invented.address_for(number)
        people.append(
            members.Person(
                identities=(
                    (Channel.SHOP, str(number)),
                    (Channel.PHONE, invented.phone_for(number)),
                    (Channel.EMAIL, invented.email_for(number)),
                ),
                name=invented.name_for(number),
                nickname=invented.nickname_for(number),
                source=SOURCE,
                city=place.city,
                address=f"{place.province}{place.city}{place.street}",
            )
        )
    ids = members.find_or_make_many(people)
    progress(0.7)
    types = list(CustomerType)
    db.session.execute(
        text(
            "UPDATE member SET birthday = p.birthday, hobbies = p.hobby, customer_type = p.type, email = p.email "
            "FROM unnest(CAST(:ids AS bigint[]), CAST(:birthdays AS date[]), CAST(:hobbies AS text[]), "
            "CAST(:types AS text[]), CAST(:emails AS text[])) AS p (id, birthday, hobby, type, email) WHERE member.id = p.id"
        ),
        {
            "ids": ids,
            "birthdays": [invented.birthday_for(n) for n in numbers],
            "hobbies": [invented.hobby_for(n) for n in numbers],
            "types": [types[int(share_of(n, "type") * len(types))].value for n in numbers],
            "emails": [invented.email_for(n) for n in numbers],
        },
    )


def write_shifted(path: Path) -> None:
    """Write the order file with its dates moved by whole days, so that the last order was yesterday."""
    heading, *lines = rows()
    column = heading.index("InvoiceDate")
    layout = "%Y-%m-%d %H:%M:%S"
    newest = max(datetime.strptime(line[column], layout) for line in lines)  # noqa: DTZ007  The file's own wall clock.
    # An evening in London is the next day here already: no order may lie ahead of whoever loads the demo at night.
    shift = (clock.today() - timedelta(days=1)) - clock.local(newest.replace(tzinfo=LONDON)).date()
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(heading)
        for line in lines:
            moved = datetime.strptime(line[column], layout) + shift  # noqa: DTZ007
            writer.writerow([*line[:column], moved.strftime(layout), *line[column + 1 :]])


def _import_orders(progress: Progress) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "online_retail_ii.csv"
        write_shifted(file)
        orders.run_inline(file, SOURCE, "uci", lambda done, total: progress(0.9 * done / max(total, 1)))
    with transaction():
        # They have been customers since their first order, not since the demo was loaded.
        oldest = clock.now() - timedelta(days=400)
        db.session.execute(text("UPDATE member SET created_at = coalesce(first_order_at, :oldest)"), {"oldest": oldest})
        tiers.reassess()
        _enrol()
        _date_tiers_back()
        members.reassess_stages()


def _enrol() -> None:
    """Half of those with a tier have become members, some days after their first order."""
    wanted = [member for number, member in members_by_number().items() if share_of(number, "enrol") < ENROLLED_SHARE]
    db.session.execute(
        text(
            "UPDATE member SET enrolled_at = LEAST(first_order_at + INTERVAL '3 days', :now) "
            "WHERE id = ANY(:ids) AND rank > 0 AND first_order_at IS NOT NULL"
        ),
        {"ids": wanted, "now": clock.now()},
    )


def _date_tiers_back() -> None:
    """Count each tier from the day after its member's last order began to count, so that some end soon."""
    db.session.execute(
        text(
            "UPDATE member_tier t SET since = d.at, valid_until = d.at + CAST(:valid AS interval) "
            "FROM (SELECT id, LEAST(last_order_at + interval '11 days', :now) AS at FROM member) d "
            "WHERE d.id = t.member_id AND t.own_rank > 0 AND d.at IS NOT NULL"
        ),
        {"valid": timedelta(days=tiers.ensure_policy().valid_days), "now": clock.now()},
    )
    tiers.reassess()


def _give_consents(progress: Progress) -> None:
    agreed = [member for number, member in members_by_number().items() if share_of(number, "consent") < CONSENT_SHARE]
    for i, channel in enumerate((Contact.INBOX, Contact.EMAIL)):
        members.give_consent_many(agreed, channel, source="demo", text_version="demo-1")
        progress((i + 1) / 2)


def _make_offers(progress: Progress) -> None:
    common: dict[str, Any] = {"per_member": 1, "valid_days": 14}
    coupons.create(
        coupons.Draft(
            name="回家看看券", kind=CouponKind.AMOUNT, value=20_00, min_spend=99_00, stock=1_000,
            terms="签收后回访时送出，每人一张。", **common,
        ),
        OfferState.ACTIVE,
    )  # fmt: skip
    coupons.create(
        coupons.Draft(
            name="高级会员 8.5 折", kind=CouponKind.PERCENT, value=850, discount_cap=200_00, min_rank=2, stock=300,
            terms="高级会员及以上可领，最多减 200 元。", **common,
        ),
        OfferState.ACTIVE,
    )  # fmt: skip
    gifts.create(
        gifts.Draft(
            name="帆布袋一只", kind=GiftKind.PHYSICAL, description="入群就有，填好地址就寄出，邮费我们出。",
            picture="demo/shelf.webp", stock=500, value=18_00, claim_days=30,
        )
    )  # fmt: skip


def _claim_coupons(progress: Progress) -> None:
    """Some members have claimed their coupon in the past weeks and a third of them have used it, on orders really theirs."""
    now = clock.now()
    offer_id = db.session.scalar(text("SELECT min(id) FROM offer"))
    claimants = {m: number for number, m in sorted(members_by_number().items()) if share_of(number, "claim") < 0.06}
    buyers = db.session.execute(
        text(
            "SELECT DISTINCT ON (member_id) member_id, external_id, paid_amount - postage AS amount, placed_at "
            'FROM "order" WHERE member_id = ANY(:ids) AND paid_amount - postage >= 9900 AND refunded_amount = 0 '
            "AND placed_at > :since ORDER BY member_id, placed_at DESC"
        ),
        {"ids": list(claimants), "since": now - SEASON},
    ).all()
    used = {row.member_id: row for row in buyers[: len(claimants) // 3]}
    granted = coupons.grant_many(offer_id, [(m, f"demo:{m}") for m in claimants], source="call")
    progress(0.5)
    for row in used.values():
        coupons.redeem(granted[row.member_id][1], SOURCE, row.external_id, Basket(amount=row.amount))
    days = {member: share_of(number, "claimed on") for member, number in claimants.items()}
    _date_coupons_back(
        offer_id,
        {
            member: used[member].placed_at - timedelta(days=0.1 + 9 * share)
            if member in used
            # Most of the others can still be used; some were left until they lapsed.
            else now - (timedelta(days=13) if share < 0.7 else SEASON) * share
            for member, share in days.items()
        },
        {member: row.placed_at for member, row in used.items()},
    )


def _date_coupons_back(offer_id: int | None, issued: dict[int, datetime], used: dict[int, datetime]) -> None:
    """Put an offer's coupons, their uses and what is told of both under the days when they are said to have happened."""
    db.session.flush()
    values = {"offer": offer_id, "start": min(issued.values(), default=clock.now()) - timedelta(days=1)}
    db.session.execute(
        text(
            "CREATE TEMP TABLE dated ON COMMIT DROP AS SELECT d.id, d.issued, d.used FROM unnest(CAST(:ids AS bigint[]), "
            "CAST(:issued AS timestamptz[]), CAST(:used AS timestamptz[])) AS d (id, issued, used)"
        ),
        {"ids": list(issued), "issued": list(issued.values()), "used": [used.get(member) for member in issued]},
    )
    for statement in (
        "UPDATE offer SET created_at = LEAST(created_at, :start) WHERE id = :offer",
        "UPDATE offer_version SET created_at = LEAST(created_at, :start) WHERE offer_id = :offer",
        "UPDATE coupon c SET usable_until = usable_until - (issued_at - d.issued), usable_from = LEAST(usable_from, d.issued), "
        "issued_at = d.issued, redeemed_at = d.used FROM dated d WHERE c.member_id = d.id AND c.offer_id = :offer",
        "UPDATE redemption r SET redeemed_at = d.used FROM dated d, coupon c "
        "WHERE r.coupon_id = c.id AND c.member_id = d.id AND c.offer_id = :offer",
        "UPDATE coupon_event e SET at = CASE e.to_state WHEN 'redeemed' THEN d.used ELSE d.issued END FROM dated d, coupon c "
        "WHERE e.coupon_id = c.id AND c.member_id = d.id AND c.offer_id = :offer",
        "UPDATE event e SET occurred_at = CASE e.name WHEN 'CouponRedeemed' THEN d.used ELSE d.issued END FROM dated d "
        "WHERE e.member_id = d.id AND e.name IN ('CouponClaimed', 'CouponRedeemed') "
        "AND CAST(e.payload ->> 'offer_id' AS bigint) = :offer",
    ):
        db.session.execute(text(statement), {k: v for k, v in values.items() if f":{k}" in statement})
    db.session.expire_all()
