"""Files from the upload to the last line: kept, looked through, taken in in batches, gone on with."""

from __future__ import annotations

import gc
import io
import json
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select, text

from kernel.events import EventRecord
from membership.members.models import Member
from membership.orders import jobs, queries, services
from membership.orders.formats import FileUnreadable, Wrong
from membership.orders.models import ImportReject, ImportRun, Order, RunState
from membership.orders.services import runs, summaries
from tests.conftest import published

from .files import line, numbers, text_of, write

ROOT = Path(__file__).resolve().parents[3]
DEMO = ROOT / "membership" / "orders" / "demo" / "online_retail_ii.csv.gz"
TAOBAO = ROOT.parent / "shared" / "data" / "taobao_store_2019-01.csv.gz"


@pytest.fixture(autouse=True)
def noon(clock):
    return clock


def kept(db, rows, source="shop", **form) -> ImportRun:
    return services.keep(io.BytesIO(text_of(rows, **form).encode()), "orders.csv", source)


def read(db, run_id: int) -> ImportRun:
    db.session.expire_all()
    return queries.get_run(run_id)


def report(run: ImportRun) -> dict[str, int]:
    names = (
        "rows_total",
        "rows_in",
        "accepted",
        "duplicate",
        "rejected",
        "orders_new",
        "orders_changed",
        "members_new",
    )
    return {name: getattr(run, name) for name in names}


ROWS = [
    line(),
    line(sku="TRAY"),
    line(order_no="B2", quantity="x"),
    line(order_no="B2"),
    line(order_no="C3", buyer_id=""),
]


def test_file_waits_until_it_is_started_and_is_then_taken_in(db, run_jobs):
    run = kept(db, ROWS)
    assert (run.state, run.format, run.encoding, run.rows_total) == (RunState.WAITING, "siyu", "utf-8", 5)
    assert numbers(db) == []
    services.start(run.id)
    assert "membership.orders.jobs.take_in_file" in run_jobs()
    run = read(db, run.id)
    assert run.state is RunState.DONE
    assert report(run) == {
        "rows_total": 5, "rows_in": 5, "accepted": 3, "duplicate": 0, "rejected": 2,
        "orders_new": 2, "orders_changed": 0, "members_new": 1,
    }  # fmt: skip
    assert [(r.line, r.column, r.reason) for r in db.session.scalars(select(ImportReject).order_by(ImportReject.id))] == [
        (4, "quantity", "Not a whole number"), (5, "", "Another line of this order is refused"),
    ]  # fmt: skip
    assert numbers(db) == ["A1", "C3"]
    told = db.session.scalars(select(EventRecord).where(EventRecord.name == "OrdersImported"))
    assert [row.payload["run_id"] for row in told] == [run.id]


def test_same_file_again_changes_nothing(db, run_jobs, tmp_path):
    path = write(tmp_path / "a.csv", ROWS)
    first = read(db, services.run_inline(path, "shop"))
    run_jobs()
    before = db.session.execute(text('SELECT * FROM "order" ORDER BY id')).all()
    again = read(db, services.run_inline(path, "shop"))
    run_jobs()
    assert report(again) == report(first) | {"accepted": 0, "duplicate": 3, "orders_new": 0, "members_new": 0}
    assert db.session.execute(text('SELECT * FROM "order" ORDER BY id')).all() == before


def test_members_stages_and_tiers_follow(db, run_jobs, tmp_path):
    path = write(tmp_path / "a.csv", [line(paid_amount="608.00", unit_price="600.00")])
    services.run_inline(path, "shop")
    run_jobs()
    member = db.session.scalars(select(Member)).one()
    assert (member.orders_count, member.spend, member.stage, member.rank) == (1, 600_00, "customer", 2)


def test_buyers_of_a_file_are_told_of_in_slices(db, run_jobs, tmp_path, monkeypatch):
    monkeypatch.setattr(summaries, "SLICE", 2)
    phones = [f"1390000{n:04}" for n in range(3)]
    rows = [line(order_no=f"A{n}", buyer_id="", buyer_phone=phone) for n, phone in enumerate(phones)]
    services.run_inline(write(tmp_path / "a.csv", rows), "shop")
    run_jobs()
    people = db.session.scalars(select(Member).order_by(Member.id)).all()
    told = [event["member_ids"] for event in published(db, "BuyersChanged")]
    assert told == [[people[0].id, people[1].id], [people[2].id]]
    assert {person.stage for person in people} == {"customer"}
    moved = {(e["member_id"], e["from_stage"], e["to_stage"]) for e in published(db, "StageChanged")}
    assert moved == {(person.id, "lead", "customer") for person in people}


