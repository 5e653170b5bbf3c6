"""Large files: kept within the request, looked through by a worker."""

from __future__ import annotations

import io

import pytest
from openpyxl import Workbook
from sqlalchemy import select

from membership.orders import services
from membership.orders.models import ImportRun, Order, RunState
from membership.orders.services import arrivals, runs

from .files import line, text_of

ENGLISH = {"Accept-Language": "en"}
JOB = "membership.orders.jobs.take_in_file"


@pytest.fixture(autouse=True)
def everything_is_large(monkeypatch, clock):
    monkeypatch.setattr(arrivals, "LARGE_WORKBOOK", 0)
    monkeypatch.setattr(arrivals, "LARGE_TEXT", 0)


def workbook() -> bytes:
    book = Workbook()
    sheet = book.active
    assert sheet is not None
    sheet.title = "一月"
    for row in text_of([line(), line(order_no="B2")]).splitlines():
        sheet.append(row.split(","))
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()


def upload(client, content: bytes, name: str = "orders.xlsx", source: str = "shop"):
    return client.post(
        "/console/imports", data={"file": (io.BytesIO(content), name), "source": source, "format": "auto"}
    )


def newest(db) -> ImportRun:
    db.session.expire_all()
    return db.session.scalars(select(ImportRun).order_by(ImportRun.id.desc())).first()


def test_large_workbook_is_looked_through_by_a_worker_and_then_waits(owner_client, db, run_jobs):
    address = upload(owner_client, workbook()).headers["Location"]
    run = newest(db)
    assert (run.state, run.format, run.rows_total) == (RunState.RUNNING, "", 0)
    page = owner_client.get(address, headers=ENGLISH).text
    assert "The file is being read" in page
    assert f"{address}/start" not in page
    assert owner_client.get("/console/imports", headers=ENGLISH).status_code == 200
    assert owner_client.get("/console/", headers=ENGLISH).status_code == 200
    assert JOB in run_jobs()
    run = newest(db)
    assert (run.state, run.format, run.rows_total) == (RunState.WAITING, "siyu", 2)
    assert (run.lease_token, run.options["workbook"]["sheet"]) == (None, "一月")
    assert owner_client.get(f"{address}/progress").headers["HX-Refresh"] == "true"
    assert "Import 2 lines" in owner_client.get(address, headers=ENGLISH).text
    assert db.session.scalars(select(Order.id)).all() == []
    owner_client.post(f"{address}/start")
    run_jobs()
    assert newest(db).state is RunState.DONE
    assert len(db.session.scalars(select(Order.id)).all()) == 2


@pytest.mark.parametrize(
    ("content", "told"),
    [(b"PK\x03\x04 no workbook at all", "ZIP"), (b"", "empty"), (b"order_no,state\n", "no line"), (b'a,b\n1,"2\n', "line 2")],
)  # fmt: skip
def test_large_file_that_cannot_be_read_says_so(owner_client, db, run_jobs, content, told):
    address = upload(owner_client, content or b"\n").headers["Location"]
    run_jobs()
    run = newest(db)
    assert run.state is RunState.FAILED
    assert not (runs.folder() / run.file_key).exists()
    page = owner_client.get(address, headers=ENGLISH).text
    assert "This file was not imported" in page
    assert told in page


def test_unknown_heading_waits_for_its_mapping(owner_client, db, run_jobs):
    address = upload(owner_client, "流水号,手机\n1,12600001234\n".encode(), "list.csv").headers["Location"]
    run_jobs()
    assert (newest(db).state, newest(db).format) == (RunState.WAITING, "")
    assert "Say which column is which" in owner_client.get(address, headers=ENGLISH).text


def test_look_that_died_is_taken_up_again_and_one_under_way_left_alone(owner_client, db, clock, monkeypatch):
    upload(owner_client, workbook())
    run_id = newest(db).id

    def die(path):
        raise MemoryError

    with monkeypatch.context() as while_it_dies:
        while_it_dies.setattr(arrivals.formats, "unfold", die)
        with pytest.raises(MemoryError):
            arrivals.look_through(run_id)
    assert arrivals.look_through(run_id) is True
    assert newest(db).state is RunState.RUNNING
    assert run_id not in services.abandoned()
    clock.move(seconds=arrivals.LEASE.total_seconds() + 1)
    assert run_id in services.abandoned()
    assert arrivals.look_through(run_id) is True
    assert newest(db).state is RunState.WAITING
    assert arrivals.look_through(run_id) is False


def test_look_that_always_dies_is_given_up(owner_client, db, clock, monkeypatch):
    upload(owner_client, workbook())
    run_id = newest(db).id

    def die(path):
        raise MemoryError

    monkeypatch.setattr(arrivals.formats, "unfold", die)
    for _ in range(runs.TRIES):
        with pytest.raises(MemoryError):
            arrivals.look_through(run_id)
        clock.move(seconds=arrivals.LEASE.total_seconds() + 1)
    assert arrivals.look_through(run_id) is True
    assert newest(db).failure == {"code": "gave_up", "line": 1}


def test_whoever_has_lost_the_look_writes_nothing(owner_client, db):
    upload(owner_client, workbook())
    run = newest(db)
    run.lease_token = "somebody-else"
    db.session.flush()
    assert arrivals._settle(run.id, "mine", state=RunState.WAITING) is False
    assert newest(db).state is RunState.RUNNING


def test_file_that_names_no_source_is_looked_through_at_once(owner_client, db):
    assert upload(owner_client, workbook(), source="").status_code == 422
    assert newest(db) is None


def test_large_file_of_corrections_is_looked_through_by_a_worker_and_tied_to_its_run(owner_client, db, run_jobs):
    address = upload(owner_client, text_of([line(), line(order_no="B2", quantity="two")]).encode(), "a.csv").headers[
        "Location"
    ]
    run_jobs()
    owner_client.post(f"{address}/start")
    run_jobs()
    first = newest(db)
    assert (first.state, first.accepted, first.rejected) == (RunState.DONE, 1, 1)
    # Without our columns in front nothing in the file says which run it corrects; the address does.
    answer = owner_client.post(f"{address}/corrections", data={"file": (io.BytesIO(workbook()), "rejects.xlsx")})
    second = newest(db)
    assert answer.headers["Location"].endswith(f"/{second.id}")
    assert (second.id != first.id, second.state, second.format, second.source) == (True, RunState.RUNNING, "", "shop")
    run_jobs()
    second = newest(db)
    assert (second.state, second.corrects_id, second.rows_total) == (RunState.WAITING, first.id, 2)
