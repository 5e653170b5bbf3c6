# Sourced by the scripts beside it, with $root set: finds a Python that Siyu runs on, as $python.
python=
for candidate in "$root/.venv/bin/python" "${PYTHON:-}" python3 python3.13 python3.12 python3.11; do
    if [ -n "$candidate" ] && command -v "$candidate" >/dev/null 2>&1 &&
        "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; then
        python=$candidate
        break
    fi
done
if [ -z "$python" ]; then
    found=$(python3 --version 2>&1) || found="no Python at all"
    echo "siyu: Python 3.11, 3.12 or 3.13 is needed and this machine offers $found." >&2
    echo "siyu: install one (Debian, Ubuntu: apt-get install python3 python3-venv), or name it: PYTHON=/path/to/python3.12 $0" >&2
    exit 1
fi
