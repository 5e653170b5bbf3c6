"""What orders put on the console's first page and into its search."""

from __future__ import annotations

from flask import url_for
from sqlalchemy import exists, select

from kernel.auth import may
from kernel.db import db, escaped
from kernel.i18n import gettext as _
from kernel.i18n import ngettext
from kernel.money import yuan
from kernel.today import Hit, Running, Step, Task

from . import labels, queries
from .models import Order


def find(wanted: str) -> list[Hit]:
    """Orders by the beginning of their number; at most ten."""
    if len(wanted) < 3 or not may("orders.view"):
        return []
    found = db.session.scalars(
        select(Order)
        .where(Order.external_id.like(f"{escaped(wanted)}%"))
        .order_by(Order.placed_at.desc(), Order.id.desc())
        .limit(10)
    )
    return [
        Hit(
            kind=_("Order"),
            title=order.external_id,
            url=url_for("orders_console.show", order_id=order.id),
            about=f"{yuan(order.paid_amount)} · {labels.STATES[order.state]}",
        )
        for order in found
    ]


def running() -> list[Running]:
    """Imports under way."""
    if not may("orders.import"):
        return []
    return [
        Running(
            label=_("Orders from %(file)s", file=run.filename),
            url=url_for("imports_console.show", run_id=run.id),
            done=run.rows_in,
            total=run.rows_total,
        )
        for run in queries.running_runs()
    ]


def tasks() -> list[Task]:
    """Files that were uploaded and wait for somebody to start them."""
    if not may("orders.import"):
        return []
    return [
        Task(
            weight=40,
            text=ngettext(
                "%(file)s with one line waits to be imported",
                "%(file)s with %(num)s lines waits to be imported",
                run.rows_total,
                file=run.filename,
            ),
            url=url_for("imports_console.show", run_id=run.id),
            action=_("Look at it"),
            icon="file-import",
        )
        for run in queries.waiting_runs()
    ]


def steps() -> list[Step]:
    """A shop that has just begun brings its orders in."""
    if not may("orders.import"):
        return []
    return [
        Step(
            order=20,
            done=bool(db.session.scalar(select(exists().select_from(Order)))),
            text=_("Bring the orders in"),
            about=_("From a file: members, tiers and call-backs follow by themselves."),
            url=url_for("imports_console.index"),
            action=_("Import orders"),
        )
    ]
