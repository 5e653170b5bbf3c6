"""Shopify's orders export."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime, timedelta

import pytest

from membership.orders import formats
from membership.orders.formats.drafts import OrderDraft, Reason, RejectedDraft
from membership.orders.models import OrderState, Payment

NOW = datetime(2026, 7, 20, 4, 0, tzinfo=UTC)
HEADING = [
    "Name", "Email", "Financial Status", "Paid at", "Fulfillment Status", "Fulfilled at", "Currency", "Subtotal", "Shipping",
    "Total", "Discount Amount", "Created at", "Lineitem quantity", "Lineitem name", "Lineitem price", "Lineitem sku",
    "Lineitem discount", "Shipping Name", "Shipping City", "Shipping Country", "Shipping Phone", "Cancelled at",
    "Payment Method", "Refunded Amount", "Id", "Phone",
]  # fmt: skip
FIRST = {
    "Name": "#1001", "Email": "Lime@Example.com", "Financial Status": "paid", "Paid at": "2026-07-03 11:02:10 -0400",
    "Fulfillment Status": "fulfilled", "Fulfilled at": "2026-07-05 09:00:00 -0400", "Currency": "CNY", "Subtotal": "120.00",
    "Shipping": "8.00", "Total": "128.00", "Discount Amount": "2.00", "Created at": "2026-07-03 11:02:00 -0400",
    "Lineitem quantity": "2", "Lineitem name": "Cup - Celadon", "Lineitem price": "55.00", "Lineitem sku": "CUP-01",
    "Lineitem discount": "0.00", "Shipping Name": "Lime Tree", "Shipping City": "Hangzhou", "Shipping Country": "CN",
    "Refunded Amount": "0.00", "Id": "4507894690001", "Phone": "+8613800000000",
}  # fmt: skip
SECOND = {
    "Name": "#1001", "Lineitem quantity": "1", "Lineitem name": "Tray", "Lineitem price": "12.00", "Lineitem discount": "2.00",
}  # fmt: skip


@pytest.fixture
def read(tmp_path):
    def entries(*rows, options=None):
        text = io.StringIO()
        csv.writer(text).writerows([HEADING, *([told.get(name, "") for name in HEADING] for told in rows)])
        path = tmp_path / "a.csv"
        path.write_text(text.getvalue())
        sheet, found = formats.examined(path, options=options)
        assert found.key == "shopify"
        return list(found.entries(sheet, NOW))

    return entries


def test_order_of_several_lines(read):
    (order,) = read(FIRST, SECOND)
    assert (order.external_id, order.rows, order.state) == ("4507894690001", 2, OrderState.SHIPPED)
    assert (order.paid_amount, order.postage, order.discount) == (128_00, 8_00, 2_00)
    assert order.placed_at == datetime(2026, 7, 3, 15, 2, tzinfo=UTC)
    assert order.delivered_at - order.shipped_at == timedelta(days=7)
    assert (order.buyer.email, order.buyer.phone, order.buyer.city) == (
        "lime@example.com",
        "+8613800000000",
        "Hangzhou",
    )
    assert [(line.sku, line.title, line.quantity, line.amount) for line in order.lines] == [
        ("CUP-01", "Cup - Celadon", 2, 110_00),
        ("Tray", "Tray", 1, 10_00),
    ]


@pytest.mark.parametrize(
    ("values", "state", "paid", "refunded"),
    [
        ({"Financial Status": "pending", "Fulfillment Status": "unfulfilled"}, OrderState.PLACED, 0, 0),
        ({"Fulfillment Status": "unfulfilled", "Fulfilled at": ""}, OrderState.PAID, 128_00, 0),
        ({"Fulfillment Status": "partial", "Fulfilled at": ""}, OrderState.PAID, 128_00, 0),
        ({"Financial Status": "partially_refunded", "Refunded Amount": "28.00"}, OrderState.SHIPPED, 128_00, 28_00),
        ({"Financial Status": "refunded", "Refunded Amount": ""}, OrderState.SHIPPED, 128_00, 128_00),
        (
            {"Cancelled at": "2026-07-04 09:00:00 -0400", "Financial Status": "refunded", "Refunded Amount": "128.00"},
            OrderState.CLOSED, 128_00, 128_00,
        ),
        ({"Financial Status": "voided"}, OrderState.CLOSED, 0, 0),
        ({"Financial Status": "partially_paid"}, OrderState.PLACED, 0, 0),
    ],
)  # fmt: skip
def test_states_and_refunds(read, values, state, paid, refunded):
    (order,) = read(FIRST | values)
    assert isinstance(order, OrderDraft), order
    assert (order.state, order.paid_amount, order.refunded_amount) == (state, paid, refunded)


def test_cash_on_delivery(read):
    (order,) = read(FIRST | {"Payment Method": "Cash on Delivery (COD)", "Financial Status": "pending", "Paid at": ""})
    assert (order.payment, order.state, order.paid_amount) == (Payment.ON_DELIVERY, OrderState.SHIPPED, 128_00)


def test_other_currency_needs_a_rate_and_rejects_the_whole_order(read, tmp_path):
    entries = read(FIRST | {"Currency": "USD"}, SECOND, FIRST | {"Name": "#1002", "Id": "2"})
    bad, good = entries
    assert isinstance(bad, RejectedDraft)
    assert [(f.column, f.reason) for f in bad.faults] == [("Currency", Reason.CURRENCY), ("", Reason.OTHER_LINE)]
    assert good.external_id == "2"
    (order,) = read(FIRST | {"Currency": "USD"}, SECOND, options={"rates": {"USD": "7.1234"}})
    assert (order.paid_amount, order.postage, order.lines[0].unit_price) == (911_80, 56_99, 391_79)


def test_currencies_of_a_file_are_counted(tmp_path):
    text = io.StringIO()
    rows = [
        FIRST,
        FIRST | {"Currency": "USD", "Name": "#2"},
        SECOND | {"Name": "#2"},
        FIRST | {"Currency": "usd", "Name": "#3"},
    ]
    csv.writer(text).writerows([HEADING, *([told.get(name, "") for name in HEADING] for told in rows)])
    path = tmp_path / "a.csv"
    path.write_text(text.getvalue())
    sheet, found = formats.examined(path)
    assert found.survey(sheet) == {"currencies": {"USD": 2}}


@pytest.mark.parametrize("text", ["", "x", "0", "-1", "NaN", "Infinity", "1e9"])
def test_rate_is_a_likely_number(text):
    with pytest.raises(ValueError):
        formats.shopify.rate_of(text)


@pytest.mark.parametrize(
    ("values", "column", "reason"),
    [
        ({"Created at": ""}, "Created at", Reason.EMPTY),
        ({"Created at": "2026-02-30 10:00:00 -0400"}, "Created at", Reason.MOMENT_ABSURD),
        ({"Financial Status": "owing"}, "Financial Status", Reason.STATE_UNKNOWN),
        ({"Total": "1.234"}, "Total", Reason.AMOUNT_FORM),
        ({"Refunded Amount": "129"}, "Refunded Amount", Reason.REFUND_TOO_LARGE),
        ({"Cancelled at": "2026-07-01 09:00:00 -0400"}, "Cancelled at", Reason.MOMENT_ORDER),
        ({"Id": "4.50789E+12"}, "Id", Reason.NUMBER_FORM),
        ({"Email": "nobody"}, "Email", Reason.EMAIL_FORM),
        ({"Lineitem quantity": "x"}, "Lineitem quantity", Reason.QUANTITY_FORM),
        ({"Email": "", "Phone": "12"}, "Phone", Reason.PHONE_FORM),
    ],
)
def test_bad_cells_are_named(read, values, column, reason):
    (bad,) = read(FIRST | values)
    assert isinstance(bad, RejectedDraft), bad
    assert [(f.column, f.reason) for f in bad.faults] == [(column, reason)]


def test_phones_are_dialled_where_their_address_lies(read):
    (order,) = read(FIRST | {"Phone": "", "Shipping Phone": "(212) 555-0123", "Shipping Country": "US"})
    assert order.buyer.phone == "+12125550123"
    (order,) = read(FIRST | {"Phone": "call me"})
    assert order.buyer.phone is None


def test_line_taken_out_again_is_no_line(read):
    (order,) = read(FIRST, SECOND | {"Lineitem quantity": "0"})
    assert len(order.lines) == 1
