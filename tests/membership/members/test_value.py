"""What a member is worth: the rule, the same in SQL, who is worked out anew when, and what the page says."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import insert, literal, select

from kernel import clock as kernel_clock
from kernel.events import publish
from membership.members import queries, rules, services
from membership.members.jobs import revalue_everybody
from membership.members.models import Channel, Member, MemberIdentity, ValueLabel
from membership.orders.events import OrderRecorded
from tests.conftest import NOON

FACTS = st.builds(
    rules.ValueFacts,
    channels=st.integers(0, len(Channel)),
    last_order_at=st.one_of(
        st.none(),
        st.sampled_from([NOON - timedelta(days=days) for days, _ in rules.RECENCY_STEPS]),
        st.datetimes(datetime(2020, 1, 1), datetime(2026, 3, 3)).map(lambda at: at.replace(tzinfo=NOON.tzinfo)),
    ),
    orders=st.integers(0, 40),
    spend=st.one_of(
        st.sampled_from([n for least, _ in rules.MONEY_STEPS for n in (least - 1, least)]), st.integers(0, 10**8)
    ),
    groups=st.integers(0, 5),
    brought=st.integers(0, 8),
    took_part=st.integers(0, 30),
)


def test_somebody_unknown_is_worth_nothing_and_tied_by_nothing():
    found = rules.value_of(rules.ValueFacts(), NOON)
    assert (found.index, found.label) == (0, None)
    assert [part.points for part in found.parts] == [0, 0, 0, 0]


def test_the_best_customer_has_a_hundred_points():
    best = rules.ValueFacts(9, NOON - timedelta(days=1), 50, 10**9, 9, 9, 99)
    found = rules.value_of(best, NOON)
    assert (found.index, found.transaction, found.relation, found.label) == (100, 60, 60, ValueLabel.BOTH)


@given(FACTS)
def test_parts_add_up_and_stay_in_bounds(facts):
    found = rules.value_of(facts, NOON)
    assert found.index == sum(part.points for part in found.parts)
    assert 0 <= found.index <= 100
    assert all(0 <= part.points <= part.most for part in (*found.parts, *found.ties))
    assert all(part.next_step is None or part.next_step[1] > part.points for part in (*found.parts, *found.ties))


@given(FACTS, st.sampled_from(["channels", "orders", "spend"]))
def test_more_of_anything_never_lowers_the_index(facts, name):
    more = rules.ValueFacts(**{**vars(facts), name: getattr(facts, name) + 1})
    assert rules.value_of(more, NOON).index >= rules.value_of(facts, NOON).index


@pytest.mark.parametrize(
    ("transaction", "relation", "label"),
    [
        (0, 0, None),
        (9, 9, None),
        (10, 0, ValueLabel.BOTH),
        (11, 0, ValueLabel.TRANSACTION),
        (0, 11, ValueLabel.RELATION),
        (40, 30, ValueLabel.BOTH),
        (41, 30, ValueLabel.TRANSACTION),
        (30, 41, ValueLabel.RELATION),
    ],
)
def test_what_ties_somebody_is_the_heavier_side(transaction, relation, label):
    assert rules.tie_for(transaction, relation) == label


@pytest.fixture
def acts(db, monkeypatch):
    """Acts beside buying, as another room would answer: {(member_id, kind): n}."""
    kept: dict[tuple[int, str], int] = {}

    def answer(member_ids):
        rows = [(m, kind, n) for (m, kind), n in kept.items() if m in set(member_ids)] or [(0, "groups", 0)]
        parts = [
            select(literal(m).label("member_id"), literal(kind).label("kind"), literal(n).label("n"))
            for m, kind, n in rows
        ]
        return parts[0].union_all(*parts[1:]) if len(parts) > 1 else parts[0]

    monkeypatch.setattr(queries.acts_of, "_answers", [answer])
    return kept


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(FACTS, min_size=1, max_size=12))
def test_the_rule_and_the_sql_agree(db, clock, acts, people):
    acts.clear()
    now, ids = kernel_clock.now(), []
    for facts in people:
        member = Member(
            name="x", stage_since=now, created_at=now, spend=facts.spend, orders_count=facts.orders,
            last_order_at=facts.last_order_at, first_order_at=facts.last_order_at,
        )  # fmt: skip
        db.session.add(member)
        db.session.flush()
        ids.append(member.id)
        for channel in list(Channel)[: facts.channels]:
            row = {"member_id": member.id, "channel": channel, "external_id": f"n{member.id}", "created_at": now}
            db.session.execute(insert(MemberIdentity).values(row))
        acts.update({(member.id, kind): getattr(facts, kind) for kind in queries.ACTS})
    services.revalue(ids)
    for member_id, facts in zip(ids, people, strict=True):
        member = db.session.get(Member, member_id)
        assert queries.value_facts(member) == facts
        wanted = rules.value_of(facts, now)
        assert (member.value_index, member.value_label) == (wanted.index, wanted.label)
    assert services.revalue(ids) == 0


def test_merged_and_erased_people_are_left_alone(db, clock, make_member):
    kept = make_member(spend=10**7)
    merged = make_member(spend=10**7, merged_into_id=kept.id)
    erased = make_member(spend=10**7, erased_at=kernel_clock.now())
    assert services.revalue([merged.id, erased.id]) == 0
    assert services.revalue([kept.id]) == 1


def test_the_night_lowers_whoever_time_alone_made_worth_less(db, clock, make_member, monkeypatch):
    monkeypatch.setattr(queries, "CHUNK", 2)
    people = [make_member(orders_count=1, spend=5_000, last_order_at=kernel_clock.now()) for _ in range(5)]
    services.revalue([member.id for member in people])
    before = {member.id: member.value_index for member in people}
    db.session.commit()
    clock.move(days=100)
    revalue_everybody.direct()
    db.session.expire_all()
    assert {member.id: member.value_index for member in people} == {i: v - 18 for i, v in before.items()}


def test_an_order_makes_its_buyer_worth_more(db, clock, make_member):
    from membership.members.subscribers import reassess_buyer

    member = make_member()
    services.revalue([member.id])
    member.orders_count, member.spend, member.last_order_at = 1, 20_000, kernel_clock.now()
    db.session.flush()
    event = OrderRecorded(order_id=1, member_id=member.id, source="shop", external_id="1", amount=20_000)
    publish(event)
    reassess_buyer(event)
    assert member.value_index == 3 + 30 + 6 + 6


def test_the_page_shows_the_parts_and_the_strategy(owner_client, make_member):
    owner_client.set_cookie("lang", "en")
    member = make_member(orders_count=2, spend=50_000, last_order_at=kernel_clock.now() - timedelta(days=3))
    services.revalue([member.id])
    page = owner_client.get(f"/console/members/{member.id}").get_data(as_text=True)
    for words in (
        "Known on one channel",
        "2 orders",
        "¥500.00 in all",
        "In 0 groups",
        "3 / 10",
        "30 / 30",
        "12 / 30",
        "10 / 30",
    ):
        assert words in page
    assert "Make the first order easy" in page


# ── The stages' settings ────────────────────────────────────────────────────────────────────────────────────────────

GIVEN = {"active": "30", "dormant": "60", "lost": "120", "lead": "先回答", "customer": "", "member": "", "active_text": "",
         "dormant_text": "", "lost_text": ""}  # fmt: skip


def test_the_owner_sets_days_and_strategies(owner_client, db, clock, make_member, run_jobs):
    owner_client.set_cookie("lang", "en")
    member = make_member(
        orders_count=1, first_order_at=NOON - timedelta(days=70), last_order_at=NOON - timedelta(days=70)
    )
    other = make_member()
    services.reassess_stages()
    assert member.stage == "customer"
    assert owner_client.post("/console/stages", data=GIVEN).status_code == 303
    run_jobs()
    assert db.session.get(Member, member.id).stage == "dormant"
    assert "先回答" in owner_client.get(f"/console/members/{other.id}").get_data(as_text=True)
    assert 'value="60"' in owner_client.get("/console/stages").get_data(as_text=True)


@pytest.mark.parametrize(
    ("field", "wrong"), [("active", "0"), ("dormant", "x"), ("lost", "60"), ("lost", "9999"), ("lead", "长" * 501)]
)
def test_stages_that_make_no_sense_are_refused(owner_client, field, wrong):
    assert owner_client.post("/console/stages", data={**GIVEN, field: wrong}).status_code == 422


def test_stages_are_not_for_viewers(staff_client):
    assert staff_client("viewer").get("/console/stages").status_code == 403
    assert staff_client("viewer").post("/console/stages", data=GIVEN).status_code == 403
