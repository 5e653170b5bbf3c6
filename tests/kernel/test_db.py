"""The edge of a request: what ends with a commit, and what is taken back."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask, Response

from kernel import db as database


@pytest.mark.parametrize(
    ("status", "read", "ended"),
    [
        (200, False, "commit"),
        (200, True, "commit"),
        (409, False, "rollback"),
        (409, True, "commit"),
        # A fault after the reading: nobody knows what it has left.
        (500, True, "rollback"),
    ],
)
def test_a_refusal_is_taken_back_unless_nothing_was_written(
    app: Flask, db: Any, monkeypatch: pytest.MonkeyPatch, status: int, read: bool, ended: str
) -> None:
    ends: list[str] = []
    for name in ("commit", "rollback"):
        end = getattr(database, name)
        monkeypatch.setattr(database, name, lambda end=end, name=name: (ends.append(name), end()))
    with app.test_request_context():
        if read:
            database.only_read()
        app.process_response(Response(status=status))
        assert ends == [ended]
        # What was said of one transaction says nothing of the next.
        app.process_response(Response(status=409))
        assert ends == [ended, "rollback"]
