"""Conversations: who answers, limits, the inbox, the Ask page, transcripts, stars, tickets, merging and erasing."""

from __future__ import annotations

import io
import re
from datetime import timedelta

import pytest
from PIL import Image
from sqlalchemy import select

from community.conversations import ports, queries, rules, services
from community.conversations.models import Conversation, Ending, Message, Sender, TalkState
from community.conversations.rules import Asked, Band, Choice, Reply, Suggestion, Welcome
from community.tickets import services as desk
from community.tickets.models import Ticket, TicketKind
from kernel.auth import Role
from kernel.errors import NotFound
from membership.members.services import erasure, merge
from tests.community.tickets.conftest import make_group, make_member, order
from tests.conftest import bind, english, everything, published

__all__ = ["make_group", "make_member", "order"]


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    """The ports as they are when no room above keeps answers; a test fills them itself."""
    for port in (ports.answer, ports.welcome, ports.suggest):
        monkeypatch.setattr(port, "_answers", [])


@pytest.fixture
def bot():
    """`bot(reply)` answers whatever is asked; returns what it was asked."""

    def make(*replies):
        heard, waiting = [], list(replies)

        def answer(asked: Asked):
            heard.append(asked)
            return waiting.pop(0) if len(waiting) > 1 else waiting[0]

        ports.answer.fill(answer)
        return heard

    return make


@pytest.fixture
def phone(app, db):
    return lambda member, identified=True: bind(english(app.test_client()), member.id, identified)


def talk(db, message: Message) -> Conversation:
    return db.session.scalars(
        select(Conversation).where(Conversation.id == message.conversation_id).execution_options(populate_existing=True)
    ).one()


def words(answer) -> str:
    return answer.get_data(as_text=True)


def said(conversation_id: int) -> list[tuple[str, str]]:
    return [(m.sender.value, m.body) for m in queries.messages(conversation_id)]


def test_without_a_bot_everything_goes_to_people(db, clock, make_member, make_staff):
    agent = make_staff(Role.SERVICE)
    asked = services.ask(make_member("小满").id, "几时发货")
    found = talk(db, asked)
    assert found.state is TalkState.QUEUED
    # Nobody is on, and that is said.
    assert said(found.id)[-1][0] == "system"
    desk.set_presence(agent.id, True)
    assert services.hand_out() == 1
    clock.move(seconds=90)
    services.say(found.id, agent.id, "今天发")
    found = talk(db, asked)
    assert (found.state, found.assignee_id, found.answer_seconds, found.waits_since) == (
        TalkState.OPEN, agent.id, 90, None,
    )  # fmt: skip
    event = published(db, "ConversationAnswered")[0]
    assert (event["question_id"], event["first"]) == (asked.id, True)


def test_at_night_it_is_said_when_somebody_comes(db, clock, make_member):
    clock.move(hours=11)
    found = talk(db, services.ask(make_member().id, "在吗"))
    assert "9:00" in said(found.id)[-1][1].replace("09:00", "9:00")


def test_the_bot_answers_offers_and_hands_over(db, clock, make_member, bot):
    choices = tuple(Choice(f"q{n}", f"问题 {n}") for n in range(6))
    heard = bot(
        Reply(Band.ANSWER, "三天内到", answer_key="delivery"),
        Reply(Band.OFFER, "您是问这些吗", choices),
        Reply(Band.ANSWER, "可以退", answer_key="return"),
        Reply(Band.HAND_OVER, "我请同事来"),
    )
    member = make_member("小满")
    found = talk(db, services.ask(member.id, "几天到"))
    assert found.state is TalkState.BOT
    services.ask(member.id, "退")
    assert len(queries.last_choices(found.id)) == rules.MOST_CHOICES
    services.ask(member.id, picked="q2")
    assert (heard[-1].picked, heard[-1].text) == ("q2", "问题 2")
    services.ask(member.id, "说不清")
    found = talk(db, queries.messages(found.id)[0])
    assert found.state is TalkState.QUEUED
    assert ("bot", "我请同事来") in said(found.id)
    # A key that was not shown is no answer to anything.
    with pytest.raises(services.NothingAsked):
        services.ask(make_member().id, picked="q9")
    services.ask(member.id, "还在吗")
    assert len(heard) == 4


