"""The command line: `script/siyu …`, flask's commands over the same configuration as the server."""

from __future__ import annotations

import logging
import os
import re
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import click
from flask import Flask, current_app
from flask.cli import FlaskGroup, routes_command, shell_command, with_appcontext

from . import config, embedded
from .ports import Port

MIGRATIONS = config.ROOT / "migrations"
# They are long-lived parts of a running shop and never start the embedded servers themselves.
PARTS = ("web", "worker", "ticker")
# Writes the rows that pages take for granted, so that reading writes nothing; again it changes nothing.
standing_rows: Port[[], None] = Port("kernel.standing_rows")


def init_app(app: Flask) -> None:
    """Add the kernel's commands."""
    # Imported here, since the launcher needs this module before it has time for the database's.
    from .demo import demo

    for command in (staff, api_key, openapi_command, backup_command, restore_command, journal_group, demo):
        app.cli.add_command(command)


def refuse(message: object) -> NoReturn:
    """End with one line for the operator."""
    click.echo(f"siyu: {message}", err=True)
    raise SystemExit(1)


def with_migrations(app: Flask) -> Flask:
    """Let the application run migrations. Importing Alembic takes a while, so that only those who need it do."""
    from flask_migrate import Migrate

    from .db import db

    Migrate(app, db, directory=str(MIGRATIONS))
    return app


def application() -> Flask:
    """The application for the command line."""
    from .app import create_app

    return with_migrations(create_app())


def upgrade(app: Flask) -> None:
    """Bring the database to the newest version of its tables."""
    from flask_migrate import upgrade as migrate_upwards

    with with_migrations(app).app_context():
        migrate_upwards(directory=str(MIGRATIONS))
    furnish(app)


def furnish(app: Flask) -> None:
    """Write the rows that pages take for granted, and finish a restore that has just been begun."""
    from . import restoring
    from .db import transaction

    settings = app.extensions["settings"]
    with app.app_context():
        with transaction():
            standing_rows.call()
            settled = restoring.settle(settings)
        if settled:
            restoring.mark(settings).unlink(missing_ok=True)


def newest_versions() -> set[str]:
    """The newest migrations, read from the file names and texts alone."""
    files = [path.read_text() for path in MIGRATIONS.glob("versions/*.py")]
    revisions = {m[1] for text in files if (m := re.search(r"^revision\b.*?=\s*['\"](\w+)['\"]", text, re.M))}
    replaced = {m[1] for text in files if (m := re.search(r"^down_revision\b.*?=\s*['\"](\w+)['\"]", text, re.M))}
    return revisions - replaced


@click.group()
def staff() -> None:
    """The people who work here."""


@staff.command("password")
@click.argument("email")
@with_appcontext
def staff_password(email: str) -> None:
    """Give EMAIL a new random password and sign them out everywhere."""
    from .db import transaction
    from .staff import services

    with transaction():
        found = services.find_staff(email)
        if found is None:
            refuse(f"nobody on the staff has the e-mail address {email}.")
        password = services.give_new_password(found)
    click.echo(f"New password of {found.email}: {password}")


@click.group("api-key")
def api_key() -> None:
    """Keys for other programs."""


@api_key.command("create")
@click.option("--name", required=True, help="Which program will use it.")
@click.option("--scope", "scopes", multiple=True, required=True, help="What it may do, e.g. orders:write. Repeatable.")
@click.option("--days", type=click.IntRange(1, 3_650), help="Let it end by itself after so many days.")
@click.option("--per-minute", type=int, default=1_200, show_default=True, help="Requests a minute it may send.")
@with_appcontext
def api_key_create(name: str, scopes: tuple[str, ...], days: int | None, per_minute: int) -> None:
    """Make an API key and print it; it is not shown again."""
    from datetime import timedelta

    from . import api_keys, audit, clock
    from .db import transaction
    from .errors import InputInvalid
    from .i18n import forced_locale

    expires_at = clock.now() + timedelta(days=days) if days else None
    try:
        with forced_locale("en"), transaction():
            key, token = api_keys.create(
                name,
                [scope for given in scopes for scope in given.split(",")],
                expires_at=expires_at,
                per_minute=per_minute,
            )
            audit.record("api_key.created", "api_key", key.id, after={"name": key.name, "scopes": key.scopes})
    except InputInvalid as refusal:
        refuse(refusal)
    click.echo(token)


@click.command("openapi")
@with_appcontext
def openapi_command() -> None:
    """Print the OpenAPI document of the REST interface."""
    from flask import json

    from . import openapi
    from .i18n import forced_locale

    with forced_locale("en"):
        whole = openapi.document(current_app, current_app.extensions["settings"].site_url)
    click.echo(json.dumps(whole, ensure_ascii=False, indent=2))


