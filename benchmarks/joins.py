"""Joining a group over HTTP, side by side in one run: against the same route answering a constant, and a naive hot row.

    .venv/bin/python -m benchmarks.joins [--rounds 5] [--seconds 3] [--clients 32 128]

Every window uses a new group and distinct members, whose browsers are bound and who have enrolled and been in a group before.
Only ratios are to be compared between machines. `full` is a group without a seat left: each request gets a number on the waiting
list.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from typing import Any

from apiflask import APIBlueprint
from flask import Flask, redirect
from sqlalchemy import text

from benchmarks.claims import Bench
from benchmarks.load import Result
from community.groups import queries, services
from community.groups.models import GroupKind, GroupState
from kernel import clock, visitors
from kernel.auth import public
from kernel.db import db, transaction
from membership.members import queries as members
from tests.webshop import WebShop, serve

CAPACITY = 100_000
# A shop that has been open for a while: without rows the database would plan for empty tables.
BEFORE = (
    "INSERT INTO seat (group_id, sub_group_id, member_id, state, role, source, held_at, joined_at, ended_at, end_reason, barred)"
    " SELECT s.group_id, s.id, m.id, 'left', 'member', '', now(), now(), now(), 'left', false FROM sub_group s, member m"
    " WHERE s.group_id = :group AND s.number = 1",
    "INSERT INTO waiting (group_id, member_id, number, state, queued_at, ended_at)"
    " SELECT :group, m.id, row_number() OVER (ORDER BY m.id), 'lapsed', now(), now() FROM member m",
    'UPDATE "group" SET last_number = (SELECT count(*) FROM member) WHERE id = :group',
)

bp = APIBlueprint("benchmark", __name__, enable_openapi=False)


@bp.post("/benchmark/constant/<public_id>")
@public("a constant behind the same policy, form token and look-ups")
def constant(public_id: str) -> Any:
    group = queries.get_by_public_id(public_id)
    members.find_member(visitors.member_id() or 0)
    return redirect(f"/groups/{group.public_id}", 303)


@bp.post("/benchmark/naive/<public_id>")
@public("joining as one would first write it")
def naive(public_id: str) -> Any:
    """Each request counts on the group's and the sub-group's rows in a transaction of its own."""
    group, member = queries.get_by_public_id(public_id), members.find_member(visitors.member_id() or 0)
    assert member is not None
    values = {"group": group.id, "member": member.id, "now": clock.now(), "seats": group.seats_each}
    db.session.execute(text('UPDATE "group" SET seated = seated + 1 WHERE id = :group AND seated < capacity'), values)
    place = db.session.execute(
        text(
            "UPDATE sub_group SET seated = seated + 1 WHERE id = (SELECT id FROM sub_group WHERE group_id = :group"
            " AND seated < seats ORDER BY number LIMIT 1) RETURNING id"
        ),
        values,
    ).scalar()
    if place is None:
        place = db.session.execute(
            text(
                "INSERT INTO sub_group (group_id, number, seats, seated) SELECT :group, count(*) + 1, :seats, 1"
                " FROM sub_group WHERE group_id = :group RETURNING id"
            ),
            values,
        ).scalar()
    db.session.execute(
        text(
            "INSERT INTO seat (group_id, sub_group_id, member_id, state, role, source, held_at, joined_at, barred)"
            " VALUES (:group, :place, :member, 'taken', 'member', '', :now, :now, false)"
        ),
        {**values, "place": place},
    )
    db.session.execute(
        text(
            "INSERT INTO event (name, member_id, payload, occurred_at) VALUES ('MemberJoinedGroup', :member, '{}', :now)"
        ),
        values,
    )
    services.welcome(group, member.id, "benchmark")
    return redirect(f"/groups/{group.public_id}", 303)


def serve_with_extras() -> None:
    def change(app: Flask) -> None:
        app.register_blueprint(bp)

    serve(change)


def make_group(bench: Bench, capacity: int = CAPACITY) -> str:
    with bench.app.test_request_context(), transaction():
        draft = services.GroupDraft(name="Bench", capacity=capacity, seats_each=min(500, capacity))
        group = services.create(GroupKind.REGULAR, draft)
        services.change_state(group, GroupState.OPEN)
        if capacity == 1:
            services.join_many(group.id, [bench.ids[-1]])
        return group.public_id


def prepare(bench: Bench) -> None:
    """Enrol everybody, who left a group or waited for it in vain before."""
    old = make_group(bench, capacity=1)
    with bench.app.app_context(), transaction():
        db.session.execute(text("UPDATE member SET enrolled_at = now()"))
        group_id = queries.get_by_public_id(old).id
        for statement in BEFORE:
            db.session.execute(text(statement), {"group": group_id})
    with bench.app.app_context(), db.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM ANALYZE"))


def windows(bench: Bench) -> dict[str, Callable[[], list[str]]]:
    """How each window's paths are made."""
    return {
        "constant": lambda: [f"/benchmark/constant/{make_group(bench)}"],
        "join": lambda: [f"/groups/{make_group(bench)}/join"],
        "eight groups": lambda: [f"/groups/{make_group(bench)}/join" for _ in range(8)],
        "full": lambda: [f"/groups/{make_group(bench, capacity=1)}/join"],
        "naive": lambda: [f"/benchmark/naive/{make_group(bench)}"],
    }


