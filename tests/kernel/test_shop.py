"""The shop's settings: read once a transaction, never kept beyond one."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask
from sqlalchemy import text

from kernel import shop
from kernel.db import commit, rollback, transaction


def beside(db: Any, value: str) -> None:
    """What another process writes, which knows nothing of what this one has read."""
    db.session.connection().execute(
        text("UPDATE shop_setting SET value = to_jsonb(CAST(:v AS text)) WHERE key = 'x'"), {"v": value}
    )


def test_a_setting_is_read_once_in_a_transaction_and_anew_in_the_next(db: Any) -> None:
    shop.put("x", "one")
    commit()
    assert shop.get("x") == "one"
    beside(db, "two")
    assert shop.get("x") == "one"
    commit()
    # The application context is still the same, as it is while a worker hands events on.
    assert shop.get("x") == "two"


def test_what_a_transaction_took_back_is_not_believed(db: Any) -> None:
    shop.put("x", "one")
    commit()
    shop.put("x", "two")
    assert shop.get("x") == "two"
    rollback()
    assert shop.get("x") == "one"
    with pytest.raises(LookupError), db.session.begin_nested():
        shop.put("x", "three")
        assert shop.get("x") == "three"
        raise LookupError
    assert shop.get("x") == "one"


def test_a_long_context_sees_what_another_one_has_set(app: Flask, db: Any) -> None:
    with transaction():
        assert shop.get("x", "none") == "none"
    with app.app_context(), transaction():
        shop.put("x", "set elsewhere")
    assert shop.get("x", "none") == "set elsewhere"
    shop.put("x", "here")
    assert shop.get("x") == "here"
