"""A worker that moves people through journeys and kills itself (SIGKILL) at a named moment.

    python -m tests.faults.dying_journeys HOOK AFTER [unguarded]

`HOOK` is `taken` (people are held), `performed` (the step is done, nobody is moved), `moved` (not committed) or `committed`;
it dies at the time `AFTER` + 1. With `unguarded` what a step does is committed before its people are moved.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

from campaigns.journeys.services import advancing
from kernel.app import create_app
from kernel.db import commit, transaction

HOOKS = ("taken", "performed", "moved", "committed")


def main(hook: str, after: int, unguarded: bool) -> None:
    seen = 0

    def pass_by(name: str) -> None:
        nonlocal seen
        if name == hook:
            seen += 1
            if seen > after:
                os.kill(os.getpid(), signal.SIGKILL)

    def watched(function: Any, name: str) -> Any:
        def call(*arguments: Any) -> Any:
            found = function(*arguments)
            if unguarded and name == "performed":
                commit()
            pass_by(name)
            return found

        return call

    advancing._take = watched(advancing._take, "taken")
    advancing._do = watched(advancing._do, "performed")
    advancing._move = watched(advancing._move, "moved")
    with create_app().app_context():
        while True:
            with transaction():
                people = advancing.advance(limit=3).people
            pass_by("committed")
            if not people:
                return


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3:] == ["unguarded"])
