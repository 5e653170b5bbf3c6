"""The reader of UCI Online Retail II files: drafts, invoices set aside, refusals."""

import csv
import gzip
import io
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from membership.orders.formats import uci
from membership.orders.formats.uci import (
    DraftLine,
    Fault,
    HeadingUnknown,
    InvoiceDraft,
    LineKind,
    Reason,
    RefusedInvoice,
    SetAside,
    WhySetAside,
    allot,
    parse,
)

DEMO = Path(uci.__file__).parents[1] / "demo" / "online_retail_ii.csv.gz"
HEADING = list(uci.COLUMNS)


def row(
    invoice: str = "536365",
    sku: str = "85123A",
    title: str = "WHITE HANGING HEART T-LIGHT HOLDER",
    quantity: str = "6",
    placed: str = "2010-12-01 08:26:00",
    price: str = "2.55",
    customer: str = "17850",
    country: str = "United Kingdom",
) -> list[str]:
    return [invoice, sku, title, quantity, placed, price, customer, country]


def read(*rows: list[str]) -> list[InvoiceDraft | SetAside | RefusedInvoice]:
    return list(parse([HEADING, *rows]))


def read_one(*rows):
    (only,) = read(*rows)
    return only


def test_invoice_becomes_a_draft() -> None:
    assert read(row(), row(sku="22423", title="REGENCY CAKESTAND", quantity="1", price="12.75")) == [
        InvoiceDraft(
            external_id="536365",
            customer_id=17850,
            placed_at=datetime(2010, 12, 1, 8, 26, tzinfo=UTC),
            country="United Kingdom",
            lines=(
                DraftLine(2, "85123A", "WHITE HANGING HEART T-LIGHT HOLDER", 6, 255, LineKind.GOODS),
                DraftLine(3, "22423", "REGENCY CAKESTAND", 1, 1275, LineKind.GOODS),
            ),
            cancels=False,
        )
    ]


def test_amount_sums_all_lines_or_the_kinds_named() -> None:
    draft = read_one(row(), row(sku="POST", title="POSTAGE", quantity="2", price="18"), row(sku="M", price="1.00"))
    assert draft.amount_fen() == 6 * 255 + 3600 + 600
    assert draft.amount_fen(LineKind.POSTAGE) == 3600
    assert draft.amount_fen(LineKind.POSTAGE, LineKind.ADJUSTMENT) == 4200


@pytest.mark.parametrize(
    ("written", "utc"),
    [
        ("2010-12-01 08:26:00", datetime(2010, 12, 1, 8, 26, tzinfo=UTC)),
        ("2010-07-01 08:26:00", datetime(2010, 7, 1, 7, 26, tzinfo=UTC)),
        ("2010-07-01 08:26", datetime(2010, 7, 1, 7, 26, tzinfo=UTC)),
        ("2010-07-01T08:26:30", datetime(2010, 7, 1, 7, 26, 30, tzinfo=UTC)),
        ("2010-10-31 01:30:00", datetime(2010, 10, 31, 0, 30, tzinfo=UTC)),
    ],
)
def test_time_is_read_as_london_and_handed_out_as_utc(written, utc):
    assert read_one(row(placed=written)).placed_at == utc


def test_earliest_line_gives_the_time() -> None:
    assert read_one(row(placed="2010-12-01 08:27:00"), row()).placed_at == datetime(2010, 12, 1, 8, 26, tzinfo=UTC)


def test_interleaved_lines_make_one_invoice_in_the_order_of_first_lines() -> None:
    drafts = read(row("1"), row("2"), row("1", sku="22423"), row("3"), row("2", sku="22423"))
    assert [(draft.external_id, [line.line_no for line in draft.lines]) for draft in drafts] == [
        ("1", [2, 4]),
        ("2", [3, 6]),
        ("3", [5]),
    ]


def test_equal_lines_are_all_kept() -> None:
    assert [line.line_no for line in read_one(row(), row(), row()).lines] == [2, 3, 4]


