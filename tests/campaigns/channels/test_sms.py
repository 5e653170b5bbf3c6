"""What a text message must carry, how long it is, and which answers stop it: the rules alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from campaigns.channels import sms
from kernel.errors import Refusal

TERMS = sms.Terms("青荷茶铺", "拒收请回复R")
GOOD = "【青荷茶铺】新茶到店，凭码 QH2026 立减20元，拒收请回复R"


@pytest.mark.parametrize(
    "text",
    [
        GOOD,
        "  " + GOOD,
        "新茶到店，回复TD退订【青荷茶铺】",
        "【青荷茶铺】新茶到店，退订回T",
        "【青荷茶铺】新茶到店，回R拒收",
        "【青荷茶铺】新茶到店，拒收请回复Ｒ",
        "【青荷茶铺】新茶 https://tea.example/new 拒收请回复R",
    ],
)
def test_check_f2_a_text_with_signature_and_way_out_is_fine(app, text):
    sms.check(text, TERMS)


@pytest.mark.parametrize(
    ("text", "refusal"),
    [
        ("新茶到店，拒收请回复R", sms.SignatureMissing),
        ("【别家】新茶到店，拒收请回复R", sms.SignatureMissing),
        ("新【青荷茶铺】茶，拒收请回复R", sms.SignatureMissing),
        ("【 】新茶到店，拒收请回复R", sms.SignatureMissing),
        ("", sms.SignatureMissing),
        ("【青荷茶铺】新茶到店", sms.OptOutMissing),
        ("【青荷茶铺】新茶到店，可以退订", sms.OptOutMissing),
        ("【青荷茶铺】新茶到店，回复R领券", sms.OptOutMissing),
        ("【青荷茶铺】https://tea.example/l/abcdefghijklmnopqrst 拒收请回复R", sms.LinkPersonal),
        ("【青荷茶铺】https://tea.example/u/abcdefghijklmnopqrst 拒收请回复R", sms.LinkPersonal),
        ("【青荷茶铺】" + "茶" * 500 + "拒收请回复R", sms.MessageTooLong),
    ],
)
def test_check_f2_anything_else_is_refused(app, text, refusal):
    with pytest.raises(refusal):
        sms.check(text, TERMS)


def test_a_notice_needs_no_way_out_and_its_link_may_not_be_personal_either(app):
    sms.check("【青荷茶铺】您的包裹已发出", TERMS, marketing=False)
    with pytest.raises(sms.LinkPersonal):
        sms.check("【青荷茶铺】领券 {coupon_link}", TERMS, marketing=False, names=["coupon_link"])


def test_the_gateways_own_words_will_do(app):
    sms.check("【青荷茶铺】新茶到店。Reply STOP to end", sms.Terms("青荷茶铺", "Reply STOP to end"))
    assert sms.phrase_stands("Reply STOP to end")
    assert not sms.phrase_stands("谢谢")
    assert not sms.phrase_stands("退订")


@pytest.mark.parametrize(
    ("units", "segments"), [(0, 1), (1, 1), (70, 1), (71, 2), (134, 2), (135, 3), (201, 3), (202, 4)]
)
def test_the_length_is_counted_as_carriers_do(units, segments):
    assert sms.length("茶" * units) == sms.Length(units, segments)


def test_what_lies_beyond_the_first_plane_counts_twice():
    assert sms.length("𠮷🍵").units == 4


@pytest.mark.parametrize(
    "words",
    [
        "R",
        "r",
        "Ｒ",
        " r。",
        "R!",
        "T",
        "TD",
        "td",
        "ＴＤ",
        "t d",
        "退订",
        "退订！",
        "TD退订",
        "回复R",
        "拒收",
        "N",
        "stop",
        "STOP.",
        "\u200bR\u200b",
        "\n退 订\n",
        "我要退订，谢谢",
        "请不要再发了",
        "QX",
    ],
)
def test_check_f3_these_answers_stop_messages(words):
    assert sms.stops(words)


@pytest.mark.parametrize("words", ["", "。。", "好的", "茶很好喝", "Thanks", "Real tea?", "1", "在吗", "rt ok"])
def test_other_answers_do_not(words):
    assert not sms.stops(words)


def test_the_gateways_own_letters_stop_too():
    assert sms.stops("0000", "0000")
    assert not sms.stops("0000")


@given(st.text(max_size=80))
def test_inv_no_text_whatever_breaks_the_rules(app, text):
    sms.stops(text)
    found = sms.length(text)
    assert found.segments >= 1
    assert (found.segments == 1) == (found.units <= 70)
    try:
        sms.check(text, TERMS)
    except Refusal:
        return
    assert sms.signature_of(text) == "青荷茶铺"
    assert sms.says_how_to_stop(text, TERMS.opt_out)


def test_templates_are_read_line_by_line(app):
    found = sms.read_templates("SMS_1234 亲爱的${name}，回复R拒收\n\n SMS_5678 ${a}${b}拒收请回复R\n")
    assert [t.code for t in found] == ["SMS_1234", "SMS_5678"]
    for wrong in ("", "SMS_1234", "S_1 文", "SMS_1234 亲爱的${}"):
        with pytest.raises(sms.TemplatesUnreadable):
            sms.read_templates(wrong)


def test_a_text_is_matched_with_its_template(app):
    templates = sms.read_templates(
        "SMS_1234 亲爱的${name}，${what}立减${yuan}元，${name}，拒收请回复R\nSMS_9999 再见，回T退订"
    )
    template, values = sms.fill("【青荷茶铺】亲爱的小林，新茶(今年)立减20元，小林，拒收请回复R", "青荷茶铺", templates)
    assert (template.code, values) == ("SMS_1234", {"name": "小林", "what": "新茶(今年)", "yuan": "20"})
    assert sms.fill("【青荷茶铺】再见，回T退订", "青荷茶铺", templates)[0].code == "SMS_9999"
    for wrong in ("【青荷茶铺】亲爱的小林，新茶立减20元，小王，拒收请回复R", "【青荷茶铺】你好，回T退订"):
        with pytest.raises(sms.TemplateUnknown):
            sms.fill(wrong, "青荷茶铺", templates)
