"""Random shops: people as `oracle.Person`, the same people as rows, and random definitions about them."""

from __future__ import annotations

import secrets
from datetime import date, datetime, timedelta
from typing import Any

from hypothesis import strategies as st

from campaigns.audiences import rules
from campaigns.channels.models import InboxMessage
from campaigns.pushes.models import Delivery, DeliveryState
from campaigns.results.models import Click
from community.desk.models import CallReason, CallState, CallTask
from community.groups.models import Group, GroupKind, Seat, SeatState, SubGroup, Waiting, WaitingState
from community.posts.models import Post, PostKind, Reaction, ReactionKind
from kernel import clock
from kernel.db import db
from membership.coupons.models import Coupon, CouponKind, OfferState
from membership.coupons.services import offers
from membership.members.models import Consent, Contact, Member, MemberTag, Purpose, Stage, Tag, ValueLabel
from membership.orders.models import Order, OrderLine, OrderState
from membership.points.models import (
    AccountKind,
    Kind,
    LotState,
    PointsAccount,
    PointsLot,
    PointsTransaction,
)
from membership.products.models import Product

from .oracle import Bought, Person, Placed

SOURCES = ("shop", "taobao", "counter")
CITIES = ("", "杭州", "上海市", "50%_\\", "Paris")
PRODUCTS = (
    ("T-1", "Green Tea 100%", "tea"),
    ("C_1", "Coffee", "coffee"),
    ("茶", "龙井茶 50g", "tea"),
    ("X'", "a\\b", ""),
)
DAYS = (0, 1, 2, 6, 7, 8, 29, 30, 31, 89, 90, 364, 365, 400)
AMOUNTS = (0, 1, 999, 1_000, 5_000, 100_00)


# ── People ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@st.composite
def moments(draw: st.DrawFn) -> datetime:
    """An instant near a border of the shop's days."""
    start, end = clock.day_bounds(clock.today() - timedelta(days=draw(st.sampled_from(DAYS))))
    at = draw(st.sampled_from((start, end - timedelta(microseconds=1), start + timedelta(hours=4))))
    return min(at, clock.now())


@st.composite
def placed(draw: st.DrawFn) -> Placed:
    at, amount = draw(moments()), draw(st.sampled_from(AMOUNTS))
    lines = [
        Bought(*product, quantity=2, refunded_quantity=draw(st.integers(0, 2)))
        for product in draw(st.lists(st.sampled_from(PRODUCTS), max_size=2, unique=True))
    ]
    return Placed(
        source=draw(st.sampled_from(SOURCES)),
        state=draw(st.sampled_from(OrderState)),
        placed_at=at,
        paid_at=draw(st.sampled_from((None, at, at))),
        paid_amount=amount,
        postage=draw(st.sampled_from((0, min(amount, 100)))),
        refunded_amount=draw(st.sampled_from((0, 0, amount, min(amount, 500)))),
        lines=lines,
    )


@st.composite
def people(draw: st.DrawFn) -> Person:
    orders = draw(st.lists(placed(), max_size=3))
    counted = [order for order in orders if order.counts]
    maybe = st.none() | moments()
    return Person(
        rank=draw(st.integers(0, 4)),
        stage=draw(st.sampled_from(Stage)).value,
        stage_since=draw(moments()),
        created_at=draw(moments()),
        enrolled_at=draw(maybe),
        birthday=draw(
            st.none()
            | st.sampled_from(
                (date(1990, 3, 3), date(1992, 2, 29), date(1980, 12, 31), date(1985, 3, 10), date(2001, 1, 1))
            )
        ),
        city=draw(st.sampled_from(CITIES)),
        source=draw(st.sampled_from(SOURCES)),
        value_index=draw(st.sampled_from((0, 1, 49, 50, 100))),
        value_label=draw(st.none() | st.sampled_from([one.value for one in ValueLabel])),
        orders_count=len(counted),
        spend=sum(order.spend for order in counted),
        first_order_at=min((order.placed_at for order in counted), default=None),
        last_order_at=max((order.placed_at for order in counted), default=None),
        points=draw(st.sampled_from((0, 0, 1, 99, 100))),
        tags=set(draw(st.lists(st.integers(0, 2), max_size=3))),
        seats=draw(st.lists(st.tuples(st.integers(0, 1), moments()), max_size=2, unique_by=lambda seat: seat[0])),
        consents={
            c.value: draw(st.booleans()) for c in draw(st.lists(st.sampled_from(Contact), max_size=3, unique=True))
        },
        orders=orders,
        deeds=draw(st.lists(st.tuples(st.sampled_from(rules.DEEDS), moments()), max_size=3, unique_by=lambda d: d[0])),
        gone=draw(st.sampled_from((False,) * 7 + (True,))),
    )


