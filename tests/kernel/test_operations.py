"""Operations: what runs and waits, jobs that are put aside after three tries, and the numbers for Prometheus."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import timedelta

import pytest
from redis import Redis
from sqlalchemy import select

from kernel import api_keys, events, failures, health, jobs, operations, shop
from kernel.audit import AuditEntry
from kernel.auth import Role
from kernel.db import transaction
from kernel.events import Event, EventDelivery, publish, subscribe
from kernel.failures import FailedJob
from kernel.jobs import job
from kernel.operations import Family, metrics, queries, requests
from tests.conftest import everything

PAGE = "/console/operations"
did: list[int] = []


@job()
def probe(number: int) -> None:
    did.append(number)


@job(endless=True)
def endless_probe() -> None:
    did.append(-1)


@dataclass(frozen=True, kw_only=True)
class OperationsProbed(Event):
    number: int


@subscribe(OperationsProbed)
def never_well(event: OperationsProbed) -> None:
    raise RuntimeError("never")


@pytest.fixture
def aside(db):
    """A job that was put aside."""
    found = FailedJob(
        key=failures.key_of(probe.name, {"number": 7}),
        name=probe.name,
        arguments={"number": 7},
        error="ValueError: seven",
        tries=3,
        first_at=failures.clock.now(),
        last_at=failures.clock.now(),
        put_aside_at=failures.clock.now(),
    )
    db.session.add(found)
    db.session.flush()
    return found


@pytest.fixture
def given_up(db):
    """An event that a subscriber was given up for."""
    publish(OperationsProbed(number=1))
    row = db.session.scalars(select(EventDelivery)).one()
    row.dead_at, row.error, row.attempts = events.clock.now(), "RuntimeError: never", 8
    db.session.flush()
    return row


# ── Tries ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def attempt(queue_server: Redis, work, number: int = 1, endless: bool = False) -> bool:
    return failures.attempt(queue_server, probe.name, {"number": number}, endless, work)


def test_a_job_that_fails_three_times_is_put_aside_and_begun_no_more(db, queue_server):
    def fail() -> None:
        raise ValueError("no such thing\nDETAIL: +8613800000000")

    for _ in range(3):
        with pytest.raises(ValueError):
            attempt(queue_server, fail)
    row = db.session.scalars(select(FailedJob)).one()
    assert (row.name, row.arguments, row.tries) == (probe.name, {"number": 1}, 3)
    # Values of rows stay out of it.
    assert row.error == "ValueError: no such thing"
    assert row.put_aside_at is not None
    assert not attempt(queue_server, pytest.fail)
    # Other arguments are other work.
    assert attempt(queue_server, lambda: None, number=2)


def test_a_worker_that_dies_three_times_over_a_job_is_not_given_it_again(db, queue_server):
    for _ in range(3):
        failures._begin(queue_server, failures.key_of(probe.name, {"number": 1}))
    assert not attempt(queue_server, pytest.fail)
    row = db.session.scalars(select(FailedJob)).one()
    assert (row.error, row.tries) == (failures.DIED, 3)


def test_what_was_put_aside_stays_so_with_an_emptied_queue(db, queue_server, aside):
    queue_server.flushall()
    assert not attempt(queue_server, pytest.fail, number=7)


def test_success_forgets_the_failures(db, queue_server):
    with pytest.raises(ZeroDivisionError):
        attempt(queue_server, lambda: 1 / 0)
    assert failures.counts() == (1, 0)
    assert attempt(queue_server, lambda: None)
    assert failures.counts() == (0, 0)
    assert queue_server.keys("siyu:tries:*") == []


def test_endless_work_is_noted_and_never_put_aside(db, queue_server):
    for _ in range(5):
        with pytest.raises(ZeroDivisionError):
            attempt(queue_server, lambda: 1 / 0, endless=True)
    row = db.session.scalars(select(FailedJob)).one()
    assert (row.tries, row.put_aside_at) == (5, None)
    assert attempt(queue_server, lambda: None, endless=True)
    assert failures.counts() == (0, 0)


def test_a_job_goes_on_where_the_queue_server_does_not_count(db):
    away = Redis.from_url("unix:///nowhere/queue.sock")
    assert attempt(away, lambda: did.append(1))


def test_a_job_is_not_given_a_book_to_read(app, db, settings):
    with pytest.raises(ValueError, match="ids"):
        jobs._queue(probe, settings, {"number": "9" * 100_000})


# ── The page ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_page_shows_what_was_given_up_and_changes_nothing(browse, db, queue_server, aside, given_up):
    browser = browse()
    before = everything(db)
    page = browser.get(PAGE).text
    assert everything(db) == before
    for said in (probe.name, "ValueError: seven", "OperationsProbed", "RuntimeError: never", "No backup yet"):
        assert said in page
    assert "No ticker leads" in page
    assert "No worker does the long jobs" in page


def test_the_page_says_that_the_queue_server_is_away(app, settings, browse, monkeypatch):
    browser = browse()
    monkeypatch.setitem(app.extensions, "settings", replace(settings, redis_url="unix:///nowhere/queue.sock"))
    answer = browser.get(PAGE)
    assert answer.status_code == 200
    assert "The queue server does not answer" in answer.text


def test_an_empty_page_says_what_it_would_show(browse, db, queue_server):
    page = browse().get(PAGE).text
    for said in ("No job has failed", "No event was given up", "Nothing is being sent", "No worker is known"):
        assert said in page


def test_waiting_jobs_are_counted_with_their_age(app, db, settings, queue_server, clock):
    jobs._queue(probe, settings, {"number": 1})
    jobs._queue(probe, settings, {"number": 2})
    first = queries.parts(settings).queues[0]
    assert (first.name, first.depth, first.workers) == ("default", 2, 0)


def test_a_job_is_tried_again_with_one_click(app, browse, db, queue_server, aside, run_jobs):
    did.clear()
    assert browse().post(f"{PAGE}/jobs/{aside.id}/redrive").status_code == 302
    assert run_jobs() == [probe.name]
    assert did == [7]
    assert db.session.scalars(select(FailedJob)).all() == []
    assert db.session.scalars(select(AuditEntry.action).where(AuditEntry.object_kind == "failed_job")).all() == [
        "failed_job.redriven"
    ]


def test_a_dropped_job_is_begun_no_more(browse, db, queue_server, aside):
    assert browse().post(f"{PAGE}/jobs/{aside.id}/drop").status_code == 302
    assert failures.shown() == []
    assert not attempt(queue_server, pytest.fail, number=7)
    assert browse().post(f"{PAGE}/jobs/{aside.id}/drop").status_code == 404


def test_dropping_endless_work_only_clears_the_note(browse, db, queue_server, aside):
    aside.name, aside.arguments = endless_probe.name, {}
    db.session.flush()
    assert browse().post(f"{PAGE}/jobs/{aside.id}/drop").status_code == 302
    assert db.session.scalars(select(FailedJob)).all() == []


def test_a_job_that_is_no_more_can_only_be_dropped(browse, db, queue_server, aside):
    aside.name = "kernel.nowhere.nothing"
    db.session.flush()
    assert browse().post(f"{PAGE}/jobs/{aside.id}/redrive").status_code == 409
    assert len(failures.shown()) == 1


def test_a_given_up_event_is_tried_again_or_dropped(browse, db, queue_server, given_up):
    path = f"{PAGE}/events/{given_up.event_id}/{given_up.subscriber}"
    assert browse().post(f"{path}/redrive").status_code == 302
    assert (given_up.dead_at, given_up.attempts) == (None, 0)
    given_up.dead_at = events.clock.now()
    assert browse().post(f"{PAGE}/events/redrive").status_code == 302
    assert given_up.dead_at is None
    given_up.dead_at = events.clock.now()
    assert browse().post(f"{path}/drop").status_code == 302
    assert db.session.scalars(select(EventDelivery)).all() == []
    assert browse().post(f"{path}/drop").status_code == 404
    said = db.session.scalars(
        select(AuditEntry.action).where(AuditEntry.object_kind == "event").order_by(AuditEntry.id)
    ).all()
    assert said == ["event_delivery.redriven", "event_delivery.redriven", "event_delivery.dropped"]


@pytest.mark.parametrize("role", [Role.MARKETER, Role.SERVICE, Role.ASSISTANT, Role.VIEWER])
def test_other_roles_stay_outside(browse, db, aside, role):
    assert browse(role).get(PAGE).status_code == 403
    assert browse(role).post(f"{PAGE}/jobs/{aside.id}/redrive").status_code == 403


def test_the_first_page_tells_of_it(browse, db, queue_server, aside):
    assert "1 piece of work was given up" in browse().get("/console/").text


def test_the_last_backup_is_shown(browse, db, queue_server, clock):
    shop.put("backup.last", {"at": clock.now().isoformat(), "bytes": 3 * 2**20})
    clock.move(hours=3)
    page = browse().get(PAGE).text
    assert "3 hours ago" in page
    assert "No backup yet" not in page


# ── The numbers ─────────────────────────────────────────────────────────────────────────────────────────────────────

SAMPLE = re.compile(
    r'(?P<name>[a-z_:][a-z0-9_:]*)(?:\{(?P<labels>(?:[a-z_]+="(?:[^"\\\n]|\\["\\n])*",?)*)\})? (?P<value>[-+0-9.eE]+|NaN)'
)


def parsed(text: str) -> dict[str, float]:
    """The samples of a text in format 0.0.4, by name and labels; each family announced once, before its samples."""
    kinds: dict[str, str] = {}
    found: dict[str, float] = {}
    for line in text.removesuffix("\n").split("\n"):
        if line.startswith("# "):
            _hash, word, name, rest = line.split(" ", 3)
            assert word in ("HELP", "TYPE")
            if word == "TYPE":
                assert name not in kinds
                assert rest in ("gauge", "counter")
                kinds[name] = rest
            continue
        said = SAMPLE.fullmatch(line)
        assert said is not None, line
        assert said["name"] in kinds, line
        key = line.rpartition(" ")[0]
        assert key not in found, line
        found[key] = float(said["value"])
    return found


@pytest.fixture
def scraper(client, db):
    """A program that may read the numbers."""
    _key, token = api_keys.create("Prometheus", ["metrics:read"])
    db.session.flush()
    client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {token}"
    return client


def test_numbers_in_the_text_format(scraper, db, settings, queue_server, aside, given_up):
    health.beat(queue_server, "ticker")
    jobs._queue(probe, settings, {"number": 1})
    answer = scraper.get("/metrics")
    assert answer.content_type == "text/plain; version=0.0.4; charset=utf-8"
    found = parsed(answer.text)
    assert found['siyu_part_up{part="database"}'] == found['siyu_part_up{part="ticker"}'] == 1
    assert found['siyu_part_up{part="worker:bulk"}'] == 0
    assert found['siyu_queue_jobs{queue="default"}'] == 1
    assert found["siyu_jobs_put_aside"] == found["siyu_events_dead"] == 1
    assert found['siyu_ticker_leader{host=""}'] == 0
    assert found["siyu_database_connections_most"] > 0


def test_the_numbers_need_their_scope(client, db):
    assert client.get("/metrics").status_code == 401
    _key, token = api_keys.create("Till", ["coupons:read"])
    assert client.get("/metrics", headers={"Authorization": f"Bearer {token}"}).status_code == 403


def test_requests_are_counted_by_class_across_processes(scraper, browse, settings, queue_server):
    requests._counted.clear()
    browse().get("/console/operations")
    browse(Role.VIEWER).get("/console/operations")
    # What another process has counted.
    queue_server.hincrby(requests.KEY, "n|console|2xx", 5)
    found = parsed(scraper.get("/metrics").text)
    assert found['siyu_http_requests_total{class="console",status="2xx"}'] == 6
    assert found['siyu_http_requests_total{class="console",status="4xx"}'] == 1
    assert found['siyu_http_request_seconds_total{class="console"}'] > 0


def test_counts_wait_while_the_queue_server_is_away(settings, queue_server):
    requests._counted.clear()
    requests.count("api", 200, 0.25)
    requests.flush(replace(settings, redis_url="unix:///nowhere/queue.sock"))
    assert requests.sums(settings) == {"n|api|2xx": 1, "us|api": 250_000}


def test_the_numbers_are_given_while_the_queue_server_is_away(app, scraper, settings, monkeypatch):
    monkeypatch.setitem(app.extensions, "settings", replace(settings, redis_url="unix:///nowhere/queue.sock"))
    found = parsed(scraper.get("/metrics").text)
    assert found['siyu_part_up{part="queue"}'] == 0


def test_labels_are_escaped():
    text = metrics.rendered([Family("siyu_x", "gauge", "a\\b\nc", [({"name": 'say "hi"\\\n'}, 1.5)])])
    assert text == '# HELP siyu_x a\\\\b\\nc\n# TYPE siyu_x gauge\nsiyu_x{name="say \\"hi\\"\\\\\\n"} 1.5\n'
    parsed(text)


def test_event_lag_is_told(db, queue_server, clock):
    publish(OperationsProbed(number=2))
    clock.move(minutes=2)
    behind = events.backlog()
    assert behind.due == 1
    assert clock.now() - behind.oldest == timedelta(minutes=2)
    assert operations.families.filled


def test_the_leader_is_known_by_its_machine(settings, db, app):
    from kernel.ticker import Ticker

    ticker = Ticker(settings)
    try:
        assert ticker.leads()
        found = queries.leader()
        assert found is not None
        assert found.host
    finally:
        ticker.close()


def test_transactions_of_failures_are_their_own(app, queue_server):
    """Outside of any test's transaction: the note is really committed though the job's own work was rolled back."""
    with app.app_context():
        with pytest.raises(ZeroDivisionError):
            attempt(queue_server, lambda: 1 / 0, number=99)
        with transaction():
            row = failures.db.session.scalars(select(FailedJob)).one()
            failures.db.session.delete(row)
