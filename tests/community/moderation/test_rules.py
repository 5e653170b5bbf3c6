"""What a text may say, and what follows when somebody goes on: no database."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from community.moderation import rules
from community.moderation.models import WordEffect
from community.moderation.rules import Consequence, Ruling

NOW = datetime(2026, 3, 3, 4, tzinfo=UTC)
WORDS = [("傻瓜", WordEffect.REFUSE), ("代购", WordEffect.HOLD), ("VX", WordEffect.HOLD)]


@pytest.mark.parametrize(
    ("text", "ruling", "word"),
    [
        ("今天的茶真好", Ruling.CLEAR, ""),
        ("你这傻-瓜", Ruling.REFUSE, "傻瓜"),
        ("找代　购", Ruling.HOLD, "代购"),
        ("加ｖｘ聊", Ruling.HOLD, "VX"),
        ("代购的都是傻瓜", Ruling.REFUSE, "傻瓜"),
        ("看 HTTPS://x.example", Ruling.HOLD, ""),
        ("ｗｗｗ．tea.example", Ruling.HOLD, ""),
        ("", Ruling.CLEAR, ""),
    ],
)
def test_a_text_is_judged_by_the_words_and_by_links(text, ruling, word):
    assert rules.judge(text, WORDS) == rules.Verdict(ruling, word)


def test_an_empty_word_finds_nothing():
    assert rules.words_in("茶", ["", " - "]) == []


def test_the_third_within_a_month_silences_and_the_third_silence_bans():
    day = timedelta(days=1)
    assert rules.consequence([NOW, NOW - 29 * day], [], NOW) is Consequence.NOTHING
    assert rules.consequence([NOW, NOW - day, NOW - 31 * day], [], NOW) is Consequence.NOTHING
    assert rules.consequence([NOW, NOW - day, NOW - 2 * day], [], NOW) is Consequence.SILENCE
    after = [NOW, NOW - day, NOW - 2 * day]
    assert rules.consequence(after, [NOW - day], NOW) is Consequence.NOTHING
    assert rules.consequence(after, [NOW - 40 * day], NOW) is Consequence.SILENCE
    assert rules.consequence(after, [NOW - 40 * day, NOW - 80 * day], NOW) is Consequence.BAN
    assert rules.consequence(after, [NOW - 40 * day, NOW - 181 * day], NOW) is Consequence.SILENCE


@given(upheld=st.lists(st.integers(0, 60 * 24), max_size=8), silences=st.lists(st.integers(0, 300 * 24), max_size=5))
def test_more_against_somebody_never_leads_to_less(upheld, silences):
    order = list(Consequence)
    times = [NOW - timedelta(hours=hours) for hours in upheld]
    past = [NOW - timedelta(hours=hours) for hours in silences]
    less, more = rules.consequence(times, past, NOW), rules.consequence([*times, NOW], past, NOW)
    assert order.index(less) <= order.index(more)
