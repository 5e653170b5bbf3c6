"""The health page, and what is asked of outside servers before anything starts."""

from __future__ import annotations

from dataclasses import replace

import psycopg
import pytest
from redis import Redis

from kernel import config, embedded, health
from kernel.config import ConfigInvalid
from tests.live import eventually


@pytest.fixture
def beating(settings, queue_server):
    """Every part beats, except those named."""

    def beat(*but: str) -> None:
        for part in health.PARTS:
            if part not in but:
                health.beat(queue_server, part)

    return beat


def test_all_is_well(client, beating):
    beating()
    answer = client.get("/healthz")
    assert answer.status_code == 200
    assert answer.json == {
        "status": "ok",
        "parts": dict.fromkeys(["database", "queue", "worker:default", "worker:bulk", "ticker"], "ok"),
    }


@pytest.mark.parametrize("part", health.PARTS)
def test_each_part_that_does_not_beat_is_named(client, beating, part):
    beating(part)
    answer = client.get("/healthz")
    assert answer.status_code == 503
    assert [name for name, state in answer.json["parts"].items() if state != "ok"] == [part]


def test_a_heartbeat_does_not_last(beating, queue_server):
    beating()
    assert all(0 < queue_server.ttl(health.beat_key(part)) <= health.BEAT_LIFE_SECONDS for part in health.PARTS)


def test_a_part_beats_from_its_thread_until_it_is_told_to_stop(settings, queue_server):
    stopped = health.keep_beating(settings, "worker:default")
    try:
        eventually(lambda: queue_server.exists(health.beat_key("worker:default")), 5)
    finally:
        stopped.set()


def test_a_missing_queue_is_unwell_not_a_fault(app, settings, client):
    app.extensions["settings"] = replace(settings, redis_url="unix:///nowhere/queue.sock")
    try:
        answer = client.get("/healthz")
    finally:
        app.extensions["settings"] = settings
    assert answer.status_code == 503
    assert answer.json["parts"]["queue"] == "missing"
    assert answer.json["parts"]["database"] == "ok"


# ── Outside servers ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def outside(tmp_path_factory):
    """A database and a queue that these tests may set up wrongly."""
    settings = config.load({"SIYU_DATA": str(tmp_path_factory.mktemp("outside"))})
    with embedded.available(settings):
        yield settings


def run(settings, statement):
    with psycopg.connect(settings.database_url.replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute(statement)


def test_good_servers_pass_without_a_word(outside):
    assert health.check_servers(outside) == []


@pytest.mark.parametrize("level", ["repeatable read", "serializable"])
def test_a_higher_isolation_is_refused_since_limits_would_be_overrun(outside, level):
    run(outside, f"ALTER DATABASE siyu SET default_transaction_isolation = '{level}'")
    try:
        with pytest.raises(ConfigInvalid, match=f"is '{level}' and must be 'read committed'"):
            health.check_database(outside)
    finally:
        run(outside, "ALTER DATABASE siyu RESET default_transaction_isolation")


def test_a_commit_that_does_not_wait_for_the_disk_is_warned_of(outside):
    run(outside, "ALTER DATABASE siyu SET synchronous_commit = off")
    try:
        [warning] = health.check_database(outside)
    finally:
        run(outside, "ALTER DATABASE siyu RESET synchronous_commit")
    assert "a power cut can lose" in warning


def test_a_database_in_another_encoding_is_refused(outside):
    run(
        outside,
        "CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0 LOCALE_PROVIDER libc LC_COLLATE 'C' LC_CTYPE 'C'",
    )
    with pytest.raises(ConfigInvalid, match="stores LATIN1"):
        health.check_database(replace(outside, database_url=outside.database_url.replace("/siyu?", "/latin?")))


def test_a_database_that_does_not_answer_is_one_line(outside):
    with pytest.raises(ConfigInvalid, match="does not answer") as caught:
        health.check_database(replace(outside, database_url="postgresql+psycopg://nobody@127.0.0.1:1/none"))
    assert "\n" not in str(caught.value)


def test_an_old_server_is_refused(outside, monkeypatch):
    monkeypatch.setattr(health, "OLDEST_POSTGRES", 990_000)
    with pytest.raises(ConfigInvalid, match="too old"):
        health.check_database(outside)
    monkeypatch.setattr(health, "OLDEST_REDIS", (99, 0))
    with pytest.raises(ConfigInvalid, match="too old"):
        health.check_queue(outside)


def test_a_queue_that_throws_jobs_away_is_warned_of(outside):
    with Redis.from_url(outside.redis_url) as queue_server:
        queue_server.config_set("maxmemory-policy", "allkeys-lru")
        try:
            [warning] = health.check_queue(outside)
        finally:
            queue_server.config_set("maxmemory-policy", "noeviction")
    assert "allkeys-lru" in warning


def test_a_queue_that_does_not_answer_is_one_line(outside):
    with pytest.raises(ConfigInvalid, match="does not answer") as caught:
        health.check_queue(replace(outside, redis_url="redis://127.0.0.1:1/0"))
    assert "\n" not in str(caught.value)
