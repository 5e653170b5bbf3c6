"""People of a vip group who no longer qualify: found, told, given time, decided about, and given their seat back."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from sqlalchemy import func, select

from community.groups import queries, rules, services, standing
from community.groups.models import Drift, DriftState, Group, GroupKind, GroupState, Seat, SeatRole, SeatState
from community.groups.services import Decision
from community.groups.services.entry import facts_of, facts_of_many
from kernel import clock as kernel_clock
from kernel.audit import AuditEntry
from kernel.auth import Role
from kernel.events import EventRecord
from kernel.notices import Notice
from membership.members.models import Member
from membership.members.services import tag
from membership.orders.models import OrderLine
from tests.community.posts.conftest import order
from tests.conftest import bind, english, everything

__all__ = ["order"]
VIP3 = {"mode": "all", "rules": [{"kind": "tier", "rank": 3}]}


def text(answer):
    return answer.get_data(as_text=True)


def told(browser, path, **fields):
    """What the page says after a tap."""
    answer = browser.post(path, data=fields)
    assert answer.status_code == 303
    return text(browser.get(answer.headers["Location"]))


@pytest.fixture
def vip(make_group):
    regular = make_group(name="Regular", capacity=3, seats_each=3)
    return make_group(
        name="Tasting",
        kind=GroupKind.VIP,
        join_rule=VIP3,
        capacity=4,
        seats_each=4,
        successor_id=regular.id,
        grace_days=7,
    )


def seat_people(group, *people):
    services.join_many(group.id, [person.id for person in people])


def rank(db, person, to):
    db.session.get(Member, person.id).rank = to
    db.session.flush()


def states(db, group):
    rows = db.session.scalars(
        select(Drift).where(Drift.group_id == group.id).order_by(Drift.id).execution_options(populate_existing=True)
    )
    return [row.state for row in rows]


def test_found_told_and_decided(db, clock, browse, app, vip, make_member):
    """The sweep finds and tells; before the time is over nobody is removed; then one stays, one is moved, one removed."""
    anna, bert, carl, dora = (make_member(name, rank=3) for name in ("Anna", "Bert", "Carl", "Dora"))
    seat_people(vip, anna, bert, carl, dora)
    services.set_role(vip.id, dora.id, SeatRole.OWNER)
    assert services.sweep(vip.id) == 0
    for person in (anna, bert, carl, dora):
        rank(db, person, 2)
    assert services.sweep(vip.id) == 3
    assert services.sweep(vip.id) == 0
    notices = db.session.scalars(select(Notice).where(Notice.kind == "group.drift")).all()
    assert {notice.member_id for notice in notices} == {anna.id, bert.id, carl.id}
    phone = english(bind(app.test_client(), anna.id))
    page = text(phone.get(f"/groups/{vip.public_id}"))
    assert "Your seat is kept until" in page
    assert "VIP3 or above" in page
    manager = browse(Role.MANAGER)
    before = everything(db)
    page = text(manager.get(f"/console/groups/{vip.id}/standing"))
    assert everything(db) == before
    assert page.count("Has time") == 3
    ids = [str(row) for row in db.session.scalars(select(Drift.id).order_by(Drift.id))]
    refused = manager.post(f"/console/groups/{vip.id}/standing", data={"ids": ids, "decision": "remove"})
    assert refused.status_code == 409
    assert "They still have time" in text(refused)
    assert queries.in_group(anna.id, vip.id)
    clock.move(days=8)
    # The clock says it before any sweep writes it down.
    manager = browse(Role.MANAGER)
    assert text(manager.get(f"/console/groups/{vip.id}/standing")).count("To decide") == 3
    assert "3 people in “Tasting” no longer qualify" in text(manager.get("/console/"))
    for number, decision, sentence in (
        (0, "keep", "1 person may stay"),
        (1, "move", "1 person was moved"),
        (2, "remove", "1 person was removed"),
    ):
        page = told(manager, f"/console/groups/{vip.id}/standing", ids=ids[number], decision=decision)
        assert sentence in page
    assert states(db, vip) == [DriftState.KEPT, DriftState.MOVED, DriftState.REMOVED]
    assert [queries.in_group(p.id, vip.id) for p in (anna, bert, carl)] == [True, False, False]
    assert queries.in_group(bert.id, vip.successor_id)
    # Whoever may stay is not found again until that time is over.
    assert services.sweep(vip.id) == 0
    clock.move(days=8)
    assert services.sweep(vip.id) == 1
    # Undone: both are back, and the seat that one was moved to is free again.
    manager = browse(Role.MANAGER)
    for number in (1, 2):
        manager.post(f"/console/groups/{vip.id}/standing/{ids[number]}/undo")
    assert [queries.in_group(p.id, vip.id) for p in (bert, carl)] == [True, True]
    assert not queries.in_group(bert.id, vip.successor_id)
    again = manager.post(f"/console/groups/{vip.id}/standing/{ids[1]}/undo")
    assert again.status_code == 409
    assert services.sweep(vip.id) == 0
    actions = db.session.scalars(select(AuditEntry.action).where(AuditEntry.action.startswith("drift."))).all()
    assert sorted(actions) == ["drift.decided"] * 3 + ["drift.undone"] * 2


def test_whoever_qualifies_again_or_leaves_is_left_alone(db, clock, vip, make_member):
    anna, bert = make_member(rank=3), make_member(rank=3)
    seat_people(vip, anna, bert)
    rank(db, anna, 1)
    rank(db, bert, 1)
    services.sweep(vip.id)
    rank(db, anna, 3)
    services.leave(vip.id, bert.id)
    clock.move(days=9)
    services.sweep(vip.id)
    assert states(db, vip) == [DriftState.RECOVERED, DriftState.GONE]


def test_undoing_into_a_full_group_is_refused_and_changes_nothing(db, clock, browse, vip, make_member):
    people = [make_member(rank=3) for _ in range(4)]
    seat_people(vip, *people)
    rank(db, people[0], 2)
    services.sweep(vip.id)
    clock.move(days=8)
    drift_id = db.session.scalar(select(Drift.id))
    services.decide(queries.get_group(vip.id), [drift_id], Decision.MOVE, None)
    services.join(vip.id, make_member(rank=3).id, together=True)
    answer = browse(Role.MANAGER).post(f"/console/groups/{vip.id}/standing/{drift_id}/undo")
    assert answer.status_code == 409
    assert states(db, vip) == [DriftState.MOVED]
    assert queries.in_group(people[0].id, vip.successor_id)


def test_moving_needs_an_open_group(db, clock, vip, make_member):
    anna = make_member(rank=3)
    seat_people(vip, anna)
    rank(db, anna, 1)
    services.sweep(vip.id)
    clock.move(days=8)
    queries.get_group(vip.successor_id).state = GroupState.CLOSED
    db.session.flush()
    with pytest.raises(rules.NoSuccessor):
        services.decide(queries.get_group(vip.id), [db.session.scalar(select(Drift.id))], Decision.MOVE, None)


def test_who_qualifies_and_is_not_in(db, clock, browse, vip, make_member):
    inside, outside, low = make_member("Inside", rank=4), make_member("Outside", rank=4), make_member("Low", rank=2)
    barred = make_member("Barred", rank=4)
    seat_people(vip, inside, barred)
    services.remove(vip.id, barred.id, "spam", barred=True)
    assert db.session.scalars(standing.qualified(vip)).all() == [outside]
    page = text(browse(Role.MANAGER).get(f"/console/groups/{vip.id}/standing?view=qualified"))
    assert "Outside" in page
    assert f"/console/groups/invitations/{outside.id}?group={vip.id}" in page
    assert low.shown_name not in page
    owner = browse(Role.OWNER)
    lines = text(owner.post(f"/console/groups/{vip.id}/standing/invitations")).splitlines()
    assert len(lines) == 2
    assert "/g/" in lines[1]
    assert (
        browse(Role.MARKETER)
        .post(f"/console/groups/{vip.id}/standing", data={"ids": "1", "decision": "keep"})
        .status_code
        == 403
    )


RULES = st.lists(
    st.sampled_from(
        [
            {"kind": "tier", "rank": 3},
            {"kind": "spend", "fen": 1000},
            {"kind": "orders", "count": 2},
            {"kind": "tag", "tag": "tea"},
            {"kind": "enrolled"},
            {"kind": "password", "password": "x"},
            {"kind": "product", "sku": "pu-er"},
        ]
    ),
    max_size=4,
    unique_by=lambda rule: rule["kind"],
)


@pytest.fixture
def bought(db, order):
    """`bought(person, sku)` gives somebody a paid order of one piece; with `refunded` it was sent back."""

    def make(person, sku, refunded=0):
        line = {"position": 1, "title": sku, "quantity": 1, "unit_price": 100, "amount": 100}
        made = order(person, kernel_clock.now())
        db.session.add(OrderLine(order_id=made.id, sku=sku, refunded_quantity=refunded, **line))
        db.session.flush()

    return make


def test_the_sweep_asks_once_for_everybody(db, clock, request, make_group, make_member, bought):
    """However many no longer qualify, the group is locked for as many statements; each is told what they themselves lack."""
    asked = [{"kind": "product", "sku": "pu-er"}, {"kind": "product", "sku": "oolong"}, {"kind": "tag", "tag": "tea"}]
    sent = []
    for size in (2, 12):
        group = make_group(kind=GroupKind.VIP, join_rule={"mode": "all", "rules": asked}, capacity=20, seats_each=20)
        crowd = [make_member() for _ in range(size)]
        seat_people(group, *crowd)
        for number, person in enumerate(crowd):
            if number % 2:
                bought(person, "pu-er")
                bought(person, "oolong", refunded=1)
            else:
                tag([person.id], "tea")
        alone = {person.id: [dict(miss.rule) for miss in services.lacks(group, person)] for person in crowd}
        db.session.expire_all()
        with pytest.raises(AssertionError), request.getfixturevalue("queries")(0) as seen:
            assert services.sweep(group.id) == size
        sent.append(len(seen))
        rows = db.session.execute(select(Drift.member_id, Drift.missing).where(Drift.group_id == group.id)).all()
        assert dict(rows) == alone
        assert [alone[person.id] for person in crowd[:2]] == [asked[:2], asked[1:]]
    assert sent[0] == sent[1]


@pytest.fixture
def crowd(db, clock, make_member, bought):
    """Sixteen people in every combination of tier, spend, orders and enrolment; each third with a tag, each fifth a buyer."""
    people = [
        make_member(
            rank=3 if number & 1 else 1,
            spend=2_000 if number & 2 else 0,
            orders_count=number & 4,
            enrolled=bool(number & 8),
        )
        for number in range(16)
    ]
    for person in people[::3]:
        tag([person.id], "tea")
    for number, person in enumerate(people[::5]):
        bought(person, "pu-er", refunded=number % 2)
    return people


@given(asked=RULES, mode=st.sampled_from(["all", "any"]))
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck), database=None)
def test_the_statement_says_what_the_rule_says(db, crowd, asked, mode):
    """One source of truth in two languages: SQL for a whole group, Python for the person whom a page tells why."""
    join_rule = {"mode": mode, "rules": asked}
    group = Group(name="Any", public_id="any", kind=GroupKind.VIP, join_rule=join_rule, capacity=1, seats_each=1)
    ids = [person.id for person in crowd]
    meets = set(db.session.scalars(select(Member.id).where(Member.id.in_(ids), standing.meets(group))))
    assert meets == {person.id for person in crowd if not rules.drifted(facts_of(person, group), group.kind, join_rule)}
    assert facts_of_many(crowd, group) == {person.id: facts_of(person, group) for person in crowd}


PEOPLE = 5
people = st.integers(0, PEOPLE - 1)


def test_inv_drift_only_listed_steps_and_seats_stay_exact(db, clock, make_group, make_member):
    """Long random lives of a vip group: only listed steps, nobody out before their time, S1, S2 and S5 in both groups."""

    class Life(RuleBasedStateMachine):
        @initialize(capacity=st.integers(2, 5), room=st.integers(1, 3))
        def start(self, capacity, room):
            self.regular = make_group(capacity=room, seats_each=2).id
            self.vip = make_group(
                kind=GroupKind.VIP,
                join_rule=VIP3,
                capacity=capacity,
                seats_each=2,
                successor_id=self.regular,
                grace_days=2,
            ).id
            self.members = [make_member(rank=3).id for _ in range(PEOPLE)]
            self.seen = {}

        def group(self):
            return db.session.get(Group, self.vip)

        def open_ids(self):
            return list(db.session.scalars(select(Drift.id).where(Drift.group_id == self.vip).order_by(Drift.id)))

        @rule(who=people)
        def join(self, who):
            services.join(self.vip, self.members[who], together=True)

        @rule(who=people)
        def leave(self, who):
            if queries.in_group(self.members[who], self.vip):
                services.leave(self.vip, self.members[who])

        @rule(who=people, to=st.sampled_from([2, 3]))
        def change_rank(self, who, to):
            db.session.get(Member, self.members[who]).rank = to
            db.session.flush()

        @rule()
        def sweep(self):
            services.sweep(self.vip)

        @rule(days=st.sampled_from([1, 3]))
        def wait(self, days):
            clock.move(days=days)

        @rule(number=st.integers(0, 8), decision=st.sampled_from(list(Decision)))
        def decide(self, number, decision):
            ids = self.open_ids()
            if ids:
                row = db.session.get(Drift, ids[number % len(ids)])
                early = row.grace_until > kernel_clock.now() or row.state not in (DriftState.GRACE, DriftState.DUE)
                if decision is not Decision.KEEP and early:
                    with pytest.raises(rules.StillInGrace), db.session.begin_nested():
                        services.decide(self.group(), [row.id], decision, None)
                else:
                    services.decide(self.group(), [row.id], decision, None)

        @rule(number=st.integers(0, 8))
        def undo(self, number):
            ids = self.open_ids()
            if ids:
                try:
                    with db.session.begin_nested():
                        services.undo_decision(self.group(), ids[number % len(ids)])
                except (rules.Moved, rules.GroupFull):
                    db.session.expire_all()

        @invariant()
        def holds(self):
            if not hasattr(self, "vip"):
                return
            db.session.expire_all()
            for row in db.session.scalars(select(Drift).where(Drift.group_id == self.vip)):
                before = self.seen.get(row.id, DriftState.GRACE)
                # A step may pass through the state that the clock says.
                reach = {before, *rules.DRIFT_STEPS[before]}
                if before is DriftState.GRACE:
                    reach |= set(rules.DRIFT_STEPS[DriftState.DUE])
                assert row.state in reach
                self.seen[row.id] = row.state
            for group_id in (self.vip, self.regular):
                group = db.session.get(Group, group_id)
                live = (SeatState.HELD, SeatState.TAKEN)
                seated = db.session.scalars(
                    select(Seat.member_id).where(Seat.group_id == group_id, Seat.state.in_(live))
                ).all()
                assert len(seated) == len(set(seated)) == group.seated <= group.capacity
                roster = set()
                for record in db.session.scalars(
                    select(EventRecord)
                    .where(
                        EventRecord.name.in_(["MemberJoinedGroup", "MemberLeftGroup", "MemberMovedGroup"]),
                        EventRecord.payload["group_id"].as_integer() == group_id,
                    )
                    .order_by(EventRecord.id)
                ):
                    (roster.add if record.name == "MemberJoinedGroup" else roster.remove)(record.member_id)
                taken = set(
                    db.session.scalars(
                        select(Seat.member_id).where(Seat.group_id == group_id, Seat.state == SeatState.TAKEN)
                    )
                )
                assert roster == taken
            open_a_seat = db.session.scalar(
                select(func.max(func.count()).over())
                .where(Drift.state.in_(standing.OPEN_DRIFT))
                .group_by(Drift.seat_id)
            )
            assert (open_a_seat or 0) <= 1

    run_state_machine_as_test(
        Life,
        settings=settings(
            max_examples=12,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            database=None,
        ),
    )
