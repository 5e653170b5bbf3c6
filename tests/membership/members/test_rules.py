"""How phones and addresses are written, whose an identity is, and the stage of a person."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from membership.members import rules
from membership.members.models import Channel, Stage

NOW = datetime(2026, 3, 3, 4, 0, tzinfo=UTC)
DAYS = rules.StageDays()


@pytest.mark.parametrize(
    "text",
    [
        "12600001234",
        "+8612600001234",
        "008612600001234",
        "8612600001234",
        "+86 126 0000 1234",
        "126-0000-1234",
        "(+86)126.0000.1234",
        "'12600001234",
        "’12600001234",
        "\u200b12600001234",
        "126\u200b0000\u200d1234\ufeff",
        "\u202a12600001234\u202c",
        "１２６００００１２３４",
        "＋８６　１２６００００１２３４",
        "126\u00a00000\u00a01234",
        "126–0000–1234",
        "\t12600001234\n",
    ],
)
def test_one_phone_has_one_spelling(text):
    assert rules.canonical_phone(text) == "+8612600001234"


@pytest.mark.parametrize(
    ("text", "region", "canonical"),
    [
        ("+44 20 7946 0000", "CN", "+442079460000"),
        ("020 7946 0000", "GB", "+442079460000"),
        ("+852 5555 0000", "CN", "+85255550000"),
        ("010-88880000", "CN", "+861088880000"),
    ],
)
def test_phones_from_elsewhere_keep_their_country(text, region, canonical):
    assert rules.canonical_phone(text, region) == canonical


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "138****0000",
        "138xxxx0000",
        "123",
        "+",
        "00",
        "126000012345678901",
        "phone",
        "1.2E+10",
        "+0120000",
        "12600001234a",
        "95588",
        "12345",
        "138 0013 8",
        "138 0013 8000 1",
    ],
)
def test_what_is_no_whole_phone_is_refused(text):
    with pytest.raises(rules.PhoneInvalid):
        rules.canonical_phone(text)


@given(st.text(max_size=40))
def test_any_text_is_a_phone_or_refused_and_spelling_again_changes_nothing(text):
    try:
        canonical = rules.canonical_phone(text)
    except rules.PhoneInvalid:
        return
    assert rules.canonical_phone(canonical) == canonical


@pytest.mark.parametrize(
    ("text", "canonical"),
    [(" Lime.012@Example.COM ", "lime.012@example.com"), ("ｌｉｍｅ＠example.com", "lime@example.com")],
)
def test_an_email_has_one_spelling(text, canonical):
    assert rules.canonical_email(text) == canonical


@pytest.mark.parametrize(
    "text",
    [
        "",
        "lime",
        "@example.com",
        "a@b",
        "a b@example.com",
        "a@example..com",
        "a@x.com,b@x.com",
        "a@" + "b" * 300 + ".com",
    ],
)
def test_what_is_no_email_is_refused(text):
    with pytest.raises(rules.EmailInvalid):
        rules.canonical_email(text)


def test_other_identities_are_only_trimmed_and_never_empty():
    assert rules.canonical_identity(Channel.TAOBAO, " t\u200bb_01 ") == (Channel.TAOBAO, "tb_01")
    with pytest.raises(ValueError, match="name"):
        rules.canonical_identity(Channel.TAOBAO, " \u200b")


def test_masks_tell_apart_and_do_not_reveal():
    assert rules.masked_phone("+8612600001234") == "126****1234"
    assert rules.masked_phone("+442079460000") == "+44****0000"
    assert rules.masked_phone(None) == ""
    assert rules.masked_email("lime.012@example.com") == "l****@example.com"
    assert rules.masked_address("示例市样板路12号") == "示例市样****"
    assert rules.masked_address("") == ""


X, P, Q = (Channel.TAOBAO, "x"), (Channel.PHONE, "+8612600001234"), (Channel.PHONE, "+8612600001235")


def test_a_person_known_to_two_members_is_the_older_one():
    assert rules.assign([(X, P)], {X: 7, P: 3}) == ([3], {})


def test_free_identities_go_to_the_member_and_later_people_meet_them():
    assert rules.assign([(X, P), (P, Q), (Q,)], {}) == ([-1, -1, -1], {X: -1, P: -1, Q: -1})


def test_known_members_are_older_than_those_to_be_made():
    assert rules.assign([(X,), (X, P)], {P: 900}) == ([-1, 900], {X: -1})


KEYS = st.sampled_from([(Channel.SHOP, str(n)) for n in range(8)])


@given(st.lists(st.lists(KEYS, min_size=1, max_size=3), max_size=12), st.integers(0, 12))
def test_where_a_batch_is_cut_changes_nothing(people, cut):
    whole, _ = rules.assign(people, {})
    first, attached = rules.assign(people[:cut], {})
    ids = {member: 100 - member for member in first}
    second, _ = rules.assign(people[cut:], {key: ids[owner] for key, owner in attached.items()})
    parts = [ids[m] for m in first] + [m if m > 0 else 1000 - m for m in second]
    assert [whole.index(m) for m in whole] == [parts.index(m) for m in parts]


def ago(days):
    return NOW - timedelta(days=days)


@pytest.mark.parametrize(
    ("orders", "first", "last", "enrolled", "stage"),
    [
        (0, None, None, None, Stage.LEAD),
        (1, ago(10), ago(10), None, Stage.CUSTOMER),
        (1, ago(10), ago(10), ago(5), Stage.MEMBER),
        (0, None, None, ago(5), Stage.MEMBER),
        (2, ago(50), ago(10), None, Stage.ACTIVE),
        (2, ago(150), ago(90), ago(120), Stage.MEMBER),
        (2, ago(150), ago(90), None, Stage.CUSTOMER),
        (5, ago(400), ago(180), ago(300), Stage.DORMANT),
        (5, ago(400), ago(300), ago(20), Stage.MEMBER),
        (5, ago(900), ago(365), ago(800), Stage.LOST),
        (0, None, None, ago(400), Stage.LOST),
    ],
)
def test_the_stage_follows_orders_and_joining(orders, first, last, enrolled, stage):
    assert rules.stage_for(orders, first, last, enrolled, ago(1000), NOW, DAYS).stage == stage


def test_dormant_begins_when_the_days_are_over():
    standing = rules.stage_for(1, ago(200), ago(200), None, ago(200), NOW, DAYS)
    assert (standing.stage, standing.since) == (Stage.DORMANT, ago(20))
