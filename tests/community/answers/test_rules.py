"""What needs no database: reading questions, scoring, learning, bands, routing, files."""

from __future__ import annotations

import zipfile
from datetime import time
from io import BytesIO

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from community.answers import characters, rules, scoring, sheets, training, words
from community.answers.rules import Routing, SmallTalk, Thresholds, Try
from community.conversations.rules import Band

KNOWN = [
    (intent, text)
    for intent, texts in {
        7: "什么时候发货 几天能发出 今天能寄出吗 怎么还没发货 多久发货 啥时候发走 明天能发货吗 发货要几天 还不发货 什么时候寄出",
        8: "怎么退款 我要退款 申请退款 退款怎么操作 想退钱 可以退款吗 不要了退款 给我退款 退款申请 帮我退一下款",
        9: "可以开发票吗 怎么开票 发票抬头 要发票 开增值税发票 能开专票吗 发票怎么开 有发票吗 开个发票 补一张发票",
    }.items()
    for text in texts.split()
]
TAUGHT = [training.Taught(i, text) for i, text in KNOWN] + [training.Taught(8, "退款", title=True)]


@pytest.fixture(scope="module")
def learned():
    return training.fit(TAUGHT, test=["请问我的东西何时发货", "我想要开票"])


def test_a_question_is_folded_to_what_can_be_compared():
    assert words.fold("　訂單ＡＢＣ 何時發貨？？😭 12,345.60元 https://a.b/c?x=1 ") == "订单abc 何时发货 0元 链"
    assert words.fold("！！😭") == ""
    assert words.characters("退退款") == ["退", "款", "退退", "退款"]
    assert words.notions("") == []
    assert {"ship", "when", "ship+when"} <= set(words.notions(words.fold("啥时候寄出")))
    assert words.fold("裏裝為爲剛謝，臺灣台灣") == "里装为为刚谢 台湾台湾"
    assert words.features("退 款 多 久") == words.features("退款多久")
    assert words.characters("a b") == words.features("a b")[0]


def test_who_only_wants_a_person_asks_nothing():
    for text in ("人工", "转人工", "我要人工客服！", "请帮我找真人，人工", "人工呢", "Speak to a human"):
        assert rules.only_wants_person(text), text
    for text in ("人工费多少", "人工，我要退款", "客服电话多少", "", "？？", "谢谢"):
        assert not rules.only_wants_person(text), text


def test_what_is_typed_by_sound_names_the_same_notions():
    assert characters.heard("发或") == characters.heard("发货") != characters.heard("退货")
    assert characters.heard("a1 😭龘ｱ") == "a1 😭龘ｱ"
    assert words.notions("啥时后发或") == words.notions("啥时候发货")
    # A single character is too little to go by its sound: 推 is not 退.
    assert "refund" in words.notions("退")
    assert words.notions("推") == []
    assert words.clauses("能开专票吗？另外什么时候发货") == ["能开专票吗", "另外什么时候发货"]
    assert words.clauses("退 款 多 久") == words.clauses("什么时候发货，谢谢") == []
    starts = [one.encode("gb2312") for one in characters.FIRST_OF_SYLLABLE]
    assert starts == sorted(set(starts))
    assert [old for old, new in characters.SIMPLER.items() if ord(new) in characters.SIMPLER] == []


def test_the_model_tells_questions_apart_and_reads_back_what_it_wrote(learned):
    model = learned.model
    assert model.intents == (7, 8, 9)
    assert [model.likely(text)[0].intent_id for text in ("何时发货", "钱能退吗 退款", "发票能开吗")] == [7, 8, 9]
    again = scoring.Model.load(model.dump())
    assert again.scores("什么时候发货") == model.scores("什么时候发货")
    likely = model.likely("发票")
    assert sum(one.likely for one in likely) == pytest.approx(1)
    assert likely == sorted(likely, key=lambda x: -x.likely)
    assert [one.intent_id for one in model.likely("发票", among=[7, 8])]
    assert 9 not in {one.intent_id for one in model.likely("发票", among=[7, 8])}
    assert model.shares("发票", 9)[0][1] > 0
    assert model.shares("发票", 4) == []


