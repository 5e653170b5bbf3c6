"""When recurring pushes go: rules, summer time, missed times."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from campaigns.pushes import labels, recurrence
from kernel.i18n import forced_locale

SHANGHAI, BERLIN = ZoneInfo("Asia/Shanghai"), ZoneInfo("Europe/Berlin")
FIRST = datetime(2026, 3, 3, 2, 30, tzinfo=UTC)


def keys(text: str, many: int = 4, zone: ZoneInfo = SHANGHAI, first: datetime = FIRST) -> list[str]:
    return [one.key for one in islice(recurrence.occurrences(text, first, zone), many)]


def test_rules_name_their_times_on_the_shops_clock() -> None:
    assert keys("FREQ=DAILY", 2) == ["2026-03-03T10:30", "2026-03-04T10:30"]
    assert keys("FREQ=WEEKLY;BYDAY=MO,TH", 3) == ["2026-03-05T10:30", "2026-03-09T10:30", "2026-03-12T10:30"]
    assert keys("FREQ=MONTHLY;BYMONTHDAY=-1", 2) == ["2026-03-31T10:30", "2026-04-30T10:30"]
    assert keys("FREQ=DAILY;COUNT=2") == ["2026-03-03T10:30", "2026-03-04T10:30"]
    assert keys("FREQ=DAILY;UNTIL=20260304T235959Z") == ["2026-03-03T10:30", "2026-03-04T10:30"]


@pytest.mark.parametrize(
    "text",
    [
        "", "DAILY", "FREQ=HOURLY", "FREQ=SECONDLY;COUNT=9", "FREQ=DAILY;FREQ=DAILY", "FREQ=DAILY;BYHOUR=3", "COUNT=3",
        "FREQ=DAILY;COUNT=3;UNTIL=20270101", "FREQ=DAILY;INTERVAL=0", "FREQ=WEEKLY;BYDAY=XX", "FREQ=DAILY\nDTSTART:1",
        "FREQ=MONTHLY;BYMONTHDAY=0", "FREQ=YEARLY;BYMONTH=13", "FREQ=DAILY;" + "BYMONTH=1" + ",1" * 200, "{{7*7}}",
    ],
)  # fmt: skip
def test_what_is_no_rule_is_refused(text: str) -> None:
    with pytest.raises(recurrence.RuleInvalid):
        recurrence.canonical(text)


@given(st.text(alphabet="FREQDAILYWKMONTHBYSEP=;,-+0123456789 ", max_size=60))
def test_any_text_is_a_rule_or_refused(text: str) -> None:
    try:
        found = recurrence.canonical(text)
    except recurrence.RuleInvalid:
        return
    assert recurrence.canonical(found) == found
    assert len(keys(found, 3)) <= 3


def test_a_rule_is_kept_in_one_spelling() -> None:
    assert recurrence.canonical(" rrule:byday=mo,th; freq=weekly; ") == "FREQ=WEEKLY;BYDAY=MO,TH"


def test_a_day_that_never_comes_ends_the_search() -> None:
    assert recurrence.next_after("FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30", FIRST, SHANGHAI) is None
    assert recurrence.next_after("FREQ=DAILY", FIRST.replace(year=9_995), SHANGHAI) is None


def test_check_g6_a_clock_put_forward_moves_the_time_and_a_clock_put_back_repeats_none() -> None:
    spring = datetime(
        2026, 3, 28, 1, 30, tzinfo=UTC
    )  # 02:30 in Berlin, the day before the hour from 2 to 3 is missing.
    found = list(islice(recurrence.occurrences("FREQ=DAILY", spring, BERLIN), 3))
    assert [one.at.astimezone(BERLIN).strftime("%d %H:%M") for one in found] == ["28 02:30", "29 03:30", "30 02:30"]
    autumn = datetime(2026, 10, 24, 0, 30, tzinfo=UTC)
    found = list(islice(recurrence.occurrences("FREQ=DAILY", autumn, BERLIN), 3))
    assert [one.at.astimezone(BERLIN).strftime("%d %H:%M") for one in found] == ["24 02:30", "25 02:30", "26 02:30"]
    assert len({one.key for one in found}) == 3
    assert found[1].at.astimezone(BERLIN).utcoffset() == timedelta(hours=2)


def test_the_missed_are_told_from_the_next() -> None:
    now = FIRST + timedelta(days=3, minutes=59)
    missed, coming = recurrence.overdue("FREQ=DAILY", FIRST, SHANGHAI, FIRST, now, 20)
    assert [one.key for one in missed] == ["2026-03-04T10:30", "2026-03-05T10:30"]
    assert coming is not None
    assert coming.key == "2026-03-06T10:30"
    assert recurrence.overdue("FREQ=DAILY;COUNT=2", FIRST, SHANGHAI, FIRST, now, 20)[1] is None


def test_of_a_long_gap_the_latest_are_named() -> None:
    missed, coming = recurrence.overdue("FREQ=DAILY", FIRST, SHANGHAI, FIRST, FIRST + timedelta(days=1000), 20)
    assert len(missed) == 20
    assert coming is not None
    assert coming.at == FIRST + timedelta(days=1000)


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ("FREQ=DAILY", "每天"),
        ("FREQ=WEEKLY;INTERVAL=2;BYDAY=MO,TH;UNTIL=20271231", "每 2 周 · 星期一、星期四 · 至 2027年12月31日"),
        ("FREQ=MONTHLY;COUNT=6;BYDAY=-1FR", "每月 · 最后一个星期五 · 共 6 次"),
        ("FREQ=MONTHLY;BYMONTHDAY=1,-1", "每月 · 1 日、当月最后一天"),
        ("FREQ=YEARLY;BYDAY=2TU;BYMONTH=6,11", "每年 · 六月、十一月 · 第 2 个星期二"),
        ("FREQ=MONTHLY;BYDAY=MO,TU;BYSETPOS=-2", "每月 · 星期一、星期二 · 只取其中倒数第 2 次"),
    ],
)
def test_a_rule_is_said_in_words(app: Any, rule: str, words: str) -> None:
    with app.test_request_context(), forced_locale("zh_Hans"):
        said = labels.series(recurrence.canonical(rule))
    assert said.split(" · ") == words.split(" · ")