PAIRS = [("join", "constant"), ("join", "naive"), ("full", "constant"), ("eight groups", "join")]


def measure(bench: Bench, clients: int, rounds: int, seconds: float) -> None:
    made = windows(bench)
    results: dict[str, list[Result]] = {name: [] for name in made}
    for make in made.values():
        bench.window(make(), clients, 0.5)
    for _ in range(rounds):
        for name, make in made.items():
            results[name].append(bench.window(make(), clients, seconds))
    print(f"\n{clients} clients, {rounds} rounds of {seconds:g} s")
    for name, found in results.items():
        rate, half, most = (
            statistics.median(r.rate for r in found),
            statistics.median(r.wait(0.5) for r in found),
            statistics.median(r.wait(0.99) for r in found),
        )
        kinds = sum((r.kinds for r in found), start=type(found[0].kinds)())
        print(f"  {name:14s} {rate:8.0f}/s   half in {half:6.1f} ms   99 % in {most:6.1f} ms   {dict(kinds)}")
        print(
            "      CPU µs a request: "
            + ", ".join(f"{p} {statistics.median(r.cpu[p] for r in found):.0f}" for p in found[0].cpu)
        )
    for name, against in PAIRS:
        pairs = zip(results[name], results[against], strict=True)
        print(f"  {name} / {against}: {statistics.median(a.rate / b.rate for a, b in pairs):.2f}")


def checked(bench: Bench) -> bool:
    """Whether every counter is the number of its rows, and no size was passed."""
    with bench.app.app_context():
        wrong = db.session.execute(
            text(
                "SELECT (SELECT count(*) FROM sub_group s WHERE seated > seats OR seated <>"
                " (SELECT count(*) FROM seat WHERE sub_group_id = s.id AND state IN ('held', 'taken')))"
                ' + (SELECT count(*) FROM "group" g WHERE seated > capacity OR queued <>'
                " (SELECT count(*) FROM waiting WHERE group_id = g.id AND state = 'queued'))"
            )
        ).scalar()
        return wrong == 0


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--clients", type=int, nargs="+", default=[32, 128])
    options = parser.parse_args()
    with WebShop("benchmarks.joins_server", durable=True) as shop:
        bench = Bench(shop)
        prepare(bench)
        for clients in options.clients:
            measure(bench, clients, options.rounds, options.seconds)
        print(f"every counter is the number of its rows: {checked(bench)}")


if __name__ == "__main__":
    main()
