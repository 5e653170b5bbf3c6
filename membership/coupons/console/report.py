"""What all offers come to: coupons that are out, what they could still cost, what was given and what it brought."""

from __future__ import annotations

from typing import Any

from flask import render_template

from kernel import clock
from kernel.auth import staff
from kernel.i18n import gettext as _
from kernel.pages import csv_response

from .. import labels, reports
from . import bp


@bp.get("/offers/report")
@staff("coupons.view")
def report() -> Any:
    rows = reports.liabilities()
    return render_template("coupons/report.html", rows=rows, totals=reports.Totals(rows), labels=labels)


@bp.get("/offers/report/export")
@staff("coupons.view")
def export_report() -> Any:
    header = [
        _("Offer"), _("Claimed"), _("Used"), _("Expired"), _("Taken back"), _("Still usable"),
        _("May still cost at most"), _("Without a limit"), _("Discount given"), _("Orders"), _("Revenue with it"),
        _("Average order"),
    ]  # fmt: skip
    rows = reports.export(reports.liabilities())
    return csv_response(f"coupons-{clock.today().isoformat()}.csv", header, rows)
