"""Words to members that they were answered: once until they look, in the inbox, and by one way that they agreed to."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import event, select

from campaigns.channels import jobs, pace, services
from campaigns.channels.adapters import Outcome, Status
from campaigns.channels.models import Account, ChannelKind, InboxMessage, NoticeState, ServiceNotice
from campaigns.channels.services import notices, texts
from community.conversations import services as talks
from community.conversations.models import Ending
from community.tickets import services as desk
from community.tickets.models import TicketKind, TicketSource, TicketState
from kernel import links
from kernel.auth import Role
from membership.members import services as people
from membership.members.models import Contact, Member, Purpose
from tests.conftest import bind, english

from .conftest import SMS_GATEWAY, Say, Side

PHONE = "+8610000000007"
Told = Callable[[], list[ServiceNotice]]


@pytest.fixture
def told(db: Any, clock: Any, run_jobs: Any) -> Told:
    """`told()` lets events reach their subscribers and, two minutes later, what is due go; returns the notices, the newest last."""

    def run() -> list[ServiceNotice]:
        run_jobs()
        clock.move(minutes=2)
        jobs.write_letters.later()
        run_jobs()
        return list(db.session.scalars(select(ServiceNotice).order_by(ServiceNotice.id)))

    return run


@pytest.fixture
def lime(db: Any, clock: Any, make_member: Any) -> Member:
    member: Member = make_member("Lime", phone=PHONE)
    member.locale = "en"
    db.session.flush()
    return member


def lies(db: Any, member: Member) -> list[tuple[str, str | None, bool]]:
    rows = db.session.scalars(select(InboxMessage).where(InboxMessage.member_id == member.id).order_by(InboxMessage.id))
    return [(row.title, row.path, row.read_at is not None) for row in rows]


def agree(member: Member, way: Contact) -> None:
    people.give_consent(member.id, way, Purpose.SERVICE, source="test", text_version="1")


def test_an_answer_is_told_once_until_the_member_has_looked(
    app: Any, db: Any, clock: Any, lime: Member, told: Told, make_staff: Any, run_jobs: Any
) -> None:
    agent = make_staff(Role.SERVICE)
    asked = talks.ask(lime.id, "几时发货")
    found = talks.queries.get_conversation(asked.conversation_id)
    talks.say(found.id, agent.id, "今天发")
    # Whoever sits before the page looks within a minute, and is told nothing.
    browser = bind(english(app.test_client()), lime.id, True)
    run_jobs()
    assert browser.post(f"/ask/{found.public_id}/looked").status_code == 204
    assert [one.state for one in told()] == [NoticeState.LOOKED]
    assert lies(db, lime) == []
    # Away from the page: told once, however much is written.
    for words in ("还有", "再说一句"):
        talks.say(found.id, agent.id, words)
        last = told()[-1]
    assert (last.state, last.contact) == (NoticeState.INBOX, None)
    assert lies(db, lime) == [("We have answered you", f"/ask/{found.public_id}", False)]
    assert "We have answered you" in browser.get("/me/").text
    # Reading the messages counts as having looked; so does writing.
    browser.post("/me/messages/read")
    talks.say(found.id, agent.id, "您看到了吗")
    assert len(told()) == 3
    browser.post("/ask", data={"words": "看到了"})
    assert told()[-1].looked_at is not None
    assert lies(db, lime)[-1][2]
    # Ended by the desk: asked how it was, unless they have said so.
    talks.close(found.id, Ending.STAFF, staff_id=agent.id)
    told()
    assert lies(db, lime)[-1] == ("How was it?", f"/ask/{found.public_id}", False)
    assert services.forget_notices() == 0
    clock.move(days=200)
    # All four, though at the last of them they have never looked.
    assert services.forget_notices() == 4


def test_what_was_read_before_its_event_came_is_not_told(lime: Member, told: Told, make_staff: Any) -> None:
    """A backlog, or a second delivery, comes after the look."""
    agent = make_staff(Role.SERVICE)
    asked = talks.ask(lime.id, "几时发货")
    talks.say(asked.conversation_id, agent.id, "今天发")
    talks.note_looked(asked.conversation_id)
    ticket = desk.open_ticket(desk.Opening(member_id=lime.id, kind=TicketKind.RETURN, text="x"))
    desk.answer(ticket.id, agent.id, "收到")
    desk.note_looked(ticket.id)
    assert told() == []
    talks.say(asked.conversation_id, agent.id, "发了")
    desk.answer(ticket.id, agent.id, "寄回来吧")
    assert len(told()) == 2


def test_what_was_not_on_the_page_yet_is_not_looked_at(
    app: Any, db: Any, lime: Member, told: Told, make_staff: Any
) -> None:
    """The page told of what it showed while the next answer was written."""
    agent = make_staff(Role.SERVICE)
    browser = bind(english(app.test_client()), lime.id, True)
    talk = talks.queries.get_conversation(talks.ask(lime.id, "几时发货").conversation_id)
    ticket = desk.open_ticket(desk.Opening(member_id=lime.id, kind=TicketKind.RETURN, text="x"))

    def shown() -> dict[str, str]:
        pages = (f"/ask/{talk.public_id}", f"/tickets/{ticket.public_id}")
        return {page: re.findall(r'data-shown="(\d+)"', browser.get(page).text)[0] for page in pages}

    def answer() -> None:
        talks.say(talk.id, agent.id, "今天发")
        desk.answer(ticket.id, agent.id, "收到", then=TicketState.OPEN)

    answer()
    before = shown()
    answer()
    for numbers, open_ones in ((before, 2), (shown(), 0)):
        for page, number in numbers.items():
            assert browser.post(f"{page}/looked", data={"shown": number}).status_code == 204
        assert sum(one.looked_at is None for one in told()) == open_ones


def test_whoever_looked_at_the_question_how_it_was_or_answered_it_is_not_asked_again(
    app: Any, db: Any, lime: Member, told: Told, make_staff: Any, run_jobs: Any
) -> None:
    agent = make_staff(Role.SERVICE)
    browser = bind(english(app.test_client()), lime.id, True)

    def ended() -> str:
        asked = talks.ask(lime.id, "几时发货")
        talks.say(asked.conversation_id, agent.id, "今天发")
        page = f"/ask/{talks.queries.get_conversation(asked.conversation_id).public_id}"
        browser.post(f"{page}/looked")
        talks.close(asked.conversation_id, Ending.STAFF, staff_id=agent.id)
        run_jobs()
        return page

    page = ended()
    # Whoever still sits before the conversation reads that it is over, and where to say how it was.
    assert f'href="{page}"' in browser.get(f"{page}/messages").text
    assert "data-over" in browser.get(page).text
    assert told()[-1].state is NoticeState.INBOX
    browser.post(f"{page}/looked")
    assert told()[-1].looked_at is not None
    talks.rate(talks.queries.get_by_public_id(ended().removeprefix("/ask/")).id, 5)
    assert told()[-1].state is NoticeState.LOOKED


def test_whoever_looks_locks_notices_by_number_and_before_messages(app: Any, db: Any, lime: Member, told: Told) -> None:
    for about in ("ticket:2", "ticket:1"):
        notices.tell(lime.id, about, "a", "b", "/tickets/x")
    told()
    said: list[str] = []

    def listen(_connection: Any, _cursor: Any, statement: str, *_more: Any) -> None:
        said.append(statement)

    event.listen(db.engine, "before_cursor_execute", listen)
    try:
        bind(app.test_client(), lime.id, True).post("/me/messages/read")
    finally:
        event.remove(db.engine, "before_cursor_execute", listen)
    changing = [one for one in said if "service_notice" in one or one.startswith("UPDATE inbox_message")]
    assert "ORDER BY service_notice.id FOR UPDATE" in " ".join(changing[0].split())
    assert [one.split()[1] for one in changing[1:]] == ["service_notice", "inbox_message", "inbox_message"]


def test_a_ticket_is_told_of_with_its_kind_and_asks_how_it_went(
    app: Any, db: Any, clock: Any, lime: Member, told: Told, make_staff: Any
) -> None:
    agent = make_staff(Role.SERVICE)
    opening = desk.Opening(member_id=lime.id, kind=TicketKind.RETURN, text="杯口缺了", source=TicketSource.MEMBER)
    ticket = desk.open_ticket(opening)
    desk.answer(ticket.id, agent.id, "收到", then=TicketState.WAITING)
    told()
    assert lies(db, lime) == [("We have answered you", f"/tickets/{ticket.public_id}", False)]
    browser = bind(english(app.test_client()), lime.id, True)
    assert "data-looked" in browser.get(f"/tickets/{ticket.public_id}").text
    assert browser.post(f"/tickets/{ticket.public_id}/looked").status_code == 204
    desk.change_state(ticket.id, TicketState.RESOLVED, agent.id)
    told()
    assert [title for title, _path, _read in lies(db, lime)] == ["We have answered you", "How did we do?"]
    # A browser that is only bound has to show who it is.
    assert bind(app.test_client(), lime.id).post(f"/tickets/{ticket.public_id}/looked").status_code == 302


def test_a_ticket_that_was_put_right_looked_at_and_opened_again_is_told_of_anew(
    app: Any, clock: Any, lime: Member, told: Told, make_staff: Any
) -> None:
    agent = make_staff(Role.SERVICE)
    ticket = desk.open_ticket(desk.Opening(member_id=lime.id, kind=TicketKind.RETURN, text="杯口缺了"))
    browser = bind(english(app.test_client()), lime.id, True)
    page = f"/tickets/{ticket.public_id}"
    # Asked how it went, they look and say so, or say so by a link alone; then it breaks again.
    link = links.make("ticket.rate", ticket.id, expires_at=clock.now() + timedelta(days=1))
    for said in ([f"{page}/looked"], [f"{page}/looked", f"{page}/rating"], [f"/rate/{link}"]):
        ticket.satisfaction = None
        desk.change_state(ticket.id, TicketState.RESOLVED, agent.id)
        assert told()[-1].looked_at is None
        for path in said:
            assert browser.post(path, data={"stars": "4"}).status_code in (204, 302, 303)
        assert told()[-1].looked_at is not None
        browser.post(f"{page}/messages", data={"body": "又坏了"})
        desk.answer(ticket.id, agent.id, "再换一个")
        assert (told()[-1].title, told()[-1].looked_at) == ("We have answered you", None)
        browser.post(f"{page}/looked")


def test_what_is_told_of_a_word_of_feedback_does_not_call_it_an_after_sale_case(
    db: Any, lime: Member, told: Told, make_staff: Any
) -> None:
    agent = make_staff(Role.SERVICE)
    lime.locale = "zh_Hans"
    ticket = desk.open_ticket(desk.Opening(member_id=lime.id, kind=TicketKind.FEEDBACK, text="茶很香"))
    desk.answer(ticket.id, agent.id, "谢谢")
    assert told()[-1].body == "您提交的“反馈”有新进展。"
    desk.note_looked(ticket.id)
    desk.change_state(ticket.id, TicketState.RESOLVED, agent.id)
    assert told()[-1].body == "您提交的“反馈”已处理好，说说您满不满意。"


def test_the_member_who_says_it_is_put_right_is_not_asked_again(
    db: Any, clock: Any, lime: Member, told: Told, make_staff: Any
) -> None:
    ticket = desk.open_ticket(desk.Opening(member_id=lime.id, kind=TicketKind.RETURN, text="x"))
    desk.assign(ticket.id, make_staff(Role.SERVICE).id, make_staff(Role.OWNER).id)
    desk.member_resolve(ticket.id)
    assert told() == []


def test_a_text_message_goes_where_they_agreed_and_never_at_night(
    db: Any, clock: Any, lime: Member, told: Told, make_staff: Any, sms_account: Account, side: Side
) -> None:
    agent = make_staff(Role.SERVICE)
    agree(lime, Contact.SMS)
    clock.move(hours=12)  # Midnight.
    asked = talks.ask(lime.id, "在吗")
    talks.say(asked.conversation_id, agent.id, "在")
    assert told()[0].state is NoticeState.WAITING
    assert side.taken == []
    # The inbox makes no sound.
    assert len(lies(db, lime)) == 1
    clock.move(hours=9)
    (sent,) = told()
    assert (sent.state, sent.contact, sent.account_id) == (NoticeState.SENT, Contact.SMS, sms_account.id)
    (request,) = side.taken
    words = request.json["content"]
    assert words.startswith("【青荷茶铺】")
    # Carriers refuse links that differ, and the words say nothing of what was asked.
    assert words.rstrip().endswith("/ask")
    assert "在吗" not in words
    assert len(lies(db, lime)) == 1


def test_how_content_they_are_is_asked_in_the_inbox_and_never_by_text_message(
    lime: Member, told: Told, make_staff: Any, sms_account: Account, side: Side
) -> None:
    agent = make_staff(Role.SERVICE)
    agree(lime, Contact.SMS)
    asked = talks.ask(lime.id, "在吗")
    talks.say(asked.conversation_id, agent.id, "在")
    told()
    talks.note_looked(asked.conversation_id)
    talks.close(asked.conversation_id, Ending.STAFF, staff_id=agent.id)
    assert [(one.title, one.state) for one in told()] == [
        ("We have answered you", NoticeState.SENT),
        ("How was it?", NoticeState.INBOX),
    ]
    # A ticket that is answered and put right at once is told of once.
    ticket = desk.open_ticket(desk.Opening(member_id=lime.id, kind=TicketKind.RETURN, text="x"))
    desk.answer(ticket.id, agent.id, "好了", then=TicketState.RESOLVED)
    assert [one.state for one in told()][2:] == [NoticeState.SENT]
    assert len(side.taken) == 2


def test_check_f1_no_letter_without_a_live_consent_and_none_to_a_dead_number(
    db: Any, clock: Any, lime: Member, told: Told, make_staff: Any, sms_account: Account, side: Side
) -> None:
    agent = make_staff(Role.SERVICE)
    asked = talks.ask(lime.id, "在吗")
    people.give_consent(lime.id, Contact.SMS, Purpose.MARKETING, source="test", text_version="1")
    talks.say(asked.conversation_id, agent.id, "在")
    agree(lime, Contact.SMS)
    # Taken back before it goes: judged when it goes.
    people.withdraw_consent(lime.id, Contact.SMS, Purpose.SERVICE, source="test", text_version="1")
    assert told()[0].state is NoticeState.INBOX
    services.looked(f"conversation:{asked.conversation_id}")
    agree(lime, Contact.SMS)
    services.give_up(lime.id, PHONE, "no such number", Contact.SMS)
    talks.say(asked.conversation_id, agent.id, "还在")
    assert told()[-1].state is NoticeState.INBOX
    assert side.taken == []


def test_what_the_gateway_does_is_written_down_and_doubt_is_never_sent_again(
    db: Any, clock: Any, lime: Member, told: Told, make_staff: Any, sms_account: Account, side: Side
) -> None:
    agree(lime, Contact.SMS)
    asked = talks.ask(lime.id, "在吗")
    talks.say(asked.conversation_id, make_staff(Role.SERVICE).id, "在")
    clock.move(minutes=2)
    side.answers = [Say(status=503), Say(status=0)]
    assert told()[0].state is NoticeState.WAITING
    clock.move(minutes=70)
    assert told()[0].state is NoticeState.UNKNOWN
    clock.move(hours=1)
    told()
    assert len(side.taken) == 2
    # A worker that died while it sent leaves doubt, too.
    services.looked(f"conversation:{asked.conversation_id}")
    notices.tell(lime.id, "ticket:1", "a", "b", "/tickets/x")
    clock.move(minutes=2)
    assert isinstance(services.take_letter(), services.Letter)
    clock.move(minutes=10)
    assert told()[-1].state is NoticeState.UNKNOWN


def test_each_notice_is_a_turn_of_its_own_though_the_account_is_spent(
    clock: Any, lime: Member, make_member: Any, make_account: Any, side: Side
) -> None:
    make_account(
        ChannelKind.SMS, rates=pace.Rates(None, None, None, 1), url=side.url, timeout_seconds=0.5, **SMS_GATEWAY
    )
    agree(lime, Contact.SMS)
    silent = make_member("Plum")
    for number, member in enumerate((silent, silent, lime, lime, lime)):
        notices.tell(member.id, f"ticket:{number}", "a", "b", "/tickets/x")
    clock.move(minutes=2)
    turns = [services.take_letter() for _turn in range(6)]
    assert turns[:2] == [services.Turn.ON] * 2
    assert isinstance(turns[2], services.Letter)
    assert turns[3:] == [services.Turn.ON, services.Turn.ON, services.Turn.OVER]


def test_whoever_looks_while_a_try_fails_is_not_written_to_again(
    clock: Any, lime: Member, told: Told, sms_account: Account, side: Side
) -> None:
    agree(lime, Contact.SMS)
    notices.tell(lime.id, "ticket:1", "a", "b", "/tickets/x")
    clock.move(minutes=2)
    letter = services.take_letter()
    assert isinstance(letter, services.Letter)
    services.looked("ticket:1")
    services.note_letter(letter, Outcome(Status.RETRY, "busy"))
    clock.move(minutes=70)
    assert told()[0].state is NoticeState.LOOKED
    assert side.taken == []


def test_a_provider_with_templates_says_its_own_words(db: Any, clock: Any, make_account: Any) -> None:
    account = make_account(
        ChannelKind.SMS,
        provider="aliyun",
        signature="青荷茶铺",
        key_id="x",
        templates="SMS_1 您的验证码为${code}\nSMS_2 您的咨询已回复，请到会员页查看",
    )
    assert texts.answered_text(account) == "【青荷茶铺】您的咨询已回复，请到会员页查看"
    account.settings = account.settings | {"templates": "SMS_1 您的验证码为${code}"}
    assert texts.answered_text(account) is None
