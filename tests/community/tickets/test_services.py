"""The life of a ticket: its clocks, who gets it, its steps, reopening, the return timer, rating, and what follows a person."""

from __future__ import annotations

import io
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from sqlalchemy import select, text

from community.desk import services as desk
from community.desk.models import CallState
from community.tickets import queries, rules, services
from community.tickets.models import EntryKind, Ticket, TicketEntry, TicketKind, TicketSource, TicketState, TicketStep
from kernel import clock as kernel_clock
from kernel import files
from kernel.auth import Role
from kernel.errors import NotFound
from kernel.events import deliver_events
from membership.members.models import CustomerType, Member
from membership.members.services import erasure, merge
from tests.community.desk.conftest import call
from tests.community.tickets.conftest import ticket_of
from tests.conftest import published

__all__ = ["call"]

HOUR = timedelta(hours=1)


def test_a_ticket_opens_with_its_promises_and_says_so(db, clock, ticket):
    opened = ticket(kind=TicketKind.RETURN, answers={"why": "broken"})
    assert opened.state is TicketState.OPEN
    assert opened.subject == "杯口有个缺口"
    # Two hours of the desk, which is open from nine to nine.
    assert opened.due_at == opened.answer_due_at == clock.now() + 2 * HOUR
    # The reason was told, so the next step is to agree.
    assert opened.step == "approved"
    assert published(db, "TicketOpened")[0]["source"] == "member"


def test_what_cannot_be_opened_is_refused(db, clock, ticket, make_member, order):
    with pytest.raises(services.NothingSaid):
        ticket(text=" ")
    with pytest.raises(services.NotTheirOrder):
        ticket(order_id=order(make_member(), clock.now()).id)
    with pytest.raises(services.StepIncomplete):
        ticket(answers={"why": "nonsense"})
    with pytest.raises(NotFound):
        services.open_ticket(services.Opening(10**9, TicketKind.RETURN, "x"))
    member = make_member()
    for _ in range(rules.OPENED_A_DAY):
        ticket(member)
    with pytest.raises(services.TooManyTickets):
        ticket(member)
    clock.move(days=1, minutes=1)
    assert ticket(member).id


def test_the_same_source_opens_one_ticket(db, clock, make_member):
    member = make_member()
    opening = services.Opening(
        member.id, TicketKind.COMPLAINT, "x", source=TicketSource.PROGRAM, source_key="program:1"
    )
    assert services.open_ticket(opening).id == services.open_ticket(opening).id
    assert len(published(db, "TicketOpened")) == 1
    with pytest.raises(services.ReferenceTaken):
        services.open_ticket(replace(opening, member_id=make_member("乙").id))


def test_the_clock_stands_still_while_the_customer_is_asked(db, clock, ticket, make_staff):
    agent, opened = make_staff(Role.SERVICE), ticket()
    clock.move(hours=1)
    services.answer(opened.id, agent.id, "请拍张照片")
    found = ticket_of(db, opened.id)
    assert (found.state, found.answered_minutes, found.spent_minutes) == (TicketState.WAITING, 60, 60)
    assert found.due_at is None
    assert found.assignee_id == agent.id
    clock.move(days=3)
    services.member_write(opened.id, "拍好了")
    found = ticket_of(db, opened.id)
    assert found.state is TicketState.OPEN
    # Sixty hours of the desk less the one that is spent: eight today, four days of twelve, and three.
    assert found.due_at == clock.now() + timedelta(days=4, hours=23)
    clock.move(hours=2)
    services.change_state(opened.id, TicketState.RESOLVED, agent.id)
    found = ticket_of(db, opened.id)
    assert (found.resolution_minutes, found.resolved_by_id, found.due_at) == (180, agent.id, None)
    assert [e["first"] for e in published(db, "TicketAnswered")] == [True]


def test_a_breach_is_not_forgotten_by_asking_back(db, clock, ticket, make_staff):
    agent, opened = make_staff(Role.SERVICE), ticket(kind=TicketKind.WRONG_ADDRESS)
    clock.move(days=2)
    late = ticket_of(db, opened.id).resolve_due_at
    services.answer(opened.id, agent.id, "在查")
    found = ticket_of(db, opened.id)
    assert found.state is TicketState.WAITING
    assert found.due_at == late <= clock.now()
    assert queries.tallies(None).late == 1
    assert [row[0].id for row in db.session.execute(queries.listing(queries.Wanted("late")))] == [opened.id]