def test_three_offers_in_vain_bring_a_person(db, clock, make_member, bot):
    bot(Reply(Band.OFFER, "是这些吗", (Choice("a", "甲"),)))
    member = make_member()
    for n in range(rules.MOST_TRIES):
        found = talk(db, services.ask(member.id, f"第{n}次"))
    assert found.state is TalkState.QUEUED


def test_a_person_please_and_the_bot_steps_back(db, clock, make_member, bot):
    bot(Reply(Band.ANSWER, "好"))
    found = talk(db, services.ask(make_member().id, "x"))
    services.ask_for_person(found.id)
    services.ask_for_person(found.id)
    assert [e["asked_for"] for e in published(db, "ConversationHandedOver")] == [True]


def test_asking_has_its_limits(db, clock, make_member):
    member = make_member()
    for n in range(rules.A_MINUTE):
        services.ask(member.id, str(n))
    with pytest.raises(services.TooMuchAtOnce):
        services.ask(member.id, "x")
    clock.move(minutes=1, seconds=1)
    services.ask(member.id, "x" * 3_000)
    assert len(queries.messages(queries.live_of(member.id).id)[-1].body) == rules.LONGEST_MESSAGE
    for _ in range(rules.TALKS_A_DAY - 1):
        services.close(queries.live_of(member.id).id, Ending.MEMBER)
        clock.move(minutes=2)
        services.ask(member.id, "y")
    services.close(queries.live_of(member.id).id, Ending.MEMBER)
    clock.move(minutes=2)
    with pytest.raises(services.EnoughForToday):
        services.ask(member.id, "z")
    with pytest.raises(services.NothingAsked):
        services.ask(member.id, "  ")
    with pytest.raises(NotFound):
        services.ask(10**9, "x")


def test_take_release_hand_over_and_caps(db, clock, make_member, make_staff):
    one, two = make_staff(Role.SERVICE, "a@shop.example"), make_staff(Role.ASSISTANT, "b@shop.example")
    found = talk(db, services.ask(make_member().id, "x"))
    services.take(found.id, one.id)
    with pytest.raises(services.TalkTaken):
        services.take(found.id, two.id)
    with pytest.raises(services.TalkTaken):
        services.say(found.id, two.id, "我来")
    services.take(found.id, two.id, from_id=one.id)
    with pytest.raises(services.TalkTaken):
        services.release(found.id, one.id)
    services.hand_over(found.id, two.id, one.id)
    assert talk(db, queries.messages(found.id)[0]).assignee_id == one.id
    services.release(found.id, one.id)
    desk.set_presence(one.id, True, talk_cap=1, keep_caps=False)
    assert services.hand_out() == 1
    later = talk(db, services.ask(make_member().id, "y"))
    assert later.state is TalkState.QUEUED
    services.close(found.id, Ending.STAFF)
    assert talk(db, queries.messages(later.id)[0]).assignee_id == one.id
    with pytest.raises(services.TalkOver):
        services.say(found.id, one.id, "z")


def test_new_words_are_read_before_an_answer(db, clock, make_member, make_staff):
    agent, member = make_staff(Role.SERVICE), make_member()
    found = talk(db, services.ask(member.id, "x"))
    seen = queries.last_word(found.id, but=agent.id)
    services.ask(member.id, "更正")
    with pytest.raises(services.SomethingNew):
        services.say(found.id, agent.id, "y", seen=seen)
    with pytest.raises(services.SomethingNew):
        services.close(found.id, Ending.STAFF, seen, agent.id)
    services.say(found.id, agent.id, "好的", seen=queries.last_word(found.id, but=agent.id))
    services.close(found.id, Ending.STAFF, queries.last_word(found.id, but=agent.id), agent.id)
    assert not queries.get_conversation(found.id).live


