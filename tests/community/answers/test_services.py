"""Writing, learning, answering in conversations, learning from people, packs, merging and erasing."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from sqlalchemy import event, func, select

from community.answers import brain, queries, services, training
from community.answers.jobs import forget_questions
from community.answers.models import (
    AnswerModel,
    AskedQuestion,
    AskedState,
    Intent,
    Phrasing,
    Source,
    Suggestion,
    SuggestionState,
    TrainingState,
)
from community.answers.rules import BotSettings, Mode, Routing
from community.answers.services import packs
from community.conversations import queries as talking
from community.conversations import services as talks
from community.conversations.models import Message, Sender, TalkState
from community.conversations.rules import Band
from community.tickets import services as desk
from kernel.auth import Role
from membership.members.services import erasure, merge
from tests.community.tickets.conftest import make_member
from tests.conftest import bind, english

__all__ = ["make_member"]


@pytest.fixture
def bot_first(db):
    services.save_settings(BotSettings(routing=Routing.BOT_FIRST))


def asked(db):
    return db.session.scalars(
        select(AskedQuestion).order_by(AskedQuestion.id).execution_options(populate_existing=True)
    ).all()


def last_of_bot(db):
    return db.session.scalars(
        select(Message).where(Message.sender == Sender.BOT).order_by(Message.id.desc()).limit(1)
    ).one_or_none()


def waits(message):
    """Whether people have the conversation of a message."""
    found = talking.get_conversation(message.conversation_id)
    return found.state is not TalkState.BOT


def test_a_phrasing_belongs_to_one_question(db, known):
    refund, invoice = known[8], known[9]
    with pytest.raises(services.PhrasingTaken) as refused:
        services.add_phrasing(invoice.id, "我要 退款！".replace(" ", ""), Source.STAFF)
    assert refund.question in str(refused.value.message if hasattr(refused.value, "message") else refused.value)
    with pytest.raises(services.NothingKnown):
        services.add_phrasing(invoice.id, "？？", Source.STAFF)
    services.add_phrasing(refund.id, "我要退款！", Source.STAFF)
    assert db.session.scalar(select(func.count()).where(Phrasing.intent_id == refund.id)) == 10
    with pytest.raises(services.IntentInvalid):
        services.add(services.Draft("问", "答", link_url="javascript:alert(1)"))
    with pytest.raises(services.KeyTaken):
        services.add(services.Draft("问", "答", key=refund.key))


def test_it_answers_before_it_has_learned_and_better_after(db, known, learn):
    before = brain.think()
    assert before.model is None
    assert services.reply("请问多久才能发货呢").likely[0].intent_id == known[7].id
    assert services.reply("我要退款。").exact
    assert services.reply("我要退款。").band is Band.ANSWER
    assert services.reply("？？").band is Band.HAND_OVER
    learn()
    model = queries.last_model()
    assert (model.state, model.intents, model.phrasings) == (TrainingState.READY, 3, 30)
    assert model.trial["texts"] == 30
    assert brain.think().model_id == model.id
    assert services.reply("想请问什么时候能寄出").likely[0].intent_id == known[7].id
    learn()
    assert db.session.scalar(select(func.count()).select_from(AnswerModel)) == 1
    services.change_many([known[7].id], enabled=False)
    assert known[7].id not in {one.intent_id for one in services.reply("什么时候发货").likely}
    services.add(services.Draft("能送礼盒吗？", "能。", phrasings=("可以礼盒包装吗",)))
    assert brain.think().model is None
    assert services.reply("可以礼盒包装吗").exact
    assert services.delete([known[8].id]) == 1
    assert services.delete([0]) == 0


def test_a_run_that_fails_leaves_the_former_model(db, known, learn, monkeypatch):
    learn()
    first = queries.last_model().id
    services.add_phrasing(known[7].id, "催一下发货", Source.STAFF)

    def broken(_taught):
        raise training.TrainingFailed("no memory")

    monkeypatch.setattr(training, "fit", broken)
    learn()
    assert queries.last_model().state is TrainingState.FAILED
    assert queries.last_model().error == "no memory"
    assert brain.think().model_id == first
    learn()
    assert db.session.scalar(select(func.count()).select_from(AnswerModel)) == 2


def test_a_run_is_one_workers_and_is_given_up_when_it_died(db, known, clock, monkeypatch):
    claimed = services.claim()
    assert claimed is not None
    assert services.claim() is None
    clock.move(minutes=21)
    # The knowledge is the same: what died is repeated, what was learned or failed is not.
    again = services.claim()
    assert again is not None
    assert again.model_id != claimed.model_id
    services.record(claimed, training.fit(claimed.taught))
    assert queries.last_model().state is TrainingState.TRAINING
    services.record(again, training.fit(again.taught))
    assert queries.last_model(TrainingState.READY).id == again.model_id
    assert services.claim() is None
    # A version of the program that learns in another way does not go on with what the former one learned.
    monkeypatch.setattr(training, "LEARNER", training.LEARNER + 1)
    assert services.claim() is not None


def test_a_member_is_answered_offered_or_handed_over(db, known, bot_first, make_member):
    member = make_member()
    talks.ask(member.id, "我要退款")
    answer = last_of_bot(db)
    assert answer.band is Band.ANSWER
    assert answer.body == "在订单里点退款。"
    row = asked(db)[-1]
    assert (row.intent_id, row.likely, row.band) == (known[8].id, 1.0, Band.ANSWER)
    keys = [key for key, _label in answer.choices]
    assert keys == [f"y:{row.id}", f"n:{row.id}"]
    talks.ask(member.id, picked=f"y:{row.id}")
    assert asked(db)[-1].helpful is True
    talks.ask(member.id, "我要退款")
    row = asked(db)[-1]
    talks.ask(member.id, picked=f"n:{row.id}")
    assert asked(db)[-1].helpful is False
    assert asked(db)[-1].state is AskedState.OPEN
    assert last_of_bot(db).band is Band.OFFER
    talks.ask(member.id, picked=f"q:{known[9].id}")
    assert last_of_bot(db).body == "能开。"
    assert asked(db)[-1].channel == "card"
    known[8].picture = "demo/tea.webp"
    talks.ask(member.id, "我要退款")
    assert last_of_bot(db).shown == "demo/tea.webp"
    talks.ask(member.id, "我要投诉，找律师")
    assert asked(db)[-1].band is Band.HAND_OVER
    assert asked(db)[-1].state is AskedState.NONE


def test_who_greets_or_thanks_is_answered_and_no_person_is_called(db, known, bot_first, make_member):
    services.save_cards([(known[7].id, "发货", "Sending")])
    member = make_member()
    for text, said, cards in (
        ("亲，在吗？", "您好，想了解点什么？", [f"q:{known[7].id}"]),
        ("好的，谢谢啦", "不客气，还有别的事随时写给我们。", []),
        ("？？😭", "没看到文字。请用几个字说说，或者点下面的问题。", [f"q:{known[7].id}"]),
    ):
        message = talks.ask(member.id, text)
        assert (last_of_bot(db).body, [key for key, _label in last_of_bot(db).choices]) == (said, cards)
        assert not waits(message)
    # Neither is a question, so that nobody is asked to find an answer to it; and a card that was shown may be tapped.
    assert asked(db) == []
    talks.ask(member.id, picked=f"q:{known[7].id}")
    assert last_of_bot(db).body == "四点前当天发。"
    # A shop that has an answer to a greeting says that; and who sends nothing to read thrice has a person.
    services.add_phrasing(known[9].id, "在吗", Source.STAFF)
    talks.ask(member.id, "在吗")
    assert last_of_bot(db).body == "能开。"
    assert [waits(talks.ask(member.id, "……")) for _time in range(3)] == [False, False, True]


def test_two_questions_in_one_are_both_offered(db, known, learn, bot_first, make_member):
    learn()
    two = services.reply("可以开发票吗？另外什么时候发货")
    assert two.band is Band.OFFER
    assert {one.intent_id for one in two.likely[:2]} == {known[7].id, known[9].id}
    # The one that is tapped is answered, and the other comes next.
    member = make_member()
    talks.ask(member.id, "可以开发票吗？另外什么时候发货")
    talks.ask(member.id, picked=f"q:{known[9].id}")
    assert last_of_bot(db).body == "能开。"
    assert [key for key, _label in last_of_bot(db).choices][2:] == [f"q:{known[7].id}"]
    letter = services.reply("我上周买的杯子送给妈妈过生日用，她住在北京的郊外，等得很着急了。到底什么时候发货？")
    assert letter.band in (Band.OFFER, Band.ANSWER)
    assert letter.likely[0].intent_id == known[7].id


def test_three_are_offered_and_the_choice_is_kept(db, known, bot_first, make_member, monkeypatch):
    monkeypatch.setattr("community.answers.rules.UNMEASURED", type(brain.think().thresholds)(1.1, 0.0))
    services.add_phrasing(known[7].id, "催", Source.STAFF)
    member = make_member()
    talks.ask(member.id, "退款以后发票怎么办呀")
    assert asked(db)[-1].band is Band.OFFER
    assert len(last_of_bot(db).choices) == 3
    talks.ask(member.id, picked=f"q:{known[9].id}")
    assert [row.intent_id for row in asked(db)] == [known[9].id, known[9].id]


def test_people_come_first_where_the_settings_say_so(db, known, clock, make_member, make_staff):
    member = make_member()
    for chosen in (BotSettings(mode=Mode.ASSIST), BotSettings(mode=Mode.OFF)):
        services.save_settings(chosen)
        assert waits(talks.ask(member.id, "我要退款"))
        assert last_of_bot(db) is None
        assert asked(db) == []
    assert talks.suggestions(["我要退款"]) == []
    # Mixed and human first, while the desk is open and somebody has room.
    desk.set_presence(make_staff(Role.SERVICE).id, True)
    for routing in (Routing.MIXED, Routing.HUMAN_FIRST):
        services.save_settings(BotSettings(routing=routing))
        assert talks.ask(make_member().id, "我要退款").sender is Sender.MEMBER
        assert (last_of_bot(db), asked(db)) == (None, [])
    services.save_settings(BotSettings(mode=Mode.ASSIST))
    assert [one.text for one in talks.suggestions(["我要退款"])][:1] == ["在订单里点退款。"]
    assert services.welcome("zh_Hans") is None


def test_nobody_is_suggested_what_the_bot_said_in_vain_nor_how_to_reach_people(db, known, bot_first, make_member):
    message = talks.ask(make_member().id, "我要退款")
    talk = message.conversation_id
    missed = last_of_bot(db).choices[1]
    said = ["人工", missed[1], "我要退款"]
    assert [one.title for one in talks.suggestions(said)][:1] == [known[8].question]
    assert known[8].question not in [one.title for one in talks.suggestions(said, talk)]
    assert talks.suggestions(["转人工客服"]) == []


def test_the_bot_speaks_where_nobody_is_there_to(db, known, clock, make_member):
    # Nobody is on: mixed lets the bot speak, human first waits for people until the desk is closed.
    services.save_settings(BotSettings(routing=Routing.HUMAN_FIRST))
    assert waits(talks.ask(make_member().id, "我要退款"))
    services.save_settings(BotSettings(routing=Routing.MIXED))
    assert not waits(talks.ask(make_member().id, "我要退款"))
    clock.move(hours=11)
    services.save_settings(BotSettings(routing=Routing.HUMAN_FIRST))
    assert not waits(talks.ask(make_member().id, "我要退款"))
    assert last_of_bot(db).body == "在订单里点退款。"


def test_that_it_helped_brings_nobody_even_when_people_come_first_by_now(db, known, bot_first, clock, make_member):
    member, other = make_member(), make_member()
    for each in (member, other):
        talks.ask(each.id, "我要退款")
    rows = asked(db)
    services.save_settings(BotSettings(mode=Mode.ASSIST))
    assert not waits(talks.ask(member.id, picked=f"y:{rows[0].id}"))
    assert (last_of_bot(db).band, last_of_bot(db).answer_key) == (Band.ANSWER, str(rows[0].id))
    assert waits(talks.ask(other.id, picked=f"n:{rows[1].id}"))
    assert [row.helpful for row in asked(db)] == [True, False]


def test_welcome_cards_are_shown_in_their_order_and_language(db, known, bot_first):
    services.save_cards([(known[9].id, "发票", "Invoice"), (known[7].id, "", ""), (known[9].id, "再", ""), (0, "", "")])
    services.change_many([known[7].id], enabled=True)
    assert [card.label for card in talks.welcome("zh_Hans").cards] == ["发票", "什么时候发货？"]
    assert [card.label for card in talks.welcome("en").cards] == ["Invoice", "Question 7"]
    services.change_many([known[9].id], enabled=False)
    assert len(talks.welcome("en").cards) == 1


def test_what_people_answer_is_suggested_and_learned_once_approved(
    db, known, bot_first, make_member, make_staff, run_jobs
):
    member, agent = make_member(), make_staff(Role.SERVICE)
    question = talks.ask(member.id, "我要投诉，钱怎么还不给我")
    talks.say(question.conversation_id, agent.id, "已经帮您催退款了")
    run_jobs()
    found = db.session.scalars(select(Suggestion)).one()
    assert (found.text, found.answer, found.state) == (question.body, "已经帮您催退款了", SuggestionState.OPEN)
    assert queries.waiting()[0] == 1
    assert all(row.handed_over for row in asked(db))
    services.approve(found.id, known[8].id, "钱怎么还不给我", agent.id)
    assert services.reply("钱怎么还不给我？").likely[0].intent_id == known[8].id
    assert db.session.scalar(select(Phrasing.source).where(Phrasing.text == "钱怎么还不给我")) is Source.LEARNED
    for again in (
        lambda: services.approve(found.id, known[8].id, "x 你", agent.id),
        lambda: services.reject(found.id, agent.id),
    ):
        with pytest.raises(services.DecidedAlready):
            again()


def test_who_thanks_a_person_teaches_nothing(db, known, make_member, make_staff):
    agent = make_staff(Role.SERVICE)
    services.save_settings(BotSettings(mode=Mode.OFF))
    for text in ("好的，谢谢啦", "麻烦转人工", "？？"):
        question = talks.ask(make_member().id, text)
        answer = talks.say(question.conversation_id, agent.id, "不客气")
        assert services.note_answer(question.id, agent.id, question.id, answer.id) is None
    assert queries.waiting() == (0, 0)


def test_what_waits_is_settled_by_a_question_of_its_own(db, known, bot_first, make_member, make_staff, run_jobs):
    question = talks.ask(make_member().id, "qqq zzz")
    talks.say(question.conversation_id, make_staff(Role.SERVICE).id, "有的")
    run_jobs()
    assert queries.waiting() == (1, 1)
    made = services.add(services.Draft("qqq 是什么？", "是茶。", phrasings=("qqq zzz", "qqq")))
    assert queries.waiting() == (0, 0)
    found = db.session.scalars(select(Suggestion)).one()
    assert (found.state, found.intent_id) == (SuggestionState.APPROVED, made.id)
    assert asked(db)[-1].state is AskedState.SETTLED


def test_a_card_that_was_not_it_offers_what_comes_near(db, known, bot_first, make_member):
    services.save_cards([(known[8].id, "退款", "Refund")])
    services.edit(known[8].id, replace_related(known[8], known[9].id))
    member = make_member()
    talks.ask(member.id, picked=f"q:{known[8].id}")
    message = talks.ask(member.id, picked=f"n:{asked(db)[-1].id}")
    keys = [key for key, _label in last_of_bot(db).choices]
    assert keys[0] == f"q:{known[9].id}"
    assert f"q:{known[8].id}" not in keys
    assert not waits(message)


def replace_related(intent, *related):
    said = tuple(row.text for row in queries.phrasings(intent.id))
    return services.Draft(intent.question, intent.answer, related=related, phrasings=said)


def test_who_sends_no_words_is_sent_to_no_cards_where_there_are_none(db, known, bot_first, make_member):
    talks.ask(make_member().id, "？？😭")
    assert (last_of_bot(db).body, last_of_bot(db).choices) == ("没看到文字。请用几个字说说。", [])


def test_unanswered_questions_are_settled_together(db, known, bot_first, make_member):
    for _each in range(2):
        talks.ask(make_member().id, "qqq zzz")
    rows = asked(db)
    assert {row.state for row in rows} == {AskedState.OPEN}
    assert queries.asked_alike(["qqq zzz"]) == {"qqq zzz": 2}
    services.settle(rows[0].id, known[7].id, "qqq zzz")
    assert {row.state for row in asked(db)} == {AskedState.SETTLED}
    assert queries.waiting()[1] == 0
    with pytest.raises(services.DecidedAlready):
        services.dismiss(rows[1].id)


def test_the_pack_comes_whole_and_once_and_leaves_the_shops_own_words(db, known):
    found = services.preview_shipped(None)
    assert (len(found.rows), found.errors) == (40, [])
    fresh, old, came = services.take_in(found.id)
    assert (fresh, old) == (40, 0)
    assert came > 1_200
    with pytest.raises(services.TakenAlready):
        services.take_in(found.id)
    intent = queries.find_by_key("ask-refund")
    assert intent.pack == "after-sale"
    assert len(intent.related) == 3
    services.edit(intent.id, services.Draft("怎么退？", "我们自己的答案", phrasings=("只留这一句话",)))
    again = services.take_in(services.preview_shipped(None).id)
    assert again[:2] == (0, 40)
    assert queries.get_intent(intent.id).answer == "我们自己的答案"


def test_a_pack_comes_in_few_statements_and_each_phrasing_once(db, known, monkeypatch):
    asked = []

    def note(_connection, _cursor, statement, *_more):
        asked.append(statement)

    def said(n):
        return f"{'甲乙丙丁戊己庚辛'[n // 8]}{'子丑寅卯辰巳午未'[n % 8]}"

    def take(numbers):
        """Questions that each name the next one, with three phrasings of which two read alike."""
        entries = [
            {
                "key": f"p{n}",
                "question": f"第{n}个？",
                "answer": "答",
                "related": [f"p{n + 1}", f"p{n}", "nobody"],
                "phrasings": [f"{said(n)}快", f"{said(n)}快！", f"{said(n)}慢"],
            }
            for n in numbers
        ]
        # What a question of the shop's own has stays there.
        entries[0]["phrasings"].append(queries.phrasings(known[7].id)[0].text)
        looked = services.preview("x.json", json.dumps(entries).encode(), None)
        assert looked.errors == []
        event.listen(db.engine, "before_cursor_execute", note)
        try:
            return services.take_in(looked.id), len(asked)
        finally:
            event.remove(db.engine, "before_cursor_execute", note)
            del asked[:]

    came, few = take(range(2))
    assert came == (2, 0, 4)
    assert take(range(1, 40)) == ((38, 1, 76), few)
    monkeypatch.setattr(packs, "PORTION", 7)
    assert take(range(40, 50))[0] == (10, 0, 20)
    ids = {row.key: row.id for row in db.session.execute(select(Intent.key, Intent.id))}
    for n in range(50):
        # What was there before keeps what it names, and the last of each file named one that nobody has.
        assert queries.find_by_key(f"p{n}").related == ([] if n in (1, 39, 49) else [ids[f"p{n + 1}"]])
        assert [row.text for row in queries.phrasings(ids[f"p{n}"])] == [f"{said(n)}快", f"{said(n)}慢"]


def test_a_question_that_a_colleague_adds_at_the_same_moment_is_a_known_one(db, monkeypatch):
    plain = packs.new_intents

    def late(drafts, pack):
        services.add(services.Draft("先来的？", "先答", key="same"))
        return plain(drafts, pack)

    monkeypatch.setattr(packs, "new_intents", late)
    one = {"key": "same", "question": "后来的？", "answer": "后答", "phrasings": ["后来的问法"]}
    assert services.take_in(services.preview("x.json", json.dumps([one]).encode(), None).id) == (0, 1, 1)
    assert queries.find_by_key("same").answer == "先答"


def test_a_link_that_leads_nowhere_is_refused_before_anything_is_written(db):
    for link in ("https://[", "https://", "https://x:y/", "http://a b", "javascript:alert(1)"):
        with pytest.raises(services.IntentInvalid):
            services.add(services.Draft("问？", "答", link_url=link))
        one = {"question": "问？", "answer": "答", "link_url": link}
        looked = services.preview("x.json", json.dumps([one]).encode(), None)
        assert (looked.rows, looked.errors) == ([], [[1, "link_url", "no_link"]])


@pytest.mark.parametrize("form", ["json", "csv", "xlsx"])
def test_what_goes_out_comes_in_again(db, known, form):
    services.add(
        services.Draft("=1+1?", "-好\n行", key="odd", related=(known[7].id,), phrasings=("一加一 等于几", "@谁"))
    )
    before = {
        i.key: (i.question, i.answer, sorted(p.text for p in queries.phrasings(i.id)))
        for i in db.session.scalars(select(Intent))
    }
    content = services.exported(form)
    services.delete(db.session.scalars(select(Intent.id)).all())
    found = services.preview(f"x.{form}", content, None)
    assert found.errors == []
    services.take_in(found.id)
    after = {
        i.key: (i.question, i.answer, sorted(p.text for p in queries.phrasings(i.id)))
        for i in db.session.scalars(select(Intent))
    }
    assert after == before
    assert queries.find_by_key("odd").related == [queries.find_by_key(known[7].key).id]


def test_a_wrong_line_stays_out_and_is_named(db):
    lines = [
        {"question": "退款？", "answer": "好", "key": "a", "phrasings": ["退款"]},
        {"question": "", "answer": "", "key": "b"},
        {"question": "问", "answer": "答", "key": "a"},
        {"question": "票？", "answer": "有", "key": "c", "phrasings": ["退款！"], "link_url": "ftp://x"},
        {"question": "长" * 81, "answer": "答"},
        "nothing",
    ]
    found = services.preview("x.json", json.dumps(lines).encode(), None)
    assert [row["key"] for row in found.rows] == ["a"]
    assert found.errors == [
        [2, "question", "missing"], [2, "answer", "missing"], [3, "key", "twice"],
        [4, "link_url", "no_link"], [4, "phrasings", "twice"], [5, "question", "too_long"],
    ]  # fmt: skip
    for name, content in (
        ("x.json", b"{"),
        ("x.json", b"[]"),
        ("x.csv", b"a,b\n1,2"),
        ("x.xlsx", b"PK"),
        ("x.txt", b"\xff\xff"),
    ):
        with pytest.raises(services.FileUnusable):
            services.preview(name, content, None)


def test_a_suggestion_of_somebody_who_is_gone_asks_for_no_decision(db, known, clock, make_member, make_staff):
    member, agent = make_member(), make_staff(Role.SERVICE)
    question = talks.ask(member.id, "张三的电话是多少")
    answer = talks.say(question.conversation_id, agent.id, "我查一下")
    made = services.note_answer(member.id, agent.id, question.id, answer.id)
    assert made is not None
    assert queries.waiting()[0] == 1
    erasure.erase(member.id, str(member.id))
    db.session.expire_all()
    found = queries.get_suggestion(made.id)
    assert (found.state, found.text, found.decided_at is None) == (SuggestionState.REJECTED, "", False)
    assert queries.waiting()[0] == 0


def test_an_answer_comes_with_its_picture_and_its_link(db, known, bot_first, make_member, app):
    draft = services.Draft(
        "能开发票吗？", "能开。", picture="demo/tea.webp", link_url="https://shop.example/i", link_label="去开票",
        phrasings=("开发票",), voices={"agent": "亲，能开"}, enabled=True,
    )  # fmt: skip
    services.edit(known[9].id, draft)
    member = make_member()
    said = talks.ask(member.id, "开发票")
    message = last_of_bot(db)
    assert (message.body, message.shown, message.link_url) == ("能开。", "demo/tea.webp", "https://shop.example/i")
    page = bind(english(app.test_client()), member.id, True).get("/ask").text
    assert 'href="https://shop.example/i"' in page
    assert "img/demo/tea.webp" in page
    assert not waits(said)


def test_a_pack_carries_what_is_said_elsewhere_and_what_is_switched_off(db, known):
    services.edit(known[9].id, services.Draft("能开发票吗？", "能开。", voices={"agent": "亲，能开"}, enabled=False))
    key = known[9].key
    for form in ("json", "csv", "xlsx"):
        content = services.exported(form)
        services.delete(db.session.scalars(select(Intent.id)).all())
        services.take_in(services.preview(f"x.{form}", content, None).id)
        found = queries.find_by_key(key)
        assert (found.voices, found.enabled) == ({"agent": "亲，能开"}, False)
        assert queries.find_by_key(known[7].key).enabled


def test_a_pack_may_spell_what_no_database_keeps(db):
    half, nul = "\ud800", "\0"
    one = {"key": f"k{half}", "question": f"新{nul}的{half}吗？", "answer": "新的。", "phrasings": [f"新{half}吗{nul}"]}
    content = json.dumps({"name": f"包{nul}{half}", "intents": [one]}).encode()
    looked = services.preview(f"x{nul}.json", content, None)
    db.session.refresh(looked)
    assert (looked.name, looked.filename, looked.errors) == ("包", "x.json", [])
    assert services.take_in(looked.id) == (1, 0, 1)
    assert queries.find_by_key("k").question == "新的吗？"


def test_mixed_lets_the_bot_speak_when_too_many_wait(db, known, clock, make_member, make_staff):
    services.save_settings(BotSettings(routing=Routing.MIXED, most_waiting=1))
    agent = make_staff(Role.SERVICE)
    desk.save_settings(replace(desk.desk_settings(), hand_out=False))
    desk.set_presence(agent.id, True)
    assert waits(talks.ask(make_member().id, "我要退款"))
    assert waits(talks.ask(make_member().id, "我要退款"))
    # Two wait by now, which is more than one.
    assert not waits(talks.ask(make_member().id, "我要退款"))
    assert last_of_bot(db).body == "在订单里点退款。"


def test_questions_follow_a_merge_and_are_forgotten_with_the_person(db, known, bot_first, make_member, clock):
    one, other = make_member(), make_member()
    talks.ask(other.id, "张三的电话是多少")
    merge.merge(one.id, other.id)
    assert asked(db)[0].member_id == one.id
    erasure.erase(one.id, str(one.id))
    assert {(row.text, row.folded) for row in asked(db)} == {("", "")}
    # What has no words left stands on nobody's list.
    assert {row.state for row in asked(db)} <= {AskedState.DISMISSED, AskedState.NONE}
    assert queries.waiting() == (0, 0)
    clock.move(days=401)
    forget_questions()
    assert asked(db) == []
