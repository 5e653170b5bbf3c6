"""Workers are killed while they draw the pictures of a pack: each question has its picture in the end, and one only.

Each kill is a SIGKILL at a moment that is named. Where a picture counted as drawn when it was taken, the same kill leaves a
question without its picture for good.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest
from flask import Flask
from sqlalchemy import select, update

from community.answers import jobs, services
from community.answers.models import Intent, PackImport, PackPicture, PictureState
from community.answers.services import pictures
from kernel import config, files
from kernel.db import db, transaction
from tests import loaded
from tests.committed import clear
from tests.community.answers.test_pictures import drawn, pack
from tests.faults.dying_pictures import HOOKS
from tests.live import ROOT

COLOURS = ("red", "green", "blue", "white", "black", "pink")


@pytest.fixture
def taken(app: Flask) -> Iterator[int]:
    """A pack that was taken in, and nothing of it drawn."""
    with app.app_context(), transaction():
        found = services.preview("x.json", pack(*map(drawn, COLOURS)), None)
        services.take_in(found.id)
        import_id = found.id
    yield import_id
    clear(app)


def die(app: Flask, settings: config.Settings, import_id: int, *words: str) -> None:
    """Let a worker die at its work, and time pass until it is missed."""
    environment = {**os.environ, "SIYU_DATA": str(settings.data_dir), "SITE_URL": "http://localhost"}
    environment |= {"DATABASE_URL": settings.database_url, "REDIS_URL": settings.redis_url, "PYTHONPATH": str(ROOT)}
    done = loaded.run("tests.faults.dying_pictures", str(import_id), *words, env=environment, timeout=120)
    assert done.returncode == -signal.SIGKILL, done.stderr[-2000:]
    with app.app_context(), transaction():
        assert pictures.left_undrawn() == []
        db.session.execute(update(PackImport).values(drawing_until=None))


def drawn_in(app: Flask) -> list[str | None]:
    """The pictures of the questions that have one, each of which is there to be read."""
    with app.app_context():
        shown = [key for key in db.session.scalars(select(Intent.picture)) if key]
        assert all(files.picture_size(key) for key in shown)
        assert len(set(shown)) == len(shown)
        done = db.session.scalars(select(PackPicture).where(PackPicture.state == PictureState.DRAWN)).all()
        assert len(done) >= len(shown)
        return shown


@pytest.mark.fault
def test_killed_workers_lose_no_picture_and_leave_none(app: Flask, settings: config.Settings, taken: int) -> None:
    def stored() -> set[str]:
        return {path.name for path in settings.files_dir.glob("??/*.webp")}

    before = stored()
    for n, hook in enumerate(HOOKS, 1):
        die(app, settings, taken, hook)
        assert len(drawn_in(app)) == n
    with app.app_context():
        assert pictures.left_undrawn() == [taken]
        jobs.draw_pictures(import_id=taken)
        assert len(drawn_in(app)) == len(COLOURS)
        assert stored() - before == set(drawn_in(app))
        assert db.session.scalar(select(PackImport.raw)) is None
        assert db.session.scalars(select(PackPicture.state)).all() == [PictureState.DRAWN] * len(COLOURS)


@pytest.mark.fault
def test_the_kill_has_teeth(app: Flask, settings: config.Settings, taken: int) -> None:
    """With a picture counted as drawn when it is taken, whoever comes next leaves out the one that was at work."""
    die(app, settings, taken, "drawn", "unguarded")
    with app.app_context():
        jobs.draw_pictures(import_id=taken)
    assert len(drawn_in(app)) < len(COLOURS)
