"""People walk: each step once, by the clock, in exactly one place, out when they buy."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import func, select, update

from campaigns.audiences import rules as audience_rules
from campaigns.channels.models import ContactClass
from campaigns.journeys import queries, rules, services
from campaigns.journeys.events import JourneyEnded, JourneyEntered
from campaigns.journeys.models import Journey, JourneyMember, JourneyPush, JourneyState, JourneyVersion, PlaceState
from campaigns.journeys.services import advancing, leaving, plans
from campaigns.pushes import message
from campaigns.pushes.models import Delivery, DeliveryState, Origin, Push, Run, Target
from campaigns.results import services as results
from community.desk.models import CallTask
from community.groups import services as group_services
from community.groups.models import Group, GroupKind, GroupState
from kernel.events import EventRecord
from membership.coupons.models import Coupon
from membership.members import services as member_services
from membership.members.services import erasure, merge
from membership.points.models import PointsTransaction
from tests.campaigns.journeys.conftest import DAY, log_of, logged, place_of, walk_on

SAY = {"kind": "message", "subject": "你好 {nickname}", "body": "到了"}
VIP = {"rules": [{"kind": "tier", "ranks": [2, 3, 4]}]}


def told(db, event_type):
    return db.session.scalars(
        select(EventRecord.payload).where(EventRecord.name == event_type.__name__).order_by(EventRecord.id)
    ).all()


# ── Walking ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_member_walks_from_the_trigger_to_the_end(db, clock, make_member, make_journey, bring):
    ann = make_member("Ann")
    journey = make_journey([SAY, {"kind": "wait", "days": 2}, {"kind": "tag", "name": "cared"}])
    assert bring(journey, ann)
    assert walk_on() == 1
    place = place_of(db, ann)
    assert (place.step, place.due_at, place.state) == ("s2", clock.now() + 2 * DAY, PlaceState.ACTIVE)
    clock.move(days=1, hours=23)
    assert walk_on() == 0
    clock.move(hours=1)
    walk_on()
    place = place_of(db, ann)
    assert (place.step, place.state, place.ended_at) == (None, PlaceState.DONE, clock.now())
    assert log_of(db, place) == [("", "entered"), ("s1", "passed"), ("s2", "passed"), ("s3", "passed")]
    assert [payload["member_id"] for payload in told(db, JourneyEntered)] == [ann.id]
    assert [payload["state"] for payload in told(db, JourneyEnded)] == ["done"]


def test_a_message_goes_through_the_ledger_of_pushes_once(db, clock, make_member, make_journey, bring):
    people = [make_member(f"P{number}") for number in range(3)]
    journey = make_journey([SAY])
    for one in people:
        bring(journey, one)
    walk_on()
    push = db.session.scalars(select(Push).where(Push.origin == Origin.JOURNEY)).one()
    assert (push.contact_class, push.subject, push.stop_when_bought) == (ContactClass.TRIGGERED, SAY["subject"], False)
    run = db.session.scalars(select(Run).where(Run.push_id == push.id)).one()
    assert set(db.session.scalars(select(Target.member_id).where(Target.run_id == run.id))) == {p.id for p in people}
    walk_on()
    assert db.session.scalar(select(func.count()).select_from(Run).where(Run.push_id == push.id)) == 1


def test_a_service_message_has_its_class(db, make_journey):
    make_journey([{**SAY, "service": True}])
    assert (
        db.session.scalars(select(Push.contact_class).where(Push.origin == Origin.JOURNEY)).one()
        == ContactClass.SERVICE
    )


def test_coupon_and_points_are_given_once(db, clock, make_member, make_journey, make_offer, bring):
    ann, offer = make_member("Ann"), make_offer()
    journey = make_journey(
        [{"kind": "coupon", "offer_id": offer.id}, {"kind": "points", "points": 30, "reason": "Hello"}]
    )
    bring(journey, ann)
    walk_on()
    place = place_of(db, ann)
    assert log_of(db, place)[1:] == [("s1", "passed"), ("s2", "passed")]
    coupon = db.session.scalars(select(Coupon).where(Coupon.member_id == ann.id)).one()
    assert (coupon.grant_key, coupon.source) == (f"journey:{place.id}:s1", f"journey:{journey.id}")
    assert db.session.scalars(
        select(PointsTransaction.points).where(PointsTransaction.source_type == "journey")
    ).all() == [30]


def test_who_gets_no_coupon_goes_on_and_it_is_said(db, make_member, make_journey, make_offer, bring):
    offer = make_offer(stock=1)
    journey = make_journey([{"kind": "coupon", "offer_id": offer.id}, {"kind": "tag", "name": "on"}])
    people = [make_member("A"), make_member("B")]
    for one in people:
        bring(journey, one)
    walk_on()
    assert [dict(log_of(db, place_of(db, one)))["s1"] for one in people] == ["passed", "no_coupon"]
    assert {place_of(db, one).state for one in people} == {PlaceState.DONE}


def test_ways_of_a_condition_and_of_a_split(db, make_member, make_journey, bring):
    vip, plain = make_member("V", rank=3), make_member("P", rank=1)
    journey = make_journey(
        [
            {"kind": "condition", "audience": VIP, "yes": [{"kind": "tag", "name": "vip"}], "no": []},
            {"kind": "split", "weights": [999, 1], "a": [{"kind": "tag", "name": "a"}], "b": [{"kind": "end"}]},
            {"kind": "wait", "hours": 1},
        ]
    )
    for one in (vip, plain):
        bring(journey, one)
    walk_on()
    assert log_of(db, place_of(db, vip))[1:3] == [("s1", "yes"), ("s2", "passed")]
    assert log_of(db, place_of(db, plain))[1][1] == "no"
    numbers = queries.counts(journey.version_id)
    assert (numbers[""].passed, numbers["s1"].outcomes, numbers["s2"].passed) == (2, {"yes": 1, "no": 1}, 1)
    assert sum(one.here for one in numbers.values()) == len([p for p in (vip, plain) if place_of(db, p).step])


def test_a_call_is_asked_for_and_a_tag_taken_off(db, clock, make_member, make_journey, bring):
    ann = make_member("Ann")
    member_services.tag([ann.id], "new")
    journey = make_journey(
        [{"kind": "task", "about": "Ask how it is"}, {"kind": "tag", "name": "new", "carried": False}]
    )
    bring(journey, ann)
    walk_on()
    assert db.session.scalars(select(CallTask.about).where(CallTask.member_id == ann.id)).one() == "Ask how it is"
    assert log_of(db, place_of(db, ann))[-1] == ("s2", "passed")


def test_an_invitation_links_to_the_members_own_way_in(db, clock, make_member, make_journey, bring):
    group = Group(
        public_id="tea", name="Tea", kind=GroupKind.REGULAR, state=GroupState.OPEN, capacity=9, seats_each=9,
        created_at=clock.now(),
    )  # fmt: skip
    db.session.add(group)
    db.session.flush()
    ann = make_member("Ann")
    journey = make_journey([{"kind": "invite", "group_id": group.id, "subject": "来", "body": "进群：{link}"}])
    bring(journey, ann)
    walk_on()
    sent = Delivery(run_id=db.session.scalars(select(Run.id)).one(), member_id=ann.id, state=DeliveryState.ACCEPTED)
    db.session.add(sent)
    db.session.flush()
    leads = results.visit(message.click_path(sent.id, message.LINK).rpartition("/")[2], counted=False)
    invitation = group_services.read_invitation(leads.removeprefix("/g/"))
    assert (invitation.member_id, invitation.group_id) == (ann.id, group.id)


# ── Entering ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_same_thing_brings_in_once(db, clock, make_member, make_journey, bring):
    ann = make_member("Ann")
    journey = make_journey([SAY], again_after=0)
    assert bring(journey, ann, "order:1")
    assert not bring(journey, ann, "order:1")
    assert not bring(journey, ann, "order:2")  # Inside at the moment.
    walk_on()
    assert not bring(journey, ann, "order:1")
    assert bring(journey, ann, "order:2")


def test_again_only_after_so_many_days_or_never(db, clock, make_member, make_journey, bring):
    ann = make_member("Ann")
    once, monthly = make_journey([SAY]), make_journey([SAY], again_after=30)
    for journey in (once, monthly):
        assert bring(journey, ann, "a")
    walk_on()
    clock.move(days=29)
    assert [bring(journey, ann, "b") for journey in (once, monthly)] == [False, False]
    clock.move(days=1)
    assert [bring(journey, ann, "c") for journey in (once, monthly)] == [False, True]


def test_only_the_audience_enters_and_only_while_it_is_on(db, make_member, make_journey, bring):
    vip, plain = make_member("V", rank=3), make_member("P")
    journey = make_journey([SAY], audience=VIP)
    assert [bring(journey, one) for one in (vip, plain)] == [True, False]
    services.switch_off(journey)
    plain.rank = 4
    db.session.flush()
    assert not bring(journey, plain)
    walk_on()
    assert place_of(db, vip).state is PlaceState.DONE  # Who is inside finishes.


def test_merged_and_erased_members_do_not_enter(db, clock, make_member, make_journey, bring):
    ann, gone = make_member("Ann"), make_member("Gone")
    heir = make_member("Old", merged_into_id=ann.id)
    gone.erased_at = clock.now()
    db.session.flush()
    journey = make_journey([SAY])
    assert not bring(journey, gone)
    assert bring(journey, heir, "x")
    assert place_of(db, ann).key == "x"


# ── Leaving ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_who_buys_leaves_at_once_and_before_the_next_step(db, clock, make_member, make_journey, make_order, bring):
    ann, ben, eve = make_member("Ann"), make_member("Ben"), make_member("Eve")
    journey = make_journey([{"kind": "wait", "days": 1}, SAY])
    for one in (ann, ben, eve):
        bring(journey, one)
    clock.move(hours=5)
    make_order(ann, days_ago=0.1)
    make_order(ben, days_ago=3)  # From before: no reason to leave.
    assert services.leave_buyers([ann.id, ben.id]) == 1
    assert (place_of(db, ann).state, place_of(db, ann).reason) == (PlaceState.LEFT, "bought")
    make_order(eve, days_ago=0.1)  # Nobody was told; the step asks.
    clock.move(days=1)
    walk_on()
    assert place_of(db, eve).reason == "bought"
    assert log_of(db, place_of(db, eve))[-1] == ("s1", "left")
    assert place_of(db, ben).state is PlaceState.DONE
    assert {payload["reason"] for payload in told(db, JourneyEnded) if payload["state"] == "left"} == {"bought"}


def test_buying_does_not_matter_where_the_plan_says_so(db, clock, make_member, make_journey, make_order, bring):
    ann = make_member("Ann")
    journey = make_journey([{"kind": "wait", "days": 1}], exits={"bought": False})
    bring(journey, ann)
    clock.move(hours=1)
    make_order(ann, days_ago=0)
    assert services.leave_buyers([ann.id]) == 0


def test_leaving_the_audience_and_staying_too_long(db, clock, make_member, make_journey, bring):
    ann, ben = make_member("Ann", rank=3), make_member("Ben", rank=3)
    first = make_journey([{"kind": "wait", "days": 2}, SAY], audience=VIP, exits={"audience": True})
    second = make_journey([{"kind": "wait", "days": 2}, SAY], exits={"days": 1})
    bring(first, ann)
    bring(second, ben)
    ann.rank = 1
    db.session.flush()
    clock.move(days=2)
    walk_on()
    assert (place_of(db, ann).reason, place_of(db, ben).reason) == ("audience", "days")


def test_staff_take_somebody_out_once(db, clock, make_member, make_journey, bring):
    ann, ben = make_member("Ann"), make_member("Ben")
    journey = make_journey([{"kind": "wait", "days": 2}])
    for one in (ann, ben):
        bring(journey, one)
    services.take_out(place_of(db, ann))
    with pytest.raises(leaving.GoneAlready):
        services.take_out(place_of(db, ann))
    assert services.switch_off(journey, take_people_out=True) == 1
    assert place_of(db, ben).reason == "taken_out"


def test_erasure_and_merging_end_or_move_ways(db, clock, make_member, make_journey, bring):
    ann, twin, gone = make_member("Ann"), make_member("Twin"), make_member("Gone")
    first, second = make_journey([{"kind": "wait", "days": 2}]), make_journey([{"kind": "wait", "days": 2}])
    bring(first, ann, "a")
    bring(first, twin, "b")
    bring(second, twin, "c")
    bring(second, gone, "d")
    erasure.erase(gone.id, str(gone.id))
    done = merge.merge(ann.id, twin.id)
    states = db.session.execute(
        select(JourneyMember.key, JourneyMember.member_id, JourneyMember.state, JourneyMember.reason)
        .order_by(JourneyMember.key)
        .execution_options(populate_existing=True)
    ).all()
    assert [tuple(row) for row in states] == [
        ("a", ann.id, PlaceState.ACTIVE, None),
        ("b", ann.id, PlaceState.LEFT, "merged"),
        ("c", ann.id, PlaceState.ACTIVE, None),
        ("d", gone.id, PlaceState.LEFT, None),
    ]
    merge.undo(done)
    back = {row.key: (row.member_id, row.state) for row in db.session.scalars(select(JourneyMember))}
    assert back["b"] == (twin.id, PlaceState.ACTIVE)


# ── Trouble ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_one_persons_trouble_stays_theirs(db, clock, make_member, make_journey, bring, monkeypatch):
    people = [make_member(f"P{number}") for number in range(3)]
    journey = make_journey([{"kind": "task", "about": "Call"}])
    for one in people:
        bring(journey, one)
    plain = advancing.desk.ask_to_call

    def fails(member_id: int, about: str):
        if member_id == people[1].id:
            raise RuntimeError("the line is dead")
        return plain(member_id, about)

    monkeypatch.setattr(advancing.desk, "ask_to_call", fails)
    effects = services.advance()
    assert (effects.moved, effects.put_off) == (2, 1)
    place = place_of(db, people[1])
    assert (place.state, place.attempts, place.due_at) == (PlaceState.ACTIVE, 1, clock.now() + rules.FIRST_RETRY)
    for _ in range(rules.ATTEMPTS - 1):
        clock.move(days=1)
        walk_on()
    place = place_of(db, people[1])
    assert (place.state, place.reason) == (PlaceState.FAILED, "the line is dead")
    assert db.session.scalar(select(func.count()).select_from(CallTask)) == 2


def test_nobody_is_moved_from_where_they_are_not(db, clock, make_member, make_journey, bring, monkeypatch):
    ann = make_member("Ann")
    journey = make_journey([{"kind": "points", "points": 5}, {"kind": "wait", "days": 1}])
    bring(journey, ann)
    plain = advancing._perform

    def meddled(batch):
        came = plain(batch)
        db.session.execute(update(JourneyMember).values(step="s2").execution_options(synchronize_session=False))
        return came

    monkeypatch.setattr(advancing, "_perform", meddled)
    with pytest.raises(advancing.Displaced), db.session.begin_nested():
        services.advance()
    db.session.expire_all()
    assert (place_of(db, ann).step, logged(db)) == ("s1", 1)
    assert db.session.scalar(select(func.count()).select_from(PointsTransaction)) == 0


@pytest.mark.parametrize("jump", [timedelta(days=400), -timedelta(days=400)])
def test_inv_a_clock_that_jumps_repeats_nothing(db, clock, make_member, make_journey, bring, jump):
    ann = make_member("Ann")
    journey = make_journey(
        [{"kind": "points", "points": 5}, {"kind": "wait", "days": 1}, {"kind": "points", "points": 7}]
    )
    bring(journey, ann)
    walk_on()
    clock.move(seconds=jump.total_seconds())
    walk_on()
    clock.move(seconds=-jump.total_seconds())
    walk_on()
    clock.move(days=2)
    walk_on()
    assert place_of(db, ann).state is PlaceState.DONE
    given = select(PointsTransaction.points).where(PointsTransaction.source_type == "journey")
    assert sorted(db.session.scalars(given)) == [5, 7]


# ── Versions ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_people_in_flight_finish_the_version_they_entered(db, clock, make_member, make_journey, bring):
    ann, ben = make_member("Ann"), make_member("Ben")
    journey = make_journey([SAY, {"kind": "wait", "days": 1}, {"kind": "tag", "name": "old"}])
    bring(journey, ann)
    walk_on()
    first = journey.version_id
    services.remove_step(journey, "s3")
    services.add_step(journey, rules.Spot("", "", 2), {"kind": "tag", "name": "new"})
    assert journey.version_id == first  # A draft changes nothing.
    services.publish(journey, None)
    bring(journey, ben)
    assert queries.in_older_versions(journey) == 1
    clock.move(days=1)
    walk_on()
    clock.move(days=1)
    walk_on()
    assert log_of(db, place_of(db, ann))[-1] == ("s3", "passed")
    assert place_of(db, ann).version_id == first != place_of(db, ben).version_id
    # The message is the same in both, and so is the push that counts it.
    assert len(set(db.session.scalars(select(JourneyPush.push_id)))) == 1
    assert [v.number for v in db.session.scalars(select(JourneyVersion).order_by(JourneyVersion.id))] == [1, 2]


def test_other_words_have_a_push_of_their_own(db, make_journey):
    journey = make_journey([SAY])
    services.put_step(journey, {**SAY, "id": "s1", "body": "别的话"})
    services.publish(journey, None)
    assert len(set(db.session.scalars(select(JourneyPush.push_id)))) == 2


def test_a_draft_with_faults_is_neither_published_nor_switched_on(db, make_journey):
    journey = make_journey([{"kind": "coupon"}], on=False)
    for act in (services.publish, services.switch_on):
        with pytest.raises(plans.NotReady):
            act(journey, None)
    assert (journey.state, journey.version_id) == (JourneyState.OFF, None)


def test_ready_made_journeys_come_once_and_are_off(db):
    made = services.ensure_recipes()
    assert made >= 15
    assert set(db.session.scalars(select(Journey.state))) == {JourneyState.OFF}
    db.session.delete(db.session.scalars(select(Journey).where(Journey.recipe == "cart")).one())
    db.session.flush()
    assert services.ensure_recipes() == 0


# ── Trials ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_trial_runs_the_draft_at_once_and_counts_nowhere(db, clock, make_member, make_journey, bring):
    ann = make_member("Ann")
    journey = make_journey([SAY, {"kind": "wait", "days": 9}, {"kind": "points", "points": 5}])
    services.put_step(journey, {"kind": "points", "points": 8, "id": "s3"})
    place = services.try_out(journey, ann.id, None)
    assert services.try_out(journey, ann.id, None).id == place.id
    walk_on()
    clock.move(seconds=10)
    walk_on()
    assert place_of(db, ann).state is PlaceState.DONE
    assert db.session.scalars(select(PointsTransaction.points)).all() == [8]
    assert queries.sums([journey.id])[journey.id].entered == 0
    assert queries.counts(journey.version_id) == {}
    assert told(db, JourneyEntered) == []
    used = db.session.scalars(select(Push).join(Run, Run.push_id == Push.id)).one()
    assert used.contact_class is ContactClass.SERVICE
    assert bring(journey, ann)  # The trial does not stand in the way.


# ── Ports ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_stored_definition_stays_readable(db, make_journey):
    journey = make_journey([SAY], audience=VIP)
    assert audience_rules.parse(queries.plan_of(queries.version_of(journey)).audience)