def test_plain_python_scores_as_the_arithmetic_does(learned):
    for text, row in zip(["请问我的东西何时发货", "我想要开票"], learned.test, strict=True):
        likely = {one.intent_id: one.likely for one in learned.model.likely(text)}
        assert [likely[i] for i in learned.model.intents] == pytest.approx(row, abs=2e-3)


def test_the_trial_counts_every_phrasing_once_and_no_title(learned):
    trial = learned.trial
    assert trial.texts == len(KNOWN)
    assert trial.intents == 3
    assert sum(n for n, _right in trial.each.values()) == len(KNOWN)
    assert trial.answered + trial.offered + trial.handed_over == pytest.approx(1, abs=1e-3)
    assert trial.top3 == 1
    assert trial.top1 >= 0.8
    assert rules.Trial.load(trial.dump()) == trial
    assert training.fit(TAUGHT).model.dump() == training.fit(TAUGHT).model.dump()


def test_too_few_phrasings_are_learned_but_not_measured():
    few = training.fit(TAUGHT[:4])
    assert few.trial is None
    assert few.thresholds == rules.UNMEASURED
    assert few.model.intents == (7,)


def test_a_program_that_breaks_says_so(monkeypatch, tmp_path):
    broken = tmp_path / "broken.py"
    broken.write_text("raise SystemExit('no memory')")
    monkeypatch.setattr(training, "PROGRAM", broken)
    with pytest.raises(training.TrainingFailed, match="no memory"):
        training.fit(TAUGHT)


def test_neighbours_serve_before_anything_was_learned():
    index = scoring.Neighbours(KNOWN)
    assert index.likely("请问什么时候能发货")[0].intent_id == 7
    assert index.scores("zzz") == {}
    assert index.likely("zzz", [7, 8]) == []
    assert index.likely("天气不错要带伞")[:1] == [] or index.likely("天气不错要带伞")[0].likely < rules.UNMEASURED.offer
    assert scoring.Neighbours([]).likely("发货") == []


@pytest.mark.parametrize(
    ("said", "what"),
    [
        ("你好", SmallTalk.GREETING), ("亲，在吗？", SmallTalk.GREETING), ("老板好！", SmallTalk.GREETING),
        ("您好 谢谢", SmallTalk.THANKS), ("好的呢", SmallTalk.THANKS), ("知道了，謝謝老闆", SmallTalk.THANKS),
        ("你好，什么时候发货", None), ("可以吗", None), ("客服", None), ("好货", None), ("？？", None), ("", None),
    ],
)  # fmt: skip
def test_small_talk_is_told_from_a_question(said, what):
    assert rules.small_talk(said) is what


def tries(*rows):
    return [Try(1, best, likely) for best, likely in rows]


def test_bands_begin_where_held_back_phrasings_earned_it():
    sure = tries(*[((1, 2, 3), (0.9, 0.05, 0.05))] * 40)
    unsure = tries(*[((2, 1, 3), (0.4, 0.3, 0.2))] * 40)
    lost = tries(*[((2, 3, 4), (0.1, 0.1, 0.1))] * 40)
    found = rules.thresholds_for(sure + unsure + lost, [])
    assert found == Thresholds(0.9, 0.4)
    assert rules.thresholds_for(sure + unsure + lost, [0.9] * 100) == Thresholds(1.0, 0.4)
    assert rules.thresholds_for([], []) == rules.UNMEASURED
    # All that reach .6 are right; but of the strange ones four in a hundred do, and three at most may be answered.
    fine = tries(*[((1, 2, 3), (0.9, 0.05, 0.05))] * 40, *[((1, 2, 3), (0.6, 0.3, 0.1))] * 40)
    for many, begins in ((3, 0.6), (4, 0.9)):
        assert rules.thresholds_for(fine * 5, [0.6] * many + [0.1] * (100 - many)).answer == begins
    assert [rules.band_of(p, found) for p in (0.95, 0.9, 0.4, 0.39)] == [
        Band.ANSWER, Band.ANSWER, Band.OFFER, Band.HAND_OVER,
    ]  # fmt: skip
    trial = rules.trial_of(sure + unsure + lost, [0.3, 0.1])
    assert (trial.answered, trial.answered_right, trial.offered_right, trial.outside_handed_over) == (0.3333, 1, 1, 1)
    assert trial.confused == [[1, 2, 80]]