@pytest.mark.parametrize("size", [1, 2, 3, 1000])
def test_batches_of_any_size_end_alike(db, tmp_path, monkeypatch, size):
    monkeypatch.setattr(runs, "BATCH_ROWS", size)
    rows = [line(order_no=f"N{n // 2}", title=f"t{n}") for n in range(20)]
    run = read(db, services.run_inline(write(tmp_path / "a.csv", rows), "shop"))
    assert (run.rows_in, run.accepted, run.orders_new) == (20, 20, 10)
    assert run.checkpoint["entries"] == 10


def test_wrong_file_is_kept_in_the_list_with_its_reason(db):
    run = services.keep(io.BytesIO(b"PK\x03\x04 xl/workbook.xml"), "C:\\Users\\me\\orders.xlsx", "shop")
    assert (run.state, run.failure, run.filename) == (RunState.FAILED, {"code": "spreadsheet"}, "orders.xlsx")
    assert not (runs.folder() / run.file_key).exists()
    with pytest.raises(services.RunNotWaiting):
        services.start(run.id)


@pytest.mark.parametrize("source", ["", "Own Shop", "x" * 33, "a/b", "淘宝", "-"])
def test_sources_are_plain_names(db, source):
    with pytest.raises(services.SourceInvalid):
        services.keep(io.BytesIO(b"x"), "a.csv", source)


def test_unknown_format_is_refused(db):
    with pytest.raises(services.FormatUnknown):
        services.keep(io.BytesIO(b"x"), "a.csv", "shop", "excel")


def test_run_starts_once(db, run_jobs):
    run = kept(db, ROWS)
    services.start(run.id)
    with pytest.raises(services.RunNotWaiting):
        services.start(run.id)
    with pytest.raises(services.RunNotWaiting):
        services.put_away(run.id)


def test_file_put_away_is_gone(db):
    run = kept(db, ROWS)
    path = runs.folder() / run.file_key
    assert path.exists()
    services.put_away(run.id)
    assert not path.exists()
    assert db.session.scalars(select(ImportRun)).all() == []


def test_run_that_is_held_is_left_to_its_holder(db, clock, run_jobs):
    run = kept(db, ROWS)
    services.start(run.id)
    with_lease = "UPDATE import_run SET lease_token = 'other', lease_until = :until"
    db.session.execute(text(with_lease), {"until": clock.now() + timedelta(seconds=60)})
    assert services.work(run.id) is False
    jobs.resume_imports()
    assert numbers(db) == []


def test_abandoned_run_is_gone_on_with_by_the_sweep(db, clock, app, run_jobs):
    run = kept(db, ROWS)
    services.start(run.id)
    app.extensions["collected_jobs"].clear()
    jobs.resume_imports()
    run_jobs()
    assert read(db, run.id).state is RunState.DONE


def test_holder_who_lost_the_lease_writes_nothing_more(db, clock, tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "BATCH_ROWS", 1)
    path = write(tmp_path / "a.csv", [line(order_no=f"N{n}") for n in range(4)])

    def take_over(done: int, total: int) -> None:
        if done == 2:
            db.session.execute(text("UPDATE import_run SET lease_token = 'other'"))
            db.session.commit()

    run = read(db, services.run_inline(path, "shop", progress=take_over))
    assert (run.state, run.rows_in) == (RunState.RUNNING, 2)
    assert numbers(db) == ["N0", "N1"]
    clock.move(seconds=121)
    assert services.work(run.id) is True
    assert (read(db, run.id).rows_in, len(numbers(db))) == (4, 4)


def test_long_run_is_given_back_and_gone_on_with(db, tmp_path, monkeypatch, run_jobs):
    monkeypatch.setattr(runs, "BATCH_ROWS", 1)
    monkeypatch.setattr(jobs, "SLICE_SECONDS", -1)
    run = kept(db, [line(order_no=f"N{n}") for n in range(3)])
    services.start(run.id)
    done = run_jobs()
    assert done.count("membership.orders.jobs.take_in_file") == 4
    assert read(db, run.id).state is RunState.DONE


