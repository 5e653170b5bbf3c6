"""Each rule selects exactly whom it should; the audience is one statement, counted within its time."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from sqlalchemy import text

from campaigns.audiences import labels, queries, rules
from community.groups.models import Group, GroupKind, Seat, SeatState, SubGroup
from kernel import clock as kernel_clock
from kernel.i18n import forced_locale
from membership.members.models import Contact, Member, MemberTag, Tag
from membership.orders.models import OrderState

from . import shop


def found(*wanted: Any) -> set[str]:
    """The nicknames of an audience."""
    definition = rules.Definition(rules=wanted)
    from kernel.db import db

    ids = set(db.session.scalars(queries.member_ids(definition)))
    assert queries.count(definition) == queries.Reach(len(ids))
    assert {m.id for m in queries.sample(definition, 100)} == ids
    return {m.nickname for m in db.session.query(Member).filter(Member.id.in_(ids))}


def test_everybody_but_the_merged_and_the_erased(db: Any, make_member: Any) -> None:
    lime = make_member("Lime")
    make_member("Merged", merged_into_id=lime.id)
    make_member("Erased", erased_at=kernel_clock.now())
    assert found() == {"Lime"}


def test_tier(make_member: Any, db: Any) -> None:
    for rank in range(5):
        make_member(f"V{rank}", rank=rank)
    assert found(rules.TierRule(ranks=[2, 4])) == {"V2", "V4"}
    assert found(rules.TierRule(ranks=[0])) == {"V0"}


def test_last_order_goes_by_the_shops_calendar_days(make_member: Any, db: Any, clock: Any) -> None:
    today = kernel_clock.today()
    for days in (29, 30, 90, 91):
        start, end = kernel_clock.day_bounds(today - timedelta(days=days))
        make_member(f"{days} first", last_order_at=start)
        make_member(f"{days} last", last_order_at=end - timedelta(microseconds=1))
    make_member("never")
    assert found(rules.LastOrderRule(from_days=30, to_days=90)) == {"30 first", "30 last", "90 first", "90 last"}
    assert found(rules.LastOrderRule(from_days=91)) == {"91 first", "91 last"}


def test_bought(make_member: Any, db: Any, make_order: Any, clock: Any) -> None:
    tea, coffee, back, closed, long_ago = (make_member(n) for n in ("tea", "coffee", "back", "closed", "long ago"))
    green = {"sku": "T-1", "title": "Green Tea 100%"}
    make_order(tea, **green)
    make_order(coffee, sku="C-1", title="Coffee")
    make_order(back, **green, refunded_quantity=1)
    make_order(closed, **green, state=OrderState.CLOSED)
    make_order(long_ago, 100, **green)
    assert found(rules.BoughtRule(words="green tea")) == {"tea", "long ago"}
    assert found(rules.BoughtRule(words="t-1")) == {"tea", "long ago"}
    assert found(rules.BoughtRule(words="T-")) == set()
    assert found(rules.BoughtRule(words="100%")) == {"tea", "long ago"}
    assert found(rules.BoughtRule(words="1__%")) == set()
    assert found(rules.BoughtRule(words="tea", within_days=30)) == {"tea"}
    assert found(rules.BoughtRule(words="tea", ever=False)) == {"coffee", "back", "closed"}
    assert found(rules.BoughtRule(words="tea", ever=False, within_days=30)) == {"coffee", "back", "closed", "long ago"}


def test_group(make_member: Any, db: Any) -> None:
    inside, left, held, outside = (make_member(n) for n in ("in", "left", "held", "out"))
    now = kernel_clock.now()
    group = Group(public_id="g", name="Friends", kind=GroupKind.REGULAR, created_at=now)
    db.session.add(group)
    db.session.flush()
    part = SubGroup(group_id=group.id, number=1, seats=5)
    db.session.add(part)
    db.session.flush()
    for person, state in ((inside, SeatState.TAKEN), (left, SeatState.LEFT), (held, SeatState.HELD)):
        seat = Seat(group_id=group.id, sub_group_id=part.id, member_id=person.id, state=state, held_at=now)
        seat.held_until = seat.joined_at = now
        seat.ended_at = now if state is SeatState.LEFT else None
        db.session.add(seat)
    db.session.flush()
    assert found(rules.GroupRule(group_id=group.id)) == {"in"}
    assert found(rules.GroupRule(group_id=group.id, inside=False)) == {"left", "held", "out"}
    assert found(rules.GroupRule(group_id=group.id + 1)) == set()
    assert outside.id


def test_tag_spend_orders_enrolled_consent(make_member: Any, db: Any) -> None:
    rich = make_member("rich", spend=100_00, orders_count=3, enrolled_at=kernel_clock.now(), consents=())
    make_member("poor", spend=99_99, orders_count=1, consents=(Contact.EMAIL,))
    tag = Tag(name="tea")
    db.session.add(tag)
    db.session.flush()
    db.session.add(MemberTag(member_id=rich.id, tag_id=tag.id, at=kernel_clock.now()))
    db.session.flush()
    assert found(rules.TagRule(tag_ids=[tag.id])) == {"rich"}
    assert found(rules.TagRule(tag_ids=[tag.id], carried=False)) == {"poor"}
    assert found(rules.SpendRule(from_fen=100_00)) == {"rich"}
    assert found(rules.SpendRule(from_fen=0, to_fen=99_99)) == {"poor"}
    assert found(rules.OrdersRule(from_count=1, to_count=2)) == {"poor"}
    assert found(rules.EnrolledRule(value=True)) == {"rich"}
    assert found(rules.EnrolledRule(value=False)) == {"poor"}
    assert found(rules.ConsentRule(channel="email")) == {"poor"}
    assert found(rules.ConsentRule(channel="inbox")) == set()


def test_all_rules_hold_together(make_member: Any, db: Any) -> None:
    make_member("both", rank=2, spend=500)
    make_member("one", rank=2, spend=100)
    assert found(rules.TierRule(ranks=[2]), rules.SpendRule(from_fen=200)) == {"both"}


def test_a_count_that_takes_too_long_becomes_an_estimate(
    make_member: Any, db: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_member("Lime")
    monkeypatch.setattr(queries, "LIMIT_MS", 30)
    slow = text("(SELECT count(*) FROM generate_series(1, 20000000)) >= 0")
    reach = queries.count(rules.Definition(), slow)
    assert reach.estimated
    # The session goes on as if nothing had been.
    assert queries.count(rules.Definition()).people == 1
    assert db.session.scalar(text("SHOW statement_timeout")) == "0"


def test_nothing_typed_becomes_sql(make_member: Any, db: Any) -> None:
    make_member("Lime")
    for words in ("'; DROP TABLE member; --", "\\", "%", "_", "' OR '1'='1"):
        assert found(rules.BoughtRule(words=words)) == set()


@pytest.mark.parametrize(
    "definition",
    [
        {"rules": [{"kind": "moon"}]},
        {"rules": [{"kind": "tier", "ranks": [5]}]},
        {"rules": [{"kind": "tier", "ranks": []}]},
        {"rules": [{"kind": "tier", "ranks": ["2"]}]},
        {"rules": [{"kind": "last_order", "from_days": 9, "to_days": 3}]},
        {"rules": [{"kind": "last_order", "from_days": 10**9}]},
        {"rules": [{"kind": "spend", "from_fen": -1}]},
        {"rules": [{"kind": "group", "group_id": 2**63}]},
        {"rules": [{"kind": "consent", "channel": "pigeon"}]},
        {"rules": [{"kind": "enrolled", "value": True, "more": 1}]},
        {"rules": 7},
        {"rule": []},
    ],
)
def test_a_definition_that_is_none_is_refused(definition: Any) -> None:
    with pytest.raises(rules.AudienceInvalid):
        rules.parse(definition)


@given(shop.definitions([1, 2], [3, 4], [5, 6]))
def test_a_definition_survives_being_stored(definition: rules.Definition) -> None:
    assert rules.parse(json.loads(json.dumps(definition.dump()))) == definition


def test_definitions_of_before_keep_loading() -> None:
    stored = {
        "rules": [
            {"kind": "tier", "ranks": [2, 3]},
            {"kind": "last_order", "from_days": 30, "to_days": 90},
            {"kind": "bought", "words": "tea", "ever": True, "within_days": None},
            {"kind": "group", "group_id": 7, "inside": False},
            {"kind": "tag", "tag_ids": [1], "carried": True},
            {"kind": "spend", "from_fen": 0, "to_fen": 100},
            {"kind": "orders", "from_count": 1, "to_count": None},
            {"kind": "enrolled", "value": True},
            {"kind": "consent", "channel": "email"},
        ]
    }
    definition = rules.parse(stored)
    assert [rule.kind for rule in definition.rules] == [rule["kind"] for rule in stored["rules"]]
    assert definition.match == "all"


def test_rules_are_said_in_both_languages(db: Any, make_member: Any) -> None:
    wanted = [
        rules.TierRule(ranks=[2, 3]),
        rules.LastOrderRule(from_days=30, to_days=90),
        rules.BoughtRule(words="tea", ever=False, within_days=60),
        rules.SpendRule(from_fen=100_00),
    ]
    definition = rules.Definition(rules=tuple(wanted))
    with forced_locale("en"):
        assert labels.sentences(definition) == [
            "VIP3 or VIP2",
            "Last ordered 30 to 90 days ago",
            "Bought no “tea” in the last 60 days",
            "Spent ¥100 or more",
        ]
        assert labels.whole(definition) == (
            "VIP3 or VIP2 who last ordered 30 to 90 days ago and bought no “tea” in the last 60 days and spent ¥100 or more"
        )
    with forced_locale("zh_Hans"):
        assert labels.sentences(definition) == [
            "VIP3 或 VIP2",
            "最近一次下单在 30 至 90 天前",
            "最近 60 天没买过“tea”",
            "消费 ¥100 以上",
        ]
        assert labels.whole(definition) == (
            "VIP3 或 VIP2 会员里，最近一次下单在 30 至 90 天前，并且最近 60 天没买过“tea”，并且消费 ¥100 以上的人"
        )


def test_coupons_can_be_given_to_a_saved_audience(make_member: Any, db: Any) -> None:
    from campaigns.audiences import services
    from membership.coupons.services import granting

    high, _low = make_member("High", rank=3), make_member("Low", rank=1)
    saved = services.save("Regulars", rules.Definition(rules=(rules.TierRule(ranks=[3, 4]),)))
    assert (f"audience:{saved.id}", "Regulars") in granting.choices()
    assert granting.people_of(f"audience:{saved.id}") == [high.id]