def test_the_queue_shows_the_question_and_words_that_came_too_late_are_given_back(db, clock, browse, make_member):
    found = talk(db, services.ask(make_member("小满").id, "杯子能进微波炉吗"))
    one, two = browse(Role.SERVICE), browse(Role.ASSISTANT)
    here = f"/console/inbox/{found.id}"
    # What the house says by itself, such as when the desk opens, is no question.
    assert queries.messages(found.id)[-1].sender is not Sender.MEMBER
    assert "杯子能进微波炉吗" in words(one.get("/console/inbox/queue?view=waiting"))
    assert 'href="/console/inbox?view=waiting"' in words(one.get("/console/inbox/queue?view=mine"))
    two.post(f"{here}/take")
    late = one.post(f"{here}/messages", data={"words": "可以，先擦干"})
    assert late.status_code == 409
    assert 'id="unsent"' in words(late)
    assert "可以，先擦干" in words(late)
    two.post(f"{here}/close")
    late = two.post(f"{here}/messages", data={"words": "再补一句"})
    assert late.status_code == 409
    assert 'id="unsent"' in words(late)
    assert "再补一句" in words(late)
    assert 'href="/console/inbox?view=waiting"' not in words(one.get("/console/inbox/queue?view=mine"))


def test_ending_it_on_the_page_leaves_a_word_that_nobody_saw(db, clock, browse, make_member):
    inbox, member = browse(Role.SERVICE), make_member()
    found = talk(db, services.ask(member.id, "x"))
    here = f"/console/inbox/{found.id}"
    seen = re.search(r'/close".*?name="seen" value="(\d+)"', words(inbox.get(here)), re.S)
    assert seen
    services.ask(member.id, "还有一句")
    page = words(inbox.get(inbox.post(f"{here}/close", data={"seen": seen[1]}).location))
    assert "written since" in page
    assert "还有一句" in page
    assert queries.get_conversation(found.id).live
    seen = re.search(r'/close".*?name="seen" value="(\d+)"', page, re.S)
    assert seen
    inbox.post(f"{here}/close", data={"seen": seen[1]})
    db.session.expire_all()
    assert not queries.get_conversation(found.id).live


def test_the_queue_is_new_when_somebody_takes_or_releases(db, clock, make_member, make_staff):
    one, two = make_staff(Role.SERVICE, "a@shop.example"), make_staff(Role.SERVICE, "b@shop.example")
    found = talk(db, services.ask(make_member().id, "x"))
    marks = [queries.mark("all", one.id)]
    for act in (
        lambda: services.take(found.id, one.id),
        lambda: services.take(found.id, two.id, from_id=one.id),
        lambda: services.release(found.id, two.id),
    ):
        act()
        marks.append(queries.mark("all", one.id))
    # Given back it stands as before it was taken, and so does the piece.
    assert len(set(marks)) == 3
    assert marks[3] == marks[0]


def test_what_somebody_had_whose_account_is_closed_waits_again(db, clock, make_member, make_staff):
    gone, stays = make_staff(Role.SERVICE, "a@shop.example"), make_staff(Role.SERVICE, "b@shop.example")
    one, two = (talk(db, services.ask(make_member().id, "x")) for _ in range(2))
    services.take(one.id, gone.id)
    services.take(two.id, stays.id)
    gone.disabled_at = clock.now()
    assert services.hand_out() == 0
    states = [(c.state, c.assignee_id) for c in (talk(db, queries.messages(t.id)[0]) for t in (one, two))]
    assert states == [(TalkState.QUEUED, None), (TalkState.OPEN, stays.id)]
    desk.set_presence(stays.id, True)
    assert services.hand_out() == 1


def test_silence_ends_a_conversation_but_never_an_unanswered_one(db, clock, make_member, make_staff, bot):
    agent = make_staff(Role.SERVICE)
    waits = talk(db, services.ask(make_member().id, "x"))
    answered = talk(db, services.ask(make_member().id, "y"))
    services.say(answered.id, agent.id, "z")
    bot(Reply(Band.ANSWER, "好"))
    with_bot = talk(db, services.ask(make_member().id, "w"))
    clock.move(hours=2, minutes=1)
    assert services.close_silent() == 1
    clock.move(hours=24)
    assert services.close_silent() == 1
    states = {c.id: c.state for c in db.session.scalars(select(Conversation).execution_options(populate_existing=True))}
    assert states == {waits.id: TalkState.QUEUED, answered.id: TalkState.CLOSED, with_bot.id: TalkState.CLOSED}
    with pytest.raises(services.RatedTooEarly):
        services.rate(waits.id, 5)
    services.rate(answered.id, 4)
    every, people = queries.results(clock.now() - timedelta(days=3), clock.now())
    assert (every.count, every.by_bot, every.rated) == (3, 1, 1)
    assert [row.key for row in people] == [str(agent.id)]


