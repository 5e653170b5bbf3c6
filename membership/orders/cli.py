"""`siyu orders …`: files from the command line."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import click
from flask.cli import AppGroup
from sqlalchemy import select

from kernel.db import db
from kernel.errors import Refusal
from kernel.i18n import forced_locale

from . import formats, queries, services
from .formats import shopify
from .models import ImportReject, RunState
from .services import answers, mappings

group = AppGroup("orders", help="Orders and the files they come in.")
SHOWN_REJECTS = 100
KINDS = [formats.AUTO, *(key for key in formats.FORMATS if key != formats.MAPPED)]


@group.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--source",
    default="",
    help="Where the orders come from: taobao, tmall, douyin, shop, counter or a name of yours. A mapping may say it.",
)
@click.option("--format", "wanted", default=formats.AUTO, show_default=True, help=f"{', '.join(KINDS)}.")
@click.option("--mapping", help="Read the file by the column mapping saved under this name.")
@click.option(
    "--rate",
    "rates",
    multiple=True,
    metavar="USD=7.12",
    help="What one of a foreign currency is worth in yuan (shopify); may be given several times.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object.")
def import_file(
    file: Path, source: str, wanted: str, mapping: str | None, rates: tuple[str, ...], as_json: bool
) -> None:
    """Import the orders of FILE (.csv, .csv.gz or .xlsx).

    Ends with 0 when the file has been imported, even if lines were rejected, and with 1 when the file itself is refused.
    """
    bar = Bar(enabled=not as_json and sys.stderr.isatty())
    with forced_locale("en"):
        try:
            options = _options(mapping, rates)
            kind = formats.MAPPED if mapping else wanted
            run_id = services.run_inline(file, source, kind, bar.show, options=options)
        except Refusal as refused:
            bar.close()
            if as_json:
                click.echo(json.dumps({"error": refused.message, "code": refused.code}, ensure_ascii=False))
            click.echo(f"siyu: {file.name}: {refused.message}", err=True)
            raise SystemExit(1) from None
        bar.close()
        run = queries.get_run(run_id)
        if run.state is not RunState.DONE:
            click.echo(f"siyu: import {run_id} has not come to its end; a worker goes on with it.", err=True)
            raise SystemExit(1)
        rejects = db.session.scalars(
            select(ImportReject).where(ImportReject.run_id == run_id).order_by(ImportReject.id).limit(SHOWN_REJECTS)
        ).all()
        result: dict[str, Any] = {
            "run": run.id,
            "source": run.source,
            "format": run.format,
            "encoding": run.encoding,
            "rows_in": run.rows_in,
            "accepted": run.accepted,
            "duplicate": run.duplicate,
            "rejected": run.rejected,
            "orders_new": run.orders_new,
            "orders_changed": run.orders_changed,
            "members_new": run.members_new,
            "rejects": [
                {"line": one.line, "column": one.column, "reason": one.reason, "value": one.value} for one in rejects
            ],
        }
    if as_json:
        click.echo(json.dumps(result, ensure_ascii=False))
        return
    click.echo(
        f"Import {run.id}: {run.rows_in:,} lines read as {run.format} ({run.encoding}): {run.accepted:,} accepted, "
        f"{run.duplicate:,} duplicate, {run.rejected:,} rejected."
    )
    click.echo(f"{run.orders_new:,} new orders, {run.orders_changed:,} changed, {run.members_new:,} new members.")
    for one in rejects[:20]:
        click.echo(
            f"  line {one.line}{', ' + one.column if one.column else ''}: {one.reason}{f' ({one.value})' if one.value else ''}"
        )
    if run.rejected > 20:
        click.echo(f"  … the whole list is on the import's page (/console/imports/{run.id}).")


def _options(mapping: str | None, rates: tuple[str, ...]) -> dict[str, Any]:
    """What the reader is told. Refuses with `MappingUnknown` and `RateInvalid`."""
    options = mappings.option_named(mapping) if mapping else {}
    told = dict(rate.upper().partition("=")[::2] for rate in rates)
    for text in told.values():
        try:
            shopify.rate_of(text)
        except ValueError:
            raise answers.RateInvalid from None
    return options | ({"rates": told} if told else {})


class Bar:
    """A line on the terminal that is written over: how far, how fast, how long still."""

    def __init__(self, enabled: bool) -> None:
        self.enabled = enabled
        self.began = time.monotonic()

    def show(self, done: int, total: int) -> None:
        if not self.enabled:
            return
        rate = done / max(0.001, time.monotonic() - self.began)
        filled = 30 * done // max(1, total)
        left = (total - done) / max(1.0, rate)
        text = f"\r[{'#' * filled}{'.' * (30 - filled)}] {done:,}/{total:,} lines, {rate:,.0f}/s, {left:.0f} s left  "
        click.echo(text, err=True, nl=False)

    def close(self) -> None:
        if self.enabled:
            click.echo("\r" + " " * 78 + "\r", err=True, nl=False)
