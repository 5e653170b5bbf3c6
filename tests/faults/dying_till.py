"""The web server whose processes kill themselves at a named moment of a redemption, as `tests.faults.dying` does for claims."""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from typing import Any

from flask import Flask

from kernel import web
from kernel.db import db
from membership.coupons.services import redemptions
from tests.faults.dying import Server, die_if_asked
from tests.webshop import serve

# Written and not committed; committed, and nobody was told.
HOOKS = ("before-commit", "after-commit")


def plant(app: Flask) -> None:
    folder = Path(sys.argv[1])
    web.Server = Server
    write = redemptions._write
    holding = threading.local()

    def watched(*arguments: Any) -> Any:
        made = write(*arguments)
        holding.use = True
        return made

    redemptions._write = watched
    with app.app_context():
        commit = db.engine.dialect.do_commit

        def told_nobody(connection: Any) -> None:
            # The answer is kept by now under its key, in the transaction that ends here.
            used, holding.use = getattr(holding, "use", False), False
            if used:
                die_if_asked(folder, "before-commit")
            commit(connection)
            if used:
                die_if_asked(folder, "after-commit")

        db.engine.dialect.do_commit = told_nobody


if __name__ == "__main__":
    serve(plant)
