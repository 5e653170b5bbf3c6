"""Programs of this project out of one that has loaded the application already: a fork in place of a start from nothing.

`script/test` runs this program for as long as the tests last, on Linux, and names its folder in SIYU_TEST_KIT. In it are a socket, by
which whoever tests asks for programs, and the files of a database that has all tables and no rows. Loading takes seconds of a core and
making the tables two more, and the suite starts more than a hundred programs; what they do afterwards is the same. Without the
folder (a test run by hand) everything is started and made from nothing.
"""

from __future__ import annotations

import gc
import json
import os
import runpy
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import warnings
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

KIT = "SIYU_TEST_KIT"
ROOT = Path(__file__).resolve().parents[1]


# ── Whoever tests ───────────────────────────────────────────────────────────────────────────────────────────────────


class Program:
    """A program that was forked for us: what `subprocess.Popen` offers of one that it has started."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.returncode: int | None = None
        self.pid = int(self._line())

    def _line(self) -> bytes:
        found = b""
        while not found.endswith(b"\n"):
            piece = self.connection.recv(1)
            assert piece, "the program that loads the application for the tests has ended"
            found += piece
        return found

    def poll(self) -> int | None:
        """Its exit code, minus the number of the signal that ended it, or None while it lives."""
        with suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end, at most `timeout` seconds; raises `subprocess.TimeoutExpired`."""
        if self.returncode is None:
            with selectors.DefaultSelector() as waiting:
                waiting.register(self.connection, selectors.EVENT_READ)
                if not waiting.select(timeout):
                    raise subprocess.TimeoutExpired(str(self.pid), timeout or 0)
            self.returncode = int(self._line())
            self.connection.close()
        return self.returncode

    def send_signal(self, sig: int) -> None:
        if self.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, sig)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def start(
    module: str,
    *words: str,
    env: Mapping[str, str] | None = None,
    cwd: str | Path = "/",
    stdin: IO[Any] | int | None = None,
    stdout: IO[Any] | int,
    stderr: IO[Any] | int | None = None,
    session: bool = True,
    afresh: bool = False,
) -> Program | subprocess.Popen[bytes]:
    """Start `python -P -m module words`, in a session of its own unless told otherwise; `stderr` goes to `stdout` if it is not
    given. With `afresh` it is started from nothing, as in life."""
    env = dict(os.environ if env is None else env)
    kit = os.environ.get(KIT)
    stderr = stdout if stderr is None else stderr
    with open(os.devnull, "rb") as nothing:
        stdin = nothing if stdin is None else stdin
        if afresh or not kit:
            return subprocess.Popen(
                [sys.executable, "-P", "-m", module, *words],
                env=env, cwd=cwd, stdin=stdin, stdout=stdout, stderr=stderr, start_new_session=session,
            )  # fmt: skip
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.connect(f"{kit}/socket")
        files = [one if isinstance(one, int) else one.fileno() for one in (stdin, stdout, stderr)]
        asked = {"module": module, "words": words, "env": env, "cwd": str(cwd), "session": session}
        rest = json.dumps(asked).encode()
        rest = rest[socket.send_fds(connection, [rest], files) :]
        connection.sendall(rest)
        connection.shutdown(socket.SHUT_WR)
        return Program(connection)