def picture() -> tuple[io.BytesIO, str]:
    stream = io.BytesIO()
    Image.new("RGB", (30, 30)).save(stream, "PNG")
    stream.seek(0)
    return stream, "x.png"


def test_the_ask_page_works_without_script_and_stays_fresh_with_it(
    app, db, clock, phone, browse, make_member, make_staff
):
    ports.welcome.fill(lambda locale: Welcome("欢迎", tuple(Choice(f"c{n}", f"卡片 {n}") for n in range(12))))
    member = make_member("小满")
    theirs, inbox = phone(member), browse(Role.SERVICE)
    page = words(theirs.get("/ask"))
    assert "卡片 8" in page
    assert "卡片 9" not in page
    assert theirs.post("/ask", data={"words": ""}).status_code == 422
    assert theirs.post("/ask", data={"picked": "c2"}).status_code == 303
    theirs.post("/ask", data={"words": "", "picture": picture()}, content_type="multipart/form-data")
    found = queries.live_of(member.id)
    base, here = f"/console/inbox/{found.id}", f"/ask/{found.public_id}"
    assert said(found.id)[0] == ("member", "卡片 2")
    before = everything(db)
    answer = theirs.get(f"{here}/messages")
    again = theirs.get(f"{here}/messages", headers={"If-None-Match": answer.headers["ETag"]})
    assert (answer.status_code, again.status_code, again.data) == (200, 304, b"")
    queue = inbox.get("/console/inbox/queue?view=waiting")
    assert (
        inbox.get("/console/inbox/queue?view=waiting", headers={"If-None-Match": queue.headers["ETag"]}).status_code
        == 304
    )
    for path in ("/console/inbox?view=waiting", base, f"{base}/messages", f"{base}/phrases"):
        assert inbox.get(path).status_code == 200
    assert everything(db) == before
    key = next(m.picture for m in queries.messages(found.id) if m.picture)
    assert theirs.get(f"{here}/pictures/{key}").status_code == 200
    assert inbox.get(f"{base}/pictures/{key}").status_code == 200
    assert browse(Role.VIEWER).get(base).status_code == 403
    inbox.post(f"{base}/take")
    assert inbox.post(f"{base}/messages", data={"words": ""}).status_code == 422
    inbox.post(f"{base}/messages", data={"words": "马上给您看"})
    assert theirs.get(f"{here}/messages", headers={"If-None-Match": answer.headers["ETag"]}).status_code == 200
    assert "马上给您看" in words(theirs.get("/ask"))
    made = inbox.post(f"{base}/ticket", data={"kind": "complaint"})
    ticket = db.session.scalars(select(Ticket)).one()
    assert made.location == f"/console/tickets/{ticket.id}"
    assert inbox.post(f"{base}/ticket", data={"kind": "complaint"}).location == made.location
    assert theirs.post(f"{here}/close").status_code == 303
    assert theirs.post(f"{here}/stars", data={}).status_code == 422
    theirs.post(f"{here}/stars", data={"stars": "5", "note": "很快"})
    assert queries.of_member(member.id)[0].satisfaction == 5
    # Whoever changes their stars finds what they wrote.
    assert "很快</textarea>" in words(theirs.get(here))
    assert "马上给您看" in words(theirs.get(here))
    assert theirs.get("/ask/past").status_code == 200
    assert "Conversations" in words(inbox.get("/console/ticket-results"))
    listed = f'<li><a href="/console/inbox/{found.id}"'
    assert listed in words(inbox.get(f"/console/members/{member.id}"))
    # Beside itself it is not listed again.
    assert listed not in words(inbox.get(base))
    stranger = phone(make_member("乙"))
    for path in (here, f"{here}/messages", f"{here}/pictures/{key}"):
        assert stranger.get(path).status_code == 404