class Commands(FlaskGroup):
    """Flask's commands, with the embedded servers up while one runs."""

    def invoke(self, ctx: click.Context) -> Any:
        words = self.words(ctx)
        if not words or words[0] in PARTS or "--help" in words:
            return super().invoke(ctx)
        with embedded.available(config.load()):
            return super().invoke(ctx)

    def words(self, ctx: click.Context) -> list[str]:
        """The command and its arguments, which click keeps in two lists until its version 9."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            return [*getattr(ctx, "protected_args", []), *ctx.args]


def choose_folder(ctx: click.Context, parameter: click.Parameter, value: str | None) -> None:
    if value:
        os.environ["SIYU_DATA"] = str(Path(value).expanduser().absolute())


# ── One part alone, in the foreground ───────────────────────────────────────────────────────────────────────────────


def ready_settings(**environ: str | None) -> config.Settings:
    """The settings of a part that runs alone, once the servers it needs answer and have the newest tables."""
    for name, value in environ.items():
        if value:
            os.environ.setdefault(name, value)
    settings = config.load()
    if not all(server.ready() for server in embedded.servers(settings)):
        raise config.ConfigInvalid(
            f"Nothing runs on {settings.data_dir}: start script/server, or point DATABASE_URL and REDIS_URL at servers of your own."
        )
    from sqlalchemy import create_engine

    from . import health

    for warning in health.check_servers(settings):
        click.echo(f"Warning: {warning}", err=True)
    engine = create_engine(settings.database_url)
    with engine.connect() as connection:
        present = versions_of(connection)
    engine.dispose()
    if present != newest_versions():
        raise config.ConfigInvalid("The tables are not those of this version: run script/siyu db upgrade once.")
    start_logging()
    return settings


def versions_of(connection: Any) -> set[str]:
    """The migrations that a database has had."""
    from sqlalchemy import text

    if connection.execute(text("SELECT to_regclass('alembic_version')")).scalar() is None:
        return set()
    return set(connection.execute(text("SELECT version_num FROM alembic_version")).scalars())


def start_logging() -> None:
    """Log to the standard error, one line an entry with its time in UTC."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)sZ %(levelname)s %(name)s: %(message)s")
    logging.Formatter.converter = time.gmtime
    for name in ("rq", "alembic.runtime.plugins", "httpx"):
        logging.getLogger(name).setLevel(logging.WARNING)


@click.command("web")
@click.option("--host", default=config.HOST, show_default=True, help="Address to listen on.")
@click.option(
    "--port", default=config.PORT, show_default=True, type=click.IntRange(1, 65535), help="Port to listen on."
)
def web(host: str, port: int) -> None:
    """Serve the web alone, in the foreground."""
    settings = ready_settings(SITE_URL=f"http://{host}:{port}")
    from . import web as web_server
    from .app import create_app

    web_server.serve(settings, host, port, create_app(settings))


@click.command("worker")
@click.option(
    "--queue", default="default", show_default=True, type=click.Choice(["default", "bulk"]), help="Whose jobs it runs."
)
def worker(queue: str) -> None:
    """Run the jobs of one queue, in the foreground."""
    settings = ready_settings()
    from . import worker as queue_worker

    queue_worker.work(settings, queue)


@click.command("ticker")
def ticker() -> None:
    """Queue the recurring jobs, in the foreground. Several may run; one leads."""
    settings = ready_settings()
    from . import ticker as recurring

    recurring.run(settings)


# ── Backup ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@click.command("backup")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@with_appcontext
def backup_command(file: Path) -> None:
    """Write database, uploaded files and signing key to FILE. The server may run meanwhile."""
    from . import backup, clock, shop
    from .db import transaction

    try:
        size = backup.write(current_app.extensions["settings"], file.absolute())
    except (backup.BackupFailed, OSError) as error:
        refuse(error)
    with transaction():
        shop.put("backup.last", {"at": clock.now().isoformat(), "bytes": size})
    click.echo(f"{file}: {size / 2**20:.1f} MB. It opens every customer's record: keep it safe.")