def test_columns_may_stand_in_any_order_and_in_either_spelling() -> None:
    first_edition = [
        "InvoiceNo",
        "StockCode",
        "Description",
        "Quantity",
        "InvoiceDate",
        "UnitPrice",
        "CustomerID",
        "Country",
    ]
    expected = read(row())
    assert list(parse([first_edition, row()])) == expected
    assert list(parse([HEADING[::-1], row()[::-1]])) == expected
    assert list(parse([["\ufeffINVOICE", *HEADING[1:6], " customer id ", "Country"], row()])) == expected
    assert list(parse([["", *HEADING, "Remark"], ["0", *row(), "kept out"]])) == expected


def test_heading_that_is_not_ours_is_refused_with_the_columns_named() -> None:
    with pytest.raises(HeadingUnknown) as refused:
        list(parse([["订单编号", "Price", "Invoice", "InvoiceNo"], row()]))
    assert refused.value.missing == ("StockCode", "Description", "Quantity", "InvoiceDate", "Customer ID", "Country")
    assert refused.value.repeated == ("Invoice",)


def test_nothing_at_all_is_no_heading() -> None:
    with pytest.raises(HeadingUnknown):
        list(parse([]))


def test_heading_alone_gives_nothing() -> None:
    assert read() == []


def test_rows_without_text_are_skipped_and_counted_as_rows() -> None:
    assert [line.line_no for line in read_one([], row(), ["", " "], row()).lines] == [3, 5]


def test_blanks_are_trimmed_and_stock_codes_are_upper_case() -> None:
    draft = read_one(
        row(" 536365 ", " 85123a", " WHITE   HEART ", " 6 ", " 2010-12-01 08:26:00", " 2.55 ", " 17850 ", " EIRE ")
    )
    assert (draft.external_id, draft.customer_id, draft.country) == ("536365", 17850, "EIRE")
    assert draft.lines == (DraftLine(2, "85123A", "WHITE HEART", 6, 255, LineKind.GOODS),)


def test_missing_title_is_replaced_by_the_stock_code() -> None:
    assert read_one(row(title="")).lines[0].title == "85123A"


@pytest.mark.parametrize(("written", "number"), [("17850", 17850), ("17850.0", 17850), ("", None)])
def test_customer_number_is_read(written, number):
    assert read_one(row(customer=written)).customer_id == number


@pytest.mark.parametrize(
    ("written", "fen"), [("2.55", 255), ("2.1", 210), ("3", 300), ("0.001", 0), ("0.125", 13), ("0.0", 0)]
)
def test_price_is_read_as_hundredths_rounded_half_up(written, fen):
    assert read_one(row(price=written)).lines[0].unit_price_fen == fen


@pytest.mark.parametrize(
    ("sku", "kind"),
    [
        ("85123A", LineKind.GOODS),
        ("gift_0001_30", LineKind.GOODS),
        ("PADS", LineKind.GOODS),
        ("POST", LineKind.POSTAGE),
        ("DOT", LineKind.POSTAGE),
        ("C2", LineKind.POSTAGE),
        ("BANK CHARGES", LineKind.FEE),
        ("AMAZONFEE", LineKind.FEE),
        ("CRUK", LineKind.FEE),
        ("M", LineKind.ADJUSTMENT),
        ("m", LineKind.ADJUSTMENT),
        ("S", LineKind.ADJUSTMENT),
        ("ADJUST", LineKind.ADJUSTMENT),
        ("ADJUST2", LineKind.ADJUSTMENT),
        ("TEST001", LineKind.ADJUSTMENT),
        ("D", LineKind.ADJUSTMENT),
    ],
)
def test_stock_code_says_what_a_line_is_for(sku, kind):
    assert read_one(row(), row(sku=sku)).lines[1].kind == kind


