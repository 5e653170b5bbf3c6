"""Linters, types and the whole test suite, with one summary line at the end. `script/test` runs it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from tests import loaded

ROOT = Path(__file__).resolve().parents[1]
# Tests that start programs of their own: real processes, many connections, a browser.
ALONE = "browser or race or fault"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
PACKAGES = ("chromium", "fonts-wqy-microhei")
# Of the files of faults those that take longer than half a minute.
LONGEST = ("test_backup", "test_claim_crash", "test_journey_crash", "test_launcher", "test_push_crash")
ORDER = ("failed", "errors", "passed", "skipped", "xfailed", "xpassed")


def say(line: str) -> None:
    print(line, flush=True)


def run(*command: str) -> bool:
    """Run a check and say what it was; returns whether it was content."""
    say(f"── {' '.join(command[2:] if command[1:2] == ('-m',) else command)}")
    return subprocess.run(command, cwd=ROOT).returncode == 0


@contextmanager
def beside(*command: str) -> Iterator[Callable[[], bool]]:
    """Run a check while something else goes on; what is given waits for its end, says what it said, and whether it was content."""
    with tempfile.TemporaryFile() as said:
        child = subprocess.Popen(command, cwd=ROOT, stdout=said, stderr=subprocess.STDOUT)

        def ended() -> bool:
            child.wait()
            said.seek(0)
            say(f"── {' '.join(command[2:])}\n{said.read().decode(errors='replace').rstrip()}")
            return child.returncode == 0

        try:
            yield ended
        finally:
            child.kill()
            child.wait()


@contextmanager
def ready_to_fork() -> Iterator[None]:
    """The application loaded and its tables made, for all that the tests start (see `tests/loaded.py`); on Linux only, for
    elsewhere what has been loaded cannot be forked."""
    if sys.platform != "linux":
        yield
        return
    # The address of a socket may not be long, as that of another temporary folder could be.
    with tempfile.TemporaryDirectory(prefix="siyu-kit-", dir="/tmp", ignore_cleanup_errors=True) as kit:
        command = [sys.executable, "-P", "-m", "tests.loaded", kit]
        with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None  # noqa: S101  Asked for above.
            # If it cannot be loaded the tests will say why, each for itself.
            if child.stdout.readline() == "ready\n":
                os.environ[loaded.KIT] = kit
            try:
                yield
            finally:
                os.environ.pop(loaded.KIT, None)
                child.terminate()


def examine(*arguments: str, lane: str = "") -> tuple[int, Counter[str], list[str]]:
    """Run pytest and show its output as it comes, each line after the name of its lane if there are several; returns its
    exit code, the numbers of its last line, and the lines that name a test that failed, where it did and with what words."""
    say(f"{lane}── pytest {' '.join(arguments)}")
    summary, failures, reasons = "", list[str](), list[str]()
    reader, writer = os.pipe()
    with open(reader, errors="replace") as output:
        child = loaded.start("pytest", "-q", *arguments, cwd=ROOT, stdout=writer, stderr=2, session=False)
        os.close(writer)
        for line in output:
            sys.stdout.write(f"{lane}{line}")
            sys.stdout.flush()
            if re.search(r"\d+ (passed|failed|skipped|error|deselected)|no tests ran", line) and " in " in line:
                summary = line
            if line.startswith(("FAILED ", "ERROR ")):
                failures.append(line.rstrip())
            elif re.match(r"E   |tests/\S+\.py:\d+: ", line):
                reasons.append(f"    {line.rstrip()[:300]}")
    code = child.wait()
    counts: Counter[str] = Counter()
    for number, word in re.findall(r"(\d+) (failed|errors?|passed|skipped|xfailed|xpassed)", summary):
        counts["errors" if word == "error" else word] += int(number)
    return code, counts, reasons[-12:] + failures


def alone() -> list[list[str]]:
    """The tests that need real processes, in the order in which they are begun: the longest first, and each file of faults
    in a process of its own, for what forks there must find no threads that a browser or another test has left behind."""
    faults = sorted(
        (ROOT / "tests" / "faults").glob("test_*.py"), key=lambda file: (file.stem not in LONGEST, file.stem)
    )
    return [
        ["tests/browser"],
        ["tests", "--ignore=tests/browser", "--ignore=tests/faults"],
        *([f"tests/faults/{file.name}"] for file in faults),
    ]


def in_lanes(places: list[list[str]], *arguments: str) -> list[tuple[int, Counter[str], list[str]]]:
    """Run several selections, three at a time: each waits for its own servers most of the while."""

    def one(place: list[str]) -> tuple[int, Counter[str], list[str]]:
        lane = f"{Path(place[0]).stem if len(places) > 1 else ''} "
        return examine(*arguments, *place, lane=lane.lstrip())

    with ThreadPoolExecutor(3) as pool:
        return list(pool.map(one, places))


def chromium() -> bool:
    """Whether browser tests can run; as root what is missing is installed first."""
    if has_browser():
        return True
    if os.geteuid() == 0 and shutil.which("apt-get"):
        say("── installing Chromium and a Chinese font")
        environ = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        install = ["apt-get", "install", "-y", "-q", "--no-install-recommends", *PACKAGES]
        for command in (["apt-get", "update", "-q"], install):
            subprocess.run(command, env=environ, stdout=subprocess.DEVNULL)
    return has_browser()


def has_browser() -> bool:
    if not any(shutil.which(name) for name in BROWSERS):
        return False
    if sys.platform != "linux" or not shutil.which("fc-list"):
        return True
    return bool(subprocess.run(["fc-list", ":lang=zh"], capture_output=True, text=True).stdout.strip())


def main() -> int:
    began = time.monotonic()
    arguments = [word for word in sys.argv[1:] if word != "--long"]
    long = ["--long"] if "--long" in sys.argv[1:] else []
    wrong: list[str] = []
    python = sys.executable
    for name, command in {
        "ruff check": ("ruff", "check", "."),
        "ruff format": ("ruff", "format", "--check", "."),
    }.items():
        if not run(python, "-m", *command):
            wrong.append(name)
    browser = chromium()
    if not browser:
        loud = "!" * 100
        say(f"{loud}\nNO CHROMIUM OR NO CHINESE FONT: THE BROWSER TESTS ARE SKIPPED. To run them:")
        say(f"    sudo apt-get update && sudo apt-get install --no-install-recommends {' '.join(PACKAGES)}\n{loud}")
        if os.environ.get("CI"):
            wrong.append("no Chromium, and CI must run the browser tests")
    with ready_to_fork():
        # It has one core and memory enough, and takes a minute.
        with beside(python, "-m", "mypy") as content:
            first, counts, failures = examine("-n", "2", "-m", f"not ({ALONE})", *long, *arguments)
            if not content():
                wrong.append("mypy")
        # A line for each: these are few and long, and a run that hangs shows where.
        lanes = in_lanes([arguments] if arguments else alone(), "-vv", "--durations=10", "-m", ALONE, *long)
    second, more = 5, Counter[str]()
    for code, some, failed in lanes:
        more += some
        failures += failed
        # The first code that is a fault stays; 5, pytest's word for an empty selection, gives way to anything.
        if second in (0, 5) and code != 5:
            second = code
    counts += more
    # 5 is pytest's word for an empty selection, which is no fault of the other half.
    if any(code not in (0, 5) for code in (first, second)) or (first, second) == (5, 5):
        wrong.append("tests")
    numbers = ", ".join(f"{counts[word]} {word}" for word in ORDER if counts[word]) or "no tests ran"
    # Once more at the very end, for among the lines of three lanes nobody finds them.
    for line in failures:
        say(line)
    if wrong:
        say(f"Not right: {', '.join(wrong)}.")
    say(f"{'=' * 20} {numbers} in {time.monotonic() - began:.2f}s {'=' * 20}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
