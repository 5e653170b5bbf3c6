"""Makes the environment in .venv when it is missing or out of date, then hands over to the program asked for.

Runs on a bare Python: only the standard library is used here.
"""

from __future__ import annotations

import fcntl
import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
RUN, DEV = "requirements.txt", "requirements-dev.txt"
PROGRAMS = {
    "server": ["-m", "kernel.supervisor"],
    "siyu": ["-m", "kernel.cli"],
    "test": [str(ROOT / "script" / "checks.py")],
}


def refuse(message: str) -> NoReturn:
    print(f"siyu: {message}", file=sys.stderr)
    sys.exit(1)


def stamp(name: str) -> Path:
    """The copy of a requirements file that the environment was last made from."""
    return VENV / f"siyu-{name}"


def up_to_date(name: str) -> bool:
    try:
        return PYTHON.exists() and stamp(name).read_bytes() == (ROOT / name).read_bytes()
    except FileNotFoundError:
        return False


def ensure(dev: bool) -> None:
    """Make or complete the environment; several processes may ask at once."""
    wanted = [RUN, DEV] if dev else [RUN]
    if all(map(up_to_date, wanted)):
        return
    try:
        VENV.mkdir(exist_ok=True)
        lock = open(VENV / ".lock", "w")
    except OSError as error:
        refuse(f"the environment cannot be made in {VENV}: {error.strerror}.")
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if all(map(up_to_date, wanted)):
            return
        if not PYTHON.exists():
            make_venv()
        what = "the packages of the tests" if dev else "the packages"
        print(f"Installing {what} (once; a minute or two) …", file=sys.stderr, flush=True)
        # Asked for together with the development packages when those were here before, lest they be left behind.
        install(wanted[-1])
        for name in wanted:
            stamp(name).write_bytes((ROOT / name).read_bytes())


def make_venv() -> None:
    with_pip = importlib.util.find_spec("ensurepip") is not None
    if not with_pip and importlib.util.find_spec("pip") is None:
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        refuse(f"this Python has neither ensurepip nor pip (Debian, Ubuntu: apt-get install python{version}-venv).")
    command = [sys.executable, "-m", "venv", *([] if with_pip else ["--without-pip"]), str(VENV)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        sys.stderr.write(done.stdout + done.stderr)
        refuse(f"the environment could not be made in {VENV}; the lines above say why.")


def install(requirements: str) -> None:
    has_pip = subprocess.run([str(PYTHON), "-m", "pip", "--version"], capture_output=True).returncode == 0
    pip = [str(PYTHON), "-m", "pip"] if has_pip else [sys.executable, "-m", "pip", "--python", str(PYTHON)]
    options = ["--quiet", "--no-input", "--disable-pip-version-check", "--only-binary", ":all:"]
    done = subprocess.run(
        [*pip, "install", *options, "-r", str(ROOT / requirements)], stderr=subprocess.PIPE, text=True
    )
    if done.returncode != 0:
        lines = [line for line in done.stderr.splitlines() if line.strip() and not line.startswith("WARNING")]
        sys.stderr.write("\n".join(lines[-12:]) + "\n")
        refuse(
            "the packages could not be installed; the lines above are pip's. Usual causes: no way to the package index "
            "(a proxy? set HTTPS_PROXY or PIP_INDEX_URL), or a machine without ready-made wheels (Linux x86-64 and "
            "aarch64 and Apple silicon have them). The next start tries again."
        )


def main() -> None:
    program, arguments = sys.argv[1], sys.argv[2:]
    ensure(dev=program == "test")
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    os.execve(PYTHON, [str(PYTHON), "-P", *PROGRAMS[program], *arguments], environ)


if __name__ == "__main__":
    main()
