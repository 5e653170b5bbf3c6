"""Calls: opened once, taken by one, closed by one; and what follows."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import func, select

from community.desk import queries, services
from community.desk.events import CallClosed, CallTaskOpened, MemberInvited
from community.desk.models import CallReason, CallState, CallTask, CallTaskOrder, Script
from community.desk.starter import STARTERS
from community.groups.models import GroupState
from community.groups.services import read_invitation
from kernel import clock as kernel_clock
from kernel.auth import Role
from kernel.errors import NotFound
from kernel.events import EventRecord, publish
from kernel.staff import handover
from membership.members import queries as members
from membership.members import services as member_services
from membership.members.models import Contact, CustomerType, Purpose
from membership.orders.events import OrderDelivered, OrderRefused
from tests.community.desk.conftest import task_of

DAY = timedelta(days=1)


def told(db, event_type):
    return db.session.scalars(
        select(EventRecord.payload).where(EventRecord.name == event_type.__name__).order_by(EventRecord.id)
    ).all()


def calls(db):
    return db.session.scalars(select(CallTask).order_by(CallTask.id).execution_options(populate_existing=True)).all()


def tomorrow_at_ten():
    return kernel_clock.at(kernel_clock.today() + DAY, 10)


@pytest.fixture
def lin(make_staff):
    return make_staff(Role.SERVICE, name="林")


@pytest.fixture
def wu(make_staff):
    return make_staff(Role.ASSISTANT, name="吴")


# ── Opening ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_delivered_parcel_opens_a_call_for_the_next_morning(db, clock, run_jobs, make_member, delivered):
    ann = make_member()
    order = delivered(ann)
    publish(OrderDelivered(order_id=order.id, member_id=ann.id, delivered_at=clock.now()))
    run_jobs()
    [task] = calls(db)
    assert (task.member_id, task.order_id, task.reason, task.state) == (
        ann.id,
        order.id,
        CallReason.DELIVERED,
        CallState.OPEN,
    )
    assert (task.due_at, task.assignee_id, task.tries) == (tomorrow_at_ten(), None, 0)
    assert told(db, CallTaskOpened) == [{"member_id": ann.id, "task_id": task.id, "reason": "delivered"}]


def test_a_refused_parcel_opens_a_call_within_the_hour(db, clock, run_jobs, make_member, delivered):
    ann = make_member()
    publish(OrderRefused(order_id=delivered(ann).id, member_id=ann.id))
    run_jobs()
    [task] = calls(db)
    assert (task.reason, task.due_at) == (CallReason.REFUSED_PARCEL, clock.now() + timedelta(hours=1))


def test_orders_without_a_member_open_nothing(db, clock, run_jobs, make_member, delivered):
    order = delivered(make_member())
    publish(OrderDelivered(order_id=order.id, member_id=None, delivered_at=clock.now()))
    publish(OrderRefused(order_id=order.id, member_id=None))
    run_jobs()
    assert calls(db) == []


def test_the_same_delivery_told_twice_opens_one_call(db, make_member, delivered):
    ann = make_member()
    order = delivered(ann)
    first = services.open_for_order(order.id, ann.id, CallReason.DELIVERED)
    assert services.open_for_order(order.id, ann.id, CallReason.DELIVERED) is None
    assert [task.id for task in calls(db)] == [first]


def test_an_order_is_asked_about_once_though_the_call_is_over(db, lin, make_member, delivered):
    ann = make_member()
    order = delivered(ann)
    task_id = services.open_for_order(order.id, ann.id, CallReason.DELIVERED)
    services.record_outcome(task_id, lin, services.Outcome(CallState.REACHED), 0)
    assert services.open_for_order(order.id, ann.id, CallReason.DELIVERED) is None
    assert services.open_for_order(delivered(ann).id, ann.id, CallReason.DELIVERED) != task_id
    assert len(calls(db)) == 2


def test_a_second_parcel_joins_the_open_call_and_does_not_put_it_off(db, clock, make_member, delivered):
    ann = make_member()
    one = delivered(ann)
    first = services.open_for_order(one.id, ann.id, CallReason.DELIVERED)
    due = task_of(db, first).due_at
    clock.move(hours=3)
    two = delivered(ann)
    assert services.open_for_order(two.id, ann.id, CallReason.DELIVERED) == first
    [task] = calls(db)
    assert (task.order_id, task.due_at) == (one.id, due)
    assert set(db.session.scalars(select(CallTaskOrder.order_id))) == {one.id, two.id}
    assert len(told(db, CallTaskOpened)) == 1


def test_a_refused_parcel_takes_an_open_call_over(db, clock, make_member, delivered):
    ann = make_member()
    first = services.open_for_order(delivered(ann).id, ann.id, CallReason.DELIVERED)
    refused = delivered(ann)
    assert services.open_for_order(refused.id, ann.id, CallReason.REFUSED_PARCEL) == first
    task = task_of(db, first)
    assert (task.reason, task.order_id, task.due_at) == (
        CallReason.REFUSED_PARCEL,
        refused.id,
        clock.now() + timedelta(hours=1),
    )
    services.open_for_order(delivered(ann).id, ann.id, CallReason.DELIVERED)
    assert task_of(db, first).reason == CallReason.REFUSED_PARCEL


def test_a_time_agreed_with_the_customer_stays(db, clock, lin, make_member, delivered):
    ann = make_member()
    first = services.open_for_order(delivered(ann).id, ann.id, CallReason.DELIVERED)
    agreed = clock.now() + 5 * DAY
    services.record_outcome(first, lin, services.Outcome(CallState.RETRY, retry_at=agreed), 0)
    services.open_for_order(delivered(ann).id, ann.id, CallReason.DELIVERED)
    assert task_of(db, first).due_at == agreed


@pytest.mark.parametrize(("days", "opened"), [(14, True), (14.01, False), (300, False)])
def test_a_parcel_of_long_ago_opens_nothing(db, clock, make_member, delivered, days, opened):
    ann = make_member()
    arrived = clock.now() - days * DAY
    found = services.open_for_order(delivered(ann, arrived).id, ann.id, CallReason.DELIVERED, arrived)
    assert (found is not None) is opened
    if opened:
        assert task_of(db, found).due_at == clock.now()


def test_who_asked_not_to_be_called_is_left_alone(db, make_member, delivered):
    ann = make_member()
    member_services.withdraw_consent(ann.id, Contact.CALL, Purpose.SERVICE, source="call")
    assert services.open_for_order(delivered(ann).id, ann.id, CallReason.DELIVERED) is None


def test_who_opted_out_of_offers_is_still_asked_about_the_parcel(db, make_member, delivered):
    ann = make_member()
    member_services.withdraw_marketing(ann.id, "portal")
    assert services.open_for_order(delivered(ann).id, ann.id, CallReason.DELIVERED) is not None


def test_an_erased_person_is_not_called(db, clock, make_member, delivered):
    ann = make_member(erased_at=clock.now())
    assert services.open_for_order(delivered(ann).id, ann.id, CallReason.DELIVERED) is None


def test_a_merged_member_is_called_as_who_they_are_now(db, clock, make_member, delivered):
    survivor = make_member()
    merged = make_member(merged_into_id=survivor.id)
    task_id = services.open_for_order(delivered(merged).id, merged.id, CallReason.DELIVERED)
    assert task_of(db, task_id).member_id == survivor.id


def test_a_colleague_opens_a_call_by_hand(db, clock, lin, make_member):
    ann = make_member()
    task_id = services.open_by_hand(ann.id, CallReason.FOLLOW_UP, clock.now() + DAY, " 问问尺码 ", lin.id)
    task = task_of(db, task_id)
    assert (task.reason, task.about, task.opened_by_id, task.order_id) == (
        CallReason.FOLLOW_UP,
        "问问尺码",
        lin.id,
        None,
    )
    with pytest.raises(services.CallOpenAlready):
        services.open_by_hand(ann.id, CallReason.FOLLOW_UP, clock.now() + DAY, "", lin.id)


@pytest.mark.parametrize("days", [-1, 61])
def test_a_call_by_hand_lies_ahead(clock, lin, make_member, days):
    with pytest.raises(services.RetryTimeRefused):
        services.open_by_hand(make_member().id, CallReason.FOLLOW_UP, clock.now() + days * DAY, "", lin.id)


def test_a_parcel_joins_a_call_that_was_opened_by_hand(db, clock, lin, make_member, delivered):
    ann = make_member()
    task_id = services.open_by_hand(ann.id, CallReason.FOLLOW_UP, clock.now() + 9 * DAY, "", lin.id)
    order = delivered(ann)
    assert services.open_for_order(order.id, ann.id, CallReason.DELIVERED) == task_id
    task = task_of(db, task_id)
    assert (task.reason, task.order_id, task.due_at) == (CallReason.FOLLOW_UP, order.id, tomorrow_at_ten())


# ── Taking ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_one_takes_a_call_and_the_second_is_told_who(db, lin, wu, call):
    task = call()
    services.take(task.id, lin.id)
    services.take(task.id, lin.id)
    with pytest.raises(services.CallTaken) as refused:
        services.take(task.id, wu.id)
    assert "林" in refused.value.message
    assert task_of(db, task.id).assignee_id == lin.id


def test_taking_over_names_who_had_it(db, lin, wu, make_staff, call):
    third = make_staff(Role.MANAGER)
    task = call()
    services.take(task.id, lin.id)
    services.take(task.id, wu.id, from_id=lin.id)
    assert task_of(db, task.id).assignee_id == wu.id
    with pytest.raises(services.CallTaken):
        services.take(task.id, third.id, from_id=lin.id)


def test_giving_back_is_for_who_has_it(db, lin, wu, call):
    task = call()
    services.take(task.id, lin.id)
    with pytest.raises(services.CallTaken):
        services.release(task.id, wu.id)
    services.release(task.id, lin.id)
    assert task_of(db, task.id).assignee_id is None


def test_many_are_taken_at_once_and_nobody_elses(db, lin, wu, call):
    free, hers, done, other = call(), call(), call(), call()
    services.take(hers.id, wu.id)
    services.record_outcome(done.id, wu, services.Outcome(CallState.REACHED), 0)
    assert services.take_many([free.id, hers.id, done.id, 999_999, free.id], lin.id) == 1
    assert [task_of(db, t.id).assignee_id for t in (free, hers, done, other)] == [lin.id, wu.id, wu.id, None]
    assert services.take_many([], lin.id) == 0


def test_a_call_that_is_not_there_is_not_found(db, lin):
    for act in (lambda: services.take(9, lin.id), lambda: services.release(9, lin.id), lambda: queries.get_task(9)):
        with pytest.raises(NotFound):
            act()


# ── Closing ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("state", [CallState.REACHED, CallState.REFUSED, CallState.UNREACHABLE])
def test_a_call_is_closed_with_what_was_said(db, clock, lin, call, state):
    task = call()
    services.record_outcome(task.id, lin, services.Outcome(state, note=" 很满意 ", satisfaction=5), 0)
    task = task_of(db, task.id)
    assert (task.state, task.outcome_note, task.satisfaction, task.tries) == (state, "很满意", 5, 1)
    assert (task.closed_at, task.called_at, task.closed_by_id, task.assignee_id) == (
        clock.now(),
        clock.now(),
        lin.id,
        lin.id,
    )
    assert told(db, CallClosed) == [
        {"member_id": task.member_id, "task_id": task.id, "outcome": state.value, "staff_id": lin.id}
    ]


def test_calling_again_keeps_the_call_live_and_counts_the_try(db, clock, lin, call):
    task = call()
    first = clock.now()
    services.record_outcome(task.id, lin, services.Outcome(CallState.RETRY, retry_at=first + DAY), 0)
    clock.move(days=1)
    services.record_outcome(task.id, lin, services.Outcome(CallState.UNREACHABLE), 1)
    task = task_of(db, task.id)
    assert (task.state, task.tries, task.called_at, task.closed_at) == (CallState.UNREACHABLE, 2, first, first + DAY)
    assert len(told(db, CallClosed)) == 1


@pytest.mark.parametrize("retry_at", [None, timedelta(0), timedelta(days=61)])
def test_calling_again_needs_a_time_ahead(clock, lin, call, retry_at):
    task = call()
    at = clock.now() + retry_at if retry_at is not None else None
    with pytest.raises(services.RetryTimeRefused):
        services.record_outcome(task.id, lin, services.Outcome(CallState.RETRY, retry_at=at), 0)


def test_two_agents_on_one_call_the_second_is_refused_and_writes_nothing(db, lin, wu, call):
    task = call()
    services.record_outcome(task.id, lin, services.Outcome(CallState.REACHED, note="好"), 0)
    with pytest.raises(services.CallRecorded) as refused:
        services.record_outcome(task.id, wu, services.Outcome(CallState.REFUSED, note="坏", offers=False), 0)
    assert "林" in refused.value.message
    task = task_of(db, task.id)
    assert (task.state, task.outcome_note, task.tries) == (CallState.REACHED, "好", 1)
    assert members.rights(task.member_id) == {}


def test_a_page_from_before_somebodys_try_is_refused(db, clock, lin, wu, call):
    task = call()
    services.record_outcome(task.id, lin, services.Outcome(CallState.RETRY, retry_at=clock.now() + DAY), 0)
    services.release(task.id, lin.id)
    with pytest.raises(services.CallRecorded):
        services.record_outcome(task.id, wu, services.Outcome(CallState.REACHED), 0)
    services.record_outcome(task.id, wu, services.Outcome(CallState.REACHED), 1)
    assert task_of(db, task.id).closed_by_id == wu.id


def test_a_call_that_a_colleague_has_is_not_recorded(lin, wu, call):
    task = call()
    services.take(task.id, lin.id)
    with pytest.raises(services.CallTaken):
        services.record_outcome(task.id, wu, services.Outcome(CallState.REACHED), 0)


def test_the_type_of_the_customer_is_kept_with_them(db, lin, make_member, call):
    ann = make_member(city="上海", address="某路 1 号", hobbies="茶")
    task = call(ann)
    services.record_outcome(task.id, lin, services.Outcome(CallState.REACHED, customer_type=CustomerType.HAGGLER), 0)
    ann = members.get_member(ann.id)
    assert (ann.customer_type, ann.city, ann.address, ann.hobbies) == (CustomerType.HAGGLER, "上海", "某路 1 号", "茶")


def test_a_yes_on_the_phone_is_a_consent_for_the_ways_that_were_named(db, lin, call):
    task = call()
    outcome = services.Outcome(CallState.REACHED, offers=True, ways=(Contact.INBOX, Contact.SMS))
    services.record_outcome(task.id, lin, outcome, 0)
    found = members.rights(task.member_id)
    assert {key: row.granted for key, row in found.items()} == {
        (Contact.INBOX, Purpose.MARKETING): True,
        (Contact.SMS, Purpose.MARKETING): True,
    }
    assert {(row.source, row.text_version) for row in found.values()} == {("call", services.CONSENT_TEXT)}


def test_a_no_on_the_phone_counts_for_every_way(db, lin, call):
    task = call()
    member_services.give_consent(task.member_id, Contact.EMAIL, source="portal")
    services.record_outcome(task.id, lin, services.Outcome(CallState.REACHED, offers=False), 0)
    found = members.rights(task.member_id)
    assert {key[0] for key in found} == set(Contact)
    assert not any(row.granted for row in found.values())


def test_not_asked_writes_nothing(db, lin, call):
    task = call()
    services.record_outcome(task.id, lin, services.Outcome(CallState.REACHED, ways=(Contact.SMS,)), 0)
    assert members.rights(task.member_id) == {}


# ── Inviting ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def reached(lin, call):
    task = call()
    services.record_outcome(task.id, lin, services.Outcome(CallState.REACHED), 0)
    return task


def test_who_was_reached_gets_a_link_of_their_own(app, db, clock, lin, make_group, reached):
    group = make_group("茶友群")
    services.invite(reached.id, group.id, lin.id)
    task = task_of(db, reached.id)
    assert (task.invited_group_id, task.invited_at, task.invited_by_id) == (group.id, clock.now(), lin.id)
    assert told(db, MemberInvited) == [{"member_id": task.member_id, "group_id": group.id, "staff_id": lin.id}]
    with app.test_request_context():
        found = services.invitation(task, members.get_member(task.member_id), lin)
    assert found.address.startswith("http://localhost/g/")
    assert found.address in found.text
    assert "茶友群" in found.text
    assert "<svg" in found.qr
    said = read_invitation(found.address.rpartition("/")[2])
    assert (said.member_id, said.group_id, said.staff_id, said.source) == (task.member_id, group.id, lin.id, "call")


def test_inviting_twice_into_the_same_group_is_told_once(db, lin, wu, make_group, reached):
    group, other = make_group(), make_group()
    services.invite(reached.id, group.id, lin.id)
    services.invite(reached.id, group.id, wu.id)
    assert len(told(db, MemberInvited)) == 1
    services.invite(reached.id, other.id, wu.id)
    assert task_of(db, reached.id).invited_group_id == other.id


def test_only_who_was_reached_is_invited(lin, make_group, call):
    with pytest.raises(services.NotReached):
        services.invite(call().id, make_group().id, lin.id)


@pytest.mark.parametrize("state", [GroupState.CLOSED, GroupState.PAUSED, GroupState.DRAFT, GroupState.ARCHIVED])
def test_nobody_is_invited_into_a_group_that_lets_nobody_in(lin, make_group, reached, state):
    with pytest.raises(services.GroupNotOpen):
        services.invite(reached.id, make_group(state=state).id, lin.id)


def test_nobody_is_invited_where_they_sit_already(lin, make_group, reached):
    group = make_group(members=[members.get_member(reached.member_id)])
    with pytest.raises(services.InGroupAlready):
        services.invite(reached.id, group.id, lin.id)


# ── Scripts ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def count_scripts(db):
    return db.session.scalar(select(func.count()).select_from(Script))


def test_the_first_call_brings_the_starting_scripts_once(db, call):
    assert count_scripts(db) == 0
    call()
    assert count_scripts(db) == len(STARTERS)
    call()
    assert count_scripts(db) == len(STARTERS)


def test_scripts_that_were_deleted_do_not_come_back(db, call):
    call()
    for script in db.session.scalars(select(Script)).all():
        services.delete_script(script.id)
    assert services.ensure_scripts() is False
    call()
    assert count_scripts(db) == 0


def test_a_script_of_ones_own_is_written_changed_and_found(db, clock):
    made = services.add_script(
        services.ScriptDraft(
            " 加急 ", "{nickname}您好\r\n马上处理", CallReason.FOLLOW_UP, CustomerType.PRESSING, "service"
        )
    )
    assert (made.title, made.body) == ("加急", "{nickname}您好\n马上处理")
    services.edit_script(made.id, services.ScriptDraft("加急 2", "好"))
    assert (made.title, made.reason, made.customer_type, made.voice) == ("加急 2", None, None, "")
    assert db.session.scalars(queries.scripts("加急")).all() == [made]
    assert db.session.scalars(queries.scripts("加急 没有")).all() == []
    assert db.session.scalars(queries.scripts("%")).all() == []


@pytest.mark.parametrize("act", ["add", "edit"])
def test_a_place_that_nobody_can_fill_in_is_refused(db, act):
    draft = services.ScriptDraft("题", "{nickname} {price}")
    script = services.add_script(services.ScriptDraft("题", "好"))
    with pytest.raises(services.PlaceUnknown) as refused:
        services.add_script(draft) if act == "add" else services.edit_script(script.id, draft)
    assert "{price}" in refused.value.message


def test_own_scripts_go_before_the_starters(db, clock):
    starters = queries.fitting_scripts(CallReason.DELIVERED, None, Role.SERVICE)
    assert [s.title for s in starters] == ["到货回访"]
    services.add_script(services.ScriptDraft("自己的", "好"))
    assert [s.title for s in queries.fitting_scripts(CallReason.DELIVERED, None, Role.SERVICE)] == ["自己的"]


def test_a_script_of_ones_own_goes_before_the_starters_and_takes_them_from_nobody(db, clock, make_staff):
    writer = make_staff(Role.ASSISTANT)
    services.add_script(services.ScriptDraft("自己的", "好", mine=True), writer.id)

    def found(kind=None):
        fit = queries.fitting_scripts(CallReason.DELIVERED, kind, Role.ASSISTANT, staff_id=writer.id)
        return [script.title for script in fit]

    assert found() == ["自己的", "到货回访"]
    assert (found(CustomerType.RATIONAL)[0], len(found(CustomerType.RATIONAL))) == ("自己的", 3)
    services.add_script(services.ScriptDraft("大家的", "好"))
    assert found() == ["自己的", "大家的"]


def test_whoever_may_write_scripts_of_their_own_can_take_over_a_colleagues(db, clock, make_staff):
    leaves, stays = make_staff(Role.ASSISTANT, "a@shop.example"), make_staff(Role.ASSISTANT, "b@shop.example")
    script = services.add_script(services.ScriptDraft("自己的", "好", mine=True), leaves.id)
    assert handover.hand_over(leaves.id, {"scripts": stays.id}, None) is not None
    assert queries.get_script(script.id, stays.id).owner_id == stays.id


def test_the_dearest_line_is_what_one_names(db, call, make_member):
    task = call()
    assert queries.product_of(task) == "白茶礼盒"
    assert queries.product_of(CallTask(member_id=make_member().id)) == ""


# ── Asked for by a journey ──────────────────────────────────────────────────────────────────────────────────────────


def test_a_journey_asks_for_a_call_and_joins_the_live_one(db, clock, make_member):
    ann = make_member()
    first = services.ask_to_call(ann.id, "Ask how the mug is")
    assert services.ask_to_call(ann.id, "Tell of the refill") == first
    task = calls(db)[0]
    assert (task.state, task.reason, task.about) == (
        CallState.OPEN, CallReason.FOLLOW_UP, "Ask how the mug is\nTell of the refill",
    )  # fmt: skip
    assert [row["task_id"] for row in told(db, CallTaskOpened)] == [first]


def test_a_journey_has_nobody_called_who_asked_not_to_be(db, make_member):
    ann = make_member()
    member_services.withdraw_consent(ann.id, Contact.CALL, Purpose.SERVICE, source="test", text_version="1")
    assert services.ask_to_call(ann.id, "Ask") is None
    assert calls(db) == []


def test_own_scripts_are_nobody_elses_and_what_is_used_stands_first(db, clock, make_staff):
    one, two = make_staff(Role.ASSISTANT, "a@shop.example"), make_staff(Role.SERVICE, "b@shop.example")
    mine = services.add_script(services.ScriptDraft("我的开场", "运费我出", mine=True), one.id)
    both = [services.add_script(services.ScriptDraft(f"通用 {n}", "运费您出")) for n in range(2)]
    services.note_script_used(both[1].id)
    services.note_script_used(10**9)

    def found(person, q="运费"):
        return [
            s.title for s in queries.fitting_scripts(CallReason.DELIVERED, None, person.role, staff_id=person.id, q=q)
        ]

    assert found(one) == ["通用 1", "我的开场", "通用 0"]
    assert found(two) == ["通用 1", "通用 0"]
    assert found(one, q="没有这个") == []
    with pytest.raises(NotFound):
        queries.get_script(mine.id, two.id)
    with pytest.raises(NotFound):
        services.delete_script(mine.id, two.id)
    services.edit_script(mine.id, services.ScriptDraft("给大家", "运费我出"), one.id)
    assert "给大家" in found(two)


def test_somebody_who_was_reached_is_called_once_more_on_the_day_that_was_agreed(db, clock, call, make_staff):
    agent, task = make_staff(Role.SERVICE), call()
    far = kernel_clock.now() + timedelta(days=61)
    with pytest.raises(services.RetryTimeRefused), db.session.begin_nested():
        services.record_outcome(task.id, agent, services.Outcome(CallState.REACHED, again_at=far), 0)
    agreed = kernel_clock.now() + timedelta(days=30)
    services.record_outcome(task.id, agent, services.Outcome(CallState.REACHED, note="月底再问", again_at=agreed), 0)
    later = queries.live_task(task.member_id)
    assert (later.reason, later.due_at, later.about) == (CallReason.FOLLOW_UP, agreed, "月底再问")
    assert task_of(db, task.id).state is CallState.REACHED
