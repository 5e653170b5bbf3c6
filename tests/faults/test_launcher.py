"""The launcher: one a folder, every child healed, nothing left behind. Real processes, killed for real."""

from __future__ import annotations

import os
import signal
import socket
import stat
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
from redis import Redis
from rq import Worker

from kernel import embedded
from kernel.supervisor import check_port
from tests.live import LiveServer, comm, eventually, free_port, lives
from tests.loaded import start

pytestmark = [
    pytest.mark.fault,
    pytest.mark.skipif(sys.platform != "linux", reason="the tests read /proc"),
]
KILLED = ["web", "web-worker", "default-1", "bulk-1", "ticker", "postgres", "valkey-server"]


@pytest.fixture(scope="module")
def shop():
    """A shop of this module's own: it is hurt here. Its first start is one from nothing."""
    with LiveServer(afresh=True) as server:
        server.afresh = False
        yield server


def jobs_done(shop):
    with Redis.from_url(shop.settings.redis_url) as queue_server:
        return sum(worker.successful_job_count for worker in Worker.all(connection=queue_server))


def test_the_first_start_prints_the_owner_once_and_everything_is_well(shop):
    assert shop.email == "owner@shop.example"
    assert len(shop.password) >= 16
    status, answer = shop.health()
    assert status == 200
    assert answer == {
        "status": "ok",
        "parts": dict.fromkeys(["database", "queue", "worker:default", "worker:bulk", "ticker"], "ok"),
    }


def test_everything_runs_under_the_launcher_and_opens_one_port(shop):
    expected = {
        "postgres": 1,
        "valkey-server": 1,
        "web": 1,
        "web-worker": 2,
        "default-1": 1,
        "bulk-1": 1,
        "bulk-2": 1,
        "ticker": 1,
    }
    assert {name: len(pids) for name, pids in shop.pids().items()} == expected
    assert listening_ports([shop.process.pid, *shop.descendants()]) == {shop.port}


def test_the_folder_is_closed_to_others(shop):
    for name in (".", "postgresql", "queue", "log", "secret_key"):
        assert stat.S_IMODE((shop.folder / name).stat().st_mode) & 0o077 == 0, name


def test_a_second_one_on_the_same_folder_is_refused_with_a_sentence(shop):
    before = shop.pids()
    second = LiveServer(folder=shop.folder)
    second.launch()
    assert second.process.wait(30) == 1
    assert second.said().count("\n") == 1
    assert "already running" in second.said()
    assert str(shop.process.pid) in second.said()
    assert shop.pids() == before


def test_a_taken_port_is_refused_with_a_sentence(shop):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(Exception, match="taken by another program"):
            check_port("127.0.0.1", taken.getsockname()[1])
    check_port("127.0.0.1", free_port())


def test_a_command_uses_the_running_servers(shop):
    before = shop.pids()
    assert "New password of owner@shop.example" in shop.siyu("staff", "password", "owner@shop.example").stdout
    assert shop.pids() == before


@pytest.mark.parametrize("name", KILLED)
def test_a_killed_child_is_replaced_and_the_shop_heals(shop, name):
    before = shop.pids()
    victim = before[name][0]
    os.kill(victim, signal.SIGKILL)
    eventually(lambda: not lives(victim) and victim not in shop.pids().get(name, []))
    eventually(
        lambda: (
            {key: len(pids) for key, pids in shop.pids().items()} == {key: len(pids) for key, pids in before.items()}
        )
    )
    shop.wait_healthy()
    # The other parts were left alone; only a worker may give up with the queue under its hands and be started again too.
    spared = {"web", "postgres", "valkey-server"}
    if name not in ("postgres", "valkey-server"):
        spared |= {"default-1", "bulk-1", "bulk-2", "ticker"}
    spared -= {name}
    assert {key: shop.pids()[key] for key in spared} == {key: before[key] for key in spared}
    # And jobs flow again: ticker → queue → worker → database.
    done = jobs_done(shop)
    eventually(lambda: jobs_done(shop) > done, 60)


def test_without_its_launcher_a_killed_worker_stays_dead_and_health_says_so(shop):
    """The teeth of the test above: it is the launcher that heals."""
    launcher, victim = shop.process.pid, shop.pids()["default-1"][0]
    os.kill(launcher, signal.SIGSTOP)
    try:
        os.kill(victim, signal.SIGKILL)
        _, answer = eventually(lambda: (found := shop.health())[0] == 503 and found)
        assert answer["parts"] == {
            "database": "ok", "queue": "ok", "worker:default": "missing", "worker:bulk": "ok", "ticker": "ok",
        }  # fmt: skip
        assert not lives(victim)
    finally:
        os.kill(launcher, signal.SIGCONT)
    shop.wait_healthy()


