"""The pages of the answers and their REST: each works, refuses what it must, and reading changes nothing."""

from __future__ import annotations

import csv
import io
from urllib.parse import quote

import pytest
from sqlalchemy import func, select

from community.answers import demo, queries, services
from community.answers.models import AskedQuestion, Intent, PackImport, Suggestion, SuggestionState, WelcomeCard
from community.answers.rules import Mode, Routing
from kernel import clock as kernel_clock
from kernel.audit import AuditEntry
from tests.api.conftest import program
from tests.conftest import english, everything

__all__ = ["program"]


@pytest.fixture
def agent(staff_client):
    return english(staff_client("manager"))


def typed(**values):
    return {
        "question": "能送礼盒吗？", "answer": "能，免费。", "topic": "其他", "phrasings": "可以礼盒包装吗\n要送人\n\n要送人",
        "link_url": "https://shop.example/box", "link_label": "看礼盒", "enabled": "y", **values,
    }  # fmt: skip


def suggestion(db, text="钱怎么还不来"):
    row = Suggestion(
        message_id=1 + (db.session.scalar(select(func.count()).select_from(Suggestion)) or 0),
        text=text, answer="催了", state=SuggestionState.OPEN, at=kernel_clock.now(),
    )  # fmt: skip
    db.session.add(row)
    db.session.flush()
    return row


def test_every_page_shows_what_is_there_and_changes_nothing(db, agent, known, learn, client):
    learn()
    suggestion(db)
    services.keep("qqq", services.reply("qqq"), "ask")
    taken = services.preview_shipped(None)
    one = known[8]
    before = everything(db)
    pages = {
        "/console/answers": "怎么退款？",
        "/console/answers?q=想退钱&topic=售后&pack=own&state=on&sort=-asked": "怎么退款？",
        "/console/answers?few=yes": "No question matches",
        "/console/answers/new?phrasing=hello": "hello",
        f"/console/answers/{one.id}": "给我退款",
        "/console/answers/packs": "Forty after-sale questions",
        f"/console/answers/packs/{taken.id}": "我的订单什么时候发货？",
        "/console/answers/try": "Nothing is kept",
        f"/console/answers/try?q={quote('请问怎么申请退款呢')}": "Why this one",
        "/console/answers/accuracy": "phrasings held back",
        "/console/answers/learning": "钱怎么还不来",
        "/console/answers/learning?state=approved": "Nothing to decide",
        "/console/answers/unanswered": "qqq",
        "/console/answers/bot": "Welcome cards",
    }
    for address, words in pages.items():
        page = agent.get(address)
        assert page.status_code == 200, address
        assert words in page.text, address
    visitor = english(client)
    assert "Question 8" in visitor.get("/faq").text
    assert "Answer 8" in visitor.get(f"/faq/{one.public_id}").text
    assert "Question 8" in visitor.get(f"/faq?q={quote('我要退款')}").text
    assert visitor.get("/faq/nothing").status_code == 404
    assert everything(db) == before


def test_an_empty_shop_says_what_to_do_next(agent):
    assert "Look at the forty questions" in agent.get("/console/answers").text
    assert "Nothing was measured yet" in agent.get("/console/answers/accuracy").text
    assert "Nothing asked so far" in agent.get("/console/answers/unanswered").text
    assert "No question matches" in agent.get("/console/answers/unanswered?q=tea").text
    assert "Nothing matches" in agent.get("/console/answers/try?q=hi").text


