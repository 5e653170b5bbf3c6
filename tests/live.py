"""A whole shop run by `script/server`'s program in a folder of its own, for tests that need real processes."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from flask import Flask

from kernel import config
from kernel.app import create_app
from tests.loaded import Program, lay_tables, run, start

ROOT = Path(__file__).resolve().parents[1]
START_SECONDS = 60


def free_port() -> int:
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        return int(trial.getsockname()[1])


def eventually(question: Callable[[], Any], seconds: float = 30, every: float = 0.05) -> Any:
    """Ask until the answer is true and return it; fails the test after `seconds`."""
    deadline = time.monotonic() + seconds
    while not (answer := question()):
        assert time.monotonic() < deadline, f"still not so after {seconds} s: {question}"
        time.sleep(every)
    return answer


class LiveServer:
    """`start()` returns when `/healthz` is 200. `url`, `email` and `password` are what a person would be told.

    With `afresh` its programs are started from nothing and its database's files made, as on the first day of a shop; otherwise what
    `tests.loaded` has ready is taken, in a folder of its own the tables too.
    """

    def __init__(self, *options: str, folder: Path | None = None, afresh: bool = False, **environ: str) -> None:
        self.folder = folder or Path(tempfile.mkdtemp(prefix="siyu-live-"))
        self.own_folder = folder is None
        self.afresh = afresh
        if self.own_folder and not afresh:
            lay_tables(self.folder)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.options = options
        clean = {
            name: value for name, value in os.environ.items() if name not in ("DATABASE_URL", "REDIS_URL", "SITE_URL")
        }
        self.environ = {**clean, "PYTHONPATH": str(ROOT), **environ}
        self.process: Program | subprocess.Popen[bytes] | None = None
        self.output: IO[bytes] = tempfile.TemporaryFile()
        self.email = self.password = ""
        self._app: Flask | None = None

    def __enter__(self) -> LiveServer:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()
        if self._app is not None:
            from kernel.db import db

            with self._app.app_context():
                db.engine.dispose()
        if self.own_folder:
            shutil.rmtree(self.folder, ignore_errors=True)

    def launch(self) -> None:
        """Start without waiting."""
        words = ["--data", str(self.folder), "--port", str(self.port), "--empty", *self.options]
        self.process = start("kernel.supervisor", *words, env=self.environ, stdout=self.output, afresh=self.afresh)

    def start(self) -> LiveServer:
        self.launch()
        deadline = time.monotonic() + START_SECONDS
        while self.health()[0] != 200 or "Sign in" not in self.said():
            assert self.process is not None
            assert self.process.poll() is None, self.said()
            assert time.monotonic() < deadline, self.said()
            time.sleep(0.05)
        if found := re.search(r"E-mail\s+(\S+)\s+Password\s+(\S+)", self.said()):
            self.email, self.password = found.groups()
        return self

    def stop(self, sig: int = signal.SIGTERM) -> int:
        """Ask it to stop as a terminal would; returns its exit code."""
        if self.process is None:
            return 0
        if self.process.poll() is None:
            self.process.send_signal(sig)
        return self.process.wait(60)

    def said(self) -> str:
        """What it has printed so far."""
        size = os.fstat(self.output.fileno()).st_size
        return os.pread(self.output.fileno(), size, 0).decode()

    def health(self) -> tuple[int, dict[str, Any]]:
        """Status and body of `/healthz`; status 0 when nobody answers."""
        try:
            with urllib.request.urlopen(f"{self.url}/healthz", timeout=5) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            with suppress(ValueError):
                return error.code, json.load(error)
            return error.code, {}
        except OSError:
            return 0, {}

    def wait_healthy(self, seconds: float = 30) -> None:
        eventually(lambda: self.health()[0] == 200, seconds)

    def pids(self) -> dict[str, list[int]]:
        """The launcher's children by name (`web`, `default-1`, `bulk-1`…, `ticker`, `postgres`,
        `valkey-server`), and `web-worker` for the processes that answer requests (Linux)."""
        assert self.process is not None
        found: dict[str, list[int]] = {}
        tree = children()
        for pid in tree.get(self.process.pid, []):
            name = comm(pid).removeprefix("siyu-")
            found.setdefault(name, []).append(pid)
            if name == "web":
                found.setdefault("web-worker", []).extend(tree.get(pid, []))
        return found

    def descendants(self) -> list[int]:
        """Every process below the launcher."""
        assert self.process is not None
        tree, found = children(), [self.process.pid]
        for pid in found:
            found.extend(tree.get(pid, []))
        return found[1:]

    @property
    def settings(self) -> config.Settings:
        return config.load({**self.environ, "SIYU_DATA": str(self.folder), "SITE_URL": self.url})

    @property
    def app(self) -> Flask:
        """An application of this test process over the live server's database: `with live.app.app_context(): …`."""
        if self._app is None:
            self._app = create_app(self.settings, WTF_CSRF_ENABLED=False)
        return self._app

    def siyu(self, *words: str, check: bool = True, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run `script/siyu --data … words`."""
        environ = {**self.environ, "SITE_URL": self.url}
        words = ("--data", str(self.folder), *words)
        done = run("kernel.cli", *words, env=environ, input=stdin, timeout=300, afresh=self.afresh)
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done


def children() -> dict[int, list[int]]:
    """The process tree: children by parent (Linux)."""
    tree: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
            if state != "Z":
                tree.setdefault(int(parent), []).append(int(entry.name))
    return tree


def comm(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