def test_file_that_vanished_fails_the_run_with_a_sentence(db, run_jobs):
    run = kept(db, ROWS)
    services.start(run.id)
    (runs.folder() / run.file_key).unlink()
    run_jobs()
    run = read(db, run.id)
    assert (run.state, run.failure) == (RunState.FAILED, {"code": "file_gone"})


def test_run_that_fails_again_and_again_is_given_up(db, clock, monkeypatch):
    run = kept(db, ROWS)
    services.start(run.id)
    db.session.commit()

    def fail(*args, **kwargs):
        raise RuntimeError("a fault")

    monkeypatch.setattr(runs.intake, "take_in", fail)
    for _ in range(runs.TRIES):
        with pytest.raises(RuntimeError):
            services.work(run.id)
        clock.move(seconds=121)
    assert services.work(run.id) is False
    run = read(db, run.id)
    assert (run.state, run.failure["code"]) == (RunState.FAILED, "gave_up")
    assert db.session.scalar(text("SELECT count(*) FROM event WHERE name = 'OrdersImported'")) == 1


def test_files_are_forgotten_after_a_month(db, clock, tmp_path):
    run = read(db, services.run_inline(write(tmp_path / "a.csv", ROWS), "shop"))
    path = runs.folder() / run.file_key
    assert services.forget_files() == 0
    clock.move(days=31)
    assert services.forget_files() == 1
    assert not path.exists()


def test_preview_shows_the_file_as_it_is_and_as_it_was_understood(db):
    run = kept(db, ROWS)
    assert services.preview(run)[0] == line()
    assert [one.external_id for one in services.sample(run)] == ["A1", "B2", "C3"]


# ── From the command line ───────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def siyu(app, db):
    def run(*words):
        return app.test_cli_runner().invoke(args=["orders", "import", *map(str, words)])

    return run


def test_command_prints_the_result_as_json(siyu, tmp_path):
    done = siyu(write(tmp_path / "a.csv", ROWS), "--source", "shop", "--format", "siyu", "--json")
    assert done.exit_code == 0
    result = json.loads(done.stdout)
    assert {key: result[key] for key in ("rows_in", "accepted", "duplicate", "rejected", "orders_new", "members_new")} == {
        "rows_in": 5, "accepted": 3, "duplicate": 0, "rejected": 2, "orders_new": 2, "members_new": 1,
    }  # fmt: skip
    assert result["rejects"][0] == {"line": 4, "column": "quantity", "reason": "Not a whole number", "value": "x"}


def test_command_says_it_in_words(siyu, tmp_path):
    done = siyu(write(tmp_path / "a.csv", ROWS), "--source", "shop")
    assert done.exit_code == 0
    assert "5 lines read as siyu (utf-8): 3 accepted, 0 duplicate, 2 rejected." in done.stdout
    assert "line 4, quantity: Not a whole number (x)" in done.stdout


def test_command_ends_with_one_when_the_file_is_refused(siyu, tmp_path, db):
    path = tmp_path / "orders.csv"
    path.write_text('order_no,state,sku\n1,"never closed,x\n2,paid,y\n')
    done = siyu(path, "--source", "shop", "--json")
    assert done.exit_code == 1
    assert json.loads(done.stdout)["code"] == "file_unreadable"
    assert "line 2" in done.stderr
    assert siyu(tmp_path / "none.csv", "--source", "shop").exit_code == 2
    assert siyu(path, "--source", "Own Shop").exit_code == 1
    assert siyu(path, "--source", "shop", "--format", "excel").exit_code == 1
    assert numbers(db) == []