def test_a_killed_launcher_leaves_no_process_and_the_next_start_works(shop):
    left = shop.descendants()
    assert len(left) > 10
    shop.process.kill()
    shop.process.wait()
    eventually(lambda: not any(map(lives, left)))
    # The number in PostgreSQL's lock file has been given to somebody else meanwhile: to this very process.
    (shop.folder / "postgresql" / "cluster" / "postmaster.pid").write_text(f"{os.getpid()}\n")
    starts = shop.said().count("Siyu is up")
    shop.start()
    # It answers a moment before it says so.
    eventually(lambda: shop.said().count("Siyu is up") == starts + 1)
    assert "Password" not in shop.said().rpartition("Siyu is up")[2]
    assert "script/siyu staff password owner@shop.example" in shop.said()


@pytest.mark.parametrize("sig", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_ctrl_c_stops_everything_and_leaves_nothing(shop, sig):
    children = shop.descendants()
    with Redis.from_url(shop.settings.redis_url) as queue_server:
        queue_server.set("kept", int(sig))
    assert shop.stop(sig) == 0
    assert [comm(pid) for pid in children if lives(pid)] == []
    assert shop.said().rstrip().endswith("Stopped.")
    log = (shop.folder / "log" / "postgresql.log").read_text()
    assert "database system is shut down" in log.rstrip().splitlines()[-1]
    shop.start()
    with Redis.from_url(shop.settings.redis_url) as queue_server:
        assert queue_server.get("kept") == str(int(sig)).encode()


@pytest.mark.parametrize("delay", [0.0, 0.7, 1.5, 2.2])
def test_stopping_while_it_starts_leaves_nothing(tmp_path, delay):
    early = LiveServer(folder=tmp_path / "early", afresh=True)
    early.launch()
    eventually(early.descendants)
    time.sleep(delay)
    children = early.descendants()
    assert early.stop(signal.SIGINT) in (0, 1), early.said()
    assert [comm(pid) for pid in children if lives(pid)] == []
    for part in ("postgresql/cluster", "queue"):
        assert list(embedded.processes_in(early.folder / part)) == []
    # And the half-made folder is no obstacle.
    early.afresh = False
    early.start()
    assert early.stop() == 0


def test_a_command_on_a_stopped_folder_starts_the_servers_and_stops_them_again(tmp_path):
    quiet = LiveServer(folder=tmp_path / "quiet", afresh=True)
    quiet.siyu("db", "upgrade")
    quiet.afresh = False
    assert "nobody on the staff" in quiet.siyu("staff", "password", "who@shop.example", check=False).stderr
    assert list(embedded.processes_in(tmp_path / "quiet" / "postgresql" / "cluster")) == []
    assert list(embedded.processes_in(tmp_path / "quiet" / "queue")) == []


def test_two_commands_at_once_share_the_servers(tmp_path):
    quiet = LiveServer(folder=tmp_path / "quiet")
    quiet.siyu("db", "upgrade")
    with ExitStack() as files:
        said = [files.enter_context(tempfile.TemporaryFile()) for _ in range(4)]
        words = ["--data", str(quiet.folder), "db", "current"]
        several = [start("kernel.cli", *words, env=quiet.environ, stdout=file) for file in said]
        assert [child.wait(60) for child in several] == [0] * 4, [os.pread(file.fileno(), 4096, 0) for file in said]
    assert list(embedded.processes_in(quiet.folder / "queue")) == []


def test_one_part_alone_is_refused_where_nothing_runs(tmp_path):
    for part in ("web", "worker", "ticker"):
        done = LiveServer(folder=tmp_path / "none").siyu(part, check=False)
        assert done.returncode == 1
        assert "Nothing runs on" in done.stderr
        assert done.stderr.count("\n") == 1


def test_one_part_more_runs_beside_the_launcher_and_only_one_ticker_leads(shop, tmp_path):
    log = (tmp_path / "ticker.log").open("w+")
    second = start("kernel.cli", "--data", str(shop.folder), "ticker", env=shop.environ, stdout=log)
    try:
        leader = shop.pids()["ticker"][0]
        time.sleep(3)
        assert second.poll() is None
        # The launcher's ticker goes; the other one, which waited, takes the lead, and health never misses a ticker.
        os.kill(shop.process.pid, signal.SIGSTOP)
        os.kill(leader, signal.SIGKILL)
        with Redis.from_url(shop.settings.redis_url) as queue_server:
            eventually(lambda: not lives(leader))
            queue_server.delete("siyu:alive:ticker")
            eventually(lambda: queue_server.exists("siyu:alive:ticker"))
    finally:
        os.kill(shop.process.pid, signal.SIGCONT)
        second.terminate()
        ended = second.wait(30)
        said = Path(log.name).read_text()
        log.close()
    assert ended == 0, said
    assert said.count("leading") == 1
    shop.wait_healthy()


def listening_ports(pids):
    """The TCP ports that processes listen on, from /proc."""
    inodes = {}
    for name in ("tcp", "tcp6"):
        with open(f"/proc/net/{name}") as table:
            for line in list(table)[1:]:
                fields = line.split()
                if fields[3] == "0A":
                    inodes[f"socket:[{fields[9]}]"] = int(fields[1].rpartition(":")[2], 16)
    found = set()
    for pid in pids:
        for entry in os.scandir(f"/proc/{pid}/fd"):
            try:
                found.add(inodes.get(os.readlink(entry.path)))
            except FileNotFoundError:
                continue
    return found - {None}
