"""A worker that draws the pictures of a pack and kills itself (SIGKILL) at a named moment.

    python -m tests.faults.dying_pictures IMPORT HOOK [unguarded]

`HOOK` is `drawn` (the file is there and nothing is written down) or `recorded` (written down, not committed). It dies there when it
comes to it for the second time. With `unguarded` a picture counts as drawn from the moment it is taken.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

from sqlalchemy import update

from community.answers import jobs
from community.answers.models import PackPicture, PictureState
from community.answers.services import pictures
from kernel.app import create_app
from kernel.db import db

HOOKS = ("drawn", "recorded")


def main(import_id: int, hook: str, unguarded: bool) -> None:
    seen = 0

    def watched(function: Any, name: str) -> Any:
        def call(*arguments: Any) -> Any:
            nonlocal seen
            found = function(*arguments)
            seen += name == hook
            if name == hook and seen == 2:
                os.kill(os.getpid(), signal.SIGKILL)
            return found

        return call

    take_next, record = pictures.take_next, pictures.record

    def mark(picture_id: int, state: PictureState) -> None:
        db.session.execute(update(PackPicture).where(PackPicture.id == picture_id).values(state=state))

    def rash(pack: int) -> Any:
        taken = take_next(pack)
        if taken is not None:
            mark(taken.id, PictureState.DRAWN)
        return taken

    def late(taken: Any, drawn: Any) -> None:
        mark(taken.id, PictureState.WAITING)
        record(taken, drawn)

    if unguarded:
        pictures.take_next, pictures.record = rash, late
    pictures.draw = watched(pictures.draw, "drawn")
    pictures.record = watched(pictures.record, "recorded")
    with create_app().app_context():
        jobs.draw_pictures(import_id=import_id)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3:] == ["unguarded"])
