"""The audit trail keeps what was done, and of what was typed into a search nothing that says who somebody is."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from kernel import audit
from kernel.audit import AuditEntry


def kept(db, filter_):
    audit.record("probe.exported", "probe", None, after={"filter": filter_, "number": 3})
    db.session.flush()
    entry = db.session.scalars(select(AuditEntry).order_by(AuditEntry.id.desc()).limit(1)).one()
    assert entry.after["number"] == 3
    return entry.after["filter"]


@pytest.mark.parametrize(
    ("typed", "shown"),
    [
        ("10000000001", "****0001"),
        ("+86 100 0000 0001", "****0001"),
        ("100-0000-0001", "****0001"),
        ("1000000-0001", "****0001"),
        ("１００００００００１２", "****0012"),
        ("王 10000000001", "王 ****0001"),
        ("lime.012@shop.example", "l****@shop.example"),
        ("0001", "0001"),
        ("王伟", "王伟"),
        ("", ""),
    ],
)
def test_a_phone_or_an_address_that_was_searched_for_is_masked(db, typed, shown):
    assert kept(db, {"q": typed, "tier": "3"}) == {"q": shown, "tier": "3"}


def test_what_was_chosen_stays_readable(db):
    chosen = {"since": "2026-03-01", "spend": "1000000-50000000", "tag": "送礼"}
    assert kept(db, chosen) == chosen
    assert kept(db, "spend=1000000-50000000&tag=%E9%80%81") == "spend=1000000-50000000&tag=%E9%80%81"


def test_the_query_of_an_address_is_masked_too(db):
    assert kept(db, "q=100%200000%200001&tier=3") == "q=****0001&tier=3"
    assert kept(db, "q=lime%40shop.example") == "q=l****@shop.example"