def test_a_browser_that_only_opened_a_link_reads_from_its_own_first_word_on(db, clock, phone, make_member):
    member = make_member()
    services.ask(member.id, "很私密的话")
    bound = phone(member, identified=False)
    found = queries.live_of(member.id)
    assert "很私密的话" not in words(bound.get("/ask"))
    assert bound.get(f"/ask/{found.public_id}/messages").status_code == 404
    bound.post("/ask", data={"words": "我的第一句"})
    page = words(bound.get("/ask"))
    assert "我的第一句" in page
    assert "很私密的话" not in page
    assert "很私密的话" not in words(bound.get(f"/ask/{found.public_id}"))


def test_a_browser_that_is_only_bound_finds_what_ended_and_rates_it(db, clock, phone, make_member, make_staff):
    member, agent = make_member(), make_staff(Role.SERVICE)
    bound, another = phone(member, identified=False), phone(member, identified=False)
    bound.post("/ask", data={"words": "几时发货"})
    found = queries.live_of(member.id)
    services.say(found.id, agent.id, "今天发")
    services.close(found.id, Ending.STAFF, staff_id=agent.id)
    here = f"/ask/{found.public_id}"
    page = words(bound.get("/ask"))
    assert here in page
    assert "Tell us how it was" in page
    assert "今天发" in words(bound.get(here))
    assert bound.post(f"{here}/stars", data={"stars": "5"}).status_code == 303
    assert queries.get_conversation(found.id).satisfaction == 5
    assert "Tell us how it was" not in words(bound.get("/ask"))
    # Another browser of theirs is not shown it, but may prove who it is and come back.
    assert here not in words(another.get("/ask"))
    asked = another.get(here)
    assert (asked.status_code, asked.location) == (302, f"/me/sign-in?next={here}")
    clock.move(days=8)
    assert here not in words(bound.get("/ask"))


def test_what_somebody_gave_back_goes_to_others_first_and_keeps_its_place(db, clock, make_member, make_staff):
    one, two = make_staff(Role.SERVICE, "a@shop.example"), make_staff(Role.SERVICE, "b@shop.example")
    desk.set_presence(one.id, True)
    found = talk(db, services.ask(make_member().id, "x"))
    queued = found.queued_at
    desk.set_presence(two.id, True, talk_cap=1, keep_caps=False)
    other = talk(db, services.ask(make_member().id, "y"))
    assert (found.assignee_id, other.assignee_id) == (one.id, two.id)
    clock.move(minutes=5)
    services.release(found.id, one.id)
    again = talk(db, queries.messages(found.id)[0])
    assert (again.queued_at, again.released_by_id) == (queued, one.id)
    # With room or without: while somebody else is on, it waits for them, and keeps nothing else from being given.
    assert services.hand_out() == 0
    assert talk(db, services.ask(make_member().id, "z")).assignee_id == one.id
    services.close(other.id, Ending.STAFF)
    again = talk(db, queries.messages(found.id)[0])
    assert (again.assignee_id, again.released_by_id) == (two.id, None)
    # Alone on the desk they get back what they gave back.
    services.release(found.id, two.id)
    desk.set_presence(one.id, False)
    assert services.hand_out() == 1
    assert talk(db, queries.messages(found.id)[0]).assignee_id == two.id


def test_the_bot_suggests_to_people(db, clock, browse, make_member):
    ports.suggest.fill(lambda said, _talk: [Suggestion("运费", "满九十九包邮", 0.9)] if "运费" in said[0] else [])
    found = talk(db, services.ask(make_member().id, "运费多少"))
    assert "满九十九包邮" in words(browse(Role.SERVICE).get(f"/console/inbox/{found.id}"))


def test_one_conversation_a_person_after_a_merge_and_nothing_after_erasing(app, db, clock, make_member):
    one, two = make_member("甲"), make_member("乙")
    services.ask(one.id, "先说的")
    clock.move(minutes=5)
    services.ask(two.id, "后说的")
    with app.test_request_context():
        merge.merge(one.id, two.id)
        db.session.expire_all()
        live = queries.live_of(one.id)
        assert said(live.id)[0] == ("member", "后说的")
        assert len(queries.of_member(one.id)) == 2
        desk.open_ticket(desk.Opening(one.id, TicketKind.FEEDBACK, "x"))
        erasure.erase(one.id, str(one.id))
    assert {m.body for m in db.session.scalars(select(Message).where(Message.sender == Sender.MEMBER))} == {""}
    assert queries.live_of(one.id) is None
