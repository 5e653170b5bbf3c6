"""Pure decisions about groups."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from community.groups.models import GroupKind, GroupState
from community.groups.rules import (
    Facts,
    Ground,
    GroupClosed,
    GroupNotOpenYet,
    GroupPaused,
    entry_refusal,
    joinable,
    lint_announcement,
    open_to_all,
    same_password,
    state_at,
    sub_group_seats,
)

NOW = datetime(2026, 3, 3, 4, 0, tzinfo=UTC)
BEFORE, AFTER = NOW - timedelta(seconds=1), NOW + timedelta(seconds=1)
S = GroupState


@pytest.mark.parametrize(
    ("stored", "opens_at", "closes_at", "really"),
    [
        (S.DRAFT, BEFORE, BEFORE, S.DRAFT),
        (S.WARM_UP, None, None, S.WARM_UP),
        (S.WARM_UP, AFTER, None, S.WARM_UP),
        (S.WARM_UP, NOW, AFTER, S.OPEN),
        (S.WARM_UP, BEFORE, NOW, S.CLOSED),
        (S.OPEN, None, AFTER, S.OPEN),
        (S.OPEN, None, NOW, S.CLOSED),
        (S.PAUSED, None, BEFORE, S.CLOSED),
        (S.PAUSED, BEFORE, AFTER, S.PAUSED),
        (S.CLOSED, BEFORE, AFTER, S.CLOSED),
        (S.ARCHIVED, None, None, S.ARCHIVED),
    ],
)
def test_the_clock_decides_the_state(stored, opens_at, closes_at, really):
    assert state_at(stored, opens_at, closes_at, NOW) is really


@pytest.mark.parametrize(
    ("state", "keeps_seat", "refusal"),
    [
        (S.OPEN, False, type(None)),
        (S.PAUSED, False, GroupPaused),
        (S.PAUSED, True, type(None)),
        (S.WARM_UP, False, GroupNotOpenYet),
        (S.DRAFT, True, GroupNotOpenYet),
        (S.CLOSED, True, GroupClosed),
        (S.ARCHIVED, False, GroupClosed),
    ],
)
def test_entry_by_state(state, keeps_seat, refusal):
    assert type(entry_refusal(state, keeps_seat)) is refusal


@given(st.integers(1, 500), st.integers(1, 60))
def test_sub_groups_add_up_to_the_capacity(capacity, each):
    sizes = [sub_group_seats(number, capacity, each) for number in range(1, capacity + 2)]
    assert sum(sizes) == capacity
    assert max(sizes) <= each
    assert sizes == sorted(sizes, reverse=True)


TIER, SPEND = {"kind": "tier", "rank": 3}, {"kind": "spend", "fen": 10_000}


@pytest.mark.parametrize(
    ("rule", "met", "unmet", "missing"),
    [
        ({"kind": "enrolled"}, Facts(enrolled=True), Facts(), None),
        (TIER, Facts(rank=3), Facts(rank=1), 2),
        (SPEND, Facts(spend=10_000), Facts(spend=9_999), 1),
        ({"kind": "orders", "count": 3}, Facts(orders=4), Facts(orders=1), 2),
        (
            {"kind": "product", "sku": "85123A"},
            Facts(products=frozenset({"85123A"})),
            Facts(products=frozenset({"9"})),
            None,
        ),
        ({"kind": "tag", "tag": "茶"}, Facts(tags=frozenset({"茶"})), Facts(), None),
        ({"kind": "password", "password": "Tea 88"}, Facts(password=" tea 88 "), Facts(password="tea"), None),
        ({"kind": "invitation"}, Facts(invited=True), Facts(), None),
    ],
)
def test_each_rule(rule, met, unmet, missing):
    join_rule = {"mode": "all", "rules": [rule]}
    assert joinable(met, GroupKind.REGULAR, join_rule) == []
    (miss,) = joinable(unmet, GroupKind.REGULAR, join_rule)
    assert (miss.kind, miss.missing) == (rule["kind"], missing)


def test_all_wants_every_rule_and_any_is_content_with_one():
    both = [TIER, SPEND]
    rich = Facts(rank=0, spend=20_000)
    assert [m.kind for m in joinable(rich, GroupKind.VIP, {"mode": "all", "rules": both})] == ["tier"]
    assert joinable(rich, GroupKind.VIP, {"mode": "any", "rules": both}) == []
    assert [m.kind for m in joinable(Facts(), GroupKind.VIP, {"mode": "any", "rules": both})] == ["tier", "spend"]


def test_a_members_group_asks_for_enrolment_by_itself():
    assert [m.kind for m in joinable(Facts(), GroupKind.MEMBER, {})] == ["enrolled"]
    assert joinable(Facts(enrolled=True), GroupKind.MEMBER, {}) == []


def test_an_unknown_rule_keeps_everybody_out():
    assert joinable(Facts(), GroupKind.REGULAR, {"mode": "all", "rules": [{"kind": "moon"}]})


@pytest.mark.parametrize(
    ("kind", "rules", "mode", "open_"),
    [
        (GroupKind.REGULAR, [], "all", True),
        (GroupKind.MEMBER, [], "all", True),
        (GroupKind.REGULAR, [{"kind": "password", "password": "x"}], "all", True),
        (GroupKind.REGULAR, [TIER], "all", False),
        (GroupKind.REGULAR, [TIER, {"kind": "password", "password": "x"}], "all", False),
        (GroupKind.REGULAR, [TIER, {"kind": "password", "password": "x"}], "any", True),
    ],
)
def test_open_to_people_whom_nobody_knows(kind, rules, mode, open_):
    assert open_to_all(kind, {"mode": mode, "rules": rules} if rules else {}) is open_


def test_passwords_ignore_case_and_spaces_around():
    assert same_password(" 小院88a", "小院88A ")
    assert not same_password("", "x")


@pytest.mark.parametrize(
    ("text", "ground"),
    [
        ("见 https://a.example/x", Ground.LINK),
        ("去 www.shop.com 看看", Ground.LINK),
        ("tea.cn 有货", Ground.LINK),
        ("今晚免单", Ground.FREE),
        ("今晚 免 单", Ground.FREE),
        ("今晚免\u200b单", Ground.FREE),
        ("０元购", Ground.FREE),
        ("集赞领礼", Ground.LURE),
        ("好评返现 5 元", Ground.REVIEW),
        ("加V信 abc", Ground.ELSEWHERE),
        ("全网最低", Ground.SUPERLATIVE),
    ],
)
def test_the_lint_finds(text, ground):
    assert [finding.ground for finding in lint_announcement(text)] == [ground]


@pytest.mark.parametrize(
    "text", ["", "周五晚 8 点开汤", "VIP3 享 9.5折，满 99.9 元包邮", "v2.0 的杯子来了", "最近很忙"]
)
def test_the_lint_leaves_plain_words_alone(text):
    assert lint_announcement(text) == []
