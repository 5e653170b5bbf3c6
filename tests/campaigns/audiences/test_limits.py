"""What a page says when counting takes longer than people wait: an estimate that says so, and a session that goes on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import func, select, text

from campaigns.audiences import labels, queries, rules, services
from kernel import clock as kernel_clock
from membership.members.models import Member
from membership.members.services import merge

HIGH = rules.Definition(rules=(rules.TierRule(ranks=[3, 4]), rules.Nested(rules=(rules.SpendRule(from_fen=100),))))


@pytest.fixture
def stopped(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The next statements that are over their time; each time a limit is set, one is taken from the list's number."""
    left = [0]
    real = queries.time_limit

    @contextmanager
    def limit(milliseconds: int) -> Iterator[None]:
        if left[0]:
            left[0] -= 1
            raise queries.OutOfTime
        with real(milliseconds):
            yield

    monkeypatch.setattr(queries, "time_limit", limit)
    return left


@pytest.fixture
def shop(db: Any, make_member: Any) -> None:
    for rank in range(5):
        make_member(f"V{rank}", rank=rank, spend=1_000)
    make_member("Gone", rank=4, spend=1_000, erased_at=kernel_clock.now())


def test_a_slow_count_is_estimated_from_a_sample(db: Any, shop: Any, stopped: list[int]) -> None:
    stopped[0] = 1
    # The sample of a small shop is everybody, so that the estimate is the count.
    assert queries.count(HIGH) == queries.Reach(2, estimated=True)
    assert queries.count(HIGH) == queries.Reach(2)


def test_a_slow_sample_leaves_the_planners_guess(db: Any, shop: Any, stopped: list[int]) -> None:
    stopped[0] = 2
    found = queries.count(HIGH)
    assert found.estimated
    assert found.people >= 0


def test_slow_lines_are_estimated_then_left_out(db: Any, shop: Any, stopped: list[int]) -> None:
    stopped[0] = 1
    assert queries.line_counts(HIGH) == [queries.Reach(2, True), queries.Reach(5, True), queries.Reach(5, True)]
    stopped[0] = 2
    assert queries.line_counts(HIGH) == []
    stopped[0] = 2
    assert [line.reach for line in labels.lines(HIGH)] == [None, None, None]


def test_a_slow_list_of_people_comes_from_the_sample(db: Any, shop: Any, stopped: list[int]) -> None:
    stopped[0] = 1
    assert {member.nickname for member in queries.sample(HIGH)} == {"V3", "V4"}
    stopped[0] = 2
    assert queries.sample(HIGH) == []


def test_the_page_says_that_it_estimates(db: Any, shop: Any, stopped: list[int], owner_client: Any) -> None:
    owner_client.post("/console/language", data={"lang": "en"})
    audience = services.save("High", HIGH)
    stopped[0] = 1
    page = owner_client.get(f"/console/audiences/{audience.id}").text
    assert "this is an estimate" in page
    assert "about" in page


def test_the_limit_is_the_servers_and_ends_with_the_block(db: Any, shop: Any) -> None:
    with pytest.raises(queries.OutOfTime), queries.time_limit(30):
        db.session.scalar(text("SELECT count(*) FROM generate_series(1, 100000000)"))
    settings = "SELECT current_setting('statement_timeout'), current_setting('work_mem'), current_setting('jit')"
    before = db.session.execute(text(settings)).one()
    with queries.time_limit(5_000):
        inside = db.session.execute(text(settings)).one()
    assert inside == ("5s", "64MB", "off")
    assert db.session.execute(text(settings)).one() == before
    # A mistake in the block is no lack of time, and rolls back what the block did and no more.
    db.session.add(Member(nickname="Kept", created_at=kernel_clock.now(), stage_since=kernel_clock.now()))
    with pytest.raises(ZeroDivisionError), queries.time_limit(5_000):
        db.session.execute(text("UPDATE member SET nickname = 'lost'"))
        _ = 1 // 0
    assert db.session.scalar(select(func.count()).where(Member.nickname == "Kept")) == 1
    assert db.session.execute(text(settings)).one() == before


def test_a_count_reads_the_summary_columns_alone_where_they_suffice(db: Any, shop: Any) -> None:
    """Spend, orders, last order, rank: questions about these touch no order."""
    wanted = rules.Definition(
        rules=(
            rules.TierRule(ranks=[1, 2, 3, 4]),
            rules.SpendRule(from_fen=1),
            rules.OrdersRule(from_count=0, to_count=9),
            rules.LastOrderRule(from_days=0),
        )
    )
    assert '"order"' not in str(queries.member_ids(wanted))
    assert "FROM member" in str(queries.member_ids(wanted))


def test_merging_brings_the_lists_along(db: Any, make_member: Any, run_jobs: Any) -> None:
    older, newer = make_member("Lime", rank=3), make_member("Lime too", rank=3)
    first, second = services.save("Both", HIGH), services.save("One", rules.Definition())
    for audience in (first, second):
        services.freeze(audience)
    first.source = second.source = rules.Definition(rules=(rules.TierRule(ranks=[3]),)).dump()
    services.write_down(first.id), services.write_down(second.id)
    merge.merge(older.id, newer.id)
    for audience in (first, second):
        found = list(db.session.scalars(queries.member_ids(rules.parse(audience.definition))))
        assert found == [older.id]