def test_somebody_who_wrote_meanwhile_is_read_first(db, clock, ticket, make_staff):
    agent, opened = make_staff(Role.SERVICE), ticket()
    seen = queries.last_spoken(opened.id)
    services.member_write(opened.id, "还有一处")
    with pytest.raises(services.AnsweredMeanwhile):
        services.answer(opened.id, agent.id, "好的", seen=seen)
    services.note(opened.id, agent.id, "老客，客气点")
    services.answer(opened.id, agent.id, "好的", seen=queries.last_spoken(opened.id))
    assert [e.kind for e in queries.entries(opened.id, public=True)] == [
        EntryKind.CUSTOMER, EntryKind.CUSTOMER, EntryKind.ANSWER,
    ]  # fmt: skip


def test_a_return_goes_through_its_steps_and_its_parcel_is_asked_for(db, clock, ticket, make_staff):
    agent, opened = make_staff(Role.SERVICE), ticket(answers={"why": "broken"})
    with pytest.raises(services.StepDone):
        services.do_step(opened.id, "received", {"parcel_state": "complete"}, agent.id)
    services.do_step(opened.id, "approved", {"return_address": "样例路一号"}, agent.id)
    services.answer(opened.id, agent.id, "寄到样例路一号")
    with pytest.raises(services.StepDone):
        services.member_step(opened.id, "received", {"parcel_state": "complete"})
    with pytest.raises(services.StepIncomplete):
        services.member_step(opened.id, "sent", {"carrier": "样板快递"})
    services.member_step(opened.id, "sent", {"carrier": "样板快递", "parcel_number": "DEMO1"})
    assert ticket_of(db, opened.id).state is TicketState.OPEN
    assert queries.parcel_of(opened.id) == "样板快递 DEMO1"
    services.answer(opened.id, agent.id, "等包裹")
    assert services.remind_returns() == 0
    clock.move(days=7, minutes=1)
    assert (services.remind_returns(), services.remind_returns()) == (1, 0)
    # The desk has it again, and it is said once.
    assert ticket_of(db, opened.id).state is TicketState.OPEN
    assert len(published(db, "ReturnOverdue")) == 1
    services.do_step(opened.id, "received", {"parcel_state": "complete"}, agent.id)
    services.do_step(opened.id, "refunded", {"amount": "99"}, agent.id)
    found = ticket_of(db, opened.id)
    assert (found.step, found.return_due_at) == ("", None)
    assert db.session.get(TicketStep, (opened.id, "refunded")).answers == {"amount": 9900}


def test_resolved_closes_by_itself_and_opens_again_for_a_while(db, clock, ticket, make_staff):
    agent, opened = make_staff(Role.SERVICE), ticket()
    services.answer(opened.id, agent.id, "已补发", then=TicketState.RESOLVED)
    clock.move(days=2)
    assert services.close_due() == 0
    services.member_write(opened.id, "没收到")
    assert ticket_of(db, opened.id).reopened == 1
    services.answer(opened.id, agent.id, "今天到", then=TicketState.RESOLVED)
    clock.move(days=3, minutes=1)
    assert services.close_due() == 1
    assert published(db, "TicketClosed")[0]["staff_id"] == agent.id
    with pytest.raises(services.MoveNotListed):
        services.answer(opened.id, agent.id, "x")
    clock.move(days=6)
    services.member_write(opened.id, "又坏了")
    assert ticket_of(db, opened.id).state is TicketState.OPEN
    services.member_resolve(opened.id)
    assert ticket_of(db, opened.id).state is TicketState.CLOSED
    clock.move(days=8)
    with pytest.raises(services.TooLateToReopen):
        services.member_write(opened.id, "x")


def test_it_is_rated_once_it_is_done(db, clock, ticket, make_staff):
    agent, opened = make_staff(Role.SERVICE), ticket()
    with pytest.raises(services.RatedTooEarly):
        services.rate(opened.id, 5)
    services.answer(opened.id, agent.id, "好了", then=TicketState.RESOLVED)
    services.rate(opened.id, 2, "慢")
    services.rate(opened.id, 2, "有点慢")
    services.rate(opened.id, 4)
    assert [e["stars"] for e in published(db, "TicketRated")] == [2, 4]
    every, kinds, people = queries.results(kernel_clock.now() - HOUR, kernel_clock.now() + HOUR)
    assert (every.opened, every.resolved, every.rated, every.stars) == (1, 1, 1, 4.0)
    assert kinds[0].key == "return"
    assert people[0].key == str(agent.id)


