"""The command line: `script/siyu …`, flask's commands over the same configuration as the server."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import click
from flask import Flask
from flask.cli import FlaskGroup, with_appcontext

from . import config, embedded

MIGRATIONS = config.ROOT / "migrations"
# They start by themselves, so they need neither the embedded servers nor an application made beforehand.
PARTS = ("web", "worker", "ticker")


def init_app(app: Flask) -> None:
    """Add the kernel's commands."""
    app.cli.add_command(staff)


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


def newest_versions() -> set[str]:
    """The newest migrations, read from the file names and texts alone."""
    import re

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
    import secrets

    from .db import transaction
    from .staff import services

    password = "-".join(secrets.token_hex(2) for _ in range(4))
    with transaction():
        found = services.find_staff(email)
        if found is None:
            refuse(f"nobody on the staff has the e-mail address {email}.")
        services.set_password(found, password)
    click.echo(f"New password of {found.email}: {password}")


class Commands(FlaskGroup):
    """Flask's commands, with the embedded servers up while one runs."""

    def invoke(self, ctx: click.Context) -> Any:
        wants_help = "--help" in sys.argv or not (ctx.protected_args or ctx.args)
        if wants_help or (ctx.protected_args or ctx.args)[0] in PARTS:
            return super().invoke(ctx)
        with embedded.available(config.load()):
            return super().invoke(ctx)


def main() -> None:
    """The program behind `script/siyu`: `--data DIR` before the command chooses the data folder."""
    words = sys.argv[1:]
    if words[:1] == ["--data"] and len(words) > 1:
        os.environ["SIYU_DATA"], sys.argv[1:] = str(Path(words[1]).absolute()), words[2:]
    elif words and words[0].startswith("--data="):
        os.environ["SIYU_DATA"], sys.argv[1:] = str(Path(words[0][7:]).absolute()), words[1:]
    commands = Commands(
        create_app=application,
        add_version_option=False,
        load_dotenv=False,
        set_debug_flag=False,
        help="Siyu from the command line. Before the command, --data DIR chooses the data folder (else SIYU_DATA, else ./data).",
    )
    guarded(lambda: commands(prog_name="siyu"))


def guarded(run: Callable[[], object]) -> None:
    """Run something and turn what the operator can mend into one line and a non-zero end."""
    try:
        run()
    except (config.ConfigInvalid, embedded.ServerFailed, embedded.AlreadyRunning) as error:
        refuse(error)


if __name__ == "__main__":
    main()
