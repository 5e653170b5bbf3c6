"""The embedded servers: found, made, started, shared and stopped."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
from contextlib import suppress

import psycopg
import pytest
from redis import Redis

from kernel import config, embedded
from kernel.config import ConfigInvalid


@pytest.fixture
def folder(tmp_path):
    return config.load({"SIYU_DATA": str(tmp_path / "shop")})


def asked(settings, statement):
    with psycopg.connect(settings.database_url.replace("+psycopg", "")) as connection:
        return connection.execute(statement).fetchone()[0]


def test_the_servers_of_the_tests_are_as_promised(settings):
    assert asked(settings, "SHOW listen_addresses") == ""
    assert asked(settings, "SHOW server_encoding") == "UTF8"
    assert asked(settings, "SHOW max_connections") == "100"
    assert asked(settings, "SHOW default_transaction_isolation") == "read committed"
    assert asked(settings, "SHOW timezone") == "UTC"
    assert asked(settings, "SELECT datcollate FROM pg_database WHERE datname = current_database()") == "C.UTF-8"
    # Plain C would find neither a letter nor an upper case outside ASCII.
    assert (
        asked(
            settings,
            "SELECT upper('école') || (to_tsvector('simple', '复购 优惠券') @@ to_tsquery('simple', '优惠券'))",
        )
        == "ÉCOLEtrue"
    )
    with Redis.from_url(settings.redis_url) as queue_server:
        options = queue_server.config_get("appendonly", "appendfsync", "maxmemory-policy", "port", "save")
        assert options == {
            "appendonly": "yes",
            "appendfsync": "everysec",
            "maxmemory-policy": "noeviction",
            "port": "0",
            "save": "",
        }


def test_a_real_start_waits_for_the_disk(folder):
    options = embedded.Postgres(folder.data_dir)._options()
    assert not {"fsync", "synchronous_commit", "full_page_writes"} & set(options)


def test_what_was_written_is_there_after_a_restart(folder):
    with embedded.available(folder):
        with psycopg.connect(folder.database_url.replace("+psycopg", "")) as connection:
            connection.execute("CREATE TABLE kept AS SELECT '保留' AS word")
        with Redis.from_url(folder.redis_url) as queue_server:
            queue_server.set("kept", "保留")
    assert not embedded.Postgres(folder.data_dir).ready()
    with embedded.available(folder):
        assert asked(folder, "SELECT word FROM kept") == "保留"
        with Redis.from_url(folder.redis_url) as queue_server:
            assert queue_server.get("kept").decode() == "保留"


def test_half_made_files_are_made_anew(folder):
    server = embedded.Postgres(folder.data_dir)
    (server.folder / "cluster.new" / "base").mkdir(parents=True)
    with embedded.available(folder):
        assert asked(folder, "SELECT 1") == 1
    assert not (server.folder / "cluster.new").exists()


def test_the_servers_are_stopped_when_the_body_fails(folder):
    with pytest.raises(ZeroDivisionError), embedded.available(folder):
        raise ZeroDivisionError
    assert list(embedded.processes_in(folder.data_dir / "queue")) == []


def test_a_long_path_with_spaces_and_chinese_works(tmp_path):
    settings = config.load({"SIYU_DATA": str(tmp_path / "我的 店铺 100%" / ("x" * 60))})
    with embedded.available(settings):
        assert asked(settings, "SELECT 1") == 1
        with Redis.from_url(settings.redis_url) as queue_server:
            assert queue_server.ping()
    config.short_path(settings.data_dir).unlink()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has to run the database as somebody else")
def test_as_root_the_database_runs_as_somebody_else_who_cannot_enter_the_folder_above(folder):
    with embedded.available(folder):
        owners = set()
        for pid, _parent in embedded.processes_in(folder.data_dir / "postgresql" / "cluster"):
            # The database ends workers of its own at any time.
            with suppress(FileNotFoundError):
                owners.add(os.stat(f"/proc/{pid}").st_uid)
        assert owners == {(folder.data_dir / "postgresql").stat().st_uid} != {0}
        account = pwd.getpwuid((folder.data_dir / "postgresql").stat().st_uid)
        peek = subprocess.run(
            ["ls", folder.data_dir], user=account.pw_uid, group=account.pw_gid, extra_groups=[], capture_output=True
        )
        assert peek.returncode != 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has to run the database as somebody else")
def test_binaries_that_the_account_cannot_read_are_copied(tmp_path):
    found, _ = embedded.find_postgres()
    package = found.parents[1]
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    subprocess.run(["cp", "-a", *package.parent.glob(f"{package.name}*"), closed], check=True)
    hidden = closed / package.name / found.parent.name / "bin"
    account = pwd.getpwnam("nobody")
    as_account = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": [], "capture_output": True}
    with pytest.raises(PermissionError):
        subprocess.run([hidden / "initdb", "--version"], **as_account)
    usable = embedded.binaries_for(account, hidden)
    try:
        assert usable != hidden
        assert subprocess.run([usable / "initdb", "--version"], **as_account).returncode == 0
        assert embedded.binaries_for(account, hidden) == usable
    finally:
        subprocess.run(["rm", "-rf", usable.parents[2]], check=True)


def test_a_lock_is_one_processes_own_until_it_ends(tmp_path):
    first, second = embedded.Lock(tmp_path), embedded.Lock(tmp_path)
    first.take("server", "http://127.0.0.1:8000")
    with pytest.raises(
        embedded.AlreadyRunning, match=rf"already running on .* at http://127.0.0.1:8000 \(process {os.getpid()}\)"
    ):
        second.take("command")
    first.release()
    second.take("command")
    holder = subprocess.run(
        [sys.executable, "-c", "import sys; from pathlib import Path; from kernel import embedded\n"
         "try: embedded.Lock(Path(sys.argv[1])).take('server')\nexcept embedded.AlreadyRunning as error: print(error)", tmp_path],
        capture_output=True, text=True, cwd=config.ROOT,
    )  # fmt: skip
    assert "A siyu command is already running" in holder.stdout
    second.release()


def test_binaries_are_taken_from_pg_bin_first_and_must_be_new_enough(tmp_path, monkeypatch):
    program = tmp_path / "postgres"
    program.write_text("#!/bin/sh\necho 'postgres (PostgreSQL) 16.4'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PG_BIN", str(tmp_path))
    assert embedded.find_postgres() == (tmp_path, 16)
    with pytest.raises(ConfigInvalid, match="made by PostgreSQL 18"):
        embedded.find_postgres(wanted=18)
    program.write_text("#!/bin/sh\necho 'postgres (PostgreSQL) 14.9'\n")
    with pytest.raises(ConfigInvalid, match="15 or newer"):
        embedded.find_postgres()


def test_a_log_is_put_aside_when_it_is_too_long_and_emptied_while_it_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(embedded, "LOG_LIMIT", 100)
    with embedded.log_file(tmp_path, "part") as log:
        log.write(b"x" * 101)
        embedded.cap_log(tmp_path / "part.log")
        assert (tmp_path / "part.log").read_bytes() == b""
        assert (tmp_path / "part.log.1").read_bytes() == b"x" * 101
        log.write(b"y" * 102)
        assert (tmp_path / "part.log").read_bytes() == b"y" * 102
    with embedded.log_file(tmp_path, "part") as log:
        log.write(b"z")
    assert (tmp_path / "part.log.1").read_bytes() == b"y" * 102
    assert (tmp_path / "part.log").read_bytes() == b"z"
    assert (tmp_path / "part.log").stat().st_mode & 0o077 == 0