def test_refusal_of_an_inline_run_names_what_is_wrong(db, tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("foo,bar\n1,2\n")
    with pytest.raises(FileUnreadable) as refused:
        services.run_inline(path, "shop")
    assert (refused.value.wrong, refused.value.values) == (Wrong.HEADING_UNKNOWN, {"columns": "foo, bar"})


# ── Real files ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_real_taobao_file(db, siyu):
    if not TAOBAO.exists():
        pytest.skip(f"{TAOBAO.name} is not here")
    first = json.loads(siyu(TAOBAO, "--source", "taobao", "--format", "taobao", "--json").stdout)
    names = ("rows_in", "accepted", "rejected", "orders_new", "members_new")
    assert [first[name] for name in names] == [8690, 8690, 0, 8690, 8199]
    paid, refunds = db.session.execute(
        text('SELECT sum(paid_amount - refunded_amount), count(*) FILTER (WHERE refunded_amount > 0) FROM "order"')
    ).one()
    assert refunds == 291
    assert db.session.scalar(text("SELECT sum(orders_count) FROM member")) == 8399
    assert db.session.scalar(text("SELECT sum(spend) FROM member")) == paid - db.session.scalar(
        text('SELECT sum(postage) FROM "order" WHERE refunded_amount = 0')
    )
    again = json.loads(siyu(TAOBAO, "--source", "taobao", "--json").stdout)
    assert (again["accepted"], again["duplicate"], again["members_new"]) == (0, 8690, 0)


def test_demo_file_with_its_cancellations_against_a_plain_count(db, tmp_path):
    """Sums by an independent walk over the lines of some customers of the demo's file."""
    import csv
    import gzip
    from collections import defaultdict

    customers = {"12748", "14911", "17841", "13408", "14646", "12971"}
    with gzip.open(DEMO, "rt", newline="") as packed:
        heading, *rows = csv.reader(packed)
    mine = [row for row in rows if row[6] in customers]
    assert len(mine) > 500
    run = read(db, services.run_inline(write(tmp_path / "uci.csv", mine, heading=heading), "shop"))
    assert (run.format, run.rows_in, run.accepted, run.rejected) == ("uci", len(mine), len(mine), 0)

    goods = lambda sku: sku not in {"POST", "D", "M", "DOT", "C2", "BANK CHARGES"}  # noqa: E731
    bought = defaultdict(list)
    returned = []
    for invoice, sku, _title, quantity, at, price, customer, _country in mine:
        if invoice.startswith("C"):
            if goods(sku):
                returned.append((at, invoice, customer, sku.upper(), -int(quantity), round(float(price) * 100)))
        else:
            bought[customer, sku.upper()].append([at, invoice, int(quantity)])
    money = defaultdict(int)
    for at, _invoice, customer, sku, quantity, price in sorted(returned, key=lambda one: one[:2]):
        for purchase in sorted(bought[customer, sku], key=lambda one: one[:2], reverse=True):
            if purchase[0] < at and quantity:
                share = min(quantity, purchase[2])
                purchase[2] -= share
                quantity -= share
                money[purchase[1]] += share * price
    found = {o.external_id: o.refunded_amount for o in db.session.scalars(select(Order)) if o.refunded_amount}
    # Sales typed in by hand (M) are given back too, which this walk leaves out.
    by_hand = {row[0] for row in mine if row[1] == "M"}
    assert {k: v for k, v in found.items() if k not in by_hand} == {
        k: v for k, v in money.items() if v and k not in by_hand
    }


def test_buyers_have_their_tiers_when_the_run_ends(db):
    """Judged with their sums; what the run then tells has nobody judged twice."""
    bought = [line(order_no=f"N{n}", buyer_id="7", paid_amount="3000.00", unit_price="2992.00") for n in range(3)]
    run = kept(db, [*bought, line(order_no="M1", buyer_id="8")])
    services.start(run.id)
    assert services.work(run.id)
    ranks = dict(db.session.execute(select(Member.orders_count, Member.rank)).all())
    assert ranks[3] > ranks[1]
    changes = db.session.execute(text("SELECT from_rank, to_rank, reason FROM tier_change ORDER BY to_rank")).all()
    assert [tuple(row) for row in changes] == [(0, ranks[1], "earned"), (0, ranks[3], "earned")]
    told = db.session.scalars(select(EventRecord).where(EventRecord.name.in_(["OrdersImported", "TierChanged"])))
    assert {row.name: row.payload.get("ranked") for row in told} == {"TierChanged": None, "OrdersImported": True}


def test_the_interpreter_is_as_it_was_after_a_fault(db, monkeypatch):
    run = kept(db, ROWS)
    services.start(run.id)
    db.session.commit()
    before, meanwhile = (sys.getswitchinterval(), gc.isenabled()), []

    def fail(*args, **kwargs):
        meanwhile.append((sys.getswitchinterval(), gc.isenabled()))
        raise RuntimeError("a fault")

    monkeypatch.setattr(runs.intake, "take_in", fail)
    with pytest.raises(RuntimeError):
        services.work(run.id)
    assert meanwhile == [(pytest.approx(runs.SWITCH_SECONDS), False)]
    assert (sys.getswitchinterval(), gc.isenabled()) == before
