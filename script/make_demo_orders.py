"""Makes the demo shop's order file from the first sheet of UCI Online Retail II.

For developers only; needs pyarrow (requirements-dev.txt). Usage:

    python script/make_demo_orders.py online_retail_II_2009-12_2010-12.parquet

What is taken, and why, is written in membership/orders/demo/CREDIT.md. The same input gives the same rows, and with the
same zlib the same bytes.
"""

import csv
import gzip
import hashlib
import io
import sys
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from pyarrow import parquet

TARGET = Path(__file__).resolve().parent.parent / "membership" / "orders" / "demo" / "online_retail_ii.csv.gz"
COLUMNS = ("Invoice", "StockCode", "Description", "Quantity", "InvoiceDate", "Price", "Customer ID", "Country")
# The sheet as parquet spells three of them in the manner of the first edition.
SPELLINGS = {"Invoice": "InvoiceNo", "Price": "UnitPrice", "Customer ID": "CustomerID"}

FROM = datetime(2010, 4, 1)  # noqa: DTZ001 - the sheet has local times without a zone
CUSTOMERS_KEPT = 40  # of each 100
NAMELESS_KEPT = 10  # of each 100
LARGEST = 3_000_000  # bytes


def share_of(text: str) -> int:
    """A number from 0 to 99 that is spread evenly over different texts and is the same for ever for the same text."""
    return int(hashlib.sha256(text.encode()).hexdigest()[:8], 16) % 100


def kept(row: dict[str, Any]) -> bool:
    """Whether a line goes into the demo: whole customers, and whole invoices where there is no customer."""
    if row["InvoiceDate"] < FROM:
        return False
    if row["CustomerID"]:
        return share_of(row["CustomerID"]) < CUSTOMERS_KEPT
    return row["InvoiceNo"].startswith("A") or share_of(row["InvoiceNo"]) < NAMELESS_KEPT


def rows_of(source: Path) -> Iterator[dict[str, Any]]:
    """The lines of the sheet, in its order."""
    for batch in parquet.ParquetFile(source).iter_batches():
        yield from batch.to_pylist()


def text_of(rows: Iterable[dict[str, Any]]) -> str:
    """The kept lines as CSV with a heading, line feeds, and quotes only where needed."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in rows:
        writer.writerow("" if (cell := row[SPELLINGS.get(name, name)]) is None else cell for name in COLUMNS)
    return text.getvalue()


def main() -> None:
    """Read the sheet named on the command line and write the demo's file."""
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    text = text_of(row for row in rows_of(Path(sys.argv[1])) if kept(row))
    content = gzip.compress(text.encode(), 9, mtime=0)
    if len(content) > LARGEST:
        sys.exit(f"{len(content):,} bytes are more than the {LARGEST:,} that the repository takes")
    TARGET.write_bytes(content)
    print(f"{TARGET.name}: {text.count(chr(10)) - 1:,} lines, {len(content):,} bytes")


if __name__ == "__main__":
    main()