def test_a_question_is_written_changed_switched_and_deleted(db, agent, known):
    assert agent.post("/console/answers/new", data=typed()).status_code == 302
    intent = db.session.scalars(select(Intent).order_by(Intent.id.desc()).limit(1)).one()
    assert [row.text for row in queries.phrasings(intent.id)] == ["可以礼盒包装吗", "要送人"]
    address = f"/console/answers/{intent.id}"
    changed = typed(
        answer="收两元。", phrasings="要送人", related=[str(known[7].id)], voice_group="群里免费", enabled=""
    )
    assert agent.post(address, data=changed).status_code == 302
    db.session.expire_all()
    assert (intent.answer, intent.related, intent.voices) == ("收两元。", [known[7].id], {"group": "群里免费"})
    assert agent.post("/console/answers/change", data={"act": "on", "ids": [str(intent.id), "x"]}).status_code == 302
    db.session.expire_all()
    assert intent.enabled
    assert agent.post("/console/answers/change", data={"act": "burn", "ids": "1"}).status_code == 404
    agent.post("/console/answers/change", data={"act": "delete", "ids": str(intent.id)})
    assert db.session.scalar(select(func.count()).select_from(Intent)) == 3


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("question", ""), ("question", "长" * 81), ("answer", ""), ("link_url", "javascript:x"), ("topic", "长" * 41),
        ("phrasings", "我要退款"), ("related", "999999"),
    ],
)  # fmt: skip
def test_each_field_is_refused_and_what_was_typed_is_kept(db, agent, known, field, value):
    page = agent.post("/console/answers/new", data=typed(**{field: value}))
    assert page.status_code == 422
    assert "看礼盒" in page.text
    assert db.session.scalar(select(func.count()).select_from(Intent)) == 3


def test_files_go_out_are_looked_at_and_come_in(db, agent, known):
    content = agent.post("/console/answers/export", data={"form": "xlsx"}).data
    assert agent.post("/console/answers/export", data={"form": "exe"}).status_code == 404
    for name, wrong in (("x.csv", b"a\n1"), ("x.exe", b"MZ"), ("", b"")):
        page = agent.post("/console/answers/packs", data={"file": (io.BytesIO(wrong), name)})
        assert page.status_code == 422
    looked = agent.post("/console/answers/packs", data={"file": (io.BytesIO(content), "a.xlsx")})
    assert "known already: 3" in agent.get(looked.location).text
    shipped = agent.post("/console/answers/packs", data={"shipped": "1"})
    found = db.session.scalars(select(PackImport).order_by(PackImport.id.desc()).limit(1)).one()
    assert shipped.location.endswith(f"/packs/{found.id}")
    assert agent.post(f"/console/answers/packs/{found.id}/take").status_code == 302
    assert agent.post(f"/console/answers/packs/{found.id}/take").status_code == 409
    assert db.session.scalar(select(func.count()).select_from(Intent)) == 43


def test_the_bots_settings_and_cards_are_kept(db, agent, known):
    sent = {
        "mode": "assist",
        "routing": "bot_first",
        "most_waiting": "3",
        "greeting": "您好",
        "people_words": "律师\n投诉",
    }
    assert agent.post("/console/answers/bot", data=sent).status_code == 302
    kept = services.settings()
    assert (kept.mode, kept.routing, kept.most_waiting) == (Mode.ASSIST, Routing.BOT_FIRST, 3)
    assert kept.people_words == ("律师", "投诉")
    for field, value in (("mode", "loud"), ("most_waiting", "-1"), ("most_waiting", "")):
        assert agent.post("/console/answers/bot", data={**sent, field: value}).status_code == 422
    agent.post("/console/answers/cards", data={"intent_3": str(known[7].id), "label_3": "发货", "intent_5": "abc"})
    assert [(card.place, card.label) for card in db.session.scalars(select(WelcomeCard))] == [(1, "发货")]


def test_what_was_suggested_and_left_open_is_decided(db, agent, known):
    one, other = suggestion(db), suggestion(db, "你们几点下班")
    taught = {"text": "钱怎么还不来", "intent": str(known[8].id)}
    agent.post(f"/console/answers/suggestions/{one.id}/approve", data={"text": "x"})
    assert "Choose the question" in agent.get("/console/answers/learning").text
    assert agent.post(f"/console/answers/suggestions/{one.id}/approve", data=taught).status_code == 302
    assert agent.post(f"/console/answers/suggestions/{one.id}/approve", data=taught).status_code == 409
    assert agent.post(f"/console/answers/suggestions/{other.id}/reject").status_code == 302
    assert agent.post("/console/answers/suggestions/0/reject").status_code == 404
    asked = [services.keep(text, services.reply(text), "ask") for text in ("qqq", "zzz")]
    settled = agent.post(
        f"/console/answers/questions/{asked[0].id}/settle", data={"text": "qqq 你", "intent": str(known[7].id)}
    )
    assert settled.status_code == 302
    assert agent.post(f"/console/answers/questions/{asked[1].id}/dismiss").status_code == 302
    assert queries.waiting() == (0, 0)
    assert services.reply("钱怎么还不来").exact


