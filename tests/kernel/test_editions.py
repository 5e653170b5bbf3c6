"""Forms of things that colleagues share: what their mark tells apart, and what it does not."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import delete

from kernel import editions
from kernel.errors import NotFound
from kernel.forms import Form
from membership.products.models import Product


@dataclass(frozen=True)
class Words:
    name: str
    at: datetime | None


def test_mark_follows_what_is_shown_and_not_the_order_of_its_keys() -> None:
    at = datetime(2026, 1, 2, tzinfo=UTC)
    same = editions.digest_of(({"a": 1, "b": [1, 2]}, Words("Tea", at)))
    assert same == editions.digest_of(({"b": [1, 2], "a": 1}, Words("Tea", at)))
    others = [
        ({"a": 1, "b": [2, 1]}, Words("Tea", at)),
        ({"a": 1, "b": [1, 2]}, Words("Tea", None)),
        ({"a": 1, "b": [1, 2]}, Words("茶", at)),
        ({"a": 1, "b": [1, 2]}, Words("Tea", at), None),
    ]
    assert len({same, *map(editions.digest_of, others)}) == 5


def test_what_a_colleague_has_deleted_meanwhile_is_not_there(app: Flask, db: Any) -> None:
    with app.test_request_context(method="POST"):
        row = Product(source="shop", sku="CUP-1", title="Cup", created_at=datetime.now(UTC))
        db.session.add(row)
        db.session.flush()
        db.session.execute(delete(Product).where(Product.id == row.id).execution_options(synchronize_session=False))
        with pytest.raises(NotFound):
            editions.overtaken(Form(), lambda: row.title, row, by=("product.saved",))
