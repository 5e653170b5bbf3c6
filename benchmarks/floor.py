"""The shop that benchmarks work on: the application over an embedded database of its own."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from flask import Flask

from kernel import config, embedded
from kernel.app import create_app
from kernel.cli import upgrade
from kernel.db import db


@contextmanager
def shop_floor(folder: Path | None = None, durable: bool = True) -> Iterator[tuple[Flask, Path]]:
    """The application with all its tables, and where its data lies: in `folder`, which stays, or in one that goes again."""
    place = folder or Path(tempfile.mkdtemp(prefix="siyu-bench-"))
    # The sinks that are sent to are on this machine.
    settings = config.load({"SIYU_DATA": str(place), "SITE_URL": "http://localhost", "OUTBOUND_LOCAL": "1"})
    running = embedded.Running(embedded.servers(settings, durable=durable))
    try:
        running.start()
        app = create_app(settings)
        upgrade(app)
        yield app, place
        with app.app_context():
            db.engine.dispose()
    finally:
        running.stop()
        if folder is None:
            shutil.rmtree(place, ignore_errors=True)
