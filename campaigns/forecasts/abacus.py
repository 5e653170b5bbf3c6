"""The models run in a program of their own, for as long as they are needed: numpy and scipy are loaded there and nowhere else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any

PROGRAM = Path(__file__).with_name("bgnbd.py")
# Two processors do not make these sums quicker, and each thread has memory of its own.
ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}


class AbacusBroken(Exception):
    """The program ended instead of answering; the text is the end of what it said."""


class Abacus:
    """`with Abacus() as abacus: abacus.ask("score", x=[…], …)`: one question and one answer at a time, see `bgnbd.answer`. The
    program is started with the first question."""

    def __init__(self) -> None:
        self._running: subprocess.Popen[str] | None = None

    def __enter__(self) -> Abacus:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._running is None:
            return
        # Whoever leaves in the middle of an answer does not wait for it.
        if kind is not None:
            self._running.kill()
        self._running.communicate()

    def _start(self) -> subprocess.Popen[str]:
        # -P: the folder of the program is no place to import from, or our `rules` would stand before a library's.
        return subprocess.Popen(
            [sys.executable, "-P", str(PROGRAM)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **ONE_THREAD},
        )

    def ask(self, do: str, **values: Any) -> dict[str, Any]:
        """The answer to one question. Raises `AbacusBroken`."""
        running = self._running = self._running or self._start()
        asks, says = running.stdin, running.stdout
        if asks is None or says is None:
            raise AbacusBroken("it was started without pipes")
        try:
            asks.write(json.dumps({"do": do, **values}) + "\n")
            asks.flush()
            line = says.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            said = running.stderr.read() if running.stderr is not None else ""
            raise AbacusBroken(said[-2_000:])
        found: dict[str, Any] = json.loads(line)
        return found