def test_who_is_on_gets_the_next_one_up_to_a_cap(db, clock, ticket, make_staff):
    first, second = make_staff(Role.SERVICE, "a@shop.example"), make_staff(Role.ASSISTANT, "b@shop.example")
    make_staff(Role.VIEWER)
    waiting = ticket()
    assert waiting.assignee_id is None
    services.set_presence(first.id, True, ticket_cap=2, keep_caps=False)
    assert ticket_of(db, waiting.id).assignee_id == first.id
    services.set_presence(second.id, True, ticket_cap=1, keep_caps=False)
    assert [ticket().assignee_id for _ in range(3)] == [second.id, first.id, None]
    services.change_state(waiting.id, TicketState.RESOLVED, first.id)
    assert services.hand_out() == 1
    services.set_presence(first.id, False)
    services.set_presence(second.id, False)
    assert ticket().assignee_id is None
    with pytest.raises(services.CapRefused):
        services.set_presence(first.id, True, ticket_cap=0, keep_caps=False)


def test_what_somebody_gave_back_goes_to_others_first(db, clock, ticket, make_staff):
    one, two = make_staff(Role.SERVICE, "a@shop.example"), make_staff(Role.SERVICE, "b@shop.example")
    opened = ticket()
    services.set_presence(one.id, True)
    services.release(opened.id, one.id)
    services.set_presence(two.id, True, ticket_cap=1, keep_caps=False)
    assert ticket_of(db, opened.id).assignee_id == two.id
    services.release(opened.id, two.id)
    assert services.hand_out() == 1
    assert ticket_of(db, opened.id).assignee_id == one.id
    services.release(opened.id, one.id)
    # Nobody else is on.
    services.set_presence(two.id, False)
    assert services.hand_out() == 1
    held = ticket_of(db, opened.id)
    assert (held.assignee_id, held.released_by_id) == (one.id, None)


def test_by_hand_claiming_is_refused_when_a_colleague_has_it(db, clock, ticket, make_staff):
    first, second = make_staff(Role.SERVICE, "a@shop.example"), make_staff(Role.SERVICE, "b@shop.example")
    viewer, opened = make_staff(Role.VIEWER), ticket()
    services.claim(opened.id, first.id)
    with pytest.raises(services.TicketTaken):
        services.claim(opened.id, second.id)
    services.assign(opened.id, second.id, first.id)
    assert ticket_of(db, opened.id).assignee_id == second.id
    services.release(opened.id, second.id)
    with pytest.raises(NotFound):
        services.assign(opened.id, viewer.id, first.id)


def test_several_are_taken_only_where_nobody_has_them(db, clock, ticket, make_staff):
    first, second = make_staff(Role.SERVICE, "a@shop.example"), make_staff(Role.SERVICE, "b@shop.example")
    theirs, free = ticket(), ticket()
    services.claim(theirs.id, first.id)
    assert services.assign_many([theirs.id, free.id], second.id, second.id) == 1
    assert [ticket_of(db, one.id).assignee_id for one in (theirs, free)] == [first.id, second.id]


def test_what_somebody_had_whose_account_is_closed_is_handed_on(db, clock, ticket, make_staff):
    gone, stays = make_staff(Role.SERVICE, "a@shop.example"), make_staff(Role.SERVICE, "b@shop.example")
    live, waiting, done = ticket(), ticket(), ticket()
    for one in (live, waiting, done):
        services.claim(one.id, gone.id)
    services.change_state(waiting.id, TicketState.WAITING, gone.id)
    services.change_state(done.id, TicketState.RESOLVED, gone.id)
    assert services.hand_out() == 0
    gone.disabled_at = clock.now()
    services.set_presence(stays.id, True)
    assert [ticket_of(db, one.id).assignee_id for one in (live, waiting, done)] == [stays.id, None, gone.id]


def test_another_kind_begins_its_steps_anew(db, clock, ticket, make_staff):
    agent, opened = make_staff(Role.SERVICE), ticket(answers={"why": "broken"})
    services.change_kind(opened.id, TicketKind.COMPLAINT, agent.id)
    found = ticket_of(db, opened.id)
    assert (found.step, found.answer_minutes) == ("heard", 60)
    assert queries.steps_done(opened.id) == {}