def test_cancellation_holds_the_pieces_taken_back() -> None:
    draft = read_one(row("C536379", quantity="-2"), row("C536379", sku="D", quantity="-1", price="27.50"))
    assert draft.cancels
    assert [(line.sku, line.quantity, line.kind) for line in draft.lines] == [
        ("85123A", 2, LineKind.GOODS),
        ("D", 1, LineKind.DISCOUNT),
    ]
    assert draft.amount_fen() == 2 * 255 + 2750


def test_cancellation_in_lower_case_is_one() -> None:
    assert read_one(row("c536379", quantity="-2")).external_id == "C536379"


def test_charge_on_a_cancellation_counts_against_what_is_taken_back() -> None:
    assert read_one(row("C496350", sku="M", quantity="1", price="373.57")).lines[0].quantity == -1


@pytest.mark.parametrize(
    ("rows", "why"),
    [
        ([row("A506401", sku="B", quantity="1", price="-53594.36", customer="")], WhySetAside.BAD_DEBT),
        ([row("A563185", sku="B", quantity="1", price="11062.06", customer="")], WhySetAside.BAD_DEBT),
        ([row(title="short", quantity="-240", price="0.0", customer="")], WhySetAside.STOCK_CORRECTION),
        ([row(title="found", quantity="12", price="0", customer="")] * 2, WhySetAside.STOCK_CORRECTION),
        ([row(sku="BANK CHARGES", quantity="1", price="15")], WhySetAside.BOOKKEEPING),
        ([row(sku="ADJUST", quantity="1", price="15"), row(sku="AMAZONFEE")], WhySetAside.BOOKKEEPING),
    ],
)
def test_bookkeeping_is_read_and_makes_no_order(rows, why):
    assert read(*rows) == [SetAside(rows[0][0], tuple(range(2, 2 + len(rows))), why)]


@pytest.mark.parametrize(
    "rows",
    [
        [row(sku="M", quantity="1", price="10.00")],
        [row(customer="")],
        [row(price="0.0")],
        [row(sku="POST", quantity="1", price="18")],
        [row(), row(sku="BANK CHARGES", quantity="1", price="15")],
    ],
)
def test_sale_makes_an_order(rows):
    assert isinstance(read_one(*rows), InvoiceDraft)


