"""Pushes that broke off are on the first page for a week."""

from __future__ import annotations

from datetime import timedelta

from campaigns.pushes.models import RunState
from kernel.auth import Role


def test_a_push_that_broke_off_is_named_with_the_reason(db, clock, make_push, staff_client):
    for days, name in ((1, "昨天的"), (8, "上周的")):
        _push, run = make_push(name=name)
        run.state, run.failure, run.finished_at = RunState.FAILED, "账号没有了", clock.now() - timedelta(days=days)
    page = staff_client(Role.VIEWER).get("/console/?all=1").text
    assert "“昨天的”没能发出去" in page
    assert "账号没有了" in page
    assert "上周的" not in page