class Shop:
    """The things around the people, made once; `put` writes people as rows and gives them their numbers."""

    def __init__(self) -> None:
        now = clock.now()
        self.tags = [Tag(name=f"tag {n}") for n in range(3)]
        self.groups = [
            Group(public_id=f"g{n}", name=f"Group {n}", kind=GroupKind.REGULAR, created_at=now) for n in range(2)
        ]
        self.products = {
            sku: Product(source="shop", sku=sku, title=title, category=category, created_at=now)
            for sku, title, category in PRODUCTS
        }
        self.post = Post(kind=PostKind.TIP, title="t", body="b", created_at=now)
        db.session.add_all([*self.tags, *self.groups, *self.products.values(), self.post])
        db.session.flush()
        self.parts = [SubGroup(group_id=group.id, number=1, seats=500) for group in self.groups]
        db.session.add_all(self.parts)
        self.offer = offers.create(
            offers.Draft(name="¥20 off", kind=CouponKind.AMOUNT, value=2_000, valid_days=14), OfferState.ACTIVE
        )
        db.session.flush()
        # Rules speak of tags and groups by their numbers: those of a test come from its own rows.
        self.tag_ids = [tag.id for tag in self.tags]
        self.group_ids = [group.id for group in self.groups]

    def put(self, found: list[Person]) -> None:
        """Write people; afterwards `id`, `tags` and `seats` hold the numbers of their rows."""
        rows = [self._member(person) for person in found]
        db.session.add_all(rows)
        db.session.flush()
        for person, row in zip(found, rows, strict=True):
            person.id = row.id
            person.tags = {self.tag_ids[n] for n in person.tags}
            self._around(person)
            person.seats = [(self.group_ids[n], at) for n, at in person.seats]
        db.session.flush()

    def _member(self, person: Person) -> Member:
        return Member(
            nickname="n",
            rank=person.rank,
            stage=Stage(person.stage),
            stage_since=person.stage_since,
            created_at=person.created_at,
            enrolled_at=person.enrolled_at,
            birthday=person.birthday,
            city=person.city,
            source=person.source,
            value_index=person.value_index,
            value_label=ValueLabel(person.value_label) if person.value_label else None,
            orders_count=person.orders_count,
            spend=person.spend,
            first_order_at=person.first_order_at,
            last_order_at=person.last_order_at,
            erased_at=clock.now() if person.gone else None,
        )

    def _around(self, person: Person) -> None:
        now, rows = clock.now(), []
        rows += [MemberTag(member_id=person.id, tag_id=tag_id, at=now) for tag_id in person.tags]
        for n, at in person.seats:
            rows.append(
                Seat(
                    group_id=self.group_ids[n],
                    sub_group_id=self.parts[n].id,
                    member_id=person.id,
                    state=SeatState.TAKEN,
                    # Long ago, so that sitting somewhere is no link followed of late.
                    held_at=now - timedelta(days=5_000),
                    held_until=now,
                    joined_at=at,
                )
            )
        for channel, granted in person.consents.items():
            for word in (not granted, granted):
                rows.append(
                    Consent(
                        member_id=person.id,
                        channel=Contact(channel),
                        purpose=Purpose.MARKETING,
                        granted=word,
                        source="test",
                        text_version="1",
                        at=now,
                    )
                )
                db.session.add(rows[-1])
                db.session.flush()
        db.session.add_all(rows)
        self._points(person)
        for order in person.orders:
            self._order(person, order)
        for deed, at in person.deeds:
            self._deed(person, deed, at)
        if person.seats:
            person.deeds = [*person.deeds, ("entered", now - timedelta(days=5_000))]

    def _points(self, person: Person) -> None:
        if not person.points:
            return
        now = clock.now()
        account = PointsAccount(kind=AccountKind.MEMBER, member_id=person.id, origin_id=person.id, opened_at=now)
        db.session.add(account)
        db.session.flush()
        given = PointsTransaction(
            type=Kind.AWARD, account_id=account.id, points=person.points, source_type="test", source_id="1", at=now
        )
        db.session.add(given)
        db.session.flush()
        lot = {"account_id": account.id, "transaction_id": given.id, "original": 1_000}
        past = now - timedelta(seconds=1)
        db.session.add_all(
            [
                PointsLot(**lot, remaining=person.points, state=LotState.ACTIVE, expires_at=None),
                # Neither what has expired nor what is still pending can be spent.
                PointsLot(**lot, remaining=500, state=LotState.ACTIVE, expires_at=past),
                PointsLot(**lot, remaining=500, state=LotState.PENDING, activates_at=None),
            ]
        )

    def _order(self, person: Person, order: Placed) -> None:
        row = Order(
            source=order.source, external_id=secrets.token_hex(8), member_id=person.id, state=order.state,
            placed_at=order.placed_at, paid_at=order.paid_at, paid_amount=order.paid_amount, postage=order.postage,
            refunded_amount=order.refunded_amount, version_at=order.placed_at, version_mark="", created_at=order.placed_at,
        )  # fmt: skip
        db.session.add(row)
        db.session.flush()
        for position, line in enumerate(order.lines, start=1):
            db.session.add(
                OrderLine(
                    order_id=row.id, position=position, product_id=self.products[line.sku].id, sku=line.sku,
                    title=line.title, quantity=line.quantity, unit_price=1, amount=1, refunded_quantity=line.refunded_quantity,
                )
            )  # fmt: skip

    def _deed(self, person: Person, deed: str, at: datetime) -> None:
        match deed:
            case "opened":
                key = f"delivery:{secrets.token_hex(8)}"
                row: Any = InboxMessage(
                    member_id=person.id, key=key, kind="push", title="", body="", sent_at=at, read_at=at
                )
            case "clicked":
                delivery = Delivery(run_id=person.id, member_id=person.id, state=DeliveryState.ACCEPTED)
                db.session.add(delivery)
                db.session.flush()
                row = Click(delivery_id=delivery.id, run_id=person.id, member_id=person.id, target="/", at=at)
            case "claimed" | "redeemed":
                row = Coupon(
                    offer_id=self.offer.id, version_id=self.offer.version_id, member_id=person.id,
                    code=secrets.token_hex(8), usable_from=at, usable_until=at + timedelta(days=9), issued_at=at,
                    ordinal=1 if deed == "claimed" else 2,
                    # One that was given without a claim, and used.
                    grant_key=None if deed == "claimed" else secrets.token_hex(8),
                    redeemed_at=at if deed == "redeemed" else None,
                )  # fmt: skip
            case "seen" | "liked":
                row = Reaction(
                    post_id=self.post.id,
                    group_id=self.group_ids[0],
                    member_id=person.id,
                    kind=ReactionKind(deed),
                    at=at,
                )
            case "entered":
                row = Waiting(
                    group_id=self.group_ids[0],
                    member_id=person.id,
                    number=person.id,
                    state=WaitingState.QUEUED,
                    queued_at=at,
                )
            case _:
                row = CallTask(
                    member_id=person.id,
                    reason=CallReason.FOLLOW_UP,
                    state=CallState.REACHED,
                    due_at=at,
                    called_at=at,
                    closed_at=at,
                    created_at=at,
                )
        db.session.add(row)


