"""The pure decisions of pushes: states, texts, hold-out, verdicts."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from campaigns.channels.adapters import Outcome, Status
from campaigns.pushes import rules
from campaigns.pushes.models import DeliveryState, RunState

S, R = DeliveryState, RunState
NOW = datetime(2026, 3, 3, 4, tzinfo=UTC)


# ── States ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_ends_are_ends() -> None:
    for state in (R.CANCELLED, R.EXPIRED, R.FAILED):
        assert not any(rules.may_follow(state, to) for to in R)


def test_every_state_can_be_reached_and_left_by_a_way() -> None:
    reached, waiting = {R.DRAFT}, [R.DRAFT]
    while waiting:
        for to in rules.NEXT[waiting.pop()]:
            if to not in reached:
                reached.add(to)
                waiting.append(to)
    assert reached == set(R)
    assert set(rules.NEXT) == set(R)


# ── Texts ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def text_of(text: str, **values: str) -> str:
    return rules.render(rules.parse(text), values)


def test_placeholders_are_filled_in() -> None:
    assert text_of("Hi {nickname}, {shop}!", nickname="Lime", shop="Tea") == "Hi Lime, Tea!"
    assert text_of("Hi {nickname|friend}") == "Hi friend"
    assert text_of("Hi {nickname|friend}", nickname="Lime") == "Hi Lime"
    assert text_of("Hi { nickname }", nickname="Lime") == "Hi Lime"
    assert text_of("{nickname|}") == ""
    assert text_of("{{nickname}}") == "{nickname}"
    assert text_of("") == ""


def test_what_was_put_in_is_not_read_again() -> None:
    assert text_of("{nickname}", nickname="{shop}", shop="Tea") == "{shop}"


@pytest.mark.parametrize(
    "text", ["{name}", "{", "}", "{}", "{nickname", "{nick name}", "{Nickname}", "{{}", "{nickname|a|b}{x}"]
)
def test_what_is_no_placeholder_is_refused(text: str) -> None:
    with pytest.raises(rules.PlaceholderUnknown):
        rules.parse(text)


def test_an_empty_value_without_other_words_stops_the_message() -> None:
    with pytest.raises(rules.RenderFailed) as failed:
        text_of("{coupon_value}")
    assert failed.value.name == "coupon_value"
    with pytest.raises(rules.RenderFailed):
        text_of("{tier}", tier="")


def test_placeholders_need_what_they_stand_for() -> None:
    assert rules.check("{coupon_link} {link}", has_offer=True, has_link=True) == {"coupon_link", "link"}
    with pytest.raises(rules.PlaceholderEmpty):
        rules.check("{coupon_name}", has_offer=False, has_link=True)
    with pytest.raises(rules.PlaceholderEmpty):
        rules.check("{link}", has_offer=True, has_link=False)


@given(st.text(alphabet=st.characters(blacklist_characters="{}")))
def test_plain_words_stay_as_they_are(text: str) -> None:
    assert text_of(text) == text


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        parts = rules.parse(text)
    except rules.PlaceholderUnknown:
        return
    values = dict.fromkeys(rules.PLACEHOLDERS, "x")
    assert isinstance(rules.render(parts, values), str)


@given(st.text())
def test_one_line_holds_no_break_and_no_control(text: str) -> None:
    line = rules.one_line(text)
    assert line == rules.one_line(line)
    assert line.isprintable()


# ── Hold-out ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_hold_out_has_its_share_and_changes_with_the_quarter() -> None:
    held = {m for m in range(20_000) if rules.held_out("salt", "2026Q1", m, 5)}
    assert 850 < len(held) < 1_150
    other = {m for m in range(20_000) if rules.held_out("salt", "2026Q2", m, 5)}
    assert len(held & other) < 120
    assert held <= {m for m in range(20_000) if rules.held_out("salt", "2026Q1", m, 10)}
    assert not any(rules.held_out("salt", "2026Q1", m, 0) for m in range(1_000))


@pytest.mark.parametrize("percent", [-1, 51, 100])
def test_no_more_than_half_is_held_out(percent: float) -> None:
    with pytest.raises(ValueError):
        rules.holdout_cut(percent)


@pytest.mark.parametrize(
    ("day", "quarter"), [(date(2026, 1, 1), "2026Q1"), (date(2026, 3, 31), "2026Q1"), (date(2026, 12, 31), "2026Q4")]
)
def test_quarter_of(day: date, quarter: str) -> None:
    assert rules.quarter_of(day) == quarter


# ── Verdicts ────────────────────────────────────────────────────────────────────────────────────────────────────────


def verdict(status: Status, attempts: int = 0, idempotent: bool = False, **fields: object) -> rules.Verdict:
    return rules.verdict(Outcome(status, "why", **fields), attempts, NOW, idempotent)  # type: ignore[arg-type]


def test_verdicts() -> None:
    assert verdict(Status.ACCEPTED, provider_id="p").state is S.ACCEPTED
    assert verdict(Status.REJECTED) == rules.Verdict(S.FAILED, "why")
    assert verdict(Status.UNKNOWN) == rules.Verdict(S.UNKNOWN, "why")
    assert verdict(Status.RETRY, down=True) == rules.Verdict(S.READY, "why")


def test_tries_wait_longer_each_time_and_end() -> None:
    waits = [verdict(Status.RETRY, n).later for n in range(4)]
    assert [(w - NOW).total_seconds() for w in waits if w] == [30, 120, 480, 1_920]
    assert verdict(Status.RETRY, 4) == rules.Verdict(S.FAILED, "why")
    assert verdict(Status.RETRY, after=timedelta(minutes=7)).later == NOW + timedelta(minutes=7)
    assert verdict(Status.RETRY, after=timedelta(days=7)).later == NOW + rules.LONGEST_RETRY


def test_only_an_idempotent_channel_is_asked_again_in_doubt() -> None:
    assert verdict(Status.UNKNOWN, idempotent=True).state is S.READY
    assert verdict(Status.UNKNOWN, 4, idempotent=True).state is S.UNKNOWN


def test_batches_follow_the_pace() -> None:
    assert rules.next_batch(10, 0.1, 100) == 20
    assert rules.next_batch(80, 0.1, 100) == 100
    assert rules.next_batch(20, 0.5, 100) == 20
    assert rules.next_batch(20, 2.0, 100) == 10
    assert rules.next_batch(6, 9.0, 100) == 5


def test_time_left() -> None:
    rate, left = rules.time_left(100, 400, NOW, NOW + timedelta(seconds=10))
    assert (rate, left) == (10.0, timedelta(seconds=30))
    assert rules.time_left(0, 400, NOW, NOW + timedelta(seconds=10)) == (0.0, None)
    assert rules.time_left(5, 400, NOW, NOW) == (0.0, None)
