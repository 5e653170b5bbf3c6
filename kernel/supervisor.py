"""One command: the embedded servers, the tables, the web, the workers and the ticker, each started again when it dies.

On Linux the application is loaded once, here, and the parts written in Python are forked from it: they start at once and
share its memory. Elsewhere each is a program of its own.
"""

from __future__ import annotations

import argparse
import errno
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
import traceback
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from . import config, embedded
from .cli import furnish, guarded, newest_versions, start_logging, upgrade, versions_of

HEALTHY_SECONDS = 60.0
# A part that dies is started again after a short pause, which doubles while it keeps dying soon after its start.
FIRST_PAUSE, LONGEST_PAUSE, SETTLED_SECONDS = 0.2, 10.0, 20.0
STOP_SECONDS = 28.0
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
LOG_CHECK_SECONDS = 60.0


class Stopped(Exception):
    """Somebody asked us to stop while we were still starting."""


class Forked:
    """A child forked from this process, with what `embedded.Child` asks for."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Its exit code, or None while it lives."""
        if self.returncode is None:
            try:
                pid, status = os.waitpid(self.pid, os.WNOHANG)
            except ChildProcessError:
                self.returncode = -1
            else:
                if pid:
                    self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end, at most `timeout` seconds; raises `subprocess.TimeoutExpired`."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while (code := self.poll()) is None:
            if deadline is not None and time.monotonic() > deadline:
                raise subprocess.TimeoutExpired(str(self.pid), timeout or 0)
            time.sleep(0.01)
        return code

    def send_signal(self, sig: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, sig)


@dataclass
class Part:
    """Something that is kept running, and what is known of its present process."""

    name: str
    start: Callable[[], embedded.Child]
    stop_signal: int = signal.SIGTERM
    child: embedded.Child | None = None
    started_at: float = 0.0
    pause: float = FIRST_PAUSE
    due_at: float | None = field(default=None)