# ── Rules ───────────────────────────────────────────────────────────────────────────────────────────────────────────

_window = st.none() | st.sampled_from((1, 7, 30, 90, 365))
_yes = st.booleans()


def _ends(values: tuple[int, ...], what: str) -> Any:
    pairs = st.tuples(st.sampled_from(values), st.none() | st.sampled_from(values))
    return pairs.map(
        lambda pair: (
            {f"from_{what}": pair[0] if pair[1] is None else min(pair), f"to_{what}": pair[1] and max(pair)}
            if pair[1] is not None
            else {f"from_{what}": pair[0]}
        )
    )


def leaves(tag_ids: list[int], group_ids: list[int], saved_ids: list[int]) -> Any:
    """Any single rule."""
    source = st.none() | st.sampled_from(SOURCES)
    some_words = st.sampled_from(("tea", "T-1", "c_1", "100%", "龙井", "_", "\\", "'", "nothing"))
    kinds = [
        st.builds(rules.TierRule, ranks=st.lists(st.integers(0, 4), min_size=1, max_size=3)),
        _ends(DAYS, "days").map(lambda ends: rules.LastOrderRule(**ends)),
        st.tuples(st.sampled_from(("first_order", "enrolled", "known", "stage")), _ends(DAYS, "days")).map(
            lambda pair: rules.DaysAgoRule(moment=pair[0], **pair[1])
        ),
        st.builds(rules.BoughtRule, words=some_words, ever=_yes, within_days=_window),
        st.builds(rules.CategoryRule, category=st.sampled_from(("tea", "coffee", "x")), ever=_yes, within_days=_window),
        st.builds(rules.OrderedOnRule, source=st.sampled_from(SOURCES), ever=_yes, within_days=_window),
        st.builds(rules.GroupRule, group_id=st.none() | st.sampled_from(group_ids), inside=_yes, within_days=_window),
        st.builds(rules.TagRule, tag_ids=st.lists(st.sampled_from(tag_ids), min_size=1, max_size=2), carried=_yes),
        st.tuples(_ends(AMOUNTS, "fen"), _window, source).map(
            lambda parts: rules.SpendRule(**parts[0], within_days=parts[1], source=parts[2])
        ),
        st.tuples(_ends((0, 1, 2, 3), "count"), _window, source).map(
            lambda parts: rules.OrdersRule(**parts[0], within_days=parts[1], source=parts[2])
        ),
        _ends((0, 1, 99, 100), "points").map(lambda ends: rules.PointsRule(**ends)),
        st.builds(rules.StageRule, stages=st.lists(st.sampled_from(Stage), min_size=1, max_size=3)),
        _ends((0, 1, 50, 100), "index").map(lambda ends: rules.ValueRule(**ends)),
        st.builds(rules.TieRule, ties=st.lists(st.sampled_from(ValueLabel), min_size=1, max_size=2)),
        st.builds(rules.BirthdayRule, in_days=st.sampled_from((0, 1, 7, 300, 365))),
        st.builds(
            rules.CityRule,
            names=st.lists(st.sampled_from(("杭州", "上海", "%", "_", "paris")), min_size=1, max_size=2),
            inside=_yes,
        ),
        st.builds(rules.CameFromRule, sources=st.lists(st.sampled_from(SOURCES), min_size=1, max_size=2)),
        st.builds(rules.DidRule, deed=st.sampled_from(rules.DEEDS), ever=_yes, within_days=_window),
        st.builds(rules.EnrolledRule, value=_yes),
        st.builds(rules.ConsentRule, channel=st.sampled_from(Contact), given=_yes),
    ]
    if saved_ids:
        kinds.append(st.builds(rules.SavedRule, audience_id=st.sampled_from(saved_ids), inside=_yes))
    return st.one_of(kinds)


def _coin(heads: Any, tails: Any) -> Any:
    return st.booleans().flatmap(lambda landed: heads if landed else tails)


def definitions(tag_ids: list[int], group_ids: list[int], saved_ids: list[int]) -> Any:
    """Any definition, with groups within groups on up to four levels."""
    leaf = leaves(tag_ids, group_ids, saved_ids)
    match = st.sampled_from(("all", "any"))
    node = leaf
    for _level in range(rules.DEPTH - 1):
        nested = st.builds(
            rules.Nested, match=match, negated=st.booleans(), rules=st.lists(node, min_size=1, max_size=3).map(tuple)
        )
        # Chosen by a coin: in one union with all the kinds of rules, groups would hardly ever come up.
        node = _coin(leaf, nested)
    return st.builds(rules.Definition, rules=st.lists(node, max_size=3).map(tuple), match=match)
