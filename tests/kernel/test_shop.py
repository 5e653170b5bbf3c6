"""The shop's settings: read once a transaction, never kept beyond one."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask
from sqlalchemy import select, text

from kernel import shop
from kernel.audit import AuditEntry
from kernel.auth import Role
from kernel.db import commit, rollback, transaction
from tests.conftest import everything


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


def test_the_owner_names_the_shop(db, browse, make_staff):
    owner = browse(Role.OWNER)
    assert browse(Role.MANAGER).get("/console/shop").status_code == 403
    before = everything(db)
    assert "Name of the shop" in owner.get("/console/shop").text
    assert everything(db) == before
    for wrong in ("", "  ", "长" * 31):
        refused = owner.post("/console/shop", data={"name": wrong})
        assert refused.status_code == 422
        assert shop.get(shop.NAME) is None
    assert owner.post("/console/shop", data={"name": " 山里\x00 人\u202e家 "}).status_code == 303
    assert shop.shop_name() == "山里 人家"
    assert 'value="山里 人家"' in owner.get("/console/shop").text
    # The same name again is no change, and the trail says who wrote the first.
    owner.post("/console/shop", data={"name": "山里 人家"})
    said = db.session.scalars(select(AuditEntry).where(AuditEntry.action == "shop.changed")).all()
    assert [one.after for one in said] == [{"name": "山里 人家"}]


def test_an_empty_shop_is_told_how_to_begin(db, browse):
    owner = browse(Role.OWNER)
    page = owner.get("/console/").text
    assert [
        page.index(word) for word in ("Getting the shop going", "Write the name", "Import orders", "New group")
    ] == sorted(page.index(word) for word in ("Getting the shop going", "Write the name", "Import orders", "New group"))
    assert "Nothing is waiting" not in page
    # Whoever may do none of it is not asked to.
    assert "Getting the shop going" not in browse(Role.VIEWER).get("/console/").text
    shop.put(shop.NAME, "山里人家")
    assert "Write the name" not in owner.get("/console/").text
    shop.put("shop.demo", True)
    assert "Getting the shop going" not in owner.get("/console/").text
