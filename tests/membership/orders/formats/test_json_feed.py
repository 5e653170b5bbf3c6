"""Files of JSON: unfolded into rows, read by the readers of the feeds, refused with reasons like any other file."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime

import pytest
from sqlalchemy import select

from membership.orders import formats, services
from membership.orders.formats import FileUnreadable, Wrong, json_feed
from membership.orders.formats.drafts import OrderDraft, Reason, RejectedDraft
from membership.orders.models import ImportReject, ImportRun, Order, RunState
from tests.membership.orders import payloads

NOW = datetime(2026, 3, 3, 4, 0, tzinfo=UTC)


def entries(tmp_path, body, options=None):
    path = tmp_path / "orders.json"
    path.write_bytes(body if isinstance(body, bytes) else payloads.text(body))
    assert json_feed.is_json(path)
    formats.unfold(path)
    sheet, one = formats.examined(path, options=options)
    assert one.key == "json_feed"
    return list(one.entries(sheet, NOW))


@pytest.mark.parametrize(
    ("body", "numbers"),
    [
        ({"orders": [payloads.SHOPIFY, payloads.SHOPIFY | {"id": 2}]}, ["5551001", "2"]),
        ({"order": payloads.SHOPIFY}, ["5551001"]),
        ([payloads.WOOCOMMERCE], ["727"]),
        (b"\xef\xbb\xbf \n" + payloads.text([payloads.WOOCOMMERCE]), ["727"]),
        ({"response": {"full_order_info_list": [payloads.YOUZAN]}}, ["E20260201100000000100001"]),
    ],
)
def test_orders_of_every_system(tmp_path, body, numbers):
    found = entries(tmp_path, body)
    assert [one.external_id for one in found] == numbers
    assert all(isinstance(one, OrderDraft) for one in found)


def test_what_is_wrong_is_named_with_its_row(tmp_path):
    bad = payloads.SHOPIFY | {"id": 7, "total_price": "x"}
    good, broken, nothing, refund = entries(tmp_path, [payloads.SHOPIFY, bad, 5, payloads.SHOPIFY_REFUND])
    assert isinstance(good, OrderDraft)
    assert isinstance(broken, RejectedDraft)
    assert [(fault.line, fault.column) for fault in broken.faults] == [(3, "total_price")]
    assert isinstance(nothing, RejectedDraft)
    assert isinstance(refund, RejectedDraft)


def test_currencies_are_surveyed_and_need_a_rate(tmp_path):
    path = tmp_path / "a.json"
    path.write_bytes(payloads.text([payloads.SHOPIFY | {"currency": "USD"}, payloads.SHOPIFY | {"id": 2}]))
    formats.unfold(path)
    sheet, one = formats.examined(path)
    assert one.survey is not None
    assert one.survey(sheet) == {"currencies": {"USD": 1}}
    refused = next(one.entries(sheet, NOW))
    assert isinstance(refused, RejectedDraft)
    assert [(fault.reason, fault.value) for fault in refused.faults] == [(Reason.CURRENCY, "USD")]
    sheet.options = {"rates": {"USD": "7.1"}}
    assert next(one.entries(sheet, NOW)).paid_amount == 90880


@pytest.mark.parametrize("body", [b"{", b'{"a": 1}', b"[{}]", b"[ 1 ]", b'{"orders": []}', b'{"orders": 5}'])
def test_json_that_holds_no_orders(tmp_path, body):
    path = tmp_path / "a.json"
    path.write_bytes(body)
    with pytest.raises(FileUnreadable) as refused:
        formats.unfold(path)
    assert refused.value.wrong in (Wrong.NOT_TEXT, Wrong.HEADING_UNKNOWN)


def test_a_file_is_taken_in(db, clock, run_jobs):
    body = json.dumps({"orders": [payloads.SHOPIFY, payloads.SHOPIFY | {"id": 2, "currency": None}]}).encode()
    run = services.keep(io.BytesIO(body), "orders.json", "shop")
    assert (run.state, run.format, run.rows_total) == (RunState.WAITING, "json_feed", 2)
    services.start(run.id)
    run_jobs()
    done = db.session.get_one(ImportRun, run.id)
    assert (done.state, done.accepted, done.rejected) == (RunState.DONE, 1, 1)
    assert db.session.scalars(select(Order.external_id)).all() == ["5551001"]
    assert db.session.scalars(select(ImportReject.column)).all() == ["currency"]
