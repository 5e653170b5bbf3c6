"""A backup is one tar file: the database as pg_dump's archive, the uploaded files, the signing key, and a list with checksums."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import subprocess
import tarfile
import tempfile
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import IO

import psycopg

from . import clock, embedded, restoring
from .config import Settings, make_private

FORMAT = 1
DUMP, KEY, LIST, FILES = "database.dump", "secret_key", "backup.json", "files"


class BackupFailed(Exception):
    """A backup could not be written or read; the message is for the operator."""


def address(settings: Settings) -> str:
    """The database's address as PostgreSQL's own programs take it."""
    return settings.database_url.replace("postgresql+psycopg://", "postgresql://", 1)


def write(settings: Settings, target: Path) -> int:
    """Write a backup to `target`, which must not exist yet; returns its size in bytes.

    The server may run meanwhile: the dump is the database at one instant, and the files are read after it, so that those
    which are named at that instant are there, but for what was taken away meanwhile (an erasure, a video that was exchanged)
    and is skipped. Files that are still being written have no name yet and are left out. Raises `BackupFailed`.
    """
    if target.exists():
        raise BackupFailed(f"{target} is there already.")
    with tempfile.TemporaryDirectory(prefix=".siyu-backup-", dir=target.parent) as folder:
        draft, dump = Path(folder) / "backup.tar", Path(folder) / DUMP
        # The dump is the database at the moment at which it begins.
        began = clock.now()
        program(
            "pg_dump", "--format=custom", "--no-owner", "--no-acl", f"--file={dump}", f"--dbname={address(settings)}"
        )
        with open(os.open(draft, os.O_RDWR | os.O_CREAT, 0o600), "w+b") as file:
            sums: dict[str, str] = {}
            with tarfile.open(fileobj=file, mode="w") as archive:
                add(archive, sums, DUMP, dump)
                if "SECRET_KEY" not in os.environ:
                    add(archive, sums, KEY, settings.data_dir / KEY)
                for path in sorted(settings.files_dir.rglob("*")):
                    if path.is_file() and not path.is_symlink() and not path.name.startswith("."):
                        with suppress(FileNotFoundError):
                            add(archive, sums, f"{FILES}/{path.relative_to(settings.files_dir).as_posix()}", path)
                facts = {"format": FORMAT, "made_at": began.isoformat(), "sha256": sums}
                text = json.dumps(facts, indent=1, ensure_ascii=False).encode()
                entry = tarfile.TarInfo(LIST)
                entry.size, entry.mode = len(text), 0o600
                archive.addfile(entry, io.BytesIO(text))
            file.flush()
            os.fsync(file.fileno())
        draft.rename(target)
    return target.stat().st_size


def add(archive: tarfile.TarFile, sums: dict[str, str], name: str, path: Path) -> None:
    with path.open("rb") as file:
        sums[name] = checksum(file)
        file.seek(0)
        entry = archive.gettarinfo(arcname=name, fileobj=file)
        entry.uid = entry.gid = 0
        entry.uname = entry.gname = ""
        archive.addfile(entry, file)


def checksum(file: IO[bytes]) -> str:
    return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]


def read(settings: Settings, source: Path) -> None:
    """Put a backup back into an empty database and data folder. Everything is checked before anything is changed.

    A mark stays in the data folder: `restoring.settle` takes out what was under way once the tables are up to date.
    Raises `BackupFailed` when the file is damaged or not a backup, or when the database has tables already.
    """
    with psycopg.connect(address(settings)) as connection:
        row = connection.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchone()
    if row and row[0]:
        raise BackupFailed(
            "The database is not empty. Restore into a new data folder: script/siyu --data NEW restore FILE."
        )
    with tempfile.TemporaryDirectory(prefix="restore-", dir=settings.data_dir) as folder:
        unpacked = Path(folder)
        try:
            made_at = unpack(source, unpacked)
        except (tarfile.TarError, OSError, EOFError, KeyError, ValueError) as error:
            raise BackupFailed(f"{source} is not a whole backup of Siyu ({error}).") from None
        # The tables come last: until they are there the restore can be begun again, and whoever starts a server on them
        # finds the key and the files, and the mark that says that nothing may go out.
        if (unpacked / KEY).exists():
            os.chmod(unpacked / KEY, 0o600)
            (unpacked / KEY).replace(settings.data_dir / KEY)
        make_private(settings.files_dir)
        if (unpacked / FILES).is_dir():
            shutil.copytree(unpacked / FILES, settings.files_dir, dirs_exist_ok=True)
        restoring.leave_mark(settings, made_at)
        options = ["--no-owner", "--no-acl", "--exit-on-error", "--single-transaction"]
        try:
            program("pg_restore", *options, f"--dbname={address(settings)}", str(unpacked / DUMP))
        except BackupFailed:
            restoring.mark(settings).unlink()
            raise


def unpack(source: Path, folder: Path) -> str:
    """Unpack a backup and compare every checksum; returns when it was made. Raises `ValueError`, `KeyError` or what `tarfile` raises."""
    seen: dict[str, str] = {}
    with tarfile.open(source) as archive:
        for entry in archive:
            name = PurePosixPath(entry.name)
            if not entry.isfile() or name.is_absolute() or ".." in name.parts:
                raise ValueError(f"it holds {entry.name!r}")
            content = archive.extractfile(entry)
            if content is None:
                raise ValueError(f"{entry.name!r} cannot be read")
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("wb") as file:
                shutil.copyfileobj(content, file)
            with path.open("rb") as file:
                seen[entry.name] = checksum(file)
    facts = json.loads((folder / LIST).read_text())
    seen.pop(LIST)
    if facts["format"] != FORMAT:
        raise ValueError(f"it has format {facts['format']}, this version reads {FORMAT}")
    if seen != facts["sha256"]:
        raise ValueError("a checksum is wrong, or a file is missing")
    return str(facts["made_at"])


def program(name: str, *arguments: str) -> None:
    """Run one of PostgreSQL's programs; raises `BackupFailed` with its last line."""
    binaries, _ = embedded.find_postgres()
    done = subprocess.run([str(binaries / name), *arguments], capture_output=True, text=True)
    if done.returncode != 0:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        raise BackupFailed(f"{name}: {lines[-1] if lines else f'it ended with code {done.returncode}'}")