class Supervisor:
    """All parts of one data folder."""

    def __init__(self, settings: config.Settings, host: str, port: int, empty: bool) -> None:
        self.settings = settings
        self.host, self.port, self.empty = host, port, empty
        self.lock = embedded.Lock(settings.data_dir)
        self.parts: list[Part] = []
        self.app: Any = None
        self.stopping = False
        self.woken, self.waker = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    # ── Starting ────────────────────────────────────────────────────────────────────────────────────────────────────

    def run(self) -> None:
        """Start everything, keep it running until SIGTERM, SIGINT or SIGHUP, then stop it in the reverse order."""
        address = f"http://{bracketed(self.host)}:{self.port}"
        self.lock.take("server", address)
        check_port(self.host, self.port)
        signal.set_wakeup_fd(self.waker, warn_on_full_buffer=False)
        for number in STOP_SIGNALS:
            signal.signal(number, self._ask_to_stop)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        try:
            began = time.monotonic()
            first = self._start()
            say(f"Siyu is up at {self.settings.site_url} after {time.monotonic() - began:.1f} s.")
            if not address.endswith(self.settings.site_url.partition("://")[2]):
                say(f"It listens on {address}.")
            self._sign_in_hint(first)
            self._keep()
        except Stopped:
            say("Stopped while starting.")
        finally:
            self._stop()

    def _ask_to_stop(self, number: int, frame: object) -> None:
        if self.stopping:
            # Asked a second time: whoever is waited for has had its chance.
            for part in self.parts:
                if part.child is not None:
                    with suppress(ProcessLookupError):
                        part.child.send_signal(signal.SIGKILL)
        self.stopping = True

    def _start(self) -> dict[str, Any]:
        servers = embedded.servers(self.settings)
        for server in servers:
            server.clear_leftovers()
            if isinstance(server, embedded.Postgres) and not (server.cluster / "PG_VERSION").exists():
                say("Making the database …")
            self._add(Part(server.name, server.spawn, server.stop_signal))
        # The servers come up on one core while the application loads on another.
        from . import health
        from .app import create_app

        self.app = create_app(self.settings)
        for server, part in zip(servers, self.parts, strict=True):
            embedded.wait_ready(server, lambda part=part: self._lives(part))  # type: ignore[misc]
            if isinstance(server, embedded.Postgres):
                server.ensure_database()
        if not (self.settings.embedded_database and self.settings.embedded_queue):
            for warning in health.check_servers(self.settings):
                say(f"Warning: {warning}")
        first = self._prepare()
        self._add(Part("web", self._web))
        self._add(Part("worker-default-1", lambda: self._worker("default", 1)))
        for number in range(1, self.settings.bulk_workers + 1):
            self._add(Part(f"worker-bulk-{number}", lambda number=number: self._worker("bulk", number)))  # type: ignore[misc]
        self._add(Part("ticker", self._ticker))
        self._wait_healthy()
        return first

    def _lives(self, part: Part) -> bool:
        if self.stopping:
            raise Stopped
        return part.child is not None and part.child.poll() is None

    def _add(self, part: Part) -> None:
        if self.stopping:
            raise Stopped
        self.parts.append(part)
        self._launch(part)

    def _launch(self, part: Part) -> None:
        part.child, part.started_at, part.due_at = part.start(), time.monotonic(), None

    def _prepare(self) -> dict[str, Any]:
        """Bring the tables up to date and make the first owner, in a process of its own; returns what it says."""
        reader, writer = os.pipe()

        def work() -> None:
            os.close(reader)
            try:
                answer = prepare(self.app)
            except Exception as error:
                traceback.print_exc()
                answer = {"error": f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"}
            with os.fdopen(writer, "w") as file:
                json.dump(answer, file)

        child = self._fork("migrations", work)
        os.close(writer)
        with os.fdopen(reader) as file:
            text = file.read()
        child.wait()
        answer: dict[str, Any] = json.loads(text or '{"error": "it ended without an answer"}')
        if "error" in answer:
            raise embedded.ServerFailed(
                f"The tables could not be brought up to date ({answer['error']}): see {self.settings.log_dir}/migrations.log."
            )
        return answer

    def _web(self) -> embedded.Child:
        def serve() -> None:
            from . import web

            web.serve(self.settings, self.host, self.port, self.app)

        return self._part("web", serve, ["web", "--host", self.host, "--port", str(self.port)])

    def _worker(self, queue: str, number: int) -> embedded.Child:
        def work() -> None:
            from . import worker

            worker.work(self.settings, queue, self.app)

        return self._part(f"worker-{queue}-{number}", work, ["worker", "--queue", queue])

    def _ticker(self) -> embedded.Child:
        def run() -> None:
            from . import ticker

            ticker.run(self.settings, self.app)

        return self._part("ticker", run, ["ticker"])

    def _part(self, name: str, call: Callable[[], None], words: Sequence[str]) -> embedded.Child:
        if sys.platform == "linux":
            return self._fork(name, call)
        with embedded.log_file(self.settings.log_dir, name) as log:
            return embedded.spawn(
                [sys.executable, "-P", "-m", "kernel.cli", *words],
                log=log, cwd=config.ROOT, on_parent_death=signal.SIGTERM, env=environment(self.settings),
            )  # fmt: skip

    def _fork(self, name: str, call: Callable[[], None]) -> Forked:
        """Run a function in a child of this process, its output in the part's log."""
        log = embedded.log_file(self.settings.log_dir, name)
        sys.stdout.flush()
        sys.stderr.flush()
        parent = os.getpid()
        # Held back until the child has its own handlers: ours would only note the signal in the child's copy of us.
        signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
        pid = os.fork()
        if pid:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
            log.close()
            return Forked(pid)
        code = 1
        try:
            os.setsid()
            signal.set_wakeup_fd(-1)
            for number in (*STOP_SIGNALS, signal.SIGCHLD):
                signal.signal(number, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
            embedded.die_with_parent(signal.SIGTERM, parent)
            self.lock.release()
            os.close(self.woken)
            os.close(self.waker)
            with open(os.devnull) as nothing:
                os.dup2(nothing.fileno(), 0)
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
            embedded.name_process(f"siyu-{name.removeprefix('worker-')}")
            start_logging()
            call()
            code = 0
        except SystemExit as leaving:
            code = leaving.code if isinstance(leaving.code, int) else 1
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            # Neither this process's exit handlers nor its open buffers are the child's.
            os._exit(code)

    def _wait_healthy(self) -> None:
        deadline = time.monotonic() + HEALTHY_SECONDS
        answer = ""
        while True:
            if self.stopping:
                raise Stopped
            well, answer = healthy(self.host, self.port)
            if well:
                return
            for part in self.parts:
                if part.child is not None and (code := part.child.poll()) is not None:
                    raise embedded.ServerFailed(
                        f"{part.name} ended at its start ({ending(code)}): {self._last_words(part)}"
                    )
            if time.monotonic() > deadline:
                raise embedded.ServerFailed(f"Siyu did not become healthy in {HEALTHY_SECONDS:.0f} s: {answer}")
            time.sleep(0.02)

    def _last_words(self, part: Part) -> str:
        path = self.settings.log_dir / f"{part.name}.log"
        with suppress(OSError):
            lines = [line for line in path.read_text(errors="replace").splitlines() if line.strip()]
            if lines:
                return f"{lines[-1][:300]} (see {path})"
        return f"see {path}"

    def _sign_in_hint(self, first: dict[str, Any]) -> None:
        if first.get("password"):
            say("")
            say(f"  Sign in at  {self.settings.site_url}/console/")
            say(f"  E-mail      {first['email']}")
            say(f"  Password    {first['password']}     (shown this once: keep it)")
            say("")
        else:
            email = first.get("email") or "EMAIL"
            say(f"Sign in at {self.settings.site_url}/console/ (a new password: script/siyu staff password {email}).")
        host = urlsplit(self.settings.site_url).hostname or ""
        if not self.settings.secure and not config.is_loopback(host):
            say(f"Warning: {self.settings.site_url} is plain http: passwords and links can be read on the way.")
            say("         Put https in front of it, see docs/operations.md.")

    # ── Running ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def _keep(self) -> None:
        demo = self._demo() if self._wants_demo() else None
        if demo is None:
            say("Ctrl-C stops it.")
        logs_at = time.monotonic() + LOG_CHECK_SECONDS
        while not self.stopping:
            now = time.monotonic()
            for part in self.parts:
                self._watch(part, now)
            if demo is not None and (code := demo.poll()) is not None:
                say("Ctrl-C stops Siyu." if code == 0 else "The demo shop was not loaded; the next start tries again.")
                if code == 0:
                    self._demo_mark.unlink(missing_ok=True)
                demo = None
            if now > logs_at:
                logs_at = now + LOG_CHECK_SECONDS
                for part in self.parts:
                    embedded.cap_log(self.settings.log_dir / f"{part.name}.log")
            waits = [part.due_at - now for part in self.parts if part.due_at is not None]
            # A dying child and a signal wake us through the pipe; the second is for what they might have missed.
            select.select([self.woken], [], [], max(0.01, min([1.0, *waits])))
            with suppress(BlockingIOError):
                os.read(self.woken, 4096)
        if demo is not None:
            embedded.stop(demo, signal.SIGTERM, 10)

    def _watch(self, part: Part, now: float) -> None:
        if part.child is not None and (code := part.child.poll()) is not None:
            if now - part.started_at > SETTLED_SECONDS:
                part.pause = FIRST_PAUSE
            say(f"{part.name} ended ({ending(code)}): starting it again.")
            part.child, part.due_at = None, now + part.pause
            part.pause = min(part.pause * 2, LONGEST_PAUSE)
        if part.due_at is not None and now >= part.due_at and not self.stopping:
            try:
                self._launch(part)
            except (OSError, embedded.ServerFailed, config.ConfigInvalid) as error:
                say(f"{part.name} cannot be started ({error}): trying again.")
                part.due_at = now + part.pause
                part.pause = min(part.pause * 2, LONGEST_PAUSE)

    def _stop(self) -> None:
        self.stopping = True
        started = any(part.child is not None for part in self.parts)
        if started:
            say("Stopping …")
        workers = [part for part in self.parts if part.name.startswith("worker-")]
        for part in workers:
            # They finish their jobs at the same time.
            if part.child is not None and part.child.poll() is None:
                with suppress(ProcessLookupError):
                    part.child.send_signal(part.stop_signal)
        for part in reversed(self.parts):
            if part.child is None:
                continue
            # A second SIGTERM would make a worker drop its job.
            stop_signal = 0 if part in workers else part.stop_signal
            embedded.stop(part.child, stop_signal, STOP_SECONDS, lambda part=part: say(f"Waiting for {part.name} …"))  # type: ignore[misc]
        self.lock.release()
        if started:
            say("Stopped.")

    # ── The demo shop ───────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def _demo_mark(self) -> Path:
        return self.settings.data_dir / "demo-wanted"

    def _wants_demo(self) -> bool:
        return not self.empty and self._demo_mark.exists()

    def _demo(self) -> embedded.Child:
        say("Loading the demo shop; the web is up already.")
        return embedded.spawn(
            [sys.executable, "-P", "-m", "kernel.cli", "demo", "load"],
            log=sys.stderr.fileno(), cwd=config.ROOT, on_parent_death=signal.SIGTERM, env=environment(self.settings),
        )  # fmt: skip


def prepare(app: Any) -> dict[str, Any]:
    """Migrate if the tables are not the newest, make the first owner if there is none; returns the owner's e-mail address,
    and the password if it was made now.
    """
    from sqlalchemy import select

    from .auth import Role
    from .db import db, transaction
    from .staff.models import Staff
    from .staff.services import make_owner

    with app.app_context():
        db.engine.dispose(close=False)
        with db.engine.connect() as connection:
            present = versions_of(connection)
    if present != newest_versions():
        upgrade(app)
    else:
        furnish(app)
    with app.app_context(), transaction():
        made = make_owner()
        if made is not None:
            (app.extensions["settings"].data_dir / "demo-wanted").touch()
            return {"email": made[0], "password": made[1]}
        owners = select(Staff.email).where(Staff.role == Role.OWNER, Staff.disabled_at.is_(None)).order_by(Staff.id)
        return {"email": db.session.scalars(owners.limit(1)).first()}


def environment(settings: config.Settings) -> dict[str, str]:
    """The environment of a program of ours, the same configuration in it."""
    return {
        **os.environ,
        "PYTHONPATH": str(config.ROOT),
        "SIYU_DATA": str(settings.data_dir),
        "SITE_URL": settings.site_url,
    }


def bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def check_port(host: str, port: int) -> None:
    """Refuse an address that somebody listens on already: the web server itself would share it without a word."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            trial.bind(address)
            trial.listen(1)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise config.ConfigInvalid(
                f"Port {port} of {host} is taken by another program: choose another with --port."
            ) from None
        raise config.ConfigInvalid(f"Cannot listen on {host} port {port}: {error.strerror or error}.") from None


def healthy(host: str, port: int) -> tuple[bool, str]:
    """Whether `/healthz` answers 200, and what it says."""
    reachable = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104
    try:
        with urllib.request.urlopen(f"http://{bracketed(reachable)}:{port}/healthz", timeout=5) as answer:
            return answer.status == 200, ""
    except urllib.error.HTTPError as error:
        return False, error.read(500).decode(errors="replace").strip()
    except OSError as error:
        return False, str(error)


def ending(code: int) -> str:
    if code < 0:
        with suppress(ValueError):
            return signal.Signals(-code).name
    return f"code {code}"


def say(line: str) -> None:
    """One short line for the terminal."""
    with suppress(OSError):
        print(line, flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """The program behind `script/server`."""
    parser = argparse.ArgumentParser(
        prog="script/server", description="Start the whole shop: database, queue, web, workers, ticker."
    )
    parser.add_argument("--data", metavar="DIR", help="where everything is kept (else SIYU_DATA, else ./data)")
    parser.add_argument(
        "--host", metavar="ADDR", default=config.HOST, help="address to listen on (default %(default)s)"
    )
    parser.add_argument(
        "--port", metavar="N", type=port_number, default=config.PORT, help="port to listen on (default %(default)s)"
    )
    parser.add_argument(
        "--site-url",
        metavar="URL",
        help="public address, for links, QR codes and cookies (else SITE_URL, else http://ADDR:N)",
    )
    parser.add_argument("--empty", action="store_true", help="do not load the demo shop on the first start")
    options = parser.parse_args(arguments)
    guarded(lambda: start(options))


def port_number(text: str) -> int:
    if not text.isdigit() or not 0 < int(text) < 65536:
        raise argparse.ArgumentTypeError("a port is a number from 1 to 65535")
    return int(text)


def start(options: argparse.Namespace) -> None:
    """Run with the given options until somebody stops it."""
    if options.data:
        os.environ["SIYU_DATA"] = str(Path(options.data).expanduser().absolute())
    shown = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(options.host, options.host)  # noqa: S104
    os.environ["SITE_URL"] = (
        options.site_url or os.environ.get("SITE_URL") or f"http://{bracketed(shown)}:{options.port}"
    )
    settings = config.load()
    if not settings.embedded_database and "SECRET_KEY" not in os.environ:
        say(
            f"Note: the key in {settings.data_dir}/secret_key signs links and cookies; other machines need the same, as SECRET_KEY."
        )
    Supervisor(settings, options.host, options.port, options.empty).run()


if __name__ == "__main__":
    main()
