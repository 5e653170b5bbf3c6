"""The web server with the seats' guard taken out: no row lock, and counters that are written as they were read.

The race tests run against it to show that they would notice. Nothing of it is in the product: this program changes its
own copy.
"""

from __future__ import annotations

import os
import time
from typing import Any

from flask import Flask
from sqlalchemy import text

from community.groups.services import book
from tests.webshop import serve


def without(statement: Any, guard: str, instead: str = "") -> Any:
    words = str(statement.text)
    assert guard in words
    return text(words.replace(guard, instead))


def take_the_guard_out(app: Flask) -> None:
    if not os.environ.get("SIYU_TEST_TEETH"):
        raise SystemExit("This program seats too many on purpose and is for the race tests alone.")
    book.LOCK_GROUPS = without(book.LOCK_GROUPS, "FOR NO KEY UPDATE")
    look = book.Book._open

    def look_slowly(self: book.Book) -> None:
        """As long as it takes where the database is on another machine and busy."""
        look(self)
        time.sleep(0.02)

    book.Book._open = look_slowly  # type: ignore[method-assign]
    # Counters that pass the seats would break the rows' own checks, the second guard.
    for table, most in (("sub_group", "sub_group.seats"), ('"group"', "capacity")):
        counting = f"UPDATE {table} SET seated = "
        book.WRITE_SEATS = without(
            book.WRITE_SEATS, f"{counting}seated + change", f"{counting}LEAST(seated + change, {most})"
        )


if __name__ == "__main__":
    serve(take_the_guard_out)
