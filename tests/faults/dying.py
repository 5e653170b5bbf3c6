"""The web server whose processes kill themselves at a named moment of a claim, each time somebody asks for it.

Asking is a file: `FOLDER/die-<hook>`. The process that comes to the hook first takes the file away and is gone (SIGKILL),
so that each file costs one life. Nothing of it is in the product: this program changes its own copy.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

from flask import Flask

from kernel import web
from kernel.db import db
from membership.coupons.services import batch
from tests.webshop import serve

# Before the coupons are inserted; when they are, and not committed; when they are committed, and nobody was told.
HOOKS = ("before-insert", "after-insert", "after-commit")


def die_if_asked(folder: Path, hook: str) -> None:
    try:
        os.rename(folder / f"die-{hook}", folder / f"died-{hook}-{os.getpid()}")
    except FileNotFoundError:
        return
    os.kill(os.getpid(), signal.SIGKILL)


class Forgetful(dict[int, float]):
    """Granian gives up when a process dies soon after it was born; here they are meant to."""

    def get(self, key: int, default: Any = None) -> Any:
        return 0.0


class Server(web.Server):
    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.respawned_wrks = Forgetful()


def plant(app: Flask) -> None:
    folder = Path(sys.argv[1])
    web.Server = Server
    insert = batch.insert_coupons
    # The writer commits without a claim too, when it takes its connection.
    holding = threading.local()

    def watched(connection: Any, coupons: Any, now: Any, reason: str, ending: bool = False) -> Any:
        die_if_asked(folder, "before-insert")
        # Where the commit travels with the insert only the database sees the moment between: for whoever is to die in it
        # they travel apart.
        ending = ending and not (folder / "die-after-insert").exists()
        found = insert(connection, coupons, now, reason, ending)
        if found and ending:
            die_if_asked(folder, "after-commit")
        elif found:
            holding.claims = True
            die_if_asked(folder, "after-insert")
        return found

    batch.insert_coupons = watched
    with app.app_context():
        commit = db.engine.dialect.do_commit

        def told_nobody(connection: Any) -> None:
            commit(connection)
            if getattr(holding, "claims", False):
                holding.claims = False
                die_if_asked(folder, "after-commit")

        db.engine.dialect.do_commit = told_nobody


if __name__ == "__main__":
    serve(plant)