@click.command("restore")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--journal",
    "paths",
    multiple=True,
    type=click.Path(exists=True, path_type=Path),
    help="The journal of the shop that is gone: its folder or a file. Repeatable.",
)
@with_appcontext
def restore_command(file: Path, paths: tuple[Path, ...]) -> None:
    """Put the backup FILE into an empty data folder (script/siyu --data NEW restore FILE --journal OLD/journal)."""
    from . import backup, restoring
    from .app import create_app

    settings: config.Settings = current_app.extensions["settings"]
    journals_there(settings, paths)
    try:
        backup.read(settings, file.absolute())
    except (backup.BackupFailed, OSError) as error:
        refuse(error)
    # The shop's own key came with the backup.
    app = create_app(config.load())
    upgrade(app)
    with app.app_context():
        state = restoring.state() or {}
        click.echo(f"Restored: the shop stands as it did at {said_at(state['backup_at'])}.")
        for what, name in restoring.words.items():
            if state["taken"].get(what):
                click.echo(f"  {english(name)}: {state['taken'][what]:,}")
        if paths:
            carry_out(paths)
        else:
            click.echo(
                "WARNING: no journal was given. Whoever has said no or was erased since then is NOT known to this shop.\n"
                "  If the old data folder, or a copy of its folder journal, is still there, do this before anything else:\n"
                f"  script/siyu --data {settings.data_dir} journal replay OLD/journal",
                err=True,
            )
    click.echo(
        "script/server starts it. It sends no pushes, journeys, notices or reports until somebody has looked at "
        "Settings › Operations › After the restore."
    )


def journals_there(settings: config.Settings, paths: tuple[Path, ...]) -> None:
    """Refuse journals that hold nothing, or that are the very ones this shop writes."""
    from . import journal

    for path in paths:
        if not journal.files_in([path]):
            refuse(f"there is no journal in {path}: its files are called journal-YYYY-MM.jsonl.")
        if settings.journal_dir.exists() and path.resolve() == settings.journal_dir.resolve():
            refuse(f"{path} is this shop's own journal. Point JOURNAL_DIR elsewhere, or move the old files away first.")


def carry_out(paths: tuple[Path, ...]) -> None:
    """Replay journals and say what came of it."""
    from . import journal, restoring
    from .db import transaction
    from .i18n import forced_locale

    settings: config.Settings = current_app.extensions["settings"]
    report = journal.replay(paths, settings)
    with transaction():
        restoring.note_replay(report.stored())
    until = said_at(report.until) if report.until else "never"
    click.echo(
        f"Journal: {report.read:,} lines, {report.known:,} known already, {report.carried_out:,} carried out. "
        f"It speaks until {until}; of what came after that nothing is known."
    )
    for what, name in journal.outcomes.items():
        if report.came.get(what):
            click.echo(f"  {english(name)}: {report.came[what]:,}")
    with forced_locale("en"):
        for wrong in report.faults():
            click.echo(f"WARNING: {wrong}", err=True)


def english(words: object) -> str:
    """Words in English, as the command line speaks."""
    from .i18n import forced_locale

    with forced_locale("en"):
        return str(words)


def said_at(moment: str) -> str:
    """A kept instant as the shop's clock shows it."""
    from datetime import datetime

    from . import clock

    return f"{clock.local(datetime.fromisoformat(moment)):%Y-%m-%d %H:%M:%S}"


@click.group("journal")
def journal_group() -> None:
    """What must survive a restore: who has said no, who was erased."""


@journal_group.command("replay")
@click.argument("paths", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@with_appcontext
def journal_replay(paths: tuple[Path, ...]) -> None:
    """Carry out what a journal (folders or files at PATHS) knows and this shop does not. Again it changes nothing."""
    journals_there(current_app.extensions["settings"], paths)
    carry_out(paths)


@journal_group.command("write")
@with_appcontext
def journal_write() -> None:
    """Write what waits into the journal now, and say how far it reaches."""
    from . import journal
    from .db import transaction

    settings: config.Settings = current_app.extensions["settings"]
    written = journal.AT_ONCE
    total = 0
    while written == journal.AT_ONCE:
        with transaction():
            written = journal.write_out(settings)
        total += written
    click.echo(f"{total:,} lines written into {settings.journal_dir}.")


def main() -> None:
    """The program behind `script/siyu`."""
    commands = Commands(
        create_app=application,
        add_default_commands=False,
        add_version_option=False,
        load_dotenv=False,
        set_debug_flag=False,
        help="Siyu from the command line. It uses the running server, or starts database and queue for as long as it takes.",
    )
    commands.params = [
        click.Option(
            ["--data"], metavar="DIR", help="The data folder (else SIYU_DATA, else ./data).",
            callback=choose_folder, is_eager=True, expose_value=False,
        )
    ]  # fmt: skip
    for command in (web, worker, ticker, shell_command, routes_command):
        commands.add_command(command)
    guarded(lambda: commands(prog_name="siyu"))


def guarded(run: Callable[[], object]) -> None:
    """Run something and turn what the operator can mend into one line and a non-zero end."""
    try:
        run()
    except (config.ConfigInvalid, embedded.ServerFailed, embedded.AlreadyRunning) as error:
        refuse(error)


if __name__ == "__main__":
    main()