def test_a_question_is_measured_by_thresholds_that_were_chosen_without_it():
    # One half is right from .5 on, the other from .8 on: each half's own thresholds would be right every time.
    early = tries(*[((1, 2, 3), (0.5, 0.3, 0.2))] * 40)
    late = tries(*[((1, 2, 3), (0.8, 0.1, 0.1))] * 20, *[((2, 3, 4), (0.5, 0.3, 0.2))] * 20)
    mixed = [one for pair in zip(early, late, strict=True) for one in pair]
    trial = rules.trial_of(mixed, [])
    # The early half is judged from .8 on and answers nothing; the late one from .5 on, and half of it is wrong.
    assert (trial.answered, trial.answered_right) == (0.5, 0.5)
    bands, strange = rules.crossed_bands(mixed, [0.9, 0.2])
    assert (len(bands), len(strange)) == (80, 2)
    assert rules.crossed_bands(mixed[:1], []) == ([Band.OFFER], [])


@pytest.mark.parametrize(
    ("routing", "in_hours", "free", "waiting", "bot"),
    [
        (Routing.BOT_FIRST, True, 5, 0, True),
        (Routing.HUMAN_FIRST, True, 0, 99, False),
        (Routing.HUMAN_FIRST, False, 0, 0, True),
        (Routing.MIXED, True, 1, 5, False),
        (Routing.MIXED, True, 1, 6, True),
        (Routing.MIXED, True, 0, 0, True),
        (Routing.MIXED, False, 3, 0, True),
    ],
)
def test_who_answers_first(routing, in_hours, free, waiting, bot):
    assert rules.bot_first(routing, in_hours, free, waiting, most_waiting=5) is bot


def test_settings_are_read_back_as_they_were_kept():
    chosen = rules.BotSettings(rules.Mode.ASSIST, Routing.BOT_FIRST, 3, "您好", "Hello", ("律师",))
    assert rules.settings_from(rules.settings_to(chosen)) == chosen
    assert rules.settings_from(None) == rules.BotSettings()
    assert rules.within(time(23), time(22), time(6))
    assert not rules.within(time(12), time(9), time(9))
    assert rules.wants_people("我要投诉你们", ("投诉", ""))
    assert not rules.wants_people("投影", ("投诉", ""))
    for text in ("我打12315了", "１２３１５见", "我要投訴", "找律師", "起訴你们", "call My LAWYER"):
        assert rules.wants_people(text, (*rules.PEOPLE_WORDS, "Lawyer")), text
    assert rules.wants_people("找律师", ("律師",))
    assert rules.spoken("好", "看这里", "https://a.b") == "好\n看这里: https://a.b"
    assert rules.spoken("好", "", "") == "好"


# Reading the table of characters takes a second the first time on a busy machine.
@settings(suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(
        st.lists(st.text(st.characters(exclude_categories=("Cc", "Cs")), max_size=20), min_size=1, max_size=4),
        max_size=5,
    )
)
def test_a_workbook_is_read_back_as_it_was_written(rows):
    assert sheets.xlsx_rows(sheets.xlsx_of(rows, "问题")) == rows


def test_a_harmful_workbook_is_refused():
    def book(sheet: bytes) -> bytes:
        written = BytesIO()
        with zipfile.ZipFile(written, "w") as parts:
            parts.writestr("xl/worksheets/sheet1.xml", sheet)
        return written.getvalue()

    swells = b'<!DOCTYPE x [<!ENTITY a "aaaa">]><worksheet/>'
    for content in (book(swells), book(b"<worksheet"), b"PK\x03\x04 nothing", b"", book(b"")):
        with pytest.raises(sheets.Unreadable):
            sheets.xlsx_rows(content)
    assert sheets.csv_rows("问题,答案\n退款,好".encode("gb18030")) == [["问题", "答案"], ["退款", "好"]]
    with pytest.raises(sheets.Unreadable):
        sheets.csv_rows(b'a,b\n"c')
