"""Where the shop lives and what it talks to, read once from the environment and the data folder."""

from __future__ import annotations

import ipaddress
import os
import re
import secrets
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

ROOT = Path(__file__).resolve().parents[1]
TIME_ZONE = "Asia/Shanghai"
HOST, PORT = "127.0.0.1", 8000

# The address of a unix socket holds 104 bytes on macOS and 108 on Linux, its closing NUL included.
SOCKET_PATH_LIMIT = 103
LONGEST_SOCKET = "/postgresql/.s.PGSQL.5432.lock"

SHORTEST_KEY = 32
TELLTALES = re.compile(
    r"change.?me|example|your.?(secret|key)|secret.?key|insecure|password|^(dev|test|prod)[-_. ]", re.I
)


class ConfigInvalid(Exception):
    """A setting that the program refuses to run with; the message is one line for the operator."""


@dataclass(frozen=True)
class Settings:
    """Everything a process needs to know before it starts. Made by `load`."""

    data_dir: Path
    files_dir: Path
    database_url: str
    redis_url: str
    embedded_database: bool
    embedded_queue: bool
    site_url: str
    secret_key: bytes
    web_processes: int
    smtp_url: str | None = None
    time_zone: str = TIME_ZONE
    bulk_workers: int = 2
    proxy_count: int = 0
    previous_secret_keys: tuple[bytes, ...] = ()
    # Webhooks may go to http and to this very machine: for tests and trials only.
    outbound_local: bool = False
    journal_folder: Path | None = None

    @property
    def secure(self) -> bool:
        """Whether members reach the site over https, which decides the cookies' names and flags."""
        return self.site_url.startswith("https://")

    @property
    def log_dir(self) -> Path:
        return self.data_dir / "log"

    @property
    def journal_dir(self) -> Path:
        """Where the journal of refusals lies: see `kernel.journal`."""
        return self.journal_folder or self.data_dir / "journal"


def load(environ: Mapping[str, str] | None = None) -> Settings:
    """Read the settings from the environment (`os.environ` by default) and the data folder, which is made if missing.

    Raises `ConfigInvalid` with one clear line for anything it will not run with.
    """
    env = os.environ if environ is None else environ
    data_dir = Path(env.get("SIYU_DATA") or ROOT / "data").expanduser().absolute()
    make_private(data_dir)
    short = short_path(data_dir)
    database_url, redis_url = env.get("DATABASE_URL", ""), env.get("REDIS_URL", "")
    return Settings(
        data_dir=data_dir,
        files_dir=Path(env.get("FILES_DIR") or data_dir / "files").expanduser().absolute(),
        database_url=checked_database_url(database_url) if database_url else embedded_database_url(short),
        redis_url=checked_redis_url(redis_url) if redis_url else embedded_queue_url(short),
        embedded_database=not database_url,
        embedded_queue=not redis_url,
        site_url=checked_site_url(env.get("SITE_URL") or f"http://{HOST}:{PORT}"),
        secret_key=secret_key(env.get("SECRET_KEY"), data_dir),
        web_processes=number(env, "WEB_PROCESSES", 2, 1, 64),
        bulk_workers=number(env, "BULK_WORKERS", 2, 1, 64),
        proxy_count=number(env, "PROXY_COUNT", 0, 0, 9),
        smtp_url=env.get("SMTP_URL") or None,
        outbound_local=bool(number(env, "OUTBOUND_LOCAL", 0, 0, 1)),
        journal_folder=Path(env["JOURNAL_DIR"]).expanduser().absolute() if env.get("JOURNAL_DIR") else None,
        previous_secret_keys=tuple(
            secret_key(key.strip(), data_dir) for key in env.get("PREVIOUS_SECRET_KEYS", "").split(",") if key.strip()
        ),
    )


def embedded_database_url(folder: Path, name: str = "siyu") -> str:
    """The address of a database of the embedded server that keeps its files under `folder`."""
    return f"postgresql+psycopg://siyu@/{name}?host={quote(str(folder))}/postgresql"


def embedded_queue_url(folder: Path) -> str:
    """The address of the embedded queue server that keeps its files under `folder`."""
    return f"unix://{quote(str(folder))}/queue/queue.sock"


def number(env: Mapping[str, str], name: str, default: int, least: int, most: int) -> int:
    """A whole number from the environment; refuses anything else and anything outside its bounds."""
    text = env.get(name) or str(default)
    if not re.fullmatch(r"[0-9]{1,6}", text) or not least <= int(text) <= most:
        raise ConfigInvalid(f"{name} must be a whole number from {least} to {most}, not {text!r}.")
    return int(text)