def test_saved_answers_and_scripts_are_found_by_words_type_and_voice(db, clock, ticket, make_staff, make_member, order):
    agent, other = make_staff(Role.SERVICE), make_staff(Role.ASSISTANT)
    desk.ensure_scripts()
    services.add_macro(services.MacroDraft("退回地址", "{nickname}，请寄到样例路", TicketKind.RETURN), agent.id)
    services.add_macro(services.MacroDraft("我的", "只我看", mine=True), other.id)
    with pytest.raises(services.PlaceUnknown):
        services.add_macro(services.MacroDraft("x", "{price}"), agent.id)
    found = queries.phrases(agent.id, agent.role, "", TicketKind.RETURN, CustomerType.HAGGLER)
    assert found[0].title == "退回地址"
    assert {p.customer_type for p in found if p.script_id} <= {None, CustomerType.HAGGLER}
    assert CustomerType.HAGGLER in {p.customer_type for p in found}
    assert [p.title for p in queries.phrases(agent.id, agent.role, "样例路")] == ["退回地址"]
    assert queries.phrases(agent.id, agent.role, "只我看") == []
    words = services.words_for(make_member("小满"), agent)
    assert rules.fill("{nickname}", words) == "小满"


def test_an_upset_call_opens_a_complaint_once(db, clock, call, make_staff):
    agent, task = make_staff(Role.SERVICE), call()
    desk.record_outcome(task.id, agent, desk.Outcome(CallState.REACHED, "少了一只", satisfaction=2), 0)
    db.session.commit()
    db.session.expire_all()
    for _ in range(2):
        deliver_events.direct()
    assert db.session.scalars(text("SELECT error FROM event_delivery WHERE error IS NOT NULL")).all() == []
    found = db.session.scalars(select(Ticket)).one()
    assert (found.kind, found.source, found.order_id) == (TicketKind.COMPLAINT, TicketSource.CALL, task.order_id)
    assert [e.body for e in queries.entries(found.id)] == ["少了一只"]


def picture(app) -> str:
    stream = io.BytesIO()
    Image.new("RGB", (20, 20)).save(stream, "PNG")
    stream.seek(0)
    return files.save_picture(stream, private=True)


def test_merging_brings_tickets_along_and_erasing_empties_them(app, db, clock, ticket, make_member, settings):
    with app.test_request_context():
        key = picture(app)
        one, two = make_member("甲"), make_member("乙")
        opened = ticket(two, pictures=(key,))
        path = settings.files_dir / "private" / key[:2] / key
        assert path.exists()
        merge.merge(one.id, two.id)
        assert ticket_of(db, opened.id).member_id == one.id
        erasure.erase(one.id, str(one.id))
        db.session.commit()
    found = ticket_of(db, opened.id)
    assert (found.state, found.subject, found.due_at) == (TicketState.CLOSED, "", None)
    entry = db.session.scalars(select(TicketEntry).where(TicketEntry.kind == EntryKind.CUSTOMER)).one()
    assert (entry.body, entry.pictures) == ("", [])


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(acts=st.lists(st.sampled_from(["answer", "wait", "open", "resolve", "close", "write", "hours"]), max_size=12))
def test_inv_ticket_clocks_and_history_agree_whatever_happens(db, clock, make_member, make_staff, acts):
    """In any order of acts the spent minutes are those in which the state was open, and the state is the last that was told."""
    agent = db.session.scalar(text("SELECT id FROM staff LIMIT 1")) or make_staff(Role.SERVICE).id
    member: Member = make_member()
    opened = services.open_ticket(services.Opening(member.id, TicketKind.RETURN, "x"))
    ran, since, state = 0, clock.now(), TicketState.OPEN
    desk_hours = services.desk_settings().hours
    for act in acts:
        if act == "hours":
            clock.move(hours=5)
            continue
        before = state
        try:
            match act:
                case "answer":
                    services.answer(opened.id, agent, "y")
                    state = TicketState.WAITING if before in rules.LIVE else before
                case "write":
                    services.member_write(opened.id, "z")
                    state = TicketState.OPEN
                case _:
                    to = {"wait": "waiting", "open": "open", "resolve": "resolved", "close": "closed"}[act]
                    services.change_state(opened.id, TicketState(to), agent)
                    state = TicketState(to)
        except services.MoveNotListed:
            state = before
        if before is TicketState.OPEN and state is not TicketState.OPEN:
            ran += rules.minutes_between(kernel_clock.local(since), kernel_clock.local(clock.now()), desk_hours)
        if before is not TicketState.OPEN and state is TicketState.OPEN:
            since = clock.now()
    found = ticket_of(db, opened.id)
    assert found.state is state
    assert found.spent_minutes == ran
    told = [e.about for e in queries.entries(opened.id) if e.kind is EntryKind.STATE]
    assert ([TicketState.OPEN.value, *told])[-1] == state.value
    late = rules.is_late(found.resolve_due_at, clock.now())
    assert late or (found.resolve_due_at is None) == (state is not TicketState.OPEN)