@pytest.mark.parametrize(
    ("bad", "column", "reason", "value"),
    [
        (row()[:7], "", Reason.WIDTH, "7"),
        ([*row(), ""], "", Reason.WIDTH, "9"),
        (row(sku=" "), "StockCode", Reason.SKU_EMPTY, ""),
        (row(sku="8" * 41), "StockCode", Reason.TOO_LONG, "8" * 41),
        (row(title="a\x00b"), "Description", Reason.UNSTORABLE, "a\ufffdb"),
        (row(title="x" * 201), "Description", Reason.TOO_LONG, "x" * 80),
        (row(quantity="6.5"), "Quantity", Reason.QUANTITY_FORM, "6.5"),
        (row(quantity="six"), "Quantity", Reason.QUANTITY_FORM, "six"),
        (row(quantity=""), "Quantity", Reason.QUANTITY_FORM, ""),
        (row(quantity="\u0666"), "Quantity", Reason.QUANTITY_FORM, "\u0666"),
        (row(quantity="0"), "Quantity", Reason.QUANTITY_ZERO, "0"),
        (row(quantity="-6"), "Quantity", Reason.QUANTITY_BELOW_ZERO, "-6"),
        (row(quantity="1000001"), "Quantity", Reason.QUANTITY_ABSURD, "1000001"),
        (row(quantity="9" * 9999), "Quantity", Reason.QUANTITY_ABSURD, "9" * 80),
        (row(placed="12/1/2010 8:26"), "InvoiceDate", Reason.DATE_FORM, "12/1/2010 8:26"),
        (row(placed="2010-12-01"), "InvoiceDate", Reason.DATE_FORM, "2010-12-01"),
        (row(placed=""), "InvoiceDate", Reason.DATE_FORM, ""),
        (row(placed="2010-02-30 08:26:00"), "InvoiceDate", Reason.DATE_ABSURD, "2010-02-30 08:26:00"),
        (row(placed="0010-12-01 08:26:00"), "InvoiceDate", Reason.DATE_ABSURD, "0010-12-01 08:26:00"),
        (row(placed="2010-12-03 08:26:00"), "InvoiceDate", Reason.DATE_SPREAD, "2010-12-03 08:26:00"),
        (row(price="2,55"), "Price", Reason.PRICE_FORM, "2,55"),
        (row(price="£2.55"), "Price", Reason.PRICE_FORM, "£2.55"),
        (row(price="1e3"), "Price", Reason.PRICE_FORM, "1e3"),
        (row(price="nan"), "Price", Reason.PRICE_FORM, "nan"),
        (row(price=""), "Price", Reason.PRICE_FORM, ""),
        (row(price="-2.55"), "Price", Reason.PRICE_BELOW_ZERO, "-2.55"),
        (row(price="1000000.01"), "Price", Reason.PRICE_ABSURD, "1000000.01"),
        (row(customer="ANNA"), "Customer ID", Reason.CUSTOMER_FORM, "ANNA"),
        (row(customer="17850.5"), "Customer ID", Reason.CUSTOMER_FORM, "17850.5"),
        (row(customer="17851"), "Customer ID", Reason.CUSTOMER_CHANGES, "17851"),
        (row(customer=""), "Customer ID", Reason.CUSTOMER_CHANGES, ""),
    ],
)
def test_bad_line_refuses_its_whole_invoice_and_no_other(bad, column, reason, value):
    assert read(row(), row("536366"), bad, row()) == [
        RefusedInvoice(
            "536365",
            (
                Fault(2, "", Reason.OTHER_LINE, ""),
                Fault(4, column, reason, value),
                Fault(5, "", Reason.OTHER_LINE, ""),
            ),
        ),
        *[draft for draft in read(row("1"), row("536366")) if draft.external_id == "536366"],
    ]


def test_line_that_names_no_invoice_is_refused_alone() -> None:
    assert read(row(""), row(), row(" ")) == [
        RefusedInvoice("", (Fault(2, "Invoice", Reason.INVOICE_EMPTY, ""),)),
        *[
            InvoiceDraft(
                "536365", 17850, datetime(2010, 12, 1, 8, 26, tzinfo=UTC), "United Kingdom", draft.lines, False
            )
            for draft in read([], row())
        ],
        RefusedInvoice("", (Fault(4, "Invoice", Reason.INVOICE_EMPTY, ""),)),
    ]


@pytest.mark.parametrize("invoice", ["X536365", "536365-1", "C", "\uff15\uff13", "1" * 21])
def test_invoice_number_of_another_form_is_refused(invoice):
    assert read(row(invoice)) == [RefusedInvoice(invoice, (Fault(2, "Invoice", Reason.INVOICE_FORM, invoice),))]


def test_stock_written_off_among_sold_lines_is_refused() -> None:
    assert read(row(customer=""), row(quantity="-4", price="0", customer="")) == [
        RefusedInvoice(
            "536365", (Fault(2, "", Reason.OTHER_LINE, ""), Fault(3, "Quantity", Reason.QUANTITY_BELOW_ZERO, "-4"))
        )
    ]


def test_file_that_breaks_off_hands_out_nothing() -> None:
    text = ",".join(HEADING) + "\n" + ",".join(row()) + '\n536366,22423,"CAKE'
    drafts: list[object] = []
    with pytest.raises(csv.Error):
        drafts.extend(parse(csv.reader(io.StringIO(text), strict=True)))
    assert drafts == []


CELLS = st.one_of(
    st.text(max_size=12),
    st.sampled_from(["536365", "C536379", "A1", "6", "-6", "0", "2.55", "M", "2010-12-01 08:26:00", "17850"]),
)