def checked_site_url(url: str) -> str:
    """The public address as an origin (`https://shop.example`), without a slash at its end."""
    try:
        parts = urlsplit(url.rstrip("/"))
        # Reading the port is what refuses an impossible one.
        usable = bool(parts.scheme in ("http", "https") and parts.hostname and (parts.port is None or parts.port > 0))
    except ValueError:
        usable = False
    if not usable or parts.path or parts.query or parts.fragment or parts.username or re.search(r"\s", url):
        raise ConfigInvalid(f"SITE_URL must look like https://shop.example or http://127.0.0.1:8000, not {url!r}.")
    return f"{parts.scheme}://{parts.netloc.lower()}"


def checked_database_url(url: str) -> str:
    """The address of an outside PostgreSQL in SQLAlchemy's form; refuses every other database."""
    scheme, separator, rest = url.partition("://")
    if not separator or scheme not in ("postgres", "postgresql", "postgresql+psycopg"):
        raise ConfigInvalid("DATABASE_URL must be postgresql://user:password@host/name: Siyu runs on PostgreSQL only.")
    return f"postgresql+psycopg://{rest}"


def checked_redis_url(url: str) -> str:
    """The address of an outside queue server; refuses one on the network that asks for no password."""
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError:
        raise ConfigInvalid("REDIS_URL is not an address: redis://:password@host:6379/0 is one.") from None
    if parts.scheme not in ("redis", "rediss", "unix"):
        raise ConfigInvalid("REDIS_URL must start with redis://, rediss:// or unix://.")
    if parts.scheme != "unix" and not is_loopback(host or "localhost") and not unquote(parts.password or ""):
        raise ConfigInvalid(
            "REDIS_URL points at another machine without a password: set requirepass there and write "
            "redis://:password@host:6379/0, or use a server on this machine."
        )
    return url


def is_loopback(host: str) -> bool:
    """Whether a host name or address means this very machine."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def secret_key(given: str | None, data_dir: Path) -> bytes:
    """The key that signs cookies and links: `SECRET_KEY`, else the one kept in the data folder, made on the first start.

    Refuses a key shorter than 32 bytes and one that everybody could guess.
    """
    if given is not None:
        key = given.encode()
        if len(key) < SHORTEST_KEY:
            raise ConfigInvalid(
                f"SECRET_KEY has {len(key)} bytes and needs {SHORTEST_KEY}: openssl rand -hex 32 prints one."
            )
        if TELLTALES.search(given) or len(set(key)) < 8:
            raise ConfigInvalid("SECRET_KEY is a well-known or guessable one: openssl rand -hex 32 prints a good one.")
        return key
    path = data_dir / "secret_key"
    try:
        # Several processes may start at once: only one of them makes the key, with a rename that refuses to replace.
        if not path.exists():
            draft = data_dir / f".secret_key.{secrets.token_hex(8)}"
            with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(secrets.token_hex(32) + "\n")
                file.flush()
                os.fsync(file.fileno())
            with suppress(FileExistsError):
                os.link(draft, path)
            draft.unlink()
        key = path.read_bytes().strip()
    except OSError as error:
        raise ConfigInvalid(f"The key in {path} cannot be read: {error.strerror}.") from None
    if len(key) < SHORTEST_KEY:
        raise ConfigInvalid(
            f"{path} holds fewer than {SHORTEST_KEY} bytes: put the old key back, or remove the file for a new one."
        )
    return key


def make_private(folder: Path) -> None:
    """Make a folder that only its owner can enter; refuses one that cannot be made or written."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if folder.stat().st_uid == os.geteuid():
            folder.chmod(0o700)
    except OSError as error:
        raise ConfigInvalid(f"The data folder {folder} cannot be made: {error.strerror}.") from None
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ConfigInvalid(f"The data folder {folder} belongs to somebody else: choose another with --data.")


def short_path(data_dir: Path) -> Path:
    """A name of the data folder under which a unix socket's path fits: itself, or else a symbolic link to it.

    The link's name is a hash of the folder's, so that every process of the same owner finds the same one. A link that
    somebody else has put there is refused.
    """
    if len(os.fsencode(f"{data_dir}{LONGEST_SOCKET}")) <= SOCKET_PATH_LIMIT:
        return data_dir
    link = Path("/tmp") / f"siyu-{os.geteuid()}-{sha256(os.fsencode(data_dir)).hexdigest()[:16]}"
    with suppress(FileExistsError):
        link.symlink_to(data_dir)
    status = link.lstat()
    if not link.is_symlink() or status.st_uid != os.geteuid() or os.readlink(link) != str(data_dir):
        raise ConfigInvalid(
            f"{link} is in the way and is not a link of ours to {data_dir}: remove it, or use a shorter --data."
        )
    return link