def test_what_waits_to_be_learned_is_downloaded(db, agent, staff_client, known):
    one, other = suggestion(db, "=1+1"), suggestion(db, "50%_off?")
    one.guess_id, one.answer = known[8].id, "催了"
    other.state, other.intent_id, other.decided_at = SuggestionState.APPROVED, known[7].id, kernel_clock.now()
    for text in ("qqq", "qqq", "@zzz"):
        services.keep(text, services.reply(text), "ask")
    db.session.flush()

    def lines(address):
        answer = agent.post(f"/console/answers/{address}", buffered=True)
        return [row[:-1] for row in csv.reader(io.StringIO(answer.text.removeprefix("\ufeff")))][1:]

    assert lines("learning/export") == [["'=1+1", "催了", "to decide", known[8].question, ""]]
    assert [row[4] for row in lines("learning/export?state=approved&q=%25_o")] == [known[7].question]
    assert lines("learning/export?q=zzz") == []
    assert sorted((row[0], row[2]) for row in lines("unanswered/export")) == [
        ("'@zzz", "1"),
        ("qqq", "2"),
        ("qqq", "2"),
    ]
    assert [row[0] for row in lines("unanswered/export?q=zz")] == ["'@zzz"]
    kept = db.session.execute(select(AuditEntry.action, AuditEntry.after).where(AuditEntry.action.like("%s.exported")))
    assert sorted((action, after["number"]) for action, after in kept) == [
        ("questions.exported", 1), ("questions.exported", 3),
        ("suggestions.exported", 0), ("suggestions.exported", 1), ("suggestions.exported", 1),
    ]  # fmt: skip
    for address in ("learning", "unanswered"):
        assert staff_client("viewer").post(f"/console/answers/{address}/export").status_code == 403
        assert f"{address}/export" in agent.get(f"/console/answers/{address}").text


def test_roles_that_may_only_look_are_refused(db, staff_client, known):
    viewer, service = staff_client("viewer"), staff_client("service")
    assert viewer.get("/console/answers").status_code == 200
    # What customers said is for those who may read conversations.
    for address in ("learning", "unanswered"):
        assert viewer.get(f"/console/answers/{address}").status_code == 403
        assert service.get(f"/console/answers/{address}").status_code == 200
    assert "/console/answers/learning" not in viewer.get("/console/answers").text
    before = everything(db)
    for address in (
        "new",
        "change",
        "packs",
        "packs/1/take",
        "bot",
        "cards",
        "suggestions/1/approve",
        "questions/1/settle",
    ):
        assert viewer.post(f"/console/answers/{address}").status_code == 403
    assert service.post("/console/answers/bot").status_code == 403
    assert everything(db) == before


def test_programs_read_and_ask(db, program, known):
    call = program("answers:read", "answers:ask")
    assert [row["question"] for row in call("GET", "/answers?topic=售后&limit=2").json["items"]] == [
        "能开发票吗？",
        "怎么退款？",
    ]
    assert "给我退款" in call("GET", f"/answers/{known[8].id}").json["phrasings"]
    found = call("POST", "/answers/ask", json={"text": "我要退款"}, key="a").json
    assert (found["band"], found["answer"]) == ("answer", "在订单里点退款。")
    assert found["likely"][0]["intent_id"] == known[8].id
    assert db.session.scalar(select(func.count()).select_from(AskedQuestion)) == 0
    handed = call("POST", "/answers/ask", json={"text": "我要投诉", "keep": True, "channel": "group"}, key="b").json
    assert (handed["band"], handed["answer"]) == ("hand_over", "")
    assert db.session.scalar(select(AskedQuestion.channel)) == "group"
    assert call("POST", "/answers/ask", json={"text": ""}, key="c").status_code == 422
    assert program("answers:read")("POST", "/answers/ask", json={"text": "x"}, key="d").status_code == 403


def test_the_demo_shop_knows_forty_questions(db):
    demo.give()
    demo.give()
    assert db.session.scalar(select(func.count()).select_from(Intent)) == 40
    assert db.session.scalar(select(func.count()).select_from(WelcomeCard)) == 9
