"""Brings the lines of each order together, wherever in the file they stand, without holding the file."""

from __future__ import annotations

from array import array
from collections.abc import Iterator

from .. import rules
from .cells import unwrapped
from .sheet import Row, Sheet


def key_of(row: Row, place: int) -> str:
    """The order that a row belongs to, by its cell at `place`; nothing where it has none."""
    if place >= len(row.cells):
        return ""
    cell = row.cells[place]
    # Of what is letters and digits throughout there is nothing to be taken off.
    return cell if cell.isalnum() else unwrapped(cell)


def orders(sheet: Sheet, place: int) -> Iterator[tuple[str, list[Row]]]:
    """Each order's key (the text of the column at `place`) with its rows, in the order of their last rows; a row without a
    key stands alone.

    Nearly every file has an order's lines one after the other. A first pass finds the orders that have not (by eight bytes
    an order); only those are held until their last line has come. Of an order with more lines than `rules.MOST_LINES` the
    others are handed out without their cells.
    """
    scattered = _scattered(sheet, place)
    held: dict[str, list[Row]] = {}
    key = ""
    rows: list[Row] = []
    for row in sheet.rows():
        this = key_of(row, place)
        if this != key or not this:
            if rows:
                if scattered:
                    yield from _ended(key, rows, scattered, held)
                else:
                    yield key, rows
            key, rows = this, [row]
            continue
        rows.append(row if len(rows) < rules.MOST_LINES else Row(row.line, []))
    if rows:
        yield from _ended(key, rows, scattered, held)
    # Nothing is left unless two keys share a fingerprint.
    yield from held.items()


def _ended(
    key: str, rows: list[Row], scattered: dict[int, int], held: dict[str, list[Row]]
) -> Iterator[tuple[str, list[Row]]]:
    """What is ready to be handed out when a stretch of rows with one key ends."""
    mark = hash(key) & _MASK
    if not key or mark not in scattered:
        yield key, rows
        return
    so_far = held.setdefault(key, [])
    for row in rows:
        so_far.append(row if len(so_far) < rules.MOST_LINES else Row(row.line, []))
    scattered[mark] -= 1
    if not scattered[mark]:
        yield key, held.pop(key)


_MASK = (1 << 64) - 1


def _scattered(sheet: Sheet, place: int) -> dict[int, int]:
    """The fingerprints of orders whose lines stand in several places, and in how many."""
    marks = array("Q")
    before = ""
    note = marks.append
    for row in sheet.rows():
        row_cells = row.cells
        key = row_cells[place] if place < len(row_cells) else ""
        if not key.isalnum():
            key = unwrapped(key)
        if key != before and key:
            note(hash(key) & _MASK)
        before = key
    found: dict[int, int] = {}
    last = -1
    # A sixteenth at a time, so that a million orders are not held as numbers all at once.
    for part in range(16 if len(marks) > 100_000 else 1):
        chosen = sorted(m for m in marks if m >> 60 == part) if len(marks) > 100_000 else sorted(marks)
        for mark in chosen:
            if mark == last:
                found[mark] = found.get(mark, 1) + 1
            last = mark
    return found