def run(
    module: str,
    *words: str,
    env: Mapping[str, str],
    cwd: str | Path = "/",
    input: str | None = None,
    timeout: float,
    afresh: bool = False,
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end, within `timeout` seconds; what it said is kept."""
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as said, tempfile.TemporaryFile() as warned:
        given.write((input or "").encode())
        given.seek(0)
        child = start(module, *words, env=env, cwd=cwd, stdin=given, stdout=said, stderr=warned, afresh=afresh)
        try:
            code = child.wait(timeout)
        except BaseException:
            child.kill()
            raise
        texts = []
        for file in (said, warned):
            file.seek(0)
            texts.append(file.read().decode())
    return subprocess.CompletedProcess([module, *words], code, *texts)


def lay_tables(folder: Path) -> None:
    """Put a database with all tables and no rows into a data folder that has none, if one is at hand."""
    if kit := os.environ.get(KIT):
        subprocess.run(["cp", "-a", f"{kit}/shop/postgresql", str(folder)], check=True)


# ── The loaded program itself ───────────────────────────────────────────────────────────────────────────────────────


def load(folder: Path) -> None:
    """Load what programs of this project load, and make the database's files."""
    from sqlalchemy.orm import configure_mappers

    from kernel import config, embedded, supervisor, ticker, web, worker  # noqa: F401  The launcher loads them later.
    from kernel.app import create_app
    from kernel.cli import MIGRATIONS, with_migrations
    from kernel.db import db

    settings = config.load({"SIYU_DATA": str(folder / "shop"), "SITE_URL": "http://localhost"})
    app = with_migrations(create_app(settings))
    configure_mappers()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            from flask_migrate import upgrade

            running = embedded.Running(embedded.servers(settings, durable=False))
            running.start()
            try:
                with app.app_context():
                    upgrade(directory=str(MIGRATIONS))
                    db.engine.dispose()
            finally:
                running.stop()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    if os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) != 0:
        raise SystemExit("the tables for the tests could not be made")
    import alembic.command  # noqa: F401  Here, where no migration has been run.

    assert threading.active_count() == 1, "a thread would be missing in every program that is forked"


def serve(folder: Path) -> dict[str, Any]:
    """Fork a program for everybody who asks, until the standard input ends. Returns only in a child, what was asked of it."""
    woken, waker = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listening.bind(str(folder / "socket"))
    listening.listen(64)
    children: dict[int, socket.socket] = {}
    waiting = selectors.DefaultSelector()
    for file in (0, woken, listening):
        waiting.register(file, selectors.EVENT_READ)
    print("ready", flush=True)
    while True:
        for key, _ in waiting.select():
            if key.fileobj == 0:
                # Whoever has started us is gone, or has no more to ask. What was forked goes on.
                os._exit(0)
            elif key.fileobj == woken:
                with suppress(BlockingIOError):
                    os.read(woken, 4096)
                bury(children)
            else:
                connection = listening.accept()[0]
                asked, files = understand(connection)
                sys.stdout.flush()
                sys.stderr.flush()
                pid = os.fork()
                if pid == 0:
                    signal.set_wakeup_fd(-1)
                    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                    for place, number in enumerate(files):
                        os.dup2(number, place)
                    for number in (*files, woken, waker):
                        os.close(number)
                    for one in (waiting, listening, connection, *children.values()):
                        one.close()
                    return asked
                for number in files:
                    os.close(number)
                children[pid] = connection
                tell(connection, pid)


def understand(connection: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """What somebody asks for, and the three files of the program."""
    text, files, _flags, _address = socket.recv_fds(connection, 65536, 3)
    while piece := connection.recv(65536):
        text += piece
    return json.loads(text), files


def bury(children: dict[int, socket.socket]) -> None:
    """Tell those who wait for a program that has ended."""
    with suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            if connection := children.pop(ended[0], None):
                tell(connection, os.waitstatus_to_exitcode(ended[1]))
                connection.close()


def tell(connection: socket.socket, number: int) -> None:
    with suppress(OSError):  # Nobody waits any more.
        connection.sendall(f"{number}\n".encode())


def become(asked: dict[str, Any]) -> None:
    """Be the program that was asked for."""
    if asked["session"]:
        os.setsid()
    os.chdir(asked["cwd"])
    os.environ.clear()
    os.environ.update(asked["env"])
    time.tzset()
    sys.argv = [asked["module"], *asked["words"]]
    # Of a module that is loaded and is to be the program as well Python says that this may surprise.
    warnings.filterwarnings("ignore", ".*found in sys.modules", RuntimeWarning)
    runpy.run_module(asked["module"], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    kit = Path(sys.argv[1])
    load(kit)
    # What is there now is never rubbish, and looking it through would copy it into every child.
    gc.collect()
    gc.freeze()
    become(serve(kit))