@given(st.lists(st.one_of(st.lists(CELLS, max_size=10), st.tuples(*[CELLS] * 8).map(list)), max_size=12))
def test_any_text_is_drafted_set_aside_or_refused_and_every_row_is_accounted_for(rows):
    met: Counter[int] = Counter()
    for invoice in parse([HEADING, *rows]):
        met.update(numbers_of(invoice))
    assert met == Counter(number for number, cells in enumerate(rows, start=2) if any(cell.strip() for cell in cells))


def numbers_of(invoice: InvoiceDraft | SetAside | RefusedInvoice) -> Iterator[int]:
    if isinstance(invoice, InvoiceDraft):
        yield from (line.line_no for line in invoice.lines)
    elif isinstance(invoice, SetAside):
        yield from invoice.line_numbers
    else:
        yield from (fault.line_no for fault in invoice.faults)


@given(st.integers(0, 50), st.lists(st.integers(0, 20), max_size=6))
def test_allot_gives_the_latest_purchase_first_and_loses_no_piece(quantity, left):
    shares, rest = allot(quantity, left)
    assert sum(shares) + rest == quantity
    assert all(0 <= share <= pieces for share, pieces in zip(shares, left, strict=True))
    for place, share in enumerate(shares):
        assert share == left[place] or (not any(shares[place + 1 :]) and not rest)


@pytest.mark.parametrize(
    ("quantity", "left", "shares", "rest"),
    [
        (3, [5], [3], 0),
        (3, [2, 5], [2, 1], 0),
        (3, [0, 3], [0, 3], 0),
        (3, [], [], 3),
        (3, [1, 1], [1, 1], 1),
        (0, [2], [0], 0),
    ],
)
def test_allot_examples(quantity, left, shares, rest):
    assert allot(quantity, left) == (shares, rest)


class TestDemoFile:
    def test_is_small_and_carries_no_moment_of_making(self) -> None:
        content = DEMO.read_bytes()
        assert len(content) <= 3_000_000
        assert content[4:8] == bytes(4)

    def test_is_credited_beside_it(self) -> None:
        credit = (DEMO.parent / "CREDIT.md").read_text(encoding="utf-8")
        assert "Chen, D. (2019)" in credit
        assert "UCI Machine Learning Repository" in credit
        assert "CC BY 4.0" in credit

    def test_is_read_without_a_refusal_and_has_all_that_the_demo_shows(self) -> None:
        with gzip.open(DEMO, "rt", encoding="utf-8", newline="") as text:
            invoices = list(parse(csv.reader(text, strict=True)))
        drafts = [invoice for invoice in invoices if isinstance(invoice, InvoiceDraft)]
        orders = [draft for draft in drafts if not draft.cancels]
        by_customer = Counter(order.customer_id for order in orders if order.customer_id)

        assert [invoice for invoice in invoices if isinstance(invoice, RefusedInvoice)] == []
        assert len({invoice.external_id for invoice in invoices}) == len(invoices) == 7_518
        assert sorted(number for invoice in invoices for number in numbers_of(invoice)) == list(range(2, 134_586))
        assert (len(orders), len(drafts) - len(orders)) == (5_984, 1_324)
        assert (by_customer.total(), len(by_customer)) == (5_858, 1_557)
        assert sum(count > 1 for count in by_customer.values()) == 986
        assert Counter(invoice.why for invoice in invoices if isinstance(invoice, SetAside)) == {
            WhySetAside.STOCK_CORRECTION: 195,
            WhySetAside.BOOKKEEPING: 12,
            WhySetAside.BAD_DEBT: 3,
        }
        assert {line.kind for draft in drafts for line in draft.lines} == set(LineKind)
        assert any(
            len({(line.sku, line.quantity, line.unit_price_fen) for line in order.lines}) < len(order.lines)
            for order in orders
        )
